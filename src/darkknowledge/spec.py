"""What one training is: ``RunSpec`` and its parts, validated, and its content address ``run_id``.

A run is a pure function of its spec. Nothing here imports torch, so a grid can be planned,
counted and checked anywhere."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: Raised by one whenever the arithmetic of a training changes, so that old records do not pass
#: for new ones. 2: every net centres its inputs on its training images, dropout masks come from
#: random bytes, momentum is Nesterov's.
RECIPE_VERSION = 2

#: SHA-256 over the images and labels of training and test set, in that order; for image trees over
#: their files (decoders differ in the last bit); for CIFAR the MD5 of the archive that torchvision
#: unpacks.
FINGERPRINTS = {
    "mnist": "e0130f111822ed58de3ba94ad450971c80ee446d2ff4d08e2b4c8e8be16eae50",
    "mnist5k": "b2db934fad5270e45fdba4d4fb8d2b47a07a6f88ec58d07fd1330c2e3116d54e",
    "mnist5k_rgb": "d7230aae07dd22bb149e1a43a4ee6248daa39f7aaf3c203a4e90a12bddfbe9b6",
    "fashion_mnist": "a06d3266794aa0147787f49603795ec5e8a32fac55270d9b4ac38d415b342e8c",
    "cifar10": "md5:c58f30108f718f92721af3b95e74349a",
    "cifar10_jpeg": "8f2f77ec36d282d215026ab23dfdfecf0f900826092b4f7a8bbc11763bf6a69e",
    "cifar100": "md5:eb9058c3a382ffc7106e4002c42a8d85",
}
DIGITS = tuple("0123456789")
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
#: The names of the classes of each set, in the order of its labels.
CLASS_NAMES = {
    **dict.fromkeys(("mnist", "mnist5k", "mnist5k_rgb"), DIGITS),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    **dict.fromkeys(("cifar10", "cifar10_jpeg"), CIFAR10_CLASSES),
    "cifar100": tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab
        crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
        lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
        oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
        possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
        spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
        train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
    ),
}
#: Convolutional nets for 32 by 32 RGB images.
CONVNETS = (
    *("plain_cnn", "resnet8", "resnet20", "resnet32", "resnet56"),
    *("resnet18", "resnet34", "resnet50", "vgg13", "mobilenetv2", "airbench"),
)
#: torchvision's classification networks by its own names, beside those of ours of the same name.
TORCHVISION = tuple(
    """alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161
    densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m
    efficientnet_v2_s maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf
    regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
    regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152
    resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0
    shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b
    swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32
    vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2""".split()
)
MODELS = ("mlp", *CONVNETS, *TORCHVISION)
#: A network of the user's own: what makes it, and the module that this is in.
CALLABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
MODES = (
    *("hard", "kd", "label_smoothing", "uniform_teacher", "tfkd_reg", "shuffled_teacher"),
    *("permuted_teacher", "untrained_teacher", "confidence_only"),
    *("target_part", "nontarget_part", "decoupled"),
)
#: Modes whose loss needs the logits of a teacher network.
TEACHER_MODES = ("kd", *MODES[MODES.index("shuffled_teacher") :])
#: Modes whose soft part needs no true label, so that unlabelled images can teach.
LABEL_FREE_MODES = ("kd", "uniform_teacher", "shuffled_teacher", "untrained_teacher")
AUGMENTATIONS = ("none", "jitter", "crop_flip", "shift_flip")
OPTIMISERS = ("sgd", "adamw", "muon")
SCHEDULES = ("one_cycle", "linear")
PRECISIONS = ("bf16", "fp32")
DEVICES = ("cpu", "cuda")
#: Settings that there were once, and the value that the records of their time hold.
GONE = {"max_norm": 0.0}
#: No whole number of a spec reaches it.
BOUND = 2**63
#: Pixels of a side that images have at least.
SMALLEST = 8


class SpecError(ValueError):
    """A setting that no run can have; the message is one sentence that says what to do."""


def shown(value: Any) -> str:
    """``repr`` for a message, of bounded length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]} …"


def choose(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``; raise SpecError with the nearest names if not."""
    import difflib

    allowed = tuple(allowed)
    if value not in allowed:
        close = difflib.get_close_matches(value, allowed, n=1) if isinstance(value, str) else ()
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"{name} is {shown(value)}, but must be one of {', '.join(allowed)}.{hint}")
    return str(value)


def plain(name: str, value: Any) -> str:
    """Return ``value`` if it is a name that cannot lead out of a folder; raise SpecError if not."""
    fine = isinstance(value, str) and all(c.isalnum() or c in "-_." for c in value)
    if not fine or not value or value[0] == ".":
        due = "must be made of letters, digits, '-' and '_'"
        raise SpecError(f"{name} is {shown(value)}, but {due}.")
    return str(value)


def place(value: str | Path, base: str | Path = "") -> Path:
    """A path as people write it: ``~`` is a home folder, and a relative one counts from ``base``, by
    default the working directory. Raises SpecError."""
    path = os.path.expanduser(value)
    if path[:1] == "~" or "\0" in path:
        raise SpecError(f"{shown(str(value))} is no path here (a name with ~ begins with ./~).")
    return Path(base, path)


def content_of(path: Path) -> bytes:
    """The bytes of a regular file. Raises OSError, also for a pipe or a device, which may have no end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "this is no regular file", str(path))
    return path.read_bytes()


def text_of(path: Path) -> str:
    """The text of a regular file. Raises OSError, and SpecError if it is not UTF-8."""
    try:
        return content_of(path).decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from None


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return ``value`` as a float within [low, high]; raise SpecError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        hint = " (in YAML write 1.0e-3, not 1e-3)" if isinstance(value, str) else ""
        raise SpecError(f"{name} is {shown(value)}, but must be a number{hint}.")
    if abs(value) < 1e300 and low <= value <= high:  # False for NaN
        return float(value)
    bounds = f" and at least {low:g}" if math.isfinite(low) else ""
    bounds = f" and between {low:g} and {high:g}" if math.isfinite(high) else bounds
    raise SpecError(f"{name} is {shown(value)}, but must be finite{bounds}.")


def integer(name: str, value: Any, low: int = 0) -> int:
    """Return ``value`` as an int of at least ``low``; raise SpecError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(f"{name} is {shown(value)}, but must be a whole number.")
    if not low <= value < BOUND:
        bound = f"at least {low}" if value < low else f"less than {BOUND}"
        raise SpecError(f"{name} is {shown(value)}, but must be {bound}.")
    return value


def positive(name: str, value: Any) -> float:
    """Return ``value`` as a float above zero; raise SpecError if it is not one."""
    result = number(name, value)
    if result <= 0:
        raise SpecError(f"{name} is {shown(value)}, but must be greater than 0.")
    return result


def integers(name: str, value: Any, low: int = 0) -> tuple[int, ...]:
    """Return a list of whole numbers as a tuple; raise SpecError for anything else."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        hint = " (with papermill: -y '{seeds: [1, 2]}', not -p)" if isinstance(value, str) else ""
        raise SpecError(f"{name} is {shown(value)}, but must be a list of whole numbers{hint}.")
    return tuple(integer(f"{name}[{i}]", v, low) for i, v in enumerate(value))


def distinct(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return ``values``; raise SpecError if one stands there twice."""
    repeated = sorted(value for value, count in Counter(values).items() if count > 1)
    if repeated:
        raise SpecError(f"{name} names {shown(repeated[0])} twice; name each value once.")
    return values


def _set(spec: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(spec, name, value)


@dataclass(frozen=True)
class DataSpec:
    """The data of a run: which set, how much of it is held out, and which classes the training sees.

    ``validation`` counts the images held out of the training set. All else concerns only the
    training split (the transfer set of a student), never validation or test: ``omit`` and ``keep``
    name classes; ``share`` draws that share of every class by the number ``draw``, or, as
    ``complement``, all others; with ``unlabelled`` the others stay, without their labels. ``noise``
    puts uniform noise, drawn by ``draw``, in the place of every image, and leaves no label. A user's own
    images have a ``side`` in pixels, and are ``grey`` or in colour."""

    name: str
    fingerprint: str
    validation: int
    omit: tuple[int, ...] = ()
    keep: tuple[int, ...] = ()
    classes: int = 10
    share: float = 1.0
    complement: bool = False
    unlabelled: bool = False
    noise: bool = False
    draw: int = 0
    side: int = 0
    grey: bool = False

    def __post_init__(self) -> None:
        if self.side:
            integer("side", self.side, SMALLEST)
            if plain("name", self.name) in FINGERPRINTS:
                raise SpecError(f"{self.name} is the name of a known data set: take another one.")
        else:
            choose("dataset", self.name, FINGERPRINTS)
        _set(self, share=number("share", self.share, 0, 1))
        integer("draw", self.draw)
        if self.share == 0 or (self.complement and self.unlabelled):
            raise SpecError("share must be above 0, and its complement cannot be unlabelled.")
        if self.share == 1 and (self.complement or self.unlabelled):
            raise SpecError("complement and unlabelled need a share below 1.")
        if self.draw and self.share == 1 and not self.noise:
            raise SpecError("draw is for a share of the images, or for noise.")
        if not isinstance(self.fingerprint, str) or not self.fingerprint:
            raise SpecError("fingerprint must be the data set's SHA-256, as a string.")
        integer("classes", self.classes, 2)
        integer("validation", self.validation, 1)
        for name in ("omit", "keep"):
            chosen = tuple(sorted(distinct(name, integers(name, getattr(self, name)))))
            if chosen and chosen[-1] >= self.classes:
                most = f"{self.name} has only the classes 0 to {self.classes - 1}"
                raise SpecError(f"{name} names class {chosen[-1]}, but {most}.")
            _set(self, **{name: chosen})
        if self.omit and self.keep:
            raise SpecError("Give either omit or keep, not both.")
        if len(self.omit) == self.classes:
            raise SpecError("omit names all classes, so nothing would be left to train on.")

    @property
    def unseen(self) -> tuple[int, ...]:
        """The classes that no training image has."""
        absent = self.omit or (set(range(self.classes)) - set(self.keep) if self.keep else ())
        return tuple(sorted(absent))


def data_spec(name: str, validation: int, **subset: Any) -> DataSpec:
    """The DataSpec of a data set that this package knows, with its pinned fingerprint and its number of
    classes."""
    if name in CLASS_NAMES:
        subset = {"classes": len(CLASS_NAMES[name])} | subset
    return DataSpec(name, FINGERPRINTS.get(name, "?"), validation, **subset)


def _network(name: Any) -> None:
    """Raise SpecError for the name of no network."""
    import difflib

    if name in MODELS or (isinstance(name, str) and CALLABLE.fullmatch(name)):
        return
    close = difflib.get_close_matches(name, MODELS, n=1) if isinstance(name, str) else ()
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SpecError(
        f"The model {shown(name)} is none of {', '.join(('mlp', *CONVNETS))}, of torchvision's (as "
        f"mobilenet_v3_small), or of one's own as module:callable.{hint}"
    )


def class_names(known: DataSpec | str) -> tuple[str, ...]:
    """The names of a data set's classes in the order of its labels: of a set of this package by its
    name, of any other by its spec, where they are the numbers from 0. Raises SpecError."""
    if isinstance(known, str):
        return CLASS_NAMES[choose("dataset", known, CLASS_NAMES)]
    return CLASS_NAMES.get(known.name) or tuple(map(str, range(known.classes)))


@dataclass(frozen=True)
class ModelSpec:
    """A network by name. ``hidden`` are the units of each hidden layer of ``mlp``, the channels of
    the three convolutions of ``plain_cnn`` (empty: its own), or those of the three groups of
    ``airbench``; dropout belongs to ``mlp``. A user's own network is named ``module:callable``, and
    ``code`` is a hash of that module's file."""

    name: str
    hidden: tuple[int, ...] = ()
    dropout_input: float = 0.0
    dropout_hidden: float = 0.0
    code: str = ""

    def __post_init__(self) -> None:
        _network(self.name)
        _set(
            self,
            hidden=integers("hidden", self.hidden, 1),
            dropout_input=number("dropout_input", self.dropout_input, 0, 0.99),
            dropout_hidden=number("dropout_hidden", self.dropout_hidden, 0, 0.99),
        )
        if self.name != "mlp" and (self.dropout_input or self.dropout_hidden):
            raise SpecError(f"dropout belongs to mlp, not to {self.name}.")
        if self.name == "plain_cnn" and len(self.hidden) not in (0, 3):
            raise SpecError("plain_cnn has three widths or none, as plain_cnn-8-16-32.")
        if self.name == "airbench" and len(self.hidden) != 3:
            raise SpecError("airbench has three widths, as airbench-32-128-128.")
        if self.name not in ("mlp", "plain_cnn", "airbench") and self.hidden:
            raise SpecError(f"widths belong to mlp, plain_cnn and airbench, not to {self.name}.")

    @property
    def label(self) -> str:
        """Short name for tables, as ``mlp-800-800``."""
        return "-".join([self.name, *map(str, self.hidden)])

    @classmethod
    def named(cls, label: str, **rest: Any) -> ModelSpec:
        """The net that :attr:`label` names, with its other fields. Raises SpecError."""
        name, *widths = label.split("-") if isinstance(label, str) else [label]
        _network(name)
        if not all(w.isdecimal() and len(w) < 10 for w in widths):
            due = "widths follow a name as in mlp-800-800"
            raise SpecError(f"{shown(label)} is no network: {due}.")
        return cls(name, tuple(map(int, widths)), **rest)


@dataclass(frozen=True)
class Recipe:
    """How a network is optimised. ``epochs`` 0 leaves it at its initialisation.

    ``sides`` are the sides in pixels to which the images of equal parts of the training are resized,
    as (20, 26, 32); empty leaves their size alone."""

    optimiser: str
    lr: float
    epochs: int
    batch_size: int
    schedule: str = "one_cycle"
    momentum: float = 0.9
    weight_decay: float = 0.0
    augmentation: str = "none"
    sides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        choose("optimiser", self.optimiser, OPTIMISERS)
        choose("schedule", self.schedule, SCHEDULES)
        choose("augmentation", self.augmentation, AUGMENTATIONS)
        integer("epochs", self.epochs)
        integer("batch_size", self.batch_size, 1)
        _set(
            self,
            lr=positive("lr", self.lr),
            momentum=number("momentum", self.momentum, 0, 0.9999),
            weight_decay=number("weight_decay", self.weight_decay, 0),
            sides=integers("sides", self.sides, 8),
        )
        if self.optimiser == "muon" and self.weight_decay:
            raise SpecError("muon has no weight_decay: leave it away.")


@dataclass(frozen=True)
class LossSpec:
    """L = w_hard · CE + w_soft · T² · KL; see :mod:`darkknowledge.experiment.losses`.

    ``teacher_view`` is another one in some old records alone: a teacher sees what its student sees.
    """

    mode: str = "hard"
    temperature: float = 1.0
    w_hard: float = 1.0
    w_soft: float = 0.0
    teacher_view: str = "same"

    def __post_init__(self) -> None:
        choose("mode", self.mode, MODES)
        _set(
            self,
            temperature=positive("temperature", self.temperature),
            w_hard=number("w_hard", self.w_hard, 0),
            w_soft=number("w_soft", self.w_soft, 0),
        )
        if self.mode == "hard" and (self.w_soft or self.temperature != 1):
            raise SpecError("mode 'hard' has no soft part: leave temperature and w_soft away.")
        if self.w_hard == self.w_soft == 0:
            raise SpecError("w_hard and w_soft are both 0, so there is nothing to learn from.")

    @classmethod
    def mix(cls, mode: str, temperature: float, alpha: float) -> LossSpec:
        """The shorthand of the params files: w_soft = alpha, w_hard = 1 − alpha."""
        alpha = number("alpha", alpha, 0, 1)
        return cls(mode, temperature, round(1 - alpha, 12), alpha)


#: Cross-entropy with the true labels only.
TRUE_LABELS = LossSpec()


@dataclass(frozen=True)
class RunSpec:
    """One training, whole. Its ``run_id`` names its record and its weights.

    ``given`` is the SHA-256 of a file of weights that stand in for a training: no epoch is trained."""

    data: DataSpec
    model: ModelSpec
    recipe: Recipe
    seed: int
    loss: LossSpec = TRUE_LABELS
    teacher: RunSpec | None = None
    precision: str = "bf16"
    device: str = "cpu"
    recipe_version: int = RECIPE_VERSION
    given: str = ""

    def __post_init__(self) -> None:
        integer("seed", self.seed)
        if self.given and (self.recipe.epochs or self.teacher):
            raise SpecError("A network whose weights are given is trained no more.")
        choose("precision", self.precision, PRECISIONS)
        choose("device", self.device, DEVICES)
        needs = self.loss.mode in TEACHER_MODES
        if needs and self.teacher is None:
            raise SpecError(f"mode {self.loss.mode!r} needs a teacher.")
        if not needs and self.teacher is not None:
            raise SpecError(f"mode {self.loss.mode!r} has no teacher.")
        labels = not (self.data.unlabelled or self.data.noise)
        if not labels and self.loss.mode not in LABEL_FREE_MODES:
            raise SpecError(f"mode {self.loss.mode!r} needs the label of every image.")
        choose("teacher_view", self.loss.teacher_view, ["same"])
        if self.data.noise and self.loss.w_hard:
            raise SpecError("noise has no labels: w_hard must be 0.")

    def canonical(self) -> dict[str, Any]:
        """The spec as plain JSON values, its teacher replaced by the teacher's ``run_id``.

        Fields at their default are left out, so that a field added later leaves the addresses of
        older runs alone. A default may therefore change only together with RECIPE_VERSION."""
        return {**_plain(self, compact=True), "recipe_version": self.recipe_version}

    def full(self) -> dict[str, Any]:
        """The spec as plain JSON values with every field, as records keep it."""
        return dict(_plain(self, compact=False))

    @functools.cached_property  # a plan asks for it again and again
    def run_id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the canonical spec."""
        return _address(self.canonical())

    @property
    def label(self) -> str:
        """One line for progress and error messages."""
        loss = self.loss
        soft = f" T={loss.temperature:g} w_soft={loss.w_soft:g}" if loss.mode != "hard" else ""
        return f"{self.model.label} {loss.mode}{soft} seed {self.seed} [{self.run_id}]"


def _address(canonical: dict[str, Any]) -> str:
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_id_of(full: dict[str, Any]) -> str:
    """The ``run_id`` of the spec that :meth:`RunSpec.full` wrote out as ``full``.

    Raises SpecError, TypeError, KeyError or AttributeError for what is no such spec."""
    canonical = {"recipe_version": full["recipe_version"]}
    spec = read_back(full)
    for field in fields(RunSpec):
        value = getattr(spec, field.name)
        if value != field.default:
            canonical[field.name] = _plain(value, compact=True)
    return _address(canonical)


def read_back(full: dict[str, Any]) -> SimpleNamespace:
    """The fields of the RunSpec that was written out as ``full``, its teacher by ``run_id``. Those that
    came later than it are at their default. Raises as :func:`run_id_of` does."""
    parts = {"data": DataSpec, "model": ModelSpec, "recipe": Recipe, "loss": LossSpec}
    found = {field.name: full.get(field.name, field.default) for field in fields(RunSpec)}
    for name, part in parts.items():
        found[name] = part(**{k: v for k, v in found[name].items() if (k, v) not in GONE.items()})
    return SimpleNamespace(**found)


def _plain(value: Any, compact: bool) -> Any:
    if not is_dataclass(value):
        return list(value) if isinstance(value, tuple) else value
    result = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if compact and item == field.default:
            continue
        result[field.name] = item.run_id if isinstance(item, RunSpec) else _plain(item, compact)
    return result
