"""Columns of any table become numbers and text, without losing what only text can hold."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.observations.plain_columns import plain_column


def plain(values: list, kind: pa.DataType | None = None) -> tuple[list, str, str]:
    column, note = plain_column(pa.chunked_array([pa.array(values, type=kind)]))
    return column.to_pylist(), str(column.type), note


@pytest.mark.parametrize(
    ("values", "kind", "expected", "type_", "note"),
    [
        (["0.50", " 1e3", None, "NA", ""], None, [0.5, 1000.0, None, None, None], "double", "text"),
        (["-0.5", "0"], None, [-0.5, 0.0], "double", "text"),
        (["1.5", "trace"], None, ["1.5", "trace"], "string", ""),
        # A number would lose the zero of a code.
        (["05130101", "12"], None, ["05130101", "12"], "string", ""),
        (["", "NA"], None, ["", "NA"], "string", ""),
        ([None, None], pa.null(), [None, None], "double", ""),
        ([Decimal("0.10"), None], None, [0.1, None], "double", "decimals"),
        ([[1, None], None, []], None, ["[1, null]", None, "[]"], "string", "JSON"),
        ([{"a": date(2005, 1, 7)}], None, ['{"a": "2005-01-07"}'], "string", "JSON"),
        ([1, None], None, [1, None], "int64", ""),
        ([True, None], None, [True, None], "bool", ""),
        ([date(2005, 1, 7)], None, [date(2005, 1, 7)], "date32[day]", ""),
    ],
)
def test_by_hand(values, kind, expected, type_, note):
    got, got_type, got_note = plain(values, kind)
    assert (got, got_type) == (expected, type_)
    assert note in got_note
    assert bool(note) == bool(got_note)


def test_dates_within_lists_that_python_cannot_hold_are_text():
    far = pa.array([[2**40]], pa.list_(pa.timestamp("s")))
    column, _ = plain_column(pa.chunked_array([far]))
    (text,) = column.to_pylist()
    assert str(2**40) in text


def test_text_of_a_dictionary_is_read_like_any_other():
    column = pa.chunked_array([pa.array(["1.5", "2", "1.5"]).dictionary_encode()])
    assert plain_column(column)[0].to_pylist() == [1.5, 2.0, 1.5]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_written_as_text_are_the_numbers(values):
    assert plain([repr(value) for value in values])[0] == values
