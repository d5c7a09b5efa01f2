"""The report's section of skill: how well likelihoods agree with what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snakeshed.observations.skill import Estimate, ModelSkill, Skill
from snakeshed.report.line_charts import Axis, Curve, LineChart, line, place
from snakeshed.report.page import fixed, percent


@dataclass(frozen=True)
class SkillRow:
    """What the section says of a model and a duration.

    Attributes
    ----------
    model : str
    duration_min : int
    observations, sites, events, without_likelihood : int
    reason : str
        Why there are no measures; empty if there are.
    threat_best, threat_half, roc_area, brier : str
        With intervals; empty without measures.
    threshold_best : str
        The likelihood of the best threat score.
    """

    model: str
    duration_min: int
    observations: int
    sites: int
    events: int
    without_likelihood: int
    reason: str
    threat_best: str
    threshold_best: str
    threat_half: str
    roc_area: str
    brier: str


@dataclass(frozen=True)
class SkillCharts:
    """The charts of a model, with a curve for each duration.

    Attributes
    ----------
    model : str
    roc, calibration : LineChart
    """

    model: str
    roc: LineChart
    calibration: LineChart


@dataclass(frozen=True)
class SkillSection:
    """The section of skill.

    Attributes
    ----------
    response : str
        The column of the site table that says whether there was a debris flow.
    level : str
        Of the intervals.
    resamples : int
    rows : tuple of SkillRow
    charts : tuple of SkillCharts
        Of the models with measures.
    """

    response: str
    level: str
    resamples: int
    rows: tuple[SkillRow, ...]
    charts: tuple[SkillCharts, ...]


def skill_section(skill: Skill) -> SkillSection:
    """Make the section of skill.

    Parameters
    ----------
    skill : Skill
        ``skill.json``.
    """
    models: dict[str, list[ModelSkill]] = {}
    for each in skill.models:
        if each.reason is None:
            models.setdefault(each.model, []).append(each)
    return SkillSection(
        skill.response,
        percent(skill.interval_level),
        skill.resamples,
        tuple(map(_row, skill.models)),
        tuple(SkillCharts(name, _roc(own), _calibration(own)) for name, own in models.items()),
    )


def _row(found: ModelSkill) -> SkillRow:
    return SkillRow(
        found.model,
        found.duration_min,
        found.observations,
        found.sites,
        found.events,
        found.without_likelihood,
        found.reason or "",
        _estimate(found.threat_score_best),
        fixed(found.threshold_best, 2),
        _estimate(found.threat_score_half),
        _estimate(found.roc_area),
        _estimate(found.brier_score),
    )


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return ""
    if found.low is None:
        return fixed(found.value, 3)
    return f"{fixed(found.value, 3)} ({fixed(found.low, 3)} to {fixed(found.high, 3)})"


def _roc(models: Sequence[ModelSkill]) -> LineChart:
    x = Axis.of("false alarms, share of observations without a debris flow", 0.0, 1.0)
    y = Axis.of("hits, share of debris flows", 0.0, 1.0)
    curves = []
    for series, each in enumerate(models):
        points = [(point.false_positive_rate, point.true_positive_rate) for point in each.roc]
        curves.append(Curve(series, _duration(each), line(x, y, points)))
    areas = "; ".join(f"{_duration(each)}: area {each.roc_area.value:.3f}" for each in models)
    return LineChart("ROC curve", x, y, tuple(curves), f"ROC curve of {models[0].model}. {areas}.")


def _calibration(models: Sequence[ModelSkill]) -> LineChart:
    x = Axis.of("mean likelihood", 0.0, 1.0)
    y = Axis.of("share with a debris flow", 0.0, 1.0)
    curves, in_words = [], []
    for series, each in enumerate(models):
        bins = [one for one in each.calibration if one.observations]
        points = [(one.mean_predicted, one.observed_share) for one in bins]
        marks = tuple(
            (
                *place(x, y, point),
                f"{_duration(each)}, likelihood {one.low:g} to {one.high:g}: {one.observations} "
                f"observations, mean {point[0]:.2f}, share {point[1]:.2f}",
            )
            for one, point in zip(bins, points, strict=True)
        )
        in_words += [text for *_, text in marks]
        curves.append(Curve(series, _duration(each), line(x, y, points), marks))
    return LineChart("Calibration", x, y, tuple(curves), f"Calibration. {'; '.join(in_words)}.")


def _duration(found: ModelSkill) -> str:
    return f"{found.duration_min} minutes"
