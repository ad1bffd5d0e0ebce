"""When to distil: situations, what to do in each, and what that was worth here."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from darkknowledge.evidence.answers import written
from darkknowledge.evidence.claims import Findings
from darkknowledge.questions.params import project_root
from darkknowledge.questions.registry import QUESTIONS

COLUMNS = ["situation", "what to do", "worth here"]


def rows(findings: Mapping[str, Findings]) -> pd.DataFrame:
    """The table that closes the paper, a row per situation whose claims are measured.

    The block ``rows`` of ``report/answers/when.md.jinja`` writes it, by the verdicts: a paragraph is a
    row, with a bar between its cells. It gets the claims and values of each question, as ``q2.c`` and
    ``q2.v``; None for a question that the profile lacks."""
    folder = project_root() / "report" / "answers"
    known = {question: f for question, f in findings.items() if any(f.frame["record"])}
    context = {
        question: {"c": f.claims, "v": QUESTIONS[question].findings.values(f)}
        for question, f in known.items()
    }
    text = written(folder, "when", "rows", dict.fromkeys(QUESTIONS) | context)
    lines = [line.split(" | ") for line in text.split("\n\n") if line]
    return pd.DataFrame(lines, columns=COLUMNS)
