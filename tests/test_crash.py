"""What is killed, crowded, cut short or damaged costs time, and never a result.

``make test`` runs short loops, ``make torture`` (TORTURE=1) the full ones; each prints its counts.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from conftest import small_grid
from darkknowledge import records
from darkknowledge.experiment.run import execute
from darkknowledge.records import RecordError, Store
from small_project import HANG, here, make, profile, record_times, timeless, wait_until

FULL = os.environ.get("TORTURE") == "1"
SEED = int(os.environ.get("TORTURE_SEED", "1503"))
KILLS, DAMAGES = (32, 400) if FULL else (2, 40)
GO_ON = "Finished runs are kept; the same command goes on."

QUESTION = ("train", "knocks", "q2")
#: The command line, with a log of the runs that are really trained; if a file ``enough`` holds a
#: number, those after so many never end. Worker processes import it too.
SWEEP = """
import pathlib, sys, time
from darkknowledge import cli
from darkknowledge.experiment import run

fit, enough = run.fit, pathlib.Path("enough")

def noted(*args, name, **kwargs):
    with open(sys.argv[1], "a+") as log:
        log.write(name + "\\n")
        log.flush()
        here = log.tell()
        log.seek(0)
        number = log.read()[:here].count("\\n")
    while enough.exists() and number > int(enough.read_text()):
        time.sleep(0.05)
    return fit(*args, name=name, **kwargs)

run.fit = noted
if __name__ == "__main__":
    cli.main(sys.argv[2:])
"""


def told(text: str) -> None:
    print(f"\n  {text}", flush=True)


# -- a sweep of real processes ----------------------------------------------------------------------


class Sweep:
    """A small project with a question of some runs, and its command line in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = make(folder)
        self.store = Store(folder / "results")
        self.log = folder / "trained.log"
        (folder / "sweep.py").write_text(SWEEP)
        profile(folder, "knocks", "q2", n_rivals=2 if FULL else 1, n_jittered=2 if FULL else 0)

    def start(self, *words: str) -> subprocess.Popen:
        """The command line, its output in pipes, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "sweep.py", str(self.log), *words],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def complete(self) -> dict[str, dict]:
        """Train the question to its end; returns the records, as :meth:`check` does."""
        process = self.start(*QUESTION, "--jobs", "1")
        _, said = process.communicate(timeout=HANG)
        assert process.returncode == 0, said
        return self.check()

    def trained(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def processes(self) -> list[psutil.Process]:
        """All that run in the folder, whoever started them; zombies do not."""
        every = psutil.process_iter(["cwd", "cmdline", "ppid"])
        return [one for one in every if one.info["cwd"] == str(self.folder.resolve())]

    def workers(self, parent: int) -> list[psutil.Process]:
        """Those that train: forked from the server, which is the parent's own child."""
        forked = [p for p in self.processes() if "forkserver" in " ".join(p.info["cmdline"] or ())]
        return [one for one in forked if one.info["ppid"] != parent]

    def wait_until_nobody_is_left(self) -> None:
        deadline = time.monotonic() + HANG
        while left := self.processes():
            assert time.monotonic() < deadline, f"{left} outlived their parent"
            time.sleep(0.1)

    def check(self) -> dict[str, dict]:
        """Nobody is left, every record is whole, its weights are its own, and no lock is held; returns
        the records without their times."""
        self.wait_until_nobody_is_left()
        found = {}
        for path in self.store.root.glob("runs/*/*.json"):
            record = self.store.read(path.parent.name, path.stem)
            assert record and self.store.weights_match(record), f"{path} is not whole"
            found[path.name] = timeless(record)
        for lock in self.store.root.glob("locks/*"):
            with FileLock(lock, timeout=0):
                pass
        return found


def linux(test):
    """Real processes, looked for in /proc."""
    missing = not Path("/proc/self/cwd").exists()
    return pytest.mark.slow(pytest.mark.skipif(missing, reason="needs Linux's /proc")(test))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Sweep:
    sweep = Sweep(tmp_path_factory.mktemp("calm") / "project")
    sweep.complete()
    return sweep


@pytest.fixture(scope="module")
def calm(undisturbed) -> dict[str, dict]:
    """Its records."""
    found = undisturbed.check()
    assert len(found) == len(undisturbed.trained()) == len({*undisturbed.trained()}) > 10
    return found


def strike(sweep: Sweep, process: subprocess.Popen, generator: random.Random) -> str:
    """``kill -9`` somebody of a sweep at a random moment; returns whom, or "" if all was done."""
    begun = len(sweep.trained())
    if generator.random() < 0.8:  # else while it starts
        while len(sweep.trained()) == begun and process.poll() is None:
            time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(generator.uniform(0, 1))
        return ""
    victim, workers = generator.choice(("worker", "everybody", "parent")), []
    if victim == "worker" and (workers := sweep.workers(process.pid)):
        workers = [generator.choice(workers)]
    elif victim == "everybody":
        workers = sweep.processes()
    for target in workers or [psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            target.kill()
    return victim if workers else "parent"


@linux
def test_kill_9_at_any_moment_loses_no_record_and_changes_none(calm, tmp_path):
    generator = random.Random(SEED)
    victims, rounds, gone = Counter(), 0, 0
    while victims.total() < KILLS or not gone:
        assert rounds <= KILLS, "every round met at least one kill"
        sweep, kept = Sweep(tmp_path / f"round{rounds}"), {}
        rounds += 1
        for _ in range(KILLS + 1):
            process = sweep.start(*QUESTION, "--jobs", "2")
            victim = strike(sweep, process, generator) if victims.total() < KILLS else ""
            _, said = process.communicate(timeout=HANG)
            victims.update([victim] if victim else [])
            assert victim or process.returncode == 0, said
            if victim == "worker" and process.returncode:  # the parent lives, and says so
                assert GO_ON in said and "Traceback" not in said
            sweep.check()
            now = record_times(sweep.folder)
            assert {name: now.get(name) for name in kept} == kept
            kept = now
            if process.returncode == 0:
                gone += 1
                break
        assert sweep.check() == calm
        assert not list(sweep.store.root.rglob("*.broken"))
    told(f"seed {SEED}: {dict(victims)} killed in {rounds} sweeps")


@linux
@pytest.mark.parametrize("count", (2, 4) if FULL else (2,))
def test_a_crowd_on_one_folder_trains_every_run_once(calm, tmp_path, count):
    """One of four is killed on the way; the others take over what it held."""
    sweep, generator, killed = Sweep(tmp_path / "project"), random.Random(SEED), int(count > 2)
    crowd = [sweep.start(*QUESTION, "--jobs", "1") for _ in range(count)]
    if killed:
        wait_until(sweep.trained, crowd[0])
        time.sleep(generator.uniform(0, 2))
        os.killpg(crowd[0].pid, signal.SIGKILL)
    said = [process.communicate(timeout=HANG) for process in crowd]
    codes = [process.returncode for process in crowd]
    assert codes == [-signal.SIGKILL] * killed + [0] * (count - killed), said
    assert sweep.check() == calm
    assert len(sweep.trained()) - len(set(sweep.trained())) <= killed


STOPS = [("train", number, False) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
if FULL:
    STOPS += [(*stop[:2], True) for stop in STOPS] + [("run", *stop[1:]) for stop in STOPS]


@linux
def test_a_signal_ends_it_at_once_keeps_what_is_finished_and_the_same_command_goes_on(
    calm, tmp_path
):
    """A terminal and ``timeout`` send it to the whole group, a batch system often to the parent.

    Each time two more runs are finished, and those under way would never end.
    """
    sweep = Sweep(tmp_path / "project")
    for command, number, everybody in STOPS:
        before = len(record_times(sweep.folder))
        (sweep.folder / "enough").write_text(str(len(sweep.trained()) + 2))
        process = sweep.start(command, *QUESTION[1:], *(["--jobs", "1"] * (command == "train")))
        wait_until(lambda b=before: len(record_times(sweep.folder)) >= b + 2, process)
        kept = record_times(sweep.folder)
        for worker in sweep.workers(process.pid) if number == signal.SIGTERM else ():
            worker.suspend()  # it does not even hear that it is to end
        (os.killpg if everybody else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=HANG)
        assert process.returncode == 130, said
        assert GO_ON in said and "Traceback" not in said
        assert sweep.check().items() <= calm.items()
        assert kept.items() <= record_times(sweep.folder).items()
        if command == "train":  # the workers of a notebook do not know when it is enough
            assert record_times(sweep.folder) == kept
    (sweep.folder / "enough").unlink()
    assert sweep.complete() == calm
    assert kept.items() <= record_times(sweep.folder).items()


@linux
@pytest.mark.parametrize("early", [False, True])
def test_ctrl_c_while_workers_start_is_answered_in_one_sentence(tmp_path, early):
    """A terminal sends it to them too, here to them first, and they have nothing to say to it; or the
    server that they are forked from is not ready yet."""
    sweep, generator = Sweep(tmp_path / "project"), random.Random(SEED)
    (sweep.folder / "enough").write_text("0", encoding="utf-8")  # or a fast machine is done by then
    process = sweep.start("-q", *QUESTION, "--jobs", "2")
    wait_until(lambda: len(sweep.processes()) > 2 or sweep.workers(process.pid), process)
    if not early:
        wait_until(lambda: sweep.workers(process.pid), process)
    time.sleep(generator.uniform(0.2, 0.8))
    for worker in sweep.workers(process.pid) if not early else ():
        worker.send_signal(signal.SIGINT)
    time.sleep(0 if early else 1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=HANG)
    assert (process.returncode, said) == (130, f"\nInterrupted. {GO_ON}\n")
    sweep.wait_until_nobody_is_left()


@linux
def test_whoever_is_killed_while_notebooks_run_one_sentence_says_so_and_nothing_is_left(
    undisturbed, tmp_path, monkeypatch
):
    """The whole group by a hang-up; a worker, and a kernel, for lack of memory. Kernels' keys are left
    no more than processes are, and no notebook that is half executed."""
    sweep = Sweep(tmp_path / "project")
    shutil.copytree(undisturbed.store.root, sweep.store.root, dirs_exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for victim, number, ends in (
        ("", signal.SIGHUP, f"\nInterrupted. {GO_ON}\n"),
        ("spawn_main", signal.SIGKILL, f"killed from outside (for lack of memory?). {GO_ON}\n"),
        ("ipykernel", signal.SIGKILL, f". {GO_ON}\n"),
    ):
        process = sweep.start("-q", "run", *QUESTION[1:])

        def running() -> bool:  # a kernel that only starts would write its keys anew
            return any('"running"' in p.read_text() for p in tmp_path.glob("tmp*/*/*.ipynb"))

        wait_until(running, process)
        for one in sweep.processes():
            if victim in " ".join(one.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended with another
                    one.send_signal(number)
        _, said = process.communicate(timeout=HANG)
        assert process.returncode == (1 if victim else 130) and said.endswith(ends)
        assert "Traceback" not in said
        sweep.check()
        assert [path.name for path in tmp_path.iterdir()] == ["project"]
        assert not [*sweep.store.root.rglob("*.ipynb")]


# -- disks ------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[str], None]]:
    """A file system of a few pages where a project has its results, and what changes its size."""

    def mount(size: str, again: str = "remount,") -> None:
        kind = ["-t", "tmpfs", "tmpfs"] * (not again)
        subprocess.run(["mount", "-o", f"{again}size={size}", *kind, str(place)], check=True)

    (place := tmp_path / "project" / "results").mkdir(parents=True)
    try:
        mount("240k", "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("A file system of its own can only be mounted by root.")
    yield mount
    subprocess.run(["umount", str(place)], check=True)


@linux
def test_a_sweep_that_fills_the_disk_stops_at_once_and_goes_on_when_there_is_room(
    calm, disk, tmp_path
):
    sweep = Sweep(tmp_path / "project")
    process = sweep.start("-q", *QUESTION, "--jobs", "1")
    _, said = process.communicate(timeout=HANG)
    assert (process.returncode, said.count("\n")) == (1, 1) and "No space left on device" in said
    kept, tried = record_times(sweep.folder), len(sweep.trained())
    assert kept and sweep.check().items() <= calm.items()
    assert tried <= len(kept) + 1  # no run was trained that could not be stored any more
    (said,) = here(sweep.folder, "-q", *QUESTION, code=2).stderr.splitlines()
    assert "cannot be written (No space left on device)" in said
    disk("32m")
    assert sweep.complete() == calm
    assert kept.items() <= record_times(sweep.folder).items()


# -- damaged files ----------------------------------------------------------------------------------

#: Nothing, what a power cut leaves on some file systems, and what a proxy sends in a file's place.
FOREIGN = (b"", bytes(5000), b"<!doctype html><title>404</title>", b"null")


def damage(path: Path, generator: random.Random, others: list[Path]) -> str:
    """Truncate a file, flip a bit of it or put something else in its place; returns what it was."""
    content = bytearray(path.read_bytes())
    kind = generator.choice(("truncated", "flipped bit", "foreign", "another's"))
    if kind == "truncated":
        content = content[: generator.randrange(len(content))]
    elif kind == "flipped bit":
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    else:
        content = generator.choice([q.read_bytes() for q in others] or FOREIGN)
        content = generator.choice(FOREIGN) if kind == "foreign" else content
    path.write_bytes(content)
    return kind


@pytest.mark.slow
def test_whatever_is_done_to_a_file_of_the_results_the_next_sweep_ends_with_the_same_records(
    synthetic, tmp_path, caplog
):
    source = Store(tmp_path / "calm" / "results")
    expected = {spec.run_id: timeless(execute(spec, source)) for spec in small_grid()}
    generator, kinds = random.Random(SEED), Counter()
    truth, weights = source.labels("mnist5k"), "weights/*.safetensors"
    contents = {q.name: q.read_bytes() for q in source.root.glob(weights)}
    for i in range(DAMAGES):
        store = Store(shutil.copytree(source.root, tmp_path / f"results{i}"))
        pattern = generator.choice(("runs/*/*.json", weights, f"runs/*/{records.LABELS}"))
        files = sorted(store.root.glob(pattern))
        path = generator.choice(files)
        whole = path.read_bytes()
        kind = damage(path, generator, [q for q in files if q != path])
        if pattern.endswith(records.LABELS):
            with contextlib.suppress(RecordError):
                assert store.labels("mnist5k") == truth
                assert path.read_bytes().strip() == whole
            next(store.root.glob("runs/*/*.json")).unlink()  # whoever trains puts them right
        caplog.clear()
        found = {s.run_id: execute(s, store, need_weights=True) for s in small_grid()}
        assert {name: timeless(record) for name, record in found.items()} == expected, (i, kind)
        assert {q.name: q.read_bytes() for q in store.root.glob(weights)} == contents, (i, kind)
        assert store.labels("mnist5k") == truth
        assert path.read_bytes() == whole or path.suffix == ".json", f"{path} was left {kind}"
        retrained = path.suffix == ".json" and path.with_name(path.name + ".broken").exists()
        if retrained or path.suffix != ".json":
            assert path.name in caplog.text, (i, kind)
        kinds[f"{path.suffix} {kind}"] += 1
        shutil.rmtree(store.root)
    told(f"seed {SEED}: {DAMAGES} damaged files {dict(sorted(kinds.items()))}, all put right")
