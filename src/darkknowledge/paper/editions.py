"""The published editions of a profile: PDF, Markdown, script-free HTML, and the README's answers.

Each carries the fingerprint of the records that it shows, so that a stale one is found out."""

import shutil
from pathlib import Path

from darkknowledge.config import project_root
from darkknowledge.evidence.claims import PRIMARY
from darkknowledge.evidence.stats import FEWEST
from darkknowledge.paper.execution import DOCUMENTS, FIGURES
from darkknowledge.paper.pandoc import Pandoc
from darkknowledge.paper.paper import Paper
from darkknowledge.paper.rendering import NOTEBOOKS, render
from darkknowledge.records import Store, atomic_write
from darkknowledge.spec import text_of

NAME = "dark-knowledge"
#: The figure that the README shows.
SHOWN = "paper-figure-q2-differences.svg"
#: The README's part that is made from the records stands between these lines.
BEGIN, END = "<!-- answers: made by `make publish` -->", "<!-- end of answers -->"


def publish(profile: str, store: Store) -> list[Path]:
    """Render a profile and put its editions into ``report/published`` and its findings into the
    README; returns the files. The packages render it, Quarto or not: their pages hold no script.
    Raises RuntimeError if a primary claim has too few blocks for a verdict, or if a format cannot be
    rendered, and then leaves the editions as they were."""
    paper = Paper.load(profile, store.root)
    if few := undecided(paper):
        said = f"{', '.join(few)} have fewer than {FEWEST} blocks yet, too few to publish"
        raise RuntimeError(f"{said} a verdict on: call 'darkknowledge train {profile}' first.")
    if not Pandoc.here():
        what = "The editions are made by the packages pypandoc_binary and typst: install them"
        other = "where the first has no wheel (on Windows on Arm), call this on another machine"
        raise RuntimeError(f"{what}, or {other}.")
    made, failures = render(paper, list(Pandoc.formats), Pandoc())
    if failures:
        raise RuntimeError("; ".join(failures))
    readme, target = project_root() / "README.md", project_root() / "report" / "published"
    answered = with_answers(text_of(readme), paper)
    new = target.with_name(".published")  # in whose place it comes once it is whole
    shutil.rmtree(new, ignore_errors=True)
    (new / FIGURES).mkdir(parents=True)
    named = "".join(text_of(path) for path in made if path.suffix == ".md")
    for figure in (made[0].parent / FIGURES).iterdir():  # some may be of an older paper
        if figure.name in named:
            shutil.copy(figure, new / FIGURES)
    names = [f"{path.stem}{path.suffix}".replace(DOCUMENTS[0].stem, NAME) for path in made]
    for path, name in zip(made, names, strict=True):
        content = path.read_bytes()
        if path.suffix != ".pdf":  # its notebooks lie where their sources do, without outputs
            content = content.replace(f"{NOTEBOOKS}/q".encode(), f"../{NOTEBOOKS}/q".encode())
            for before in ('="', "]("):  # links to the paper, by the name that it has here
                old, own = (f"{before}{stem}{path.suffix}" for stem in (DOCUMENTS[0].stem, NAME))
                content = content.replace(old.encode(), own.encode())
        (new / name).write_bytes(content)
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    atomic_write(readme, answered.encode())
    return [*(target / name for name in names), readme]


def undecided(paper: Paper) -> list[str]:
    """The primary claims that have too few blocks for a verdict."""
    every = [claim for claims in paper.claims.values() for claim in claims.values()]
    return [c.id for c in every if c.family == PRIMARY and c.effect.n < FEWEST]


def with_answers(readme: str, paper: Paper) -> str:
    """The README with its answers made anew from the records: a figure, three findings, what they rest
    on. Raises RuntimeError if their place is not marked."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"README.md has no place for the answers between {BEGIN} and {END}.")
    figure = f"![Differences from hard labels by arm](report/published/{FIGURES}/{SHOWN})"
    stored = f"Runs stored: {paper.progress()}, fingerprint `{paper.fingerprint}`."
    parts = before + BEGIN, figure, paper.text("readme", "text"), stored, END + after
    return "\n\n".join(parts)
