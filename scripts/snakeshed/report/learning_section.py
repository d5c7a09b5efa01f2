"""The report's section of what was fitted to observations: coefficients, and classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snakeshed.learning.classifiers import Compared, Comparison
from snakeshed.learning.refit import Coefficient, FitScores, FittedModel
from snakeshed.observations.skill import Estimate
from snakeshed.report.line_charts import Axis
from snakeshed.report.page import fixed, percent

# The frame of the strip chart within a drawing of 480 units, and the height of its rows.
LEFT, TOP, WIDTH, ROW = 14, 6, 452, 44


@dataclass(frozen=True)
class CoefficientRow:
    """A coefficient in words: as published, as fitted, and its interval (empty without one)."""

    name: str
    column: str
    published: str
    refitted: str
    interval: str


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one set of coefficients for one part of the observations, in words."""

    coefficients: str
    part: str
    threat_half: str
    roc_area: str
    brier: str


@dataclass(frozen=True)
class RefitPart:
    """What the section says of a refit.

    Attributes
    ----------
    model : str
    duration_min : int
    observations : str
        How many it is fitted to and tested with.
    penalty : str
    interval_level : str
    resamples : int
    coefficients : tuple of CoefficientRow
    scores : tuple of ScoreRow
    implausible : tuple of str
    """

    model: str
    duration_min: int
    observations: str
    penalty: str
    interval_level: str
    resamples: int
    coefficients: tuple[CoefficientRow, ...]
    scores: tuple[ScoreRow, ...]
    implausible: tuple[str, ...]


@dataclass(frozen=True)
class Strip:
    """A row of the strip chart.

    Attributes
    ----------
    label, settings : str
    series : int
        A color: published models have another one than classifiers.
    y : float
        Of its dots in the drawing.
    dots : tuple of (float, str)
        Of each split: x in the drawing, and what it is.
    median : float
        x in the drawing.
    """

    label: str
    settings: str
    series: int
    y: float
    dots: tuple[tuple[float, str], ...]
    median: float


@dataclass(frozen=True)
class ComparedRow:
    """Scores of a classifier or a model in words: medians, with their range."""

    name: str
    settings: str
    threat_half: str
    roc_area: str
    brier: str
    highest: str


@dataclass(frozen=True)
class ClassifierPart:
    """What the section says of classifiers.

    Attributes
    ----------
    observations : str
    columns : tuple of str
    left_out : int
        Splits that are not scored.
    splits : str
        What was split, and how often.
    by_site : bool
        Whether sites of one fire may be on both sides of a split.
    rows : tuple of ComparedRow
    strips : tuple of Strip
    axis : Axis
        Of threat scores.
    bottom : float
        Of the frame.
    in_words : str
        The chart in words.
    """

    observations: str
    columns: tuple[str, ...]
    left_out: int
    splits: str
    by_site: bool
    rows: tuple[ComparedRow, ...]
    strips: tuple[Strip, ...]
    axis: Axis
    bottom: float
    in_words: str


@dataclass(frozen=True)
class LearningSection:
    """The section; its parts are there if the study has them."""

    refits: tuple[RefitPart, ...]
    classifiers: ClassifierPart | None


def learning_section(
    refits: Sequence[FittedModel], comparison: Comparison | None
) -> LearningSection | None:
    """Make the section.

    Parameters
    ----------
    refits : sequence of FittedModel
        ``refit.json``; empty in a study without.
    comparison : Comparison or None
        ``classifiers.json``; None in a study without.

    Returns
    -------
    LearningSection or None
        None where nothing was fitted.
    """
    if not refits and comparison is None:
        return None
    compared = None if comparison is None else _classifiers(comparison)
    return LearningSection(tuple(map(_refit, refits)), compared)


def _refit(found: FittedModel) -> RefitPart:
    training, test = found.training, found.test
    text = (
        f"Fitted to {training.observations:,} observations of {training.sites:,} sites, "
        f"{training.events:,} with a debris flow"
    )
    if test.observations:
        text += (
            f"; tested with {test.observations:,} of {test.sites:,} sites, {test.events:,} with a "
            "debris flow"
        )
    return RefitPart(
        model=found.model,
        duration_min=found.duration_min,
        observations=f"{text}.",
        penalty=found.penalty,
        interval_level=percent(found.interval_level),
        resamples=found.resamples,
        coefficients=tuple(map(_coefficient, found.coefficients)),
        scores=tuple(map(_score, found.scores)),
        implausible=tuple(
            f"{each.observations:,} values of {each.column} are outside {each.low:g} to "
            f"{each.high:g} (up to {max(each.largest, each.smallest, key=abs):.3g}); they are used."
            for each in found.implausible
        ),
    )


def _coefficient(found: Coefficient) -> CoefficientRow:
    return CoefficientRow(
        found.name,
        found.column or "",
        fixed(found.published, 2),
        fixed(found.refitted.value, 3),
        _interval(found.refitted),
    )


def _interval(found: Estimate) -> str:
    if found.low is None:
        return ""
    return f"{fixed(found.low, 3)} to {fixed(found.high, 3)}"


def _score(found: FitScores) -> ScoreRow:
    return ScoreRow(
        "published" if found.coefficients == "published" else "fitted again",
        found.part,
        fixed(found.threat_score_half, 3),
        fixed(found.roc_area, 3),
        fixed(found.brier_score, 3),
    )


def _classifiers(found: Comparison) -> ClassifierPart:
    scored = sum(split.scored for split in found.splits)
    highest = max(each.threat_score_half.high for each in found.compared)
    # To the next tenth, so that a small difference can be seen.
    axis = Axis.of("threat score at 0.5, held-out observations", 0.0, _tenth(highest))
    strips = tuple(_strip(k, each, axis) for k, each in enumerate(found.compared))
    whole = found.complete
    kept = "sites" if found.split_by is None else f"values of {found.split_by}"
    return ClassifierPart(
        observations=f"{whole.observations:,} complete observations of {whole.sites:,} sites, "
        f"{whole.events:,} with a debris flow",
        columns=found.columns,
        left_out=len(found.splits) - scored,
        splits=f"{percent(found.test_share)} of the {kept}, drawn {scored:,} times",
        by_site=found.split_by is None,
        rows=tuple(
            _row(each, first) for each, first in zip(found.compared, _firsts(found), strict=True)
        ),
        strips=strips,
        axis=axis,
        bottom=TOP + ROW * len(strips),
        in_words=f"Threat scores, median and range. {'; '.join(map(_in_words, found.compared))}.",
    )


def _in_words(found: Compared) -> str:
    spread = found.threat_score_half
    return f"{_label(found)}: {spread.median:.3f}, {spread.low:.3f} to {spread.high:.3f}"


def _tenth(value: float) -> float:
    return min(max(int(value * 10) + 1, 2), 10) / 10


def _label(found: Compared) -> str:
    return found.name if found.model is None else f"{found.name}, {found.settings}"


def _strip(k: int, found: Compared, axis: Axis) -> Strip:
    label = _label(found)
    return Strip(
        label=label,
        settings=found.settings,
        series=0 if found.model is None else 1,
        y=TOP + ROW * k + 32,
        dots=tuple(
            (
                _x(axis, each.threat_score_half),
                f"{label}, split {each.seed}: threat score {each.threat_score_half:.3f}",
            )
            for each in found.splits
        ),
        median=_x(axis, found.threat_score_half.median),
    )


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + WIDTH * axis.at(value), 1)


def _firsts(found: Comparison) -> list[str]:
    """Return in how many splits each row has the highest threat score; ties count for each."""
    scores = [[split.threat_score_half for split in each.splits] for each in found.compared]
    best = [max(row) for row in zip(*scores, strict=True)]
    counts = [sum(score == most for score, most in zip(own, best, strict=True)) for own in scores]
    return [f"{count} of {len(best)}" for count in counts]


def _row(found: Compared, highest: str) -> ComparedRow:
    spreads = found.threat_score_half, found.roc_area, found.brier_score
    return ComparedRow(
        found.name,
        found.settings,
        *(f"{fixed(s.median, 3)} ({fixed(s.low, 3)} to {fixed(s.high, 3)})" for s in spreads),
        highest=highest,
    )
