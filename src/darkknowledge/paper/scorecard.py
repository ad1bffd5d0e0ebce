"""Published numbers beside ours: the rows of ``report/literature.csv`` that there are records for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from darkknowledge.evidence import stats, text
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import EMPTY, Measure, Sample
from darkknowledge.evidence.stats import Effect
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.spec import FINGERPRINTS, choose


class Unit(NamedTuple):
    """How a number is written, and of how many test ``images``: ``factor`` × errors."""

    words: str
    decimals: int = 0
    images: int = 0
    factor: float = 1.0


UNITS = {
    "errors of 10000": Unit("errors", 0, 10_000),
    "errors of 1010": Unit("errors of 1,010", 0, 1_010),
    "percent errors of 10000": Unit("% errors", 1, 10_000, 0.01),
    "parameters": Unit("parameters"),
    "claim": Unit(""),
}


@dataclass(frozen=True)
class Row:
    """A published number or claim, and ours, both in the ``unit``: the interval of ours is over blocks,
    theirs over the images of a single run. ``answer`` is ours where it is a claim."""

    id: str
    source: str
    what: str
    unit: str
    published: Effect
    recipe_difference: str
    ours: Effect
    answer: str = ""

    @property
    def author(self) -> str:
        """The name in the key of the source."""
        return self.source.rstrip("0123456789").capitalize()

    def relative(self, effect: Effect) -> Effect:
        """As a multiple of theirs; NaN for claims."""
        whole = self.published.mean
        return Effect(
            effect.n, effect.mean / whole, effect.low / whole, effect.high / whole, math.nan
        )

    @property
    def apart(self) -> bool:
        """Whether neither interval has a number in common with the other; not where one is lacking."""
        return self.published.high < self.ours.low or self.ours.high < self.published.low


def rows(findings: Mapping[str, Findings], published: pd.DataFrame) -> list[Row]:
    """Every row of ``published``, by id, that a question has records for, on the same data set.

    The question's ``LITERATURE`` says by id what stands beside a number: values of columns that select
    one run per block, and ``measure``, a column or a function of a row in the unit of the number, by
    default of errors on all test images. Its ``literature(findings)`` says whether a claim holds.
    """
    found: list[Row] = []
    for key, row in published.fillna({"recipe_difference": ""}).iterrows():
        data = choose("the data set of a published number", row["dataset"], FINGERPRINTS)
        for f in findings.values():
            here = replace(f, frame=f.frame[f.frame["dataset"] == data])
            if not any(here.frame["record"]):
                continue
            ours, answer = _ours(here, key, row["unit"])
            if ours.values or answer:
                words = row["source"], row["claim"], row["unit"]
                theirs, differs = _published(row), row["recipe_difference"]
                found.append(Row(key, *words, theirs, differs, ours.effect(), answer))
                break
    return found


def _ours(f: Findings, key: str, unit: str) -> tuple[Sample, str]:
    module: Any = QUESTIONS[f.question].findings
    if unit == "claim":
        return EMPTY, module.literature(f).get(key, "") if hasattr(module, "literature") else ""
    usual: Measure | str = "test_errors"
    if unit == "percent errors of 10000":
        usual = lambda row: 100 * (1 - row["test_accuracy"])  # noqa: E731
    where = getattr(module, "LITERATURE", {}).get(key)
    return f.sample(**{"measure": usual} | where) if where else EMPTY, ""


def _published(row: Any) -> Effect:
    value, unit = float(row["value"]), UNITS[row["unit"]]
    if not unit.images:
        return Effect(1, value, math.nan, math.nan, math.nan)
    low, high = (unit.factor * end for end in stats.wilson(value / unit.factor, unit.images))
    return Effect(1, value, low, high, math.nan)


def table(found: list[Row]) -> pd.DataFrame:
    """One row per published number or claim."""

    def cells(row: Row) -> list[str]:
        words, decimals, images, *_ = UNITS[row.unit]
        if row.answer:
            return ["", row.answer, ""]
        theirs = f"{text.cell(row.published, decimals)} {words}"
        ours = text.cell(row.ours, None if images and not decimals else decimals)
        ratio = row.relative(row.ours).mean
        share = " %" * words.startswith("%")
        n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row.ours.n}"
        return [theirs, f"{ours}{share}, {n}", text.number(ratio, 2)]

    lines = [[f"{row.what} [@{row.source}]", *cells(row), row.recipe_difference] for row in found]
    names = ["published", "theirs", "ours", "ratio", "their recipe differs in"]
    return pd.DataFrame(lines, columns=names)
