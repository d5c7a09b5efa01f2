"""Catchments against a breadth-first search from each outlet."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.catchments import preorder, upslope_mask
from snakeshed.kernels.d8 import NODATA, open_border
from snakeshed.kernels.filling import fill


@st.composite
def drained(draw: st.DrawFn) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Directions without cycles, and some of their cells, in any order, some of them twice."""
    z, _, width, height = draw(reference.terrains().filter(lambda t: not np.isnan(t[0]).all()))
    directions = fill(z, open_border(z), width, height)[1]
    return directions, draw(st.lists(st.sampled_from(reference.data_cells(z)), max_size=9))


def catchments(directions: np.ndarray, outlets: list[tuple[int, int]]) -> list[np.ndarray]:
    counts = count_upslope(directions)
    flat = np.array([i * directions.shape[1] + j for i, j in outlets], dtype=np.int64)
    cells, starts = preorder(directions, counts, flat)
    assert len(set(cells.tolist())) == len(cells)
    return [
        cells[start : start + size]
        for start, size in zip(starts, counts.reshape(-1)[flat], strict=True)
    ]


def test_a_worked_example():
    directions = np.full((4, 5), NODATA, dtype=np.uint8)
    directions[1:-1, 1:-1] = [[4, 5, 6], [3, 0, 7]]
    # The outlet, then its donors N, NE, E, SE, S, SW, W, NW.
    assert [c.tolist() for c in catchments(directions, [(2, 2), (1, 3)])] == [
        [12, 7, 8, 13, 11, 6],
        [8],
    ]


@given(drained())
def test_equal_to_a_breadth_first_search(terrain):
    directions, outlets = terrain
    for outlet, catchment in zip(outlets, catchments(directions, outlets), strict=True):
        cells = [divmod(cell, directions.shape[1]) for cell in catchment.tolist()]
        assert cells[0] == outlet
        assert set(cells) == reference.upslope(directions, outlet)
        assert len(cells) == len(set(cells))
        # Each cell after the one that it drains to.
        place = {cell: n for n, cell in enumerate(cells)}
        for cell in cells[1:]:
            assert place[reference.flow_path(directions, cell)[1]] < place[cell]


@given(drained())
def test_the_order_of_a_catchment_depends_on_no_other_outlet(terrain):
    directions, outlets = terrain
    together = catchments(directions, outlets)
    for outlet, catchment in zip(outlets, together, strict=True):
        assert catchments(directions, [outlet])[0].tolist() == catchment.tolist()


@given(drained())
def test_one_catchment_without_counts(terrain):
    directions, outlets = terrain
    for outlet in outlets:
        mask = upslope_mask(directions, outlet[0] * directions.shape[1] + outlet[1])
        assert set(zip(*mask.nonzero(), strict=True)) == reference.upslope(directions, outlet)


def test_a_circle_of_directions_from_elsewhere_is_walked_once():
    directions = np.full((4, 5), NODATA, dtype=np.uint8)
    directions[1:-1, 1:-1] = [[3, 5, 7], [1, 7, 7]]
    assert np.flatnonzero(upslope_mask(directions, 6)).tolist() == [6, 7, 8, 11, 12, 13]


def test_no_outlets():
    directions = np.full((3, 3), NODATA, dtype=np.uint8)
    directions[1, 1] = 0
    cells, starts = preorder(directions, count_upslope(directions), np.empty(0, dtype=np.int64))
    assert (cells.size, starts.size) == (0, 0)


def test_many_nested_outlets_take_the_room_of_their_union():
    # One river of 3,000 cells, each of them an outlet: 4.5 million cells if they were told apart.
    directions = np.full((3, 3002), NODATA, dtype=np.uint8)
    directions[1, 1:-1] = 7
    directions[1, 1] = 0
    outlets = np.arange(3003, 6003)
    cells, starts = preorder(directions, count_upslope(directions), outlets)
    assert np.array_equal(cells, outlets)
    assert np.array_equal(starts, outlets - 3003)


@pytest.mark.parametrize("outlet", [-1, 0, 12, 20])
def test_an_outlet_without_data_is_refused(outlet):
    directions = np.full((4, 5), NODATA, dtype=np.uint8)
    directions[1:-1, 1:-1] = [[4, 5, 6], [3, NODATA, 7]]
    counts = np.zeros(directions.shape, dtype=np.int32)
    with pytest.raises(ValueError, match=f"no data at 1 of the outlets, the first .* {outlet}$"):
        preorder(directions, counts, np.array([6, outlet]))
