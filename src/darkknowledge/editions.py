"""The published editions of a profile: PDF, Markdown, script-free HTML, and the README's answers.

Each carries the fingerprint of the records that it shows, so that a stale one is found out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from darkknowledge.execution import FIGURES
from darkknowledge.pandoc import Pandoc
from darkknowledge.paper import Paper
from darkknowledge.params import project_root
from darkknowledge.records import Store, atomic_write
from darkknowledge.rendering import render

NAME = "dark-knowledge"
#: The README's part that is made from the records stands between these lines.
BEGIN, END = "<!-- answers: made by `make publish` -->", "<!-- end of answers -->"


def folder() -> Path:
    """Where the published editions lie."""
    return project_root() / "report" / "published"


def publish(profile: str, store: Store) -> list[Path]:
    """Render a profile and put its editions into ``report/published`` and its answers into the
    README; returns the files. The packages render it, Quarto or not: their pages hold no script.
    Raises RuntimeError if a format cannot be rendered, and then leaves the editions as they were."""
    paper = Paper.load(profile, store.root)
    if not Pandoc.here():
        raise RuntimeError(
            "The editions are made by the packages pypandoc_binary and typst: install them, or where "
            "the first has no wheel (on Windows on Arm), call this on another machine."
        )
    made, failures = render(paper, list(Pandoc.formats), Pandoc())
    if failures:
        raise RuntimeError("; ".join(failures))
    target = folder()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made[0].parent / FIGURES, target / FIGURES)
    found = [shutil.copy(path, target / f"{NAME}{path.suffix}") for path in made]
    readme = project_root() / "README.md"
    atomic_write(readme, with_answers(readme.read_text(encoding="utf-8"), paper).encode())
    return [*map(Path, found), readme]


def answers(paper: Paper) -> str:
    """The README's part that is made from the records: the six answers, and what they rest on."""
    table = paper.table("headlines").replace("\N{ZERO WIDTH SPACE}", "")
    return (
        f"{table}\n\n"
        f"Mean difference in test errors with its 95 % interval, over n teachers or seeds; negative is "
        f"fewer. {paper.progress()} planned runs are stored (fingerprint `{paper.fingerprint}`)."
    )


def with_answers(readme: str, paper: Paper) -> str:
    """The README with its answers made anew. Raises RuntimeError if their place is not marked."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"README.md has no place for the answers between {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{answers(paper)}\n\n{END}{after}"
