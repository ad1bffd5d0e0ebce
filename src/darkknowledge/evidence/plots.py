"""The look of all figures, and the few shapes that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from darkknowledge.evidence.arms import ARMS, GREY, Arm
from darkknowledge.evidence.samples import Sample
from darkknowledge.evidence.stats import Effect

#: Inches: the text of the paper is as wide.
WIDTH = 6.5


def style() -> None:
    """Set the look of every figure of the study."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.2),
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


def dot(
    axis: Axes,
    found: Effect,
    place: float,
    single: Iterable[float],
    look: Arm,
    label: str | None = None,
    vertical: bool = False,
) -> None:
    """A mean with its interval as a large marker, single blocks as small dots beside it, at a height
    (or, ``vertical``, at a place on the horizontal axis). ``label`` is for the legend."""
    if not found.n:
        return
    values = list(single)
    places = [place] * len(values)
    dots = (places, values) if vertical else (values, places)
    axis.scatter(*dots, s=9, color=look.colour, alpha=0.35, linewidths=0, zorder=2)
    half = [[found.mean - found.low], [found.high - found.mean]] if found.bounded else None
    middle = (place, found.mean) if vertical else (found.mean, place)
    axis.errorbar(
        *middle,
        yerr=half if vertical else None,
        xerr=None if vertical else half,
        color=look.colour,
        marker=look.marker,
        markersize=5.5,
        capsize=2.5,
        linestyle="none",
        label=label,
        zorder=3,
    )


def rows(axis: Axes, samples: Mapping[str, Sample], looks: Mapping[str, Arm] | None = None) -> None:
    """A dot plot, the first sample on top, each named at the left. ``looks`` default to those of the
    arms that the samples are named by."""
    looks = looks or ARMS
    names = list(samples)[::-1]
    for height, name in enumerate(names):
        dot(axis, samples[name].effect(), height, samples[name].values.values(), looks[name])
    axis.set_yticks(range(len(names)), [looks[name].label for name in names])
    axis.set_ylim(-0.6, len(samples) - 0.4)
    axis.grid(axis="y", visible=False)


def grouped(
    groups: Mapping[str, Mapping[str, Sample]], looks: Mapping[str, Arm] | None = None
) -> tuple[Figure, Sequence[Axes]]:
    """A panel of rows for each group that has any, under each other, with a shared horizontal axis."""
    shown = {title: samples for title, samples in groups.items() if samples}
    counts = [len(samples) for samples in shown.values()]
    figure, axes = plt.subplots(
        len(shown),
        1,
        squeeze=False,
        sharex=True,
        figsize=(WIDTH, 0.7 + 0.27 * sum(counts) + 0.25 * len(counts)),
        height_ratios=counts,
    )
    for axis, (title, samples) in zip(axes[:, 0], shown.items(), strict=True):
        rows(axis, samples, looks)
        axis.set_title(title, loc="left", fontweight="bold")
    return figure, list(axes[:, 0])


def line_across(axes: Iterable[Axes], value: float, text: str, vertical: bool = True) -> None:
    """A thin line through all panels, named on the first."""
    for i, axis in enumerate(axes):
        draw: Callable[..., Any] = axis.axvline if vertical else axis.axhline
        draw(value, color=GREY, linewidth=1, linestyle="--", zorder=1)
        if i == 0:  # beside the line, within the panel: above it stands the panel's title
            place = (value, 0) if vertical else (1, value)
            axis.annotate(
                text,
                place,
                (3, 2) if vertical else (0, 2),
                xycoords=("data", "axes fraction") if vertical else ("axes fraction", "data"),
                textcoords="offset points",
                ha="left" if vertical else "right",
                va="bottom",
                color=GREY,
                fontsize=7.5,
            )


def band(axis: Axes, found: Effect, look: Arm, vertical: bool = False) -> None:
    """A mean as a line and its interval as a band across an axis."""
    if not found.n:
        return
    line, span = (axis.axvline, axis.axvspan) if vertical else (axis.axhline, axis.axhspan)
    line(found.mean, color=look.colour, linewidth=1, zorder=1)
    if found.bounded:
        span(found.low, found.high, color=look.colour, alpha=0.12, linewidth=0, zorder=0)


def log_axis(axis: Axes, ticks: Sequence[float], label: str) -> None:
    """A logarithmic horizontal axis with just these numbers on it."""
    axis.set_xscale("log")
    axis.set_xlabel(label)
    axis.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels([f"{t:g}" for t in ticks])
