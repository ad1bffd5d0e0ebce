"""Training what is missing: real worker processes on the embedded digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from darkknowledge import run, workers
from darkknowledge.records import RecordError, Store
from darkknowledge.spec import LossSpec, ModelSpec, Recipe, RunSpec, data_spec
from small_project import here, make, record_times

pytestmark = pytest.mark.slow


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
    return {"progress": False, "jobs": 1}


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A project with a misspelt parameter in one profile, and MNIST's own digits in another."""
    folder = make(tmp_path_factory.mktemp("bad") / "project")
    (folder / "params" / "broken").mkdir()
    (folder / "params" / "broken" / "q1.yaml").write_text("latency_secnds: 3\n", encoding="utf-8")
    (folder / "params" / "digits").mkdir()
    settings = "profile: digits\ndataset: mnist\nvalidation: 5000\n"
    (folder / "params" / "digits" / "q1.yaml").write_text(settings, encoding="utf-8")
    return folder


def test_side_by_side_gives_the_same_records_as_one_after_the_other(tmp_path):
    specs = [teacher := spec(100), spec(0), student(0, teacher), student(1, teacher)]
    stores = [Store(tmp_path / name) for name in ("one", "two")]
    for outcome in (
        workers.alone(specs, stores[0], progress=False),
        workers.complete(specs, stores[1], jobs=2, progress=False),
    ):
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
    workers.alone([spec(0)], store, progress=False)
    long = spec(1, recipe=dataclasses.replace(spec(0).recipe, epochs=10**9))
    outcome = workers.complete([spec(0), long, spec(2)], store, minutes=60, **quiet)
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
        (("render", "nowhere"), "must be one of"),
        (("train", "broken", "q1"), "latency_secnds"),
        (("train", "quick", "q1", "--results", "params/recipes.yaml"), "cannot be written"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, arguments, says):
    done = here(bad, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not record_times(bad)


def test_missing_data_end_in_one_sentence(bad, tmp_path):
    words = ("train", "digits", "q1", "--jobs", "1")
    done = here(bad, *words, DARKKNOWLEDGE_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "MNIST cannot be had" in done.stdout
    assert "Traceback" not in done.stderr
