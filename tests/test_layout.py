"""A record that says something of another kind than it should is named, and never used."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import operator

import pytest

from conftest import small_grid, synthetic_data, whole_record
from darkknowledge import layout
from darkknowledge.experiment import run
from darkknowledge.layout import Divergence, Record

#: It has a teacher, and a class that no training image has.
SPEC = dataclasses.replace(small_grid()[2], data=synthetic_data(omit=(3,)))


#: What the oldest records lack.
LATER = (("soft_targets",), ("unseen",), ("test_int8",), ("provenance", "processor"))


def body() -> dict:
    found = {**whole_record(SPEC), "format": 1, "checksum": "ab"}
    return json.loads(json.dumps(found))  # nothing in it stands in two places


def at(found, way):
    return functools.reduce(operator.getitem, way, found)


def changed(way, value) -> dict:
    found = body()
    at(found, way[:-1])[way[-1]] = value
    return found


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


def test_a_record_as_runs_write_it_is_laid_out_as_its_type_says(store, synthetic):
    for spec in small_grid():
        run.execute(spec, store)
        written = json.loads(store.record_path(spec.data.name, spec.run_id).read_text())
        layout.check(written, Record)
        assert set(written) == set(Record.__annotations__)  # nothing is left undocumented


@pytest.mark.parametrize("way", list(places(body())), ids=lambda way: ".".join(map(str, way)))
def test_a_value_of_another_type_is_refused_by_name(way):
    now = at(body(), way)
    odd = "words" if not isinstance(now, str) else 3
    for value in (odd, 3 if now is True else True, {"a": 1}, [["b"]], 10**400):
        with pytest.raises(ValueError, match=str(way[0])) as error:
            layout.check(changed(way, value), Record)
        assert len(str(error.value)) < 120


@pytest.mark.parametrize("way", [w for w in places(body()) if isinstance(w[-1], str)], ids=str)
def test_a_value_that_is_not_there_is_refused_by_name_unless_old_records_lack_it(way):
    found = body()
    del at(found, way[:-1])[way[-1]]
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
        (("unseen",), None, "unseen"),  # the run leaves out a class
        (("history", "epoch"), [1, 2.0], "epoch"),
        (("soft_targets",), None, ""),  # null stands where it may, a whole number for a number
        (("test", "teacher_kl"), None, ""),
        (("test", "nll"), 1, ""),
        (("history", "loss_hard"), [1, 0.5], ""),
    ],
)
def test_a_value_that_no_run_can_have_is_refused_and_another_spelling_is_not(way, value, says):
    with pytest.raises(ValueError, match=says) if says else contextlib.nullcontext():
        layout.check(changed(way, value), Record)


@pytest.mark.parametrize("kind", [Record, Divergence])
@pytest.mark.parametrize("value", [[], {}, "x", None, 3])
def test_what_is_no_record_at_all_is_refused(value, kind):
    with pytest.raises(ValueError, match="it is not a dict|run_id is missing"):
        layout.check(value, kind)
