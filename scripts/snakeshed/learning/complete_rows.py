"""Observations in which nothing is missing, in an order of their own.

What is fitted to them does not depend on the order of the site table: sums, ties between splits
of a tree, and drawn samples all follow the order of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from snakeshed.errors import TableError
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.observations.response import Response
from snakeshed.sites.cells import is_missing, number_in
from snakeshed.sites.observations import NULL_TEXTS
from snakeshed.sites.reserved import name_in

# Trees of scikit-learn take numbers in single precision, and squares have to be finite.
_LARGEST = 1e30


@dataclass(frozen=True)
class Gaps:
    """How many observations lack what. One may lack several.

    Attributes
    ----------
    response : int
        Without a known response.
    group : int
        Without a known group.
    columns : mapping of str to int
        By column, those without a number in it.
    """

    response: int
    group: int
    columns: Mapping[str, int]

    def __str__(self) -> str:
        counts = {"response": self.response, "group": self.group} | dict(self.columns)
        lacking = [f"{count:,} without {name}" for name, count in counts.items() if count]
        return ", ".join(lacking) or "none is left out"


@dataclass(frozen=True, eq=False)
class CompleteRows:
    """Observations with a known response and a number in every column.

    Attributes
    ----------
    sites : tuple of str
        The site of each observation, shape (n,).
    groups : tuple of str
        What is kept together in a split of the observations, shape (n,): sites, or groups of them.
    events : numpy.ndarray of bool
        Whether there was a debris flow, shape (n,).
    values : numpy.ndarray of float64
        Shape (n, number of columns).
    training : tuple of (bool or None)
        Whether each is meant for training, shape (n,); None where that is not known.
    gaps : Gaps
    """

    sites: tuple[str, ...]
    groups: tuple[str, ...]
    events: np.ndarray
    values: np.ndarray
    training: tuple[bool | None, ...]
    gaps: Gaps


@dataclass(frozen=True)
class Part:
    """How many observations a part of the complete rows has.

    Attributes
    ----------
    observations, sites : int
    events : int
        Observations with a debris flow.
    """

    observations: int
    sites: int
    events: int


def complete_rows(
    sites: Sequence[str],
    events: Sequence[bool | None],
    columns: Mapping[str, Sequence[float | None]],
    training: Sequence[bool | None] | None = None,
    groups: Sequence[str | None] | None = None,
) -> CompleteRows:
    """Choose the observations in which nothing is missing.

    Parameters
    ----------
    sites : sequence of str
        The site of each observation, shape (n,).
    events : sequence of (bool or None)
        Whether there was a debris flow; None where that is not known.
    columns : mapping of str to sequence of (float or None)
        Finite numbers, shape (n,) each; None where one is missing.
    training : sequence of (bool or None), optional
        Whether each is meant for training; all by default.
    groups : sequence of (str or None), optional
        The group of each; its site by default.

    Returns
    -------
    CompleteRows
        Sorted by site and then by what they say: the same for any order of the arguments.
    """
    chosen = [True] * len(sites) if training is None else training
    together = sites if groups is None else groups
    rows = [
        (site, group, event, cells, part)
        for site, group, event, part, *cells in zip(
            sites, together, events, chosen, *columns.values(), strict=True
        )
        if group is not None and event is not None and None not in cells
    ]
    rows.sort(key=lambda row: (*row[:4], row[4] is None, bool(row[4])))
    gaps = Gaps(
        response=sum(event is None for event in events),
        group=sum(group is None for group in together),
        columns={name: sum(cell is None for cell in cells) for name, cells in columns.items()},
    )
    return CompleteRows(
        sites=tuple(site for site, *_ in rows),
        groups=tuple(group for _, group, *_ in rows),
        events=np.array([event for _, _, event, *_ in rows], np.bool_),
        values=np.array([cells for *_, cells, _ in rows], np.float64).reshape(-1, len(columns)),
        training=tuple(part for *_, part in rows),
        gaps=gaps,
    )


def part_of(rows: CompleteRows, chosen: np.ndarray) -> Part:
    """Count the observations that a mask chooses, shape (n,)."""
    sites = {rows.sites[place] for place in np.flatnonzero(chosen)}
    return Part(int(chosen.sum()), len(sites), int(rows.events[chosen].sum()))


def numbers_in(table: pa.Table, name: str, features: Collection[str], key: str) -> list:
    """Read a column of numbers.

    Parameters
    ----------
    table : pyarrow.Table
        ``observations.parquet``, or ``dataset.parquet`` for a feature.
    name : str
        Of a feature, or of a column of the site table.
    features : collection of str
        Names that are those of features.
    key : str
        The key of the configuration that names it, for messages.

    Returns
    -------
    list of (float or None)
        None where a cell is empty or no finite number. Truth values are 1 and 0.

    Raises
    ------
    TableError
        A cell is text that is no number, or something else, such as a date, or far too large.
    """
    there = name if name in features else name_in(table, name)
    rows = zip(table["row"].to_pylist(), table[there].to_pylist(), strict=True)
    return [_number(cell, name, row, key) for row, cell in rows]


def _number(cell: Any, name: str, row: int, key: str) -> float | None:
    if isinstance(cell, bool):
        return float(cell)
    number = number_in(cell)
    no_number = number is None and not _is_empty(cell) and not isinstance(cell, float)
    if no_number or (number is not None and abs(number) > _LARGEST):
        # Without the cell: logs are in archives that may not hold the table.
        raise TableError(
            key,
            f"the column {name!r}, of which row {row} is no number up to {_LARGEST:g}",
            "a column of numbers, with empty cells where they are missing",
            "Correct that cell, or name another column.",
        )
    return number


def _is_empty(cell: Any) -> bool:
    # A column that is text in the whole has the usual spellings of nothing as text.
    return is_missing(cell) or (isinstance(cell, str) and cell.strip() in NULL_TEXTS)


def rainfall_in(table: pa.Table, rainfall: RainfallColumn) -> list[float | None]:
    """Read the rain that fell at each observation, mm; None where it is missing, never 0."""
    cells = table[name_in(table, rainfall.column)].to_pylist()
    return [rainfall.accumulation_mm(cell) for cell in cells]


def answers_in(table: pa.Table, answer: Response) -> list[bool | None]:
    """Tell which observations have one of the values of a `Response`; None for an empty cell."""
    return answer.are_events(table[name_in(table, answer.column)].to_pylist())


def groups_in(table: pa.Table, column: str, key: str) -> list[str | None]:
    """Read which observations are kept together in a split.

    Parameters
    ----------
    table : pyarrow.Table
        ``observations.parquet`` or ``dataset.parquet``.
    column : str
        Of the site table.
    key : str
        The key of the configuration that names it, for messages.

    Returns
    -------
    list of (str or None)
        None for an empty cell.

    Raises
    ------
    TableError
        A site is in several groups, and so would be on both sides of a split.
    """
    cells = table[name_in(table, column)].to_pylist()
    groups = [None if _is_empty(cell) else str(cell).strip() for cell in cells]
    first: dict[str, str] = {}
    for site, group in zip(table["site_id"].to_pylist(), groups, strict=True):
        if group is not None and first.setdefault(site, group) != group:
            # Without the cells, as above.
            raise TableError(
                key,
                f"the column {column!r}, which has several values for the site {site!r}",
                "one value for all observations of a site, such as its fire",
                "Name another column, or set the key to null, which splits by site.",
            )
    return groups
