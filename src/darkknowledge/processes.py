"""Worker processes: how many there may be, and that they end with their parent and when they are told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

KILLED = (
    "A worker process was killed from outside (for lack of memory?). Finished runs are kept; the \
same command goes on."
)
#: Microseconds of a processor that a Linux container gets in each period, and that period.
QUOTA = Path("/sys/fs/cgroup/cpu.max")
#: How long workers may take to end before they are killed.
SECONDS_TO_END = 5.0


def cores() -> int:
    """The CPU cores that this process may use; a container may allow it fewer than its machine has."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        return min(here, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # another system, or "max"
        return here


def context(method: str) -> Any:
    """What starts processes by ``method``, after the one that counts what they share. Python makes that
    deaf to Ctrl-C and to SIGTERM, but a hang-up of the whole group would end it, and its successor
    complain."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which a new process inherits
        resource_tracker.ensure_running()
        signal.signal(signal.SIGHUP, before)
    return multiprocessing.get_context(method)


def follow_parent() -> None:
    """Leave Ctrl-C to the parent of this process, and live no longer than it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def end(pool: ProcessPoolExecutor) -> None:
    """Stop all workers now; what they were at is lost, what is stored stays. One that does not listen,
    because it was stopped, say, is killed."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()
