"""The study in six answers: a line a question, or a pair of networks, each from its main claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from darkknowledge.answers import q3, q4
from darkknowledge.answers.common import HARD, KD, TEACHER, Answer, errors_of, rows_mean
from darkknowledge.answers.networks import pairs
from darkknowledge.claims import Arm, Claim
from darkknowledge.wording import number

NOT_YET = "not measured at these settings"


@dataclass(frozen=True)
class Headline:
    """What a question asks, what was found in a few words, and the claim that it rests on."""

    question: str
    asks: str
    found: str
    claim: Claim | None = None

    @property
    def verdict(self) -> str:
        """The claim's, or that nothing is measured."""
        return self.claim.verdict if self.claim else NOT_YET


def headlines(
    answers: dict[str, Answer], frames: dict[str, pd.DataFrame], labels: dict[str, str]
) -> list[Headline]:
    """The lines of all questions that the profile has, in order; ``labels`` are the true test
    classes by data set."""
    found = []
    for question, of in (("q1", _q1), ("q2", _q2), ("q3", _q3), ("q4", _q4)):
        if question in answers:
            found.append(of(frames[question], answers[question].claims))
    for question, asks in (
        ("q5", "Does a strong net learn from a weak one?"),
        ("q6", "Does a net learn from its own kind?"),
    ):
        if question in answers:
            found += _networks(question, asks, answers[question], frames[question], labels)
    return found


def _q1(frame: pd.DataFrame, claims: dict[str, Claim]) -> Headline:
    nets = {"cumbersome net": TEACHER, "small net": HARD}
    asks = "What does size buy, on true labels?"
    return _errors("q1", asks, claims["q1.teacher_vs_small"], frame, nets)


def _q2(frame: pd.DataFrame, claims: dict[str, Claim]) -> Headline:
    arms = {"distilled": KD, "on true labels": HARD}
    asks = "Is the small net better with soft labels?"
    return _errors("q2", asks, claims["q2.kd_vs_hard"], frame, arms)


def _errors(
    question: str, asks: str, claim: Claim, frame: pd.DataFrame, arms: dict[str, Arm]
) -> Headline:
    if not claim.measured:
        return Headline(question, asks, "")
    found = [f"{name} {number(errors_of(frame, arm).mean)}" for name, arm in arms.items()]
    return Headline(question, asks, f"{', '.join(found)} errors", claim)


def _q3(frame: pd.DataFrame, claims: dict[str, Claim]) -> Headline:
    asks = "Which temperature?"
    chosen = {w: q3.best(frame, w) for w in q3.widths(frame)}
    done = {w: t for w, t in chosen.items() if t is not None}
    if not done:
        return Headline("q3", asks, "")
    widest = max(done)
    mark = {widest: " (compared here)"} if len(done) > 1 else {}
    listed = ", ".join(f"{t:g} with {w} units{mark.get(w, '')}" for w, t in done.items())
    return Headline(
        "q3", asks, f"chosen on validation: {listed}", claims[f"q3.w{widest}_chosen_vs_hard"]
    )


def _q4(frame: pd.DataFrame, claims: dict[str, Claim]) -> Headline:
    asks = "What of a digit that it never saw?"
    sets = q4.single_digits(frame)
    rows = sets[0].rows(frame) if sets else frame[:0]
    claim = claims.get(f"q4.no{sets[0].omitted}_shift") if sets else None
    if claim is None or not claim.measured:
        return Headline("q4", asks, "")
    before, after = (
        number(100 * rows_mean(rows, f"unseen_recall_{shift}").mean)
        for shift in ("none", "validation")
    )
    text = f"{sets[0].name}: {before} % of them right, {after} % after a shift"
    return Headline("q4", asks, text, claim)


def _networks(
    question: str, asks: str, answer: Answer, frame: pd.DataFrame, labels: dict[str, str]
) -> Iterator[Headline]:
    every = pairs(frame, labels)
    done = [pair for pair in every if pair.measured]
    if not done:
        yield Headline(question, asks, "")
    for pair in done:
        kd, hard = (number(effect.mean) for effect in pair.compared)
        claim = answer.claims[f"{pair.name}.kd_t{pair.main:g}"]
        yield Headline(
            question, asks, f"{pair.title} ({pair.data}): {kd} errors, on true labels {hard}", claim
        )
