"""What the written answers share: names of arms, published numbers, phrases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.claims import Arm, Claim, runs_of
from darkknowledge.wording import number, sentence

TEACHER, HARD, KD, SOFT = Arm("teacher"), Arm("hard"), Arm("kd"), Arm("soft_only")

#: What each arm is called in sentences, tables and figures.
ARM_NAMES = {
    "teacher": "cumbersome net (teacher)",
    "hard": "true labels",
    "kd": "distilled",
    "soft_only": "distilled, soft labels only",
    "label_smoothing": "label smoothing, same weight",
    "label_smoothing_mild": "label smoothing, usual weight",
    "uniform_teacher": "uniform teacher",
    "tfkd_reg": "virtual teacher (Tf-KD_reg)",
    "shuffled_teacher": "shuffled teacher",
    "permuted_teacher": "permuted teacher",
    "untrained_teacher": "untrained teacher",
    "hard_jitter": "true labels, jittered inputs",
    "hard_equal_budget": "true labels, teacher's and student's budget",
}


CONTROLS = tuple(ARM_NAMES)[4:]
#: The published error counts are of MNIST's whole test set.
PUBLISHED_IMAGES = 10_000
#: What Q1 calls its two arms: there they stand for networks, not for ways to train one.
NETS = {TEACHER: "cumbersome net", HARD: "small net"}


@dataclass(frozen=True)
class Answer:
    """A question's claims and its four paragraphs, in the order in which they are read."""

    expected: str
    found: str
    gap: str
    open: str
    claims: dict[str, Claim] = field(default_factory=dict)

    @property
    def markdown(self) -> str:
        """The answer as Markdown."""
        parts = {
            "Expected.": self.expected,
            "Found.": self.found,
            "Gap.": self.gap,
            "Open.": self.open,
        }
        return "\n\n".join(
            f"**{head}** " + "\n\n".join(map(sentence, text.split("\n\n")))
            for head, text in parts.items()
            if text
        )


def literature(root: Path) -> pd.DataFrame:
    """The published numbers of ``report/literature.csv``, by id."""
    return pd.read_csv(root / "report" / "literature.csv", index_col="id")


def errors_of(frame: pd.DataFrame, arm: Arm) -> st.Effect:
    """Mean test errors of an arm with interval; students are averaged within their teacher."""
    return rows_mean(runs_of(frame, arm))


def images_of(labels: str) -> str:
    """``10,000`` as in ‘errors of 10,000’."""
    return number(len(labels), 0)


def mean_of(rows: pd.DataFrame, column: str) -> float:
    """Mean of a column over the runs that have it; NaN where none has."""
    return float(rows[column].dropna().mean()) if rows[column].notna().any() else math.nan


def from_cost(frame: pd.DataFrame, arm: Arm, name: str) -> float:
    """A static cost of an arm's net: parameters, flops, …"""
    record = first_record(frame, arm)
    return record["cost"][name] if record else math.nan


def first_record(frame: pd.DataFrame, arm: Arm) -> dict | None:
    """The record of the first run of an arm that has one."""
    found = [r for r in runs_of(frame, arm)["record"] if r]
    return found[0] if found else None


def ours_and_theirs(what: str, ours: st.Effect, theirs: pd.Series) -> str:
    """Our mean beside a published single run, with the run's own sampling interval."""
    if not ours.n:
        return f"the {what} is not measured at these settings"
    low, high = st.wilson(theirs["value"], PUBLISHED_IMAGES)
    inside = low <= ours.mean <= high
    place = "inside" if inside else "outside"
    return (
        f"for the {what} our mean of {number(ours.mean)} lies {place} the sampling interval of the "
        f"published single run ({number(theirs['value'], 0)}, Wilson "
        f"{number(low, 0)} to {number(high, 0)})"
    )


def is_mnist(frame: pd.DataFrame) -> bool:
    """Whether the runs are of the set that the published numbers are of."""
    return frame["dataset"].iloc[0] == "mnist"


def other_data(frame: pd.DataFrame) -> str:
    """Why these numbers are not set beside the published ones."""
    record = next(r for r in frame["record"] if r)
    return (
        f"these runs learn from {number(record['provenance']['training_images'], 0)} images and are "
        f"tested on {number(record['test']['n'], 0)}, so their errors are not comparable with the "
        "published ones; only the direction of an effect is."
    )


def compared(reference: str, claim: Claim) -> str:
    """``it is better than …``, or that nothing can be said, with the evidence."""
    if not claim.measured:
        return f"against {reference} it is not measured"
    verdict = claim.verdict.split(",")[0]
    words = {
        "better": f"it is **{claim.verdict}** than {reference}",
        "worse": f"it is **{claim.verdict}** than {reference}",
        "alike": f"it and {reference} are **alike**",
    }
    return f"{words.get(verdict, f'the comparison with {reference} is **{verdict}**')} {claim.evidence}"


def diverged(frame: pd.DataFrame) -> str:
    """A sentence that names the planned runs which diverged; empty if none did."""
    names = [
        f"{row['model']}, {ARM_NAMES.get(row['arm'], row['arm'])}"
        + (f", T = {row['temperature']:g}" if row["mode"] != "hard" else "")
        + (f", without class {row['omitted'].replace(' ', ', ')}" if row["omitted"] else "")
        + (f", only classes {row['kept'].replace(' ', ', ')}" if row["kept"] else "")
        + f", seed {row['seed']:g}"
        for _, row in frame[frame["diverged"]].drop_duplicates("run_id").iterrows()
    ]
    if not names:
        return ""
    runs = "run has" if len(names) == 1 else "runs have"
    count = number(len(names), 0)
    return f"{count} planned {runs} no record, because training diverged: {'; '.join(names)}."


def rows_mean(rows: pd.DataFrame, column: str = "test_errors") -> st.Effect:
    """Mean of a column over runs, with interval; students are averaged within their teacher."""
    rows = rows.dropna(subset=[column])
    clusters = rows["teacher_seed"].fillna(rows["seed"])
    return st.mean(rows[column].tolist(), clusters.tolist())


def verdict_of_all(for_it: list[bool], against_it: list[bool]) -> str:
    """Of a published claim with several parts: it holds if all parts speak for it, and fails if one
    speaks against it."""
    if any(against_it):
        return "does not hold"
    return "holds" if for_it and all(for_it) else "is not decided"
