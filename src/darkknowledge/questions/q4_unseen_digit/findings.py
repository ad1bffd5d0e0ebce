"""Q4, what the records say: recall of a digit that the transfer set lacks, and what a shift adds."""

from functools import partial
from typing import Any

from darkknowledge.evidence import samples, text
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import Sample, average
from darkknowledge.layout import SHIFTS

#: What digits are called in the plural.
NAMES = ("zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines")
#: Data sets whose classes are digits.
DIGITS = ("mnist", "mnist5k", "mnist5k_rgb")
#: The secondary claims, judged together.
FAMILY = "Q4 against the control", 3
#: The arms on a transfer set without the digit, with the shifts of its bias that are shown of them.
SHOWN = ("hard", "label_free"), *(("kd", shift) for shift in SHIFTS)


def digits(f: Findings) -> list[str]:
    """The digits that are left out in turn."""
    return [digit for digit in dict.fromkeys(f.frame["omitted"]) if digit]


def things(f: Findings) -> tuple[str, str]:
    """What the classes are, one and several: digits, or a user's own classes."""
    return ("digit", "digits") if f.dataset in DIGITS else ("class", "classes")


def called(f: Findings, digit: str | int) -> str:
    """What a class is called: digits in the plural, others by their names."""
    return NAMES[int(digit)] if f.dataset in DIGITS else f.called(digit)


def recalls(f: Findings) -> dict[str, dict[str, Sample]]:
    """Percent recognised of each omitted digit, by arm and shift (as ``kd_label_free``), and ``seen``
    for the net distilled on all digits."""
    found = {
        f"{arm}_{shift}": {
            d: f.sample(f"unseen_recall_{shift}", arm=arm, omitted=d) * 100 for d in digits(f)
        }
        for arm, shift in SHOWN
    }

    def of_class(row: Any, digit: int) -> float:
        images = row["record"]["test"]["confusion"][digit]
        return 100 * float(images[digit]) / sum(images)

    whole = {"arm": "kd", "omitted": "", "kept": ""}
    seen = {d: f.sample(partial(of_class, digit=int(d)), **whole) for d in digits(f)}
    return found | {"seen": seen}


def claims(f: Findings) -> None:
    """One primary claim; then the control, the shift, and the transfer set of few digits."""
    recall = {name: average([*by_digit.values()]) for name, by_digit in recalls(f).items()}
    points: dict[str, Any] = {"unit": "points", "digits": digits(f)}
    shifted = recall["kd_label_free"]
    one, several = things(f)
    subject = f"distilled without the {one}, shifted"
    f.claim("vs_seen", subject, f"distilled on all {several}", shifted - recall["seen"], **points)
    gain, control = shifted - recall["hard_label_free"], "hard labels without it, shifted"
    f.claim("vs_hard", subject, control, gain, *FAMILY, **points)
    f.claim("vs_none", subject, "not shifted", shifted - recall["kd_none"], *FAMILY, **points)
    rows = f.frame[f.frame["kept"] != ""]  # of no digits in particular: there may be none
    kd, hard = (samples.sample(rows, "errors_label_free", arm=arm) for arm in ("kd", "hard"))
    subject, control = f"distilled on few {several}, shifted", "hard labels on them, shifted"
    f.claim("few_vs_hard", subject, control, kd - hard, *FAMILY)


def values(f: Findings) -> dict[str, Any]:
    """Recalls as shares, the hardest and the easiest digit, errors on all digits, the
    ``price`` of the omission in them, and what the shift costs."""
    found, omitted = recalls(f), digits(f)
    shifted = found["kd_label_free"].items()
    ours = {name: f.sample(**where) for name, where in LITERATURE.items()}
    main = f.rows(arm="kd", omitted="", kept="").iloc[0]

    def named(digit: str) -> str:
        return text.plain(called(f, digit))

    def errors(shift: str) -> Sample:
        return average([f.sample(f"errors_{shift}", arm="kd", omitted=d) for d in omitted])

    seen, total = f.sample(arm="kd", omitted="", kept=""), errors("label_free") - errors("none")
    kept = f.frame[f.frame["kept"] != ""]
    alone = {
        s: samples.sample(kept, f"errors_{s}", arm="hard").mean for s in ("none", "label_free")
    }

    return {
        "recall": {name: average([*one.values()]).mean / 100 for name, one in found.items()},
        "range": sorted((s.mean / 100, named(d)) for d, s in shifted if s.values),
        "total": total.mean,
        "errors": {
            "label_free": errors("label_free").mean,
            "seen": seen.mean,
        },
        "price": (errors("label_free") - seen).effect(),
        "omitted": [] if len(omitted) == len(NAMES) else [named(d) for d in omitted],
        "alone": alone,
        "few": [named(d) for d in max(f.frame["kept"]).split()],
        "thing": things(f)[0],
        "things": things(f)[1],
        "ours": {name: s.mean for name, s in ours.items() if s.values and f.dataset == "mnist"},
        **main[["temperature", "alpha"]],
    }


_THREES, _TWO = {"arm": "kd", "omitted": "3"}, {"arm": "kd", "kept": "7 8"}
#: Rows of ``report/literature.csv`` → the measure that stands beside each, and the arm that it is of.
LITERATURE: dict[str, dict[str, Any]] = {
    "hinton-omitted": {"measure": "errors_none", **_THREES},
    "hinton-omitted-unseen": {"measure": "unseen_errors_none", **_THREES},
    "hinton-omitted-shifted": {"measure": "errors_oracle", **_THREES},
    "hinton-omitted-shifted-unseen": {"measure": "unseen_errors_oracle", **_THREES},
    "hinton-kept": {"measure": lambda r: 100 * r["errors_none"] / r["record"]["test"]["n"], **_TWO},
    "hinton-kept-shifted": {
        "measure": lambda r: 100 * r["errors_oracle"] / r["record"]["test"]["n"], **_TWO
    },
}  # fmt: skip
