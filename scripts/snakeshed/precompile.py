"""Compile everything once, so that no job waits for it.

Numba compiles a kernel when it is first called and keeps the result on disk. Here the library
makes one run over ground of a few cells, by the same path as a shard's jobs.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.patch import TileSettings
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.delineation.table import write_catchments
from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.layer_types.numeric import NumericLayer
from snakeshed.grid.snap import SnapRule
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice
from snakeshed.tables.geoparquet import read_arrow
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

CELLS = 60
TRANSFORM = Affine(1 / 1200, 0.0, -84.0, 0.0, -1 / 1200, 36.0)


def precompile(folder: str | Path, all_ways: bool = False) -> int:
    """Delineate two sites and extract their features.

    Parameters
    ----------
    folder : str or Path
        For the files of that run.
    all_ways : bool
        By tiles, too.

    Returns
    -------
    int
        Number of cells of the larger catchment.
    """
    elevation = _valley()
    dem = Path(folder, "dem.tif")
    profile = {
        "driver": "GTiff",
        "height": CELLS,
        "width": CELLS,
        "count": 1,
        "dtype": elevation.dtype,
        "nodata": -9999,
        "crs": "EPSG:4326",
        "transform": TRANSFORM,
    }
    with rasterio.open(dem, "w", **profile) as raster:
        raster.write(elevation, 1)

    index = index_terrain([str(dem)])
    pyramid = PatchPyramid(
        index.lattice, core_m=1000.0, buffer_m=500.0, levels=3, radius_factor=1.0
    )
    rule = DelineationRule(
        SnapRule(radius_m=200.0, distance_weight=0.05, min_area_km2=0.1),
        max_void_cells=9,
        channel_km2=0.1,
    )
    lon, lat = TRANSFORM @ (CELLS / 2, 0.8 * CELLS)
    # To the nearest channel, and by a reported area, of which outlets on both sides are sought.
    sites = [Site("valley", lon, lat, 0), Site("reported", lon, lat, 0, reported_area_km2=1.5)]
    carve = replace(rule, conditioning="carve")
    with Backend("serial") as backend:
        catchments = delineate(sites, index, pyramid, rule, backend)
        delineate(sites, index, pyramid, carve, backend)
        if all_ways:
            from unittest.mock import patch

            from snakeshed.tiled import flats

            tiles = TileSettings(0, CELLS // 3, str(folder))
            delineate(sites, index, pyramid, rule, backend, tiles)
            delineate(sites, index, pyramid, carve, backend, tiles)
            # As if the lake were too large to be drained together with others.
            with patch.object(flats, "SMALL", 0):
                delineate(sites, index, pyramid, rule, backend, tiles)

    # On a projected lattice, sizes of cells follow the scale of the projection.
    Lattice.through(crs_facts("EPSG:32616"), 0.0, 0.0, 30.0, 30.0).cells(0, 0, 1, 1)

    table = Path(folder, "catchments.parquet")
    write_catchments(catchments, table, index.lattice.crs)
    with Terrain(index, rule.max_void_cells) as terrain:
        # Cells of layers are floats of single precision where that is exact, else of double.
        fine = Path(folder, "layer.tif")
        with rasterio.open(fine, "w", **profile | {"dtype": np.float64}) as raster:
            raster.write(elevation, 1)
        layers = [NumericLayer("single", str(dem), ()), NumericLayer("double", str(fine), ())]
        extract_features(read_arrow(table), terrain, ReliefRule((23.0,), (50.0,)), layers)
    return max(each.cells for each in catchments)


def warm_up() -> None:
    """Load what the jobs of a shard use, in a process that forks for each of them."""
    with tempfile.TemporaryDirectory(prefix="snakeshed-") as folder:
        precompile(folder)


def _valley() -> np.ndarray:
    """A valley down to the south with what kernels have a branch for: a lake, a pit and a void."""
    row, column = np.indices((CELLS, CELLS))
    elevation = 500 - 2 * row + 5 * np.abs(column - CELLS // 2)
    elevation[20:26, 26:34] = 400
    elevation[35, 20] -= 30
    elevation[40:42, 40:42] = -9999
    return elevation.astype(np.int16)
