"""The graph of basins: which touch, over which saddles, and at which levels they spill."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, NODATA, OUTSIDE, index_type, neighbour_offsets
from snakeshed.kernels.growing_lists import grown
from snakeshed.kernels.row_bands import in_bands, split

UNLABELLED = -1
LEAVES_BAND = -2
NO_BASIN = -3


def label_basins(directions: np.ndarray, threads: int = 1) -> tuple[np.ndarray, int]:
    """Tell for each cell the pit in which its water stays.

    A pit is a connected set of cells without a lower neighbour, from which no flat leads on.
    Linear: each cell is walked over twice, along one path only, so that no list of the path is
    needed; but for cells whose path leaves the band of rows of a thread, which are walked over
    again when all bands are done.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes with the flats resolved, so that what is still `FLAT` is a pit. Two pits never
        touch, as the higher one would have a lower neighbour.
    threads : int

    Returns
    -------
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        Number of each cell's basin, from 1; 0 where the water gets outside; negative at nodata and
        in the ring. Which basin has which number depends on the threads.
    basins : int
    """
    # The type that numbers the basins also numbers the edges between them: at most five a cell.
    labels = np.empty(directions.shape, dtype=index_type(5 * directions.size))
    offsets = neighbour_offsets(directions.shape[1])
    bands = split(0, directions.shape[0], threads)
    in_bands(lambda first, end: begin_rows(directions, first, end, labels), bands)
    basins = number_pits(directions, offsets, labels)
    in_bands(
        lambda first, end: label_rows(directions, offsets, first, end, UNLABELLED, labels), bands
    )
    if len(bands) > 1:
        label_rows(directions, offsets, 0, directions.shape[0], LEAVES_BAND, labels)
    return labels, basins


@compiled(nogil=True)
def begin_rows(directions, first, end, labels):
    """Label what needs no path: cells that drain outside and nodata."""
    for i in range(first, end):
        for j in range(directions.shape[1]):
            code = directions[i, j]
            label = UNLABELLED if code != OUTSIDE else 0
            labels[i, j] = label if code != NODATA else NO_BASIN


@compiled
def number_pits(directions, offsets, labels):
    """Number the pits, connected plateaus without a lower neighbor, from 1; return how many."""
    codes = directions.reshape(directions.size)
    label_of = labels.reshape(directions.size)
    pit = np.empty(1024, np.int64)
    pits = 0
    for first in range(codes.size):
        if codes[first] != FLAT or label_of[first] != UNLABELLED:
            continue
        pits += 1
        label_of[first] = pits
        pit[0] = first
        size = 1
        scanned = 0
        while scanned < size:
            cell = pit[scanned]
            scanned += 1
            if size + 8 > pit.size:
                pit = grown(pit, size + 8)
            for k in range(1, 9):
                neighbour = cell + offsets[k]
                if codes[neighbour] == FLAT and label_of[neighbour] == UNLABELLED:
                    label_of[neighbour] = pits
                    pit[size] = neighbour
                    size += 1
    return pits


@compiled(nogil=True)
def label_rows(directions, offsets, first, end, todo, labels):
    """Label the cells of some rows that are marked `todo` as what they drain to is labelled.

    Cells whose path leaves the rows are marked `LEAVES_BAND`.
    """
    columns = directions.shape[1]
    codes = directions.reshape(directions.size)
    label_of = labels.reshape(directions.size)
    begin = first * columns
    size = np.uint64((end - first) * columns)
    for start in range(begin, end * columns):
        if label_of[start] != todo:
            continue
        cell = start
        label = label_of[start]
        while label == todo:
            cell += offsets[codes[cell]]
            if np.uint64(cell - begin) >= size:
                label = label_of.dtype.type(LEAVES_BAND)
                break
            label = label_of[cell]
        cell = start
        while label_of[cell] == todo:
            label_of[cell] = label
            cell += offsets[codes[cell]]
            if label == LEAVES_BAND and np.uint64(cell - begin) >= size:
                break


def saddles(
    z: np.ndarray, border: np.ndarray, labels: np.ndarray, basins: int, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges of the basin graph: lowest saddles between touching basins, and to the outside.

    A saddle has the level of the higher of its two cells. Its place, by which equal levels are
    ordered, is the flat index of the first of them times 8 plus the direction to the other; a way
    outside has direction 0. A pair of basins may have several edges, the lowest always among them.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
    border : ndarray of uint8, shape (h + 2, w + 2)
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        Number of each cell's basin; 0 where it drains outside by itself, negative at nodata.
    basins : int
        The largest number.
    threads : int

    Returns
    -------
    first, second : ndarray of the type of the labels, shape (edges,)
        Numbers of the basins, the larger first; the outside is basin 0.
    level : ndarray of the type of `z`, shape (edges,)
    saddle : ndarray of int64, shape (edges,)
    """
    parts = in_bands(
        lambda first, end: _saddles_of_rows(z, border, labels, basins, first, end),
        split(1, z.shape[0] - 1, threads),
    )
    return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))


# A basin remembers its edges to so many basins of lower numbers.
WAYS = 4


@compiled(nogil=True)
def _saddles_of_rows(z, border, labels, basins, start, stop):
    columns = z.shape[1]
    first = np.empty(1024, labels.dtype)
    second = np.empty(1024, labels.dtype)
    level = np.empty(1024, z.dtype)
    saddle = np.empty(1024, np.int64)
    latest = np.full((basins + 1) * WAYS, -1, labels.dtype)
    edges = 0
    for i in range(start, stop):
        if edges + 5 * columns > first.size:
            first = grown(first, edges + 5 * columns)
            second = grown(second, edges + 5 * columns)
            level = grown(level, edges + 5 * columns)
            saddle = grown(saddle, edges + 5 * columns)
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
                    if not outlet or here == 0:
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
                way = np.int64(high) * WAYS
                last = way + WAYS - 1
                known = latest[way]
                while known >= 0 and second[known] != low and way < last:
                    way += 1
                    known = latest[way]
                if known >= 0 and second[known] == low:
                    if height < level[known]:
                        level[known] = height
                        saddle[known] = place
                    continue
                # The newest comes last, the oldest is forgotten.
                if known >= 0:
                    for other in range(last - WAYS + 1, last):
                        latest[other] = latest[other + 1]
                latest[way] = edges
                first[edges] = high
                second[edges] = low
                level[edges] = height
                saddle[edges] = place
                edges += 1
    return first[:edges].copy(), second[:edges].copy(), level[:edges].copy(), saddle[:edges].copy()


@compiled(nogil=True)
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled(nogil=True)
def spanning_tree(basins, first, second, level, saddle):
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


@compiled(nogil=True)
def links_of_nodes(nodes, first, second, edges):
    """Edges at each node of a graph: those at node n are ``links[start[n] : start[n + 1]]``."""
    start = np.zeros(nodes + 1, np.int64)
    for edge in edges:
        start[first[edge] + 1] += 1
        start[second[edge] + 1] += 1
    for node in range(nodes):
        start[node + 1] += start[node]
    place = start[:-1].copy()
    links = np.empty(2 * edges.size, edges.dtype)
    for edge in edges:
        for node in (first[edge], second[edge]):
            links[place[node]] = edge
            place[node] += 1
    return start, links


def spill_levels(
    basins: int, first: np.ndarray, second: np.ndarray, level: np.ndarray, saddle: np.ndarray
) -> np.ndarray:
    """Level to which each basin fills before its water gets outside.

    Parameters
    ----------
    basins : int
        Nodes are numbered from 0, the outside, to this.
    first, second, level, saddle : ndarray, shape (edges,)
        As from `saddles`. The saddles only have to tell edges of one level apart: no level depends
        on their order.

    Returns
    -------
    ndarray of the type of `level`, shape (basins + 1,)

    Raises
    ------
    ValueError
        If a basin has no way outside.
    """
    levels, reached = _spill_levels(basins, first, second, level, saddle)
    if reached <= basins:
        raise ValueError(
            f"{basins + 1 - reached} basins have no way outside: "
            "every connected piece of the data needs a border cell"
        )
    return levels


@compiled(nogil=True)
def _spill_levels(basins, first, second, level, saddle):
    """Levels, and how many basins have a way outside.

    The levels are the largest ones on the way from basin 0 through the spanning tree: the minimax
    levels of the whole graph.
    """
    tree = spanning_tree(basins, first, second, level, saddle)
    start, links = links_of_nodes(basins + 1, first, second, tree)
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
