"""Charts of thresholds: at which intensity each likelihood is reached, against the duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snakeshed.models.registry import published_models
from snakeshed.report.hazard_runs import ThresholdRun
from snakeshed.report.line_charts import Axis, Curve, LineChart, line, place
from snakeshed.report.page import number

# Around the shortest and the longest duration.
_MARGIN_MIN = 6
# Above the largest value.
_ROOM = 1.12


@dataclass(frozen=True)
class ThresholdRow:
    """What the table below a chart says of a likelihood and a duration.

    Attributes
    ----------
    likelihood : float
    duration_min : int
    sites : int
        That have a threshold.
    without : int
        That have none.
    quartiles : tuple of 3 float, or None
        Lower quartile, median, and upper quartile of the sites, mm/h; None if no site has one.
    """

    likelihood: float
    duration_min: int
    sites: int
    without: int
    quartiles: tuple[float, float, float] | None


@dataclass(frozen=True)
class ThresholdChart:
    """The thresholds of a model.

    Attributes
    ----------
    model : str
    rows : tuple of ThresholdRow
    chart : LineChart or None
        One curve for each likelihood; None if no site has a threshold.
    """

    model: str
    rows: tuple[ThresholdRow, ...]
    chart: LineChart | None


def threshold_charts(runs: Sequence[ThresholdRun]) -> list[ThresholdChart]:
    """Return a chart for each model: the median over the sites, and the middle half around it.

    Parameters
    ----------
    runs : sequence of ThresholdRun
    """
    models: dict[str, list[ThresholdRow]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(_row(run))
    return [
        ThresholdChart(model, tuple(rows), _chart(model, rows)) for model, rows in models.items()
    ]


def _row(run: ThresholdRun) -> ThresholdRow:
    known = run.intensity_mm_per_h[~np.isnan(run.intensity_mm_per_h)]
    quartiles = None
    if known.size:
        quartiles = tuple(float(each) for each in np.percentile(known, (25, 50, 75)))
    without = len(run.intensity_mm_per_h) - known.size
    return ThresholdRow(run.likelihood, run.duration_min, known.size, without, quartiles)


def _chart(model: str, rows: Sequence[ThresholdRow]) -> LineChart | None:
    known = [row for row in rows if row.quartiles is not None]
    if not known:
        return None
    durations = sorted({row.duration_min for row in rows})
    x = Axis.with_ticks(
        "duration, minutes", durations[0] - _MARGIN_MIN, durations[-1] + _MARGIN_MIN, durations
    )
    y = Axis.of("intensity, mm/h", 0.0, _ROOM * max(row.quartiles[2] for row in known) or 1.0)
    curves = []
    for series, likelihood in enumerate(sorted({row.likelihood for row in rows})):
        own = sorted(
            (row for row in known if row.likelihood == likelihood),
            key=lambda row: row.duration_min,
        )
        if own:
            curves.append(_curve(series, likelihood, own, x, y))
    in_words = "; ".join(
        f"likelihood {row.likelihood:g} at {number(row.quartiles[1])} mm/h within "
        f"{row.duration_min} minutes"
        for row in known
    )
    title = published_models()[model].title
    return LineChart(title, x, y, tuple(curves), f"Median of the sites: {in_words}.")


def _curve(series: int, likelihood: float, rows: Sequence[ThresholdRow], x: Axis, y: Axis) -> Curve:
    low, middle, high = ([(row.duration_min, row.quartiles[k]) for row in rows] for k in range(3))
    marks = tuple(
        (
            *place(x, y, point),
            f"likelihood {likelihood:g}, {row.duration_min} minutes: median "
            f"{number(row.quartiles[1])} mm/h, middle half {number(row.quartiles[0])} to "
            f"{number(row.quartiles[2])} mm/h",
        )
        for row, point in zip(rows, middle, strict=True)
    )
    band = line(x, y, [*high, *reversed(low)])
    if len(rows) == 1:
        # A duration alone has no area: its spread is a bar.
        band = line(x, y, [low[0], high[0]])
    return Curve(
        series,
        f"{likelihood:g}",
        line(x, y, middle),
        marks,
        band,
        place(x, y, middle[-1]),
    )
