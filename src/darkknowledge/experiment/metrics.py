"""Pure functions of logits and labels.

Shapes: logits [n, classes] (float), labels [n] (int64). Probabilities are softmax at T = 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def errors(logits: Tensor, labels: Tensor) -> int:
    """Number of images whose largest logit is not at their label."""
    return int((logits.argmax(1) != labels).sum())


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Counts [true class, predicted class] of classes [n]."""
    cells = torch.bincount(labels * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes)


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


def mean_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean logit vector of the images of each true class: [true class, logit]."""
    classes = logits.shape[1]
    total = logits.new_zeros(classes, classes).index_add_(0, labels, logits)
    count = torch.bincount(labels, minlength=classes).clamp(min=1)
    return total / count[:, None]


def soft_targets(teacher: Tensor, temperature: float) -> dict[str, Any]:
    """What a teacher's soft labels, softmax(teacher / T), are like: their entropy in nats."""
    log_p = F.log_softmax(teacher / temperature, dim=1)
    entropy = -(log_p.exp() * log_p).nan_to_num(0).sum(1).mean()
    return {"images": len(teacher), "entropy": float(entropy)}


@dataclass(frozen=True)
class Margins:
    """How far each image is from being given to an unseen class.

    needed [n]: the bias on the logits of all unseen classes above which the image goes to the best
    of them; seen, unseen [n]: the best class of either group."""

    needed: Tensor
    seen: Tensor
    unseen: Tensor

    @classmethod
    def of(cls, logits: Tensor, unseen: list[int]) -> Margins:
        """From logits [n, classes]; ``unseen`` names some, not all, of the classes."""
        mask = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        mask[unseen] = True
        low = torch.finfo(logits.dtype).min
        best_seen, seen = logits.masked_fill(mask, low).max(1)
        best_unseen, other = logits.masked_fill(~mask, low).max(1)
        return cls(best_seen - best_unseen, seen, other)

    def predicted(self, bias: float) -> Tensor:
        """The classes [n] after ``bias`` was added to the logits of the unseen classes."""
        return torch.where(self.needed < bias, self.unseen, self.seen)

    def fewest_errors(self, labels: Tensor) -> float:
        """The bias with the fewest errors: the middle of the widest range that has them; where images of
        one margin would have to be parted for that, the bias at that margin, which parts none."""
        ordered, order = self.needed.double().sort()
        wrong_unseen = (self.unseen != labels)[order].long()
        wrong_seen = (self.seen != labels)[order].long()
        # After passing k of the ordered margins, k images go to an unseen class.
        none = labels.new_zeros(1)
        passed, left = wrong_unseen.cumsum(0), wrong_seen.flip(0).cumsum(0).flip(0)
        errors = torch.cat([none, passed]) + torch.cat([left, none])
        edges = torch.cat([ordered[:1] - 1, ordered, ordered[-1:] + 1])
        width = edges[1:] - edges[:-1]
        best = torch.where(errors == errors.min(), width, -1).argmax()
        return float((edges[best] + edges[best + 1]) / 2)

    def matching_share(self, share: float) -> float:
        """The bias that gives ``share`` of the images to unseen classes; it needs no labels."""
        ordered = self.needed.double().sort().values
        count = min(max(round(share * len(ordered)), 1), len(ordered) - 1)
        return float((ordered[count - 1] + ordered[count]) / 2)


def bias_shifts(
    validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], unseen: list[int]
) -> dict[str, Any]:
    """What a bias on the logits of the ``unseen`` classes repairs (Hinton et al. 2015, section 3).

    validation, test: (logits, labels). The bias is chosen in three ways: for the fewest errors on
    test (``oracle``, the published way; no fair estimate), for the fewest on validation, and
    ``label_free``, so that unseen classes get as many of the validation images as there are of
    them: their frequency is known, no image's label. Counts are of the test set, with its confusion
    matrix; ``none`` is without a shift."""
    logits, labels = test
    on_validation, on_test = Margins.of(validation[0], unseen), Margins.of(logits, unseen)
    frequency = float(torch.isin(validation[1].cpu(), torch.tensor(unseen)).double().mean())
    biases = {
        "none": 0.0,
        "oracle": on_test.fewest_errors(labels),
        "validation": on_validation.fewest_errors(validation[1]),
        "label_free": on_validation.matching_share(frequency),
    }
    is_unseen = torch.isin(labels, torch.tensor(unseen, device=labels.device))
    result: dict[str, Any] = {"classes": list(unseen), "images": int(is_unseen.sum())}
    for name, bias in biases.items():
        # Without a shift the plain prediction, so that ties go as everywhere else.
        predicted = on_test.predicted(bias) if name != "none" else logits.argmax(1)
        wrong = predicted != labels
        result[name] = {
            "bias": bias,
            "errors": int(wrong.sum()),
            "errors_unseen": int((wrong & is_unseen).sum()),
            "confusion": confusion(predicted, labels, logits.shape[1]).tolist(),
        }
    return result


def report(logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> dict[str, Any]:
    """All metrics as JSON values; those against a teacher are None where there is none."""
    wrong = errors(logits, labels)
    return {
        "n": len(labels),
        "errors": wrong,
        "accuracy": 1 - wrong / len(labels),
        "nll": float(F.cross_entropy(logits, labels)),
        "ece": calibration_error(logits, labels),
        "confusion": confusion(logits.argmax(1), labels, logits.shape[1]).tolist(),
        "mean_logits": [[round(v, 4) for v in row] for row in mean_logits(logits, labels).tolist()],
        "teacher_agreement": None if teacher is None else agreement(logits, teacher),
    }
