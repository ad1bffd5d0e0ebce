"""One RunSpec → one record. A run's teacher is a run too."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from darkknowledge import __version__, config, devices
from darkknowledge.experiment import cost, data, metrics, models
from darkknowledge.experiment.training import Epoch, NonFiniteLoss, fit, logits, stream_seed
from darkknowledge.layout import Record, digits_each
from darkknowledge.records import CLASSES, EXAMPLES, LABELS, Store, atomic_write, file_sha256
from darkknowledge.spec import RECIPE_VERSION, RunSpec, SpecError

#: Training images that the soft targets are described on.
SAMPLE = 10_000

Progress = Callable[[RunSpec, Epoch], None]


class NotReproduced(RuntimeError):
    """A run that was trained again came out otherwise than its record says; the message says why and
    what to do. The record stays as it is."""


def stored(spec: RunSpec, store: Store) -> Record | None:
    """The record of ``spec`` if it is there and whole."""
    return store.read(spec.data.name, spec.run_id)


def execute(
    spec: RunSpec,
    store: Store,
    data_root: str | Path | None = None,
    on_epoch: Progress = lambda spec, epoch: None,
    *,
    need_weights: bool = False,
) -> Record:
    """The record of ``spec``: read if it is stored, trained and stored if not.

    With ``need_weights`` a run whose weights are not at hand is trained again. That must give the
    weights of its record, which is never overwritten. A run that diverged is noted in the store and
    not tried again while the note is there.
    Raises DataError, NonFiniteLoss, NotReproduced, RecordError."""

    def usable() -> Record | None:
        record = stored(spec, store)
        return record if record and (not need_weights or store.weights_match(record)) else None

    if record := usable():
        return record
    if spec.recipe_version != RECIPE_VERSION:
        what = f"belongs to recipe version {spec.recipe_version}, which this code trains no more"
        rest = "what is stored of it stands, and what is not needs the code of its time"
        raise SpecError(f"{spec.label} {what}: {rest}.")
    with store.lock(spec.run_id):
        if record := usable():  # another process was faster
            return record
        known = stored(spec, store)
        if not known and (note := store.diverged(spec.data.name, spec.run_id)):
            raise NonFiniteLoss(note["reason"])
        store.set_aside(spec.data.name, spec.run_id)
        if spec.teacher:
            execute(spec.teacher, store, data_root, on_epoch, need_weights=True)
        try:
            made, weights = _train(spec, store, data_root, on_epoch)
        except NonFiniteLoss as error:
            if known:
                raise _not_reproduced(spec, known) from error
            told = {"run_id": spec.run_id, "label": spec.label, "spec": spec.full()}
            told |= {"reason": str(error), "provenance": _circumstances(spec)}
            store.write_diverged(spec.data.name, told)
            raise
        if known and known["weights_sha256"] != made["weights_sha256"]:
            raise _not_reproduced(spec, known)
        atomic_write(store.weights_path(spec.run_id), weights)
        return known or store.write(spec.data.name, made)


def _not_reproduced(spec: RunSpec, known: Record) -> NotReproduced:
    return NotReproduced(
        f"{spec.label} was trained again for its weights and came out otherwise than its record, which "
        f"stays: copy {spec.run_id}.safetensors from where it was trained "
        f"({known['provenance']['device_name']})."
    )


def network(spec: RunSpec, shape: tuple[int, ...]) -> models.Network:
    """The untrained net of a run, for images of ``shape`` [channels, height, width]."""
    seed = stream_seed(spec.seed, "initialisation")
    return models.build(spec.model, shape, spec.data.classes, seed)


def trained_network(spec: RunSpec, shape: tuple[int, ...], store: Store) -> nn.Module:
    """The net of a run with its stored fp16 weights, in fp32 and eval mode, on the CPU."""
    return _with_weights(spec, shape, store.weights_path(spec.run_id).read_bytes())


def given(sha256: str) -> dict[str, Tensor]:
    """The weights that a setup gives as its teacher's, by their file's checksum. Raises SpecError."""
    for path in config.places("teacher_weights"):
        if path.is_file() and file_sha256(path) == sha256:
            return load_safetensors(path.read_bytes())
    raise SpecError(f"No setup's teacher_weights is the file {sha256[:12]}… any more: put it back.")


def give(model: models.Network, spec: RunSpec) -> None:
    """Load the weights that are given into a net. Raises SpecError if they are not such a net's."""
    try:
        models.load_state(model, given(spec.given))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        fit = f"{spec.model.label} with {spec.data.classes} classes, as .safetensors"
        raise SpecError(f"The given weights are not those of {fit}: {reason}") from None


def _with_weights(spec: RunSpec, shape: tuple[int, ...], content: bytes) -> nn.Module:
    model = network(spec, shape)
    models.load_state(model, load_safetensors(content))  # copies fp16 into the fp32 parameters
    return model.eval()


def _packed(model: nn.Module, name: str) -> bytes:
    """The weights as fp16 safetensors. Raises NonFiniteLoss if they do not fit into fp16."""
    state = model.state_dict().items()  # counts of batches stay whole numbers
    half = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in state}
    if not all(bool(v.isfinite().all()) for v in half.values()):
        raise NonFiniteLoss(f"The weights of {name} are too large for fp16: it has diverged.")
    return save_safetensors(half)


def _train(
    spec: RunSpec, store: Store, data_root: Any, on_epoch: Progress
) -> tuple[dict[str, Any], bytes]:
    """The record of a run and its weights."""
    began = time.perf_counter()
    dataset = data.load(spec.data, data_root, spec.device)
    teacher = said = None
    if spec.teacher:
        content = store.weights_path(spec.teacher.run_id).read_bytes()
        teacher = _with_weights(spec.teacher, dataset.shape, content).to(spec.device)
        said = Said(teacher, hashlib.sha256(content).hexdigest(), spec, dataset)
    model = network(spec, dataset.shape).to(spec.device)
    if spec.given:
        give(model, spec)
    else:
        model.see(dataset.train.images)
    soft_targets = None
    if said and not spec.data.noise:
        labelled = (dataset.train.labels >= 0).nonzero()[:SAMPLE, 0]
        soft_targets = metrics.soft_targets(said.of("train")[labelled], spec.loss.temperature)
    training_began = time.perf_counter()
    history = fit(
        *(model, dataset.train, dataset.validation, spec.recipe, spec.loss),
        seed=spec.seed,
        precision=spec.precision,
        teacher=teacher,
        teacher_logits=said.of("train") if said and spec.recipe.augmentation == "none" else None,
        name=spec.label,
        on_epoch=lambda epoch: on_epoch(spec, epoch),
    )
    training_seconds = time.perf_counter() - training_began
    content = _packed(model, spec.label)
    # Everything below speaks of the stored weights, so that whoever loads them finds these numbers.
    final_model = _with_weights(spec, dataset.shape, content).to(spec.device)

    def outputs(net: nn.Module, split: data.Split) -> Tensor:
        return logits(net, split.images, spec.precision).cpu()

    final, all_logits = {}, {}
    for name, split in (("validation", dataset.validation), ("test", dataset.test)):
        found = outputs(final_model, split)
        all_logits[name] = (found, split.labels.cpu())
        final[name] = metrics.report(*all_logits[name], said.of(name).cpu() if said else None)
    rounded = outputs(models.int8(final_model), dataset.test)
    classes = spec.data.classes
    about = {
        LABELS: as_text(dataset.test.labels, classes).encode(),
        CLASSES: "\n".join(dataset.classes).encode(),
        EXAMPLES: data.contact_sheet(dataset.test, data.examples(dataset.test, classes)),
    }
    store.keep(spec.data.name, about)
    without, both = list(spec.data.unseen), (all_logits["validation"], all_logits["test"])
    unseen = metrics.bias_shifts(*both, without) if without else None
    images = len(dataset.train) * spec.recipe.epochs
    record = {
        "run_id": spec.run_id,
        "label": spec.label,
        "spec": spec.full(),
        "history": {k: [getattr(e, k) for e in history] for k in Epoch.__dataclass_fields__},
        **final,
        "test_int8": {"errors": metrics.errors(rounded, all_logits["test"][1])},
        "soft_targets": soft_targets,
        "unseen": unseen,
        "predictions": as_text(found.argmax(1), classes),
        "cost": cost.static(final_model, dataset.shape) | {"bytes_fp16": len(content)},
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "teacher_weights_sha256": said.sha256 if said else None,
        "provenance": {
            "data": data.SOURCES.get(spec.data.name, f"{spec.data.name}, images of one's own"),
            "training_images": len(dataset.train),
            "seconds": time.perf_counter() - began,
            "training_seconds": training_seconds,
            "images_per_second": images / training_seconds,
            **_circumstances(spec),
        },
    }
    return record, content


@dataclass
class Said:
    """What a teacher says of images that do not change: computed once for all of its students that a
    process trains one after the other."""

    teacher: nn.Module
    sha256: str
    spec: RunSpec
    dataset: data.Dataset

    KNOWN: ClassVar[dict[tuple[Any, ...], Tensor]] = {}
    MOST: ClassVar[int] = 60

    def of(self, split: str) -> Tensor:
        """The teacher's logits on a split of the data set: [n, classes], on the run's device."""
        spec = self.spec
        key = (self.sha256, spec.teacher, spec.data, split, spec.precision, spec.device)
        if key not in self.KNOWN:
            if len(self.KNOWN) >= self.MOST:
                self.KNOWN.pop(next(iter(self.KNOWN)))  # the oldest
            images = getattr(self.dataset, split).images
            self.KNOWN[key] = logits(self.teacher, images, spec.precision)
        return self.KNOWN[key]


def _circumstances(spec: RunSpec) -> dict[str, Any]:
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device_name": devices.device_name(spec.device),
        "processor": devices.processor(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "commit": commit(),
    }


def as_text(labels: Tensor, classes: int) -> str:
    """Classes [n] as one string of equally long numbers: a digit each for up to ten classes."""
    width = digits_each(classes)
    return "".join(f"{label:0{width}}" for label in labels.tolist())


@functools.cache  # reading the packages' notes takes as long as a small net's epoch
def versions() -> dict[str, str]:
    """Versions of what the arithmetic depends on."""
    packages = ("torch", "torchvision", "numpy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found, "darkknowledge": __version__}


@functools.cache
def commit() -> str:
    """The git commit of this code when it was first asked for; empty outside a repository."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode().strip()
