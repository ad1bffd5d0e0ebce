"""Pure functions of logits and labels.

Shapes: logits [n, classes] (float), labels [n] (int64). Probabilities are softmax at T = 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def errors(logits: Tensor, labels: Tensor) -> int:
    """Number of images whose largest logit is not at their label."""
    return int((logits.argmax(1) != labels).sum())


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Counts [true class, predicted class]."""
    classes = logits.shape[1]
    cells = labels * classes + logits.argmax(1)
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood in nats."""
    return float(F.cross_entropy(logits, labels))


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error over ``bins`` equal confidence bins (Guo et al. 2017, eq. 3)."""
    confidence, predicted = F.softmax(logits, dim=1).max(1)
    right = (predicted == labels).to(confidence.dtype)
    index = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=confidence.dtype, device=logits.device)
    gap.index_add_(0, index, right - confidence)
    return float(gap.abs().sum() / len(labels))


def agreement(logits: Tensor, teacher: Tensor) -> float:
    """Share of images on which student and teacher predict the same class."""
    return float((logits.argmax(1) == teacher.argmax(1)).double().mean())


def kl_to_teacher(logits: Tensor, teacher: Tensor) -> float:
    """Mean KL(teacher ‖ student) in nats at T = 1, the fidelity of Stanton et al. 2021."""
    log_q, log_p = F.log_softmax(logits, 1), F.log_softmax(teacher, 1)
    return float(F.kl_div(log_q, log_p, reduction="batchmean", log_target=True))


def mean_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean logit vector of the images of each true class: [true class, logit]."""
    classes = logits.shape[1]
    total = logits.new_zeros(classes, classes).index_add_(0, labels, logits)
    count = torch.bincount(labels, minlength=classes).clamp(min=1)
    return total / count[:, None]


def report(logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> dict[str, Any]:
    """All metrics as JSON values; those against a teacher are None where there is none."""
    wrong = errors(logits, labels)
    return {
        "n": len(labels),
        "errors": wrong,
        "accuracy": 1 - wrong / len(labels),
        "nll": nll(logits, labels),
        "ece": calibration_error(logits, labels),
        "confusion": confusion(logits, labels).tolist(),
        "mean_logits": [[round(v, 4) for v in row] for row in mean_logits(logits, labels).tolist()],
        "teacher_agreement": None if teacher is None else agreement(logits, teacher),
        "teacher_kl": None if teacher is None else kl_to_teacher(logits, teacher),
    }
