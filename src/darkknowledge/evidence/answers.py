"""The written answers: templates of ``report/answers/``, filled with claims and values.

A template has blocks (``answer``, ``caption``, ``limits`` and others) and nothing else, as no text
outside them would be shown. It gets the claims as ``c``, by the part of their id behind the dot, and
computed values as ``v``; it chooses between sentences and never computes. A verdict stands in a branch
on its claim, as ``{% if c.kd_vs_hard.better %}``."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from darkknowledge.evidence import text
from darkknowledge.spec import SpecError, choose, text_of

#: What templates may use beside Jinja's own.
WORDS = (
    "article blocks bounds effect errors joined network number percent seconds signed told values"
)
FILTERS = {name: getattr(text, name) for name in WORDS.split()}


class Loader(jinja2.FileSystemLoader):
    """Templates that say nothing outside their blocks."""

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        source, path, fresh = super().get_source(environment, template)
        for node in environment.parse(source, template, path).body:
            said = "".join(part.data for part in node.find_all(jinja2.nodes.TemplateData))
            if said.strip() and not isinstance(node, jinja2.nodes.Block):
                what = f"{said.split()[0]!r} stands outside the blocks: put it into one"
                line = node.lineno + said[: len(said) - len(said.lstrip())].count("\n")
                raise jinja2.TemplateSyntaxError(what, line, template, path)
        return source, path, fresh


@functools.lru_cache(maxsize=4)
def environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder; a name that is not there is an error, never an empty text."""
    found = jinja2.Environment(
        loader=Loader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    found.filters.update(FILTERS)
    return found


def written(folder: Path, name: str, block: str, context: Mapping[str, Any]) -> str:
    """A block of the template ``name`` as Markdown, with single spaces and blank lines between
    paragraphs. Raises SpecError for a template that has no such block, or that cannot be filled."""
    path = folder / f"{name}.md.jinja"
    try:
        template = environment(folder).get_template(path.name)
        choose(f"a block of {path}", block, template.blocks)
        raw = "".join(template.blocks[block](template.new_context(dict(context))))
    except jinja2.TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise SpecError(f"{path}{line}: {error.message}.") from error
    except UnicodeDecodeError:  # which does not say of which file
        for path in sorted(folder.glob("*.jinja")):
            text_of(path)
        raise
    # Only plain spaces: those that keep a number and its unit together stay, as T = 4 does.
    paragraphs = [re.sub(r"[ \t\n]+", " ", part).strip(" ") for part in raw.split("\n\n")]
    return text.together("\n\n".join(part for part in paragraphs if part))
