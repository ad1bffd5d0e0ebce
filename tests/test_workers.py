"""Training what is missing: real worker processes on the embedded digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from darkknowledge import devices
from darkknowledge.experiment import run, workers
from darkknowledge.records import Store
from darkknowledge.spec import LossSpec, ModelSpec, Recipe, RunSpec, data_spec
from small_project import here, make, profile, record_times, timeless

pytestmark = pytest.mark.slow

RECIPE = Recipe("sgd", 0.05, epochs=2, batch_size=100)
QUIET = {"progress": False, "jobs": 1}


def spec(seed: int, **changes) -> RunSpec:
    values = dict(data=data_spec("mnist5k", 500), model=ModelSpec("mlp", (16,)), recipe=RECIPE)
    return RunSpec(**values | dict(seed=seed, precision="fp32") | changes)


def student(seed: int, teacher: RunSpec) -> RunSpec:
    return spec(seed, loss=LossSpec.mix("kd", 4, 0.9), teacher=teacher)


def test_side_by_side_gives_the_same_records_as_one_after_the_other(tmp_path):
    specs = [teacher := spec(100), spec(0), student(0, teacher), student(1, teacher)]
    one, two = (Store(tmp_path / name) for name in ("one", "two"))
    for outcome in (
        workers.alone(specs, one, progress=False),
        workers.complete(specs, two, jobs=2, progress=False),
    ):
        assert outcome.complete and len(outcome.trained) == 4
    for each in specs:
        assert timeless(run.stored(each, one)) == timeless(run.stored(each, two))


@pytest.mark.parametrize(
    ("changes", "says", "state"),
    [
        ({"recipe": dataclasses.replace(RECIPE, lr=1e30)}, "not finite in epoch 1", "diverged"),
        ({"data": data_spec("mnist", 500)}, "MNIST cannot be had", "missing"),  # in that folder
    ],
)
def test_a_run_that_diverges_or_fails_costs_only_itself_and_its_students(
    tmp_path, changes, says, state
):
    """One that diverged is not tried again; one that failed is."""
    teacher, store = spec(100, **changes), Store(tmp_path)
    grid = [teacher, student(0, teacher), spec(1)]
    for trained in ([1], []):
        outcome = workers.complete(grid, store, tmp_path, **QUIET)
        assert [s.seed for s in outcome.trained] == trained
        assert outcome.complete is (state == "diverged")
        lost = {"diverged": outcome.diverged, "missing": outcome.failed}
        assert set(lost.pop(state)) == {one.run_id for one in grid[:2]} and not any(lost.values())
        assert says in (outcome.diverged | outcome.failed)[teacher.run_id]
        assert store.state(teacher.data.name, teacher.run_id) == state


def test_no_run_starts_that_would_outlast_the_given_minutes(tmp_path):
    store = Store(tmp_path)
    workers.alone([spec(0)], store, progress=False)
    long = spec(1, recipe=dataclasses.replace(RECIPE, epochs=10**9))
    outcome = workers.complete([spec(0), long, spec(2)], store, minutes=60, **QUIET)
    assert [s.seed for s in outcome.no_time] == [1] and [s.seed for s in outcome.trained] == [2]
    assert not outcome.complete


def test_a_run_whose_device_is_not_here_is_listed_and_not_started(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "available", lambda device: device == "cpu")
    elsewhere = spec(0, device="cuda")
    for outcome in (
        workers.complete([elsewhere], Store(tmp_path), **QUIET),
        workers.alone([elsewhere], Store(tmp_path), progress=False),
    ):
        assert outcome.no_device == [elsewhere] and not outcome.complete


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A project with a misspelt parameter in one profile, and MNIST's own digits in another."""
    folder = make(tmp_path_factory.mktemp("bad") / "project")
    profile(folder, "broken", "q1", latency_secnds=3)
    profile(folder, "digits", "q2", setup="mnist", blocks=[0], n_rivals=0, n_jittered=0)
    return folder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("train quik", "quick"), ("train quick q9", "question"), ("render nowhere", "must be one of"),
        ("train quick --minutes 0", "minutes"), ("train quick --jobs -1", "jobs"),
        ("train broken q1", "latency_secnds"),
        ("train quick q1 --results params/recipes.yaml", "is no folder"),
        ("train quick --engine snakemake --jobs 2", "after --"),
        ("train quick -- --cores 2", "add --engine snakemake"),
        ("train quick --only 0123456789abcdef", "No run of quick has the id '0123456789abcdef'"),
        *((f"{command} params/quick/", "letters, digits")
          for command in ("train", "run", "render", "status", "claims", "weights")),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, arguments, says):
    done = here(bad, *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr and not record_times(bad)


def test_missing_data_end_in_one_sentence(bad, tmp_path):
    words = ("train", "digits", "--jobs", "1")
    done = here(bad, *words, DARKKNOWLEDGE_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "MNIST cannot be had" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_run_that_another_process_is_at_is_left_to_it_until_nothing_else_is_left(tmp_path):
    """As where two machines work on one folder."""
    store, grid = Store(tmp_path), [spec(seed) for seed in range(3)]
    with store.lock(grid[0].run_id):
        found = [workers._next(grid[i:], [], store) for i in (0, 1)]
        assert found == [grid[1], grid[1]]
        assert workers._next(grid[:1], [grid[1]], store) is None
        assert workers._next(grid[:1], [], store) is grid[0]
    assert workers._next(grid, [], store) is grid[0]
