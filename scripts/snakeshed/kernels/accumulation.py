"""Accumulation: how many cells, or how much of a weight, drains through each cell.

References
----------
Zhou, G., H. Wei, and S. Fu (2019), A fast and simple algorithm for calculating flow accumulation
matrices from raster digital elevation models. Frontiers of Earth Science 13, 317-326.
"""

from __future__ import annotations

import numpy as np

from snakeshed.compiled import compiled
from snakeshed.kernels.directions import NODATA, OUTSIDE, index_type, neighbour_offsets


def count_upslope(directions: np.ndarray) -> np.ndarray:
    """Number of cells that drain through each cell, the cell itself included.

    O(cells): each cell passes its count on when its last donor has arrived.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded (see `snakeshed.kernels.directions`).

    Returns
    -------
    ndarray of int32, shape (h + 2, w + 2)
        0 at nodata and in the ring; int64 where the array has more than 2**31 - 1 cells.
    """
    counts = (directions != NODATA).astype(index_type(directions.size))
    _pass_downstream(directions, neighbour_offsets(directions.shape[1]), counts)
    return counts


def accumulate(directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of the weights of all cells that drain through each cell, its own included.

    The order of summation depends only on the catchment of the cell: on its directions and the
    order of its cells by row and column, not on what else the array holds.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded.
    weights : ndarray of float64, shape (h + 2, w + 2)
        In any unit; what stands at nodata and in the ring is not used.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
        In the unit of the weights; 0 at nodata and in the ring.
    """
    sums = np.where(directions != NODATA, weights, 0.0)
    _pass_downstream(directions, neighbour_offsets(directions.shape[1]), sums)
    return sums


@compiled
def _count_donors(directions):
    rows, columns = directions.shape
    donors = np.zeros((rows, columns), np.uint8)
    for i in range(1, rows - 1):
        above = directions[i - 1]
        here = directions[i]
        below = directions[i + 1]
        count = donors[i]
        for j in range(1, columns - 1):
            count[j] = (
                np.uint8(above[j] == 5)
                + np.uint8(above[j + 1] == 6)
                + np.uint8(here[j + 1] == 7)
                + np.uint8(below[j + 1] == 8)
                + np.uint8(below[j] == 1)
                + np.uint8(below[j - 1] == 2)
                + np.uint8(here[j - 1] == 3)
                + np.uint8(above[j - 1] == 4)
            )
    return donors


@compiled
def _pass_downstream(directions, offsets, sums):
    rows, columns = directions.shape
    codes = directions.reshape(directions.size)
    sum_at = sums.reshape(directions.size)
    waiting_for = _count_donors(directions).reshape(directions.size)
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            cell = i * columns + j
            if waiting_for[cell] != 0 or codes[cell] == NODATA:
                continue
            # A cell without donors: walk down until a cell still waits for another donor.
            while codes[cell] != OUTSIDE:
                below = cell + offsets[codes[cell]]
                sum_at[below] += sum_at[cell]
                waiting_for[below] -= np.uint8(1)
                if waiting_for[below] != 0:
                    break
                # The scan has yet to pass here, or has passed: it must not start a second walk.
                waiting_for[below] = NODATA
                cell = below
