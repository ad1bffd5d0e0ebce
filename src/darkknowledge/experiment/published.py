"""Published weights: their cards written and checked, and predictions on anybody's images."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from darkknowledge.experiment import data, metrics, models
from darkknowledge.experiment.cards import Card, WeightsError, card_path, read_card
from darkknowledge.experiment.training import logits
from darkknowledge.layout import Record
from darkknowledge.records import Store, atomic_write
from darkknowledge.spec import DataSpec, ModelSpec

#: Other machines round otherwise: this share of the test images may come out differently.
TOLERANCE = 0.0005


def write_card(store: Store, record: Record, data_root: str | None = None) -> Path:
    """Write the card of a stored run beside its weights. Its test errors are counted in fp32, which
    every machine has; a run in bf16 may have counted a few more or less.

    Raises WeightsError without the weights, DataError."""
    weights = store.weights_path(record["run_id"])
    if not store.weights_match(record):
        raise WeightsError(f"{weights} is not here or not the run's own: train the run again.")
    path, spec = card_path(weights), record["spec"]
    known_as = DataSpec(**spec["data"])
    known = data.load(known_as, data_root)
    model = _network(weights, ModelSpec(**spec["model"]), known.shape, known_as.classes)
    natural = known_as.name.startswith("cifar")
    classes = data.CIFAR10_CLASSES if natural else tuple(map(str, range(known_as.classes)))
    card = Card(
        run_id=record["run_id"],
        label=record["label"],
        model=ModelSpec(**spec["model"]),
        data=known_as,
        shape=known.shape,
        classes=classes,
        test_errors=_errors(model, known.test),
        test_images=record["test"]["n"],
        sha256=record["weights_sha256"],
    )
    text = json.dumps(card.as_dict(data.SOURCES[known_as.name]), indent=1) + "\n"
    atomic_write(path, text.encode())
    return path


def network(weights: Path) -> tuple[nn.Module, Card]:
    """The net of a weights file, in fp32 and eval mode, and its card. Raises WeightsError."""
    card = read_card(weights)
    return _network(weights, card.model, card.shape, card.data.classes), card


def _network(weights: Path, net: ModelSpec, shape: tuple[int, ...], classes: int) -> nn.Module:
    try:
        content = load_safetensors(weights.read_bytes())
        with torch.device("meta"):  # what a card claims costs nothing until the weights fit it
            model = models.build(net, shape, classes, seed=0)
        models.load_state(model, {name: value.to("meta") for name, value in content.items()})
        model = models.build(net, shape, classes, seed=0)
        models.load_state(model, content)
    except Exception as error:  # safetensors and torch raise what they like
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{weights} does not fit the net of its card: {reason}") from None
    return model.eval()


def _errors(model: nn.Module, test: data.Split) -> int:
    return metrics.errors(logits(model, test.images, "fp32"), test.labels)


def read_image(path: Path, shape: tuple[int, ...], invert: bool = False) -> Tensor:
    """A PNG or JPEG as uint8 [channels, height, width], grey or RGB and resized as ``shape`` says;
    ``invert`` turns dark strokes on light into light ones on dark. Raises WeightsError."""
    mode = ImageReadMode.GRAY if shape[0] == 1 else ImageReadMode.RGB
    try:
        image = decode_image(str(path), mode)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(f"{path} cannot be read as an image: {reason}") from None
    image = v2.functional.resize(image, list(shape[1:]), antialias=True)
    return 255 - image if invert else image


def predict(weights: Path, images: Iterable[Path], invert: bool = False) -> list[dict[str, float]]:
    """Class probabilities of image files, one mapping of class to probability an image.

    Raises WeightsError."""
    model, card = network(weights)
    batch = torch.stack([read_image(path, card.shape, invert) for path in images])
    with torch.no_grad():
        probabilities = model(data.scaled(batch)).softmax(1)
    return [dict(zip(card.classes, row, strict=True)) for row in probabilities.tolist()]


def evaluate(weights: Path, data_root: str | None = None) -> tuple[int, Card]:
    """Test errors of the weights, counted anew on the card's data, and the card.

    Raises WeightsError, DataError."""
    model, card = network(weights)
    return _errors(model, data.load(card.data, data_root).test), card


def agrees(errors: int, card: Card) -> bool:
    """Whether a count is that of the card, but for what other machines round otherwise."""
    return abs(errors - card.test_errors) <= TOLERANCE * card.test_images
