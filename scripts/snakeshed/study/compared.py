"""Comparisons with published values: whether what they name is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.features.columns import Column, numeric


def check_compared(declared: Sequence[Mapping], columns: Mapping[str, Column]) -> None:
    """Refuse comparisons with features that are not computed, or are no numbers.

    Parameters
    ----------
    declared : sequence of mapping
        ``compare`` of the completed configuration.
    columns : mapping of str to Column
        From `snakeshed.features.layers.declared_columns`.

    Raises
    ------
    SeveralProblems
        One problem per comparison.
    """
    import difflib

    numbers = numeric(columns)
    problems = []
    for place, each in enumerate(declared):
        feature = each["feature"]
        if feature in numbers:
            continue
        near = difflib.get_close_matches(feature, numbers, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        problems.append(
            ConfigurationError(
                f"compare[{place}].feature",
                f"{'the text' if feature in columns else 'no feature'} {feature}",
                "a numeric column of features.parquet of this study",
                f"{hint}Correct the name, or compute it: features and layers say what is.",
            )
        )
    if problems:
        raise SeveralProblems(problems)
