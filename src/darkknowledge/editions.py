"""The published editions of a profile: PDF, Markdown, script-free HTML, and the README's answers.

Each carries the fingerprint of the records that it shows, so that a stale one is found out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import quarto

from darkknowledge import rendering
from darkknowledge.paper import Paper
from darkknowledge.params import project_root
from darkknowledge.records import Store, atomic_write
from darkknowledge.rendering import DOCUMENT

NAME = "dark-knowledge"
#: The README's part that is made from the records stands between these lines.
BEGIN, END = "<!-- answers: made by `make publish` -->", "<!-- end of answers -->"
#: What pandoc's page lacks: a main landmark after the table of contents, and the keyboard's way into
#: boxes that scroll.
ACCESSIBLE = {
    "</nav>": "</nav>\n<main>",
    "</body>": "</main>\n</body>",
    "<table>": '<table tabindex="0">',
    '<math display="block"': '<math tabindex="0" display="block"',
}


def folder() -> Path:
    """Where the published editions lie."""
    return project_root() / "report" / "published"


def publish(profile: str, store: Store) -> list[Path]:
    """Render a profile and put its editions into ``report/published`` and its answers into the
    README; returns the files. Raises RuntimeError if a format cannot be rendered, and then leaves
    the editions as they were."""
    made, failures = rendering.render(profile, store, ["typst", "gfm"])
    if failures:
        raise RuntimeError("; ".join(failures))
    pdf = next(path for path in made if path.suffix == ".pdf")
    markdown = next(path for path in made if path.suffix == ".md")
    # Quarto puts a figure's alternative text where no reader and no screen reader looks for it.
    text = re.sub(r"\bdata-fig-alt=", "alt=", markdown.read_text())
    atomic_write(markdown, text.encode())
    html = script_free(markdown)
    target = folder()
    shutil.rmtree(target, ignore_errors=True)
    figures = f"{DOCUMENT.stem}_files"
    shutil.copytree(markdown.parent / figures, target / figures)
    found = [shutil.copy(path, target / f"{NAME}{path.suffix}") for path in (pdf, markdown, html)]
    readme = project_root() / "README.md"
    atomic_write(readme, with_answers(readme.read_text(), Paper.load(profile, store.root)).encode())
    return [*map(Path, found), readme]


def script_free(markdown: Path) -> Path:
    """Turn a Markdown edition into one HTML file with its figures inside and without any script."""
    target = markdown.with_name(f"{NAME}.html")
    style = project_root() / "report" / "edition.css"
    title, authors, _, body = markdown.read_text().split("\n", 3)
    command = [
        *(quarto.path(), "pandoc", "--output", target.name, "--from", "gfm+tex_math_dollars"),
        *("--standalone", "--embed-resources", "--mathml", "--css", str(style), "--toc"),
        *("--toc-depth", "2", "--shift-heading-level-by", "1", "--metadata", "lang=en"),
        *("--metadata", f"title={title.lstrip('# ')}", "--metadata", f"author={authors}"),
    ]
    done = subprocess.run(command, cwd=markdown.parent, input=body, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pandoc could not make the HTML edition: {done.stderr.strip()}")
    page = target.read_text()
    for before, after in ACCESSIBLE.items():
        page = page.replace(before, after)
    atomic_write(target, page.encode())
    return target


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
