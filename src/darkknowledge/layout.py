"""What a record says: its keys, what stands under them, and a check that it does and is consistent.

A record is JSON, so that "int" is a whole number, "float" any number and ``| None`` may be null. A
record may hold more keys than these, and the oldest lack those that are not required."""

import datetime
import functools
import math
import operator
import re
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NotRequired, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from darkknowledge.spec import BOUND

#: Ways to choose the bias of unseen classes; see :mod:`darkknowledge.experiment.metrics`.
SHIFTS = ("none", "validation", "label_free", "oracle")


#: Other machines round otherwise: this share of the test images may come out differently.
ROUNDING = 0.0005


class History(TypedDict):
    """Per epoch, in order: mean hard and soft part of the loss, validation accuracy, seconds."""

    epoch: list[int]
    loss_hard: list[float]
    loss_soft: list[float]
    validation_accuracy: list[float]
    seconds: list[float]


class Metrics(TypedDict):
    """Final metrics on a split of ``n`` images.

    ``confusion`` [true class, predicted class] counts images, ``mean_logits`` [true class, class];
    ``nll`` is in nats; ``teacher_agreement`` is a share."""

    n: int
    errors: int
    accuracy: float
    nll: float
    ece: float
    confusion: list[list[int]]
    mean_logits: list[list[float]]
    teacher_agreement: float | None


class SoftTargets(TypedDict):
    """The teacher's soft labels at the run's temperature, over the first ``images`` training images:
    their entropy in nats."""

    images: int
    entropy: float


class Shift(TypedDict):
    """What a bias on the unseen classes makes of the test errors."""

    bias: float
    errors: int
    errors_unseen: int
    confusion: list[list[int]]


class Unseen(TypedDict):
    """Where the transfer set lacks ``classes``: how many test images these have, and what each way to
    choose a bias gives."""

    classes: list[int]
    images: int
    none: Shift
    validation: Shift
    label_free: Shift
    oracle: Shift


class Cost(TypedDict):
    """Of the net: trainable parameters, FLOPs per image, bytes of its weights."""

    parameters: int
    flops: int
    bytes_fp32: int
    bytes_fp16: int


class Processor(TypedDict):
    """What decides how sums are rounded, as :func:`darkknowledge.devices.processor` finds it."""

    vendor: str
    capability: str
    bf16: bool
    amx: NotRequired[bool]  # records from before it was noted come from processors without


#: What is said of a record that does not say where it was made.
UNKNOWN = "not recorded"


def made_on(record: Mapping[str, Any]) -> str:
    """What a run's last digits depend on, in words: the type of its processor, as "AuthenticAMD, AVX512,
    bf16", or the name of its GPU; ``UNKNOWN`` where the record does not say."""
    about = record["provenance"]
    if record["spec"]["device"] == "cuda":
        return str(about["device_name"])
    known = about.get("processor")
    return processor_words(known) if known else UNKNOWN


def processor_words(processor: Mapping[str, Any]) -> str:
    """A type of processor in words."""
    bf16 = "bf16" if processor["bf16"] else "no bf16"
    amx = " by AMX" if processor.get("amx") else ""
    return f"{processor['vendor']}, {processor['capability']}, {bf16}{amx}"


class Quantised(TypedDict):
    """What rounding the weights to eight bits leaves on the test images."""

    errors: int


class Provenance(TypedDict):
    """Where the numbers come from. ``seconds`` are of the whole run, ``training_seconds`` of the
    training alone; ``finished`` is a time in ISO 8601 with its zone; ``versions`` by package."""

    data: str
    training_images: int
    seconds: float
    training_seconds: float
    images_per_second: float
    finished: str
    device_name: str
    processor: NotRequired[Processor]
    threads: int
    versions: dict[str, str]
    commit: str


class Record(TypedDict):
    """The whole outcome of a run. ``spec`` is :meth:`darkknowledge.spec.RunSpec.full`, a teacher
    standing there by its id; ``predictions`` are the predicted classes of the test images, as equally
    long numbers one after the other; ``weights_sha256`` are of the files of the run's own weights and
    of its teacher's."""

    run_id: str
    label: str
    spec: dict[str, Any]
    history: History
    validation: Metrics
    test: Metrics
    test_int8: NotRequired[Quantised]
    soft_targets: NotRequired[SoftTargets | None]
    unseen: NotRequired[Unseen | None]
    predictions: str
    cost: Cost
    weights_sha256: str
    teacher_weights_sha256: str | None
    provenance: Provenance
    format: int
    checksum: str


class Divergence(TypedDict):
    """The note of a run that diverged: ``reason`` is one sentence."""

    run_id: str
    spec: dict[str, Any]
    reason: str
    format: int
    checksum: str


def check(body: Any, layout: Any, labels: str = "") -> None:
    """Raise ValueError, which names the key, unless ``body`` is laid out as a TypedDict says and, if it
    is a record, agrees with itself and with the true ``labels`` of the test images where these are
    known."""
    if wrong := _misfit(body, layout):
        raise ValueError(wrong.removeprefix(".") if wrong[0] == "." else f"it{wrong}")
    if layout is Record:
        for flaw, holds in _laws(body, labels):
            if not holds:
                raise ValueError(flaw)


def _laws(record: Any, labels: str) -> Iterator[tuple[str, bool]]:
    """What holds within a record, each law with the words for a record that breaks it. One may rest on
    those before it."""
    data, recipe, test = record["spec"]["data"], record["spec"]["recipe"], record["test"]
    finished = datetime.datetime.fromisoformat(record["provenance"]["finished"])
    yield "provenance.finished has no time zone", finished.tzinfo is not None
    history = [record["history"][key] for key in History.__annotations__]
    epochs = {*map(len, history)} == {recipe["epochs"]}
    epochs = epochs and record["history"]["epoch"] == [*range(1, recipe["epochs"] + 1)]
    yield "history does not have the epochs of spec", epochs
    taught = record["spec"]["teacher"] is not None
    for part in ("validation", "test"):
        metrics, counts = record[part], record[part]["confusion"]
        square = _counts(counts, data["classes"])
        yield f"{part}.confusion does not count the classes of spec", square
        images, wrong = _by_class(counts)
        n, errors = sum(images), sum(wrong)
        yield f"{part}.n is not the sum of {part}.confusion", metrics["n"] == n > 0
        yield f"{part}.errors are not those of {part}.confusion", metrics["errors"] == errors
        yield f"{part}.accuracy is not that of {part}.errors", metrics["accuracy"] == 1 - errors / n
        shares = metrics["ece"], metrics["teacher_agreement"] or 0
        yield f"{part}.ece or its teacher_agreement is no share", _within(shares)
        agreement = (metrics["teacher_agreement"] is not None) == taught
        yield f"{part}.teacher_agreement and spec.teacher do not fit each other", agreement
        yield f"{part}.nll is negative", metrics["nll"] >= 0
        shape = {len(metrics["mean_logits"]), *map(len, metrics["mean_logits"])}
        yield f"{part}.mean_logits are not of the classes of spec", shape == {data["classes"]}
    rounded = record.get("test_int8") or {"errors": 0}
    yield "test_int8.errors do not count test images", 0 <= rounded["errors"] <= test["n"]
    soft = record.get("soft_targets") or {"images": 0, "entropy": 0}
    most = math.log(data["classes"]) + 1e-4
    possible = soft["images"] >= 0 and 0 <= soft["entropy"] <= most
    yield "soft_targets are not those of so many classes", possible
    curve = record["history"]["validation_accuracy"]
    yield "history.validation_accuracy is no share", _within(curve)
    about = record["provenance"]
    times = [about[key] for key in ("training_seconds", "seconds", "images_per_second")]
    costs = [*times, *record["cost"].values(), *record["history"]["seconds"]]
    yield "cost, history or provenance has a negative number", min(costs) >= 0
    yield "provenance.seconds are fewer than those of training", times[0] <= times[1]
    yield "validation.n is not that of spec", record["validation"]["n"] == data["validation"]
    if labels:
        known = fits(record, labels)
        yield "predictions do not make test.confusion by the true labels beside it", known
    else:
        found = Counter(_each(record["predictions"], data["classes"]))
        called = {int(c): n for c, n in found.items()}
        columns = {c: n for c, n in enumerate(map(sum, zip(*counts, strict=True))) if n}
        yield "predictions are not those that test.confusion counts", called == columns
    something = min(record["cost"]["parameters"], about["training_images"]) > 0
    yield "cost.parameters or provenance.training_images is less than 1", something
    stated = record["teacher_weights_sha256"] is not None
    yield "teacher_weights_sha256 and spec.teacher do not fit each other", taught == stated
    for key in ("weights_sha256", "teacher_weights_sha256"):
        fine = re.fullmatch("[0-9a-f]{64}", record[key] or "0" * 64)
        yield f"{key} is no SHA-256", fine is not None
    if "unseen" not in record:
        return
    omit, keep, unseen = data["omit"], data["keep"], record["unseen"] or {}
    absent = [c for c in range(data["classes"]) if c in omit or (keep and c not in keep)]
    yield "unseen.classes are not those that spec leaves out", unseen.get("classes", []) == absent
    if not unseen:
        return
    of_absent = sum(images[c] for c in absent)
    yield "unseen.images are not those of test.confusion", unseen["images"] == of_absent > 0
    plain = unseen["none"]["confusion"] == test["confusion"] and unseen["none"]["bias"] == 0
    yield "unseen.none is not what test says", plain
    for name in SHIFTS:
        shift = unseen[name]
        counts = shift["confusion"]
        same = _counts(counts, data["classes"]) and [*map(sum, counts)] == images
        yield f"unseen.{name}.confusion does not count the images of test.confusion", same
        _, wrong = _by_class(counts)
        yield f"unseen.{name}.errors are not those of its confusion", shift["errors"] == sum(wrong)
        here = sum(wrong[c] for c in absent)
        yield f"unseen.{name}.errors_unseen are not its confusion's", shift["errors_unseen"] == here


def misquoted(record: Record, source: Record) -> str:
    """What a student's ``record`` says of its teacher that the teacher's own, ``source``, does not, in a
    word; empty if nothing. Other machines round otherwise: a few predictions may."""
    if source["weights_sha256"] != record["teacher_weights_sha256"]:
        return "weights"
    n, classes = record["test"]["n"], record["spec"]["data"]["classes"]
    same = _agreeing(record["predictions"], source["predictions"], classes)
    off = abs(same - n * (record["test"]["teacher_agreement"] or 0))
    return "" if off <= max(1, n * ROUNDING) else "predictions"


def _agreeing(one: str, other: str, classes: int) -> int:
    """How many images get the same class in two strings of predictions. Raises ValueError."""
    if digits_each(classes) > 1 or len(one) != len(other) or not (one + other).isdecimal():
        return sum(map(operator.eq, _each(one, classes), _each(other, classes)))
    # As whole numbers they are compared ten times as fast: there are many records.
    first, second = (int.from_bytes(text.encode(), "big") for text in (one, other))
    return (first ^ second).to_bytes(len(one), "big").count(0)


def _within(shares: Iterable[float]) -> bool:
    return all(0 <= share <= 1 for share in shares)


def _counts(confusion: list[list[int]], classes: int) -> bool:
    """Whether a matrix counts something of each class by each class."""
    return {len(confusion), *map(len, confusion)} == {classes} and min(map(min, confusion)) >= 0


def _by_class(confusion: list[list[int]]) -> tuple[list[int], list[int]]:
    """Of each true class the images, and the errors on them."""
    images = [*map(sum, confusion)]
    return images, [images[c] - row[c] for c, row in enumerate(confusion)]


def fits(record: Record, labels: str) -> bool:
    """Whether a record's predictions make its confusion by these true classes of the test images."""
    called, rows = record["predictions"], list(enumerate(record["test"]["confusion"]))
    if len(labels) != len(called):
        return False
    said = {(true, other): n for true, row in rows for other, n in enumerate(row) if n}
    if len(rows) > 10:
        try:
            pairs = Counter(zip(_each(labels, len(rows)), _each(called, len(rows)), strict=True))
        except ValueError:
            return False
        return said == {(int(a), int(b)): n for (a, b), n in pairs.items()}
    # A byte an image, which holds both classes, is counted ten times as fast: there are many records.
    high, images = _true(labels)
    low = int.from_bytes(called.encode("ascii", "replace").translate(_LOW), "big")
    mistakes = Counter((high | low).to_bytes(len(called), "big").translate(None, _RIGHT))
    return {divmod(byte, 16): n for byte, n in mistakes.items()} == {
        pair: n for pair, n in said.items() if pair[0] != pair[1]
    } and images == {str(true): sum(row) for true, row in rows if any(row)}


#: A digit as the upper or lower half of a byte; what is none fills both. Bytes of two equal digits.
_HIGH, _LOW = (
    bytes(place * (byte - 48) if 48 <= byte <= 57 else 255 for byte in range(256))
    for place in (16, 1)
)
_RIGHT = bytes(range(0, 160, 17))


@functools.lru_cache(maxsize=8)
def _true(labels: str) -> tuple[int, Counter[str]]:
    """The labels as upper halves of the bytes of a number, and how many there are of each class."""
    high = labels.encode("ascii", "replace").translate(_HIGH)
    return int.from_bytes(high, "big"), Counter(labels)


def digits_each(classes: int) -> int:
    """With how many digits labels and predictions write each class where there are so many classes."""
    return len(str(classes - 1))


def _each(text: str, classes: int) -> list[str]:
    """The equally long numbers that a text consists of, one per image. Raises ValueError."""
    width = digits_each(classes)
    if len(text) % width or not (text.isascii() and text.isdecimal()):
        raise ValueError(f"predictions are not numbers of {width} digits, one after the other")
    return [text[i : i + width] for i in range(0, len(text), width)]


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@functools.cache
def _keys(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The keys of a TypedDict with their types, and those that are required."""
    return get_type_hints(kind), kind.__required_keys__


def _misfit(value: Any, kind: Any) -> str:
    """What of a value is not of its type, after the way to it; empty if nothing is."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return ""
        kind = get_args(kind)[0]
    if is_typeddict(kind):
        keys, required = _keys(kind)
        if type(value) is not dict:
            return " is not a dict of what it should hold"
        for key, inner in keys.items():
            if key in value and (wrong := _misfit(value[key], inner)):
                return f".{key}{wrong}"
            if key in required and key not in value:
                return f".{key} is missing"
        return ""
    values = [value]
    while outer := get_origin(kind):  # all entries at once, for there are hundreds
        if not set(map(type, values)) <= {outer}:
            return f" is not a {outer.__name__} of what it should hold"
        values = list(chain.from_iterable(v.values() if outer is dict else v for v in values))
        kind = get_args(kind)[-1]
    return (
        ""
        if kind is Any or _all_are(kind, values)
        else f" is not {_WORDS[kind]}, or holds what is not"
    )


def _all_are(kind: type, values: list[Any]) -> bool:
    found = set(map(type, values))
    if kind is float and int in found:
        values, found = [v for v in values if type(v) is int], found - {float}
    if kind in (int, float) and found == {int}:
        return bool(-BOUND < min(values) <= max(values) < BOUND)
    return found <= {kind} and (kind is not float or math.isfinite(sum(values)))
