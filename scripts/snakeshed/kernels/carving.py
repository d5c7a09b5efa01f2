"""Carving: directions that drain every cell of a surface whose elevations stay as they are.

Filling raises a depression until its water runs over the lowest saddle; carving sends the water
from the pit up to the same saddle, along the way by which it came down.

References
----------
Cordonnier, G., B. Bovy, and J. Braun (2019), A versatile, linear complexity algorithm for flow
routing in topographies with depressions. Earth Surface Dynamics 7, 549-562 ("basic carving").
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.basin_graph import label_basins, saddles, spanning_tree, ways_outside
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, neighbour_offsets, opposite
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent


def carve(
    z: np.ndarray,
    border: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """Route every cell to the outside, uphill out of depressions.

    Each basin of the surface's own drainage (steepest descent, and in flats towards the nearest
    outlet) that ends in a pit instead of outside is joined to the basin it spills into: the path
    from the lowest saddle down to the pit is reversed. All other cells keep their direction, but
    those of a pit of several cells, which drain towards the one where the reversed path begins. The
    highest cell on the way outside is never higher than it has to be: its elevation is that of the
    surface that `snakeshed.kernels.filling.fill` fills.

    The result is a function of the surface alone, as saddles of equal level are told apart by
    their place. O(cells) but for the spanning tree, O(basins log basins).

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata, and so is the ring. It is not changed.
    border : ndarray of uint8, shape (h + 2, w + 2)
        Non-zero where a cell may drain outside: at the rim of the data, or beside nodata that
        counts as an outlet. Nodata without such a cell beside it is missing ground, around which
        water is routed.
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres.
    threads : int
        Bands of rows that are worked on at once; the result does not depend on it.

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        D8 codes (see `snakeshed.kernels.steepest_descent`). Following them from any cell leads
        outside.

    Raises
    ------
    ValueError
        If the arrays do not fit together, or a connected piece of the data has no cell that may
        drain outside.
    """
    directions = steepest_descent(z, border, width_m, height_m, threads)
    drain_flats(z, directions, threads)
    labels, basins = label_basins(directions, threads)
    first, second, level, saddle = saddles(z, border, labels, threads)
    tree = spanning_tree(basins, first, second, level, saddle)
    check_drained(tree, basins)
    # The saddle over which each basin drains.
    passes = np.full(basins + 1, -1, np.int64)
    order, ways = ways_outside(basins, first, second, tree)
    passes[order] = saddle[ways]
    del first, second, level, saddle, tree, order, ways
    _reverse_paths(passes, labels, neighbour_offsets(z.shape[1]), directions)
    del labels
    drain_flats(z, directions, threads)
    return directions


def check_drained(tree: np.ndarray, basins: int) -> None:
    """Refuse a tree that does not join all basins to the outside.

    Parameters
    ----------
    tree : ndarray, shape (edges,)
        Edges of the spanning tree.
    basins : int

    Raises
    ------
    ValueError
        If there are fewer edges than basins.
    """
    if tree.size < basins:
        raise ValueError(
            f"{basins - tree.size} connected pieces of the data have no way outside: "
            "each needs a border cell"
        )


@compiled
def _reverse_paths(passes, labels, offsets, directions):
    codes = directions.reshape(directions.size)
    label_of = labels.reshape(directions.size)
    for basin in range(1, passes.size):
        cell = passes[basin] // 8
        onward = passes[basin] % 8
        if label_of[cell] != basin:
            # The saddle is written down from the basin on its other side.
            cell += offsets[onward]
            onward = opposite(onward)
        while True:
            code = np.int64(codes[cell])
            codes[cell] = onward
            if code == FLAT:
                break
            cell += offsets[code]
            onward = opposite(code)
