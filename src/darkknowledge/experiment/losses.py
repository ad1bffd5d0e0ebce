"""The distillation losses: one pure function a mode, one shared signature.

    L = w_hard · CE(y, z_s) + w_soft · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)),

mean over the batch and sum over the classes (Hinton, Vinyals & Dean 2015, section 2). All modes share
the hard part, :func:`cross_entropy`; each returns its soft part, a scalar in nats, before weighting,
and most differ only in the distribution that stands on the left of the KL. Shapes: ``student`` and
``teacher`` are logits [batch, classes] (``teacher`` is empty where a mode has none), ``labels`` are
class indices [batch], −1 for an image without a label."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

#: Probability that Tf-KD_reg's virtual teacher gives to the true class (Yuan et al. 2020, sec. 5).
VIRTUAL_TEACHER_CONFIDENCE = 0.99


#: What all modes share: student, labels, teacher, temperature, generator → the soft part.
Loss = Callable[[Tensor, Tensor, Tensor, float, Generator], Tensor]


def softened_kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher/T) ‖ softmax(student/T)) in nats, mean over the batch.

    The T² keeps the gradient's size: for large T it tends to (z_s − z_t) / classes for zero-mean
    logits (Hinton et al. 2015, section 2.1). Both sides stay in log space, so that T well below 1
    gives no NaN."""
    log_p = F.log_softmax(teacher / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def cross_entropy(student: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the true labels in nats: the sum over the labelled images of the batch,
    divided by the size of the batch. A label of −1 stands for none."""
    return F.cross_entropy(student, labels, ignore_index=-1, reduction="sum") / len(labels)


def kd(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """Knowledge distillation (Hinton et al. 2015): the teacher's softened distribution."""
    return softened_kl(teacher, student, temperature)


def uniform_teacher(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """A teacher that knows nothing: uniform soft targets, softened like ``kd``'s."""
    return softened_kl(torch.zeros_like(student), student, temperature)


def label_smoothing(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """Label smoothing as Yuan et al. 2020 (section 4) write it: KL(uniform ‖ student), at T = 1.

    With w_hard = 1 − ε and w_soft = ε its gradient is that of smoothed targets (Szegedy et al.
    2016). ``temperature`` is ignored."""
    return uniform_teacher(student, labels, teacher, 1.0, generator)


def tfkd_reg(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """Tf-KD_reg (Yuan et al. 2020, section 5): a virtual teacher that is right with 0.99.

    The temperature acts on the virtual teacher's log-probabilities, as on any logits; the
    authors' code divides the probabilities themselves by T instead."""
    classes = student.shape[1]
    rest = (1 - VIRTUAL_TEACHER_CONFIDENCE) / (classes - 1)
    virtual = torch.full_like(student, rest)
    virtual.scatter_(1, labels[:, None], VIRTUAL_TEACHER_CONFIDENCE)
    return softened_kl(virtual.log(), student, temperature)


def shuffled_teacher(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """The teacher's logits, dealt to the wrong images of the batch: its marginal, no knowledge."""
    order = torch.randperm(len(teacher), generator=generator, device=generator.device)
    return softened_kl(teacher[order.to(teacher.device)], student, temperature)


def permuted_teacher(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """The teacher's own logit of the true class, its other logits dealt at random to the other
    classes of the same image: its confidence, not what it knows of the wrong classes (the control
    DKPP of Furlanello et al. 2018, who keep the largest logit instead of the true class's)."""
    others = _others(labels, teacher.shape[1])
    noise = torch.rand(others.shape, generator=generator, device=generator.device)
    dealt = others.gather(1, noise.argsort(1).to(others.device))
    return softened_kl(teacher.scatter(1, others, teacher.gather(1, dealt)), student, temperature)


def confidence_only(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float, generator: Generator
) -> Tensor:
    """Soft labels that keep the teacher's probability of the true class at T and spread the rest
    evenly over the other classes: how sure the teacher is, and nothing of what it takes an image
    for otherwise (after CWTM of Furlanello et al. 2018)."""
    log_p = F.log_softmax(teacher / temperature, dim=1)
    others = _others(labels, teacher.shape[1])
    even = log_p.gather(1, others).logsumexp(1, keepdim=True) - math.log(others.shape[1])
    kept = log_p.scatter(1, others, even.expand_as(others))
    # softened_kl divides by T and normalises; these logarithms are normalised at T already.
    return softened_kl(temperature * kept, student, temperature)


class Decomposition(NamedTuple):
    """KL = target + (1 − p_t) · nontarget, each [batch], in nats (Zhao et al. 2022, equation 5)."""

    target: Tensor
    nontarget: Tensor
    not_target: Tensor


def decomposition(
    student: Tensor, labels: Tensor, teacher: Tensor, temperature: float
) -> Decomposition:
    """The two parts of KL(softmax(teacher/T) ‖ softmax(student/T)) for each image: of *target class
    or not*, and of the classes other than the target among themselves. ``not_target`` is the
    teacher's 1 − p_t at T."""
    others = _others(labels, student.shape[1])

    def logs(logits: Tensor) -> tuple[Tensor, Tensor]:
        scaled = logits / temperature
        rest = scaled.gather(1, others)
        total, of_rest = scaled.logsumexp(1), rest.logsumexp(1)
        binary = torch.stack([scaled.gather(1, labels[:, None])[:, 0], of_rest], 1)
        return binary - total[:, None], rest - of_rest[:, None]

    def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)

    (binary_t, rest_t), (binary_s, rest_s) = logs(teacher), logs(student)
    return Decomposition(
        divergence(binary_t, binary_s), divergence(rest_t, rest_s), binary_t[:, 1].exp()
    )


def _of_parts(weighted: Callable[[Decomposition], Tensor]) -> Loss:
    """The mode whose soft part is the mean of what ``weighted`` makes of both parts of ``kd``."""
    return lambda student, labels, teacher, temperature, generator: (
        temperature**2 * weighted(decomposition(student, labels, teacher, temperature)).mean()
    )


def _others(labels: Tensor, classes: int) -> Tensor:
    """The classes that are not the label, [batch, classes − 1]."""
    return (labels[:, None] + torch.arange(1, classes, device=labels.device)) % classes


LOSSES: dict[str, Loss] = {
    "hard": lambda student, *rest: student.new_zeros(()),
    "kd": kd,
    "label_smoothing": label_smoothing,
    "uniform_teacher": uniform_teacher,
    "tfkd_reg": tfkd_reg,
    "shuffled_teacher": shuffled_teacher,
    # The same arithmetic as kd; what differs is the teacher, a net left at its initialisation.
    "untrained_teacher": kd,
    "permuted_teacher": permuted_teacher,
    "confidence_only": confidence_only,
    # What kd says of the true class alone: how sure the teacher is of it.
    "target_part": _of_parts(lambda parts: parts.target),
    # What it says of the wrong classes, with the weight 1 − p_t that it has there: the rest of kd.
    "nontarget_part": _of_parts(lambda parts: parts.not_target * parts.nontarget),
    # Both with weight one, however sure the teacher is (Zhao et al. 2022, equation 7, α = β = 1).
    "decoupled": _of_parts(lambda parts: parts.target + parts.nontarget),
}
