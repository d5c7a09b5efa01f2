"""Pits and flats of a surface as it is: cells without a lower neighbour.

The arrays are not padded, and the cells of the rim are neither pits nor flats, as in pysheds.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled


def find_pits(z: np.ndarray) -> np.ndarray:
    """Cells all of whose neighbours are higher.

    Parameters
    ----------
    z : ndarray of float64, shape (h, w)
        Elevations. NaN is higher than nothing, so that no cell beside it is a pit.

    Returns
    -------
    ndarray of bool, shape (h, w)
        False at the rim.
    """
    pits = np.zeros(z.shape, dtype=np.bool_)
    _mark_pits(np.ascontiguousarray(z), pits)
    return pits


def fill_pits(z: np.ndarray) -> None:
    """Raise each pit, in place, to its lowest neighbour.

    The rise is added to the elevation, as in pysheds: the sum may differ from the neighbour's
    elevation in its last bit.

    Parameters
    ----------
    z : ndarray of float64, shape (h, w)
        Elevations, C-contiguous.
    """
    # Pits do not touch each other, so that none of them changes what is written into another.
    _raise_pits(z, np.flatnonzero(find_pits(z)))


def find_flats(z: np.ndarray) -> np.ndarray:
    """Cells that have a neighbour of their own elevation, and none that is lower.

    Parameters
    ----------
    z : ndarray of float64, shape (h, w)
        Elevations. NaN is neither lower nor level.

    Returns
    -------
    ndarray of bool, shape (h, w)
        False at the rim.
    """
    flats = np.zeros(z.shape, dtype=np.bool_)
    _mark_flats(np.ascontiguousarray(z), flats)
    return flats


@compiled
def _mark_pits(z, pits):
    for i in range(1, z.shape[0] - 1):
        above, row, below, marks = z[i - 1], z[i], z[i + 1], pits[i]
        # Without branches, so that LLVM turns the loop into vector instructions.
        for j in range(1, z.shape[1] - 1):
            level = row[j]
            marks[j] = (
                (above[j - 1] > level)
                & (above[j] > level)
                & (above[j + 1] > level)
                & (row[j - 1] > level)
                & (row[j + 1] > level)
                & (below[j - 1] > level)
                & (below[j] > level)
                & (below[j + 1] > level)
            )


@compiled
def _mark_flats(z, flats):
    for i in range(1, z.shape[0] - 1):
        above, row, below, marks = z[i - 1], z[i], z[i + 1], flats[i]
        for j in range(1, z.shape[1] - 1):
            level = row[j]
            lower = (
                (above[j - 1] < level)
                | (above[j] < level)
                | (above[j + 1] < level)
                | (row[j - 1] < level)
                | (row[j + 1] < level)
                | (below[j - 1] < level)
                | (below[j] < level)
                | (below[j + 1] < level)
            )
            equal = (
                (above[j - 1] == level)
                | (above[j] == level)
                | (above[j + 1] == level)
                | (row[j - 1] == level)
                | (row[j + 1] == level)
                | (below[j - 1] == level)
                | (below[j] == level)
                | (below[j + 1] == level)
            )
            marks[j] = equal & (not lower)


@compiled
def _raise_pits(z, pits):
    columns = z.shape[1]
    for pit in pits:
        i, j = pit // columns, pit % columns
        rise = np.inf
        for di in range(-1, 2):
            for dj in range(-1, 2):
                if di != 0 or dj != 0:
                    rise = min(rise, z[i + di, j + dj] - z[i, j])
        z[i, j] += rise
