"""What stock pysheds finds in the demo's terrain: an origin independent of this library's kernels.

Stock pysheds first compiles for 20 seconds. What it found is therefore kept in
`snakeshed.demo_outlets` and `snakeshed.demo_storms`, and no job waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from affine import Affine
from pyproj import Geod

from snakeshed.demo_fire import dnbr, kf_factor
from snakeshed.demo_outlets import OUTLETS
from snakeshed.demo_terrain import cell_size_m, gradient, read_sample

WHOLE_SITES = 48
SMALLEST_KM2 = 0.3
LARGEST_KM2 = 25.0

# As the terrain term of model M1 and the usual classes of dNBR x 1000 have it.
STEEP_DEGREES = 23.0
MODERATE = 250


def stock_outlets() -> list[tuple[int, int, float]]:
    """Find the outlets of the sites with stock pysheds: what `snakeshed.demo_outlets` has to hold.

    Returns
    -------
    list of (row, column, area_km2)
        As of :func:`choose_outlets`.
    """
    return choose_outlets(*contributing_areas(*read_sample()))


def contributing_areas(elevation: np.ndarray, transform: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Area that drains through each cell, by stock pysheds.

    Parameters
    ----------
    elevation : ndarray, shape (h, w)
        In metres, without nodata.
    transform : Affine
        Of a geographic, north-up grid.

    Returns
    -------
    area_km2 : ndarray of float64, shape (h, w)
        Geodesic area of all cells upstream, the cell included.
    is_whole : ndarray of bool, shape (h, w)
        Whether none of them lies at the edge, beyond which there might be more.
    """
    grid, directions, raster = _stock_flow(elevation, transform)
    rows, columns = elevation.shape
    cell_km2 = np.repeat(_cell_areas_km2(transform, rows)[:, np.newaxis], columns, axis=1)
    at_edge = np.ones(elevation.shape)
    at_edge[1:-1, 1:-1] = 0.0
    area_km2, edge_cells = (
        np.asarray(grid.accumulation(directions, weights=raster(weights)))
        for weights in (cell_km2, at_edge)
    )
    return area_km2, edge_cells == 0.0


def choose_outlets(area_km2: np.ndarray, is_whole: np.ndarray) -> list[tuple[int, int, float]]:
    """Choose cells whose areas are spread evenly over the orders of magnitude, and over the map.

    Each area from the largest down is looked for among the cells that drain it within 10 %; of
    these the one farthest from all chosen before is taken (the first of several).

    Parameters
    ----------
    area_km2 : ndarray of float64, shape (h, w)
        Contributing areas.
    is_whole : ndarray of bool, shape (h, w)
        Where those are not cut off by the edge of the DEM.

    Returns
    -------
    list of (row, column, area_km2)
        `WHOLE_SITES` cells of whole catchments, from large to small, and at the end one cell whose
        catchment is cut by the edge of the DEM. Areas are rounded to three decimals.
    """
    ratio = SMALLEST_KM2 / LARGEST_KM2
    wanted = [LARGEST_KM2 * ratio ** (step / (WHOLE_SITES - 1)) for step in range(WHOLE_SITES)]
    searches = [(area, is_whole) for area in wanted]
    searches.append((math.sqrt(SMALLEST_KM2 * LARGEST_KM2), _inner(~is_whole)))

    row, column = np.indices(area_km2.shape)
    nearest = np.full(area_km2.shape, np.iinfo(np.int64).max)
    chosen = []
    for area, allowed in searches:
        candidates = allowed & (area_km2 >= 0.9 * area) & (area_km2 <= 1.1 * area)
        if not candidates.any():
            raise ValueError(f"no stream of the demo's terrain drains {area:.1f} km2")
        best = divmod(int(np.argmax(np.where(candidates, nearest, -1))), area_km2.shape[1])
        chosen.append((*best, round(float(area_km2[best]), 3)))
        np.minimum(nearest, (row - best[0]) ** 2 + (column - best[1]) ** 2, out=nearest)
    return chosen


def stock_terms() -> list[tuple[float, float, float]]:
    """Summarize the synthetic fire by catchment: what `snakeshed.demo_storms` has to hold.

    Returns
    -------
    list of (steep, dnbr, kf)
        For each outlet of `snakeshed.demo_outlets`, over its catchment: the share that burned at
        moderate or high severity and is steep, mean dNBR / 1000, and mean KF factor, with three
        decimals.
    """
    elevation, transform = read_sample()
    grid, directions, _ = _stock_flow(elevation, transform)
    cell_km2 = _cell_areas_km2(transform, elevation.shape[0])
    severity, soil = dnbr(elevation, transform), kf_factor(elevation, transform)
    east, north = gradient(elevation, transform)
    steep = east * east + north * north >= math.tan(math.radians(STEEP_DEGREES)) ** 2
    values = ((severity > MODERATE) & steep, severity / 1000.0, soil)

    terms = []
    for row, column, _ in OUTLETS:
        found = np.asarray(grid.catchment(x=column, y=row, fdir=directions, xytype="index"))
        cells = found.astype(bool)
        weights = np.broadcast_to(cell_km2[:, np.newaxis], cells.shape)[cells]
        steep_share, mean_dnbr, mean_kf = (
            round(float(np.average(each[cells], weights=weights)), 3) for each in values
        )
        terms.append((steep_share, mean_dnbr, mean_kf))
    return terms


def _stock_flow(elevation: np.ndarray, transform: Affine) -> tuple[Any, Any, Callable]:
    """The stock grid, its flow directions, and what makes its rasters of arrays."""
    # Jobs have no use for it.
    from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder

    rows = elevation.shape[0]
    width_m, height_m = cell_size_m(transform, rows)
    # pysheds compares slopes in the units of its grid: cells in degrees would look like squares.
    grid_m = Affine(width_m[rows // 2], 0.0, 0.0, 0.0, -height_m, 0.0)
    nodata = np.float64(-9999.0)
    view = ViewFinder(affine=grid_m, shape=elevation.shape, nodata=nodata)
    # Single precision would not hold the 0.01 mm by which resolve_flats raises cells.
    dem = Raster(elevation.astype(np.float64), viewfinder=view)
    grid = Grid.from_raster(dem)
    flooded = grid.fill_depressions(grid.fill_pits(dem, nodata_out=nodata), nodata_out=nodata)
    directions = grid.flowdir(grid.resolve_flats(flooded, nodata_out=nodata))
    return grid, directions, lambda values: Raster(values, viewfinder=view)


def _inner(mask: np.ndarray) -> np.ndarray:
    """Without the five outermost rows and columns, where a site could be moved out of the DEM."""
    inner = np.zeros_like(mask)
    inner[5:-5, 5:-5] = mask[5:-5, 5:-5]
    return inner


def _cell_areas_km2(transform: Affine, rows: int) -> np.ndarray:
    """Geodesic area of one cell of each row."""
    geod = Geod(ellps="WGS84")
    areas = []
    for row in range(rows):
        corners = [
            transform @ corner for corner in ((0, row), (0, row + 1), (1, row + 1), (1, row))
        ]
        lons, lats = zip(*corners, strict=True)
        areas.append(abs(geod.polygon_area_perimeter(lons, lats)[0]) / 1e6)
    return np.array(areas)
