"""Columns of a table: types and descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from snakeshed.tables.arrays import array_of

TEXT, REAL, WHOLE, TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()


def table_of(rows: Sequence[Mapping], columns: Mapping[str, tuple[pa.DataType, str]]) -> pa.Table:
    """Make a table of records; missing keys are null.

    Parameters
    ----------
    rows : sequence of mapping
    columns : mapping of {str: (pyarrow.DataType, str)}
        Type and description of each column.
    """
    schema = pa.schema(
        [
            pa.field(name, kind, metadata={"description": text})
            for name, (kind, text) in columns.items()
        ]
    )
    arrays = [array_of([row.get(name) for row in rows], columns[name][0]) for name in columns]
    return pa.table(arrays, schema=schema)
