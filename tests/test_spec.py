"""A run is identified by what it computes, and a setting that no run can have is refused."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re

import pytest
from torchvision.datasets import FashionMNIST

from conftest import small_grid, small_run
from darkknowledge import spec
from darkknowledge.experiment import data
from darkknowledge.experiment.losses import LOSSES
from darkknowledge.spec import (
    DataSpec,
    LossSpec,
    ModelSpec,
    Recipe,
    RunSpec,
    SpecError,
    class_names,
    data_spec,
)

PRINT = "0" * 64


def altered(value):
    return value + {str: "x", tuple: (7,)}.get(type(value), 1)


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
    text = (
        f'{{"data":{{"fingerprint":"{PRINT}","name":"mnist","validation":5000}},'
        '"model":{"hidden":[800,800],"name":"mlp"},'
        '"recipe":{"batch_size":128,"epochs":60,"lr":0.1,"optimiser":"sgd"},'
        f'"recipe_version":{spec.RECIPE_VERSION},"seed":3}}'
    )
    assert run.run_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_full_spec_names_every_field_also_those_at_their_default():
    full = STUDENT.full()
    assert set(full) == {f.name for f in dataclasses.fields(RunSpec)}
    assert set(full["recipe"]) == {f.name for f in dataclasses.fields(Recipe)}
    assert full["teacher"] == STUDENT.canonical()["teacher"] == STUDENT.teacher.run_id


def test_run_id_does_not_depend_on_how_a_value_is_spelled():
    def run(temperature, hidden, omit, lr):
        return small_run(
            data=DataSpec("mnist", PRINT, 50, omit=omit),
            model=ModelSpec("mlp", hidden),
            loss=LossSpec("uniform_teacher", temperature, 1, 1),
            lr=lr,
        ).run_id

    assert run(20, [16], [3, 7], 1) == run(20.0, (16,), (7, 3), 1.0)
    # alpha is shorthand for the two weights
    assert LossSpec.mix("kd", 4, 0.9) == LossSpec("kd", 4.0, w_hard=0.1, w_soft=0.9)
    assert LossSpec.mix("kd", 4, 1) == LossSpec("kd", 4.0, w_hard=0.0, w_soft=1.0)


@pytest.mark.parametrize("path", leaves(STUDENT), ids=".".join)
def test_each_field_of_a_run_and_of_its_teacher_changes_the_run_id(path):
    assert with_field(STUDENT, path).run_id != STUDENT.run_id
    assert with_field(STUDENT, ("teacher",), lambda teacher: None).run_id != STUDENT.run_id


def test_no_field_of_a_spec_is_a_path():
    for field in (f for part in (DataSpec, ModelSpec, Recipe, LossSpec, RunSpec)
                  for f in dataclasses.fields(part)):  # fmt: skip
        assert "Path" not in str(field.type)
        assert not re.search(r"path|folder|root|dir|file|host", field.name)


def test_the_names_that_a_spec_allows_are_those_that_the_code_knows():
    assert set(spec.MODES) == set(LOSSES) >= set(spec.TEACHER_MODES)
    assert set(spec.FINGERPRINTS) == set(data._LOADERS) == set(data.SOURCES)
    assert set(spec.FINGERPRINTS) == set(spec.CLASS_NAMES)
    assert set(spec.AUGMENTATIONS) == set(data.AUGMENT)
    for name in data.FINGERPRINTS:
        assert re.fullmatch(r"[0-9a-f]{64}|md5:[0-9a-f]{32}", data_spec(name, 500).fingerprint)
    assert len({s.label for s in (*small_grid(), small_run(model=ModelSpec("mlp", (8,))))}) == 4


def test_every_data_set_has_a_name_for_each_of_its_classes():
    """Ten are a spec's default: the addresses of such runs do not tell their number."""
    for name in spec.FINGERPRINTS:
        known, names = data_spec(name, 500), class_names(name)
        assert class_names(known) == names and len(set(names)) == known.classes
        assert ("classes" in small_run(data=known).canonical()["data"]) == (len(names) != 10)
    assert class_names("mnist5k") == tuple("0123456789")
    assert class_names("fashion_mnist") == tuple(FashionMNIST.classes)
    assert class_names("cifar10_jpeg") == class_names("cifar10") == data.CIFAR10_CLASSES
    hundred = class_names("cifar100")
    assert len(hundred) == 100 and list(hundred) == sorted(hundred)
    with pytest.raises(SpecError, match="cifar100"):
        class_names("cifar1000")


def digits(**changes):
    return DataSpec(**dict(name="mnist", fingerprint=PRINT, validation=50) | changes)


def kd(**changes):
    return LossSpec(**dict(mode="kd", temperature=4, w_hard=0.1, w_soft=0.9) | changes)


NAN, INFINITE = float("nan"), float("inf")
ALL = tuple(range(10))
#: What makes something → the parameter that the message names, what a user may get wrong about it, and
#: what else the message says.
BAD = {
    kd: [
        *(("temperature", {"temperature": t}) for t in (0, -1, NAN, INFINITE, 10**400, "20", True,
                                                         None, [4, 8])),
        ("w_soft", {"w_soft": -0.1}), ("w_hard", {"w_hard": NAN}),
        ("w_hard", {"w_hard": 0, "w_soft": 0}),
    ],
    LossSpec: [
        ("temperature", {"temperature": 4}), ("w_soft", {"w_soft": 0.5}), ("mode", {"mode": ["kd"]}),
        ("mode", {"mode": "label-smoothing"}, "Did you mean 'label_smoothing'"),
    ],
    lambda **alpha: LossSpec.mix("kd", 4, **alpha): [("alpha", {"alpha": a}) for a in (1.01, -0.01, NAN)],
    digits: [
        ("dataset", {"name": "minst"}, "Did you mean 'mnist'"), ("fingerprint", {"fingerprint": ""}),
        ("validation", {"validation": 0}), ("validation", {"validation": 0.1}),
        *(("omit", {"omit": o}) for o in ((10,), (-1,), (3, 3), 3, "[3]", ALL)),
        ("keep", {"keep": (7, 11)}), ("keep", {"omit": (3,), "keep": (7,)}), ("classes", {"classes": 1}),
        ("share", {"share": 0}), ("share", {"complement": True}), ("draw", {"draw": 1}),
    ],
    lambda name="mlp", hidden=(8,), **rest: ModelSpec(name, hidden, **rest): [
        ("model", {"name": "mpl"}, "Did you mean 'mlp'"),
        *(("hidden", {"hidden": h}) for h in ((800, 0), 800, (800.0,))),
        ("dropout_input", {"dropout_input": 1}), ("dropout_hidden", {"dropout_hidden": -0.1}),
    ],
    small_run: [
        ("optimiser", {"optimiser": "adamW"}, "Did you mean 'adamw'"),
        ("schedule", {"schedule": "onecycle"}, "Did you mean 'one_cycle'"),
        ("augmentation", {"augmentation": "jiter"}, "Did you mean 'jitter'"),
        ("lr", {"lr": "1e-3"}, "in YAML write 1.0e-3, not 1e-3"), ("lr", {"lr": 0}),
        ("epochs", {"epochs": -1}), ("epochs", {"epochs": 1.5}), ("batch_size", {"batch_size": 0}),
        ("momentum", {"momentum": 1}), ("weight_decay", {"weight_decay": -0.1}),
        ("weight_decay", {"optimiser": "muon", "weight_decay": 0.1}, "muon has no weight_decay"),
        ("seed", {"seed": -1}), ("seed", {"seed": True}),
        ("precision", {"precision": "fp64"}), ("device", {"device": "gpu"}), ("teacher", {"loss": kd()}),
        ("teacher", {"teacher": small_run(seed=1)}),
        ("teacher_view", {"loss": LossSpec(teacher_view="other")}),
    ],
    lambda loss, **of: dataclasses.replace(
        STUDENT, data=digits(**of), loss=LossSpec.mix(loss, 4, 0.9)
    ): [  # images without labels are taught by modes that need none
        ("label of every image", {"loss": "target_part", "share": 0.1, "unlabelled": True}),
        ("w_hard", {"loss": "kd", "noise": True}),
    ],
}  # fmt: skip
CASES = [(make, *case) for make, cases in BAD.items() for case in cases]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}")
def test_a_bad_setting_is_refused_in_one_sentence_that_names_it(case):
    make, name, changes, *says = case
    with pytest.raises(SpecError) as caught:
        make(**changes)
    message = str(caught.value)
    assert name in message and all(words in message for words in says)
    assert "-inf" not in message  # "at least -inf" helps nobody
    sentence = re.sub(r" Did you mean '\w+'\?$", "", message)
    assert sentence.endswith(".") and "\n" not in sentence
    assert not re.search(r"[.?!] [A-Z]", sentence)
