"""Published weights: their cards written and checked, and predictions on anybody's images."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from darkknowledge.experiment import data, metrics, models, pictures
from darkknowledge.experiment.cards import Card, WeightsError, card_path, read_card
from darkknowledge.experiment.training import logits
from darkknowledge.layout import ROUNDING, Record
from darkknowledge.records import Store, atomic_write
from darkknowledge.spec import CLASS_NAMES, DIGITS, DataSpec, ModelSpec

log = logging.getLogger(__name__)


def write_card(
    store: Store,
    record: Record,
    data_root: str | Path | None = None,
    folder: Path | None = None,
) -> Path:
    """Write the card of a stored run beside its weights, or into ``folder``. Its test errors are counted
    in fp32, which every machine has; a run in bf16 may have counted a few more or less.

    Raises WeightsError without the weights, DataError."""
    weights = store.weights_path(record["run_id"])
    if not store.weights_match(record):
        raise WeightsError(f"{weights} is not here or not the run's own: train the run again.")
    path = card_path(folder / weights.name if folder else weights)
    about = DataSpec(**record["spec"]["data"])
    known = data.load(about, data_root)
    card = Card(
        run_id=record["run_id"],
        label=record["label"],
        model=ModelSpec(**record["spec"]["model"]),
        data=about,
        shape=known.shape,
        classes=known.classes,
        test_errors=record["test"]["errors"],
        test_images=record["test"]["n"],
        sha256=record["weights_sha256"],
    )
    card = replace(card, test_errors=_errors(_network(weights, card), known.test))
    text = json.dumps(card.as_dict(record["provenance"]["data"]), indent=1) + "\n"
    atomic_write(path, text.encode())
    return path


def network(weights: Path) -> tuple[nn.Module, Card]:
    """The net of a weights file, in fp32 and eval mode, and its card. Raises WeightsError."""
    card = read_card(weights)
    return _network(weights, card), card


def _network(weights: Path, card: Card) -> nn.Module:
    try:
        model = models.build(card.model, card.shape, card.data.classes, seed=0)
        models.load_state(model, load_safetensors(weights.read_bytes()))
    except Exception as error:  # safetensors and torch raise what they like
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{weights} does not fit the net of its card: {reason}") from None
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise WeightsError(f"{weights} holds numbers that are not finite: it is of no use.")
    return model.eval()


def _errors(model: nn.Module, test: data.Split) -> int:
    return metrics.errors(logits(model, test.images, "fp32"), test.labels)


def read_image(path: Path, shape: tuple[int, ...], digits: bool, invert: bool | None) -> Tensor:
    """A PNG or JPEG as a net takes it: uint8 [channels, height, width] as ``shape`` says.

    It is turned upright. What is transparent becomes white, or black if the rest is light. Of a colour
    image of another size the middle square is taken. ``digits`` are light on dark: an image whose border
    is light is inverted unless ``invert`` says whether to, and one of another size is cut out,
    stretched to full contrast and centred as MNIST's were. Raises WeightsError."""
    try:
        plain, side = pictures.upright(path, ("PNG", "JPEG")), shape[1]
    except pictures.PictureError as error:
        raise WeightsError(f"{path} cannot be read as a PNG or JPEG: {error}.") from None
    if digits:
        plain = _digit(plain.convert("L"), side, invert, path)
    else:
        plain = pictures.square(plain, side, grey=shape[0] == 1)
        plain = ImageOps.invert(plain) if invert else plain
    pixels = torch.from_numpy(np.array(plain)).reshape(side, side, -1).permute(2, 0, 1)
    return pixels.expand(shape[0], -1, -1)


def _digit(image: Image.Image, side: int, invert: bool | None, path: Path) -> Image.Image:
    """A grey image of a digit, light on dark, and of another size than ``side`` as MNIST's were made:
    its box fills 20 of 28 pixels, and its centre of mass lies in the middle."""
    grey = np.asarray(image, float)
    border = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    if invert is None and (invert := bool(2 * border > grey.min() + grey.max())):
        log.info("%s is dark on light and was inverted (else: --no-invert).", path)
    if grey.min() == grey.max():
        raise WeightsError(f"{path} shows nothing: all of it has one shade.")
    if invert:
        grey, border = 255 - grey, 255 - border
    if 2 * border > grey.min() + grey.max():  # its user said that it is light on dark
        border = grey.min()
    if border or image.size != (side, side):
        grey = (grey - border).clip(0) * 255 / (grey.max() - border)
    if image.size != (side, side):
        rows, columns = (np.flatnonzero((grey > 64).any(axis)) for axis in (1, 0))
        box = np.uint8(grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        high, wide = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        scale = min(20, side * 5 // 7) / max(high, wide)
        size = [max(1, round(scale * wide)), max(1, round(scale * high))]
        small = np.asarray(Image.fromarray(box).resize(size, Image.Resampling.BILINEAR))
        mass = ((np.arange(n) + 0.5, small.sum(i) + 1e-9) for i, n in enumerate(size))
        free = (side / 2 - np.average(at, weights=weights) for at, weights in mass)
        x, y = (min(max(0, round(f)), side - n) for f, n in zip(free, size, strict=True))
        grey = np.zeros((side, side))
        grey[y : y + size[1], x : x + size[0]] = small
    return Image.fromarray(grey.astype(np.uint8))


def predict(
    model: nn.Module, card: Card, path: Path, invert: bool | None = None
) -> dict[str, float]:
    """The probability of each class for an image file. Raises WeightsError."""
    digits = CLASS_NAMES.get(card.data.name) == DIGITS
    with torch.no_grad():
        rows = model(data.scaled(read_image(path, card.shape, digits, invert)[None])).softmax(1)
    return dict(zip(card.classes, rows[0].tolist(), strict=True))


def evaluate(weights: Path, data_root: str | None = None) -> tuple[int, Card]:
    """Test errors of the weights, counted anew on the card's data, and the card.

    Raises WeightsError, DataError."""
    model, card = network(weights)
    test = data.load(card.data, data_root).test
    if len(test) != card.test_images:
        said = f"The card of {weights} speaks of {card.test_images} test images, not {len(test)}"
        raise WeightsError(f"{said}: fetch both again.")
    return _errors(model, test), card


def agrees(errors: int, card: Card) -> bool:
    """Whether a count is that of the card, but for what other machines round otherwise."""
    return abs(errors - card.test_errors) <= ROUNDING * card.test_images
