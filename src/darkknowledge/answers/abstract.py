"""The abstract: a sentence a question, composed from its claims."""

from __future__ import annotations

import pandas as pd

from darkknowledge.answers import q3, q4
from darkknowledge.answers.common import HARD, KD, TEACHER, Answer, errors_of
from darkknowledge.answers.networks import Pair, by_verdict, pairs
from darkknowledge.answers.q7 import AGAINST, FOR, Discussion
from darkknowledge.claims import Claim
from darkknowledge.wording import joined, number


def _temperature(frame: pd.DataFrame, claims: dict[str, Claim]) -> list[str]:
    done = {k.split("_")[0] for k, c in claims.items() if c.measured}
    wide: dict[str, list[str]] = {}
    for width in q3.widths(frame):
        if f"q3.w{width}" in done and (verdict := q3.alike_holds(width, claims)):
            wide.setdefault(verdict, []).append(f"{width}")
    found = [f"{verdict} with {joined(widths)} units" for verdict, widths in wide.items()]
    text = [f"That all high temperatures are alike {joined(found)}."] if found else []
    narrow = q3.narrow(frame)
    if narrow and f"q3.w{narrow}" in done and (verdict := q3.band_holds(narrow, claims)):
        low, high = q3.BAND
        text.append(f"That T of {low:g} to {high:g} is best {verdict} with {narrow} units.")
    return text


def _omitted(frame: pd.DataFrame) -> list[str]:
    sets = q4.single_digits(frame)
    rows = sets[0].rows(frame) if sets else frame[:0]
    if not len(rows) or rows["unseen_recall_none"].isna().all():
        return []
    before, after = (
        number(100 * rows[f"unseen_recall_{shift}"].mean()) for shift in ("none", "validation")
    )
    return [
        f"A student with {sets[0].name} in its transfer set gets {before} % of them right, and "
        f"{after} % after a shift of that class's bias chosen on validation."
    ]


def _networks(subject: str, answer: Answer, measured: list[Pair]) -> list[str]:
    """The main arm of every measured pair of Q5 or Q6, by verdict."""
    groups = {
        verdict: joined([f"{pair.title} ({pair.data})" for pair in group])
        for verdict, group in by_verdict(measured, answer.claims).items()
    }
    listed = "; ".join(f"{verdict} for {names}" for verdict, names in groups.items())
    return [f"{subject}, beside true labels on the same net: {listed}."] if groups else []


def _explanations(discussion: Discussion) -> list[str]:
    groups: dict[str, list[str]] = {}
    for one in discussion.explanations:
        groups.setdefault(one.verdict, []).append(f"“{one.name}”")
    said = [
        f"{word} {joined(groups[verdict])}"
        for word, verdict in (("for", FOR), ("against", AGAINST))
        if verdict in groups
    ]
    text = f"Of the explanations tested, the evidence speaks {', and '.join(said)}."
    return [text] if said else []


def abstract(
    answers: dict[str, Answer],
    discussion: Discussion | None,
    frames: dict[str, pd.DataFrame],
    labels: dict[str, str],
) -> str:
    """The findings in a sentence a question, as far as they are measured; ``labels`` are the true
    test classes by data set."""
    parts = []
    if "q1" in answers:
        claim = answers["q1"].claims["q1.teacher_vs_small"]
        if claim.measured:
            means = [errors_of(frames["q1"], arm).mean for arm in (TEACHER, HARD)]
            parts.append(
                f"A cumbersome net with dropout and jittered inputs makes {number(means[0])} errors "
                f"on {claim.images:,} test images, a small one on true labels {number(means[1])}."
            )
    if "q2" in answers:
        claim = answers["q2"].claims["q2.kd_vs_hard"]
        if claim.measured:
            kd = errors_of(frames["q2"], KD)
            parts.append(
                f"Distilled from the cumbersome net, the small one makes {number(kd.mean)}: "
                f"{claim.verdict} than on true labels {claim.evidence}."
                if claim.verdict.split(",")[0] in ("better", "worse")
                else f"Distilled from the cumbersome net, the small one makes {number(kd.mean)}; "
                f"against true labels this is {claim.verdict} {claim.evidence}."
            )
    if "q3" in answers:
        parts += _temperature(frames["q3"], answers["q3"].claims)
    if "q4" in answers:
        parts += _omitted(frames["q4"])
    for question, subject in (("q5", "Reversed distillation"), ("q6", "Self distillation")):
        if question in answers:
            every = [pair for pair in pairs(frames[question], labels) if pair.measured]
            parts += _networks(subject, answers[question], every)
    if discussion:
        parts += _explanations(discussion)
    return " ".join(parts) or "Nothing is measured at these settings yet."
