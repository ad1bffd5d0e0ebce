"""Q3, what is trained: the distilled student at every temperature and width."""

from dataclasses import dataclass

from darkknowledge.questions.base import Arms, Parameters
from darkknowledge.questions.checks import Count, Nets, Temperatures, Weights


@dataclass(frozen=True, kw_only=True)
class Q3(Parameters):
    """``main_temperatures`` are those of the primary claim, T = 1 among them; ``temperatures`` are all
    that the student and the ``other_nets`` are distilled at. ``alphas`` are other weights of the soft
    labels, tried at the setup's temperature."""

    n_temperatures: Count = 5
    n_weights: Count = 0
    main_temperatures: Temperatures = (1.0, 4.0, 8.0, 20.0)
    temperatures: Temperatures = (0.5, 1.0, 4.0, 8.0, 20.0)
    other_nets: Nets = ("mlp-30-30",)
    alphas: Weights = (0.5,)


def main_temperatures(q: Q3, block: int) -> Arms:
    """Teacher, hard labels, and the student at the temperatures of the primary claim."""
    yield "teacher", q.nets.teacher_of(block)
    yield "hard", q.nets.hard(block)
    for t in q.main_temperatures:
        yield "kd", q.nets.taught(block, q.nets.loss(t))


def temperatures(q: Q3, block: int) -> Arms:
    """The student at all temperatures, and nets of other widths, each beside hard labels."""
    for net in (q.nets.student, *q.other_nets):
        yield "hard", q.nets.hard(block, net)
        for t in q.temperatures:
            yield "kd", q.nets.taught(block, q.nets.loss(t), net)


def weights(q: Q3, block: int) -> Arms:
    """The student at other weights of the soft labels."""
    for alpha in q.alphas:
        yield "kd_weight", q.nets.taught(block, q.nets.loss(alpha=alpha))


FAMILIES = main_temperatures, temperatures, weights
