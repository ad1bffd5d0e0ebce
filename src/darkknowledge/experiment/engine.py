"""Hand the missing runs to Snakemake, one job per run: on more cores, on a GPU box, on a cluster.

A job calls ``darkknowledge train … --only RUN_ID``, so runs are trained by the same code as without
an engine, and their records are the only state: each call plans anew what has none, in a folder of
its own below ``results/engine/`` that it removes if nothing went wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from darkknowledge import processes
from darkknowledge.experiment import survey
from darkknowledge.records import Store
from darkknowledge.spec import RunSpec

SNAKEFILE = Path(__file__).with_name("Snakefile")
#: Arguments, and a variable, that may send jobs to other machines.
EXECUTORS = ("--executor", "-e", "--profile", "--workflow-profile")
EXECUTOR_VARIABLE = "SNAKEMAKE_PROFILE"
#: What a run asks of the machine that it is sent to, amply: host memory in MB by net (PyTorch
#: and MNIST take 1,000, CUDA some thousand more), and this many times the minutes that the stored
#: runs suggest, for its machine may be slower and loads PyTorch and the data first.
MEMORY = {"mlp": 2_000, "cuda": 8_000}
MEMORY_OF_OTHERS = 4_000
TIMES, START_MINUTES, UNMEASURED_MINUTES = 3, 5, 240


#: How long Snakemake and its jobs may take to end when they are told, in seconds.
SECONDS_TO_END = 30.0
#: Runs a module in this process as ``python -m`` does. A shell starts what is in its background deaf to
#: Ctrl-C, and what that starts would be deaf too; and when its parent is killed all jobs end.
FOLLOWER = """
import os, runpy, signal, sys, threading, time

def follow():
    os.read(0, 1)  # the end of a pipe whose other end the parent holds
    os.killpg(0, signal.SIGINT)
    time.sleep(patience)
    os.killpg(0, signal.SIGKILL)

patience = float(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=follow, daemon=True).start()
sys.argv = sys.argv[4:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def complete(
    specs: list[RunSpec], store: Store, job: list[str], arguments: list[str]
) -> survey.Outcome:
    """Let Snakemake train what has no record yet, and say what became of each run.

    ``job`` are the words of a command that trains the run whose ``run_id`` follows them;
    ``arguments`` are Snakemake's own. Runs for a device that is not here are planned only if an
    executor may start them elsewhere. On Ctrl-C or SIGTERM the jobs are ended, everything finished
    is kept and KeyboardInterrupt goes on to the caller. Raises RuntimeError if Snakemake is missing
    or could not start."""
    if importlib.util.find_spec("snakemake") is None:
        raise RuntimeError(
            "Snakemake is not installed: install this package with its extra cluster, as make setup does "
            "on Python 3.11 to 3.13."
        )
    elsewhere = EXECUTOR_VARIABLE in os.environ or any(
        word.split("=")[0] in EXECUTORS for word in arguments
    )
    outcome, waiting = survey.survey(specs, store, elsewhere=elsewhere)
    before = set(outcome.diverged)
    if not waiting:
        return outcome
    folder = store.engine_folder()
    plan_path = folder / "plan.json"
    plan_path.write_text(json.dumps(plan(waiting, outcome.stored, store, job)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--configfile", str(plan_path), "--directory", str(folder)]
    # The folder is new, so that there is nothing to compare with and nothing to remember. All jobs
    # are of one kind: solving a linear programme for their order only costs time.
    command += ["--rerun-triggers", "mtime", "--drop-metadata", "--scheduler", "greedy"]
    command += ["--keep-going", "--show-failed-logs"]
    if not elsewhere:
        command += ["--cores", str(processes.cores())]
    code = _call([*command, *arguments])
    lost = {spec.run_id for spec in outcome.stored}
    for spec in waiting:
        record = store.read(spec.data.name, spec.run_id)
        if record and (spec.run_id not in lost or store.weights_match(record)):
            outcome.trained.append(spec)
        elif note := store.diverged(spec.data.name, spec.run_id):
            outcome.diverged[spec.run_id] = note["reason"]
        elif spec.teacher and spec.teacher.run_id in outcome.diverged:
            outcome.diverged[spec.run_id] = survey.no_teacher(spec)
        elif (log := folder / "logs" / f"{spec.run_id}.log").exists():
            outcome.failed[spec.run_id] = _why(spec, log)
        elif spec.teacher and spec.teacher.run_id in outcome.failed:
            outcome.failed[spec.run_id] = survey.no_teacher(spec)
        else:
            outcome.not_started.append(spec)
    if code and not outcome.failed and not outcome.diverged.keys() - before:
        raise RuntimeError(f"Snakemake ended with exit code {code}; what it said is above.")
    if not outcome.failed:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def plan(
    waiting: list[RunSpec], stored: list[RunSpec], store: Store, job: list[str]
) -> dict[str, Any]:
    """What the Snakefile reads: the job's command, and per run its record, its teacher as input (the
    link that the teacher's job makes, or the record that is here), and what it asks for."""
    throughput = survey.Throughput(store, stored)
    planned = {spec.run_id for spec in waiting}
    here = {spec.run_id for spec in stored}

    def record(spec: RunSpec) -> str:
        return str(store.record_path(spec.data.name, spec.run_id).resolve())

    def teacher(spec: RunSpec | None) -> list[str]:
        if spec and spec.run_id in planned:
            return [f"{spec.run_id}.json"]
        return [record(spec)] if spec and spec.run_id in here else []

    runs = {
        spec.run_id: {
            "record": record(spec),
            "teacher": teacher(spec.teacher),
            "priority": len(waiting) - place,
            "mem_mb": MEMORY.get(
                "cuda" if spec.device == "cuda" else spec.model.name, MEMORY_OF_OTHERS
            ),
            "minutes": minutes(throughput.seconds(spec)),
            "gpu": int(spec.device == "cuda"),
        }
        for place, spec in enumerate(waiting)
    }
    return {"root": str(Path.cwd()), "command": job, "runs": runs}


def minutes(seconds: float) -> int:
    """Run time to ask for, given the estimate of the training time (NaN: there is none)."""
    known = not math.isnan(seconds)
    return START_MINUTES + math.ceil(TIMES * seconds / 60) if known else UNMEASURED_MINUTES


def _call(command: list[str]) -> int:
    """Run Snakemake and return its exit code; pass an interruption on to it and to its jobs."""
    # In a session of its own: Snakemake waits for its local jobs, and the jobs must hear of an
    # interruption exactly once, whether it came from a terminal or from a signal to us alone.
    words = [sys.executable, "-c", FOLLOWER, str(SECONDS_TO_END), *command]
    with subprocess.Popen(words, start_new_session=True, stdin=subprocess.PIPE) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            raise
        finally:
            if process.poll() is None:  # it does not listen, or is interrupted once more
                os.killpg(process.pid, signal.SIGKILL)


def _why(spec: RunSpec, log: Path) -> str:
    """What a job that has not stored its record said about it."""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    lines = [line.strip().removeprefix("failed: ") for line in lines]
    if told := [line for line in lines if line.startswith(spec.label)]:
        return told[-1]
    told = [x for x in lines if x.startswith("darkknowledge: ") or " waits for " in x]
    return f"{spec.label}: {told[-1] if told else f'its job ended early; its log is {log}.'}"
