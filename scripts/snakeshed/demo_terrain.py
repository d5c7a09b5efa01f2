"""The demo's terrain: real elevations that come with matplotlib."""

from __future__ import annotations

import numpy as np
from affine import Affine
from matplotlib.cbook import get_sample_data
from pyproj import Geod

SAMPLE = "jacksboro_fault_dem.npz"


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


def gradient(elevation: np.ndarray, transform: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the ground to the east and to the north, by the cells on both sides.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres; repeated beyond its edges.
    transform : Affine
        Of a geographic, north-up grid.

    Returns
    -------
    east, north : ndarray of float64, shape (h, w)
        Metres for each metre.
    """
    width_m, height_m = cell_size_m(transform, elevation.shape[0])
    around = window(elevation.astype(np.float64))
    east = (around[5] - around[3]) / (2 * np.array(width_m)[:, np.newaxis])
    return east, (around[1] - around[7]) / (2 * height_m)


def window(values: np.ndarray) -> np.ndarray:
    """Stack the cells around each cell and itself, row by row.

    Parameters
    ----------
    values : ndarray, shape (h, w)
        Repeated beyond its edges.

    Returns
    -------
    ndarray, shape (9, h, w)
    """
    rows, columns = values.shape
    padded = np.pad(values, 1, mode="edge")
    return np.stack(
        [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0
    )


def cell_size_m(transform: Affine, rows: int) -> tuple[list[float], float]:
    """Return the width of a cell in each row, and the height of the middle one, in metres.

    Parameters
    ----------
    transform : Affine
        Of a geographic, north-up grid.
    rows : int
        Number of rows.
    """
    geod = Geod(ellps="WGS84")
    widths = []
    for row in range(rows):
        (west, lat), (east, _) = transform @ (0, row + 0.5), transform @ (1, row + 0.5)
        widths.append(geod.inv(west, lat, east, lat)[2])
    (lon, north), (_, south) = transform @ (0, rows // 2), transform @ (0, rows // 2 + 1)
    return widths, geod.inv(lon, north, lon, south)[2]
