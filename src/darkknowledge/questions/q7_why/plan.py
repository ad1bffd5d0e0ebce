"""The discussion, what is trained: soft labels with parts taken out, worse teachers, unfamiliar images,
few labels, no images at all."""

from dataclasses import dataclass, replace
from typing import Any

from darkknowledge.questions.base import OTHER_SEED, Arms, Parameters
from darkknowledge.questions.checks import ByShare, Count, Weights
from darkknowledge.spec import LossSpec

#: The parts of the divergence, alone and with equal weights (Zhao et al. 2022).
PARTS = ("target_part", "nontarget_part", "decoupled")


@dataclass(frozen=True, kw_only=True)
class Q7(Parameters):
    """``schedules`` are the shares of the teacher's epochs that worse teachers are trained for, each
    annealed to its own end; ``few_recipes`` name the recipe for each share of labels."""

    n_parts: Count = 5
    n_quality: Count = 5
    n_unfamiliar: Count = 5
    n_few_labels: Count = 5
    n_noise: Count = 0
    schedules: Weights = (0.25,)
    few_recipes: ByShare


def confidence(q: Q7, block: int) -> Arms:
    """The main arm, and the teacher's confidence without what it says of the wrong classes."""
    yield "teacher", q.nets.teacher_of(block)
    yield "hard", q.nets.hard(block)
    yield "kd", q.nets.taught(block)
    yield "confidence_only", q.nets.taught(block, q.nets.loss(mode="confidence_only"))


def parts(q: Q7, block: int) -> Arms:
    """The parts of the divergence."""
    for mode in PARTS:
        yield mode, q.nets.taught(block, q.nets.loss(mode=mode))


def quality(q: Q7, block: int) -> Arms:
    """Teachers that were trained for a share of the schedule, and their students."""
    whole = q.nets.teacher_of(block)
    for share in q.schedules:
        epochs = max(1, round(share * whole.recipe.epochs))
        teacher = replace(whole, recipe=replace(whole.recipe, epochs=epochs))
        yield f"teacher_{share:g}", teacher
        yield f"kd_teacher_{share:g}", q.nets.taught(block, teacher=teacher)


def unfamiliar(q: Q7, block: int) -> Arms:
    """A teacher trained on one half of the images teaches on that half and on the other; hard labels on
    the other half."""
    half: dict[str, Any] = {"share": 0.5, "draw": block}
    other = {**half, "complement": True}
    teacher = q.nets.teacher_of(block, **half)
    yield "teacher_half", teacher
    yield "kd_same_half", q.nets.taught(block, teacher=teacher, **half)
    yield "kd_other_half", q.nets.taught(block, teacher=teacher, **other)
    yield "hard_other_half", q.nets.hard(block, **other)


def few_labels(q: Q7, block: int) -> Arms:
    """Labels for a small share of the images: hard; distilled on those images alone; distilled on all.
    Each plain and jittered."""
    for share, recipe in q.few_recipes.items():
        few: dict[str, Any] = {"share": float(share), "draw": block}
        for name, changes in (("", {}), ("_jitter", {"augmentation": "jitter"})):
            rest: dict[str, Any] = {"changes": changes, **few}
            yield f"hard_{share}{name}", q.nets.hard(block, recipe=recipe, **rest)
            yield f"kd_{share}{name}", q.nets.taught(block, recipe=recipe, **rest)
            yield f"kd_all_{share}{name}", q.nets.taught(block, unlabelled=True, **rest)


def noise(q: Q7, block: int) -> Arms:
    """A net of the teacher's architecture learns from its outputs on noise alone, from the teacher's own
    initialisation and from another one (after Cloud et al. 2025)."""
    loss = LossSpec("kd", q.nets.temperature, 0.0, 1.0)
    for name, seed in (("own", block), ("other", block + OTHER_SEED)):
        teacher = q.nets.teacher_of(block)
        taught = q.nets.taught(seed, loss, q.nets.teacher, teacher=teacher, noise=True, draw=block)
        yield f"noise_{name}_initialisation", taught


FAMILIES = confidence, parts, quality, unfamiliar, few_labels, noise
