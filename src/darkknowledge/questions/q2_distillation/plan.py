"""Q2, what is trained: hard labels, distillation, its rivals, and both on jittered images."""

from dataclasses import dataclass, replace

from darkknowledge.questions.base import Arms, Parameters
from darkknowledge.questions.checks import Count, Temperature, Weight
from darkknowledge.spec import LossSpec, SpecError


@dataclass(frozen=True, kw_only=True)
class Q2(Parameters):
    """``smoothing``, and ``virtual_…`` of Tf-KD_reg, were tuned on validation, as rivals should be.
    ``budget_epochs`` on hard labels take as many FLOPs as teacher and student together."""

    n_rivals: Count = 5
    n_jittered: Count = 5
    n_budget: Count = 0
    n_grey: Count = 0
    smoothing: Weight = 0.1
    virtual_temperature: Temperature = 20.0
    virtual_alpha: Weight = 0.1
    jitter_recipe: str = "quick-jitter"
    budget_epochs: Count = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_budget and not self.budget_epochs:
            raise SpecError("n_budget needs budget_epochs, the epochs of an equal budget.")


def distillation(q: Q2, block: int) -> Arms:
    """Teacher, hard labels, the main arm, and the teacher's confidence without its opinions."""
    yield "teacher", q.nets.teacher_of(block)
    yield "hard", q.nets.hard(block)
    yield "kd", q.nets.taught(block)
    yield "confidence_only", q.nets.taught(block, q.nets.loss(mode="confidence_only"))


def rivals(q: Q2, block: int) -> Arms:
    """Soft labels only, permuted soft labels, and the tuned forms that need no teacher."""
    yield "soft_only", q.nets.taught(block, q.nets.loss(alpha=1))
    yield "permuted_teacher", q.nets.taught(block, q.nets.loss(mode="permuted_teacher"))
    yield "label_smoothing", q.nets.hard(block, loss=smoothed(q.smoothing))
    virtual = LossSpec.mix("tfkd_reg", q.virtual_temperature, q.virtual_alpha)
    yield "tfkd_reg", q.nets.hard(block, loss=virtual)


def smoothed(weight: float) -> LossSpec:
    """Label smoothing, which works at T = 1."""
    return LossSpec.mix("label_smoothing", 1, weight)


def jittered(q: Q2, block: int) -> Arms:
    """The student sees jittered images itself, on hard labels and distilled on the same view."""
    yield "hard_jitter", q.nets.hard(block, recipe=q.jitter_recipe)
    yield "kd_jitter", q.nets.taught(block, recipe=q.jitter_recipe)


def budget(q: Q2, block: int) -> Arms:
    """Hard labels for as long as teacher and student took together."""
    yield "hard_equal_budget", q.nets.hard(block, changes={"epochs": q.budget_epochs})


def grey(q: Q2, block: int) -> Arms:
    """Straw men, shown and never tested: teachers that know nothing, and label smoothing at the main
    arm's weight."""
    loss = q.nets.loss(mode="uniform_teacher")
    yield "uniform_teacher", q.nets.taught(block, loss, teacher=None)
    yield "shuffled_teacher", q.nets.taught(block, q.nets.loss(mode="shuffled_teacher"))
    whole = q.nets.teacher_of(block)
    untrained = replace(whole, recipe=replace(whole.recipe, epochs=0))
    yield "teacher_untrained", untrained
    loss = q.nets.loss(mode="untrained_teacher")
    yield "untrained_teacher", q.nets.taught(block, loss, teacher=untrained)
    yield "label_smoothing_strong", q.nets.hard(block, loss=smoothed(q.nets.alpha))


FAMILIES = distillation, rivals, jittered, budget, grey
