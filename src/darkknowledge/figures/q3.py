"""Q3: errors against temperature, and what temperature does to the teacher's soft labels."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from darkknowledge.answers.common import ARM_NAMES, rows_mean
from darkknowledge.answers.q3 import at, best, soft_gradient, temperatures, widths
from darkknowledge.figures.common import BLUE, GREEN, LOOK


def errors_by_temperature(frame: pd.DataFrame) -> Figure | None:
    """Test errors against T, a panel a width, with the band of the net on true labels."""
    done = frame[(frame["arm"] == "kd") & frame["test_errors"].notna()]
    every = [width for width in widths(frame) if str(width) in set(done["pair"])]
    if not every:
        return None
    figure, axes = plt.subplots(1, len(every), squeeze=False, figsize=(7.0, 3.2))
    colour, marker = LOOK["kd"]
    for axis, width in zip(axes[0], every, strict=True):
        found = {t: rows_mean(at(frame, width, t)) for t in temperatures(frame, width)}
        found = {t: effect for t, effect in found.items() if effect.n}
        for t in found:
            runs = at(frame, width, t)["test_errors"].dropna()
            axis.scatter([t] * len(runs), runs, s=8, color=colour, alpha=0.3, linewidths=0)
        means = [e.mean for e in found.values()]
        half = [0 if math.isnan(e.low) else e.high - e.mean for e in found.values()]
        axis.errorbar(
            list(found),
            means,
            yerr=half,
            color=colour,
            marker=marker,
            markersize=4,
            capsize=2,
            linewidth=1,
            label=ARM_NAMES["kd"],
        )
        chosen = best(frame, width)
        if chosen in found:
            axis.plot(
                chosen,
                found[chosen].mean,
                marker="o",
                markersize=11,
                fillstyle="none",
                color=colour,
                linestyle="none",
                label="T chosen on validation",
            )
        hard = rows_mean(at(frame, width))
        if hard.n:
            axis.axhline(hard.mean, color=LOOK["hard"][0], linewidth=1, label=ARM_NAMES["hard"])
        if not math.isnan(hard.low):
            axis.axhspan(hard.low, hard.high, color=LOOK["hard"][0], alpha=0.12, linewidth=0)
        axis.set_title(f"{width} units", loc="left")
        _log_axis(axis, list(found))
    axes[0][0].set_ylabel("test errors")
    handles = {h.get_label(): h for axis in axes[0] for h in axis.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    return figure


def _log_axis(axis: Axes, ticks: list[float]) -> None:
    axis.set_xscale("log")
    axis.set_xlabel("temperature T (log scale)")
    shown = [t for t in (0.1, 0.4, 1, 2, 4, 8, 20, 90) if t in ticks] or ticks
    axis.xaxis.set_major_locator(FixedLocator(shown))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels([f"{t:g}" for t in shown])


def soft_labels_by_temperature(frame: pd.DataFrame) -> Figure | None:
    """Entropy of the teachers' soft labels, and the soft part's share of the gradient, against T."""
    if all(soft_gradient(frame, width).empty for width in widths(frame)):
        return None
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.8))
    looks = ((BLUE, "D"), (GREEN, "^"), LOOK["hard"], LOOK["teacher"])
    for width, (colour, marker) in zip(widths(frame), looks, strict=False):
        table = soft_gradient(frame, width)
        if table.empty:
            continue
        style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1}
        if not axes[0].lines:  # the teachers are the same at every width
            axes[0].plot(table.index, table["entropy"], **style | {"color": LOOK["teacher"][0]})
        axes[1].plot(table.index, 100 * table["share"], label=f"{width} units", **style)
        for axis in axes:
            _log_axis(axis, list(table.index))
    axes[0].axhline(math.log(10), color=LOOK["hard"][0], linestyle="--", linewidth=1)
    axes[0].annotate(
        "uniform",
        (0.02, math.log(10)),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3),
        textcoords="offset points",
        va="top",
        color=LOOK["hard"][0],
        fontsize=8,
    )
    axes[0].set_ylabel("entropy of the soft labels (nats)")
    axes[1].set_ylabel("soft part's share of the\ngradient at the start (%)")
    axes[1].set_ylim(0, 100)
    axes[1].legend(loc="lower right")
    return figure
