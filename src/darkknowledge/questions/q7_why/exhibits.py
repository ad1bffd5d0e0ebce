"""The discussion, how it is shown: what each mechanism is worth; errors against the share of labels; a
table of all arms."""

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from darkknowledge.evidence import plots, tables
from darkknowledge.evidence.arms import BLUE, GREEN, PURPLE, SKY, VERMILION, Arm
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.plots import Row
from darkknowledge.evidence.samples import measured
from darkknowledge.questions.q7_why import findings
from darkknowledge.questions.q7_why.findings import FEW, VIEWS, named, portion, shares

#: The looks of the groups of mechanisms, and of what is done with few labels.
GROUPS = Arm("", colour=GREEN, marker="^"), Arm("", colour=PURPLE, marker="s"), Arm("", colour=BLUE)
#: The group whose costs are so much larger that they have a scale of their own.
TRAINING = "a teacher trained for less"
LOOKS = {
    "hard": Arm(FEW["hard"], colour=VERMILION, marker="o"),
    "kd": Arm(FEW["kd"], colour=SKY, marker="^"),
    "kd_all": Arm(FEW["kd_all"], colour=BLUE, marker="D"),
}


def taken(f: Findings) -> dict[str, dict[str, tuple[str, int]]]:
    """By group, what is taken away → the claim that tells what that costs, and the sign of the cost."""
    return {
        "taken out of the soft labels": {
            "what they say of wrong classes": ("kd_vs_confidence_only", -1),
            "the non-target part": ("target_part_vs_kd", 1),
            "the target part": ("nontarget_part_vs_kd", 1),
            "the parts' weights: both alike": ("decoupled_vs_kd", 1),
        },
        "taken from a student of half the images": {
            "images that the teacher knows": ("other_half_vs_kd_same_half", 1),
            "the teacher (hard labels)": ("other_half_vs_hard_other_half", -1),
        },
        TRAINING: {
            f"{epochs:,} of {whole:,} epochs": (f"{arm}_vs_kd", 1)
            for arm, (epochs, whole) in reversed(findings.worse_teachers(f).items())
        },
    }


def mechanisms(f: Findings) -> Figure | None:
    """What each thing that is taken away costs the student, with the interval that decides; the
    student without a teacher as a line, where it sees the same images."""
    groups = {
        title: [
            Row(what, f.claims[name].difference.pure * sign, look, f.claims[name].effect.level)
            for what, (name, sign) in rows.items()
            if f.claims[name].effect.bounded
        ]
        for look, (title, rows) in zip(GROUPS, taken(f).items(), strict=True)
    }
    shown = [title for title, rows in groups.items() if rows]
    if not shown:
        return None
    figure, axes = plots.grouped(groups, apart=TRAINING)
    alone = f.sample(arm="hard") - f.sample(arm="kd")
    if alone.values:  # of all images
        whole = [axis for axis, title in zip(axes, shown, strict=True) if "half" not in title]
        plots.line_across(whole, alone.mean, "no teacher")
    axes[-1].set_xlabel("test errors added (right: worth more)")
    return figure


def few_labels(f: Findings) -> Figure | None:
    """Test errors against the share of the images that have a label, on plain and on jittered images;
    on plain ones with all labels too. Where training broke down the single blocks stand alone."""
    known = {share: name for name, share in shares(f).items() if share}
    if not known:
        return None
    figure, axes = plt.subplots(1, 2, sharex=True, sharey=True, figsize=(plots.WIDTH, 2.7))
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].set_ylabel("test errors (log scale)")
    for axis, (view, title) in zip(axes, VIEWS.items(), strict=True):
        ends: dict[str, float] = {}
        for kind, look in LOOKS.items():
            arms = {share: f"{kind}_{name}{view}" for share, name in known.items()}
            if not view:  # with all labels both ways of distilling are one
                arms[1.0] = kind.removesuffix("_all")
            found = measured({share: f.sample(arm=arm) for share, arm in arms.items()})
            for share in [share for share in found if f.broken(arm=arms[share])]:
                values = list(found.pop(share).values.values())
                axis.scatter([share] * len(values), values, 9, look.colour, alpha=0.6)
                ends[kind] = max(values)
            plots.series(axis, found, look)
            ends |= {kind: found[max(known)].mean} if max(known) in found else {}
        plots.log_axis(axis, [*known, 1.0], "images with a label (log scale)")
        axis.set_xticklabels([portion(share) for share in (*known, 1.0)])
        axis.set_title(title, loc="left", fontweight="bold")
    _named(axes[1], max(known), ends)  # on jittered images, where nothing stands further right
    return figure


def _named(axis: Axes, place: float, ends: dict[str, float]) -> None:
    """The name of each line beside its end, none upon another."""
    bottom, top = map(math.log, axis.get_ylim())
    height = -1.0
    for kind, mean in sorted(ends.items(), key=lambda item: item[1]):
        height = max((math.log(mean) - bottom) / (top - bottom), height + 0.09)
        at, within = (place, height), ("data", "axes fraction")
        plots.name(axis, at, LOOKS[kind].label, "black", (7, 0), within, va="center")


def arms(f: Findings) -> pd.DataFrame:
    """All arms: test errors with a 95 % interval over blocks, the mean difference, over
    the blocks that both have from one type of processor, from hard labels with the same labels, and
    what is measured beside."""
    ends = [f"{name}{view}" for name in shares(f) for view in VIEWS]
    references = {f"{kind}_{end}": f"hard_{end}" for end in ends for kind in FEW}
    references |= dict.fromkeys(("kd_other_half", "hard_other_half"), "hard_other_half")
    references |= {"teacher_half": "", "kd_same_half": ""}  # no net on hard labels has that half
    return tables.arms(f, named(f), references)


TABLES = {"arms": arms}
FIGURES = {"mechanisms": mechanisms, "few-labels": few_labels}
