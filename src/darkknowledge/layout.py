"""What a record says: its keys, what stands under them, and a check that it does.

A record is JSON, so that "int" is a whole number, "float" any number and ``| None`` may be null. A
record may hold more keys than these, and the oldest lack those that are not required.
"""

import datetime
import functools
import types
from itertools import chain
from typing import (
    Any,
    NamedTuple,
    NotRequired,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

#: No whole number of a record reaches it.
BOUND = 2**63


class History(TypedDict):
    """Per epoch, in order: mean hard and soft part of the loss, validation accuracy, seconds."""

    epoch: list[int]
    loss_hard: list[float]
    loss_soft: list[float]
    validation_accuracy: list[float]
    seconds: list[float]


class Metrics(TypedDict):
    """Final metrics on a split of ``n`` images, as :func:`darkknowledge.metrics.report` makes them.

    ``confusion`` [true class, predicted class] counts images, ``mean_logits`` [true class, class];
    ``nll`` is in nats; ``teacher_agreement`` is a share and ``teacher_kl`` in nats.
    """

    n: int
    errors: int
    accuracy: float
    nll: float
    ece: float
    confusion: list[list[int]]
    mean_logits: list[list[float]]
    teacher_agreement: float | None
    teacher_kl: float | None


class SoftTargets(TypedDict):
    """The teacher's soft labels at the run's temperature, over the first ``images`` training images:
    entropy in nats, mass per class, and the norms of both parts' gradients at the start."""

    images: int
    entropy: float
    mass: list[float]
    gradient_hard: float
    gradient_soft: float


class Shift(TypedDict):
    """What a bias on the unseen classes makes of the test errors."""

    bias: float
    errors: int
    errors_unseen: int
    confusion: list[list[int]]


class Unseen(TypedDict):
    """Where the transfer set lacks ``classes``: how many test images these have, the logits of those
    on the contact sheet [class, image, logit], and what each way to choose a bias gives."""

    classes: list[int]
    images: int
    examples: list[list[list[float]]]
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
    """What decides how sums are rounded, as :func:`darkknowledge.cost.processor` finds it."""

    vendor: str
    capability: str
    bf16: bool


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


def check(body: Any, layout: Any) -> None:
    """Raise ValueError, which names the key, unless ``body`` is laid out as a TypedDict says."""
    if wrong := _misfit(body, _taken_apart(layout)):
        raise ValueError(wrong.removeprefix(".") if wrong[0] == "." else f"it{wrong}")
    if layout is Record:
        finished = datetime.datetime.fromisoformat(body["provenance"]["finished"])
        if finished.tzinfo is None:
            raise ValueError("provenance.finished has no time zone")
        width = len(str(body["spec"]["data"]["classes"] - 1))
        if len(body["predictions"]) != width * body["test"]["n"]:
            raise ValueError("predictions are not as many as test.n says")
        if (unseen := body.get("unseen")) and unseen["images"] < 1:
            raise ValueError("unseen.images is less than 1")


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class _Kind(NamedTuple):
    """A type taken apart: whether it may be null; a mapping's keys, or lists in lists of a ``leaf``."""

    optional: bool
    keys: "dict[str, _Kind]"
    required: frozenset[str]
    outer: tuple[type, ...]
    leaf: Any


@functools.cache
def _taken_apart(kind: Any) -> _Kind:
    optional = isinstance(kind, types.UnionType)
    kind = get_args(kind)[0] if optional else kind
    if is_typeddict(kind):
        keys = {key: _taken_apart(inner) for key, inner in get_type_hints(kind).items()}
        return _Kind(optional, keys, kind.__required_keys__, (dict,), Any)
    outer = []
    while origin := get_origin(kind):
        outer.append(origin)
        kind = get_args(kind)[-1]
    return _Kind(optional, {}, frozenset(), tuple(outer), kind)


def _misfit(value: Any, due: _Kind) -> str:
    """What of a value is not of its type, after the way to it; empty if nothing is."""
    if value is None and due.optional:
        return ""
    values = [value]
    for outer in due.outer:  # all entries at once, for there are hundreds
        if not set(map(type, values)) <= {outer}:
            return f" is not a {outer.__name__} of what it should hold"
        if not due.keys:
            values = list(chain.from_iterable(v.values() if outer is dict else v for v in values))
    for key, inner in due.keys.items():
        if key in value:
            if (
                type(value[key]) in (str, float)
                and inner.leaf is type(value[key])
                and not inner.outer
            ):
                continue  # most are such, and a call for each would take most of the time
            if wrong := _misfit(value[key], inner):
                return f".{key}{wrong}"
        elif key in due.required:
            return f".{key} is missing"
    if due.leaf is not Any and not _all_are(due.leaf, values):
        return f" is not {_WORDS[due.leaf]}, or holds what is not"
    return ""


def _all_are(kind: type, values: list[Any]) -> bool:
    found = set(map(type, values))
    if kind is float and int in found:
        values, found = [v for v in values if type(v) is int], found - {float}
    if kind in (int, float) and found == {int}:
        return bool(-BOUND < min(values) <= max(values) < BOUND)
    return found <= {kind}
