"""Lengths within one catchment: along its flow paths, across it and around it."""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import COLUMN_STEP, ROW_STEP


def flow_lengths(
    cells: np.ndarray,
    directions: np.ndarray,
    counts: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    channel_m2: float,
    cell_area_m2: np.ndarray,
) -> tuple[float, float, float]:
    """Longest flow path, channel length and greatest straight distance to the outlet.

    Parameters
    ----------
    cells : ndarray of int64, shape (n,)
        Flat padded indices of the catchment: the outlet first, each cell before its donors.
    directions : ndarray of uint8, shape (h + 2, w + 2)
    counts : ndarray of int32 or int64, shape (h + 2, w + 2)
        Upslope cells.
    width_m, height_m, cell_area_m2 : ndarray of float64, shape (h + 2,)
        Sizes of the cells of each row.
    channel_m2 : float
        Upslope area from which a cell counts as channel; the upslope area of a cell is taken as
        its count times the area of a cell in its row.

    Returns
    -------
    longest_m, channel_m, basin_m : float
        Between cell centres. A step has the length of a cell of the row where it begins, and the
        channel's length is that of the steps out of channel cells, the outlet's excepted.
    """
    return _lengths(
        cells,
        directions.ravel(),
        counts.ravel(),
        directions.shape[1],
        width_m,
        height_m,
        channel_m2,
        cell_area_m2,
        ROW_STEP,
        COLUMN_STEP,
        np.empty(cells.size),
    )


@compiled
def _lengths(
    cells,
    directions,
    counts,
    columns,
    width_m,
    height_m,
    channel_m2,
    cell_area_m2,
    row_step,
    column_step,
    lengths,
):
    # In preorder a cell's recipient is the last one before it that is not in its own subtree:
    # the ancestors of the current cell are a stack.
    ancestors = np.empty(cells.size, np.int64)
    depth = 0
    outlet_row, outlet_column = cells[0] // columns, cells[0] % columns
    longest = channel = farthest = 0.0
    for position in range(cells.size):
        cell = cells[position]
        row, column = cell // columns, cell % columns
        if position == 0:
            lengths[0] = 0.0
        else:
            code = directions[cell]
            recipient = cell + row_step[code] * columns + column_step[code]
            while cells[ancestors[depth - 1]] != recipient:
                depth -= 1
            east = width_m[row] if column_step[code] != 0 else 0.0
            north = height_m[row] if row_step[code] != 0 else 0.0
            step = math.sqrt(east * east + north * north)
            lengths[position] = lengths[ancestors[depth - 1]] + step
            longest = max(longest, lengths[position])
            if counts[cell] * cell_area_m2[row] >= channel_m2:
                channel += step
            east = (column - outlet_column) * 0.5 * (width_m[row] + width_m[outlet_row])
            north = (row - outlet_row) * 0.5 * (height_m[row] + height_m[outlet_row])
            farthest = max(farthest, math.sqrt(east * east + north * north))
        ancestors[depth] = position
        depth += 1
    return longest, channel, farthest


@compiled
def perimeter(mask, width_m, height_m):
    """Length of the border of a set of cells, along the cells' sides, holes included.

    Parameters
    ----------
    mask : ndarray of bool, shape (h + 2, w + 2)
        The cells, in a ring of False.
    width_m, height_m : ndarray of float64, shape (h + 2,)

    Returns
    -------
    float
        In metres.
    """
    length = 0.0
    for i in range(1, mask.shape[0] - 1):
        for j in range(1, mask.shape[1] - 1):
            if not mask[i, j]:
                continue
            sides = int(not mask[i - 1, j]) + int(not mask[i + 1, j])
            ends = int(not mask[i, j - 1]) + int(not mask[i, j + 1])
            length += sides * width_m[i] + ends * height_m[i]
    return length
