"""A trained network for other programs: its weights with their card, and the whole net as ONNX.

Nothing here loads torch before everything that was asked for is known to be there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darkknowledge import config
from darkknowledge.experiment.cards import Card, WeightsError
from darkknowledge.layout import Record
from darkknowledge.questions import params as p
from darkknowledge.questions import registry
from darkknowledge.records import RecordError, Store, atomic_write
from darkknowledge.spec import SpecError

if TYPE_CHECKING:
    from torch import nn

#: What an ONNX file calls its input, float32 [batch, channels, height, width] with pixels from 0 to 1,
#: and its output, float32 [batch, classes].
IMAGES, LOGITS = "images", "logits"
#: Packages that torch writes ONNX with.
WRITERS = ("onnx", "onnxscript")


def chosen(given: list[str], store: Store) -> list[Record]:
    """The records of the runs that ``given`` names by their ids or the first digits of these, each once;
    their weights are here.

    Raises SpecError for what names no run, RecordError for a record that is not whole, WeightsError
    for weights that are not here, and without the packages that write ONNX."""
    runs = dict.fromkeys(store.find(one) for one in given)
    if missing := [name for name in WRITERS if importlib.util.find_spec(name) is None]:
        raise WeightsError(f"ONNX needs the packages {' and '.join(missing)}: call make setup.")
    found = []
    for run in runs:
        if (record := store.consistent(run.dataset, run.run_id)) is None:
            path = store.record_path(run.dataset, run.run_id)
            raise RecordError(f"{path} is not whole: copy it again, or have its run trained again.")
        if not store.weights_match(record):
            what = f"The weights of {record['label']} are not in {store.root}"
            raise WeightsError(f"{what}: {_remedy(record, store)}.")
        found.append(record)
    return found


def _remedy(record: Record, store: Store) -> str:
    """How to come by the weights of a stored run, in words."""
    name, run_id = store.weights_path(record["run_id"]).name, record["run_id"]
    for profile, question in _planned():
        with contextlib.suppress(SpecError):  # somebody's unfinished profile is no hindrance
            plan = registry.QUESTIONS[question].grid(p.read(profile, question))
            if any(one.spec.run_id == run_id for one in plan):
                command = f"darkknowledge train {profile} {question} --only {run_id} --weights"
                return f"'{command}' trains it again"
    return f"no profile trains that run any more, so copy {name} from where it was trained"


def _planned() -> Iterator[tuple[str, str]]:
    """Each profile with each of its questions."""
    for folder in sorted((config.project_root() / "params").iterdir()):
        for question in registry.QUESTIONS:
            if (folder / f"{question}.yaml").is_file():
                yield folder.name, question


def export(
    record: Record, store: Store, folder: Path, data_root: str | Path | None = None
) -> list[Path]:
    """Write a stored run into ``folder``: its fp16 weights, their bytes unchanged, their card, and the
    net as ONNX; returns the three paths.

    Raises WeightsError without the weights, DataError without the data that the card's test errors are
    counted on."""
    from darkknowledge.experiment import published

    source = store.weights_path(record["run_id"])
    weights = folder / source.name
    card = published.write_card(store, record, data_root, folder)
    if not weights.exists() or not weights.samefile(source):
        atomic_write(weights, source.read_bytes())
    onnx = weights.with_suffix(".onnx")
    atomic_write(onnx, onnx_of(*published.network(weights)))
    return [weights, card, onnx]


def onnx_of(model: nn.Module, card: Card) -> bytes:
    """A net as an ONNX file: float32 ``images`` [batch, channels, height, width] with pixels from 0 to 1,
    any number of them, to float32 ``logits`` [batch, classes].

    The mean of the training images is subtracted within. The file's metadata name the run and the
    classes, as JSON, in the order of the logits. The same net gives the same bytes."""
    import torch

    example = torch.zeros(2, *card.shape)  # a batch of one would be taken for a constant
    with _quiet():
        program = torch.onnx.export(
            model.eval(), (example,), input_names=[IMAGES], output_names=[LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None  # it is, unless a file is named
    graph = program.model
    for node in graph.graph.all_nodes():  # they tell where torch lies on this machine
        node.metadata_props.clear()
    graph.metadata_props.clear()
    graph.metadata_props.update(
        run_id=card.run_id,
        label=card.label,
        classes=json.dumps(card.classes, ensure_ascii=False),
        pixels="0 to 1; digits are light on dark",
        weights_sha256=card.sha256,
    )
    return bytes(program.model_proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch tells of its progress and of its own future, on every way that there is."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
