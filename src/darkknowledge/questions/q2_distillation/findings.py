"""Q2, what the records say: distilled against hard labels, against its rivals, on jittered images."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from darkknowledge.evidence import text
from darkknowledge.evidence.claims import Claim, Findings
from darkknowledge.evidence.samples import means, ratio
from darkknowledge.layout import Record

#: What stands beside distillation, each against hard labels.
RIVALS = ("soft_only", "permuted_teacher", "label_smoothing", "tfkd_reg")
#: What is told of beside, without a claim here.
OTHERS = ("confidence_only", "hard_equal_budget")


#: What an augmentation makes of images.
VIEWS = {"jitter": "jittered", "shift_flip": "shifted and mirrored"}


def claims(f: Findings) -> None:
    """One primary claim; the rivals; the same on jittered images, and the difference of the gains."""
    hard, kd = f.sample(arm="hard"), f.sample(arm="kd")
    f.claim("kd_vs_hard", "kd", "hard", kd - hard)
    for arm in RIVALS:
        difference = f.sample(arm=arm) - hard
        f.claim(f"{arm}_vs_hard", arm, "hard", difference, "Q2 rivals", len(RIVALS))
    jitter_hard, jitter_kd = f.sample(arm="hard_jitter"), f.sample(arm="kd_jitter")
    family = "Q2 augmentation", 3
    f.claim("kd_vs_hard_jitter", "kd_jitter", "hard_jitter", jitter_kd - jitter_hard, *family)
    f.claim("jitter_vs_hard", "hard_jitter", "hard", jitter_hard - hard, *family)
    gains = "gain of distillation on jittered images", "gain on plain ones"
    difference = (jitter_kd - jitter_hard) - (kd - hard)
    f.claim("gain_with_jitter_vs_without", *gains, difference, *family)


def _epochs(records: Iterable[Record | None]) -> int:
    """For how long the runs of an arm were trained; 0 without a record."""
    return next((record["spec"]["recipe"]["epochs"] for record in records if record), 0)


def _unplanned(f: Findings, subject: str, reference: str) -> Claim:
    """A difference that the plan has no claim on, judged by itself."""
    both = (f, replace(f, by_image=True))
    blocks, images = (of.sample(arm=subject) - of.sample(arm=reference) for of in both)
    return Claim("", subject, reference, blocks, "", 1, "errors", 0, 0, by_image=images)


def values(f: Findings) -> dict[str, Any]:
    """Means of the arms in errors, and shares of the gain, for the template."""
    arms = ("teacher", "hard", "kd", "hard_jitter", "kd_jitter", *RIVALS, *OTHERS)
    found = {arm: f.sample(arm=arm) for arm in arms}
    gain = {arm: found["hard"] - sample for arm, sample in found.items()}
    main = f.rows(arm="kd").iloc[0]
    jittered = f.rows(arm="hard_jitter")["record"]
    return {
        "errors": {arm: sample.mean for arm, sample in found.items()},
        "gain": {arm: sample.mean for arm, sample in gain.items()},
        "share": {arm: ratio(sample, gain["kd"]) for arm, sample in gain.items()},
        "gap_closed": ratio(gain["kd"], gain["teacher"]),
        "jitter_vs_kd": _unplanned(f, "hard_jitter", "kd"),
        "ece": means({a: f.sample("ece", arm=a) for a in ("hard", "kd", *RIVALS[-2:])}),
        "epochs": {
            "jitter": _epochs(jittered),
            "plain": _epochs(f.rows(arm="hard")["record"]),
            "budget": _epochs(f.rows(arm="hard_equal_budget")["record"]),
        },
        "images": f.images(f.dataset),
        "data": text.DATASETS.get(f.dataset, f.dataset),
        "held_out": next((r["validation"]["n"] for r in f.frame["record"] if r), math.nan),
        "view": VIEWS.get(
            next((r["spec"]["recipe"]["augmentation"] for r in jittered if r), ""), "augmented"
        ),
        "tuned": f.dataset == "mnist",  # the search was there
        "student": main["model"],
        **main[["temperature", "alpha"]],
    }


#: Rows of ``report/literature.csv`` → the measure that stands beside each, and the arm that it is of.
LITERATURE = {
    "hinton-teacher": {"arm": "teacher"},
    "hinton-hard": {"arm": "hard"},
    "course-hard": {"arm": "hard_jitter"},
    "course-kd": {"arm": "kd_jitter"},
}
