"""The discussion: the sentences follow the records."""

import re
from dataclasses import replace

import pytest

from darkknowledge.evidence import plots, text
from darkknowledge.evidence.stats import Verdict
from darkknowledge.paper.paper import find
from darkknowledge.questions import params
from darkknowledge.questions.q7_why import exhibits
from darkknowledge.questions.q7_why.findings import shares, worse_teachers
from fabricated import TRUTH, assert_held, found, frame_of, jitter, told

FAMILIES = ("n_parts", "n_quality", "n_unfamiliar", "n_few_labels", "n_noise")
#: An outcome → a difference of each block that forces it, where 10 errors matter, and its verdict.
OUTCOMES = {
    "better": (lambda block: -30 - block % 2, Verdict.BETTER),
    "slight": (lambda block: -4 - block % 2, Verdict.BETTER_SLIGHTLY),
    "worse": (lambda block: 30 + block % 2, Verdict.WORSE),
    "equivalent": (lambda block: block % 2, Verdict.EQUIVALENT),
    "imprecise": (lambda block: 30 * (-1) ** block, Verdict.IMPRECISE),
    "few": (lambda block: 30, Verdict.FEW),
    "none": (lambda block: 0, Verdict.UNMEASURED),
}
BLOCKS = {"few": 3, "none": 0}


def forced(outcome: str, arms: tuple[str, ...], *families: str):
    """Findings of the quick profile, with these families of arms and the first alone, in which each of
    ``arms`` differs so from every other arm but hard labels."""

    def errors(planned):
        difference = OUTCOMES[outcome][0](planned.block) if planned.arm in arms else 0
        return (160 if planned.arm == "hard" else 130) + difference - jitter(planned)

    last, absent = BLOCKS.get(outcome, 5), {n: 0 for n in FAMILIES if n not in families}
    chosen = replace(params.read("quick", "q7"), **absent)
    frame = frame_of("q7", errors, chosen, lambda planned: planned.block < last)
    return find("q7", frame, {"mnist5k": 10 * TRUTH})


#: How the answer and the headline begin.
WORDS = {
    "better": ("What the teacher says of the wrong classes helps: ", "The wrong classes help"),
    "slight": ("Mostly how sure it is: ", "Mostly confidence"),
    "worse": ("What the teacher says of the wrong classes does harm: ", "What it says of wrong"),
    "equivalent": ("How the teacher ranks the wrong classes makes no", "Wrong classes make no"),
    "imprecise": ("Too imprecise to tell whether", "Too imprecise to tell: "),
}


def test_confidence_is_not_credited_with_a_gain_that_there_is_not():
    made = {"hard": 100, "confidence_only": 130}
    f = found("q7", lambda planned: made.get(planned.arm, 110) - jitter(planned))
    assert f.claims["kd_vs_confidence_only"].better
    said = told(f) + told(f, "headline") + told(f, "caption")
    assert "ostly" not in said and "of the gain" not in said


@pytest.mark.parametrize("outcome", WORDS)
def test_each_outcome_has_its_own_words(outcome):
    f = forced(outcome, ("kd",))
    claim = f.claims["kd_vs_confidence_only"]
    assert claim.verdict is OUTCOMES[outcome][1]
    said, short = told(f), told(f, "headline")
    answer, headline = WORDS[outcome]
    assert said.startswith(f"**{answer}") and short.startswith(headline)
    assert "Leaving out" not in said and not told(f, "unfamiliar") + told(f, "few_labels")
    assert ("of the gain is lost" in told(f, "caption")) == (outcome in ("better", "slight"))
    assert ("by less than matters" in said) == (outcome == "slight")
    assert text.errors(f.sample(arm="kd").mean) in short


#: What is said of a part or a worse teacher, and of unfamiliar images.
COSTS = {
    "better": ("saves 30.", "A teacher helps on images that it never saw: 30."),
    "slight": ("less than matters", "A teacher helps on images that it never saw: 4."),
    "worse": ("adds 30.", "A teacher does harm on images that it never saw: 30."),
    "equivalent": ("no difference that matters", "distillation makes no difference that matters"),
    "imprecise": ("has an effect too imprecise to tell", "Whether a teacher helps on images that"),
    "few": ("too few pairs for a verdict", "too few pairs for a verdict"),
    "none": ("", ""),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_cost_of_what_is_taken_away_follows_its_claim(outcome):
    arms = ("target_part", "nontarget_part", "kd_teacher_0.25", "kd_other_half")
    f = forced(outcome, arms, "n_parts", "n_quality", "n_unfamiliar")
    judged = [f.claims[f"{arm}_vs_kd"] for arm in arms[:3]]
    judged += [c for c in f.claims.values() if c.family == "unfamiliar"]
    assert {claim.verdict for claim in judged} == {OUTCOMES[outcome][1]}
    said, unfamiliar = told(f), told(f, "unfamiliar")
    for what in ("the non-target part of the divergence ", "the target part ", "; this "):
        assert COSTS[outcome][0] in said.partition(what)[2].partition(". ")[0]
        assert (what in said) == (outcome != "none")
    assert COSTS[outcome][1] in unfamiliar and bool(unfamiliar) == (outcome != "none")
    assert ("; here both count" in told(f, "literature")) == (outcome == "worse")
    assert not told(f, "few_labels") + told(f, "noise")


def test_the_few_labels_and_the_table_show_what_is_there():
    chosen = replace(params.read("paper", "q7"), blocks=(200, 201), **dict.fromkeys(FAMILIES, 2))
    f = found("q7", lambda planned: 90 - 60 * ("all" in planned.arm), chosen=chosen)
    assert list(shares(f).values()) == [0.01, 0.1]
    assert list(worse_teachers(f).values()) == [(1, 120), (12, 120), (36, 120)]
    assert told(f, "few_labels").count("for all images 3") == 2
    assert "with others 9" in told(f, "noise") and "guess" not in told(f, "noise")
    assert "broke down" not in told(f, "few_labels")
    table = exhibits.TABLES["arms"](f).set_index("arm")
    assert len(table) == f.frame["arm"].nunique() and "distilled, teacher of 1 epoch" in table.index
    few = "10\N{NO-BREAK SPACE}% of labels, plain images: distilled on all images"
    difference = f.sample(arm="kd_all_0.1") - f.sample(arm="hard_0.1")
    assert table.loc[few, "from hard labels"] == text.signed(difference.mean)


def test_what_breaks_down_in_training_is_told_and_has_no_mean_in_the_figure():
    """Broken down is a net that was right on most of the validation images and then on less than half as
    many, whether it comes back or not; what is never right on half of them has learned nothing."""
    chosen = replace(
        params.read("paper", "q7"), blocks=(200, 201, 202), **dict.fromkeys(FAMILIES, 3)
    )
    errors = {"noise_": 850, "kd_all": 90}
    f = found("q7", lambda planned: errors.get(planned.arm[:6], 900), chosen=chosen)
    arm, curves = "kd_0.1_jitter", ([0.9, 0.4, 0.9], [0.9, 0.46, 0.5], [0.4, 0.1, 0.1])
    for record, curve in zip(f.rows(arm=arm)["record"], curves, strict=True):
        record["history"]["validation_accuracy"] = curve
    assert f.broken(arm=arm) == 1 and f.broken(arm="kd_0.1") == 0
    assert "jittered, training by soft labels broke down in 1 of 3 blocks" in told(f, "few_labels")
    table = exhibits.TABLES["arms"](f)
    (row,) = table[table["arm"].str.contains("broke")].to_dict("records")
    assert row["arm"].replace("\N{NO-BREAK SPACE}", " ") == (
        "10 % of labels, jittered images: distilled on those images; broke down in 1"
    )
    assert (
        re.fullmatch(r"90\d to 90\d", row["test errors"])
        and not row["from hard labels"] + row["NLL"]
    )
    plots.style()
    figure = exhibits.FIGURES["few-labels"](f)
    assert len(figure.axes[1].containers) == 5  # the means of three ways at two shares, without one
    assert_held(figure)
    assert "both little better than a guess (900)" in told(f, "noise")
