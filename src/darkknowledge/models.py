"""The networks, by name."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from darkknowledge.spec import ModelSpec


class MLP(nn.Module):
    """Fully connected ReLU net with dropout on its input and on its hidden layers.

    Input: images [batch, channels, height, width] or vectors [batch, inputs]; output: logits
    [batch, classes].
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        classes: int,
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.0,
    ) -> None:
        super().__init__()
        widths = (inputs, *hidden, classes)
        layers: list[nn.Module] = [nn.Flatten()]
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            rate = dropout_hidden if i else dropout_input
            if rate:
                layers.append(nn.Dropout(rate))
            layers.append(nn.Linear(a, b))
            if i < len(hidden):
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def build(spec: ModelSpec, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """The net of ``spec`` for images of ``shape`` [channels, height, width], initialised by ``seed``.

    The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs = shape[0] * shape[1] * shape[2]
        return MLP(inputs, spec.hidden, classes, spec.dropout_input, spec.dropout_hidden)
