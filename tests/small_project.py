"""A copy of the project whose quick profile trains in seconds: real notebooks, real digits."""

import contextlib
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from darkknowledge import cli
from darkknowledge.questions import params, registry
from darkknowledge.questions.base import Planned, ordered

REPOSITORY = Path(__file__).parents[1]
#: Seconds after which a process counts as hanging; no test is judged by how fast it is.
HANG = 3600
#: The quick profile's networks, and those that stand in their place.
NETS = {
    "mlp-300-300": "mlp-16-16", "mlp-100-100": "mlp-8-8", "mlp-30-30": "mlp-4-4",
    "plain_cnn-8-8-16": "plain_cnn-2-2-2", "plain_cnn-2-4-4": "plain_cnn-1-2-2",
}  # fmt: skip
#: All but 500 of the 4,000 images are held out and recipes are short, so that a run is a moment.
SHRUNK = {"recipes": {"epochs": 2, "batch_size": 100}, "setups": {"validation": 3500}}


def make(folder: Path, blocks: int = 2) -> Path:
    """Copy what a project consists of and shrink its recipes, nets and data; returns the folder."""
    for name in ("params", "report"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("_quarto.yml", "_environment"):
        shutil.copy(REPOSITORY / name, folder / name)
    for name, values in SHRUNK.items():
        path = folder / "params" / f"{name}.yaml"
        entries = yaml.safe_load(small(path))
        path.write_text(yaml.safe_dump({k: entry | values for k, entry in entries.items()}))
    for path in (folder / "params" / "quick").glob("q*.yaml"):
        found = yaml.safe_load(small(path))
        counts = {k: min(blocks, n) for k, n in found.items() if k.startswith("n_")}
        path.write_text(yaml.safe_dump({**found, **counts, "blocks": list(range(blocks))}))
    return folder


def small(path: Path) -> str:
    """The text of a file, its networks exchanged for small ones."""
    return re.sub("|".join(NETS), lambda name: NETS[name[0]], path.read_text(encoding="utf-8"))


def profile(folder: Path, name: str, question: str, **changes: Any) -> None:
    """Add a question to a profile of one's own: that of the quick one, with changes."""
    found = yaml.safe_load((folder / "params" / "quick" / f"{question}.yaml").read_text())
    path = folder / "params" / name / f"{question}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**found, "profile": name, **changes}))


def planned(folder: Path, name: str) -> list[Planned]:
    """The runs of a profile, whose recipes are those of its folder, in the order of training."""
    with inside(folder):
        chosen = {question: params.read(name, question) for question in params.questions_of(name)}
        found = ordered(registry.grids(chosen).values())
        assert all(one.spec.run_id for one in found)  # known from now on
    return found


def forget() -> None:
    """Empty every cache of this package: a process reads a project's files once."""
    for name in [name for name in sys.modules if name.startswith("darkknowledge")]:
        for value in vars(sys.modules[name]).values():
            getattr(value, "cache_clear", lambda: None)()


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """A project's folder as the working directory, and nothing known of another one."""
    forget()
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        forget()


Done = subprocess.CompletedProcess[str]


def here(folder: Path, *arguments: str, code: int = 0, **environment: str) -> Done:
    """``darkknowledge …`` in ``folder``, but in this process, which has loaded everything already, and
    that it ends with ``code``.

    What processes that it starts print is not caught.
    """
    out, err = io.StringIO(), io.StringIO()
    log = logging.getLogger("darkknowledge")
    level, handler = log.level, logging.StreamHandler(err)
    log.addHandler(handler)
    try:
        with (
            inside(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, environment),
            mock.patch("signal.signal"),
            pytest.raises(SystemExit) as left,
        ):
            cli.main(list(arguments))
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert left.value.code == code, err.getvalue()
    return Done(arguments, code, out.getvalue(), err.getvalue())


def call(folder: Path, *arguments: str, code: int = 0, **environment: str) -> Done:
    """``python -m darkknowledge …`` in ``folder``, in a process of its own: that takes seconds."""
    words = (sys.executable, "-m", "darkknowledge", *arguments)
    return command(folder, *words, code=code, **environment)


def command(folder: Path, *words: str, code: int = 0, **environment: str) -> Done:
    """A command in ``folder``, with the tests' Python and package, and that it ends with ``code``."""
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = {"cwd": folder, "env": os.environ | path | environment, "timeout": HANG}
    done = subprocess.run(words, capture_output=True, text=True, **run)
    assert done.returncode == code, done.stderr
    return done


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait for something that a process does; it is an error if it ends without it."""
    deadline = time.monotonic() + HANG
    while not condition():
        ended = process.poll() is not None
        assert not ended or condition(), f"{process.args} ended early"
        assert time.monotonic() < deadline, f"{process.args} hangs"
        time.sleep(0.05)


def record_times(folder: Path) -> dict[str, int]:
    """Modification times of all records, by name: a retrained run would show."""
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("results/runs/*/*.json")}


def timeless(record: dict) -> dict:
    """A record without what depends on the clock, and without the checksum over it."""
    clock = ("seconds", "training_seconds", "images_per_second", "finished", "commit")
    rest = {k: v for k, v in record.items() if k not in ("checksum", "format")}
    rest["provenance"] = {k: v for k, v in record["provenance"].items() if k not in clock}
    rest["history"] = {k: v for k, v in record["history"].items() if k != "seconds"}
    return rest
