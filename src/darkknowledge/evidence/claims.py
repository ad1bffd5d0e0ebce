"""Claims as data: a difference over blocks, the family that it is judged in, its interval and verdict."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkknowledge.evidence import samples
from darkknowledge.evidence import stats as st
from darkknowledge.evidence.samples import EMPTY, Measure, Sample
from darkknowledge.evidence.stats import Effect, Verdict
from darkknowledge.layout import digits_each
from darkknowledge.spec import CLASS_NAMES, DIGITS

#: The family of the primary claims, one per question and one for the discussion, and how many they are.
PRIMARY, PRIMARIES = "primary", 7
#: The share of test images below which a difference in errors does not matter.
MATTERS = {"mnist": 0.001, "mnist5k": 0.001, "mnist5k_rgb": 0.001}
MATTERS_ELSEWHERE = 0.005
#: The same for a recall, in points.
POINTS = 1.0


def _is(*verdicts: Verdict) -> Any:
    """Whether the verdict of a claim is one of these."""
    return property(lambda claim: claim.verdict in verdicts)


@dataclass(frozen=True)
class Claim:
    """A difference, subject minus reference, as a mean over blocks.

    ``family`` and ``members`` say among how many claims it is judged; its interval is at
    1 − 0.05/members (Bonferroni). ``unit`` is "errors" of ``images`` or "points" of recall; ``delta`` is
    in it. ``data`` are the settings that it is about, as a temperature or a width."""

    id: str
    subject: str
    reference: str
    difference: Sample
    family: str
    members: int
    unit: str
    delta: float
    images: int
    data: Mapping[str, Any] = field(default_factory=dict)
    #: The same difference image by image, where it is one of test errors.
    by_image: Sample = EMPTY

    @property
    def level(self) -> float:
        """Of the interval that decides."""
        return 1 - 0.05 / self.members

    @functools.cached_property
    def effect(self) -> Effect:
        """The mean with the interval that decides."""
        return self.difference.effect(self.level)

    @functools.cached_property
    def crossed(self) -> Effect:
        """The mean with an interval at the same level over blocks and over test images too."""
        counts = [count for count in self.by_image.pure.values.values() if np.ndim(count)]
        return st.crossed(counts, self.level)

    @property
    def sure(self) -> bool:
        """Whether all of the interval lies beyond what does not matter."""
        return self.effect.decided and min(abs(self.effect.low), abs(self.effect.high)) > self.delta

    @property
    def loose(self) -> bool:
        """Whether over other test images too the verdict would be that it is too imprecise to tell."""
        wider = st.verdict(self.crossed, self.delta)
        return wider is Verdict.IMPRECISE is not self.verdict

    @property
    def verdict(self) -> Verdict:
        """By the rule of the analysis plan."""
        return st.verdict(self.effect, self.delta, lower_is_better=self.unit == "errors")

    @property
    def measured(self) -> bool:
        """Whether there is any block."""
        return self.effect.n > 0

    #: ``slight``: better or worse by less than matters; ``few``: too few blocks for a verdict.
    better = _is(Verdict.BETTER, Verdict.BETTER_SLIGHTLY)
    worse = _is(Verdict.WORSE, Verdict.WORSE_SLIGHTLY)
    slight = _is(Verdict.BETTER_SLIGHTLY, Verdict.WORSE_SLIGHTLY)
    equivalent, imprecise = _is(Verdict.EQUIVALENT), _is(Verdict.IMPRECISE)
    few = _is(Verdict.FEW)

    @property
    def planned(self) -> int:
        """How many blocks there are to be."""
        return len(self.difference.planned)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the claim rests on."""
        used = self.difference.pure
        return tuple(sorted({run for block in used.values for run in used.runs[block]}))

    def as_dict(self) -> dict[str, Any]:
        """The claim as plain JSON values; what is not defined is None."""

        own = {name: getattr(self, name) for name in ("id", "subject", "reference")}
        own["unit"] = f"errors of {self.images}" if self.unit == "errors" else self.unit
        numbers = vars(self.effect) | {"difference": self.effect.mean, "delta": self.delta}
        del numbers["mean"]
        return {
            **own,
            **{k: value if math.isfinite(value) else None for k, value in numbers.items()},
            "planned": self.planned,
            "family": self.family,
            "members": self.members,
            "verdict": self.verdict.value,
            "blocks": sorted(self.difference.pure.values),
            "mixed": sorted(self.difference.mixed),
            "data": dict(self.data),
            "runs": list(self.run_ids),
        }


@dataclass(frozen=True)
class Findings:
    """A question as its records have it: its frame, one row per run, the true test labels by data set,
    the files beside the tables that its exhibits show, by name, and what classes are called. Claims are
    looked up by the part of their id behind the dot."""

    question: str
    frame: pd.DataFrame
    labels: Mapping[str, str]
    files: Mapping[str, Path] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    by_image: bool = False

    def sample(self, measure: str | Measure = "test_errors", **where: Any) -> Sample:
        """Numbers by block, test errors by default (if ``by_image``, an array of 0 and 1), of the runs
        that ``where`` selects by columns."""
        counted = self.by_image and measure == "test_errors"
        return samples.sample(self.frame, self.wrong if counted else measure, **where)

    def wrong(self, row: Any) -> Any:
        """Which test images a run gets wrong, as 0 and 1; NaN where the labels are not those of its."""
        both = (row["record"]["predictions"], self.labels.get(row["dataset"], ""))
        called, true = (np.frombuffer(text.encode(), np.uint8) for text in both)
        if len(called) != len(true):
            return math.nan
        width = len(true) // row["record"]["test"]["n"]
        return (called != true).reshape(-1, width).any(1).astype(np.int8)

    def rows(self, **where: Any) -> pd.DataFrame:
        """The rows that ``where`` selects."""
        return samples.select(self.frame, **where)

    def broken(self, **where: Any) -> int:
        """How many of the runs that ``where`` selects broke down in training: once the net was right on
        half of the validation images, it came to be right on fewer than half as many as before."""
        curves = [r["history"]["validation_accuracy"] for r in self.rows(**where)["record"] if r]
        best = [np.maximum.accumulate(curve) for curve in curves]
        fell = [(b > 0.5) & (curve < b / 2) for curve, b in zip(curves, best, strict=True)]
        return sum(bool(one.any()) for one in fell)

    def images(self, dataset: str) -> int:
        """How many test images a data set has; 0 where that is not known yet."""
        return len(self.labels.get(dataset, "")) // digits_each(len(self.names(dataset)))

    def names(self, dataset: str) -> tuple[str, ...]:
        """The names of a data set's classes."""
        return self.classes.get(dataset) or CLASS_NAMES.get(dataset, DIGITS)

    @property
    def dataset(self) -> str:
        """The data set of the question's first runs."""
        return str(self.frame["dataset"].iloc[0])

    def called(self, number: int | str) -> str:
        """What a class of the question's data set is called."""
        names = self.classes.get(self.dataset, ())
        return names[int(number)] if int(number) < len(names) else str(number)

    def claim(
        self,
        name: str,
        subject: str,
        reference: str,
        difference: Sample,
        family: str = PRIMARY,
        members: int = PRIMARIES,
        *,
        unit: str = "errors",
        dataset: str = "",
        **data: Any,
    ) -> None:
        """Add a claim, the question's primary one where no family is named. ``subject`` and
        ``reference`` are arms' keys, or words."""
        dataset = dataset or self.dataset
        images = self.images(dataset)
        delta = images * MATTERS.get(dataset, MATTERS_ELSEWHERE) if unit == "errors" else POINTS
        judged = f"{self.question}.{name}", subject, reference, difference, family, members
        self.claims[name] = Claim(*judged, unit, delta, images, data)
