"""The sizes of cells on the ground, as kernels look them up."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from snakeshed.kernels.compiled import compiled


class CellSizes(NamedTuple):
    """Sizes of the cells of an array, known where some columns begin, linear in between.

    A size of the cell in row i and column j is `between` of its values in row i.

    Attributes
    ----------
    width_m, height_m : ndarray of float64, shape (h, n)
        Length on the ground of a cell along its row, and along its column.
    area_m2 : ndarray of float64, shape (h, n)
        Area of a cell on the ground.
    skew : ndarray of float64, shape (h, n)
        Cosine of the angle on the ground between the directions in which columns and northings
        grow; 0 where the projection keeps it right.
    bits : int
        There are ``2**bits`` columns from one value to the next.
    offset : int
        Columns from the first value to the first column of the array.
    """

    width_m: np.ndarray
    height_m: np.ndarray
    area_m2: np.ndarray
    skew: np.ndarray
    bits: int
    offset: int


def even_rows(
    width_m: np.ndarray, height_m: np.ndarray, area_m2: np.ndarray | None = None
) -> CellSizes:
    """Return the sizes of cells that differ from row to row alone.

    Parameters
    ----------
    width_m, height_m : ndarray of float64, shape (h,)
    area_m2 : ndarray of float64, shape (h,), optional
        Without it, width times height.
    """
    if area_m2 is None:
        area_m2 = width_m * height_m
    # Twice the same value: what lies between is that value, exactly.
    pairs = (np.repeat(size[:, None], 2, axis=1) for size in (width_m, height_m, area_m2))
    return CellSizes(*pairs, np.zeros((len(width_m), 2)), 62, 0)


def sizes_from_nodes(
    scale: np.ndarray, nominal: tuple[float, ...], bits: int, first: int, height: int
) -> list[np.ndarray]:
    """Return the arrays of `CellSizes` from a projection's scale at nodes ``2**bits`` rows apart.

    Parameters
    ----------
    scale : ndarray of float64, shape (4, m, n)
        Of widths, heights, areas, and skews.
    nominal : tuple of float
        Width and height in meters, area in square meters, and skew at a scale of 1.
    bits : int
    first : int
        Rows from the first node to the first row of the array.
    height : int
        Rows of the array.

    Returns
    -------
    list of four ndarrays of float64, shape (height, n)
        In the order of `CellSizes`.
    """
    sizes = [np.empty((height, scale.shape[2])) for _ in scale]
    for one, unit, size in zip(scale, nominal, sizes, strict=True):
        _between_nodes(one, unit, bits, first, size)
    return sizes


@compiled
def _between_nodes(scale, nominal, bits, first, sizes):
    per_row = 1.0 / (1 << bits)
    for i in range(sizes.shape[0]):
        row = first + i
        above = row >> bits
        share = (row - (above << bits) + 0.5) * per_row
        for j in range(sizes.shape[1]):
            upper = scale[above, j]
            sizes[i, j] = (upper + share * (scale[above + 1, j] - upper)) * nominal


@compiled(nogil=True)
def between(values, bits, offset, row, column):
    """Look a size up in one of the arrays of `CellSizes`, for the centre of a cell."""
    column += offset
    first = column >> bits
    share = (column - (first << bits) + 0.5) / (1 << bits)
    left = values[row, first]
    return left + share * (values[row, first + 1] - left)


@compiled(nogil=True)
def distance(east, north, skew):
    """Length of a step by its parts along rows and columns, in their unit."""
    return math.sqrt(east * east + north * north + 2.0 * skew * east * north)
