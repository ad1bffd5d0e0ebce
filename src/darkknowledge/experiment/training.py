"""THE training loop. Every mode, model and data set of the study goes through :func:`fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkknowledge.experiment.data import AUGMENT, Split, resized, scaled
from darkknowledge.experiment.losses import LOSSES, cross_entropy
from darkknowledge.experiment.metrics import errors
from darkknowledge.experiment.muon import Muon
from darkknowledge.spec import LossSpec, Recipe


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message names the run and the epoch."""


@dataclass(frozen=True)
class Epoch:
    """One row of a run's history: unweighted loss parts in nats, accuracy, seconds."""

    epoch: int
    loss_hard: float
    loss_soft: float
    validation_accuracy: float
    seconds: float


#: The independent random streams of a run. Baseline and student of one seed share all of them.
STREAMS = ("initialisation", "order", "augmentation", "loss", "dropout")


def stream_seed(seed: int, stream: str) -> int:
    """The seed of one random stream of a run. The streams are separate, so that a mode that draws more
    from one of them (to shuffle soft labels, say) leaves all others, the order of the images included, as
    they were."""
    words = np.random.SeedSequence([seed, STREAMS.index(stream)]).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def generator(seed: int, stream: str) -> torch.Generator:
    """A CPU generator at the start of a stream; draws are moved to the device, so that the same
    seed gives the same order everywhere."""
    return torch.Generator().manual_seed(stream_seed(seed, stream))


def autocast(device: str, precision: str) -> torch.autocast:
    """bf16 matrix products with fp32 weights and losses, or plain fp32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def logits(model: nn.Module, images: Tensor, precision: str, batch: int = 2000) -> Tensor:
    """Logits [n, classes] in fp32 of uint8 ``images`` [n, C, H, W], in eval mode.

    The model's own mode is restored."""
    was_training = model.training
    model.eval()
    with autocast(images.device.type, precision):
        parts = [model(scaled(part)).float() for part in images.split(batch)]
    model.train(was_training)
    return torch.cat(parts)


def optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, AdamW or Muon, as the recipe names it."""
    if recipe.optimiser == "muon":
        return Muon(model, recipe.lr, recipe.momentum)
    rest: dict[str, Any] = {"weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        momentum: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.momentum > 0}
        return torch.optim.SGD(model.parameters(), recipe.lr, **momentum, **rest)
    return torch.optim.AdamW(model.parameters(), recipe.lr, **rest)


def schedule(
    optimiser: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over ``steps`` steps: one-cycle (Smith & Topin 2018), or linear to zero."""
    schedulers = torch.optim.lr_scheduler
    if recipe.schedule == "one_cycle":
        return schedulers.OneCycleLR(optimiser, recipe.lr, total_steps=steps, cycle_momentum=False)
    return schedulers.LinearLR(optimiser, 1.0, 0.0, steps)


def fit(
    model: nn.Module,
    train: Split,
    validation: Split,
    recipe: Recipe,
    loss: LossSpec,
    *,
    seed: int,
    precision: str,
    teacher: nn.Module | None = None,
    teacher_logits: Tensor | None = None,
    name: str = "run",
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train ``model`` in place and return its history, one row an epoch.

    train, validation: on the model's device. teacher: a trained net on the same device, used in
    eval mode without gradients. Its logits are computed once where the inputs do not change (unless
    the caller knows them: ``teacher_logits`` [n, classes] of the training images), and on the very
    view that the student has of an image where they are augmented, but always at its full size. An
    incomplete last batch is dropped; the next epoch shuffles anew. Raises NonFiniteLoss."""
    device = train.images.device
    batch = min(recipe.batch_size, len(train))
    steps = len(train) // batch
    order, augmentation, chance = (generator(seed, s) for s in ("order", "augmentation", "loss"))
    augment = AUGMENT[recipe.augmentation]
    soft_of = LOSSES[loss.mode]
    cached = teacher_logits
    if teacher is not None:
        teacher.eval().requires_grad_(False)
        if cached is None and recipe.augmentation == "none":
            cached = logits(teacher, train.images, precision)
    history: list[Epoch] = []
    if recipe.epochs == 0:
        return history
    optim = optimiser(model, recipe)
    rate = schedule(optim, recipe, recipe.epochs * steps)
    # Dropout draws from torch's global stream; fork it so that a run neither sees nor leaves state.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream_seed(seed, "dropout"))
        for epoch in range(1, recipe.epochs + 1):
            began = time.perf_counter()
            sums = torch.zeros(2, device=device)
            model.train()
            shuffled = torch.randperm(len(train), generator=order).to(device)
            for step, index in enumerate(shuffled.split(batch)[:steps]):
                view = scaled(augment(train.images[index], augmentation))
                inputs = view
                if recipe.sides:
                    done = ((epoch - 1) * steps + step) / (recipe.epochs * steps)  # 0 ≤ done < 1
                    inputs = resized(view, recipe.sides[int(done * len(recipe.sides))])
                with autocast(device.type, precision):
                    output = model(inputs).float()
                    if cached is not None:
                        target = cached[index]
                    elif teacher is not None:
                        with torch.no_grad():
                            target = teacher(view).float()
                    else:
                        target = output.new_empty(0)
                labels = train.labels[index]
                hard = cross_entropy(output, labels)
                soft = soft_of(output, labels, target, loss.temperature, chance)
                optim.zero_grad()
                (loss.w_hard * hard + loss.w_soft * soft).backward()
                optim.step()
                rate.step()
                sums += torch.stack([hard.detach(), soft.detach()])
            means = (sums / steps).tolist()  # the epoch's only wait for the device
            if not all(map(math.isfinite, means)):
                what = "hard part {}, soft part {}".format(*means)
                do = f"lower the learning rate {recipe.lr:g}"
                raise NonFiniteLoss(
                    f"The loss of {name} is not finite in epoch {epoch} ({what}): {do}."
                )
            wrong = errors(logits(model, validation.images, precision), validation.labels)
            seconds = time.perf_counter() - began
            history.append(Epoch(epoch, means[0], means[1], 1 - wrong / len(validation), seconds))
            on_epoch(history[-1])
    if not all(bool(p.isfinite().all()) for p in model.parameters()):  # by the very last step
        said = f"The weights of {name} are not finite after epoch {epoch}"
        raise NonFiniteLoss(f"{said}: lower the learning rate {recipe.lr:g}.")
    return history
