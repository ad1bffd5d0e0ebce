"""Differences with intervals, tests and verdicts. Pure functions of numbers; no torch.

Seeds are paired: a treated run and its baseline share initialisation and data order. Where several
students share a teacher they are one cluster, and n counts clusters.

The tests are written out over :mod:`scipy.special`: scipy.stats and statsmodels, which the tests of
this module hold them against, take longer to load than all claims of the study to compute.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95
SIGNIFICANT = 0.05
#: Fewer clusters than this are always inconclusive.
FEWEST = 3


@dataclass(frozen=True)
class Effect:
    """A mean (difference) with its 95 % t interval; p tests mean = 0. NaN where n is too small."""

    n: int
    mean: float
    low: float
    high: float
    p: float
    values: tuple[float, ...] = ()

    @property
    def sd(self) -> float:
        """Standard deviation over the clusters."""
        return float(np.std(self.values, ddof=1)) if self.n > 1 else math.nan


def mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Effect:
    """Mean of ``values``, averaged within ``clusters`` first, with its t interval and p against 0;
    values that happen to be equal have no spread to take either from."""
    averaged = cluster_means(values, clusters)
    n = len(averaged)
    if n == 0:
        return Effect(0, math.nan, math.nan, math.nan, math.nan)
    centre = float(np.mean(averaged))
    if np.ptp(averaged) == 0:  # also of a single value
        return Effect(n, centre, math.nan, math.nan, math.nan, averaged)
    error = float(np.std(averaged, ddof=1)) / math.sqrt(n)
    return Effect(n, centre, *_t_test(centre, error, n - 1), averaged)


def _t_test(centre: float, error: float, df: float) -> tuple[float, float, float]:
    """The 95 % interval about a ``centre`` with its standard error, and the two-sided p against 0."""
    half = float(special.stdtrit(df, (1 + LEVEL) / 2)) * error
    return centre - half, centre + half, float(2 * special.stdtr(df, -abs(centre) / error))


def cluster_means(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> tuple[float, ...]:
    """One mean a cluster, in the order in which the clusters appear."""
    if clusters is None:
        return tuple(map(float, values))
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    return tuple(float(np.mean(group)) for group in groups.values())


def welch(a: Sequence[float], b: Sequence[float]) -> Effect:
    """mean(a) − mean(b) of independent groups with Welch's interval; n is the smaller group's."""
    n = min(len(a), len(b))
    if n == 0:
        return Effect(0, math.nan, math.nan, math.nan, math.nan)
    difference = float(np.mean(a) - np.mean(b))
    if n == 1 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return Effect(n, difference, math.nan, math.nan, math.nan)
    squares = [float(np.var(group, ddof=1)) / len(group) for group in (a, b)]
    df = sum(squares) ** 2 / sum(v**2 / (len(g) - 1) for v, g in zip(squares, (a, b), strict=True))
    return Effect(n, difference, *_t_test(difference, math.sqrt(sum(squares)), df))


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of n pairs with its 95 % interval; NaN where n is too small."""

    n: int
    rho: float
    low: float
    high: float
    p: float


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation:
    """Spearman's ρ; interval by Fisher's z with the standard error √((1 + ρ²/2) / (n − 3)) of
    Bonett and Wright (2000)."""
    n = len(first)
    if n < 4 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(n, math.nan, math.nan, math.nan, math.nan)
    from scipy import stats  # slow to load, and only needed here

    test = stats.spearmanr(first, second)
    rho = float(test.statistic)
    if abs(rho) > 1 - 1e-12:  # Fisher's z is infinite
        return Correlation(n, rho, rho, rho, float(test.pvalue))
    half = special.ndtri((1 + LEVEL) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh([math.atanh(rho) - half, math.atanh(rho) + half])
    return Correlation(n, rho, float(low), float(high), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values; NaN stays NaN and does not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = adjusted[i] = max(largest, min(1.0, p * (len(known) - rank)))
    return adjusted


def within(effect: Effect, delta: float) -> bool:
    """Whether two one-sided t tests at 5 % place the mean within ±``delta`` (equivalence).

    Only for means and paired differences; False for Welch's, which keep no single values.
    """
    if effect.n < FEWEST or not effect.values:
        return False
    if effect.sd == 0:
        return abs(effect.mean) < delta
    error = effect.sd / math.sqrt(effect.n)
    # The larger of both p-values: the mean's distance from the nearer bound in standard errors.
    return bool(special.stdtr(effect.n - 1, (abs(effect.mean) - delta) / error) < SIGNIFICANT)


def verdict(effect: Effect, p_adjusted: float, delta: float) -> str:
    """better, worse, alike, inconclusive, or better/worse though within δ; for errors, where a
    negative effect is an improvement. δ is in the unit of the effect."""
    if effect.n < FEWEST:
        return "inconclusive"
    equivalent = within(effect, delta)
    if p_adjusted < SIGNIFICANT:
        direction = "better" if effect.mean < 0 else "worse"
        return f"{direction}, though within δ" if equivalent else direction
    return "alike" if equivalent else "inconclusive"


@dataclass(frozen=True)
class McNemar:
    """Images on which only the one or only the other of two nets is right; exact two-sided p."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: str, second: str, truth: str) -> McNemar:
    """McNemar's exact test on two strings of predicted classes of the same images."""
    a, b, t = (
        np.frombuffer(text.encode("utf-32-le"), np.uint32) for text in (first, second, truth)
    )
    first_only, second_only = int(((a == t) & (b != t)).sum()), int(((b == t) & (a != t)).sum())
    fewer = special.bdtr(min(first_only, second_only), first_only + second_only, 0.5)
    return McNemar(first_only, second_only, min(1.0, float(2 * fewer)))


def t_interval(centre: float, spread: float, n: int) -> tuple[float, float]:
    """95 % t interval of a mean of ``n`` runs with standard deviation ``spread``."""
    return _t_test(centre, spread / math.sqrt(n), n - 1)[:2]


#: Power with which an effect of the size seen would be settled, and the most clusters worth naming.
POWER, MOST_CLUSTERS = 0.8, 1000


def clusters_needed(effect: Effect, level: float = SIGNIFICANT) -> float:
    """Clusters, more than there are, with which a two-sided paired t test at ``level`` finds the
    mean with a power of ``POWER``, if mean and spread are those seen; inf beyond ``MOST_CLUSTERS``,
    NaN without a spread."""
    if effect.n < 2 or not effect.values or not effect.sd > 0:
        return math.nan
    size, candidates = abs(effect.mean) / effect.sd, range(effect.n + 1, MOST_CLUSTERS + 1)

    def enough(n: int) -> bool:
        bound, shift = special.stdtrit(n - 1, 1 - level / 2), size * math.sqrt(n)
        below = np.nan_to_num(special.nctdtr(n - 1, shift, [bound, -bound]))  # NaN: 0 to all digits
        return bool(1 - below[0] + below[1] >= POWER)

    found = bisect.bisect_left(candidates, True, key=enough)  # power grows with n
    return candidates[found] if found < len(candidates) else math.inf


def wilson(errors: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an error count out of ``n``, in errors."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(errors, n, 1 - LEVEL, method="wilson")
    return float(low * n), float(high * n)
