"""Pits and flats, against a look around every cell."""

from __future__ import annotations

import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snakeshed.kernels.pits import fill_pits, find_flats, find_pits

levels = st.one_of(st.integers(0, 2).map(float), st.just(np.nan), st.floats(-9.0, 9.0))
surfaces = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7), elements=levels
)


def around(z: np.ndarray) -> dict[reference.Cell, np.ndarray]:
    """Elevations of the eight neighbours of each cell off the rim."""
    return {
        (i, j): np.array([z[cell] for cell in reference.neighbours((i, j))])
        for i in range(1, z.shape[0] - 1)
        for j in range(1, z.shape[1] - 1)
    }


@given(surfaces)
def test_pits_are_lower_than_all_around_and_flats_not_higher_than_any(z):
    pits, flats = np.zeros(z.shape, dtype=bool), np.zeros(z.shape, dtype=bool)
    for cell, near in around(z).items():
        pits[cell] = (near > z[cell]).all()
        flats[cell] = (near == z[cell]).any() and not (near < z[cell]).any()
    assert np.array_equal(find_pits(z), pits)
    assert np.array_equal(find_flats(z), flats)


@given(surfaces)
def test_a_filled_pit_is_level_with_its_lowest_neighbour(z):
    expected = z.copy()
    for cell, near in around(z).items():
        if (near > z[cell]).all():
            expected[cell] = z[cell] + (near - z[cell]).min()
    fill_pits(z)
    assert np.array_equal(z, expected, equal_nan=True)
