"""The parameters of each question in a profile: read, checked, and where its table belongs.

A profile is a folder of YAML under ``params/``; a notebook's parameters cell mirrors the same names.
"""

import datetime
import difflib
import types
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from darkknowledge import spec as s
from darkknowledge.config import project_root, read_yaml
from darkknowledge.questions.base import Parameters
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.spec import SpecError

#: The profile whose paper is published.
PUBLISHED = "paper"
#: When its analysis plan was frozen: the time of that commit.
FROZEN = datetime.datetime.fromisoformat("2026-11-26T01:49:48+00:00")
#: What it shows of larger networks, beside the plan.
LARGE = "gpu"


def make(question: str, values: dict[str, Any]) -> Parameters:
    """The parameters of a question from plain values; unknown names are refused. Raises SpecError."""
    kind = QUESTIONS[s.choose("question", question, QUESTIONS)].parameters
    known = [f.name for f in fields(kind)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."
            raise SpecError(f"{question} has no parameter {s.shown(name)}: {hint}")
    for field in fields(kind):
        if field.default is MISSING and field.name not in values:
            raise SpecError(f"{question} does not say its {field.name}.")
    return kind(**values)


def read(profile: str, question: str) -> Parameters:
    """The parameters of a question in a profile, from its YAML file. Raises SpecError."""
    s.choose("question", question, QUESTIONS)
    path = _folder(profile) / f"{question}.yaml"
    questions_of(profile)
    try:
        return make(question, read_yaml(path))
    except SpecError as error:
        place = "" if str(path) in str(error) else f"{path}: "
        raise SpecError(f"{place}{error}") from None


def _folder(profile: str) -> Path:
    """The folder of a profile's files. Raises SpecError for a name that would lead elsewhere."""
    return project_root() / "params" / s.plain("profile", profile)


def questions_of(profile: str) -> list[str]:
    """The questions that a profile has a file for, in order. Raises SpecError if there is none."""
    folder = _folder(profile)
    for path in sorted(folder.glob("*")):
        question = path.stem.lower()
        yaml = question in QUESTIONS and path.suffix.lower() in (".yaml", ".yml")
        if yaml and not (path.name == f"{question}.yaml" and path.is_file()):
            raise SpecError(
                f"{path} is no file of the name {question}.yaml: make it one, or delete it."
            )
    found = [q for q in QUESTIONS if (folder / f"{q}.yaml").is_file()]
    if not found:
        profiles = sorted(p.name for p in folder.parent.iterdir() if p.is_dir())
        s.choose("profile", profile, profiles)
        raise SpecError(f"The profile {profile!r} has no question: {folder} holds no q1.yaml ….")
    return found


def data_root(chosen: dict[str, Parameters]) -> str | None:
    """The one folder of data that questions name, if any does. Raises SpecError if there are several."""
    found = sorted({params.data_root for params in chosen.values() if params.data_root})
    if len(found) > 1:
        raise SpecError(f"The questions name several data_roots ({', '.join(found)}): keep one.")
    return found[0] if found else None


def from_notebook(question: str, namespace: dict[str, Any]) -> Parameters:
    """The parameters that a notebook's cells have set.

    Papermill injects unknown parameters as plain variables and only logs them; here every variable
    of a plain type that is no parameter is refused. Where the cells run again in the same kernel,
    whatever their user has defined meanwhile is left alone, unless it looks like a misspelt
    parameter, which a kernel remembers. Raises SpecError."""
    plain = (str, int, float, list, tuple, set, dict, types.NoneType)
    values = {n: v for n, v in namespace.items() if n[0] != "_" and isinstance(v, plain)}
    for ignored in ("In", "Out", "papermill_description"):
        values.pop(ignored, None)
    known = [f.name for f in fields(QUESTIONS[question].parameters)]
    if any(isinstance(value, Parameters) for value in namespace.values()):  # of the time before
        values = {n: v for n, v in values.items() if difflib.get_close_matches(n, known)}
    try:
        return make(question, values)
    except SpecError as error:
        odd = [name for name in values if name not in known]
        hint = f" In Jupyter call 'del {odd[0]}' too, then all cells again." if odd else ""
        raise SpecError(f"{error}{hint}") from None


def destination(question: str, params: Parameters) -> str:
    """The profile that a question's table belongs to: the named one, or ``custom`` if that is a
    shipped profile and the parameters differ from its file."""
    path = _folder(params.profile) / f"{question}.yaml"
    if not path.is_file():
        return params.profile
    same = read(params.profile, question).settings() == params.settings()
    return params.profile if same else "custom"


def rows(profile: str, question: str) -> list[dict[str, object]]:
    """The planned part of each row of a question's table; empty if a profile has no file for it."""
    known = (_folder(profile) / f"{question}.yaml").is_file()
    params = read(profile, question) if known else None
    if params is None or destination(question, params) != profile:
        return []
    return [planned.row() for planned in QUESTIONS[question].grid(params)]


def strays(profile: str, chosen: dict[str, Parameters]) -> list[str]:
    """One sentence for each question of a profile whose file names another profile, or a results
    folder, which is for notebooks alone."""
    return [
        f"params/{profile}/{question}.yaml says results_dir, which is for its notebook alone: a "
        "command takes --results."
        for question, params in chosen.items()
        if params.results_dir
    ] + [
        f"params/{profile}/{question}.yaml says profile: {params.profile}, so its table goes to "
        f"results/{destination(question, params)}/: write profile: {profile} there."
        for question, params in chosen.items()
        if params.profile != profile
    ]
