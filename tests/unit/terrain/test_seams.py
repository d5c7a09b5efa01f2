"""Two tiles that overlap and differ there: catchments across the seam are the same in every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rasters import write_raster

from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.patch import TileSettings
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.grid.snap import SnapRule
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import TerrainIndex
from snakeshed.terrain.sources import TerrainSource, terrain_source

RULE = DelineationRule(SnapRule(100.0, 0.05, 0.1), max_void_cells=64, channel_km2=0.1)
SIDE_M, CELLS, OVERLAP = 3000, 100, 6
SEAM_X = 402_000
# West of the seam, on it, in the twelve columns that both tiles have, and east of it; one far away.
SITES = {
    "west": (401_315, 3_799_515),
    "near": (401_915, 3_799_515),
    "seam": (SEAM_X, 3_799_515),
    "overlap": (402_105, 3_799_515),
    "east": (403_515, 3_799_515),
    "far": (404_400, 3_801_300),
}


@pytest.fixture(scope="module")
def source() -> TerrainSource:
    return terrain_source(
        {
            "name": "own",
            "address": "https://a.example/{x}_{y}.tif",
            "crs": "EPSG:32611",
            "tile_size": SIDE_M,
            "cells": CELLS,
            "corner": "southwest",
            "overlap": OVERLAP,
        }
    )


def write_tile(folder: Path, source: TerrainSource, i: int, j: int, raised_m: float) -> str:
    """Write a tile of a valley that falls westwards, and of its side valleys."""
    lattice = source.lattice()
    tile = source.tile(lattice, i, j)
    rows, columns = np.mgrid[: tile.height, : tile.width]
    left, top = lattice.corner(tile.row, tile.column)
    x, y = left + (columns + 0.5) * 30 - SEAM_X, top - (rows + 0.5) * 30 - 3_799_500
    z = 900 + 0.02 * x + 0.15 * np.abs(y) + 0.04 * np.abs(y) * np.sin(2 * np.pi * x / 1500)
    # Surveys of other dates differ.
    z += raised_m + 0.3 * np.sin(columns * 1.7 + rows * (1 + raised_m))
    path = folder / tile.name
    return write_raster(path, z.astype(np.float32), left=left, top=top, dx=30, unit="m")


@pytest.fixture(scope="module")
def index(tmp_path_factory, source) -> TerrainIndex:
    folder = tmp_path_factory.mktemp("tiles")
    files = [
        write_tile(folder, source, i, j, raised_m)
        for i in (1266, 1267)
        for j, raised_m in ((133, 0.0), (134, 1.5))
    ]
    return index_terrain(sorted(files), source=source)


def delineated(
    index: TerrainIndex, names: list[str], shards: int, tiles: TileSettings | None = None
) -> dict[str, Catchment]:
    table = pd.DataFrame(
        {
            "site_id": names,
            "x": [SITES[name][0] for name in names],
            "y": [SITES[name][1] for name in names],
            "crs": "EPSG:32611",
            "reported_area_km2": np.nan,
        }
    )
    pyramid = PatchPyramid(index.lattice, 600, 600, 4, 1.0)
    done = {}
    for shard in split(table, index, pyramid, shards):
        sites = sites_of(shard.sites)
        for each in delineate(sites, shard.terrain, pyramid, RULE, Backend("serial"), tiles):
            done[each.site_id] = each
    return done


def same(one: Catchment, other: Catchment) -> bool:
    return repr(one) == repr(other)


def test_tiles_differ_where_they_overlap(index):
    from snakeshed.terrain.elevations import Terrain

    row, column = index.lattice.cell_of(SEAM_X, 3_799_515)
    touched = [len(index.touching(row, column + k, 1, 1)) for k in range(-OVERLAP - 1, OVERLAP + 1)]
    assert touched == [1, *[2] * 12, 1]
    west, east = (index.tiles[k] for k in index.touching(row, column, 1, 1))
    with Terrain(index, 64) as terrain:
        differences = terrain.compare(
            west, east, (row - 20, row + 20, column - OVERLAP, column + OVERLAP)
        )
    assert np.abs(differences).max() > 1


def test_a_site_at_a_seam_is_the_same_whatever_is_run_with_it(index):
    names = list(SITES)
    all_of_them = delineated(index, names, 1)
    assert {name for name, each in all_of_them.items() if each.status == "ok"} == {*names} - {"far"}
    # Catchments reach across the seam.
    assert all_of_them["west"].area_km2 > all_of_them["east"].area_km2 > 5
    for shards in (2, 16):
        done = delineated(index, names, shards)
        assert all(same(done[name], all_of_them[name]) for name in names)
    for name in names:
        assert same(delineated(index, [name], 16)[name], all_of_them[name])


def test_a_seam_is_the_same_in_a_patch_that_is_routed_by_tiles(index, tmp_path):
    names = list(SITES)
    whole = delineated(index, names, 1)
    by_tiles = delineated(index, names, 1, TileSettings(1000, 50, str(tmp_path)))
    assert all(same(by_tiles[name], whole[name]) for name in names)
