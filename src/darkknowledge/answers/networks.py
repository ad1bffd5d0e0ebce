"""What Q5 and Q6 share: pairs of networks, their claims and their sentences."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.answers.common import Answer, rows_mean
from darkknowledge.claims import Arm, Claim, adjusted, between, to_teacher
from darkknowledge.wording import DATASETS, joined, number, signed

#: Arms of Q5 and Q6 in the order of tables and figures; the words suit both questions.
ARMS = {
    "hard": "true labels",
    "kd": "distilled",
    "kd_yuan": "distilled, weights of Yuan et al.",
    "kd_generation2": "distilled, second generation",
    "kd_poor": "distilled, poorly trained teacher",
    "tfkd_reg": "virtual teacher (Tf-KD_reg)",
    "uniform_teacher": "uniform teacher",
    "label_smoothing": "label smoothing, same weight",
    "label_smoothing_mild": "label smoothing, usual weight",
    "shuffled_teacher": "shuffled teacher",
    "permuted_teacher": "permuted teacher",
    "untrained_teacher": "untrained teacher",
    "hard_equal_budget": "true labels, twice the epochs",
    "hard_forward": "weak net, true labels",
    "kd_forward": "weak net, distilled (forward)",
}
#: The reference of an arm; all others are compared with true labels on the same net.
REFERENCE = {"kd_forward": "hard_forward"}
NO_GAIN = ("hard", "hard_forward")
#: Controls without any net for a teacher.
TEACHER_FREE = ("tfkd_reg", "uniform_teacher", "label_smoothing", "label_smoothing_mild")


@dataclass(frozen=True)
class Pair:
    """The runs of one pair (or of one net with itself) in a question's frame."""

    name: str
    frame: pd.DataFrame
    labels: str

    @property
    def measured(self) -> bool:
        """Whether it has a distilled run of the main arm and its baseline."""
        return self.claim("kd", self.main).measured

    @property
    def title(self) -> str:
        """As ``resnet8 > resnet20``; a net with itself by its name alone."""
        weak, strong = self.nets
        return strong if weak == strong else f"{weak} > {strong}"

    @property
    def data(self) -> str:
        """The data set's name."""
        return DATASETS[self.frame["dataset"].iloc[0]]

    @functools.cached_property
    def main(self) -> float:
        """The main arm's temperature, the first one planned."""
        return float(self.frame.loc[self.frame["arm"] == "kd", "temperature"].iloc[0])

    @property
    def temperatures(self) -> list[float]:
        """All temperatures of the distilled net, in order."""
        return sorted(self.frame.loc[self.frame["arm"] == "kd", "temperature"].unique())

    @property
    def nets(self) -> tuple[str, str]:
        """(teacher, student)."""
        weak, _, strong = self.name.partition(">")
        return weak, strong

    @functools.cached_property
    def _by_arm(self) -> dict[str, pd.DataFrame]:
        return dict(iter(self.frame.groupby("arm", sort=False)))

    @functools.cached_property
    def _by_temperature(self) -> dict[float, pd.DataFrame]:
        return dict(iter(self._by_arm["kd"].groupby("temperature", sort=False)))

    def rows(self, arm: str, temperature: float | None = None) -> pd.DataFrame:
        """The runs of an arm; of ``kd`` at a temperature, by default the main one."""
        if arm == "kd":
            return self._by_temperature.get(temperature or self.main, self.frame.iloc[:0])
        return self._by_arm.get(arm, self.frame.iloc[:0])

    def claim(self, arm: str, temperature: float | None = None) -> Claim:
        """An arm against true labels on the same net, seed by seed."""
        against = REFERENCE.get(arm, "hard")
        label = f"{ARMS[arm]}, T = {temperature:g}" if temperature else ARMS[arm]
        return between(
            f"{self.name}.{arm}" + (f"_t{temperature:g}" if temperature else ""),
            self.rows(arm, temperature),
            self.rows(against),
            Arm(f"{self.title}: {label}"),
            Arm(ARMS[against]),
            self.labels,
        )

    @property
    def compared(self) -> tuple[st.Effect, st.Effect]:
        """Errors of the main arm and of true labels, over the seeds that have both."""
        sides = [self.rows(arm).dropna(subset=["test_errors"]) for arm in ("kd", "hard")]
        shared = set(sides[0]["seed"]) & set(sides[1]["seed"])
        kd, hard = (rows_mean(side[side["seed"].isin(shared)]) for side in sides)
        return kd, hard

    def versus(self, control: str) -> Claim:
        """The main arm against a control."""
        return between(
            f"{self.name}.kd_vs_{control}",
            self.rows("kd"),
            self.rows(control),
            Arm(f"{self.title}: {ARMS['kd']}"),
            Arm(ARMS[control]),
            self.labels,
        )

    def versus_teacher(self) -> Claim:
        """The main arm against its own teachers."""
        students = self.rows("kd")
        rows = pd.concat([self.rows("teacher"), students])
        arm = Arm("kd", students["protocol"].iloc[0])
        found = to_teacher(f"{self.name}.kd_vs_teacher", rows, arm, self.labels)
        return replace(
            found, subject=Arm(f"{self.title}: {ARMS['kd']}"), reference=Arm("own teacher")
        )

    @property
    def arms(self) -> list[tuple[str, float | None]]:
        """(arm, temperature) of every row that has a gain, in the order of tables."""
        present = set(self.frame["arm"])
        found: list[tuple[str, float | None]] = []
        for arm in ARMS:
            if arm in present and arm not in NO_GAIN:
                found += [(arm, t) for t in self.temperatures] if arm == "kd" else [(arm, None)]
        return found

    def claims(self) -> dict[str, Claim]:
        """All claims about the pair, Holm-adjusted together: a pair is a section of its own."""
        found = [self.claim(arm, t) for arm, t in self.arms]
        controls = set(self.frame.loc[self.frame["role"] == "control", "arm"])
        found += [self.versus_teacher(), *(self.versus(c) for c in ARMS if c in controls)]
        return adjusted(found)


def pairs(frame: pd.DataFrame, labels: dict[str, str]) -> list[Pair]:
    """The pairs of a frame in the planned order; ``labels`` are the true classes by data set."""
    found = []
    for name in dict.fromkeys(frame["pair"]):
        rows = frame[frame["pair"] == name]
        found.append(Pair(name, rows, labels.get(rows["dataset"].iloc[0], "")))
    return found


def points(errors: float, images: int) -> float:
    """Errors as percentage points of accuracy, an improvement positive."""
    return -100 * errors / images if images else math.nan


def gain(pair: Pair, arm: str, temperature: float | None = None) -> st.Effect:
    """Gain over true labels in percentage points, with interval."""
    effect = pair.claim(arm, temperature).effect
    n = len(pair.labels)
    if not effect.n:
        return effect
    low, high = points(effect.high, n), points(effect.low, n)
    values = tuple(points(v, n) for v in effect.values)
    return st.Effect(effect.n, points(effect.mean, n), low, high, effect.p, values)


def accuracy(rows: pd.DataFrame) -> st.Effect:
    """Mean test accuracy in percent, with interval."""
    rows = rows.assign(percent=100 * rows["test_accuracy"])
    return rows_mean(rows, "percent")


def class_gains(pair: Pair) -> list[st.Effect]:
    """Gain of the main arm in accuracy on each class (points), paired by seed."""
    both = pair.rows("kd").merge(pair.rows("hard"), on="seed", suffixes=("_a", "_b"))
    both = both.dropna(subset=["test_errors_a", "test_errors_b"])
    found = []
    for k in range(10):
        values = [
            100 * (_recall(a, k) - _recall(b, k))
            for a, b in zip(both["record_a"], both["record_b"], strict=True)
        ]
        found.append(st.mean(values, both["teacher_seed_a"].tolist()))
    return found


def _recall(record: dict, k: int) -> float:
    row = record["test"]["confusion"][k]
    return row[k] / sum(row)


def paragraph(pair: Pair, claims: dict[str, Claim], kind: str) -> str:
    """What was found for a pair."""
    main = claims[f"{pair.name}.kd_t{pair.main:g}"]
    teacher, student = pair.nets
    kd, hard = pair.compared
    who = (
        f"{student} taught by {teacher}" if kind == "reversed" else f"{student} taught by its kind"
    )
    of_teacher = rows_mean(pair.rows("teacher"))
    row = pair.rows("kd").iloc[0]
    parts = [
        f"{who} ({pair.data}, T = {pair.main:g}, α = {row['alpha']:g}) makes {number(kd.mean)} "
        f"errors of {number(len(pair.labels), 0)} against {number(hard.mean)} on true labels, its "
        f"teachers {number(of_teacher.mean)}: **{main.verdict}** {main.evidence}."
    ]
    own = claims[f"{pair.name}.kd_vs_teacher"]
    if own.measured:
        parts.append(f"Beside its own teachers: **{own.verdict}** {own.evidence}.")
    others = [
        c for t in pair.temperatures if t != pair.main and (c := claims[f"{pair.name}.kd_t{t:g}"])
    ]
    parts.append(
        _listed("At other temperatures", others, lambda c: c.id.rpartition("_t")[2], "T = ")
    )
    parts.append(
        _listed(
            "Other ways to train, beside true labels on the same net",
            [
                c
                for arm, _ in pair.arms
                if arm != "kd" and (c := claims[f"{pair.name}.{arm}"]).measured
            ],
            lambda c: ARMS[c.id.rpartition(".")[2]],
        )
    )
    parts.append(
        _listed(
            "Distillation beside its controls",
            [c for k, c in claims.items() if k.startswith(f"{pair.name}.kd_vs_") and c is not own],
            lambda c: c.reference.name,
        )
    )
    parts.append(_without_teacher(pair, claims, main))
    return " ".join(filter(None, parts))


def _without_teacher(pair: Pair, claims: dict[str, Claim], main: Claim) -> str:
    """Which controls gain something though they have no teacher, and whether distillation does."""
    every = [(arm, claims.get(f"{pair.name}.{arm}")) for arm in TEACHER_FREE]
    better = [ARMS[arm] for arm, claim in every if claim and claim.holds]
    if not better:
        return ""
    too = "so is distillation" if main.holds else "of distillation this is not shown"
    return f"Better than true labels without a trained teacher: {joined(better)}; {too}."


def by_verdict(measured: list[Pair], claims: dict[str, Claim]) -> dict[str, list[Pair]]:
    """Measured pairs by the verdict on their main arm beside true labels."""
    groups: dict[str, list[Pair]] = {}
    for pair in measured:
        groups.setdefault(claims[f"{pair.name}.kd_t{pair.main:g}"].verdict, []).append(pair)
    return groups


def _short(measured: list[Pair], claims: dict[str, Claim]) -> str:
    """The answer in a sentence: where the main arm gains something over true labels."""
    groups = by_verdict(measured, claims)
    said = "A gain" if any(verdict.startswith("better") for verdict in groups) else "No gain"
    listed = "; ".join(f"**{v}** for {joined([p.title for p in g])}" for v, g in groups.items())
    return f"{said} over true labels is shown: {listed}."


def _listed(head: str, claims: list[Claim], name, prefix: str = "") -> str:
    done = [c for c in claims if c.measured]
    if not done:
        return ""
    groups: dict[str, list[str]] = {}
    for c in done:
        text = f"{prefix}{name(c)} ({signed(c.effect.mean)}, n = {c.effect.n})"
        groups.setdefault(c.verdict, []).append(text)
    listed = "; ".join(f"**{verdict}**: {joined(names)}" for verdict, names in groups.items())
    return f"{head} (mean difference in errors): {listed}."


def make_claims(frame: pd.DataFrame, labels: dict[str, str]) -> dict[str, Claim]:
    """All claims about the pairs of a frame."""
    return {name: claim for pair in pairs(frame, labels) for name, claim in pair.claims().items()}


def composed(
    frame: pd.DataFrame,
    labels: dict[str, str],
    claims: dict[str, Claim],
    expected: str,
    kind: str,
    open_: str,
) -> Answer:
    """The answer to Q5 (``kind`` reversed) or Q6 (self): a paragraph a measured pair."""
    every = pairs(frame, labels)
    done = [pair for pair in every if pair.measured]
    if not done:
        return Answer(expected, "Not measured at these settings.", "", missing(every), claims)
    found = "\n\n".join([_short(done, claims), *(paragraph(pair, claims, kind) for pair in done)])
    return Answer(expected, found, reasons(done, claims), f"{missing(every)} {open_}", claims)


def missing(every: list[Pair]) -> str:
    """The pairs that have no records yet, and the arms that the others lack."""
    names = [pair.title for pair in every if not pair.measured]
    parts = [f"Without records yet: {joined(names)}."] if names else []
    for pair in filter(lambda pair: pair.measured, every):
        lacks = [
            ARMS[arm] + (f", T = {t:g}" if t else "")
            for arm, t in pair.arms
            if pair.rows(arm, t)["record"].isna().all()
        ]
        if lacks:
            parts.append(f"{pair.title} still lacks: {'; '.join(lacks)}.")
    return " ".join(parts)


def reasons(measured: list[Pair], claims: dict[str, Claim]) -> str:
    """What may set these gains apart from the published ones."""
    parts = [
        "The published gains are differences of few runs; those of Yuan et al. stem from longer "
        "training and from weights of the soft part that are small in our convention. Here one recipe "
        "serves all nets of a pair, and none was tuned for distillation between these nets."
    ]
    budgets = {pair.nets[1]: claims.get(f"{pair.name}.hard_equal_budget") for pair in measured}
    for net, claim in budgets.items():  # once a net, though several pairs may share it
        if claim and claim.holds:
            parts.append(
                f"For {net} the recipe is short: true labels for twice the epochs are better "
                f"({signed(claim.effect.mean)} errors), and longer training may change what "
                "distillation does there."
            )
    if any(pair.frame["dataset"].eq("cifar10_jpeg").any() for pair in measured):
        parts.append(
            "The images are a mirror of CIFAR-10 encoded anew as JPEG, so accuracies are not those on "
            "the original; differences between nets on the same images are what is compared."
        )
    return " ".join(parts)
