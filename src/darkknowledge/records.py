"""The only module that knows ``results/``: records, weights, tables; atomic, checksummed, locked.

A record is the whole outcome of one run as JSON. It is written to a temporary file, flushed and
renamed, so it is there whole or not at all; its weights are written before it. This module
imports no torch: the report reads records too.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from darkknowledge.layout import BOUND, Divergence, Record, check
from darkknowledge.spec import plain, run_id_of

if TYPE_CHECKING:  # it takes a third of a second to load, which only reading a table is worth
    import pandas as pd

log = logging.getLogger(__name__)

#: Raised by one when the layout of a record changes.
FORMAT = 1
#: A file that has not changed for so long is known by its size and times.
STILL_SECONDS = 2
#: Bytes that a results folder must have room for before anything is trained.
PROBE = 100_000
#: Q1's latencies, a file beside its table: measured apart from training, and no record.
LATENCY_TABLE = "q1_latency.csv"
#: Q2's exhibit beside its table: what a teacher says of the first test image of each class.
SOFT_LABELS = "q2_soft_labels.json"
#: Beside the records of a data set: the true classes of its test images, one digit each (paired
#: tests need them and the report has no data set), and a contact sheet of some test images.
LABELS = "test_labels.txt"
EXAMPLES = "test_examples.png"


class RecordError(RuntimeError):
    """A record, table or results folder that cannot be used; the message says what to do."""


class DiskError(RuntimeError):
    """A disk that is full or read-only now; what was stored before is whole."""


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
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
        return f"{len(self.stored)} of {planned}"


def named_in(frame: pd.DataFrame) -> Iterator[Run]:
    """The runs of a table, and their teachers, which need not have a row of their own."""
    for dataset, run_id, teacher in zip(
        frame["dataset"], frame["run_id"], frame["teacher_run_id"], strict=True
    ):
        if teacher:
            yield Run(dataset, teacher)
        yield Run(dataset, run_id, teacher)


class Store:
    """A results folder. ``root`` holds ``runs/``, ``weights/`` and one folder a profile."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        #: By path: the state of the file that was read, and what it holds.
        self._known: dict[Path, tuple[tuple[int, ...], dict[str, Any] | None]] = {}

    # -- paths ---------------------------------------------------------------------------------

    def record_path(self, dataset: str, run_id: str) -> Path:
        """Where the record of a run lies."""
        return self._beside_records(dataset, f"{run_id}.json")

    def diverged_path(self, dataset: str, run_id: str) -> Path:
        """Where it is noted that a run diverged."""
        folder = self.root / "diverged" / plain("dataset", dataset)
        return folder / plain("a record's name", f"{run_id}.json")

    def weights_path(self, run_id: str) -> Path:
        """Where the fp16 weights of a run lie."""
        return self.root / "weights" / plain("a run", f"{run_id}.safetensors")

    def table_path(self, profile: str, question: str) -> Path:
        """Where the tidy table of a question lies."""
        return self.exhibit_path(profile, f"{question}.csv")

    def exhibit_path(self, profile: str, name: str) -> Path:
        """Where a small file that the report shows, and that is no record, lies."""
        return self.root / plain("profile", profile) / plain("a file's name", name)

    def _beside_records(self, dataset: str, name: str) -> Path:
        """A file of a data set's folder. Raises SpecError for names that would lead elsewhere."""
        return self.root / "runs" / plain("dataset", dataset) / plain("a record's name", name)

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
            raise RecordError(
                f"The results folder {self.root} cannot be written ({error.strerror}): "
                "choose another with --results, or free it."
            ) from error

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
        return self.root / "locks" / plain("a run", f"{run_id}.lock")

    # -- records -------------------------------------------------------------------------------

    def write(self, dataset: str, record: dict[str, Any]) -> None:
        """Store a record under its ``run_id``, with its checksum."""
        _write_checked(self.record_path(dataset, record["run_id"]), record)

    def write_diverged(self, dataset: str, note: dict[str, Any]) -> None:
        """Note that the run ``note["run_id"]`` diverged, so that it is neither trained in vain again
        nor missed without a word; ``note["reason"]`` is one sentence."""
        _write_checked(self.diverged_path(dataset, note["run_id"]), note)

    def read(self, dataset: str, run_id: str) -> dict[str, Any] | None:
        """The record of a run, laid out as :class:`darkknowledge.layout.Record` says, or None if there
        is none that is whole. It is read once as long as its file stays as it is: do not change it.

        A file that cannot be read, or fails its checksum, is named in a warning and not used.
        """
        return self._read(self.record_path(dataset, run_id), run_id, Record)

    def diverged(self, dataset: str, run_id: str) -> dict[str, Any] | None:
        """The note that a run diverged (see :class:`darkknowledge.layout.Divergence`), or None."""
        return self._read(self.diverged_path(dataset, run_id), run_id, Divergence)

    def _read(self, path: Path, run_id: str, layout: type) -> dict[str, Any] | None:
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        except OSError:  # something is in its way
            return _read_checked(path, run_id, layout)
        state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if path in self._known and self._known[path][0] == state:
            return self._known[path][1]
        body = _read_checked(path, run_id, layout)
        # A file may change twice within a tick of its clock: only one that has been still is known.
        if time.time() - max(found.st_mtime, found.st_ctime) > STILL_SECONDS:
            self._known[path] = state, body
        return body

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
            if self.read(run.dataset, run.run_id):
                found.stored.append(run.run_id)
            else:
                (found.diverged if lost(run) else found.missing).append(run.run_id)
        return found

    def state(self, dataset: str, run_id: str) -> str:
        """``stored``, ``diverged``, ``running`` (some process holds its lock), ``broken`` (there is a
        file, but no whole record in it) or ``missing``."""
        if self.read(dataset, run_id):
            return "stored"
        if self.diverged(dataset, run_id):
            return "diverged"
        if self._lock_path(run_id).exists():
            try:
                with FileLock(self._lock_path(run_id), timeout=0):
                    pass
            except Timeout:
                return "running"
            except OSError:  # a read-only folder, where nothing can be running
                pass
        return "broken" if self.record_path(dataset, run_id).exists() else "missing"

    def set_aside(self, dataset: str, run_id: str) -> None:
        """Rename a record that :meth:`read` refuses, so that its run is trained again."""
        path = self.record_path(dataset, run_id)
        if path.exists() and self.read(dataset, run_id) is None:
            path.replace(path.with_suffix(".json.broken"))
            log.warning("Set aside as %s; the run is trained again.", path.name + ".broken")

    def weights_match(self, record: dict[str, Any]) -> bool:
        """Whether the weights of a record are here and are the very ones that it describes."""
        path = self.weights_path(record["run_id"])
        if not path.exists():
            return False
        fine = path.is_file() and file_sha256(path) == record["weights_sha256"]
        if not fine:
            log.warning("The weights %s are not used: their record speaks of others.", path)
        return fine

    def keep(self, dataset: str, name: str, content: bytes) -> None:
        """Store a file beside a data set's records (``LABELS``, ``EXAMPLES``) unless it is there;
        labels that are not these are named and replaced (a sheet's bytes depend on its encoder)."""
        path = self._beside_records(dataset, name)
        if path.exists() and name == LABELS and path.read_bytes() != content:
            log.warning("%s did not hold the labels of its data set: it is replaced.", path)
        elif path.exists():
            return
        atomic_write(path, content)

    def examples_path(self, dataset: str) -> Path:
        """Where the contact sheet of a data set lies: a row a class."""
        return self._beside_records(dataset, EXAMPLES)

    def has_labels(self, dataset: str) -> bool:
        """Whether the true classes of a data set's test images are here."""
        return self._beside_records(dataset, LABELS).exists()

    def labels(self, dataset: str) -> str:
        """The true classes of a data set's test images, one digit each. Raises RecordError."""
        path = self._beside_records(dataset, LABELS)
        try:
            found = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RecordError(f"{path} is missing: copy it along with the records.") from error
        except ValueError:
            found = ""
        for other in sorted(path.parent.glob("*.json")):
            record = self.read(dataset, other.stem)
            if record and record.get("predictions"):
                if not _labels_agree(found, record):
                    raise RecordError(f"{path} does not fit the records beside it: copy it again.")
                break
        return found

    # -- tables --------------------------------------------------------------------------------

    def write_table(self, profile: str, question: str, frame: pd.DataFrame) -> None:
        """Store the tidy table of a question."""
        text = frame.to_csv(index=False)
        atomic_write(self.table_path(profile, question), text.encode())

    def tables(self, profile: str, questions: Iterable[str]) -> list[str]:
        """Those of the questions that have a table. Raises RecordError if none has."""
        found = [q for q in questions if self.table_path(profile, q).exists()]
        if not found:
            raise RecordError(
                f"{self.root}/{profile} holds no table yet: call 'darkknowledge run {profile}' first."
            )
        return found

    def read_table(self, profile: str, question: str) -> pd.DataFrame | None:
        """The tidy table of a question with its numbers taken afresh from the records, or None.

        The table says which runs a question consists of, in which roles; runs that have no record
        (yet) keep their row, without numbers.
        """
        path = self.table_path(profile, question)
        if not path.exists():
            return None
        again = f"call 'darkknowledge train {profile} {question}', which writes it anew"
        frame = read_csv(path, TEXT_COLUMNS, NUMBER_COLUMNS, again, gaps=["teacher_seed"])
        try:
            return self.with_numbers(frame)
        except ValueError as error:  # a name that leads out of the folder
            raise RecordError(f"{path} is no table of a question ({error}): {again}.") from error

    def read_latency(self, profile: str) -> pd.DataFrame | None:
        """Q1's latencies, or None while they are not measured. Raises RecordError."""
        path = self.exhibit_path(profile, LATENCY_TABLE)
        texts, numbers = ("arm", "run_id", "device_name"), ("batch", "threads", "median", "iqr")
        again = f"delete it and call 'darkknowledge run {profile} q1'"
        return read_csv(path, texts, numbers, again) if path.exists() else None

    def read_bench(self) -> pd.DataFrame | None:
        """Training speeds, or None while they are not measured; what a machine cannot do has no
        number. Raises RecordError."""
        texts = ("case", "variant", "device_name")
        numbers = ("images_per_second", "ratio", "spread", "share", "threads")
        again = "delete it and call 'darkknowledge bench'"
        path = self.bench_path
        return read_csv(path, texts, numbers, again, gaps=numbers) if path.exists() else None

    def with_numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` (with the columns ``dataset`` and ``run_id``) with the headline numbers and the
        whole record of each run in the column ``record`` (None where there is none); ``diverged``
        says of which runs there never will be one."""
        import pandas as pd

        records = [self.read(d, r) for d, r in zip(frame["dataset"], frame["run_id"], strict=True)]
        restricted = (frame["omitted"] != "").any() or (frame["kept"] != "").any()
        wanted = HEADLINE | UNSEEN if restricted else HEADLINE
        numbers = pd.DataFrame([numbers_of(r, wanted) for r in records], columns=list(wanted))
        known = [*HEADLINE, *UNSEEN, "diverged", "record"]
        frame = frame.drop(columns=known, errors="ignore").reset_index(drop=True)
        diverged = [
            record is None and self.diverged(dataset, run) is not None
            for record, dataset, run in zip(records, frame["dataset"], frame["run_id"], strict=True)
        ]
        return pd.concat([frame, numbers], axis=1).assign(diverged=diverged, record=records)


def read_csv(
    path: Path,
    texts: Iterable[str],
    numbers: Iterable[str],
    again: str,
    gaps: Container[str] = (),
) -> pd.DataFrame:
    """A table that holds at least one row, these columns of ``texts`` and these of ``numbers``, which
    stand in every row but for those that may have ``gaps``. Raises RecordError, which says how to make
    it ``again``."""
    import pandas as pd

    kinds = dict.fromkeys(texts, object)
    try:
        frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
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
        reason = (
            f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        )
        raise RecordError(f"{path} is no table of its kind ({reason[:300]}): {again}.") from error


TEXT_COLUMNS = (
    *("question", "role", "arm", "protocol", "pair", "mode", "model", "dataset"),
    *("omitted", "kept", "device", "run_id", "teacher_run_id"),
)
NUMBER_COLUMNS = (
    *("temperature", "alpha", "w_hard", "w_soft"),
    *("seed", "teacher_seed", "epochs", "lr", "batch_size"),
)

#: Columns of the tidy tables that repeat a record's headline numbers, and how to find them.
HEADLINE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "validation_errors": lambda r: r["validation"]["errors"],
    "test_errors": lambda r: r["test"]["errors"],
    "test_accuracy": lambda r: r["test"]["accuracy"],
    "nll": lambda r: r["test"]["nll"],
    "ece": lambda r: r["test"]["ece"],
    "teacher_agreement": lambda r: r["test"]["teacher_agreement"],
    "seconds": lambda r: r["provenance"]["training_seconds"],
}


#: Ways to choose the bias of unseen classes, as :func:`darkknowledge.metrics.bias_shifts` has them.
SHIFTS = ("none", "validation", "label_free", "oracle")


def _unseen() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Further columns where transfer sets lack classes: per way of shifting the bias, errors in all
    and on images of unseen classes, and the share of those images that is right."""
    numbers: dict[str, Callable[[dict[str, Any], str], Any]] = {
        "bias": lambda u, s: u[s]["bias"],
        "errors": lambda u, s: u[s]["errors"],
        "unseen_errors": lambda u, s: u[s]["errors_unseen"],
        "unseen_recall": lambda u, s: 1 - u[s]["errors_unseen"] / u["images"],
    }

    def of_record(number: Callable[..., Any], shift: str, record: dict[str, Any]) -> Any:
        return number(record["unseen"], shift)

    return {
        f"{name}_{shift}": functools.partial(of_record, number, shift)
        for shift in SHIFTS
        for name, number in numbers.items()
    }


UNSEEN = _unseen()


def numbers_of(
    record: dict[str, Any] | None, wanted: dict[str, Callable[..., Any]]
) -> dict[str, Any]:
    """The numbers of a record by column; NaN where there is no record or it has no such number."""
    if record is None:
        return dict.fromkeys(wanted, float("nan"))
    whole = not record.get("unseen")
    values = {n: None if whole and n in UNSEEN else find(record) for n, find in wanted.items()}
    return {name: float("nan") if v is None else v for name, v in values.items()}


def _write_checked(path: Path, content: dict[str, Any]) -> None:
    body = {**content, "format": FORMAT}
    body["checksum"] = checksum(body)
    atomic_write(path, (json.dumps(body, sort_keys=True) + "\n").encode())


def _read_checked(path: Path, run_id: str, layout: type) -> dict[str, Any] | None:
    """What :func:`_write_checked` wrote of a run; None, with a warning, if that is not whole."""
    try:
        content = path.read_bytes()
        body: dict[str, Any] = json.loads(content.decode())
        if not _checksum_matches(content, body):
            raise ValueError("its checksum does not match")
        if body["run_id"] != run_id or body["format"] != FORMAT:
            raise ValueError("it is the record of another run or another format")
        if run_id_of(body["spec"]) != run_id:
            raise ValueError("its settings are not those that its name stands for")
        check(body, layout)
    except FileNotFoundError:
        return None
    except RecursionError:
        log.warning("The record %s is not used: it is nested too deeply.", path)
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as e:
        reason = f"it lacks {e}" if isinstance(e, KeyError) else " ".join(str(e).split())
        log.warning("The record %s is not used: %s.", path, reason.rstrip(".")[:300])
        return None
    return body


def _labels_agree(labels: str, record: dict[str, Any]) -> bool:
    """Whether a record's errors are those that its predictions make by these labels, and its test
    images of each class as many."""
    test = record["test"]
    classes = len(test["confusion"])
    width = len(str(classes - 1))
    truth, predicted = (
        [int(text[i : i + width]) for i in range(0, len(text), width)]
        for text in (labels if labels.isdecimal() else "", record["predictions"])
    )
    wrong = sum(a != b for a, b in zip(truth, predicted, strict=False))
    counts = Counter(truth)
    images = [sum(row) for row in test["confusion"]]
    return (len(truth), wrong) == (len(predicted), test["errors"]) and images == [
        counts[c] for c in range(classes)
    ]


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

    Raises DiskError, or RecordError if something stands in this file's way.
    """
    try:
        _atomic_write(path, content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _atomic_write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(".tmp", f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
