"""Tidy frames → matplotlib figures. One style: Okabe–Ito colours and markers, intervals drawn."""

from __future__ import annotations

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from darkknowledge.answers import ARM_NAMES, HARD, KD, NETS, SOFT, TEACHER, errors_of
from darkknowledge.claims import Arm, runs_of

#: Okabe & Ito 2008: tell apart also without colour vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000 #E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7".split()
)
LOOK = {
    "teacher": (BLACK, "s"),
    "hard": (VERMILION, "o"),
    "kd": (BLUE, "D"),
    "soft_only": (GREEN, "^"),
}
OTHER = (PURPLE, "v")


def style() -> None:
    """Set the look of every figure of the study."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "legend.fontsize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "svg.hashsalt": "darkknowledge",
            "svg.fonttype": "path",
        }
    )


def _half_widths(effect) -> list[list[float]] | None:
    if math.isnan(effect.low):
        return None
    return [[effect.mean - effect.low], [effect.high - effect.mean]]


def q1(frame: pd.DataFrame, latency: pd.DataFrame | None) -> Figure:
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
            bars = _half_widths(effect)
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


def q2(frame: pd.DataFrame) -> Figure:
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
    titles = {"hinton": "students without jitter", "jitter": "jitter for everybody"}
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
            heights = [height] * len(single)
            axis.scatter(single, heights, s=10, color=colour, alpha=0.35, linewidths=0)
            axis.errorbar(
                effect.mean,
                height,
                xerr=_half_widths(effect),
                color=colour,
                marker=marker,
                markersize=6,
                capsize=3,
                linestyle="none",
            )
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


def q2_curves(frame: pd.DataFrame) -> Figure:
    """Validation accuracy and training loss over the epochs: mean and range over the seeds."""
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
