"""Complete rows: nothing missing, nothing invented, and an order of their own."""

from __future__ import annotations

import datetime
import math
import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.errors import TableError
from snakeshed.learning.complete_rows import (
    Gaps,
    complete_rows,
    groups_in,
    numbers_in,
    part_of,
    rainfall_in,
)
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.sites.reserved import description_of

CELL = st.none() | st.sampled_from([0.0, -1.5, 2.0])
ROW = st.tuples(
    st.sampled_from("abc"), st.sampled_from([True, False, None]), CELL, CELL, st.booleans()
)


def rows_of(given_rows):
    sites, events, one, two, training = map(list, zip(*given_rows, strict=True))
    return complete_rows(sites, events, {"one": one, "two": two}, training)


@given(st.lists(ROW, min_size=1, max_size=12), st.randoms())
def test_the_complete_rows_are_chosen_in_any_order(rows, dice):
    found = rows_of(rows)
    complete = [row for row in rows if row[1] is not None and None not in row[2:4]]
    read = list(
        zip(found.sites, found.events, *found.values.T.tolist(), found.training, strict=True)
    )
    assert sorted(read) == sorted(complete)
    assert found.values.shape == (len(complete), 2)
    assert found.gaps == Gaps(
        response=sum(row[1] is None for row in rows),
        group=0,
        columns={name: sum(row[k] is None for row in rows) for name, k in (("one", 2), ("two", 3))},
    )
    other = rows_of(dice.sample(rows, len(rows)))
    assert (other.sites, other.training) == (found.sites, found.training)
    assert other.values.tolist() == found.values.tolist()
    assert other.events.tolist() == found.events.tolist()


def test_parts_are_counted():
    found = rows_of([("a", True, 1.0, 1.0, True), ("a", False, 2.0, 1.0, True)])
    part = part_of(found, found.events | True)
    assert (part.observations, part.sites, part.events) == (2, 1, 1)


def test_an_unknown_group_leaves_a_row_out():
    found = complete_rows("ab", [True, False], {"x": [1.0, 2.0]}, groups=["fire", None])
    assert (found.sites, found.groups) == (("a",), ("fire",))
    assert found.gaps == Gaps(0, 1, {"x": 0})
    assert str(found.gaps) == "1 without group"
    assert str(Gaps(2, 0, {"x": 0, "KF": 1300})) == "2 without response, 1,300 without KF"
    assert str(Gaps(0, 0, {"x": 0})) == "none is left out"


def table_of(**columns) -> pa.Table:
    count = len(next(iter(columns.values())))
    front = {"site_id": [f"s{k}" for k in range(count)], "row": list(range(1, count + 1))}
    return pa.table(front | columns)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        ([1, None, 3], [1, None, 3]),
        (["0.50", " ", "NA", "007", "1e3"], [0.5, None, None, 7, 1000]),
        ([1.5, math.nan, math.inf, 0.0], [1.5, None, None, 0]),
        ([True, False, None], [1, 0, None]),
        ([None, None], [None, None]),
    ],
)
def test_cells_are_read_as_numbers(cells, numbers):
    assert numbers_in(table_of(x=cells), "x", [], "key") == numbers


def test_a_feature_and_a_column_of_the_same_name_are_two():
    """As dataset.parquet has them."""
    field = pa.field(
        "input_relief_m", pa.int64(), metadata={"description": description_of("relief_m")}
    )
    schema = pa.schema([pa.field("row", pa.int64()), pa.field("relief_m", pa.float64()), field])
    table = pa.table([[1], [120.5], [7]], schema=schema)
    assert numbers_in(table, "relief_m", ["relief_m"], "key") == [120.5]
    assert numbers_in(table, "relief_m", [], "key") == [7]


@pytest.mark.parametrize(
    "cells",
    [["1", "", "secret"], ["1", "", "1e31"], [datetime.date(2000, 1, 1)] * 3, [[1.0], None, [2.0]]],
)
def test_other_cells_are_named_by_their_row(cells):
    with pytest.raises(TableError) as caught:
        numbers_in(table_of(x=cells), "x", [], "observations.classifiers.columns[2]")
    row = 3 if cells[0] == "1" else 1
    assert str(caught.value) == (
        f"observations.classifiers.columns[2]: found the column 'x', of which row {row} is no "
        "number up to 1e+30; expected a column of numbers, with empty cells where they are "
        "missing. Correct that cell, or name another column."
    )


def test_missing_rainfall_is_never_zero():
    rainfall = RainfallColumn(15, "i15", "mm_per_h")
    assert rainfall_in(table_of(i15=[24.0, None, -9999.0, 0.0]), rainfall) == [6, None, None, 0]


def test_a_site_is_in_one_group():
    table = table_of(fire=[1.0, None, 3.0])
    assert groups_in(table, "fire", "key") == ["1.0", None, "3.0"]
    table = pa.table({"site_id": ["a", "a", "b"], "fire": ["x", "y", "x"]})
    with pytest.raises(TableError) as caught:
        groups_in(table, "fire", "observations.classifiers.split_by")
    assert str(caught.value) == (
        "observations.classifiers.split_by: found the column 'fire', which has several values for "
        "the site 'a'; expected one value for all observations of a site, such as its fire. Name "
        "another column, or set the key to null, which splits by site."
    )


def test_the_order_of_sites_does_not_matter_to_groups():
    rows = [("a", "x"), ("b", "y"), ("c", "x")]
    for order in (rows, random.Random(1).sample(rows, 3)):
        found = complete_rows(
            [site for site, _ in order],
            [True] * 3,
            {"v": [1.0] * 3},
            groups=[group for _, group in order],
        )
        assert found.groups == ("x", "y", "x")
