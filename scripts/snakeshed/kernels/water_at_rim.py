"""Water at the rim: pools that a window's rim cuts, and backwater from beyond it."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, neighbour_offsets, opposite


def pools_at_rim(
    z: np.ndarray, filled: np.ndarray, directions: np.ndarray, cut: np.ndarray
) -> np.ndarray:
    """Mark the pools that reach cut cells, and the cells beside them.

    A pool is an 8-connected set of cells that conditioning raised or that have no lower
    neighbour. Its level and the way it drains depend on what lies beyond the rim, so a larger
    window may route it, and what it spills into, differently.

    Parameters
    ----------
    z, filled : numpy.ndarray, (h + 2, w + 2), float32 or float64
        Elevations before and after conditioning, with a ring of NaN.
    directions : numpy.ndarray, (h + 2, w + 2), uint8
        Drainage directions of the filled surface.
    cut : numpy.ndarray, (n,), int64
        Cells with data beyond the window, as flat indices.

    Returns
    -------
    numpy.ndarray, (h + 2, w + 2), bool

    Notes
    -----
    Breadth-first from the cut cells: linear in the number of cells in such pools.
    """
    marked = np.zeros(z.shape, np.bool_)
    _flood(
        z.ravel(),
        filled.ravel(),
        directions.ravel(),
        cut,
        neighbour_offsets(z.shape[1]),
        marked.ravel(),
    )
    return marked


def backwater(
    filled: np.ndarray, directions: np.ndarray, cut: np.ndarray, rise: float
) -> np.ndarray:
    """Mark the cells that water dammed beyond the rim would cover, or spill into.

    Where water leaves the window at a cut cell, something beyond it that the window does not see
    may hold the water back. If it rises there by at most `rise`, it covers cells that drain to
    that cell, and spills over whatever lies beside them below its level.

    Parameters
    ----------
    filled : numpy.ndarray, (h + 2, w + 2), float32 or float64
        Elevations after conditioning, with a ring of NaN.
    directions : numpy.ndarray, (h + 2, w + 2), uint8
        Drainage directions of the filled surface.
    cut : numpy.ndarray, (n,), int64
        Cells with data beyond the window, as flat indices.
    rise : float
        In the unit of the elevations; not negative.

    Returns
    -------
    numpy.ndarray, (h + 2, w + 2), bool

    Notes
    -----
    Upstream from the cut cells without a direction, as the surface never falls that way: linear
    in the number of cells that are covered.
    """
    marked = np.zeros(filled.shape, np.bool_)
    _back_up(
        filled.ravel(),
        directions.ravel(),
        cut[directions.ravel()[cut] == OUTSIDE],
        neighbour_offsets(filled.shape[1]),
        float(rise),
        marked.ravel(),
    )
    return marked


@compiled
def _back_up(filled, directions, exits, offsets, rise, marked):
    stack = []
    for leaving in exits:
        level = np.float64(filled[leaving]) + rise
        stack.append(leaving)
        while stack:
            cell = stack.pop()
            marked[cell] = True
            for k in range(1, 9):
                beside = cell + offsets[k]
                if filled[beside] <= level:  # never where there is no data
                    marked[beside] = True
                    if directions[beside] == opposite(k):
                        stack.append(beside)


@compiled
def _is_pool(z, filled, directions, offsets, cell):
    code = directions[cell]
    if code == NODATA:
        return False
    if code == 0 or filled[cell] > z[cell]:
        return True
    return filled[cell + offsets[code]] == filled[cell]


@compiled
def _flood(z, filled, directions, cut, offsets, marked):
    in_pool = np.zeros(marked.size, np.bool_)
    stack = []
    for cell in cut:
        if _is_pool(z, filled, directions, offsets, cell):
            in_pool[cell] = True
            stack.append(cell)
    while stack:
        cell = stack.pop()
        marked[cell] = True
        for k in range(1, 9):
            beside = cell + offsets[k]
            if directions[beside] == NODATA:
                continue
            marked[beside] = True
            if not in_pool[beside] and _is_pool(z, filled, directions, offsets, beside):
                in_pool[beside] = True
                stack.append(beside)
