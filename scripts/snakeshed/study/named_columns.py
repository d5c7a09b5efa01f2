"""Columns of the site table that sections other than ``sites`` name.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping


def named_columns(study: Mapping) -> dict[str, str]:
    """Return the columns of the site table that a study names outside ``sites``, by their keys.

    Parameters
    ----------
    study : mapping
        The completed configuration.
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
    return named
