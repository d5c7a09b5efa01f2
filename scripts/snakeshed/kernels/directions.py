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

from snakeshed.compiled import compiled
from snakeshed.kernels.bands import in_bands, split

OUTSIDE = 0
FLAT = 9
"""No lower neighbour and not yet decided; no finished array of directions has it."""
NODATA = 255


def neighbour_offsets(columns: int) -> np.ndarray:
    """Steps in flat indices from a cell to its neighbours, by direction code.

    Parameters
    ----------
    columns : int
        Columns of the padded array.

    Returns
    -------
    ndarray of int64, shape (9,)
        Element 0 is 0, elements 1 to 8 lead N, NE, E, SE, S, SW, W, NW.
    """
    return np.array(
        [
            0,
            -columns,
            -columns + 1,
            1,
            columns + 1,
            columns,
            columns - 1,
            -1,
            -columns - 1,
        ],
        dtype=np.int64,
    )


def index_type(size: int) -> type:
    """Integer type in which the flat indices of an array, and counts of its cells, have room.

    Parameters
    ----------
    size : int
        Cells of the padded array.

    Returns
    -------
    type
        `numpy.int32`, or `numpy.int64` for an array of more than 2**31 - 1 cells.
    """
    return np.int32 if size <= np.iinfo(np.int32).max else np.int64


def check_padded(
    z: np.ndarray, border: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
) -> None:
    """Refuse arrays that the kernels, which check no index, would read past the end of.

    Parameters
    ----------
    z, border, width_m, height_m
        As in `steepest_descent`.

    Raises
    ------
    ValueError
        If the arrays do not fit together, or the ring is not NaN.
    """
    if z.ndim != 2 or min(z.shape) < 2 or not z.flags.c_contiguous:
        raise ValueError(f"z must be a C-contiguous padded array, not of shape {z.shape}")
    if border.shape != z.shape or not border.flags.c_contiguous:
        raise ValueError(f"border must be C-contiguous with shape {z.shape}, not {border.shape}")
    if width_m.shape != z.shape[:1] or height_m.shape != z.shape[:1]:
        raise ValueError(f"width_m and height_m must have one value for each of {len(z)} rows")
    ring = (z[0], z[-1], z[:, 0], z[:, -1])
    if not all(np.isnan(side).all() for side in ring):
        raise ValueError("the ring of z around the data must be NaN")


def open_border(z: np.ndarray) -> np.ndarray:
    """Mark the cells beside nodata or beside the ring: all that could drain outside.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata.

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        1 at such data cells, else 0.
    """
    nodata = np.isnan(z)
    in_column = nodata.copy()
    in_column[:-1] |= nodata[1:]
    in_column[1:] |= nodata[:-1]
    nearby = in_column.copy()
    nearby[:, :-1] |= in_column[:, 1:]
    nearby[:, 1:] |= in_column[:, :-1]
    return (nearby & ~nodata).astype(np.uint8)


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


def from_dirmap(fdir: np.ndarray, nodata_cells: np.ndarray, dirmap: tuple[int, ...]) -> np.ndarray:
    """Codes of flow directions that pysheds, or a file, writes with other numbers.

    Parameters
    ----------
    fdir : ndarray of int64, shape (h, w)
        Flow directions.
    nodata_cells : ndarray of bool, shape (h, w)
        Where `fdir` means nothing.
    dirmap : tuple of 8 int
        Numbers for N, NE, E, SE, S, SW, W, NW.

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        Padded codes. Any number that is not in `dirmap`, and a direction that leads out of the
        array or into nodata, becomes 0.
    """
    directions = np.full((fdir.shape[0] + 2, fdir.shape[1] + 2), NODATA, dtype=np.uint8)
    valid = np.zeros(directions.shape, dtype=np.bool_)
    valid[1:-1, 1:-1] = ~nodata_cells
    numbers = np.array(dirmap, dtype=np.int64)
    codes = np.zeros(SMALL_NUMBERS, dtype=np.uint8)
    small = (numbers >= 0) & (numbers < SMALL_NUMBERS)
    codes[numbers[small]] = np.flatnonzero(small) + 1
    offsets = neighbour_offsets(valid.shape[1])
    _encode(np.ascontiguousarray(fdir), valid, numbers, codes, offsets, directions)
    return directions


# Numbers of directions below this, which means nearly all, are looked up in a table.
SMALL_NUMBERS = 256


@compiled
def _encode(fdir, valid, numbers, codes, offsets, directions):
    rows, columns = fdir.shape
    is_data = valid.reshape(valid.size)
    for i in range(rows):
        for j in range(columns):
            cell = (i + 1) * (columns + 2) + j + 1
            if not is_data[cell]:
                continue
            number = fdir[i, j]
            code = OUTSIDE
            if 0 <= number < SMALL_NUMBERS:
                code = np.int64(codes[number])
            else:
                for k in range(8):
                    if number == numbers[k]:
                        code = k + 1
            if not is_data[cell + offsets[code]]:
                code = OUTSIDE
            directions[i + 1, j + 1] = code


def to_dirmap(
    directions: np.ndarray,
    dirmap: tuple[int, ...],
    outside: int,
    nodata_out: int,
) -> np.ndarray:
    """Flow directions in the numbers of pysheds, or of a file.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        Padded codes.
    dirmap : tuple of 8 int
        Numbers for N, NE, E, SE, S, SW, W, NW.
    outside, nodata_out : int
        Numbers for a cell that drains outside (or is `FLAT`), and for nodata.

    Returns
    -------
    ndarray of int64, shape (h, w)
        Not padded.
    """
    numbers = np.full(256, outside, dtype=np.int64)
    numbers[1:9] = dirmap
    numbers[NODATA] = nodata_out
    return numbers[directions[1:-1, 1:-1]]


def has_level_neighbour(z: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Whether each of some cells has a neighbour of its own elevation.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded.
    cells : ndarray of int64, shape (n,)
        Flat indices of data cells.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    level = z.reshape(z.size)
    found = np.zeros(cells.shape, dtype=np.bool_)
    for step in neighbour_offsets(z.shape[1])[1:]:
        found |= level[cells + step] == level[cells]
    return found
