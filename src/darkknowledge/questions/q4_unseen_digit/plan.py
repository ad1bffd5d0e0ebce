"""Q4, what is trained: students whose transfer set lacks a class, distilled and on hard labels."""

from dataclasses import dataclass

from darkknowledge import spec as s
from darkknowledge.questions.base import Arms, Parameters
from darkknowledge.questions.checks import Classes, Count


@dataclass(frozen=True, kw_only=True)
class Q4(Parameters):
    """Each class of ``omit_in_turn`` is left out of a transfer set of its own; of ``keep_only`` there
    is one that holds nothing else, with a recipe of its own, as it is much smaller."""

    n_two_digits: Count = 5
    n_control: Count = 5
    omit_in_turn: Classes = (3, 7)
    keep_only: Classes = (7, 8)
    keep_recipe: str = "quick-few-classes"

    def __post_init__(self) -> None:
        super().__post_init__()
        classes = self.nets.data().classes
        for name in ("omit_in_turn", "keep_only"):
            for one in getattr(self, name):
                if one >= classes:
                    raise s.SpecError(f"{name} names class {one}, but there are only {classes}.")
        if len(self.keep_only) == classes:
            raise s.SpecError("keep_only names all classes, so none would be omitted.")


def omitted(q: Q4, block: int) -> Arms:
    """Distilled on all classes, and without each class in turn."""
    yield "teacher", q.nets.teacher_of(block)
    yield "kd", q.nets.taught(block)
    for one in q.omit_in_turn:
        yield "kd", q.nets.taught(block, omit=(one,))


def two_digits(q: Q4, block: int) -> Arms:
    """A transfer set of the kept classes only."""
    yield "kd", q.nets.taught(block, recipe=q.keep_recipe, keep=q.keep_only)
    yield "hard", q.nets.hard(block, recipe=q.keep_recipe, keep=q.keep_only)


def control(q: Q4, block: int) -> Arms:
    """Hard labels on all classes, and without each class in turn."""
    yield "hard", q.nets.hard(block)
    for one in q.omit_in_turn:
        yield "hard", q.nets.hard(block, omit=(one,))


FAMILIES = omitted, two_digits, control
