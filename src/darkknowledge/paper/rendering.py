"""A profile's report, rendered by Quarto or, where there is none, by the packages of pandoc and Typst."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from darkknowledge.config import project_root
from darkknowledge.paper import quarto_cli
from darkknowledge.paper.execution import DOCUMENTS, FIGURES, OWN, execute
from darkknowledge.paper.pandoc import Pandoc
from darkknowledge.paper.paper import Paper
from darkknowledge.paper.quarto_cli import Quarto
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.spec import choose

#: Where notebooks lie, beside the documents and beside what is made of them.
NOTEBOOKS = "notebooks"
ENDINGS = {"html": ".html", "typst": ".pdf", "gfm": ".md"}
#: What Quarto's pages have beyond ours.
BEYOND = "a switch between light and dark, previews of references, and other formats, as Word"

Renderer = Quarto | Pandoc


def find(fetch: bool = False) -> Renderer:
    """Quarto if it is here, else the packages; ``fetch`` tries once to install Quarto before.

    Raises RuntimeError if there is neither."""
    if command := quarto_cli.command() or (quarto_cli.fetched() if fetch else None):
        return Quarto(command)
    if Pandoc.here():
        return Pandoc()
    raise RuntimeError(
        "There is nothing to render with: call make setup, or where the package pypandoc_binary has no "
        "wheel (on Windows on Arm), get Quarto from quarto.org or set QUARTO_PATH to it."
    )


def render(paper: Paper, formats: list[str], renderer: Renderer) -> tuple[list[Path], list[str]]:
    """Render the paper of a profile and its supplement, or the one document on a user's own data, into
    ``_output/<profile>/report/``; returns what was made and what failed.

    Each document is executed once, in this process, and nothing is trained. Raises SpecError for a
    format that the renderer lacks, RuntimeError if a document cannot be executed."""
    for form in formats if renderer.formats else ():
        choose("--to, without Quarto,", form, renderer.formats)
    root = project_root()
    documents = {OWN: "index"} if paper.own else {one: one.stem for one in DOCUMENTS}
    folder = root / "_output" / paper.profile / DOCUMENTS[0].parent
    targets = {
        (document, form): folder / f"{name}{ENDINGS.get(form, f'.{form}')}"
        for document, name in documents.items()
        for form in formats
    }
    for target in targets.values():
        target.unlink(missing_ok=True)  # never leave a stale edition behind
    names = {
        "DARKKNOWLEDGE_PROFILE": paper.profile,
        "DARKKNOWLEDGE_RESULTS": str(paper.store.root.resolve()),
    }
    with contextlib.chdir(root), environment(names):
        texts = {document: execute(document, folder / FIGURES) for document in documents}
    (folder / NOTEBOOKS).mkdir(exist_ok=True)
    for question in paper.findings:  # as it was executed, or else as it is
        name = f"{QUESTIONS[question].notebook}.ipynb"
        executed = paper.store.exhibit_path(paper.profile, name)
        source = executed if executed.exists() else root / DOCUMENTS[0].parent / NOTEBOOKS / name
        shutil.copy(source, folder / NOTEBOOKS)
    made, failures = [], []
    for (document, form), target in targets.items():
        try:
            renderer.convert(texts[document], form, target, root, paper.finished)
            made.append(target)
        except RuntimeError as error:
            failures.append(str(error))
    return made, failures


@contextlib.contextmanager
def environment(names: dict[str, str]) -> Iterator[None]:
    """Environment variables for the time of a block."""
    before = dict(os.environ)
    os.environ.update(names)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def named(renderer: Renderer) -> str:
    """Which renderer it is, and what Quarto would add to it."""
    more = "" if isinstance(renderer, Quarto) else f"; Quarto (quarto.org) would add {BEYOND}"
    return f"{renderer}{more}"
