"""The recipe of Roten et al. (2022) for one site, with stock pysheds, to compare with.

A window of 6 sqrt(area) km to each side of the site is cut out of the DEM and written as a file;
pysheds fills pits and depressions, resolves flats, and finds directions and upslope cells. The
site is snapped to where more than 0.9 of its reported area drains, and, if the catchment is more
than three times too large or the snap longer than 200 m, to the best of thresholds from 0.5 to 1.6
of it. Slopes come from numpy.gradient, the outline from a contour plot, of which the largest part
is kept. The DEM is in UTM already, so the reprojection of the original is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import rasterio
from matplotlib.figure import Figure
from rasterio.windows import Window
from shapely.geometry import Polygon

from snakeshed.grid.pysheds_import import Grid

mpl.use("Agg")

WINDOW_KM = 6.0
THRESHOLD = 0.9
OTHER_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
MOST_TOO_LARGE = 3.0
LONGEST_SNAP_M = 200.0
STEEP_DEGREES = 25.0


@dataclass(frozen=True)
class Found:
    """What the recipe finds for a site, and the cells that it had to work on."""

    area_km2: float
    snap_m: float
    steep_share: float
    outline_km2: float
    cells: int


def delineate_as_original(
    dem: str, x: float, y: float, reported_km2: float, scratch: Path
) -> Found:
    """Delineate one site.

    Parameters
    ----------
    dem : str
        A DEM in a projected CRS, in metres.
    x, y : float
        The site, in that CRS.
    reported_km2 : float
        Its reported area.
    scratch : Path
        A folder for the window's file.
    """
    window = scratch / "window.tif"
    z, transform = _cut_out(dem, x, y, WINDOW_KM * 1000 * reported_km2**0.5, window)
    grid = Grid.from_raster(str(window))
    raster = grid.read_raster(str(window))
    for step in (grid.fill_pits, grid.fill_depressions, grid.resolve_flats):
        raster = step(raster)
    directions = grid.flowdir(raster)
    upslope = grid.accumulation(directions)
    cell_km2 = transform.a * -transform.e / 1e6

    def at(threshold: float) -> tuple[np.ndarray, float, float]:
        network = upslope > threshold * reported_km2 / cell_km2
        (to_x, to_y), distance = grid.snap_to_mask(network, (x, y), return_dist=True)
        catchment = grid.catchment(x=to_x, y=to_y, fdir=directions, xytype="coordinate")
        return np.asarray(catchment), float(catchment.sum()) * cell_km2, float(distance)

    catchment, area, snap = at(THRESHOLD)
    if area > MOST_TOO_LARGE * reported_km2 or snap > LONGEST_SNAP_M:
        network_reaches = [
            t for t in OTHER_THRESHOLDS if upslope.max() > t * reported_km2 / cell_km2
        ]
        tries = [(catchment, area, snap), *(at(threshold) for threshold in network_reaches)]
        catchment, area, snap = min(tries, key=lambda found: abs(np.log(found[1] / reported_km2)))
    east, north = np.gradient(z, transform.a)
    slope = np.degrees(np.arctan(np.sqrt(east**2 + north**2)))
    steep = float((catchment & (slope > STEEP_DEGREES)).sum() / max(1, catchment.sum()))
    return Found(area, snap, steep, _contour_km2(catchment, transform), z.size)


def _cut_out(
    dem: str, x: float, y: float, radius_m: float, path: Path
) -> tuple[np.ndarray, rasterio.Affine]:
    with rasterio.open(dem) as raster:
        row, column = raster.index(x, y)
        radius = round(radius_m / raster.transform.a)
        top, left = max(0, row - radius), max(0, column - radius)
        bottom, right = min(raster.height, row + radius), min(raster.width, column + radius)
        window = Window(left, top, right - left, bottom - top)
        z = raster.read(1, window=window)
        transform = raster.window_transform(window)
        profile = {"driver": "GTiff", "count": 1, "crs": raster.crs, "transform": transform}
        profile |= {"height": z.shape[0], "width": z.shape[1], "dtype": "float32"}
    with rasterio.open(path, "w", nodata=-9999.0, **profile) as raster:
        raster.write(z.astype("float32"), 1)
    return z, transform


def _contour_km2(catchment: np.ndarray, transform: rasterio.Affine) -> float:
    height, width = catchment.shape
    xs = transform.c + transform.a * (np.arange(width) + 0.5)
    ys = transform.f + transform.e * (np.arange(height) + 0.5)
    axes = Figure().subplots()
    filled = axes.contourf(xs, ys, catchment.astype(float), levels=[-0.5, 0.5, 1.5])
    rings = filled.get_paths()[1].to_polygons()
    return max((Polygon(ring).area for ring in rings if len(ring) > 3), default=0.0) / 1e6
