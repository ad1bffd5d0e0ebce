"""Q5 and Q6, how it is shown: the gain over hard labels against the weight of the soft labels, and beside
what needs no teacher; a table of all arms."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from darkknowledge.evidence import plots, tables, text
from darkknowledge.evidence.arms import ARMS, BLUE, GREY, VERMILION, Arm
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.plots import Row
from darkknowledge.evidence.samples import Sample, bounded
from darkknowledge.evidence.stats import FEWEST
from darkknowledge.questions.q5_q6_pairs.findings import ARM, TEACHERLESS, WORDS, Pair, pairs

#: Who teaches, as the lines are named, and each marker as a letter.
TEACHERS = {
    "by_weak": Arm("smaller", colour=VERMILION, marker="v"),
    "by_own": Arm("own kind", colour=BLUE, marker="o"),
}
MARKERS = {"v": "\N{BLACK DOWN-POINTING TRIANGLE}", "o": "\N{BLACK CIRCLE}"}
#: What the arms are called here, and rivals whose claim has another name.
NAMES = WORDS | {"hard_equal_budget": "hard labels, twice the epochs"}
RIVALS = {"label_smoothing": "smoothing"}
#: How far the markers of two teachers stand apart, in weights; panels per row; points per line of names.
APART, PANELS, LINE = 0.08, 3, 11


@dataclass(frozen=True)
class Line:
    """What a teacher is worth on one data set: differences from hard labels by weight, the levels at
    which they are judged, and the difference that matters there."""

    pair: Pair
    differences: dict[float, Sample]
    levels: dict[float, float]
    delta: float


def gains(*findings: Findings) -> Figure | None:
    """The difference from hard labels against the weight, fewer errors above: a panel per student, in
    it a line per question, named with the accuracy of its teacher; shaded is what would not matter.
    Where there is no verdict there is no interval."""
    panels: dict[tuple[str, str], list[Line]] = {}
    for f in findings:
        for pair in pairs(f).values():
            claims = {a: f.claims[pair.claim_of(a)] for a in pair.alphas}
            if found := bounded({a: claim.difference.pure for a, claim in claims.items()}):
                levels = {a: claim.level for a, claim in claims.items()}
                line = Line(pair, found, levels, claims[pair.alphas[0]].delta)
                panels.setdefault((pair.dataset, pair.student), []).append(line)
    if not panels:
        return None
    rows = -(-len(panels) // PANELS)
    size = plots.WIDTH, 2.7 * rows
    figure, axes = plt.subplots(rows, min(PANELS, len(panels)), squeeze=False, figsize=size)
    seen: set[str] = set()
    for axis, ((dataset, student), lines) in zip(axes.flat, panels.items(), strict=False):
        name = text.network(student) if dataset in seen else lines[0].pair.data
        panel(axis, lines, name)
        seen.add(dataset)
    for first in axes[:, 0]:
        first.set_ylabel("test errors, difference from\nhard labels (up: fewer errors)")
    for empty in axes.flat[len(panels) :]:
        empty.remove()
    return figure


def panel(axis: Axes, lines: list[Line], name: str) -> None:
    """The lines of one student, over them its accuracy and that of each teacher."""
    pair, delta = lines[0].pair, lines[0].delta
    axis.axhspan(-delta, delta, color=GREY, alpha=0.15, linewidth=0, zorder=0)
    axis.axhline(0, color="black", linewidth=0.8, zorder=1.6)  # over the grid
    axis.invert_yaxis()
    for i, line in enumerate(lines):
        look, shift = TEACHERS[line.pair.arm], APART * (i - (len(lines) - 1) / 2)
        samples = {a + shift: sample for a, sample in line.differences.items()}
        levels = {a + shift: line.levels[a] for a in line.differences}
        plots.series(axis, samples, look, levels, FEWEST)
        accuracy = text.percent(line.pair.accuracy["teacher"], 1)
        who = f"{MARKERS[look.marker]} {look.label}: {accuracy}"
        over = 0, 4 + LINE * (len(lines) - 1 - i)
        plots.name(axis, (0, 1), who, look.colour, over, "axes fraction")
    weights = sorted({alpha for line in lines for alpha in line.differences})
    axis.set_xticks(weights, [f"{alpha:g}" for alpha in weights])
    axis.set_xlim(0, 1)
    axis.margins(y=0.2)
    axis.set_xlabel("weight α")
    hard = text.percent(pair.accuracy["student"], 1)
    title = f"{name}\nhard labels: {hard}"
    axis.set_title(title, loc="left", fontsize=8, pad=6 + LINE * len(lines))


def rivals(f: Findings, large: Findings | None = None) -> Figure | None:
    """The difference from hard labels of the taught student, and of what needs no teacher: a panel per
    student, that of ``large`` networks beneath; shaded is what would not matter. Where there is no
    verdict there is no interval."""
    groups: dict[str, list[Row]] = {}
    for one in filter(None, (f, large)):
        pair = pairs(one)["images"]
        main = one.claims[f"{pair.arm}_vs_hard"]
        rows = [Row(NAMES[pair.arm], main.difference.pure, ARMS[pair.arm], main.level)]
        for arm in TEACHERLESS:
            level = one.claims.get(f"{RIVALS.get(arm, arm)}_vs_hard", main).level
            difference = (pair.net(arm) - pair.net("hard")).pure
            rows.append(
                Row(plots.words(NAMES.get(arm, ARMS[arm].label)), difference, ARMS[arm], level)
            )
        title = f"{text.network(pair.student)}, {pair.data}"
        groups[title] = [row for row in rows if row.sample.values]
    if not any(groups.values()):
        return None
    figure, axes = plots.grouped(groups, fewest=FEWEST)
    delta = f.claims[f"{ARM[f.question]}_vs_hard"].delta
    for axis in axes:
        axis.axvspan(-delta, delta, color=GREY, alpha=0.15, linewidth=0, zorder=0)
    axes[-1].set_xlabel("difference in test errors (left: fewer)")
    return figure


def arms(f: Findings) -> pd.DataFrame:
    """All arms, by data set."""
    return tables.arms(f, NAMES)


TABLES = {"arms": arms}
FIGURES = {"gain": gains, "rivals": rivals}
