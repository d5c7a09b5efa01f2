"""Columns of a user's table as columns of plain numbers and text, for scikit-learn."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from snakeshed.sites.cells import is_missing, number_in
from snakeshed.sites.observations import NULL_TEXTS
from snakeshed.tables.arrays import array_of
from snakeshed.tables.schema import REAL, TEXT

# 05130101 is a code, of which a number would lose the zero; 0.5 and 0 are numbers.
_CODE = re.compile(r"[+-]?0[0-9]")


def plain_column(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, str]:
    """Return a column that holds numbers as numbers and has no nested values.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Of any type that Parquet has.

    Returns
    -------
    pyarrow.ChunkedArray
        Decimals, columns without any value, and text in which every cell spells a number without
        leading zeros become float64. Lists and other nested values become JSON text. All else is
        left as it is.
    str
        What was changed, in words; empty if nothing was.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_decimal(kind):
        values = [None if cell is None else float(cell) for cell in column.to_pylist()]
        return _column(values, REAL), "its decimals as the nearest double"
    if pa.types.is_null(kind):
        return _column([None] * len(column), REAL), ""
    if pa.types.is_nested(kind):
        return _column([_json(cell) for cell in column], TEXT), "as JSON text"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        numbers = _numbers(column.to_pylist())
        if numbers is not None:
            return _column(numbers, REAL), "its text read as numbers"
    return column, ""


def _column(values: list, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([array_of(values, kind)], kind)


def _numbers(cells: list[str | None]) -> list[float | None] | None:
    """Return what the cells of a column spell, None if one of them is text or a code."""
    numbers: list[float | None] = []
    for cell in cells:
        if is_missing(cell) or cell.strip() in NULL_TEXTS:
            numbers.append(None)
            continue
        number = None if _CODE.match(cell.strip()) else number_in(cell)
        if number is None:
            return None
        numbers.append(number)
    return None if all(number is None for number in numbers) else numbers


def _json(cell: pa.Scalar) -> str | None:
    """Return a nested value as JSON; what JSON has no type for is text in it."""
    try:
        value: Any = cell.as_py()
    except (ValueError, OverflowError):
        # Python has no dates beyond the year 9999; Arrow can write them.
        value = " ".join(pa.array([cell], cell.type).to_string().split())
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
