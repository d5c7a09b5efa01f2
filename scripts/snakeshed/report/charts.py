"""Charts as plain numbers: where marks, bars and ticks stand, for a template to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Scatter:
    """Two positive quantities of the same unit against each other, on logarithmic axes.

    Attributes
    ----------
    points : tuple of (int, float, float)
        Number of the value, and x and y in the unit square, y upwards.
    ticks : tuple of Tick
        Decades, the same on both axes.
    decade : float
        Length of a decade.
    """

    points: tuple[tuple[int, float, float], ...]
    ticks: tuple[Tick, ...]
    decade: float

    def offset(self, factor: float) -> float:
        """How far from the diagonal y is `factor` times x."""
        return math.log10(factor) * self.decade


@dataclass(frozen=True)
class Bar:
    """A part of a histogram's bin: its edges, and the counts at its foot and its head."""

    left: float
    right: float
    low: int
    high: int
    kind: int


@dataclass(frozen=True)
class Histogram:
    """How often values occur, by kind.

    Attributes
    ----------
    low, high : float
        Ends of the axis.
    bars : tuple of Bar
        Edges in the unit interval; those of one bin stand on each other.
    most : int
        Count of the fullest bin.
    ticks : tuple of Tick
    """

    low: float
    high: float
    bars: tuple[Bar, ...]
    most: int
    ticks: tuple[Tick, ...]


def scatter(x: Sequence[float | None], y: Sequence[float | None]) -> Scatter | None:
    """Compare two quantities; values without a positive partner are left out.

    Returns
    -------
    Scatter or None
        None without a single pair.
    """
    pairs = [
        (k, math.log10(a), math.log10(b))
        for k, (a, b) in enumerate(zip(x, y, strict=True))
        if a is not None and b is not None and a > 0 and b > 0
    ]
    if not pairs:
        return None
    logs = [log for _, *both in pairs for log in both]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    high = max(high, low + 1)
    span = high - low
    return Scatter(
        tuple((k, (a - low) / span, (b - low) / span) for k, a, b in pairs),
        tuple(Tick((n - low) / span, f"{10.0**n:,.{max(0, -n)}f}") for n in range(low, high + 1)),
        1 / span,
    )


def histogram(
    values: Sequence[float | None],
    kinds: Sequence[int] | None = None,
    bins: int = 20,
    low: float | None = None,
    high: float | None = None,
) -> Histogram | None:
    """Count values in bins of equal width.

    Parameters
    ----------
    values : sequence of float or None
        None and NaN are left out.
    kinds : sequence of int, optional
        Of each value; the counts of a bin are split by it, the smallest kind at the foot.
    bins : int
    low, high : float, optional
        Ends of the axis. Default: the smallest and the largest value.

    Returns
    -------
    Histogram or None
        None without values, or where all are the same and no ends are given.
    """
    kinds = [0] * len(values) if kinds is None else kinds
    known = [
        (value, kind)
        for value, kind in zip(values, kinds, strict=True)
        if value is not None and not math.isnan(value)
    ]
    if not known:
        return None
    low = min(value for value, _ in known) if low is None else low
    high = max(value for value, _ in known) if high is None else high
    if not high > low:
        return None
    counts: list[dict[int, int]] = [{} for _ in range(bins)]
    for value, kind in known:
        into = counts[max(0, min(bins - 1, int((value - low) / (high - low) * bins)))]
        into[kind] = into.get(kind, 0) + 1
    bars = []
    for k, into in enumerate(counts):
        foot = 0
        for kind in sorted(into):
            bars.append(Bar(k / bins, (k + 1) / bins, foot, foot + into[kind], kind))
            foot += into[kind]
    most = max(bar.high for bar in bars)
    return Histogram(low, high, tuple(bars), most, round_ticks(low, high))


def round_ticks(low: float, high: float, about: int = 5) -> tuple[Tick, ...]:
    """Round numbers on an axis: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(
        Tick((n * step - low) / (high - low), f"{n * step:,.{decimals}f}")
        for n in range(first, last + 1)
    )
