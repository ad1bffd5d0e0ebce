"""Numbers by block, and the runs that they come from: what every claim is a difference of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from darkknowledge.evidence import stats as st
from darkknowledge.layout import made_on

#: A measure of a run's row.
Measure = Callable[[Any], Any]


@dataclass(frozen=True)
class Sample:
    """A number (or an array of them, one for each image) for each measured block. ``planned`` are the
    blocks that there are to be; ``runs`` and ``processors`` (their types, in words) are those that a
    block's number comes from.

    Sums and differences take the blocks that both sides have."""

    values: Mapping[int, Any]
    planned: frozenset[int]
    runs: Mapping[int, frozenset[str]]
    processors: Mapping[int, frozenset[str]]

    def __add__(self, other: Sample) -> Sample:
        both = [block for block in self.values if block in other.values]
        return Sample(
            {b: self.values[b] + other.values[b] for b in both},
            self.planned & other.planned,
            {b: self.runs[b] | other.runs[b] for b in both},
            {b: self.processors[b] | other.processors[b] for b in both},
        )

    def __sub__(self, other: Sample) -> Sample:
        return self + other * -1

    def __mul__(self, factor: float) -> Sample:
        scaled = {block: factor * value for block, value in self.values.items()}
        return Sample(scaled, self.planned, self.runs, self.processors)

    @property
    def mixed(self) -> frozenset[int]:
        """Blocks whose runs come from more than one type of processor: no comparison has them."""
        return frozenset(b for b, types in self.processors.items() if len(types) > 1)

    @property
    def pure(self) -> Sample:
        """Without the mixed blocks."""
        values = {b: value for b, value in self.values.items() if b not in self.mixed}
        return Sample(values, self.planned, self.runs, self.processors)

    @property
    def mean(self) -> float:
        """Over the blocks that are not mixed; NaN without one."""
        values = list(self.pure.values.values())
        return float(np.mean(values)) if values else float("nan")

    def effect(self, level: float = st.LEVEL) -> st.Effect:
        """The mean with its interval over the blocks that are not mixed."""
        return st.mean(list(self.pure.values.values()), level)


EMPTY = Sample({}, frozenset(), {}, {})


def average(samples: Sequence[Sample]) -> Sample:
    """The mean of several samples, block by block."""
    total = samples[0]
    for sample in samples[1:]:
        total = total + sample
    return total * (1 / len(samples))


def measured(samples: Mapping[Any, Sample]) -> dict[Any, Sample]:
    """Those that have a block."""
    return {name: sample for name, sample in samples.items() if sample.values}


def means(samples: Mapping[Any, Sample]) -> dict[Any, float]:
    """Their means over the blocks that all of them have, but for those that have none: NaN."""
    known = [*measured(samples).values()]
    shared = (average(known) * 0).pure if known else EMPTY
    return {name: (shared + sample).mean for name, sample in samples.items()}


def bounded(samples: Mapping[Any, Sample]) -> dict[Any, Sample]:
    """Those that have an interval, and may stand in a figure of differences."""
    return {name: sample for name, sample in samples.items() if sample.effect().bounded}


def select(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows of a question's frame whose columns have these values."""
    chosen = np.ones(len(frame), bool)
    for column, value in where.items():
        chosen &= (frame[column] == value).to_numpy(bool)
    return frame[chosen]


def sample(frame: pd.DataFrame, measure: str | Measure = "test_errors", **where: Any) -> Sample:
    """The blocks' numbers of the one run per block that ``where`` selects, by a column or by a function
    of its row. Raises ValueError if it selects several runs of a block."""
    rows = select(frame, **where)
    if rows["block"].duplicated().any():
        raise ValueError(f"{where} selects several runs per block")
    values, runs, processors = {}, {}, {}
    stored, columns = rows[rows["record"].astype(bool)], list(rows)
    for cells in stored.to_numpy(object):  # a column at a time, as pandas would, takes much longer
        row = dict(zip(columns, cells, strict=True))
        block, record = row["block"], row["record"]
        value = row[measure] if isinstance(measure, str) else measure(row)
        values[block] = value if isinstance(value, np.ndarray) else float(value)
        runs[block] = frozenset([row["run_id"]])
        processors[block] = frozenset([made_on(record)])
    return Sample(values, frozenset(rows["block"].tolist()), runs, processors)


def ratio(part: Sample, whole: Sample) -> st.Effect:
    """The mean of ``part`` as a share of the mean of ``whole``, over the blocks that both have and that
    are not mixed, with its interval; NaN without one, or where the whole is 0."""
    blocks = list((part + whole).pure.values)
    return st.ratio([part.values[b] for b in blocks], [whole.values[b] for b in blocks])
