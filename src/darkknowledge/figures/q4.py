"""Q4: what the student answers to digits that it never saw."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from darkknowledge.answers.q4 import by_digit, single_digits
from darkknowledge.figures.common import BLUE, ORANGE, half_widths, probability_bars


def _records(frame: pd.DataFrame) -> tuple[int, list[dict]]:
    """The digit studied in detail and the records of its distilled students."""
    sets = single_digits(frame)
    if not sets:
        return -1, []
    return int(sets[0].omitted), [r for r in sets[0].rows(frame)["record"] if r]


def confusion(frame: pd.DataFrame) -> Figure | None:
    """Confusion matrices without the first omitted digit, before and after the shift chosen on
    validation: errors per class pair, mean over the runs."""
    digit, records = _records(frame)
    if not records:
        return None
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 3.6))
    for axis, shift, title in (
        (axes[0], "none", "as trained"),
        (axes[1], "validation", "bias chosen on validation"),
    ):
        matrix = np.mean([r["unseen"][shift]["confusion"] for r in records], axis=0)
        wrong = matrix * (1 - np.eye(len(matrix)))
        axis.imshow(np.sqrt(wrong), cmap="Blues", vmin=0, vmax=max(1.0, math.sqrt(wrong.max())))
        dark = wrong.max() * 0.3
        for (i, j), value in np.ndenumerate(wrong):
            if i == j:
                axis.text(j, i, "·", ha="center", va="center", color="#888888")
            elif value >= 0.5:
                colour = "white" if value > dark else "black"
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
        axis.add_patch(
            plt.Rectangle((-0.5, digit - 0.5), 10, 1, fill=False, edgecolor=ORANGE, linewidth=1.5)
        )
        axis.set_xticks(range(len(matrix)))
        axis.set_yticks(range(len(matrix)))
        axis.set_xlabel("predicted digit")
        axis.set_title(f"{title}: {wrong.sum():.0f} errors", loc="left")
        axis.grid(visible=False)
    axes[0].set_ylabel("true digit")
    return figure


def unseen_images(frame: pd.DataFrame, sheet: Path) -> Figure | None:
    """The first test images of the first omitted digit, and the probabilities that its first
    student gives each class, before and after the shift chosen on validation.

    ``sheet`` is the data set's contact sheet: square images, a row a class.
    """
    digit, records = _records(frame)
    if not records or not sheet.exists():
        return None
    logits = np.array(records[0]["unseen"]["examples"][0])  # [images, classes]
    shifted = logits.copy()
    shifted[:, digit] += records[0]["unseen"]["validation"]["bias"]
    pixels = plt.imread(sheet)
    side = pixels.shape[0] // logits.shape[1]
    count = len(logits)
    figure, axes = plt.subplots(3, count, figsize=(7.0, 3.4), height_ratios=(1, 1.5, 1.5))
    for i in range(count):
        tile = pixels[digit * side : (digit + 1) * side, i * side : (i + 1) * side]
        axes[0, i].imshow(tile, cmap="gray_r")
        axes[0, i].set_axis_off()
        for axis, z in ((axes[1, i], logits[i]), (axes[2, i], shifted[i])):
            probability_bars(axis, z, digit)
            axis.set_yticks(range(len(z)) if i == 0 else [])
            axis.tick_params(axis="y", labelsize=6, length=0)
            right = z.argmax() == digit
            axis.set_xlabel(f"{z.argmax()}{' ✓' if right else ''}", fontsize=8, labelpad=1)
    axes[1, 0].set_ylabel("as trained", fontsize=8)
    axes[2, 0].set_ylabel("shifted", fontsize=8)
    return figure


def digits(frame: pd.DataFrame) -> Figure | None:
    """Recall on each omitted digit before and after the shift, and the unshifted recall against the
    teacher's soft mass on the digit."""
    table = by_digit(frame)
    table = table[table["runs"] > 0].sort_values("digit") if len(table) else table
    if not len(table):
        return None
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 3.2), sharey=True)
    for column, colour, marker, label, offset in (
        ("recall", BLUE, "D", "as trained", -0.12),
        ("recall_shifted", ORANGE, "o", "bias chosen on validation", 0.12),
    ):
        for row in table.itertuples():
            effect = getattr(row, column)
            bars = half_widths(effect)
            axes[0].errorbar(
                row.digit + offset,
                100 * effect.mean,
                yerr=None if bars is None else [[100 * b[0]] for b in bars],
                color=colour,
                marker=marker,
                markersize=5,
                capsize=2,
                linestyle="none",
                label=label if row.Index == table.index[0] else None,
            )
    axes[0].set_xticks(table["digit"])
    axes[0].set_xlabel("omitted digit")
    axes[0].set_ylabel("recall on the omitted digit (%)")
    axes[0].legend(loc="lower left")
    recalls = [100 * e.mean for e in table["recall"]]
    axes[1].scatter(table["mass"], recalls, color=BLUE, marker="D", s=22)
    for row, recall in zip(table.itertuples(), recalls, strict=True):
        axes[1].annotate(
            str(row.digit), (row.mass, recall), xytext=(5, 3), textcoords="offset points"
        )
    axes[1].margins(x=0.15)
    axes[1].xaxis.set_major_locator(MaxNLocator(4))
    axes[1].set_xlabel("teacher's mean soft probability of the digit")
    low = min(recalls)
    axes[0].set_ylim(max(-3, low - 25), 103)
    return figure
