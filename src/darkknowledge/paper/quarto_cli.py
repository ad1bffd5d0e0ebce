"""The quarto command: found, installed where that can be done, and called."""

import datetime
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import quarto

from darkknowledge.config import project_root
from darkknowledge.paper.execution import DOCUMENTS, FIGURES

log = logging.getLogger(__name__)

#: Set to anything, this environment variable leaves Quarto alone.
OFF = "DARKKNOWLEDGE_NO_QUARTO"
#: Seconds that the one try to install Quarto may take.
PATIENCE = 60
#: How a command's output is read, whatever the locale is.
SAID: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
#: What Quarto only warns of, and leaves a mark or nothing in the place of.
LOST = re.compile(r"WARNING.*?((?:Unable to resolve|Shortcode|Citeproc).*)")


class Quarto:
    """The renderer that this report is written for."""

    formats = ()  # all that its own --to knows

    def __init__(self, command: str) -> None:
        self.command = command

    def __str__(self) -> str:
        done = subprocess.run([self.command, "--version"], **SAID)
        return f"Quarto {done.stdout.strip()} ({self.command})"

    def convert(
        self, text: str, form: str, target: Path, root: Path, date: datetime.datetime
    ) -> None:
        """Write an executed document to ``target``, beside which its figures lie.

        ``root`` is the project's folder with ``_quarto.yml``. Quarto works in a copy of it: a format
        that fails would take the others' output with it. Raises RuntimeError with the reason."""
        document = DOCUMENTS[0].with_name(f"{target.stem}.qmd")
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            shutil.copy(root / "_quarto.yml", project)
            unused = shutil.ignore_patterns("published", "notebooks", ".quarto")
            shutil.copytree(root / "report", project / "report", ignore=unused)
            shutil.copytree(target.parent / FIGURES, project / "report" / FIGURES)
            plain = re.sub(r"^jupyter: .*$", "engine: markdown", text, count=1, flags=re.M)
            (project / document).write_text(plain, encoding="utf-8")
            words = [self.command, "render", str(document), "--to", form, "--output-dir", "made"]
            when = os.environ | {"SOURCE_DATE_EPOCH": f"{date.timestamp():.0f}"}
            done = subprocess.run(words, cwd=project, env=when, **SAID)
            made = project / "made" / document.parent / target.name
            output = done.stdout + done.stderr
            lost = LOST.search(output)
            if done.returncode or not made.exists() or lost:
                written = target.with_name(f"quarto-{form}.log")
                written.write_text(output, encoding="utf-8")
                last = [line for line in output.splitlines() if line.strip()][-1:]
                last = [lost[1].strip()] if lost else last
                said = f"{''.join(last)} (see {written})"
                raise RuntimeError(f"Quarto could not render {form}: {said}")
            shutil.copytree(made.parent, target.parent, dirs_exist_ok=True)


def command() -> str | None:
    """The quarto command: what QUARTO_PATH names, else the one on PATH, else the one beside Python.

    Raises RuntimeError if QUARTO_PATH names nothing that can be run."""
    if os.environ.get(OFF):
        return None
    found = os.path.expanduser(quarto.path() or "") or shutil.which(
        "quarto", path=Path(sys.executable).parent
    )
    if found and not shutil.which(found):
        raise RuntimeError(f"QUARTO_PATH is {found}, which cannot be run: correct it or unset it.")
    return found or None


def fetched() -> str | None:
    """Try once for this environment to install Quarto from the package index; the command, or None.

    What was installed and does not run is removed again."""
    tried = Path(sys.prefix) / ".quarto-tried"
    uv = shutil.which("uv") or shutil.which(project_root() / ".uv" / "bin" / "uv")
    if os.environ.get(OFF) or sys.prefix == sys.base_prefix or tried.exists() or not uv:
        return None
    said = "No Quarto here: trying once, for at most %s s, to install it (%s=1 forgoes it)."
    log.info(said, PATIENCE, OFF)
    try:
        tried.touch()
    except OSError:  # nor could anything be installed
        return None
    # Its dependencies would be Jupyter, which only documents with code in them need.
    where = ["--quiet", "--python", sys.executable]
    if _within(PATIENCE, [uv, "pip", "install", *where, "--no-deps", "quarto-cli"]):
        found = command()
        parts = ("pandoc", "typst")  # they answer, not only the script that starts them
        if found and all(_within(20, [found, part, "--version"]) for part in parts):
            tried.unlink()
            return found
    _within(PATIENCE, [uv, "pip", "uninstall", *where, "quarto-cli"])
    return None


def _within(seconds: float, words: list[str]) -> bool:
    """Whether a command ends well in time; if it does not, it is killed with all that it started."""
    silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(words, **silent, start_new_session=True)
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
