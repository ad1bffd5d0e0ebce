"""Q3, how it is shown: errors against the temperature for each net, and how soft the labels are."""

import math
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from darkknowledge.evidence import plots, tables, text
from darkknowledge.evidence.arms import ARMS, GREY
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import Sample, measured
from darkknowledge.questions.q3_temperature.findings import nets, temperatures


def entropy(row: Any) -> float:
    """That of the teacher's soft labels, in nats."""
    return float((row["record"].get("soft_targets") or {}).get("entropy", math.nan))


def distilled(f: Findings, net: str, measure: Any = "test_errors") -> dict[float, Sample]:
    """What is measured of a distilled net, by temperature."""
    every = temperatures(f, model=net)
    return measured({t: f.sample(measure, arm="kd", model=net, temperature=t) for t in every})


def by_temperature(f: Findings) -> Figure | None:
    """A panel per net: errors against T, hard labels as a band, the teacher as a line; under it the
    entropy of the teacher's soft labels."""
    shown = {net: found for net in nets(f) if (found := distilled(f, net))}
    if not shown:
        return None
    figure, axes = plt.subplots(
        2, len(shown), squeeze=False, sharex=True, sharey="row", figsize=(plots.WIDTH, 3.2),
        height_ratios=(3.4, 1),
    )  # fmt: skip
    uniform = math.log(f.rows()["record"].dropna().iloc[0]["spec"]["data"]["classes"])
    ticks = sorted({t for found in shown.values() for t in found})
    for i, (net, found) in enumerate(shown.items()):
        upper, lower = axes[:, i]
        lines = {
            "hard": f.sample(arm="hard", model=net).effect(),
            "teacher": f.sample(arm="teacher").effect(),
            "kd": found[max(found)].effect(),
        }
        last = [found[t].effect() for t in sorted(found)[-3:]]
        over = max(effect.high if effect.bounded else effect.mean for effect in last)
        plots.band(upper, lines["hard"], ARMS["hard"])
        if lines["teacher"].n:
            upper.axhline(lines["teacher"].mean, color="black", linewidth=1, linestyle="--")
        plots.series(upper, found, ARMS["kd"])
        soft = {t: sample.mean for t, sample in distilled(f, net, entropy).items()}
        lower.plot(list(soft), list(soft.values()), color="black", linewidth=1.3)
        lower.axhline(uniform, color=GREY, linewidth=1, linestyle="--")
        plots.log_axis(lower, ticks, "temperature T", near=0.033 * len(shown))
        lower.tick_params(axis="x", labelsize=8)
        upper.set_title(text.network(net), loc="left", fontweight="bold")
        if i == 0:  # scales are shared, and so are names
            for arm, line in lines.items():
                if line.n:
                    # the distilled net's stands over its intervals, not upon them
                    height = over if arm == "kd" else line.mean
                    below = arm == "teacher"  # over its line are the errors
                    aside, at = ((-2, -3), "top") if below else ((-2, 4), "baseline")
                    look = {"ha": "right", "va": at}
                    plots.name(upper, (1, height), ARMS[arm].label, ARMS[arm].colour, aside, **look)
            plots.name(lower, (0, uniform), "uniform labels", GREY, (2, -3), va="top")
    bottom, top = axes[0, 0].get_ylim()  # with room for the name under the teacher's line
    room = lines["teacher"].mean - 0.1 * (top - bottom) if lines["teacher"].n else bottom
    axes[0, 0].set_ylim(min(bottom, room), top)
    axes[0, 0].set_ylabel("test errors")
    axes[1, 0].set_ylabel("entropy\n(nats)", fontsize=8)
    return figure


TABLES = {"arms": tables.arms}
FIGURES = {"temperatures": by_temperature}
