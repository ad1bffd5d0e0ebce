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
from collections.abc import Iterator
from pathlib import Path

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
    """Print a line of counts; ``make torture`` shows them."""
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

    def complete(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, waited for."""
        process = self.start(*words)
        out, err = process.communicate(timeout=HANG)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def trained(self) -> list[str]:
        """The runs whose training began, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def processes(self) -> list[int]:
        """All that run in the folder, whoever started them; zombies do not."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").resolve(strict=True) == self.folder.resolve():
                    found.append(int(entry.name))
        return found

    def workers(self, parent: int) -> list[int]:
        """Those that train: forked from the server, which is the parent's own child."""
        found = []
        for process in self.processes():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                place = Path(f"/proc/{process}")
                forked = b"forkserver" in (place / "cmdline").read_bytes()
                ancestor = (
                    (place / "stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1]
                )
                if forked and int(ancestor) != parent:
                    found.append(process)
        return found

    def wait_until_nobody_is_left(self) -> None:
        deadline = time.monotonic() + HANG
        while left := self.processes():
            assert time.monotonic() < deadline, f"{left} outlived their parent"
            time.sleep(0.02)

    def check(self) -> dict[str, dict]:
        """Every record is whole, its weights are its own, and no lock is held; returns the records
        without their times."""
        found = {}
        for path in self.store.root.glob("runs/*/*.json"):
            record = self.store.read(path.parent.name, path.stem)
            assert record, f"{path} is not whole"
            assert self.store.weights_match(record)
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
def calm(tmp_path_factory) -> tuple[Sweep, dict[str, dict]]:
    """An undisturbed sweep, and its records by name."""
    sweep = Sweep(tmp_path_factory.mktemp("calm") / "project")
    done = sweep.complete(*QUESTION, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    found = sweep.check()
    assert len(found) == len(sweep.trained()) == len(set(sweep.trained())) > 10
    return sweep, found


def strike(sweep: Sweep, process: subprocess.Popen, generator: random.Random) -> str:
    """``kill -9`` somebody of a sweep at a random moment; returns whom, or "" if all was done."""
    begun = len(sweep.trained())
    if generator.random() < 0.8:  # else while it starts
        while len(sweep.trained()) == begun and process.poll() is None:
            time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(generator.uniform(0, 1))
        return ""
    victim = generator.choice(("parent", "worker", "everybody"))
    workers = sweep.workers(process.pid)
    if victim == "worker" and workers:
        targets = [generator.choice(workers)]
    elif victim == "everybody":
        targets = sweep.processes()
    else:
        victim, targets = "parent", [process.pid]
    for target in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    return victim


@linux
def test_kill_9_at_any_moment_loses_no_record_and_changes_none(calm, tmp_path):
    generator = random.Random(SEED)
    victims, rounds, trained, gone = Counter(), 0, 0, []
    while victims.total() < KILLS or not gone:
        assert rounds <= KILLS, "every round met at least one kill"
        sweep, kept = Sweep(tmp_path / f"round{rounds}"), {}
        rounds += 1
        for _ in range(KILLS + 1):
            process = sweep.start(*QUESTION, "--jobs", "2")
            victim = strike(sweep, process, generator) if victims.total() < KILLS else ""
            _, said = process.communicate(timeout=HANG)
            sweep.wait_until_nobody_is_left()
            victims.update([victim] if victim else [])
            assert victim or process.returncode == 0, said
            if victim == "worker" and process.returncode:  # the parent lives, and says so
                assert GO_ON in said and "Traceback" not in said
            sweep.check()
            now = record_times(sweep.folder)
            assert {name: now.get(name) for name in kept} == kept
            kept = now
            if process.returncode == 0:
                gone.append(len(kept))
                break
        assert sweep.check() == calm[1]
        assert not list(sweep.store.root.rglob("*.broken"))
        trained += len(sweep.trained())
    told(f"seed {SEED}: {dict(victims)} killed; {trained} trainings begun for {sum(gone)} records")
    assert victims.total() >= KILLS


@linux
@pytest.mark.parametrize("count", (2, 4) if FULL else (2,))
def test_a_crowd_on_one_folder_trains_every_run_once(calm, tmp_path, count):
    """One of four is killed on the way; the others take over what it held."""
    sweep, generator = Sweep(tmp_path / "project"), random.Random(SEED)
    crowd = [sweep.start(*QUESTION, "--jobs", "1") for _ in range(count)]
    killed = int(count > 2)
    if killed:
        while not sweep.trained():
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 2))
        os.killpg(crowd[0].pid, signal.SIGKILL)
    said = [process.communicate(timeout=HANG) for process in crowd]
    codes = [process.returncode for process in crowd]
    assert codes == [-signal.SIGKILL] * killed + [0] * (count - killed), said
    sweep.wait_until_nobody_is_left()
    assert sweep.check() == calm[1]
    again = [name for name, times in Counter(sweep.trained()).items() if times > 1]
    assert len(again) <= killed and len(sweep.trained()) <= len(calm[1]) + killed


STOPS = [("train", number, False) for number in (signal.SIGTERM, signal.SIGINT)]
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
        (os.killpg if everybody else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=HANG)
        assert process.returncode == 130, said
        assert GO_ON in said and "Traceback" not in said
        sweep.wait_until_nobody_is_left()
        found = sweep.check()
        assert found.items() <= calm[1].items()
        assert kept.items() <= record_times(sweep.folder).items()
        if command == "train":  # the workers of a notebook do not know when it is enough
            assert record_times(sweep.folder) == kept
    (sweep.folder / "enough").unlink()
    done = sweep.complete(*QUESTION, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert sweep.check() == calm[1]
    assert kept.items() <= record_times(sweep.folder).items()


@linux
def test_ctrl_c_while_workers_start_is_answered_in_one_sentence(tmp_path):
    """A terminal sends it to them too, here to them first, and they have nothing to say to it."""
    sweep, generator = Sweep(tmp_path / "project"), random.Random(SEED)
    (sweep.folder / "enough").write_text("0", encoding="utf-8")  # or a fast machine is done by then
    process = sweep.start("-q", *QUESTION, "--jobs", "2")
    wait_until(lambda: sweep.workers(process.pid), process)
    time.sleep(generator.uniform(0.2, 0.8))
    for worker in sweep.workers(process.pid):
        os.kill(worker, signal.SIGINT)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=HANG)
    assert (process.returncode, said) == (130, f"\nInterrupted. {GO_ON}\n")
    sweep.wait_until_nobody_is_left()


# -- disks ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tiny_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of a few pages, where the user may mount one."""
    place.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("A file system of its own can only be mounted by root.")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


@linux
def test_a_sweep_that_fills_the_disk_stops_at_once_and_goes_on_when_there_is_room(calm, tmp_path):
    sweep = Sweep(tmp_path / "project")
    with tiny_disk(sweep.store.root, "240k"):
        done = sweep.complete("-q", *QUESTION, "--jobs", "1")
        assert done.returncode == 1
        assert "No space left on device" in done.stderr and done.stderr.count("\n") == 1
        kept, tried = record_times(sweep.folder), len(sweep.trained())
        assert kept and sweep.check().items() <= calm[1].items()
        assert tried <= len(kept) + 1  # no run was trained that could not be stored any more
        done = here(sweep.folder, "-q", *QUESTION)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "cannot be written (No space left on device)" in done.stderr
        remount(sweep.store.root, "size=32m")
        done = sweep.complete("-q", *QUESTION, "--jobs", "1")
        assert done.returncode == 0, done.stderr
        assert sweep.check() == calm[1]
        assert kept.items() <= record_times(sweep.folder).items()


@pytest.mark.slow
def test_a_read_only_folder_can_be_read_and_refuses_the_rest_in_one_sentence(calm, tmp_path):
    place = tmp_path / "disk"
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:  # whom no permission binds
            stack.enter_context(tiny_disk(place, "32m"))
        results = shutil.copytree(calm[0].store.root, place / "results")
        next(results.glob("runs/*/*.json")).unlink()
        before = {q: q.read_bytes() for q in results.rglob("*") if q.is_file()}
        if os.geteuid() == 0:
            remount(place, "ro")
        else:
            for folder in (results, *(q for q in results.rglob("*") if q.is_dir())):
                folder.chmod(0o555)
                stack.callback(folder.chmod, 0o755)
        where = ("--results", str(results))
        for words in (QUESTION, ("run", *QUESTION[1:])):
            done = here(calm[0].folder, "-q", *words, *where)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert "cannot be written" in done.stderr
        done = here(calm[0].folder, "status", "knocks", *where)
        assert done.returncode == 3
        assert f"{len(calm[1]) - 1} of {len(calm[1])} runs stored" in done.stdout
        done = here(calm[0].folder, "claims", "knocks", *where)
        assert done.returncode == 0 and "q2.kd_vs_hard" in done.stdout
        assert before == {q: q.read_bytes() for q in results.rglob("*") if q.is_file()}


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
    elif kind == "another's" and others:
        content = generator.choice(others).read_bytes()
    else:
        kind, content = "foreign", generator.choice(FOREIGN)
    path.write_bytes(content)
    return kind


@pytest.fixture
def calm_grid(tmp_path, synthetic) -> tuple[Store, dict[str, dict]]:
    """The small grid on synthetic data, trained undisturbed, and its records by run."""
    store = Store(tmp_path / "calm" / "results")
    return store, {spec.run_id: timeless(execute(spec, store)) for spec in small_grid()}


@pytest.mark.slow
def test_whatever_is_done_to_a_file_of_the_results_the_next_sweep_ends_with_the_same_records(
    calm_grid, tmp_path, caplog
):
    source, expected = calm_grid
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
