"""A run is identified by what it computes, and a setting that no run can have is refused."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re

import pytest

from conftest import small_grid, small_run
from darkknowledge import data, models, spec
from darkknowledge.losses import LOSSES
from darkknowledge.spec import DataSpec, LossSpec, ModelSpec, Recipe, RunSpec, SpecError

PRINT = "0" * 64


def altered(value):
    """Some other value of the same type."""
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, 7)
    return value + 1


def with_field(run: RunSpec, path: tuple[str, ...], change=altered) -> RunSpec:
    """A copy of ``run`` in which the field at ``path`` is another, unchecked."""
    result, (name, *rest) = copy.copy(run), path
    old = getattr(result, name)
    new = with_field(old, tuple(rest), change) if rest else change(old)
    object.__setattr__(result, name, new)
    vars(result).pop("run_id", None)  # a spec remembers it
    return result


def leaves(value, path=()) -> list[tuple[str, ...]]:
    """Paths of all fields that are no dataclasses themselves."""
    found = []
    for field in dataclasses.fields(value):
        item, here = getattr(value, field.name), (*path, field.name)
        if dataclasses.is_dataclass(item):
            found += leaves(item, here)
        elif item is not None:
            found.append(here)
    return found


STUDENT = small_grid()[2]


def test_run_id_is_the_hash_of_the_canonical_spec_written_by_hand():
    run = RunSpec(DataSpec("mnist", PRINT, 5000), ModelSpec("mlp", (800, 800)), seed=3,
                  recipe=Recipe("sgd", 0.1, 60, 128))  # fmt: skip
    canonical = {
        "data": {"fingerprint": PRINT, "name": "mnist", "validation": 5000},
        "model": {"hidden": [800, 800], "name": "mlp"},
        "recipe": {"batch_size": 128, "epochs": 60, "lr": 0.1, "optimiser": "sgd"},
        "recipe_version": spec.RECIPE_VERSION,
        "seed": 3,
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    assert run.run_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_fields_at_their_default_stay_out_of_the_canonical_spec_but_not_out_of_the_full_one():
    run = small_run(precision="bf16")
    assert set(run.canonical()) == {"data", "model", "recipe", "seed", "recipe_version"}
    assert set(run.full()) == {f.name for f in dataclasses.fields(RunSpec)}
    assert set(run.full()["recipe"]) == {f.name for f in dataclasses.fields(Recipe)}
    assert small_run(precision="bf16", momentum=0.9, max_norm=0) == run


def test_run_id_does_not_depend_on_how_a_value_is_spelled():
    def run(temperature, hidden, omit, lr):
        return small_run(
            data=DataSpec("mnist", PRINT, 50, omit=omit),
            model=ModelSpec("mlp", hidden),
            loss=LossSpec("uniform_teacher", temperature, 1, 1),
            lr=lr,
        ).run_id

    assert run(20, [16], [3, 7], 1) == run(20.0, (16,), (7, 3), 1.0)


def test_alpha_is_shorthand_for_the_two_weights():
    assert LossSpec.mix("kd", 4, 0.9) == LossSpec("kd", 4.0, w_hard=0.1, w_soft=0.9)
    assert LossSpec.mix("kd", 4, 1) == LossSpec("kd", 4.0, w_hard=0.0, w_soft=1.0)


@pytest.mark.parametrize("path", leaves(STUDENT), ids=".".join)
def test_each_field_of_a_run_and_of_its_teacher_changes_the_run_id(path):
    assert with_field(STUDENT, path).run_id != STUDENT.run_id


def test_having_a_teacher_changes_the_run_id():
    assert with_field(STUDENT, ("teacher",), lambda teacher: None).run_id != STUDENT.run_id


def test_the_teacher_stands_in_the_spec_by_its_run_id_alone():
    assert STUDENT.canonical()["teacher"] == STUDENT.full()["teacher"] == STUDENT.teacher.run_id


def test_no_field_of_a_spec_is_a_path():
    for part in (DataSpec, ModelSpec, Recipe, LossSpec, RunSpec):
        for field in dataclasses.fields(part):
            assert "Path" not in str(field.type)
            assert not re.search(r"path|folder|root|dir|file|host", field.name)


def test_the_names_that_a_spec_allows_are_those_that_the_code_knows():
    assert set(spec.MODES) == set(LOSSES)
    assert set(spec.TEACHER_MODES) <= set(spec.MODES)
    assert set(spec.DATASETS) == set(data.FINGERPRINTS) == set(data._LOADERS) == set(data.SOURCES)
    assert set(spec.AUGMENTATIONS) == set(data.AUGMENT)


@pytest.mark.parametrize("name", spec.MODELS)
def test_every_model_that_a_spec_allows_can_be_built(name):
    hidden = {"mlp": (8,), "airbench": (8, 8, 8)}.get(name, ())
    net = models.build(ModelSpec(name, hidden), (3, 32, 32), 10, seed=0)
    assert sum(p.numel() for p in net.parameters()) > 10


def digits(**changes):
    return DataSpec(**dict(name="mnist", fingerprint=PRINT, validation=50) | changes)


def kd(temperature=4, **changes):
    return LossSpec("kd", temperature, **dict(w_hard=0.1, w_soft=0.9) | changes)


#: parameter named in the message → what a user may get wrong about it
BAD = [
    ("temperature", lambda: kd(0)),
    ("temperature", lambda: kd(-1)),
    ("temperature", lambda: kd(float("nan"))),
    ("temperature", lambda: kd(float("inf"))),
    ("temperature", lambda: kd(10**400)),
    ("temperature", lambda: kd("20")),
    ("temperature", lambda: kd(True)),
    ("temperature", lambda: kd(None)),
    ("temperature", lambda: kd([4, 8])),
    ("temperature", lambda: LossSpec("hard", temperature=4)),
    ("w_soft", lambda: LossSpec("hard", w_soft=0.5)),
    ("w_soft", lambda: kd(w_soft=-0.1)),
    ("w_hard", lambda: kd(w_hard=float("nan"))),
    ("w_hard", lambda: kd(w_hard=0, w_soft=0)),
    ("alpha", lambda: LossSpec.mix("kd", 4, 1.01)),
    ("alpha", lambda: LossSpec.mix("kd", 4, -0.01)),
    ("alpha", lambda: LossSpec.mix("kd", 4, float("nan"))),
    ("mode", lambda: LossSpec("label-smoothing")),
    ("mode", lambda: LossSpec(["kd"])),
    ("dataset", lambda: digits(name="minst")),
    ("fingerprint", lambda: digits(fingerprint="")),
    ("validation", lambda: digits(validation=0)),
    ("validation", lambda: digits(validation=0.1)),
    ("omit", lambda: digits(omit=(10,))),
    ("keep", lambda: digits(keep=(7, 11))),
    ("omit", lambda: digits(omit=(-1,))),
    ("omit", lambda: digits(omit=(3, 3))),
    ("omit", lambda: digits(omit=3)),
    ("omit", lambda: digits(omit="[3]")),
    ("omit", lambda: digits(omit=tuple(range(10)))),
    ("keep", lambda: digits(omit=(3,), keep=(7,))),
    ("classes", lambda: digits(classes=1)),
    ("model", lambda: ModelSpec("mlpp", (8,))),
    ("hidden", lambda: ModelSpec("mlp", (800, 0))),
    ("hidden", lambda: ModelSpec("mlp", 800)),
    ("hidden", lambda: ModelSpec("mlp", (800.0,))),
    ("dropout_input", lambda: ModelSpec("mlp", (8,), dropout_input=1)),
    ("dropout_hidden", lambda: ModelSpec("mlp", (8,), dropout_hidden=-0.1)),
    ("optimiser", lambda: small_run(optimiser="adamW")),
    ("schedule", lambda: small_run(schedule="onecycle")),
    ("augmentation", lambda: small_run(augmentation="jiter")),
    ("lr", lambda: small_run(lr="1e-3")),
    ("lr", lambda: small_run(lr=0)),
    ("epochs", lambda: small_run(epochs=-1)),
    ("epochs", lambda: small_run(epochs=1.5)),
    ("batch_size", lambda: small_run(batch_size=0)),
    ("momentum", lambda: small_run(momentum=1)),
    ("weight_decay", lambda: small_run(weight_decay=-0.1)),
    ("max_norm", lambda: small_run(max_norm=float("inf"))),
    ("seed", lambda: small_run(seed=-1)),
    ("seed", lambda: small_run(seed=True)),
    ("precision", lambda: small_run(precision="fp64")),
    ("device", lambda: small_run(device="gpu")),
    ("teacher", lambda: small_run(loss=kd())),
    ("teacher", lambda: small_run(teacher=small_run(seed=1))),
    ("teacher_view", lambda: LossSpec("kd", 4, 0, 1, "other")),
    (
        "teacher_view",
        lambda: small_run(loss=LossSpec("kd", 4, 0, 1, "independent"), teacher=small_run(seed=1)),
    ),
]


@pytest.mark.parametrize(("name", "make"), BAD, ids=[f"{i}-{b[0]}" for i, b in enumerate(BAD)])
def test_a_bad_setting_is_refused_in_one_sentence_that_names_it(name, make):
    with pytest.raises(SpecError) as caught:
        make()
    message = str(caught.value)
    assert name in message
    assert "-inf" not in message  # "at least -inf" helps nobody
    sentence = re.sub(r" Did you mean '\w+'\?$", "", message)
    assert sentence.endswith(".") and "\n" not in sentence
    assert not re.search(r"[.?!] [A-Z]", sentence)


@pytest.mark.parametrize(
    ("make", "meant"),
    [
        (lambda: LossSpec("label-smoothing"), "label_smoothing"),
        (lambda: digits(name="minst"), "mnist"),
        (lambda: ModelSpec("mpl"), "mlp"),
        (lambda: small_run(optimiser="adamW"), "adamw"),
        (lambda: small_run(schedule="onecycle"), "one_cycle"),
    ],
)
def test_a_misspelled_name_is_answered_with_the_nearest_one(make, meant):
    with pytest.raises(SpecError, match=f"Did you mean '{meant}'"):
        make()


def test_a_number_that_yaml_took_for_text_is_explained():
    with pytest.raises(SpecError, match=r"in YAML write 1\.0e-3, not 1e-3"):
        small_run(lr="1e-3")
