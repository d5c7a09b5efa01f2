"""Arrow arrays of plain values, without pandas.

`pyarrow.array` imports pandas to see whether it is given some of it, which takes longer than most
shards take to read and write their tables. Arrays that are put together of their buffers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa


def array_of(values: Sequence, kind: pa.DataType) -> pa.Array:
    """Make what ``pyarrow.array(values, type=kind)`` makes.

    Parameters
    ----------
    values : sequence
        Python's or NumPy's, None for null.
    kind : pyarrow.DataType

    Raises
    ------
    TypeError, OverflowError
        A value is not of this type, or too large for it.
    """
    make = _MAKERS.get(kind)
    if make is None:
        return pa.array(values, type=kind)
    wanted, unwanted = _CLASSES[kind]
    for found in {type(value) for value in values if value is not None}:
        if not issubclass(found, wanted) or issubclass(found, unwanted):
            raise TypeError(f"{found.__name__} where {kind} is expected")
    present = np.array([value is not None for value in values], np.bool_)
    return pa.Array.from_buffers(kind, len(values), [_validity(present), *make(values)])


def numbers_of(column: pa.ChunkedArray) -> np.ndarray:
    """Return what ``column.to_numpy()`` returns.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Of float64, without nulls.
    """
    parts = [
        np.frombuffer(chunk.buffers()[1], np.float64, chunk.offset + len(chunk))[chunk.offset :]
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def null_for_nan(array: pa.Array) -> pa.Array:
    """Return an array of floats with null in place of NaN.

    Parameters
    ----------
    array : pyarrow.FloatArray or pyarrow.DoubleArray
    """
    validity, data = array.buffers()
    if not len(array):
        return array
    end = array.offset + len(array)
    values = np.frombuffer(data, f"f{array.type.bit_width // 8}", end)[array.offset :]
    present = ~np.isnan(values)
    if validity is not None:
        known = np.unpackbits(np.frombuffer(validity, np.uint8), count=end, bitorder="little")
        present &= known[array.offset :].astype(np.bool_)
    if np.count_nonzero(present) == len(array) - array.null_count:
        return array
    return pa.Array.from_buffers(
        array.type, len(array), [_validity(present), pa.py_buffer(np.ascontiguousarray(values))]
    )


def _validity(present: np.ndarray) -> pa.Buffer | None:
    return None if present.all() else _bits(present)


def _bits(values: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _numbers(dtype: type) -> Callable[[Sequence], list[pa.Buffer]]:
    def buffers(values: Sequence) -> list[pa.Buffer]:
        return [pa.py_buffer(np.array([0 if each is None else each for each in values], dtype))]

    return buffers


def _truths(values: Sequence) -> list[pa.Buffer]:
    return [_bits(np.array([bool(value) for value in values], np.bool_))]


def _pieces(values: Sequence[bytes | None]) -> list[pa.Buffer]:
    pieces = [value or b"" for value in values]
    # More than 2 GB do not fit in one array, and NumPy says so.
    ends = np.array([0, *accumulate(map(len, pieces))], np.int32)
    return [pa.py_buffer(ends), pa.py_buffer(b"".join(pieces))]


def _texts(values: Sequence[str | None]) -> list[pa.Buffer]:
    return _pieces([None if value is None else value.encode() for value in values])


_MAKERS = {
    pa.float64(): _numbers(np.float64),
    pa.int64(): _numbers(np.int64),
    pa.bool_(): _truths,
    pa.string(): _texts,
    pa.binary(): _pieces,
}
_TRUTHS = (bool, np.bool_)
# The classes that values of a type may have, and those of them that they may not.
_CLASSES = {
    pa.float64(): ((float, int, np.floating, np.integer), _TRUTHS),
    pa.int64(): ((int, np.integer), _TRUTHS),
    pa.bool_(): (_TRUTHS, ()),
    pa.string(): (str, ()),
    pa.binary(): (bytes, ()),
}
