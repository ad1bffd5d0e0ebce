"""Runs as jobs of Snakemake: the real one, on two cores, on the embedded digits."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
import yaml

from darkknowledge import devices
from darkknowledge.experiment import engine, survey, workers
from darkknowledge.records import Store
from darkknowledge.spec import ModelSpec, RunSpec
from small_project import (
    HANG,
    REPOSITORY,
    here,
    make,
    planned,
    profile,
    record_times,
    timeless,
    wait_until,
)  # fmt: skip

pytestmark = pytest.mark.slow
snakemake = pytest.mark.skipif(find_spec("snakemake") is None, reason="Snakemake is not here.")
SNAKEMAKE = ("train", "tiny", "--engine", "snakemake")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the profile ``tiny``, a block without rivals, trained without an engine."""
    folder = make(tmp_path_factory.mktemp("engine") / "project")
    profile(folder, "tiny", "q2", blocks=[0], n_rivals=0, n_jittered=0)
    here(folder, "train", "tiny", "--jobs", "1")
    return folder


@pytest.fixture
def untrained(project: Path, tmp_path: Path) -> Path:
    shutil.copytree(project / "params", tmp_path / "params")
    return tmp_path


@pytest.fixture
def trained(project: Path, untrained: Path) -> Path:
    """The same project, with results that may be changed."""
    shutil.copytree(project / "results", untrained / "results")
    return untrained


@pytest.fixture
def specs(project: Path) -> list[RunSpec]:
    """The runs of ``tiny``: teacher, hard labels, distilled, confidence only."""
    return [one.spec for one in planned(project, "tiny")]


def records(folder: Path) -> dict[str, dict]:
    paths = folder.glob("results/runs/*/*.json")
    return {path.name: timeless(json.loads(path.read_text(encoding="utf-8"))) for path in paths}


def forget(folder: Path, *specs: RunSpec) -> None:
    for spec in specs:
        Store(folder / "results").record_path("mnist5k", spec.run_id).unlink()


def test_a_job_that_fails_is_reported_in_its_own_words(specs, tmp_path):
    log, waits = tmp_path / "run.log", "q5 a>b: 1 waits for a GPU (cost not measured)"
    for said, reported in {
        f"0%|  | 0/2\r50%\n1 failed\n  failed: {specs[1].label}: No data.\n": "No data.",
        "darkknowledge: The disk is full.\n": "darkknowledge: The disk is full.",
        f"0 runs trained.\n  {waits}\n": waits,
        "0%|  | 0/2\r50%": f"its job ended early; its log is {log}.",
    }.items():
        log.write_text(said)
        assert engine._why(specs[1], log) == f"{specs[1].label}: {reported}"


def sabotage(folder: Path, code: str) -> str:
    """A path for Python by which each process runs ``code`` first; ``here`` is a folder for notes."""
    site = folder / "site"
    site.mkdir()
    head = "import os, pathlib, sys, time\nhere = pathlib.Path(__file__).parent\n"
    (site / "sitecustomize.py").write_text(head + code)
    return os.pathsep.join([str(REPOSITORY / "src"), str(site)])


@snakemake
def test_jobs_give_the_records_and_the_table_that_one_process_gives(project, untrained):
    done = here(untrained, *SNAKEMAKE, "--", "--cores", "2")
    assert "4 runs trained, 0 were stored already, 0 failed" in done.stdout
    assert records(untrained) == records(project) and len(records(project)) == 4
    one, other = (pd.read_csv(f / "results" / "tiny" / "q2.csv") for f in (project, untrained))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), other.drop(columns="seconds"))
    assert not list((untrained / "results" / "engine").iterdir())


@snakemake
def test_a_diverging_job_says_so_and_its_students_are_not_started(trained, capfd):
    book = trained / "params" / "recipes.yaml"
    recipes = yaml.safe_load(book.read_text())
    recipes["quick-teacher"]["lr"] = 1e30  # another teacher, and other students
    book.write_text(yaml.safe_dump(recipes))
    done = here(trained, *SNAKEMAKE)
    assert "0 runs trained, 1 were stored already, 0 failed" in done.stdout
    assert "3 diverged" in done.stdout and "Traceback" not in done.stdout
    assert "not finite" in done.stdout and "no teacher." in done.stdout
    assert "not finite" in capfd.readouterr().err  # Snakemake shows the log of the job
    again = here(trained, *SNAKEMAKE)
    assert "0 runs trained, 1 were stored already" in again.stdout
    assert capfd.readouterr().err == ""  # nothing is tried in vain


#: How a call is ended, and whether it was started deaf to Ctrl-C, as a shell starts its background.
ENDINGS = {signal.SIGINT: False, signal.SIGTERM: True, signal.SIGHUP: False, signal.SIGKILL: True}


@snakemake
def test_an_interrupted_call_leaves_nobody_and_keeps_what_is_finished_and_the_next_one_goes_on(
    project, trained, specs
):
    forget(trained, *specs[1:3])
    path = sabotage(trained, "if '--only' in sys.orig_argv:\n"  # the second of them never ends
                             "    last = (here / 'first').exists()\n"
                             "    (here / ('second' if last else 'first')).touch()\n"
                             "    time.sleep(3600 if last else 0)\n")  # fmt: skip
    words = [sys.executable, "-m", "darkknowledge", *SNAKEMAKE, "--", "--cores", "1"]
    for number, deaf in ENDINGS.items():
        (trained / "site" / "second").unlink(missing_ok=True)
        first = subprocess.Popen(
            words, cwd=trained, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE,
            text=True, preexec_fn=lambda d=deaf: d and signal.signal(signal.SIGINT, signal.SIG_IGN)
        )  # fmt: skip
        wait_until((trained / "site" / "second").exists, first)
        first.send_signal(number)
        _, said = first.communicate(timeout=HANG)  # all that it started have closed their ends too
        there = [one.info["cwd"] or "" for one in psutil.process_iter(["cwd"])]
        assert not [cwd for cwd in there if cwd.startswith(str(trained))]
        if number == signal.SIGKILL:
            assert first.returncode == -signal.SIGKILL
        else:
            assert first.returncode == 130
            assert "Finished runs are kept; the same command goes on." in said
        kept, table = record_times(trained), pd.read_csv(trained / "results" / "tiny" / "q2.csv")
        assert len(kept) == table["test_errors"].count() == 3
    done = here(trained, *SNAKEMAKE)
    assert "1 runs trained, 3 were stored already" in done.stdout
    assert records(trained) == records(project) and kept.items() <= record_times(trained).items()


def test_a_job_whose_teacher_lost_its_weights_waits_for_them(trained, specs):
    teacher, _, student, _ = specs
    store = Store(trained / "results")
    forget(trained, student)

    def inputs() -> dict[str, list[str]]:
        outcome, waiting = survey.survey(specs, store)
        runs = engine.plan(waiting, outcome.stored, store, [])["runs"]
        return {run_id: planned["teacher"] for run_id, planned in runs.items()}

    record = str(store.record_path("mnist5k", teacher.run_id))
    assert inputs() == {student.run_id: [record]}
    store.weights_path(teacher.run_id).unlink()
    assert inputs() == {teacher.run_id: [], student.run_id: [f"{teacher.run_id}.json"]}
    outcome = workers.alone([teacher], store, teachers={teacher.run_id}, progress=False)
    assert outcome.trained == [teacher] and inputs() == {student.run_id: [record]}


def test_a_job_asks_for_what_its_run_needs(project, specs):
    store = Store(project / "results")
    more = [dataclasses.replace(spec, seed=spec.seed + 1) for spec in specs[:2]]
    far = dataclasses.replace(specs[1], device="cuda")
    outcome, waiting = survey.survey([*specs, *more, far], store, elsewhere=True)
    assert (outcome.stored, waiting) == (specs, [*more, far])
    runs = engine.plan(waiting, outcome.stored, store, [])["runs"].values()
    own = dataclasses.replace(specs[1], model=ModelSpec("mobilenet_v3_small"))
    assert engine.plan([own], [], store, [])["runs"][own.run_id]["mem_mb"] == 4_000
    assert [(r["gpu"], r["mem_mb"], r["minutes"], r["priority"]) for r in runs] == [
        (0, 2_000, 6, 3), (0, 2_000, 6, 2), (1, 8_000, engine.UNMEASURED_MINUTES, 1)]  # fmt: skip
    assert engine.minutes(600) == 5 + 30


def test_a_run_whose_device_is_not_here_is_a_job_only_where_an_executor_may_take_it(
    untrained, specs, monkeypatch
):
    far, called, store = dataclasses.replace(specs[1], device="cuda"), [], Store(untrained)
    monkeypatch.setattr(devices, "available", lambda device: device == "cpu")
    monkeypatch.setattr(engine, "_call", lambda command: called.append(command) or 0)
    outcome = engine.complete([far], store, [], ["--cores", "1"])
    assert (outcome.no_device, outcome.not_started, called) == ([far], [], [])
    lost = dataclasses.replace(far, seed=9)
    note = {"run_id": lost.run_id, "spec": lost.full(), "reason": "It is not finite."}
    store.write_diverged(lost.data.name, note)
    with monkeypatch.context() as patch:  # what diverged before excuses no failure to start
        patch.setattr(engine, "_call", lambda command: 1)
        with pytest.raises(RuntimeError, match="Snakemake ended with exit code 1"):
            engine.complete([far, lost], store, [], ["--executor", "slurm"])
    options = ["--executor", "slurm", "--jobs", "32"]
    outcome = engine.complete([far], store, [], options)
    assert (outcome.no_device, outcome.not_started) == ([], [far])
    assert called[0][-4:] == options
    assert "--cores" not in called[0]  # on a cluster that would be a limit of all jobs together


def test_jobs_on_a_machine_with_two_gpus_share_them_evenly(store, monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with workers._one_gpu(store), workers._one_gpu(store):
        for _ in range(2):
            with workers._one_gpu(store):
                pass
    assert chosen == [0, 1, 0, 0]


def test_without_snakemake_one_sentence_says_how_to_get_it(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "snakemake", None)
    with pytest.raises(RuntimeError, match="its extra cluster"):
        engine.complete([], store, [], [])


def test_the_workflow_file_is_part_of_the_package():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    carried = settings["tool"]["setuptools"]["package-data"]["darkknowledge"]
    assert str(engine.SNAKEFILE.relative_to(REPOSITORY / "src" / "darkknowledge")) in carried
