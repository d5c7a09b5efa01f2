"""Marks carried down the flow paths, against walking down from every marked cell."""

from __future__ import annotations

import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.kernels.d8 import open_border
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.filling import fill


@given(reference.terrains(), st.data())
def test_every_cell_gets_the_marks_of_all_cells_above(terrain, data):
    z, _, width, height = terrain
    directions = fill(z, open_border(z), width, height)[1]
    flags = np.zeros(z.shape, dtype=np.uint8)
    for cell in reference.data_cells(z):
        flags[cell] = data.draw(st.sampled_from([0, 0, 0, 0, 1, 2, 4, 128, 131]))
    expected = flags.copy()
    for cell in reference.data_cells(z):
        for below in reference.flow_path(directions, cell):
            expected[below] |= flags[cell]
    spread_downstream(directions, flags)
    assert flags.tolist() == expected.tolist()


def test_marks_on_nodata_stay_there():
    z = reference.pad(np.array([[3, 2, np.nan, 1]], dtype=np.float32))
    directions = fill(z, open_border(z), np.ones(3), np.ones(3))[1]
    flags = np.where(np.isnan(z), 1, 2).astype(np.uint8)
    before = flags.copy()
    spread_downstream(directions, flags)
    assert np.array_equal(flags, before)
