"""Runs as jobs of Snakemake: the real one, on two cores, on the embedded digits."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from darkknowledge import engine, grids, run, workers
from darkknowledge import params as p
from darkknowledge.records import Store
from darkknowledge.spec import RunSpec, run_id_of
from small_project import HANG, REPOSITORY, here, make, record_times, wait_until

pytestmark = pytest.mark.slow
snakemake = pytest.mark.skipif(find_spec("snakemake") is None, reason="Snakemake is not here.")

#: A teacher, a student on true labels and one that learns from the teacher.
TINY = {
    "profile": "tiny",
    "teacher_seeds": [100],
    "seeds": [0],
    "teacher_hidden": [32],
    "student_hidden": [16],
    **dict.fromkeys(("jitter_seeds", "control_seeds", "controls", "extra_alphas"), []),
}
SNAKEMAKE = ("train", "tiny", "--engine", "snakemake")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the profile ``tiny``, trained without an engine."""
    folder = make(tmp_path_factory.mktemp("engine") / "project")
    (folder / "params" / "tiny").mkdir()
    (folder / "params" / "tiny" / "q2.yaml").write_text(yaml.safe_dump(TINY))
    done = here(folder, "train", "tiny", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def untrained(project: Path, tmp_path: Path) -> Path:
    """The same project without results."""
    shutil.copytree(project / "params", tmp_path / "params")
    return tmp_path


def specs_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The runs of ``tiny``: teacher, true labels, distilled."""
    monkeypatch.chdir(folder)
    return grids.ordered(grids.grid("q2", p.read("tiny", "q2")))


def records(folder: Path) -> dict[str, dict]:
    """All records without what differs from one training to the next: times, and their checksum."""
    found = {}
    for path in folder.glob("results/runs/*/*.json"):
        body = json.loads(path.read_text())
        del body["provenance"], body["checksum"], body["history"]["seconds"]
        found[path.name] = body
    return found


def calls_left(folder: Path) -> list[Path]:
    return list((folder / "results" / "engine").iterdir())


@snakemake
def test_jobs_give_the_records_and_the_table_that_one_process_gives(project, untrained):
    done = here(untrained, *SNAKEMAKE, "--", "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert "3 runs trained, 0 were stored already, 0 failed" in done.stdout
    assert records(untrained) == records(project) and len(records(project)) == 3
    one, other = (pd.read_csv(f / "results" / "tiny" / "q2.csv") for f in (project, untrained))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), other.drop(columns="seconds"))
    assert calls_left(untrained) == []


@snakemake
def test_a_job_that_fails_once_is_tried_again_and_what_is_stored_is_not(
    project, untrained, monkeypatch
):
    teacher, hard, _ = specs_of(project, monkeypatch)
    shutil.copytree(project / "results", untrained / "results")
    Store(untrained / "results").record_path("mnist5k", hard.run_id).unlink()
    kept = record_times(untrained)
    site = untrained / "site"  # the first process that is asked for a single run dies
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, pathlib, sys\n"
        "mark = pathlib.Path(__file__).with_name('down')\n"
        "if '--only' in sys.orig_argv and not mark.exists():\n"
        "    mark.touch()\n"
        "    os._exit(1)\n"
    )
    path = os.pathsep.join([str(REPOSITORY / "src"), str(site)])
    done = here(untrained, *SNAKEMAKE, "--", "--retries", "1", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert (site / "down").exists()
    assert "1 runs trained, 2 were stored already, 0 failed" in done.stdout
    assert records(untrained) == records(project)
    assert {name: record_times(untrained)[name] for name in kept} == kept


@snakemake
def test_a_failing_job_costs_only_itself_and_its_students_and_leaves_its_log(
    untrained, project, monkeypatch
):
    teacher, hard, _ = specs_of(project, monkeypatch)
    site = untrained / "site"  # the teacher's process dies whenever it is tried
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import os, sys\nif {teacher.run_id!r} in sys.orig_argv:\n    os._exit(1)\n"
    )
    path = os.pathsep.join([str(REPOSITORY / "src"), str(site)])
    done = here(untrained, *SNAKEMAKE, PYTHONPATH=path)
    assert done.returncode == 1
    assert "1 runs trained, 0 were stored already, 2 failed" in done.stdout
    assert "its job ended early" in done.stdout and "no teacher." in done.stdout
    assert list(records(untrained)) == [f"{hard.run_id}.json"]
    assert len(calls_left(untrained)) == 1  # to be read


@snakemake
def test_a_diverging_job_says_so_and_its_students_are_not_started(project, untrained, capfd):
    shutil.copytree(project / "results", untrained / "results")
    book = untrained / "params" / "recipes.yaml"
    recipes = yaml.safe_load(book.read_text())
    recipes["quick-teacher"]["lr"] = 1e30  # another teacher, and another student
    book.write_text(yaml.safe_dump(recipes))
    done = here(untrained, *SNAKEMAKE)
    assert done.returncode == 0
    assert "0 runs trained, 1 were stored already, 0 failed" in done.stdout
    assert "2 diverged" in done.stdout
    assert "not finite" in done.stdout and "no teacher." in done.stdout
    assert "not finite" in capfd.readouterr().err  # Snakemake shows the log of the job
    assert "Traceback" not in done.stdout
    again = here(untrained, *SNAKEMAKE)
    assert "0 runs trained, 1 were stored already" in again.stdout
    assert capfd.readouterr().err == ""  # nothing is tried in vain


def test_a_job_that_fails_is_reported_in_its_own_words(project, tmp_path, monkeypatch):
    spec = specs_of(project, monkeypatch)[1]
    log = tmp_path / "run.log"
    for said, reported in {
        f"0%|  | 0/2\r50%\n1 failed\n  failed: {spec.label}: No data.\n": "No data.",
        "darkknowledge: The disk is full.\n": "darkknowledge: The disk is full.",
        "0 runs trained.\n  q5 a>b: 1 waits for a GPU (cost not measured)\n": (
            "q5 a>b: 1 waits for a GPU (cost not measured)"
        ),
        "0%|  | 0/2\r50%": f"its job ended early; its log is {log}.",
    }.items():
        log.write_text(said)
        assert engine._why(spec, log) == f"{spec.label}: {reported}"


@snakemake
def test_an_interrupted_call_keeps_what_is_finished_and_the_next_one_goes_on(
    project, untrained, monkeypatch
):
    shutil.copytree(project / "results", untrained / "results")
    _, *others = specs_of(project, monkeypatch)
    for spec in others:
        Store(untrained / "results").record_path("mnist5k", spec.run_id).unlink()
    site = untrained / "site"  # the second process that is asked for a single run never ends
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import pathlib, sys, time\n"
        "first, second = (pathlib.Path(__file__).with_name(n) for n in ('first', 'second'))\n"
        "if '--only' in sys.orig_argv:\n"
        "    mark = second if first.exists() else first\n"
        "    mark.touch()\n"
        "    time.sleep(3600 if mark == second else 0)\n"
    )
    path = os.pathsep.join([str(REPOSITORY / "src"), str(site)])
    first = subprocess.Popen(
        [sys.executable, "-m", "darkknowledge", *SNAKEMAKE, "--", "--cores", "1"],
        cwd=untrained,
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((site / "second").exists, first)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=HANG)
    assert first.returncode == 130
    assert "Finished runs are kept; the same command goes on." in said
    kept = record_times(untrained)
    assert len(kept) == 2
    table = pd.read_csv(untrained / "results" / "tiny" / "q2.csv")
    assert table["test_errors"].count() == 2
    done = here(untrained, *SNAKEMAKE)
    assert done.returncode == 0, done.stderr
    assert "1 runs trained, 2 were stored already" in done.stdout
    assert records(untrained) == records(project)
    assert {name: record_times(untrained)[name] for name in kept} == kept


def test_a_job_whose_teacher_lost_its_weights_waits_for_them(project, untrained, monkeypatch):
    shutil.copytree(project / "results", untrained / "results")
    teacher, hard, student = specs = specs_of(untrained, monkeypatch)
    store = Store(untrained / "results")
    store.record_path("mnist5k", student.run_id).unlink()

    def inputs() -> dict[str, list[str]]:
        outcome, waiting = workers.survey(specs, store)
        runs = engine.plan(waiting, outcome.stored, store, [])["runs"]
        return {run_id: planned["teacher"] for run_id, planned in runs.items()}

    record = str(store.record_path("mnist5k", teacher.run_id))
    assert inputs() == {student.run_id: [record]}
    store.weights_path(teacher.run_id).unlink()
    assert inputs() == {teacher.run_id: [], student.run_id: [f"{teacher.run_id}.json"]}
    outcome = workers.alone([teacher], store, teachers={teacher.run_id}, progress=False)
    assert outcome.trained == [teacher]
    assert inputs() == {student.run_id: [record]}


def test_a_job_asks_for_what_its_run_needs(project, monkeypatch):
    specs = specs_of(project, monkeypatch)
    store = Store(project / "results")
    more = [dataclasses.replace(spec, seed=spec.seed + 1) for spec in specs[:2]]
    far = dataclasses.replace(specs[1], device="cuda")
    outcome, waiting = workers.survey([*specs, *more, far], store, elsewhere=True)
    assert (outcome.stored, waiting) == (specs, [*more, far])
    runs = engine.plan(waiting, outcome.stored, store, [])["runs"].values()
    assert [planned["gpu"] for planned in runs] == [0, 0, 1]
    assert [planned["mem_mb"] for planned in runs] == [2_000, 2_000, 8_000]
    assert [planned["minutes"] for planned in runs] == [6, 6, engine.UNMEASURED_MINUTES]
    assert [planned["priority"] for planned in runs] == [3, 2, 1]
    assert engine.minutes(600) == 5 + 30


def test_a_run_whose_device_is_not_here_is_a_job_only_where_an_executor_may_take_it(
    project, untrained, monkeypatch
):
    far = dataclasses.replace(specs_of(project, monkeypatch)[1], device="cuda")
    monkeypatch.setattr(run, "available", lambda device: device == "cpu")
    called: list[list[str]] = []
    monkeypatch.setattr(engine, "_call", lambda command: called.append(command) or 0)
    store = Store(untrained / "results")
    outcome = engine.complete([far], store, [], ["--cores", "1"])
    assert (outcome.no_device, outcome.not_started, called) == ([far], [], [])
    outcome = engine.complete([far], store, [], ["--executor", "slurm", "--jobs", "32"])
    assert (outcome.no_device, outcome.not_started) == ([], [far])
    assert called[0][-4:] == ["--executor", "slurm", "--jobs", "32"]
    assert "--cores" not in called[0]  # on a cluster that would be a limit of all jobs together


def test_jobs_on_a_machine_with_two_gpus_share_them_evenly(store, monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with workers._one_gpu(store), workers._one_gpu(store):
        with workers._one_gpu(store):
            pass
        with workers._one_gpu(store):
            pass
    assert chosen == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--only", "0123456789abcdef"), "No run of tiny has the id '0123456789abcdef'"),
        (("--engine", "snakemake", "--jobs", "2"), "after --"),
        (("--", "--cores", "2"), "add --engine snakemake"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(project, arguments, says):
    done = here(project, "train", "tiny", *arguments)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_without_snakemake_one_sentence_says_how_to_get_it(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "snakemake", None)
    with pytest.raises(RuntimeError, match="uv pip install 'snakemake>="):
        engine.complete([], store, [], [])


def test_the_workflow_file_is_part_of_the_package():
    import tomllib

    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert engine.SNAKEFILE.is_file()
    assert settings["tool"]["setuptools"]["package-data"]["darkknowledge"] == [
        "Snakefile",
        "py.typed",
    ]


def test_the_work_for_a_table_grows_no_faster_than_its_records(tmp_path):
    source = sorted((REPOSITORY / "results" / "runs" / "mnist").glob("*.json"))[0]
    body = json.loads(source.read_text())
    del body["checksum"]
    store, names = Store(tmp_path), []
    store.record_path("mnist", "any").parent.mkdir(parents=True)
    for seed in range(2_000):  # as Store.write leaves them, without waiting for the disk each time
        spec = body["spec"] | {"seed": seed}
        names.append(run_id_of(spec))
        own = json.dumps(body | {"spec": spec, "run_id": names[-1]}, sort_keys=True)
        own = f'{{"checksum": "{sha256(own.encode()).hexdigest()}", {own[1:]}\n'
        store.record_path("mnist", names[-1]).write_text(own)
    plan = pd.DataFrame({"dataset": "mnist", "run_id": names, "omitted": "", "kept": ""})
    seconds = {}
    for count in (200, 2_000):
        began = time.process_time()  # what else the machine does is not measured
        table = store.with_numbers(plan.head(count))
        seconds[count] = time.process_time() - began
        assert (table["test_errors"] == body["test"]["errors"]).all() and len(table) == count
    assert seconds[2_000] < 30 * seconds[200]  # ten times the work, and not a hundred times
    last = store.record_path("mnist", names[-1])
    last.write_text(last.read_text().replace('"errors": ', '"errors": 1', 1))
    assert store.read("mnist", names[-1]) is None
