"""Basins of a tile, as far as other tiles have to know of them.

Each tile is a graph of basins of its own (see `snakeshed.kernels.filling`), in which no water
crosses the tile's sides. A basin that reaches a side touches basins of other tiles there. All
others can be left out of the graph of the whole window, if the level over which water passes
through them from one basin at a side to another is kept.

References
----------
Barnes, R. (2016), Parallel priority-flood depression filling for trillion cell digital elevation
models on desktops or clusters. Computers & Geosciences 96, 56-68 (what the tiles tell each other).
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.basin_graph import spanning_tree, spill_levels
from snakeshed.kernels.compiled import compiled


def spanning_edges(
    basins: int, first: np.ndarray, second: np.ndarray, level: np.ndarray, saddle: np.ndarray
) -> np.ndarray:
    """Indices of the edges of the minimum spanning tree of each piece of a graph, lowest first.

    Parameters
    ----------
    basins : int
        Nodes are numbered from 0 to this.
    first, second, level, saddle : ndarray, shape (edges,)
        From `snakeshed.kernels.basin_graph.saddles`.

    Returns
    -------
    ndarray, shape (edges of the tree,)
    """
    tree = spanning_tree(basins, first, second, level, saddle)
    return tree[np.lexsort((saddle[tree], level[tree]))]


def contract(
    basins: int, first: np.ndarray, second: np.ndarray, number_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out of a tree the basins without a number.

    Each of them is taken for the numbered one that the water over its lowest saddles runs to, so
    that the highest level on the way between any two numbered basins stays the same.

    Parameters
    ----------
    basins : int
    first, second : ndarray, shape (edges,)
        Of `spanning_edges`, in their order.
    number_of : ndarray of int64, shape (basins + 1,)
        Number by which each basin is known outside of the tile, negative for none. Changed in
        place: that of the numbered basin which it is taken for; negative where there is none.

    Returns
    -------
    between : ndarray of bool, shape (edges,)
        The edges that are left, fewer than there are numbers.
    first, second : ndarray of int64, shape (n,)
        Numbers of the basins on both sides of each.
    """
    between = _between_numbered(basins, first, second, number_of.copy())
    _gather(basins, first, second, between, number_of)
    return between, number_of[first[between]], number_of[second[between]]


def levels_inside(
    first: np.ndarray,
    second: np.ndarray,
    level: np.ndarray,
    between: np.ndarray,
    numbered: np.ndarray,
) -> np.ndarray:
    """Level to which each basin without a number fills before its water gets to a numbered one.

    In the window it fills to this, or to the level of that basin if it is higher.

    Parameters
    ----------
    first, second, level : ndarray, shape (edges,)
        Of `spanning_edges`, in their order.
    between : ndarray of bool, shape (edges,)
        From `contract`.
    numbered : ndarray of bool, shape (basins + 1,)
        Which basins have a number.

    Returns
    -------
    ndarray of the type of `level`, shape (basins + 1,)
        -inf for numbered basins.

    Raises
    ------
    ValueError
        If no way leads from a basin to a numbered one.
    """
    # All numbered basins are one node, the outside.
    inside = np.flatnonzero(~numbered)
    node_of = np.zeros(numbered.size, first.dtype)
    node_of[inside] = np.arange(1, inside.size + 1)
    one, other, height = node_of[first[~between]], node_of[second[~between]], level[~between]
    levels = np.full(numbered.size, -np.inf, level.dtype)
    levels[inside] = spill_levels(inside.size, one, other, height, np.arange(one.size))[1:]
    return levels


def raise_and_number(
    z: np.ndarray, labels: np.ndarray, levels: np.ndarray, number_of: np.ndarray
) -> np.ndarray:
    """Raise each cell to the level of its basin, in place, and return the number of the basin.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Changed in place.
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        Basins; negative at nodata.
    levels : ndarray of the type of `z`, shape (basins + 1,)
    number_of : ndarray of int64, shape (basins + 1,)

    Returns
    -------
    ndarray of uint16 or uint32, shape (h + 2, w + 2)
        0 for the outside, and at nodata.
    """
    kind = np.uint16 if number_of.max() <= np.iinfo(np.uint16).max else np.uint32
    numbers = np.empty(z.shape, kind)
    _raise_and_number(
        z.reshape(-1), labels.reshape(-1), levels, number_of.astype(kind), numbers.reshape(-1)
    )
    return numbers


@compiled
def _raise_and_number(z, labels, levels, number_of, numbers):
    for cell in range(z.size):
        basin = np.uint64(max(labels[cell], 0))
        z[cell] = levels[basin] if z[cell] < levels[basin] else z[cell]
        numbers[cell] = number_of[basin]


@compiled
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _between_numbered(basins, first, second, number_of):
    """Find the edges that join two parts of the tree which both have a number by then."""
    parent = np.arange(basins + 1)
    found = np.zeros(first.size, np.bool_)
    for edge in range(first.size):
        a = _root(parent, np.int64(first[edge]))
        b = _root(parent, np.int64(second[edge]))
        found[edge] = number_of[a] >= 0 and number_of[b] >= 0
        parent[b] = a
        number_of[a] = max(number_of[a], number_of[b])
    return found


@compiled
def _gather(basins, first, second, told, number_of):
    """Write the number of the one numbered basin that all other edges join each basin with."""
    parent = np.arange(basins + 1)
    for edge in range(first.size):
        if not told[edge]:
            a = _root(parent, np.int64(first[edge]))
            b = _root(parent, np.int64(second[edge]))
            parent[b] = a
            number_of[a] = max(number_of[a], number_of[b])
    for basin in range(basins + 1):
        number_of[basin] = number_of[_root(parent, basin)]
