"""A job whose shard needs more memory than it has."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rasters import write_raster

from snakeshed.delineation.patch import TILES_PREFIX
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import COLUMNS, split
from snakeshed.delineation.site import DelineationRule
from snakeshed.grid.snap import SnapRule
from snakeshed.result_files import result_file
from snakeshed.tables.geoparquet import read_table, write_table
from snakeshed.terrain.dem import index_terrain

SCRIPT = Path(__file__).parents[3] / "scripts" / "delineate.py"
RULE = DelineationRule(SnapRule(50.0, 0.05, 0.001), max_void_cells=9, channel_km2=0.01)
PATCHES = {"core_m": 14000.0, "buffer_m": 14000.0, "levels": 1, "radius_factor": 1.0}
CELLS = 4200
LARGE_MB = 700
"""Less than a patch of so many cells along each side takes as a whole."""


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("delineate_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shard")
    row, column = np.indices((CELLS, CELLS))
    # Six valleys: what drains to a site has room in a worker.
    across = np.abs((column + CELLS // 12) % (CELLS // 6) - CELLS // 12)
    z = 500 + 0.05 * row + 0.2 * across
    z += np.random.default_rng(1).random(z.shape)
    dem = write_raster(folder / "dem.tif", z.astype(np.float32), tiled=True)
    index = index_terrain([dem])
    pyramid = PatchPyramid(index.lattice, **PATCHES)
    (tile,) = index.tiles
    x, y = index.lattice.centre(tile.row + CELLS // 2, tile.column + CELLS // 2)
    sites = pd.DataFrame(
        {
            "site_id": ["a", "b"],
            "x": [x, x + 300.0],
            "y": [y, y + 2000.0],
            "crs": "EPSG:32611",
            "reported_area_km2": [None, 0.1],
        }
    )
    (one,) = split(sites, index, pyramid, 1)
    write_table(one.sites, folder / "sites.parquet", COLUMNS)
    with result_file(folder / "terrain.json") as part:
        part.write_text(one.terrain.to_json(), encoding="utf-8")
    return folder


def run(main, shard: Path, out: Path, backend: str, mem_mb: int) -> bytes:
    out.mkdir(exist_ok=True)
    catchments = out / "catchments.parquet"
    main(
        sites=str(shard / "sites.parquet"),
        terrain=str(shard / "terrain.json"),
        patches=PATCHES,
        rule=RULE,
        backend=backend,
        workers=1,
        mem_mb=mem_mb,
        inputs=[],
        inputs_of_run="none.json",
        catchments=str(catchments),
        log=str(out / "log"),
    )
    logging.getLogger().handlers.clear()
    assert (read_table(catchments)["status"] == "ok").all()
    return catchments.read_bytes()


@pytest.mark.slow
def test_a_large_patch_is_done_by_tiles_on_dask_with_the_same_bytes(main, shard, tmp_path):
    expected = run(main, shard, tmp_path / "whole", "auto", 4000)
    assert "tiles" not in (tmp_path / "whole" / "log").read_text(encoding="utf-8")
    assert run(main, shard, tmp_path / "serial", "serial", LARGE_MB) == expected
    assert run(main, shard, tmp_path / "auto", "auto", LARGE_MB) == expected
    told = (tmp_path / "auto" / "log").read_text(encoding="utf-8")
    assert "dask: dashboard at http://127.0.0.1:" in told
    assert "tiles of patch L0_" in told
    assert not list(tmp_path.rglob(f"{TILES_PREFIX}*"))


def test_what_a_killed_job_left_of_its_tiles_is_removed(main, shard, tmp_path):
    left = tmp_path / f"{TILES_PREFIX}L0_R1_C1-abc"
    left.mkdir()
    (left / "filled-0-0.npy").write_bytes(b"half")
    run(main, shard, tmp_path, "serial", 4000)
    assert not left.exists()
