"""Q2: the sentence follows the records."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from darkknowledge.evidence import plots, text
from darkknowledge.evidence.stats import Verdict
from darkknowledge.questions.q2_distillation import exhibits
from fabricated import found, told

#: Test errors by arm where distillation works.
ERRORS = {
    "teacher": 8, "hard": 40, "kd": 18, "confidence_only": 34, "soft_only": 20,
    "permuted_teacher": 33, "label_smoothing": 35, "tfkd_reg": 36, "hard_jitter": 12, "kd_jitter": 10,
}  # fmt: skip


def errors(**changes):
    return lambda planned: (ERRORS | changes).get(planned.arm, 50)


def test_a_clear_gain_is_told_as_one_with_what_is_left_of_it():
    f = found("q2", errors())
    claim = f.claims["kd_vs_hard"]
    assert claim.verdict is Verdict.BETTER and claim.effect.n == claim.planned == 10
    assert claim.effect.level == pytest.approx(1 - 0.05 / 7)
    said = told(f)
    kd, hard = (text.errors(f.sample(arm=arm).mean) for arm in ("kd", "hard"))
    assert said.startswith(f"**Yes: the 800-unit network makes {kd} errors instead of {hard}, and")
    assert "of the gap to its teacher.**" in said and "errors fewer (" in said
    assert "Distil where the student cannot be trained as its teacher was" in said
    assert "permuted" in told(f, "caption")


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"kd": 60}, Verdict.WORSE, "**No: the 800-unit network"),
        ({"kd": 40}, Verdict.EQUIVALENT, None),
    ],
)
def test_other_outcomes_have_their_own_words(changes, verdict, words):
    f = found("q2", errors(**changes))
    assert f.claims["kd_vs_hard"].verdict in (verdict, Verdict.IMPRECISE)
    said = told(f)
    assert said.startswith(words or ("**It makes no difference", "**Too imprecise")[
        f.claims["kd_vs_hard"].verdict is Verdict.IMPRECISE])  # fmt: skip
    assert "Yes" not in said


def test_with_few_blocks_nothing_is_called_better():
    f = found("q2", errors(), measured=lambda planned: planned.block < 203)
    assert f.claims["kd_vs_hard"].verdict is Verdict.FEW
    assert "too few for a verdict" in told(f)


def test_without_records_it_is_not_measured():
    f = found("q2", errors(), measured=lambda planned: False)
    assert told(f) == "**Not measured yet.**"
    assert exhibits.differences(f) is None and exhibits.learning_curves(f) is None


def test_the_exhibits_show_what_is_there():
    f = found("q2", errors())
    plots.style()
    for make in exhibits.FIGURES.values():
        assert make(f).axes
        plt.close("all")
    table = exhibits.TABLES["arms"](f)
    assert len(table) == 16 and table.loc[2, "arm"] == "distilled"
