"""The dataset of observations: one row per observation, with the features of its site.

It does not depend on how the sites were spread over shards; its rows are in the order of the user's
table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from snakeshed.errors import TableError
from snakeshed.observations.columns import FRONT
from snakeshed.observations.plain_columns import plain_column
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.observations.response import DEBRIS_FLOW, Response
from snakeshed.sites.cells import is_missing
from snakeshed.sites.reserved import description_of, kept_as, name_in
from snakeshed.tables.arrays import array_of
from snakeshed.tables.geoparquet import DESCRIPTION
from snakeshed.tables.schema import REAL, WHOLE, table_of

_AS_GIVEN = "as in the site table"


@dataclass(frozen=True, eq=False)
class Measured:
    """What the user's table says of observations, in units that models take.

    Attributes
    ----------
    table : pyarrow.Table
        One row per observation: a column of each `RainfallColumn` and of the `Response`, described.
    remarks : tuple of str
        Columns of rainfall with cells that were left out.
    """

    table: pa.Table
    remarks: tuple[str, ...]


def measured(
    observations: pa.Table, rainfall: Sequence[RainfallColumn], response: Response | None
) -> Measured:
    """Read the rainfall and the response of observations.

    Parameters
    ----------
    observations : pyarrow.Table
        ``observations.parquet``, which has their columns.
    rainfall : sequence of RainfallColumn
    response : Response or None

    Returns
    -------
    Measured
        Rainfall in mm; the response as 1, 0, or null.
    """
    columns, values, remarks = {}, {}, []
    for each in rainfall:
        cells = observations[name_in(observations, each.column)].to_pylist()
        values[each.name] = [each.accumulation_mm(cell) for cell in cells]
        columns[each.name] = (REAL, _rainfall_text(each))
        remarks += _left_out(each, cells, values[each.name], observations["row"].to_pylist())
    if response is not None:
        cells = observations[name_in(observations, response.column)].to_pylist()
        known = response.are_events(cells)
        values[DEBRIS_FLOW] = [None if event is None else int(event) for event in known]
        columns[DEBRIS_FLOW] = (WHOLE, _response_text(response))
    if not columns:
        return Measured(observations.select([]), ())
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return Measured(table_of(rows, columns), tuple(remarks))


def _rainfall_text(rainfall: RainfallColumn) -> str:
    return (
        f"Rain that fell in {rainfall.duration_min} min, mm, by the column {rainfall.column!r} of "
        f"the site table in {rainfall.unit}; null where a cell is no number or is negative."
    )


def _response_text(response: Response) -> str:
    events = ", ".join(
        f"{each:g}" if isinstance(each, float) else str(each) for each in response.events
    )
    return (
        f"1 for a debris flow, where the column {response.column!r} of the site table is one of "
        f"{events}; 0 where it is something else; null where its cell is empty."
    )


def _left_out(
    rainfall: RainfallColumn, cells: list, values: list[float | None], rows: list[int]
) -> list[str]:
    """Return a remark on the cells of a column that are there and no rainfall."""
    wrong = [
        row
        for row, cell, value in zip(rows, cells, values, strict=True)
        if value is None and not is_missing(cell)
    ]
    if not wrong:
        return []
    # Without the cells: logs are in archives that may not hold the table.
    return [
        f"the column {rainfall.column!r}: {len(wrong)} cells are no rainfall, the first in row "
        f"{wrong[0]}; they are missing in {rainfall.name}"
    ]


def dataset(observations: pa.Table, features: pa.Table, *own: pa.Table) -> pa.Table:
    """Join observations with the features of their sites.

    Parameters
    ----------
    observations : pyarrow.Table
        ``observations.parquet``.
    features : pyarrow.Table
        ``features.parquet``: a row for every site.
    *own : pyarrow.Table
        More columns, with a row per observation, as in `Measured`.

    Returns
    -------
    pyarrow.Table
        A row per observation, in their order, ready for `write_table`: ``site_id``, ``row``,
        ``status``, and ``reason``; the columns of the user's table, as `plain_column` gives them;
        the features; the columns of `own`. A column of the user's table whose name another one
        has is called ``input_...``, and `snakeshed.sites.reserved.name_in` finds it.

    Raises
    ------
    TableError
        A site has no features.
    """
    joined = features.take(_places(observations, features)).combine_chunks()
    ours = [name for name in features.column_names if name not in FRONT]
    parts: dict[str, tuple[pa.ChunkedArray, pa.Field]] = {}
    for name in FRONT:
        table = observations if name in ("site_id", "row") else joined
        parts[name] = table[name], table.schema.field(name)
    taken = [*FRONT, *ours, *(name for table in own for name in table.column_names)]
    users = [name for name in observations.column_names if name not in ("site_id", "row")]
    for name in users:
        column, note = plain_column(observations[name])
        text = (observations.schema.field(name).metadata or {}).get(DESCRIPTION, b"").decode()
        text = text or _AS_GIVEN
        kept = name
        if name in taken:
            kept = kept_as(name, [*taken, *users])
            text = description_of(name) if text == _AS_GIVEN else text
        elif note and text == _AS_GIVEN:
            text = f"{text}, {note}"
        parts[kept] = column, pa.field(kept, column.type, metadata={DESCRIPTION: text})
    parts |= {name: (joined[name], joined.schema.field(name)) for name in ours}
    for table in own:
        parts |= {name: (table[name], table.schema.field(name)) for name in table.column_names}
    fields = [field for _, field in parts.values()]
    return pa.table([column for column, _ in parts.values()], schema=pa.schema(fields))


def _places(observations: pa.Table, features: pa.Table) -> pa.Array:
    """Return for each observation the row of its site among the features."""
    place = {site: row for row, site in enumerate(features["site_id"].to_pylist())}
    sites = observations["site_id"].to_pylist()
    lost = sorted({site for site in sites if site not in place})
    if lost:
        raise TableError(
            "features.parquet",
            f"no site {lost[0]!r}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else ""),
            "a row for every site of observations.parquet",
            "The tables are of different site tables: delete both and run the workflow again.",
        )
    return array_of([place[site] for site in sites], pa.int64())
