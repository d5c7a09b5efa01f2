"""The hazards on the card of a site: curves of likelihood, and what each storm gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snakeshed.models.configured import ModelInputs, StudyModels
from snakeshed.models.logistic import LogisticModel
from snakeshed.models.model import intensity_mm_per_h
from snakeshed.models.storms import Rainfall, Storm, rainfall_mm, site_rainfall
from snakeshed.report.hazard_words import (
    class_text,
    likelihood_text,
    storm_in_words,
    volume_text,
)
from snakeshed.report.line_charts import Axis, Curve, LineChart, line, place
from snakeshed.report.page import number

if TYPE_CHECKING:
    import pyarrow as pa

# The axis of intensities reaches as far as this, and beyond the storms.
_LEAST_MM_PER_H, _ROOM = 40.0, 1.25
_STEPS = 60


@dataclass(frozen=True)
class StormAtSite:
    """What a model gives for a storm at the site, in words.

    Attributes
    ----------
    model, storm, rainfall : str
    likelihood, volume, hazard_class : str
        A dash where there is none.
    remark : str
        Why a value is missing, and which inputs are implausible; empty if there is nothing to say.
    """

    model: str
    storm: str
    rainfall: str
    likelihood: str
    volume: str
    hazard_class: str
    remark: str


@dataclass(frozen=True)
class LikelihoodCurves:
    """The likelihood of a model against the intensity of rainfall.

    Attributes
    ----------
    model, title : str
    chart : LineChart or None
        A curve for each duration; None where an input is missing.
    reason : str
        Why there is none.
    """

    model: str
    title: str
    chart: LineChart | None
    reason: str


@dataclass(frozen=True)
class CardHazards:
    """The hazards of a site.

    Attributes
    ----------
    curves : tuple of LikelihoodCurves
        Of each likelihood model.
    storms : tuple of StormAtSite
        Of each model with each of its storms.
    """

    curves: tuple[LikelihoodCurves, ...]
    storms: tuple[StormAtSite, ...]


def card_hazards(
    models: StudyModels, row: Mapping[str, Any], observations: pa.Table | None = None
) -> CardHazards:
    """Compute the hazards of a site from its own features.

    Parameters
    ----------
    models : StudyModels
    row : mapping
        Of ``features.parquet``: plain values.
    observations : pyarrow.Table or None
        The site's rows of ``observations.parquet``; needed if a storm has a column.
    """
    inputs = models.site_inputs(row)
    rain = {
        storm: site_rainfall(storm, observations)[row["site_id"]]
        for storm in dict.fromkeys(storm for _, storm in models.runs())
    }
    fallen = [
        intensity_mm_per_h(each.mm, storm.duration_min)
        for storm, each in rain.items()
        if each.mm is not None
    ]
    highest = max(_LEAST_MM_PER_H, _ROOM * max(fallen, default=0.0))
    curves = tuple(
        _curves(models, name, inputs[name], rain, highest)
        for name, declared in models.models.items()
        if isinstance(declared.model, LogisticModel)
    )
    storms = tuple(
        _storm(models, name, inputs, storm, rain[storm]) for name, storm in models.runs()
    )
    return CardHazards(curves, storms)


def _storm(
    models: StudyModels,
    name: str,
    inputs: Mapping[str, ModelInputs],
    storm: Storm,
    fallen: Rainfall,
) -> StormAtSite:
    outcome = models.outcome(
        name, inputs, storm.duration_min, fallen.mm, fallen.reason or "no rainfall"
    )
    rainfall = storm_in_words(storm)
    if storm.intensity_mm_per_h is None and fallen.mm is not None:
        rainfall = f"{_intensity(storm, fallen)} mm/h within {storm.duration_min} minutes"
    return StormAtSite(
        model=name,
        storm=storm.name,
        rainfall=rainfall,
        likelihood=likelihood_text(outcome.likelihood),
        volume=volume_text(outcome.volume_m3, outcome.volume_low_m3, outcome.volume_high_m3),
        hazard_class=class_text(outcome.hazard_class),
        remark="; ".join(filter(None, (outcome.reason, outcome.remark))),
    )


def _curves(
    models: StudyModels,
    name: str,
    inputs: ModelInputs,
    rain: Mapping[Storm, Rainfall],
    highest: float,
) -> LikelihoodCurves:
    title = models.models[name].model.title
    if inputs.reason is not None:
        return LikelihoodCurves(name, title, None, inputs.reason)
    x = Axis.of("intensity within the duration, mm/h", 0.0, highest)
    y = Axis.of("likelihood", 0.0, 1.0)
    curves, in_words = [], []
    for series, duration in enumerate(models.durations_min(name)):

        def likelihood(mm: float, duration: int = duration) -> float | None:
            return models.outcome(name, {name: inputs}, duration, mm).likelihood

        intensities = [highest * step / _STEPS for step in range(_STEPS + 1)]
        points = [
            (each, likelihood(rainfall_mm(each, "mm_per_h", duration))) for each in intensities
        ]
        marks = []
        for storm, fallen in rain.items():
            if storm.duration_min == duration and fallen.mm is not None:
                value = likelihood(fallen.mm)
                at = place(x, y, (intensity_mm_per_h(fallen.mm, duration), value))
                text = f"{storm.name}, {_intensity(storm, fallen)} mm/h: {likelihood_text(value)}"
                marks.append((*at, text))
                in_words.append(text)
        curves.append(_curve(series, duration, points, marks, x, y))
    text = f"Likelihood against intensity. {'; '.join(in_words) or 'No storm of its durations'}."
    return LikelihoodCurves(name, title, LineChart(title, x, y, tuple(curves), text), "")


def _curve(
    series: int,
    duration: int,
    points: Sequence[tuple[float, float]],
    marks: Sequence[tuple[float, float, str]],
    x: Axis,
    y: Axis,
) -> Curve:
    return Curve(series, f"{duration} minutes", line(x, y, points), tuple(marks))


def _intensity(storm: Storm, fallen: Rainfall) -> str:
    return number(intensity_mm_per_h(fallen.mm, storm.duration_min))
