"""Shaded relief, the ground on which catchments are drawn."""

from __future__ import annotations

import base64
import io
import math

import numpy as np

from snakeshed.terrain.elevations import Terrain

# Where light comes from (degrees clockwise from north) and how much of it: one lamp alone leaves
# valleys that run towards it without shape. All stand at the same height.
_LIGHTS = ((315.0, 0.6), (270.0, 0.2), (0.0, 0.2))
_HEIGHT_DEGREES = 45.0

# Grey of full shade and of full light: lighter than black, so that what is drawn on it stands out.
_DARK, _BRIGHT = 70, 250
_STRIP_CELLS = 1 << 22


def thinned(
    terrain: Terrain, row: int, column: int, height: int, width: int, step: int
) -> np.ndarray:
    """Elevations of a window, `step` x `step` cells taken together.

    Parameters
    ----------
    terrain : Terrain
    row, column : int
        Absolute cell of the window's north-western corner.
    height, width : int
        Size of the result; the window is `step` times as large.
    step : int
        1 or more.

    Returns
    -------
    ndarray of float64, shape (height, width)
        Means of the cells with data, m; NaN where there is none.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    result = np.empty((height, width))
    # A window may have many more cells than its picture.
    rows = max(1, _STRIP_CELLS // (step * step * width))
    for first in range(0, height, rows):
        end = min(height, first + rows)
        z = terrain.elevations(row + first * step, column, (end - first) * step, width * step)
        total, count = np.zeros((end - first, width)), np.zeros((end - first, width))
        # In this order on every machine, unlike a mean over two axes.
        for i in range(step):
            for j in range(step):
                part = z[i::step, j::step]
                known = ~np.isnan(part)
                total += np.where(known, part, 0)
                count += known
        result[first:end] = np.divide(total, count, np.full(total.shape, np.nan), where=count > 0)
    return result


def hillshade(z: np.ndarray, width_m: np.ndarray, height_m: np.ndarray) -> np.ndarray:
    """Shade of a surface lit from the north-west, and a little from the west and the north.

    Parameters
    ----------
    z : ndarray of float, shape (h, w)
        Elevations, m; NaN without data. A neighbour without data counts as being level.
    width_m, height_m : ndarray of float64, shape (h,)
        Size of the cells of each row, m.

    Returns
    -------
    ndarray of float64, shape (h, w)
        0 in full shade to 1 in full light (Lambert's cosine law); NaN without data.
    """
    padded = np.pad(z.astype(np.float64), 1, constant_values=np.nan)

    def neighbour(down: int, right: int) -> np.ndarray:
        there = padded[1 + down : 1 + down + z.shape[0], 1 + right : 1 + right + z.shape[1]]
        return np.where(np.isnan(there), z, there)

    east = (neighbour(0, 1) - neighbour(0, -1)) / (2 * width_m[:, None])
    north = (neighbour(-1, 0) - neighbour(1, 0)) / (2 * height_m[:, None])
    length = np.sqrt(east * east + north * north + 1)
    up, out = math.sin(math.radians(_HEIGHT_DEGREES)), math.cos(math.radians(_HEIGHT_DEGREES))
    shade = np.where(np.isnan(z), np.nan, 0.0)
    for degrees, weight in _LIGHTS:
        azimuth = math.radians(degrees)
        lit = up - out * (math.sin(azimuth) * east + math.cos(azimuth) * north)
        shade += weight * np.maximum(lit, 0) / length
    return shade


def picture(shade: np.ndarray) -> str:
    """A shade as the address of a picture that holds the picture itself.

    Parameters
    ----------
    shade : ndarray of float64, shape (h, w)
        From `hillshade`; transparent where it is NaN.

    Returns
    -------
    str
        A WebP picture as a ``data:`` address.
    """
    from PIL import Image

    known = ~np.isnan(shade)
    grey = np.where(known, _DARK + (_BRIGHT - _DARK) * np.where(known, shade, 0), 0)
    pixels = np.dstack([grey.round().astype(np.uint8)] * 3 + [known.astype(np.uint8) * 255])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=75, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
