"""The discussion: errors by arm of each experiment, and fidelity against errors."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from darkknowledge.answers.common import errors_of
from darkknowledge.answers.q7 import COMPARISONS, EXPERIMENTS, NAMES, students
from darkknowledge.claims import runs_of
from darkknowledge.figures.common import BLUE, GREEN, LOOK, OTHER, dot_with_interval


def errors_by_arm(frame: pd.DataFrame, experiment: str) -> Figure | None:
    """Test errors of an experiment's arms: means with intervals, single runs as dots. An arm with
    more than thrice the fewest errors is written at the edge instead."""
    shown = [arm for arm in EXPERIMENTS[experiment] if errors_of(frame, arm).n]
    names = {arm.name for arm in shown}
    if not any(names.issuperset(pair) for pair in COMPARISONS[experiment].values()):
        return None
    figure, axis = plt.subplots(figsize=(7.0, 0.9 + 0.32 * len(shown)))
    means = {arm: errors_of(frame, arm) for arm in shown}
    fewest = min(effect.mean for effect in means.values())
    near = {arm: e for arm, e in means.items() if e.mean <= 3 * fewest}
    single = {arm: runs_of(frame, arm)["test_errors"].dropna() for arm in shown}
    low, high = (f(single[arm].agg(f.__name__) for arm in near) for f in (min, max))
    ends = [(e.low, e.high) for e in near.values() if not math.isnan(e.low)]
    low, high = min([low, *(a for a, _ in ends)]), max([high, *(b for _, b in ends)])
    margin = 0.08 * max(high - low, 1)
    for height, arm in enumerate(reversed(shown)):
        colour, marker = _look(arm.name)
        if arm not in near:
            text = f"{means[arm].mean:.0f} →"
            axis.text(high, height, text, ha="right", va="center", color=colour)
            continue
        dot_with_interval(axis, means[arm], height, single[arm], (colour, marker))
    axis.set_xlim(low - margin, high + margin)
    axis.set_yticks(range(len(shown)), [NAMES[arm.name] for arm in reversed(shown)])
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("test errors")
    return figure


def _look(name: str) -> tuple[str, str]:
    if name.startswith("hard"):
        return LOOK["hard"]
    if name.startswith("teacher"):
        return LOOK["teacher"]
    if name in ("kd", "kd_parts", "kd_same_view", "kd_same_view_longer"):
        return BLUE, "D"
    return (GREEN, "^") if name.startswith("kd") else OTHER


def fidelity(frames: dict[str, pd.DataFrame], labels: str) -> Figure | None:
    """Test errors against agreement with the teacher, and against the share of the teacher's errors
    that is repeated; a column a net, a point a setting (its mean over runs)."""
    table = students(frames, labels)
    counts = table["model"].value_counts()
    nets = [model for model in table["model"].unique() if counts[model] > 1]
    if not nets:
        return None
    figure, axes = plt.subplots(2, len(nets), squeeze=False, figsize=(7.0, 4.4), sharey="col")
    heads = {"agreement": "agreement (%)", "repeated": "teacher's errors repeated (%)"}
    for column, model in enumerate(nets):
        rows = table[table["model"] == model]
        for axis, (measure, head) in zip(axes[:, column], heads.items(), strict=True):
            axis.scatter(100 * rows[measure], rows["test_errors"], s=22, color=BLUE, marker="D")
            axis.set_xlabel(head)
        axes[0][column].set_title(model, loc="left")
    for row in axes:
        row[0].set_ylabel("test errors")
    return figure
