"""Throughput of distillation here, against the usual way to write it, on one machine.

The usual way: a DataLoader over single images with torchvision's transforms, the teacher's forward
pass in every step, fp32. Here: :func:`~darkknowledge.experiment.training.fit`, with images that stay
on the device as uint8, vectorised augmentation, and soft labels computed once where inputs do not change.
Images are random: speed does not depend on what they show, and no data set is needed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from darkknowledge import devices
from darkknowledge.config import project_root
from darkknowledge.experiment import cost, models, training
from darkknowledge.experiment.data import AUGMENT, Split, scaled
from darkknowledge.records import Store, atomic_write
from darkknowledge.spec import DEVICES, LossSpec, ModelSpec, Recipe

ALPHA, TEMPERATURE = 0.9, 20.0
LOSS = LossSpec.mix("kd", TEMPERATURE, ALPHA)


@dataclass(frozen=True)
class Case:
    """A student, its teacher, the shape of its images [channels, height, width], its recipe, and how
    many images a measurement covers."""

    name: str
    student: str
    teacher: str
    shape: tuple[int, int, int]
    recipe: Recipe
    images: int


CASES = (
    Case(
        "mnist-kd",
        "mlp-800-800",
        "mlp-1200-1200",
        (1, 28, 28),
        Recipe("sgd", 0.1, 30, 250),
        20_000,
    ),
    Case(
        "resnet20-kd",
        "resnet20",
        "resnet20",
        (3, 32, 32),
        Recipe("sgd", 0.1, 12, 128, weight_decay=5e-4, augmentation="crop_flip"),
        2_560,
    ),
)


class Images(Dataset):
    """Single images as torchvision's data sets hand them out: array → PIL → transform."""

    def __init__(self, split: Split, transform: Callable) -> None:
        self.pixels = split.images.permute(0, 2, 3, 1).squeeze(3).numpy()
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def random_split(case: Case, seed: int = 0) -> Split:
    """Random images and labels of a case."""
    generator = torch.Generator().manual_seed(seed)
    size = (case.images, *case.shape)
    images = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, 10, (case.images,), generator=generator))


def net(label: str, case: Case, device: str, seed: int) -> nn.Module:
    """A net of the case on the device."""
    return models.build(ModelSpec.named(label), case.shape, 10, seed).to(device)


def usual_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """(1 − α) CE + α T² KL as tutorials write it."""
    soft = F.kl_div(
        F.log_softmax(student / TEMPERATURE, dim=1),
        F.softmax(teacher / TEMPERATURE, dim=1),
        reduction="batchmean",
    )
    return (1 - ALPHA) * F.cross_entropy(student, labels) + ALPHA * TEMPERATURE**2 * soft


def usual_seconds(case: Case, device: str, workers: int | None) -> float:
    """Seconds of one epoch of the usual way; with ``workers`` None the same step on tensors that
    stay on the device, which leaves the input pipeline as the only difference to the usual way."""
    from torchvision import transforms

    split = random_split(case)
    nets = (
        net(label, case, device, seed) for seed, label in enumerate((case.student, case.teacher))
    )
    # Nobody asks for another memory format than the default in the usual way.
    default = torch.contiguous_format
    student, teacher = (n.to(memory_format=default) for n in nets)  # type: ignore[call-overload]
    teacher.eval()
    optimiser = torch.optim.SGD(student.parameters(), case.recipe.lr, momentum=0.9)
    student.train()

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.no_grad():
            target = teacher(images)
        loss = usual_loss(student(images), target, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    size = case.recipe.batch_size
    if workers is None:
        split = split.to(device)
        generator = torch.Generator().manual_seed(0)
        augment = AUGMENT[case.recipe.augmentation]
        batches = (
            (scaled(augment(split.images[i], generator)), split.labels[i])
            for i in torch.randperm(len(split), device=device).split(size)
        )
    else:
        augmented = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        used = augmented if case.recipe.augmentation == "crop_flip" else []
        transform = transforms.Compose([*used, transforms.ToTensor()])
        loader = DataLoader(Images(split, transform), size, shuffle=True, num_workers=workers)
        batches = ((x.to(device), y.to(device)) for x, y in loader)
    step(*_warm_up(case, split, device))
    began = time.perf_counter()
    for images, labels in batches:
        step(images, labels)
    _wait(device)
    return time.perf_counter() - began


def our_seconds(case: Case, device: str, precision: str) -> float:
    """Seconds of one epoch here; soft labels that are computed once a run count by the share of one
    epoch in the recipe's."""
    split = random_split(case).to(device)
    student, teacher = net(case.student, case, device, 0), net(case.teacher, case, device, 1)
    few = split.take(torch.arange(case.recipe.batch_size, device=device))
    recipe = replace(case.recipe, epochs=1)
    training.fit(student, few, few, recipe, LOSS, seed=0, precision=precision, teacher=teacher)
    history = training.fit(
        student, split, few, recipe, LOSS, seed=0, precision=precision, teacher=teacher
    )
    seconds = history[0].seconds
    if case.recipe.augmentation == "none":
        began = time.perf_counter()
        training.logits(teacher, split.images, precision)
        _wait(device)
        seconds += (time.perf_counter() - began) / case.recipe.epochs
    return seconds


def side_by_side_seconds(case: Case, device: str, pool: ProcessPoolExecutor, jobs: int) -> float:
    """Seconds an epoch of the case when ``jobs`` runs of one thread each go side by side, as a study
    trains them: the slowest one's, divided by their number."""
    return max(pool.map(_one_of_several, [case] * jobs, [device] * jobs)) / jobs


_together: Any = None


def _begin(barrier: Any) -> None:
    global _together
    _together = barrier
    torch.set_num_threads(1)


def _one_of_several(case: Case, device: str) -> float:
    _together.wait()  # all at once, or the last one would have the machine to itself
    return our_seconds(case, device, "fp32")


def _warm_up(case: Case, split: Split, device: str) -> tuple[Tensor, Tensor]:
    part = split.take(torch.arange(case.recipe.batch_size))
    return scaled(part.images.to(device)), part.labels.to(device)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def product_rate(device: str, precision: str, size: int = 1024) -> float:
    """FLOP/s of a square matrix product, the machine's own measure of what is possible."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(size, size, device=device, dtype=kind)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        a @ a
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def step_flops(case: Case) -> tuple[int, int]:
    """FLOPs an image of a training step of the student (thrice its forward pass, a common estimate),
    and of the teacher's forward pass."""
    student, teacher = (net(label, case, "cpu", 0) for label in (case.student, case.teacher))
    return 3 * cost.flops(student, case.shape), cost.flops(teacher, case.shape)


def measure(case: Case, device: str, rounds: int) -> pd.DataFrame:
    """One row a variant: images a second (median over interleaved rounds) and what they mean.

    ``ratio`` is to the better of the usual ways; ``share`` of the machine's own product rate. bf16
    is left off, with NaN in its row, where the machine multiplies it more slowly than fp32.
    """
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    variants: dict[str, Callable[[], float]] = {
        "usual, no workers": lambda: usual_seconds(case, device, 0),
        f"usual, {cores} workers": lambda: usual_seconds(case, device, cores),
        "usual step, our input pipeline": lambda: usual_seconds(case, device, None),
        "ours, fp32": lambda: our_seconds(case, device, "fp32"),
        "ours, bf16": lambda: our_seconds(case, device, "bf16"),
    }
    rates = {precision: product_rate(device, precision) for precision in ("fp32", "bf16")}
    pays = {name: rates[_precision(name)] >= rates["fp32"] for name in variants}
    together = f"ours, fp32, {cores} runs side by side"
    pays[together] = True
    seconds: dict[str, list[float]] = {name: [] for name in pays}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, _begin, (context.Barrier(cores),)) as pool:
        variants[together] = lambda: side_by_side_seconds(case, device, pool, cores)
        variants[together]()  # the processes start
        for _ in range(rounds):
            for name, run in variants.items():
                seconds[name].append(run() if pays[name] else math.nan)
    student, teacher = step_flops(case)
    rows = []
    for name, times in seconds.items():
        precision = _precision(name)
        cached = name.startswith("ours") and case.recipe.augmentation == "none"
        flops = student + (teacher / case.recipe.epochs if cached else teacher)
        speed = case.images / statistics.median(times)
        rows.append(
            {
                "case": case.name,
                "variant": name,
                "images_per_second": round(speed, 1),
                "spread": round(float(np.ptp(times)) / statistics.median(times), 3),
                "share": float(f"{speed * flops / rates[precision]:.3g}"),
                "product_gflops": round(rates[precision] / 1e9, 1),
                "batch": case.recipe.batch_size,
                "device_name": devices.device_name(device),
                "threads": cores,
                "torch": torch.__version__,
            }
        )
    table = pd.DataFrame(rows)
    usual = table["variant"].str.match(r"usual, ")
    best = table.loc[usual, "images_per_second"].max()
    table.insert(3, "ratio", (table["images_per_second"] / best).round(2))
    return table


def _precision(variant: str) -> str:
    return "bf16" if "bf16" in variant else "fp32"


def run(path: Path, device: str, rounds: int, cases: tuple[Case, ...] = CASES) -> pd.DataFrame:
    """Measure all cases and put their rows into the table at ``path``, in the place of earlier rows
    of the same case on the same machine."""
    table = pd.concat([measure(case, device, rounds) for case in cases], ignore_index=True)
    if path.exists():
        kept = pd.read_csv(path)
        keys = table[["case", "device_name"]].drop_duplicates()
        mark = kept.merge(keys, on=["case", "device_name"], how="left", indicator=True)["_merge"]
        table = pd.concat([kept[(mark == "left_only").to_numpy()], table], ignore_index=True)
    atomic_write(path, table.to_csv(index=False).encode())
    return table


def main() -> None:
    """``python benchmarks/speed.py [--device cuda] [--rounds 5]``, while nothing else runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--results", type=Path, default=project_root() / "results")
    arguments = parser.parse_args()
    table = run(Store(arguments.results).bench_path, arguments.device, max(1, arguments.rounds))
    columns = ["case", "variant", "images_per_second", "ratio", "spread", "share"]
    print(table[columns].to_string(index=False))


if __name__ == "__main__":
    main()
