"""Q4, how it is shown: recall of each omitted digit, before and after the shift; tables of all arms and
of the digits."""

from collections import Counter
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from darkknowledge.evidence import plots, stats, tables, text
from darkknowledge.evidence.arms import ARMS, BLACK, GREY, SKY, label
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import Sample, average, sample
from darkknowledge.questions.q4_unseen_digit.findings import called, digits, recalls, things

#: What recognises the digit, by its name in :func:`recalls`.
LOOKS = {
    "hard_label_free": replace(ARMS["hard"], label="hard labels, shifted"),
    "kd_none": replace(ARMS["kd"], label="distilled, not shifted", colour=SKY, marker="d"),
    "kd_label_free": replace(ARMS["kd"], label="distilled, shifted"),
    "seen": replace(ARMS["kd"], label="saw it", colour=BLACK, marker="|"),
}
#: What the shift moves, joined by a bar.
MOVED = ("kd_none", "kd_label_free")
TICKS = (0, 50, 80, 90, 95, 98, 99, 100)


def _stretched(recall: np.ndarray) -> np.ndarray:
    """Places on an axis with room where nets that know the digit lie: logarithms of what is missed."""
    return -np.log1p(np.maximum(100 - recall, -0.9))


def _recalled(place: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_stretched`."""
    return 101 - np.exp(-place)


def recall(f: Findings) -> Figure | None:
    """Per omitted digit, and for their mean, what each kind of student recognises of it."""
    found = recalls(f)
    rows: dict[str, dict[str, Sample]] = {
        "mean": {name: average([*found[name].values()]) for name in LOOKS},
        **{d: {name: found[name][d] for name in LOOKS} for d in digits(f)},
    }
    rows = {digit: row for digit, row in rows.items() if row["kd_label_free"].values}
    if not rows:
        return None
    # The mean on top, then from the digit that least needs the shift to the one that most does.
    order = sorted(rows, key=lambda digit: (digit == "mean", rows[digit]["kd_none"].mean))
    figure, axis = plt.subplots(figsize=(plots.WIDTH, 1.0 + 0.2 * len(order)))
    for height, digit in enumerate(order):
        ends = [rows[digit][name].mean for name in MOVED]
        axis.plot(ends, [height] * 2, color=SKY, linewidth=3.5, alpha=0.4, zorder=1)
        for name, look in LOOKS.items():
            # Without intervals: those of the few blocks on hard labels are wider than the axis.
            sample = rows[digit][name]
            alone = stats.mean([sample.mean] if sample.values else [])
            plots.dot(axis, alone, height, sample.values.values(), look)
            if name == MOVED[0]:  # may lie under where it moved to, and shows at its rim then
                axis.plot(sample.mean, height, look.marker, color=look.colour, ms=8, zorder=2.5)
        axis.plot(rows[digit]["seen"].mean, height, "|", color=BLACK, ms=11, mew=1.6, zorder=4)
    if order[-1] == "mean":
        axis.axhline(len(order) - 1.5, color=GREY, linewidth=0.6)
    names = [digit if digit == "mean" else called(f, digit) for digit in order]
    axis.set_yticks(range(len(order)), names, parse_math=False)  # a dollar in a name is one
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.set_xscale("function", functions=(_stretched, _recalled))
    axis.set_xticks(TICKS)
    axis.set_xlim(-8, 100.2)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("recognised images of the omitted class (%, stretched towards 100)")
    _named(axis, rows[order[-1]], len(order) - 1)
    return figure


def _named(axis: Axes, row: dict[str, Sample], height: int) -> None:
    """The name of each marker of the top row above the axes, in their order, with a line to it."""
    shown = sorted((s.mean, name) for name, s in row.items() if s.values)
    for place, (value, name) in zip(np.linspace(0.11, 0.89, len(shown)), shown, strict=True):
        axis.annotate(
            LOOKS[name].label, (value, height), (place, 1.09), textcoords="axes fraction", ha="center",
            va="bottom", fontsize=8,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 4},
        )  # fmt: skip


def by_digit(f: Findings) -> pd.DataFrame:
    """One row per omitted class: recall by arm and shift, what the class is taken for without a shift,
    the bias, and the errors in all."""
    found = recalls(f)
    kinds = {"not shifted": "none", "shifted": "label_free"}
    kinds |= {"by validation labels": "validation", "by test labels": "oracle"}
    rows = []
    for digit in digits(f):
        where = {"arm": "kd", "omitted": digit}
        errors = {kind: f.sample(f"errors_{shift}", **where) for kind, shift in kinds.items()}
        if not errors["shifted"].values:
            continue
        rows.append(
            {
                f"omitted {things(f)[0]}": text.plain(called(f, digit)),
                "hard labels, shifted (%)": text.number(found["hard_label_free"][digit].mean),
                **{
                    f"distilled, {kind} (%)": text.cell(found[f"kd_{shift}"][digit].effect(), 1)
                    for kind, shift in kinds.items()
                },
                "saw it (%)": text.number(found["seen"][digit].mean),
                "taken for": _taken_for(f, digit),
                "bias": text.signed(f.sample("bias_label_free", **where).mean, 2),
                "errors, not shifted": text.errors(errors["not shifted"].mean),
                "errors, shifted": text.errors(errors["shifted"].mean),
            }
        )
    return pd.DataFrame(rows)


def few_digits(f: Findings) -> pd.DataFrame:
    """Trained on few classes alone: test errors by arm and shift."""
    few, kinds = f.frame[f.frame["kept"] != ""], {"not shifted": "none", "shifted": "label_free"}
    return pd.DataFrame(
        {
            "arm": label(arm),
            things(f)[1]: text.joined(text.plain(called(f, digit)) for digit in kept.split()),
            **{
                name: text.cell(sample(few, f"errors_{shift}", arm=arm, kept=kept).effect())
                for name, shift in (kinds | {"by test labels": "oracle"}).items()
            },
        }
        for kept, arm in dict.fromkeys(zip(few["kept"], few["arm"], strict=True))
        if sample(few, arm=arm, kept=kept).values
    )


def _taken_for(f: Findings, digit: str) -> str:
    """The two digits that unshifted images of an omitted one go to most, with their shares."""
    calls: Counter[int] = Counter()
    for record in filter(None, f.rows(arm="kd", omitted=digit)["record"]):
        calls.update(dict(enumerate(record["unseen"]["none"]["confusion"][int(digit)])))
    total = sum(calls.values())
    wrong = [(n, k) for n, k in calls.most_common() if n != int(digit) and k]
    return text.joined(
        f"{text.plain(called(f, n))} ({text.percent(k / total, 1)})" for n, k in wrong[:2]
    )


TABLES = {"arms": tables.arms, "digits": by_digit, "few": few_digits}
FIGURES = {"recall": recall}
