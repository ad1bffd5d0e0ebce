"""Tables of evidence: claims, tests, explanations, published numbers, conventions, provenance."""

from __future__ import annotations

import math

import pandas as pd

from darkknowledge import conventions as others
from darkknowledge.answers.common import ARM_NAMES
from darkknowledge.answers.headlines import Headline
from darkknowledge.answers.q7 import NAMES, Explanation
from darkknowledge.answers.scorecard import Row
from darkknowledge.claims import Claim
from darkknowledge.statistics import MOST_CLUSTERS, SIGNIFICANT
from darkknowledge.tables.common import breakable, k_of_n
from darkknowledge.wording import interval, measured, number, p_value, seconds, signed


def claim_list(claims: dict[str, Claim]) -> pd.DataFrame:
    """One row a measured claim, with what a sceptic needs; the answers name the others. ``n to
    settle`` is there where the claim is inconclusive."""
    return pd.DataFrame(
        [
            {
                "claim": described(c),
                "difference in errors": measured(c.effect),
                "n": k_of_n(c.effect.n, c.planned),
                "n to settle": to_settle(c),
                "adjusted p": p_value(c.p_adjusted).removeprefix("p ").removeprefix("= "),
                "verdict": f"**{c.verdict}**",
            }
            for c in claims.values()
            if c.measured
        ]
    )


#: What the first-named is compared with, by question; Q3's and Q4's words say what they compare.
AGAINST = {
    "q1": "than the small net",
    "q2": "than on true labels",
    "q3": "than on true labels",
    "q4": "than without the shift",
    "q5": "than on true labels",
    "q6": "than on true labels",
}


def headlines(found: list[Headline]) -> pd.DataFrame:
    """The study in six answers: question, answer, verdict, effect with interval, n."""
    rows = []
    for one in found:
        claim, verdict = one.claim, f"**{one.verdict}**"
        if one.verdict.startswith(("better", "worse")):
            word, _, rest = one.verdict.partition(",")
            verdict = f"**{word}** {AGAINST[one.question]}" + (f",{rest}" if rest else "")
        rows.append(
            {
                "question": f"{one.question.upper()}. {one.asks}",
                "found": breakable(one.found) or "—",
                "verdict": verdict,
                "difference in errors": measured(claim.effect) if claim else "—",
                "n": k_of_n(claim.effect.n, claim.planned) if claim else "—",
            }
        )
    return pd.DataFrame(rows)


def described(claim: Claim) -> str:
    """What is compared with what."""
    words = NAMES if claim.id.startswith("q7.") else ARM_NAMES
    names = (words.get(arm.name, arm.name) for arm in (claim.subject, claim.reference))
    text = " against ".join(names)
    if "gain" in claim.id:
        text += ": its gain without jitter minus that with it"
    elif claim.subject.protocol != "hinton":
        text += f" ({claim.subject.protocol})"
    return breakable(text)


def to_settle(claim: Claim) -> str:
    """How many clusters would settle an inconclusive claim, if its effect is the one seen."""
    needed = claim.needed
    if math.isnan(needed):
        return ""
    return number(needed, 0) if math.isfinite(needed) else f"> {number(MOST_CLUSTERS, 0)}"


def claim_runs(sections: dict[str, dict[str, Claim]]) -> pd.DataFrame:
    """Every measured claim of all questions with McNemar's counts and its runs, by the first digits
    of their names."""
    rows = []
    for claims in sections.values():
        for c in claims.values():
            if c.measured:
                rows.append(
                    {
                        "id": breakable(c.id.replace(">", " > ").replace("_", " ")),
                        "McNemar": mcnemar_counts(c),
                        "runs": " ".join(dict.fromkeys(run[:6] for run in c.run_ids)),
                    }
                )
    return pd.DataFrame(rows)


def mcnemar_counts(claim: Claim) -> str:
    """``2 : 0 of 5``: pairs of runs in which the subject, and in which the reference is favoured at
    5 %; empty where predictions are not paired."""
    if not claim.mcnemar:
        return ""
    decided = [t for t in claim.mcnemar if t.p < SIGNIFICANT]
    wins = sum(t.only_first > t.only_second for t in decided)
    text = f"{wins} : {len(decided) - wins} of {len(claim.mcnemar)}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def mcnemar(claim: Claim) -> pd.DataFrame:
    """McNemar's test for each pair of runs of a claim; never pooled."""
    return pd.DataFrame(
        [
            {
                "seed": str(seed),
                "only distilled right": str(test.only_first),
                "only true labels right": str(test.only_second),
                "p": f"{test.p:.3f}" if test.p >= 0.001 else "< 0.001",
            }
            for seed, test in zip(claim.seeds, claim.mcnemar, strict=True)
        ]
    )


def provenance(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Where the records stem from: data, machines, versions, seeds, hours."""
    everything = pd.concat(frames.values(), ignore_index=True)
    everything = everything[everything["record"].notna()].drop_duplicates("run_id")
    records = list(everything["record"])

    def values(find) -> str:
        return ", ".join(sorted({str(find(r)) for r in records})) or "—"

    total = sum(r["provenance"]["training_seconds"] for r in records)
    facts = {
        "data": values(lambda r: r["provenance"]["data"]),
        "fingerprint (SHA-256)": values(lambda r: r["spec"]["data"]["fingerprint"][:16] + "…"),
        "training images": _range([r["provenance"]["training_images"] for r in records]),
        "validation, test images": values(
            lambda r: f"{number(r['validation']['n'], 0)}, {number(r['test']['n'], 0)}"
        ),
        "records": str(len(records)),
        "teachers' seeds": _seeds(everything, teachers=True),
        "students' seeds": _seeds(everything, teachers=False),
        "device": values(lambda r: r["provenance"]["device_name"]),
        "precision": values(lambda r: r["spec"]["precision"]),
        "threads a run": values(lambda r: r["provenance"]["threads"]),
        "Python": values(lambda r: r["provenance"]["versions"]["python"]),
        "PyTorch": values(lambda r: r["provenance"]["versions"]["torch"].split("+")[0]),
        "torchvision": values(lambda r: r["provenance"]["versions"]["torchvision"].split("+")[0]),
        "training time, all runs": seconds(total),
    }
    return pd.DataFrame({"what": facts.keys(), "this report": facts.values()})


def _range(values: list[int]) -> str:
    if not values:
        return "—"
    ends = sorted({min(values), max(values)})
    return " to ".join(number(end, 0) for end in ends)


def _seeds(frame: pd.DataFrame, teachers: bool) -> str:
    rows = frame[(frame["role"] == "teacher") == teachers]
    return ", ".join(map(str, sorted(rows["seed"].unique()))) or "—"


def explanations(found: tuple[Explanation, ...]) -> pd.DataFrame:
    """Explanation against evidence: what is expected if it were right, and what was seen."""
    rows = []
    for one in found:
        seen = ""
        if one.claim is not None and one.claim.measured:
            seen = f"{signed(one.claim.effect.mean)} ({interval(one.claim.effect)})"
        rows.append(
            {
                "explanation": f"{one.name} [@{one.source}]",
                "expected": one.predicts,
                "difference in errors": seen,
                "evidence": f"**{one.verdict}**",
            }
        )
    return pd.DataFrame(rows)


#: Decimals and what a unit is called in the scorecard.
UNITS = {
    "errors of 10000": (1, "errors"),
    "errors of 1010": (1, "errors of 1,010"),
    "percent errors of 10000": (1, "% errors"),
    "percent accuracy": (2, "% accuracy"),
    "points": (2, "points"),
    "parameters": (0, "parameters"),
}


def scorecard(rows: list[Row]) -> pd.DataFrame:
    """One row a published number: theirs, ours, the difference of recipe, what ours cost."""
    return pd.DataFrame(
        [
            {
                "published": f"{row.what} [@{row.source}]",
                "theirs": _theirs(row),
                "ours": _ours(row),
                "verdict": f"**{row.reached}**",
                "their recipe": row.recipe_difference,
                "our training": _cost(row),
            }
            for row in rows
        ]
    )


def _theirs(row: Row) -> str:
    if row.unit == "claim":
        return ""
    decimals, unit = UNITS[row.unit]
    whole = row.unit.startswith("errors") or decimals == 0
    value = number(row.published.mean, 0 if whole else decimals)
    if math.isnan(row.published.low):
        return f"{value} {unit}"
    return f"{value} {unit} ({interval(row.published, 0 if whole else decimals)})"


def _ours(row: Row) -> str:
    if row.unit == "claim" or not row.ours.n:
        return ""
    decimals, _ = UNITS[row.unit]
    if row.unit == "parameters":
        return number(row.ours.mean, 0)
    return f"{measured(row.ours, decimals)}, n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row.ours.n}"


def _cost(row: Row) -> str:
    if row.unit == "parameters" or not len(row.runs):
        return ""
    epochs = "/".join(map(str, sorted(row.runs["epochs"].unique())))
    return f"{epochs} epochs, {seconds(row.runs['seconds'].mean())}"


def speed(bench: pd.DataFrame) -> pd.DataFrame:
    """Training speed against the usual way, as ``darkknowledge bench`` stored it."""
    return pd.DataFrame(
        [
            {
                "machine": f"{row.device_name}, {row.threads} threads",
                "case": row.case,
                "way": row.variant,
                "images a second": number(row.images_per_second, 0),
                "ratio": number(row.ratio, 2),
                "spread (%)": number(100 * row.spread, 0),
                "share of products (%)": number(100 * row.share, 0),
            }
            for row in bench.itertuples()
        ]
    )


def conventions() -> pd.DataFrame:
    """How others write the loss, and an example of their settings in ours."""
    return pd.DataFrame(
        [
            {
                "source": c.source,
                "their loss": f"${c.formula}$",
                "an example": c.settings,
                "*w*~hard~": f"{c.ours.w_hard:g}",
                "*w*~soft~": f"{c.ours.w_soft:g}",
                "*T*": f"{c.ours.temperature:g}",
            }
            for c in others.examples()
        ]
    )
