"""Is everything here that the study needs? One finding a question, each failure with its remedy."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from darkknowledge.records import Store
from darkknowledge.spec import DEVICES

#: Free disk that records, weights and decoded images of the paper profile take, in bytes.
FREE_DISK = 2e9
#: What the study can do without.
OPTIONAL = ("devices", "precision", "MNIST", "CIFAR-10 mirror")
#: Of a check: whether it is in order, what was found, what to do if it is not.
Found = tuple[bool, str, str]


@dataclass(frozen=True)
class Finding:
    """What was asked, whether it is in order, what was found, and what to do if it is not."""

    name: str
    fine: bool
    found: str
    remedy: str
    needed: bool


def examine(store: Store, data_root: str | None = None) -> Iterator[Finding]:
    """All findings, each as soon as it is known. A check that fails unexpectedly is a finding too."""
    checks: dict[str, Callable[[], Found]] = {
        "Python": _python,
        "torch and torchvision": _torch,
        "devices": _devices,
        "precision": _precision,
        "MNIST": lambda: _data("MNIST/raw/train-images-idx3-ubyte", data_root, download=True),
        "CIFAR-10 mirror": lambda: _data("cifar10-jpeg/train", data_root),
        "results folder": lambda: _results(store),
        "free disk": lambda: _disk(store),
        "renderer": _renderer,
        "notebook kernel": _kernel,
    }
    for name, check in checks.items():
        try:
            found = check()
        except Exception as error:  # a doctor does not fall ill of what it finds
            found = False, f"{type(error).__name__}: {error}", "See the message."
        yield Finding(name, *found, needed=name not in OPTIONAL)


def _python() -> Found:
    fine = (3, 11) <= sys.version_info[:2] < (3, 15)
    found = ".".join(map(str, sys.version_info[:3]))
    return fine, found, "Install Python 3.11 to 3.14 and call make setup."


def _torch() -> Found:
    remedy = "Delete .venv and call make setup: it installs versions that belong together."
    try:
        import torch
        import torchvision

        # An operator of torchvision's compiled part: missing where the two do not fit together.
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        return False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", remedy
    return True, f"{torch.__version__}, {torchvision.__version__}", remedy


def _devices() -> Found:
    from darkknowledge.devices import available, device_name

    here = [device for device in DEVICES if available(device)]
    found = ", ".join(f"{device} ({device_name(device)})" for device in here)
    remedy = "Runs on cuda are left out here; train them where there is a GPU."
    return len(here) > 1, found, remedy


def _precision() -> Found:
    from darkknowledge.devices import multiplies_bf16

    fine = multiplies_bf16()
    remedy = "Runs in bf16 are left out here; set precision to fp32, or train them elsewhere."
    return fine, "multiplies bf16" if fine else "emulates bf16", remedy


def _data(inside: str, root: str | None, download: bool = False) -> Found:
    from darkknowledge.experiment.data import data_root

    folder, named = data_root(root)
    here = any(folder.glob(f"{inside}*"))
    other = ", or let training download it." if download and not named else "."
    remedy = f"Point DARKKNOWLEDGE_DATA at a folder that holds {inside}{other}"
    return here, f"{'in' if here else 'not in'} {folder}", remedy


def _results(store: Store) -> Found:
    store.prepare()  # says itself what to do if that fails
    return True, str(store.root), ""


def _disk(store: Store) -> Found:
    free = shutil.disk_usage(next(p for p in (store.root, *store.root.parents) if p.exists())).free
    return free > FREE_DISK, f"{free / 1e9:.1f} GB", f"Free {FREE_DISK / 1e9:.0f} GB."


def _renderer() -> Found:
    from darkknowledge.paper import rendering

    try:
        return True, rendering.named(rendering.find()), ""
    except RuntimeError as error:
        return False, "none", str(error)


def _kernel() -> Found:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return True, KernelSpecManager().get_kernel_spec("python3").resource_dir, ""
    except NoSuchKernel:
        remedy = "Call make setup, or: python -m ipykernel install --sys-prefix."
        return False, "no kernel named python3", remedy
