"""Flats that reach over the sides of tiles: distances to outlets that other tiles may have.

A cell of such a flat is marked `SHARED`. Each tile knows how far its shared cells are from its own
outlets; given the distances of the cells beside it, it shortens its own, and passes them on.
When none changes any more, all are the distances in the whole window, and the directions are those
of `snakeshed.kernels.flats`.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, neighbour_offsets
from snakeshed.kernels.growing_lists import grown
from snakeshed.kernels.tiled.sides import ring_cells

SHARED = 254
"""Code of a cell of a flat that reaches over the sides of the tile, until it has its direction."""
FAR = np.int32(2**31 - 2)
"""Distance of a shared cell as long as no outlet is known."""


def share_flats(
    filled: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the flats that cells of other tiles may belong to, and the outlets known so far.

    Parameters
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations of a tile, the ring around it those of other tiles; NaN is nodata.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, `NODATA` in the ring. Changed in place: `FLAT` becomes `SHARED` in all cells
        from which steps between flat cells of the same elevation lead to the ring.

    Returns
    -------
    cells : ndarray of int64, shape (n,)
        Flat indices of the shared cells, ascending.
    levels : ndarray of the type of `filled`, shape (n,)
        Their elevations.
    outlets : ndarray of uint8, shape (n,)
        Direction from each to the first outlet beside it within the tile, 0 for none.
    """
    offsets = neighbour_offsets(directions.shape[1])
    _share(filled, offsets, directions)
    cells = np.flatnonzero(directions.reshape(-1) == SHARED)
    levels = filled.reshape(filled.size)[cells]
    return cells, levels, _outlets_beside(filled, offsets, directions, cells)


@compiled
def _share(filled, offsets, directions):
    rows, columns = directions.shape
    level_at = filled.reshape(filled.size)
    codes = directions.reshape(directions.size)
    waiting = np.empty(1024, np.int64)
    for i in range(1, rows - 1):
        step = 1 if i in (1, rows - 2) else max(1, columns - 3)
        for j in range(1, columns - 1, step):
            start = i * columns + j
            if codes[start] != FLAT:
                continue
            for k in range(1, 9):
                beside = start + offsets[k]
                row, column = beside // columns, beside % columns
                if (row in (0, rows - 1) or column in (0, columns - 1)) and level_at[
                    beside
                ] == level_at[start]:
                    codes[start] = SHARED
                    break
            if codes[start] != SHARED:
                continue
            waiting[0] = start
            size = 1
            while size:
                size -= 1
                cell = waiting[size]
                if size + 8 > waiting.size:
                    waiting = grown(waiting)
                for k in range(1, 9):
                    beside = cell + offsets[k]
                    if codes[beside] == FLAT and level_at[beside] == level_at[cell]:
                        codes[beside] = SHARED
                        waiting[size] = beside
                        size += 1


@compiled
def _outlets_beside(filled, offsets, directions, cells):
    level_at = filled.reshape(filled.size)
    codes = directions.reshape(directions.size)
    outlets = np.zeros(cells.size, np.uint8)
    for place in range(cells.size):
        cell = cells[place]
        for k in range(1, 9):
            beside = cell + offsets[k]
            # All cells below this code but those of the ring; a flat that is not shared ends here.
            if codes[beside] < FLAT and level_at[beside] == level_at[cell]:
                outlets[place] = k
                break
    return outlets


def shorten(
    shape: tuple[int, int],
    cells: np.ndarray,
    levels: np.ndarray,
    outlets: np.ndarray,
    distances: np.ndarray,
    levels_around: np.ndarray,
    distances_around: np.ndarray,
) -> np.ndarray:
    """Shorten the distances of shared cells by what is known inside and beside the tile.

    Proportional to the shared cells and the ring, however large the tile is.

    Parameters
    ----------
    shape : (int, int)
        Of the padded arrays of the tile, (h + 2, w + 2).
    cells, levels, outlets : ndarray, shape (n,)
        From `share_flats`.
    distances : ndarray of int32, shape (n,)
        Steps from each shared cell to an outlet as far as is known, `FAR` where none is.
    levels_around, distances_around : ndarray, shape (2 * (w + 2) + 2 * h,)
        Rings (see `snakeshed.tiled.tiling.ring`): elevations, and steps to an outlet, 0 where
        water leaves a cell without this tile, negative beyond the window.

    Returns
    -------
    ndarray of int32, shape (n,)
        Steps from each shared cell to an outlet, by ways within the tile to those in it and to the
        cells of the ring, `FAR` for none.
    """
    nearest = np.where(outlets != 0, np.int32(1), distances).astype(np.int32)
    _shorten(
        shape[1],
        cells,
        levels,
        outlets,
        neighbour_offsets(shape[1]),
        ring_cells(shape),
        levels_around,
        distances_around,
        _laid_out(shape, cells, nearest),
        nearest,
    )
    return nearest


def _laid_out(shape: tuple[int, int], cells: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Distances by flat index, more by one; 0 where no cell is shared."""
    # Zeros that nobody writes to take no memory.
    distance_of = np.zeros(shape[0] * shape[1], np.int32)
    distance_of[cells] = distances + 1
    return distance_of


@compiled
def _shorten(
    columns,
    cells,
    levels,
    outlets,
    offsets,
    around,
    levels_around,
    distances_around,
    distance_of,
    nearest,
):
    # Where ways begin: beside outlets, and at the ring; what was known before has come from these.
    # Two shared cells that touch are of one level, or the higher one would have a lower neighbour.
    begin = np.empty(cells.size + 3 * around.size, np.int64)
    starts = np.empty(begin.size, np.int32)
    count = 0
    for place in range(cells.size):
        if outlets[place] != 0:
            begin[count] = cells[place]
            starts[count] = 2
            count += 1
    for place in range(around.size):
        steps = distances_around[place]
        if steps < 0 or steps >= FAR:
            continue
        for k in range(1, 9):
            beside = around[place] + offsets[k]
            if not 0 <= beside < distance_of.size or distance_of[beside] <= steps + 2:
                continue
            # A step from one end of a row to the other is none; their elevations are at hand.
            if abs(beside % columns - around[place] % columns) > 1:
                continue
            if levels[np.searchsorted(cells, beside)] == levels_around[place]:
                distance_of[beside] = steps + 2
                begin[count] = beside
                starts[count] = steps + 2
                count += 1
    order = np.argsort(starts[:count], kind="mergesort")
    # Breadth first, from the nearest on: of both lists the nearer cell is next.
    queue = np.empty(cells.size + 8, np.int64)
    end = 0
    taken = 0
    scanned = 0
    while taken < count or scanned < end:
        if scanned == end or (
            taken < count and starts[order[taken]] <= distance_of[queue[scanned]]
        ):
            cell = begin[order[taken]]
            steps = starts[order[taken]]
            taken += 1
            if distance_of[cell] < steps:
                continue
        else:
            cell = queue[scanned]
            scanned += 1
        farther = distance_of[cell] + 1
        for k in range(1, 9):
            beside = cell + offsets[k]
            if distance_of[beside] > farther:
                if end == queue.size:
                    queue = grown(queue)
                distance_of[beside] = farther
                queue[end] = beside
                end += 1
    for place in range(cells.size):
        nearest[place] = distance_of[cells[place]] - 1


def direct(
    shape: tuple[int, int],
    cells: np.ndarray,
    levels: np.ndarray,
    outlets: np.ndarray,
    distances: np.ndarray,
    levels_around: np.ndarray,
    distances_around: np.ndarray,
) -> np.ndarray:
    """Find the direction of each shared cell: to its first neighbour one step nearer to the outlet.

    Parameters
    ----------
    shape, cells, levels, outlets, distances, levels_around, distances_around
        As in `shorten`, when nothing changes any more.

    Returns
    -------
    ndarray of uint8, shape (n,)
        D8 codes; `FLAT` in a flat without any outlet.
    """
    distance_of = _laid_out(shape, cells, distances)
    offsets = neighbour_offsets(shape[1])
    around = levels_around, distances_around
    return _direct(*shape, cells, levels, outlets, distances, offsets, *around, distance_of)


@compiled
def _direct(
    rows,
    columns,
    cells,
    levels,
    outlets,
    distances,
    offsets,
    levels_around,
    distances_around,
    distance_of,
):
    found = np.full(cells.size, FLAT, np.uint8)
    for place in range(cells.size):
        cell = cells[place]
        nearer = distances[place] - 1
        if nearer >= FAR - 1:
            continue
        for k in range(1, 9):
            beside = cell + offsets[k]
            row, column = beside // columns, beside % columns
            if outlets[place] == k or distance_of[beside] == nearer + 1 > 0:
                found[place] = k
                break
            # The place of a cell in a ring: north, south, west, east.
            if row == 0:
                told = column
            elif row == rows - 1:
                told = columns + column
            elif column == 0:
                told = 2 * columns + row - 1
            elif column == columns - 1:
                told = 2 * columns + rows - 2 + row - 1
            else:
                continue
            if levels_around[told] == levels[place] and distances_around[told] == nearer:
                found[place] = k
                break
    return found
