"""A profile's report, rendered by Quarto; or, without Quarto, its notebooks as HTML."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import quarto

from darkknowledge.paper import Paper
from darkknowledge.params import project_root
from darkknowledge.records import Store

#: Where the report's document lies, below the project's root.
DOCUMENT = Path("report") / "index.qmd"
ENDINGS = {"html": ".html", "typst": ".pdf", "gfm": ".md"}
NO_QUARTO = (
    "Quarto is not installed, so there is no report; the executed notebooks stand in for it. "
    "Get Quarto from quarto.org (or set QUARTO_PATH) and call this again."
)


def render(profile: str, store: Store, formats: list[str]) -> tuple[list[Path], list[str]]:
    """Render a profile into ``_output/<profile>/``; returns what was made and what failed.

    Formats are rendered one after the other, HTML first, so that the failure of one leaves the
    others. Nothing is trained. Raises RecordError if the profile has no results, RuntimeError
    without Quarto.
    """
    paper = Paper.load(profile, store.root)  # a clear error now rather than inside Quarto
    root = project_root()
    output = root / "_output" / profile
    command = quarto.path()
    if not command:
        raise RuntimeError(NO_QUARTO)
    environment = os.environ | {
        "DARKKNOWLEDGE_PROFILE": profile,
        "DARKKNOWLEDGE_RESULTS": str(store.root.resolve()),
        "QUARTO_PYTHON": sys.executable,
        # Figures are dated by the records, so that two renderings of the same ones do not differ.
        "SOURCE_DATE_EPOCH": f"{paper.finished.timestamp():.0f}",
    }
    made, failures = [], []
    for name in sorted(formats, key=lambda f: f != "html"):
        target = output / DOCUMENT.with_suffix(ENDINGS.get(name, f".{name}"))
        target.unlink(missing_ok=True)  # never leave a stale edition behind
        done = subprocess.run(
            [
                *(command, "render", str(DOCUMENT), "--to", name, "--no-clean"),
                *("--output-dir", str(output.relative_to(root))),
            ],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
        )
        log = output / f"quarto-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        if done.returncode == 0 and target.exists():
            made.append(target)
        else:
            last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            failures.append(
                f"Quarto could not render {name}: {last[-1] if last else ''} (see {log})"
            )
    return made, failures


def has_quarto() -> bool:
    """Whether the quarto command can be found (on PATH, or by QUARTO_PATH)."""
    return bool(quarto.path())


def export_notebooks(profile: str, store: Store) -> list[Path]:
    """Write a profile's executed notebooks as HTML without their code and progress bars; what there
    is to read where there is no Quarto. The pages ask no server for anything."""
    import nbformat
    from nbconvert import HTMLExporter

    output = project_root() / "_output" / profile
    exporter = HTMLExporter(exclude_input=True, require_js_url="", mathjax_url="")
    output.mkdir(parents=True, exist_ok=True)
    made = []
    for notebook in sorted((store.root / profile).glob("q*.ipynb")):
        content = nbformat.read(notebook, as_version=4)
        for cell in content.cells:
            if "outputs" in cell:
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        body, _ = exporter.from_notebook_node(content)
        target = output / f"{notebook.stem}.html"
        target.write_text(body, encoding="utf-8")
        made.append(target)
    return made
