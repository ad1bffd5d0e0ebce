"""Commands that answer at once: what they load, read, write and print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

import darkknowledge
import fabricated
from conftest import REPOSITORY, whole_record
from darkknowledge import __main__, cli
from darkknowledge.experiment import survey
from darkknowledge.questions import params, registry
from darkknowledge.records import STILL_SECONDS

pytestmark = pytest.mark.slow

CARD = sorted((REPOSITORY / "results" / "weights").glob("*.json"))[0].relative_to(REPOSITORY)
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
SLOW = {"torch", "torchvision", "matplotlib", "statsmodels", "scipy.stats", "papermill"}
SLOWER = {*SLOW, "pandas", "scipy", "numpy"}


def called(*words: str, encoding: str = "utf-8", **environment: str):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, encoding=encoding
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A study of the paper's size: whole records of all its runs, and the tables of its questions."""
    store = fabricated.results(tmp_path_factory.mktemp("study") / "results")
    for path in store.root.glob("runs/*/*.json"):
        os.utime(path, (1, 1))
    time.sleep(STILL_SECONDS + 0.1)  # a file that has just changed is not remembered
    return store.root


#: Commands that end well, and what they must not load; refused ones, and what is said of them.
FINE = {
    "--help": SLOWER, "train --help": SLOWER, "status paper": SLOWER, "claims paper": SLOW,
    "train paper": SLOW,
}  # fmt: skip
REFUSED = {
    "status papers": "Did you mean 'paper'",
    "claims nosuch": "profile",
    "evaluate /": "name a .safetensors file",
    "evaluate .": "name a .safetensors file",
    "train paper q9": "question",
    "train paper --minutes 0": "minutes",
    "train paper --only 0123456789abcdef": "No run of paper has the id '0123456789abcdef'",
    "claims paper q9": "question",
    "claims papers": "papers",
    "weights papers": "Did you mean 'paper'",
    "evaluate README.md": "card",
    "export 0000000000000000": "No run in",
    "export 12": "at least 4 digits",
    "curves papers": "Did you mean 'paper'",
    "curves paper --to curves.gif": ".svg, .png, .pdf",
    "train paper --weights": "--only",
    f"predict {CARD.with_suffix('.safetensors')} nowhere.png": "nowhere.png",
}


def times(root: Path) -> dict[Path, int]:
    return {q: q.stat().st_mtime_ns for q in root.rglob("*") if q.is_file()}


@pytest.fixture(scope="module")
def answers(tmp_path_factory, results) -> dict[str, tuple]:
    """Each command called once: what came of it, and what it loaded and opened. Those that read write
    nothing, so that a read-only folder is enough for them."""
    folder, found, before = tmp_path_factory.mktemp("watched"), {}, times(results)
    for command in (*FINE, *REFUSED):
        words, note = command.split(), folder / "note.json"
        takes = words[0] in ("status", "claims", "train") and "--help" not in words
        more = ("--results", str(results)) if takes else ()
        done = called(sys.executable, "-c", WATCHED, str(note), *words, *more)
        found[command] = done, json.loads(note.read_text(encoding="utf-8"))
        assert command == "train paper" or times(results) == before
        before = times(results)
    return found


@pytest.mark.parametrize("command", [*FINE, *REFUSED])
def test_a_command_loads_nothing_that_it_does_not_need(answers, command):
    done, seen = answers[command]
    assert done.returncode in ((1, 2) if command in REFUSED else (0,)), done.stderr
    assert not FINE.get(command, SLOWER) & set(seen["loaded"])
    if command in REFUSED:  # in one sentence, and no record is read
        assert done.stdout == "" and not seen["opened"]
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("darkknowledge: ")
        assert REFUSED[command] in done.stderr
    elif "--help" not in command:
        assert len(seen["opened"]) > 700 and set(seen["opened"].values()) == {1}  # each once


def left(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(list(words))
    return left.value.code


def test_status_tells_what_is_under_way_what_is_broken_and_the_time_left(
    monkeypatch, store, capsys, caplog
):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(survey, "side_by_side", lambda device: 2)
    planned = registry.QUESTIONS["q1"].grid(params.read("quick", "q1"))
    running, broken, done, *_ = survey.specs(planned)
    store.write(done.data.name, whole_record(done))
    path = store.record_path(broken.data.name, broken.run_id)
    path.write_text("{", encoding="utf-8")
    words = ("status", "quick", "q1", "--results", str(store.root))
    with store.lock(running.run_id):
        assert left(*words) == cli.LEFT
    said = capsys.readouterr().out
    assert f"q1: 1 of {len(planned)} runs stored, {len(planned) - 1} missing\n" in said
    assert "under way: 1 of the missing runs\n" in said
    assert "with a record that is broken: 1 of the missing runs\n" in said
    assert re.search(r"^time left: about \d+ (s|min) on cpu, 2 at a time$", said, re.M)
    assert path.name in caplog.text
    left(*words)
    assert "under way" not in capsys.readouterr().out  # the lock's file alone is no run


# -- streams that lack signs ------------------------------------------------------------------------


@pytest.mark.parametrize("encoding, square", [("cp1252", "²"), ("latin-1", "²"), ("ascii", "2")])
def test_output_survives_an_encoding_that_lacks_its_signs(encoding, square):
    code = "from darkknowledge.cli import main\n"
    code += "try:\n    main(['status', 'mañana'])\nfinally:\n    print('−1 ≥ T² → 雪')"
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = called(sys.executable, "-c", code, encoding=encoding, **environment)
    assert (done.returncode, done.stdout) == (2, f"-1 >= T{square} -> ?\n")
    assert re.search(r"ma(ñ|\?|\\xf1)ana", done.stderr)


#: A locale that knows ASCII alone, and does not turn into UTF-8 by itself.
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_names_and_other_programs_may_use_signs_that_the_locale_lacks(tmp_path):
    folder = tmp_path / "caf\u00e9 \u96ea"
    folder.mkdir()
    (folder / "git").write_bytes(b"#!/bin/sh\necho 'fatal: caf\xc3\xa9 \xff' >&2\nexit 128\n")
    (folder / "quarto").write_bytes(b"#!/bin/sh\necho '1.6 \xc3\xa9\xff'\n")
    for name in ("git", "quarto"):
        (folder / name).chmod(0o755)
    code = "from darkknowledge.experiment import run; print([run.commit()])\n"
    code += "from darkknowledge.paper import quarto_cli as q\n"
    code += "print(ascii(str(q.Quarto(q.command()))))"
    here = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "QUARTO_PATH": "quarto"}
    done = called(sys.executable, "-c", code, DARKKNOWLEDGE_NO_QUARTO="", **here, **BARE)
    assert done.stdout.startswith("['']\n'Quarto 1.6 \\xe9\\ufffd (quarto)"), done.stderr
    for locale in (BARE, {}):
        words = ("status", "quick", "q2", "--results", str(folder / "new"))
        done = called(sys.executable, "-m", "darkknowledge", *words, **locale)
        assert (done.returncode, done.stderr) == (cli.LEFT, "")


def test_an_output_that_is_closed_or_full_costs_no_traceback():
    words = f"{sys.executable} -m darkknowledge --quiet status quick q2"
    for end, code in (("", cli.LEFT), (">&-", cli.LEFT), (">&- 2>&-", cli.LEFT), ("| true", 0)):
        done = called("sh", "-c", f"{words} --results nowhere {end}")
        assert (done.returncode, done.stderr) == (code, "")
    said = "darkknowledge: A file: No space left on device.\n"
    commands = words, f"{words} --help", f"{sys.executable} -m darkknowledge --version"
    for command in commands if os.path.exists("/dev/full") else ():  # which only Linux has
        full = called("sh", "-c", f"{command} >/dev/full")
        assert (full.returncode, full.stderr) == (1, said)
    silent = called("sh", "-c", f"{words} q9 2>&-")
    assert (silent.returncode, silent.stdout) == (cli.BAD_INPUT, "")


@pytest.mark.parametrize(
    "words", ["status paper --results", "evaluate", "export 1234 --to", "curves paper --to"]
)
def test_an_empty_path_is_refused(words, capsys):
    assert left(*words.split(), "") == cli.BAD_INPUT
    assert "it is empty" in capsys.readouterr().err


def test_a_working_directory_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    (folder := tmp_path / "gone").mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert left("status", "paper") == cli.BAD_INPUT
    assert "The working directory is gone" in capsys.readouterr().err
    monkeypatch.undo()


def test_ctrl_c_while_the_command_line_loads_is_answered_in_one_sentence(monkeypatch, capsys):
    monkeypatch.delattr(darkknowledge, "cli")
    monkeypatch.delitem(sys.modules, "darkknowledge.cli")
    finder = mock.Mock(find_spec=mock.Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr(sys, "meta_path", [finder])
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert (left.value.code, capsys.readouterr().err) == (130, "\nInterrupted.\n")
