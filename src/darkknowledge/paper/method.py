"""Figures that belong to no question: who teaches whom, the images, what soft labels look like, and
published numbers beside ours."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import softmax

from darkknowledge.evidence import plots
from darkknowledge.evidence.arms import BLACK, BLUE, GREY, ORANGE, Arm
from darkknowledge.evidence.text import DATASETS
from darkknowledge.paper.scorecard import UNITS, Row
from darkknowledge.records import RecordError
from darkknowledge.spec import text_of

#: Temperatures at which soft labels are shown, and of how many images.
SHOWN, IMAGES = (1.0, 4.0, 20.0), 3
LARGE = 10
#: So many classes at most have their names beside their images.
NAMED = 20
#: Where a log axis of ratios may have its ticks.
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)


def kinds() -> Figure:
    """Who teaches whom in normal, reversed and self distillation; size stands for size."""
    figure, axes = plt.subplots(1, 3, figsize=(plots.WIDTH, 0.92))
    sizes = {
        "normal (Q2)": ("large", 0.8, "small", 0.45),
        "reversed (Q5)": ("small", 0.45, "large", 0.8),
        "self (Q6)": ("any size", 0.62, "the same", 0.62),
    }
    for axis, (kind, (teacher, high, student, low)) in zip(axes, sizes.items(), strict=True):
        axis.set_axis_off()
        axis.set(xlim=(0, 1), ylim=(-0.2, 0.95))
        axis.set_title(kind, fontweight="bold")
        sides = (0.18, teacher, high, BLACK, "teacher"), (0.82, student, low, BLUE, "student")
        for x, size, height, colour, role in sides:
            corner = (x - 0.16, 0.47 - height / 2)
            axis.add_patch(Rectangle(corner, 0.32, height, color=colour, alpha=0.14, linewidth=0))
            axis.text(x, 0.47, role, ha="center", va="center", color=colour)
            axis.text(x, -0.02, size, ha="center", va="top")
        arrow = {"arrowstyle": "-|>", "color": ORANGE, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (0.65, 0.47), (0.35, 0.47), arrowprops=arrow)
        axis.text(0.5, 0.53, "soft\nlabels", ha="center", va="bottom", fontsize=8)
    return figure


def samples(sheets: Mapping[str, Path], classes: Mapping[str, Sequence[str]]) -> Figure | None:
    """The contact sheets of the data sets, by name: the first test images, one row per class, with its
    name where there are few ``classes``."""
    present = {name: path for name, path in sheets.items() if path.exists()}
    if not present:
        return None
    width = plots.WIDTH / 2 * len(present)
    figure, axes = plt.subplots(1, len(present), squeeze=False, figsize=(width, 3.5))
    for axis, (name, path) in zip(axes[0], present.items(), strict=True):
        sheet, names = pixels_of(path), classes.get(name, ())
        axis.imshow(sheet, cmap="gray_r")
        axis.set_title(DATASETS.get(name, name), loc="left", parse_math=False)
        axis.set(frame_on=False, xticks=[])
        axis.grid(visible=False)
        shown = names if 1 < len(names) <= NAMED else ()
        rows = (np.arange(len(shown)) + 0.5) * len(sheet) / max(1, len(shown)) - 0.5
        axis.set_yticks(rows, shown, fontsize=8, parse_math=False)
        axis.tick_params(length=0)
    return figure


def pixels_of(sheet: Path) -> np.ndarray:
    """A contact sheet. Raises RecordError."""
    try:
        return plt.imread(sheet)
    except (OSError, SyntaxError, ValueError) as error:
        raise RecordError(f"{sheet} is no image: copy it again with the records.") from error


def soft_labels(exhibit: Path, sheet: Path | None) -> Figure | None:
    """A teacher's soft labels of a few test images at several temperatures: of the first images of the
    classes, those that it gets right and has most to say about. ``exhibit`` holds its logits, ``sheet``
    the images."""
    logits = known_soft_labels(exhibit, sheet)
    if logits is None or sheet is None:
        return None
    chosen = instructive(logits)
    pixels = pixels_of(sheet)
    side = pixels.shape[0] // len(logits)
    shape, widths = (len(chosen), 1 + len(SHOWN)), (0.45, *[1] * len(SHOWN))
    size = plots.WIDTH, 0.4 + 0.5 * len(chosen)
    figure, axes = plt.subplots(*shape, squeeze=False, figsize=size, width_ratios=widths)
    for line, one in zip(axes, chosen, strict=True):
        line[0].imshow(pixels[one * side : (one + 1) * side, :side], cmap="gray_r")
        line[0].set_axis_off()
        for axis, t in zip(line[1:], SHOWN, strict=True):
            bars(axis, softmax(logits[one] / t), one)
    for axis, title in zip(axes[0], ["image", *(f"T = {t:g}" for t in SHOWN)], strict=True):
        axis.set_title(title, fontsize=LARGE, pad=10)  # clear of a bar's number
    return figure


def known_soft_labels(exhibit: Path, sheet: Path | None) -> np.ndarray | None:
    """A teacher's logits [class, logit] of the first test image of each class, if they and the contact
    sheet are here. Raises RecordError for a file that is none of ours."""
    if sheet is None or not sheet.exists() or not exhibit.exists():
        return None
    try:
        logits = np.array(json.loads(text_of(exhibit))["logits"], dtype=float)
        if logits.ndim != 2 or not logits.size:
            raise ValueError("not a matrix")
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{exhibit} holds no soft labels: delete it and execute the notebook of q2 again."
        ) from error
    return logits


def instructive(logits: np.ndarray) -> list[int]:
    """Of images [class, logit], one of each class, those that the largest logit gets right and whose
    runner-up is likeliest at the middle temperature, in the order of the classes."""
    right = [c for c, line in enumerate(logits) if line.argmax() == c] or range(len(logits))
    second = np.sort(softmax(logits / SHOWN[1], axis=1))[:, -2]
    return sorted(sorted(right, key=lambda c: -second[c])[:IMAGES])


def bars(axis: Axes, p: np.ndarray, true: int) -> None:
    """Probabilities [class] as bars, the true class in orange; the two largest in numbers."""
    axis.bar(range(len(p)), p, color=[ORANGE if c == true else BLUE for c in range(len(p))])
    axis.set(ylim=(0, 1.25), yticks=[], xticks=range(len(p)) if len(p) <= 10 else [])
    axis.tick_params(axis="x", length=0, labelsize=LARGE)
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)
    first, second = np.argsort(p)[:-3:-1]
    aside = {1: "left", -1: "right"}.get(second - first, "center")  # not into a neighbour's bar
    for one, where in ((first, "center"), (second, aside)):
        said = f"{round(100 * p[one], 0 if p[one] >= 0.01 else 2):g}"
        axis.text(one, p[one] + 0.03, said, ha=where, va="bottom", fontsize=LARGE)


def ratios(rows: Iterable[Row]) -> Figure | None:
    """Ours as a multiple of theirs, for numbers of images, on a log axis, with its interval over blocks;
    in grey, that of theirs. A row whose interval reaches 0 has no place on such an axis."""
    told = [row for row in rows if UNITS[row.unit].images]
    pairs = {row: (row.relative(row.published), row.relative(row.ours)) for row in told}
    drawn = {row: [x for e in pairs[row] for x in (e.mean, e.low, e.high)] for row in told}
    shown = [row for row in told if np.nanmin(drawn[row]) > 0]
    if not shown:
        return None
    figure, axis = plt.subplots(figsize=(plots.WIDTH, 0.8 + 0.21 * len(shown)))
    axis.axvline(1, color="black", linewidth=0.8, zorder=2)
    for height, row in enumerate(reversed(shown)):
        theirs, ours = pairs[row]
        axis.barh(height, theirs.high - theirs.low, 0.5, theirs.low, color=GREY, alpha=0.4)
        plots.dot(axis, ours, height, (), Arm("ours", colour=BLUE, marker="D"))
    axis.set_title("grey: theirs", loc="left", color=GREY)
    axis.set_title("ours", loc="right", color=BLUE)
    names = [f"{row.author}: {row.what}" for row in reversed(shown)]
    axis.set_yticks(range(len(shown)), names, fontsize=8)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.grid(axis="y", visible=False)
    every = [0.7, 1.5, *(x for row in shown for x in drawn[row])]
    low, high = np.nanmin(every) / 1.08, np.nanmax(every) * 1.08
    ticks = [tick for tick in TICKS if low <= tick <= high]
    plots.log_axis(axis, ticks, "errors, ours as a multiple of theirs")
    axis.set_xlim(low, high)
    return figure
