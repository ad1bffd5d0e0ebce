"""Training what is missing: real worker processes on the embedded digits."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from darkknowledge import run, workers
from darkknowledge.records import RecordError, Store
from darkknowledge.spec import LossSpec, ModelSpec, Recipe, RunSpec, data_spec
from small_project import REPOSITORY, call, make, record_times


def spec(seed: int, **changes) -> RunSpec:
    values = dict(
        data=data_spec("mnist5k", 500),
        model=ModelSpec("mlp", (16,)),
        recipe=Recipe("sgd", 0.05, epochs=2, batch_size=100),
        seed=seed,
        precision="fp32",
    )
    return RunSpec(**values | changes)


def student(seed: int, teacher: RunSpec) -> RunSpec:
    return spec(seed, loss=LossSpec.mix("kd", 4, 0.9), teacher=teacher)


@pytest.fixture
def quiet():
    return {"progress": False}


def test_side_by_side_gives_the_same_records_as_one_after_the_other(tmp_path, quiet):
    specs = [teacher := spec(100), spec(0), student(0, teacher), student(1, teacher)]
    stores = [Store(tmp_path / name) for name in ("one", "three")]
    for store, jobs in zip(stores, (1, 3), strict=True):
        outcome = workers.complete(specs, store, jobs=jobs, **quiet)
        assert outcome.complete and len(outcome.trained) == 4
    for one in specs:
        first, second = (run.stored(one, store) for store in stores)
        for part in ("predictions", "validation", "test", "weights_sha256"):
            assert first[part] == second[part]
        assert first["history"]["loss_soft"] == second["history"]["loss_soft"]


def test_a_diverging_run_costs_only_itself_and_its_students_and_is_not_tried_again(tmp_path, quiet):
    wild = dataclasses.replace(spec(0).recipe, lr=1e30)
    teacher, store = spec(100, recipe=wild), Store(tmp_path)
    grid = [teacher, student(0, teacher), spec(1)]
    for trained in ([1], []):
        outcome = workers.complete(grid, store, **quiet)
        assert [s.seed for s in outcome.trained] == trained
        assert set(outcome.diverged) == {teacher.run_id, student(0, teacher).run_id}
        assert "not finite in epoch 1" in outcome.diverged[teacher.run_id]
        assert outcome.complete and not outcome.failed
        assert store.state("mnist5k", teacher.run_id) == "diverged"


def test_a_failing_run_costs_only_itself_and_its_students(tmp_path, quiet):
    teacher = spec(100, data=data_spec("mnist", 500))  # not in that folder
    grid = [teacher, student(0, teacher), spec(1)]
    outcome = workers.complete(grid, Store(tmp_path), tmp_path, **quiet)
    assert [s.seed for s in outcome.trained] == [1]
    assert set(outcome.failed) == {teacher.run_id, student(0, teacher).run_id}
    assert not outcome.complete


def test_no_run_starts_that_would_outlast_the_given_minutes(tmp_path, quiet):
    store = Store(tmp_path)
    workers.complete([spec(0)], store, **quiet)
    long = spec(1, recipe=dataclasses.replace(spec(0).recipe, epochs=100_000))
    outcome = workers.complete([spec(0), long, spec(2)], store, minutes=1, **quiet)
    assert [s.seed for s in outcome.no_time] == [1]
    assert [s.seed for s in outcome.trained] == [2]
    assert not outcome.complete


def test_a_run_whose_device_is_not_here_is_listed_and_not_started(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(run, "available", lambda device: device == "cpu")
    elsewhere = spec(0, device="cuda")
    outcome = workers.complete([elsewhere], Store(tmp_path), **quiet)
    assert outcome.no_device == [elsewhere]


def test_a_folder_that_cannot_be_written_is_refused_before_any_training(tmp_path, quiet):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        workers.complete([spec(0)], Store(tmp_path / "file"), **quiet)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "quik"), "quick"),
        (("train", "quick", "q9"), "question"),
        (("train", "quick", "--minutes", "0"), "minutes"),
        (("train", "quick", "--jobs", "-1"), "jobs"),
        (("render", "nowhere"), "darkknowledge run nowhere"),
        (("train", "broken", "q1"), "latency_secnds"),
        (("train", "quick", "q1", "--results", "params/recipes.yaml"), "cannot be written"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(tmp_path_factory, arguments, says):
    folder = make(tmp_path_factory.mktemp("bad") / "project")
    (folder / "params" / "broken").mkdir()
    (folder / "params" / "broken" / "q1.yaml").write_text("latency_secnds: 3\n")
    done = call(folder, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not record_times(folder)


def test_missing_data_end_in_one_sentence(tmp_path):
    folder = make(tmp_path / "project")
    done = call(folder, "train", "paper", "q1", DARKKNOWLEDGE_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "MNIST cannot be had" in done.stdout
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_what_is_finished_says_so_and_the_same_command_goes_on(tmp_path):
    folder = make(tmp_path / "project")
    words = [sys.executable, "-m", "darkknowledge", "train", "quick", "q2", "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    first = subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not record_times(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "Finished runs are kept; the same command goes on." in said
    kept = record_times(folder)
    assert 1 <= len(kept) < 45
    done = call(folder, "train", "quick", "q2")
    assert done.returncode == 0, done.stderr
    after = record_times(folder)
    assert len(after) == 45
    assert {name: after[name] for name in kept} == kept
