"""The machine: which devices are here, what its processor multiplies, how many runs go side by side.

torch, which takes seconds to load, is asked only for what nothing else knows."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path

from darkknowledge.processes import cores

#: Small nets leave most of a GPU idle; this many share one.
RUNS_A_GPU = 6


def available(device: str) -> bool:
    """Whether this machine has the device type, ``cpu`` or ``cuda``."""
    if device == "cpu" or not _has_driver():
        return device == "cpu"
    import torch

    return torch.cuda.is_available()


def trainable(device: str, precision: str) -> bool:
    """Whether such runs can be trained here: their device is here, and multiplies bf16 if it is a CPU
    that should, rather than emulating it slowly."""
    return available(device) and ((device, precision) != ("cpu", "bf16") or multiplies_bf16())


def _has_driver() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):  # they are hidden
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()  # AMD's, which torch takes for cuda too
    return True


@functools.cache
def multiplies_bf16() -> bool:
    """Whether this processor has instructions that multiply bf16; others emulate them, slowly."""
    return _has("avx512_bf16", "amx_bf16", "bf16")


def multiplies_by_amx() -> bool:
    """Whether products of bf16 go by AMX's tiles, which sum in another order than AVX-512 does; oneDNN
    prefers them unless ``ONEDNN_MAX_CPU_ISA`` ends below."""
    most = (os.environ.get("ONEDNN_MAX_CPU_ISA") or "ALL").upper()
    return _has("amx_bf16") and (most in ("ALL", "DEFAULT") or "AMX" in most)


def _has(*names: str) -> bool:
    """Whether the processor has one of these instruction sets."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        import torch

        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in names)
    return not set(text.split()).isdisjoint(names)


def processor() -> dict[str, str | bool]:
    """What of the processor decides how sums are rounded: on processors that agree in all of it a run is
    the same bit for bit; elsewhere it is like another seed."""
    import torch

    return {
        "vendor": _cpuinfo("vendor_id") or platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": multiplies_bf16(),
        "amx": multiplies_by_amx(),
    }


def device_name(device: str) -> str:
    """The processor's or the GPU's name as its driver gives it."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """The first value of a key of Linux's ``/proc/cpuinfo``; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith(key))
    except (OSError, StopIteration, IndexError):
        return ""


def side_by_side(device: str) -> int:
    """How many runs go at a time: one per CPU core; on a GPU as many as share one."""
    return RUNS_A_GPU if device == "cuda" else cores()
