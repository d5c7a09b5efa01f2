"""Conditioning by the basin graph: a surface on which every cell drains outside.

No queue over the cells is sorted by elevation. The cells are gathered into the basins of the pits
that their steepest descent ends in, the basins become the nodes of a graph whose edges are the
lowest saddles between them, and a minimum spanning tree of this small graph tells for each basin
the level at which its water spills on its way outside.

References
----------
Cordonnier, G., B. Bovy, and J. Braun (2019), A versatile, linear complexity algorithm for flow
routing in topographies with depressions. Earth Surface Dynamics 7, 549-562.
Barnes, R., C. Lehman, and D. Mulla (2014), Priority-flood: an optimal depression-filling and
watershed-labeling algorithm for digital elevation models. Computers & Geosciences 62, 117-127.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.basin_graph import label_basins, saddles, spill_levels
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.row_bands import in_bands, split
from snakeshed.kernels.steepest_descent import steepest_descent


def fill(
    z: np.ndarray,
    border: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill all depressions, and route every cell to the outside.

    O(cells) but for the spanning tree, O(basins log basins).

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
    out : ndarray, shape and dtype of `z`, optional
        Where to write the filled surface; `z` itself to save memory.

    Returns
    -------
    filled : ndarray, shape and dtype of `z`
        The lowest surface not below `z` from every cell of which a path leads outside without
        rising, bit-equal to priority-flood with the same outlets.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of the filled surface (see `snakeshed.kernels.steepest_descent`): steepest descent,
        and in flats towards the nearest outlet. Following them from any cell leads outside.

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    out, directions = _flood(z, border, width_m, height_m, threads, out)
    # All anew, in one pass without branches: to find the cells around those that rose takes longer.
    directions = steepest_descent(out, border, width_m, height_m, threads, directions)
    drain_flats(out, directions, threads)
    return out, directions


def flood(
    z: np.ndarray,
    border: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Fill all depressions as `fill` does, without routing over the filled surface.

    Parameters
    ----------
    z, border, width_m, height_m, threads, out
        As in `fill`.

    Returns
    -------
    ndarray, shape and dtype of `z`
        The filled surface.

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    return _flood(z, border, width_m, height_m, threads, out)[0]


def _flood(
    z: np.ndarray,
    border: np.ndarray,
    width_m: np.ndarray,
    height_m: np.ndarray,
    threads: int,
    out: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill the depressions; the second array is no longer of any use, but may be used again."""
    directions = steepest_descent(z, border, width_m, height_m, threads)
    drain_flats(z, directions, threads)
    labels, basins = label_basins(directions, threads)
    levels = spill_levels(basins, *saddles(z, border, labels, threads))
    if out is None:
        out = z.copy()
    elif out is not z:
        out[...] = z

    in_bands(
        lambda first, end: raise_rows(out, labels, levels, first, end),
        split(1, z.shape[0] - 1, threads),
    )
    return out, directions


@compiled(nogil=True)
def raise_rows(z, labels, levels, first, end):
    """Raise each cell of some rows to the spill level of its basin."""
    for i in range(first, end):
        for j in range(1, z.shape[1] - 1):
            label = labels[i, j]
            if label > 0 and z[i, j] < levels[label]:
                z[i, j] = levels[label]
