"""Is everything here that the study needs? One finding a question, each failure with its remedy."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from darkknowledge.records import RecordError, Store

#: Free disk that records, weights and decoded images of the paper profile take, in bytes.
FREE_DISK = 2e9


@dataclass(frozen=True)
class Finding:
    """What was asked, whether it is in order, what was found, and what to do if it is not.

    ``needed`` is False for what the study can do without.
    """

    name: str
    fine: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine(store: Store, data_root: str | None = None) -> Iterator[Finding]:
    """All findings, each as soon as it is known. A check that fails unexpectedly is a finding too."""
    checks: dict[str, Callable[[], Finding]] = {
        "Python": _python,
        "torch and torchvision": _torch,
        "devices": _devices,
        "precision": _precision,
        "MNIST": lambda: _data(
            "MNIST", Path("MNIST") / "raw" / "train-images-idx3-ubyte", data_root
        ),
        "CIFAR-10 mirror": lambda: _data(
            "CIFAR-10 mirror", Path("cifar10-jpeg") / "train", data_root
        ),
        "results folder": lambda: _results(store),
        "free disk": lambda: _disk(store),
        "renderer": _renderer,
        "notebook kernel": _kernel,
    }
    for name, check in checks.items():
        try:
            yield check()
        except Exception as error:  # a doctor does not fall ill of what it finds
            yield Finding(name, False, f"{type(error).__name__}: {error}", "See the message.")


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 11) <= sys.version_info[:2] < (3, 15)
    return Finding("Python", fine, found, "Install Python 3.11 to 3.14 and call make setup.")


def _torch() -> Finding:
    name = "torch and torchvision"
    remedy = "Delete .venv and call make setup: it installs versions that belong together."
    try:
        import torch
        import torchvision

        # An operator of torchvision's compiled part: missing where the two do not fit together.
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        found = {p: importlib.metadata.version(p) for p in ("torch", "torchvision")}
        return Finding(name, False, f"{found}: {' '.join(str(error).split())[:200]}", remedy)
    return Finding(name, True, f"{torch.__version__}, {torchvision.__version__}", remedy)


def _devices() -> Finding:
    import torch

    from darkknowledge.devices import device_name

    found = [f"cpu ({device_name('cpu')})"]
    if torch.cuda.is_available():
        found.append(f"cuda ({device_name('cuda')})")
    remedy = "Runs on cuda are left out here; train them where there is a GPU."
    return Finding("devices", len(found) > 1, ", ".join(found), remedy, needed=False)


def _precision() -> Finding:
    from darkknowledge.devices import multiplies_bf16

    fine = multiplies_bf16()
    found = "multiplies bf16" if fine else "emulates bf16"
    remedy = "Runs in bf16 are left out here; set precision to fp32, or train them elsewhere."
    return Finding("precision", fine, found, remedy, needed=False)


def _data(name: str, inside: Path, root: str | None) -> Finding:
    from darkknowledge.experiment.data import data_root

    folder, named = data_root(root)
    here = any(folder.joinpath(inside.parent).glob(f"{inside.name}*"))
    remedy = f"Point DARKKNOWLEDGE_DATA at a folder that holds {inside}" + (
        ", or let training download it." if name == "MNIST" and not named else "."
    )
    return Finding(name, here, f"{'in' if here else 'not in'} {folder}", remedy, needed=False)


def _results(store: Store) -> Finding:
    try:
        store.prepare()
    except RecordError as error:
        return Finding("results folder", False, str(error), "Choose another with --results.")
    return Finding("results folder", True, str(store.root))


def _disk(store: Store) -> Finding:
    free = shutil.disk_usage(next(p for p in (store.root, *store.root.parents) if p.exists())).free
    found = f"{free / 1e9:.1f} GB"
    return Finding("free disk", free > FREE_DISK, found, f"Free {FREE_DISK / 1e9:.0f} GB.")


def _renderer() -> Finding:
    from darkknowledge.paper import rendering

    try:
        return Finding("renderer", True, rendering.named(rendering.find()))
    except RuntimeError as error:
        return Finding("renderer", False, "none", str(error))


def _kernel() -> Finding:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        found = KernelSpecManager().get_kernel_spec("python3").resource_dir
    except NoSuchKernel:
        remedy = "Call make setup, or: python -m ipykernel install --sys-prefix."
        return Finding("notebook kernel", False, "no kernel named python3", remedy)
    return Finding("notebook kernel", True, found)
