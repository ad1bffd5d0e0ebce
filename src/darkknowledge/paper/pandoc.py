"""Executed documents as HTML, PDF and Markdown, by the pandoc and the Typst of the package index."""

import datetime
import importlib.metadata
import importlib.util
import re
import subprocess
from pathlib import Path

import yaml

from darkknowledge.records import atomic_write
from darkknowledge.spec import text_of

#: What pandoc is to write for each of our formats, and how.
WRITERS = {
    "html": [
        *("--to", "html", "--mathml", "--embed-resources", "--toc"),
        *("--template", "report/edition.html", "--css", "report/edition.css"),
        *("--include-after-body", "report/page.html"),
    ],
    "typst": [
        *("--to", "typst"),
        *("--template", "report/edition.typ", "--include-in-header", "report/header.typ"),
    ],
    "gfm": ["--to", "gfm", "--template", "report/edition.md"],
}


class Pandoc:
    """The renderer that needs nothing but packages."""

    formats = tuple(WRITERS)

    @staticmethod
    def here() -> bool:
        """Whether the packages are installed; pandoc's has no wheel for some platforms."""
        return all(importlib.util.find_spec(name) for name in ("pypandoc", "typst"))

    def __str__(self) -> str:
        import pypandoc

        versions = pypandoc.get_pandoc_version(), importlib.metadata.version("typst")
        return "pandoc {} and Typst {}".format(*versions)

    def convert(
        self, text: str, form: str, target: Path, root: Path, date: datetime.datetime
    ) -> None:
        """Write an executed document to ``target``, beside which its figures lie.

        ``root`` is the project's folder with ``_quarto.yml``, ``date`` that of a PDF. Raises
        RuntimeError with the reason; a reference to nothing and a formula that pandoc cannot write
        are such reasons too."""
        import pypandoc

        if lost := re.search(r"\{\{<.*?>\}\}", text):
            raise RuntimeError(f"{lost[0]} can be rendered by Quarto alone: get it, or do without.")
        try:
            settings = yaml.safe_load(text_of(root / "_quarto.yml"))
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise RuntimeError(f"_quarto.yml is not readable YAML: {reason}") from None
        command = [
            *(pypandoc.get_pandoc_path(), "--from", "markdown", "--standalone", "--wrap", "none"),
            *("--metadata-file", "_quarto.yml", "--metadata", "link-citations"),
            *("--resource-path", str(target.parent), "--fail-if-warnings"),
            *("--toc-depth", str(settings.get("toc-depth", 3) + 1)),  # the title counts
            *("--lua-filter", "report/answer.lua", "--lua-filter", "report/edition.lua"),
            *("--citeproc", *WRITERS[form]),
        ]
        done = subprocess.run(command, cwd=root, input=text.encode(), capture_output=True)
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())
            raise RuntimeError(f"pandoc could not make {target.name}: {reason}")
        content = done.stdout if form != "typst" else pdf(done.stdout, target.parent, date)
        atomic_write(target, content)


def pdf(source: bytes, folder: Path, date: datetime.datetime) -> bytes:
    """A Typst document, whose figures lie below ``folder``, as a PDF that screen readers can read
    (PDF/UA). Raises RuntimeError."""
    import typst

    time, said = int(date.timestamp()), ""
    # The fonts that Typst brings along give the same pages everywhere, but know few alphabets.
    for bundled in (True, False):
        compiler = typst.Compiler(source, root=folder, ignore_system_fonts=bundled)
        try:
            found = compiler.compile(format="pdf", pdf_standards="ua-1", timestamp=time)
            assert isinstance(found, bytes)
            return found
        except typst.TypstError as error:
            said = error.message
            if "could not be displayed" not in said:
                break
            said += ": install a font that has it"
    raise RuntimeError(f"Typst could not make the PDF: {said}.")
