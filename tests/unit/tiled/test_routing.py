"""Routing by tiles against routing as one array: the same bits for every tiling."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

import numpy as np
import pytest
import rasterio
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numba import config
from scipy import ndimage

from snakeshed.kernels.accumulation import accumulate, count_upslope
from snakeshed.kernels.carving import carve
from snakeshed.kernels.cell_sizes import CellSizes
from snakeshed.kernels.d8 import neighbour_offsets, open_border
from snakeshed.kernels.filling import fill
from snakeshed.raster.lattice import RowGeometry
from snakeshed.tiled import flats
from snakeshed.tiled.carving import carve_all
from snakeshed.tiled.routing import TiledDrainage, fill_all
from snakeshed.tiled.store import TileStore
from snakeshed.tiled.tiling import Tiling

NAMES = ("filled", "pools", "directions", "counts", "areas")


@dataclass(frozen=True)
class Window:
    """A window that is in memory; rows become narrower to the north, as on a geographic grid."""

    z: np.ndarray
    border: np.ndarray

    def read(self, row: int, column: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        here = slice(row, row + height), slice(column, column + width)
        return self.z[here], self.border[here]

    def rows(self, first: int, count: int) -> RowGeometry:
        row = np.arange(first, first + count, dtype=np.float64)
        return RowGeometry(10 + row / 64, np.full(count, 11.0), 110 + row * 11 / 64)

    def cells(self, row: int, column: int, height: int, width: int) -> CellSizes:
        """Sizes that differ from cell to cell, as on a projected grid: linear between 4 columns."""
        rows = np.arange(row, row + height, dtype=np.float64)[:, None]
        first = column >> 2
        nodes = np.arange(first, ((column + width - 1) >> 2) + 2)
        area = 110 + rows * 11 / 64 + nodes * nodes / 8
        return CellSizes(area / 11, np.full_like(area, 11.0), area, 0 * area, 2, column - 4 * first)


def window(z: np.ndarray, void_cells: int = 0) -> Window:
    """A window whose gaps of at most some cells are no outlets, unless they enclose data."""
    padded = np.pad(z, 1, constant_values=np.nan)
    gaps, n = ndimage.label(np.isnan(padded), structure=np.ones((3, 3)))
    small = np.bincount(gaps.ravel(), minlength=n + 1) <= void_cells
    small[0] = False
    outlets = open_border(np.where(small[gaps], 0, padded).astype(z.dtype))
    outlets[np.isnan(padded)] = 0
    pieces, n = ndimage.label(~np.isnan(padded), structure=np.ones((3, 3)))
    drained = np.zeros(n + 1, bool)
    drained[pieces[outlets > 0]] = True
    outlets[~drained[pieces] & (open_border(padded) > 0)] = 1
    return Window(z, outlets[1:-1, 1:-1])


def whole(ground: Window) -> dict[str, np.ndarray]:
    """What routing as one array makes of a window."""
    z = np.pad(ground.z, 1, constant_values=np.nan)
    border = np.pad(ground.border, 1)
    geometry = ground.rows(-1, len(z))
    filled, directions = fill(z, border, geometry.width_m, geometry.height_m)
    below = (
        np.arange(z.size) + np.append(neighbour_offsets(z.shape[1]), [0] * 247)[directions.ravel()]
    )
    standing = (directions == 0) | (filled.ravel()[below].reshape(z.shape) == filled)
    pools = (filled > z) | (standing & ~np.isnan(z))
    i, j = np.indices(z.shape) - 1
    left, right = j // 4, j // 4 + 1
    left, right = (110 + i * 11 / 64 + node * node / 8 for node in (left, right))
    mm2 = np.rint((left + (j % 4 + 0.5) / 4 * (right - left)) * 1e6).astype(np.int64)
    arrays = (
        filled,
        pools,
        directions,
        count_upslope(directions),
        accumulate(directions, mm2),
    )
    return {name: array[1:-1, 1:-1] for name, array in zip(NAMES, arrays, strict=True)}


def tiled(ground: Window, tiling: Tiling, folder, run=map) -> TiledDrainage:
    store = TileStore(ground, tiling, str(folder), ground.z.dtype.name, areas=True)
    fill_all(store, run)
    return TiledDrainage.of(store, run)


def carved(ground: Window, tiling: Tiling, folder, run=map, filled: bool = False) -> TiledDrainage:
    """Carve a window, in the files of a filled one or in new ones."""
    store = TileStore(ground, tiling, str(folder), ground.z.dtype.name, areas=False)
    if filled:
        fill_all(store, run)
    carve_all(store, run)
    return TiledDrainage.of(store, run)


def assert_same(ground: Window, tiling: Tiling, folder, expected=None) -> None:
    found = tiled(ground, tiling, folder)
    for name, one in (expected or whole(ground)).items():
        array = found.read(name, 0, 0, *ground.z.shape)
        np.testing.assert_array_equal(array, one, err_msg=name)
        assert array.dtype == one.dtype, name


@st.composite
def tilings(draw, height: int, width: int) -> Tiling:
    """Any way to cut a window, down to tiles of one cell."""

    def cuts(length: int) -> tuple[int, ...]:
        inner = draw(st.sets(st.integers(1, length - 1))) if length > 1 else set()
        return (0, *sorted(inner), length)

    return Tiling(cuts(height), cuts(width))


@st.composite
def windows(draw) -> Window:
    """Ground with few levels, hence flats, lakes and ties; with gaps, or without."""
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 3, 6, 40]))
    z = seed.integers(0, levels, (height, width)).astype(draw(st.sampled_from(["f4", "f8"])))
    if draw(st.booleans()):  # a depression over the whole of it
        z[1:-1, 1:-1] -= levels * draw(st.integers(0, 2))
    z[seed.random(z.shape) < draw(st.sampled_from([0, 0.05, 0.3]))] = np.nan
    return window(z, draw(st.integers(0, 4)))


@examples(150 if not config.DISABLE_JIT else 15)
@given(st.data())
def test_any_tiling_of_any_ground_gives_the_same(tmp_path_factory, data):
    ground = data.draw(windows())
    tiling = data.draw(tilings(*ground.z.shape))
    assert_same(ground, tiling, tmp_path_factory.mktemp("tiles"))


def assert_carved(ground: Window, tiling: Tiling, folder, filled: bool = False) -> None:
    """Carving by tiles is what carving as one array is."""
    z = np.pad(ground.z, 1, constant_values=np.nan)
    geometry = ground.rows(-1, len(z))
    directions = carve(z, np.pad(ground.border, 1), geometry.width_m, geometry.height_m)
    found = carved(ground, tiling, folder, filled=filled)
    shape = ground.z.shape
    np.testing.assert_array_equal(found.read("directions", 0, 0, *shape), directions[1:-1, 1:-1])
    counts = count_upslope(directions)[1:-1, 1:-1]
    np.testing.assert_array_equal(found.read("counts", 0, 0, *shape), counts)
    np.testing.assert_array_equal(found.read("filled", 0, 0, *shape), ground.z)


@pytest.mark.parametrize("in_memory", [0, flats.IN_MEMORY])
@examples(50 if not config.DISABLE_JIT else 5)
@given(st.data())
def test_flats_that_are_drained_in_arrays_of_their_own_are_the_same(
    tmp_path_factory, in_memory, data
):
    ground = data.draw(windows())
    tiling = data.draw(tilings(*ground.z.shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flats, "SMALL", data.draw(st.integers(0, 9)))
        patch.setattr(flats, "IN_MEMORY", in_memory)
        assert_same(ground, tiling, tmp_path_factory.mktemp("tiles"))
        assert_carved(ground, tiling, tmp_path_factory.mktemp("carved"))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room")
def test_a_flat_in_a_file_has_its_room_before_it_is_drained(tmp_path, monkeypatch):
    ground = window(np.zeros((40, 40), np.float32))
    monkeypatch.setattr(flats, "SMALL", 0)
    monkeypatch.setattr(flats, "IN_MEMORY", 0)

    def full(file: int, start: int, size: int) -> None:
        assert (start, size) == (0, os.fstat(file).st_size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device"):
        tiled(ground, Tiling.of_size(40, 40, 10), tmp_path)


@examples(100 if not config.DISABLE_JIT else 10)
@given(st.data())
def test_any_tiling_of_any_ground_is_carved_the_same(tmp_path_factory, data):
    ground = data.draw(windows())
    tiling = data.draw(tilings(*ground.z.shape))
    assert_carved(ground, tiling, tmp_path_factory.mktemp("tiles"))


def spiral(size: int) -> np.ndarray:
    """A flat canal that winds inwards through all tiles, between walls, with one way out."""
    z = np.full((size, size), 9.0, np.float32)
    row, column, (down, right) = 0, 1, (1, 0)
    z[row, column] = 5
    while True:
        for _ in range(2):
            ahead = row + 2 * down, column + 2 * right
            inside = 0 < ahead[0] < size - 1 and 0 < ahead[1] < size - 1
            if inside and z[ahead] == 9:
                break
            if (
                0 < row + down < size - 1
                and 0 < column + right < size - 1
                and not (inside or z[row + down, column + right] != 9)
            ):
                break
            down, right = -right, down
        else:
            return z
        if z[row + down, column + right] != 9:
            return z
        row, column = row + down, column + right
        z[row, column] = 5


@pytest.mark.parametrize("edge", [pytest.param(1, marks=pytest.mark.slow), 3, 8, 13, 40])
def test_a_canal_through_all_tiles_drains_by_its_one_outlet(tmp_path, edge):
    z = spiral(33)
    assert (z == 5).sum() > 200
    ground = window(z)
    assert_same(ground, Tiling.of_size(33, 33, edge), tmp_path)
    assert_carved(ground, Tiling.of_size(33, 33, edge), tmp_path)


@pytest.mark.parametrize("edge", [pytest.param(1, marks=pytest.mark.slow), 2, 5, 7, 20])
def test_a_lake_over_corners_of_tiles_and_a_sea_of_nodata(tmp_path, edge):
    row, column = np.indices((20, 20))
    z = (100 - np.hypot(row - 9.5, column - 9.5)).astype(np.float32)
    z[4:15, 4:15] = 80  # a depression over many tiles
    z[17:, 17:] = np.nan
    z[9, 9] = np.nan  # a void in the lake
    assert_same(window(z, 2), Tiling.of_size(20, 20, edge), tmp_path)
    assert_carved(window(z, 2), Tiling.of_size(20, 20, edge), tmp_path)


def test_one_tile_is_the_window_and_an_empty_one_has_nothing(tmp_path):
    rng = np.random.default_rng(1)
    ground = window(rng.random((9, 7), dtype=np.float32))
    assert_same(ground, Tiling.of_size(9, 7, 100), tmp_path)
    nothing = Window(np.full((5, 4), np.nan, np.float32), np.zeros((5, 4), np.uint8))
    assert_same(nothing, Tiling.of_size(5, 4, 2), tmp_path)


@pytest.mark.parametrize("edge", [2, 9])
def test_ground_without_a_way_out_is_an_error_as_in_one_array(tmp_path, edge):
    z = np.ones((6, 6), np.float32)
    ground = Window(z, np.zeros(z.shape, np.uint8))
    with pytest.raises(ValueError, match="no way outside"):
        whole(ground)
    with pytest.raises(ValueError, match="no way outside"):
        tiled(ground, Tiling.of_size(6, 6, edge), tmp_path)
    with pytest.raises(ValueError, match="no way outside"):
        carved(ground, Tiling.of_size(6, 6, edge), tmp_path)


@pytest.mark.parametrize("small", [0, flats.SMALL])
def test_nothing_is_left_in_the_folder_but_the_result(tmp_path, monkeypatch, small):
    monkeypatch.setattr(flats, "SMALL", small)
    ground = window(np.random.default_rng(2).integers(0, 2, (8, 8)).astype(np.float32))
    tiled(ground, Tiling.of_size(8, 8, 4), tmp_path)
    names = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert names == {*NAMES, "border", "inflow", "exits"}
    assert all(path.suffix == ".npy" for path in tmp_path.iterdir())
    again = tmp_path / "carved"
    again.mkdir()
    carved(ground, Tiling.of_size(8, 8, 4), again)
    names = {path.name.split("-")[0] for path in again.iterdir()}
    assert names == {"filled", "directions", "counts", "border", "inflow", "exits"}


def test_a_task_that_was_lost_can_be_done_again(tmp_path):
    ground = window(np.random.default_rng(3).integers(0, 3, (12, 12)).astype(np.float32))
    lost = []

    def twice(function, tasks):
        for task in tasks:
            lost.append(function(task))
            yield function(task)

    found = tiled(ground, Tiling.of_size(12, 12, 5), tmp_path, twice)
    assert lost
    folder = tmp_path / "carved"
    folder.mkdir()
    again = carved(ground, Tiling.of_size(12, 12, 5), folder, twice)
    once = tmp_path / "once"
    once.mkdir()
    expected = carved(ground, Tiling.of_size(12, 12, 7), once)
    pair = (one.read("directions", 0, 0, 12, 12) for one in (again, expected))
    np.testing.assert_array_equal(*pair)
    for name, one in whole(ground).items():
        np.testing.assert_array_equal(found.read(name, 0, 0, 12, 12), one, err_msg=name)


def test_a_piece_over_several_tiles_is_read(tmp_path):
    ground = window(np.random.default_rng(4).random((11, 9), dtype=np.float32))
    found = tiled(ground, Tiling.of_size(11, 9, 4), tmp_path)
    expected = whole(ground)["counts"]
    np.testing.assert_array_equal(found.read("counts", 2, 3, 7, 5), expected[2:9, 3:8])


@pytest.mark.parametrize("cuts", [((0, 2), (3,)), ((0, 2, 2), (0, 3)), ((1, 2), (0, 3))])
def test_lines_that_cut_nothing_are_refused(cuts):
    with pytest.raises(ValueError, match="expected ascending numbers from 0"):
        Tiling(*cuts)


@pytest.mark.slow
@reference.needs_speed
@pytest.mark.parametrize("fire", ["station-fire", "santiago-fire", "colorado-fire-2022"])
def test_real_terrain_is_the_same(shared_data, tmp_path, fire):
    with rasterio.open(next(shared_data(fire).glob("dem*.tif"))) as raster:
        z = raster.read(1, masked=True).astype(np.float32).filled(np.nan)
    ground = window(z, 64)
    expected = whole(ground)
    height, width = z.shape
    for number, edge in enumerate((97, 256, 1000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert_same(ground, Tiling.of_size(height, width, edge), folder, expected)
    assert_carved(ground, Tiling.of_size(height, width, 256), tmp_path)
    # Integers: flats and lakes everywhere.
    ground = window(np.round(z), 64)
    folder = tmp_path / "integers"
    folder.mkdir()
    ragged = Tiling((0, 1, 130, height), (0, 77, 300, width))
    assert_same(ground, ragged, folder)
    assert_carved(ground, ragged, folder)
