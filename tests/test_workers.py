"""Training what is missing: real worker processes on the embedded digits."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from conftest import small_run, student
from darkknowledge import devices, processes
from darkknowledge.experiment import workers
from darkknowledge.records import Store
from darkknowledge.spec import data_spec
from small_project import here, profile, record_times

pytestmark = pytest.mark.slow

QUIET = {"progress": False, "jobs": 1}
spec, student = (partial(one, data=data_spec("mnist5k", 500)) for one in (small_run, student))


@pytest.mark.parametrize(
    ("changes", "says", "state"),
    [
        ({"lr": 1e30}, "not finite in epoch 1", "diverged"),
        ({"data": data_spec("mnist", 500)}, "MNIST cannot be had", "missing"),  # in that folder
    ],
)
def test_a_run_that_diverges_or_fails_costs_only_itself_and_its_students(
    tmp_path, changes, says, state
):
    """One that diverged is not tried again; one that failed is."""
    teacher, store = spec(**{"seed": 100} | changes), Store(tmp_path)
    grid = [teacher, student(teacher), spec(seed=1)]
    for trained in ([1], []):
        outcome = workers.complete(grid, store, tmp_path, **QUIET)
        assert [s.seed for s in outcome.trained] == trained
        assert outcome.complete is (state == "diverged")
        lost = {"diverged": outcome.diverged, "missing": outcome.failed}
        assert set(lost.pop(state)) == {one.run_id for one in grid[:2]} and not any(lost.values())
        assert says in (outcome.diverged | outcome.failed)[teacher.run_id]
        assert bool(store.diverged("mnist5k", teacher.run_id)) is (state == "diverged")


def test_no_run_starts_that_would_outlast_the_given_minutes(tmp_path):
    store = Store(tmp_path)
    workers.alone([spec()], store, progress=False)
    grid = [spec(), spec(seed=1, epochs=10**9), spec(seed=2)]
    outcome = workers.complete(grid, store, minutes=60, **QUIET)
    assert [s.seed for s in outcome.no_time] == [1] and [s.seed for s in outcome.trained] == [2]
    assert not outcome.complete


def test_a_job_whose_device_is_not_here_is_listed_and_not_started(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "available", lambda device: device == "cpu")
    outcome = workers.alone([far := spec(device="cuda")], Store(tmp_path), progress=False)
    assert outcome.no_device == [far] and not outcome.complete


@pytest.fixture(scope="module")
def bad(project) -> Path:
    """A misspelt parameter in one profile, and MNIST's own digits in another."""
    profile(project, "broken", "q1", latency_secnds=3)
    profile(project, "digits", "q2", setup="mnist", blocks=[0], n_rivals=0, n_jittered=0)
    return project


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("train quick --jobs -1", "jobs"), ("train broken q1", "latency_secnds"),
        ("train quick q1 --results params/recipes.yaml", "is no folder"),
        ("train quick --engine snakemake --jobs 2", "after --"),
        ("train quick -- --cores 2", "add --engine snakemake"),
        *((f"{command} params/quick/", "letters, digits")
          for command in ("train", "run", "render", "status", "claims", "weights")),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, arguments, says):
    done = here(bad, *arguments.split(), code=2)
    (said,) = done.stderr.splitlines()
    assert says in said and done.stdout == "" and not record_times(bad)


def test_missing_data_end_in_one_sentence(bad, tmp_path):
    words = ("train", "digits", "--jobs", "1")
    done = here(bad, *words, code=1, DARKKNOWLEDGE_DATA=str(tmp_path))
    assert "MNIST cannot be had" in done.stdout and "Traceback" not in done.stderr


def test_a_run_that_another_process_is_at_is_left_to_it_until_nothing_else_is_left(tmp_path):
    """As where two machines work on one folder."""
    store, grid = Store(tmp_path), [spec(seed=seed) for seed in range(3)]
    with store.lock(grid[0].run_id):
        found = [workers._next(grid[i:], [], store) for i in (0, 1)]
        assert found == [grid[1], grid[1]]
        assert workers._next(grid[:1], [grid[1]], store) is None
        assert workers._next(grid[:1], [], store) is grid[0]
    assert workers._next(grid, [], store) is grid[0]


def test_what_starts_workers_may_be_killed_too():
    pool = mock.Mock(submit=mock.Mock(side_effect=EOFError))  # as multiprocessing has it
    with pytest.raises(RuntimeError, match=re.escape(processes.KILLED)):
        workers._submitted(pool, print)
