"""The nearest drainage, against a walk down from every cell."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from random_flow import below, cells, channels, flow_directions

from snakeshed.kernels.d8 import NODATA
from snakeshed.kernels.height_above_drainage import nearest_drainage


@given(flow_directions(cycles=True), st.data())
def test_the_nearest_channel_is_the_first_one_below(directions, data):
    mask = data.draw(channels(directions))
    nearest = nearest_drainage(directions, mask)
    for start in cells(directions):
        cell, passed = start, set()
        while cell is not None and cell not in passed and not mask[cell]:
            passed.add(cell)
            cell = below(directions, cell)
        found = cell is not None and mask[cell]
        columns = directions.shape[1] - 2
        expected = (cell[0] - 1) * columns + cell[1] - 1 if found else -1
        assert nearest[start] == expected
    assert (nearest[directions == NODATA] == -1).all()


def test_a_worked_example():
    directions = np.full((4, 6), NODATA, dtype=np.uint8)
    directions[1:3, 1:5] = [[3, 3, 5, 7], [3, 7, 3, 0]]
    mask = np.zeros((4, 6), dtype=bool)
    mask[2, 3] = True
    assert nearest_drainage(directions, mask)[1:3, 1:5].tolist() == [
        [6, 6, 6, 6],
        [-1, -1, 6, -1],  # a cycle, the channel, and what is below it
    ]
