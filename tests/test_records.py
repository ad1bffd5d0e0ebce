"""A record is there whole or not at all, and what is not whole is named and never used."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import signal
import stat
import subprocess
import sys

import pandas as pd
import pytest
from filelock import Timeout

from conftest import small_run, synthetic_data, whole_record
from darkknowledge import records
from darkknowledge.questions.base import Planned
from darkknowledge.records import HEADLINE, LABELS, DiskError, RecordError, Store
from darkknowledge.spec import LossSpec

SPEC = small_run(
    seed=3, data=synthetic_data(name="mnist"), loss=LossSpec.mix("uniform_teacher", 20, 0.9)
)
ID = SPEC.run_id


@pytest.fixture
def record() -> dict:
    return whole_record(SPEC, predictions="0123" * 25, truth="4" * 7 + ("0123" * 25)[7:])


@pytest.fixture
def stored(store: Store, record: dict) -> Store:
    store.write("mnist", record)
    return store


def files(store: Store) -> list[str]:
    return sorted(p.name for p in store.root.rglob("*") if p.is_file())


def test_a_record_is_read_as_it_was_written_and_one_that_is_not_there_is_none(
    store, record, caplog
):
    assert store.read("mnist", ID) is None and not caplog.records
    before = copy.deepcopy(record)
    store.write("mnist", record)
    store.set_aside("mnist", ID)  # only one that is broken
    found = store.read("mnist", ID)
    assert {k: v for k, v in found.items() if k in record} == record == before
    assert files(store) == [f"{ID}.json"]


def test_a_record_is_flushed_to_the_disk_before_it_gets_its_name(store, record, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("flush"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    store.write("mnist", record)
    assert calls[:2] == ["flush", "rename"]


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022, 0o002, 0])
def test_who_may_read_a_file_is_as_the_umask_says(store, record, mask):
    before = os.umask(mask)
    try:
        store.write("mnist", record)
        store.keep("mnist", LABELS, b"0123456789")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in store.root.glob("runs/*/*")}
    assert modes == {0o666 & ~mask}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_no_file_and_the_old_record_whole(
    store, record, monkeypatch, step, error
):
    def fail(*args):
        raise error

    for body, left in ((record, []), (record | {"predictions": "9" * 100}, [f"{ID}.json"])):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(DiskError if isinstance(error, OSError) else type(error)):
                store.write("mnist", body)
        assert files(store) == left
        if not left:
            store.write("mnist", record)
    assert store.read("mnist", ID)["predictions"] == record["predictions"]


def test_a_flipped_bit_anywhere_and_a_value_more_or_less_are_noticed(stored, caplog):
    path = stored.record_path("mnist", ID)
    content = path.read_bytes()
    whole = json.loads(content)
    bodies = [whole | {"more": 1}, *({k: whole[k] for k in whole if k != key} for key in whole)]
    altered = [json.dumps(body).encode() for body in bodies]
    for i, byte in enumerate(content):
        altered.append(content[:i] + bytes([byte ^ 1]) + content[i + 1 :])
    for body in altered:
        path.write_bytes(body)
        assert stored.read("mnist", ID) is None, body
    path.write_bytes(content)
    assert stored.read("mnist", ID) is not None


BROKEN = {
    "empty": b"",
    "no JSON": b"<html>",
    "no object": b"[1, 2]",
    "a number": b"3",
    "no checksum": b'{"run_id": "0123456789abcdef", "format": 1}',
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_record_is_named_once_and_can_be_set_aside(stored, opened, caplog, how):
    path = stored.record_path("mnist", ID)
    path.write_bytes(BROKEN[how])
    assert [stored.read("mnist", ID) for _ in range(3)] == [None] * 3
    [warning] = caplog.records
    assert warning.levelname == "WARNING" and str(path) in caplog.text
    stored.set_aside("mnist", ID)
    assert files(stored) == [f"{ID}.json.broken"]
    assert path.with_name(f"{ID}.json.broken").read_bytes() == BROKEN[how]  # for whoever asks


def test_a_record_of_another_run_or_another_format_is_refused(stored, monkeypatch, caplog):
    other = "f" * 16
    stored.record_path("mnist", other).write_bytes(stored.record_path("mnist", ID).read_bytes())
    assert stored.read("mnist", other) is None and other in caplog.text
    caplog.clear()
    monkeypatch.setattr(records, "FORMAT", records.FORMAT + 1)
    assert stored.read("mnist", ID) is None and ID in caplog.text


def test_headline_numbers_are_those_of_the_record(record):
    found = records.numbers_of(record, HEADLINE)
    assert found["test_errors"] == 7 and found["test_accuracy"] == pytest.approx(0.93)
    assert (found["validation_errors"], found["seconds"]) == (7, 1.0)
    assert math.isnan(found["teacher_agreement"])
    assert set(found) == set(HEADLINE)
    assert all(math.isnan(v) for v in records.numbers_of(None, HEADLINE).values())


@pytest.fixture
def table() -> pd.DataFrame:
    """Two rows of a question: one run that is stored, one that is not."""
    row = Planned("q2", "grey", "uniform_teacher", 0, SPEC).row()
    missing = row | dict(run_id="12345678901234e5", omitted="3")
    return pd.DataFrame([row | dict(test_errors=7), missing])


def test_a_table_takes_its_numbers_from_the_records_and_its_text_from_the_file(stored, table):
    """An id such as 12345678901234e5 is no number, and an empty cell is no NaN; a run without a record
    keeps its row."""
    assert stored.read_table("paper", "q4") is None
    stored.write_table("paper", "q4", table.assign(test_errors=1))
    found = stored.read_table("paper", "q4")
    assert found["test_errors"][0] == 7 and found["nll"][0] == 0.1
    assert found["record"][0]["predictions"] == "0123" * 25 and found["record"][1] is None
    assert len(found) == 2 and found.loc[1, list(HEADLINE)].isna().all()
    assert found["run_id"].tolist() == [ID, "12345678901234e5"]
    assert found["omitted"].tolist() == ["", "3"]
    assert found["pair"].tolist() == ["", ""]
    assert found["temperature"].tolist() == [20.0, 20.0]


def test_weights_match_only_if_they_are_the_very_bytes_of_the_record(store, record):
    path = store.weights_path(ID)
    found = [store.weights_match(record)]
    for content in (b"weights", b"weightz"):
        records.atomic_write(path, content)
        record["weights_sha256"] = hashlib.sha256(b"weights").hexdigest()
        found.append(store.weights_match(record))
    assert found == [False, True, False]


def test_the_labels_of_a_data_set_are_kept_once_and_asked_for_by_name(store):
    with pytest.raises(RecordError, match=r"mnist/test_labels\.txt"):
        store.labels("mnist")
    store.keep("mnist", records.LABELS, b"0123")
    assert store.labels("mnist") == "0123"


def test_a_results_folder_that_cannot_be_written_is_named_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match=r"file/results .* --results"):
        Store(tmp_path / "file" / "results").prepare()
    fine = Store(tmp_path / "new" / "results")
    fine.prepare()
    assert fine.root.is_dir() and files(fine) == []


def test_a_lock_keeps_others_out_and_dies_with_its_holder(store):
    """kill -9 in the middle of a run must not block it for ever."""
    code = (
        "import sys, time; from darkknowledge.records import Store\n"
        f"with Store(sys.argv[1]).lock({ID!r}): print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, str(store.root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(Timeout), store.lock(ID).acquire(timeout=0.1):
                pass
            with store.lock("f" * 16).acquire(timeout=0.1):  # other runs are not held up
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    with store.lock(ID).acquire(timeout=5):
        pass


def test_a_run_is_stored_running_broken_or_missing(stored):
    assert stored.state("mnist", ID) == "stored"
    assert stored.state("mnist", "other") == "missing"
    lock = stored.lock("other")
    with lock:
        assert Store(stored.root).state("mnist", "other") == "running"
    assert stored.state("mnist", "other") == "missing"  # the lock's file alone is no run
    stored.record_path("mnist", ID).write_text("{")
    assert stored.state("mnist", ID) == "broken"


# -- read once, and again as soon as it changes ------------------------------------------------------


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the files that are read, in order."""
    names, read = [], records._read_checked
    monkeypatch.setattr(
        records, "_read_checked", lambda p, *a: (names.append(p.name), read(p, *a))[1]
    )
    monkeypatch.setattr(records, "STILL_SECONDS", 0)
    return names


def test_a_record_is_read_once_as_long_as_its_file_stays_as_it_is(stored, opened, monkeypatch):
    """Not at once: two changes within a tick of the file system's clock look like one."""
    with monkeypatch.context() as patch:
        patch.setattr(records, "STILL_SECONDS", 3600)
        for _ in range(2):
            stored.read("mnist", ID)
    assert len(opened) == 2
    found = [stored.read("mnist", ID) for _ in range(3)]
    assert opened == [f"{ID}.json"] * 3
    assert found[0] is found[1] is found[2] is not None


def test_a_file_that_changes_is_read_again(stored, opened, caplog):
    path, whole = stored.record_path("mnist", ID), stored.read("mnist", ID)
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(content.replace(b"0123", b"0124", 1))  # as long as before, and as old
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stored.read("mnist", ID) is None and "checksum" in caplog.text
    path.unlink()
    assert stored.read("mnist", ID) is None
    path.write_bytes(content)
    assert stored.read("mnist", ID) == whole
    stored.write("mnist", {**whole, "label": "another"})
    assert stored.read("mnist", ID)["label"] == "another"
    times = len(opened)
    path.touch()
    assert stored.read("mnist", ID)["label"] == "another" and len(opened) == times + 1


# -- what else is refused ---------------------------------------------------------------------------
