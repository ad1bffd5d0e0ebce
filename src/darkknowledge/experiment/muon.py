"""Muon (Jordan et al. 2024): momentum whose step on a bank of filters is orthogonalised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: Coefficients and number of the Newton–Schulz iterations, as airbench has them (Jordan 2024).
QUINTIC, ITERATIONS = (3.4445, -4.7750, 2.0315), 3


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix [m, n] with the same singular vectors and its singular values moved towards one, by
    the quintic iteration x → a·x + (b·xxᵀ + c·(xxᵀ)²)·x."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum. Filters [out, in, height, width] are kept at the norm √out and take an
    orthogonalised step, all other parameters a plain one; ``torch.optim.Muon`` takes matrices only.
    """

    def __init__(self, model: nn.Module, lr: float, momentum: float) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step by the gradients at hand."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                velocity = state["momentum"].mul_(group["momentum"]).add_(p.grad)
                step = p.grad.add(velocity, alpha=group["momentum"])
                if p.ndim == 4:
                    p.mul_(len(p) ** 0.5 / p.norm())
                    step = orthogonalised(step.flatten(1)).view_as(p)
                p.sub_(step, alpha=group["lr"])
