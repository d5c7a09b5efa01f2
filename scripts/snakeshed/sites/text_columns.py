"""Columns of text as numbers or dates, where their text survives it.

Codes look like numbers: the HUC 05130101, the FIPS code 06037, the version 1.10. A column becomes
numeric only if every one of its values, printed again, is the text of the file.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from snakeshed.sites.observations import NULL_TEXTS

_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
# Larger whole numbers lose digits in programs that count in doubles, and so do their gaps here.
_EXACT_IN_DOUBLE = 2**53
_MIDNIGHT = datetime.time()


def typed_column(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text as the type of which every value prints as the text that it was.

    Parameters
    ----------
    cells : pyarrow.ChunkedArray of string
        The cells as the file has them.

    Returns
    -------
    pyarrow.ChunkedArray
        Whole numbers, decimal numbers, truth values, dates or instants, with null for the
        spellings of a missing value; else text, in which only an empty cell is missing.
    """
    distinct = pc.unique(cells).to_pylist()
    texts = [text for text in distinct if text is not None and text not in NULL_TEXTS]
    if not texts:
        return pa.chunked_array([pa.nulls(len(cells))])
    for kind, parse in _KINDS:
        values = _parsed(texts, parse)
        if values is not None and not _prints_as_dates(values):
            typed = dict(zip(texts, values, strict=True))
            return pa.chunked_array([pa.array(map(typed.get, cells.to_pylist()), kind)])
    return text_column(cells)


def text_column(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text in which an empty cell is missing."""
    return pa.chunked_array([pa.array((cell or None for cell in cells.to_pylist()), pa.string())])


def _parsed(texts: list[str], parse: Callable[[str], Any]) -> list[Any] | None:
    """Return all values, or None if one of them would not print as its text."""
    values = []
    for text in texts:
        try:
            value = parse(text)
        except (ValueError, OverflowError):
            return None
        if value is None or str(value) != text:
            return None
        values.append(value)
    return values


def _prints_as_dates(values: list[Any]) -> bool:
    """Tell whether all are instants at midnight, which lose their time of day when printed."""
    return all(
        isinstance(value, datetime.datetime) and value.time() == _MIDNIGHT for value in values
    )


def _whole(text: str) -> int | None:
    if not _WHOLE.fullmatch(text) or len(text) > 20:
        return None
    value = int(text)
    return value if abs(value) <= _EXACT_IN_DOUBLE else None


def _decimal(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _truth(text: str) -> bool | None:
    return {"True": True, "False": False}.get(text)


def _instant(text: str) -> datetime.datetime | None:
    # Whole seconds, all of one length: others print with as many decimals as the longest has.
    return datetime.datetime.fromisoformat(text) if len(text) == 19 else None


_KINDS: tuple[tuple[pa.DataType, Callable[[str], Any]], ...] = (
    (pa.int64(), _whole),
    (pa.float64(), _decimal),
    (pa.bool_(), _truth),
    (pa.date32(), datetime.date.fromisoformat),
    (pa.timestamp("us"), _instant),
)
