"""The diagram of who teaches whom."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from darkknowledge.figures.common import BLACK, BLUE, ORANGE


def kinds_of_distillation() -> Figure:
    """A diagram: who teaches whom in normal, reversed and self distillation."""
    figure, axes = plt.subplots(1, 3, figsize=(7.0, 2.1))
    sizes = {
        "normal": ("cumbersome net", 0.72, "small net", 0.42),
        "reversed": ("small net", 0.42, "cumbersome net", 0.72),
        "self": ("net", 0.56, "same net, new start", 0.56),
    }
    for axis, (kind, (teacher, high, student, low)) in zip(axes, sizes.items(), strict=True):
        axis.set_axis_off()
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.22, 1.02)
        axis.set_title(f"{kind} distillation", pad=2)
        for x, name, height, colour, role in (
            (0.17, teacher, high, BLACK, "teacher"),
            (0.83, student, low, BLUE, "student"),
        ):
            axis.add_patch(
                FancyBboxPatch(
                    (x - 0.1, 0.48 - height / 2),
                    0.2,
                    height,
                    boxstyle="round,pad=0.02",
                    facecolor=colour,
                    alpha=0.14,
                    edgecolor="none",
                )
            )
            axis.text(x, 0.48, role, ha="center", va="center", color=colour, fontsize=8)
            axis.text(x, -0.02, name.replace(", ", ",\n"), ha="center", va="top", fontsize=7.5)
        axis.add_patch(
            FancyArrowPatch(
                (0.31, 0.48), (0.69, 0.48), arrowstyle="-|>", mutation_scale=11, color=ORANGE
            )
        )
        axis.text(0.5, 0.54, "soft labels", ha="center", va="bottom", fontsize=7.5)
        axis.text(0.5, 0.42, "T", ha="center", va="top", fontsize=7.5, style="italic")
    return figure
