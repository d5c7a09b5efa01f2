"""Flow directions as pysheds numbers them, and as the kernels do."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, neighbour_offsets

DIRMAP = (64, 128, 1, 2, 4, 8, 16, 32)
"""pysheds' numbers for N, NE, E, SE, S, SW, W, NW, those of ESRI."""
FLATS = -1
PITS = -2


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
