"""Q5 and Q6, what is trained: a large net taught by a weaker one, or by one of its own kind, on images
and on digits."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from darkknowledge.questions.base import OTHER_SEED, Arms, Parameters, Setup, setup_of
from darkknowledge.questions.checks import Count, Name, Net, Temperature, Weight, Weights
from darkknowledge.questions.q2_distillation.plan import smoothed
from darkknowledge.spec import LossSpec, RunSpec


@dataclass(frozen=True, kw_only=True)
class Pairs(Parameters):
    """What Q5 and Q6 share. On the images of ``setup`` the main arm has the weight ``alpha`` and the
    setup's temperature; ``alphas`` and ``temperatures`` are tried beside. On the digits of
    ``digits_setup`` all ``digits_alphas`` are tried at ``digits_temperature``, other temperatures at
    ``digits_alpha``."""

    setup: Name = "quick-rgb"
    digits_setup: Name = "quick-digits"
    n_digits: Count = 5
    n_digits_temperatures: Count = 0
    n_weights: Count = 0
    n_rivals: Count = 0
    n_budget: Count = 0
    alpha: Weight = 0.5
    alphas: Weights = (0.5,)
    temperatures: tuple[Temperature, ...] = ()
    digits_alpha: Weight = 0.5
    digits_alphas: Weights = (0.1, 0.5, 0.9)
    digits_temperature: Temperature = 4.0
    digits_temperatures: tuple[Temperature, ...] = ()
    smoothing: Weight = 0.1
    virtual_temperature: Temperature = 20.0
    virtual_alpha: Weight = 0.1

    @functools.cached_property
    def digits(self) -> Setup:
        """The setup of the digits."""
        return setup_of(self.digits_setup)


@dataclass(frozen=True, kw_only=True)
class Q5(Pairs):
    """A weaker teacher: the small net of ``setup``, and of the digits ``digits_teacher``."""

    digits_teacher: Net = "mlp-30-30"


@dataclass(frozen=True, kw_only=True)
class Q6(Pairs):
    """A teacher of the student's own kind, which began at another initialisation."""


def images(q: Pairs, block: int) -> Arms:
    """The large net on hard labels and taught; for Q5 the small one too, which learns from the large
    one as students usually do."""
    if isinstance(q, Q5):
        yield "hard", q.nets.hard(block)
    yield "hard", q.nets.hard(block, q.nets.teacher)
    yield from _taught(q, block, q.nets.temperature, q.alpha)
    if isinstance(q, Q5):
        yield "by_strong", q.nets.taught(block, teacher=q.nets.hard(block, q.nets.teacher))


def _taught(q: Pairs, block: int, t: float, alpha: float) -> Arms:
    """The large net on images, taught by the small one or by the block's own net on hard labels, so that
    "better than hard labels" and "better than its teacher" are one number in Q6."""
    large, loss = q.nets.teacher, LossSpec.mix("kd", t, alpha)
    if isinstance(q, Q5):
        yield "by_weak", q.nets.taught(block, loss, large, teacher=q.nets.hard(block))
    else:
        own = q.nets.hard(block, large)
        yield "by_own", q.nets.taught(block + OTHER_SEED, loss, large, teacher=own)


def weights(q: Pairs, block: int) -> Arms:
    """Other weights at the main temperature, other temperatures at the main weight."""
    for alpha in q.alphas:
        yield from _taught(q, block, q.nets.temperature, alpha)
    for t in q.temperatures:
        yield from _taught(q, block, t, q.alpha)


def digits(q: Pairs, block: int) -> Arms:
    """On digits at all weights, beside hard labels."""
    for alpha in q.digits_alphas:
        yield from _digits(q, block, q.digits_temperature, alpha)


def digits_temperatures(q: Pairs, block: int) -> Arms:
    """On digits at other temperatures."""
    for t in q.digits_temperatures:
        yield from _digits(q, block, t, q.digits_alpha)


def _digits(q: Pairs, block: int, t: float, alpha: float) -> Iterator[tuple[str, RunSpec]]:
    loss, student = LossSpec.mix("kd", t, alpha), q.digits.hard(block)
    if isinstance(q, Q5):
        weak = q.digits.hard(block, q.digits_teacher)
        yield "hard", weak
        yield "hard", student
        yield "by_weak", q.digits.taught(block, loss, teacher=weak)
    else:
        yield "hard", student
        yield "by_own", q.digits.taught(block + OTHER_SEED, loss, teacher=student)


def rivals(q: Pairs, block: int) -> Arms:
    """The tuned forms that need no teacher; for Q5 the small net's label smoothing too."""
    large = q.nets.teacher
    yield "label_smoothing", q.nets.hard(block, large, loss=smoothed(q.smoothing))
    if isinstance(q, Q5):
        yield "label_smoothing", q.nets.hard(block, loss=smoothed(q.smoothing))
    virtual = LossSpec.mix("tfkd_reg", q.virtual_temperature, q.virtual_alpha)
    yield "tfkd_reg", q.nets.hard(block, large, loss=virtual)


def budget(q: Pairs, block: int) -> Arms:
    """The large net on hard labels for twice its epochs."""
    epochs = 2 * q.nets.hard(block, q.nets.teacher).recipe.epochs
    yield "hard_equal_budget", q.nets.hard(block, q.nets.teacher, changes={"epochs": epochs})


FAMILIES = images, digits, digits_temperatures, weights, rivals, budget
