"""Walks through a tile that go on in the tiles around it: pools, backwater, and catchments.

Each begins at cells that the tile is given, and tells which cells of the ring it has come to, for
the tiles whose cells those are to go on from there.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, neighbour_offsets, opposite
from snakeshed.kernels.growing_lists import grown

MARKED = 1
FLOODED = 2


def flood_pools(
    pools: np.ndarray, directions: np.ndarray, marks: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Mark the pools that reach some cells, and the cells beside them.

    See `snakeshed.kernels.water_at_rim.pools_at_rim`.

    Parameters
    ----------
    pools : ndarray of bool, shape (h + 2, w + 2)
        Cells that conditioning raised, or that have no lower neighbour.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of a tile, `NODATA` in the ring.
    marks : ndarray of uint8, shape (h + 2, w + 2)
        Changed in place: `MARKED`, and `FLOODED` in pools. What it says of the ring is that the
        cells there were told of.
    starts : ndarray of int64, shape (n,)
        Flat indices of cells beside a pool, or in it.

    Returns
    -------
    ndarray of int64, shape (m,)
        Flat indices of cells of the ring beside a pool, each told of once.
    """
    return _flood_pools(pools, directions, marks, starts, neighbour_offsets(marks.shape[1]))


@compiled
def _flood_pools(pools, directions, marks, starts, offsets):
    rows, columns = marks.shape
    in_pool = pools.reshape(pools.size)
    codes = directions.reshape(directions.size)
    mark = marks.reshape(marks.size)
    stack = np.empty(starts.size + 1024, np.int64)
    told = np.empty(2 * (rows + columns), np.int64)
    count = 0
    size = 0
    for cell in starts:
        if codes[cell] != NODATA:
            mark[cell] |= MARKED
            if in_pool[cell] and not mark[cell] & FLOODED:
                mark[cell] |= FLOODED
                stack[size] = cell
                size += 1
    while size > 0:
        size -= 1
        cell = stack[size]
        if size + 8 > stack.size:
            stack = grown(stack)
        for k in range(1, 9):
            beside = cell + offsets[k]
            if codes[beside] == NODATA:
                row, column = beside // columns, beside % columns
                at_ring = row in (0, rows - 1) or column in (0, columns - 1)
                if at_ring and not mark[beside]:
                    mark[beside] = MARKED
                    told[count] = beside
                    count += 1
                continue
            mark[beside] |= MARKED
            if in_pool[beside] and not mark[beside] & FLOODED:
                mark[beside] |= FLOODED
                stack[size] = beside
                size += 1
    return told[:count].copy()


def back_up(
    filled: np.ndarray,
    directions: np.ndarray,
    marks: np.ndarray,
    cells: np.ndarray,
    levels: np.ndarray,
    towards: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mark the cells that water would cover, or spill into, upstream from some cells.

    See `snakeshed.kernels.water_at_rim.backwater`.

    Parameters
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations of a tile after conditioning, NaN in the ring.
    directions, marks : ndarray of uint8, shape (h + 2, w + 2)
        As in `flood_pools`; the ring of the marks stays as it is.
    cells : ndarray of int64, shape (n,)
        Flat indices.
    levels : ndarray of float64, shape (n,)
        Level of the water at each.
    towards : ndarray of uint8, shape (n,)
        Code that a cell has if it drains to where the water comes from; 0 for where it begins.

    Returns
    -------
    cells, levels, towards : ndarray, shape (m,)
        The same of cells of the ring.
    """
    offsets = neighbour_offsets(marks.shape[1])
    told, level, toward = _back_up(filled, directions, marks, cells, levels, towards, offsets)
    return told.astype(np.int64), level.astype(np.float64), toward.astype(np.uint8)


@compiled
def _back_up(filled, directions, marks, cells, levels, towards, offsets):
    rows, columns = marks.shape
    elevation = filled.reshape(filled.size)
    codes = directions.reshape(directions.size)
    mark = marks.reshape(marks.size)
    told = [np.int64(0) for _ in range(0)]
    told_levels = [np.float64(0) for _ in range(0)]
    told_towards = [np.uint8(0) for _ in range(0)]
    stack = [np.int64(0) for _ in range(0)]
    for place in range(cells.size):
        level = levels[place]
        if towards[place] == 0:
            stack.append(cells[place])
        elif elevation[cells[place]] <= level:
            mark[cells[place]] |= MARKED
            if codes[cells[place]] == towards[place]:
                stack.append(cells[place])
        while stack:
            cell = stack.pop()
            mark[cell] |= MARKED
            for k in range(1, 9):
                beside = cell + offsets[k]
                back = np.uint8(opposite(k))
                row, column = beside // columns, beside % columns
                if row in (0, rows - 1) or column in (0, columns - 1):
                    told.append(beside)
                    told_levels.append(level)
                    told_towards.append(back)
                elif elevation[beside] <= level:  # never where there is no data
                    mark[beside] |= MARKED
                    if codes[beside] == back:
                        stack.append(beside)
    return np.array(told), np.array(told_levels), np.array(told_towards)


def climb(
    directions: np.ndarray, cells: np.ndarray, towards: np.ndarray
) -> tuple[tuple[int, int, int, int], np.ndarray, np.ndarray]:
    """Find how far a catchment reaches in a tile.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        As in `flood_pools`.
    cells : ndarray of int64, shape (n,)
        Flat indices.
    towards : ndarray of uint8, shape (n,)
        Code that a cell has if it belongs to the catchment; 0 for the outlet.

    Returns
    -------
    (first row, last row, first column, last column) : int
        Of the padded array; the first is larger than the last where there is no cell.
    cells, towards : ndarray, shape (m,)
        Cells of the ring, and the codes that they have if they belong to the catchment.
    """
    offsets = neighbour_offsets(directions.shape[1])
    starts = cells[(towards == OUTSIDE) | (directions.reshape(-1)[cells] == towards)]
    extent, told, toward = _climb(directions, starts, offsets)
    return extent, told.astype(np.int64), toward.astype(np.uint8)


@compiled
def _climb(directions, starts, offsets):
    rows, columns = directions.shape
    codes = directions.reshape(directions.size)
    told = [np.int64(0) for _ in range(0)]
    told_towards = [np.uint8(0) for _ in range(0)]
    stack = list(starts)
    first_row, last_row, first_column, last_column = rows, 0, columns, 0
    while stack:
        cell = stack.pop()
        row, column = cell // columns, cell % columns
        first_row, last_row = min(first_row, row), max(last_row, row)
        first_column, last_column = min(first_column, column), max(last_column, column)
        at_side = row in (1, rows - 2) or column in (1, columns - 2)
        for k in range(1, 9):
            beside = cell + offsets[k]
            back = np.uint8(opposite(k))
            if codes[beside] == back:
                stack.append(beside)
            elif at_side and codes[beside] == NODATA:
                row, column = beside // columns, beside % columns
                if row in (0, rows - 1) or column in (0, columns - 1):
                    told.append(beside)
                    told_towards.append(back)
    return (
        (first_row, last_row, first_column, last_column),
        np.array(told),
        np.array(told_towards),
    )
