"""Q3: which temperature suits a wide, and which a narrow student?"""

from __future__ import annotations

import math

import pandas as pd

from darkknowledge.answers.common import (
    HARD,
    KD,
    Answer,
    is_mnist,
    other_data,
    rows_mean,
    verdict_of_all,
)
from darkknowledge.claims import Arm, Claim, adjusted, averaged, between, runs_of
from darkknowledge.wording import (
    interval,
    joined,
    number,
    sentence,
    signed,
    values,
)

#: Hinton et al. 2015, section 3: with this many units a layer or more, all temperatures above
#: ``HIGH`` gave fairly similar results; with 30, those of ``BAND`` worked significantly better than
#: higher or lower ones.
WIDE, HIGH, BAND = 300, 8.0, (2.5, 4.0)
#: High temperatures are compared with this one, or with the nearest that was tried.
REFERENCE = 20.0


def widths(frame: pd.DataFrame) -> list[int]:
    """The students' hidden widths, the widest first."""
    return sorted({int(w) for w in frame.loc[frame["arm"] == "kd", "pair"]}, reverse=True)


def temperatures(frame: pd.DataFrame, width: int) -> list[float]:
    """The temperatures planned at a width, in order."""
    rows = runs_of(frame, KD)
    return sorted(rows.loc[rows["pair"] == str(width), "temperature"].unique())


def at(frame: pd.DataFrame, width: int, temperature: float | None = None) -> pd.DataFrame:
    """The runs at a width: distilled at ``temperature``, or on true labels if that is None."""
    rows = runs_of(frame, HARD if temperature is None else KD)
    rows = rows[rows["pair"] == str(width)]
    return rows if temperature is None else rows[rows["temperature"] == temperature]


def best(frame: pd.DataFrame, width: int, column: str = "validation_errors") -> float | None:
    """The temperature with the fewest errors on average, over seeds that all of them have; by
    default on validation. None while no seed is complete."""
    rows = runs_of(frame, KD)
    rows = rows[rows["pair"] == str(width)]
    errors = rows.pivot(index="seed", columns="temperature", values=column).dropna()
    return None if errors.empty else float(errors.mean().idxmin())


def reference(frame: pd.DataFrame, width: int) -> float | None:
    """The high temperature that the other high ones are compared with."""
    high = [t for t in temperatures(frame, width) if t >= HIGH]
    return min(high, key=lambda t: abs(t - REFERENCE)) if high else None


def narrow(frame: pd.DataFrame) -> int | None:
    """The narrowest width, if it is one that the claim of a best band can be about."""
    width = widths(frame)[-1]
    return width if width < WIDE else None


def bands(frame: pd.DataFrame, width: int) -> dict[str, list[float]]:
    """The temperatures within Hinton et al.'s band, those above, and those below down to one.

    Below one the factor T² takes the soft gradient away; beating that would prove nothing.
    """
    tried = temperatures(frame, width)
    low, high = BAND
    return {
        "inside": [t for t in tried if low <= t <= high],
        "lower": [t for t in tried if 1 <= t < low],
        "higher": [t for t in tried if t > high],
    }


def make_claims(frame: pd.DataFrame, labels: str) -> dict[str, Claim]:
    """All claims of Q3, Holm-adjusted together."""
    claims = []
    for width in widths(frame):
        against = reference(frame, width)
        high = [t for t in temperatures(frame, width) if t >= HIGH and t != against]
        for t in high if width >= WIDE else []:
            claims.append(
                between(
                    f"q3.w{width}_t{t:g}_vs_t{against:g}",
                    at(frame, width, t),
                    at(frame, width, against),
                    Arm(f"{width} units, T = {t:g}"),
                    Arm(f"{width} units, T = {against:g}"),
                    labels,
                )
            )
        chosen = best(frame, width)
        if chosen is not None:
            claims.append(
                between(
                    f"q3.w{width}_chosen_vs_hard",
                    at(frame, width, chosen),
                    at(frame, width),
                    Arm(f"{width} units, T = {chosen:g} (chosen on validation)"),
                    Arm(f"{width} units, true labels"),
                    labels,
                )
            )
    if (least := narrow(frame)) is not None:
        groups = bands(frame, least)
        rows = runs_of(frame, KD)
        rows = rows[rows["pair"] == str(least)]
        mean = {k: averaged(rows[rows["temperature"].isin(ts)]) for k, ts in groups.items()}
        for side in ("lower", "higher"):
            if groups["inside"] and groups[side]:
                claims.append(
                    between(
                        f"q3.w{least}_band_vs_{side}",
                        mean["inside"],
                        mean[side],
                        Arm(f"{least} units, T = {values(groups['inside'])}"),
                        Arm(f"T = {values(groups[side])}"),
                        labels,
                    )
                )
    return adjusted(claims)


def soft_gradient(frame: pd.DataFrame, width: int) -> pd.DataFrame:
    """Per temperature, means over the runs of a width: ``entropy`` of the teacher's soft targets
    (nats), ``soft`` norm of the soft part's gradient at the start, unweighted, and ``share``, the
    weighted soft part's share of the sum of both norms."""
    found = []
    rows = runs_of(frame, KD)
    for _, row in rows[rows["pair"] == str(width)].iterrows():
        targets = (row["record"] or {}).get("soft_targets")
        if not targets:
            continue
        soft, hard = targets["gradient_soft"], targets["gradient_hard"]
        weighted = row["w_soft"] * soft, row["w_hard"] * hard
        found.append((row["temperature"], targets["entropy"], soft, weighted[0] / sum(weighted)))
    table = pd.DataFrame(found, columns=["temperature", "entropy", "soft", "share"])
    return table.groupby("temperature").mean()


def answer(frame: pd.DataFrame, labels: str, claims: dict[str, Claim]) -> Answer:
    """Q3: the written answer."""
    expected = (
        f"Hinton et al. (2015) write that with {WIDE} or more units in each hidden layer all "
        f"temperatures above {HIGH:g} gave fairly similar results, and that with 30 units those of "
        f"{BAND[0]:g} to {BAND[1]:g} worked significantly better than higher or lower ones; they give "
        "no numbers."
    )
    if not any(claim.measured for claim in claims.values()):
        return Answer(expected, "Not measured at these settings.", "", "", claims)
    every = widths(frame)
    tried = [f"{w} units: {values(temperatures(frame, w))}" for w in every]
    parts = [f"temperatures planned, by width of the student: {'; '.join(tried)}."]
    parts += [_chosen(frame, width, claims, labels) for width in every]
    parts += [_alike(frame, width, claims) for width in every if width >= WIDE]
    if (width := narrow(frame)) is not None:
        parts.append(_band(frame, width, claims))
    parts.append(_soft_part(frame))
    gap = (
        "The published sentences carry no errors, seeds or intervals, so only their direction can be "
        "compared. Our recipe was chosen at one width and one temperature (@tbl-tuning) and serves "
        "all of them; whether another learning rate would suit narrow nets or low temperatures "
        "better is not tested."
        if is_mnist(frame)
        else other_data(frame)
    )
    alpha = runs_of(frame, KD)["alpha"].iloc[0]
    open_ = (
        f"One weight of the soft labels (α = {alpha:g}) is used at every temperature, so T also sets "
        "how much the soft part counts beside the true labels (@fig-q3-teacher), and below one how "
        "large the steps are; neither is separated here from what the soft labels say."
    )
    return Answer(expected, "\n\n".join(map(sentence, filter(None, parts))), gap, open_, claims)


def _chosen(frame: pd.DataFrame, width: int, claims: dict[str, Claim], labels: str) -> str:
    claim = claims.get(f"q3.w{width}_chosen_vs_hard")
    if claim is None:
        return f"with {width} units no seed is complete over all temperatures yet."
    chosen, oracle = best(frame, width), best(frame, width, "test_errors")
    kd, hard = (rows_mean(at(frame, width, t)) for t in (chosen, None))
    hindsight = rows_mean(at(frame, width, oracle))
    text = (
        f"With {width} units validation chooses T = {chosen:g}, which makes {number(kd.mean)} errors "
        f"of {number(len(labels), 0)} against {number(hard.mean)} on true labels: "
        f"**{claim.verdict}** {claim.evidence}"
    )
    if oracle == chosen:
        return f"{text}; hindsight on the test set would choose the same."
    return (
        f"{text}; hindsight on the test set, which is no fair choice, would take T = {oracle:g} "
        f"({number(hindsight.mean)})."
    )


def alike_holds(width: int, claims: dict[str, Claim]) -> str:
    """Whether all high temperatures are alike at a width: ``holds``, ``does not hold``, ``is not
    decided``; empty if none are compared."""
    found = [c for k, c in claims.items() if k.startswith(f"q3.w{width}_t")]
    if not found:
        return ""
    return verdict_of_all(
        [c.verdict.startswith("alike") or c.verdict.endswith("within δ") for c in found],
        [c.verdict in ("better", "worse") for c in found],
    )


def band_holds(width: int, claims: dict[str, Claim]) -> str:
    """Whether the band is best at a width, in the words of :func:`alike_holds`."""
    found = [claims.get(f"q3.w{width}_band_vs_{side}") for side in ("lower", "higher")]
    if not any(found):
        return ""
    return verdict_of_all(
        [c is not None and c.verdict.startswith("better") for c in found],
        [c is not None and c.verdict.startswith(("worse", "alike")) for c in found],
    )


def _alike(frame: pd.DataFrame, width: int, claims: dict[str, Claim]) -> str:
    against = reference(frame, width)
    found = [c for k, c in claims.items() if k.startswith(f"q3.w{width}_t")]
    if not found:
        return ""
    groups: dict[str, list[str]] = {}
    for claim in found:
        temperature = claim.subject.name.rpartition(" ")[2]
        groups.setdefault(claim.verdict, []).append(f"{temperature} ({_brief(claim)})")
    listed = "; ".join(f"**{verdict}**: T = {joined(names)}" for verdict, names in groups.items())
    return (
        f"With {width} units, high temperatures beside T = {against:g} (difference in errors, "
        f"interval): {listed}. That all of them from {HIGH:g} on are alike, within δ = "
        f"{number(found[0].delta, 0)} errors, **{alike_holds(width, claims)}** here."
    )


def _brief(claim: Claim) -> str:
    if not claim.measured:
        return "no pair yet"
    return f"{signed(claim.effect.mean)}, {interval(claim.effect)}"


def _band(frame: pd.DataFrame, width: int, claims: dict[str, Claim]) -> str:
    groups = bands(frame, width)
    found = {s: claims.get(f"q3.w{width}_band_vs_{s}") for s in ("lower", "higher")}
    if not any(found.values()):
        return ""
    parts = []
    for side, claim in found.items():
        if claim is None:
            parts.append(f"no {side} temperature is tried")
        elif not claim.measured:
            parts.append(f"against {side} ones it is not measured yet")
        else:
            than = "than" if claim.verdict.startswith(("better", "worse")) else "against"
            parts.append(f"**{claim.verdict}** {than} {side} ones {claim.evidence}")
    return (
        f"With {width} units the mean of T = {values(groups['inside'])} is {'; '.join(parts)}. "
        f"That T of {BAND[0]:g} to {BAND[1]:g} is best for narrow nets "
        f"**{band_holds(width, claims)}** here (temperatures below one are left out of this comparison)."
    )


def _soft_part(frame: pd.DataFrame) -> str:
    tables = [soft_gradient(frame, width) for width in widths(frame)]
    table = max(tables, key=len)  # the widest of those with the most temperatures
    if len(table) < 2:
        return ""
    low, high = table.index[0], table.index[-1]
    text = (
        f"The teachers' soft labels have an entropy of {number(table.loc[low, 'entropy'], 3)} nats at "
        f"T = {low:g} and {number(table.loc[high, 'entropy'], 3)} at T = {high:g}, where uniform ones "
        f"would have {number(math.log(10), 3)}; at the start of training the soft part has "
        f"{number(100 * table.loc[low, 'share'], 0)} % and {number(100 * table.loc[high, 'share'], 0)} % "
        "of the gradient."
    )
    if low < 1 and 1 in table.index:
        ratio = table.loc[low, "soft"] / table.loc[1, "soft"]
        shares = (f"{number(100 * table.loc[t, 'share'], 0)} %" for t in (low, 1))
        text += (
            f" Below T = 1 the factor T² makes the soft gradient small: at T = {low:g} it has "
            f"{number(100 * ratio, 0)} % of its norm at T = 1, and {' against '.join(shares)} of the "
            "whole."
        )
    return text
