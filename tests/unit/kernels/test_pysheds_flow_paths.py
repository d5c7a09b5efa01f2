"""What is passed down flow paths, against definitions cell by cell.

Weights are halves and quarters, so that no order of summation changes a bit.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from random_flow import below, cells, donors, flow_directions

from snakeshed.kernels.accumulation import accumulate
from snakeshed.kernels.d8 import NODATA
from snakeshed.kernels.pysheds_flow_paths import (
    accumulate_with_losses,
    distance_to_outlet,
    distance_to_ridge,
)


def weights_of(directions: np.ndarray) -> st.SearchStrategy[np.ndarray]:
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])
    return hnp.arrays(np.float64, directions.shape, elements=values)


@given(flow_directions(), st.data())
def test_each_cell_passes_on_its_share(directions, data):
    weights, efficiency = data.draw(weights_of(directions)), data.draw(weights_of(directions))
    before = weights.copy()
    sums = accumulate_with_losses(directions, weights, efficiency)

    def plain(cell):
        above = donors(directions, cell)
        return weights[cell] + sum(plain(donor) * efficiency[donor] for donor in above)

    for cell in cells(directions):
        assert sums[cell] == plain(cell)
    assert np.array_equal(weights, before)
    lossless = accumulate_with_losses(directions, weights, np.ones(weights.shape))
    inside = directions != NODATA
    assert np.array_equal(lossless[inside], accumulate(directions, weights)[inside])


@given(flow_directions(), st.data())
def test_the_ridge_is_at_the_end_of_the_longest_path(directions, data):
    weights = data.draw(weights_of(directions))
    distances = distance_to_ridge(directions, weights)

    def plain(cell):
        above = donors(directions, cell)
        return max((plain(donor) + weights[cell] for donor in above), default=0.0)

    for cell in cells(directions):
        assert distances[cell] == plain(cell)


@given(flow_directions(cycles=True), st.data())
def test_the_outlet_is_at_the_end_of_each_path(directions, data):
    weights = data.draw(weights_of(directions))
    outlet = data.draw(st.sampled_from(cells(directions) or [(0, 0)]))
    distances = distance_to_outlet(directions, weights, outlet[0] * directions.shape[1] + outlet[1])
    for start in cells(directions):
        cell, length, passed = start, 0.0, set()
        while cell is not None and cell != outlet and cell not in passed:
            passed.add(cell)
            length += weights[cell]
            cell = below(directions, cell)
        assert distances[start] == (length if cell == outlet else math.inf)


@pytest.mark.parametrize("pass_down", [accumulate_with_losses, distance_to_ridge])
@given(flow_directions(cycles=True))
def test_cycles_are_survived(pass_down, directions):
    ones = np.ones(directions.shape)
    arguments = (ones, ones) if pass_down is accumulate_with_losses else (ones,)
    assert np.isfinite(pass_down(directions, *arguments)).all()


def test_a_wide_catchment_needs_more_room():
    """A comb of 3,000 cells that wait to be looked at."""
    directions = np.full((5, 3002), NODATA, dtype=np.uint8)
    directions[1, 1:-1] = 5
    directions[2, 1:-1] = 3
    directions[3, 1:-1] = 1
    directions[2, -2] = 0
    distances = distance_to_outlet(directions, np.ones(directions.shape), 2 * 3002 + 3000)
    assert distances[2, 1:-1].tolist() == list(range(2999, -1, -1))
    assert distances[1, 1] == distances[3, 1] == 3000
