"""What all questions have in common: without records, or with few, nothing is claimed."""

from __future__ import annotations

import re

import pytest

from darkknowledge.evidence.stats import Verdict
from darkknowledge.questions.registry import QUESTIONS
from fabricated import found, plausible, told


@pytest.mark.parametrize("question", QUESTIONS)
def test_without_records_nothing_is_measured_and_nothing_is_drawn(question):
    f = found(question, plausible, measured=lambda planned: False)
    assert {claim.verdict for claim in f.claims.values()} == {Verdict.UNMEASURED}
    assert told(f) == f"**{told(f, 'headline')}**" == "**Not measured yet.**"
    assert all(make(f) is None for make in QUESTIONS[question].exhibits.FIGURES.values())
    for part in ("caption", "believe", "literature", "limits"):
        assert "—" not in told(f, part) and "Ours" not in told(f, part)


@pytest.mark.parametrize("question", QUESTIONS)
def test_with_few_blocks_nothing_is_called_better(question):
    f = found(question, plausible, measured=lambda planned: planned.block < 203)
    assert {c.verdict for c in f.claims.values()} <= {Verdict.FEW, Verdict.UNMEASURED}
    assert Verdict.FEW in {c.verdict for c in f.claims.values() if c.family == "primary"}
    assert re.search("too few (pairs )?for a verdict", told(f)) and "oo few" in told(f, "headline")
