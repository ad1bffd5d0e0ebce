"""Published weights: a card that holds, refusals that explain, and images as people have them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torchvision.io import write_jpeg, write_png

from conftest import small_run, synthetic_parts
from darkknowledge.experiment import published, run
from darkknowledge.experiment.published import WeightsError

SHAPE = (1, 8, 8)


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
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path, image in zip(paths, synthetic_parts()[1].images, strict=False):
        write_png(image, str(path))
    found = published.predict(weights, paths)
    predictions = store.read("mnist5k", published.read_card(weights).run_id)["predictions"]
    assert "".join(max(p, key=p.get) for p in found) == predictions[:8]
    assert all(sum(p.values()) == pytest.approx(1) for p in found)


def test_images_of_any_size_colour_and_polarity_are_taken_and_nothing_else(weights, tmp_path):
    image = synthetic_parts()[1].images[0]
    large = torch.nn.functional.interpolate(image[None].float(), scale_factor=5).byte()[0]
    write_jpeg(large.expand(3, -1, -1).contiguous(), str(tmp_path / "large.jpg"), quality=100)
    write_png(255 - image, str(tmp_path / "dark.png"))
    for shape in (SHAPE, (3, 32, 32)):
        assert published.read_image(tmp_path / "large.jpg", shape).shape == shape
    assert torch.equal(published.read_image(tmp_path / "dark.png", SHAPE, invert=True), image)
    (tmp_path / "note.png").write_text("no image")
    for wrong in ("note.png", "absent.png"):
        with pytest.raises(WeightsError, match="cannot be read as an image"):
            published.predict(weights, [tmp_path / wrong])


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


def test_no_card_is_written_for_weights_that_are_not_the_runs_own(weights, store):
    record = store.read("mnist5k", published.read_card(weights).run_id)
    spoil_weights(weights)
    with pytest.raises(WeightsError, match="train the run again"):
        published.write_card(store, record)
