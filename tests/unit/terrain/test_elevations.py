from __future__ import annotations

import math
import subprocess
import sys
from collections import deque
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasters import write_raster, write_tiles, write_vrt

from snakeshed.errors import TerrainError
from snakeshed.kernels.resample import bilinear
from snakeshed.terrain import elevations as terrain_module
from snakeshed.terrain.border import BESIDE_NODATA, CUT, EDGE, border_of
from snakeshed.terrain.dem import dem_files, index_terrain
from snakeshed.terrain.elevations import Ground, Terrain
from snakeshed.terrain.index import tiles_under

NAN = np.nan


def ground_of(
    paths: str | list[str], *window: int, max_void_cells: int = 0, **options: object
) -> Ground:
    """Read a window, by default all of the tiles with two cells around them."""
    index = index_terrain([paths] if isinstance(paths, str) else paths, **options)
    if not window:
        row, column = min(t.row for t in index.tiles), min(t.column for t in index.tiles)
        end_row = max(t.row + t.height for t in index.tiles)
        end_column = max(t.column + t.width for t in index.tiles)
        window = row - 2, column - 2, end_row - row + 4, end_column - column + 4
    with Terrain(index, max_void_cells) as terrain:
        return terrain.read(*window)


def hills(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random float32 elevations with gaps of -9999 of all sizes."""
    random = np.random.default_rng(seed)
    z = random.uniform(0, 1000, (height, width)).astype(np.float32)
    z[random.random((height, width)) < 0.08] = -9999
    z[height // 3 : height // 2, : width // 4] = -9999
    return z


# ---- values ----------------------------------------------------------------------------------


def test_a_window_has_the_values_of_its_cells_and_nan_beyond(tmp_path):
    z = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = write_raster(tmp_path / "a.tif", z, left=100.0, top=0.0)
    ground = ground_of(path, -1, 11, 3, 5)
    expected = [[NAN] * 5, [1, 2, 3, NAN, NAN], [5, 6, 7, NAN, NAN]]
    np.testing.assert_array_equal(ground.z, np.float32(expected))
    assert (ground.row, ground.column) == (-1, 11)


def test_a_window_beside_the_dem_is_empty(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((3, 4), np.float32), left=0.0, top=0.0)
    ground = ground_of(path, 100, 100, 3, 2)
    assert np.isnan(ground.z).all()
    assert ground.z.shape == (3, 2)
    assert not ground.border.any()


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("uint8", np.float32),
        ("int8", np.float32),
        ("int16", np.float32),
        ("uint16", np.float32),
        ("float32", np.float32),
        ("int32", np.float64),
        ("uint32", np.float64),
        ("float64", np.float64),
    ],
)
def test_elevations_are_float32_only_where_that_loses_nothing(tmp_path, stored, read):
    largest = {"float32": 2.0**13 - 2.0**-11, "float64": math.pi}.get(stored)
    largest = min(8999, np.iinfo(stored).max) if largest is None else largest
    z = np.array([[largest, 1, 0]], dtype=stored)
    ground = ground_of(write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0), 0, 0, 1, 3)
    assert ground.z.dtype == read
    assert ground.z.tolist() == z.tolist()


def test_scale_offset_and_feet_are_applied_in_double_precision(tmp_path):
    z = np.array([[1000, 2000, -1]], dtype=np.int16)
    path = write_raster(
        tmp_path / "a.tif", z, left=0.0, top=0.0, scale=0.1, offset=50.0, nodata=-1, unit="ft"
    )
    ground = ground_of(path, 0, 0, 1, 3)
    expected = [[(1000 * 0.1 + 50.0) * 0.3048, (2000 * 0.1 + 50.0) * 0.3048, NAN]]
    np.testing.assert_array_equal(ground.z, expected)
    assert ground.z.dtype == np.float64


def test_nodata_nan_infinities_and_masked_cells_are_missing(tmp_path):
    z = np.array([[1, -9999, np.nan, np.inf, -np.inf, 6]], dtype=np.float32)
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=-9999)
    np.testing.assert_array_equal(ground_of(path, 0, 0, 1, 6).z, [[1, NAN, NAN, NAN, NAN, 6]])
    mask = np.array([[255, 255, 0]], np.uint8)
    masked = write_raster(tmp_path / "m.tif", z[:, [0, 5, 5]], left=0.0, top=0.0, mask=mask)
    np.testing.assert_array_equal(ground_of(masked, 0, 0, 1, 3).z, [[1, 6, NAN]])


def test_a_nodata_value_that_the_numbers_cannot_hold_marks_nothing(tmp_path):
    z = np.array([[0, 241, 255]], np.uint8)
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0)
    vrt = tmp_path / "a.vrt"
    write_vrt(vrt, [path], z.shape, -9999)
    vrt.write_text(
        vrt.read_text()
        .replace("Float32", "Byte")
        .replace("<BESIDE_NODATA>-9999</BESIDE_NODATA>", "")
    )
    assert ground_of(str(vrt), 0, 0, 1, 3).z.tolist() == [[0, 241, 255]]


# ---- tiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("max_void_cells", [0, 3])
def test_the_border_between_tiles_is_invisible(tmp_path, max_void_cells):
    z = hills(23, 31)
    options = {"left": 376313.6554542635, "top": 3807917.8276283755, "dx": 30.0, "nodata": -9999}
    whole = write_raster(tmp_path / "whole.tif", z, **options)
    halves = [
        (rows, cols)
        for rows in (slice(0, 11), slice(11, 23))
        for cols in (slice(0, 16), slice(16, 31))
    ]
    uneven = [
        (slice(0, 5), slice(0, 31)),
        (slice(5, 23), slice(0, 3)),
        (slice(5, 20), slice(3, 17)),
        (slice(20, 23), slice(3, 17)),
        (slice(5, 23), slice(17, 31)),
    ]
    overlapping = [
        (slice(0, 15), slice(0, 20)),
        (slice(10, 23), slice(0, 31)),
        (slice(0, 23), slice(18, 31)),
    ]
    expected = ground_of(whole, max_void_cells=max_void_cells)
    assert np.isnan(expected.z).sum() > 50
    for number, pieces in enumerate((halves, uneven, overlapping)):
        tiles = write_tiles(tmp_path / str(number), z, pieces, **options)
        vrt = write_vrt(tmp_path / f"{number}.vrt", tiles, z.shape, -9999)
        for paths in (tiles, tiles[::-1], [vrt]):
            ground = ground_of(paths, max_void_cells=max_void_cells)
            np.testing.assert_array_equal(ground.z, expected.z)
            np.testing.assert_array_equal(ground.border, expected.border)
            assert (ground.row, ground.column) == (expected.row, expected.column)


def test_where_tiles_overlap_data_fill_gaps_in_either(tmp_path):
    first = np.array([[1, 2, -9999]], np.float32)
    second = np.array([[-9999, 3, 4]], np.float32)
    paths = [
        write_raster(tmp_path / "a.tif", first, left=0.0, top=0.0, nodata=-9999),
        write_raster(tmp_path / "b.tif", second, left=10.0, top=0.0, nodata=-9999),
    ]
    assert ground_of(paths, 0, 0, 1, 4).z.tolist() == [[1, 2, 3, 4]]


def test_tiles_that_contradict_each_other_are_both_named(tmp_path):
    left = np.array([[1, 2, 3]], np.float32)
    paths = [
        write_raster(tmp_path / name, z, left=x, top=0.0)
        for name, z, x in [("a.tif", left, 0.0), ("b.tif", left, 30.0), ("c.tif", left + 7, 40.0)]
    ]
    with pytest.raises(TerrainError) as raised:
        ground_of(paths)
    assert str(raised.value) == (
        f"{paths[1]} and {paths[2]}: found 2 m and 8 m in the same cell at x 45, y -5; expected "
        "a difference of at most 5 m where tiles overlap. Remove the wrong tile from dem.path. If "
        "both are right, raise dem.max_step_m: the first in dem.path counts."
    )
    assert ground_of(paths, 0, 0, 1, 2).z.tolist() == [[1, 2]], "elsewhere the DEM can be used"
    whole = [[1, 2, 3, 1, 2, 3, 10]]
    assert ground_of(paths, 0, 0, 1, 7, max_step_m=6).z.tolist() == whole
    with pytest.raises(TerrainError, match=r"found 2 m and 8 m .* of at most 5\.9 m where tiles"):
        ground_of(paths, max_step_m=5.9)


def test_the_first_tile_in_the_list_with_data_counts_in_each_cell(tmp_path):
    row = np.array([[1, 2, -9999, 4, 5]], np.float32)
    a = write_raster(tmp_path / "a.tif", row, left=0.0, top=0.0, nodata=-9999)
    b = write_raster(tmp_path / "b.tif", row + 0.25, left=0.0, top=0.0, nodata=-9998.75)
    c = write_raster(tmp_path / "c.tif", np.float32([[3, 4.5, 5.5, 6]]), left=20.0, top=0.0)
    assert ground_of([a, b, c], 0, 0, 1, 6).z.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert ground_of([b, a, c], 0, 0, 1, 6).z.tolist() == [[1.25, 2.25, 3, 4.25, 5.25, 6]]
    assert ground_of([c, b, a], 0, 0, 1, 6).z.tolist() == [[1.25, 2.25, 3, 4.5, 5.5, 6]]


@pytest.mark.parametrize("geographic", [False, True])
def test_which_tile_counts_depends_on_no_window_and_no_subset(tmp_path, geographic):
    """Tiles overlap by 12 columns, as those of 3DEP do, and are of different years."""
    random = np.random.default_rng(3)
    where = {"dx": 1 / 10800, "crs": "EPSG:4269"} if geographic else {"dx": 10.0}
    left, top = (-118.0, 35.0) if geographic else (500_000.0, 4_000_000.0)
    ground = hills(30, 60, 5)
    paths = []
    for k, columns in enumerate([np.s_[24:60], np.s_[0:36], np.s_[12:48]]):
        z = ground[:, columns].copy()
        z[z != -9999] += random.uniform(0, 3, np.count_nonzero(z != -9999)).astype(np.float32)
        name = tmp_path / f"{'cab'[k]}.tif"
        x = left + columns.start * where["dx"]
        paths.append(write_raster(name, z, left=x, top=top, nodata=-9999, **where))
    index = index_terrain(paths)
    assert [tile.path for tile in index.tiles] == paths
    row, column = index.tiles[1].row, index.tiles[1].column
    with Terrain(index, 0) as terrain:
        whole = terrain.read(row, column, 30, 60).z
        first = terrain.read_tile(index.tiles[0], row, row + 30, column + 24, column + 60)
        np.testing.assert_array_equal(
            whole[:, 24:], np.where(np.isnan(first), whole[:, 24:], first)
        )
        for _ in range(30):
            i, j = int(random.integers(0, 29)), int(random.integers(0, 59))
            window = (
                row + i,
                column + j,
                int(random.integers(1, 31 - i)),
                int(random.integers(1, 61 - j)),
            )
            under = tiles_under(index, *window)
            random.shuffle(under)
            with Terrain(index.subset(under), 0) as part:
                z = part.read(*window).z
            np.testing.assert_array_equal(z, whole[i : i + window[2], j : j + window[3]])


def test_a_truncated_tile_is_named(tmp_path):
    z = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    path = Path(write_raster(tmp_path / "a.tif", z, tiled=True, blockxsize=16, blockysize=16))
    index = index_terrain([str(path)])
    path.write_bytes(path.read_bytes()[:-3000])
    tile = index.tiles[0]
    with Terrain(index, 0) as terrain:
        assert (terrain.read(tile.row, tile.column, 8, 8).z == z[:8, :8]).all()
        with pytest.raises(TerrainError) as raised:
            terrain.read(tile.row, tile.column, 64, 64)
    message = str(raised.value)
    assert message.startswith(f"{path}: found cells that cannot be read (")
    assert message.endswith("The file is damaged or truncated: fetch it again.")


def test_a_tile_is_not_called_damaged_for_want_of_memory(tmp_path):
    path = str(tmp_path / "a.tif")
    shape = {"width": 6000, "height": 6000, "count": 1, "dtype": "float32"}
    place = {"crs": "EPSG:32611", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)}
    with rasterio.open(path, "w", driver="GTiff", SPARSE_OK=True, **shape, **place):
        pass
    code = (
        "import os, resource, sys\n"
        "from snakeshed.terrain.dem import index_terrain\n"
        "from snakeshed.terrain.elevations import Terrain\n"
        "index = index_terrain([sys.argv[1]])\n"
        "terrain, (tile,) = Terrain(index, 0), index.tiles\n"
        "window = tile.row, tile.row + 1, tile.column, tile.column + 1\n"
        "terrain.read_tile(tile, *window)\n"
        "in_use = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 25),) * 2)\n"
        "try:\n"
        "    terrain.read_tile(tile, tile.row, tile.row + 6000, tile.column, tile.column + 6000)\n"
        "except MemoryError:\n"
        "    print('no memory')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert done.stdout == "no memory\n", done.stderr


def test_a_tile_that_is_gone_is_named(tmp_path):
    path = Path(write_raster(tmp_path / "a.tif", np.ones((3, 3), np.float32)))
    index = index_terrain([str(path)])
    path.unlink()
    with pytest.raises(TerrainError, match=r"a.tif: found a file that cannot be opened .*No such"):
        Terrain(index, 0).read(-400_000, 50_000, 2, 2)


def test_a_tile_that_has_changed_since_it_was_indexed_is_named(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((3, 3), np.float32))
    index = index_terrain([path])
    write_raster(tmp_path / "a.tif", np.ones((3, 4), np.float32))
    with pytest.raises(TerrainError, match="a.tif: found 3 x 4 cells in 1 bands; expected"):
        Terrain(index, 0).read(-400_000, 50_000, 2, 2)


def test_a_window_needs_cells(tmp_path):
    index = index_terrain([write_raster(tmp_path / "a.tif", np.ones((3, 3), np.float32))])
    with pytest.raises(ValueError, match="a window of 0 x 3 cells"):
        Terrain(index, 0).read(0, 0, 0, 3)
    with pytest.raises(ValueError, match="a window of 3 x -1 cells"):
        Terrain(index, 0).elevations(0, 0, 3, -1)


@pytest.mark.parametrize("nodata", [-9999.0, -9999.0001, 1e20, 7.0, NAN, math.inf, None])
def test_cells_are_missing_that_gdal_takes_for_nodata(tmp_path, nodata):
    near = np.nextafter(np.float32(-9999), np.float32(0))
    z = np.array([[7, near, 8, 9], [7 + 1e-6, 3, NAN, math.inf]], np.float32)
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=nodata)
    with rasterio.open(path) as raster:
        expected = raster.read(1, masked=True).filled(NAN)
    expected[np.isinf(expected)] = NAN
    ground = ground_of(path, 0, 0, 2, 4)
    np.testing.assert_array_equal(ground.z, expected)
    with Terrain(index_terrain([path]), 0) as terrain:
        np.testing.assert_array_equal(terrain.elevations(0, 0, 2, 4), expected)
        np.testing.assert_array_equal(terrain.elevations(0, 1, 1, 2), expected[:1, 1:3])


def test_a_tiny_nodata_value_is_rounded_as_gdal_rounds_it(tmp_path):
    z = np.array([[2.5e-45, 3, 4], [5, 6, 7]], np.float32)
    plain = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0)
    vrt = write_vrt(tmp_path / "a.vrt", [plain], z.shape, 2.5e-45)
    with rasterio.open(vrt) as raster:
        expected = raster.read(1, masked=True).filled(NAN)
    assert np.isnan(expected[0, 0])
    np.testing.assert_array_equal(ground_of(vrt, 0, 0, 2, 3).z, expected)


@pytest.mark.parametrize("nodata", [-32768, 0, 255, None])
def test_whole_numbers_are_missing_where_they_are_nodata(tmp_path, nodata):
    z = np.array([[0, 255, 3], [254, 1, 7]], np.int16)
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=nodata)
    np.testing.assert_array_equal(ground_of(path, 0, 0, 2, 3).z, np.where(z == nodata, NAN, z))


def test_a_terrain_can_be_read_after_it_was_closed(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((3, 3), np.float32), left=0.0, top=0.0)
    terrain = Terrain(index_terrain([path]), 0)
    for _ in range(2):
        assert terrain.read(0, 0, 2, 2).z.tolist() == [[1, 1], [1, 1]]
        terrain.close()


# ---- borders ---------------------------------------------------------------------------------


def drawn_border(picture: str, max_void_cells: int) -> list[str]:
    """Return the border of a window, given with its ring: '#' data, '.' nodata, ' ' no tile."""
    cells = np.array([list(line) for line in picture.splitlines()])
    z = np.where(cells == "#", 1.0, NAN)
    border = border_of(z, cells != " ", max_void_cells)
    assert np.count_nonzero(border) == np.count_nonzero(border[1:-1, 1:-1])
    return ["".join(map(str, row)) for row in border[1:-1, 1:-1]]


def test_the_rim_of_a_window_inside_the_dem_is_cut():
    picture = "\n".join(["######"] * 5)
    assert drawn_border(picture, 0) == ["1111", "1001", "1111"]


def test_the_rim_of_the_dem_is_its_edge():
    # The window reaches one row beyond the DEM in the north and is cut in the south.
    picture = "\n".join(["      ", "      ", " #### ", " #### ", " #### "])
    assert drawn_border(picture, 0) == ["0000", "2222", "3113"]
    assert drawn_border("     \n ### \n ### \n ### \n     ", 0) == ["222", "202", "222"]


def test_a_gap_is_an_outlet_only_where_it_is_larger_than_a_void():
    picture = "\n".join(
        ["#######", "#######", "###.###", "####.##", "#######", "#######", "#######"]
    )
    assert drawn_border(picture, 1) == ["15551", "14045", "14405", "10445", "11111"]
    assert drawn_border(picture, 2) == ["11111", "10001", "10001", "10001", "11111"]


def test_a_gap_that_leaves_the_window_is_undecided_until_it_is_too_large():
    picture = "\n".join(["###..##", "###..##", "###.###", "#######", "#######", "#######"])
    assert drawn_border(picture, 5) == ["11001", "11011", "11111", "11111"]
    assert drawn_border(picture, 4) == ["15005", "14045", "14441", "11111"]


def test_a_gap_at_the_edge_of_the_dem_is_not_enclosed_by_data():
    picture = "\n".join(["       ", " ##### ", " ###.# ", " ##### ", " ##### ", "       "])
    assert drawn_border(picture, 1) == ["22222", "20002", "20002", "22222"]
    picture = "\n".join(["       ", " ###.# ", " ##### ", " ##### ", " ##### ", "       "])
    assert drawn_border(picture, 1) == ["22606", "20446", "20002", "22222"]


def reference_border(cells: dict, max_void_cells: int) -> dict:
    """Bits of every data cell of a finite world; cells that are not in it are outside all tiles."""
    around = [step for step in product((-1, 0, 1), repeat=2) if step != (0, 0)]

    def neighbours(cell: tuple[int, int]) -> list[tuple[int, int]]:
        return [(cell[0] + down, cell[1] + right) for down, right in around]

    meaning = {}
    for start, has_data in cells.items():
        if has_data or start in meaning:
            continue
        gap, waiting, enclosed = {start}, deque([start]), True
        while waiting:
            for cell in neighbours(waiting.popleft()):
                if cell not in cells:
                    enclosed = False
                elif not cells[cell] and cell not in gap:
                    gap.add(cell)
                    waiting.append(cell)
        outlet = len(gap) > max_void_cells or not enclosed
        meaning.update(dict.fromkeys(gap, BESIDE_NODATA if outlet else 0))
    bits = dict.fromkeys(cells, 0)
    for cell, has_data in cells.items():
        for other in neighbours(cell) if has_data else []:
            bits[cell] |= meaning.get(other, 0) if other in cells else EDGE
    return bits


WORLDS = st.integers(1, 9).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from("####. "), min_size=width, max_size=width), min_size=1, max_size=9
    )
)


@given(WORLDS, st.integers(0, 5))
def test_borders_of_a_whole_world_agree_with_the_definition(world, max_void_cells):
    framed = np.pad(np.array(world), 1, constant_values=" ")
    z = np.where(framed == "#", 1.0, NAN)
    border = border_of(z, framed != " ", max_void_cells)[1:-1, 1:-1]
    cells = {(i, j): kind == "#" for (i, j), kind in np.ndenumerate(np.array(world)) if kind != " "}
    expected = reference_border(cells, max_void_cells)
    for cell, bits in np.ndenumerate(border):
        assert bits == expected.get(cell, 0), cell


@given(WORLDS, st.integers(0, 5), st.data())
def test_a_window_tells_of_a_cell_what_the_whole_world_does_or_that_it_is_cut(
    world, max_void_cells, data
):
    framed = np.pad(np.array(world), 1, constant_values=" ")
    height, width = framed.shape
    top = data.draw(st.integers(0, height - 3))
    left = data.draw(st.integers(0, width - 3))
    end = data.draw(st.integers(top + 3, height)), data.draw(st.integers(left + 3, width))
    window = slice(top, end[0]), slice(left, end[1])
    z, covered = np.where(framed == "#", 1.0, NAN), framed != " "
    whole = border_of(z, covered, max_void_cells)[1:-1, 1:-1]
    part = border_of(z[window], covered[window], max_void_cells)[1:-1, 1:-1]
    same = whole[top : top + part.shape[0], left : left + part.shape[1]]
    known = part & ~np.uint8(CUT)
    assert ((same & known) == known).all(), "a smaller window claims nothing that is not so"
    uncut = (part & CUT) == 0
    np.testing.assert_array_equal(part[uncut], same[uncut])


# ---- another CRS -----------------------------------------------------------------------------

SIZE = 1 / 3600
WEST, NORTH = -118.2, 34.4


def plane_in_utm(height: int, width: int) -> np.ndarray:
    """Elevations on a geographic grid that are a plane in UTM coordinates."""
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32611", always_xy=True)
    lon, lat = np.meshgrid(
        WEST + (np.arange(width) + 0.5) * SIZE, NORTH - (np.arange(height) + 0.5) * SIZE
    )
    x, y = to_utm.transform(lon, lat)
    return 0.05 * (x - 390_000) - 0.02 * (y - 3_800_000) + 500


def utm_window(height: int, width: int, cell: float = 20.0) -> tuple[int, int, int, int]:
    """A window of the UTM lattice that the geographic rasters of these tests cover."""
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32611", always_xy=True)
    x, y = to_utm.transform(WEST + 15 * SIZE, NORTH - 15 * SIZE)
    return math.floor(-y / cell), math.floor(x / cell), height, width


@pytest.fixture
def geographic(tmp_path: Path) -> Any:
    """Write an array on the geographic grid, whole or in tiles, and read it in UTM."""

    def read(z: np.ndarray, *window: int, pieces: list | None = None, **options: object) -> Ground:
        place = {"left": WEST, "top": NORTH, "dx": SIZE, "crs": "EPSG:4326", "nodata": -9999}
        pieces = pieces or [(slice(0, z.shape[0]), slice(0, z.shape[1]))]
        paths = write_tiles(tmp_path / f"in_{len(pieces)}", z, pieces, **place)
        options = {"target_crs": "EPSG:32611", "resolution": 20.0, **options}
        return ground_of(paths, *window, **options)

    return read


def test_a_plane_stays_a_plane(geographic):
    row, column, height, width = utm_window(50, 60)
    ground = geographic(plane_in_utm(90, 90), row, column, height, width)
    x = (column + np.arange(width) + 0.5) * 20
    y = -(row + np.arange(height) + 0.5) * 20
    plane = 0.05 * (x - 390_000) - 0.02 * (y[:, None] - 3_800_000) + 500
    # Positions are rounded to a millionth of a cell: 3e-5 m, on a slope of 5 %.
    np.testing.assert_allclose(ground.z, plane, rtol=0, atol=1e-5)
    assert ground.z.dtype == np.float64
    assert ground.border[0].tolist() == [CUT] * width


def test_resampled_values_depend_on_no_window_and_no_tiling(geographic, monkeypatch):
    z = hills(100, 90, seed=1)
    row, column, height, width = utm_window(60, 70)
    whole = geographic(z, row, column, height, width)
    assert 0.05 < np.isnan(whole.z).mean() < 0.5
    part = geographic(z, row + 13, column + 7, 21, 33)
    np.testing.assert_array_equal(part.z, whole.z[13:34, 7:40])
    np.testing.assert_array_equal(part.border[1:-1, 1:-1] & EDGE, whole.border[14:33, 8:39] & EDGE)
    halves = [
        (rows, cols)
        for rows in (slice(0, 41), slice(41, 100))
        for cols in (slice(0, 33), slice(33, 90))
    ]
    # So few cells at a time that a window is read in many strips.
    monkeypatch.setattr(terrain_module, "_STRIP_CELLS", 300)
    tiled = geographic(z, row, column, height, width, pieces=halves)
    np.testing.assert_array_equal(tiled.z, whole.z)
    np.testing.assert_array_equal(tiled.border, whole.border)


def test_beyond_the_resampled_dem_is_its_edge_and_a_lake_in_it_stays_level(geographic):
    row, column, _, _ = utm_window(1, 1)
    lake = np.full((90, 90), 432.1, np.float32)
    ground = geographic(lake, row - 60, column - 60, 400, 400)
    inside = ~np.isnan(ground.z)
    assert 5000 < inside.sum() < 20_000
    assert set(np.unique(ground.border[inside])) == {0, EDGE}
    assert set(np.unique(ground.z[inside])) == {float(np.float32(432.1))}


def test_a_target_that_is_the_dem_s_own_lattice_resamples_nothing(tmp_path):
    path = write_raster(tmp_path / "a.tif", hills(12, 15), left=0.0, top=0.0, nodata=-9999)
    index = index_terrain([path], target_crs="EPSG:32611", resolution=10.0)
    assert index.is_native
    assert Terrain(index, 0).read(0, 0, 12, 15).z.dtype == np.float32


def test_between_cells_is_the_mean_of_those_around(tmp_path):
    z = hills(12, 15)
    # Half a cell off the target's lattice: centres of its cells are corners of the DEM's.
    path = write_raster(tmp_path / "a.tif", z, left=-5.0, top=5.0, nodata=-9999)
    ground = ground_of(path, 0, 0, 11, 14, target_crs="EPSG:32611", resolution=10.0)
    z = np.where(z == -9999, NAN, z.astype(float))
    mean = (z[:-1, :-1] + z[:-1, 1:] + z[1:, :-1] + z[1:, 1:]) / 4
    np.testing.assert_allclose(ground.z, mean, rtol=1e-14)


def test_a_point_on_the_centre_of_a_cell_needs_that_cell_alone(tmp_path):
    z = np.array([[1, -9999, 3], [-9999, 5, -9999], [7, -9999, 9]], np.float32)
    path = write_raster(tmp_path / "a.tif", z, left=-10.0, top=10.0, nodata=-9999)
    # Cell (1, 1) of the target has the same centre as the DEM's middle cell.
    ground = ground_of(path, 1, 1, 1, 1, target_crs="EPSG:32611", resolution=10 / 3)
    assert ground.z.tolist() == [[5.0]]
    assert ground.border.tolist() == [[BESIDE_NODATA]]


def test_tiles_under_a_resampled_window_hold_all_that_it_reads(tmp_path):
    z = np.random.default_rng(3).random((64, 64)).astype(np.float32)
    steps = [slice(start, start + 8) for start in range(0, 64, 8)]
    tiles = write_tiles(
        tmp_path / "t",
        z,
        [(rows, cols) for rows in steps for cols in steps],
        left=WEST,
        top=NORTH,
        dx=SIZE,
        crs="EPSG:4326",
    )
    index = index_terrain(tiles, target_crs="EPSG:32611", resolution=20.0)
    row, column, _, _ = utm_window(1, 1)
    # Also single cells in steps of less than a tile: some lie beside a border between tiles.
    windows = [(20, 10, 30, 5), (-50, -50, 99, 40), *((i, i // 2, 1, 1) for i in range(60))]
    with Terrain(index, 0) as whole:
        for down, right, height, width in windows:
            window = row + down, column + right, height, width
            under = tiles_under(index, *window)
            assert 0 < len(under) < len(tiles)
            with Terrain(index.subset(under), 0) as part:
                some, every = part.read(*window), whole.read(*window)
            np.testing.assert_array_equal(some.z, every.z)
            np.testing.assert_array_equal(some.border, every.border)


def test_where_the_two_crs_have_nothing_in_common_there_is_no_ground(geographic):
    """A UTM easting of 60,000 km has no longitude."""
    ground = geographic(np.ones((9, 9), np.float32), 0, 3_000_000, 3, 3)
    assert np.isnan(ground.z).all()


# ---- resampling kernels ----------------------------------------------------------------------


def reference_bilinear(row: float, column: float, cells: dict) -> tuple[float, int]:
    """Weights are the areas of overlap of the point's own cell with the four around it."""
    row, column = round(row * 1e6) / 1e6, round(column * 1e6) / 1e6
    value, kind = 0.0, 0
    for i in range(math.floor(row) - 1, math.floor(row) + 2):
        for j in range(math.floor(column) - 1, math.floor(column) + 2):
            weight = max(0, 1 - abs(row - i - 0.5)) * max(0, 1 - abs(column - j - 0.5))
            if weight > 1e-9:
                kind = max(kind, 2 if (i, j) not in cells else int(math.isnan(cells[i, j])))
                value += weight * cells.get((i, j), NAN)
    return value, kind


def test_resampling_agrees_with_the_definition():
    random = np.random.default_rng(5)
    z = random.uniform(0, 9, (7, 8))
    z[random.random(z.shape) < 0.15] = NAN
    covered = np.ones(z.shape, bool)
    covered[:2, 5:] = False
    z[~covered] = NAN
    cells = {(i - 3, j - 4): z[i, j] for i, j in np.ndindex(z.shape) if covered[i, j]}
    # Also points on centres and edges of cells, beyond the array, and nowhere.
    rows = np.concatenate(
        [random.uniform(-4, 5, 300), np.arange(-8, 10) / 2, [NAN, np.inf, 0.0, 1e40]]
    )
    cols = np.concatenate([random.uniform(-5, 5, 300), np.arange(-8, 10) / 2, [0.0, 0.0, NAN, 0.0]])
    out, kind = np.empty((1, rows.size)), np.empty((1, rows.size), np.uint8)
    kinds = set()
    bilinear(rows[None], cols[None], z, covered, -3, -4, out, kind)
    for row, column, value, what in zip(rows, cols, out[0], kind[0], strict=True):
        if math.isfinite(row) and math.isfinite(column):
            expected = reference_bilinear(row, column, cells)
            assert what == expected[1]
            assert value == pytest.approx(expected[0] if what == 0 else NAN, nan_ok=True)
        else:
            assert (what, math.isnan(value)) == (2, True)
        kinds.add(int(what))
    assert kinds == {0, 1, 2}


def test_resampling_gives_the_same_bits_compiled_or_not():
    random = np.random.default_rng(6)
    z = random.uniform(0, 3000, (30, 30)).astype(np.float32)
    rows, cols = random.uniform(0, 30, (2, 20, 20))
    results = []
    for function in (bilinear, getattr(bilinear, "py_func", bilinear)):
        out, kind = np.empty(rows.shape), np.empty(rows.shape, np.uint8)
        function(rows, cols, z, np.ones(z.shape, bool), 0, 0, out, kind)
        results.append((out, kind))
    np.testing.assert_array_equal(results[0], results[1])


# ---- real terrain ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "missing", "corner"),
    [("station-fire", 32767, (0, 0)), ("colorado-fire-2022", None, (250, 300))],
)
def test_real_terrain_is_read_as_the_file_has_it(shared_data, tmp_path, name, missing, corner):
    import rasterio

    path = str(shared_data(name) / "dem.tif")
    with rasterio.open(path) as file:
        stored = file.read(1, masked=True)
    index = index_terrain(dem_files(path))
    (tile,) = index.tiles
    assert (tile.height, tile.width) == stored.shape
    assert missing is None or tile.nodata == missing
    with Terrain(index, 64) as terrain:
        ground = terrain.read(tile.row, tile.column, tile.height, tile.width)
        i, j = corner
        part = terrain.read(tile.row + i, tile.column + j, 200, 300)
    np.testing.assert_array_equal(ground.z, stored.astype(np.float32).filled(NAN))
    np.testing.assert_array_equal(part.z, ground.z[i : i + 200, j : j + 300])
    data = ~np.isnan(ground.z)
    assert (ground.border[[0, -1]][data[[0, -1]]] & EDGE).all()
    assert not (ground.border & CUT).any(), "nothing lies beyond the DEM"
    assert (part.border[1:-1, 1:-1][data[i + 1 : i + 199, j + 1 : j + 299]] & EDGE == 0).all()

    # The same ground in four tiles, cut where 3DEP would not.
    z = stored.filled(-32768 if missing else -9999)
    half = stored.shape[0] // 3, stored.shape[1] // 2
    pieces = [
        (rows, cols)
        for rows in (slice(0, half[0]), slice(half[0], None))
        for cols in (slice(0, half[1]), slice(half[1], None))
    ]
    x, y = index.lattice.corner(tile.row, tile.column)
    tiles = write_tiles(
        tmp_path / "tiles",
        z,
        pieces,
        left=x,
        top=y,
        dx=index.lattice.dx,
        crs=index.lattice.crs,
        nodata=-32768 if missing else -9999,
    )
    cut = index_terrain(tiles)
    assert cut.lattice == index.lattice
    again = Terrain(cut, 64).read(tile.row, tile.column, tile.height, tile.width)
    np.testing.assert_array_equal(again.z, ground.z)
    np.testing.assert_array_equal(again.border, ground.border)


def test_island_within_a_void_drains_into_it(tmp_path):
    """Nothing can be routed around a void from within it, and every cell must reach an outlet."""
    z = np.full((9, 9), 50.0, dtype="float32")
    z[3:6, 3:6] = -9999
    z[4, 4] = 60
    path = tmp_path / "dem.tif"
    write_raster(path, z, nodata=-9999)
    index = index_terrain([str(path)])
    with Terrain(index, max_void_cells=20) as terrain:
        tile = index.tiles[0]
        border = terrain.read(tile.row, tile.column, 9, 9).border
    assert border[4, 4] == BESIDE_NODATA
    inner = border[1:-1, 1:-1].copy()
    inner[3, 3] = 0
    assert not inner.any()


# ---- what is no elevation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int16", -9999),
        ("int16", -32768),
        ("int16", 32767),
        ("float32", -32767),
        ("float32", -99999),
        ("float32", 1e38),
        ("float64", -1.7976931348623157e308),
    ],
)
def test_undeclared_nodata_is_named_with_its_place(tmp_path, dtype, value):
    z = np.array([[1, 2, 3, 4], [5, 6, 7, value]]).astype(dtype)
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0)
    with pytest.raises(TerrainError) as raised:
        ground_of(path)
    told = f"{float(z[1, 3]):.17g}"
    assert str(raised.value) == (
        f"{path}: found {told} in the cell at x 35, y -15, and no nodata value; expected "
        "elevations from -11,000 to 9,000 m, and a declared nodata value for cells without data. "
        f"If it means missing, set dem.nodata: {told}; if it is an elevation in another unit, "
        "name that in dem.vertical_unit."
    )
    assert ground_of(path, 0, 0, 1, 2).z.tolist() == [[1, 2]], "elsewhere the DEM can be used"
    as_told = ground_of(path, 1, 2, 1, 2, nodata=float(told))
    np.testing.assert_array_equal(as_told.z, [[7, NAN]])
    declared = write_raster(tmp_path / "b.tif", z, left=0.0, top=0.0, nodata=z[1, 3])
    np.testing.assert_array_equal(ground_of(declared, 1, 2, 1, 2).z, [[7, NAN]])


def test_another_nodata_value_than_the_declared_one_is_named(tmp_path):
    z = np.float32([[1, -9999, -32768]])
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=-32768)
    with pytest.raises(TerrainError, match=r"found -9999 in the .*, and the nodata value -32768;"):
        ground_of(path)
    with pytest.raises(TerrainError, match=r"and the nodata value -32768 and 1;"):
        ground_of(path, nodata=1)


@pytest.mark.parametrize(("dtype", "value"), [("int16", 0), ("float32", -999), ("float64", -99.9)])
def test_dem_nodata_marks_missing_cells_as_a_declared_value_does(tmp_path, dtype, value):
    z = np.arange(1, 82, dtype=dtype).reshape(9, 9)
    z[3:7, 2:4] = value
    z[0, 8] = value
    plain = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, scale=0.1, unit="ft")
    declared = write_raster(
        tmp_path / "b.tif", z, left=0.0, top=0.0, scale=0.1, unit="ft", nodata=z[3, 2].item()
    )
    expected, found = ground_of(declared), ground_of(plain, nodata=[-7.5, value])
    np.testing.assert_array_equal(found.z, expected.z)
    np.testing.assert_array_equal(found.border, expected.border)
    assert (found.border & BESIDE_NODATA).any()


def test_dem_nodata_is_compared_in_the_type_of_the_stored_numbers(tmp_path):
    z = np.float32([[0.1, 0.2, 3]])
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0)
    np.testing.assert_array_equal(ground_of(path, 0, 0, 1, 3, nodata=0.1).z, [[NAN, z[0, 1], 3]])
    np.testing.assert_array_equal(ground_of(path, 0, 0, 1, 3, nodata=1e300).z, z)
    double = write_raster(tmp_path / "b.tif", z.astype(np.float64), left=0.0, top=0.0)
    np.testing.assert_array_equal(ground_of(double, 0, 0, 1, 3, nodata=0.1).z, z)


def test_feet_taken_for_metres_are_noticed(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.float32([[14_505.0]]), left=0.0, top=0.0)
    with pytest.raises(TerrainError, match=r"found 14505 in .*name that in dem.vertical_unit"):
        ground_of(path)
    assert ground_of(path, 0, 0, 1, 1, vertical_unit="ft").z == 14_505 * 0.3048


def test_undeclared_nodata_are_noticed_before_scale_and_unit_hide_them(tmp_path):
    z = np.int16([[100, -32768]])
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, scale=0.1, unit="ft")
    with pytest.raises(TerrainError, match=r"found -32768, which is -998.76864 m, in the cell at"):
        ground_of(path)


def test_sea_floors_and_summits_are_elevations(tmp_path):
    z = np.float32([[-10_935, -9998, -9999.5, 8849, 0]])
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0)
    assert ground_of(path, 0, 0, 1, 5).z.tolist() == z.tolist()


@pytest.mark.parametrize(
    "layout",
    [
        {"compress": "deflate", "predictor": 3},
        {"tiled": True, "blockxsize": 16, "blockysize": 32},
        {"tiled": True, "compress": "lzw", "BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
    ],
)
def test_the_layout_of_a_file_changes_nothing(tmp_path, layout):
    z = hills(70, 50)
    plain = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=-9999)
    other = write_raster(tmp_path / "b.tif", z, left=0.0, top=0.0, nodata=-9999, **layout)
    expected, ground = ground_of(plain), ground_of(other)
    np.testing.assert_array_equal(ground.z, expected.z)
    np.testing.assert_array_equal(ground.border, expected.border)


def test_a_cloud_optimised_file_is_read_as_its_source(tmp_path):
    import rasterio.shutil

    z = hills(600, 700)
    plain = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=-9999)
    rasterio.shutil.copy(plain, tmp_path / "cog.tif", driver="COG", compress="deflate")
    np.testing.assert_array_equal(ground_of(str(tmp_path / "cog.tif")).z, ground_of(plain).z)


@pytest.mark.parametrize(("nodata", "gap"), [(0, 0), (-32768, 1), (32767, 2)])
def test_odd_nodata_of_integers(tmp_path, nodata, gap):
    z = np.int16([[0, -32768, 32767]])[:, [0, gap]]
    z[0, 0] = 7
    path = write_raster(tmp_path / "a.tif", z, left=0.0, top=0.0, nodata=nodata)
    np.testing.assert_array_equal(ground_of(path, 0, 0, 1, 2).z, [[7, NAN]])
