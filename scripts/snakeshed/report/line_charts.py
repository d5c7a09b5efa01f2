"""Line charts as plain numbers: axes, and curves as the data of SVG paths, for a template to draw.

All are drawn in the same frame, so that templates and scripts know where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snakeshed.report.charts import Tick, round_ticks

# The frame within a drawing of 480 x 400 units.
LEFT, TOP, WIDTH, HEIGHT = 60, 10, 390, 340


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes
    ----------
    low, high : float
        Its ends.
    ticks : tuple of Tick
        In the unit interval.
    name : str
        What is on it, with its unit.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]
    name: str

    @classmethod
    def of(cls, name: str, low: float, high: float) -> Axis:
        """Make an axis with ticks at round numbers."""
        return cls(low, high, round_ticks(low, high), name)

    @classmethod
    def with_ticks(cls, name: str, low: float, high: float, at: Iterable[float]) -> Axis:
        """Make an axis with ticks at given values."""
        ticks = (Tick((value - low) / (high - low), f"{value:g}") for value in at)
        return cls(low, high, tuple(ticks), name)

    def at(self, value: float) -> float:
        """Return where a value stands, 0 at the low end and 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Curve:
    """A curve of a chart.

    Attributes
    ----------
    series : int
        From 0; a color and a pattern of dashes.
    label : str
        What it is.
    line : str
        Data of an SVG path.
    marks : tuple of (float, float, str)
        Points that are marked: x and y in the drawing, and what they are.
    band : str
        Data of an SVG path around its spread; empty if there is none.
    end : tuple of 2 float, or None
        Where its last point is in the drawing; None without points.
    """

    series: int
    label: str
    line: str
    marks: tuple[tuple[float, float, str], ...] = ()
    band: str = ""
    end: tuple[float, float] | None = None


@dataclass(frozen=True)
class LineChart:
    """A chart of curves.

    Attributes
    ----------
    title : str
    x, y : Axis
    curves : tuple of Curve
    in_words : str
        The chart in words.
    """

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    in_words: str


def place(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    """Return where a point is in the drawing."""
    right, up = x.at(point[0]), y.at(point[1])
    return round(LEFT + WIDTH * right, 1), round(TOP + HEIGHT * (1 - up), 1)


def line(x: Axis, y: Axis, points: Sequence[tuple[float, float]]) -> str:
    """Return the data of an SVG path through points; empty without points."""
    if not points:
        return ""
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in (place(x, y, point) for point in points))
