"""Arrays without pandas are those of pyarrow."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.tables.arrays import array_of, null_for_nan

VALUES = {
    pa.float64(): st.floats() | st.integers(-(2**53), 2**53),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(),
    pa.binary(): st.binary(),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@examples(50)
@given(st.data())
def test_an_array_is_that_of_pyarrow(kind, data):
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=20))
    made, expected = array_of(values, kind), pa.array(values, type=kind)
    made.validate(full=True)
    assert made.type == kind
    assert made.null_count == expected.null_count
    if pa.types.is_floating(kind):
        made, expected = null_for_nan(made), pc.if_else(pc.is_nan(expected), None, expected)
    assert made.equals(expected)


def test_numpy_values_are_taken():
    assert array_of([np.float32(0.5), np.int64(3)], pa.float64()).to_pylist() == [0.5, 3.0]
    assert array_of([np.int32(7)], pa.int64()).to_pylist() == [7]
    assert array_of([np.bool_(True), None], pa.bool_()).to_pylist() == [True, None]


def test_other_types_are_left_to_pyarrow():
    kind = pa.list_(pa.float64())
    assert array_of([[1.0], None], kind).equals(pa.array([[1.0], None], type=kind))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", pa.float64()),
        (True, pa.float64()),
        (1.0, pa.int64()),
        (np.True_, pa.int64()),
        (1, pa.bool_()),
        (1, pa.string()),
        (b"a", pa.string()),
        ("a", pa.binary()),
    ],
)
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(TypeError, match=f"{type(value).__name__} where {kind} is expected"):
        array_of([None, value], kind)


def test_a_number_that_is_too_large_is_refused():
    with pytest.raises(OverflowError):
        array_of([2**63], pa.int64())


@examples(50)
@given(st.lists(st.none() | st.floats(), max_size=30), st.integers(0, 30), st.integers(0, 30))
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()], ids=str)
def test_nan_becomes_null_in_any_piece_of_an_array(kind, values, start, length):
    whole = pa.array(values, type=pa.float64()).cast(kind, safe=False)
    piece = null_for_nan(whole.slice(start, length))
    piece.validate(full=True)
    assert piece.type == kind
    expected = [
        None if value is None or math.isnan(value) else value
        for value in whole.to_pylist()[start : start + length]
    ]
    assert piece.to_pylist() == expected
    assert piece.null_count == expected.count(None)
