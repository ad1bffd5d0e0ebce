"""Q4: the sentence follows the records."""

import functools
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from darkknowledge.evidence import text
from darkknowledge.evidence.stats import Verdict
from darkknowledge.paper.paper import literature
from darkknowledge.questions import params
from darkknowledge.questions.q4_unseen_digit import exhibits, findings
from fabricated import found, told

#: As in the paper, but with fewer digits: all blocks of the primary claim, three of the control.
PAPER = replace(params.read("paper", "q4"), omit_in_turn=(3, 7))
QUICK = params.read("quick", "q4")


@functools.cache
def of(chosen=PAPER, kd=(0.90, 0.92), hard=(0.10, 0.12), errors=14, until=300):
    """Shifted, the nets recognise one of two shares of the unseen digits, by block; the net that saw
    them makes so many ``errors`` of 1,000. Measured are the blocks below ``until``."""
    return found(
        "q4", lambda planned: errors, chosen=chosen, measured=lambda planned: planned.block < until,
        unseen=lambda planned: (hard if planned.arm == "hard" else kd)[planned.block % 2],
    )  # fmt: skip


def test_the_primary_claim_is_the_mean_recall_over_the_digits_against_a_net_that_saw_them():
    f = of()
    claim, control = f.claims["vs_seen"], f.claims["vs_hard"]
    assert (claim.verdict, claim.unit, claim.effect.n) == (Verdict.WORSE, "points", 10)
    assert (control.verdict, control.effect.n, control.planned) == (Verdict.BETTER, 5, 5)
    assert "shifted alike" in told(f, "believe")
    whole = [r["test"]["confusion"] for r in f.rows(arm="kd", omitted="", kept="")["record"]]
    seen = sum(c[3][3] + c[7][7] for c in whole) / 20  # of a hundred images each, in ten blocks
    assert claim.effect.mean == pytest.approx(91 - seen)
    said = told(f)
    assert said.startswith("**With one bias shifted, the student recognises 91.0 %")
    assert f"one that saw it, {text.number(seen)} %.**" in said and "points lower (" in said
    assert "until it gets its known share of unlabelled" in said
    assert "threes and sevens" in said
    assert "fit its bias" in said and "91.0 %" in told(f, "headline")
    lacking = {"measured": lambda p: (p.block, p.spec.data.omit) != (200, (7,)), "chosen": PAPER}
    assert found("q4", lambda planned: 9, **lacking).claims["vs_seen"].effect.n == 9


@pytest.mark.parametrize(
    ("case", "verdict", "words", "headline"),
    [
        ({"errors": 300}, Verdict.BETTER, "more than one that saw it", "more than one that saw it"),
        ({"kd": (1, 1), "errors": 0}, Verdict.EQUIVALENT, "As well as on", "As well as"),
        ({"kd": (0.9, 1)}, Verdict.IMPRECISE, "Too imprecise to tell", "Too imprecise"),
        ({"until": 203}, Verdict.FEW, "too few for a verdict", "Too few"),
    ],
)  # fmt: skip
def test_other_outcomes_have_their_own_words(case, verdict, words, headline):
    f = of(**case)
    assert f.claims["vs_seen"].verdict is verdict
    assert words in told(f).split("**")[1] and headline in told(f, "headline")
    assert ("in too few pairs for a verdict" in told(f, "believe")) is (verdict is Verdict.FEW)


def test_a_shift_that_does_not_help_is_not_recommended():
    assert "the shift leaves it" in (said := told(of(kd=(0, 0)))) and "fit its bias" not in said


@pytest.mark.parametrize(
    ("hard", "control", "few_digits"),
    [
        ((0.10, 0.14), "that much the soft labels add", "errors fewer ("),
        ((0.97, 1), "the soft labels harm", "errors more ("),
        ((0.90, 0.92), "too small to matter", "too imprecise to tell: "),
        ((0.5, 1), "too imprecise to tell what soft labels add", "too imprecise to tell: "),
    ],
)
def test_the_control_and_the_few_digits_are_told_by_their_verdicts(hard, control, few_digits):
    first, second = told(of(QUICK, hard=hard), "believe").split("From sevens and eights alone")
    assert control in first and few_digits in second


def test_a_shift_that_costs_more_than_it_gains_is_not_advised():
    f = of()
    assert "fit its bias to its known frequency" in told(f)
    f.frame["errors_label_free"] += 1000.0
    assert "The other digits pay for it: in all" in told(f) and "fit its bias" not in told(f)


def test_families_that_are_not_part_of_the_plan_drop_out_of_the_text():
    f = of(replace(QUICK, n_control=0, n_two_digits=0))
    assert not f.claims["vs_hard"].measured and not f.claims["few_vs_hard"].measured
    assert told(f, "believe").startswith("By digit, recall runs from")
    assert "hard labels" not in told(f, "caption")
    assert len(exhibits.recall(f).axes[0].texts) == 3
    plt.close("all")


def test_published_rows_stand_beside_the_same_measure_of_the_same_transfer_set():
    f = of()
    assert set(findings.LITERATURE) <= set(literature().index)
    rows = ("omitted-unseen", "omitted-shifted-unseen", "kept", "kept-shifted")
    ours = [findings.values(f)["ours"][f"hinton-{row}"] for row in rows]
    assert ours == pytest.approx([100, 9, 81.5, 8.7], abs=0.1)
    assert "Ours: 100, and 9.0 after a shift chosen as theirs was." in told(f, "literature")
    assert "Ours" not in told(of(QUICK), "literature")


def test_the_exhibits_show_what_is_there():
    (axis,) = exhibits.recall(of()).axes
    assert axis.get_yticklabels()[-1].get_text() == "mean" and len(axis.texts) == 4
    names = tuple("mean" if i == 3 else rf"${i} \ate$" for i in range(10))
    own = replace(of(), classes={of().dataset: names})
    (of_own,) = (figure := exhibits.recall(own)).axes
    figure.draw_without_rendering()  # where a dollar begins no formula
    assert len(of_own.get_yticklabels()) == len(axis.get_yticklabels())
    plt.close("all")
    table, arms = (exhibits.TABLES[name](of()) for name in ("digits", "arms"))
    taken = ["fours (100.0\N{NO-BREAK SPACE}%)", "eights (100.0\N{NO-BREAK SPACE}%)"]
    assert table["taken for"].tolist() == taken
    assert len(arms) == 9 and arms["blocks"].tolist()[-2:] == ["6", "6"]
