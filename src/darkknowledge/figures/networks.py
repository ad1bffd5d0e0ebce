"""Q5 and Q6: gains over true labels by pair, and by class."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from darkknowledge.answers import networks
from darkknowledge.figures.common import (
    BLUE,
    GREEN,
    LOOK,
    OTHER,
    SKY,
    dot_with_interval,
    half_widths,
)
from darkknowledge.wording import number

CIFAR10 = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def gains(frame: pd.DataFrame, labels: dict[str, str]) -> Figure | None:
    """Gain over true labels on the same net by arm, a panel a pair: means with intervals, and single
    clusters (teachers, or seeds where there is none) as dots."""
    every = [pair for pair in networks.pairs(frame, labels) if pair.measured]
    if not every:
        return None
    arms = [[a for a in p.arms if networks.gain(p, *a).n] for p in every]
    figure, axes = plt.subplots(
        len(every),
        1,
        squeeze=False,
        figsize=(7.0, 0.9 + sum(0.35 + 0.26 * len(a) for a in arms)),
        height_ratios=[len(a) + 1 for a in arms],
    )
    for axis, pair, shown in zip(axes[:, 0], every, arms, strict=True):
        limit = _limit(pair, shown)
        for height, (arm, t) in enumerate(reversed(shown)):
            effect = networks.gain(pair, arm, t)
            colour, marker = _look(arm, t == pair.main)
            if abs(effect.mean) > limit:
                lost = effect.mean < 0
                text = f"← {number(effect.mean)}" if lost else f"{number(effect.mean)} →"
                side = {"x": -limit, "ha": "left"} if lost else {"x": limit, "ha": "right"}
                axis.text(**side, y=height, s=text, va="center", color=colour)
                continue
            inside = [v for v in effect.values if abs(v) <= limit]
            dot_with_interval(axis, effect, height, inside, (colour, marker))
        axis.axvline(0, color=LOOK["hard"][0], linewidth=1)
        axis.set_xlim(-1.05 * limit, 1.05 * limit)
        names = [networks.ARMS[arm] + (f", T = {t:g}" if t else "") for arm, t in reversed(shown)]
        axis.set_yticks(range(len(shown)), names)
        axis.set_ylim(-0.6, len(shown) - 0.4)
        axis.set_title(f"{pair.title} ({pair.data})", loc="left")
        axis.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("gain in test accuracy over true labels on the same net (points)")
    return figure


def _limit(pair: networks.Pair, arms: list[tuple[str, float | None]]) -> float:
    """Half the width of the axis: an arm that moves more than thrice what the middle one does would
    squeeze all of them together; it is written at the edge instead."""
    sizes = sorted(
        max(abs(v) for v in (e.mean, *e.values)) for e in (networks.gain(pair, *a) for a in arms)
    )
    kept = [size for size in sizes if size <= 3 * max(sizes[len(sizes) // 2], 1e-3)]
    return 1.15 * max(kept[-1], 0.05)


def _look(arm: str, main: bool) -> tuple[str, str]:
    if arm == "kd":
        return (BLUE if main else SKY), "D"
    return (GREEN, "^") if arm.startswith("kd") else OTHER


def class_gains(frame: pd.DataFrame, labels: dict[str, str]) -> Figure | None:
    """Gain of the main arm on each class, a panel a pair."""
    every = [pair for pair in networks.pairs(frame, labels) if pair.measured]
    if not every:
        return None
    figure, axes = plt.subplots(
        1, len(every), squeeze=False, figsize=(7.0, 2.6 if len(every) < 4 else 3.2)
    )
    for axis, pair in zip(axes[0], every, strict=True):
        for k, effect in enumerate(networks.class_gains(pair)):
            axis.errorbar(
                k,
                effect.mean,
                yerr=half_widths(effect),
                color=BLUE,
                marker="D",
                markersize=4,
                capsize=2,
                linestyle="none",
            )
        axis.axhline(0, color=LOOK["hard"][0], linewidth=1)
        natural = pair.frame["dataset"].iloc[0].startswith("cifar")
        axis.set_xticks(range(10), CIFAR10 if natural else [str(k) for k in range(10)])
        if natural:
            axis.tick_params(axis="x", rotation=90)
        axis.set_title(pair.title, loc="left", fontsize=8)
    axes[0][0].set_ylabel("gain on the class (points)")
    return figure
