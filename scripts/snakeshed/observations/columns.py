"""Names of the columns of ``dataset.parquet`` that are no column of the user or of features.

This is read at every start of Snakemake, to find columns of the same name before anything runs:
it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.observations import response
from snakeshed.observations.rainfall import Rainfall

FRONT = ("site_id", "row", "status", "reason")
"""What stands before the columns of the user's table, in order."""


def own_columns(observations: Mapping) -> list[str]:
    """List the columns that ``observations`` of the completed configuration adds, in order.

    Parameters
    ----------
    observations : mapping
        ``observations`` of the completed configuration.
    """
    names = [Rainfall.of(each).name for each in observations["rainfall"]]
    return names + [response.NAME] * (observations["response"] is not None)


def check_names(observations: Mapping, features: Iterable[str]) -> None:
    """Refuse features that are called like a column that ``dataset.parquet`` has beside them.

    Parameters
    ----------
    observations : mapping
        ``observations`` of the completed configuration.
    features : iterable of str
        The columns of features, from `snakeshed.features.layers.declared_columns`.

    Raises
    ------
    SeveralProblems
        One problem per name.
    """
    taken = {*FRONT, *own_columns(observations)}
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
