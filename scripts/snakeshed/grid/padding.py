"""Elevations and cell sizes of a pysheds raster as the kernels take them: padded by one cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snakeshed.ellipsoid import ellipsoid_cell

if TYPE_CHECKING:
    from snakeshed.grid.pysheds_import import Raster

SMALLEST = 1e-290
"""Nothing but 0 below this: the smallest difference of two elevations has a slope above 0."""


def blank_rim(padded: np.ndarray, value: int) -> None:
    """Write a value into the outermost cells of the data in a padded array."""
    for side in (padded[1], padded[-2], padded[:, 1], padded[:, -2]):
        side[1:-1] = value


def padded_elevations(
    dem: Raster, nodata_cells: np.ndarray, dtype: type | None = None
) -> np.ndarray:
    """Elevations in a ring of NaN, with NaN for nodata; in float32 if that holds them exactly.

    The kernels need half the memory and two thirds of the time for it.
    """
    values, void = np.asarray(dem), np.asarray(nodata_cells)
    if dtype is None:
        dtype = np.float32 if _fit_singles(values, void) else np.float64
    z = np.full((values.shape[0] + 2, values.shape[1] + 2), np.nan, dtype=dtype)
    z[1:-1, 1:-1] = values
    z[1:-1, 1:-1][void] = np.nan
    if dtype == np.float64:
        z[np.abs(z) < SMALLEST] = 0.0
    return z


def _fit_singles(values: np.ndarray, void: np.ndarray) -> bool:
    if np.can_cast(values.dtype, np.float32):
        return True
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32)
    return bool(((singles == values) | void | (values != values)).all())


def cell_sizes(dem: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of the cells of each padded row, in the unit of the CRS."""
    rows = dem.shape[0] + 2
    return np.full(rows, abs(dem.affine.a)), np.full(rows, abs(dem.affine.e))


def ground_sizes(dem: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of the cells of each padded row as water takes them, in one unit.

    Those of the ellipsoid, in metres, where coordinates are degrees; else those of the affine
    transformation. A raster that pysheds was given no CRS for has EPSG:4326, so that coordinates
    beyond the poles, or beyond a turn around the Earth, are not taken for degrees.
    """
    crs = getattr(dem.crs, "crs", dem.crs)  # a Proj's, or a CRS itself
    if not crs.is_geographic:
        return cell_sizes(dem)
    degrees = math.degrees(crs.axis_info[0].unit_conversion_factor)
    affine, (rows, columns) = dem.affine, dem.shape
    xs = [(affine.c + affine.a * column) * degrees for column in (0, columns)]
    ys = [(affine.f + affine.e * row) * degrees for row in (0, rows)]
    dx, dy = abs(affine.a) * degrees, abs(affine.e) * degrees
    # What pysheds gives a raster without a place.
    if (abs(affine.a), abs(affine.e), affine.c, affine.f) == (1, 1, 0, 0):
        return cell_sizes(dem)
    # Many global grids have the centres of their outermost cells at the poles.
    if max(map(abs, ys)) > 90 + dy or max(map(abs, xs)) > 360 + dx:
        return cell_sizes(dem)
    ellipsoid = crs.ellipsoid
    shape = ellipsoid.semi_major_metre, ellipsoid.inverse_flattening
    latitudes = [(affine.f + affine.e * (row + 0.5)) * degrees for row in range(-1, rows + 1)]
    cells = np.array([ellipsoid_cell(latitude, dx, dy, *shape) for latitude in latitudes])
    return np.ascontiguousarray(cells[:, 0]), np.ascontiguousarray(cells[:, 1])


def checked_elevations(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return an array that has the shape of the DEM; raise ValueError otherwise."""
    if np.shape(array) != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {np.shape(array)}")
    return array
