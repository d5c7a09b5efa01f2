"""The sites of a shard, each delineated by itself with the recipe of the paper."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import rasterio
import shapely
from scipy import ndimage

from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.outlines import outline
from snakeshed.delineation.patch import failed
from snakeshed.delineation.roten2022.polygon import cells_in, contour_polygon
from snakeshed.delineation.roten2022.published import SNAP_SHARE
from snakeshed.delineation.roten2022.watershed import Watershed, find_watershed
from snakeshed.delineation.roten2022.window import NoWindowError, Window, cut_out, tile_under
from snakeshed.delineation.routed_window import lon_lat
from snakeshed.delineation.site import Site
from snakeshed.grid.dirmap import DIRMAP, from_dirmap
from snakeshed.grid.snap_rule import agreement
from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.catchment_shape import flow_lengths, perimeter
from snakeshed.kernels.catchments import preorder
from snakeshed.kernels.cell_sizes import even_rows
from snakeshed.kernels.d8 import OUTSIDE
from snakeshed.raster.crs import transformer
from snakeshed.raster.header import gdal_faults, open_raster
from snakeshed.terrain.elevations import Terrain, unreadable
from snakeshed.terrain.index import DemTile, TerrainIndex

log = logging.getLogger(__name__)

# A cell, and those at its sides and corners.
_AROUND = np.ones((3, 3), bool)


def delineate_as_published(
    sites: Iterable[Site],
    index: TerrainIndex,
    channel_km2: float,
    backend: Backend,
) -> list[Catchment]:
    """Delineate the sites of a shard, each exactly once.

    Parameters
    ----------
    sites : iterable of Site
    index : TerrainIndex
        Of the tiles under the sites, on the DEM's own grid.
    channel_km2 : float
        Channels begin where this much drains.
    backend : Backend

    Returns
    -------
    list of Catchment
        Sorted by ``site_id``.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    started = time.perf_counter()
    run = partial(_delineate_task, index=index, channel_km2=channel_km2)
    # Large windows first, or the others would wait for the last of them.
    tasks = sorted(sites, key=lambda site: (-(site.reported_area_km2 or 0.0), site.site_id))
    done = list(backend.map(run, tasks, lost=_lost, what="sites"))
    log.info("%d sites in %.2f s", len(done), time.perf_counter() - started)
    return sorted(done, key=lambda catchment: catchment.site_id)


def _lost(site: Site) -> Catchment:
    reason = (
        "the site's window ended each process that worked on it, most likely for want of memory: "
        "delineate its shard again with more memory for each worker"
    )
    return failed(site, None, "worker_killed", reason)


def _delineate_task(site: Site, index: TerrainIndex, channel_km2: float) -> Catchment:
    # Within one environment of GDAL; each read would set up its own.
    with rasterio.Env():
        return _delineate_site(site, index, channel_km2)


def _delineate_site(site: Site, index: TerrainIndex, channel_km2: float) -> Catchment:
    if not (math.isfinite(site.x) and math.isfinite(site.y)):
        reason = "the site's coordinates have no place in the CRS of the DEM"
        return failed(replace(site, x=None, y=None), None, "outside_dem", reason)
    tile = tile_under(site, index)
    if tile is None:
        return failed(site, None, "outside_dem", "no tile of the DEM lies under the site")
    if site.reported_area_km2 is None:
        reason = "no area is reported, by which the recipe finds window and outlet"
        return failed(site, None, "no_reported_area", reason)
    try:
        window = _window_of(site, tile, index)
    except NoWindowError as error:
        return failed(site, None, "recipe_failed", f"no window around the site: {error}")
    if not window.is_known.any():
        return failed(site, None, "on_nodata", "the DEM has no data in the site's window")
    x, y = transformer(index.lattice.crs, window.crs).transform(site.x, site.y)
    try:
        found = find_watershed(window, x, y, site.reported_area_km2)
    # pysheds raises what its arrays raise.
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        return failed(site, None, "recipe_failed", f"pysheds stopped with: {error}")
    if found is None:
        reason = (
            f"no cell of the site's window drains more than {SNAP_SHARE:g} times the reported area"
        )
        return failed(site, None, "no_stream", reason)
    polygon = contour_polygon(found.mask, window.transform)
    cells = None if polygon is None else _cells_with_data(polygon, window.crs, index)
    if cells is None or not cells[0].any():
        reason = (
            f"the catchment is too small: the contour around its cells ({int(found.mask.sum())}) "
            "holds the center of no cell of the DEM"
        )
        return failed(site, None, "recipe_failed", reason)
    return _described(site, index, window, found, cells, channel_km2)


def _window_of(site: Site, tile: DemTile, index: TerrainIndex) -> Window:
    try:
        with open_raster(tile.path) as raster:
            # Where the DEM goes on beyond the antimeridian, longitudes of a tile may not.
            corner, _ = index.source.corner(tile.row, tile.column)
            turns = round((corner - raster.transform.c) / 360) if index.source.geographic else 0
            x = site.x - 360 * turns
            area = site.reported_area_km2
            return cut_out(raster, x, site.y, area, index.source, tile.also_nodata)
    except NoWindowError:
        raise
    except MemoryError:
        raise  # nothing is wrong with the tile
    except gdal_faults() as error:
        raise unreadable(tile, error) from error


def _cells_with_data(
    polygon: shapely.Polygon, crs: str, index: TerrainIndex
) -> tuple[np.ndarray, int, int]:
    """Return `cells_in` a polygon without those that the reprojection gave data of a neighbor."""
    mask, row, column = cells_in(polygon, crs, index)
    with Terrain(index, 0) as terrain:
        mask &= ~np.isnan(terrain.elevations(row, column, *mask.shape))
    return mask, row, column


def _described(
    site: Site,
    index: TerrainIndex,
    window: Window,
    found: Watershed,
    cells: tuple[np.ndarray, int, int],
    channel_km2: float,
) -> Catchment:
    """Measure a catchment and put all that is known of the site together."""
    mask, row, column = cells
    lattice = index.lattice
    at_x, at_y = window.transform * (found.column + 0.5, found.row + 0.5)
    x, y = transformer(window.crs, lattice.crs).transform(at_x, at_y)
    x = float(index.turned(x))
    lon, lat = lon_lat(lattice.crs, x, y)
    # pysheds has no directions at the rim, and no catchment reaches it.
    inner = found.mask[2:-2, 2:-2]
    touches_edge = np.count_nonzero(inner) < np.count_nonzero(found.mask)
    beside_gaps = ndimage.binary_dilation(~window.is_known, _AROUND)
    longest_m, channel_m, basin_m = _lengths(window, found, channel_km2)
    ratio = found.area_km2 / site.reported_area_km2
    sure = agreement(ratio) != "low" and not touches_edge
    around = lattice.cells(row, column, *mask.shape)
    return Catchment(
        site_id=site.site_id,
        status="ok",
        reason=None,
        site_x=site.x,
        site_y=site.y,
        reported_area_km2=site.reported_area_km2,
        patch=None,
        patch_level=None,
        outlet_x=x,
        outlet_y=y,
        outlet_lon=lon,
        outlet_lat=lat,
        area_km2=found.area_km2,
        area_ratio=ratio,
        cells=int(np.count_nonzero(mask)),
        snap_distance_m=found.snap_m,
        # Without other outlets to compare with, none is of high confidence.
        confidence="medium" if sure else "low",
        touches_edge=touches_edge,
        touches_nodata=bool((beside_gaps & found.mask).any()),
        pool_at_rim=False,
        needs_larger_window=False,
        perimeter_km=perimeter(mask, around) / 1000,
        longest_flow_path_km=longest_m / 1000,
        basin_length_km=basin_m / 1000,
        channel_length_km=channel_m / 1000,
        geometry=outline(mask, lattice, row, column),
    )


def _lengths(window: Window, found: Watershed, channel_km2: float) -> tuple[float, float, float]:
    """Longest flow path, length of channels, and greatest distance to the outlet, m."""
    rows, columns = (np.flatnonzero(found.mask.any(axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]
    box = slice(top, rows[-1] + 1), slice(left, columns[-1] + 1)
    directions = from_dirmap(found.directions[box], ~found.mask[box], DIRMAP)
    outlet = found.row - top + 1, found.column - left + 1
    directions[outlet] = OUTSIDE
    counts = count_upslope(directions)
    at = np.array([np.ravel_multi_index(outlet, directions.shape)], np.int64)
    cells, _ = preorder(directions, counts, at)
    width, height = (
        np.full(len(directions), abs(size)) for size in (window.transform.a, window.transform.e)
    )
    return flow_lengths(cells, directions, counts, even_rows(width, height), channel_km2 * 1e6)
