"""Carving against a plain reference and by its invariants, on worked, random and real terrain."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.kernels import basin_graph
from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.carving import carve
from snakeshed.kernels.d8 import FLAT, NODATA, neighbour_offsets, open_border
from snakeshed.kernels.filling import fill
from snakeshed.kernels.steepest_descent import steepest_descent
from snakeshed.kernels.water_at_rim import pools_at_rim


def carved(z: list | np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Directions of an array without padding, whose rim and nodata are outlets."""
    padded = reference.pad(np.asarray(z, dtype=dtype))
    ones = np.ones(len(padded))
    return carve(padded, open_border(padded), ones, ones)[1:-1, 1:-1]


def test_water_leaves_a_pit_by_the_way_it_came_in():
    z = [
        [9, 9, 9, 9, 9, 9],
        [9, 8, 7, 8, 9, 9],
        [9, 8, 3, 6, 4, 2],
        [9, 8, 7, 8, 9, 9],
        [9, 9, 9, 9, 9, 9],
    ]
    # The saddle is the 6, which drains to the 3 in the west (steeper than to the 4): the 3 now
    # drains to it, and it to the 4. All others stay as they were: around the 3, towards it.
    directions = carved(z)
    assert directions[1:4, 1:5].tolist() == [[4, 5, 6, 5], [3, 3, 3, 3], [2, 1, 8, 1]]
    assert directions[2, 5] == 0


def test_one_pit_spills_into_the_next():
    # A corridor with two pits, 1 and 2, and the sea in the east: 1 spills over 5 into 2, which
    # spills over 6. The walls of 9 drain into it.
    corridor = [8, 1, 5, 2, 6, 0]
    directions = carved([[9] * 6, corridor, [9] * 6])
    assert directions[1].tolist() == [3, 3, 3, 3, 3, 0]
    # With a way out in the west that is lower than both saddles, 2 spills into 1 instead.
    directions = carved([[9] * 6, [4, 1, 5, 2, 6, 0], [9] * 6])
    assert directions[1].tolist() == [0, 7, 7, 7, 3, 0]


def test_a_lake_drains_towards_the_cell_where_its_outlet_begins():
    z = np.full((5, 8), 9)
    z[1:4, 1:6] = 5
    z[2, 6:] = 7, 1
    # The 7 drains to the 1. Of the three lake cells beside it the first by row spills into it, and
    # all others take the first direction (N, NE, E, ...) that leads a step nearer to that one.
    assert carved(z)[1:4, 1:].tolist() == [
        [3, 3, 3, 3, 4, 4, 5],
        [2, 2, 2, 2, 1, 3, 0],
        [2, 2, 2, 1, 1, 2, 1],
    ]


def test_the_first_saddle_decides_between_equal_ones():
    # Ways out of 6 in the north, east, south and west: the northern one is the first by row.
    z = [[9, 6, 9], [6, 1, 6], [9, 6, 9]]
    assert carved(z)[1, 1] == 1
    assert carved(np.rot90([*z[:2], [9, 9, 9]], 2))[1, 1] == 7


def test_a_saddle_may_be_higher_on_its_far_side():
    # The basin's lowest saddle lies between its own 5, which is its pit, and the 7 in the east.
    assert carved([[9, 9, 9, 9], [9, 5, 7, 1], [9, 9, 9, 9]])[1].tolist() == [3, 3, 3, 0]
    assert carved([[9, 9, 9, 9], [1, 7, 5, 9], [9, 9, 9, 9]])[1].tolist() == [0, 7, 7, 7]


def test_water_goes_around_missing_ground_but_into_larger_nodata():
    z = reference.pad(np.array([[9, 9, 9, 9], [5, 4, 3, 9], [9, 9, 9, 9]], dtype=np.float32))
    z[2, 2] = np.nan
    around = open_border(reference.pad(np.zeros((3, 4), dtype=np.float32)))
    around[2, 2] = 0
    ones = np.ones(len(z))
    directions = carve(z, around, ones, ones)
    # All saddles are 9s; the first by row is in the north-west. From there it falls to the 5.
    assert directions[2, 3] == 8
    assert directions[1, 1:3].tolist() == [5, 7]
    assert carve(z, open_border(z), ones, ones)[2, 3] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2), (5, 6)])
def test_constant_ground_drains_to_its_rim(shape):
    directions = carved(np.full(shape, 4.0))
    inner = directions[1:-1, 1:-1]
    assert (inner > 0).all()
    assert np.count_nonzero(directions == 0) == directions.size - inner.size


def test_no_data_at_all():
    assert (carved(np.full((3, 4), np.nan)) == NODATA).all()
    assert carved(np.empty((0, 0))).shape == (0, 0)


def test_arrays_that_do_not_fit_are_refused():
    z = reference.pad(np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="one value for each of 5 rows"):
        carve(z, open_border(z), np.ones(4), np.ones(5))


@examples(1000)
@given(reference.terrains())
def test_carved_as_the_reference_carves(terrain):
    z, border, width, height = terrain
    before = z.copy()
    if reference.has_closed_piece(z, border):
        with pytest.raises(ValueError, match="have no way outside: each needs a border cell"):
            carve(z, border, width, height)
        return
    directions = carve(z, border, width, height)
    assert np.array_equal(z, before, equal_nan=True)
    assert directions.tolist() == reference.carve(z, border, width, height).tolist()


@examples(1000)
@given(reference.terrains())
def test_every_cell_drains_over_the_level_of_the_filled_surface(terrain):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        return
    directions = carve(z, border, width, height)
    filled = reference.priority_flood(z, border)
    raw = steepest_descent(z, border, width, height)
    for cell in reference.data_cells(z):
        path = reference.flow_path(directions, cell)
        assert border[path[-1]]
        assert max(z[on_path] for on_path in path) == filled[cell]
        if directions[cell] != raw[cell] and raw[cell] != FLAT:
            below = reference.neighbours(cell)[raw[cell] - 1]
            assert filled[below] > z[below]


def highest_below(z: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Elevation of the highest cell on each cell's way outside, all cells at once.

    Every round doubles the part of the way that is known: as many rounds as a flow path can need,
    so that water which goes round in a circle is found out too.
    """
    cells = np.arange(z.size)
    codes = directions.ravel()
    offsets = np.zeros(256, dtype=np.int64)
    offsets[:9] = neighbour_offsets(z.shape[1])
    highest = z.ravel().copy()
    onward = cells + offsets[codes]
    for _ in range(z.size.bit_length()):
        highest = np.fmax(highest, highest[onward])
        onward = onward[onward]
    assert np.isin(codes[onward], [0, NODATA]).all()
    return highest.reshape(z.shape)


def assert_carved(z: np.ndarray, width_m: float, height_m: float) -> None:
    """Each cell drains, over no higher ground than the filled surface says it must."""
    padded = reference.pad(z)
    before = padded.copy()
    border = open_border(padded)
    sizes = np.full(len(padded), width_m), np.full(len(padded), height_m)
    directions = carve(padded, border, *sizes)
    assert np.array_equal(padded, before, equal_nan=True)
    assert np.array_equal(carve(padded, border, *sizes, threads=2), directions)
    filled, _ = fill(padded, border, *sizes)
    assert np.array_equal(highest_below(padded, directions), filled, equal_nan=True)
    outside = directions == 0
    assert (border[outside] > 0).all()
    assert count_upslope(directions)[outside].sum() == np.count_nonzero(~np.isnan(z))
    # Off the flats, another direction than the surface's has only what falls into a depression.
    raw = steepest_descent(padded, border, *sizes)
    redirected = np.flatnonzero((directions != raw) & (raw != FLAT))
    below = redirected + neighbour_offsets(padded.shape[1])[raw.ravel()[redirected]]
    assert redirected.size > 0
    assert (filled > padded).ravel()[below].all()


@reference.needs_speed
@pytest.mark.parametrize("name", ["station-fire", "santiago-fire", "colorado-fire-2022"])
def test_real_dems_are_carved_to_the_level_they_are_filled_to(shared_data, name):
    with rasterio.open(shared_data(name) / "dem.tif") as file:
        z = file.read(1).astype(np.float32)
        z[z == file.nodata] = np.nan
        assert_carved(z, *file.res)


@reference.needs_speed
@pytest.mark.parametrize("coarsened", [1, 16])
def test_a_sample_dem_is_carved_to_the_level_it_is_filled_to(coarsened):
    assert_carved(np.round(reference.jacksboro() / coarsened), 74.4, 92.5)


@reference.needs_speed
def test_thousands_of_lakes_in_lakes():
    z = np.random.default_rng(5).integers(0, 40, (400, 300)).astype(np.float64)
    assert_carved(z, 1.0, 1.0)


@given(reference.terrains())
def test_indices_of_a_huge_array_give_the_same(terrain):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        return
    expected = carve(z, border, width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basin_graph, "index_type", lambda _: np.int64)
        assert np.array_equal(carve(z, border, width, height), expected)


@given(reference.terrains(), st.integers(2, 9))
def test_any_number_of_threads_gives_the_same(terrain, threads):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        with pytest.raises(ValueError, match="have no way outside"):
            carve(z, border, width, height, threads)
        return
    expected = carve(z, border, width, height)
    assert np.array_equal(carve(z, border, width, height, threads), expected)


@reference.needs_speed
@pytest.mark.parametrize("coarsened", [1, 16])
def test_threads_meet_in_valleys_and_plateaus_of_real_ground(coarsened):
    z = reference.pad(np.round(reference.jacksboro() / coarsened))
    ones = np.ones(len(z))
    expected = carve(z, open_border(z), ones, ones)
    for threads in (2, 3, 7, len(z)):
        assert np.array_equal(carve(z, open_border(z), ones, ones, threads), expected)


def test_no_thread_at_all_is_refused():
    z = reference.pad(np.ones((2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="0 threads: at least 1 is needed"):
        carve(z, open_border(z), np.ones(4), np.ones(4), threads=0)


@reference.needs_speed
@pytest.mark.parametrize("step", [1.0, 8.0])
def test_a_window_is_carved_as_the_whole(step):
    whole = reference.pad(np.round(reference.jacksboro() / step))
    ring = np.s_[60:222, 100:292]
    small = whole[ring].copy()
    small[[0, -1]] = small[:, [0, -1]] = np.nan
    inside = ~np.isnan(small)
    ones = np.ones(len(whole))

    def routed(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sizes = ones[: len(z)], ones[: len(z)]
        return carve(z, open_border(z), *sizes), *fill(z, open_border(z), *sizes)

    carved_whole, filled_whole, routed_whole = (array[ring] for array in routed(whole))
    carved_small, filled_small, routed_small = routed(small)
    # What the window cuts may be carved another way: its rim, and the pools that reach it there or
    # in the whole. Nothing else may.
    rim = open_border(small) > 0
    there = np.where(inside, filled_whole, np.nan), np.where(inside, routed_whole, NODATA)
    cut = rim | pools_at_rim(small, filled_small, routed_small, np.flatnonzero(rim))
    cut |= pools_at_rim(small, *there, np.flatnonzero(rim))
    assert np.count_nonzero(cut) < 0.5 * np.count_nonzero(inside)
    assert np.array_equal(carved_small[inside & ~cut], carved_whole[inside & ~cut])
    assert ((carved_small != routed_small) & ~cut).any()
