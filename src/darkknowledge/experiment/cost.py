"""What a network costs: parameters, FLOPs, size, latency."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """FLOPs of one image's forward pass by PyTorch's own counter: two a multiply-accumulate, matrix
    products and convolutions only. shape: [channels, height, width]."""
    was_training = model.training
    model.eval()
    example = torch.zeros(1, *shape, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    model.train(was_training)
    return counter.get_total_flops()


def static(model: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Parameters, FLOPs per image and bytes of the weights in fp32."""
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return {"parameters": parameters(model), "flops": flops(model, shape), "bytes_fp32": size}


@torch.no_grad()
def latency(model: nn.Module, images: Tensor, threads: int, seconds: float) -> dict[str, float]:
    """Time of one forward pass over ``images`` [n, C, H, W] (float) in fp32 and eval mode.

    ``torch.utils.benchmark`` repeats it for at least ``seconds``; returns the median and the
    interquartile range in seconds. Measure only while nothing else runs."""
    # It warns of a CUDA toolkit without a GPU, which matters only to whoever compiles.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer  # slow to import, and only needed here

    model.eval()  # as every net that is used rather than trained
    timer = Timer("model(images)", globals={"model": model, "images": images}, num_threads=threads)
    timing = timer.blocked_autorange(min_run_time=seconds)
    return {"median": timing.median, "iqr": timing.iqr}
