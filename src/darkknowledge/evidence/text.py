"""Numbers as words: how counts, effects and intervals are written in sentences and tables."""

import datetime
import math
import re
from collections.abc import Iterable

from darkknowledge.evidence.claims import Claim
from darkknowledge.evidence.stats import Effect

MINUS = "−"
#: Data sets as people call them.
DATASETS = {
    "mnist": "MNIST",
    "mnist5k": "a subset of MNIST",
    "mnist5k_rgb": "a subset of MNIST in colour",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar10_jpeg": "CIFAR-10 (JPEG)",
    "cifar100": "CIFAR-100",
}
#: Those of the study; what is said of all others speaks of a user's own data.
STUDIED = ("mnist", "mnist5k", "mnist5k_rgb", "cifar10", "cifar10_jpeg")
#: Families of networks as people call them.
NETWORKS = {"airbench": "convolutional", "plain_cnn": "convolutional", "mlp": ""}


def number(value: float, decimals: int = 1) -> str:
    """A number with a real minus sign; an em dash for NaN."""
    if value is None or math.isnan(value):
        return "—"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def errors(value: float) -> str:
    """A mean count: no decimals from 100 on, one below."""
    return number(value, 0 if abs(value) >= 99.95 else 1)


def signed(value: float, decimals: int | None = None) -> str:
    """A number that always carries its sign."""
    text = errors(value) if decimals is None else number(value, decimals)
    return text if text.startswith((MINUS, "—")) else f"+{text}"


def percent(share: float | Effect, decimals: int = 0) -> str:
    """A share as ``45 %``, with a space that does not break; with its interval, if it is one that has
    any, as ``45 % (40 to 51 %)``."""
    if isinstance(share, Effect):
        low, high = number(100 * share.low, decimals), percent(share.high, decimals)
        return percent(share.mean, decimals) + (f" ({low} to {high})" if share.bounded else "")
    return f"{number(100 * share, decimals)}\N{NO-BREAK SPACE}%"


def moment(time: datetime.datetime) -> str:
    """``2026-11-26, 01:49:48 UTC``."""
    return f"{time.astimezone(datetime.UTC):%Y-%m-%d, %H:%M:%S} UTC"


def _amount(claim: Claim, value: float) -> str:
    """A value of a claim; points below one with two decimals."""
    fine = claim.unit == "points" and abs(claim.effect.mean) < 1
    return number(value, 2) if fine else errors(value)


def _unit(claim: Claim, value: float) -> str:
    one = claim.unit.removesuffix("s")
    return one if float(_amount(claim, abs(value)).replace(",", "")) == 1 else claim.unit


def _direction(claim: Claim, value: float) -> str:
    """``fewer`` or ``more`` errors; ``lower`` or ``higher`` by so many points."""
    words = ("fewer", "more") if claim.unit == "errors" else ("lower", "higher")
    return words[value > 0]


def effect(claim: Claim) -> str:
    """``37 errors fewer``, ``2.1 points higher``."""
    mean = claim.effect.mean
    return f"{_amount(claim, abs(mean))} {_unit(claim, mean)} {_direction(claim, mean)}"


def bounds(claim: Claim) -> str:
    """The interval that decides: ``30 to 44`` where both ends have the sign of the mean, else
    ``between 3 errors fewer and 13 more``; ``no interval`` where there is none. A † marks one that would
    not decide over other test images too."""
    found, mark = claim.effect, "†" if claim.loose else ""
    if not found.bounded:
        return "no interval"
    if found.decided:
        low, high = sorted((abs(found.low), abs(found.high)))
        return f"{_amount(claim, low)} to {_amount(claim, high)}{mark}"
    if found.low == found.high:  # no block shows any difference
        return "at zero"
    down, up = (_direction(claim, value) for value in (found.low, found.high))
    ends = _amount(claim, -found.low), _amount(claim, found.high)
    return f"between {ends[0]} {_unit(claim, found.low)} {down} and {ends[1]} {up}{mark}"


def told(claim: Claim) -> str:
    """The effect with its interval: ``37 errors fewer (30 to 44)``; where it is undecided the interval
    alone."""
    if not claim.measured:
        return "not measured"
    if not claim.effect.bounded:
        return f"{effect(claim)} ({blocks(claim.effect.n)})"
    return f"{effect(claim)} ({bounds(claim)})" if claim.effect.decided else bounds(claim)


def blocks(n: int) -> str:
    """``10 independent pairs``: of runs that share nothing with other pairs."""
    return f"{number(n, 0)} independent pair" + ("" if n == 1 else "s")


def cell(found: Effect, decimals: int | None = None) -> str:
    """``mean (low to high)`` for a table, whose interval does not break; the mean alone where there is
    none."""
    if found.n == 0:
        return "—"
    mean = errors(found.mean) if decimals is None else number(found.mean, decimals)
    varies = found.bounded and found.low < found.high
    return f"{mean} ({interval(found, decimals)})" if varies else mean


def interval(found: Effect, decimals: int | None = None) -> str:
    """``low to high``, which does not break."""
    ends = found.low, found.high
    low, high = (errors(v) if decimals is None else number(v, decimals) for v in ends)
    return f"{low} to {high}".replace(" ", "\N{NO-BREAK SPACE}")


def p_value(p: float) -> str:
    """``0.012``, ``< 0.001``, or an em dash."""
    return "—" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    if math.isnan(value):
        return "—"
    units = (1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")
    for limit, factor, unit in units:
        if value < limit:
            return f"{value * factor:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{value / 3600:.3g}\N{NO-BREAK SPACE}h"


def article(name: str) -> str:
    """A name behind its article: ``an 800-unit network``."""
    return f"an {name}" if re.match(r"[aeio]|8|1[18](?!\d)", name) else f"a {name}"


def joined(items: Iterable[str]) -> str:
    """``a, b and c``."""
    listed = list(items)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def plain(name: str) -> str:
    """A user's own name as Markdown takes it for plain words."""
    return re.sub(r"([\\`*_\[\]<>$@#^~|{}&\"'!]|(?<=-)-|(?<=\.)\.)", r"\\\1", name)


def together(said: str) -> str:
    """The same with settings, as T = 4, that no line breaks."""
    return re.sub(r"\b([Tα]) ([=≥]) (?=\d)", "\\1\N{NO-BREAK SPACE}\\2\N{NO-BREAK SPACE}", said)


def values(items: Iterable[float]) -> str:
    """``1, 4 and 20``: numbers without trailing zeros."""
    return joined([f"{v:g}" for v in items])


def network(label: str) -> str:
    """A network as people call it: ``800-unit network``, ``convolutional network (32, 128, 128)``,
    ``ResNet-18``."""
    name, *widths = label.split("-")
    if known := re.fullmatch(r"(resnet|vgg)(\d+)", label):
        return f"{ {'resnet': 'ResNet', 'vgg': 'VGG'}[known[1]] }-{known[2]}"
    if name == "mlp" and len(set(widths)) == 1:
        return f"{int(widths[0]):,}-unit network"
    kind = " ".join([NETWORKS.get(name, name), "network"]).strip()
    return f"{kind} ({', '.join(widths)})" if widths else kind
