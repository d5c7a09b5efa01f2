"""Names of the columns of ``dataset.parquet`` that are no column of the user or of features.

This is read at every start of Snakemake, to find columns of the same name before anything runs:
it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.models.configured import StudyModels
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.observations.response import DEBRIS_FLOW

FRONT = ("site_id", "row", "status", "reason")
"""What stands before the columns of the user's table, in order."""

_VOLUME_UNIT = "_m3"


class ScoredColumn(NamedTuple):
    """A column of likelihoods.

    Attributes
    ----------
    model : str
    duration_min : int
        Of the rainfall, minutes.
    column : str
        Its name in ``dataset.parquet``.
    """

    model: str
    duration_min: int
    column: str


def rainfall_columns(observations: Mapping) -> list[RainfallColumn]:
    """List the columns of rainfall of ``observations`` in the completed configuration."""
    return [RainfallColumn.of(each) for each in observations["rainfall"]]


def model_runs(
    models: StudyModels, rainfall: Sequence[RainfallColumn]
) -> list[tuple[str, RainfallColumn]]:
    """List each model with each rainfall of a duration that it takes, in their order."""
    return [
        (name, each)
        for name in models.models
        for each in rainfall
        if each.duration_min in models.durations_min(name)
    ]


def result_column(model: str, result: str, duration_min: int) -> str:
    """Return the name of the column of a model's result.

    Parameters
    ----------
    model : str
    result : str
        An attribute of `snakeshed.models.model.Outcome`, such as ``likelihood`` or ``volume_m3``.
    duration_min : int
        Of the rainfall, minutes.
    """
    unit = _VOLUME_UNIT if result.endswith(_VOLUME_UNIT) else ""
    return f"{model}_{result.removesuffix(_VOLUME_UNIT)}_{duration_min}min{unit}"


def scored_columns(observations: Mapping, models: StudyModels) -> list[ScoredColumn]:
    """List the columns of likelihoods that can be compared with a response, in order.

    Parameters
    ----------
    observations : mapping
        ``observations`` of the completed configuration.
    models : StudyModels

    Returns
    -------
    list of ScoredColumn
        Empty without a response, or where no model takes a rainfall of the observations.
    """
    if observations["response"] is None:
        return []
    return [
        ScoredColumn(name, each.duration_min, result_column(name, "likelihood", each.duration_min))
        for name, each in model_runs(models, rainfall_columns(observations))
        if "likelihood" in models.models[name].model.gives
    ]


def own_columns(observations: Mapping, models: StudyModels) -> list[str]:
    """List the columns that ``observations`` of the completed configuration adds.

    Parameters
    ----------
    observations : mapping
        ``observations`` of the completed configuration.
    models : StudyModels
    """
    rainfall = rainfall_columns(observations)
    return [
        *(each.name for each in rainfall),
        *[DEBRIS_FLOW] * (observations["response"] is not None),
        *(
            result_column(name, result, each.duration_min)
            for name, each in model_runs(models, rainfall)
            for result in (*models.models[name].model.gives, "reason")
        ),
    ]


def check_names(own: Iterable[str], features: Iterable[str]) -> None:
    """Refuse features that are called like a column that ``dataset.parquet`` has beside them.

    Parameters
    ----------
    own : iterable of str
        From `own_columns`.
    features : iterable of str
        The columns of features, from `snakeshed.features.layers.declared_columns`.

    Raises
    ------
    SeveralProblems
        One problem per name.
    """
    taken = {*FRONT, *own}
    problems = [
        ConfigurationError(
            "features and layers",
            f"the feature {name}",
            "no feature of this name, which is that of another column of dataset.parquet",
            "Rename the feature or the layer that it is of.",
        )
        for name in features
        if name in taken
    ]
    if problems:
        raise SeveralProblems(problems)
