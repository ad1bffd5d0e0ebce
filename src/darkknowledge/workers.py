"""Train the runs that are missing, several side by side, and stop in time.

Each CPU run has one thread, whatever the number of runs beside it, so that neither the number of
cores nor ``jobs`` changes a result.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any

import torch
from filelock import Timeout
from tqdm import tqdm

from darkknowledge import run
from darkknowledge.records import DiskError, Store
from darkknowledge.spec import RunSpec
from darkknowledge.survey import (
    RUNS_A_GPU,
    Outcome,
    Throughput,
    default_jobs,
    no_teacher,
    survey,
    trainable,
    weights_here,
)

log = logging.getLogger(__name__)


def complete(
    specs: list[RunSpec],
    store: Store,
    data_root: str | Path | None = None,
    *,
    jobs: int = 0,
    minutes: float = math.inf,
    progress: bool = True,
) -> Outcome:
    """Train what has no record yet, in the order given, and say what became of each run.

    ``jobs`` runs go side by side (0: as the device suggests). No run is started that would, by the
    throughput measured so far, outlast ``minutes``. A run that fails does not stop the others; its
    students are not started. On Ctrl-C or SIGTERM everything finished is kept and
    KeyboardInterrupt goes on to the caller. Raises RecordError if the folder cannot be written,
    DiskError if it cannot any more, RuntimeError if a worker process was killed.
    """
    store.prepare()
    deadline = time.monotonic() + 60 * minutes
    outcome, waiting = survey(specs, store)
    if not waiting:
        return outcome
    known = len(outcome.diverged)
    throughput = Throughput(store, outcome.stored)
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    jobs = min(jobs or default_jobs(waiting), len(waiting))
    bar = _bar(waiting, progress)
    running: dict[Future, RunSpec] = {}
    pool = ProcessPoolExecutor(jobs, context, _begin, (messages,))
    try:
        with bar:
            while waiting or running:
                while len(running) < jobs and (spec := _next(waiting, running)):
                    waiting.remove(spec)
                    if _outlasts(deadline, throughput.seconds(spec)):
                        outcome.no_time += [spec, *_take_students(spec, waiting)]
                    else:
                        log.debug("%s: started", spec.label)
                        with _no_interruption():  # a new process would begin with a traceback
                            running[pool.submit(_work, spec, store.root, data_root)] = spec
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    spec = running.pop(future)
                    try:
                        record = future.result()
                        throughput.note(spec, record)
                        seconds = record["provenance"]["seconds"]
                        log.debug("%s: stored after %.0f s", spec.label, seconds)
                        outcome.trained.append(spec)
                    except DiskError:  # whatever else is trained could not be stored either
                        raise
                    except BrokenProcessPool:
                        raise RuntimeError(
                            "A worker process was killed from outside (for lack of memory?). "
                            "Finished runs are kept; the same command goes on."
                        ) from None
                    except Exception as error:  # one run's failure must not cost the others
                        log.error("%s: %s", spec.label, error)
                        diverged = isinstance(error, run.NonFiniteLoss)
                        kind = outcome.diverged if diverged else outcome.failed
                        kind[spec.run_id] = str(error) if diverged else f"{spec.label}: {error}"
                        for student in _take_students(spec, waiting):
                            kind[student.run_id] = no_teacher(student)
                bar.update(_drain(messages))
                lost = len(outcome.failed) + len(outcome.diverged) - known
                finished = len(outcome.trained) + lost
                total = finished + len(running) + len(waiting)
                bar.set_postfix_str(f"{finished}/{total} runs", refresh=False)
    finally:
        _end(pool)
    return outcome


@contextlib.contextmanager
def _no_interruption() -> Iterator[None]:
    """Keep Ctrl-C waiting; a process that is started meanwhile never sees it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def alone(
    specs: list[RunSpec],
    store: Store,
    data_root: str | Path | None = None,
    *,
    teachers: Collection[str] = (),
    progress: bool = True,
) -> Outcome:
    """Train ``specs`` one after the other in this process, as a job of an engine does.

    Of those among ``teachers`` the weights must be at hand too. A run that fails does not stop the
    others.
    """
    torch.set_num_threads(1)
    outcome = Outcome()
    with contextlib.ExitStack() as stack, _bar(specs, progress) as bar:
        if any(spec.device == "cuda" for spec in specs):
            stack.enter_context(_one_gpu(store))

        def told(current: RunSpec, epoch: Any) -> None:
            bar.update()

        for spec in specs:
            need_weights = spec.run_id in teachers
            if weights_here(spec, store) if need_weights else run.stored(spec, store):
                outcome.stored.append(spec)
            elif not trainable(spec.device, spec.precision):
                outcome.no_device.append(spec)
            else:
                try:
                    run.execute(spec, store, data_root, told, need_weights=need_weights)
                    outcome.trained.append(spec)
                except run.NonFiniteLoss as error:
                    outcome.diverged[spec.run_id] = str(error)
                except DiskError:  # the next could not be stored either
                    raise
                except Exception as error:
                    outcome.failed[spec.run_id] = f"{spec.label}: {error}"
    return outcome


@contextlib.contextmanager
def _one_gpu(store: Store) -> Iterator[None]:
    """Of several GPUs use the one that has the fewest runs on it, as far as this folder knows.

    Snakemake counts the GPUs of its own machine, but does not tell a job which one is its own; a
    cluster shows a job only those that it may use.
    """
    count = torch.cuda.device_count()
    for share, number in itertools.product(range(RUNS_A_GPU), range(count if count > 1 else 0)):
        lock = store.lock(f"gpu-{platform.node()}-{number}-{share}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        with lock:
            torch.cuda.set_device(number)
            yield
            return
    yield


def _bar(specs: list[RunSpec], progress: bool) -> tqdm:
    return tqdm(
        total=sum(max(1, spec.recipe.epochs) for spec in specs),
        unit="epoch",
        disable=not progress,
        mininterval=2 if sys.stderr.isatty() else 20,  # a notebook or a log keeps every line
        file=sys.stderr,
        dynamic_ncols=True,
    )


def _next(waiting: list[RunSpec], running: dict[Future, RunSpec]) -> RunSpec | None:
    """The first run whose teacher is neither waiting nor under way."""
    undone = {spec.run_id for spec in (*waiting, *running.values())}
    ready = (s for s in waiting if s.teacher is None or s.teacher.run_id not in undone)
    return next(ready, None)


def _outlasts(deadline: float, estimate: float) -> bool:
    """Whether a run that starts now is expected to end too late; one never measured may start."""
    return time.monotonic() + (0 if math.isnan(estimate) else estimate) > deadline


def _take_students(teacher: RunSpec, waiting: list[RunSpec]) -> list[RunSpec]:
    """Remove from ``waiting``, and return, the runs that would learn from ``teacher``."""
    taken = [s for s in waiting if s.teacher and s.teacher.run_id == teacher.run_id]
    waiting[:] = [s for s in waiting if s not in taken]
    return taken


_messages: Any = None


def _begin(messages: Any) -> None:
    """Set a worker process up: one thread, and no life beyond its parent's."""
    global _messages
    _messages = messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(spec: RunSpec, root: Path, data_root: str | Path | None) -> dict[str, Any]:
    def told(current: RunSpec, epoch: Any) -> None:
        _messages.put(1)

    # Only runs without a record, or teachers whose weights are lost, come here: train those too.
    record = run.execute(spec, Store(root), data_root, told, need_weights=True)
    if spec.recipe.epochs == 0:
        _messages.put(1)
    return record


def _drain(messages: Any) -> int:
    count = 0
    try:
        while True:
            count += messages.get_nowait()
    except Empty:
        return count


def _end(pool: ProcessPoolExecutor) -> None:
    """Stop all workers now; what they were at is lost, what is stored stays."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)
