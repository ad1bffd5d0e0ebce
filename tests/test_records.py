"""A record is there whole or not at all, and what is not whole is named and never used."""

from __future__ import annotations

import copy
import json
import math
import os
import stat

import pandas as pd
import pytest

from conftest import small_run, student, synthetic_data, whole_record
from darkknowledge import records
from darkknowledge.questions.base import Planned
from darkknowledge.records import CLASSES, EXAMPLES, HEADLINE, LABELS, DiskError, Store
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


@pytest.fixture
def still(monkeypatch) -> None:
    """What was written a moment ago counts as a file that has been still."""
    monkeypatch.setattr(records, "STILL_SECONDS", 0)


def files(store: Store) -> list[str]:
    return sorted(p.name for p in store.root.rglob("*") if p.is_file())


def test_a_record_is_read_as_it_was_written_and_one_that_is_not_there_is_none(
    store, record, caplog
):
    store.prepare()
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
        store.keep("mnist", {LABELS: b"0123456789"})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in store.root.glob("runs/*/*")}
    assert modes == {0o666 & ~mask}


def test_what_lies_beside_records_of_other_images_under_the_same_name_is_replaced(store, caplog):
    first = {LABELS: b"0011", CLASSES: b"cat\ndog", EXAMPLES: b"one sheet"}
    store.keep("own", first)
    store.keep("own", first | {EXAMPLES: b"the same sheet, by another encoder"})
    assert not caplog.text and store.examples_path("own").read_bytes() == b"one sheet"
    store.keep("own", first | {CLASSES: b"fox\nhen", EXAMPLES: b"another"})
    assert "is replaced" in caplog.text and store.classes("own") == ("fox", "hen")
    assert store.examples_path("own").read_bytes() == b"another"


def test_students_of_a_teacher_that_diverged_have_diverged_too(store):
    teacher = small_run(seed=100)
    note = {"run_id": teacher.run_id, "spec": teacher.full(), "reason": "It is not finite."}
    store.write_diverged("mnist5k", note)
    plans = [Planned("q2", "f", arm, 0, spec) for arm, spec in
             (("teacher", teacher), ("kd", student(teacher)), ("hard", small_run()))]  # fmt: skip
    frame = store.with_numbers(pd.DataFrame([one.row() for one in plans]))
    assert frame["diverged"].tolist() == [True, True, False]


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[1, 2]",
        b"3",
        b'{"run_id": "0", "format": 1}',
        b"\xff\xfe\x00",
        b"[" * 200_000,
    ],
)
def test_a_broken_record_is_named_once_and_can_be_set_aside(stored, still, caplog, content):
    path = stored.record_path("mnist", ID)
    path.write_bytes(content)
    assert [stored.read("mnist", ID) for _ in range(3)] == [None] * 3
    [warning] = caplog.records
    assert warning.levelname == "WARNING" and str(path) in caplog.text
    stored.set_aside("mnist", ID)
    assert files(stored) == [f"{ID}.json.broken"]
    assert path.with_name(f"{ID}.json.broken").read_bytes() == content  # for whoever asks


@pytest.mark.parametrize("name", [f"{ID}.json", LABELS])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(stored, still, caplog, name):
    path = stored.labels_path("mnist").with_name(name)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if name == LABELS:
        with pytest.raises(records.RecordError, match=f"{LABELS} does not fit"):
            stored.labels("mnist")
    else:
        assert stored.read("mnist", ID) is None and "no regular file" in caplog.text
        (path := stored.table_path("p", "q1")).parent.mkdir()
        os.mkfifo(path)
        with pytest.raises(records.RecordError, match=r"q1\.csv .*no regular file"):
            stored.read_table("p", "q1")


def test_a_record_of_another_run_or_another_format_is_refused(stored, monkeypatch, caplog):
    other = "f" * 16
    stored.record_path("mnist", other).write_bytes(stored.record_path("mnist", ID).read_bytes())
    assert stored.read("mnist", other) is None and other in caplog.text
    caplog.clear()
    monkeypatch.setattr(records, "FORMAT", records.FORMAT + 1)
    assert stored.read("mnist", ID) is None and ID in caplog.text


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
    numbers = {"validation_errors": 7, "test_errors": 7, "test_accuracy": 0.93, "nll": 0.1,
               "ece": 0.02, "teacher_agreement": math.nan, "seconds": 1.0}  # fmt: skip
    assert found.loc[0, list(HEADLINE)].to_dict() == pytest.approx(numbers, nan_ok=True)
    assert found["record"][0]["predictions"] == "0123" * 25 and found["record"][1] is None
    assert len(found) == 2 and found.loc[1, list(HEADLINE)].isna().all()
    assert found["run_id"].tolist() == [ID, "12345678901234e5"]
    assert found["omitted"].tolist() == ["", "3"]
    assert found["pair"].tolist() == ["", ""]
    assert found["temperature"].tolist() == [20.0, 20.0]


def test_a_file_is_read_once_as_long_as_it_stays_as_it_is_and_again_when_it_changes(
    stored, still, caplog, monkeypatch
):
    """Not at once: two changes within a tick of the file system's clock look like one."""
    assert stored.read("mnist", ID) is stored.read("mnist", ID)
    with monkeypatch.context() as patch:
        patch.setattr(records, "STILL_SECONDS", 3600)
        fresh = Store(stored.root)
        assert fresh.read("mnist", ID) is not fresh.read("mnist", ID)
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
