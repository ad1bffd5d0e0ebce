"""A copy of the project whose quick profile trains in seconds: real notebooks, real digits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
#: Small nets; Q3's wide students keep the width that the published claim starts at.
SMALL = {
    "teacher_hidden": [32],
    "student_hidden": [16],
    "widths": [300, 8],
    "temperatures": [1.0, 2.5, 8.0, 20.0],
    "latency_seconds": 0.01,
}


def make(folder: Path) -> Path:
    """Copy what a project consists of and shrink its recipes and nets; returns the folder."""
    for name in ("params", "report"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("_quarto.yml", "_environment"):
        shutil.copy(REPOSITORY / name, folder / name)
    book = folder / "params" / "recipes.yaml"
    recipes = yaml.safe_load(book.read_text())
    for recipe in recipes.values():
        recipe.update(epochs=2, batch_size=100)
    book.write_text(yaml.safe_dump(recipes))
    for path in (folder / "params" / "quick").glob("q*.yaml"):
        content = yaml.safe_load(path.read_text())
        changed = {k: v for k, v in SMALL.items() if k in content}
        if "pairs" in content:  # the convolutional nets take most of the time
            changed |= {"pairs": ["mlp-8>plain_cnn-4-4-4"], "seeds": [0]}
        if "nets" in content:
            changed |= {"nets": ["mlp-8"]}
        path.write_text(yaml.safe_dump({**content, **changed}))
    return folder


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m darkknowledge …`` in ``folder``."""
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
        timeout=600,
    )


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
