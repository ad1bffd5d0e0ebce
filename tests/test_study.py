"""A question's grid is trained block by block, measured once, and never on two types of processor."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pandas as pd
import pytest

import fabricated
import small_project
from conftest import whole_record
from darkknowledge import config, spec, study
from darkknowledge.experiment import survey, workers
from darkknowledge.paper.paper import Paper
from darkknowledge.questions import params
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import Store
from small_project import here, inside, planned, record_times

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(project) -> Path:
    """The profile ``tiny`` is added: two blocks of Q1 and Q2, of whose families few are left."""
    small_project.profile(project, "tiny", "q1", n_sizes=1, n_augmented_sizes=0)
    small_project.profile(project, "tiny", "q2", n_rivals=0, n_jittered=1)
    return project


def test_blocks_are_trained_whole_one_after_the_other_and_nothing_twice(project):
    done = here(project, "-v", "train", "tiny", "--jobs", "1")
    due = planned(project, "tiny")
    order = re.findall(r"\[([0-9a-f]{16})\]: started", done.stderr)
    assert order == [one.spec.run_id for one in due]
    assert [one.block for one in due] == [0] * 5 + [1] * 5 + [0] * 4
    assert f"{len(due)} runs trained, 0 were stored already" in done.stdout
    tables = [pd.read_csv(project / "results" / "tiny" / f"{q}.csv") for q in ("q1", "q2")]
    assert {run for table in tables for run in table["run_id"]} == set(order)
    assert all(table["test_errors"].notna().all() for table in tables)
    kept = record_times(project)
    again = here(project, "train", "tiny")
    assert f"0 runs trained, {len(due)} were stored already" in again.stdout
    assert record_times(project) == kept
    assert f"tiny: {len(due)} of {len(due)} runs stored\n" in here(project, "status", "tiny").stdout


def test_a_block_that_was_begun_on_another_processor_is_left_to_it(project, tmp_path):
    store, due = Store(tmp_path / "results"), planned(project, "tiny")
    record = whole_record(due[0].spec)
    record["provenance"]["processor"] = {"vendor": "Other", "capability": "AVX2", "bf16": False}
    store.write("mnist5k", record)
    done = here(project, "train", "tiny", "--results", str(store.root), "--jobs", "2", code=3)
    theirs = [one for one in due if one.block == due[0].block]
    assert f"{len(due) - len(theirs)} runs trained, 1 were stored already" in done.stdout
    said = "runs belong to blocks that were mostly trained on another processor"
    assert f"{len(theirs) - 1} {said}" in done.stdout
    assert {one.block for one in due if not store.read("mnist5k", one.spec.run_id)} == {0}
    store = Store(store.root)
    store.labels_path("mnist5k").unlink()  # which that record does not fit
    with inside(project):  # nor do notebooks, or the jobs of an engine
        outcome = study.prepare({q: params.read("tiny", q) for q in ("q1", "q2")}, store)
    assert len(outcome.elsewhere) == len(theirs) - 1 and not outcome.complete
    job = ("--results", str(store.root), "--only", theirs[1].spec.run_id)
    assert "train it there" in here(project, "train", "tiny", *job, code=2).stderr


def test_what_exhibits_show_is_measured_once_as_long_as_its_nets_are_the_same(project, tmp_path):
    store, times = Store(tmp_path / "results"), []
    with inside(project):
        q1, q2 = (params.read("tiny", q) for q in ("q1", "q2"))
        assert study.measure_latency(q1, store) is study.describe_soft_labels(q2, store) is None
        nets = [q1.nets.teacher_of(q1.blocks[0]), q1.nets.hard(q1.blocks[0])]
        workers.alone(nets, store, teachers=survey.teachers(nets), progress=False)
        for _ in range(2):
            latency, path = study.measure_latency(q1, store), study.describe_soft_labels(q2, store)
            times.append({p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()})
    assert times[0] == times[1]
    assert latency["batch"].tolist() == [1, 256] * 2 and (latency["median"] > 0).all()
    assert set(latency["arm"]) == {"teacher", "hard"}
    body, labels = json.loads(path.read_text()), store.labels("mnist5k")
    teacher = store.read("mnist5k", body["run_id"])
    assert teacher["spec"]["seed"] == 0
    said = [teacher["predictions"][labels.index(str(c))] for c in range(10)]
    assert [str(row.index(max(row))) for row in body["logits"]] == said


def test_a_notebook_is_told_what_failed(project, tmp_path):
    """One that goes on as if nothing had happened would show a table with gaps."""
    absent = dict(setup="mnist", blocks=[0], n_rivals=0, n_jittered=0)
    small_project.profile(project, "absent", "q2", **absent)
    places = {"data_root": str(tmp_path), "results_dir": str(tmp_path / "results")}
    with inside(project), pytest.raises(RuntimeError, match="MNIST cannot be had"):
        study.complete("q2", dataclasses.replace(params.read("absent", "q2"), **places))


def test_a_data_set_of_ones_own_is_asked_about_and_told_of_by_every_question(monkeypatch, tmp_path):
    """Its name stands where docs/structure.md says, and nowhere else."""
    own, read = {"mnist5k": "shapes", "mnist5k_rgb": "shapes_rgb"}, config.entry

    def entry(kind: str, name: str) -> dict:
        return {k: own.get(v, v) if k == "dataset" else v for k, v in read(kind, name).items()}

    for name in own.values():
        monkeypatch.setitem(spec.FINGERPRINTS, name, "ab" * 32)
    monkeypatch.setattr(config, "entry", entry)
    paper = Paper.load("quick", fabricated.results(tmp_path, "quick").root)
    assert set(paper.frames) == set(QUESTIONS) and set(paper.labels) == set(own.values())
    for question, asked in QUESTIONS.items():
        assert "nan" not in paper.text(question).split()
        assert any(claim.measured for claim in paper.claims[question].values())
        assert all(
            len(paper.frame(f"{question}-{name}")) for name in ("claims", *asked.exhibits.TABLES)
        )
        assert all(paper.figure(f"{question}-{name}") for name in asked.exhibits.FIGURES)
    for name in ("answers", "when", "scorecard", "provenance", "runs"):
        assert paper.frame(name) is not None
