"""When to distil: the advice follows the claims, a row per situation that is measured."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from conftest import REPOSITORY
from darkknowledge.evidence import text
from darkknowledge.evidence.answers import written
from darkknowledge.evidence.samples import EMPTY, Sample
from darkknowledge.evidence.stats import Effect, Verdict
from darkknowledge.paper.paper import situations
from darkknowledge.questions import params
from fabricated import found

QUESTIONS = ("q2", "q3", "q4", "q5", "q6", "q7")
#: An outcome → by block how much better the subject is, in units of what matters; its verdict; the
#: advice to somebody with labels and no augmentation.
OUTCOMES = {
    "better": ((3, 4, 3, 4, 3), Verdict.BETTER, "distil"),
    "slight": ((0.4, 0.5, 0.4, 0.5, 0.4), Verdict.BETTER_SLIGHTLY, "less than matters"),
    "worse": ((-3, -4, -3, -4, -3), Verdict.WORSE, "keep to hard labels"),
    "equivalent": (
        (0.1, -0.1, 0.1, -0.1, 0),
        Verdict.EQUIVALENT,
        "optional: distilling makes no",
    ),
    "imprecise": ((9, -9, 9, -9, 0), Verdict.IMPRECISE, "too imprecise to tell whether"),
    "few": ((3, 4, 3), Verdict.FEW, "too few pairs for advice"),
}


#: A row of the table names its data where they are not those of Q2.
WEAKER = "Only a weaker teacher (a subset of MNIST in colour)"


@pytest.fixture(scope="module")
def findings():
    return {
        q: found(q, lambda p: 40, chosen=params.read("quick", q), measured=lambda p: p.block == 0)
        for q in QUESTIONS
    }


def judged(findings, outcome: str, but: tuple[str, ...] = ()):
    """The same with every claim forced to an outcome; those named ``but`` are not measured."""

    def forced(claim):
        sign = claim.delta * (-1 if claim.unit == "errors" else 1)
        values = {b: sign * better for b, better in enumerate(OUTCOMES[outcome][0])}
        known = dict.fromkeys(values, frozenset(["one"]))
        sample = Sample(values, frozenset(range(5)), known, known)
        return replace(claim, difference=EMPTY if claim.id in but else sample)

    return {
        q: replace(f, claims={name: forced(claim) for name, claim in f.claims.items()})
        for q, f in findings.items()
    }


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_advice_follows_the_verdict_of_its_claim(findings, outcome):
    known = judged(findings, outcome)
    main = known["q2"].claims["kd_vs_hard"]
    assert main.verdict is OUTCOMES[outcome][1]
    table = situations(known).set_index("situation")
    assert len(set(table.index)) == len(table) == 12
    plain = table.loc["Labels for all images, augmentation for the teacher alone"]
    assert OUTCOMES[outcome][2] in plain["what to do"] and plain["worth here"] == text.told(main)
    marks = {key: OUTCOMES[key][2] for key in ("slight", "imprecise", "few")}
    marks["equivalent"] = "makes no difference that matters"
    for advice in table["what to do"]:
        told = {key for key, mark in marks.items() if mark in advice}
        assert told == {outcome} & {*marks}, advice
    share = next(one for one in table.index if one.startswith("Labels for 10"))
    least = table.loc[share, "what to do"]
    assert (least == "distil on all images, labelled or not") == (outcome == "better")


def test_what_helps_and_what_harms_have_opposite_advice(findings):
    better, worse = (situations(judged(findings, one))["what to do"] for one in ("better", "worse"))
    assert all(one != other for one, other in zip(better, worse, strict=True))


def test_a_weaker_teacher_that_helps_only_larger_networks_is_worth_a_try(findings):
    known, large = judged(findings, "equivalent"), judged(findings, "better")
    advice = "what to do", "worth here"
    without, beside = (
        situations(known, also).set_index("situation").loc[WEAKER, [*advice]]
        for also in ({}, large)
    )
    told = text.told(large["q5"].claims["by_weak_vs_hard"])
    assert beside.iloc[0].startswith(without.iloc[0]) and beside.iloc[0].endswith(
        "outside the plan, gains: validate it"
    )
    assert beside.iloc[1].endswith(told) and told not in without.iloc[1]


def test_what_is_not_measured_has_no_row(findings):
    whole = list(situations(judged(findings, "better"))["situation"])
    rest = situations(judged(findings, "better", but=("q2.kd_vs_hard", "q5.by_weak_vs_hard")))
    lost = {"Labels for all images, augmentation for the teacher alone", WEAKER}
    assert list(rest["situation"]) == [one for one in whole if one not in lost]
    assert len(situations({})) == 0
    some = situations({"q2": judged(findings, "better")["q2"]})
    assert 0 < len(some) < len(whole) and set(some["situation"]) < set(whole)
    unmeasured = {"q2": found("q2", lambda p: 40, measured=lambda p: False)}
    assert len(situations(unmeasured)) == 0


@pytest.mark.parametrize(
    ("apart", "first"), [((-15, -10, -5), True), ((-15, -5, 5), False), ((15, 10, 5), False)]
)
def test_augmentation_comes_first_where_it_gains_more_than_a_teacher(findings, apart, first):
    mean, low, high = apart[1], *sorted(apart[::2])
    judgement = SimpleNamespace(effect=Effect(6, mean, low, high, 0), loose=first)
    known = {"jitter_vs_kd": judgement, "epochs": {"jitter": 2, "plain": 1}}
    known["student"] = "mlp-800-800"
    q2 = {"c": judged(findings, "better")["q2"].claims, "v": known}
    said = written(REPOSITORY / "report" / "answers", "when", "text", {"q1": None, "q2": q2})
    assert ("Augment first" in said) == ("10.0 errors fewer" in said) == first
    assert ("15.0†)" in said) == first
    assert len(said.split()) <= 95
