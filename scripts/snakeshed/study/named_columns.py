"""Columns of the site table that sections other than ``sites`` name.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from snakeshed.learning.declared import learning_settings, named_by_learning, table_columns


def named_columns(study: Mapping, features: Collection[str] = ()) -> dict[str, str]:
    """Return the columns of the site table that a study names outside ``sites``, by their keys.

    Parameters
    ----------
    study : mapping
        The completed configuration.
    features : collection of str
        Names of its numeric features, which refits and classifiers take before columns of the site
        table.

    Returns
    -------
    dict of str to str
        Names of columns. A key that could have named a feature says that it does not.
    """
    named = {
        f"compare[{place}].column": each["column"] for place, each in enumerate(study["compare"])
    }
    storms = study["storms"] if study["models"] else []
    named |= {
        f"storms[{each['name'] or place}].column": each["column"]
        for place, each in enumerate(storms, start=1)
        if each["column"] is not None
    }
    rainfall, response = study["observations"]["rainfall"], study["observations"]["response"]
    named |= {
        f"observations.rainfall[{place}].column": each["column"]
        for place, each in enumerate(rainfall, start=1)
    }
    if response is not None:
        named["observations.response.column"] = response["column"]
    named |= table_columns(study["observations"])
    for key, name in named_by_learning(learning_settings(study)).items():
        if name not in features:
            named[
                f"{key}, which is no numeric feature of this study either{_near(name, features)}"
            ] = name
    return named


def _near(name: str, features: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(features), n=1, cutoff=0.6)
    return f" (the feature {near[0]} is)" if near else ""
