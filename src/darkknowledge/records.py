"""The only module that knows ``results/``: records, weights, tables; atomic, checksummed, locked.

A record is the whole outcome of one run as JSON. It is written to a temporary file, flushed and
renamed, so it is there whole or not at all; its weights are written before it. This module
imports no torch: the report reads records too."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import logging
import math
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from filelock import FileLock, Timeout

from darkknowledge.layout import SHIFTS, Divergence, Record, check, fits, misquoted
from darkknowledge.spec import (
    BOUND,
    SpecError,
    content_of,
    place,
    read_back,
    run_id_of,
    shown,
    text_of,
)

if TYPE_CHECKING:  # it takes a third of a second to load, which only reading a table is worth
    import pandas as pd

log = logging.getLogger(__name__)

Content = TypeVar("Content")

#: What numbers and JSON that are too large or too deeply nested run into.
TOO_MUCH = ArithmeticError, RecursionError
#: Raised by one when the layout of a record changes.
FORMAT = 1
#: A file that has not changed for so long is known by its size and times.
STILL_SECONDS = 2
#: Bytes that a results folder must have room for before anything is trained.
PROBE = 100_000
#: Digits of a ``run_id`` that may stand for all of it, at the least.
FEWEST = 4
#: Q1's latencies, a file beside its table: measured apart from training, and no record.
LATENCY_TABLE = "q1_latency.csv"
#: Q2's exhibit beside its table: what a teacher says of the first test image of each class.
SOFT_LABELS = "q2_soft_labels.json"
#: Beside the records of a data set: the true classes of its test images, equally long numbers
#: (paired tests need them and the report has no data set), and a contact sheet of some test images.
LABELS = "test_labels.txt"
EXAMPLES = "test_examples.png"
#: What its classes are called, a line each.
CLASSES = "test_classes.txt"


class RecordError(RuntimeError):
    """A record, table or results folder that cannot be used; the message says what to do."""


class DiskError(RuntimeError):
    """A disk that is full or read-only now; what was stored before is whole."""


def unabridged(given: str, run_ids: Iterable[str], where: str) -> str:
    """The one of ``run_ids`` that ``given`` names, whole or by its first digits. Raises SpecError, with
    ``where`` these runs are, in words."""
    known = set(run_ids)
    if given in known:
        return given
    if len(given) < FEWEST:
        raise SpecError(
            f"{shown(given)} names no run: give at least {FEWEST} digits of its run_id."
        )
    found = sorted(run_id for run_id in known if run_id.startswith(given))
    if not found:
        there = "the column run_id of a question's table in results/ lists them"
        raise SpecError(f"No run {where} has an id that begins with {shown(given)}: {there}.")
    if len(found) > 1:
        ids = ", ".join(found[:3]) + ", …" * (len(found) > 3)
        raise SpecError(
            f"{shown(given)} begins the ids of {len(found)} runs ({ids}): give more of it."
        )
    return found[0]


def checksum(body: dict[str, Any]) -> str:
    """SHA-256 of a record without its own ``checksum`` entry."""
    rest = {k: v for k, v in body.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _checksum_matches(content: bytes, body: dict[str, Any]) -> bool:
    """Whether a record that was read from ``content`` carries its own checksum.

    As :func:`_write_checked` leaves a file, its bytes without that entry are what was summed up; to
    write the JSON again, as is due for a file that was formatted since, takes as long as to read it.
    """
    own: object = body["checksum"]
    rest = content.removesuffix(b"\n").replace(f'"checksum": "{own}", '.encode(), b"", 1)
    return hashlib.sha256(rest).hexdigest() == own or checksum(body) == own


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(content_of(path)).hexdigest()


class Run(NamedTuple):
    """What names a run, and the ``run_id`` of its teacher (empty without one)."""

    dataset: str
    run_id: str
    teacher: str = ""


@dataclass(frozen=True)
class Progress:
    """The ``run_id`` of each of some distinct runs, by what has become of it: it has a record; it has
    none and never will, because it or its teacher diverged; it is still to be trained, here or where
    its device is."""

    stored: list[str]
    diverged: list[str]
    missing: list[str]

    def __str__(self) -> str:
        planned = len(self.stored) + len(self.diverged) + len(self.missing)
        lost = f" ({len(self.diverged)} diverged)" if self.diverged else ""
        return f"{len(self.stored)} of {planned}{lost}"


def named_in(frame: pd.DataFrame) -> Iterator[Run]:
    """The runs of a table, and their teachers, which need not have a row of their own."""
    columns = (frame[name] for name in ("dataset", "run_id", "teacher_run_id"))
    for dataset, run_id, teacher in zip(*columns, strict=True):
        if teacher:
            yield Run(dataset, teacher)
        yield Run(dataset, run_id, teacher)


class Store:
    """A results folder. ``root`` holds ``runs/``, ``weights/`` and one folder per profile."""

    def __init__(self, root: str | Path) -> None:
        self.root = place(root)
        #: By path: the state of the file that was read, and what it holds.
        self._known: dict[Path, tuple[tuple[int, ...], Any]] = {}

    # -- paths ---------------------------------------------------------------------------------

    def record_path(self, dataset: str, run_id: str) -> Path:
        """Where the record of a run lies."""
        return self.root / "runs" / dataset / f"{run_id}.json"

    def diverged_path(self, dataset: str, run_id: str) -> Path:
        """Where it is noted that a run diverged."""
        return self.root / "diverged" / dataset / f"{run_id}.json"

    def weights_path(self, run_id: str) -> Path:
        """Where the fp16 weights of a run lie."""
        return self.root / "weights" / f"{run_id}.safetensors"

    def table_path(self, profile: str, question: str) -> Path:
        """Where the tidy table of a question lies."""
        return self.exhibit_path(profile, f"{question}.csv")

    def exhibit_path(self, profile: str, name: str) -> Path:
        """Where a small file that the report shows, and that is no record, lies."""
        return self.root / profile / name

    def labels_path(self, dataset: str) -> Path:
        """Where the true classes of a data set's test images lie."""
        return self.root / "runs" / dataset / LABELS

    def examples_path(self, dataset: str) -> Path:
        """Where the contact sheet of a data set lies: one row per class."""
        return self.root / "runs" / dataset / EXAMPLES

    @property
    def bench_path(self) -> Path:
        """Where the table of training speeds lies."""
        return self.root / "bench.csv"

    def prepare(self) -> None:
        """Make sure that the folder can be written; raise RecordError before anything is trained."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(bytes(PROBE))
        except OSError as error:
            said = f"The results folder {self.root} cannot be written ({error.strerror})"
            raise RecordError(f"{said}: choose another with --results, or free it.") from error

    def engine_folder(self) -> Path:
        """A new folder for one call of an engine: its plan, its logs, its own state."""
        parent = self.root / "engine"
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=parent.resolve(), prefix=f"{time.strftime('%F-%H%M%S')}-"))

    def lock(self, run_id: str) -> FileLock:
        """The lock of a run; the system lifts it when its holder dies. Raises DiskError."""
        path = self._lock_path(run_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise _unwritable(path, error) from error
        return FileLock(path)

    def _lock_path(self, run_id: str) -> Path:
        return self.root / "locks" / f"{run_id}.lock"

    # -- records -------------------------------------------------------------------------------

    def write(self, dataset: str, record: Mapping[str, Any]) -> Record:
        """Store a record under its ``run_id``, with its checksum; returns it as it is read."""
        written: Record = _write_checked(self.record_path(dataset, record["run_id"]), record)
        return written

    def write_diverged(self, dataset: str, note: Mapping[str, Any]) -> None:
        """Note that the run ``note["run_id"]`` diverged, so that it is neither trained in vain again
        nor missed without a word; ``note["reason"]`` is one sentence."""
        _write_checked(self.diverged_path(dataset, note["run_id"]), note)

    def read(self, dataset: str, run_id: str) -> Record | None:
        """The record of a run, or None if there is none that is whole. It is read once as long as its
        file stays as it is: do not change it.

        A file that cannot be read, fails its checksum or contradicts itself or the data set's labels
        is named in a warning and not used."""
        path = self.record_path(dataset, run_id)
        return self._once(path, lambda: _read_checked(path, run_id, Record, self._labels(dataset)))

    def diverged(self, dataset: str, run_id: str) -> Divergence | None:
        """The note that a run diverged, or None."""
        path = self.diverged_path(dataset, run_id)
        return self._once(path, lambda: _read_checked(path, run_id, Divergence))

    def _labels(self, dataset: str) -> str:
        """The labels of a data set; empty if they are not here, or if none of the records beside them
        bears them out."""
        path = self.labels_path(dataset)
        return self._once(path, lambda: self._borne_out(path)) or ""

    def _borne_out(self, path: Path) -> str:
        try:
            labels, fit = content_of(path).decode(errors="replace").strip(), True
        except OSError:  # it is no file, or one that may not be read
            return ""
        for other in sorted(path.parent.glob("*.json")):
            read = functools.partial(_read_checked, other, other.stem, Record, told=False)
            record = self._once(other, read)
            if record and fits(record, labels):
                return labels
            fit = fit and record is None
            self._known.pop(other, None)  # when it is read for itself, what is wrong is told
        return labels if fit else ""

    def _once(self, path: Path, read: Callable[[], Content]) -> Content | None:
        """What is read from a file, once as long as it stays as it is; None if there is no file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        except OSError:  # something is in its way
            return read()
        state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if path in self._known and self._known[path][0] == state:
            known: Content = self._known[path][1]
            return known
        content = read()
        # A file may change twice within a tick of its clock: only one that has been still is known.
        if time.time() - max(found.st_mtime, found.st_ctime) > STILL_SECONDS:
            self._known[path] = state, content
        return content

    def consistent(self, dataset: str, run_id: str) -> Record | None:
        """:meth:`read`, for whoever counts or shows the run. Raises RecordError if it learned from
        other weights than its teacher's record speaks of, or quotes other predictions, where that is
        here."""
        record = self.read(dataset, run_id)
        teacher = record["spec"]["teacher"] if record else None
        source = self.read(dataset, teacher) if teacher else None
        what = misquoted(record, source) if record and source else ""
        if what:
            what = f"speaks of other {what} of its teacher than {teacher}.json beside it"
            do = "copy both again from where they were trained, or delete the first, and its run"
            path = self.record_path(dataset, run_id)
            raise RecordError(f"{path} {what}: {do} is trained again.")
        return record

    def progress(self, runs: Iterable[Run]) -> Progress:
        """What has become of ``runs``, each counted once; the one count of ``status``, ``train`` and
        the report. A run without a record whose teacher diverged has diverged too."""
        known: dict[str, Run] = {}
        for run in runs:
            if run.run_id not in known or run.teacher:
                known[run.run_id] = run
        found = Progress([], [], [])

        def lost(run: Run) -> bool:
            if self.diverged(run.dataset, run.run_id):
                return True
            teacher = known.get(run.teacher)
            return teacher is not None and not self.read(*teacher[:2]) and lost(teacher)

        for run in known.values():
            if self.consistent(run.dataset, run.run_id):
                found.stored.append(run.run_id)
            else:
                (found.diverged if lost(run) else found.missing).append(run.run_id)
        return found

    def broken(self, dataset: str, run_id: str) -> bool:
        """Whether there is a file of a run, but no whole record in it."""
        return self.record_path(dataset, run_id).exists() and not self.read(dataset, run_id)

    def held(self, run_id: str) -> bool:
        """Whether some process, on this machine or another, holds the lock of a run."""
        if not self._lock_path(run_id).exists():
            return False
        try:
            with FileLock(self._lock_path(run_id), timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a read-only folder, where nothing can be running
            return False

    def find(self, given: str) -> Run:
        """The stored run that ``given`` names, by its id or the first digits of that; its record is not
        read. Raises SpecError."""
        home = {path.stem: path.parent.name for path in self.root.glob("runs/*/*.json")}
        run_id = unabridged(given, home, f"in {self.root}")
        return Run(home[run_id], run_id)

    def set_aside(self, dataset: str, run_id: str) -> None:
        """Rename a record that :meth:`read` refuses, so that its run is trained again."""
        path = self.record_path(dataset, run_id)
        if self.broken(dataset, run_id):
            path.replace(path.with_suffix(".json.broken"))
            log.warning("Set aside as %s; the run is trained again.", path.name + ".broken")

    def weights_match(self, record: Record) -> bool:
        """Whether the weights of a record are here and are the very ones that it describes."""
        path = self.weights_path(record["run_id"])
        if not path.exists():
            return False
        fine = path.is_file() and file_sha256(path) == record["weights_sha256"]
        if not fine:
            log.warning("The weights %s are not used: their record speaks of others.", path)
        return fine

    def keep(self, dataset: str, about: Mapping[str, bytes]) -> None:
        """Store what lies beside a data set's records, by name (``LABELS``, ``CLASSES``, ``EXAMPLES``),
        unless it is there. Labels or classes that are not these speak of other images: they are named,
        and all is replaced (the bytes of ``EXAMPLES`` depend on their encoder)."""
        paths = {name: self.labels_path(dataset).with_name(name) for name in about}
        there = {name: path for name, path in paths.items() if path.exists()}
        told = [p for n, p in there.items() if n != EXAMPLES and content_of(p) != about[n]]
        for path in told:
            log.warning("%s did not hold those of its data set: it is replaced.", path)
        for name, content in about.items():
            if told or name not in there:
                atomic_write(paths[name], content)

    def labels(self, dataset: str) -> str:
        """The true classes of a data set's test images, as a record's predictions. Raises RecordError."""
        path = self.labels_path(dataset)
        if found := self._labels(dataset):
            return found
        misfit = "does not fit the records beside it: copy it again"
        what = misfit if path.exists() else "is missing: copy it along with the records"
        raise RecordError(f"{path} {what}.")

    def classes(self, dataset: str) -> tuple[str, ...]:
        """What a data set's classes are called; empty where that is not stored. Raises RecordError."""
        path = self.labels_path(dataset).with_name(CLASSES)
        try:
            return tuple(text_of(path).splitlines())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise RecordError(f"{path} names no classes: copy it again.") from error

    # -- tables --------------------------------------------------------------------------------

    def write_table(self, profile: str, question: str, frame: pd.DataFrame) -> None:
        """Store the tidy table of a question."""
        text = frame.to_csv(index=False)
        atomic_write(self.table_path(profile, question), text.encode())

    def tables(self, profile: str, questions: Iterable[str]) -> list[str]:
        """Those of the questions that have a table. Raises RecordError if none has."""
        found = [q for q in questions if self.table_path(profile, q).exists()]
        if not found:
            what = f"call 'darkknowledge run {profile}' first"
            raise RecordError(f"{self.root}/{profile} holds no table yet: {what}.")
        return found

    def read_table(
        self, profile: str, question: str, planned: Iterable[Mapping[str, Any]] = ()
    ) -> pd.DataFrame | None:
        """The tidy table of a question with its numbers taken afresh from the records, or None.

        The table says which runs a question consists of, in which roles (if its ``planned`` rows are
        known, just as they do); runs that have no record (yet) keep their row, without numbers."""
        path = self.table_path(profile, question)
        if not path.exists():
            return None
        again = f"call 'darkknowledge train {profile} {question}', which writes it anew"
        frame = read_csv(path, TEXT_COLUMNS, NUMBER_COLUMNS, again)
        frame = self.with_numbers(frame)
        if wrong := _misplaced(frame, planned) or self._misquoted(frame):
            raise RecordError(f"{path} {wrong}: {again}.")
        return frame

    def _misquoted(self, frame: pd.DataFrame) -> str:
        """What a table says of a run's settings that its record does not, in words; empty if nothing."""
        columns = [n for n in (*SETTINGS, "teacher_run_id") if n in frame]
        rows = zip(frame["run_id"], frame["record"], *(frame[c] for c in columns), strict=True)
        home = {file: f.name for f in self.root.glob("runs/*/") for file in os.listdir(f)}
        for run_id, record, *values in rows:
            if not record and (dataset := home.get(f"{run_id}.json")):  # the table says another one
                record = self.read(dataset, run_id)
            if not record:
                continue
            spec = read_back(record["spec"])
            due = {name: setting(spec) for name, setting in SETTINGS.items()}
            due["teacher_run_id"] = spec.teacher or ""
            for name, value in zip(columns, values, strict=True):
                if name in due and value != due[name] and not _close(value, due[name]):
                    said, is_so = (shown("" if v != v else v) for v in (value, due[name]))
                    return f"says that {name} of the run {run_id} is {said}, and its record {is_so}"
        return ""

    def read_latency(self, profile: str) -> pd.DataFrame | None:
        """Q1's latencies, or None while they are not measured. Raises RecordError."""
        path = self.exhibit_path(profile, LATENCY_TABLE)
        again = f"delete it and call 'darkknowledge run {profile} q1'"
        return read_csv(path, *LATENCY, again) if path.exists() else None

    def read_bench(self) -> pd.DataFrame | None:
        """Training speeds, or None while they are not measured; what a machine cannot do has no
        number. Raises RecordError."""
        if not self.bench_path.exists():
            return None
        texts = ("case", "variant", "device_name")
        numbers = ("images_per_second", "ratio", "spread", "share", "threads")
        return read_csv(self.bench_path, texts, numbers, "delete it and call 'make bench'", numbers)

    def with_numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` (with the columns ``dataset`` and ``run_id``) with the headline numbers and the
        whole record of each run in the column ``record`` (None where there is none); ``diverged``
        says of which runs there never will be one, because they or their teachers diverged."""
        import pandas as pd

        runs = list(zip(frame["dataset"], frame["run_id"], strict=True))
        records = [self.consistent(*run) for run in runs]
        restricted = (frame["omitted"] != "").any() or (frame["kept"] != "").any()
        wanted = HEADLINE | UNSEEN if restricted else HEADLINE
        numbers = pd.DataFrame([numbers_of(r, wanted) for r in records], columns=list(wanted))
        known = [*HEADLINE, *UNSEEN, "diverged", "record"]
        frame = frame.drop(columns=known, errors="ignore").reset_index(drop=True)
        lost = set(self.progress(named_in(frame)).diverged)
        diverged = [run_id in lost for _, run_id in runs]
        return pd.concat([frame, numbers], axis=1).assign(diverged=diverged, record=records)


def _misplaced(frame: pd.DataFrame, planned: Iterable[Mapping[str, Any]]) -> str:
    """What a table says of the parts that runs have in a question and should not, in words."""
    due = {row["run_id"]: tuple(row[name] for name in PARTS) for row in planned}
    rows: dict[str, tuple[Any, ...]] = {}
    for run_id, *parts in zip(*(frame[name] for name in ("run_id", *PARTS)), strict=True):
        if run_id in rows:
            return f"names the run {run_id} twice"
        rows[run_id] = tuple(parts)
    for run_id in {**due, **rows} if due else ():
        if due.get(run_id) != rows.get(run_id):
            return f"lists the run {run_id} otherwise than the profile's parameters do"
    return ""


def read_csv(
    path: Path, texts: Iterable[str], numbers: Iterable[str], again: str, gaps: Container[str] = ()
) -> pd.DataFrame:
    """A table that holds at least one row, these columns of ``texts`` and these of ``numbers``, which
    stand in every row but for those that may have ``gaps``. Raises RecordError, which says how to make
    it ``again``."""
    import pandas as pd

    kinds = dict.fromkeys(texts, object)
    try:
        content = io.BytesIO(content_of(path))
        frame = pd.read_csv(content, dtype=kinds, keep_default_na=False, na_values=[""])
        if frame.empty:
            raise ValueError("it has no rows")
        for column in kinds:
            frame[column] = frame[column].fillna("")
        for column in numbers:
            frame[column] = pd.to_numeric(frame[column])
            if column not in gaps and not (frame[column].abs() < BOUND).all():
                raise ValueError(f"{column} is no number in one of its rows")
        return frame
    except (OSError, ValueError, TypeError, KeyError) as error:  # pandas' own are ValueErrors
        said = " ".join(str(error).split())[:300]
        reason = f"it lacks {said}" if isinstance(error, KeyError) else said
        raise RecordError(f"{path} is no table of its kind ({reason}): {again}.") from error


#: Texts and numbers of the table of latencies.
LATENCY = ("arm", "run_id", "device_name"), ("batch", "threads", "median", "iqr")
TEXT_COLUMNS = (
    *("question", "family", "role", "arm", "protocol", "pair", "mode", "model", "dataset"),
    *("omitted", "kept", "device", "run_id", "teacher_run_id"),
)
#: What says which part a run has in a question.
PARTS = ("question", "family", "role", "arm", "block", "protocol", "pair")
NUMBER_COLUMNS = (
    *("block", "temperature", "alpha", "w_hard", "w_soft"),
    *("seed", "epochs", "lr", "batch_size"),
)

#: Columns of the tidy tables that repeat a run's settings, and where its RunSpec has them; with the
#: teacher they tell all runs of the study apart. Old tables lack those from ``augmentation`` on.
SETTINGS: dict[str, Callable[[Any], Any]] = {
    "mode": lambda spec: spec.loss.mode,
    "model": lambda spec: spec.model.label,
    "dataset": lambda spec: spec.data.name,
    "omitted": lambda spec: " ".join(map(str, spec.data.omit)),
    "kept": lambda spec: " ".join(map(str, spec.data.keep)),
    "temperature": lambda spec: spec.loss.temperature,
    "alpha": lambda spec: spec.loss.w_soft,
    "w_hard": lambda spec: spec.loss.w_hard,
    "w_soft": lambda spec: spec.loss.w_soft,
    "seed": lambda spec: spec.seed,
    "epochs": lambda spec: spec.recipe.epochs,
    "optimiser": lambda spec: spec.recipe.optimiser,
    "lr": lambda spec: spec.recipe.lr,
    "batch_size": lambda spec: spec.recipe.batch_size,
    "device": lambda spec: spec.device,
    "augmentation": lambda spec: spec.recipe.augmentation,
    "teacher_view": lambda spec: spec.loss.teacher_view,
    "share": lambda spec: spec.data.share,
    "complement": lambda spec: spec.data.complement,
    "unlabelled": lambda spec: spec.data.unlabelled,
    "noise": lambda spec: spec.data.noise,
    "draw": lambda spec: spec.data.draw,
}

#: Columns of the tidy tables that repeat a record's headline numbers, and how to find them.
HEADLINE: dict[str, Callable[[Record], Any]] = {
    "validation_errors": lambda r: r["validation"]["errors"],
    "test_errors": lambda r: r["test"]["errors"],
    "test_accuracy": lambda r: r["test"]["accuracy"],
    "nll": lambda r: r["test"]["nll"],
    "ece": lambda r: r["test"]["ece"],
    "teacher_agreement": lambda r: r["test"]["teacher_agreement"],
    "seconds": lambda r: r["provenance"]["training_seconds"],
}


#: Further columns where transfer sets lack classes: per way of shifting the bias, errors in all and on
#: images of unseen classes, and the share of those images that is right.
OF_A_SHIFT: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "bias": lambda unseen, shift: unseen[shift]["bias"],
    "errors": lambda unseen, shift: unseen[shift]["errors"],
    "unseen_errors": lambda unseen, shift: unseen[shift]["errors_unseen"],
    "unseen_recall": lambda unseen, shift: 1 - unseen[shift]["errors_unseen"] / unseen["images"],
}


def _shifted(find: Callable[..., Any], shift: str, record: Any) -> Any:
    return find(record["unseen"], shift) if record.get("unseen") else None


UNSEEN: dict[str, Callable[[Any], Any]] = {
    f"{name}_{shift}": functools.partial(_shifted, find, shift)
    for shift in SHIFTS
    for name, find in OF_A_SHIFT.items()
}


def numbers_of(record: Record | None, wanted: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    """The numbers of a record by column; NaN where there is no record or it has no such number."""
    values = {name: find(record) if record else None for name, find in wanted.items()}
    return {name: math.nan if v is None else v for name, v in values.items()}


def _close(value: Any, due: Any) -> bool:
    """Whether both are NaN, or one number but for the last digit, which text may have cost it."""
    if not (isinstance(value, float) and isinstance(due, float)):
        return False
    return math.isclose(value, due) or (math.isnan(value) and math.isnan(due))


def _write_checked(path: Path, content: Mapping[str, Any]) -> Any:
    body = {**content, "format": FORMAT}
    body["checksum"] = checksum(body)
    atomic_write(path, (json.dumps(body, sort_keys=True) + "\n").encode())
    return body


def _read_checked(
    path: Path, run_id: str, layout: type[Content], labels: str = "", *, told: bool = True
) -> Content | None:
    """What :func:`_write_checked` wrote of a run; None, with a warning if it is to be ``told``, if that
    is not whole or, where ``labels`` are given, does not fit them."""
    try:
        content = content_of(path)
        body: Any = json.loads(content.decode())
        if not _checksum_matches(content, body):
            raise ValueError("its checksum does not match")
        if body["run_id"] != run_id or body["format"] != FORMAT:
            raise ValueError("it is the record of another run or another format")
        if run_id_of(body["spec"]) != run_id:
            raise ValueError("its settings are not those that its name stands for")
        check(body, layout, labels)
        found: Content = body
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, *TOO_MUCH) as e:
        reason = f"it lacks {e}" if isinstance(e, KeyError) else " ".join(str(e).split())
    if told:
        log.warning("The record %s is not used: %s.", path, reason.rstrip(".")[:300])
    return None


#: What befalls every file of a disk, and not one that something stands in the way of.
DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)
}


def _unwritable(path: Path, error: OSError) -> RuntimeError:
    kind = DiskError if error.errno in DISK_ERRORS else RecordError
    return kind(
        f"{path} cannot be written ({error.strerror}): make room or choose another folder; all that "
        "was stored is whole, and the same command goes on."
    )


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises DiskError, or RecordError if something stands in this file's way."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Who may read it says the umask, which tempfile passes over.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if temporary:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
