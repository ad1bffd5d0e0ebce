"""The distillation losses: one pure function a mode, one shared signature.

Every mode returns the two unweighted parts of

    L = w_hard · CE(y, z_s) + w_soft · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)),

mean over the batch and sum over the classes (Hinton, Vinyals & Dean 2015, section 2). The modes
differ only in the distribution that stands on the left of the KL. Shapes: ``student`` and
``teacher`` are logits [batch, classes], ``labels`` are class indices [batch].
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

#: Probability that Tf-KD_reg's virtual teacher gives to the true class (Yuan et al. 2020, sec. 5).
VIRTUAL_TEACHER_CONFIDENCE = 0.99


class Parts(NamedTuple):
    """The hard and the soft part of a loss, scalars in nats, before weighting."""

    hard: Tensor
    soft: Tensor


class Loss(Protocol):
    """The signature that all modes share."""

    def __call__(
        self,
        student: Tensor,
        labels: Tensor,
        teacher: Tensor | None,
        temperature: float,
        generator: torch.Generator,
    ) -> Parts: ...


def softened_kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher/T) ‖ softmax(student/T)) in nats, mean over the batch.

    The T² keeps the gradient's size: for large T it tends to (z_s − z_t) / classes for zero-mean
    logits (Hinton et al. 2015, section 2.1). Both sides stay in log space, so that T well below 1
    gives no NaN.
    """
    log_p = F.log_softmax(teacher / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def hard(student, labels, teacher, temperature, generator) -> Parts:
    """Cross-entropy with the true labels; the soft part is zero."""
    return Parts(F.cross_entropy(student, labels), student.new_zeros(()))


def kd(student, labels, teacher, temperature, generator) -> Parts:
    """Knowledge distillation (Hinton et al. 2015): the teacher's softened distribution."""
    return Parts(F.cross_entropy(student, labels), softened_kl(teacher, student, temperature))


def uniform_teacher(student, labels, teacher, temperature, generator) -> Parts:
    """A teacher that knows nothing: uniform soft targets, softened like ``kd``'s."""
    return kd(student, labels, torch.zeros_like(student), temperature, generator)


def label_smoothing(student, labels, teacher, temperature, generator) -> Parts:
    """Label smoothing as Yuan et al. 2020 (section 4) write it: KL(uniform ‖ student), at T = 1.

    With w_hard = 1 − ε and w_soft = ε its gradient is that of smoothed targets (Szegedy et al.
    2016). ``temperature`` is ignored.
    """
    return uniform_teacher(student, labels, teacher, 1.0, generator)


def tfkd_reg(student, labels, teacher, temperature, generator) -> Parts:
    """Tf-KD_reg (Yuan et al. 2020, section 5): a virtual teacher that is right with 0.99.

    The temperature acts on the virtual teacher's log-probabilities, as on any logits; the
    authors' code divides the probabilities themselves by T instead.
    """
    classes = student.shape[1]
    rest = (1 - VIRTUAL_TEACHER_CONFIDENCE) / (classes - 1)
    virtual = torch.full_like(student, rest)
    virtual.scatter_(1, labels[:, None], VIRTUAL_TEACHER_CONFIDENCE)
    return kd(student, labels, virtual.log(), temperature, generator)


def shuffled_teacher(student, labels, teacher, temperature, generator) -> Parts:
    """The teacher's logits, dealt to the wrong images of the batch: its marginal, no knowledge."""
    order = torch.randperm(len(teacher), generator=generator, device=generator.device)
    return kd(student, labels, teacher[order.to(teacher.device)], temperature, generator)


LOSSES: dict[str, Loss] = {
    "hard": hard,
    "kd": kd,
    "label_smoothing": label_smoothing,
    "uniform_teacher": uniform_teacher,
    "tfkd_reg": tfkd_reg,
    "shuffled_teacher": shuffled_teacher,
    # The same arithmetic as kd; what differs is the teacher, a net left at its initialisation.
    "untrained_teacher": kd,
}
