"""Commands that answer at once: what they load and read, and the CPU seconds that they take.

What a command loads, reads and prints is the law; the seconds, CPU time of a process of its own and
several times what was measured, only catch what these laws do not see.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY, whole_record
from darkknowledge import grids, params, plan, study
from darkknowledge.records import FORMAT, LABELS, STILL_SECONDS, Store, checksum

pytestmark = pytest.mark.slow

WEIGHTS = sorted((REPOSITORY / "results" / "weights").glob("*.json"))[0].with_suffix(".safetensors")
#: Runs the command line and tells what it loaded and which records it opened, how often each.
WATCHED = """
import collections, json, sys

opened = collections.Counter()

def watch(event, details):
    name = str(details[0]) if event == "open" else ""
    if "runs" in name and name.endswith(".json"):
        opened[name] += 1

sys.addaudithook(watch)
from darkknowledge.cli import main

try:
    main(sys.argv[2:])
finally:
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"loaded": sorted(sys.modules), "opened": opened}, file)
"""
#: No GPU, so that what needs one waits wherever the tests run.
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY / "src"), "CUDA_VISIBLE_DEVICES": ""}
SLOW = {"torch", "torchvision", "matplotlib", "statsmodels", "scipy.stats", "papermill"}
SLOWER = {*SLOW, "pandas", "scipy", "numpy"}


def called(*words: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """A command in the repository, and the CPU seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        words,
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT | environment,
        capture_output=True,
        encoding="utf-8",
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Two studies of the paper's size, one of questions and one of a plan: whole records of all their
    runs that need no GPU, and the tables of the questions."""
    store, wrong = Store(tmp_path_factory.mktemp("study") / "results"), random.Random(1503)
    truth = "".join(wrong.choices("0123456789", k=10_000))
    plans = {q: grids.grid(q, params.read("pilot", q)) for q in params.questions_of("pilot")}
    families = plan.grids(plan.read("paper"))
    for spec in grids.ordered(one for of in (plans | families).values() for one in of):
        if spec.device == "cpu":
            called = list(truth)
            for i in wrong.sample(range(len(called)), 100 + wrong.randrange(60)):
                called[i] = str((int(called[i]) + 1) % 10)
            body = whole_record(spec, "".join(called), truth) | {"format": FORMAT}
            body["checksum"] = checksum(body)
            store.keep(spec.data.name, LABELS, truth.encode())
            path = store.record_path(spec.data.name, spec.run_id)
            path.write_text(json.dumps(body, sort_keys=True) + "\n", encoding="utf-8")
            os.utime(path, (1, 1))
    for question in plans:
        study.publish(question, params.read("pilot", question), store)
    time.sleep(STILL_SECONDS + 0.1)  # a file that has just changed is not remembered
    return store.root


#: Name → words, what it must not load, and CPU seconds of which it takes less than a third.
COMMANDS = {
    "help": (("--help",), SLOWER, 0.5),
    "help of a command": (("train", "--help"), SLOWER, 0.5),
    "status": (("status", "pilot"), SLOWER, 2.4),
    "claims": (("claims", "pilot"), SLOW, 5.5),
    "train": (("train", "pilot"), SLOW, 5),
    "status of a plan": (("status", "paper"), SLOWER, 2.4),
    "train a plan": (("train", "paper"), SLOW, 5),
    "no such profile": (("status", "papers"), SLOWER, 0.5),
    "no such question": (("train", "pilot", "q9"), SLOWER, 0.5),
    "no time": (("train", "pilot", "--minutes", "0"), SLOWER, 0.5),
    "no such run": (("train", "pilot", "--only", "0123456789abcdef"), SLOWER, 2),
    "no claims": (("claims", "pilot", "q9"), SLOWER, 0.5),
    "no such table": (("claims", "papers"), SLOWER, 0.5),
    "no rounds": (("bench", "--rounds", "0"), SLOWER, 0.5),
    "no weights": (("weights", "papers"), SLOWER, 0.5),
    "no card": (("evaluate", "README.md"), SLOWER, 0.5),
    "no image": (("predict", str(WEIGHTS), "nowhere.png"), SLOWER, 0.5),
}
REFUSED = [name for name in COMMANDS if name.startswith("no ")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory, results) -> dict[str, tuple]:
    """Each command called once: what came of it, its CPU seconds, what it loaded and opened."""
    folder, found = tmp_path_factory.mktemp("watched"), {}
    for name, (words, _, _) in COMMANDS.items():
        takes = words[0] in ("status", "claims", "train") and "--help" not in words
        more = ("--results", str(results)) if takes else ()
        note = folder / f"{name}.json"
        done, seconds = called(sys.executable, "-c", WATCHED, str(note), *words, *more)
        found[name] = done, seconds, json.loads(note.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_loads_nothing_that_it_does_not_need(answers, name):
    seen = answers[name][2]
    assert not COMMANDS[name][1] & set(seen["loaded"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_no_more_cpu_time_than_it_should(answers, name):
    assert answers[name][1] < COMMANDS[name][2]


@pytest.mark.parametrize("name", ["status", "claims", "train", "status of a plan", "train a plan"])
def test_every_record_is_read_once(answers, name):
    opened = answers[name][2]["opened"]
    assert len(opened) > 500
    assert set(opened.values()) == {1}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_one_sentence_and_reads_no_record(answers, name):
    done, _, seen = answers[name]
    assert done.returncode in (1, 2) and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("darkknowledge: ")
    assert not seen["opened"]


def test_what_needs_a_gpu_is_a_line_per_pair_and_not_a_line_per_run(answers):
    for name in ("status", "train"):
        done = answers[name][0]
        assert done.returncode == 3, done.stderr
        assert len(done.stdout.splitlines()) < 40
        waiting = [line.strip() for line in done.stdout.splitlines() if "(cost " in line]
        assert waiting and " 0 left for lack of time" in answers["train"][0].stdout
        named = [line.partition(":")[0] for line in waiting]
        assert len(named) == len(set(named))
    # The one count: each of both commands ends with the same line.
    counts = [
        next(line for line in answers[name][0].stdout.splitlines() if line.startswith("pilot: "))
        for name in ("status", "train")
    ]
    assert counts[0] == counts[1]


def test_throughput_is_measured_once_however_many_runs_wait(monkeypatch, store, capsys):
    """It was measured anew, from all records, for every line."""
    from darkknowledge import cli, survey

    made, init = [], survey.Throughput.__init__
    monkeypatch.setattr(survey, "trainable", lambda device, precision: False)
    monkeypatch.setattr(
        survey.Throughput, "__init__", lambda self, *a: (made.append(1), init(self, *a))[1]
    )
    monkeypatch.chdir(REPOSITORY)
    for command in ("train", "status"):
        made.clear()
        with pytest.raises(SystemExit) as left:
            cli.main([command, "quick", "--results", str(store.root)])
        assert left.value.code == cli.LEFT
        assert made == [1]
    said = capsys.readouterr().out.splitlines()
    assert len(said) < 2 * 30


def test_status_tells_what_is_under_way_what_is_broken_and_the_time_left(
    monkeypatch, store, capsys, caplog
):
    from darkknowledge import cli, survey

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(survey, "cores", lambda: 2)
    plans = grids.grid("q1", params.read("quick", "q1"))
    running, broken, done, *rest = (plan.spec for plan in plans)
    store.write(done.data.name, whole_record(done))
    path = store.record_path(broken.data.name, broken.run_id)
    path.write_text("{", encoding="utf-8")
    with store.lock(running.run_id), pytest.raises(SystemExit):
        cli.main(["status", "quick", "q1", "--results", str(store.root)])
    said = capsys.readouterr().out
    assert f"q1: 1 of {len(plans)} runs stored, {len(plans) - 1} missing\n" in said
    assert "under way: 1 of the missing runs\n" in said
    assert "with a record that is broken: 1 of the missing runs\n" in said
    assert re.search(r"^time left: about \d+ min on cpu, 2 at a time$", said, re.M)
    assert path.name in caplog.text


# -- streams that lack signs ------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_output_survives_an_encoding_without_the_minus_sign(results, encoding):
    words = (sys.executable, "-m", "darkknowledge", "claims", "pilot", "q2")
    words += ("--results", str(results))
    plain, _ = called(*words)
    done, _ = called(*words, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "−" in plain.stdout
    assert done.stdout == plain.stdout.replace("−", "-")


def test_a_sign_without_a_substitute_becomes_a_question_mark():
    code = "from darkknowledge.cli import main\nimport sys\n"
    code += "try:\n    main(['status', 'mañana'])\nfinally:\n    print('≥ 3 T² → 雪')"
    done, _ = called(sys.executable, "-c", code, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2
    assert done.stdout == ">= 3 T2 -> ?\n"
    assert "ma?ana" in done.stderr or "ma\\xf1ana" in done.stderr
