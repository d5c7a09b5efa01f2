"""Slope of whole grids, as its tangent: by Horn's method, and along the flow."""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.bands import in_bands, split
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import check_padded, neighbour_offsets
from snakeshed.kernels.flow_distance import step_lengths


def horn_slope(
    z: np.ndarray, width_m: np.ndarray, height_m: np.ndarray, threads: int = 1
) -> np.ndarray:
    """Slope of the plane through each cell's neighbourhood, by Horn's method.

    A neighbour without data is given the elevation of the cell itself, as in
    `snakeshed.kernels.relief.gradients`. O(cells).

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations in metres, padded; NaN is nodata, and so is the ring.
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres.
    threads : int
        Bands of rows that are worked on at once; the result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (h + 2, w + 2)
        Metres per metre, computed in double precision; NaN at nodata and in the ring.

    Raises
    ------
    ValueError
        If the arrays do not fit together, or the ring is not NaN.

    References
    ----------
    Horn, B. K. P. (1981), Hill shading and the reflectance map. Proceedings of the IEEE 69, 14-47.
    """
    check_padded(z, z, width_m, height_m)
    slope = np.full(z.shape, np.nan, dtype=np.float32)
    in_bands(
        lambda first, end: _horn_rows(z, width_m, height_m, first, end, slope),
        split(1, len(z) - 1, threads),
    )
    return slope


@compiled(error_model="numpy", nogil=True)
def _horn_rows(z, width_m, height_m, first, end, slope):
    for i in range(first, end):
        _horn_row(z[i - 1], z[i], z[i + 1], 8 * width_m[i], 8 * height_m[i], slope[i])


@compiled(error_model="numpy", nogil=True)
def _horn_row(above, here, below, across, along, slope):
    # Without branches, so that LLVM turns the loop into vector instructions.
    for j in range(1, here.size - 1):
        level = np.float64(here[j])
        nw = np.float64(above[j - 1])
        n = np.float64(above[j])
        ne = np.float64(above[j + 1])
        w = np.float64(here[j - 1])
        e = np.float64(here[j + 1])
        sw = np.float64(below[j - 1])
        s = np.float64(below[j])
        se = np.float64(below[j + 1])
        nw = nw if nw == nw else level
        n = n if n == n else level
        ne = ne if ne == ne else level
        w = w if w == w else level
        e = e if e == e else level
        sw = sw if sw == sw else level
        s = s if s == s else level
        se = se if se == se else level
        to_east = ((ne + 2 * e + se) - (nw + 2 * w + sw)) / across
        to_north = ((nw + 2 * n + ne) - (sw + 2 * s + se)) / along
        steepness = math.sqrt(to_east * to_east + to_north * to_north)
        slope[j] = np.float32(steepness if level == level else level)


def d8_slope(
    z: np.ndarray,
    directions: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """Drop over distance from each cell to the one that it drains to.

    O(cells).

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations in metres, padded; NaN is nodata, and so is the ring.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes (see `snakeshed.kernels.steepest_descent`).
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres. The distances are those of the row
        of the cell that drains.
    threads : int
        Bands of rows that are worked on at once; the result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (h + 2, w + 2)
        Metres per metre, computed in double precision; 0 where a cell drains outside, negative
        where carved directions lead uphill. NaN at nodata and in the ring.

    Raises
    ------
    ValueError
        If the arrays do not fit together, or the ring of `z` is not NaN.
    """
    check_padded(z, directions, width_m, height_m)
    slope = np.full(z.shape, np.nan, dtype=np.float32)
    lengths = step_lengths(width_m, height_m)
    # A cell that drains outside is compared with itself: no drop, over any distance but none.
    lengths[:, 0] = 1.0
    offsets = neighbour_offsets(z.shape[1])
    in_bands(
        lambda first, end: _drop_rows(z, directions, offsets, lengths, first, end, slope),
        split(1, len(z) - 1, threads),
    )
    return slope


@compiled(error_model="numpy", nogil=True)
def _drop_rows(z, directions, offsets, lengths, first, end, slope):
    columns = z.shape[1]
    level = z.reshape(z.size)
    for i in range(first, end):
        for j in range(1, columns - 1):
            code = directions[i, j]
            if code <= 8:
                cell = i * columns + j
                drop = np.float64(level[cell]) - np.float64(level[cell + offsets[code]])
                slope[i, j] = drop / lengths[i, code]
