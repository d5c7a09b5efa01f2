"""Steepest descent (D8): to which of its eight neighbours each cell drains.

The codes 1 to 8 are the directions N, NE, E, SE, S, SW, W, NW, the order of pysheds. Code 0
drains outside: out of the array, or into nodata that counts as an outlet.

References
----------
O'Callaghan, J. F., and D. M. Mark (1984), The extraction of drainage networks from digital
elevation data. Computer Vision, Graphics, and Image Processing 28, 323-344.
"""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, NODATA, OUTSIDE, check_padded
from snakeshed.kernels.row_bands import in_bands, split


def steepest_descent(
    z: np.ndarray,
    border: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """D8 directions of a surface as it is, before its depressions and flats are resolved.

    The steepest positive drop per distance wins, and the first direction in the order of the codes
    among equal ones. Slopes are float64 quotients, compared exactly as pysheds compares them.
    O(cells).

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata, and so is the ring. In the unit of the distances if
        slopes are to be true; the directions do not depend on it. None but 0 below 1e-290, or the
        quotient of a drop and a distance may be 0.
    border : ndarray of uint8, shape (h + 2, w + 2)
        Non-zero where a cell may drain outside.
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres. The distances to the neighbours of
        a cell are those of its own row.
    threads : int
        Bands of rows that are worked on at once.
    out : ndarray of uint8, shape (h + 2, w + 2), optional
        Where to write the directions.

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        Codes 1 to 8; for a cell without a lower neighbour 0 if it may drain outside and `FLAT`
        otherwise; `NODATA` for nodata and the ring.

    Raises
    ------
    ValueError
        If the arrays do not fit together, or the ring is not NaN.
    """
    check_padded(z, border, width_m, height_m)
    return _descend_all(z, border, width_m, height_m, threads, out)


def steepest_descent_inside(
    z: np.ndarray, border: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
) -> np.ndarray:
    """Find to which neighbour each cell of a tile drains, be it in another tile.

    Parameters
    ----------
    z, border, width_m, height_m
        As in `steepest_descent`, but the ring holds the elevations of the cells there.

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        As of `steepest_descent`. Codes beside the ring may lead into it.
    """
    return _descend_all(z, border, width_m, height_m, 1, None)


def _descend_all(
    z: np.ndarray,
    border: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int,
    out: np.ndarray | None,
) -> np.ndarray:
    directions = np.empty(z.shape, dtype=np.uint8) if out is None else out
    directions[[0, -1]] = NODATA
    directions[:, [0, -1]] = NODATA
    in_bands(
        lambda first, end: _descend_rows(z, border, width_m, height_m, first, end, directions),
        split(1, z.shape[0] - 1, threads),
    )
    return directions


@compiled(error_model="numpy", nogil=True)
def _descend_rows(z, border, width_m, height_m, first, end, directions):
    for i in range(first, end):
        dx = width_m[i]
        dy = height_m[i]
        _descend_row(
            z[i - 1],
            z[i],
            z[i + 1],
            border[i],
            dx,
            dy,
            math.sqrt(dx * dx + dy * dy),
            directions[i],
        )


@compiled(error_model="numpy", nogil=True)
def _descend_row(above, here, below, border, dx, dy, diagonal, codes):
    # Written without branches, so that LLVM turns the loop into vector instructions. A drop to or
    # from nodata is NaN, which is never steeper than anything.
    for j in range(1, here.size - 1):
        level = np.float64(here[j])
        best = 0.0
        code = np.int64(0)
        slope = (level - np.float64(above[j])) / dy
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(1) if steeper else code
        slope = (level - np.float64(above[j + 1])) / diagonal
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(2) if steeper else code
        slope = (level - np.float64(here[j + 1])) / dx
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(3) if steeper else code
        slope = (level - np.float64(below[j + 1])) / diagonal
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(4) if steeper else code
        slope = (level - np.float64(below[j])) / dy
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(5) if steeper else code
        slope = (level - np.float64(below[j - 1])) / diagonal
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(6) if steeper else code
        slope = (level - np.float64(here[j - 1])) / dx
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(7) if steeper else code
        slope = (level - np.float64(above[j - 1])) / diagonal
        steeper = slope > best
        best = slope if steeper else best
        code = np.int64(8) if steeper else code
        undecided = np.int64(OUTSIDE) if border[j] != 0 else np.int64(FLAT)
        code = code if code != 0 else undecided
        code = code if level == level else np.int64(NODATA)
        codes[j] = np.uint8(code)
