"""Filling and routing against plain references, on worked, random and real terrain."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
import rasterio
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from made_terrain import eroded, fractal, integer_flats
from numba import njit
from scipy import ndimage

from snakeshed.kernels import basin_graph
from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.d8 import FLAT, NODATA, open_border
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.filling import fill, flood
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent


def filled_and_routed(
    z: np.ndarray, width_m: float = 1.0, height_m: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Of an array without padding, whose rim and nodata are outlets."""
    padded = reference.pad(np.asarray(z, dtype=np.result_type(z, np.float32)))
    rows = len(padded)
    filled, directions = fill(
        padded, open_border(padded), np.full(rows, width_m), np.full(rows, height_m)
    )
    return filled[1:-1, 1:-1], directions[1:-1, 1:-1]


def test_a_lake_spills_over_its_lowest_saddle():
    z = [
        [9, 9, 9, 9, 9, 9, 9],
        [9, 5, 5, 9, 9, 9, 9],
        [9, 5, 2, 6, 3, 9, 9],
        [9, 5, 5, 9, 3, 7, 1],
        [9, 9, 9, 9, 9, 9, 9],
        [9, 9, 8, 9, 4, 9, 9],
        [9, 9, 9, 9, 9, 9, 9],
    ]
    filled, directions = filled_and_routed(np.array(z, dtype=np.float32))
    # The western lake would spill into the eastern at 6, which leaves over 7: both fill up to 7.
    # The holes in the south have no lower saddle than the 9 around them.
    assert filled.tolist() == [
        [9, 9, 9, 9, 9, 9, 9],
        [9, 7, 7, 9, 9, 9, 9],
        [9, 7, 7, 7, 7, 9, 9],
        [9, 7, 7, 9, 7, 7, 1],
        [9, 9, 9, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9],
    ]
    # Through the lake, step by step, to the cell above the 1.
    assert directions[2:4, 1:6].tolist() == [[2, 3, 3, 4, 4], [2, 2, 1, 3, 3]]


def test_a_plateau_drains_to_its_nearest_outlet():
    z = np.full((5, 7), 4.0, dtype=np.float32)
    z[2, 6] = 1.0
    filled, directions = filled_and_routed(z)
    assert np.array_equal(filled, z)
    # The outlets are the rim, where each cell without a lower neighbour drains outside, and the
    # cells beside the hole in the east. All others are one or two steps away.
    assert directions.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 4, 5],
        [0, 6, 1, 1, 2, 3, 0],
        [0, 4, 4, 4, 2, 2, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_water_goes_around_missing_ground_but_into_larger_nodata():
    z = reference.pad(np.array([[9, 9, 9, 9], [5, 4, 3, 9], [9, 9, 9, 9]], dtype=np.float32))
    z[2, 2] = np.nan
    around = open_border(reference.pad(np.zeros((3, 4), dtype=np.float32)))
    around[2, 2] = 0
    into = open_border(z)
    ones = np.ones(len(z))
    filled, directions = fill(z, around, ones, ones)
    assert (filled[2, 3], directions[2, 3]) == (9, 1)
    filled, directions = fill(z, into, ones, ones)
    assert (filled[2, 3], directions[2, 3]) == (3, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2), (5, 6)])
@pytest.mark.parametrize("level", [-3.5, 0.0, 1e30])
def test_constant_ground_stays_as_it_is(shape, level):
    filled, directions = filled_and_routed(np.full(shape, level))
    assert (filled == level).all()
    inner = directions[1:-1, 1:-1]
    assert (inner > 0).all()
    assert np.count_nonzero(directions == 0) == directions.size - inner.size


def test_no_data_at_all():
    filled, directions = filled_and_routed(np.full((3, 4), np.nan, dtype=np.float32))
    assert np.isnan(filled).all()
    assert (directions == NODATA).all()
    assert filled_and_routed(np.empty((0, 0), dtype=np.float32))[0].shape == (0, 0)


def test_the_terrain_itself_is_not_changed():
    z = reference.pad(np.array([[9, 9, 9], [9, 1, 9], [9, 9, 9]], dtype=np.float32))
    before = z.copy()
    filled, _ = fill(z, open_border(z), np.ones(5), np.ones(5))
    assert filled[2, 2] == 9
    assert np.array_equal(z, before, equal_nan=True)


@given(reference.terrains())
@examples(2000)
def test_filled_as_a_priority_flood_fills_and_routed_as_the_reference_routes(terrain):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        with pytest.raises(ValueError, match="have no way outside"):
            fill(z, border, width, height)
        return
    filled, directions = fill(z, border, width, height)
    assert filled.dtype == z.dtype
    assert np.array_equal(filled, reference.priority_flood(z, border), equal_nan=True)
    assert np.array_equal(flood(z, border, width, height), filled, equal_nan=True)
    assert directions.tolist() == reference.route(filled, border, width, height).tolist()
    for cell in reference.data_cells(z):
        assert border[reference.flow_path(directions, cell)[-1]]


@given(reference.terrains())
@examples(500)
def test_basins_are_those_of_the_pits(terrain):
    z, border, width, height = terrain
    directions = steepest_descent(z, border, width, height)
    drain_flats(z, directions)
    in_pit = np.zeros(z.shape, dtype=bool)
    pits = []
    for cell in reference.data_cells(z):
        if not in_pit[cell]:
            plateau = flat_around(z, cell)
            members = [tuple(member) for member in np.argwhere(plateau)]
            if not any(border[m] or reference.steepest(z, m, width, height) for m in members):
                pits.append(cell)
                in_pit |= plateau
    for threads, rows in itertools.product((1, 2, 3), (1, 2, 32)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(basin_graph, "ROWS_AT_ONCE", rows)
            labels, basins = basin_graph.label_basins(directions, threads)
        assert basins == len(pits)
        assert sorted(labels[cell] for cell in pits) == list(range(1, basins + 1))
        assert (labels[np.isnan(z)] < 0).all()
        for cell in reference.data_cells(z):
            if directions[cell] == FLAT:
                assert in_pit[cell]
                around = [n for n in reference.neighbours(cell) if in_pit[n]]
                assert {labels[n] for n in around} <= {labels[cell]}
            elif directions[cell] == 0:
                assert labels[cell] == 0
            else:
                receiver = reference.neighbours(cell)[directions[cell] - 1]
                assert labels[cell] == labels[receiver]


@given(reference.terrains())
def test_indices_of_a_huge_array_give_the_same(terrain):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        return
    expected = fill(z, border, width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basin_graph, "index_type", lambda _: np.int64)
        for array, same in zip(fill(z, border, width, height), expected, strict=True):
            assert np.array_equal(array, same, equal_nan=True)


@given(reference.terrains(), st.integers(2, 6))
@examples(1000)
def test_any_number_of_threads_gives_the_same(terrain, threads):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        with pytest.raises(ValueError, match="have no way outside"):
            fill(z, border, width, height, threads)
        return
    expected = fill(z, border, width, height)
    for array, same in zip(fill(z, border, width, height, threads), expected, strict=True):
        assert np.array_equal(array, same, equal_nan=True)


@given(reference.terrains())
def test_the_surface_may_be_filled_in_place(terrain):
    z, border, width, height = terrain
    if reference.has_closed_piece(z, border):
        return
    filled, directions = fill(z, border, width, height)
    elsewhere, in_place = np.zeros_like(z), z.copy()
    for out, source in ((elsewhere, z), (in_place, in_place)):
        result = fill(source, border, width, height, out=out)
        assert result[0] is out
        assert np.array_equal(out, filled, equal_nan=True)
        assert np.array_equal(result[1], directions)


@reference.needs_speed
@pytest.mark.parametrize("step", [0.01, 2.0, 30.0])
def test_threads_meet_in_valleys_and_plateaus_of_real_ground(step):
    z = reference.pad(np.round(reference.jacksboro() / step).astype(np.float32))
    border = open_border(z)
    ones = np.ones(len(z))
    expected = fill(z, border, ones, ones)
    counts = count_upslope(expected[1])
    for threads in (2, 3, 7, len(z)):
        for array, same in zip(fill(z, border, ones, ones, threads), expected, strict=True):
            assert np.array_equal(array, same, equal_nan=True)
        assert np.array_equal(count_upslope(expected[1], threads), counts)


def test_no_thread_is_refused():
    z = reference.pad(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="0 threads: at least 1 is needed"):
        fill(z, open_border(z), np.ones(4), np.ones(4), 0)


@reference.needs_speed
def test_thousands_of_lakes_in_lakes():
    # Rough integer terrain: more pits, plateaus and equal saddles than any buffer starts with.
    z = np.random.default_rng(5).integers(0, 40, (400, 300)).astype(np.float32)
    padded = reference.pad(z)
    border = open_border(padded)
    filled, directions = fill(padded, border, np.ones(402), np.ones(402))
    assert np.array_equal(filled, reference.priority_flood(padded, border), equal_nan=True)
    assert count_upslope(directions)[directions == 0].sum() == z.size


def read_dem(folder) -> tuple[np.ndarray, float, float]:
    with rasterio.open(folder / "dem.tif") as file:
        z = file.read(1).astype(np.float32)
        z[z == file.nodata] = np.nan
        return z, *file.res


@njit
def priority_flood(z, border):
    """That of the reference, compiled: for whole DEMs."""
    filled = z.copy()
    closed = np.isnan(z) | (border != 0)
    queue = [(z[1, 1], 1, 1)][:0]
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            if border[i, j]:
                heapq.heappush(queue, (z[i, j], i, j))
    while queue:
        level, i, j = heapq.heappop(queue)
        for m in range(i - 1, i + 2):
            for n in range(j - 1, j + 2):
                if not closed[m, n]:
                    closed[m, n] = True
                    filled[m, n] = max(filled[m, n], level)
                    heapq.heappush(queue, (filled[m, n], m, n))
    return filled


def assert_conditioned(z: np.ndarray, width_m: float, height_m: float) -> None:
    padded = reference.pad(z)
    border = open_border(padded)
    rows = len(padded)
    sizes = np.full(rows, width_m), np.full(rows, height_m)
    filled, directions = fill(padded, border, *sizes)
    assert np.array_equal(filled, priority_flood(padded, border), equal_nan=True)
    assert (filled > padded).any()
    outside = directions == 0
    assert (border[outside] > 0).all()
    counts = count_upslope(directions)
    assert counts[outside].sum() == np.count_nonzero(~np.isnan(z))
    for array, same in zip(fill(padded, border, *sizes, 2), (filled, directions), strict=True):
        assert np.array_equal(array, same, equal_nan=True)
    assert np.array_equal(count_upslope(directions, 2), counts)


@reference.needs_speed
@pytest.mark.parametrize("name", ["station-fire", "santiago-fire", "colorado-fire-2022"])
def test_real_dems_are_filled_as_a_priority_flood_fills(shared_data, name):
    assert_conditioned(*read_dem(shared_data(name)))


@reference.needs_speed
def test_a_sample_dem_is_filled_as_a_priority_flood_fills():
    assert_conditioned(reference.jacksboro(), 74.4, 92.5)


@reference.needs_speed
@pytest.mark.parametrize("make", [fractal, eroded, integer_flats])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_made_terrain_is_filled_as_a_priority_flood_fills(make, dtype):
    z = make(500, 3).astype(dtype)
    assert_conditioned(z, 10.0, 10.0)
    z[100:140, 300:] = np.nan
    assert_conditioned(z, 10.0, 12.0)


@given(reference.terrains())
def test_the_compiled_priority_flood_is_that_of_the_reference(terrain):
    z, border, *_ = terrain
    expected = reference.priority_flood(z, border)
    assert np.array_equal(priority_flood(z, border), expected, equal_nan=True)


def flat_around(z: np.ndarray, *cells: reference.Cell) -> np.ndarray:
    """All cells of a padded array that a way of equal elevation leads to from one of some cells."""
    reached = np.zeros(z.shape, dtype=bool)
    queue = list(cells)
    while queue:
        here = queue.pop()
        if not reached[here]:
            reached[here] = True
            queue += [n for n in reference.neighbours(here) if z[n] == z[here]]
    return reached


def assert_a_window_is_routed_alike(z: np.ndarray, window: tuple[slice, slice]) -> None:
    large = reference.pad(z)
    small = reference.pad(z[window])
    rows, columns = window
    ring = (slice(rows.start, rows.stop + 2), slice(columns.start, columns.stop + 2))
    ones = np.ones(len(large))
    all_filled, all_directions = fill(large, open_border(large), ones, ones)
    filled, directions = fill(small, open_border(small), ones[: len(small)], ones[: len(small)])
    inside = ~np.isnan(filled)
    same_filled = np.where(inside, all_filled[ring], np.nan)
    same_directions = all_directions[ring]
    rim = open_border(small) > 0
    # The surface differs only in depressions that the window cuts.
    differs = inside & (filled != same_filled)
    lakes, count = ndimage.label(inside & (same_filled > small), np.ones((3, 3)))
    cut = np.isin(lakes, np.unique(lakes[rim & (lakes > 0)]))
    assert count > 5
    assert (cut | rim)[differs].all()
    # The directions differ only at the rim, beside such cells, and in the flats of these.
    suspect = inside & (rim | ndimage.binary_dilation(differs, np.ones((3, 3))))
    cells = [tuple(cell) for cell in np.argwhere(suspect)]
    suspect = flat_around(filled, *cells) | flat_around(same_filled, *cells)
    certain = inside & ~suspect
    assert np.count_nonzero(certain) > 0.5 * np.count_nonzero(inside)
    assert np.array_equal(directions[certain], same_directions[certain])
    # And so do the counts, but for what lies downstream, here or there.
    flags = (inside & (rim | (directions != same_directions))).astype(np.uint8)
    all_flags = np.zeros(large.shape, dtype=np.uint8)
    all_flags[ring] = flags
    spread_downstream(directions, flags)
    spread_downstream(all_directions, all_flags)
    certain = inside & (flags == 0) & (all_flags[ring] == 0)
    assert np.count_nonzero(certain) > 0.3 * np.count_nonzero(inside)
    counts = count_upslope(directions)
    assert np.array_equal(counts[certain], count_upslope(all_directions)[ring][certain])


@reference.needs_speed
def test_a_window_of_a_sample_dem_is_routed_as_the_whole():
    z = reference.jacksboro()
    assert_a_window_is_routed_alike(z, (slice(60, 220), slice(100, 290)))
    # With the same valleys as one large flat each, and terraces between.
    assert_a_window_is_routed_alike(np.round(z / 8), (slice(60, 220), slice(100, 290)))


@reference.needs_speed
def test_the_usgs_fills_and_routes_a_dem_alike(shared_data):
    """Filled DEM, D8 and upslope cells of the Colorado fire, as the USGS computed them by TauDEM.

    The filled surface is equal in every cell. Where several neighbours are equally steep TauDEM
    takes another one than we (it looks counter-clockwise from the east), in flats it drains away
    from higher ground as well, and at the rim it gives no direction: there, and downstream of
    there, the results differ; nowhere else.
    """
    folder = shared_data("colorado-fire-2022")
    z, *_ = read_dem(folder)
    padded = reference.pad(z)
    rows = len(padded)
    filled, directions = fill(padded, open_border(padded), np.full(rows, 10.0), np.full(rows, 10.0))

    def published(name: str) -> np.ndarray:
        with rasterio.open(folder / f"{name}.tif") as file:
            return np.pad(file.read(1), 1, constant_values=file.nodata)

    inside = ~np.isnan(padded)
    assert np.array_equal(filled[inside], published("pitfilled")[inside])

    theirs = published("flow_d8")
    taudem = np.full(256, -1)
    taudem[1:9] = [3, 2, 1, 8, 7, 6, 5, 4]
    drops = np.full((8, *z.shape), -np.inf)
    for k, (di, dj) in enumerate(reference.STEPS):
        neighbour = filled[1 + di : rows - 1 + di, 1 + dj : padded.shape[1] - 1 + dj]
        drop = (filled[1:-1, 1:-1].astype(np.float64) - neighbour) / np.sqrt(di * di + dj * dj)
        drops[k] = np.where(np.isnan(drop), -np.inf, drop)
    drops.sort(axis=0)
    unique = np.pad((drops[-1] > 0) & (drops[-1] > drops[-2]), 1)
    compared = unique & (theirs > 0)
    assert np.count_nonzero(compared) > 300_000
    assert np.array_equal(taudem[directions[compared]], theirs[compared])

    flags = (inside & ~compared).astype(np.uint8)
    spread_downstream(directions, flags)
    cells = published("total_area")
    compared = inside & (flags == 0) & (cells >= 0)
    assert np.count_nonzero(compared) > 290_000
    assert np.array_equal(count_upslope(directions)[compared], cells[compared])
