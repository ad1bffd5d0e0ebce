"""Learning curves: every run that has one is drawn and named, and none that has none stops the others."""

from __future__ import annotations

import struct
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

import small_project
from conftest import small_run, whole_record
from darkknowledge.paper import curves
from darkknowledge.questions.base import Planned
from darkknowledge.records import Store

MAGIC = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def planned(project) -> list[Planned]:
    """The runs of the quick profile's second question, all of them with records but for the last, and
    the last but one, which diverged."""
    every = [one for one in small_project.planned(project, "quick") if one.question == "q2"]
    with small_project.inside(project):
        found = curves.rows("quick", ["q2"], Store(project / "results"))
        store = Store(project / "results")
        shown = {row["run_id"] for row in found}
    chosen = [one for one in small_project.planned(project, "quick") if one.spec.run_id in shown]
    assert every and len(chosen) > 10
    for one in chosen[:-2]:
        store.write(one.spec.data.name, whole_record(one.spec))
    lost = chosen[-2].spec
    note = {
        "run_id": lost.run_id,
        "label": lost.label,
        "spec": lost.full(),
        "reason": "It diverged.",
    }
    store.write_diverged(lost.data.name, note)
    return chosen


@pytest.fixture(scope="module")
def found(project, planned) -> list[curves.Curve]:
    with small_project.inside(project):
        store = Store(project / "results")
        return curves.read(curves.rows("quick", ["q2"], store), None, store)[0]


@pytest.mark.slow
@pytest.mark.parametrize("ending", curves.ENDINGS)
def test_a_figure_is_written_as_its_name_ends_and_always_the_same(project, planned, ending):
    contents = []
    for name in ("one", "two"):
        path = project / f"{name}{ending}"
        done = small_project.here(project, "curves", "quick", "q2", "--to", str(path))
        assert done.stdout == f"{path}\n"
        assert done.stderr == "Not shown: 1 run without a record yet, 1 run diverged.\n"
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] and contents[0].startswith(MAGIC[ending])


def test_without_a_name_it_lies_where_a_profile_is_rendered(project, planned):
    run_id = planned[0].spec.run_id
    done = small_project.here(project, "curves", "quick", "q2", "--run", run_id[:8])
    path = project / "_output" / "quick" / "curves.svg"
    assert done.stdout == f"{path}\n" and path.read_bytes().startswith(b"<?xml") and not done.stderr


def test_every_run_is_a_line_and_every_variant_has_a_name_of_its_own(found):
    drawn = curves.figure(found)
    rows = Counter((curve.dataset, curve.network) for curve in found)
    accuracy = [axis for axis in drawn.axes if "accuracy" in axis.get_ylabel()]
    assert sorted(len(axis.lines) for axis in accuracy) == sorted(rows.values())
    named = [text.get_text() for axis in accuracy for text in axis.texts]
    variants = {(curve.network, curve.variant) for curve in found}
    assert len(named) == len(variants)
    assert {"teacher", "hard labels", "distilled"} <= set(named)
    soft = [axis for axis in drawn.axes if axis.lines and "soft part" in axis.get_ylabel()]
    assert sum(len(axis.lines) for axis in soft) < sum(rows.values())  # hard labels have none


def test_names_tell_the_settings_that_differ_within_an_arm(project, planned):
    """Two temperatures of one arm are told apart; what all runs of an arm share is left out."""
    hot, cold, hard = (
        curves.Variant(arm, (temperature, "α = 0.9"))
        for arm, temperature in (("kd", "T = 20"), ("kd", "T = 4"), ("hard", ""))
    )
    looks = curves._looks([hot, cold, hard])
    assert looks[hot].name == "distilled, T = 20" and looks[cold].name == "distilled, T = 4"
    assert looks[hard].name == "hard labels"
    assert len({look.colour for look in looks.values()}) == 3


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=20))
def test_names_never_stand_upon_each_other_nor_outside(places):
    found = curves.spread(sorted(places), 0.05)
    assert all(b - a > 0.05 - 1e-9 for a, b in zip(found, found[1:], strict=False))
    assert found[0] > -1e-9 and found[-1] < 1 + 1e-9


def test_an_untrained_run_has_no_curve_and_one_epoch_is_a_point(tmp_path):
    store = Store(tmp_path)
    listed = []
    for epochs in (0, 1):
        spec = small_run(epochs=epochs)
        store.write(spec.data.name, whole_record(spec))
        part = {"question": "q2", "arm": "hard", "dataset": "mnist5k", "teacher_run_id": ""}
        listed.append({**part, "run_id": spec.run_id})
    found, without = curves.read(listed, None, store)
    assert len(found) == 1 and without == {curves.UNTRAINED: 1}
    assert curves.figure(found).axes[-1].lines[0].get_marker() == "."


def refused(project: Path, *words: str) -> str:
    done = small_project.here(project, "curves", *words, code=2)
    assert not done.stdout and done.stderr.count("\n") == 1
    return done.stderr


def test_what_cannot_be_drawn_is_refused_in_one_sentence(project, planned, tmp_path):
    assert "Did you mean 'quick'" in refused(project, "quik")
    assert "question" in refused(project, "quick", "q9")
    assert ".svg, .png, .pdf" in refused(project, "quick", "--to", "curves.gif")
    assert "No run of these" in refused(project, "quick", "q2", "--run", "0000000000000000")
    nothing = ("--results", str(tmp_path))
    assert "darkknowledge train quick" in refused(project, "quick", *nothing)
    lost = planned[-1].spec.run_id
    assert "learning curve yet" in refused(project, "quick", "q2", "--run", lost)


def events(folder: Path) -> list[Event]:
    """What stands in the only event file of a folder: each entry lies between checksums."""
    (path,) = folder.iterdir()
    content, found = path.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return found


@pytest.mark.slow
def test_tensorboard_gets_every_epoch_of_a_run_in_a_folder_of_its_arm(project, planned, found):
    folder = project / "events"
    words = ("curves", "quick", "q2", "--tensorboard", str(folder))
    done = small_project.here(project, *words)
    assert done.stdout == f"{len(found)} runs in {folder}\n"  # and no figure
    places = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    assert places == {f"{curve.variant.arm}/{curve.run_id}" for curve in found}
    curve = found[0]
    told = {}
    for event in events(folder / curve.variant.arm / curve.run_id):
        for value in event.summary.value:
            told[value.tag, event.step] = value.simple_value
    due = {
        (tag, epoch): value
        for tag, key in curves.SCALARS.items()
        for epoch, value in zip(curve.history["epoch"], curve.history[key], strict=True)
    }
    assert told == pytest.approx(due)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    picture = project / "beside.png"
    done = small_project.here(project, *words, "--to", str(picture))
    assert picture.exists() and done.stdout.endswith(f"{picture}\n")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_tensorboardx_it_says_what_to_install(project, planned, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert "tensorboardX" in refused(project, "quick", "q2", "--tensorboard", "events")
