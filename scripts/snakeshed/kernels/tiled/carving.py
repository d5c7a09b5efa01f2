"""Carving by tiles: the pieces of basins in a tile, the tree that joins them, and reversed paths.

See `snakeshed.kernels.carving` for the method. In a tile, a piece of a basin is what drains to the
same pit, or leaves the tile at the same cell.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.basin_graph import label_pits, label_upslope, links_of_nodes
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, NODATA, OUTSIDE, neighbour_offsets, opposite


def label_pieces(directions: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Tell for each cell of a tile the piece of a basin that it belongs to.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of a tile, `NODATA` in the ring, to which codes of the sides may lead; what is
        still `FLAT` is a pit.
    sides : ndarray of int64, shape (n,)
        Flat indices of all cells of the sides, each once.

    Returns
    -------
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        From 1; 0 where the water gets outside in the tile; negative at nodata and in the ring.
    pieces : int
    exits : ndarray of int64, shape (m,)
        Cells by which water leaves the tile: the last pieces, in this order.
    """
    labels, pits = label_pits(directions)
    offsets = neighbour_offsets(directions.shape[1])
    codes = directions.reshape(-1)
    flowing = sides[(codes[sides] != NODATA) & (codes[sides] != OUTSIDE) & (codes[sides] != FLAT)]
    # Water runs to data, or out of the tile.
    exits = flowing[codes[flowing + offsets[codes[flowing]]] == NODATA]
    labels.reshape(-1)[exits] = pits + 1 + np.arange(exits.size)
    label_upslope(directions, labels, pits + exits.size)
    return labels, pits + exits.size, exits


def orient(
    nodes: int, first: np.ndarray, second: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the edge by which each node of a forest is joined to the node before it on the way up.

    Parameters
    ----------
    nodes : int
    first, second : ndarray of int64, shape (edges,)
        Of a forest.
    depth : ndarray of int64, shape (nodes,)
        The smallest in a piece of the forest is its top.

    Returns
    -------
    edges : ndarray of int64, shape (nodes,)
        -1 for the top of a piece.
    steps : ndarray of int64, shape (nodes,)
        Edges on the way to the top.
    """
    start, links = links_of_nodes(nodes, first, second, np.arange(first.size))
    return _orient(first, second, start, links, np.argsort(depth, kind="stable"))


@compiled
def _orient(first, second, start, links, order):
    nodes = order.size
    found = np.full(nodes, -1, np.int64)
    steps = np.full(nodes, -1, np.int64)
    queue = np.empty(nodes, np.int64)
    for top in order:
        if steps[top] >= 0:
            continue
        steps[top] = 0
        queue[0] = top
        end = 1
        scanned = 0
        while scanned < end:
            node = queue[scanned]
            scanned += 1
            for link in range(start[node], start[node + 1]):
                edge = links[link]
                other = second[edge] if first[edge] == node else first[edge]
                if steps[other] < 0:
                    steps[other] = steps[node] + 1
                    found[other] = edge
                    queue[end] = other
                    end += 1
    return found, steps


def reverse_paths(
    directions: np.ndarray, cells: np.ndarray, onward: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Reverse the paths down from some cells, as far as they lie in the tile.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of a tile, `NODATA` in the ring. Changed in place.
    cells : ndarray of int64, shape (n,)
        Flat indices: where each path begins, or comes in.
    onward : ndarray of uint8, shape (n,)
        Code that each of these cells gets.

    Returns
    -------
    cells, onward : ndarray, shape (m,)
        The same of the cells of the ring by which paths go on.
    """
    told, codes = np.empty(cells.size, np.int64), np.empty(cells.size, np.uint8)
    offsets = neighbour_offsets(directions.shape[1])
    count = _reverse(directions, offsets, cells, onward, told, codes)
    return told[:count], codes[:count]


@compiled
def _reverse(directions, offsets, cells, onward, told, told_codes):
    codes = directions.reshape(directions.size)
    count = 0
    for place in range(cells.size):
        cell = cells[place]
        towards = np.int64(onward[place])
        while True:
            code = np.int64(codes[cell])
            if code == NODATA:
                told[count] = cell
                told_codes[count] = towards
                count += 1
                break
            codes[cell] = towards
            if code == FLAT:
                break
            cell += offsets[code]
            towards = opposite(code)
    return count
