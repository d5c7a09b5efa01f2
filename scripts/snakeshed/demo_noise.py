"""Numbers that look random and are the same on every machine and in every version of NumPy.

The streams of NumPy's generators may change between versions, and its transcendental functions
differ between CPUs. A hash of whole numbers does neither.
"""

from __future__ import annotations

import numpy as np


def uniform(seed: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return a number for each pair of whole numbers.

    Parameters
    ----------
    seed : int
        Another seed gives other numbers.
    first, second : ndarray of int, broadcast against each other, at least one dimension
        Such as rows and columns; not negative.

    Returns
    -------
    ndarray of float64
        At least 0 and less than 1.
    """
    start = _mixed(np.array([seed], np.uint32))
    in_first = _mixed(np.asarray(first).astype(np.uint32) + start)
    return _mixed(np.asarray(second).astype(np.uint32) + in_first) / 2.0**32


def smooth(seed: int, shape: tuple[int, int], spacing: int) -> np.ndarray:
    """Return a field whose hills and hollows are about `spacing` cells wide (value noise).

    Parameters
    ----------
    seed : int
        Another seed gives another field.
    shape : (int, int)
        Rows and columns.
    spacing : int
        Cells between the points whose numbers are drawn; between them, numbers pass smoothly.

    Returns
    -------
    ndarray of float64, shape (h, w)
        Between 0 and 1.
    """
    row, down = _place(shape[0], spacing)
    column, right = _place(shape[1], spacing)
    row, down = row[:, np.newaxis], down[:, np.newaxis]
    upper = _between(uniform(seed, row, column), uniform(seed, row, column + 1), right)
    lower = _between(uniform(seed, row + 1, column), uniform(seed, row + 1, column + 1), right)
    return _between(upper, lower, down)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Hash whole numbers of 32 bits (lowbias32 of Wellons 2018); the products wrap around."""
    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(0x7FEB352D)
    values = values ^ (values >> np.uint32(15))
    values = values * np.uint32(0x846CA68B)
    return values ^ (values >> np.uint32(16))


def _place(cells: int, spacing: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the point before each cell, and how far the cell is on the way to the next one."""
    before, beyond = np.divmod(np.arange(cells), spacing)
    way = beyond / spacing
    return before, way * way * (3.0 - 2.0 * way)


def _between(here: np.ndarray, there: np.ndarray, way: np.ndarray) -> np.ndarray:
    return here + (there - here) * way
