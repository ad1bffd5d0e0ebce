"""Laws of the statistics: hand-computed values, symmetry, and the rule of the verdicts."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as some
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from darkknowledge import statistics as st


def test_the_interval_is_the_hand_computed_t_interval():
    effect = st.mean([1.0, 2.0, 3.0])
    half = 4.302653 * 1 / math.sqrt(3)  # t of 0.975 with two degrees of freedom; sd is 1
    assert effect.mean == pytest.approx(2)
    assert (effect.low, effect.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_students_of_one_teacher_are_one_cluster():
    effect = st.mean([1, 3, 10, 12], ["a", "a", "b", "b"])
    assert effect.n == 2
    assert effect.values == (2.0, 11.0)


def test_clusters_of_one_change_nothing():
    values = [4.0, 8.0, 1.0]
    assert st.mean(values, [0, 1, 2]) == st.mean(values)


@pytest.mark.parametrize("values", [[4.0], [4.0, 4.0], [-3.0] * 5, [0.0] * 5])
def test_values_without_a_spread_give_a_mean_and_no_certainty(values):
    effect = st.mean(values)
    assert effect.mean == values[0] and effect.n == len(values)
    assert all(map(math.isnan, (effect.low, effect.high, effect.p)))
    alike = len(values) >= st.FEWEST
    assert st.verdict(effect, math.nan, delta=10) == ("alike" if alike else "inconclusive")
    assert st.verdict(effect, math.nan, delta=1) == (
        "alike" if values == [0] * 5 else "inconclusive"
    )


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests_and_never_decreases():
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_leaves_what_was_not_measured_out_of_the_count():
    adjusted = st.holm([0.01, math.nan, 0.02])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])


def test_mcnemar_counts_the_discordant_images_and_is_exact():
    truth, first, second = "0000000000", "0000000000", "0000011111"
    test = st.mcnemar(first, second, truth)
    assert (test.only_first, test.only_second) == (5, 0)
    assert test.p == pytest.approx(2 * 0.5**5)


def test_mcnemar_of_a_net_with_itself_decides_nothing():
    assert st.mcnemar("0123", "0123", "0000").p == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-50, -49, -51, -50.5], "better"),
        ([50, 49, 51, 50.5], "worse"),
        ([-60, 55, -20, 30], "inconclusive"),
        ([-50, -50.1], "inconclusive"),  # two clusters never decide
        ([0.1, -0.2, 0.1, -0.1], "alike"),
        ([-5.0, -5.1, -4.9, -5.0], "better, though within δ"),
    ],
)
def test_verdicts_follow_the_rule(values, expected):
    effect = st.mean(values)
    assert st.verdict(effect, effect.p, delta=10) == expected


def test_a_larger_adjusted_p_takes_a_verdict_back():
    effect = st.mean([-50, -30, -70, -45])
    assert st.verdict(effect, 0.01, 10) == "better"
    assert st.verdict(effect, 0.2, 10) == "inconclusive"


@given(some.lists(some.integers(-100, 100), min_size=3, max_size=12))
def test_swapping_the_sides_mirrors_the_effect(values):
    one, other = st.mean(values), st.mean([-v for v in values])
    assert other.mean == pytest.approx(-one.mean, nan_ok=True)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), nan_ok=True)
    assert other.p == pytest.approx(one.p, nan_ok=True)


def test_welch_agrees_with_its_formula():
    a, b = np.array([1.0, 2, 3, 4]), np.array([10.0, 12, 17])
    effect = st.welch(a, b)
    standard_error = math.sqrt(a.var(ddof=1) / 4 + b.var(ddof=1) / 3)
    assert effect.mean == pytest.approx(a.mean() - b.mean())
    centre = (effect.low + effect.high) / 2
    assert centre == pytest.approx(effect.mean)
    assert effect.high - effect.mean > 1.96 * standard_error


def test_wilson_gives_the_published_interval_of_67_errors():
    low, high = st.wilson(67, 10_000)
    assert (round(low), round(high)) == (53, 85)


def test_the_rank_correlation_sees_only_order():
    x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    y = [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]
    found = st.rank_correlation(x, y)
    assert found.rho == pytest.approx(1 - 6 * 6 / (6 * 35))  # Σd² = 6, n = 6
    assert found.low < found.rho < found.high
    assert st.rank_correlation([v**3 for v in x], y) == found
    turned = st.rank_correlation([-v for v in x], y)
    assert (turned.rho, turned.low, turned.high) == pytest.approx(
        (-found.rho, -found.high, -found.low)
    )


def test_a_rank_correlation_of_too_few_or_of_constants_is_nothing():
    for x, y in (([], []), ([1, 2, 3], [1, 2, 3]), ([1, 1, 1, 1], [1, 2, 3, 4])):
        assert math.isnan(st.rank_correlation(x, y).rho)


def test_the_clusters_needed_find_the_effect_in_eight_of_ten_simulated_studies():
    """And one fewer than that does not reach the power; by simulation, not by the same formula."""
    effect = st.mean([-7.0, 2.0, -5.0, 3.0, -4.0])
    needed = st.clusters_needed(effect)
    generator = np.random.default_rng(0)

    def power(n: int) -> float:
        studies = generator.normal(effect.mean, effect.sd, (20_000, n))
        return float((scipy.stats.ttest_1samp(studies, 0, axis=1).pvalue < st.SIGNIFICANT).mean())

    assert power(needed) == pytest.approx(st.POWER, abs=0.02)
    assert power(needed // 2) < st.POWER - 0.1


def test_a_stricter_level_needs_more_clusters_and_a_vanishing_effect_more_than_are_named():
    effect = st.mean([-7.0, 2.0, -5.0, 3.0, -4.0])
    assert st.clusters_needed(effect, 0.005) > st.clusters_needed(effect) > effect.n
    assert st.clusters_needed(st.mean([-1.0, 1.0, 0.001])) == math.inf
    assert math.isnan(st.clusters_needed(st.mean([1.0])))
    assert (
        st.clusters_needed(st.mean([-5.0, -5.1, -4.9])) == 4
    )  # at once, but never fewer than there are


def test_the_t_interval_of_a_published_spread_is_that_of_the_runs():
    effect = st.mean([95.2, 95.3, 95.5])
    low, high = st.t_interval(effect.mean, effect.sd, 3)
    assert (low, high) == pytest.approx((effect.low, effect.high))


# -- what is written out here is what scipy.stats and statsmodels compute ----------------------------

numbers = some.lists(some.integers(-1000, 1000), min_size=2, max_size=20)


@given(numbers)
def test_the_interval_and_p_of_a_mean_are_scipys(values):
    assume(len(set(values)) > 1)
    effect, test = st.mean(values), scipy.stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(st.LEVEL)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert effect.p == pytest.approx(test.pvalue, rel=1e-9)


@given(numbers, numbers)
def test_welchs_interval_and_p_are_scipys(a, b):
    assume(len(set(a)) > 1 and len(set(b)) > 1)  # scipy warns of a group without spread
    effect, test = st.welch(a, b), scipy.stats.ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(st.LEVEL)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert effect.p == pytest.approx(test.pvalue, rel=1e-9)


@given(some.lists(some.integers(-9, 9), min_size=3, max_size=12), some.floats(0.01, 20))
def test_equivalence_is_that_of_two_one_sided_tests(values, delta):
    assume(len(set(values)) > 1)
    above = scipy.stats.ttest_1samp(values, -delta, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, delta, alternative="less").pvalue
    assume(abs(max(above, below) - st.SIGNIFICANT) > 1e-9)
    assert st.within(st.mean(values), delta) == (max(above, below) < st.SIGNIFICANT)


@pytest.mark.slow  # statsmodels collects garbage at each call
@given(some.lists(some.floats(0, 1), min_size=1, max_size=30))
def test_holms_adjustment_is_that_of_statsmodels(p_values):
    assert st.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(some.integers(0, 400), some.integers(0, 400))
def test_mcnemars_p_is_that_of_statsmodels(first, second):
    truth = "0" * (first + second)
    found = st.mcnemar("0" * first + "1" * second, "1" * first + "0" * second, truth)
    theirs = mcnemar([[0, first], [second, 0]], exact=True).pvalue
    assert (found.only_first, found.only_second) == (first, second)
    assert found.p == pytest.approx(min(1, theirs), rel=1e-9)


@given(some.lists(some.integers(-50, 50), min_size=3, max_size=8), some.floats(0.001, 0.05))
def test_the_clusters_needed_have_the_power_and_one_fewer_has_not(values, level):
    effect = st.mean(values)
    assume(effect.values and effect.sd > 0)
    needed = st.clusters_needed(effect, level)
    assume(needed < math.inf)

    def power(n: int) -> float:  # a tail that is zero to all digits is NaN
        bound, shift = scipy.stats.t.isf(level / 2, n - 1), abs(effect.mean) / effect.sd * n**0.5
        below, above = (scipy.stats.nct.cdf(b, n - 1, shift) for b in (-bound, bound))
        return np.nan_to_num(below) + 1 - np.nan_to_num(above)

    assert power(needed) >= st.POWER
    assert needed == effect.n + 1 or power(needed - 1) < st.POWER


@pytest.mark.parametrize(
    ("values", "level"), [([21.0, 21.0, 30.0], 0.0045), ([10, 14, 18], 0.0056)]
)
def test_a_large_effect_at_a_strict_level_is_not_settled_by_one_cluster_more(values, level):
    """There the lower tail's probability is NaN, which is none, and not full power."""
    effect = st.mean(values)
    needed = st.clusters_needed(effect, level)
    assert needed > effect.n + 1
    studies = np.random.default_rng(0).normal(effect.mean, effect.sd, (20_000, effect.n + 1))
    found = (scipy.stats.ttest_1samp(studies, 0, axis=1).pvalue < level).mean()
    assert found < st.POWER
