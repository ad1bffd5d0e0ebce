"""A notebook's cells can be run again in the same kernel, with other parameters."""

import json
from typing import Any

import pytest
from matplotlib import pyplot

import small_project
from darkknowledge.paper import notebooks
from darkknowledge.questions import params
from small_project import record_times

pytestmark = pytest.mark.slow

#: What is changed before the cells run again; at first, one block of the primary family.
CHANGES: dict[str, dict[str, Any]] = {
    "q1": {"blocks": [0, 1]},
    "q2": {"n_rivals": 1},
    "q3": {"main_temperatures": [1.0, 7.0]},
    "q4": {"omit_in_turn": [5]},
    "q5": {"alpha": 0.3},
    "q6": {"n_digits": 1, "digits_alphas": [0.3]},
    "q7": {"n_parts": 1},
}


def run_cells(question: str, namespace: dict[str, Any], changes: dict[str, Any]) -> None:
    """What a kernel does with the cells of a notebook whose parameters cell its user has edited."""
    for cell in json.loads(notebooks.path_of(question).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
            if "parameters" in cell["metadata"].get("tags", []):
                namespace.update(changes)
    pyplot.close("all")  # as a kernel does


@pytest.mark.parametrize("question", CHANGES)
def test_run_again_in_a_kernel_a_notebook_trains_what_was_changed(question, project, tmp_path):
    kernel: dict[str, Any] = {"__name__": "__main__"}
    with small_project.inside(project):
        first = params.read("quick", question).settings()
        first |= {name: 0 for name in first if name.startswith("n_")} | {"blocks": [0]}
        first |= {"profile": "mine", "results_dir": str(tmp_path / "results")}
        counts = []
        for changes in (first, *[first | CHANGES[question]] * 2):
            run_cells(question, kernel, changes)
            counts.append(len(record_times(tmp_path)))
    assert 0 < counts[0] < counts[1] == counts[2]
