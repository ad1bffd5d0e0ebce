"""Numbers as words: how values, intervals and p-values are written in tables and sentences."""

from __future__ import annotations

import math

from darkknowledge.statistics import Effect

MINUS = "−"
#: Data sets as people call them.
DATASETS = {
    "mnist": "MNIST",
    "mnist5k": "5,000 digits of MNIST",
    "mnist5k_rgb": "5,000 digits of MNIST as RGB",
    "cifar10": "CIFAR-10",
    "cifar10_jpeg": "CIFAR-10 as JPEG",
}


def number(value: float, decimals: int = 1) -> str:
    """A number with a real minus sign; an em dash for NaN."""
    if value is None or math.isnan(value):
        return "—"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float, decimals: int = 1) -> str:
    """A number that always carries its sign."""
    text = number(value, decimals)
    return text if text.startswith((MINUS, "—")) else f"+{text}"


def interval(effect: Effect, decimals: int = 1) -> str:
    """``low to high``, or words where there is no interval."""
    if math.isnan(effect.low):
        return "no interval"
    return f"{number(effect.low, decimals)} to {number(effect.high, decimals)}"


def measured(effect: Effect, decimals: int = 1) -> str:
    """``mean (low to high)`` for a table cell."""
    if effect.n == 0:
        return "—"
    if math.isnan(effect.low):
        return f"{number(effect.mean, decimals)} (n = {effect.n})"
    return f"{number(effect.mean, decimals)} ({interval(effect, decimals)})"


def with_interval(effect: Effect, decimals: int = 1) -> str:
    """``95 % interval 1.0 to 2.0``, or ``no interval``."""
    text = interval(effect, decimals)
    return text if math.isnan(effect.low) else f"95 % interval {text}"


def adjusted_p(p: float) -> str:
    """``adjusted p = 0.012``, or ``no p-value``."""
    return p_value(p) if math.isnan(p) else f"adjusted {p_value(p)}"


def p_value(p: float) -> str:
    """``p = 0.012`` or ``p < 0.001``."""
    if math.isnan(p):
        return "no p-value"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    if math.isnan(value):
        return "—"
    for limit, factor, unit in (
        (1e-3, 1e6, "µs"),
        (1, 1e3, "ms"),
        (120, 1, "s"),
        (7200, 1 / 60, "min"),
    ):
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value / 3600:.3g} h"


def share(n: int, planned: int, noun: str) -> str:
    """``5 teachers``, or ``3 of 5 teachers`` while some are missing."""
    count = f"{n}" if n == planned else f"{n} of {planned}"
    return f"{count} {noun}" + ("" if planned == 1 else "s")


def joined(items: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def sentence(text: str) -> str:
    """With a capital first letter and single spaces."""
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]


def values(items: list[float]) -> str:
    """``1, 4 and 20``: numbers without trailing zeros."""
    return joined([f"{v:g}" for v in items]) if items else "none"
