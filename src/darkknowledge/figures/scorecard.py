"""Published numbers and ours on one axis."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from darkknowledge.answers.scorecard import Row
from darkknowledge.figures.common import BLUE, ORANGE, dot_with_interval
from darkknowledge.statistics import Effect

#: Shown as error rates in percent: unit → (factor, offset) of a value in that unit.
RATES = {
    "errors of 10000": (0.01, 0.0),
    "errors of 1010": (100 / 1010, 0.0),
    "percent errors of 10000": (1.0, 0.0),
    "percent accuracy": (-1.0, 100.0),
}


def rate(effect: Effect, unit: str) -> Effect:
    """An effect as an error rate in percent."""
    factor, offset = RATES[unit]
    low, high = sorted(factor * x + offset for x in (effect.low, effect.high))
    return Effect(effect.n, factor * effect.mean + offset, low, high, math.nan)


def published_and_ours(rows: list[Row]) -> Figure | None:
    """Error rates in percent on a log axis, published and ours, with their intervals; rows without
    records of ours are left to the table."""
    shown = [row for row in rows if row.unit in RATES and row.ours.n]
    if not shown:
        return None
    figure, axis = plt.subplots(figsize=(7.0, 0.9 + 0.36 * len(shown)))
    for height, row in enumerate(reversed(shown)):
        for effect, shift, colour, marker, label in (
            (row.published, 0.14, ORANGE, "o", "published"),
            (row.ours, -0.14, BLUE, "D", "ours"),
        ):
            found = rate(effect, row.unit)
            name = label if height == 0 else None
            dot_with_interval(axis, found, height + shift, (), (colour, marker), name)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(shown)), [row.what for row in reversed(shown)], fontsize=7.5)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("error rate (%)")
    axis.legend(loc="upper right")
    return figure
