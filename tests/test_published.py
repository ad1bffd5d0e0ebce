"""Published weights: a card that holds, refusals that explain, and images as people have them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import small_project
from conftest import REPOSITORY, small_run, synthetic_parts
from darkknowledge.experiment import data, published, run
from darkknowledge.experiment.published import WeightsError
from darkknowledge.records import file_sha256
from darkknowledge.spec import data_spec

pytestmark = pytest.mark.slow  # networks are trained

#: The weights of a net that knows MNIST's digits.
PUBLISHED = next(
    path.with_suffix(".safetensors")
    for path in sorted((REPOSITORY / "results" / "weights").glob("*.json"))
    if json.loads(path.read_text(encoding="utf-8"))["data"]["name"] == "mnist"
)


@pytest.fixture(params=["fp32"])
def weights(store, synthetic, request):
    record = run.execute(replace(small_run(epochs=4), precision=request.param), store)
    published.write_card(store, record)
    return store.weights_path(record["run_id"])


@pytest.mark.parametrize("weights", ["fp32", "bf16"], indirect=True)
def test_the_card_says_what_the_record_says_and_evaluation_finds_it_again(weights, store):
    body = json.loads(published.card_path(weights).read_text())
    errors, card = published.evaluate(weights)
    record = store.read("mnist5k", card.run_id)
    assert body["test_accuracy"] == record["test"]["accuracy"]
    assert body["licence"] == "MIT" and body["sha256"] == record["weights_sha256"]
    assert errors == card.test_errors == record["test"]["errors"]
    assert published.agrees(errors, card)
    assert not published.agrees(errors + 2, card)  # of a hundred images


def test_predictions_on_files_are_those_of_the_record(weights, store, tmp_path):
    """PNG keeps every pixel, so the classes are the stored ones."""
    predictions = store.read("mnist5k", published.read_card(weights).run_id)["predictions"]
    path, (model, card) = tmp_path / "image.png", published.network(weights)
    card = replace(card, data=replace(card.data, name="cifar10"))  # noise is no ground of a digit's
    for due, image in zip(predictions[:8], synthetic_parts()[1].images, strict=False):
        Image.fromarray(image[0].numpy()).save(path)
        found = published.predict(model, card, path)
        assert max(found, key=found.get) == due and sum(found.values()) == pytest.approx(1)


def on(side: tuple[int, int], colour="black", ground="white"):
    """A digit in the middle of a picture of that size, in these colours."""

    def draw(digit: Image.Image) -> Image.Image:
        return ImageOps.colorize(ImageOps.pad(digit, side), ground, colour)

    return draw


def transparent(colour: int, mode: str = "RGBA"):
    def draw(digit: Image.Image) -> Image.Image:
        found = Image.new(mode, digit.size, colour if mode == "LA" else (colour,) * 3)
        found.putalpha(digit)
        return found

    return draw


def sixteen(digit: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(digit, np.uint16) * 257)


def turned(digit: Image.Image) -> tuple[Image.Image, dict]:
    exif = Image.Exif()
    exif[274] = 6
    return digit.resize((280, 280)).rotate(90), {"exif": exif}


#: How people's images of a digit come: its file, and what is made of the digit.
BROUGHT = {
    "same.png": lambda digit: digit,
    "inverted.png": ImageOps.invert,
    "inverted-large.jpg": lambda digit: ImageOps.invert(digit).resize((2000, 2000)),
    "grey-photo.jpg": on((400, 300), "#444444", "#999999"),
    "dim-photo.jpg": on((300, 300), "#888888", "#222222"),
    "sixteen.png": sixteen,
    "sixteen-inverted.png": lambda digit: sixteen(ImageOps.invert(digit)),
    "sixteen-transparent.png": lambda digit: (sixteen(digit), {"transparency": 0}),
    "black-on-transparent.png": transparent(0),
    "white-on-transparent.png": transparent(255),
    "grey-with-alpha.png": transparent(0, "LA"),
    "one-transparent-shade.png": lambda digit: (digit, {"transparency": 0}),
    "palette.png": lambda digit: on((28, 28), "navy", "yellow")(digit).quantize(16),
    "one-bit.png": lambda digit: ImageOps.invert(digit).convert("1"),
    "cmyk.jpg": lambda digit: ImageOps.invert(digit).resize((280, 280)).convert("CMYK"),
    "red-on-white.png": on((28, 28), "red"),
    "turned.jpg": turned,
    "tall.png": on((28, 84), "white", "black"),
    "far.png": lambda digit: ImageOps.expand(digit, (300, 10, 20, 100)),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_a_digit_is_known_however_its_image_comes(name, tmp_path):
    path, known = tmp_path / name, data.load(data_spec("mnist5k", 500)).test
    net = published.network(PUBLISHED)
    for index in data.examples(known, 10, 1)[:, 0]:
        found = BROUGHT[name](Image.fromarray(known.images[index, 0].numpy()))
        image, options = found if isinstance(found, tuple) else (found, {})
        image.save(path, **options)
        said = published.predict(*net, path)
        assert max(said, key=said.get) == str(known.labels[index].item())


def test_of_a_colour_image_the_middle_square_is_taken_and_inverted_if_that_is_asked(tmp_path):
    """It keeps its aspect."""
    whole, path = Image.new("RGB", (96, 32), "lime"), tmp_path / "image.png"
    for colour, box in {"maroon": (32, 0, 48, 32), "navy": (48, 0, 64, 32)}.items():
        whole.paste(colour, box)
    for variant in (whole, whole.quantize(8), whole.convert("RGBA")):
        variant.save(path)
        pixels = published.read_image(path, (3, 32, 32), False, None)
        assert [pixels[:, 16, x].tolist() for x in (2, 29)] == [[128, 0, 0], [0, 0, 128]]
        inverted = published.read_image(path, (3, 32, 32), False, True)
        assert torch.equal(inverted, 255 - pixels)


def cut(path):
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:900])


GREY = Image.new("L", (30, 30), 200)
#: What is no image that a net could be asked about → what is said of it.
NO_IMAGE = {
    "note.png": (lambda path: path.write_text("no image"), "read as a PNG or JPEG: cannot identify"),
    "gif.png": (lambda path: GREY.save(path, "GIF"), "read as a PNG or JPEG: cannot identify"),
    "animated.png": (lambda path: GREY.save(path, save_all=True,
                     append_images=[ImageOps.invert(GREY)]), "it is animated"),
    "cut.png": (cut, "cannot be read"),
    "folder.png": (lambda path: path.mkdir(), "cannot be read"),
    "absent.png": (lambda path: None, "cannot be read"),
    "blank.png": (lambda path: GREY.save(path), "shows nothing"),
    "clear.png": (lambda path: Image.new("RGBA", (9, 9)).save(path), "shows nothing"),
    "huge.png": (lambda path: GREY.resize((400, 400)).save(path), "exceeds limit of"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_IMAGE)
def test_what_is_no_image_is_refused_by_its_name_and_costs_no_other(name, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)  # beyond it Pillow warns of a bomb
    make, says = NO_IMAGE[name]
    make(tmp_path / name)
    with pytest.raises(WeightsError, match=says) as caught:
        published.predict(*published.network(PUBLISHED), tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    if (tmp_path / name).is_file():
        ImageOps.expand(Image.new("L", (9, 30), 255), 20).save(tmp_path / "fine.png")
        paths = (str(tmp_path / name), str(tmp_path / "fine.png"))
        done = small_project.here(tmp_path, "predict", str(PUBLISHED), *paths, code=1)
        assert done.stdout.startswith(str(tmp_path / "fine.png"))
        assert done.stderr.count("\n") == 1


def spoil_weights(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


#: What happens to the weights, or stands in their card → what is said of it.
SPOILT = {
    "not the file that its card describes": spoil_weights,
    "need their card": lambda path: published.card_path(path).unlink(),
    "No such file": lambda path: path.unlink(),
    "no card of published": "{",
    "no card of published weights .maximum": "[" * 200_000,
    "does not name the 10 classes": {"classes": ["a"] * 10},
    "does not name the 10 classes of its": {"classes": list("9876543210")},
    "test_errors is '7', but must be a whole number": {"test_errors": "7"},
    "more errors than images": {"test_errors": 101},
    "label and sha256 must be texts": {"label": 7},
    "does not fit the net": {"model": {"name": "mlp", "hidden": [17]}},
}


@pytest.mark.parametrize("says", SPOILT)
def test_what_does_not_belong_together_is_refused_in_one_sentence(weights, says):
    card, change = published.card_path(weights), SPOILT[says]
    if callable(change):
        change(weights)
    else:
        whole = json.loads(card.read_text())
        card.write_text(change if isinstance(change, str) else json.dumps(whole | change))
    with pytest.raises(WeightsError, match=says) as caught:
        published.network(weights)
    assert "\n" not in str(caught.value)


def test_a_card_that_counts_other_images_and_weights_that_are_not_finite_are_refused(weights):
    card = published.card_path(weights)
    whole = json.loads(card.read_text())
    card.write_text(json.dumps(whole | {"test_images": 99}))
    with pytest.raises(WeightsError, match="99 test images, not 100: fetch both again"):
        published.evaluate(weights)
    state = load_file(weights)
    next(value for value in state.values() if value.is_floating_point()).fill_(torch.nan)
    save_file(state, weights)
    card.write_text(json.dumps(whole | {"sha256": file_sha256(weights)}))
    with pytest.raises(WeightsError, match="not finite"):
        published.network(weights)


def test_no_card_is_written_for_weights_that_are_not_the_runs_own(weights, store):
    record = store.read("mnist5k", published.read_card(weights).run_id)
    spoil_weights(weights)
    with pytest.raises(WeightsError, match="train the run again"):
        published.write_card(store, record)
