"""Q5: can a weak teacher improve a strong student?"""

from __future__ import annotations

import pandas as pd

from darkknowledge.answers.common import Answer
from darkknowledge.answers.networks import composed
from darkknowledge.claims import Claim
from darkknowledge.wording import number, signed

#: Pairs of Yuan et al. (2020), table 2, that this study plans.
YUAN = ("plain_cnn>resnet18", "mobilenetv2>resnet18")


def answer(
    frame: pd.DataFrame,
    labels: dict[str, str],
    claims: dict[str, Claim],
    published: pd.DataFrame,
) -> Answer:
    """Q5: the written answer; ``labels`` are the true test classes by data set."""
    gains = [
        published.loc[f"yuan-{p}-reversed", "value"] - published.loc[f"yuan-{p}-strong", "value"]
        for p in YUAN
    ]
    course = (
        published.loc["course-cifar-reversed", "value"],
        published.loc["course-cifar-strong", "value"],
    )
    expected = (
        "Yuan et al. (2020) report that weak teachers improve strong students on CIFAR-10: ResNet18 by "
        f"{signed(gains[0], 2)} points from a plain CNN and by {signed(gains[1], 2)} from MobileNetV2 "
        "(three runs each, no spread given for the baselines). The course project behind this study "
        f"counted {number(course[0], 2)} % against {number(course[1], 2)} % for ResNet18 taught by "
        "VGG13, one run each."
    )
    return composed(frame, labels, claims, expected, "reversed", OPEN)


OPEN = (
    "Whether a gain, where there is one, comes from what the weak teacher knows or from smoother "
    "labels, is what the controls ask; most of them have the main arm's weight only."
)
