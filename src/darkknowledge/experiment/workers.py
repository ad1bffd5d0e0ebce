"""Train the runs that are missing, several side by side, and stop in time.

Each CPU run has one thread, whatever the number of runs beside it, so that neither the number of
cores nor ``jobs`` changes a result. The process that asks for the runs never loads torch: one server
does, which the workers are forked from."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any

from filelock import Timeout

from darkknowledge.devices import RUNS_A_GPU, trainable
from darkknowledge.experiment.progress import Progress
from darkknowledge.experiment.survey import (
    Outcome,
    Throughput,
    default_jobs,
    no_teacher,
    survey,
    weights_here,
)
from darkknowledge.layout import Record
from darkknowledge.processes import KILLED, context, end, follow_parent
from darkknowledge.records import DiskError, Store
from darkknowledge.spec import RunSpec

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
    DiskError if it cannot any more, RuntimeError if a worker process was killed."""
    store.prepare()
    deadline = time.monotonic() + 60 * minutes
    outcome, waiting = survey(specs, store)
    if not waiting:
        return outcome
    throughput = Throughput(store, outcome.stored)
    jobs = min(jobs or default_jobs(waiting), len(waiting))
    running: dict[Future, RunSpec] = {}
    pool, messages = _pool(jobs)
    try:
        with Progress(throughput, shown=progress) as told:
            while waiting or running:
                while len(running) < jobs and (spec := _next(waiting, running.values(), store)):
                    waiting.remove(spec)
                    if _outlasts(deadline, throughput.seconds(spec)):
                        outcome.no_time += [spec, *_take_students(spec, waiting)]
                    else:
                        log.debug("%s: started", spec.label)
                        running[_submitted(pool, _work, spec, store.root, data_root)] = spec
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    spec = running.pop(future)
                    try:
                        record = future.result()
                        throughput.note(spec, record)
                        told.done(spec)
                        seconds = record["provenance"]["seconds"]
                        log.debug("%s: stored after %.0f s", spec.label, seconds)
                        outcome.trained.append(spec)
                    except DiskError:  # whatever else is trained could not be stored either
                        raise
                    except BrokenProcessPool:
                        raise RuntimeError(KILLED) from None
                    except Exception as error:  # one run's failure must not cost the others
                        from darkknowledge.experiment.training import NonFiniteLoss

                        log.error("%s: %s", spec.label, error)
                        told.done(spec)
                        diverged = isinstance(error, NonFiniteLoss)
                        kind = outcome.diverged if diverged else outcome.failed
                        kind[spec.run_id] = str(error) if diverged else f"{spec.label}: {error}"
                        for student in _take_students(spec, waiting):
                            told.done(student)
                            kind[student.run_id] = no_teacher(student)
                told.epochs(_drain(messages))
                told.tell(waiting, running.values())
    finally:
        end(pool)
    return outcome


@contextlib.contextmanager
def _no_interruption() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM waiting, lest a worker be lost that is not known yet; a process that is
    started meanwhile never sees Ctrl-C."""
    heard: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    known = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if main}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    for number in (own := {n: how for n, how in known.items() if callable(how)}):
        signal.signal(number, lambda number, frame: heard.append(number))  # by any other thread
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, how in own.items():
            signal.signal(number, how)
        if heard:
            raise KeyboardInterrupt


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
    others."""
    import torch

    from darkknowledge.experiment import run

    torch.set_num_threads(1)
    outcome, left = Outcome(), list(specs)
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(Progress(Throughput(store, []), shown=progress))
        if any(spec.device == "cuda" for spec in specs):
            stack.enter_context(_one_gpu(store))

        def epoch_of(current: RunSpec, epoch: Any) -> None:
            told.epochs([current.run_id])
            told.tell(left, [current])

        for spec in specs:
            left.remove(spec)
            need_weights = spec.run_id in teachers
            if weights_here(spec, store) if need_weights else run.stored(spec, store):
                outcome.stored.append(spec)
            elif not trainable(spec.device, spec.precision):
                outcome.no_device.append(spec)
            else:
                try:
                    run.execute(spec, store, data_root, epoch_of, need_weights=need_weights)
                    outcome.trained.append(spec)
                except run.NonFiniteLoss as error:
                    outcome.diverged[spec.run_id] = str(error)
                except DiskError:  # the next could not be stored either
                    raise
                except Exception as error:
                    outcome.failed[spec.run_id] = f"{spec.label}: {error}"
            told.done(spec)
    return outcome


@contextlib.contextmanager
def _one_gpu(store: Store) -> Iterator[None]:
    """Of several GPUs use the one that has the fewest runs on it, as far as this folder knows.

    Snakemake counts the GPUs of its own machine, but does not tell a job which one is its own; a
    cluster shows a job only those that it may use."""
    import torch

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


def _next(waiting: list[RunSpec], running: Collection[RunSpec], store: Store) -> RunSpec | None:
    """The first run whose teacher is neither waiting nor under way, and that no other process is at:
    so several machines on one folder share the work. One that is waited for is taken last."""
    undone = {spec.run_id for spec in (*waiting, *running)}
    ready = [s for s in waiting if s.teacher is None or s.teacher.run_id not in undone]
    free = (spec for spec in ready if not store.held(spec.run_id))
    return next(free, ready[0] if ready and not running else None)


def _outlasts(deadline: float, estimate: float) -> bool:
    """Whether a run that starts now is expected to end too late; one never measured may start."""
    return time.monotonic() + (0 if math.isnan(estimate) else estimate) > deadline


def _take_students(teacher: RunSpec, waiting: list[RunSpec]) -> list[RunSpec]:
    """Remove from ``waiting``, and return, the runs that would learn from ``teacher``."""
    taken = [s for s in waiting if s.teacher and s.teacher.run_id == teacher.run_id]
    waiting[:] = [s for s in waiting if s not in taken]
    return taken


# -- worker processes --------------------------------------------------------------------------------


def aside(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function that needs torch in a worker process, while nothing else runs in one."""
    pool, _ = _pool(1)
    try:
        _submitted(pool, function, *arguments).result()
    except BrokenProcessPool:
        raise RuntimeError(KILLED) from None
    finally:
        end(pool)


def _pool(jobs: int) -> tuple[ProcessPoolExecutor, Any]:
    """A pool of that many workers, and the queue on which they name the run of each epoch.

    torch takes seconds to load. Where processes can be forked it is loaded once, by a server that
    all workers of this process are forked from, and that ends with it."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    how = context("forkserver" if forks else "spawn")
    if forks:
        how.set_forkserver_preload(["darkknowledge.experiment.run"])
    messages = how.Queue()
    return ProcessPoolExecutor(jobs, how, _begin, (messages, dict(os.environ))), messages


def _submitted(pool: ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Future:
    """The future of a call in a worker process. Raises RuntimeError if what starts workers was killed."""
    try:
        with _no_interruption():  # a new process would begin with a traceback
            return pool.submit(function, *arguments)
    except (BrokenProcessPool, EOFError, ConnectionError):
        raise RuntimeError(KILLED) from None


_messages: Any = None


def _begin(messages: Any, environment: dict[str, str]) -> None:
    """Set a worker up to train: one thread, and its parent's environment."""
    import torch

    global _messages
    _messages = messages
    os.environ.update(environment)  # the server may be older than a change
    torch.set_num_threads(1)
    follow_parent()


def _work(spec: RunSpec, root: Path, data_root: str | Path | None) -> Record:
    from darkknowledge.experiment import run

    def told(current: RunSpec, epoch: Any) -> None:
        _messages.put(current.run_id)

    # Only runs without a record, or teachers whose weights are lost, come here: train those too.
    return run.execute(spec, Store(root), data_root, told, need_weights=True)


def _drain(messages: Any) -> list[str]:
    found = []
    with contextlib.suppress(Empty):
        while True:
            found.append(messages.get_nowait())
    return found
