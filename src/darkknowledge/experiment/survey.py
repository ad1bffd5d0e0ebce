"""What there is to do: which planned runs are stored, which are left, and how long those will take.

Nothing here loads torch, which takes seconds: what there is to do is said at once."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from darkknowledge import devices
from darkknowledge.devices import side_by_side, trainable
from darkknowledge.layout import UNKNOWN, Record, made_on, processor_words
from darkknowledge.questions.base import Planned
from darkknowledge.records import Run, Store
from darkknowledge.spec import DEVICES, FINGERPRINTS, RunSpec


@dataclass
class Outcome:
    """What became of a list of runs: lists of specs; messages, by run, of those that failed, and of
    those that diverged, now or before, with their students; the processor, by run, of those whose block
    was trained ``elsewhere``."""

    stored: list[RunSpec] = field(default_factory=list)
    trained: list[RunSpec] = field(default_factory=list)
    no_device: list[RunSpec] = field(default_factory=list)
    no_time: list[RunSpec] = field(default_factory=list)
    not_started: list[RunSpec] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    diverged: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every run now has a record, or is known to have none because it diverged."""
        left = self.no_device or self.no_time or self.not_started or self.failed
        return not (left or self.elsewhere)


def named(specs: Iterable[RunSpec]) -> list[Run]:
    """What the store knows the runs by."""
    return [Run(s.data.name, s.run_id, s.teacher.run_id if s.teacher else "") for s in specs]


def survey(
    specs: list[RunSpec], store: Store, *, elsewhere: bool = False
) -> tuple[Outcome, list[RunSpec]]:
    """What is stored, what diverged, what cannot be trained here (unless it is trained ``elsewhere``),
    and what there is to train, in the order given. Teachers whose record is here but whose weights
    are not come first."""
    known = {spec.run_id: spec for spec in specs}
    progress = store.progress(named(specs))
    outcome = Outcome(stored=[known[run_id] for run_id in progress.stored])
    for spec in (known[run_id] for run_id in progress.diverged):
        note = store.diverged(spec.data.name, spec.run_id)
        outcome.diverged[spec.run_id] = note["reason"] if note else no_teacher(spec)
    missing = [known[run_id] for run_id in progress.missing]
    kinds = {(spec.device, spec.precision) for spec in missing}
    here = {kind for kind in kinds if elsewhere or trainable(*kind)}
    waiting = [spec for spec in missing if (spec.device, spec.precision) in here]
    outcome.no_device = [spec for spec in missing if (spec.device, spec.precision) not in here]
    needed = teachers(waiting)
    lost = [s for s in outcome.stored if s.run_id in needed and not weights_here(s, store)]
    return outcome, lost + waiting


def no_teacher(student: RunSpec) -> str:
    """What to say of a run whose teacher could not be had."""
    return f"{student.label}: no teacher."


def teachers(specs: list[RunSpec]) -> set[str]:
    """The ``run_id`` of each run that one of ``specs`` learns from."""
    return {spec.teacher.run_id for spec in specs if spec.teacher}


def weights_here(spec: RunSpec, store: Store) -> bool:
    """Whether a run is stored and its weights are here too."""
    record = store.read(spec.data.name, spec.run_id)
    return record is not None and store.weights_match(record)


def default_jobs(specs: list[RunSpec]) -> int:
    """How many of these runs go at a time."""
    return side_by_side("cuda" if any(spec.device == "cuda" for spec in specs) else "cpu")


# -- processors -------------------------------------------------------------------------------------


def startable(planned: Iterable[Planned], store: Store) -> tuple[list[RunSpec], dict[str, str]]:
    """The planned runs, each once, without those that are missing and whose block belongs to another
    type of processor; and these, by id, with that type. On one data set a block belongs to the type that
    most of its runs come from, so that both sides of a comparison come from one."""
    planned = list(planned)
    begun, missing = defaultdict[tuple[str, str, int], Counter[str]](Counter), list[Planned]()

    def block(one: Planned) -> tuple[str, str, int]:
        return one.spec.data.name, one.spec.device, one.block

    for one in planned:
        record = store.read(one.spec.data.name, one.spec.run_id)
        if not record:
            missing.append(one)
        elif (made := made_on(record)) != UNKNOWN:
            begun[block(one)][made] += 1
    missing = [one for one in missing if block(one) in begun]
    kinds = {one.spec.device for one in missing}
    here = {kind: made_here(kind) for kind in kinds if devices.available(kind)}  # which loads torch
    elsewhere = {
        one.spec.run_id: most
        for one in missing
        if (most := begun[block(one)].most_common(1)[0][0]) != here.get(one.spec.device, most)
    }
    return [spec for spec in specs(planned) if spec.run_id not in elsewhere], elsewhere


def begun_elsewhere(runs: Mapping[str, str]) -> list[str]:
    """What to tell of the runs that :func:`startable` leaves, a line for each type of processor."""
    return [
        f"{count} runs belong to blocks that were mostly trained on another processor, where they can be "
        f"trained: {processor}"
        for processor, count in Counter(runs.values()).items()
    ]


def made_here(device: str) -> str:
    """What :func:`darkknowledge.layout.made_on` says of a run that is trained here."""
    return devices.device_name(device) if device == "cuda" else processor_words(devices.processor())


# -- time -------------------------------------------------------------------------------------------


class Throughput:
    """Seconds that a run will take, from the stored runs of the same net on the same device type."""

    def __init__(self, store: Store, specs: list[RunSpec]) -> None:
        self._rates: dict[tuple[object, ...], list[float]] = {}
        self._usual: dict[tuple[object, ...], float] = {}
        #: Training images of data sets of a user's own, without those held out.
        self._own: dict[str, float] = {}
        for spec in specs:
            if record := store.read(spec.data.name, spec.run_id):
                self.note(spec, record)

    def note(self, spec: RunSpec, record: Record) -> None:
        """Learn from a finished run. The usual rate is a median: a machine that is suspended or busy
        for a while makes some runs slow, which says nothing of the others."""
        rate, kind = record["provenance"]["images_per_second"], self._kind(spec)
        if spec.data.name not in SIZES:
            self._own[spec.data.name] = record["provenance"]["training_images"] / portion(spec)
        if rate > 0:
            self._rates.setdefault(kind, []).append(rate)
            self._usual[kind] = statistics.median(self._rates[kind])

    def seconds(self, spec: RunSpec) -> float:
        """The estimate. A net that was not measured yet counts like the slowest of its name that was,
        or else of any, on its device type; NaN where there is none, or where nobody knows how many images
        its data set has."""
        if spec.recipe.epochs == 0:
            return 1.0
        kind, data = self._kind(spec), spec.data
        known = SIZES[data.name] - data.validation if data.name in SIZES else math.nan
        size = self._own.get(data.name, known)
        for same in (len(kind), 2, 1):
            if alike := [r for k, r in self._usual.items() if k[:same] == kind[:same]]:
                return spec.recipe.epochs * portion(spec) * size / min(alike)
        return math.nan

    def together(self, specs: list[RunSpec]) -> str:
        """How long runs of one device type take, as many at a time as go side by side, in words."""
        seconds = sum(map(self.seconds, specs)) / default_jobs(specs)
        return "not measured" if math.isnan(seconds) else f"about {in_words(seconds)}"

    @staticmethod
    def _kind(spec: RunSpec) -> tuple[object, ...]:
        """What takes as long per image; the first parts alone are of what may take as long."""
        return spec.device, spec.model.name, spec.model, spec.precision, spec.recipe.batch_size


def in_words(seconds: float) -> str:
    """``50 s``, ``4 min``, ``2.5 h``; at least a second."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


#: Training images of the data sets that are known, with those that are held out.
SIZES = {
    **dict.fromkeys(FINGERPRINTS, 50_000),
    **dict.fromkeys(("mnist", "fashion_mnist"), 60_000),
    **dict.fromkeys(("mnist5k", "mnist5k_rgb"), 4_000),
}


def portion(spec: RunSpec) -> float:
    """Which part of its data set's training images a run learns from, as if all classes had as many."""
    own = spec.data
    share = 1 - own.share if own.complement else 1.0 if own.unlabelled else own.share
    return share * (1 - len(own.unseen) / own.classes)


# -- in words ---------------------------------------------------------------------------------------

#: What the runs of a device type that cannot be trained here wait for.
NEEDED = {"cpu": "a CPU that multiplies bf16", "cuda": "a GPU"}


def counts(profile: str, planned: Iterable[Planned], outcome: Outcome) -> str:
    """The one count of a profile's runs: each once, though questions share them."""
    return f"{profile}: {tally(specs(planned), outcome)}"


def specs(planned: Iterable[Planned]) -> list[RunSpec]:
    """The planned runs, each once, in the order given."""
    return list({one.spec.run_id: one.spec for one in planned}.values())


def tally(specs: list[RunSpec], outcome: Outcome) -> str:
    """How many of these runs are stored, diverged, wait for a device that is not here, or are missing
    although they can be trained here."""
    stored = {spec.run_id for spec in (*outcome.stored, *outcome.trained)}
    waiting = {spec.run_id: spec.device for spec in outcome.no_device}
    states = Counter(
        "stored" if spec.run_id in stored
        else "diverged" if spec.run_id in outcome.diverged
        else waiting.get(spec.run_id, "missing")
        for spec in specs
    )  # fmt: skip
    parts = [f"{states['stored']} of {len(specs)} runs stored"]
    parts += [f"{states[s]} {s}" for s in ("diverged", "missing") if states[s]]
    parts += [f"{_wait(states[d])} for {NEEDED[d]}" for d in DEVICES if states[d]]
    return ", ".join(parts)


def _wait(runs: int) -> str:
    return f"{runs} wait" + ("s" if runs == 1 else "")


def waiting(plans: Iterable[Planned], outcome: Outcome, throughput: Throughput) -> list[str]:
    """Of the runs that wait for a device one line per pair of nets, or net, of the question that first
    asks for them, with what they cost together."""
    names: dict[str, str] = {}
    for plan in plans:
        nets = plan.spec.model.label
        spec: RunSpec | None = plan.spec
        while spec is not None:  # its teachers are trained for it
            names.setdefault(spec.run_id, f"{plan.question} {nets}")
            spec = spec.teacher
    by_name: dict[tuple[str, str], list[RunSpec]] = {}
    for one in outcome.no_device:
        by_name.setdefault((names[one.run_id], one.device), []).append(one)
    order = list(dict.fromkeys(names.values()))
    return [
        f"{name}: {_wait(len(runs))} for {NEEDED[device]} (cost {throughput.together(runs)})"
        for (name, device), runs in sorted(
            by_name.items(), key=lambda item: order.index(item[0][0])
        )
    ]


def time_left(specs: list[RunSpec], throughput: Throughput) -> str:
    """How long runs that can be trained here will take, by device."""
    parts = [
        f"{throughput.together(runs)} on {device}, {side_by_side(device)} at a time"
        for device in DEVICES
        if (runs := [spec for spec in specs if spec.device == device])
    ]
    return "; ".join(parts)
