"""Laws of the evidence: intervals, verdicts by their rule, blocks that are compared alike."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as some
from statsmodels.stats.proportion import proportion_confint

from darkknowledge.evidence import samples, text
from darkknowledge.evidence import stats as st
from darkknowledge.evidence.claims import PRIMARIES, Findings
from darkknowledge.evidence.samples import Sample
from darkknowledge.evidence.stats import Verdict

PRIMARY = 1 - 0.05 / PRIMARIES
numbers = some.lists(some.integers(-1000, 1000), min_size=2, max_size=20)
levels = some.sampled_from([0.9, st.LEVEL, PRIMARY])


# -- intervals --------------------------------------------------------------------------------------


@given(numbers, levels)
def test_the_interval_and_p_of_a_mean_are_scipys(values, level):
    assume(len(set(values)) > 1)
    effect, test = st.mean(values, level), scipy.stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(level)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert effect.p == pytest.approx(test.pvalue, rel=1e-9)
    assert effect.decided == (effect.p < 1 - level)


#: A distribution with mean 0, and by how much its intervals may cover less and more than they say,
#: beside the error of the simulation: normal differences exactly, and so do those of two counts of
#: errors; heavy tails make intervals too long; skewed ones, which no difference of like arms is, too
#: short.
DISTRIBUTIONS = {
    "normal": (lambda rng, size: rng.normal(size=size), 0, 0),
    "counts": (lambda rng, size: rng.poisson(80, size) - rng.poisson(110, size) + 30.0, 0.002, 0.002),
    "heavy tails": (lambda rng, size: rng.standard_t(3, size), 0, 0.015),
    "skewed": (lambda rng, size: rng.gamma(4, size=size) - 4, 0.025, 0),
}  # fmt: skip


@given(numbers, levels)
def test_images_that_all_behave_alike_leave_the_interval_over_blocks(values, level):
    one = st.crossed([np.full(7, value) for value in values], level)
    due = st.mean([7.0 * value for value in values], level)
    assert (one.mean, one.low, one.high) == pytest.approx((due.mean, due.low, due.high), abs=1e-6)


def test_allowing_for_other_images_never_makes_an_interval_narrower():
    rng = np.random.default_rng(0)
    for _ in range(200):
        table = rng.choice([-1, 0, 1], p=[0.02, 0.96, 0.02], size=(6, 100))
        one, over_blocks = st.crossed(table), st.mean(list(table.sum(1)))
        assert one.low <= over_blocks.low + 1e-9 and over_blocks.high <= one.high + 1e-9


@pytest.mark.parametrize("of_blocks", [0, 0.05, 0.2])
def test_an_interval_over_blocks_and_images_covers_the_truth_of_other_images(of_blocks):
    """Of 4,000 studies on images and blocks drawn anew; alone, that over blocks misses it."""
    rng, n, images, covered = np.random.default_rng(1), 8, 150, np.zeros(2)
    for _ in range(4_000):
        of_image = rng.normal(size=images) + of_blocks * rng.normal(size=(n, 1))
        table = of_image + rng.normal(size=(n, images))
        for i, found in enumerate((st.crossed(table), st.mean(list(table.sum(1))))):
            covered[i] += found.low <= 0 <= found.high
    crossed, over_blocks = covered / 4_000
    assert st.LEVEL - 0.014 < crossed < 0.99 and over_blocks < crossed - 0.1


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_the_interval_of_a_ratio_covers_the_truth_and_scales_with_its_parts(share):
    """Of 4,000 studies of ten pairs, whose sides share half of their variance."""
    generator, covered, studies = np.random.default_rng(1), 0, 4000
    for _ in range(studies):
        common, one, other = generator.normal(0, 4, (3, 10))
        parts, wholes = 50 * share + common + one, 50 + common + other
        found = st.ratio(list(parts), list(wholes))
        covered += found.low <= share <= found.high
    assert abs(covered / studies - st.LEVEL) < 4 * math.sqrt(st.LEVEL * (1 - st.LEVEL) / studies)
    twice = st.ratio(list(2 * parts), list(wholes))
    assert (twice.mean, twice.low, twice.high) == pytest.approx(
        (2 * found.mean, 2 * found.low, 2 * found.high)
    )
    assert (
        text.percent(st.Effect(10, 0.88, 0.8, 0.96, 0)).replace("\xa0", " ") == "88 % (80 to 96 %)"
    )


@pytest.mark.parametrize(
    ("parts", "wholes", "mean"),
    [([], [], math.nan), ([1], [2], 0.5), ([1, 2], [-1, 1], math.nan), ([1, 2], [-1, 1.1], 30)],
)
def test_a_ratio_to_what_may_be_nothing_has_no_interval(parts, wholes, mean):
    found = st.ratio(parts, wholes)
    assert not found.bounded and found.mean == pytest.approx(mean, nan_ok=True)
    assert "to" not in text.percent(found)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("level", [st.LEVEL, PRIMARY])
@pytest.mark.parametrize("n", [6, 10])
def test_an_interval_covers_the_truth_as_often_as_it_says(n, level, name):
    """Of 40,000 studies; the tolerance is four standard errors of that share."""
    draw, less, more = DISTRIBUTIONS[name]
    studies = draw(np.random.default_rng(n), (40_000, n))
    errors = studies.std(1, ddof=1) / math.sqrt(n)
    first = st.mean(list(studies[0]), level)
    lengths = (first.high - first.mean) / errors[0] * errors  # a t interval scales with its data
    covered = float((abs(studies.mean(1)) <= lengths).mean())
    tolerance = 4 * math.sqrt(level * (1 - level) / len(studies))
    assert level - less - tolerance < covered < level + more + tolerance


@given(some.integers(0, 1000), some.integers(1, 1000), levels)
def test_wilsons_interval_is_that_of_statsmodels(errors, more, level):
    n = errors + more
    low, high = proportion_confint(errors, n, 1 - level, method="wilson")
    assert st.wilson(errors, n, level) == pytest.approx((n * low, n * high), abs=1e-6)


# -- verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        (Verdict.BETTER, [-50, -49, -51, -50.5, -50]),
        (Verdict.BETTER_SLIGHTLY, [-5, -5.1, -4.9, -5, -5]),
        (Verdict.EQUIVALENT, [0.1, -0.2, 0.1, -0.1, 0]),
        (Verdict.IMPRECISE, [-60, 55, -20, 30, 2]),
        (Verdict.FEW, [-50, -49, -51, -50.5]),
        (Verdict.FEW, [0]),
        (Verdict.UNMEASURED, []),
        (Verdict.BETTER_SLIGHTLY, [-3.0] * 5),  # without a spread the interval is a point
        (Verdict.BETTER, [-30.0] * 5),
        (Verdict.EQUIVALENT, [0.0] * 5),
    ],
)
def test_a_verdict_follows_from_interval_and_delta_and_turns_with_the_sides(expected, values):
    worse = {Verdict.BETTER: Verdict.WORSE, Verdict.BETTER_SLIGHTLY: Verdict.WORSE_SLIGHTLY}
    effect, other = st.mean(values), st.mean([-v for v in values])
    mirrored = (-effect.mean, -effect.high, -effect.low, effect.p)
    assert (other.mean, other.low, other.high, other.p) == pytest.approx(mirrored, nan_ok=True)
    assert st.verdict(effect, delta=10) is expected
    for turned in (st.verdict(other, 10), st.verdict(effect, 10, lower_is_better=False)):
        assert turned is worse.get(expected, expected)


@given(some.lists(some.integers(-9, 9), min_size=5, max_size=12), some.floats(0.01, 20), levels)
def test_equivalence_is_that_of_two_one_sided_tests(values, delta, level):
    assume(len(set(values)) > 1)
    above = scipy.stats.ttest_1samp(values, -delta, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, delta, alternative="less").pvalue
    worst, allowed = max(above, below), (1 - level) / 2
    assume(abs(worst - allowed) > 1e-9)
    assert st.mean(values, level).within(delta) == (worst < allowed)


# -- blocks -----------------------------------------------------------------------------------------


def sample(values: dict[int, float], planned=range(4), processor="a", name="x") -> Sample:
    return Sample(
        values,
        frozenset(planned),
        {b: frozenset([f"{name}{b}"]) for b in values},
        {b: frozenset([processor]) for b in values},
    )


def test_sums_and_differences_take_the_blocks_that_both_sides_have():
    one, other = sample({0: 5, 1: 7, 2: 9}), sample({1: 1, 2: 2, 3: 3}, range(1, 6), name="y")
    assert (one - other).values == {1: 6, 2: 7} and (one + other).values == {1: 8, 2: 11}
    assert (one - other).planned == {1, 2, 3}
    assert (one - other).runs == {1: {"x1", "y1"}, 2: {"x2", "y2"}}
    assert (one * 2).values == {0: 10, 1: 14, 2: 18} and one.mean == 7
    assert samples.average([one, other]).values == {1: 4, 2: 5.5}
    assert samples.ratio(one, other).mean == 16 / 3
    assert math.isnan(samples.EMPTY.mean) and math.isnan(samples.ratio(one, samples.EMPTY).mean)
    assert (one - samples.EMPTY).effect().n == 0
    told = samples.means({"one": one, "other": other, "none": samples.EMPTY})
    assert (told["one"], told["other"]) == (8, 1.5) and math.isnan(told["none"])
    assert math.isnan(samples.means({"none": samples.EMPTY})["none"])
    mixed = one + replace(
        other, processors={1: frozenset("b"), 2: frozenset("a"), 3: frozenset("b")}
    )
    assert (mixed.mean, mixed.effect().n, mixed.mixed) == (11, 1, {1})
    assert samples.ratio(mixed, mixed * 2).n == 1


def frame(rows: list[dict]) -> pd.DataFrame:

    def row(arm: str, block: int, errors: float | None, vendor: str = "a") -> dict:
        processor = {"vendor": vendor, "capability": "AVX512", "bf16": True}
        made = {"spec": {"device": "cpu"}, "provenance": {"processor": processor}}
        record = made | {"nll": 0.1 * block}
        return {
            "arm": arm, "block": block, "dataset": "mnist", "run_id": f"{arm}{block}",
            "test_errors": errors, "record": None if errors is None else record,
        }  # fmt: skip

    return pd.DataFrame([row(**values) for values in rows])


def findings(vendor: str = "a", images: int = 10_000) -> Findings:
    """Six blocks of two arms, one of them without a record; the last but one from ``vendor``."""
    kd = [(100, "a"), (101, "a"), (102, "a"), (103, "a"), (104, vendor), (None, "a")]
    rows = [dict(arm="kd", block=b, errors=e, vendor=v) for b, (e, v) in enumerate(kd)]
    rows += [dict(arm="hard", block=b, errors=120 + b % 2) for b in range(6)]
    return Findings("q2", frame(rows), {"mnist": "0" * images})


def test_a_sample_has_the_one_run_per_block_that_is_selected_and_has_a_record():
    f = findings()
    assert f.sample(arm="kd").values == {b: 100 + b for b in range(5)}
    assert f.sample(arm="kd").planned == set(range(6))
    assert f.sample(lambda row: row["record"]["nll"], arm="kd").values[4] == pytest.approx(0.4)
    assert f.sample(arm="absent") == samples.EMPTY
    with pytest.raises(ValueError, match="several runs per block"):
        f.sample(dataset="mnist")


def claim(f: Findings, members: int = 3, **rest):
    f.claim("x", "kd", "hard", f.sample(arm="kd") - f.sample(arm="hard"), "family", members, **rest)
    return f.claims["x"]


def test_a_claim_is_judged_at_the_level_of_its_family_by_what_matters_in_its_data():
    one = claim(findings(), 3)
    assert one.effect == st.mean([-20, -20, -18, -18, -16], 1 - 0.05 / 3)
    assert (one.id, one.planned, one.delta, one.verdict) == ("q2.x", 6, 10, Verdict.BETTER)
    assert one.run_ids == tuple(sorted(f"{arm}{b}" for arm in ("kd", "hard") for b in range(5)))
    assert claim(findings(), dataset="cifar10_jpeg").delta == 0  # nothing known of its labels yet
    assert claim(findings(images=1000)).delta == 1
    recall = claim(findings(), unit="points", digit=3)
    assert (recall.delta, recall.verdict, recall.data) == (1, Verdict.WORSE, {"digit": 3})
    f = findings()
    f.claim("main", "kd", "hard", f.sample(arm="kd") - f.sample(arm="hard"))
    assert f.claims["main"].effect.level == pytest.approx(1 - 0.05 / 7)


def test_a_claim_names_its_mixed_blocks_and_does_without_them():
    one = claim(findings(vendor="b"))
    told = json.loads(json.dumps(one.as_dict(), allow_nan=False))
    assert (told["mixed"], told["blocks"], one.verdict) == ([4], [0, 1, 2, 3], Verdict.FEW)
    assert "kd4" not in told["runs"] and "kd3" in told["runs"]
