"""Q2, how it is shown: differences from hard labels by arm; learning curves; tables of all arms, of
classes and of shares."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from darkknowledge.evidence import plots, tables, text
from darkknowledge.evidence.arms import ARMS, BROKEN_TEACHER, JITTERED, NO_TEACHER, REAL_TEACHER
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.plots import Row
from darkknowledge.evidence.samples import bounded, ratio
from darkknowledge.questions.q2_distillation.findings import RIVALS

#: What is drawn over the epochs, in multiples of what.
CURVES = {"validation_accuracy": 100, "loss_hard": 1}


def differences(f: Findings) -> Figure | None:
    """What each arm takes off the errors on hard labels, sorted within what it learns from; the teacher
    as a line."""
    hard = f.sample(arm="hard")
    arms = ("kd", "confidence_only", *RIVALS, "hard_jitter", "kd_jitter")
    found = bounded({arm: f.sample(arm=arm) - hard for arm in arms})
    if not found:
        return None
    order = JITTERED, REAL_TEACHER, BROKEN_TEACHER, NO_TEACHER
    groups: dict[str, list[Row]] = {group: [] for group in order}
    claims = f.claims | {"hard_jitter_vs_hard": f.claims["jitter_vs_hard"]}
    for arm in sorted(found, key=lambda arm: found[arm].mean):
        # What is compared elsewhere has no claim here; its bar is as long as that of a primary one.
        level = claims.get(f"{arm}_vs_hard", f.claims["kd_vs_hard"]).level
        name = plots.words(ARMS[arm].label.removesuffix(f", {JITTERED}"))
        groups[ARMS[arm].group].append(Row(name, found[arm], ARMS[arm], level))
    figure, axes = plots.grouped(groups)
    plots.line_across(axes, (f.sample(arm="teacher") - hard).mean, "the teacher itself")
    axes[-1].set_xlabel("test errors, difference from hard labels (left: fewer)")
    return figure


def learning_curves(f: Findings) -> Figure | None:
    """Validation accuracy and training loss over the epochs: mean and range over the blocks."""
    shown = [arm for arm in ("hard", "kd", "soft_only") if f.sample(arm=arm).values]
    if not shown:
        return None
    figure, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 2.5))
    for arm in shown:
        histories = [record["history"] for record in f.rows(arm=arm)["record"] if record]
        look = ARMS[arm]
        for axis, (key, scale) in zip(axes, CURVES.items(), strict=True):
            curves = scale * np.array([h[key] for h in histories], dtype=float)
            epochs = np.arange(1, curves.shape[1] + 1)
            span = epochs, curves.min(0), curves.max(0)
            axis.fill_between(*span, color=look.colour, alpha=0.18, linewidth=0)
            axis.plot(epochs, curves.mean(0), color=look.colour, linewidth=1.3, label=look.label)
            axis.set_xlabel("epoch")
    axes[0].set_ylabel("validation accuracy (%)")
    axes[1].set_ylabel("cross-entropy with hard labels,\ntraining (nats, log scale)")
    axes[1].set_yscale("log")
    axes[0].legend(loc="lower right")
    return figure


def by_class(f: Findings) -> pd.DataFrame:
    """One row per class: how many test images it has, the share of them that is recognised, as means over
    blocks, and what distillation changes of that against hard labels."""
    rows = []
    record = next(filter(None, f.frame["record"]), None)
    for number, images in enumerate(map(sum, record["test"]["confusion"]) if record else ()):

        def recall(row: Any, number: int = number, images: int = images) -> float:
            return 100 * float(row["record"]["test"]["confusion"][number][number]) / images

        found = {arm: f.sample(recall, arm=arm) for arm in ("teacher", "hard", "kd")}
        rows.append(
            {
                "class": text.plain(f.called(number)),
                "test images": f"{images:,}",
                **{f"{ARMS[arm].label} (%)": text.number(s.mean) for arm, s in found.items()},
                "difference (points)": text.signed((found["kd"] - found["hard"]).mean, 1),
            }
        )
    return pd.DataFrame(rows)


def shares(f: Findings) -> pd.DataFrame:
    """Shares of distillation's gain over hard labels, and of the gap to the teacher that it closes, with
    Fieller's intervals at 95 %."""
    hard = f.sample(arm="hard")
    gain = {arm: hard - f.sample(arm=arm) for arm in ("teacher", "kd", *RIVALS)}
    named = {f"gained by {text.plain(ARMS[arm].label)}": (gain[arm], gain["kd"]) for arm in RIVALS}
    named = {"closed of the gap to the teacher": (gain["kd"], gain["teacher"]), **named}
    found = {name: ratio(part, whole) for name, (part, whole) in named.items()}
    rows = [[name, text.percent(one), one.n] for name, one in found.items() if one.n]
    return pd.DataFrame(rows, columns=["what", "share", "n"])


TABLES = {"arms": tables.arms, "classes": by_class, "shares": shares}
FIGURES = {"differences": differences, "curves": learning_curves}
