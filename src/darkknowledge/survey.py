"""What there is to do: which planned runs are stored, which are left, and how long those will take.

Nothing here loads torch, which takes seconds: what there is to do is said at once.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkknowledge.grids import Planned, ordered
from darkknowledge.params import SEARCH
from darkknowledge.records import Run, Store
from darkknowledge.spec import DEVICES, RunSpec

#: Small nets leave most of a GPU idle; this many share one.
RUNS_A_GPU = 6


@dataclass
class Outcome:
    """What became of a list of runs: lists of specs; messages, by run, of those that failed, and of
    those that diverged, now or before, with their students."""

    stored: list[RunSpec] = field(default_factory=list)
    trained: list[RunSpec] = field(default_factory=list)
    no_device: list[RunSpec] = field(default_factory=list)
    no_time: list[RunSpec] = field(default_factory=list)
    not_started: list[RunSpec] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    diverged: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every run now has a record, or is known to have none because it diverged."""
        return not (self.no_device or self.no_time or self.not_started or self.failed)


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


# -- devices ----------------------------------------------------------------------------------------


def available(device: str) -> bool:
    """Whether this machine has the device type. torch, which knows, is asked only where there is a
    driver that it could find a GPU by."""
    if device == "cpu" or not _has_driver():
        return device == "cpu"
    from darkknowledge import run  # it loads torch

    return run.available(device)


def trainable(device: str, precision: str) -> bool:
    """Whether such runs can be trained here: their device is here, and multiplies bf16 if it is a CPU
    that should, rather than emulating it slowly."""
    return available(device) and ((device, precision) != ("cpu", "bf16") or _multiplies_bf16())


def _has_driver() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):  # they are hidden
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()  # AMD's, which torch takes for cuda too
    return True


@functools.cache
def _multiplies_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        from darkknowledge import cost  # it loads torch

        return cost.multiplies_bf16()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(text.split()))


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(device: str) -> int:
    """How many runs go at a time: one per CPU core; on a GPU as many as share one."""
    return RUNS_A_GPU if device == "cuda" else cores()


def default_jobs(specs: list[RunSpec]) -> int:
    """How many of these runs go at a time."""
    return side_by_side("cuda" if any(spec.device == "cuda" for spec in specs) else "cpu")


# -- time -------------------------------------------------------------------------------------------


class Throughput:
    """Seconds that a run will take, from the stored runs of the same net on the same device type."""

    def __init__(self, store: Store, specs: list[RunSpec]) -> None:
        self._rates: dict[tuple[object, ...], list[float]] = {}
        self._slowest: dict[str, float] = {}
        for spec in specs:
            if record := store.read(spec.data.name, spec.run_id):
                self.note(spec, record)

    def note(self, spec: RunSpec, record: dict[str, Any]) -> None:
        """Learn from a finished run."""
        rate = record["provenance"]["images_per_second"]
        if rate > 0:
            self._rates.setdefault(self._key(spec), []).append(rate)
            self._slowest[spec.device] = min(rate, self._slowest.get(spec.device, math.inf))

    def seconds(self, spec: RunSpec) -> float:
        """The estimate. A net that was not measured yet counts like the slowest one on its device
        type that was; NaN where there is none."""
        if spec.recipe.epochs == 0:
            return 1.0
        rates = self._rates.get(self._key(spec)) or [self._slowest.get(spec.device, math.nan)]
        return _images(spec) / statistics.median(rates)

    def together(self, specs: list[RunSpec]) -> str:
        """How long runs of one device type take, as many at a time as go side by side, in words."""
        seconds = sum(map(self.seconds, specs)) / default_jobs(specs)
        if math.isnan(seconds):
            return "not measured"
        return (
            f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
        )

    @staticmethod
    def _key(spec: RunSpec) -> tuple[object, ...]:
        return spec.model, spec.recipe.batch_size, spec.device, spec.precision


def _images(spec: RunSpec) -> int:
    size = {"mnist": 60_000, "mnist5k": 4_000, "mnist5k_rgb": 4_000}.get(spec.data.name, 50_000)
    return spec.recipe.epochs * (size - spec.data.validation)


# -- in words ---------------------------------------------------------------------------------------

#: What the runs of a device type that cannot be trained here wait for.
NEEDED = {"cpu": "a CPU that multiplies bf16", "cuda": "a GPU"}


def counts(profile: str, plans: dict[str, list[Planned]], outcome: Outcome) -> list[str]:
    """The one count of a profile's runs: each once, though questions share them; what the search for
    recipes alone needs stands apart."""
    asked = (plan for q, planned in plans.items() if q != SEARCH for plan in planned)
    proper = ordered(asked)
    known = {spec.run_id for spec in proper}
    search = [spec for spec in ordered(plans.get(SEARCH, [])) if spec.run_id not in known]
    parts = {profile: proper, "search for recipes": search}
    return [f"{name}: {tally(specs, outcome)}" for name, specs in parts.items() if specs]


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
        nets = plan.pair if ">" in plan.pair else plan.spec.model.label
        spec: RunSpec | None = plan.spec
        while spec is not None:  # its teachers are trained for it
            names.setdefault(spec.run_id, f"{plan.question} {nets}")
            spec = spec.teacher
    by_name: dict[tuple[str, str], list[RunSpec]] = {}
    for one in outcome.no_device:
        by_name.setdefault((names[one.run_id], one.device), []).append(one)
    order = {name: place for place, name in enumerate(dict.fromkeys(names.values()))}
    return [
        f"{name}: {_wait(len(runs))} for {NEEDED[device]} (cost {throughput.together(runs)})"
        for (name, device), runs in sorted(by_name.items(), key=lambda item: order[item[0][0]])
    ]


def time_left(specs: list[RunSpec], throughput: Throughput) -> str:
    """How long runs that can be trained here will take, by device."""
    parts = [
        f"{throughput.together(runs)} on {device}, {side_by_side(device)} at a time"
        for device in DEVICES
        if (runs := [spec for spec in specs if spec.device == device])
    ]
    return "; ".join(parts)
