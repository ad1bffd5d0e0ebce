"""Q1: accuracy against cost."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from darkknowledge.answers.common import HARD, NETS, TEACHER, errors_of
from darkknowledge.claims import runs_of
from darkknowledge.figures.common import LOOK, half_widths


def accuracy_against_cost(frame: pd.DataFrame, latency: pd.DataFrame | None) -> Figure:
    """Test accuracy of both nets against FLOPs and, where measured, against latency."""
    panels = [("FLOPs of one image (millions)", _flops(frame))]
    if latency is not None:
        single = latency[latency["batch"] == 1].set_index("arm")["median"] * 1e3
        panels.append(("latency of one image (ms, median)", single.to_dict()))
    figure, axes = plt.subplots(1, len(panels), squeeze=False, sharey=True)
    images = next((r["test"]["n"] for r in frame["record"] if r), 1)
    for axis, (label, cost) in zip(axes[0], panels, strict=True):
        for arm in (TEACHER, HARD):
            effect = errors_of(frame, arm)
            if not effect.n or arm.name not in cost:
                continue
            colour, marker = LOOK[arm.name]
            bars = half_widths(effect)
            accuracy = 100 * (1 - effect.mean / images)
            axis.errorbar(
                cost[arm.name],
                accuracy,
                yerr=None if bars is None else [[100 * b[0] / images] for b in reversed(bars)],
                color=colour,
                marker=marker,
                markersize=7,
                capsize=3,
                linestyle="none",
            )
            rows = runs_of(frame, arm).dropna(subset=["test_accuracy"])
            axis.scatter(
                [cost[arm.name] + 0.06 * max(cost.values())] * len(rows),
                100 * rows["test_accuracy"],
                s=9,
                color=colour,
                alpha=0.35,
                linewidths=0,
            )
            axis.annotate(
                NETS[arm],
                (cost[arm.name], accuracy),
                xytext=(-9, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=colour,
            )
        axis.set_xlabel(label)
        top = max(cost.values(), default=1)
        axis.set_xlim(0, 1.35 * top)
        axis.margins(y=0.25)
    axes[0][0].set_ylabel("test accuracy (%)")
    return figure


def _flops(frame: pd.DataFrame) -> dict[str, float]:
    found = {}
    for arm in (TEACHER, HARD):
        records = [r for r in runs_of(frame, arm)["record"] if r]
        if records:
            found[arm.name] = records[0]["cost"]["flops"] / 1e6
    return found
