"""The written answers: sentences composed from claims, so that new numbers change the words."""

from __future__ import annotations

import pandas as pd

from darkknowledge.answers.common import HARD, KD, TEACHER, Answer, errors_of, images_of
from darkknowledge.wording import number


def abstract(answers: dict[str, Answer], frames: dict[str, pd.DataFrame], labels: str) -> str:
    """The findings in two or three sentences, as far as they are measured."""
    parts = []
    if "q1" in answers:
        claim = answers["q1"].claims["q1.teacher_vs_small"]
        if claim.measured:
            means = [errors_of(frames["q1"], arm).mean for arm in (TEACHER, HARD)]
            parts.append(
                f"A cumbersome net with dropout and jittered inputs makes {number(means[0])} errors "
                f"on {images_of(labels)} test images, a small one on true labels {number(means[1])}."
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
    return " ".join(parts) or "Nothing is measured at these settings yet."
