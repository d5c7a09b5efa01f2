"""Lengths within one catchment: along its flow paths, across it and around it."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.cell_sizes import CellSizes, between, distance
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import COLUMN_STEP, ROW_STEP


def flow_lengths(
    cells: np.ndarray,
    directions: np.ndarray,
    counts: np.ndarray,
    sizes: CellSizes,
    channel_m2: float,
) -> tuple[float, float, float]:
    """Longest flow path, channel length and greatest straight distance to the outlet.

    Parameters
    ----------
    cells : ndarray of int64, shape (n,)
        Flat padded indices of the catchment: the outlet first, each cell before its donors.
    directions : ndarray of uint8, shape (h + 2, w + 2)
    counts : ndarray of int32 or int64, shape (h + 2, w + 2)
        Upslope cells.
    sizes : CellSizes
        Of the cells of the padded array.
    channel_m2 : float
        Upslope area from which a cell counts as channel; the upslope area of a cell is taken as
        its count times its own area.

    Returns
    -------
    longest_m, channel_m, basin_m : float
        Between cell centres. A step has the length that it has at the cell where it begins, and
        the channel's length is that of the steps out of channel cells, the outlet's excepted. A
        straight distance is measured with the means of the sizes at its two ends.
    """
    return _lengths(
        cells,
        directions.ravel(),
        counts.ravel(),
        directions.shape[1],
        *sizes,
        channel_m2,
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
    area_m2,
    skew,
    bits,
    offset,
    channel_m2,
    row_step,
    column_step,
    lengths,
):
    # In preorder a cell's recipient is the last one before it that is not in its own subtree:
    # the ancestors of the current cell are a stack.
    ancestors = np.empty(cells.size, np.int64)
    depth = 0
    outlet_row, outlet_column = cells[0] // columns, cells[0] % columns
    outlet_width = between(width_m, bits, offset, outlet_row, outlet_column)
    outlet_height = between(height_m, bits, offset, outlet_row, outlet_column)
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
            width = between(width_m, bits, offset, row, column)
            height = between(height_m, bits, offset, row, column)
            lean = between(skew, bits, offset, row, column)
            # Rows count southwards.
            step = distance(width * column_step[code], -height * row_step[code], lean)
            lengths[position] = lengths[ancestors[depth - 1]] + step
            longest = max(longest, lengths[position])
            if counts[cell] * between(area_m2, bits, offset, row, column) >= channel_m2:
                channel += step
            east = (column - outlet_column) * 0.5 * (width + outlet_width)
            north = (outlet_row - row) * 0.5 * (height + outlet_height)
            farthest = max(farthest, distance(east, north, lean))
        ancestors[depth] = position
        depth += 1
    return longest, channel, farthest


def perimeter(mask: np.ndarray, sizes: CellSizes) -> float:
    """Length of the border of a set of cells, along the cells' sides, holes included.

    Parameters
    ----------
    mask : ndarray of bool, shape (h + 2, w + 2)
        The cells, in a ring of False.
    sizes : CellSizes
        Of the cells of the padded array.

    Returns
    -------
    float
        In metres.
    """
    return _perimeter(mask, sizes.width_m, sizes.height_m, sizes.bits, sizes.offset)


@compiled
def _perimeter(mask, width_m, height_m, bits, offset):
    length = 0.0
    for i in range(1, mask.shape[0] - 1):
        for j in range(1, mask.shape[1] - 1):
            if not mask[i, j]:
                continue
            sides = int(not mask[i - 1, j]) + int(not mask[i + 1, j])
            ends = int(not mask[i, j - 1]) + int(not mask[i, j + 1])
            length += sides * between(width_m, bits, offset, i, j)
            length += ends * between(height_m, bits, offset, i, j)
    return length
