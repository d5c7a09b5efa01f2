"""What a shard's jobs are expected to need, against what they take."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rasters import write_raster

from snakeshed.backends import given_memory
from snakeshed.backends.given_memory import given_bytes
from snakeshed.delineation import memory_request
from snakeshed.delineation.memory_request import (
    CatchmentSizes,
    ShardMemory,
    asked_mb,
    largest_patch,
    prepared_bytes,
    tile_edge,
    vector_bytes,
    window_bytes,
)
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice
from snakeshed.result_files import result_file
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import DemTile, TerrainIndex

PYRAMID = {"core_m": 500.0, "buffer_m": 500.0, "levels": 3, "radius_factor": 1.0}
MEASURE = """
import json, re, sys
from pathlib import Path
from snakeshed.backends.local import Backend
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.delineation.delineate import delineate
from snakeshed.terrain.dem import index_terrain
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.grid.snap import SnapRule
from snakeshed.result_files import result_file

def sites_of(index):
    row, column = index.lattice.cell_of(*map(float, sys.argv[2:4]))
    return [Site("a", *index.lattice.centre(row, column), 0)]

index = index_terrain([sys.argv[1]])
pyramid = PatchPyramid(index.lattice, **json.loads(sys.argv[4]))
rule = DelineationRule(SnapRule(50.0, 0.05, 0.0), 9, 0.01, conditioning=sys.argv[5])
(one,) = delineate(sites_of(index), index, pyramid, rule, Backend("serial"))
assert one.status == "ok"
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024)
"""


@pytest.mark.parametrize(
    ("crs", "side", "cells", "conditioning"),
    [
        ("EPSG:32611", 10.0, 200, "fill"),
        pytest.param("EPSG:32611", 10.0, 3000, "fill", marks=pytest.mark.slow),
        pytest.param("EPSG:32611", 10.0, 3000, "carve", marks=pytest.mark.slow),
        pytest.param("EPSG:4269", 1 / 10800, 3000, "fill", marks=pytest.mark.slow),
        pytest.param("EPSG:4269", 1 / 10800, 3000, "carve", marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_near_the_peak(tmp_path, crs, side, cells, conditioning):
    size = 2 * cells
    rng = np.random.default_rng(1)
    z = (np.add.outer(np.arange(size), np.arange(size)) / 10).astype(np.float32)
    z += rng.random(z.shape, dtype=np.float32)
    left, top = (500_000.0, 4_000_000.0) if side > 1 else (-118.0, 35.0)
    path = write_raster(tmp_path / "dem.tif", z, left=left, top=top, dx=side, crs=crs, tiled=True)
    index = index_terrain([path])
    metres = index.lattice.cell_height_m() * cells / 3
    settings = {"core_m": metres, "buffer_m": metres, "levels": 1, "radius_factor": 1.0}
    pyramid = PatchPyramid(index.lattice, **settings)
    x, y = left + side * cells, top - side * cells
    patch = pyramid.patch_of(*index.lattice.cell_of(x, y), 0)
    expected = ShardMemory.of_patches([patch], pyramid, index).delineation_bytes()
    command = [
        sys.executable,
        "-c",
        MEASURE,
        path,
        str(x),
        str(y),
        json.dumps(settings),
        conditioning,
    ]
    found = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert found / 1.5 < expected < found * 1.5


def large_dem(rows=100_000, columns=100_000):
    """A DEM around the origin of its CRS, by its headers."""
    lattice = Lattice.through(crs_facts("EPSG:32611"), 0.0, 0.0, 10.0, 10.0)
    place = {"row": -rows // 2, "column": -columns // 2, "height": rows, "width": columns}
    tile = DemTile(
        "a.tif", **place, dtype="float32", nodata=None, scale=1.0, offset=0.0, vertical_unit_m=1.0
    )
    return TerrainIndex(lattice, lattice, (tile,))


def test_the_largest_patch_counts_and_a_level_up_is_four_times_as_large():
    index = large_dem()
    pyramid = PatchPyramid(index.lattice, **PYRAMID)
    patches = [Patch(0, 0, 0), Patch(1, 5, 5), Patch(0, 9, 9)]
    shard = ShardMemory.of_patches(patches, pyramid, index)
    assert (shard.cells, shard.larger) == (300**2, (600**2, 600**2))
    more = [shard.delineation_bytes(up) - memory_request.BASE_BYTES for up in range(4)]
    assert more == [34 * 300**2, 34 * 600**2, 34 * 600**2, 34 * 600**2]


def test_what_a_patch_has_beyond_the_dem_takes_no_memory():
    index = large_dem(80, 400)
    pyramid = PatchPyramid(index.lattice, 500.0, 500.0, 12, 1.0)
    shard = ShardMemory.of_patches([Patch(0, 0, 0), Patch(0, -2, 9)], pyramid, index)
    # From row -1 core of 50 cells beyond the corner, and from column -50: 40 rows are left.
    assert (shard.cells, shard.larger[0]) == (80 * 150, 80 * 300)
    assert shard.larger[-1] == 80 * 400
    # A patch beside the DEM reaches it at a higher level only.
    shard = ShardMemory.of_patches([Patch(0, 0, 9)], pyramid, index)
    assert shard.cells == 80
    assert shard.larger[-1] == 80 * 400
    assert list(shard.larger) == sorted(shard.larger)
    nothing = ShardMemory.of_patches([Patch(0, 0, 0)], pyramid, index.subset(()))
    assert (nothing.cells, set(nothing.larger)) == (1, {1})


@pytest.mark.parametrize(("cells", "most"), [([5, None, 700], 700), ([None], 0), ([], 0)])
def test_features_take_memory_for_the_largest_catchment(tmp_path, cells, most):
    table = pd.DataFrame({"cells": pd.Series(cells, dtype="Int64")})
    with result_file(tmp_path / "catchments.parquet") as part:
        table.to_parquet(part)
    expected = memory_request.BASE_BYTES + 160 * most
    sizes = CatchmentSizes.of(tmp_path / "catchments.parquet")
    assert sizes.features_bytes() == expected
    assert (sizes.sites, sizes.total) == (len(cells), sum(filter(None, cells)))


def test_a_shard_without_sites_needs_a_process():
    index = large_dem().subset(())
    shard = ShardMemory.of_patches([], PatchPyramid(index.lattice, **PYRAMID), index)
    assert shard.delineation_bytes(2) == memory_request.BASE_BYTES


def test_a_file_of_polygons_is_looked_at_as_a_whole_and_compressed_ones_need_more(tmp_path):
    for name in ("a.gpkg", "b.PARQUET"):
        (tmp_path / name).write_bytes(b"0" * 1000)
    plain, packed = (str(tmp_path / name) for name in ("a.gpkg", "b.PARQUET"))
    needed = [vector_bytes(files) - memory_request.BASE_BYTES for files in ([], [plain], [packed])]
    assert needed == [0, 10_000, 30_000]
    assert vector_bytes([plain, packed]) == vector_bytes([packed])
    assert prepared_bytes([plain, packed, str(tmp_path / "none")]) == 12_000


def test_each_attempt_asks_for_more():
    assert [asked_mb(10**8, attempt) for attempt in (1, 2, 3)] == [2000, 6000, 18000]
    assert asked_mb(7_000_000_001, 2) == 7001


def test_what_a_worker_has_room_for():
    assert largest_patch(memory_request.BASE_BYTES + 34 * 10**6) == 10**6
    assert largest_patch(10**6) == 0
    assert tile_edge(memory_request.BASE_BYTES + 40 * 1000**2) == 1000
    assert tile_edge(10**12) == 4096
    assert tile_edge(0) == 64


def test_a_job_has_what_it_asked_for_or_its_container_if_that_is_less(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(given_memory, "_CGROUP_LIMITS", (str(tmp_path / "none"), str(limit)))
    assert given_bytes(100) == 100_000_000
    assert given_bytes() > 10**8
    limit.write_text("50000000\n", encoding="ascii")
    assert given_bytes(100) == given_bytes() == 50_000_000
    limit.write_text("max\n", encoding="ascii")
    assert given_bytes(100) == 100_000_000


WITH_A_RECIPE = """
import re, sys
from pathlib import Path
from snakeshed.backends.local import Backend
from snakeshed.delineation.roten2022.sites import delineate_as_published
from snakeshed.delineation.roten2022.window import window_cells
from snakeshed.delineation.site import Site
from snakeshed.terrain.dem import index_terrain

index = index_terrain([sys.argv[1]])
(tile,) = index.tiles
site = Site("a", *index.lattice.centre(tile.row + 1000, tile.column + 1000), 0, 1.2)
(one,) = delineate_as_published([site], index, 0.1, Backend("serial"))
assert one.status == "ok", one.reason
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024, *window_cells([site], index))
"""


@pytest.mark.slow
def test_a_job_with_a_recipe_has_the_memory_that_it_takes(tmp_path):
    row, column = np.indices((2000, 2000))
    z = 500 + 0.05 * row + 0.2 * np.abs(column - 1000)
    z += np.random.default_rng(1).random(z.shape)
    dem = write_raster(tmp_path / "dem.tif", z.astype(np.float32), tiled=True)
    command = [sys.executable, "-c", WITH_A_RECIPE, dem]
    # Once more, since pysheds is compiled the first time.
    done = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(2)]
    took, cells = map(int, done[-1].stdout.split())
    assert cells == 1973**2
    assert 0.5 * window_bytes(cells) < took < window_bytes(cells)
    assert asked_mb(window_bytes(0), 1) * 1e6 > int(done[0].stdout.split()[0])
