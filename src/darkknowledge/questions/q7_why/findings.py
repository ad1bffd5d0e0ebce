"""The discussion, what the records say: soft labels with parts taken out, worse teachers, images that
the teacher never saw, few labels, noise."""

from dataclasses import replace
from typing import Any

from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import means, ratio
from darkknowledge.questions.q7_why.plan import PARTS

#: How the arms with few labels begin → what they are called; how they end → what their students see.
FEW = {
    "hard": "hard labels", "kd": "distilled on those images", "kd_all": "distilled on all images"
}  # fmt: skip
VIEWS = {"": "plain images", "_jitter": "jittered images"}
#: Other arms that have no name elsewhere.
NAMES = {
    "teacher_half": "teacher of one half of the images",
    "kd_same_half": "distilled, the teacher's half",
    "kd_other_half": "distilled, the other half",
    "hard_other_half": "hard labels, the other half",
    "noise_own_initialisation": "on noise, the teacher's initial weights",
    "noise_other_initialisation": "on noise, other initial weights",
}


def claims(f: Findings) -> None:
    """One primary claim; the parts, worse teachers, unfamiliar images, few labels."""
    words = named(f)

    def claim(name: str, arm: str, reference: str, *family: Any, **data: Any) -> None:
        sides = words.get(arm, arm), words.get(reference, reference)
        f.claim(name, *sides, f.sample(arm=arm) - f.sample(arm=reference), *family, **data)

    claim("kd_vs_confidence_only", "kd", "confidence_only")
    for arm in PARTS:
        claim(f"{arm}_vs_kd", arm, "kd", "parts", len(PARTS))
    worse, known = worse_teachers(f), shares(f)
    for arm, (epochs, _) in worse.items():
        claim(f"{arm}_vs_kd", arm, "kd", "quality", len(worse), epochs=epochs)
    for arm in ("hard_other_half", "kd_same_half"):
        claim(f"other_half_vs_{arm}", "kd_other_half", arm, "unfamiliar", 2)
    for name, share in known.items():
        for arm in (f"kd_{name}", f"kd_all_{name}"):
            family = "few labels", 2 * len(known)
            claim(f"{arm}_vs_hard", arm, f"hard_{name}", *family, share=share)


def worse_teachers(f: Findings) -> dict[str, tuple[int, int]]:
    """Arms of students whose teacher was trained for less long → its epochs, and those of the whole
    one; the worst teacher first."""
    epochs = f.frame.drop_duplicates("run_id").set_index("run_id")["epochs"]
    whole = int(f.rows(arm="teacher")["epochs"].iloc[0])
    rows = f.rows(family="quality", mode="kd").drop_duplicates("arm")
    found = [(int(epochs[row.teacher_run_id]), row.arm) for row in rows.itertuples()]
    return {arm: (number, whole) for number, arm in sorted(found)}


def shares(f: Findings) -> dict[str, float | None]:
    """How arms name a share of the labels → that share, the smallest first; None before any record."""
    found: dict[str, float | None] = {}
    rows = f.rows(family="few_labels", mode="hard", protocol="clean")
    for arm, record in zip(rows["arm"], rows["record"], strict=True):
        name = arm.removeprefix("hard_")
        found[name] = float(record["spec"]["data"]["share"]) if record else found.get(name)
    return dict(sorted(found.items(), key=lambda item: item[1] or 1))


def portion(share: float) -> str:
    """``1 %``, ``0.5 %``."""
    return f"{100 * share:g}\N{NO-BREAK SPACE}%"


def named(f: Findings) -> dict[str, str]:
    """What the arms are called here; by their key where that is their name everywhere."""
    names = {arm: NAMES.get(arm, arm) for arm in f.frame["arm"]}
    for arm, (epochs, _) in worse_teachers(f).items():
        teacher = f"teacher of {epochs:,} epoch" + "s" * (epochs != 1)
        names |= {arm.removeprefix("kd_"): teacher, arm: f"distilled, {teacher}"}
    for name, share in shares(f).items():
        if share:
            for end, view in VIEWS.items():
                few = f"{portion(share)} of labels, {view}: "
                names |= {f"{kind}_{name}{end}": few + words for kind, words in FEW.items()}
    return names


def values(f: Findings) -> dict[str, Any]:
    """Means of the arms in errors, the share of the gain that confidence alone loses, whether it brings
    ``mostly`` all of it, and the worse teachers and shares of labels, each with its claims."""
    errors = {arm: f.sample(arm=arm).mean for arm in f.frame["arm"].unique()}
    hard, main = f.sample(arm="hard"), f.rows(arm="kd").iloc[0]
    kept = ratio(hard - f.sample(arm="confidence_only"), hard - f.sample(arm="kd"))
    worse, few = [], []
    for arm, (epochs, whole) in worse_teachers(f).items():
        one = {"epochs": epochs, "whole": whole, "errors": errors.get(arm.removeprefix("kd_"))}
        one["taught"] = errors[arm]
        worse.append(one | {"claim": f.claims[f"{arm}_vs_kd"]})
    for name, share in shares(f).items():
        if share:
            arms = {kind: f.sample(arm=f"{kind}_{name}") for kind in FEW}
            judged = {kind: f.claims[f"{kind}_{name}_vs_hard"] for kind in ("kd", "kd_all")}
            arm = f"kd_{name}_jitter"
            broken = f.broken(arm=arm), len(f.sample(arm=arm).values)
            told = {"share": portion(share), "errors": means(arms), "broken": broken}
            few.append(told | judged)
    lost = replace(kept, mean=1 - kept.mean, low=1 - kept.high, high=1 - kept.low)
    found = {"errors": errors, "lost": lost, "kept": kept, "worse": worse, "few": few}
    found["guess"] = f.images(f.dataset) * (1 - 1 / len(f.names(f.dataset)))
    found["mostly"] = errors["kd"] < errors["hard"] and kept.mean > 0.5
    return {**found, **main[["temperature", "alpha"]]}
