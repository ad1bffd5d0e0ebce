"""Claims as data: what is compared, on which runs, with which effect and verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.wording import adjusted_p, number, share, signed, with_interval

#: δ of the equivalence test, in percentage points of test accuracy.
DELTA_POINTS = {
    **dict.fromkeys(("mnist", "mnist5k", "mnist5k_rgb"), 0.1),
    **dict.fromkeys(("cifar10", "cifar10_jpeg"), 0.2),
}


@dataclass(frozen=True)
class Arm:
    """A row of a comparison: the runs of one arm under one protocol."""

    name: str
    protocol: str = "hinton"


@dataclass(frozen=True)
class Claim:
    """``subject`` against ``reference`` in test errors; a negative effect means fewer errors.

    n counts clusters (teachers where students share them, else seeds), ``planned`` how many there
    are to be. ``mcnemar`` has one entry a pair of seeds, where predictions are paired.
    """

    id: str
    subject: Arm
    reference: Arm
    effect: st.Effect
    planned: int
    unit: str
    images: int
    delta: float
    seeds: tuple[int, ...] = ()
    p_adjusted: float = math.nan
    mcnemar: tuple[st.McNemar, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether there is any pair at all."""
        return self.effect.n > 0

    @property
    def verdict(self) -> str:
        """By the stated rule; ``not measured at these settings`` without runs."""
        if not self.measured:
            return "not measured at these settings"
        return st.verdict(self.effect, self.p_adjusted, self.delta)

    @property
    def holds(self) -> bool:
        """Whether the subject is better by the rule."""
        return self.verdict.startswith("better")

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the claim rests on; an averaged row names several."""
        return tuple(dict.fromkeys(run for group in self.runs for run in group.split()))

    @property
    def needed(self) -> float:
        """For an inconclusive claim the clusters that would settle an effect of the size seen, at the
        level that the adjustment of p leaves (see
        :func:`darkknowledge.statistics.clusters_needed`); NaN for all others."""
        if self.verdict != "inconclusive":
            return math.nan
        level = st.SIGNIFICANT * min(1.0, self.effect.p / self.p_adjusted)
        return st.clusters_needed(self.effect, level)

    def as_dict(self) -> dict[str, Any]:
        """The claim as plain JSON values; what is not defined is None."""

        def plain(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "id": self.id,
            "subject": asdict(self.subject),
            "reference": asdict(self.reference),
            "unit": f"errors of {self.images}",
            "difference": plain(self.effect.mean),
            "low": plain(self.effect.low),
            "high": plain(self.effect.high),
            "n": self.effect.n,
            "planned": self.planned,
            "clusters": self.unit,
            "p": plain(self.effect.p),
            "p_adjusted": plain(self.p_adjusted),
            "delta": plain(self.delta),
            "verdict": self.verdict,
            "n_to_settle": plain(self.needed),
            "seeds": [int(seed) for seed in self.seeds],
            "mcnemar": [asdict(test) for test in self.mcnemar],
            "runs": list(self.run_ids),
        }

    @property
    def evidence(self) -> str:
        """The numbers of the claim in parentheses, for a sentence."""
        if not self.measured:
            return ""
        count = share(self.effect.n, self.planned, self.unit)
        if len(self.seeds) > self.effect.n:
            count += f", {len(self.seeds)} pairs of runs"
        return (
            f"({signed(self.effect.mean)} errors of {number(self.images, 0)}, "
            f"{with_interval(self.effect)}, n = {count}, {adjusted_p(self.p_adjusted)})"
        )


class Match(NamedTuple):
    """Planned runs of two arms that share a seed, with their errors (NaN without a record), records and
    names. ``cluster`` is the teacher's seed; without a teacher every seed is its own cluster, for seeds
    and teacher seeds are disjoint."""

    seed: int
    cluster: float
    taught: bool
    errors_a: float
    errors_b: float
    record_a: dict[str, Any] | None
    record_b: dict[str, Any] | None
    run_a: str
    run_b: str

    @property
    def measured(self) -> bool:
        """Whether both have errors."""
        return not math.isnan(self.errors_a) and not math.isnan(self.errors_b)

    @property
    def difference(self) -> float:
        """Errors of the first less those of the second."""
        return self.errors_a - self.errors_b


def matches(frame: pd.DataFrame, first: Arm, second: Arm) -> list[Match]:
    """Planned pairs of runs of two arms that share a seed; see :func:`matched`."""
    return matched(runs_of(frame, first), runs_of(frame, second))


def matched(
    first: pd.DataFrame, second: pd.DataFrame, columns: tuple[str, str] = ("test_errors",) * 2
) -> list[Match]:
    """Planned pairs of runs that share a seed, with the errors that the two ``columns`` say. Seeds of
    which only one run is planned are no pair."""
    sides = [
        list(zip(*(rows[c].tolist() for c in (*PAIRED, column)), strict=True))
        for rows, column in zip((first, second), columns, strict=True)
    ]
    found = []
    for seed, teacher_a, record_a, run_a, errors_a in sides[0]:
        for other, teacher_b, record_b, run_b, errors_b in sides[1]:
            if seed == other:
                teacher = teacher_b if math.isnan(teacher_a) else teacher_a
                taught = not math.isnan(teacher)
                cluster = teacher if taught else seed
                errors, records = (errors_a, errors_b), (record_a, record_b)
                found.append(Match(seed, cluster, taught, *errors, *records, run_a, run_b))
    return found


#: The columns that a pair is made of, beside its errors.
PAIRED = ("seed", "teacher_seed", "record", "run_id")


def paired(id: str, frame: pd.DataFrame, subject: Arm, reference: Arm, labels: str) -> Claim:
    """The claim that ``subject`` makes another number of errors than ``reference``, seed by seed."""
    sides = runs_of(frame, subject), runs_of(frame, reference)
    return between(id, *sides, subject, reference, labels)


def between(
    id: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    subject: Arm,
    reference: Arm,
    labels: str,
    columns: tuple[str, str] = ("test_errors",) * 2,
) -> Claim:
    """The claim that the rows ``first`` make another number of errors than ``second``, seed by seed.

    ``columns`` say which errors are compared (those after a shift, say). McNemar's test is made
    where these are the runs' own predictions.
    """
    both = matched(first, second, columns)
    done = [match for match in both if match.measured]
    plain = set(columns) == {"test_errors"}
    return Claim(
        id=id,
        subject=subject,
        reference=reference,
        effect=st.mean([match.difference for match in done], [match.cluster for match in done]),
        planned=len({match.cluster for match in both}),
        unit="teacher" if any(match.taught for match in both) else "seed",
        images=len(labels),
        delta=_delta(first if len(first) else second, len(labels)),
        seeds=tuple(match.seed for match in done),
        mcnemar=tuple(
            st.mcnemar(match.record_a["predictions"], match.record_b["predictions"], labels)
            for match in done
            if plain and match.record_a and match.record_b
        ),
        runs=tuple(
            dict.fromkeys((*(match.run_a for match in done), *(match.run_b for match in done)))
        ),
    )


def averaged(rows: pd.DataFrame, column: str = "test_errors") -> pd.DataFrame:
    """One row a seed: the mean of ``column`` over all its runs (several temperatures, say); NaN
    unless all of them have records. For :func:`between`."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "teacher_seed": group["teacher_seed"].iloc[0],
                "dataset": group["dataset"].iloc[0],
                "record": None,
                "run_id": " ".join(group["run_id"]),
                column: group[column].mean(skipna=False),
            }
            for seed, group in rows.groupby("seed")
        ],
        columns=["seed", "teacher_seed", "dataset", "record", "run_id", column],
    )


def to_teacher(id: str, frame: pd.DataFrame, subject: Arm, labels: str) -> Claim:
    """A student against its own teacher, averaged within the teacher."""
    teachers = frame[frame["role"] == "teacher"].drop_duplicates("run_id")
    students = frame[(frame["arm"] == subject.name) & (frame["protocol"] == subject.protocol)]
    both = students.merge(
        teachers[["run_id", "test_errors", "record"]],
        left_on="teacher_run_id",
        right_on="run_id",
        suffixes=("_a", "_b"),
    )
    done = both.dropna(subset=["test_errors_a", "test_errors_b"])
    difference = done["test_errors_a"] - done["test_errors_b"]
    return Claim(
        id=id,
        subject=subject,
        reference=Arm("teacher"),
        effect=st.mean(difference.tolist(), done["teacher_run_id"].tolist()),
        planned=both["teacher_run_id"].nunique(),
        unit="teacher",
        images=len(labels),
        delta=_delta(frame, len(labels)),
        seeds=tuple(done["seed"]),
        mcnemar=tuple(
            st.mcnemar(a["predictions"], b["predictions"], labels)
            for a, b in zip(done["record_a"], done["record_b"], strict=True)
        ),
        runs=(*done["run_id_a"], *done["run_id_b"]),
    )


def unpaired(id: str, frame: pd.DataFrame, subject: Arm, reference: Arm, labels: str) -> Claim:
    """Two groups of runs that share no seed: Welch's interval and test."""
    groups = [runs_of(frame, arm) for arm in (subject, reference)]
    done = [g.dropna(subset=["test_errors"]) for g in groups]
    return Claim(
        id=id,
        subject=subject,
        reference=reference,
        effect=st.welch(*(g["test_errors"].tolist() for g in done)),
        planned=min(map(len, groups)),
        unit="seed",
        images=len(labels),
        delta=_delta(frame, len(labels)),
        runs=tuple(run for g in done for run in g["run_id"]),
    )


def runs_of(frame: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows of an arm."""
    return frame[(frame["arm"] == arm.name) & (frame["protocol"] == arm.protocol)]


def shrinkage(
    id: str, frame: pd.DataFrame, subject: Arm, reference: Arm, other: str, labels: str
) -> Claim:
    """How much smaller the subject's gain over its reference is under the protocol ``other``:
    (gain here) − (gain there), on the seeds that both have; negative: larger here."""
    here = matches(frame, subject, reference)
    there = matches(frame, replace(subject, protocol=other), replace(reference, protocol=other))
    both = [(a, b) for a in here for b in there if a.seed == b.seed]
    done = [(a, b) for a, b in both if a.measured and b.measured]
    return Claim(
        id=id,
        subject=subject,
        reference=reference,
        effect=st.mean(
            [a.difference - b.difference for a, b in done], [a.cluster for a, _ in done]
        ),
        planned=len({a.cluster for a, _ in both}),
        unit="teacher",
        images=len(labels),
        delta=_delta(frame, len(labels)),
        seeds=tuple(a.seed for a, _ in done),
        runs=tuple(
            getattr(match, run)
            for side in zip(*done, strict=True)
            for run in ("run_a", "run_b")
            for match in side
        ),
    )


def adjusted(claims: list[Claim]) -> dict[str, Claim]:
    """The claims of one section by id, their p-values Holm-adjusted together."""
    p = st.holm([claim.effect.p for claim in claims])
    return {c.id: replace(c, p_adjusted=value) for c, value in zip(claims, p, strict=True)}


def _delta(frame: pd.DataFrame, images: int) -> float:
    return DELTA_POINTS[frame["dataset"].iloc[0]] / 100 * images if len(frame) else math.nan
