"""Outlet and catchment of one site in its window, with stock pysheds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyproj import Proj

from snakeshed.delineation.roten2022.published import (
    LONGEST_SNAP_M,
    MOST_TOO_LARGE,
    SECOND_SHARES,
    SNAP_SHARE,
)
from snakeshed.delineation.roten2022.window import Window
from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder


@dataclass(frozen=True, eq=False)
class Watershed:
    """What the recipe finds in a window.

    Attributes
    ----------
    mask : ndarray of bool, shape (h, w)
        The catchment's cells.
    directions : ndarray of int64, shape (h, w)
        Where each cell drains to, as pysheds numbers it.
    row, column : int
        The outlet's cell.
    area_km2 : float
        Cells times the area of a cell in the plane of the projection.
    snap_m : float
        From the site to the corner of the outlet's cell that pysheds takes for its place.
    """

    mask: np.ndarray
    directions: np.ndarray
    row: int
    column: int
    area_km2: float
    snap_m: float


def find_watershed(
    window: Window, x: float, y: float, reported_area_km2: float
) -> Watershed | None:
    """Find outlet and catchment of a site.

    Parameters
    ----------
    window : Window
    x, y : float
        The site, in the CRS of the window.
    reported_area_km2 : float

    Returns
    -------
    Watershed or None
        None if nowhere in the window enough drains through a cell.
    """
    view = ViewFinder(
        affine=window.transform,
        shape=window.z.shape,
        nodata=np.float32(window.nodata),
        crs=Proj(window.crs, preserve_units=True),
    )
    z = Raster(window.z, view)
    grid = Grid.from_raster(z)
    for step in (grid.fill_pits, grid.fill_depressions, grid.resolve_flats):
        z = step(z)
    directions = grid.flowdir(z)
    upslope = grid.accumulation(directions)
    wanted = reported_area_km2 * 1e6 / window.cell_m2

    def nearest(drains: Raster) -> Watershed | None:
        if not drains.any():
            return None
        (at_x, at_y), snap_m = grid.snap_to_mask(drains, (x, y), return_dist=True)
        mask = grid.catchment(x=at_x, y=at_y, fdir=directions, xytype="coordinate")
        column, row = grid.nearest_cell(at_x, at_y)
        area_km2 = int(mask.sum()) * window.cell_m2 / 1e6
        return Watershed(
            np.asarray(mask, np.bool_),
            np.asarray(directions),
            int(row),
            int(column),
            area_km2,
            float(snap_m),
        )

    first = nearest(upslope > SNAP_SHARE * wanted)
    if first is None:
        return None
    if first.area_km2 <= MOST_TOO_LARGE * reported_area_km2 and first.snap_m <= LONGEST_SNAP_M:
        return first
    least, most = (share * wanted for share in SECOND_SHARES)
    second = nearest((upslope > least) & (upslope < most))
    # The authors meant to keep the one with the shorter snap, and did not.
    return second if second is not None and second.snap_m < LONGEST_SNAP_M else first
