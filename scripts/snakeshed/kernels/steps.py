"""Steps: drop, length and slope from each cell to the one that it drains into."""

from __future__ import annotations

import math

import numpy as np

from snakeshed.compiled import compiled
from snakeshed.kernels.directions import NODATA, neighbour_offsets


def drops(z: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Elevation of each cell above the one that it drains into.

    Parameters
    ----------
    z : ndarray of float64, shape (h, w)
        Elevations.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.

    Returns
    -------
    ndarray of float64, shape (h, w)
        In the unit of the elevations; 0 where a cell drains outside; NaN where one of the
        two is not finite.
    """
    result = np.zeros(z.shape)
    offsets = neighbour_offsets(z.shape[1])
    _subtract(z.reshape(z.size), directions, offsets, result.reshape(z.size))
    return result


def lengths(
    numbers: np.ndarray, dirmap: tuple[int, ...], width: float, height: float
) -> np.ndarray:
    """Length of the step that each direction means, wherever it leads.

    Parameters
    ----------
    numbers : ndarray of int64, shape (h, w)
        Flow directions.
    dirmap : tuple of 8 int
        Numbers for N, NE, E, SE, S, SW, W, NW.
    width, height : float
        Size of a cell.

    Returns
    -------
    ndarray of float64, shape (h, w)
        In the unit of the size; 0 for any number that is not in `dirmap`.
    """
    diagonal = math.sqrt(width**2 + height**2)
    result = np.zeros(numbers.shape)
    _look_up(
        np.ascontiguousarray(numbers).reshape(numbers.size),
        np.array(dirmap, dtype=np.int64),
        np.array([height, diagonal, width, diagonal] * 2),
        result.reshape(numbers.size),
    )
    return result


@compiled
def _subtract(z, directions, offsets, result):
    rows, columns = directions.shape
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            code = directions[i, j]
            cell = (i - 1) * (columns - 2) + j - 1
            below = cell + offsets[code] if code != NODATA else cell
            result[cell] = z[cell] - z[below]


@compiled
def _look_up(numbers, keys, values, result):
    for cell in range(numbers.size):
        for k in range(keys.size):
            if numbers[cell] == keys[k]:
                result[cell] = values[k]
                break
