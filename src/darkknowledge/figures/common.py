"""The look of all figures: Okabe–Ito colours and markers, intervals drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from darkknowledge.statistics import Effect

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


def dot_with_interval(
    axis: Axes,
    effect: Effect,
    height: float,
    single: Iterable[float],
    look: tuple[str, str],
    label: str | None = None,
) -> None:
    """One row of a dot plot: mean and interval as a large marker, single values as small dots.
    ``label`` is for the legend."""
    colour, marker = look
    single = list(single)
    axis.scatter(single, [height] * len(single), s=10, color=colour, alpha=0.35, linewidths=0)
    axis.errorbar(
        effect.mean,
        height,
        xerr=half_widths(effect),
        color=colour,
        marker=marker,
        markersize=6,
        capsize=3,
        linestyle="none",
        label=label,
    )


def probability_bars(axis: Axes, logits: np.ndarray, digit: int, temperature: float = 1.0) -> None:
    """Softmax of ``logits`` [classes] at a temperature as bars, the class ``digit`` in another
    colour; probabilities from 0 to 1, the first class on top."""
    z = (logits - logits.max()) / temperature
    p = np.exp(z) / np.exp(z).sum()
    colours = [ORANGE if c == digit else BLUE for c in range(len(p))]
    axis.barh(range(len(p)), p, color=colours, height=0.8)
    axis.set_xlim(0, 1)
    axis.set_ylim(len(p) - 0.4, -0.6)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)


def half_widths(effect: Effect) -> list[list[float]] | None:
    """For matplotlib's error bars: distances of the interval's ends from the mean, or None."""
    if math.isnan(effect.low):
        return None
    return [[effect.mean - effect.low], [effect.high - effect.mean]]
