"""A notebook's cells can be run again in the same kernel, with other parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot

import small_project
from darkknowledge import notebooks, params
from darkknowledge.spec import SpecError
from small_project import record_times

pytestmark = pytest.mark.slow

ONE = {"seeds": [0], "teacher_seeds": [100]}
#: Per question: few runs, and what is changed before the cells run again.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "q1": ({**ONE}, {"seeds": [0, 1]}),
    "q2": (
        {**ONE, "controls": [], "control_seeds": [], "jitter_seeds": [], "extra_alphas": []},
        {"temperature": 3.0},
    ),
    "q3": ({**ONE, "temperatures": [1.0]}, {"temperatures": [1.0, 7.0]}),
    "q4": ({**ONE, "detail_alphas": [], "detail_temperatures": []}, {"omit_in_turn": [5]}),
    "q5": ({"seeds": [0]}, {"temperatures": [3.0]}),
    "q6": ({"seeds": [0]}, {"temperatures": [3.0]}),
    "q7": ({**ONE, "few_seeds": [0]}, {"parts_temperature": 3.0}),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return small_project.make(tmp_path_factory.mktemp("notebooks") / "project")


def run_cells(question: str, namespace: dict[str, Any], changes: dict[str, Any]) -> None:
    """What a kernel does with the cells of a notebook whose parameters cell its user has edited."""
    cells = json.loads(notebooks.path_of(question).read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
            if "parameters" in cell["metadata"].get("tags", []):
                namespace.update(changes)


def test_every_notebook_is_tried():
    assert set(CHANGES) == set(notebooks.NAMES)


@pytest.mark.parametrize("question", CHANGES)
def test_run_again_in_the_same_kernel_a_notebook_trains_what_was_changed(
    question, project, tmp_path, monkeypatch
):
    monkeypatch.chdir(project)
    few, changed = CHANGES[question]
    few |= {"profile": "mine", "results_dir": str(tmp_path / "results")}
    small = params.read("quick", question).settings()
    kernel: dict[str, Any] = {"__name__": "__main__"}
    counts = []
    for changes in (few, few | changed, few | changed):
        run_cells(question, kernel, small | changes)
        counts.append(len(record_times(tmp_path)))
        pyplot.close("all")  # as a kernel does
    assert 0 < counts[0] < counts[1] == counts[2]


def test_a_variable_of_ones_own_does_no_harm_when_the_cells_run_again():
    """Unless it looks like a parameter that was misspelt."""
    found = params.from_notebook("q3", {"alpha": 0.5})
    again = {"alpha": 0.7, "question": found, "x": 3, "mine": [1, 2]}
    assert params.from_notebook("q3", again).settings()["alpha"] == 0.7
    with pytest.raises(SpecError, match="did you mean 'temperatures'"):
        params.from_notebook("q3", {**again, "temprature": [3.0]})
    with pytest.raises(SpecError, match="no parameter 'x'"):
        params.from_notebook("q3", {"x": 3})
