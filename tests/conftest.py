"""Shared material of the tests: a tiny learnable data set, small specs, stores, no network."""

import dataclasses
import functools
import math
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

import small_project
from darkknowledge.experiment import data
from darkknowledge.experiment.data import Split
from darkknowledge.layout import SHIFTS, Shift
from darkknowledge.records import Store
from darkknowledge.spec import DataSpec, LossSpec, ModelSpec, Recipe, RunSpec
from small_project import REPOSITORY

os.environ["PYTHONPATH"] = str(REPOSITORY / "src")  # what tests start runs this very code

# What tests start keeps its output back, as it does for everybody.
os.environ.pop("PYTHONUNBUFFERED", None)

# No test renders with Quarto, or tries to install it, unless it says so.
os.environ["DARKKNOWLEDGE_NO_QUARTO"] = "1"

# A shell starts its background processes deaf to Ctrl-C, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, nothing left behind in the working folder.
settings.register_profile("laws", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("laws")


def synthetic_split(n: int, seed: int, classes: int = 10) -> Split:
    """``n`` noisy images of 8 by 8 pixels; a bright pair of them tells the class: learnable."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    images = torch.randint(0, 120, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    flat = images.view(n, 64)
    for step in (0, 1):
        flat[torch.arange(n), 12 + 4 * labels + step] = 255
    return Split(images, labels)


def synthetic_parts(root: object = None) -> tuple[Split, Split]:
    """Training and test set of the synthetic data, with the signature of a loader."""
    return synthetic_split(400, 1), synthetic_split(100, 2)


def synthetic_data(**changes) -> DataSpec:
    """The DataSpec of the synthetic data."""
    values = dict(name="mnist5k", fingerprint=data.fingerprint(*synthetic_parts()), validation=50)
    return DataSpec(**values | changes)


def small_run(**changes) -> RunSpec:
    """A run of a moment; ``changes`` are fields of RunSpec or of its recipe."""
    recipe_fields = {f.name for f in dataclasses.fields(Recipe)}
    recipe = dict(optimiser="sgd", lr=0.1, epochs=2, batch_size=64)
    recipe |= {k: v for k, v in changes.items() if k in recipe_fields}
    values = dict(data=synthetic_data(), model=ModelSpec("mlp", (16,)), seed=0, precision="fp32")
    values |= {k: v for k, v in changes.items() if k not in recipe_fields}
    return RunSpec(recipe=Recipe(**recipe), **values)


def student(teacher: RunSpec, **changes) -> RunSpec:
    """The same, but distilled from a teacher."""
    return small_run(loss=LossSpec.mix("kd", 4, 0.9), teacher=teacher, **changes)


def small_grid() -> list[RunSpec]:
    """A teacher, a student of it, and that student's baseline."""
    teacher = small_run(model=ModelSpec("mlp", (32,), 0.1, 0.2), seed=100, augmentation="jitter")
    return [teacher, small_run(), student(teacher)]


@functools.cache
def pairs_of(truth: str, predicted: str) -> Counter[tuple[int, int]]:
    """How often a true class is called which."""
    return Counter(zip(map(int, truth), map(int, predicted), strict=True))


def metrics(pairs: Counter[tuple[int, int]], taught: bool) -> dict[str, Any]:
    """Metrics of a split whose images of a true class were called another so often."""
    n, right = pairs.total(), sum(pairs[i, i] for i in range(10))
    return {
        "n": n,
        "errors": n - right,
        "accuracy": 1 - (n - right) / n,
        "nll": 0.1,
        "ece": 0.02,
        "confusion": [[pairs[i, j] for j in range(10)] for i in range(10)],
        "mean_logits": [[round(math.sin(10 * i + j), 4) for j in range(10)] for i in range(10)],
        "teacher_agreement": 0.97 if taught else None,
    }


def whole_record(
    spec: RunSpec, predictions: str = "0123456789", truth: str = "", shifted: str = ""
) -> dict[str, Any]:
    """A record with every key that one has, as :meth:`Store.write` takes it, of a run that nobody
    trained: its metrics follow from its predictions and the true classes (by default the same), and
    those with a bias on unseen classes from the predictions ``shifted`` (by default unchanged)."""
    taught, truth = spec.teacher is not None, truth or predictions

    def test(predicted: str) -> dict[str, Any]:
        return metrics(pairs_of(truth, predicted), taught)

    def shift(predicted: str, bias: float) -> dict[str, Any]:
        found = {"bias": bias} | {
            k: v for k, v in test(predicted).items() if k in Shift.__annotations__
        }
        wrong = (a for a, b in zip(truth, predicted, strict=True) if a != b)
        return found | {"errors_unseen": sum(int(c) in spec.data.unseen for c in wrong)}

    held_out = spec.data.validation
    errors = min(test(predictions)["errors"], held_out)
    unseen = {
        "classes": list(spec.data.unseen),
        "images": sum(truth.count(str(c)) for c in spec.data.unseen),
        "none": shift(predictions, 0.0),
        **{name: shift(shifted or predictions, 2.0) for name in SHIFTS[1:]},
    }
    targets = {"images": 100, "entropy": 1.0}
    epochs = range(1, spec.recipe.epochs + 1)
    curve = [0.1 + 0.9 / epoch for epoch in epochs]
    return {
        "run_id": spec.run_id,
        "label": spec.label,
        "spec": spec.full(),
        "history": {
            "epoch": list(epochs),
            **dict.fromkeys(("loss_hard", "loss_soft", "seconds"), curve),
            "validation_accuracy": [1 - loss / 2 for loss in curve],
        },
        "validation": metrics(Counter({(0, 0): held_out - errors, (0, 1): errors}), taught),
        "test": test(predictions),
        "test_int8": {"errors": errors},
        "soft_targets": targets if taught else None,
        "unseen": unseen if spec.data.unseen else None,
        "predictions": predictions,
        "cost": {"parameters": 2, "flops": 4, "bytes_fp32": 8, "bytes_fp16": 4},
        "weights_sha256": "ab" * 32,
        "teacher_weights_sha256": "ab" * 32 if taught else None,
        "provenance": {
            "data": "fabricated",
            "training_images": 3500,
            "seconds": 2.0,
            "training_seconds": 1.0,
            "images_per_second": 7000.0,
            "finished": "2026-01-01T00:00:00+00:00",
            "device_name": "none",
            "processor": {"vendor": "none", "capability": "none", "bf16": True},
            "threads": 1,
            "versions": {"python": "3", "torch": "2", "torchvision": "0"},
            "commit": "",
        },
    }


#: The files that take longest come first, so that two processes end at about the same time.
LONG = ("test_whole_path.py", "test_crash.py", "test_engine.py", "test_notebooks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may depend on a server."""

    def refuse(*args, **kwargs):
        raise RuntimeError("A test tried to reach the network.")

    connect = socket.socket.connect

    def local(self: socket.socket, address):  # processes of one machine may talk to each other
        return connect(self, address) if self.family == socket.AF_UNIX else refuse()

    monkeypatch.setattr(socket.socket, "connect", local)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def tiny_split() -> Split:
    return synthetic_split(200, 3)


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch):
    """The synthetic data in place of the embedded digits, for one test."""
    monkeypatch.setitem(data._LOADERS, "mnist5k", synthetic_parts)
    data.load.cache_clear()
    yield
    data.load.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that the tests of a file share."""
    return small_project.make(tmp_path_factory.mktemp("with space") / "project")
