"""Tables as Markdown, and those that every question has: its arms, and its claims."""

import re
from collections.abc import Mapping

import pandas as pd

from darkknowledge.evidence import text
from darkknowledge.evidence.arms import label
from darkknowledge.evidence.claims import Claim, Findings


def markdown(frame: pd.DataFrame) -> str:
    """A pipe table: numbers to the right, words to the left, as in the first column; by what stands in
    the columns."""

    def numeric(column: str) -> bool:
        cells = [str(value) for value in frame[column] if str(value) not in ("", "—")]
        # "100-unit network" begins with a number, and is none; neither is a list of runs.
        begun = (re.match(r"[−+<≈]?\s?\d(?!\S*-)", cell) for cell in cells)
        return bool(cells) and max(map(len, cells)) < 60 and all(begun)

    first, *rest = frame
    sides = ["left", *("right" if numeric(column) else "left" for column in rest)]
    return text.together(frame.to_markdown(index=False, colalign=sides, disable_numparse=True))


def effect(claim: Claim) -> str:
    """The difference of a claim with the interval that decides, for a table."""
    decimals = None if claim.unit == "errors" else 2
    return f"{text.cell(claim.effect, decimals)} {claim.unit}" if claim.measured else "—"


def rests_on(claim: Claim) -> str:
    """What a claim's verdict rests on, shown where somebody points at it."""
    runs = " ".join(sorted(run[:6] for run in claim.run_ids))
    return f"{effect(claim)}; {claim.effect.n} of {claim.planned} blocks; runs {runs}"


def k_of_n(k: int, n: int) -> str:
    """``5``, or ``3 of 5`` in one piece while some are missing."""
    return f"{n}" if k == n else f"{k}\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}{n}"


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """A table without columns that have nothing in any row."""
    return table.loc[:, (table != "").any()]


def claims(found: dict[str, Claim]) -> pd.DataFrame:
    """Every measured claim: verdict, difference with the interval that decides, the same over other test
    images too, blocks, the family that it is judged in with its members, and the paired test's p, not
    adjusted."""
    rows = pd.DataFrame(
        [
            {
                "claim": f"{label(c.subject)} against {label(c.reference)}",
                "verdict": f'[{c.verdict.value}]{{title="{rests_on(c)}"}}',
                "difference": effect(c),
                "over images too": text.interval(c.crossed) if c.crossed.bounded else "",
                "n": k_of_n(c.effect.n, c.planned),
                "family (members)": f"{c.family} ({c.members})",
                "p": text.p_value(c.effect.p),
            }
            for c in found.values()
            if c.measured
        ]
    )
    return filled(rows)


def arms(
    f: Findings, words: Mapping[str, str] = {}, references: Mapping[str, str] = {}
) -> pd.DataFrame:
    """All arms, in the order of training: test errors with a 95 % interval over blocks,
    the mean difference, over the blocks that both have from one type of processor, from hard labels on
    the same network and transfer set, and what is measured beside; where training broke down, the range.
    ``words`` are what arms are called here, ``references`` their arms of hard labels that are not
    ``hard``."""

    def names(classes: str) -> str:
        return text.joined(text.plain(f.called(one)) for one in classes.split())

    rows = []
    sets = list(f.frame["dataset"].unique())
    transfer = [f.frame[name] for name in ("dataset", "omitted", "kept")]
    order = list(dict.fromkeys(zip(*transfer, strict=True)))
    keys = ["dataset", "model", "arm", "temperature", "alpha", "omitted", "kept"]
    groups = f.frame.groupby(keys, sort=False)
    for values, runs in sorted(groups, key=lambda g: order.index((g[0][0], *g[0][-2:]))):
        where = dict(zip(keys, values, strict=True))
        dataset, model, arm, t, alpha, omitted, kept = values
        if not (sample := f.sample(**where)).values:
            continue
        same = {key: where[key] for key in ("dataset", "model", "omitted", "kept")}
        hard = f.sample(arm=references.get(arm, "hard"), **same)
        compared = arm not in (references.get(arm, "hard"), "teacher") and hard.planned
        named, agreed = label(words.get(arm, arm)), runs["teacher_agreement"]
        lost = f.broken(**where)
        rows.append(
            {
                "data": text.DATASETS.get(dataset, dataset) if len(sets) > 1 else "",
                "arm": named
                + f", without {names(omitted)}" * bool(omitted)
                + f", only {names(kept)}" * bool(kept)
                + f"; broke down in {lost}" * bool(lost),
                "network": text.network(model),
                "T": f"{t:g}" if alpha else "",
                "α": f"{alpha:g}" if alpha else "",
                "test errors": text.cell(sample.effect()),
                "from hard labels": text.signed((sample - hard).mean) if compared else "",
                "NLL": text.number(runs["nll"].mean(), 4),
                "ECE (%)": text.number(100 * runs["ece"].mean(), 2),
                "agreement (%)": "" if agreed.isna().all() else text.number(100 * agreed.mean(), 2),
                "blocks": k_of_n(len(sample.values), len(sample.planned)),
            }
        )
        if lost:  # a mean would say little
            ends = [text.errors(end(sample.values.values())) for end in (min, max)]
            rows[-1] |= dict.fromkeys(("from hard labels", "NLL", "ECE (%)", "agreement (%)"), "")
            rows[-1]["test errors"] = " to ".join(ends)
    return filled(pd.DataFrame(rows))
