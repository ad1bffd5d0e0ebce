"""A profile's report, rendered by Quarto or, where there is none, by the packages of pandoc and Typst."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import quarto

from darkknowledge.execution import execute
from darkknowledge.pandoc import Pandoc
from darkknowledge.paper import Paper
from darkknowledge.params import project_root
from darkknowledge.spec import choose

log = logging.getLogger(__name__)

#: Where the report's document lies, below the project's root, and its figures, beside what is made.
DOCUMENT = Path("report") / "index.qmd"
FIGURES = "figures"
ENDINGS = {"html": ".html", "typst": ".pdf", "gfm": ".md"}
#: Set to anything, this environment variable leaves Quarto alone.
OFF = "DARKKNOWLEDGE_NO_QUARTO"
#: Seconds that the one try to install Quarto may take.
PATIENCE = 60
#: What Quarto's pages have beyond ours.
BEYOND = "a switch between light and dark, previews of references, and other formats, as Word"


class Quarto:
    """The renderer that this report is written for."""

    formats = ()  # all that its own --to knows

    def __init__(self, command: str) -> None:
        self.command = command

    def __str__(self) -> str:
        done = subprocess.run([self.command, "--version"], capture_output=True, text=True)
        return f"Quarto {done.stdout.strip()} ({self.command})"

    def convert(
        self, text: str, form: str, target: Path, root: Path, date: datetime.datetime
    ) -> None:
        """Write an executed document to ``target``, beside which its figures lie.

        ``root`` is the project's folder with ``_quarto.yml``. Quarto works in a copy of it: a format
        that fails would take the others' output with it. Raises RuntimeError with the reason.
        """
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            shutil.copy(root / "_quarto.yml", project)
            unused = shutil.ignore_patterns("published", "notebooks", ".quarto")
            shutil.copytree(root / "report", project / "report", ignore=unused)
            shutil.copytree(target.parent / FIGURES, project / "report" / FIGURES)
            plain = re.sub(r"^jupyter: .*$", "engine: markdown", text, count=1, flags=re.M)
            (project / DOCUMENT).write_text(plain, encoding="utf-8")
            done = subprocess.run(
                [self.command, "render", str(DOCUMENT), "--to", form, "--output-dir", "made"],
                cwd=project,
                env=os.environ | {"SOURCE_DATE_EPOCH": f"{date.timestamp():.0f}"},
                capture_output=True,
                text=True,
            )
            made = project / "made" / DOCUMENT.parent / target.name
            output = done.stdout + done.stderr
            if done.returncode or not made.exists():
                written = target.with_name(f"quarto-{form}.log")
                written.write_text(output, encoding="utf-8")
                last = [line for line in output.splitlines() if line.strip()][-1:]
                raise RuntimeError(
                    f"Quarto could not render {form}: {''.join(last)} (see {written})"
                )
            shutil.copytree(made.parent, target.parent, dirs_exist_ok=True)


Renderer = Quarto | Pandoc


def find(fetch: bool = False) -> Renderer:
    """Quarto if it is here, else the packages; ``fetch`` tries once to install Quarto before.

    Raises RuntimeError if there is neither.
    """
    command = quarto_command() or (fetched() if fetch else None)
    if command:
        return Quarto(command)
    if Pandoc.here():
        return Pandoc()
    raise RuntimeError(
        "There is nothing to render with: call make setup, or where the package pypandoc_binary has no "
        "wheel (on Windows on Arm), get Quarto from quarto.org or set QUARTO_PATH to it."
    )


def quarto_command() -> str | None:
    """The quarto command: what QUARTO_PATH names, else the one on PATH, else the one beside Python.

    Raises RuntimeError if QUARTO_PATH names nothing that can be run.
    """
    if os.environ.get(OFF):
        return None
    found = quarto.path() or shutil.which("quarto", path=Path(sys.executable).parent)
    if found and not shutil.which(found):
        raise RuntimeError(f"QUARTO_PATH is {found}, which cannot be run: correct it or unset it.")
    return found or None


def fetched() -> str | None:
    """Try once for this environment to install Quarto from the package index; the command, or None.

    What was installed and does not run is removed again.
    """
    tried = Path(sys.prefix) / ".quarto-tried"
    installer = _installer()
    if os.environ.get(OFF) or sys.prefix == sys.base_prefix or tried.exists() or not installer:
        return None
    log.info(
        "No Quarto here: trying once, for at most %s s, to install it (%s=1 forgoes it).",
        *(PATIENCE, OFF),
    )
    try:
        tried.touch()
    except OSError:  # nor could anything be installed
        return None
    # Its dependencies would be Jupyter, which only documents with code in them need.
    install, remove = installer
    if _within(PATIENCE, [*install, "--no-deps", "quarto-cli"]):
        command = quarto_command()
        parts = ("pandoc", "typst")  # they answer, not only the script that starts them
        if command and all(_within(20, [command, part, "--version"]) for part in parts):
            tried.unlink()
            return command
    _within(PATIENCE, [*remove, "quarto-cli"])
    return None


def _installer() -> tuple[list[str], list[str]] | None:
    """The commands that install into this environment and remove from it, if there are any."""
    own = project_root() / ".uv" / "bin" / "uv"
    if uv := shutil.which("uv") or shutil.which(own):
        where = ["--quiet", "--python", sys.executable]
        return [uv, "pip", "install", *where], [uv, "pip", "uninstall", *where]
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        return [*pip, "install"], [*pip, "uninstall", "--yes"]
    return None


def _within(seconds: float, command: list[str]) -> bool:
    """Whether a command ends well in time; if it does not, it is killed with all that it started."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def render(paper: Paper, formats: list[str], renderer: Renderer) -> tuple[list[Path], list[str]]:
    """Render a profile into ``_output/<profile>/report/``; returns what was made and what failed.

    The document is executed once, in this process, and nothing is trained. Raises SpecError for a
    format that the renderer lacks, RuntimeError if the document cannot be executed.
    """
    for form in formats if renderer.formats else ():
        choose("--to, without Quarto,", form, renderer.formats)
    root = project_root()
    folder = root / "_output" / paper.profile / DOCUMENT.parent
    targets = {
        form: folder / DOCUMENT.with_suffix(ENDINGS.get(form, f".{form}")).name for form in formats
    }
    for target in targets.values():
        target.unlink(missing_ok=True)  # never leave a stale edition behind
    names = {
        "DARKKNOWLEDGE_PROFILE": paper.profile,
        "DARKKNOWLEDGE_RESULTS": str(paper.store.root.resolve()),
    }
    with contextlib.chdir(root), environment(names):
        text = execute(DOCUMENT, folder / FIGURES)
    made, failures = [], []
    for form, target in targets.items():
        try:
            renderer.convert(text, form, target, root, paper.finished)
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
