"""The cells along the sides of a tile, and the ring around it."""

from __future__ import annotations

import numpy as np


def frame(values: np.ndarray) -> np.ndarray:
    """Return what an array says along its sides: north, south, west, east.

    Parameters
    ----------
    values : ndarray, shape (h, w)
        Of a tile's cells.

    Returns
    -------
    ndarray, shape (2 * (w + h),)
        The corners are in it twice.
    """
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def frame_cells(height: int, width: int) -> np.ndarray:
    """Return the flat indices, in the padded array of a tile, of the cells of its frame.

    Returns
    -------
    ndarray of int64, shape (2 * (w + h),)
    """
    columns = np.arange(1, width + 1, dtype=np.int64)
    rows = np.arange(1, height + 1, dtype=np.int64) * (width + 2)
    return np.concatenate(
        [columns + width + 2, columns + height * (width + 2), rows + 1, rows + width]
    )


def lay_ring(padded: np.ndarray, around: np.ndarray) -> None:
    """Write a ring around the cells of a padded array.

    Parameters
    ----------
    padded : ndarray, shape (h + 2, w + 2)
        Changed in place.
    around : ndarray, shape (2 * (w + 2) + 2 * h,)
        From `ring`.
    """
    rows, columns = padded.shape
    padded[0] = around[:columns]
    padded[-1] = around[columns : 2 * columns]
    sides = around[2 * columns :].reshape(2, rows - 2)
    padded[1:-1, 0] = sides[0]
    padded[1:-1, -1] = sides[1]
