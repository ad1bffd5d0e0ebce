"""What the tables share: Markdown, counts of planned runs."""

from __future__ import annotations

import math
import re

import pandas as pd

from darkknowledge.wording import number

#: What the padding of a table's cell is worth, in characters.
PADDING = 4
#: How much more room numbers get than words of their length.
NUMBERS = 1.3
#: No column counts as wider than this many characters.
WIDEST = 48


def markdown(frame: pd.DataFrame, align: str = "") -> str:
    """A pipe table. ``align`` has one letter a column, l or r; by default the first is l."""
    align = align or "l" + "r" * (frame.shape[1] - 1)
    names = {"l": "left", "r": "right", "c": "center"}
    text = frame.to_markdown(index=False, colalign=[names[a] for a in align], disable_numparse=True)
    # Wide tables get column widths in proportion to these dashes; the padding of a cell counts too,
    # long texts must leave the other columns room, and numbers are not to be broken.
    head, rule, *rows = text.splitlines()

    def dashes(found: re.Match) -> str:
        numbers = found[2] and not found[1]
        width = round(len(found[0]) * NUMBERS) if numbers else min(len(found[0]), WIDEST)
        return f"{found[1]}{'-' * (width + PADDING)}{found[2]}"

    rule = re.sub(r"(:?)-+(:?)", dashes, rule)
    return "\n".join([head, rule, *rows])


def breakable(text: str) -> str:
    """With an invisible place to break a line after each hyphen and underscore of a net's name."""
    return re.sub(r"(?<=[\w])([-_])(?=\w)", "\\1\N{ZERO WIDTH SPACE}", text)


def k_of_n(k: int, n: int) -> str:
    """``5``, or ``3 of 5`` in one piece while some are missing."""
    return f"{n}" if k == n else f"{k}\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}{n}"


def of_planned(rows: pd.DataFrame) -> str:
    done = int(rows["test_errors"].notna().sum())
    return k_of_n(done, len(rows))


def percent(value: float) -> str:
    return "" if math.isnan(value) else number(100 * value, 2)
