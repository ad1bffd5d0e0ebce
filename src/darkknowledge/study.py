"""A question's grid → what is missing is trained → its tidy table.

Who trains it is :mod:`darkknowledge.experiment.workers`; what there is to train say the plans of
:mod:`darkknowledge.questions`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from darkknowledge import config, devices
from darkknowledge.devices import trainable
from darkknowledge.experiment import workers
from darkknowledge.experiment.survey import Outcome, begun_elsewhere, startable, weights_here
from darkknowledge.questions import params as p
from darkknowledge.questions.base import Parameters, ordered
from darkknowledge.questions.q1_size.plan import Q1
from darkknowledge.questions.q2_distillation.plan import Q2
from darkknowledge.questions.registry import QUESTIONS, grids
from darkknowledge.records import LATENCY_TABLE, SOFT_LABELS, Store, atomic_write
from darkknowledge.spec import RunSpec, text_of


def table(question: str, params: Parameters, store: Store) -> pd.DataFrame:
    """The tidy frame of a question: one row per (question, run, role), with the headline numbers
    and the column ``record``; runs without a record have NaN and None."""
    rows = [planned.row() for planned in QUESTIONS[question].grid(params)]
    return store.with_numbers(pd.DataFrame(rows))


def write_table(question: str, params: Parameters, store: Store) -> pd.DataFrame:
    """Write the question's tidy table into its profile's folder and return the frame."""
    frame = table(question, params, store)
    where = p.destination(question, params)
    store.write_table(where, question, frame.drop(columns="record"))
    return frame


def store_of(params: Parameters) -> Store:
    """The results folder that the parameters name; by default the project's ``results/``."""
    return Store(params.results_dir or config.project_root() / "results")


def _at_hand(specs: Iterable[RunSpec], store: Store) -> bool:
    """Whether networks are trained, and their weights are here or can be made again here."""
    return all(
        weights_here(spec, store)
        or (store.read(spec.data.name, spec.run_id) and trainable(spec.device, spec.precision))
        for spec in specs
    )


def measure_latency(params: Q1, store: Store) -> pd.DataFrame | None:
    """Latency of both nets of Q1 for one image and for a batch; measured while nothing trains. None
    while they are not at hand.

    Stored beside the question's table, and kept as long as the nets are the same. One thread on
    a CPU. Times are in seconds: median and interquartile range."""
    where = p.destination("q1", params)
    block = params.blocks[0]
    nets = {"teacher": params.nets.teacher_of(block), "hard": params.nets.hard(block)}
    known = store.read_latency(where)
    if known is not None and set(known["run_id"]) == {spec.run_id for spec in nets.values()}:
        return known
    if not _at_hand(nets.values(), store):
        return None
    workers.aside(_measure_latency, params, nets, store)
    return store.read_latency(where)


def _measure_latency(params: Q1, nets: dict[str, RunSpec], store: Store) -> None:
    import torch

    from darkknowledge.experiment import cost, data, run

    images = data.scaled(data.load(nets["hard"].data, params.data_root or None).test.images)
    rows = []
    for arm, spec in nets.items():
        run.execute(spec, store, params.data_root or None, need_weights=True)
        model = run.trained_network(spec, tuple(images.shape[1:]), store).to(params.nets.device)
        for batch in (1, min(params.latency_batch, len(images))):
            part = images[:batch].to(params.nets.device)
            timing = cost.latency(model, part, threads=1, seconds=params.latency_seconds)
            about = {"arm": arm, "run_id": spec.run_id, "batch": batch, "threads": 1}
            machine = {"device_name": devices.device_name(params.nets.device)}
            rows.append(about | timing | machine | {"torch": torch.__version__})
    path = store.exhibit_path(p.destination("q1", params), LATENCY_TABLE)
    atomic_write(path, pd.DataFrame(rows).to_csv(index=False).encode())


def describe_soft_labels(params: Q2, store: Store) -> Path | None:
    """Store what the first teacher says of the first test image of each class: its logits, one row per
    class, for the images that a data set's contact sheet begins its rows with. Kept as long as the
    teacher is the same. None while that is not at hand."""
    path = store.exhibit_path(p.destination("q2", params), SOFT_LABELS)
    teacher = params.nets.teacher_of(params.blocks[0])
    try:
        if json.loads(text_of(path))["run_id"] == teacher.run_id:
            return path
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass  # not there, or not what it should be: it is made now
    if not _at_hand([teacher], store):
        return None
    workers.aside(_describe_soft_labels, params, teacher, store, path)
    return path


def _describe_soft_labels(params: Q2, teacher: RunSpec, store: Store, path: Path) -> None:
    from darkknowledge.experiment import data, run, training

    run.execute(teacher, store, params.data_root or None, need_weights=True)
    test = data.load(teacher.data, params.data_root or None).test
    first = test.take(data.examples(test, teacher.data.classes, 1)[:, 0])
    net = run.trained_network(teacher, tuple(first.images.shape[1:]), store)
    logits = training.logits(net, first.images, "fp32")
    rows = [[round(v, 4) for v in row] for row in logits.tolist()]
    body = {"run_id": teacher.run_id, "dataset": teacher.data.name, "logits": rows}
    atomic_write(path, (json.dumps(body) + "\n").encode())


def complete(question: str, params: Parameters) -> pd.DataFrame:
    """Train what a question's grid lacks, write its table and return the frame; for notebooks.

    Runs that cannot be trained here are named. Raises RuntimeError if a run failed."""
    store = store_of(params)
    due, elsewhere = startable(QUESTIONS[question].grid(params), store)
    outcome = workers.complete(due, store, params.data_root or None)
    frame = write_table(question, params, store)
    trained, stored = len(outcome.trained), len(outcome.stored)
    print(f"{question}: {trained} runs trained, {stored} were stored already")
    for message in outcome.diverged.values():
        print(f"diverged, and left out: {message}")
    if outcome.failed:
        raise RuntimeError(next(iter(outcome.failed.values())))
    if outcome.no_device:
        devices = ", ".join(sorted({spec.device for spec in outcome.no_device}))
        print(f"{len(outcome.no_device)} runs were not started: they need {devices}")
    for line in begun_elsewhere(elsewhere):
        print(line)
    return frame


def prepare(chosen: dict[str, Parameters], store: Store, *, progress: bool = True) -> Outcome:
    """Train what all these questions lack, in one pool of workers, then measure what their exhibits
    need, so that their notebooks find everything stored. Says what became of the runs."""
    due, elsewhere = startable(ordered(grids(chosen).values()), store)
    outcome = workers.complete(due, store, p.data_root(chosen), progress=progress)
    outcome.elsewhere = elsewhere
    for params in chosen.values() if outcome.complete else ():
        if isinstance(params, Q1):
            measure_latency(params, store)
        if isinstance(params, Q2):
            describe_soft_labels(params, store)
    return outcome
