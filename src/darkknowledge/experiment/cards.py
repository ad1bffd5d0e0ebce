"""The card of published weights: of which run they are, how good, and which bytes; read without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from darkknowledge.records import file_sha256
from darkknowledge.spec import CLASS_NAMES, DataSpec, ModelSpec, integer, text_of


class WeightsError(RuntimeError):
    """Weights, a card or an image that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Card:
    """What is known of published weights. ``shape`` [channels, height, width] is that of the images,
    ``classes`` are their names."""

    run_id: str
    label: str
    model: ModelSpec
    data: DataSpec
    shape: tuple[int, ...]
    classes: Sequence[str]
    test_errors: int
    test_images: int
    sha256: str

    def as_dict(self, source: str) -> dict[str, Any]:
        """As plain JSON values, with the words that people look for first, and where the data come
        from."""
        own = vars(self) | {"model": vars(self.model), "data": vars(self.data)}
        shape = own.pop("shape")
        return own | {
            "licence": "MIT",
            "test_accuracy": 1 - self.test_errors / self.test_images,
            "source": source,
            "input": {"shape": shape, "pixels": "0 to 1; digits are light on dark"},
        }


def card_path(weights: Path) -> Path:
    """Where the card of a weights file lies: beside it. Raises WeightsError."""
    if not weights.name:
        raise WeightsError(f"{str(weights)!r} is a folder: name a .safetensors file in it.")
    return weights.with_suffix(".json")


def read_card(weights: Path) -> Card:
    """The card of a weights file, after a look whether they belong together. Raises WeightsError."""
    path = card_path(weights)
    try:
        body = json.loads(text_of(path))
        own = {field.name: body[field.name] for field in fields(Card) if field.name != "shape"}
        own |= {"model": ModelSpec(**body["model"]), "data": DataSpec(**body["data"])}
        card = Card(**own | {"shape": tuple(body["input"]["shape"])})
        if {str} != {type(text) for text in (card.run_id, card.label, card.sha256)}:
            raise ValueError("run_id, label and sha256 must be texts")
        if integer("test_errors", card.test_errors) > integer("test_images", card.test_images, 1):
            raise ValueError("it has more errors than images")
        found = file_sha256(weights)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}; weights need their card."
        raise WeightsError(said) from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:240]
        raise WeightsError(f"{path} is no card of published weights ({reason}).") from None
    if found != card.sha256:
        raise WeightsError(f"{weights} is not the file that its card describes: fetch both again.")
    named = {str} == {*map(type, card.classes)} and len({*card.classes}) == card.data.classes
    if not named or [*card.classes] != [*CLASS_NAMES.get(card.data.name, card.classes)]:
        said = f"{path} does not name the {card.data.classes} classes of its data"
        raise WeightsError(f"{said}: fetch both again.")
    return card
