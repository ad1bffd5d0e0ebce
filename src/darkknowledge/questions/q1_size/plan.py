"""Q1, what is trained: nets of several sizes on hard labels, plain, and trained like the teacher."""

from dataclasses import dataclass

from darkknowledge.questions.base import Arms, Parameters
from darkknowledge.questions.checks import Count, Nets, Seconds, Size
from darkknowledge.spec import choose


@dataclass(frozen=True, kw_only=True)
class Q1(Parameters):
    """``augmented_recipes``: of each net that is also trained like the teacher, its dropout chosen for
    its size. ``other_nets`` are shown beside the large and the small one. Latency is measured for one
    image and for ``latency_batch``, ``latency_seconds`` each."""

    n_sizes: Count = 5
    n_augmented_sizes: Count = 3
    other_nets: Nets = ("mlp-30-30",)
    augmented_recipes: dict[str, str]
    latency_batch: Size = 256
    latency_seconds: Seconds = 0.2

    def augmented_recipe(self, net: str) -> str:
        """The recipe of a net that is trained like the teacher. Raises SpecError."""
        known = self.augmented_recipes
        return known[choose("a net in augmented_recipes", net, known)]


def size(q: Q1, block: int) -> Arms:
    """The large and the small net, both with augmentation and dropout, and the small one plain."""
    yield "teacher", q.nets.teacher_of(block)
    yield "hard_augmented", q.nets.hard(block, recipe=q.augmented_recipe(q.nets.student))
    yield "hard", q.nets.hard(block)


def sizes(q: Q1, block: int) -> Arms:
    """Other sizes, and the large net, plain."""
    for net in (*q.other_nets, q.nets.teacher):
        yield "hard", q.nets.hard(block, net)


def augmented_sizes(q: Q1, block: int) -> Arms:
    """Other sizes, trained like the teacher."""
    for net in q.other_nets:
        yield "hard_augmented", q.nets.hard(block, net, q.augmented_recipe(net))


FAMILIES = size, sizes, augmented_sizes
