"""Codes of flow directions, and what is around a cell of a padded array."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled

OUTSIDE = 0
FLAT = 9
"""No lower neighbour and not yet decided; no finished array of directions has it."""
NODATA = 255


@compiled(nogil=True)
def opposite(code):
    """Code of the direction that leads back."""
    return ((code + 3) & 7) + 1


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


ROW_STEP = np.array([0, -1, -1, 0, 1, 1, 1, 0, -1])
COLUMN_STEP = np.array([0, 0, 1, 1, 1, 0, -1, -1, -1])
