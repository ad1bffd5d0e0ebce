"""Q2: errors by arm, and learning curves."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from darkknowledge.answers.common import ARM_NAMES, HARD, KD, SOFT, errors_of
from darkknowledge.claims import Arm, runs_of
from darkknowledge.figures.common import LOOK, OTHER, dot_with_interval


def errors_by_arm(frame: pd.DataFrame) -> Figure:
    """Test errors of every arm: mean with 95 % interval, single runs as dots, one panel a protocol."""
    protocols = [
        (protocol, rows)
        for protocol, rows in frame.groupby("protocol", sort=False)
        if rows["test_errors"].notna().any()
    ]
    counts = [rows["arm"].nunique() for _, rows in protocols]
    figure, axes = plt.subplots(
        len(protocols),
        1,
        squeeze=False,
        sharex=True,
        figsize=(7.0, 1.1 + 0.32 * sum(counts)),
        height_ratios=counts,
    )
    titles = {
        "hinton": "students without jitter",
        "jitter": "jitter for everybody",
        "unjittered": "the same recipe without jitter",
    }
    limit = _readable_limit(frame)
    for axis, (protocol, rows) in zip(axes[:, 0], protocols, strict=True):
        arms = list(rows["arm"].unique())
        for height, name in enumerate(reversed(arms)):
            arm = Arm(name, protocol)
            effect = errors_of(frame, arm)
            if not effect.n:
                continue
            colour, marker = LOOK.get(name, OTHER)
            if effect.mean > limit:
                axis.text(
                    limit, height, f"{effect.mean:.0f} →", ha="right", va="center", color=colour
                )
                continue
            single = runs_of(frame, arm)["test_errors"].dropna()
            dot_with_interval(axis, effect, height, single, (colour, marker))
        axis.set_yticks(range(len(arms)), [ARM_NAMES.get(a, a) for a in reversed(arms)])
        axis.set_ylim(-0.6, len(arms) - 0.4)
        axis.set_title(titles.get(protocol, protocol), loc="left")
        axis.grid(axis="y", visible=False)
        hard = errors_of(frame, Arm("hard", protocol))
        if not math.isnan(hard.low):
            axis.axvspan(hard.low, hard.high, color=LOOK["hard"][0], alpha=0.12, linewidth=0)
    axes[-1, 0].set_xlabel("test errors")
    axes[-1, 0].set_xlim(0, limit * 1.02)
    return figure


def _readable_limit(frame: pd.DataFrame) -> float:
    """The end of the errors' axis: arms with more than thrice the errors of true labels would
    squeeze all others together; they are written at the edge instead."""
    means = frame.groupby(["protocol", "arm"])["test_errors"].max().dropna()
    hard = frame.loc[frame["arm"] == "hard", "test_errors"].max()
    return 1.08 * float(means[~(means > 3 * hard)].max())


def learning_curves(frame: pd.DataFrame) -> Figure | None:
    """Validation accuracy and training loss over the epochs: mean and range over the seeds."""
    if not any(r for arm in (HARD, KD, SOFT) for r in runs_of(frame, arm)["record"]):
        return None
    figure, axes = plt.subplots(1, 2)
    drawn = []
    for arm in (HARD, KD, SOFT):
        histories = [r["history"] for r in runs_of(frame, arm)["record"] if r]
        if not histories:
            continue
        colour, marker = LOOK[arm.name]
        for axis, key, scale in ((axes[0], "validation_accuracy", 100), (axes[1], "loss_hard", 1)):
            curves = scale * np.array([h[key] for h in histories], dtype=float)
            epochs = np.arange(1, curves.shape[1] + 1)
            axis.fill_between(
                epochs, curves.min(0), curves.max(0), color=colour, alpha=0.18, linewidth=0
            )
            axis.plot(
                epochs,
                curves.mean(0),
                color=colour,
                marker=marker,
                markevery=max(1, len(epochs) // 6),
                markersize=4,
                linewidth=1.3,
                label=ARM_NAMES[arm.name],
            )
            drawn.append((axis, curves[:, -max(1, len(epochs) * 2 // 3) :]))
    axes[0].set_ylabel("validation accuracy (%)")
    late = [curves for axis, curves in drawn if axis is axes[0]]
    if late:  # the first epochs would flatten everything that matters
        low, high = min(c.min() for c in late), max(c.max() for c in late)
        margin = max(high - low, 0.1)
        axes[0].set_ylim(low - 0.1 * margin, high + 0.15 * margin)
    axes[1].set_ylabel("cross-entropy with true labels,\ntraining (nats, log scale)")
    axes[1].set_yscale("log")
    for axis in axes:
        axis.set_xlabel("epoch")
    axes[0].legend(loc="lower right")
    return figure
