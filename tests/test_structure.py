"""What no linter of imports sees; who may import what stands in pyproject.toml, under importlinter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import darkknowledge

SOURCE = Path(darkknowledge.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
#: What training needs, which is all that a bare GPU image has; filelock comes with torch, PIL with
#: torchvision.
BARE = set("torch torchvision numpy pandas yaml safetensors tqdm filelock PIL".split())
WITHOUT_TORCH = (
    "spec config study records layout cli doctor experiment.survey questions.checks "
    "questions.params questions.registry evidence.claims evidence.answers evidence.tables "
    "paper.paper paper.rendering paper.editions paper.execution paper.notebooks paper.curves "
    "experiment.export"
).split()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def loaded(code: str) -> set[str]:
    """The packages that a new process has loaded after some code."""
    code += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
def test_what_reads_or_plans_does_not_load_torch_not_even_through_others():
    names = [f"import darkknowledge.{name}" for name in WITHOUT_TORCH]
    names += ["from darkknowledge.questions.registry import QUESTIONS"]
    names += ["[(q.plan, q.findings, q.exhibits) for q in QUESTIONS.values()]"]
    assert not loaded("\n".join(names)) & {"torch", "torchvision"}


def test_planning_and_refusing_load_neither_what_draws_nor_what_weighs():
    code = "from darkknowledge import cli\nfrom darkknowledge.experiment import survey\n"
    code += "from darkknowledge.questions import params, registry\n"
    code += "registry.grids({q: params.read('quick', q) for q in params.questions_of('quick')})"
    assert not loaded(code) & {"matplotlib", "scipy", "pandas", "jinja2", "papermill"}


@pytest.mark.parametrize("path", sorted((SOURCE / "experiment").glob("*.py")), ids=lambda p: p.stem)
def test_the_training_leg_needs_nothing_beyond_a_bare_gpu_image(path):
    """Only the embedded digits come from a package of their own, asked for when they are loaded."""
    tree, allowed = tree_of(path), BARE | sys.stdlib_module_names | {"darkknowledge"}
    if path.stem == "data":
        loader = next(n for n in tree.body if getattr(n, "name", "") == "_mnist5k")
        tree.body.remove(loader)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] in allowed


def test_only_records_knows_the_folders_of_a_store_and_nobody_loads_a_pickle():
    """Nobody else joins their names to a path."""
    for path in FILES:
        nodes = list(ast.walk(tree_of(path)))
        joins = (n for n in nodes if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div))
        joined = {getattr(n.right, "value", None) for n in joins}
        assert path.name == "records.py" or not joined & {"runs", "weights", "locks"}, path
        found = {ast.unparse(n) for n in nodes if isinstance(n, ast.Attribute)}
        assert not found & {"torch.load", "np.load", "pd.read_pickle", "pickle.load"}, path


def test_every_text_file_is_opened_with_a_stated_encoding():
    """Ruff's own rule sees only those whose path it can make out to be one."""
    for path in FILES:
        for call in (n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            binary = name == "open" and "b" in ast.unparse(ast.Tuple(call.args[1:]))
            if (name == "open" or name.endswith((".read_text", ".write_text"))) and not binary:
                assert "encoding" in {k.arg for k in call.keywords}, ast.unparse(call)
