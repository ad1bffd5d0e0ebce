"""A copy of the project whose quick profile trains in seconds: real notebooks, real digits."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import yaml

from darkknowledge import cli

REPOSITORY = Path(__file__).parents[1]
#: Seconds after which a process counts as hanging; no test is judged by how fast it is.
HANG = 3600
#: All but 500 of the 4,000 images are held out, so that an epoch is a moment. Q3's wide students keep
#: the width that the published claim starts at.
SMALL = {
    "validation": 3500,
    "teacher_hidden": [32],
    "student_hidden": [16],
    "teacher_seeds": [100, 101, 102],
    "seeds": [0, 1, 2],
    "control_seeds": [0, 1],
    "few_seeds": [0, 1],
    "jitter_seeds": [0, 1, 2],
    "budget_epochs": 4,
    "widths": [300, 8],
    "temperatures": [1.0, 2.5, 8.0, 20.0],
    "latency_seconds": 0.01,
}
#: One convolutional net on one seed: such nets take most of the time.
PAIRS = {
    "pairs": ["mlp-8>plain_cnn-2-2-2"],
    "nets": ["mlp-8"],
    "worlds": ["quick-rgb"],
    "element_mean_alphas": [0.1],
    "temperatures": [],
    "seeds": [0],
}


def make(folder: Path) -> Path:
    """Copy what a project consists of and shrink its recipes, nets and data; returns the folder."""
    for name in ("params", "report"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("_quarto.yml", "_environment"):
        shutil.copy(REPOSITORY / name, folder / name)
    shrink = {
        "recipes": {"epochs": 2, "batch_size": 100},
        "worlds": {"validation": 3500, "control_seeds": [0]},
    }
    for name, values in shrink.items():
        path = folder / "params" / f"{name}.yaml"
        entries = yaml.safe_load(path.read_text())
        for entry in entries.values():
            entry.update(values)
        path.write_text(yaml.safe_dump(entries))
    for path in (folder / "params" / "quick").glob("q*.yaml"):
        content = yaml.safe_load(path.read_text())
        small = PAIRS if {"pairs", "nets"} & content.keys() else SMALL
        changed = {name: value for name, value in small.items() if name in content}
        path.write_text(yaml.safe_dump({**content, **changed}))
    return folder


def forget() -> None:
    """Empty every cache of this package: a process reads a project's files once."""
    for name in [name for name in sys.modules if name.startswith("darkknowledge")]:
        for value in vars(sys.modules[name]).values():
            getattr(value, "cache_clear", lambda: None)()


def here(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``darkknowledge …`` in ``folder``, but in this process, which has loaded everything already.

    What processes that it starts print is not caught.
    """
    out, err = io.StringIO(), io.StringIO()
    log = logging.getLogger("darkknowledge")
    level, handler = log.level, logging.StreamHandler(err)
    log.addHandler(handler)
    forget()
    try:
        with (
            contextlib.chdir(folder),
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
        forget()
    code = left.value.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m darkknowledge …`` in ``folder``, in a process of its own: that takes seconds."""
    return command(folder, sys.executable, "-m", "darkknowledge", *arguments, **environment)


def command(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in ``folder``, with the tests' Python and package."""
    paths = {
        "PYTHONPATH": str(REPOSITORY / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ | paths | environment,
        capture_output=True,
        text=True,
        timeout=HANG,
    )


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait for something that a process does; it is an error if it ends without it."""
    deadline = time.monotonic() + HANG
    while not condition():
        ended = process.poll() is not None
        assert not ended or condition(), f"{process.args} ended early"
        assert time.monotonic() < deadline, f"{process.args} hangs"
        time.sleep(0.02)


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
