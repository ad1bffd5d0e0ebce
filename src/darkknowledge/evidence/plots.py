"""The look of all figures, and the few shapes that they are made of."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from darkknowledge.evidence.arms import GREY, Arm
from darkknowledge.evidence.samples import Sample
from darkknowledge.evidence.stats import LEVEL, Effect

#: Inches: less than the text of the paper, so that letters can be read where a phone makes them smaller.
WIDTH = 5.2


def style() -> None:
    """Set the look of every figure of the study."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.2), "figure.facecolor": "white", "font.size": 9,
            "figure.constrained_layout.use": True, "axes.titlesize": 9, "axes.labelsize": 9,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
            "grid.color": "#dddddd", "grid.linewidth": 0.6, "legend.fontsize": 8,
            "legend.frameon": False, "svg.hashsalt": "darkknowledge", "svg.fonttype": "path",
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What stands in a row of a dot plot; its interval is at ``level``."""

    name: str
    sample: Sample
    look: Arm
    level: float = LEVEL


def dot(
    axis: Axes,
    found: Effect,
    place: float,
    single: Iterable[float],
    look: Arm,
    vertical: bool = False,
) -> None:
    """A mean with its interval as a large marker, single blocks as small dots beside it, at a height
    (or, ``vertical``, at a place on the horizontal axis)."""
    if not found.n:
        return
    values = list(single)
    places = [place] * len(values)
    dots = (places, values) if vertical else (values, places)
    axis.scatter(*dots, s=9, color=look.colour, alpha=0.35, linewidths=0, zorder=2)
    half = [[found.mean - found.low], [found.high - found.mean]] if found.bounded else None
    bar: dict[str, Any] = {"yerr" if vertical else "xerr": half}
    middle = (place, found.mean) if vertical else (found.mean, place)
    axis.errorbar(
        *middle, **bar, color=look.colour, marker=look.marker,
        markersize=5.5, capsize=2.5, linestyle="none", zorder=3,
    )  # fmt: skip


def _bounded(found: Effect, fewest: int) -> Effect:
    """Without an interval if there are fewer blocks."""
    return found if found.n >= fewest else replace(found, low=math.nan, high=math.nan)


def words(label: str) -> str:
    """What an arm is called, with its index as matplotlib writes it."""
    return label.replace("KD reg", r"KD$_{\mathrm{reg}}$")


def series(
    axis: Axes,
    samples: Mapping[float, Sample],
    look: Arm,
    levels: Mapping[float, float] = {},
    fewest: int = 2,
) -> None:
    """Samples by their place on the horizontal axis, joined by a line; ``levels`` of their intervals, by
    the same places; none is drawn for fewer than ``fewest`` blocks."""
    means = [sample.mean for sample in samples.values()]
    axis.plot(list(samples), means, color=look.colour, linewidth=1.3, zorder=1.8)
    for place, sample in samples.items():
        found = _bounded(sample.effect(levels.get(place, LEVEL)), fewest)
        dot(axis, found, place, sample.values.values(), look, vertical=True)


def grouped(
    groups: Mapping[str, Sequence[Row]], apart: str = "", fewest: int = 2
) -> tuple[Figure, Sequence[Axes]]:
    """Differences as dot plots: a panel of rows for each group that has any, the first row on top,
    under each other, with a line at 0 and a shared horizontal axis, but for the group that stands
    ``apart``; no interval is drawn for fewer than ``fewest`` blocks."""
    shown = {title: rows[::-1] for title, rows in groups.items() if rows}
    counts = [len(rows) for rows in shown.values()]
    size = WIDTH, 0.7 + 0.25 * sum(counts) + 0.25 * len(counts)
    figure, axes = plt.subplots(len(shown), 1, squeeze=False, figsize=size, height_ratios=counts)
    alike = [a for a, title in zip(axes[:, 0], shown, strict=True) if title != apart]
    for axis in alike[:-1]:
        axis.sharex(alike[-1])
        axis.tick_params(labelbottom=False)
    for axis, (title, rows) in zip(axes[:, 0], shown.items(), strict=True):
        for height, row in enumerate(rows):
            found = _bounded(row.sample.effect(row.level), fewest)
            dot(axis, found, height, row.sample.values.values(), row.look)
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(axis="y", visible=False)
        axis.axvline(0, color="black", linewidth=0.8, zorder=1.6)  # over the grid
        # at the left edge of the figure, clear of a line's name
        where = "figure fraction", "axes fraction"
        axis.annotate(title, (0.01, 1), (0, 3), where, "offset points", fontweight="bold")
    return figure, list(axes[:, 0])


def line_across(axes: Iterable[Axes], value: float, text: str) -> None:
    """A thin upright line through all panels, named above the first, whose title stands further left."""
    for i, axis in enumerate(axes):
        axis.axvline(value, color=GREY, linewidth=1, linestyle="--", zorder=1)
        if i == 0:
            side = "left" if value < sum(axis.get_xlim()) / 2 else "right"
            name(axis, (value, 1), text, GREY, (0, 3), ("data", "axes fraction"), ha=side)


def name(
    axis: Axes,
    place: tuple[float, float],
    words: str,
    colour: str,
    offset: tuple[float, float] = (0, 0),
    within: str | tuple[str, str] = ("axes fraction", "data"),
    **look: Any,
) -> None:
    """Write what a line is beside a place on it, ``offset`` by so many points."""
    axis.annotate(
        words, place, offset, within, "offset points", color=colour, **{"fontsize": 8} | look
    )


def band(axis: Axes, found: Effect, look: Arm) -> None:
    """A mean as a line and its interval as a band across an axis."""
    if not found.n:
        return
    axis.axhline(found.mean, color=look.colour, linewidth=1, zorder=1)
    if found.bounded:
        axis.axhspan(found.low, found.high, color=look.colour, alpha=0.12, linewidth=0, zorder=0)


def log_axis(axis: Axes, ticks: Sequence[float], label: str, near: float = 0) -> None:
    """A logarithmic horizontal axis with just these numbers on it, but for those that stand as ``near``
    to the one before, as a share of the axis."""
    axis.set_xscale("log")
    axis.set_xlabel(label)
    axis.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axis.xaxis.set_minor_locator(NullLocator())
    told = [ticks[0]]
    for tick in ticks:
        if math.log(tick / told[-1]) > near * math.log(ticks[-1] / ticks[0]):
            told.append(tick)
    axis.set_xticklabels([f"{t:g}" if t in told else "" for t in ticks])
