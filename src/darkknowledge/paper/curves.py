"""Learning curves of a profile's runs, as a figure or as events for TensorBoard.

They come from the records, so that they can be drawn while others are still being trained; runs that a
profile's own parameters plan need no table."""

from __future__ import annotations

import datetime
import importlib.util
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from darkknowledge.evidence.arms import ARMS, GREY, label
from darkknowledge.layout import History, Record
from darkknowledge.questions import params as p
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import Run, Store, atomic_write, unabridged
from darkknowledge.spec import SpecError, choose, read_back

if TYPE_CHECKING:  # what draws is loaded when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Endings of files that a figure can be written to.
ENDINGS = (".svg", ".png", ".pdf")
#: What TensorBoard calls the entries of a history.
SCALARS = {
    "loss/hard": "loss_hard", "loss/soft": "loss_soft", "accuracy/validation": "validation_accuracy",
}  # fmt: skip
#: Columns of the figure, from cause to effect; the last, which every run has, carries the names.
COLUMNS = {
    "loss_hard": "hard part of the loss\n(nats, log scale)",
    "loss_soft": "soft part of the loss\n(nats, log scale)",
    "errors": "validation accuracy\n(%, log scale of the errors)",
}
#: Inches of the figure, between the names of lines, and of a row of panels without its axes.
WIDTH, LINE, FRAME = 8.5, 0.145, 0.75
#: Why a run that is planned has no curve.
ABSENT, DIVERGED, UNTRAINED = "without a record yet", "diverged", "left at initialisation"


class Variant(NamedTuple):
    """An arm with the settings that may tell runs of one arm and network apart, in words."""

    arm: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """The history of a run, and its part in a question. ``soft`` is whether its loss has a soft part,
    ``images`` are those it was validated on, ``finished`` is a time in ISO 8601."""

    question: str
    run_id: str
    dataset: str
    network: str
    variant: Variant
    history: History
    soft: bool
    images: int
    finished: str

    @classmethod
    def of(cls, question: str, arm: str, record: Record) -> Curve:
        """From the record of a run that has this part."""
        spec = read_back(record["spec"])
        return cls(
            question, record["run_id"], spec.data.name, spec.model.label,
            Variant(arm, _settings(spec)), record["history"], spec.loss.w_soft > 0,
            record["validation"]["n"],
            record["provenance"]["finished"],
        )  # fmt: skip

    def values(self, column: str) -> list[float]:
        """What a column of the figure shows, by epoch: loss parts in nats, or errors in percent. What a
        logarithm has no place for is NaN, but no errors at all are drawn as half an image."""
        if column == "errors":
            fewest = 50 / self.images
            return [max(100 * (1 - a), fewest) for a in self.history["validation_accuracy"]]
        losses: list[float] = self.history[column]  # type: ignore[literal-required]
        there = self.soft or column != "loss_soft"
        return [value if there and value > 0 else float("nan") for value in losses]


def _settings(spec: SimpleNamespace) -> tuple[str, ...]:
    """In the same order for every run; empty where a setting is left alone."""
    loss, data = spec.loss, spec.data
    of = "labels" if data.unlabelled else "images"
    part = f"{'other ' * data.complement}{100 * data.share:g} % of the {of}"
    return (
        f"T = {loss.temperature:g}" if loss.w_soft else "",
        f"α = {loss.w_soft:g}" if loss.w_soft else "",
        f"without {' '.join(map(str, data.omit))}" if data.omit else "",
        f"only {' '.join(map(str, data.keep))}" if data.keep else "",
        part if data.share < 1 else "",
        f"{spec.recipe.epochs} epochs",
        "" if spec.recipe.augmentation == "none" else "augmented",
    )


def check_target(path: Path) -> None:
    """Raise SpecError for a file that no figure can be written to."""
    if path.suffix.lower() not in ENDINGS:
        raise SpecError(f"--to is {str(path)!r}, but must end in {', '.join(ENDINGS)}.")
    if path.is_dir():
        raise SpecError(f"--to leads to the folder {path}: name a file.")


def check_tensorboard(folder: Path) -> None:
    """Raise SpecError where events cannot be written: it says what is missing."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise SpecError(
            "--tensorboard needs the package tensorboardX: call 'uv pip install tensorboardX'."
        )
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"--tensorboard leads to {folder}, which is no folder: name one.")


def rows(profile: str, questions: Sequence[str], store: Store) -> list[Mapping[Any, Any]]:
    """The runs of questions of a profile (all of them if none is named), a row for each part that a run
    has: as its parameters plan them or, of a profile that notebooks alone know, as its tables list
    them. Raises SpecError, RecordError."""
    try:
        known, planned = p.questions_of(profile), True
    except SpecError:
        if not (store.root / profile).is_dir():
            raise
        known, planned = store.tables(profile, QUESTIONS), False
    found: list[Mapping[Any, Any]] = []
    for question in questions or known:
        choose("question", question, known)
        if planned:
            found += [one.row() for one in QUESTIONS[question].grid(p.read(profile, question))]
        elif (table := store.read_table(profile, question)) is not None:
            found += table.to_dict("records")
    return found


def read(
    listed: Iterable[Mapping[Any, Any]], only: Iterable[str] | None, store: Store
) -> tuple[list[Curve], dict[str, int]]:
    """The curves of listed runs, or ``only`` of those that are named by their ids or the first digits
    of these, and how many runs have none, by reason. Raises SpecError, RecordError."""
    listed = list(listed)
    ids = [row["run_id"] for row in listed]
    wanted = {unabridged(one, ids, "of these questions") for one in only} if only else set(ids)
    progress = store.progress(
        Run(row["dataset"], row["run_id"], row["teacher_run_id"])
        for row in listed
        if row["run_id"] in wanted
    )
    without = {ABSENT: progress.missing, DIVERGED: progress.diverged, UNTRAINED: []}
    found, stored = [], set(progress.stored)
    for row in listed:
        record = store.read(row["dataset"], row["run_id"]) if row["run_id"] in stored else None
        if record and record["history"]["epoch"]:
            found.append(Curve.of(row["question"], row["arm"], record))
        elif record and row["run_id"] not in without[UNTRAINED]:
            without[UNTRAINED].append(row["run_id"])
    return found, {reason: len(runs) for reason, runs in without.items() if runs}


# -- the figure -------------------------------------------------------------------------------------


def figure(curves: Sequence[Curve]) -> Figure:
    """A row of panels for each question, data set and network: both loss parts and the validation
    accuracy over the epochs. A thin line is a run; its colour is its arm's, in shades where several
    variants share one; names stand at the ends of the lines."""
    from matplotlib.figure import Figure

    from darkknowledge.evidence import plots, text

    plots.style()
    groups: dict[tuple[str, str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.question, curve.dataset, curve.network), []).append(curve)
    lines = [len({curve.variant for curve in group}) for group in groups.values()]
    heights = [FRAME + max(1.25, LINE * count) for count in lines]
    whole = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    axes = whole.subplots(len(groups), len(COLUMNS), squeeze=False, height_ratios=heights)
    for row, ((question, dataset, net), group), height in zip(
        axes, groups.items(), heights, strict=True
    ):
        looks = _looks(list(dict.fromkeys(curve.variant for curve in group)))
        for axis, column in zip(row, COLUMNS, strict=True):
            _panel(axis, column, group, looks)
        _names(row[-1], group, looks, LINE / (height - FRAME))
        where = f"{question.upper()}: {text.DATASETS.get(dataset, dataset)}, {text.network(net)}"
        row[0].set_title(where, loc="left", fontweight="bold")
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    return whole


class Look(NamedTuple):
    """What a variant is called and its colour in a row of panels."""

    name: str
    colour: tuple[float, float, float]


def _looks(variants: list[Variant]) -> dict[Variant, Look]:
    """The looks of the variants of a row: only what differs within an arm is part of a name."""
    of_arm: dict[str, list[Variant]] = {}
    of_colour: dict[str, list[Variant]] = {}
    for variant in variants:
        of_arm.setdefault(variant.arm, []).append(variant)
        of_colour.setdefault(_colour(variant.arm), []).append(variant)
    looks = {}
    for colour, same in of_colour.items():
        for place, variant in enumerate(same):
            kin = [other.settings for other in of_arm[variant.arm]]
            differs = [len(set(column)) > 1 for column in zip(*kin, strict=True)]
            told = [s for s, tell in zip(variant.settings, differs, strict=True) if tell and s]
            name = ", ".join([label(variant.arm), *told])
            looks[variant] = Look(name, _shade(colour, place, len(same)))
    return looks


def _colour(arm: str) -> str:
    """An arm's colour, or that of the arm that its key begins with, as ``kd`` of ``kd_all_0.1``."""
    while arm and arm not in ARMS:
        arm = arm.rpartition("_")[0]
    return ARMS[arm].colour if arm else GREY


def _shade(colour: str, place: int, count: int) -> tuple[float, float, float]:
    """One of ``count`` shades of a colour, from light to dark; the colour itself if it is alone."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    if count == 1:
        return red, green, blue
    share = 0.55 - 0.95 * place / (count - 1)  # of white, or below 0 of black
    ground, weight = (1.0, share) if share > 0 else (0.0, -share)

    def mixed(value: float) -> float:
        return (1 - weight) * value + weight * ground

    return mixed(red), mixed(green), mixed(blue)


def _panel(axis: Axes, column: str, group: Sequence[Curve], looks: Mapping[Variant, Look]) -> None:
    from matplotlib import ticker

    axis.set_yscale("log")
    shown = [curve for curve in group if any(value > 0 for value in curve.values(column))]
    faint = max(0.35, 1 - len(shown) / 60)
    for curve in shown:
        values = curve.values(column)
        alone = "." if len(values) == 1 else ""
        look: dict[str, Any] = {
            "color": looks[curve.variant].colour,
            "linewidth": 0.8,
            "alpha": faint,
        }
        axis.plot(curve.history["epoch"], values, marker=alone, **look)
    axis.set_ylabel(COLUMNS[column])
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axis.margins(x=0.02)
    if not shown:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no soft labels", transform=axis.transAxes, color=GREY, ha="center")
        return
    drawn = [value for curve in shown for value in curve.values(column) if value > 0]
    least, most = min(drawn), max(drawn)
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    if column == "errors":
        axis.invert_yaxis()
        axis.yaxis.set_major_locator(ticker.FixedLocator(_ticks(least, most)))
        axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda errors, _: f"{100 - errors:g}"))
        axis.yaxis.set_minor_locator(ticker.FixedLocator([]))
    else:
        subs = (1.0,) if most > 100 * least else (1.0, 2.0, 5.0)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=subs, numticks=12))
        axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda loss, _: f"{loss:g}"))


def _ticks(least: float, most: float) -> list[float]:
    """Round shares of errors in percent, as many as an axis from ``least`` to ``most`` has room for."""
    coarse, fine = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    steps = coarse if most > 6 * least else fine
    return [round(step * 10.0**power, 6) for power in range(-3, 2) for step in steps]


def _names(axis: Axes, group: Sequence[Curve], looks: Mapping[Variant, Look], gap: float) -> None:
    """The name of each variant beside the end of its lines, at least ``gap`` of the axis apart."""
    ends: dict[Variant, list[tuple[float, float]]] = {}
    for curve in group:
        end = float(curve.history["epoch"][-1]), curve.values("errors")[-1]
        ends.setdefault(curve.variant, []).append(end)
    middles = {v: (fmean(x for x, _ in e), fmean(y for _, y in e)) for v, e in ends.items()}
    axis.autoscale_view()
    to_axis = axis.transData + axis.transAxes.inverted()
    heights = {v: float(to_axis.transform(middle)[1]) for v, middle in middles.items()}
    order = sorted(heights, key=lambda variant: heights[variant])
    for variant, place in zip(order, spread([heights[v] for v in order], gap), strict=True):
        name, colour = looks[variant]
        line: dict[str, Any] = {
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.5,
            "shrinkA": 0,
            "shrinkB": 1,
        }
        line["relpos"] = (0, 0.5)  # to the first letter, not across the name
        axis.annotate(
            name, middles[variant], (1.08, place), "data", "axes fraction", color=colour,
            fontsize=8, va="center", arrowprops=line, annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places on a line from 0 to 1, moved apart until ``gap`` lies between neighbours; they
    stay within it as far as it has room."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else max(place, 0.0))
    limit = 1.0
    for i in reversed(range(len(found))):
        found[i] = min(found[i], limit)
        limit = found[i] - gap
    return found


def save(whole: Figure, path: Path) -> None:
    """Write a figure by the ending of its file; the same records give the same bytes. Raises
    DiskError, RecordError."""
    form = path.suffix.lower().removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
    content = io.BytesIO()
    whole.savefig(content, format=form, dpi=160, metadata=undated)
    atomic_write(path, content.getvalue())


# -- TensorBoard ------------------------------------------------------------------------------------


def write_events(curves: Iterable[Curve], folder: Path) -> int:
    """Write the scalars of each run by epoch into ``folder/<arm>/<run_id>``; returns how many runs are
    there. A run that has its folder is left alone: a record does not change."""
    from tensorboardX import SummaryWriter

    every = {(curve.variant.arm, curve.run_id): curve for curve in curves}
    for (arm, run_id), curve in every.items():
        place = folder / arm / run_id
        if place.exists():
            continue
        # Made under another name, so that it is there whole or not at all.
        unfinished = place.with_name(f".{run_id}.{os.getpid()}.tmp")
        history = curve.history
        ended = datetime.datetime.fromisoformat(curve.finished).timestamp()
        left = sum(history["seconds"])
        try:
            with SummaryWriter(str(unfinished)) as writer:
                for i, epoch in enumerate(history["epoch"]):
                    left -= history["seconds"][i]
                    for tag, key in SCALARS.items():
                        value = history[key][i]  # type: ignore[literal-required]
                        writer.add_scalar(tag, value, epoch, walltime=ended - left)
            unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return len(every)
