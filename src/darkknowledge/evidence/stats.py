"""Means with t intervals, and the verdict that an interval gives. Pure functions of numbers.

The quantiles come from :mod:`scipy.special`: scipy.stats and statsmodels, which the tests of this
module hold it against, take longer to load than all claims of the study to compute."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

#: Of an interval that decides nothing.
LEVEL = 0.95
#: Blocks below which a claim is shown and never called better or worse.
FEWEST = 5


@dataclass(frozen=True)
class Effect:
    """A mean of ``n`` values with its t interval at ``level``; p tests mean = 0. NaN where n is too
    small."""

    n: int
    mean: float
    low: float
    high: float
    p: float
    level: float = LEVEL

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.bounded and (self.low > 0 or self.high < 0)

    def within(self, delta: float) -> bool:
        """Whether the interval lies within ±``delta``."""
        return self.bounded and -delta < self.low and self.high < delta


def mean(values: Sequence[float], level: float = LEVEL) -> Effect:
    """The mean of independent values, one per block, with its t interval."""
    n = len(values)
    if n == 0:
        return Effect(0, math.nan, math.nan, math.nan, math.nan, level)
    centre = float(np.mean(values))
    if n == 1:
        return Effect(n, centre, math.nan, math.nan, math.nan, level)
    if np.ptp(values) == 0:  # the interval of no spread is a point
        return Effect(n, centre, centre, centre, float(centre == 0), level)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    p = float(2 * special.stdtr(n - 1, -abs(centre) / error))
    return Effect(n, centre, centre - half, centre + half, p, level)


class Verdict(enum.Enum):
    """What an interval says of a difference. The two that are ``…_SLIGHTLY`` exclude 0 and lie within
    ±δ too: an effect that is there and does not matter."""

    BETTER = "better"
    BETTER_SLIGHTLY = "better, by less than matters"
    WORSE = "worse"
    WORSE_SLIGHTLY = "worse, by less than matters"
    EQUIVALENT = "equivalent"
    IMPRECISE = "too imprecise to tell"
    FEW = "too few blocks"
    UNMEASURED = "not measured"


def verdict(effect: Effect, delta: float, lower_is_better: bool = True) -> Verdict:
    """By the rule of the analysis plan. ``delta``, in the unit of the effect, is what matters."""
    if effect.n == 0:
        return Verdict.UNMEASURED
    if effect.n < FEWEST:
        return Verdict.FEW
    small = effect.within(delta)
    if effect.decided:
        if (effect.mean < 0) == lower_is_better:
            return Verdict.BETTER_SLIGHTLY if small else Verdict.BETTER
        return Verdict.WORSE_SLIGHTLY if small else Verdict.WORSE
    return Verdict.EQUIVALENT if small else Verdict.IMPRECISE


@dataclass(frozen=True)
class McNemar:
    """Images on which only the one or only the other of two nets is right; exact two-sided p."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: str, second: str, truth: str, width: int = 1) -> McNemar:
    """McNemar's exact test on two records' predicted classes of the same images, each written with
    ``width`` digits."""
    a, b, t = (np.frombuffer(text.encode("ascii"), f"S{width}") for text in (first, second, truth))
    first_only, second_only = int(((a == t) & (b != t)).sum()), int(((b == t) & (a != t)).sum())
    fewer = special.bdtr(min(first_only, second_only), first_only + second_only, 0.5)
    return McNemar(first_only, second_only, min(1.0, float(2 * fewer)))


def wilson(errors: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of an error count out of ``n``, in errors (Wilson 1927)."""
    z = float(special.ndtri((1 + level) / 2))
    share, scale = errors / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return n * (centre - half), n * (centre + half)
