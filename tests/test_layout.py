"""A record that says something of another kind than it should is named, and never used."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest

from conftest import small_grid, synthetic_data, whole_record
from darkknowledge import layout
from darkknowledge.experiment import run
from darkknowledge.layout import Divergence, Record
from darkknowledge.records import checksum

#: It has a teacher, and a class that no training image has.
SPEC = dataclasses.replace(small_grid()[2], data=synthetic_data(omit=(3,)))


#: What the oldest records lack.
LATER = (("soft_targets",), ("unseen",), ("test_int8",), ("provenance", "processor"))


def body() -> dict:
    found = {**whole_record(SPEC), "format": 1, "checksum": "ab"}
    return json.loads(json.dumps(found))  # nothing in it stands in two places


def places(value, way=()):
    """The way to every value of a record but its settings, of which one entry of a list suffices."""
    if way and way[0] == "spec":
        return
    if way:
        yield way
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*way, key))
    elif isinstance(value, list) and value:
        yield from places(value[-1], (*way, len(value) - 1))


def changed(way, value) -> dict:
    found = copy.deepcopy(body())
    inner = found
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = value
    return found


def test_a_record_as_runs_write_it_is_laid_out_as_its_type_says(store, synthetic):
    for spec in small_grid():
        run.execute(spec, store)
        written = json.loads(store.record_path(spec.data.name, spec.run_id).read_text())
        layout.check(written, Record)
        assert set(written) == set(Record.__annotations__)  # nothing is left undocumented


@pytest.mark.parametrize("way", list(places(body())), ids=lambda way: ".".join(map(str, way)))
def test_a_value_of_another_type_is_refused_by_name(way):
    layout.check(body(), Record)
    odd = "words" if not isinstance(at(way), str) else 3
    for value in (odd, 3 if at(way) is True else True, {"a": 1}, [["b"]], 10**400):
        with pytest.raises(ValueError, match=str(way[0])) as error:
            layout.check(changed(way, value), Record)
        assert len(str(error.value)) < 120


def at(way):
    value = body()
    for key in way:
        value = value[key]
    return value


@pytest.mark.parametrize("way", [w for w in places(body()) if isinstance(w[-1], str)], ids=str)
def test_a_value_that_is_not_there_is_refused_by_name_unless_old_records_lack_it(way):
    found = body()
    inner = found
    for key in way[:-1]:
        inner = inner[key]
    del inner[way[-1]]
    if way in LATER or way[:2] == ("provenance", "versions") != way:
        layout.check(found, Record)
        return
    with pytest.raises(ValueError, match=way[-1]):
        layout.check(found, Record)


@pytest.mark.parametrize(
    ("way", "value", "says"),
    [
        (("provenance", "finished"), "yesterday", "yesterday"),
        (("provenance", "finished"), "2026-01-01T00:00:00", "time zone"),
        (("predictions",), "01", "predictions"),
        (("unseen", "images"), 0, "images"),
        (("test", "nll"), None, "test.nll"),
    ],
)
def test_a_value_that_no_run_can_have_is_refused(way, value, says):
    with pytest.raises(ValueError, match=says):
        layout.check(changed(way, value), Record)


def test_null_stands_only_where_it_may():
    for way in (("soft_targets",), ("test", "teacher_agreement")):
        layout.check(changed(way, None), Record)
    with pytest.raises(ValueError, match="unseen"):  # the run leaves out a class
        layout.check(changed(("unseen",), None), Record)


def test_a_whole_number_does_for_a_number_and_not_the_other_way_round():
    layout.check(changed(("test", "nll"), 1), Record)
    layout.check(changed(("history", "loss_hard"), [1, 0.5]), Record)
    with pytest.raises(ValueError, match="epoch"):
        layout.check(changed(("history", "epoch"), [1, 2.0]), Record)


@pytest.mark.parametrize("value", [[], {}, "x", None, 3])
def test_what_is_no_record_at_all_is_refused(value):
    for kind in (Record, Divergence):
        with pytest.raises(ValueError, match="it is not a dict|run_id is missing"):
            layout.check(value, kind)


def test_a_forged_record_is_refused_by_the_store_and_named(store, caplog):
    record = whole_record(SPEC)
    record["provenance"]["images_per_second"] = "many"
    store.write("mnist5k", record)
    path = store.record_path("mnist5k", SPEC.run_id)
    written = json.loads(path.read_text())
    assert written["checksum"] == checksum(written)  # the forgery is a good one
    assert store.read("mnist5k", SPEC.run_id) is None
    assert str(path) in caplog.text and "provenance.images_per_second" in caplog.text
