"""Directions in flats, worked by hand; random ones are in test_filling.py."""

from __future__ import annotations

import numpy as np
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
