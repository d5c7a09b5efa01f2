"""Columns of a site table whose names have another meaning in tables of observations.

This is read at the end of every run: importing it imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

RESERVED = ("site_id", "row", "geometry")
"""``site_id`` and ``row`` are ours; ``geometry`` is what readers of GeoParquet take for shapes."""


def kept_as(column: str, there: list[str]) -> str:
    """Return the name under which a column is kept whose own name has another meaning.

    Parameters
    ----------
    column : str
        Of the site table: one of `RESERVED`, or, in ``dataset.parquet``, the name of a feature or
        of another column that the program adds.
    there : list of str
        All columns of the table.
    """
    name = f"input_{column}"
    while name in there:
        name = f"input_{name}"
    return name


def description_of(column: str) -> str:
    """Return how a table of observations describes a column that is kept under another name."""
    return f"the column {column!r} of the site table"


def name_in(observations: pa.Table, column: str) -> str:
    """Return the name of a column of the site table in a table of observations.

    Parameters
    ----------
    observations : pyarrow.Table
        ``observations.parquet`` or ``dataset.parquet``.
    column : str
        As the site table calls it.
    """
    described = description_of(column).encode()
    for field in observations.schema:
        if (field.metadata or {}).get(b"description") == described:
            return field.name
    return column
