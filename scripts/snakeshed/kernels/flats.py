"""Flats: every cell without a lower neighbour drains towards the nearest exit of its flat.

The direction of a cell is a function of the surface alone, whatever the order in which cells are
visited: its distance to the exit decides, in steps, and the order of the directions among equal
ones.

References
----------
Garbrecht, J., and L. W. Martz (1997), The assignment of drainage direction over flat surfaces in
raster digital elevation models. Journal of Hydrology 193, 204-213 (the gradient towards lower
terrain of their two).
"""

from __future__ import annotations

import numpy as np

from snakeshed.compiled import compiled
from snakeshed.kernels.directions import FLAT, index_type, neighbour_offsets

# Added to the code of a cell in the wave in progress, which no other cell of it may drain to.
PENDING = 16


def resolve_flats(filled: np.ndarray, directions: np.ndarray) -> None:
    """Give each `FLAT` cell the direction of its first neighbour one step nearer to the exit.

    The exits of a flat are its cells with a lower neighbour, and those that drain outside. Steps
    go to any of the eight neighbours of equal elevation. O(cells), breadth first.

    Parameters
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, changed in place. A flat without any exit stays `FLAT`.
    """
    queue = np.empty(_count_flat(directions), dtype=index_type(directions.size))
    _drain_in_waves(filled, directions, neighbour_offsets(directions.shape[1]), queue)


@compiled
def _count_flat(directions):
    count = 0
    for code in directions.flat:
        count += code == FLAT
    return count


@compiled
def _direction_nearer(flat_z, codes, offsets, cell):
    """First direction to a neighbour of equal elevation that is already drained; 0 if none is."""
    for k in range(1, 9):
        neighbour = cell + offsets[k]
        if codes[neighbour] < FLAT and flat_z[neighbour] == flat_z[cell]:
            return k
    return 0


@compiled
def _drain_in_waves(filled, directions, offsets, queue):
    rows, columns = filled.shape
    flat_z = filled.reshape(filled.size)
    codes = directions.reshape(filled.size)
    # Wave 1: the flat cells beside an exit. All other cells of a wave are beside the wave before.
    end = 0
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            cell = i * columns + j
            if codes[cell] == FLAT:
                code = _direction_nearer(flat_z, codes, offsets, cell)
                if code != 0:
                    codes[cell] = PENDING + code
                    queue[end] = cell
                    end += 1
    start = 0
    while start < end:
        wave_end = end
        for t in range(start, wave_end):
            codes[queue[t]] -= PENDING
        for t in range(start, wave_end):
            for k in range(1, 9):
                neighbour = np.int64(queue[t]) + offsets[k]
                if codes[neighbour] == FLAT and flat_z[neighbour] == flat_z[queue[t]]:
                    code = _direction_nearer(flat_z, codes, offsets, neighbour)
                    codes[neighbour] = PENDING + code
                    queue[end] = neighbour
                    end += 1
        start = wave_end
