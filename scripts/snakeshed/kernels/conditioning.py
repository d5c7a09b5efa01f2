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

from snakeshed.compiled import compiled
from snakeshed.kernels.directions import (
    FLAT,
    NODATA,
    OUTSIDE,
    STALE,
    index_type,
    neighbour_offsets,
    redirect_stale,
    steepest_descent,
)
from snakeshed.kernels.flats import resolve_flats

UNLABELLED = -1
ON_PATH = -2


def fill(
    z: np.ndarray, border: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
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

    Returns
    -------
    filled : ndarray, shape and dtype of `z`
        The lowest surface not below `z` from every cell of which a path leads outside without
        rising, bit-equal to priority-flood with the same outlets.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of the filled surface (see `snakeshed.kernels.directions`): steepest descent, and
        in flats towards the nearest exit. Following them from any cell leads outside.

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    offsets = neighbour_offsets(z.shape[1])
    directions = steepest_descent(z, border, width_m, height_m)
    # The type that numbers the basins also numbers the edges between them: at most five a cell.
    labels = np.full(z.shape, UNLABELLED, dtype=index_type(5 * z.size))
    basins = label_basins(z, directions, offsets, labels)
    first, second, level, saddle = _saddles(z, border, labels, basins)
    levels, reached = _spill_levels(basins, first, second, level, saddle)
    del first, second, level, saddle
    if reached <= basins:
        raise ValueError(
            f"{basins + 1 - reached} basins have no way outside: "
            "every connected piece of the data needs a border cell"
        )
    filled = _raise_to_levels(z, labels, levels, offsets, directions)
    del labels
    redirect_stale(filled, border, width_m, height_m, offsets, directions)
    resolve_flats(filled, directions)
    return filled, directions


@compiled
def _grown(array, size):
    larger = np.empty(max(size, 2 * array.size), array.dtype)
    larger[: array.size] = array
    return larger


@compiled
def label_basins(z, directions, offsets, labels):
    """Write into `labels` the number of the pit that each cell's descent ends in.

    A pit is a connected plateau of equal elevation without a lower neighbour. The pits are numbered
    from 1, for 0 is the outside; their number is returned.
    Linear: each cell is walked over once, and stands on one path only.
    """
    rows, columns = z.shape
    flat_z = z.reshape(z.size)
    codes = directions.reshape(z.size)
    label_of = labels.reshape(z.size)
    path = np.empty(1024, label_of.dtype)
    pits = 0
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            cell = i * columns + j
            if label_of[cell] != UNLABELLED or codes[cell] == NODATA:
                continue
            length = 0
            while True:
                code = codes[cell]
                if length == path.size:
                    path = _grown(path, length + 1)
                path[length] = cell
                length += 1
                if code not in (FLAT, OUTSIDE):
                    cell += offsets[code]
                    label = label_of[cell]
                    if label != UNLABELLED:
                        break
                    continue
                # A plateau: gather it behind the path, and look for a way on.
                level = flat_z[cell]
                label_of[cell] = ON_PATH
                scanned = length - 1
                way_on = np.int64(-1)
                while scanned < length:
                    member = np.int64(path[scanned])
                    scanned += 1
                    if length + 8 > path.size:
                        path = _grown(path, length + 8)
                    for k in range(1, 9):
                        neighbour = member + offsets[k]
                        if flat_z[neighbour] != level:
                            continue
                        if codes[neighbour] not in (FLAT, OUTSIDE):
                            way_on = neighbour
                        elif label_of[neighbour] == UNLABELLED:
                            label_of[neighbour] = ON_PATH
                            path[length] = neighbour
                            length += 1
                if way_on < 0:
                    pits += 1
                    label = label_of.dtype.type(pits)
                    break
                cell = way_on
                label = label_of[cell]
                if label != UNLABELLED:
                    break
            for step in range(length):
                label_of[path[step]] = label
    return pits


@compiled
def _saddles(z, border, labels, basins):
    """Edges of the basin graph: lowest saddles between touching basins, and to the outside.

    A saddle has the level of the higher of its two cells. Its place, by which equal levels are
    ordered, is the flat index of the first of them times 8 plus the direction to the other; a way
    outside has direction 0. A pair of basins may have several edges, the lowest always among them.
    """
    rows, columns = z.shape
    first = np.empty(1024, labels.dtype)
    second = np.empty(1024, labels.dtype)
    level = np.empty(1024, z.dtype)
    saddle = np.empty(1024, np.int64)
    latest = np.full(basins + 1, -1, labels.dtype)
    edges = 0
    for i in range(1, rows - 1):
        if edges + 5 * columns > first.size:
            first = _grown(first, edges + 5 * columns)
            second = _grown(second, edges + 5 * columns)
            level = _grown(level, edges + 5 * columns)
            saddle = _grown(saddle, edges + 5 * columns)
        for j in range(1, columns - 1):
            here = labels[i, j]
            if here < 0:
                continue
            east = labels[i, j + 1]
            southeast = labels[i + 1, j + 1]
            south = labels[i + 1, j]
            southwest = labels[i + 1, j - 1]
            outlet = border[i, j] != 0
            if (
                east == here
                and southeast == here
                and south == here
                and southwest == here
                and not outlet
            ):
                continue
            for code in range(2, 7):
                if code == 2:
                    if not outlet:
                        continue
                    there = labels.dtype.type(0)
                    height = z[i, j]
                    place = (i * columns + j) * 8
                else:
                    di = 0 if code == 3 else 1
                    dj = 5 - code if code > 3 else 1
                    there = labels[i + di, j + dj]
                    if there == here or there < 0:
                        continue
                    height = max(z[i, j], z[i + di, j + dj])
                    place = (i * columns + j) * 8 + code
                low = min(here, there)
                high = max(here, there)
                known = latest[high]
                if known >= 0 and second[known] == low:
                    if height < level[known]:
                        level[known] = height
                        saddle[known] = place
                    continue
                latest[high] = edges
                first[edges] = high
                second[edges] = low
                level[edges] = height
                saddle[edges] = place
                edges += 1
    return first[:edges].copy(), second[:edges].copy(), level[:edges].copy(), saddle[:edges].copy()


@compiled
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _spanning_tree(basins, first, second, level, saddle):
    """Boruvka's minimum spanning tree: the indices of its edges.

    Edges are compared by (level, saddle), so that no two are equal and the tree is unique.
    """
    parent = np.arange(basins + 1).astype(first.dtype)
    lowest = np.empty(basins + 1, first.dtype)
    tree = np.empty(basins, first.dtype)
    size = 0
    # The edges between different components: their index, and the components they join.
    alive = np.arange(first.size).astype(first.dtype)
    one = first.copy()
    other = second.copy()
    remaining = alive.size
    while remaining > 0:
        for e in range(remaining):
            lowest[one[e]] = -1
            lowest[other[e]] = -1
        for e in range(remaining):
            edge = alive[e]
            for component in (one[e], other[e]):
                rival = lowest[component]
                if (
                    rival < 0
                    or level[edge] < level[rival]
                    or (level[edge] == level[rival] and saddle[edge] < saddle[rival])
                ):
                    lowest[component] = edge
        for e in range(remaining):
            edge = alive[e]
            if lowest[one[e]] == edge or lowest[other[e]] == edge:
                a = _root(parent, one[e])
                b = _root(parent, other[e])
                if a != b:
                    parent[max(a, b)] = min(a, b)
                    tree[size] = edge
                    size += 1
        kept = 0
        for e in range(remaining):
            a = _root(parent, one[e])
            b = _root(parent, other[e])
            if a != b:
                alive[kept] = alive[e]
                one[kept] = a
                other[kept] = b
                kept += 1
        remaining = kept
    return tree[:size]


@compiled
def _spill_levels(basins, first, second, level, saddle):
    """Level to which each basin fills before its water gets outside, and how many basins get there.

    The levels are the largest ones on the way from basin 0 through the spanning tree: the minimax
    levels of the whole graph.
    """
    tree = _spanning_tree(basins, first, second, level, saddle)
    start = np.zeros(basins + 2, np.int64)
    for edge in tree:
        start[first[edge] + 1] += 1
        start[second[edge] + 1] += 1
    for basin in range(basins + 1):
        start[basin + 1] += start[basin]
    place = start[:-1].copy()
    links = np.empty(2 * tree.size, tree.dtype)
    for edge in tree:
        for basin in (first[edge], second[edge]):
            links[place[basin]] = edge
            place[basin] += 1
    levels = np.full(basins + 1, -np.inf, level.dtype)
    seen = np.zeros(basins + 1, np.bool_)
    queue = np.empty(basins + 1, tree.dtype)
    queue[0] = 0
    seen[0] = True
    reached = 1
    scanned = 0
    while scanned < reached:
        basin = queue[scanned]
        scanned += 1
        for link in range(start[basin], start[basin + 1]):
            edge = links[link]
            next_basin = second[edge] if first[edge] == basin else first[edge]
            if not seen[next_basin]:
                seen[next_basin] = True
                levels[next_basin] = max(levels[basin], level[edge])
                queue[reached] = next_basin
                reached += 1
    return levels, reached


@compiled
def _raise_to_levels(z, labels, levels, offsets, directions):
    """The filled surface; directions of raised cells and of their neighbours become `STALE`."""
    rows, columns = z.shape
    filled = z.copy()
    codes = directions.reshape(z.size)
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            label = labels[i, j]
            if label > 0 and z[i, j] < levels[label]:
                filled[i, j] = levels[label]
                cell = i * columns + j
                for k in range(9):
                    if codes[cell + offsets[k]] != NODATA:
                        codes[cell + offsets[k]] = STALE
    return filled
