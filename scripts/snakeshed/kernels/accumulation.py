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
    _pass_downstream(_states(directions), neighbour_offsets(directions.shape[1]), counts)
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
    _pass_downstream(_states(directions), neighbour_offsets(directions.shape[1]), sums)
    return sums


# The state of a cell is one byte: its code, plus 16 times the donors that it still waits for.
ONE_DONOR = np.uint8(16)
DONE = np.uint8(15)


@compiled
def _states(directions):
    rows, columns = directions.shape
    states = np.full((rows, columns), DONE, np.uint8)
    for i in range(1, rows - 1):
        above = directions[i - 1]
        here = directions[i]
        below = directions[i + 1]
        state = states[i]
        for j in range(1, columns - 1):
            donors = (
                np.uint8(above[j] == 5)
                + np.uint8(above[j + 1] == 6)
                + np.uint8(here[j + 1] == 7)
                + np.uint8(below[j + 1] == 8)
                + np.uint8(below[j] == 1)
                + np.uint8(below[j - 1] == 2)
                + np.uint8(here[j - 1] == 3)
                + np.uint8(above[j - 1] == 4)
            )
            state[j] = donors * ONE_DONOR + min(here[j], DONE)
    return states


@compiled
def _pass_downstream(states, offsets, sums):
    rows, columns = states.shape
    state_of = states.reshape(states.size)
    sum_at = sums.reshape(states.size)
    for i in range(1, rows - 1):
        for start in range(i * columns + 1, (i + 1) * columns - 1):
            code = state_of[start]
            if code >= DONE:
                continue
            # A cell without donors: walk down until a cell still waits for another donor.
            cell = start
            passed = sum_at[start]
            while code != OUTSIDE:
                cell += offsets[code]
                passed += sum_at[cell]
                sum_at[cell] = passed
                code = state_of[cell] - ONE_DONOR
                if code >= DONE:
                    state_of[cell] = code
                    break
                # Else the state stays, as if for a last donor: the scan starts no walk here.
