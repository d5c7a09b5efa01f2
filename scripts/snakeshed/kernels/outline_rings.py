"""Rings of cell sides around a set of cells."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.growing_lists import grown


def outline_rings(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Trace the rings that bound a set of cells.

    Cells belong together where they share a side. A ring passes a node once: where it would come
    back to one, at which cells touch by a corner alone, the loop is a ring of its own. O(cells of
    the mask).

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)

    Returns
    -------
    rows, columns : ndarray of int64, shape (n,)
        Nodes at which rings turn; node (i, j) is the north-western corner of cell (i, j). The
        cells lie to the right, so that rings around cells go clockwise, and those around holes
        counterclockwise.
    ends : ndarray of int64, shape (m,)
        Where in these each ring ends, and the next one begins.
    cells : ndarray of int64, shape (m,)
        Flat index in the mask of one of the cells that the ring bounds.
    """
    # A ring of gaps around the cells, and room for all nodes.
    ringed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    ringed[1:-1, 1:-1] = mask
    passed, place = np.zeros(ringed.size, np.bool_), np.zeros(ringed.size, np.int32)
    nodes, ends, cells = _trace(ringed.ravel(), ringed.shape[1], passed, place)
    rows, columns = np.divmod(nodes, ringed.shape[1])
    row, column = np.divmod(cells, ringed.shape[1])
    return rows - 1, columns - 1, ends, (row - 1) * mask.shape[1] + column - 1


def cells_in_rings(
    rows: np.ndarray, columns: np.ndarray, ring: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Find the cells within rings, the inverse of `outline_rings`. O(cells of the array).

    Parameters
    ----------
    rows, columns : ndarray of int64, shape (n,)
        Nodes at which closed rings turn, the first one of each also at its end.
    ring : ndarray of int64, shape (n,)
        Number of the ring that each belongs to.
    shape : tuple of int
        Of the array of cells, which holds all nodes.

    Returns
    -------
    ndarray of bool, shape `shape`
    """
    inside = np.zeros(shape, np.bool_)
    _fill_rings(rows, columns, ring, inside)
    return inside


@compiled
def _fill_rings(rows, columns, ring, inside):
    # A cell is inside where an odd number of vertical sides lies to the west of it. Both ends of
    # each side are marked; marks are added up down the columns, and then along the rows.
    for k in range(1, rows.size):
        if ring[k] == ring[k - 1] and columns[k] == columns[k - 1]:
            inside[rows[k - 1], columns[k]] ^= True
            inside[rows[k], columns[k]] ^= True
    for i in range(1, inside.shape[0]):
        for j in range(inside.shape[1]):
            inside[i, j] ^= inside[i - 1, j]
    for i in range(inside.shape[0]):
        odd = False
        for j in range(inside.shape[1]):
            odd ^= inside[i, j]
            inside[i, j] = odd


@compiled
def _trace(mask, width, passed, place):
    nodes, path = np.empty(512, np.int64), np.empty(512, np.int64)
    ends, cells = np.empty(16, np.int64), np.empty(16, np.int64)
    done = rings = 0
    # East, south, west, north; and the cell that lies ahead to the right of a node.
    steps = (1, width, -1, -width)
    ahead = (0, -1, -width - 1, -width)
    for first in range(width, mask.size - width):
        # Each ring has a north side of a cell, which it passes eastward.
        if not mask[first] or mask[first - width] or passed[first]:
            continue
        node, heading, size = first, 0, 0
        while size == 0 or node != first or heading != 0:
            passed[node] |= heading == 0
            node += steps[heading]
            to_left = (heading + 3) & 3
            gap = not mask[node + ahead[heading]]
            touches = mask[node + ahead[to_left]]
            if gap:
                heading = (heading + 1) & 3
            elif touches:
                heading = to_left
            else:
                continue
            if size == path.size:
                path = grown(path)
            begin = place[node] - 1
            if begin >= 0:
                # The path has been at this node: what lies between is a ring.
                nodes, done = _moved(path, begin, size, nodes, done, place)
                ends, cells = _noted(ends, cells, rings, done, first)
                rings += 1
                size = begin
            path[size] = node
            size += 1
            if gap and touches:
                place[node] = size
        nodes, done = _moved(path, 0, size, nodes, done, place)
        ends, cells = _noted(ends, cells, rings, done, first)
        rings += 1
    return nodes[:done].copy(), ends[:rings].copy(), cells[:rings].copy()


@compiled
def _moved(path, begin, end, nodes, done, place):
    """Append a piece of the path to the nodes, and forget where it was."""
    if done + end - begin > nodes.size:
        nodes = grown(nodes, 2 * (done + end - begin))
    for k in range(begin, end):
        nodes[done] = path[k]
        place[path[k]] = 0
        done += 1
    return nodes, done


@compiled
def _noted(ends, cells, rings, end, cell):
    if rings == ends.size:
        ends, cells = grown(ends), grown(cells)
    ends[rings], cells[rings] = end, cell
    return ends, cells
