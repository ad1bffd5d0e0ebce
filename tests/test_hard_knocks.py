"""Hard knocks: what is killed, crowded, cut short or forged costs time, and never a result.

``make test`` runs short loops, ``make torture`` (TORTURE=1) the full ones; each prints its counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from conftest import REPOSITORY, small_grid, synthetic_split
from darkknowledge import data, grids, published, records
from darkknowledge import params as p
from darkknowledge.data import DataError, Split
from darkknowledge.paper import Paper
from darkknowledge.published import WeightsError
from darkknowledge.records import DiskError, RecordError, Store, checksum
from darkknowledge.run import execute
from darkknowledge.spec import DataSpec, SpecError, run_id_of
from small_project import HANG, forget, here, make, record_times, timeless, wait_until

FULL = os.environ.get("TORTURE") == "1"
SEED = int(os.environ.get("TORTURE_SEED", "1503"))
KILLS = 32 if FULL else 2
CROWDS = (2, 4) if FULL else (2,)
FULL_DISKS = 40 if FULL else 6
DAMAGES = 400 if FULL else 40
CASES = 2500 if FULL else 150

QUESTION = ("train", "knocks", "q2")
#: The command line, with a log of the runs that are really trained; if a file ``enough`` holds a
#: number, those after so many never end. Worker processes import it too.
SWEEP = """
import pathlib, sys, time
from darkknowledge import cli, run

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
        settings = p.read_yaml(folder / "params" / "quick" / "q2.yaml") | {"profile": "knocks"}
        if not FULL:
            settings |= {"controls": ["tfkd_reg", "untrained_teacher"], "extra_alphas": []}
            settings |= {"seeds": [0, 1], "control_seeds": [0], "jitter_seeds": [0]}
        (folder / "params" / "knocks").mkdir()
        (folder / "params" / "knocks" / "q2.yaml").write_text(yaml.safe_dump(settings))

    def start(self, *words: str) -> subprocess.Popen:
        """The command line, its output in pipes, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "sweep.py", str(self.log), *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
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
                ancestor = int(
                    (place / "stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1]
                )
                if forked and ancestor != parent:
                    found.append(process)
        return found

    def wait_for_records(self, count: int, process: subprocess.Popen) -> None:
        wait_until(lambda: len(record_times(self.folder)) >= count, process)

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
    assert len(found) == len(sweep.trained()) == len(set(sweep.trained()))
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
    victims, rounds, trained, leftovers, gone = Counter(), 0, 0, 0, []
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
                assert "Finished runs are kept; the same command goes on." in said
                assert "Traceback" not in said
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
        leftovers += len(list(sweep.store.root.rglob(".*.tmp")))
    told(
        f"seed {SEED}: {victims.total()} kills ({dict(victims)}) in {rounds} sweeps of "
        f"{len(calm[1])} runs; {trained} trainings begun for {sum(gone)} records, none lost, all "
        f"equal to the undisturbed ones; {leftovers} unfinished temporary files"
    )
    assert victims.total() >= KILLS


@linux
@pytest.mark.parametrize("count", CROWDS)
def test_a_crowd_on_one_folder_trains_every_run_once(calm, tmp_path, count):
    """One of four is killed on the way; the others take over what it held."""
    sweep, generator = Sweep(tmp_path / "project"), random.Random(SEED)
    crowd = [sweep.start(*QUESTION, "--jobs", "1") for _ in range(count)]
    killed = 0
    if count > 2:
        while not sweep.trained():
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 2))
        os.killpg(crowd[0].pid, signal.SIGKILL)
        killed = 1
    said = [process.communicate(timeout=HANG) for process in crowd]
    codes = [process.returncode for process in crowd]
    assert codes == [-signal.SIGKILL] * killed + [0] * (count - killed), said
    sweep.wait_until_nobody_is_left()
    assert sweep.check() == calm[1]
    again = [name for name, times in Counter(sweep.trained()).items() if times > 1]
    assert len(again) <= killed and len(sweep.trained()) <= len(calm[1]) + killed
    told(
        f"{count} processes, {killed} killed: {len(sweep.trained())} trainings for "
        f"{len(calm[1])} runs, every lock free"
    )


STOPS = [("train", signal.SIGTERM, False), ("train", signal.SIGINT, False)]
if FULL:
    STOPS += [("train", signal.SIGTERM, True), ("train", signal.SIGINT, True)]
    STOPS += [("run", signal.SIGTERM, False), ("run", signal.SIGINT, True)]


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
        jobs = ("--jobs", "1") if command == "train" else ()
        process = sweep.start(command, *QUESTION[1:], *jobs)
        sweep.wait_for_records(before + 2, process)
        kept = record_times(sweep.folder)
        (os.killpg if everybody else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=HANG)
        assert process.returncode == 130, said
        assert "Finished runs are kept; the same command goes on." in said
        assert "Traceback" not in said
        sweep.wait_until_nobody_is_left()
        found = sweep.check()
        assert found.items() <= calm[1].items()
        assert kept.items() <= record_times(sweep.folder).items()
        if command == "train":  # the workers of a notebook do not know when it is enough
            assert record_times(sweep.folder) == kept
        told(f"{command}, {number.name}: {len(found)} of {len(calm[1])} records kept")
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
    assert process.returncode == 130
    assert said == "\nInterrupted. Finished runs are kept; the same command goes on.\n"
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


@contextlib.contextmanager
def little_room(folder: Path, size: int, how: str) -> Iterator[None]:
    """Files may not become larger than ``size``, or a filler leaves ``size`` bytes in all."""
    if how == "file-size limit":
        _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(folder).free - size)))
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def calm_grid(tmp_path, synthetic) -> tuple[Store, dict[str, dict]]:
    """The small grid on synthetic data, trained undisturbed, and its records by run."""
    store = Store(tmp_path / "calm" / "results")
    return store, {spec.run_id: timeless(execute(spec, store)) for spec in small_grid()}


@pytest.mark.parametrize("how", ["file-size limit", "tiny file system"])
def test_a_full_disk_is_a_clear_error_and_harms_nothing_stored(calm_grid, tmp_path, how):
    generator, failed, stored = random.Random(SEED), 0, 0
    disk = tiny_disk(tmp_path / "disk", "1m") if how == "tiny file system" else None
    with disk or contextlib.nullcontext(tmp_path) as place:
        most = 12_000 if how == "file-size limit" else 60_000  # a page for every file and folder
        for i in range(FULL_DISKS):
            store = Store(place / f"results{i}")
            for spec in small_grid():
                before = {q: q.read_bytes() for q in store.root.rglob("*.json")}
                try:
                    with little_room(place, generator.randrange(most), how):
                        execute(spec, store)
                    stored += 1
                except DiskError as error:
                    failed += 1
                    assert str(store.root) in str(error) and "\n" not in str(error)
                    assert "the same command goes on" in str(error)
                assert {q: q.read_bytes() for q in before} == before
                assert all(store.read(q.parent.name, q.stem) for q in before)
                assert not list(store.root.rglob("*.tmp"))
            for spec in small_grid():  # with room again
                assert timeless(execute(spec, store)) == calm_grid[1][spec.run_id]
            shutil.rmtree(store.root)
    told(f"{how}: {FULL_DISKS} folders, {failed} writes refused, {stored} runs stored beside them")
    assert failed and stored


@linux
def test_a_sweep_that_fills_the_disk_stops_at_once_and_goes_on_when_there_is_room(calm, tmp_path):
    sweep = Sweep(tmp_path / "project")
    with tiny_disk(sweep.store.root, "400k"):
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
        told(f"full after {len(kept)} of {len(calm[1])} runs, completed with more room")


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
        folder, where = calm[0].folder, ("--results", str(results))
        for words in (QUESTION, ("run", "knocks", "q2")):
            done = here(folder, "-q", *words, *where)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert "cannot be written" in done.stderr
        done = here(folder, "status", "knocks", *where)
        assert done.returncode == 3
        assert f"{len(calm[1]) - 1} of {len(calm[1])} runs stored" in done.stdout
        done = here(folder, "claims", "knocks", *where)
        assert done.returncode == 0 and "q2.kd_vs_hard" in done.stdout
        assert before == {q: q.read_bytes() for q in results.rglob("*") if q.is_file()}
        told(f"{len(before)} files of a read-only folder read, none touched")


# -- damaged and foreign files ----------------------------------------------------------------------


def zipped() -> bytes:
    with io.BytesIO() as buffer, zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
        archive.close()
        return buffer.getvalue()


FOREIGN = {
    "empty": b"",
    "zip": zipped(),
    "pickle": pickle.dumps({"run_id": 1}),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "page": b"<!doctype html><title>404</title>",
    "deep JSON": b"[" * 200_000,
    "null": b"null",
    "zeros": bytes(5000),  # what a power cut leaves on some file systems
    "tensors": save_safetensors({"layers.0.weight": torch.zeros(2, 2, dtype=torch.bfloat16)}),
    "splits": save_safetensors(
        {
            f"{part}_{what}": torch.zeros(2, dtype=torch.bfloat16)
            for part in ("train", "test")
            for what in ("images", "labels")
        }
    ),
}


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
        kind, content = "foreign", generator.choice(list(FOREIGN.values()))
    path.write_bytes(content)
    return kind


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
        caplog.clear()
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
        if path.read_bytes() != whole and path.suffix != ".json":
            pytest.fail(f"{path} was left {kind}")
        retrained = path.suffix == ".json" and path.with_name(path.name + ".broken").exists()
        if retrained or path.suffix != ".json":
            assert path.name in caplog.text, (i, kind)
        kinds[f"{path.suffix} {kind}"] += 1
        shutil.rmtree(store.root)
    told(f"seed {SEED}: {DAMAGES} damaged files {dict(sorted(kinds.items()))}, all put right")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_in_the_place_of_a_record_is_named_and_set_aside(calm_grid, caplog, name):
    store, expected = calm_grid
    spec = small_grid()[1]
    path = store.record_path("mnist5k", spec.run_id)
    path.write_bytes(FOREIGN[name])
    assert store.state("mnist5k", spec.run_id) == "broken" and str(path) in caplog.text
    assert timeless(execute(spec, store)) == expected[spec.run_id]
    assert path.with_name(path.name + ".broken").read_bytes() == FOREIGN[name]


def test_a_record_of_another_run_is_refused_even_with_a_checksum_of_its_own(calm_grid, caplog):
    """Copied under a wrong name, and its run_id and checksum made to fit."""
    store, _ = calm_grid
    one, other = (spec.run_id for spec in small_grid()[:2])
    body = store.read("mnist5k", one) | {"run_id": other}
    body["checksum"] = checksum(body)
    store.record_path("mnist5k", other).write_text(json.dumps(body))
    assert store.read("mnist5k", other) is None
    assert "its settings are not those that its name stands for" in caplog.text


def test_labels_that_do_not_fit_the_records_are_refused(calm_grid):
    store, _ = calm_grid
    path = store.record_path("mnist5k", "x").with_name(records.LABELS)
    whole = path.read_text()
    places = range(0, len(whole), 1 if FULL else 5)
    for i in places:
        for digit in {*"0123456789"} - {whole[i]}:
            path.write_text(whole[:i] + digit + whole[i + 1 :])
            with pytest.raises(RecordError, match=r"test_labels\.txt"):
                store.labels("mnist5k")
    path.write_text(whole)
    assert store.labels("mnist5k") == whole
    told(f"{9 * len(places)} single wrong labels, all refused")


def test_a_damaged_cache_of_decoded_images_is_named_and_never_used(tmp_path, caplog):
    splits = tuple(Split(synthetic_split(20, s).images, torch.arange(20)) for s in (1, 2))
    cache, generator, refused = tmp_path / "cifar10-jpeg.safetensors", random.Random(SEED), 0
    data._write_cache(cache, "source", splits)
    whole = cache.read_bytes()
    for _ in range(5 * DAMAGES):
        cache.write_bytes(whole)
        kind = damage(cache, generator, [])
        caplog.clear()
        found = data._read_cache(cache, "source")
        if found is None:
            refused += 1
            assert str(cache) in caplog.text
            continue
        for a, b in zip(found, splits, strict=True):
            assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels), kind
    for content in FOREIGN.values():
        cache.write_bytes(content)
        assert data._read_cache(cache, "source") is None
    told(f"seed {SEED}: {5 * DAMAGES} damaged caches, {refused} refused, the others without effect")
    assert refused > 4 * DAMAGES


def write_mnist(root: Path) -> DataSpec:
    """Raw files like MNIST's, of a few images; returns their spec."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, seed in (("train", 1), ("t10k", 2)):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (30, 28, 28), generator=generator, dtype=torch.uint8)
        for kind, magic, values in (
            ("images-idx3", 2051, images),
            ("labels-idx1", 2049, (torch.arange(30, dtype=torch.uint8) + seed) % 10),
        ):
            header = [magic, *values.shape]
            content = b"".join(n.to_bytes(4, "big") for n in header) + values.numpy().tobytes()
            (raw / f"{part}-{kind}-ubyte").write_bytes(content)
    return DataSpec("mnist", data.fingerprint(*data._mnist(root)), 10)


def test_raw_digits_with_one_flipped_bit_are_refused_by_name(tmp_path):
    spec, generator = write_mnist(tmp_path), random.Random(SEED)
    files = sorted((tmp_path / "MNIST" / "raw").iterdir())
    assert len(data.load(spec, tmp_path).test) == 30
    for i in range(DAMAGES):
        path = files[i % 4]
        whole = path.read_bytes()
        damage(path, generator, [q for q in files if q != path])
        data.load.cache_clear()
        with pytest.raises(DataError, match=f"{tmp_path}") as error:
            data.load(spec, tmp_path)
        assert "\n" not in str(error.value)
        path.write_bytes(whole)
    data.load.cache_clear()
    told(f"seed {SEED}: {DAMAGES} damaged raw files of digits, all refused")


class Payload:
    """What a forger would pickle: unpickling it leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def test_no_pickle_is_loaded_wherever_it_lies(calm_grid, tmp_path, monkeypatch):
    source, expected = calm_grid
    marker, calls = tmp_path / "marker", []
    content = pickle.dumps(Payload(marker))
    pickle.loads(content)
    assert marker.exists()  # it does bite
    marker.unlink()
    legacy = tmp_path / "data" / "MNIST" / "processed"
    legacy.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):  # which torchvision prefers to the raw files
        torch.save((torch.zeros(30, 28, 28), torch.arange(30)), legacy / name)
    batches = tmp_path / "data" / "cifar-10-batches-py"
    batches.mkdir()
    for name in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (batches / name).write_bytes(content)
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, lambda *a, name=name, **k: calls.append(name))
    for path in [*source.root.glob("runs/*/*"), *source.root.glob("weights/*")]:
        path.write_bytes(content)
    found = {s.run_id: execute(s, source, need_weights=True) for s in small_grid()}
    assert {name: timeless(record) for name, record in found.items()} == expected
    for name in ("mnist", "cifar10"):
        with pytest.raises(DataError, match="cannot be had"):
            data.load(DataSpec(name, "any", 10), tmp_path / "data")
    cache = tmp_path / "data" / "cifar10-jpeg.safetensors"
    cache.write_bytes(content)
    assert data._read_cache(cache, "source") is None
    weights = next(source.root.glob("weights/*.safetensors"))
    for path in (published.card_path(weights), weights):
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            published.network(weights)
    for text in (
        content,
        f"a: !!python/object/apply:pathlib.Path.touch [{marker}]".encode(),
        f"a: !!python/object/new:pathlib.Path [{marker}]".encode(),
        b"a: !!python/name:os.system",
    ):
        (tmp_path / "q1.yaml").write_bytes(text)
        with pytest.raises(SpecError, match=r"q1\.yaml"):
            p.read_yaml(tmp_path / "q1.yaml")
    assert not marker.exists() and not calls


# -- texts that no one would write ------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**4000, 10**5000)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(("../../etc", "mnist5k", "resnet8>resnet20", "mlp-" + "9" * 5000, "a" * 9999))
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
SCRAPS = st.sampled_from(
    (
        *(
            "0x_",
            "0b_",
            "!!bool x",
            "!!int x",
            "!!timestamp x",
            "!!float x",
            "!!binary é",
            "2001-99-99",
        ),
        *(
            "0x" + "f" * 5000,
            "9" * 5000,
            "&a [*a]",
            "&b {<<: *b}",
            "{",
            "}",
            "[",
            "]",
            ":",
            "- ",
            "\t",
        ),
        *(
            "!!python/object/apply:os.getcwd []",
            "!!set {[1]: 2}",
            "\x00",
            "\ufeff",
            "---",
            "...",
            "~",
        ),
        *(
            "[" * 5000,
            "1e999",
            ".nan",
            "-.inf",
            "? [1]\n: 2",
            "%YAML 9.9\n",
            "*nothing",
            "é",
            "'",
            '"',
        ),
    )
)


@st.composite
def spoilt(draw, text: str) -> str:
    """``text`` with a few pieces of it replaced by scraps."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 20)))
        text = text[:start] + draw(SCRAPS | st.text(max_size=8)) + text[stop:]
    return text


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("fuzzed") / "project")


def bounded(cases: int) -> settings:
    return settings(
        max_examples=cases,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def test_a_params_text_is_understood_or_refused_in_one_short_sentence(fuzzed):
    """A question's file, the book of recipes or that of worlds: read, checked, made into a grid."""
    places = {
        q: fuzzed / "params" / "quick" / f"{q}.yaml" for q in ("q1", "q2", "q3", "q4", "q5", "q6")
    }
    places |= {name: fuzzed / "params" / f"{name}.yaml" for name in ("recipes", "worlds")}
    texts = {name: path.read_text() for name, path in places.items()}
    outcomes: Counter = Counter()

    @bounded(CASES)
    @given(st.data())
    def law(drawn):
        name = drawn.draw(st.sampled_from(sorted(places)))
        whole = yaml.safe_load(texts[name])
        if drawn.draw(st.booleans()):
            text = drawn.draw(spoilt(texts[name]))
        elif name in ("recipes", "worlds"):
            entry = drawn.draw(st.sampled_from(sorted(whole)))
            key = drawn.draw(st.sampled_from(sorted(whole[entry])))
            text = dumped(whole | {entry: whole[entry] | {key: drawn.draw(VALUES)}})
        else:
            key = drawn.draw(st.sampled_from(sorted(whole)))
            text = dumped(whole | {key: drawn.draw(VALUES)})
        places[name].write_text(text, encoding="utf-8", errors="replace")
        question = {"recipes": "q2", "worlds": "q5"}.get(name, name)
        forget()
        try:
            found = p.read("quick", question)
            assert grids.ordered(grids.grid(question, found))
            if name == "worlds":
                changed = dataclasses.replace(found, seeds=(1,))
                assert grids.ordered(grids.grid(question, changed))
            outcomes["understood"] += 1
        except SpecError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            outcomes["refused"] += 1
        finally:
            places[name].write_text(texts[name])

    with contextlib.chdir(fuzzed):
        law()
    told(f"{outcomes.total()} texts of parameters: {dict(outcomes)}")
    assert outcomes["refused"] > CASES / 3 and outcomes["understood"]


def dumped(value: object) -> str:
    """As YAML; numbers that Python does not print in hexadecimal digits."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seeds: [" + "1, " * 50_000 + "1]", "larger than"),
        ("seeds: " + "[" * 20_000, "nested too deeply"),
        ("seeds: &s [*s]\nteacher_seeds: *s", "seeds"),
        ("a: &a [x, x]\n" + "".join(
            f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ) + "seeds: *i", "aliases"),
        ("a: &a {x: 1}\n" + "".join(
            f"{b}: &{b} {{<<: [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]}}\n"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ), "aliases"),
        ("seeds: 0x" + "f" * 9000, "too many digits"),
        ("seeds: [" + ", ".join(map(str, range(14_000))) + ", 7]", "7 twice"),
    ],
    ids=["long", "deep", "recursive", "billion laughs", "merged laughs", "digits", "many seeds"],
)  # fmt: skip
def test_a_gigantic_params_file_is_refused_at_once(fuzzed, text, says):
    path = fuzzed / "params" / "gigantic"
    path.mkdir(exist_ok=True)
    (path / "q1.yaml").write_text(text)
    began = time.process_time()
    with contextlib.chdir(fuzzed), pytest.raises(SpecError, match=says) as error:
        p.read("gigantic", "q1")
    # Read in full, such a file keeps a machine busy for minutes at least.
    assert time.process_time() - began < 30 and len(str(error.value)) < 1000


@pytest.mark.parametrize("value", [None, 3, "0", {"a": 1}, [[0]]])
def test_odd_seeds_of_a_world_are_refused_also_where_a_question_overrides_them(fuzzed, value):
    path = fuzzed / "params" / "worlds.yaml"
    whole = path.read_text()
    worlds = yaml.safe_load(whole)
    path.write_text(yaml.safe_dump({k: w | {"control_seeds": value} for k, w in worlds.items()}))
    try:
        with contextlib.chdir(fuzzed), pytest.raises(SpecError, match="control_seeds"):
            p.make("q5", {"seeds": [1]})
    finally:
        path.write_text(whole)


def test_a_record_is_whole_or_named_in_a_warning_whatever_stands_in_its_file(calm_grid, caplog):
    """Texts at random, spoilt records, and forged ones whose checksum fits."""
    store, _ = calm_grid
    run_id = small_grid()[2].run_id
    path = store.record_path("mnist5k", run_id)
    text, outcomes = path.read_text(), Counter()
    whole = json.loads(text)

    @bounded(CASES)
    @given(st.data())
    def law(drawn):
        how = drawn.draw(st.sampled_from(("text", "spoilt", "forged", "forged")))
        if how == "forged":
            body = json.loads(text)
            inner, value = body, drawn.draw(VALUES.filter(writable))
            for _ in range(drawn.draw(st.integers(0, 2))):
                deeper = [v for v in inner.values() if isinstance(v, dict)]
                inner = drawn.draw(st.sampled_from(deeper)) if deeper else inner
            key = drawn.draw(st.sampled_from(sorted(inner)))
            if drawn.draw(st.booleans()):
                inner[key] = value
            else:
                del inner[key]
            body["checksum"] = checksum(body)
            content = json.dumps(body)
        else:
            content = drawn.draw(st.text() if how == "text" else spoilt(text))
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
        caplog.clear()
        found = store.read("mnist5k", run_id)
        if found is None:
            assert [r.levelname for r in caplog.records] == ["WARNING"] and str(path) in caplog.text
            assert "\n" not in caplog.records[0].getMessage()
            assert store.state("mnist5k", run_id) == "broken"
        else:
            assert found["run_id"] == run_id_of(found["spec"]) == run_id
            assert found["checksum"] == checksum(found)
            frame = pd.DataFrame(
                [{"dataset": "mnist5k", "run_id": run_id, "omitted": "", "kept": ""}]
            )
            numbers = store.with_numbers(frame).drop(columns="record")
            assert len(numbers) == 1
            assert how == "forged" or found == whole
        outcomes[f"{how}, {'used' if found else 'refused'}"] += 1

    law()
    told(f"{outcomes.total()} record files: {dict(sorted(outcomes.items()))}")
    assert outcomes["spoilt, refused"] and outcomes["forged, refused"] and outcomes["text, refused"]


def writable(value: object) -> bool:
    """Whether JSON can hold it."""
    try:
        return json.loads(json.dumps(value)) is not ...
    except (TypeError, ValueError):
        return False


ABSURD = {
    "gigantic image": {"input": {"shape": [1, 10**9, 10**9]}},
    "negative image": {"input": {"shape": [1, -8, 8]}},
    "image of infinite size": {"input": {"shape": [1, 8, float("inf")]}},
    "gigantic net": {"model": {"name": "mlp", "hidden": [10**6, 10**6]}},
    "net of a million layers": {"model": {"name": "mlp", "hidden": [10**18, 10**18]}},
    "infinite errors": {"test_errors": float("inf")},
    "a path for a data set": {"data": {"name": "../../etc", "fingerprint": "x", "validation": 1}},
    "no mapping": {"model": [1]},
    "text for a shape": {"input": "8x8"},
}


@pytest.mark.parametrize("what", ABSURD)
def test_an_absurd_card_is_refused_in_one_sentence_and_costs_no_memory(calm_grid, what):
    store, _ = calm_grid
    record = store.read("mnist5k", small_grid()[1].run_id)
    published.write_card(store, record)
    weights = store.weights_path(record["run_id"])
    published.network(weights)
    card = published.card_path(weights)
    card.write_text(json.dumps(json.loads(card.read_text()) | ABSURD[what]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError) as error:
        published.network(weights)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


# -- names that lead elsewhere ----------------------------------------------------------------------

ELSEWHERE = ("../../etc", "..", "a/b", "/etc", "..\\etc", "a\0b", ".", ".git", "a\nb", "")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_name_leads_out_of_the_results_folder(store, name):
    for path in (
        lambda: store.record_path(name, "id"),
        lambda: store.record_path("mnist", f"{name}/../x" if name == "" else name + "/x"),
        lambda: store.weights_path(f"../{name}"),
        lambda: store.lock(f"../{name}"),
        lambda: store.state("mnist", f"../{name}"),
        lambda: store.table_path(name, "q1"),
        lambda: store.table_path("paper", f"../{name}"),
        lambda: store.exhibit_path(name, "q1_latency.csv"),
        lambda: store.keep(name, "x", b""),
        lambda: store.labels(name),
        lambda: p.read(name, "q1"),
        lambda: p.questions_of(name),
        lambda: p.from_notebook("q1", {"profile": name}),
    ):
        with pytest.raises(SpecError):
            path()
    assert not store.root.exists()


@pytest.mark.parametrize("command", ["train", "run", "render", "status", "claims", "weights"])
def test_a_profile_that_is_a_path_is_refused_by_every_command(tmp_path, fuzzed, command):
    before = sorted(tmp_path.rglob("*"))
    for name in ("../../etc", "../params/quick", "quick/../quick", "/etc", "..", ""):
        done = here(fuzzed, command, name, "--results", str(tmp_path / "a" / "results"))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "profile" in done.stderr and "letters, digits" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_profile_of_the_environment_and_the_ids_of_a_table_cannot_lead_out(
    calm_grid, tmp_path, monkeypatch
):
    store, _ = calm_grid
    monkeypatch.setenv("DARKKNOWLEDGE_PROFILE", "../../etc")
    with pytest.raises(SpecError, match="profile"):
        Paper.load(None, store.root)
    one = small_grid()[1].run_id
    shutil.copy(store.record_path("mnist5k", one), tmp_path / f"{one}.json")
    row = dict.fromkeys(records.TEXT_COLUMNS, "") | dict.fromkeys(records.NUMBER_COLUMNS, 1)
    row["question"] = "q1"
    for dataset, run_id in (("..", one), ("mnist5k", f"../../../../{one}"), ("../../..", one)):
        frame = pd.DataFrame([row | {"dataset": dataset, "run_id": run_id}])
        store.write_table("mine", "q1", frame)
        with pytest.raises(RecordError, match=r"q1\.csv is no table"):
            Paper.load("mine", store.root)
    store.write_table("mine", "q1", pd.DataFrame([row | {"dataset": "mnist5k", "run_id": one}]))
    assert Paper.load("mine", store.root).frames["q1"]["record"][0]["run_id"] == one


@pytest.mark.parametrize("name", FOREIGN)
def test_a_table_that_is_none_is_refused_by_name(store, name):
    path = store.table_path("paper", "q1")
    path.parent.mkdir(parents=True)
    path.write_bytes(FOREIGN[name])
    with pytest.raises(RecordError, match=r"q1\.csv is no table") as error:
        store.read_table("paper", "q1")
    assert "\n" not in str(error.value)
