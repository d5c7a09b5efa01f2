"""A DEM that cannot be used is known from a few of its cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasters import write_raster, write_tiles

from snakeshed.errors import SeveralProblems, TerrainError
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.spot_check import check_cells

Z = np.random.default_rng(1).uniform(100, 200, (300, 400)).astype(np.float32)


def check(*paths: str) -> None:
    check_cells(index_terrain(paths))


def test_a_dem_that_can_be_used(tmp_path):
    check(write_raster(tmp_path / "a.tif", Z))
    check(write_raster(tmp_path / "b.tif", Z[:2, :3]))
    overlapping = [(slice(0, 300), slice(0, 250)), (slice(0, 300), slice(150, 400))]
    check(*write_tiles(tmp_path / "t", Z, overlapping))


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1), (150, 200)])
def test_undeclared_nodata_in_a_corner_or_in_the_middle(tmp_path, corner):
    z = Z.copy()
    z[corner] = -9999
    path = write_raster(tmp_path / "a.tif", z)
    with pytest.raises(TerrainError, match="a.tif: found -9999 in the cell at .* no nodata value"):
        check(path)
    check(write_raster(tmp_path / "a.tif", z, nodata=-9999))


@pytest.mark.parametrize("fault", ["undeclared", "damaged"])
def test_what_only_some_shards_may_read_stops_no_run_but_is_told(tmp_path, fault):
    z = Z.copy()
    if fault == "undeclared":
        z[70, 70] = -9999
    options = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    path = write_raster(tmp_path / "a.tif", z, **options)
    if fault == "damaged":
        with rasterio.open(path) as raster:
            place = int(raster.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
        content = bytearray(Path(path).read_bytes())
        content[place : place + 200] = bytes(200)
        Path(path).write_bytes(content)
    (told,) = check_cells(index_terrain([path])).warnings
    found = {
        "undeclared": "found -9999 in the cell at x 500705",
        "damaged": "found cells that cannot",
    }
    assert told.startswith(f"{path}: {found[fault]}")
    assert told.endswith(" Shards that read these cells will fail.")


def test_every_bad_tile_is_named(tmp_path):
    z = Z.copy()
    z[0] = 1e38
    tiles = write_tiles(
        tmp_path / "t", z, [(slice(0, 300), slice(k, k + 100)) for k in (0, 100, 200)]
    )
    with pytest.raises(SeveralProblems) as told:
        check(*tiles)
    assert [problem.where for problem in told.value.problems] == tiles


def test_tiles_that_contradict_each_other(tmp_path):
    one = write_raster(tmp_path / "a.tif", Z)
    other = write_raster(tmp_path / "b.tif", Z + 200, left=500_000.0 + 3900)
    with pytest.raises(TerrainError) as told:
        check(one, other)
    assert told.value.where == f"{one} and {other}"
    assert told.value.expected == "a difference of at most 5 m where tiles overlap"


@pytest.mark.parametrize("kind", ["nodata", "nan", "mask", "sparse"])
def test_a_dem_without_any_data(tmp_path, kind):
    z, options = np.full((300, 400), 7, np.float32), {}
    if kind == "nodata":
        options["nodata"] = 7
    elif kind == "nan":
        z[:] = np.nan
    elif kind == "mask":
        options["mask"] = np.zeros(z.shape, np.uint8)
    else:
        z[:] = -9999
        options |= {"nodata": -9999, "SPARSE_OK": True}
    paths = [
        write_raster(tmp_path / f"{k}.tif", z, left=500_000.0 + k * 4000, **options) for k in (0, 1)
    ]
    with pytest.raises(TerrainError) as told:
        check(*paths)
    assert str(told.value) == (
        f"{paths[0]} and 1 more: found no cell with data; expected elevations. Compare the nodata "
        "value and the mask that gdalinfo tells with the cells."
    )


def test_one_cell_with_data_is_enough(tmp_path):
    z = np.full((300, 400), -9999, np.float32)
    z[100, 100] = 5
    empty = write_raster(tmp_path / "a.tif", np.full_like(z, -9999), nodata=-9999)
    check(empty, write_raster(tmp_path / "b.tif", z, left=504_000.0, nodata=-9999))


def test_many_tiles_are_not_all_kept_open(tmp_path, monkeypatch):
    most = []
    opened = Terrain._raster
    monkeypatch.setattr(
        Terrain,
        "_raster",
        lambda self, tile: most.append(len(self._rasters)) or opened(self, tile),
    )
    check(*write_tiles(tmp_path / "t", Z, [(slice(k, k + 1), slice(0, 4)) for k in range(200)]))
    assert max(most) <= 64
