"""Water at the rim against plain floods."""

from __future__ import annotations

from collections import deque

import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snakeshed.kernels.d8 import neighbour_offsets
from snakeshed.kernels.water_at_rim import backwater, pools_at_rim

NOWHERE = np.empty(0, np.int64)


def is_pool(z, filled, directions, cell) -> bool:
    """Raised, or without a lower neighbour."""
    heights = [filled[beside] for beside in reference.neighbours(cell)]
    lower = any(height < filled[cell] for height in heights)
    # A cell with a lower neighbour drains to one, whatever lies beside it at its own level.
    return filled[cell] > z[cell] or not lower


def marked_by_hand(z, filled, directions, cut) -> np.ndarray:
    pool = {cell for cell in reference.data_cells(z) if is_pool(z, filled, directions, cell)}
    reached = {(int(i), int(j)) for i, j in np.argwhere(cut)} & pool
    queue = deque(reached)
    while queue:
        for beside in reference.neighbours(queue.popleft()):
            if beside in pool and beside not in reached:
                reached.add(beside)
                queue.append(beside)
    marked = np.zeros(z.shape, bool)
    for cell in reached:
        marked[cell] = True
        for beside in reference.neighbours(cell):
            marked[beside] |= not np.isnan(z[beside])
    return marked


def routed(z, border, width_m, height_m):
    filled = reference.priority_flood(z, border)
    return filled, reference.route(filled, border, width_m, height_m).astype(np.uint8)


@given(reference.terrains(), st.data())
def test_pools_equal_their_reference(terrain, data):
    z, border = terrain[:2]
    if reference.has_closed_piece(z, border):
        return
    filled, directions = routed(*terrain)
    cut = data.draw(hnp.arrays(np.bool_, z.shape)) & ~np.isnan(z)
    np.testing.assert_array_equal(
        pools_at_rim(z, filled, directions, np.flatnonzero(cut)),
        marked_by_hand(z, filled, directions, cut),
    )


def test_a_pond_that_the_rim_cuts_and_one_inside():
    # Ground that falls to the north, to the middle of the first row.
    z = 10.0 + np.arange(7)[:, None] + 0.1 * np.abs(np.arange(9) - 4)
    z[3:5, 1] = 5.0
    z[6, 6:8] = 7.0
    padded = reference.pad(z)
    border = np.zeros(padded.shape, np.uint8)
    border[1, 5] = 1
    sizes = np.ones(9)
    filled, directions = routed(padded, border, sizes, sizes)
    cut = np.zeros(padded.shape, bool)
    cut[7, 1:10] = True
    marked = pools_at_rim(padded, filled, directions, np.flatnonzero(cut))[1:-1, 1:-1]
    expected = np.zeros(z.shape, bool)
    expected[5:7, 5:9] = True
    np.testing.assert_array_equal(marked, expected)
    assert not pools_at_rim(padded, filled, directions, NOWHERE).any()


def test_a_slope_without_pools_has_none_but_where_it_leaves():
    z = reference.pad(np.arange(30.0).reshape(6, 5) + 1)
    border = reference.beside_nodata(z)
    filled, directions = routed(z, border, np.ones(8), np.ones(8))
    marked = pools_at_rim(z, filled, directions, np.flatnonzero(border))
    # The lowest cell is the only one without a lower neighbour.
    assert {(int(i), int(j)) for i, j in np.argwhere(marked)} == {(1, 1), (1, 2), (2, 1), (2, 2)}


# ---- backwater -------------------------------------------------------------------------------


def backed_up_by_hand(filled, directions, cut, rise) -> np.ndarray:
    """Follow each cell to where it leaves, and compare the two elevations."""
    offsets = neighbour_offsets(filled.shape[1])
    marked = np.zeros(filled.shape, bool)
    for start in reference.data_cells(filled):
        cell = start[0] * filled.shape[1] + start[1]
        while directions.flat[cell] != 0:
            cell += offsets[directions.flat[cell]]
        level = float(filled.flat[cell]) + rise
        if cut.flat[cell] and filled[start] <= level:
            marked[start] = True
            for beside in reference.neighbours(start):
                marked[beside] |= filled[beside] <= level
    return marked


@given(reference.terrains(), st.data(), st.sampled_from([0.0, 0.5, 1.0, 4.0, 100.0]))
def test_backwater_equals_its_reference(terrain, data, rise):
    z, border = terrain[:2]
    if reference.has_closed_piece(z, border):
        return
    filled, directions = routed(*terrain)
    cut = data.draw(hnp.arrays(np.bool_, z.shape)) & ~np.isnan(z)
    np.testing.assert_array_equal(
        backwater(filled, directions, np.flatnonzero(cut), rise),
        backed_up_by_hand(filled, directions, cut, rise),
    )


def test_backwater_covers_a_valley_and_spills_over_a_pass():
    # Two valleys fall to the west; a pass of 6.5 m joins them in the third column.
    z = np.array(
        [
            [9.0, 9.0, 9.0, 9.0, 9.0],
            [4.0, 5.0, 6.0, 7.0, 8.0],
            [9.0, 9.0, 6.5, 9.0, 9.0],
            [1.0, 2.0, 3.0, 4.0, 5.0],
            [9.0, 9.0, 9.0, 9.0, 9.0],
        ]
    )
    padded = reference.pad(z)
    border = np.zeros(padded.shape, np.uint8)
    border[2, 1] = border[4, 1] = 1
    filled, directions = routed(padded, border, np.ones(7), np.ones(7))
    cut = np.zeros(padded.shape, bool)
    cut[2, 1] = True
    assert set(
        map(tuple, np.argwhere(backwater(filled, directions, np.flatnonzero(cut), 1.5)[1:-1, 1:-1]))
    ) == {
        (1, 0),
        (1, 1),
    }
    over = backwater(filled, directions, np.flatnonzero(cut), 2.5)[1:-1, 1:-1]
    assert over[1].tolist() == [True, True, True, False, False]
    # The pass drains to the lower valley, where the water then goes.
    assert over[2].tolist() == [False, False, True, False, False]
    assert not backwater(filled, directions, NOWHERE, 100.0).any()
