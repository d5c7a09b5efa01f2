"""Drops and lengths of the steps from cell to cell."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from random_flow import below, cells, flow_directions

from snakeshed.kernels.pysheds_flow_paths import drops, lengths


@given(flow_directions(cycles=True), st.data())
def test_a_drop_is_the_height_above_the_cell_below(directions, data):
    shape = directions.shape[0] - 2, directions.shape[1] - 2
    z = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-9, 9).map(float)))
    result = drops(z, directions)
    for i, j in cells(directions):
        next_i, next_j = below(directions, (i, j)) or (i, j)
        assert result[i - 1, j - 1] == z[i - 1, j - 1] - z[next_i - 1, next_j - 1]


def test_lengths_are_those_of_the_directions():
    numbers = np.array([[64, 128, 1], [2, 4, 8], [16, 32, 7]])
    dirmap = (64, 128, 1, 2, 4, 8, 16, 32)
    assert lengths(numbers, dirmap, 3.0, 4.0).tolist() == [[4, 5, 3], [5, 4, 5], [3, 5, 0]]
    assert lengths(numbers.T, dirmap, 3.0, 4.0)[1, 0] == 5
    assert math.isclose(lengths(numbers, dirmap, 1.0, 1.0)[0, 1], math.sqrt(2))
