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
    descend = _descend_singles if z.dtype == np.float32 else _descend_rows
    in_bands(
        lambda first, end: descend(z, border, width_m, height_m, first, end, directions),
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


# Two slopes in single precision that differ by more than this share do so exactly.
APART = np.float32(1 - 2.0**-20)
ZERO = np.float32(0)
# Smaller slopes are too coarse in single precision, and inverses of smaller distances too large.
SMALLEST_SLOPE = np.float32(1e-30)
SMALLEST_M = 1e-30
INFINITE = np.uint32(0x7F800000)
# Cells of a row that are all done in double precision where one of them is in doubt.
PIECE = 512


@compiled(error_model="numpy", nogil=True)
def _descend_singles(z, border, width_m, height_m, first, end, directions):
    """`_descend_rows` of elevations in single precision, where that decides; it nearly always does.

    The difference of two singles is a multiple of the spacing of the smaller one. So below the
    smallest of some elevations, leaving signs and zeros out, it is exact.
    """
    columns = z.shape[1]
    bits = z.view(np.uint32)
    limit_bits = np.empty(1, np.uint32)
    limit = limit_bits.view(np.float32)
    # Of each piece of three rows.
    smallest = np.empty((3, columns // PIECE + 1), np.uint32)
    for i in range(first - 2, end):
        for piece in range(0, columns - 2, PIECE):
            part = slice(piece, min(piece + PIECE + 2, columns))
            smallest[(i + 1) % 3, piece // PIECE] = _smallest_bits(bits[i + 1, part])
            if i < first:
                continue
            k = piece // PIECE
            limit_bits[0] = min(smallest[0, k], smallest[1, k], smallest[2, k])
            dx = width_m[i]
            dy = height_m[i]
            diagonal = math.sqrt(dx * dx + dy * dy)
            above, here, below = z[i - 1, part], z[i, part], z[i + 1, part]
            doubt = min(dx, dy) < SMALLEST_M
            if not doubt:
                doubt = _descend_row_of_singles(
                    above,
                    here,
                    below,
                    border[i, part],
                    np.float32(1 / dx),
                    np.float32(1 / dy),
                    np.float32(1 / diagonal),
                    dx == dy,
                    limit[0],
                    directions[i, part],
                )
            if doubt:
                _descend_row(
                    above, here, below, border[i, part], dx, dy, diagonal, directions[i, part]
                )


@compiled(nogil=True)
def _smallest_bits(bits):
    """Smallest of the numbers of a row but 0, without their signs, as bits."""
    smallest = np.uint32(0xFFFFFFFF)
    for j in range(bits.size):
        # In whole numbers, whose minimum is a vector instruction. 0 becomes the largest of them.
        smallest = min(smallest, np.uint32((bits[j] & np.uint32(0x7FFFFFFF)) - np.uint32(1)))
    return np.uint32(smallest + np.uint32(1)) if smallest < INFINITE else INFINITE


@compiled(error_model="numpy", nogil=True)
def _descend_row_of_singles(
    above, here, below, border, per_dx, per_dy, per_diagonal, square, limit, codes
):
    """Write the codes of a row; return whether some may be wrong.

    The largest drop along a column, along a row, and along a diagonal each stand for all of their
    kind. One of them must be clearly the steepest. Without branches, as `_descend_row`.
    """
    # A byte: the widest number that a loop carries sets how many cells a vector instruction takes.
    doubts = np.uint8(0)
    for j in range(1, here.size - 1):
        level = here[j]
        n = level - above[j]
        ne = level - above[j + 1]
        e = level - here[j + 1]
        se = level - below[j + 1]
        s = level - below[j]
        sw = level - below[j - 1]
        w = level - here[j - 1]
        nw = level - above[j - 1]
        # Comparisons with NaN are false, so that nodata is never the largest.
        column = n if n > ZERO else ZERO
        column = s if s > column else column
        row = e if e > ZERO else ZERO
        row = w if w > row else row
        corner = ne if ne > ZERO else ZERO
        corner = se if se > corner else corner
        corner = sw if sw > corner else corner
        corner = nw if nw > corner else corner
        straight = column if column > row else row
        column = straight if square else column
        row = straight if square else row
        largest = straight if straight > corner else corner
        column_slope = column * per_dy
        row_slope = row * per_dx
        corner_slope = corner * per_diagonal
        best = column_slope if column_slope > row_slope else row_slope
        best = corner_slope if corner_slope > best else best
        by_column = column_slope >= best * APART
        by_row = row_slope >= best * APART
        by_corner = corner_slope >= best * APART
        undecided = ((by_column | by_row) & by_corner) | (by_column & by_row & (not square))
        coarse = (largest >= limit) | (best < SMALLEST_SLOPE)
        doubts = np.uint8(doubts | np.uint8((undecided | coarse) & (largest > ZERO)))
        code = np.int32(8)
        code = np.int32(7) if by_row & (w == row) else code
        code = np.int32(6) if by_corner & (sw == corner) else code
        code = np.int32(5) if by_column & (s == column) else code
        code = np.int32(4) if by_corner & (se == corner) else code
        code = np.int32(3) if by_row & (e == row) else code
        code = np.int32(2) if by_corner & (ne == corner) else code
        code = np.int32(1) if by_column & (n == column) else code
        lowest = np.int32(OUTSIDE) if border[j] != 0 else np.int32(FLAT)
        code = code if largest > ZERO else lowest
        code = code if level == level else np.int32(NODATA)
        codes[j] = np.uint8(code)
    return doubts != 0
