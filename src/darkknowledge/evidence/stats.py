"""Means with t intervals, and the verdict that an interval gives. Pure functions of numbers.

The quantiles come from :mod:`scipy.special`: scipy.stats and statsmodels, which the tests of this
module hold it against, take longer to load than all claims of the study to compute."""

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
    centre = float(np.mean(values)) if n else math.nan
    if n < 2:
        return Effect(n, centre, math.nan, math.nan, math.nan, level)
    if np.ptp(values) == 0:  # the interval of no spread is a point
        return Effect(n, centre, centre, centre, float(centre == 0), level)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    p = float(2 * special.stdtr(n - 1, -abs(centre) / error))
    return Effect(n, centre, centre - half, centre + half, p, level)


def crossed(counts: Sequence[np.ndarray], level: float = LEVEL) -> Effect:
    """The mean of counts, one per block, each given as a number for each of the same images, with an
    interval over other blocks and other images: blocks and images are crossed random effects, whose
    variances add up (Searle, Casella & McCulloch 1992, chapter 4); an estimate of that of the images
    that falls below 0 counts as 0. NaN without two blocks."""
    found = mean([float(np.sum(count)) for count in counts], level)
    if found.n < 2:
        return found
    table = np.array(counts, dtype=float)  # [blocks, images]
    n, images = table.shape
    by_block, by_image = table.mean(1, keepdims=True), table.mean(0)
    rest = ((table - by_block - by_image + table.mean()) ** 2).sum() / ((n - 1) * (images - 1))
    # Either part holds the variance of what is left, by image and block, which counts once.
    parts = images * by_block.var(ddof=1) / n, max(0, by_image.var(ddof=1) - rest / n)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(images * sum(parts))
    return Effect(n, found.mean, found.mean - half, found.mean + half, math.nan, level)


def ratio(parts: Sequence[float], wholes: Sequence[float], level: float = LEVEL) -> Effect:
    """The mean of ``parts`` over that of ``wholes``, a pair per block, with Fieller's interval (Fieller
    1954): the ratios r for which the mean of part − r · whole may be 0. NaN without a pair, or where
    the wholes' mean is 0; no interval where that mean may be 0."""
    n, over = len(wholes), float(np.mean(wholes)) if len(wholes) else 0.0
    found = float(np.mean(parts)) / over if over else math.nan
    if n < 2 or not over:
        return Effect(n, found, math.nan, math.nan, math.nan, level)
    part, both, whole = np.cov(parts, wholes)[[0, 0, 1], [0, 1, 1]].tolist()
    scale = float(special.stdtrit(n - 1, (1 + level) / 2)) ** 2 / n
    a, b = over**2 - scale * whole, found * over**2 - scale * both
    c = (found * over) ** 2 - scale * part
    if a <= 0:
        return Effect(n, found, math.nan, math.nan, math.nan, level)
    half = math.sqrt(max(0, b * b - a * c))
    return Effect(n, found, (b - half) / a, (b + half) / a, math.nan, level)


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


def wilson(errors: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of an error count out of ``n``, in errors (Wilson 1927)."""
    z = float(special.ndtri((1 + level) / 2))
    share, scale = errors / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return n * (centre - half), n * (centre + half)
