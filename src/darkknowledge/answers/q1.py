"""Q1: what a cumbersome net costs, and what it buys."""

from __future__ import annotations

import pandas as pd

from darkknowledge.answers.common import (
    HARD,
    TEACHER,
    Answer,
    errors_of,
    from_cost,
    images_of,
    is_mnist,
    mean_of,
    other_data,
    ours_and_theirs,
)
from darkknowledge.claims import Claim, adjusted, runs_of, unpaired
from darkknowledge.wording import joined, number, seconds, sentence, share


def make_claims(frame: pd.DataFrame, labels: str) -> dict[str, Claim]:
    """Q1's single claim: the cumbersome net against the small one."""
    return adjusted([unpaired("q1.teacher_vs_small", frame, TEACHER, HARD, labels)])


def answer(
    frame: pd.DataFrame,
    labels: str,
    claims: dict[str, Claim],
    latency: pd.DataFrame | None,
    published: pd.DataFrame,
) -> Answer:
    """Q1: what the cumbersome net costs, and what it buys."""
    claim = claims["q1.teacher_vs_small"]
    big, small = errors_of(frame, TEACHER), errors_of(frame, HARD)
    n = images_of(labels)
    theirs = published.loc["hinton-teacher"], published.loc["hinton-hard"]
    expected = (
        f"Hinton et al. (2015) report {number(theirs[0]['value'], 0)} test errors for the cumbersome "
        f"net and {number(theirs[1]['value'], 0)} for the small one, one run each, "
        f"of 10,000 test images."
    )
    if not claim.measured:
        return Answer(expected, "Not measured at these settings.", "", "", claims)
    ratio = {
        k: from_cost(frame, TEACHER, k) / from_cost(frame, HARD, k) for k in ("parameters", "flops")
    }
    time = {a: mean_of(runs_of(frame, a), "seconds") for a in (TEACHER, HARD)}
    epochs = {a: runs_of(frame, a)["epochs"].iloc[0] for a in (TEACHER, HARD)}
    found = (
        f"the cumbersome net makes {number(big.mean)} errors of {n} on average "
        f"({share(big.n, len(runs_of(frame, TEACHER)), 'seed')}), the small net {number(small.mean)} "
        f"({share(small.n, len(runs_of(frame, HARD)), 'seed')}): by the rule of @sec-statistics the "
        f"cumbersome net is **{claim.verdict}** {claim.evidence}. It has "
        f"{number(ratio['parameters'], 2)} times the parameters and {number(ratio['flops'], 2)} times "
        f"the FLOPs of the small one; its training took {seconds(time[TEACHER])} "
        f"({epochs[TEACHER]} epochs) against {seconds(time[HARD])} ({epochs[HARD]} epochs)."
    )
    if latency is not None:
        found += " " + _latency_sentence(latency)
    if is_mnist(frame):
        gap = (
            ours_and_theirs("cumbersome net", big, theirs[0])
            + "; "
            + ours_and_theirs("small net", small, theirs[1])
            + ". Optimiser, learning rate, batch size and number of epochs of the original are not "
            "published, so a difference cannot be traced to one of them, and none was tested; nor was "
            f"training the cumbersome net for more than {epochs[TEACHER]} epochs."
        )
    else:
        gap = other_data(frame)
    open_ = (
        "The two nets differ in more than size: the cumbersome one has dropout and sees jittered "
        "inputs, the small one has neither. How much of the difference is size is not tested here; "
        "what jitter alone does for the small net is a control of @sec-q2."
    )
    return Answer(expected, found, gap, open_, claims)


def _latency_sentence(latency: pd.DataFrame) -> str:
    parts = []
    for batch, rows in latency.groupby("batch"):
        by_arm = rows.set_index("arm")["median"]
        images = "one image" if batch == 1 else f"a batch of {batch}"
        parts.append(
            f"{images} takes {seconds(by_arm['teacher'])} against {seconds(by_arm['hard'])}"
        )
    row = latency.iloc[0]
    return sentence(
        f"{joined(parts)} (medians, {share(row['threads'], row['threads'], 'thread')} of "
        f"{row['device_name']})."
    )
