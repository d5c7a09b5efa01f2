"""Counts and sums along flow paths, against walking down from every cell."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.kernels import accumulation
from snakeshed.kernels.accumulation import accumulate, count_and_measure, count_upslope
from snakeshed.kernels.cell_sizes import CellSizes, between, even_rows
from snakeshed.kernels.d8 import NODATA, index_type, open_border
from snakeshed.kernels.filling import fill


@st.composite
def drained(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Directions without cycles, and the terrain that they were made of."""
    z, _, width, height = draw(reference.terrains())
    return fill(z, open_border(z), width, height)[1], z


def test_a_worked_example():
    directions = np.full((5, 6), NODATA, dtype=np.uint8)
    directions[1:-1, 1:-1] = [[4, 5, 6, 6], [3, 4, 5, NODATA], [2, 1, 0, 7]]
    assert count_upslope(directions)[1:-1, 1:-1].tolist() == [
        [1, 1, 1, 1],
        [1, 7, 2, 0],
        [1, 1, 11, 1],
    ]


@given(drained())
@examples(1000)
def test_every_cell_counts_once_along_its_flow_path(terrain):
    directions, z = terrain
    expected = np.zeros(z.shape, dtype=np.int64)
    for cell in reference.data_cells(z):
        for below in reference.flow_path(directions, cell):
            expected[below] += 1
    counts = count_upslope(directions)
    assert counts.dtype == np.int32
    assert counts.tolist() == expected.tolist()
    for threads in (2, 3, 7):
        assert np.array_equal(count_upslope(directions, threads), counts)
    for rows in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accumulation, "ROWS_AT_ONCE", rows)
            assert np.array_equal(count_upslope(directions), counts)
            assert np.array_equal(count_upslope(directions, 2), counts)
    # Conserved: what drains outside is all there is.
    assert counts[directions == 0].sum() == len(reference.data_cells(z))


@st.composite
def sizes_of(draw: st.DrawFn, shape: tuple[int, int]) -> CellSizes:
    """Sizes that differ from row to row alone, or also between columns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        return even_rows(rng.uniform(1, 30, shape[0]), rng.uniform(1, 30, shape[0]))
    bits = draw(st.integers(0, 4))
    offset = draw(st.integers(0, 2**bits - 1))
    nodes = rng.uniform(1, 900, (shape[0], ((shape[1] + offset) >> bits) + 2))
    return CellSizes(nodes, nodes, nodes, 0 * nodes, bits, offset)


@given(drained(), st.data())
@examples(300)
def test_areas_are_those_of_the_cells_and_add_up_with_the_counts(terrain, data):
    directions, _ = terrain
    sizes = data.draw(sizes_of(directions.shape))
    own = np.zeros(directions.shape, np.int64)
    for i, j in np.argwhere(directions != NODATA):
        own[i, j] = np.rint(between(sizes.area_m2, sizes.bits, sizes.offset, i, j) * 1e6)
    areas = accumulate(directions, own)
    for threads in (1, 2, 5):
        both = count_and_measure(directions, sizes, threads)
        assert np.array_equal(both[0], count_upslope(directions))
        assert np.array_equal(both[1], areas)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_what_crosses_the_bands_to_and_fro_is_counted(threads):
    # A path that winds up and down through all rows, column by column, and one cell beside it.
    directions = np.full((7, 10), NODATA, dtype=np.uint8)
    directions[1:6, 1:9:2] = 5
    directions[1:6, 2:9:2] = 1
    directions[5, 1:8:2] = 3
    directions[1, 2:8:2] = 3
    directions[1, 8] = 0
    counts = count_upslope(directions, threads)
    assert counts[1:6, 1].tolist() == [1, 2, 3, 4, 5]
    assert counts[1:6, 8].tolist() == [40, 39, 38, 37, 36]


@given(drained())
def test_a_huge_array_is_counted_with_larger_integers(terrain):
    directions, _ = terrain
    expected = count_upslope(directions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulation, "index_type", lambda _: np.int64)
        counts = count_upslope(directions)
    assert counts.dtype == np.int64
    assert np.array_equal(counts, expected)


def test_integers_are_as_large_as_the_array_needs():
    assert index_type(2**31 - 1) is np.int32
    assert index_type(2**31) is np.int64


@given(drained())
def test_weights_of_one_give_the_counts(terrain):
    directions, z = terrain
    weights = np.where(np.isnan(z), np.nan, 1.0)
    assert np.array_equal(accumulate(directions, weights), count_upslope(directions))


@given(drained(), st.integers(1, 4))
def test_integers_are_summed_exactly(terrain, threads):
    directions, z = terrain
    weights = np.random.default_rng(z.size).integers(0, 2**50, z.shape)
    expected = np.zeros(z.shape, dtype=object)
    for cell in reference.data_cells(z):
        for below in reference.flow_path(directions, cell):
            expected[below] += int(weights[cell])
    sums = accumulate(directions, weights, threads)
    assert sums.dtype == np.int64
    assert sums.tolist() == expected.tolist()


@given(drained(), st.integers(0, 2**32), st.integers(0, 3), st.integers(0, 3))
def test_a_sum_does_not_depend_on_the_array_around_it(terrain, seed, above, left):
    directions, _ = terrain
    weights = np.random.default_rng(seed).random(directions.shape)
    sums = accumulate(directions, weights)
    around = ((above, 2), (left, 1))
    wider = accumulate(np.pad(directions, around, constant_values=NODATA), np.pad(weights, around))
    rows, columns = directions.shape
    # Equal to the last bit: the summands come in the same order.
    assert np.array_equal(wider[above : above + rows, left : left + columns], sums)


@given(drained(), st.integers(0, 2**32))
def test_a_sum_does_not_depend_on_what_drains_elsewhere(terrain, seed):
    directions, z = terrain
    weights = np.random.default_rng(seed).random(z.shape)
    sums = accumulate(directions, weights)
    cells = reference.data_cells(z)
    if not cells:
        return
    outlet = cells[seed % len(cells)]
    alone = np.full(z.shape, NODATA, dtype=np.uint8)
    for cell in reference.upslope(directions, outlet):
        alone[cell] = directions[cell]
    alone[outlet] = 0
    assert accumulate(alone, weights)[outlet] == sums[outlet]
    expected = sum(weights[cell] for cell in reference.upslope(directions, outlet))
    assert np.isclose(sums[outlet], expected, rtol=1e-12)
