"""A profile for one's own images: looked at, sized for the cores and minutes that there are, written."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from darkknowledge import config
from darkknowledge.experiment import cards, data, folder, metrics, run, training
from darkknowledge.processes import cores
from darkknowledge.questions import params, registry
from darkknowledge.questions.base import OWN, ordered, setup_of
from darkknowledge.records import Store
from darkknowledge.spec import (
    FINGERPRINTS,
    SMALLEST,
    ModelSpec,
    RunSpec,
    SpecError,
    data_spec,
    integer,
    place,
    plain,
    positive,
)

BLOCKS = [0, 1, 2, 3, 4]
#: Images are trained on at their own size within these bounds, in pixels of a side.
SIDES = 16, 32
#: The share of the training images that is held out to choose by, and how many at least.
VALIDATION, FEWEST = 0.1, 20
#: Steps an epoch at least where images are few, and of a student's training at most.
STEPS, MOST_STEPS = 25, 2500
#: Epochs of a student on plain images; a teacher, and a student on augmented ones, take twice as many.
EPOCHS = 3, 60
#: Seconds that a profile takes beside its runs: its notebooks.
AROUND = 30
#: Networks by the kind of image: the large and the small one.
NETS = {"grey": ("mlp-400-400", "mlp-50-50"), "colour": ("airbench-24-48-48", "airbench-8-16-16")}


@dataclass(frozen=True)
class Request:
    """What the user asks for; what is empty or 0 is chosen by the images."""

    name: str
    source: str
    teacher: str = ""
    student: str = ""
    image_size: int = 0
    teacher_weights: str = ""
    minutes: float = 6.0


def new(request: Request) -> list[str]:
    """Write ``params/NAME/`` for a folder of images, or for a data set that this package knows; returns
    what to tell its user, line by line.

    Everything that can be wrong is found before anything is trained. Raises SpecError, DataError."""
    plain("NAME", request.name)
    positive("--minutes", request.minutes)
    target = config.project_root() / "params" / request.name
    known = (*config.book("setup"), *config.book("recipe"), *FINGERPRINTS)
    if target.exists() or request.name in known:
        results = Store(config.project_root() / "results").labels_path(request.name).parent
        there = (target, results)
        gone = " and ".join(str(path) for path in there if path.exists())
        what = f", or delete {gone} first" if target.exists() else ""
        raise SpecError(
            f"There is a profile, a setup or a data set {request.name!r}: choose another name{what}."
        )
    about, told = _looked_at(request)
    target.mkdir()
    try:
        _write(target, request, about, epochs=EPOCHS[0])
        setup = setup_of(request.name)
        dataset = data.load(setup.data(), None)
        if request.teacher_weights:
            told.append(_measured(request.name, dataset))
        speed = _speeds(request.name)
        steps = len(dataset.train) // about["batch_size"]
        most = min(EPOCHS[1], max(EPOCHS[0], MOST_STEPS // max(1, steps)))
        least, more = (_seconds(target, request, about, EPOCHS[0] + i, speed) for i in (0, 1))
        rest = int((60 * request.minutes - least) / (more - least))  # each epoch costs the same
        epochs = min(most, EPOCHS[0] + max(0, rest))
        seconds = _seconds(target, request, about, epochs, speed)
        runs = len(_planned(request.name))
    except BaseException:
        shutil.rmtree(target)
        raise
    longer = f", longer than the {request.minutes:g} asked for" if rest < 0 else ""
    minutes = max(1, round(seconds / 60))
    told.append(
        f"{setup.teacher} teaches {setup.student}, {epochs} epochs, {runs} runs: about {minutes} "
        f"minute{'s'[: minutes != 1]} on {cores()} cores{longer}."
    )
    told.append(
        f"{target} says all this; change what you like. Then: darkknowledge run {request.name}; "
        f"darkknowledge render {request.name}"
    )
    return told


def _looked_at(request: Request) -> tuple[dict[str, Any], list[str]]:
    """What the images say of the profile, and what to tell of them."""
    noticed: list[str] = []
    if request.source in FINGERPRINTS:
        if request.image_size:
            raise SpecError(
                "--image-size is for a folder of one's own: a known data set has its size."
            )
        spec_of: dict[str, Any] = {"dataset": request.source}
        dataset = data.load(data_spec(request.source, FEWEST), None)
        grey, side, classes = dataset.shape[0] == 1, dataset.shape[1], dataset.classes
        twins = 0
        labels = torch.cat([dataset.train.labels, dataset.validation.labels])
        counts, tested = labels.bincount().tolist(), len(dataset.test)
    else:
        root = place(request.source).absolute()
        found = folder.find(root)
        some, side = folder.some(found), integer("--image-size", request.image_size)
        grey = folder.grey(some)
        if side and side < SMALLEST:
            raise SpecError(
                f"--image-size is {side}, but images need at least {SMALLEST} pixels a side."
            )
        side = side or folder.usual_side(some, *SIDES)
        named = [net for net in (_teacher(request), request.student) if net]
        grey = grey and all(
            ModelSpec.named(net).name == "mlp" for net in named
        )  # others take colour
        print_ = found.fingerprint()
        (train, test), classes = folder.read(found, print_, side, grey)
        counts, tested = train.labels.bincount().tolist(), len(test)
        twins = folder.twins(train, test)
        rest = sorted(folder.left_out(found).items())
        others = ", ".join(f"{count:,} {ending or 'without an ending'}" for ending, count in rest)
        noticed = [f"Files that are not read: {others}."] if rest else []
        noticed += [f"Not used, as there is another folder: {p}." for p in folder.unused(found)]
        spec_of = {
            "dataset": OWN,
            "data_root": str(root),
            "image_size": side,
            "grey": grey,
            "classes": list(classes),
            "fingerprint": print_,
        }
    images = sum(counts)
    validation = max(FEWEST, round(VALIDATION * images))
    if validation > images // 2:
        raise SpecError(
            f"There are only {images} images to train on: that is too few to learn from."
        )
    kind = "grey" if grey or side < 17 else "colour"
    large, small = NETS[kind]
    teacher = ModelSpec.named(request.teacher or large)
    dropout = {"dropout_hidden": 0.2} if teacher.name == "mlp" else {}
    if card := _card(request):  # how they were made says their card, where they have one
        if request.teacher and card.model.label != teacher.label:
            raise SpecError(f"--teacher is {teacher.label}, but the card says {card.model.label}.")
        teacher = card.model
    if request.teacher_weights:
        rates = {k: getattr(teacher, k) for k in ("dropout_input", "dropout_hidden")}
        dropout = {k: rate for k, rate in rates.items() if rate}
    order = sorted(range(len(counts)), key=lambda c: -counts[c])
    about = {
        "data": spec_of,
        "validation": validation,
        "teacher": teacher.label,
        "dropout": dropout,
        "student": ModelSpec.named(request.student or small).label,
        "batch_size": max(16, min(250, (images - validation) // STEPS)),
        "augmentation": "jitter" if grey else "shift_flip",
        "omit": sorted(order[:2]) if len(counts) > 2 else [],
        "classes": classes,
        "images": images - validation,
    }
    few, many = (f"{count:,}" for count in (min(counts), max(counts)))
    each = few if few == many else f"{few} to {many}"
    colour = "grey" if grey else "colour"
    told = [
        f"{images + tested:,} {colour} images of {len(counts)} classes ({each} of each to train on), "
        f"{side} by {side} pixels; {tested:,} of them for the test.",
        *noticed,
    ]
    if twins:
        told.append(
            f"{twins:,} of the test images are to be trained on too, which makes the errors too few: "
            "remove one of each two, and call this again under another name."
        )
    return about, told


def _card(request: Request) -> cards.Card | None:
    """The card of the weights that are given, if they have one."""
    weights = place(request.teacher_weights) if request.teacher_weights else None
    return cards.read_card(weights) if weights and cards.card_path(weights).is_file() else None


def _teacher(request: Request) -> str:
    """What the user says that the teacher is, or the card of its weights; else empty."""
    card = _card(request)
    return request.teacher or (card.model.label if card else "")


def _recipes(about: dict[str, Any], name: str, epochs: int) -> dict[str, dict[str, Any]]:
    """How the networks are trained, by their kind."""

    def base(net: str, plain: bool) -> dict[str, Any]:
        kind = ModelSpec.named(net).name
        common = {"batch_size": about["batch_size"], "epochs": epochs if plain else 2 * epochs}
        if not plain:
            common["augmentation"] = about["augmentation"]
        if kind == "airbench":
            return {
                "optimiser": "muon",
                "lr": 0.12,
                "momentum": 0.6,
                "schedule": "linear",
                **common,
            }
        if kind == "mlp" and plain:
            return {"optimiser": "sgd", "lr": 0.1, "momentum": 0.9, **common}
        rate = 0.002 if kind == "mlp" else 0.001
        return {"optimiser": "adamw", "lr": rate, "weight_decay": 0.01, **common}

    teacher, student = about["teacher"], about["student"]
    jitter = base(student, plain=True) | {
        "epochs": 2 * epochs,
        "augmentation": about["augmentation"],
    }
    return {
        f"{name}-teacher": about["dropout"] | base(teacher, plain=False),
        f"{name}-augmented": base(student, plain=False),
        f"{name}-large": base(teacher, plain=True),
        f"{name}-small": base(student, plain=True),
        f"{name}-view": jitter,
    }


def _write(target: Path, request: Request, about: dict[str, Any], epochs: int) -> None:
    """Write the profile's files."""
    name, teacher, student = request.name, about["teacher"], about["student"]
    weights = {"teacher_weights": str(place(request.teacher_weights).absolute())}
    setup = {
        **about["data"],
        "validation": about["validation"],
        "precision": "fp32",
        "device": "cpu",
        "teacher": teacher,
        "teacher_recipe": f"{name}-teacher",
        **(weights if request.teacher_weights else {}),
        "student": student,
        "recipes": {teacher: f"{name}-large", student: f"{name}-small"},
        "temperature": 4.0,
        "alpha": 0.9,
    }
    common = {"profile": name, "setup": name, "blocks": BLOCKS}
    n = len(BLOCKS)
    questions: dict[str, dict[str, Any]] = {
        "q1": {"n_sizes": n, "n_augmented_sizes": 0, "other_nets": [student],
               "augmented_recipes": {student: f"{name}-augmented"}},
        "q2": {"n_rivals": n, "n_jittered": n, "jitter_recipe": f"{name}-view"},
        "q3": {"n_temperatures": 0, "n_weights": n, "main_temperatures": [1.0, 4.0, 8.0, 20.0],
               "temperatures": [4.0], "other_nets": [student], "alphas": [0.5, 1.0]},
        "q4": {"n_two_digits": 0, "n_control": n, "omit_in_turn": about["omit"], "keep_only": [0],
               "keep_recipe": f"{name}-small"},
        "q6": {"digits_setup": name, "n_digits": 0, "alpha": 0.5},
    }  # fmt: skip
    if not about["omit"]:  # of two classes none can be left out
        del questions["q4"]
    listed = ", ".join(f"{i} {c}" for i, c in enumerate(about["classes"][:30]))
    heads = {
        "setups": "The data, a large and a small network, and how they are trained.",
        "recipes": "How the networks of this profile are trained.",
        "q1": "Q1: is the small network enough?",
        "q2": "Q2: does distillation help it?",
        "q3": "Q3: at which temperature, and with which weight of the soft labels?",
        "q4": f"Q4: what of a class that the transfer set lacks? Classes: {listed}.",
        "q6": "Q6: does the large network learn from its own kind?",
    }
    bodies = {"setups": {name: setup}, "recipes": _recipes(about, name, epochs)}
    bodies |= {q: common | own for q, own in questions.items()}
    for stem, body in bodies.items():
        text = yaml.safe_dump(
            body, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
        )
        (target / f"{stem}.yaml").write_text(f"# {heads[stem]}\n{text}", encoding="utf-8")


def _measured(name: str, dataset: data.Dataset) -> str:
    """What a given teacher recognises, in words. Raises SpecError if that is no more than chance."""
    spec = setup_of(name).teacher_of(BLOCKS[0])
    model = run.network(spec, dataset.shape)
    run.give(model, spec)
    if not all(bool(p.half().isfinite().all()) for p in model.parameters()):
        raise SpecError("The given weights are too large for fp16, in which they are kept.")
    split = dataset.validation
    right = 1 - metrics.errors(training.logits(model, split.images, "fp32"), split.labels) / len(
        split
    )
    if right <= (most := float(split.labels.bincount().max()) / len(split)):
        raise SpecError(
            f"The given teacher recognises {right:.1%} of the validation images, no more than if it "
            f"always said the most frequent class ({most:.1%}): is it another data set's, or are its "
            "inputs scaled otherwise than from 0 to 1?"
        )
    return f"The given teacher recognises {right:.1%} of the validation images."


@dataclass(frozen=True)
class Speed:
    """Images a second of a run's training on one core, and the seconds that it takes beside."""

    images: float
    beside: float


def _speeds(name: str) -> dict[tuple[str, bool], Speed]:
    """How fast each network trains, with and without a teacher that sees augmented images too, by runs of
    an epoch that are thrown away. So whatever fails in a run fails here. Raises what a run does."""
    setup, block = setup_of(name), BLOCKS[0]
    once: dict[str, Any] = {"changes": {"epochs": 1}}
    teacher = setup.hard(block, setup.teacher, **once)
    taught = setup.taught(block, recipe=f"{name}-view", teacher=teacher, **once)
    runs = [
        (s.model.label, s.teacher is not None, s)
        for s in (teacher, setup.hard(block, **once), taught)
    ]
    threads, found = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    try:
        for _ in range(2):  # the first time pays for what is made once
            with tempfile.TemporaryDirectory() as folder:
                store = Store(folder)
                store.prepare()
                for net, seen, spec in runs:
                    about = run.execute(spec, store)["provenance"]
                    beside = about["seconds"] - about["training_seconds"]
                    found[net, seen] = Speed(about["images_per_second"], beside)
    finally:
        torch.set_num_threads(threads)
    return found


def _planned(name: str) -> list[RunSpec]:
    chosen = {q: params.read(name, q) for q in params.questions_of(name)}
    return [one.spec for one in ordered(registry.grids(chosen).values())]


def _seconds(
    target: Path,
    request: Request,
    about: dict[str, Any],
    epochs: int,
    speeds: dict[tuple[str, bool], Speed],
) -> float:
    """How long the profile would take with so many epochs, whose files it writes."""
    _write(target, request, about, epochs)
    total = 0.0
    for spec in _planned(request.name):
        seen = spec.teacher is not None and spec.recipe.augmentation != "none"
        speed = speeds.get((spec.model.label, seen)) or speeds[spec.model.label, False]
        total += speed.beside + about["images"] * spec.recipe.epochs / speed.images
    return total / cores() + AROUND
