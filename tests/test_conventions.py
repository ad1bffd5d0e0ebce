"""Other codebases' losses, written as they write them, have the gradient of ours after conversion."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from darkknowledge.experiment.losses import LOSSES, cross_entropy
from darkknowledge.paper import conventions

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 6, 10, generator=GENERATOR, dtype=torch.float64) * 3
LABELS = torch.tensor([0, 3, 3, 9, 5, 1])


def yuan(z, T, alpha, multiplier=1.0):
    """Their nn.KLDivLoss() averages over all elements, of which PyTorch warns by now."""
    elements = nn.KLDivLoss(reduction="none")
    divergence = elements(F.log_softmax(z / T, dim=1), F.softmax(TEACHER / T, dim=1)).mean()
    return (1 - alpha) * F.cross_entropy(z, LABELS) + alpha * divergence * T * T * multiplier


def torchdistill(z, T, alpha):
    soft = nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(z / T, dim=1), torch.softmax(TEACHER / T, dim=1)
    )
    return alpha * F.cross_entropy(z, LABELS) + (1 - alpha) * T**2 * soft


def keras(z, T, alpha):  # its KLDivergence sums over the classes and averages over the batch
    p, q = torch.softmax(TEACHER / T, dim=1), torch.softmax(z / T, dim=1)
    distillation = (p * (p / q).log()).sum(-1).mean() * T**2
    return alpha * F.cross_entropy(z, LABELS) + (1 - alpha) * distillation


def hinton(z, T, alpha):
    """Cross-entropy with the soft targets, times T²; its gradient is that of the divergence."""
    soft = -(torch.softmax(TEACHER / T, 1) * torch.log_softmax(z / T, 1)).sum(1).mean()
    return (1 - alpha) * F.cross_entropy(z, LABELS) + alpha * T**2 * soft


def mine(z, spec):
    soft = LOSSES[spec.mode](z, LABELS, TEACHER, spec.temperature, GENERATOR)
    return spec.w_hard * cross_entropy(z, LABELS) + spec.w_soft * soft


@pytest.mark.parametrize(
    ("theirs", "settings", "ours"),
    [
        (hinton, (20, 1), conventions.hinton(20, 1)),
        (hinton, (3, 0.7), conventions.hinton(3, 0.7)),
        (yuan, (20, 0.9), conventions.yuan(20, 0.9, 10)),
        (yuan, (6, 0.05, 10), conventions.yuan(6, 0.05, 10, 10)),
        (torchdistill, (4, 0.3), conventions.torchdistill(4, 0.3)),
        (keras, (10, 0.1), conventions.torchdistill(10, 0.1)),
    ],
)
def test_converted_settings_have_the_gradient_of_the_original_loss(theirs, settings, ours):
    z = STUDENT.clone().requires_grad_()
    losses = theirs(z, *settings), mine(z, ours)
    (one,), (other,) = (torch.autograd.grad(loss, z) for loss in losses)
    assert torch.allclose(one, other, atol=1e-12)
