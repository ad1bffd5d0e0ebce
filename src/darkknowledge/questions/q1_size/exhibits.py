"""Q1, how it is shown: errors against parameters with and without augmentation and dropout; a table of
what each network costs, and one of all arms."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from darkknowledge.config import project_root
from darkknowledge.evidence import plots, tables, text
from darkknowledge.evidence import stats as st
from darkknowledge.evidence.arms import ARMS, GREY, label
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import Sample
from darkknowledge.questions.q1_size.findings import cost, eight_bits, latencies
from darkknowledge.spec import ModelSpec

#: The two curves: what each is called (the second by what it is trained with), the arms on it, the one
#: whose colour it has, and its line.
CURVES = (
    ("plain", ("hard",), "hard", "-"),
    ("trained like\nthe teacher", ("hard_augmented", "teacher"), "hard_augmented", "--"),
)
#: Rows of ``report/literature.csv``: errors → the parameters of the network that made them.
PUBLISHED = {
    "hinton-hard": "hinton-student-parameters",
    "hinton-teacher": "hinton-teacher-parameters",
}
#: A ring stands so far to the right of its place that it does not hide our own point.
ASIDE = 1.09
#: Curves that end closer than this share of the axis have names that would overlap.
NEAR = 0.2


def errors_by_size(f: Findings) -> Figure | None:
    """Errors against parameters: one curve plain, one with augmentation and dropout; published points
    as rings."""
    curves = [(points(f, arms), name, look, line) for name, arms, look, line in CURVES]
    curves = sorted((c for c in curves if c[0]), key=lambda c: c[0][-1][-1].mean)
    if not curves:
        return None
    figure, axis = plt.subplots(figsize=(plots.WIDTH, 2.6))
    for found, _, look, line in curves:
        means = [sample.mean for *_, sample in found]
        sizes = [size for size, *_ in found]
        axis.plot(sizes, means, line, color=ARMS[look].colour, linewidth=1.3, zorder=2)
        for size, arm, _, sample in found:
            plots.dot(axis, sample.effect(), size, (), ARMS[arm], vertical=True)
    if f.dataset == "mnist":
        rings(f, axis)
    named = {size: net for found, *_ in curves for size, _, net, _ in found}
    ticks = sorted(named)
    widths = "units" if all(net.startswith("mlp") for net in named.values()) else "widths"
    plots.log_axis(axis, ticks, f"parameters in millions (logarithmic); below, {widths} per layer")
    axis.set_xticklabels([f"{size / 1e6:.2g}\n{width(named[size])}" for size in ticks])
    axis.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
    axis.set_ylabel(f"test errors of {f.images(f.dataset):,}")
    axis.set_ylim(bottom=0)
    ends = [found[-1][-1].mean for found, *_ in curves]
    near = len(ends) > 1 and ends[1] - ends[0] < NEAR * axis.get_ylim()[1]
    for end, place, (_, name, look, _) in zip(ends, ("top", "bottom"), curves, strict=False):
        where: dict[str, Any] = {"va": place if near else "center", "fontweight": "bold"}
        plots.name(axis, (1, end), name, ARMS[look].colour, (4, 0), fontsize=None, **where)
    return figure


def points(f: Findings, arms: tuple[str, ...]) -> list[tuple[float, str, str, Sample]]:
    """Parameters, arm, net and errors of each measured network of these arms, the smallest first."""
    found = []
    for arm in arms:
        for net in f.rows(arm=arm)["model"].unique():
            sample = f.sample(arm=arm, model=net)
            if sample.values:
                size = f.sample(cost("parameters"), arm=arm, model=net).mean
                found.append((size, arm, str(net), sample))
    return sorted(found, key=lambda point: point[0])


def width(net: str) -> str:
    """``800``, or the widths one after the other."""
    hidden = ModelSpec.named(net).hidden
    return " ".join(f"{units:,}" for units in (hidden[:1] if len(set(hidden)) == 1 else hidden))


def rings(f: Findings, axis: Axes) -> None:
    """The published single runs, each with the interval that so many test images leave."""
    theirs = pd.read_csv(project_root() / "report" / "literature.csv", index_col="id")["value"]
    for i, (row, parameters) in enumerate(PUBLISHED.items()):
        errors, place = float(theirs[row]), ASIDE * float(theirs[parameters])
        low, high = st.wilson(errors, f.images(f.dataset))
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "markersize": 7}
        line: dict[str, Any] = {"color": GREY, "linewidth": 1, "capsize": 2.5, "zorder": 2}
        axis.errorbar(place, errors, [[errors - low], [high - errors]], **ring, **line)
        if i == 0:
            look = {"ha": "center", "va": "bottom"}
            plots.name(axis, (place, high), "published", GREY, (0, 2), "data", **look)


def costs(f: Findings) -> pd.DataFrame:
    """One row per network and way of training, the largest first: its size, its work, its time, its
    errors. Latencies and errors with eight-bit weights are left out where none were measured."""
    measured = latencies(f)
    batches = sorted({batch for _, batch in measured})
    rows = []
    groups = f.frame.groupby(["model", "arm"], sort=False)
    for (net, arm), runs in sorted(groups, key=lambda g: ModelSpec.named(g[0][0]).hidden)[::-1]:
        if not (record := next(filter(None, runs["record"]), None)):
            continue
        row = {"network": text.network(net), "arm": label(arm)}
        row |= {
            head: text.number(record["cost"][k] / unit, d) for k, (head, unit, d) in COSTS.items()
        }
        row["epochs"] = str(runs["epochs"].iloc[0])
        row["training"] = text.seconds(runs["seconds"].mean())
        for batch in batches:
            time = measured.get((net, batch))
            both = [text.seconds(time[key]) for key in ("median", "iqr")] if time else []
            heading = f"latency, {batch} image{'s'[: batch > 1]} (IQR)"
            row[heading] = "{} ({})".format(*both) if time else ""
        row["test errors"] = text.cell(f.sample(arm=arm, model=net).effect())
        rounded = eight_bits(f, arm=arm, model=net)
        row["with eight-bit weights"] = text.cell(rounded.effect()) if rounded.values else ""
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.loc[:, (table != "").any()]


#: Costs that a record has: heading, unit, decimals.
COSTS = {
    "parameters": ("parameters", 1, 0),
    "flops": ("FLOPs per image", 1, 0),
    "bytes_fp32": ("fp32 (MB)", 1e6, 2),
    "bytes_fp16": ("fp16 (MB)", 1e6, 2),
}
TABLES = {"arms": tables.arms, "cost": costs}
FIGURES = {"sizes": errors_by_size}
