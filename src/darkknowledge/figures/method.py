"""The method in pictures: who teaches whom, the images, what soft labels look like."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from darkknowledge.figures.common import BLACK, BLUE, ORANGE, probability_bars
from darkknowledge.records import RecordError
from darkknowledge.wording import DATASETS

#: Temperatures at which soft labels are shown.
SHOWN = (1.0, 4.0, 20.0)


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


def samples(sheets: dict[str, Path]) -> Figure | None:
    """The contact sheets of the data sets, by name: the first test images of each class, a row a
    class."""
    present = {name: path for name, path in sheets.items() if path.exists()}
    if not present:
        return None
    figure, axes = plt.subplots(1, len(present), squeeze=False, figsize=(3.4 * len(present), 3.4))
    for axis, (name, path) in zip(axes[0], present.items(), strict=True):
        axis.imshow(plt.imread(path), cmap="gray_r")
        axis.set_title(DATASETS[name], loc="left")
        axis.set_axis_off()
    return figure


def soft_labels(exhibit: Path, sheet: Path) -> Figure | None:
    """The first test image of each class, its true label, and a teacher's soft labels of it at
    several temperatures; ``exhibit`` holds the teacher's logits, ``sheet`` the images."""
    if not exhibit.exists() or not sheet.exists():
        return None
    try:
        body = json.loads(exhibit.read_text(encoding="utf-8"))
        logits = np.array(body["logits"], dtype=float)  # [classes, classes]
    except (ValueError, LookupError, TypeError) as error:
        raise RecordError(
            f"{exhibit} holds no soft labels: delete it and execute the notebook of q2 again."
        ) from error
    pixels = plt.imread(sheet)
    count = len(logits)
    side = pixels.shape[0] // count
    rows = 2 + len(SHOWN)
    figure, axes = plt.subplots(
        rows, count, figsize=(7.0, 4.6), height_ratios=(1, *[1.2] * (rows - 1))
    )
    names = ["true label", *(f"T = {t:g}" for t in SHOWN)]
    for c in range(count):
        axes[0, c].imshow(pixels[c * side : (c + 1) * side, :side], cmap="gray_r")
        axes[0, c].set_axis_off()
        sure = np.where(np.arange(count) == c, 0.0, -np.inf)
        for axis, z, t in zip(
            axes[1:, c], (sure, *[logits[c]] * len(SHOWN)), (1.0, *SHOWN), strict=True
        ):
            probability_bars(axis, z, c, t)
            axis.set_yticks(range(count) if c == 0 else [])
            axis.tick_params(axis="y", labelsize=5, length=0)
    for axis, name in zip(axes[1:, 0], names, strict=True):
        axis.set_ylabel(name, fontsize=8)
    return figure
