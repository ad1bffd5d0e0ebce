"""The project's folder and what all its questions share: YAML read safely, recipes, setups."""

from __future__ import annotations

import functools
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from darkknowledge import spec as s
from darkknowledge.spec import SpecError


def project_root() -> Path:
    """The folder that holds ``params/recipes.yaml``: the working directory or one above it, else the
    checkout that this package lies in. Raises SpecError if there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "params" / "recipes.yaml").is_file():
            return folder
    raise SpecError("No params/recipes.yaml here or above: call this inside the project's folder.")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, read safely. Raises SpecError with the place of the error."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"There is no file {path}.") from None
    except (yaml.YAMLError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SpecError(f"{path} is not readable YAML: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise SpecError(f"{path} must hold a mapping of names to values.")
    return content


@functools.lru_cache(maxsize=8)
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    """A file that all questions share, parsed once as long as it stays as it is."""
    return read_yaml(path)


def entry(kind: str, name: str) -> dict[str, Any]:
    """The settings of a ``recipe`` or a ``setup`` of ``params/`` by its name. Raises SpecError."""
    path = project_root() / "params" / f"{kind}s.yaml"
    book = _parsed(path, path.stat().st_mtime_ns if path.is_file() else 0)
    s.choose(kind, name, book)
    if not isinstance(book[name], dict):
        raise SpecError(f"The {kind} {name!r} must be a mapping of settings to values.")
    return dict(book[name])


def complete(what: str, settings: dict[str, Any], known: list[str], due: list[str]) -> None:
    """Raise SpecError unless settings are among the known ones, and those that are due there."""
    for key in settings:
        s.choose(f"a setting of {what}", key, known)
    for key in due:
        if key not in settings:
            raise SpecError(f"The {what} does not say its {key}.")


def split_recipe(name: str, net: str) -> tuple[s.ModelSpec, s.Recipe]:
    """The net of that label (``mlp-800-800``, ``resnet20``) with the recipe's dropout, and the
    optimisation that the recipe's name stands for. Raises SpecError."""
    settings = entry("recipe", name)
    dropout = {k: settings[k] for k in ("dropout_input", "dropout_hidden") if k in settings}
    rest = {k: v for k, v in settings.items() if k not in dropout}
    known = [f.name for f in fields(s.Recipe)]
    due = [f.name for f in fields(s.Recipe) if f.default is MISSING]
    complete(f"recipe {name!r}", settings, [*known, "dropout_input", "dropout_hidden"], due)
    return s.ModelSpec.named(net, **dropout), s.Recipe(**rest)
