"""Images in a folder of the user's own, one subfolder per class: found, decoded once, kept as pixels.

``train/`` and ``test/`` (or ``val/``) hold the classes, or the folder itself does; then a fifth of the
images, by the proportions of the classes, is kept for the test."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from darkknowledge import config
from darkknowledge.experiment import data, pictures
from darkknowledge.experiment.data import DataError, Split
from darkknowledge.processes import cores
from darkknowledge.spec import DataSpec

#: The share of the images that is kept for the test where there is no folder for it.
TEST_SHARE = 0.2
#: What folders of images to train on, and to test on, are called, in capitals or not.
TRAINS, TESTS = ("train", "training"), ("test", "testing", "val", "valid", "validation")
#: How many images a class has at least, with a test folder of its own and without.
FEWEST, FEWEST_ALONE = 3, 5
#: Images that are looked at to see whether a folder is in colour.
LOOKED_AT = 200


@dataclass(frozen=True)
class Folder:
    """The images of a folder: ``files`` of the training part and, where there is one, of the test part,
    and the ``classes``, in the order of their labels."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]

    def label(self, path: Path) -> int:
        """The class of an image, by its subfolder."""
        part = self.root if len(self.files) == 1 else path.relative_to(self.root).parts[0]
        return self.classes.index(path.relative_to(self.root / part).parts[0])

    def signature(self) -> str:
        """A hash of names, sizes and times: as long as it stays, the images are taken for the same."""
        states = ((p, p.stat()) for part in self.files for p in part)
        said = [f"{p.relative_to(self.root)} {s.st_size} {s.st_mtime_ns}" for p, s in states]
        return hashlib.sha256(os.fsencode("\n".join(said))).hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 over the names and contents of all images (decoders differ in the last bit)."""
        digest = hashlib.sha256()
        for path in (p for part in self.files for p in part):
            digest.update(os.fsencode(path.relative_to(self.root)) + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def find(root: Path) -> Folder:
    """The images of a folder by class. Raises DataError, in one sentence, for a folder that cannot be
    learned from: without two classes, or with a class that has too few images."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.")
    # A class may be called so too: trains among vehicles. It holds no folders.
    holders = sorted(path.parent for path in root.glob("[!.]*/[!.]*") if path.is_dir())
    inside = {path.name.lower(): path for path in holders}
    trains, tests = (
        [inside[name] for name in names if name in inside] for names in (TRAINS, TESTS)
    )
    if tests and not trains:
        raise DataError(f"{tests[0]} has no train/ beside it: put there what is to be trained on.")
    parts = [*trains[:1], *tests[:1]] or [root]
    fewest = FEWEST if tests else FEWEST_ALONE
    found = [_images(part) for part in parts]
    classes = tuple(found[0])
    for name in (str(root), *classes):
        if {unicodedata.category(sign) for sign in name} & {"Cc", "Cs", "Zl", "Zp"}:
            raise DataError(f"{name!r} has signs that no text can show: rename that folder.")
    if len(classes) < 2:
        have = f"only the class {classes[0]!r}" if classes else "no class"
        what = "put the images of each class into a subfolder of their own"
        raise DataError(f"{parts[0]} has {have}: {what}.")
    for name, files in found[0].items():
        if len(files) < fewest:
            have = f"only {len(files)} image{'s'[: len(files) != 1]}"
            raise DataError(f"The class {name!r} of {parts[0]} has {have}: it needs {fewest}.")
    empty = {name for name, files in found[-1].items() if not files}
    if len(found) > 1 and (odd := set(found[0]) ^ set(found[1]) | empty):
        where = f"{parts[0].name}/ and {parts[1].name}/"
        raise DataError(f"The class {min(odd)!r} of {root} is not in both of {where}.")
    every = tuple(tuple(p for files in part.values() for p in files) for part in found)
    return Folder(parts[0] if len(parts) == 1 else root, classes, every)


def _images(part: Path) -> dict[str, list[Path]]:
    """The images of each subfolder, in order; what systems and editors leave there is none."""
    found = {}
    for folder in sorted(p for p in part.iterdir() if p.is_dir() and p.name[0] != "."):
        within = (p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
        found[folder.name] = sorted(p for p in within if p.name[0] != "." and p.is_file())
    return found


def unused(folder: Folder) -> list[Path]:
    """Other folders for a test, beside the one that is used."""
    names = {path.relative_to(folder.root).parts[0] for part in folder.files for path in part}
    beside = folder.root.iterdir() if len(folder.files) > 1 else ()
    return sorted(p for p in beside if p.name.lower() in (*TRAINS, *TESTS) and p.name not in names)


def left_out(folder: Folder) -> Counter[str]:
    """How many files beside the images are not read, by their endings; hidden ones are not counted."""
    taken = {path for part in folder.files for path in part}
    every = (path for one in {path.parent for path in taken} for path in one.iterdir())
    rest = (p for p in every if p not in taken and p.is_file() and p.name[0] != ".")
    return Counter(path.suffix.lower() for path in rest if path.name != "Thumbs.db")


def some(folder: Folder) -> list[Image.Image]:
    """A few images of all classes, in RGB. Raises DataError."""
    files = folder.files[0]
    return [_opened(path) for path in files[:: max(1, len(files) // LOOKED_AT)]]


def grey(images: list[Image.Image]) -> bool:
    """Whether images without colour are all that there is."""
    pixels = (np.asarray(image.resize((32, 32)), int) for image in images)
    return all(np.abs(p - p.mean(2, keepdims=True)).max() < 3 for p in pixels)


def usual_side(images: list[Image.Image], low: int, high: int) -> int:
    """The median of the shorter sides of images, in pixels, within bounds."""
    return int(np.clip(np.median([min(image.size) for image in images]), low, high))


def splits(spec: DataSpec) -> tuple[tuple[Split, Split], tuple[str, ...]]:
    """Training and test images [n, 1 or 3, side, side] of a user's own data set, and its classes.

    They are decoded once; the pixels are kept beside other data. Raises DataError if the folder is
    not there any more, or not as it was."""
    places = config.places("data_root", dataset="folder", fingerprint=spec.fingerprint)
    if not places:
        what = "write the setup again with 'darkknowledge new'"
        raise DataError(f"No setup in params/ says where the images of {spec.name} lie: {what}.")
    return read(find(places[0]), spec.fingerprint, spec.side, spec.grey)


def read(
    folder: Folder, fingerprint: str, side: int, grey: bool
) -> tuple[tuple[Split, Split], tuple[str, ...]]:
    """As :func:`splits`, of a folder that has that fingerprint. Raises DataError."""
    name = f"{fingerprint[:16]}-{side}{'-grey' if grey else ''}.safetensors"
    cache = Path.home() / ".cache" / "darkknowledge" / "own" / name
    signature = folder.signature()
    parts = data.read_cache(cache, signature)
    if parts is None:
        if folder.fingerprint() != fingerprint:
            what = "call 'darkknowledge new' again, under another name"
            raise DataError(f"The images of {folder.root} are not those of the profile: {what}.")
        parts = _test_apart(tuple(_decoded(folder, files, side, grey) for files in folder.files))
        data.write_cache(cache, signature, parts)
    train, test = parts
    return (train, test), folder.classes


def twins(train: Split, test: Split) -> int:
    """How many test images are training images too, pixel by pixel."""
    known = {hash(image.numpy().tobytes()) for image in train.images}
    return sum(hash(image.numpy().tobytes()) in known for image in test.images)


def _test_apart(parts: tuple[Split, ...]) -> tuple[Split, ...]:
    if len(parts) > 1:
        return parts
    whole = parts[0]
    test, train = data.stratified(whole.labels, round(TEST_SHARE * len(whole)), data.SPLIT_SEED)
    tested = torch.zeros(len(whole), dtype=torch.bool).index_fill(0, test, True)
    for label in whole.labels.unique():  # a small class may get none, and every one is tested
        of_class = whole.labels == label
        if not (tested & of_class).any():
            tested[of_class.nonzero()[0]] = True
    return whole.take(~tested), whole.take(tested)


def _decoded(folder: Folder, files: tuple[Path, ...], side: int, grey: bool) -> Split:
    pixels = np.empty((len(files), side, side, 1 if grey else 3), np.uint8)

    def decode(i: int) -> None:
        image = pictures.square(_opened(files[i]), side, grey)
        pixels[i] = np.asarray(image).reshape(pixels.shape[1:])

    with ThreadPoolExecutor(cores()) as pool:  # Pillow decodes without Python's lock
        for _ in pool.map(decode, range(len(files))):
            pass
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor([folder.label(path) for path in files]))


def _opened(path: Path) -> Image.Image:
    try:
        return pictures.upright(path)
    except pictures.PictureError as error:
        raise DataError(
            f"The image {path} cannot be read ({error}): replace or remove it."
        ) from None
