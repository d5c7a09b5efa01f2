"""Lengths in and around a catchment, by hand and against plain walks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.catchment_shape import flow_lengths, perimeter
from snakeshed.kernels.catchments import preorder
from snakeshed.kernels.cell_sizes import CellSizes, even_rows

SLANT = math.sqrt(2.0)


def padded(directions) -> np.ndarray:
    return np.pad(np.array(directions, np.uint8), 1, constant_values=255)


def lengths(directions, outlet, width_m=None, height_m=None, channel_m2=math.inf, cell_m2=None):
    rows, columns = directions.shape
    ones = np.ones(rows)
    counts = count_upslope(directions)
    flat = np.array([outlet[0] * columns + outlet[1]])
    cells, _ = preorder(directions, counts, flat)
    return flow_lengths(
        cells,
        directions,
        counts,
        even_rows(
            ones if width_m is None else width_m,
            ones if height_m is None else height_m,
            ones if cell_m2 is None else cell_m2,
        ),
        channel_m2,
    )


def test_one_cell_has_no_length():
    assert lengths(padded([[0]]), (1, 1)) == (0.0, 0.0, 0.0)


def test_a_hand_worked_catchment():
    # S  SW W
    # S  W  NW
    # 0  W  255
    directions = padded([[5, 6, 7], [5, 7, 8], [0, 7, 255]])
    longest, channel, basin = lengths(directions, (3, 1), channel_m2=2.0)
    # From (2, 3) by a slant to (1, 2), by another to (2, 1), and south to the outlet.
    assert longest == pytest.approx(2 * SLANT + 1)
    # Cells of two or more: (1, 2) with 3, (2, 1) with 6.
    assert channel == pytest.approx(SLANT + 1)
    assert basin == pytest.approx(math.sqrt(8))


def test_a_step_has_the_size_of_the_cells_of_the_row_where_it_begins():
    directions = padded([[3, 5], [5, 7], [0, 255]])
    width = np.array([0, 2.0, 3.0, 4.0, 0])
    height = np.array([0, 10.0, 11.0, 12.0, 0])
    longest, _, basin = lengths(directions, (3, 1), width, height)
    assert longest == pytest.approx(2 + 10 + 3 + 11)
    # Straight distances take the mean of the two rows' sizes.
    assert basin == pytest.approx(math.hypot(2 * 11.0, (2.0 + 4.0) / 2))


def walked(directions, outlet, width_m, height_m, channel_m2, cell_m2):
    """The same three lengths, from each cell's own path."""
    longest, channel, basin = 0.0, [], 0.0
    for cell in reference.upslope(directions, outlet):
        way = []
        for here in reference.flow_path(directions, cell):
            if here == outlet:
                break
            di, dj = reference.STEPS[directions[here] - 1]
            way.append(math.hypot(di * height_m[here[0]], dj * width_m[here[0]]))
        longest = max(longest, math.fsum(way))
        if cell != outlet:
            if len(reference.upslope(directions, cell)) * cell_m2[cell[0]] >= channel_m2:
                channel.append(way[0])
            east = (cell[1] - outlet[1]) * (width_m[cell[0]] + width_m[outlet[0]]) / 2
            north = (cell[0] - outlet[0]) * (height_m[cell[0]] + height_m[outlet[0]]) / 2
            basin = max(basin, math.hypot(east, north))
    return longest, math.fsum(channel), basin


@given(reference.terrains(), st.sampled_from([0.5, 2.0, 30.0]), st.data())
def test_lengths_equal_their_reference(terrain, channel_m2, data):
    z, border, width_m, height_m = terrain
    cells = reference.data_cells(z)
    if not cells or reference.has_closed_piece(z, border):
        return
    filled = reference.priority_flood(z, border)
    directions = reference.route(filled, border, width_m, height_m).astype(np.uint8)
    outlet = data.draw(st.sampled_from(cells))
    cell_m2 = width_m * height_m
    got = lengths(directions, outlet, width_m, height_m, channel_m2, cell_m2)
    expected = walked(directions, outlet, width_m, height_m, channel_m2, cell_m2)
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("code", "sign"), [(2, 1), (6, 1), (4, -1), (8, -1)])
def test_diagonals_of_cells_that_lean(code, sign):
    """Where columns lean to the east, steps to the north-east are longer than to the south-east."""
    directions = padded([[255, 255, 255], [255, code, 255], [255, 255, 255]])
    row, column = {2: (1, 3), 4: (3, 3), 6: (3, 1), 8: (1, 1)}[code]
    directions[row, column] = 0
    counts = count_upslope(directions)
    cells, _ = preorder(directions, counts, np.array([row * 5 + column]))
    sizes = even_rows(np.full(5, 3.0), np.full(5, 4.0))._replace(skew=np.full((5, 2), 0.5))
    expected = math.sqrt(9 + 16 + sign * 12)
    longest, _, basin = flow_lengths(cells, directions, counts, sizes, math.inf)
    assert longest == basin == pytest.approx(expected)


def test_sizes_change_along_a_row():
    mask = np.pad(np.ones((1, 8), bool), 1)
    nodes = np.tile([1.0, 2.0, 4.0, 8.0], (3, 1))
    sizes = CellSizes(nodes, 2 * nodes, nodes, 0 * nodes, 2, 1)
    # There are four columns from node to node, and the cells begin two columns after the first.
    widths = [1.625, 1.875, 2.25, 2.75, 3.25, 3.75, 4.5, 5.5]
    assert perimeter(mask, sizes) == 2 * sum(widths) + 2 * (widths[0] + widths[-1])


# ---- perimeter -------------------------------------------------------------------------------


def around(rows, width=2.0, height=3.0) -> float:
    mask = np.pad(np.array([[cell == "1" for cell in row] for row in rows]), 1)
    return perimeter(mask, even_rows(np.full(len(mask), width), np.full(len(mask), height)))


@pytest.mark.parametrize(
    ("rows", "sides", "ends"),
    [
        (["1"], 2, 2),
        (["11"], 4, 2),
        (["111", "101", "111"], 8, 8),  # the hole has a border too
        (["10", "01"], 4, 4),
        (["00"], 0, 0),
    ],
)
def test_perimeters_by_hand(rows, sides, ends):
    assert around(rows) == sides * 2.0 + ends * 3.0


@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)),
    st.sampled_from([1.0, 7.5]),
)
def test_the_perimeter_counts_each_side_between_inside_and_outside(mask, width):
    ring = np.pad(mask, 1)
    sides = (ring[1:] != ring[:-1]).sum()
    ends = (ring[:, 1:] != ring[:, :-1]).sum()
    sizes = np.full(len(ring), width), np.full(len(ring), 2.0)
    assert perimeter(ring, even_rows(*sizes)) == pytest.approx(sides * width + ends * 2.0)
