"""Q6: does a network learn from another of its own kind?"""

from __future__ import annotations

import pandas as pd

from darkknowledge.answers.common import Answer
from darkknowledge.answers.networks import composed
from darkknowledge.claims import Claim
from darkknowledge.wording import number


def answer(
    frame: pd.DataFrame,
    labels: dict[str, str],
    claims: dict[str, Claim],
    published: pd.DataFrame,
) -> Answer:
    """Q6: the written answer; ``labels`` are the true test classes by data set."""
    course = [published.loc[f"course-cifar-self-{k}", "value"] for k in ("weak", "strong")]
    expected = (
        "Self distillation is reported to help on CIFAR-100 and others (Furlanello et al. 2018; Yuan "
        "et al. 2020). The course project behind this study saw gains of "
        f"{number(course[0], 2)} points (VGG13) and {number(course[1], 2)} points (ResNet18) on "
        "CIFAR-10, one run each."
    )
    return composed(frame, labels, claims, expected, "self", OPEN)


OPEN = (
    "The student starts from another seed than its teacher and is compared with the baseline of its "
    "own seed; an ensemble of both, which has twice the cost, is not a baseline here."
)
