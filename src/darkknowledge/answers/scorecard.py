"""Published numbers beside ours: every row of ``report/literature.csv``, reached or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.answers import networks, q3, q4
from darkknowledge.answers.common import (
    HARD,
    KD,
    SOFT,
    TEACHER,
    Answer,
    first_record,
    is_mnist,
    rows_mean,
)
from darkknowledge.claims import Arm, runs_of

#: Units in which fewer is better; of these, counts of errors have a sampling interval of their own.
COUNTS = {"errors of 10000": 10_000, "errors of 1010": 1010}
FEWER = (*COUNTS, "percent errors of 10000", "parameters")


@dataclass(frozen=True)
class Row:
    """A published number or claim, and what stands beside it.

    ``published`` and ``ours`` are in the row's ``unit``; the interval of ``published`` is its
    sampling interval (a count of one run) or its t interval (several runs with a spread). ``runs``
    are ours; ``answer`` is ours where the row is a claim and no number.
    """

    id: str
    source: str
    what: str
    unit: str
    published: st.Effect
    recipe_difference: str
    ours: st.Effect
    runs: pd.DataFrame
    answer: str = ""

    @property
    def reached(self) -> str:
        """``reached`` if our mean is at least as good, else how far away it is."""
        if self.unit == "claim":
            return self.answer or "no records yet"
        if not self.ours.n:
            return "no records yet"
        sign = 1 if self.unit in FEWER else -1
        if sign * self.ours.mean <= sign * self.published.mean:
            return "reached"
        worst = self.published.high if sign > 0 else self.published.low
        inside = not math.isnan(worst) and sign * self.ours.mean <= sign * worst
        return "not reached, within its interval" if inside else "not reached"


@dataclass(frozen=True)
class Ours:
    """Our number for a row, in the row's unit, and the runs that it is a mean of."""

    effect: st.Effect
    runs: pd.DataFrame
    answer: str = ""


NONE = Ours(st.mean([]), pd.DataFrame())


def scorecard(
    frames: dict[str, pd.DataFrame],
    answers: dict[str, Answer],
    labels: dict[str, str],
    published: pd.DataFrame,
) -> list[Row]:
    """Every published number with ours. Empty unless the frames are of MNIST, the published set."""
    if "q1" not in frames or not is_mnist(frames["q1"]):
        return []
    found = finders(frames, answers, labels)
    rows = []
    # A number that a source repeats, as a baseline of two pairs, is one row.
    for key, row in published.drop_duplicates(["source", "claim", "value", "unit"]).iterrows():
        ours = found[key]() if key in found else NONE
        rows.append(
            Row(
                id=str(key),
                source=row["source"],
                what=row["claim"],
                unit=row["unit"],
                published=_published(row),
                recipe_difference=""
                if pd.isna(row["recipe_difference"])
                else row["recipe_difference"],
                ours=ours.effect,
                runs=ours.runs,
                answer=ours.answer,
            )
        )
    return rows


def _published(row: pd.Series) -> st.Effect:
    value, n = float(row["value"]), int(row["n"])
    if row["unit"] in COUNTS:
        low, high = st.wilson(value, COUNTS[row["unit"]])
    elif row["unit"] == "percent errors of 10000":
        low, high = (x / 100 for x in st.wilson(100 * value, 10_000))
    elif n > 1 and not pd.isna(row["spread"]):
        low, high = st.t_interval(value, float(row["spread"]), n)
    else:
        low = high = math.nan
    return st.Effect(n, value, low, high, math.nan)


def finders(
    frames: dict[str, pd.DataFrame], answers: dict[str, Answer], labels: dict[str, str]
) -> dict[str, Callable[[], Ours]]:
    """id of a published row → what finds ours."""
    found: dict[str, Callable[[], Ours]] = {}
    if "q1" in frames:
        q1 = frames["q1"]
        found |= {
            "hinton-teacher": lambda: _errors(runs_of(q1, TEACHER)),
            "hinton-hard": lambda: _errors(runs_of(q1, HARD)),
            "hinton-teacher-parameters": lambda: _parameters(q1, TEACHER),
            "hinton-student-parameters": lambda: _parameters(q1, HARD),
            "course-teacher": lambda: _errors(runs_of(q1, TEACHER)),
        }
    if "q2" in frames:
        q2 = frames["q2"]
        found |= {
            "hinton-kd": lambda: _errors(runs_of(q2, SOFT)),
            "course-hard": lambda: _errors(runs_of(q2, Arm("hard", "jitter"))),
            "course-kd": lambda: _errors(runs_of(q2, Arm("kd", "jitter"))),
        }
    if "q3" in answers:
        found |= {"hinton-alike": lambda: _alike(frames["q3"], answers["q3"])}
        found |= {"hinton-band": lambda: _band(frames["q3"], answers["q3"])}
    if "q4" in frames:
        three, few = q4.Transfer(omitted="3"), q4.Transfer(kept="7 8")
        for key, transfer, column, scale in (
            ("omitted", three, "errors_none", 1),
            ("omitted-unseen", three, "unseen_errors_none", 1),
            ("omitted-shifted", three, "errors_validation", 1),
            ("omitted-shifted-unseen", three, "unseen_errors_validation", 1),
            ("kept", few, "errors_none", 100),
            ("kept-shifted", few, "errors_validation", 100),
        ):
            found[f"hinton-{key}"] = partial(_errors, transfer.rows(frames["q4"]), column, scale)
    pairs = {
        pair.name: pair
        for q in ("q5", "q6")
        for pair in (networks.pairs(frames[q], labels) if q in frames else [])
    }
    arms = {"weak": "hard_forward", "strong": "hard", "forward": "kd_forward", "reversed": "kd"}
    for name in ("plain_cnn>resnet18", "mobilenetv2>resnet18"):
        if yuan := pairs.get(name):
            for key, arm in arms.items():
                found[f"yuan-{name}-{key}"] = partial(_accuracy, yuan.rows(arm))
    if course := pairs.get("vgg13>resnet18"):
        for key in ("weak", "strong", "reversed"):
            found[f"course-cifar-{key}"] = partial(_accuracy, course.rows(arms[key]))
    for key, name in {"weak": "vgg13", "strong": "resnet18"}.items():
        if own := pairs.get(f"{name}>{name}"):
            found[f"course-cifar-self-{key}"] = partial(_gain, own)
    for key, name in {"torchdistill-resnet20": "resnet20", "resnet18-ordinary": "resnet18"}.items():
        if own := pairs.get(f"{name}>{name}"):
            found[key] = partial(_accuracy, own.rows("hard"))
    return found


def _errors(rows: pd.DataFrame, column: str = "test_errors", divisor: int = 1) -> Ours:
    scaled = rows.assign(value=rows[column] / divisor)
    return Ours(rows_mean(scaled, "value"), rows.dropna(subset=[column]))


def _accuracy(rows: pd.DataFrame) -> Ours:
    return Ours(networks.accuracy(rows), rows.dropna(subset=["test_errors"]))


def _gain(pair: networks.Pair) -> Ours:
    return Ours(networks.gain(pair, "kd"), pair.rows("kd").dropna(subset=["test_errors"]))


def _parameters(frame: pd.DataFrame, arm: Arm) -> Ours:
    record = first_record(frame, arm)
    values = [record["cost"]["parameters"]] if record else []
    return Ours(st.mean(values), runs_of(frame, arm))


def _alike(frame: pd.DataFrame, answer: Answer) -> Ours:
    measured = {key: c for key, c in answer.claims.items() if c.measured}
    said = {w: q3.alike_holds(w, measured) for w in q3.widths(frame)}
    return _said(frame, {w: verdict for w, verdict in said.items() if verdict})


def _band(frame: pd.DataFrame, answer: Answer) -> Ours:
    measured = {key: c for key, c in answer.claims.items() if c.measured}
    width = q3.narrow(frame)
    verdict = q3.band_holds(width, measured) if width else ""
    return _said(frame, {width: verdict} if width and verdict else {})


def _said(frame: pd.DataFrame, verdicts: dict[int, str]) -> Ours:
    rows = runs_of(frame, KD).dropna(subset=["test_errors"])
    rows = rows[rows["pair"].isin([str(width) for width in verdicts])]
    text = "; ".join(f"{verdict} at {width} units" for width, verdict in verdicts.items())
    return Ours(st.mean([]), rows, text)
