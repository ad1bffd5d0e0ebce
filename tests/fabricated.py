"""Questions whose records nobody trained: every verdict can be forced, and the sentence read."""

import json
import operator
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torchvision.io import encode_png

from conftest import REPOSITORY, whole_record
from darkknowledge import study
from darkknowledge.evidence.answers import written
from darkknowledge.evidence.claims import Findings
from darkknowledge.paper.paper import context, find
from darkknowledge.questions import params, registry
from darkknowledge.questions.base import Parameters, Planned, ordered
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import (
    EXAMPLES,
    HEADLINE,
    SOFT_LABELS,
    UNSEEN,
    Store,
    atomic_write,
    numbers_of,
)
from darkknowledge.records import LABELS as LABELS_FILE

#: As many test images as a fabricated data set has, all classes alike.
IMAGES = 1000
TRUTH = "".join(str(i % 10) for i in range(IMAGES))
LABELS = dict.fromkeys(("mnist", "mnist5k", "mnist5k_rgb", "cifar10_jpeg"), TRUTH)

#: A number of errors for a planned run.
Errors = Callable[[Planned], int]


def record_of(planned: Planned, errors: int, unseen: float = 0.5) -> dict[str, Any]:
    """A record as :mod:`darkknowledge.experiment.run` writes them, with a chosen number of test errors
    on the classes that the run has seen. Of those it has not, no image is right without a shift, and
    with every shift the share ``unseen`` of each class."""
    spec, others = planned.spec, set(map(str, planned.spec.data.unseen))
    seen = [i for i, c in enumerate(TRUTH) if c not in others]
    wrong = set(random.Random(spec.run_id).sample(seen, min(errors, len(seen))))
    right = round(unseen * IMAGES / 10)

    def called(first: int) -> str:
        """With the ``first`` images of each unseen class right."""
        return "".join(
            str((int(c) + 1) % 10) if i in wrong or (c in others and i // 10 >= first) else c
            for i, c in enumerate(TRUTH)
        )

    record = whole_record(spec, called(0), TRUTH, called(right))
    units = (*spec.model.hidden, 8)[0]
    record["cost"]["parameters"] = 785 * units + (units + 1) * (units + 10)
    return record


def jitter(planned: Planned) -> int:
    """None to two errors, of every run its own: differences without a spread have no interval."""
    spec = planned.spec
    key = f"{planned.arm} {spec.model.label} {spec.loss} {spec.data.omit} {spec.seed}"
    return zlib.crc32(key.encode()) % 3


def frame_of(
    question: str,
    errors: Errors,
    chosen: Parameters | None = None,
    measured: Callable[[Planned], bool] = lambda planned: True,
    unseen: Callable[[Planned], float] = lambda planned: 0.5,
) -> pd.DataFrame:
    """The frame of a question, of the paper's profile by default; runs that are not ``measured`` have
    no record."""
    chosen = chosen or params.read("paper", question)
    rows = []
    for planned in QUESTIONS[question].grid(chosen):
        record = None
        if measured(planned):
            record = record_of(planned, errors(planned) + jitter(planned), unseen(planned))
        numbers = numbers_of(record, HEADLINE | UNSEEN)
        rows.append(planned.row() | numbers | {"record": record, "diverged": False})
    return pd.DataFrame(rows)


def found(question: str, errors: Errors, **rest: Any) -> Findings:
    """The findings of a question by fabricated records; see :func:`frame_of`."""
    return find(question, frame_of(question, errors, **rest), LABELS)


#: How many words a block may have at most; of the answer the sentence in bold, and what follows.
BOLD = 25
MOST = {
    "headline": 14, "believe": 90, "literature": 50, "limits": 40, "unfamiliar": 50, "few_labels": 105
}  # fmt: skip


def told(findings: Findings, block: str = "answer", large: Findings | None = None) -> str:
    """A block of the question's written answer, with plain spaces, and as short as all are."""
    folder = REPOSITORY / "report" / "answers"
    said = written(folder, findings.question, block, context(findings, large))
    bold, rest = said.split("**", 2)[1:] if block == "answer" else ("", said)
    assert len(bold.split()) <= BOLD and len(rest.split()) <= MOST.get(block, 80), said
    return said.replace("\N{NO-BREAK SPACE}", " ")


def assert_held(figure: Figure) -> None:
    """Nothing is cut off: all data lie within their axes, and all that is written on the page."""
    figure.canvas.draw()
    for axis in figure.axes:
        data, view = axis.dataLim, axis.viewLim
        assert view.xmin <= data.xmin and data.xmax <= view.xmax
        assert view.ymin <= data.ymin and data.ymax <= view.ymax
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height
    plt.close(figure)


#: Test errors by arm where everything works as one would hope; other arms make :data:`OTHERS`.
PLAUSIBLE = {
    "teacher": 8, "hard_augmented": 12, "hard": 40, "kd": 18, "confidence_only": 34, "soft_only": 20,
    "permuted_teacher": 33, "label_smoothing": 35, "tfkd_reg": 36, "hard_jitter": 12, "kd_jitter": 10,
    "by_weak": 52, "by_own": 37, "by_strong": 30,
}  # fmt: skip
OTHERS = 45


def plausible(planned: Planned) -> int:
    """Errors of :data:`PLAUSIBLE`; narrow nets and T = 1 make more."""
    narrow = 40 if "30" in planned.spec.model.label.split("-") else 0
    cold = 9 if planned.arm == "kd" and planned.spec.loss.temperature <= 1 else 0
    return PLAUSIBLE.get(planned.arm, OTHERS) + narrow + cold


def results(folder: Path, profile: str = "paper", errors: Errors = plausible) -> Store:
    """A results folder with a record of every planned run of a profile, its tables, and all that the
    paper shows beside them."""
    store = Store(folder)
    chosen = {q: params.read(profile, q) for q in params.questions_of(profile)}
    every = ordered(registry.grids(chosen).values())
    said: dict[str, str] = {}
    for planned in every:
        record = record_of(planned, errors(planned) + jitter(planned))
        said[planned.spec.run_id] = record["predictions"]
        if teacher := planned.spec.teacher:
            same = sum(map(operator.eq, said[teacher.run_id], record["predictions"]))
            record["test"]["teacher_agreement"] = same / IMAGES
        store.write(planned.spec.data.name, record)
    sheet = encode_png(torch.zeros(1, 280, 280, dtype=torch.uint8)).numpy().tobytes()
    for dataset in sorted({planned.spec.data.name for planned in every}):
        store.keep(dataset, {LABELS_FILE: TRUTH.encode(), EXAMPLES: sheet})
    logits = [[float(9 * (i == j) + (j == (i + 1) % 10)) for j in range(10)] for i in range(10)]
    soft = {"run_id": "", "dataset": every[0].spec.data.name, "logits": logits}
    atomic_write(store.exhibit_path(profile, SOFT_LABELS), json.dumps(soft).encode())
    for question, parameters in chosen.items():
        study.write_table(question, replace(parameters, results_dir=str(folder)), store)
    return store
