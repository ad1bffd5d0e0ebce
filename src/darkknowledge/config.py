"""The project's folder and what all its questions share: YAML read safely, recipes, setups."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from darkknowledge import spec as s
from darkknowledge.spec import SpecError


def project_root() -> Path:
    """The folder that holds ``params/recipes.yaml``: the working directory or one above it, else the
    checkout that this package lies in. Raises SpecError if there is none."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise SpecError("The working directory is gone: change into another.") from None
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "params" / "recipes.yaml").is_file():
            return folder
    raise SpecError("No params/recipes.yaml here or above: call this inside the project's folder.")


#: Per kind of plain value how it may be written: as every reader and every version of YAML takes it.
CLEAR = {
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?",
    "null": "|~|null|Null|NULL",
    "merge": "<<",
}
#: More entries than any file of parameters has, those that aliases repeat included.
MANY = 10_000


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, read safely. Raises SpecError with the place of the error, also of what
    YAML itself lets through in silence."""
    try:
        loader = yaml.SafeLoader(s.content_of(path).decode())
        root = loader.get_single_node()
        nodes = [root] if root else []
        for node in nodes:  # which grow meanwhile
            nodes += _entries(node)
            if len(nodes) > MANY:
                raise yaml.YAMLError("its aliases repeat too much, or themselves")
        content = loader.construct_document(root) if root else None
    except FileNotFoundError:
        raise SpecError(f"There is no file {path}.") from None
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SpecError(f"{path} is not readable YAML: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise SpecError(f"{path} must hold a mapping of names to values.")
    return content


def _entries(node: yaml.Node) -> list[yaml.Node]:
    """What a node holds. Raises YAMLError if one reader takes the node otherwise than another."""
    kind, flaw, inner = node.tag.rpartition(":")[2], "", []
    if isinstance(node, yaml.ScalarNode):
        text = kind == "str" and (node.style or _number(node.value) is None)
        if not text and not re.fullmatch(CLEAR.get(kind, "(?!)"), node.value):
            do = "write it in full, as 12, 1.0e-3 or true, or in quotes if it is a text"
            flaw = f"{s.shown(node.value)} may be read in two ways: {do}"
            quoted = bool(node.style)
            due = yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (not quoted, quoted))
            flaw = flaw if node.tag == due else f"!!{kind} is a tag: leave it away"
    elif kind == "map":
        keys = [key.value if isinstance(key.value, str) else "" for key, _ in node.value]
        names = [key if (number := _number(key)) is None else number for key in keys]
        again = [i for i, name in enumerate(names) if name in names[:i]]
        lists = [of for key, of in node.value if key.value == "<<" and of.tag.endswith("seq")]
        flaw = f"{s.shown(keys[again[0]])} stands there twice: leave one" if again else ""
        flaw = "<< takes one name: write out what the others add" if lists else flaw
        node = node.value[again[0]][0] if again else node
        inner = [*chain.from_iterable(node.value)] if not flaw else []
    else:
        flaw, inner = "" if kind == "seq" else f"!!{kind} is no kind of value here", node.value
    if flaw:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {flaw}.")
    return inner


def _number(text: str) -> float | None:
    """The number that Python takes a text for, in whatever base."""
    for number in (float, functools.partial(int, base=0)):
        with contextlib.suppress(ValueError):
            return number(text)
    return None


@functools.cache
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    """A file that all questions share, parsed once as long as it stays as it is."""
    return read_yaml(path)


def book(kind: str) -> dict[str, Any]:
    """Every ``recipe`` or ``setup`` by its name: those of ``params/`` and of each profile's folder, where
    a name that stands in ``params/`` or in another folder is refused. Raises SpecError."""
    folder = project_root() / "params"
    found: dict[str, Any] = {}
    for path in (folder / f"{kind}s.yaml", *sorted(folder.glob(f"*/{kind}s.yaml"))):
        own = _parsed(path, path.stat().st_mtime_ns if path.is_file() else 0)
        if twice := found.keys() & own.keys():
            raise SpecError(f"{path} has the {kind} {min(twice)!r}, which another file has too.")
        found |= own
    return found


def entry(kind: str, name: str) -> dict[str, Any]:
    """The settings of a ``recipe`` or a ``setup`` by its name. Raises SpecError."""
    known = book(kind)
    s.choose(kind, name, known)
    if not isinstance(known[name], dict):
        raise SpecError(f"The {kind} {name!r} must be a mapping of settings to values.")
    return dict(known[name])


def places(key: str, **where: Any) -> list[Path]:
    """The paths that setups name under ``key``, of those setups that say what ``where`` says."""
    setups = [one for one in book("setup").values() if isinstance(one, dict) and key in one]
    fitting = [one for one in setups if all(one.get(k) == v for k, v in where.items())]
    return [s.place(str(one[key]), project_root()) for one in fitting]


# -- networks of the user's own ------------------------------------------------------------------


def _module(net: str) -> tuple[str, str]:
    """Module and callable of a network's name; the module may lie beside ``params/``."""
    root = str(project_root())
    if root not in sys.path:
        sys.path.append(root)
    module, _, name = net.partition(":")
    return module, name


def code_of(net: str) -> str:
    """Sixteen hexadecimal digits of a hash of the file that holds a network of the user's own; empty for
    any other network. Raises SpecError if there is no such file."""
    if ":" not in net:
        return ""
    module, _ = _module(net)
    try:
        found = importlib.util.find_spec(module)
        content = Path(found.origin or "").read_bytes() if found else b""
    except (ImportError, ValueError, OSError):
        content = b""
    if not content:
        where = f"{module.replace('.', '/')}.py belongs into {project_root()}, or is installed"
        raise SpecError(f"There is no module {module!r} for the network {net}: {where}.")
    return hashlib.sha256(content).hexdigest()[:16]


def callable_of(net: str, code: str) -> Callable[..., Any]:
    """What makes a network of the user's own, from the file with the hash ``code``. Raises SpecError."""
    if code != code_of(net):
        raise SpecError(f"The code of {net} is not that of its run any more: plan the run again.")
    module, name = _module(net)
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the user's module runs into
        raise SpecError(f"{net} cannot be loaded: {type(error).__name__}: {error}.") from error
    return found


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
    code = code_of(net)
    try:
        return s.ModelSpec.named(net, code=code, **dropout), s.Recipe(**rest)
    except SpecError as error:
        raise SpecError(f"The recipe {name!r}: {error}") from None
