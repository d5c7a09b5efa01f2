"""Directions in flats, worked by hand and against a search cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from snakeshed.kernels.d8 import FLAT, NODATA
from snakeshed.kernels.flats import drain_flats


def resolved(z: list, directions: list) -> list:
    codes = np.pad(np.array(directions, dtype=np.uint8), 1, constant_values=NODATA)
    drain_flats(reference.pad(np.array(z, dtype=np.float32)), codes)
    return codes[1:-1, 1:-1].tolist()


def test_the_nearest_outlet_attracts():
    # A corridor of seven cells; the outlets are its two ends.
    assert resolved([[2] * 7], [[7, 9, 9, 9, 9, 9, 3]]) == [[7, 7, 7, 3, 3, 3, 3]]
    assert resolved([[2] * 7], [[0, 9, 9, 9, 9, 9, 9]]) == [[0, 7, 7, 7, 7, 7, 7]]


def test_the_order_of_the_directions_decides_between_equal_ways():
    directions = [[9, 9, 9], [9, 5, 9], [9, 9, 9]]
    assert resolved(np.full((3, 3), 1), directions) == [[4, 5, 6], [3, 5, 7], [2, 1, 8]]
    directions = [[5, 9, 5], [9, 9, 9], [5, 9, 5]]
    assert resolved(np.full((3, 3), 1), directions) == [[5, 3, 5], [1, 2, 1], [5, 3, 5]]


def test_water_winds_around_higher_ground():
    z = [
        [3, 3, 3, 3, 3],
        [8, 8, 8, 8, 3],
        [3, 3, 3, 3, 3],
        [3, 8, 8, 8, 8],
        [3, 3, 3, 3, 3],
    ]
    assert resolved(
        z, [[FLAT if value == 3 else 5 for value in row] for row in z[:-1]] + [[9, 9, 9, 9, 3]]
    ) == [
        [3, 3, 3, 4, 5],
        [5, 5, 5, 5, 6],
        [5, 6, 7, 7, 7],
        [4, 5, 5, 5, 5],
        [3, 3, 3, 3, 3],
    ]


def test_a_flat_without_an_outlet_stays():
    assert resolved([[3, 3, 1]], [[9, 9, 0]]) == [[9, 9, 0]]
    assert resolved([[3, 3], [4, 4]], [[9, 9], [0, 9]]) == [[9, 9], [0, 7]]


def test_flats_around_the_eights_in_which_codes_are_looked_at():
    for columns in range(1, 40):
        directions = [[7] + [9] * columns]
        assert resolved([[2] * (columns + 1)], directions) == [[7] * (columns + 1)]
        assert resolved([[1] + [2] * columns], [[0] + [9] * columns]) == [[0] + [9] * columns]


@pytest.mark.parametrize("levels", [1, 2, 3, 40])
@pytest.mark.parametrize("open_share", [0.0, 0.002, 0.2])
def test_wide_flats_equal_a_search_cell_by_cell(levels, open_share):
    rng = np.random.default_rng(levels)
    z = reference.pad(rng.integers(0, levels, (60, 50)).astype(np.float32))
    z[20:30, 10:40] = 0
    z[40:45, 5] = np.nan
    directions = np.where(np.isnan(z), NODATA, FLAT).astype(np.uint8)
    exits = [cell for cell in reference.data_cells(z) if rng.random() < open_share]
    for cell in exits:
        directions[cell] = 0
    expected = directions.copy()
    reference.drain_flats(z, exits, expected)
    for threads in (1, 2, 3, 30):
        drained = directions.copy()
        drain_flats(z, drained, threads)
        assert np.array_equal(drained, expected)
