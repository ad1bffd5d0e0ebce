"""A record that contradicts its type, itself, its teacher's or its table's words is refused by name,
however good its checksum: whoever forges one below renews that."""

import contextlib
import copy
import dataclasses
import functools
import json
import math
import operator
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conftest import REPOSITORY, small_grid, small_run, synthetic_data, whole_record
from darkknowledge import cli, layout, study
from darkknowledge.experiment import run, survey
from darkknowledge.layout import SHIFTS, Record
from darkknowledge.paper.paper import Paper
from darkknowledge.questions import params
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import LABELS, SETTINGS, RecordError, Store, checksum
from darkknowledge.spec import RunSpec
from fabricated import results

TRUTH = "".join(random.Random(1).choices("0123456789", k=200))


def wrong_on(spec: RunSpec, count: int) -> str:
    wrong = set(random.Random(spec.run_id).sample(range(len(TRUTH)), count))
    return "".join(str((int(c) + (i in wrong)) % 10) for i, c in enumerate(TRUTH))


def record_of(spec: RunSpec, errors: int = 30) -> dict:
    record = whole_record(spec, wrong_on(spec, errors), TRUTH, wrong_on(spec, errors // 2))
    return json.loads(json.dumps(record | {"format": 1, "checksum": "ab"}))  # nothing stands twice


@pytest.fixture
def stored(store: Store) -> Store:
    """Two whole records, and the labels of their data set."""
    for seed in (0, 1):
        store.write("mnist5k", record_of(small_run(seed=seed)))
    store.keep("mnist5k", {LABELS: TRUTH.encode()})
    return store


# -- with itself ------------------------------------------------------------------------------------

#: A student that has a teacher and lacks two classes.
SPEC = dataclasses.replace(small_grid()[2], data=synthetic_data(omit=(3, 7)))


MATRICES = (("validation",), ("test",), *(("unseen", shift) for shift in SHIFTS))
#: The way to numbers that follow from others.
DERIVED = [
    *((part, key) for part in ("validation", "test") for key in ("n", "errors", "accuracy")),
    *(("unseen", shift, key) for shift in SHIFTS for key in ("errors", "errors_unseen")),
    *((*m, "confusion", i, j) for m in MATRICES for i in (0, 3, 9) for j in (0, 3, 9)),
    *(("unseen", "images"), ("unseen", "classes", 1), ("history", "epoch", 0)),
]


def inside(record: dict, way: tuple) -> Any:
    return functools.reduce(operator.getitem, way, record)


@pytest.mark.parametrize("way", DERIVED, ids=lambda way: ".".join(map(str, way)))
def test_no_number_that_follows_from_others_can_be_another(way):
    record = record_of(SPEC)
    for labels in (TRUTH, ""):
        layout.check(record, Record, labels)
        for step in (1, -1, 0.25) if way[-1] == "accuracy" else (1, -1, 100):
            forged = copy.deepcopy(record)
            inside(forged, way[:-1])[way[-1]] += step
            with pytest.raises(ValueError, match=way[0]):
                layout.check(forged, Record, labels)


def move(record: dict, part: str, cell: tuple[int, int], to: tuple[int, int]) -> None:
    matrix = inside(record, (*part.split("."), "confusion"))
    matrix[cell[0]][cell[1]] -= 1
    matrix[to[0]][to[1]] += 1


def recount(record: dict, part: str) -> None:
    """Let errors and accuracy follow from a confusion."""
    matrix = record[part]["confusion"]
    n, right = sum(map(sum, matrix)), sum(matrix[c][c] for c in range(10))
    record[part] |= {"n": n, "errors": n - right, "accuracy": 1 - (n - right) / n}


#: Forgeries that change several numbers, or none: what each is refused for.
FORGERIES: dict[str, tuple[Callable[[dict], object], str]] = {
    "fewer errors": (
        lambda r: (move(r, "test", (0, 1), (0, 0)), recount(r, "test")), "predictions"),
    "a prediction changed": (lambda r: r.update(predictions="9" * 200), "predictions"),
    "no prediction": (lambda r: r.update(predictions=""), "predictions"),
    "no digits": (lambda r: r.update(predictions="\x01" * 200), "predictions"),
    "validation": (lambda r: move(r, "validation", (0, 1), (0, 0)), "validation.errors"),
    "less validation": (lambda r: (r["validation"]["confusion"][0].__setitem__(0, 1),
                                   recount(r, "validation")), "validation.n"),
    "a matrix cut": (lambda r: r["test"]["confusion"].pop(), "test.confusion"),
    "a row cut": (lambda r: r["test"]["confusion"][4].pop(), "test.confusion"),
    "no image": (lambda r: r["unseen"]["none"].update(confusion=[[0] * 10] * 10), "unseen.none"),
    "a shift's matrix": (lambda r: move(r, "unseen.oracle", (3, 3), (3, 4)), "unseen.oracle"),
    "a shift's images": (lambda r: move(r, "unseen.oracle", (3, 3), (4, 4)), "unseen.oracle"),
    "seen after all": (lambda r: r.update(unseen=None), "unseen"),
    "other classes": (lambda r: r["unseen"].update(classes=[2, 7]), "unseen.classes"),
    "an epoch less": (lambda r: [v.pop() for v in r["history"].values()], "history"),
    "an epoch more": (lambda r: [v.append(v[-1]) for v in r["history"].values()], "history"),
    "logits cut": (lambda r: r["test"]["mean_logits"].pop(), "test.mean_logits"),
    "logits of a class cut": (lambda r: r["test"]["mean_logits"][3].pop(), "test.mean_logits"),
    "nobody's agreement": (lambda r: r["test"].update(teacher_agreement=None), "spec.teacher"),
    "a curve cut": (lambda r: r["history"]["seconds"].pop(), "history"),
    "no teacher": (lambda r: r.update(teacher_weights_sha256=None), "teacher_weights_sha256"),
}  # fmt: skip


@pytest.mark.parametrize("how", FORGERIES)
def test_a_record_that_contradicts_itself_is_named_and_set_aside(stored, caplog, how):
    (forge, says), record = FORGERIES[how], record_of(SPEC)
    stored.write("mnist5k", record)
    assert stored.read("mnist5k", SPEC.run_id)
    forge(record)
    written = stored.write("mnist5k", record)
    assert written["checksum"] == checksum(dict(written))
    assert stored.read("mnist5k", SPEC.run_id) is None
    path = stored.record_path("mnist5k", SPEC.run_id)
    [warning] = caplog.records
    assert str(path) in warning.getMessage() and says in warning.getMessage()
    stored.labels_path("mnist5k").unlink()  # predictions are counted where no labels are here
    assert Store(stored.root).read("mnist5k", SPEC.run_id) is None
    stored.set_aside("mnist5k", SPEC.run_id)
    assert not path.exists() and path.with_name(f"{path.name}.broken").exists()


def test_labels_that_none_of_the_records_bears_out_are_at_fault_themselves(stored, caplog):
    """They are refused by whoever needs them, and the records stay: training puts them right."""
    path = stored.labels_path("mnist5k")
    for content in (TRUTH[::-1], TRUTH[1:], TRUTH + "0", "", "x" * len(TRUTH), "\u0663" * 200):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(RecordError, match=rf"{LABELS} does not fit .* copy it again") as error:
            stored.labels("mnist5k")
        assert "\n" not in str(error.value)
        assert stored.read("mnist5k", small_run().run_id)
    assert not caplog.records  # no record is suspected
    path.write_text(TRUTH + "\n", encoding="utf-8")
    assert stored.labels("mnist5k") == TRUTH
    path.unlink()
    with pytest.raises(RecordError, match=r"mnist5k/test_labels\.txt"):
        stored.labels("mnist5k")


@given(st.data())
def test_predictions_fit_labels_exactly_if_they_make_the_confusion(data):
    classes = data.draw(st.sampled_from([2, 10, 11, 101]))
    width, one = len(str(classes - 1)), st.integers(0, classes - 1)
    pairs = data.draw(st.lists(st.tuples(one, one), min_size=1, max_size=40))

    def fits(pairs, counts) -> bool:
        sides = zip(*pairs, strict=True)
        labels, called = ("".join(f"{c:0{width}}" for c in side) for side in sides)
        matrix = [[counts[i, j] for j in range(classes)] for i in range(classes)]
        return layout.fits({"test": {"confusion": matrix}, "predictions": called}, labels)

    assert fits(pairs, Counter(pairs))
    place, other = data.draw(st.integers(0, len(pairs) - 1)), data.draw(st.tuples(one, one))
    assume(other != pairs[place])
    assert not fits([*pairs[:place], other, *pairs[place + 1 :]], Counter(pairs))
    assert not fits([*pairs, other], Counter(pairs))
    assert not fits(pairs, Counter([*pairs, other]))


def test_every_stored_record_agrees_with_itself_and_with_its_teachers(caplog):
    store = Store(REPOSITORY / "results")
    for path in store.root.glob("runs/*/*.json"):
        assert store.consistent(path.parent.name, path.stem), path
    for path in store.root.glob("diverged/*/*.json"):
        assert store.diverged(path.parent.name, path.stem), path
    assert not caplog.records


# -- with its type -----------------------------------------------------------------------------------

#: What the oldest records lack.
LATER = (("soft_targets",), ("unseen",), ("test_int8",), ("provenance", "processor"))


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
    found = record_of(SPEC)
    inside(found, way[:-1])[way[-1]] = value
    return found


def test_a_record_as_runs_write_it_is_laid_out_as_its_type_says(store, synthetic):
    for spec in small_grid():
        run.execute(spec, store)
        written = json.loads(store.record_path(spec.data.name, spec.run_id).read_text())
        layout.check(written, Record)
        assert set(written) == set(Record.__annotations__)  # nothing is left undocumented


@pytest.mark.parametrize(
    "way", list(places(record_of(SPEC))), ids=lambda way: ".".join(map(str, way))
)
def test_a_value_of_another_type_or_none_is_refused_by_name_unless_old_records_lack_it(way):
    now = inside(record_of(SPEC), way)
    odd = "words" if not isinstance(now, str) else 3
    for value in (odd, 3 if now is True else True, {"a": 1}, [["b"]], 10**400):
        with pytest.raises(ValueError, match=str(way[0])) as error:
            layout.check(changed(way, value), Record)
        assert len(str(error.value)) < 120
    if isinstance(way[-1], str):
        found = record_of(SPEC)
        del inside(found, way[:-1])[way[-1]]
        old = way in LATER or way[:2] == ("provenance", "versions") != way
        with contextlib.nullcontext() if old else pytest.raises(ValueError, match=way[-1]):
            layout.check(found, Record)


#: Numbers that must be finite, that are not negative, and that are shares.
FINITE = (
    "test.nll validation.ece history.loss_hard.1 history.validation_accuracy.0 cost.flops "
    "provenance.seconds unseen.none.bias test.mean_logits.3.3 soft_targets.entropy"
)
AMOUNTS = "test.nll cost.flops cost.bytes_fp16 provenance.images_per_second history.seconds.1"
SHARES = "test.ece test.teacher_agreement validation.ece validation.teacher_agreement"


@pytest.mark.parametrize(
    ("way", "value", "says"),
    [
        ("provenance.finished", "yesterday", "yesterday"),
        ("provenance.finished", "2026-01-01T00:00:00", "time zone"),
        ("unseen.images", 0, "images"),
        ("test.nll", None, "test.nll"),
        *(
            (way, x, way.split(".")[0])
            for way in FINITE.split()
            for x in (math.nan, math.inf, -math.inf)
        ),
        *((way, -1, way.split(".")[0]) for way in AMOUNTS.split()),
        *(
            (way, x, r"\.ece or its teacher_agreement")
            for way in SHARES.split()
            for x in (-0.1, 1.5)
        ),
        *(("test_int8.errors", x, "test_int8.errors") for x in (-1, 201)),
        *(
            (f"soft_targets.{way}", x, "soft_targets")
            for way, x in (("images", -1), ("entropy", -0.1), ("entropy", 2.31))
        ),
        *((way, 0, "less than 1") for way in ("cost.parameters", "provenance.training_images")),
        *(
            (way, "ab", f"^{way} is no SHA-256")
            for way in ("weights_sha256", "teacher_weights_sha256")
        ),
        ("history.validation_accuracy.0", 1.01, "history.validation_accuracy"),
        ("provenance.training_seconds", 2.5, "provenance.seconds are fewer"),
        ("unseen.none.bias", 1.0, "unseen.none is not what test says"),
        ("history.epoch", [1, 2.0], "epoch"),
        ("soft_targets", None, ""),  # null stands where it may, a whole number for a number
        ("test.teacher_kl", None, ""),
        ("test.nll", 1, ""),
        ("history.loss_hard", [1, 0.5], ""),
    ],
)
def test_a_value_that_no_run_can_have_is_refused_and_another_spelling_is_not(way, value, says):
    place = [int(part) if part.isdigit() else part for part in way.split(".")]
    with pytest.raises(ValueError, match=says) if says else contextlib.nullcontext():
        layout.check(changed(place, value), Record)


# -- with its teacher's, and with the table ---------------------------------------------------------


@pytest.fixture(scope="module")
def study_of_two(tmp_path_factory) -> Store:
    return results(tmp_path_factory.mktemp("study") / "results", "quick")


def specs_of(question: str) -> list[RunSpec]:
    return survey.specs(QUESTIONS[question].grid(params.read("quick", question)))


@pytest.mark.slow
@pytest.mark.parametrize("question", ["q2", "q4"])
def test_a_teacher_of_other_weights_is_refused_by_all_who_show_or_count_its_students(
    study_of_two, question, capsys
):
    store, chosen = study_of_two, params.read("quick", question)
    taught = {spec.teacher.run_id: spec for spec in specs_of(question) if spec.teacher}
    assert len(taught) > 1
    for teacher, student in taught.items():
        readers = [
            lambda student=student: survey.survey([student, student.teacher], Store(store.root)),
            lambda: Store(store.root).read_table("quick", question),
            lambda: study.table(question, chosen, Store(store.root)),
            lambda: Paper.load("quick", store.root),
        ]
        whole = store.record_path("mnist5k", teacher).read_bytes()
        store.write("mnist5k", store.read("mnist5k", teacher) | {"weights_sha256": "c" * 64})
        for refuse in readers:
            with pytest.raises(RecordError, match="other weights .* copy both again") as error:
                refuse()
            assert f"{teacher}.json" in str(error.value)
        for command in ("status", "claims") if teacher == [*taught][0] else ():
            with pytest.raises(SystemExit) as left:
                cli.main([command, "quick", question, "--results", str(store.root)])
            assert left.value.code not in (0, None)
            [said] = capsys.readouterr().err.splitlines()
            assert f"{teacher}.json" in said
        store.record_path("mnist5k", teacher).write_bytes(whole)
    for fine in readers:
        fine()


def test_an_agreement_that_the_stored_predictions_do_not_make_is_refused(study_of_two):
    """By more than one image, which another machine may round otherwise."""
    student = next(spec for spec in specs_of("q2") if spec.teacher)
    whole = study_of_two.read("mnist5k", student.run_id)
    share = whole["test"]["teacher_agreement"]
    try:
        for off, fine in ((1, True), (2, False)):
            test = whole["test"] | {"teacher_agreement": share - off / 1000}
            study_of_two.write("mnist5k", whole | {"test": test})
            refused = pytest.raises(RecordError, match="other predictions of its teacher")
            with contextlib.nullcontext() if fine else refused:
                assert study_of_two.consistent("mnist5k", student.run_id)
    finally:
        study_of_two.write("mnist5k", whole)


def test_a_student_whose_teacher_has_no_record_here_is_read(study_of_two, tmp_path):
    store, student = Store(tmp_path), next(spec for spec in specs_of("q2") if spec.teacher)
    store.write("mnist5k", study_of_two.read("mnist5k", student.run_id))
    assert store.consistent("mnist5k", student.run_id)


@pytest.mark.slow
@pytest.mark.parametrize("column", [*SETTINGS, "teacher_run_id"])
def test_a_table_that_says_another_setting_than_the_record_is_refused(study_of_two, column):
    frame = study.table("q4", params.read("quick", "q4"), study_of_two).drop(columns="record")
    taught = frame["teacher_run_id"] != ""
    others = {"dataset": "mnist", "omitted": "1 2", "kept": "5", "teacher_run_id": "ab"}
    for row in (taught.idxmax(), taught.idxmin(), len(frame) - 1):  # a student, a teacher, the last
        forged, value = frame.astype({column: object}), frame[column][row]
        other = others.get(column, "x" if isinstance(value, str) else 7777.0)
        if not isinstance(value, (str, float)):
            other = not value if column in ("complement", "unlabelled", "noise") else 7777
        forged.at[row, column] = other
        study_of_two.write_table("forged", "q4", forged)
        with pytest.raises(RecordError, match=rf"q4\.csv says that {column} of the run") as error:
            study_of_two.read_table("forged", "q4")
        assert frame["run_id"][row] in str(error.value)
        assert "'darkknowledge train forged q4', which writes it anew" in str(error.value)


@pytest.mark.slow
def test_a_table_that_gives_runs_other_parts_than_the_plan_is_refused(study_of_two):
    path = study_of_two.table_path("quick", "q2")
    whole = path.read_text(encoding="utf-8")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    hard, kd = ((frame["arm"] == arm).idxmax() for arm in ("hard", "kd"))

    def swapped(column: str) -> pd.DataFrame:
        changed = frame.copy()
        changed.loc[[hard, kd], column] = frame.loc[[kd, hard], column].to_numpy()
        return changed

    try:
        for changed, says in (
            *((swapped(column), "otherwise than") for column in ("arm", "role", "pair")),
            (frame.assign(block=frame["block"].replace("0", "77")), "otherwise than"),
            (frame.assign(family=frame["family"].replace("rivals", "x")), "otherwise than"),
            (frame.drop(index=kd), "otherwise than"),
            (pd.concat([frame, frame.loc[[kd]]]), "twice"),
            (pd.concat([frame, frame.loc[[kd]].assign(run_id="0" * 16)]), "otherwise than"),
        ):
            changed.to_csv(path, index=False)
            with pytest.raises(RecordError, match=rf"q2\.csv .*{says}.*train quick q2'") as error:
                Paper.load("quick", study_of_two.root)
            assert "\n" not in str(error.value)
    finally:
        path.write_text(whole, encoding="utf-8")
    assert Paper.load("quick", study_of_two.root).claims


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_what_a_table_says_tells_all_runs_of_a_profile_apart(profile):
    found: dict[tuple, set[str]] = {}
    for question in params.questions_of(profile):
        for planned in QUESTIONS[question].grid(params.read(profile, question)):
            row = planned.row()
            said = tuple(str(row[column]) for column in (*SETTINGS, "teacher_run_id"))
            found.setdefault(said, set()).add(row["run_id"])
    assert {len(ids) for ids in found.values()} == {1}
