"""The demo's inputs: real terrain that comes with matplotlib, and what can be derived from it.

matplotlib ships 344 x 403 cells of SRTM elevations, 3 arc-seconds wide, around the Jacksboro fault
in Tennessee. Sites are laid on its streams, with the contributing areas that stock pysheds finds:
an origin independent of this library's kernels. Stock pysheds first compiles for 20 seconds, so
what it found is kept in `snakeshed.demo_outlets`. A numeric and a fuel layer follow from the shape
of the ground. Nothing here is random, and nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from matplotlib.cbook import get_sample_data
from pyproj import Geod

from snakeshed.atomic import atomic
from snakeshed.demo_outlets import OUTLETS

SAMPLE = "jacksboro_fault_dem.npz"
CRS = "EPSG:4326"

WHOLE_SITES = 48
SMALLEST_KM2 = 0.3
LARGEST_KM2 = 25.0
STORM_DATES = ("2003-02-14", "2011-04-27", "2020-02-06")

FUEL_NODATA = -9999


def make_demo(folder: str | Path) -> None:
    """Write ``dem.tif``, ``sites.csv``, ``roughness.tif`` and ``fuel.tif``.

    Parameters
    ----------
    folder : str or Path
        Where to; it is made if it is missing. Each file appears atomically.
    """
    folder = Path(folder)
    elevation, transform = read_sample()
    sites = site_table(OUTLETS, elevation.shape, transform)

    _write_raster(folder / "dem.tif", elevation, transform, "elevation in metres")
    _write_raster(folder / "roughness.tif", roughness(elevation), transform, "roughness in metres")
    _write_raster(
        folder / "fuel.tif",
        fuel_models(elevation, transform),
        transform,
        "FBFM40 fuel model",
        nodata=FUEL_NODATA,
    )
    with atomic(folder / "sites.csv") as part:
        sites.to_csv(part, index=False, lineterminator="\n")


def read_sample() -> tuple[np.ndarray, Affine]:
    """Read matplotlib's sample DEM, and put it where it belongs.

    The file has no CRS, and its ``ymin`` is wrong: it lies as far north of ``ymax`` as the DEM is
    high. ``ymax`` is the northern edge, as the highest cell shows: from there it falls on the
    summit of Cross Mountain, Tennessee (36° 11' 54" N, 84° 13' 50" W, 1,077 m). ``xmin`` and
    ``xmax`` are 403 cells apart, so they are edges, not centres of cells; the centres then lie on
    whole multiples of 3 arc-seconds, as SRTM's do.

    Returns
    -------
    elevation : ndarray of int16, shape (344, 403)
        In metres, the northern row first; every cell has data.
    transform : Affine
        From columns and rows to degrees of longitude and latitude (WGS 84).
    """
    with get_sample_data(SAMPLE) as sample:
        elevation = sample["elevation"]
        west, north = sample["xmin"].item(), sample["ymax"].item()
        width, height = sample["dx"].item(), sample["dy"].item()
    return elevation, Affine(width, 0.0, west, 0.0, -height, north)


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
    # Jobs have no use for it.
    from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder

    rows, columns = elevation.shape
    width_m, height_m = _cell_size_m(transform, rows)
    # pysheds compares slopes in the units of its grid: cells in degrees would look like squares.
    grid_m = Affine(width_m[rows // 2], 0.0, 0.0, 0.0, -height_m, 0.0)
    nodata = np.float64(-9999.0)
    view = ViewFinder(affine=grid_m, shape=elevation.shape, nodata=nodata)
    # Single precision would not hold the 0.01 mm by which resolve_flats raises cells.
    dem = Raster(elevation.astype(np.float64), viewfinder=view)
    grid = Grid.from_raster(dem)
    flooded = grid.fill_depressions(grid.fill_pits(dem, nodata_out=nodata), nodata_out=nodata)
    directions = grid.flowdir(grid.resolve_flats(flooded, nodata_out=nodata))

    cell_km2 = np.repeat(_cell_areas_km2(transform, rows)[:, np.newaxis], columns, axis=1)
    at_edge = np.ones(elevation.shape)
    at_edge[1:-1, 1:-1] = 0.0
    area_km2, edge_cells = (
        np.asarray(grid.accumulation(directions, weights=Raster(weights, viewfinder=view)))
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


def site_table(
    outlets: Sequence[tuple[int, int, float]], shape: tuple[int, int], transform: Affine
) -> pd.DataFrame:
    """Make the table that a person in the field would have brought.

    Positions are up to 1.5 cells beside the stream. The first, largest, catchment has no reported
    area; every seventh site was visited twice, and one lies outside the DEM.

    Parameters
    ----------
    outlets : sequence of (row, column, area_km2)
        Cells of the true outlets, and what drains through them.
    shape : (int, int)
        Rows and columns of the DEM.
    transform : Affine
        From columns and rows to longitude and latitude.

    Returns
    -------
    pandas.DataFrame
        A row per observation: ``site``, ``lon``, ``lat`` (degrees), ``area_km2`` (empty if not
        reported), ``storm_date``.
    """
    sites = []
    for number, (row, column, area_km2) in enumerate(outlets, start=1):
        right, down = (0.0, 0.0) if number == 1 else _aside(number)
        lon, lat = transform @ (column + 0.5 + right, row + 0.5 + down)
        sites.append((lon, lat, math.nan if number == 1 else area_km2))
    lon, lat = transform @ (shape[1] + 20.5, shape[0] / 2)
    sites.append((lon, lat, 1.0))

    observations = []
    for number, (lon, lat, area) in enumerate(sites, start=1):
        dates = STORM_DATES[number % 3 :][:1] if number % 7 else STORM_DATES[:2]
        observations += [(f"jf_{number:02d}", lon, lat, area, date) for date in dates]
    columns = ["site", "lon", "lat", "area_km2", "storm_date"]
    return pd.DataFrame(observations, columns=columns).round({"lon": 6, "lat": 6})


def roughness(elevation: np.ndarray) -> np.ndarray:
    """Standard deviation of the elevations in a window of 3 x 3 cells.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres; repeated beyond its edges.

    Returns
    -------
    ndarray of float32, shape (h, w)
        In metres. The sums are whole numbers, so it is the same on every machine.
    """
    window = _window(elevation.astype(np.int64))
    total, squares = window.sum(axis=0), (window * window).sum(axis=0)
    return (np.sqrt(9 * squares - total * total) / 9).astype(np.float32)


def fuel_models(elevation: np.ndarray, transform: Affine) -> np.ndarray:
    """Fuel models as they might grow there, by elevation, slope and aspect.

    Invented for the demo; codes as in ``config/fbfm40.csv``.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres; repeated beyond its edges.
    transform : Affine
        Of a geographic, north-up grid.

    Returns
    -------
    ndarray of int16, shape (h, w)
        FBFM40 codes.
    """
    width_m, height_m = _cell_size_m(transform, elevation.shape[0])
    window = _window(elevation.astype(np.float64))
    east = (window[5] - window[3]) / (2 * np.array(width_m)[:, np.newaxis])
    north = (window[1] - window[7]) / (2 * height_m)
    steepness = east * east + north * north

    def steeper(tangent: float) -> np.ndarray:
        return steepness > tangent * tangent

    is_level = window.max(axis=0) == window.min(axis=0)
    faces_south, faces_north = north > np.abs(east), -north > np.abs(east)
    rules = [
        (98, is_level & (elevation < 310)),  # the lake
        (91, ~steeper(0.02) & (elevation < 350)),  # towns and
        (93, ~steeper(0.05) & (elevation < 350)),  # fields on the valley floor
        (99, steeper(0.65)),  # cliffs
        (105, ~steeper(0.15) & (elevation < 400)),  # pasture
        (123, ~steeper(0.25) & (elevation < 450)),  # overgrown pasture
        (201, ~steeper(0.2) & (elevation > 800)),  # blowdown on the ridges
        (144, faces_south & steeper(0.4)),  # shrubs and pine
        (188, faces_south),  # pine litter
        (182, faces_north & (elevation > 600)),  # hardwood litter
        (186, faces_north),
        (162, elevation > 600),
    ]
    codes, places = zip(*rules, strict=True)
    return np.select(places, codes, default=163).astype(np.int16)


def _inner(mask: np.ndarray) -> np.ndarray:
    """Without the five outermost rows and columns, where a site could be moved out of the DEM."""
    inner = np.zeros_like(mask)
    inner[5:-5, 5:-5] = mask[5:-5, 5:-5]
    return inner


def _window(values: np.ndarray) -> np.ndarray:
    """The cells around each cell and itself, row by row; shape (9, h, w)."""
    rows, columns = values.shape
    padded = np.pad(values, 1, mode="edge")
    return np.stack(
        [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0
    )


def _aside(number: int) -> tuple[float, float]:
    """Offset of a site in cells, at most 1 to each side and so at most 1.42 in all.

    Multiples of the powers of an irrational number fill the square evenly (Roberts 2018, the R2
    sequence); unlike random numbers they stay the same in every version of every library.
    """
    step = 1.32471795724474602596  # the plastic number
    return 2 * math.fmod(number / step, 1.0) - 1, 2 * math.fmod(number / step**2, 1.0) - 1


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


def _cell_size_m(transform: Affine, rows: int) -> tuple[list[float], float]:
    """Width of a cell in each row, and the height of the middle one, along the geodesic."""
    geod = Geod(ellps="WGS84")
    widths = []
    for row in range(rows):
        (west, lat), (east, _) = transform @ (0, row + 0.5), transform @ (1, row + 0.5)
        widths.append(geod.inv(west, lat, east, lat)[2])
    (lon, north), (_, south) = transform @ (0, rows // 2), transform @ (0, rows // 2 + 1)
    return widths, geod.inv(lon, north, lon, south)[2]


def _write_raster(
    path: Path, values: np.ndarray, transform: Affine, description: str, nodata: int | None = None
) -> None:
    profile = {
        "driver": "GTiff",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": values.dtype,
        "crs": CRS,
        "transform": transform,
        "nodata": nodata,
        "compress": "deflate",
    }
    with atomic(path) as part, rasterio.open(part, "w", **profile) as raster:
        raster.write(values, 1)
        raster.set_band_description(1, description)
