"""Q3, what the records say: above T = 1 against it, high temperatures against 20, a narrow net."""

import math
from typing import Any

import pandas as pd

from darkknowledge.evidence import text
from darkknowledge.evidence.claims import Claim, Findings
from darkknowledge.evidence.samples import EMPTY, Sample, average
from darkknowledge.spec import ModelSpec

#: Temperatures from ``HIGH`` on are compared with ``REFERENCE``; the narrow net's are those of ``BAND``.
ONE, HIGH, REFERENCE, BAND = 1.0, 8.0, 20.0, (2.0, 4.0)
#: Units per layer from which on Hinton et al. find all temperatures above 8 alike.
WIDE = 300
ALIKE, NARROW = "Q3 high temperatures", "Q3 narrow"


def nets(f: Findings) -> list[str]:
    """The student, and the other nets, the widest first."""
    student = f.rows(family="main_temperatures", arm="hard")["model"].iloc[0]
    others = set(f.rows(arm="kd")["model"]) - {student}
    return [student, *sorted(others, key=units, reverse=True)]


def units(net: str) -> float:
    """Of its first hidden layer; infinitely many where its name gives none."""
    return next(iter(ModelSpec.named(net).hidden), math.inf)


def temperatures(f: Findings, low: float = 0, high: float = math.inf, **where: Any) -> list[float]:
    """The temperatures that nets are distilled at, from ``low`` to ``high``, in order."""
    return sorted({t for t in f.rows(arm="kd", **where)["temperature"] if low <= t <= high})


def at(f: Findings, net: str, *chosen: float) -> Sample:
    """Errors of a net distilled at a temperature; of several, their mean."""
    found = [f.sample(arm="kd", model=net, temperature=t) for t in chosen]
    return average(found) if found else EMPTY


def claims(f: Findings) -> None:
    """One primary claim; high temperatures against 20; the narrowest net in its band against others."""
    student, *others = nets(f)

    def claim(name: str, net: str, ts: list[float], to: list[float], *family: Any) -> None:
        sides = f"{text.network(net)}, T = {text.values(ts)}", f"T = {text.values(to)}"
        difference = at(f, net, *ts) - at(f, net, *to)
        f.claim(name, *sides, difference, *family, model=net, temperature=ts)

    main = temperatures(f, family="main_temperatures")
    claim("above_vs_one", student, [t for t in main if t > ONE], [ONE])
    wide = student, *others[:1]
    compared = [(net, t) for net in wide for t in temperatures(f, HIGH, model=net)]
    compared = [(net, t) for net, t in compared if t != REFERENCE]
    for net, t in compared:
        claim(f"{net}_t{t:g}_vs_t{REFERENCE:g}", net, [t], [REFERENCE], ALIKE, len(compared))
    narrow = others[-1] if others else ""
    high, band = temperatures(f, HIGH, model=narrow), temperatures(f, *BAND, model=narrow)
    claim("narrow_vs_one", narrow, band, [ONE], NARROW, 2)
    claim("narrow_vs_high", narrow, band, high, NARROW, 2)


def apart(claim: Claim) -> bool:
    """Whether there is a difference that may matter."""
    return (claim.better or claim.worse) and not claim.slight


def literature(f: Findings) -> dict[str, str]:
    """What becomes here of two published sentences without numbers, by id."""
    high = [c for c in f.claims.values() if c.family == ALIKE and min(c.data["temperature"]) > HIGH]
    wide = [c for c in high if units(c.data["model"]) >= WIDE]
    alike = [c.equivalent or c.slight for c in wide]
    narrow = [c for c in f.claims.values() if c.family == NARROW and units(nets(f)[-1]) < WIDE]

    def said(found: list[Claim], holds: list[bool], fails: list[bool], of: str = "") -> str:
        if not any(c.measured for c in found):
            return "is not tested yet" if found else "is not tested"
        return (
            "holds"
            if all(holds)
            else "does not hold"
            if any(fails)
            else f"is too imprecise to tell{of}"
        )

    fails = [c.worse or c.equivalent for c in narrow]
    return {
        "hinton-alike": said(wide, alike, [apart(c) for c in wide], " for all"),
        "hinton-band": said(narrow, [c.better for c in narrow], fails),
    }


def chosen(f: Findings) -> dict[str, tuple[float, list[float]]]:
    """Of the temperatures and of the weights that the student was tried with, each at the main value of
    the other, the one with the fewest validation errors on average, and all of them. Empty where no other
    weight was tried."""
    student = nets(f)[0]
    main = f.rows(arm="kd", model=student).iloc[0]
    weights = f.rows(arm="kd_weight", model=student)
    if not len(weights):
        return {}
    usual = {"temperature": weights["temperature"].iloc[0], "alpha": main["alpha"]}
    taught = pd.concat([f.rows(arm="kd", model=student), weights])
    found = {}
    for key, other in (("temperature", "alpha"), ("alpha", "temperature")):
        tried = taught[(taught[other] == usual[other]) & taught["record"].notna()]
        errors = tried["record"].map(lambda record: record["validation"]["errors"])
        means = errors.groupby(tried[key]).mean()
        if len(means):
            found[key] = float(means.idxmin()), sorted(map(float, means.index))
    return found


def values(f: Findings) -> dict[str, Any]:
    """Means in errors; whether the student's high temperatures are ``alike``, or which is ``apart``."""
    student, main = nets(f)[0], f.claims["above_vs_one"].data["temperature"]
    narrow = f.claims["narrow_vs_one"].data["model"]
    above, one = at(f, student, *main), at(f, student, ONE)
    difference = (above - one).pure  # its blocks, and no others, count for both sides
    high = [c for c in f.claims.values() if c.family == ALIKE and c.data["model"] == student]
    rest = [c for c in high if apart(c) or c.imprecise]
    tried = f.rows(arm="kd", model=student, diverged=True)["temperature"]
    lost = sorted({*main} & {*tried})
    kept = at(f, student, *(t for t in main if t not in lost)) - at(f, student, ONE)
    low = temperatures(f, model=student)[0]
    coldest = (low, at(f, student, low).mean) if low < ONE and at(f, student, low).values else None
    return {
        "student": student,
        "narrow": narrow,
        "main": main,
        "lost": lost,
        "without_lost": kept.effect(f.claims["above_vs_one"].level),
        "band": temperatures(f, *BAND, model=narrow),
        "common": sorted({*main} & {*temperatures(f, *BAND)}),
        "high": HIGH,
        "above": [t for t in temperatures(f, HIGH, model=student) if t > HIGH],
        "coldest": coldest,
        "reference": REFERENCE,
        "alpha": f.rows(arm="kd")["alpha"].iloc[0],
        "errors": {"one": (above - difference).mean, "above": (one + difference).mean},
        "hard": f.sample(arm="hard", model=student).mean,
        "alike": bool(high) and all(c.equivalent or c.slight for c in high),
        "blurred": [t for c in high if c.imprecise for t in c.data["temperature"]],
        "apart": max(rest, key=lambda c: (apart(c), abs(c.effect.mean)), default=None),
        "margin": high[0].delta if high else math.nan,
        "literature": literature(f),
        "chosen": chosen(f),
    }


#: Rows of ``report/literature.csv`` with a number → what stands beside each; see :func:`literature`.
LITERATURE: dict[str, dict[str, Any]] = {
    "hinton-kd": {"arm": "kd", "family": "main_temperatures", "temperature": 20.0}
}
