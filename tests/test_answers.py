"""What all questions have in common: their plan's claims, exhibits that hold what they show; and without
records, or with few, nothing is claimed."""

import json
import re
from collections import Counter

import pytest

from darkknowledge.evidence import answers, plots
from darkknowledge.evidence.stats import Verdict
from darkknowledge.questions import params
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.spec import SpecError
from fabricated import assert_held, found, plausible, told

#: How many claims the analysis plan judges together.
FAMILIES = {
    "primary": 7, "Q1 sizes": 3, "Q2 rivals": 4, "Q2 augmentation": 3, "Q3 high temperatures": 6,
    "Q3 narrow": 2, "Q4 against the control": 3, "weak taught by strong": 1, "Q5, Q6 rivals": 3,
    "Q5, Q6 temperatures": 6, "Q5, Q6 weights, MNIST": 6, "Q5, Q6 weights, CIFAR-10": 6,
    "parts": 3, "quality": 3, "unfamiliar": 2, "few labels": 4,
}  # fmt: skip


@pytest.mark.parametrize("profile", [pytest.param("paper", marks=pytest.mark.slow), "quick"])
def test_all_claims_of_the_plan_are_there_measured_or_not_and_judged_at_its_levels(profile):
    chosen = {q: params.read(profile, q) for q in QUESTIONS}
    for measured in (True, False):
        rest = {"measured": lambda planned, yes=measured: yes}
        every = [found(q, plausible, chosen=chosen[q], **rest) for q in QUESTIONS]
        claims = [claim for f in every for claim in f.claims.values()]
        families = Counter(claim.family for claim in claims)
        families["Q5, Q6 weights, CIFAR-10"] += 2  # the main weights': they are primary claims
        assert profile == "quick" or +families == FAMILIES
        for claim in claims:
            assert claim.members == families[claim.family], claim.id
            assert claim.effect.level == pytest.approx(1 - 0.05 / claim.members)
            if claim.family == "primary":
                blocks = len(chosen[claim.id[:2]].blocks)
                assert (claim.planned, claim.effect.n) == (blocks, blocks * measured), claim.id


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["paper", "quick"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_figure_holds_what_it_shows_and_a_table_has_a_row_per_arm(question, profile):
    plots.style()
    shown = {"q5": ("q5", "q6")}.get(question, (question,))  # both teachers on the same axes
    f, *other = (found(q, plausible, chosen=params.read(profile, q)) for q in shown)
    for make in QUESTIONS[question].exhibits.FIGURES.values():
        assert_held(make(f, *other))
    table = QUESTIONS[question].exhibits.TABLES["arms"](f)
    assert len(table) >= len(f.frame.groupby(["arm", "model"]))


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_without_records_nothing_is_measured_and_nothing_is_drawn(question):
    f = found(question, plausible, measured=lambda planned: False)
    for claim in f.claims.values():
        assert claim.verdict is Verdict.UNMEASURED and not claim.measured
        assert json.loads(json.dumps(claim.as_dict(), allow_nan=False))["difference"] is None
    assert told(f) == f"**{told(f, 'headline')}**" == "**Not measured yet.**"
    assert all(make(f) is None for make in QUESTIONS[question].exhibits.FIGURES.values())
    assert all(make(f).empty for make in QUESTIONS[question].exhibits.TABLES.values())
    for part in ("caption", "believe", "literature", "limits"):
        assert "—" not in told(f, part) and "Ours" not in told(f, part)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% block answer %}{% endblock %}\n\nLost.", "line 3: 'Lost.' stands outside the blocks"),
        ("{% if c %}Lost.{% endif %}", "line 1: 'Lost.' stands outside the blocks"),
        ("{% block anwser %}{% endblock %}", "is 'answer', but must be one of anwser"),
        ("{% block answer %}\n{{ v | lost }}{% endblock %}", "line 2: No filter named 'lost'"),
        ("{% block answer %}{{ v }}{% endblock %}", r"q1\.md\.jinja: 'v' is undefined"),
    ],
)
def test_a_template_that_would_say_less_than_is_written_is_refused(tmp_path, text, said):
    (tmp_path / "q1.md.jinja").write_text(text)
    with pytest.raises(SpecError, match=said):
        answers.written(tmp_path, "q1", "answer", {"c": {}})


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_images_of_a_claim_add_up_to_its_errors(question):
    """But for Q4's, which are recalls, or errors after a shift."""
    counted = [c for c in found(question, plausible).claims.values() if c.crossed.n]
    assert bool(counted) == (question != "q4")
    for claim in counted:
        sums = {b: images.sum() for b, images in claim.by_image.values.items()}
        assert sums == pytest.approx(dict(claim.difference.values))
        assert claim.crossed.mean == pytest.approx(claim.effect.mean)


@pytest.mark.parametrize("question", QUESTIONS)
def test_with_few_blocks_nothing_is_called_better(question):
    f = found(question, plausible, measured=lambda planned: planned.block < 203)
    assert {c.verdict for c in f.claims.values()} <= {Verdict.FEW, Verdict.UNMEASURED}
    assert Verdict.FEW in {c.verdict for c in f.claims.values() if c.family == "primary"}
    assert re.search("too few (pairs )?for a verdict", told(f)) and "oo few" in told(f, "headline")
