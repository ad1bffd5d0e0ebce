"""The written answers: templates of ``report/answers/``, filled with claims and values.

A template has blocks (``answer``, ``caption``, ``believe``, ``literature``, ``limits``). It gets the
claims as ``c``, by the part of their id behind the dot, and computed values as ``v``; it chooses
between sentences and never computes. A verdict stands in a branch on its claim, as
``{% if c.kd_vs_hard.better %}``."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from darkknowledge.evidence import text
from darkknowledge.spec import text_of

#: What templates may use beside Jinja's own.
WORDS = (
    "article blocks bounds effect errors joined network number percent seconds signed told values"
)
FILTERS = {name: getattr(text, name) for name in WORDS.split()}


@functools.lru_cache(maxsize=4)
def environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder; a name that is not there is an error, never an empty text."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    found.filters.update(FILTERS)
    return found


def written(folder: Path, name: str, block: str, context: Mapping[str, Any]) -> str:
    """A block of the template ``name`` as Markdown, with single spaces and blank lines between
    paragraphs; empty if the template has no such block."""
    try:
        template = environment(folder).get_template(f"{name}.md.jinja")
    except UnicodeDecodeError:  # which does not say of which file
        for path in sorted(folder.glob("*.jinja")):
            text_of(path)
        raise
    if block not in template.blocks:
        return ""
    raw = "".join(template.blocks[block](template.new_context(dict(context))))
    # Only plain spaces: those that keep a number and its unit together stay.
    paragraphs = [re.sub(r"[ \t\n]+", " ", part).strip(" ") for part in raw.split("\n\n")]
    return "\n\n".join(part for part in paragraphs if part)
