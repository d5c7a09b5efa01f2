"""Links: how water passes through tiles, from where it comes in to where it leaves them.

What leaves a tile at a cell is what gathers there within the tile, and what came in at those cells
of its sides whose water leaves by the same cell. These links of all tiles are a graph that is small
against the window; solved, it tells each tile what comes in.

References
----------
Barnes, R. (2017), Parallel non-divergent flow accumulation for trillion cell digital elevation
models on desktops or clusters. Environmental Modelling & Software 92, 202-212.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, neighbour_offsets
from snakeshed.kernels.growing_lists import grown

NO_EXIT = -1


def link_sides(directions: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Find by which cell of a tile's sides the water of each of them leaves the tile.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of a tile, `NODATA` in the ring, to which codes of the sides may lead.
    sides : ndarray of int64, shape (n,)
        Flat indices of all cells of the sides; a corner may be in it twice.

    Returns
    -------
    ndarray of int64, shape (n,)
        Place in `sides` of the cell whose code leads into the ring, the first if it is there twice;
        `NO_EXIT` at nodata, and where the water drains outside in the tile.
    """
    # Zeros that nobody writes to take no memory.
    leads_to = np.zeros(directions.size, np.int32)
    return _link(directions, sides, neighbour_offsets(directions.shape[1]), leads_to)


@compiled
def _link(directions, sides, offsets, leads_to):
    codes = directions.reshape(directions.size)
    links = np.full(sides.size, NO_EXIT, np.int64)
    # The cells by which water leaves: 1 + their place. -1 is known to drain outside.
    for place in range(sides.size - 1, -1, -1):
        cell = sides[place]
        code = codes[cell]
        # Water runs to data, or out of the tile.
        if code not in (NODATA, OUTSIDE) and codes[cell + offsets[code]] == NODATA:
            leads_to[cell] = place + 1
    for place in range(sides.size):
        start = sides[place]
        if codes[start] == NODATA:
            continue
        cell = start
        while leads_to[cell] == 0 and codes[cell] != OUTSIDE:
            cell += offsets[codes[cell]]
        found = leads_to[cell] if leads_to[cell] != 0 else -1
        cell = start
        while leads_to[cell] == 0:
            leads_to[cell] = found
            cell += offsets[codes[cell]]
        links[place] = found - 1 if found > 0 else NO_EXIT
    return links


def pass_through(
    exits: np.ndarray, entries: np.ndarray, links: np.ndarray, leaving: np.ndarray
) -> np.ndarray:
    """Sum up what leaves through each exit of all tiles, with what came in from other tiles.

    Parameters
    ----------
    exits : ndarray of int64, shape (n,)
        Cells of sides by which water leaves a tile, by their numbers in the whole window.
    entries : ndarray of int64, shape (n,)
        The cells of other tiles that they lead to.
    links : ndarray of int64, shape (cells of sides,)
        Number of the exit that the water of each cell leaves by, `NO_EXIT` for none.
    leaving : ndarray of int64, shape (n,)
        What gathers at each exit within its own tile.

    Returns
    -------
    ndarray of int64, shape (cells of sides,)
        What comes in at each cell from other tiles.
    """
    coming = np.zeros(links.size, leaving.dtype)
    _pass_through(exits, entries, links, leaving, coming)
    return coming


@compiled
def _pass_through(exits, entries, links, leaving, coming):
    number = np.full(links.size, -1, np.int64)
    for place in range(exits.size):
        number[exits[place]] = place
    waits = np.zeros(exits.size, np.int64)
    for place in range(exits.size):
        onward = links[entries[place]]
        if onward >= 0:
            waits[number[onward]] += 1
    total = leaving.copy()
    for start in range(exits.size):
        place = start
        while waits[place] == 0:
            waits[place] = -1
            coming[entries[place]] += total[place]
            onward = links[entries[place]]
            if onward < 0:
                break
            total[number[onward]] += total[place]
            place = number[onward]
            waits[place] -= 1


def spread_inflow(
    directions: np.ndarray, entries: np.ndarray, coming: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the cells of a tile that what comes in passes through, and how much does in each.

    Proportional to these cells, however many ways join there.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        As in `link_sides`.
    entries : ndarray of int64, shape (n,)
        Flat indices, each once.
    coming : ndarray of int64, shape (n, kinds)
        What comes in at each: cells, areas.

    Returns
    -------
    cells : ndarray of int64, shape (m,)
        Flat indices, path by path.
    passing : ndarray of int64, shape (m, kinds)
    """
    # Zeros that nobody writes to take no memory.
    place = np.zeros(directions.size, np.int32)
    offsets = neighbour_offsets(directions.shape[1])
    cells, starts, ends = _on_the_way(directions, offsets, entries, place)
    passing = np.zeros((cells.size, coming.shape[1]), np.int64)
    passing[place[entries] - 1] = coming
    _sum_along(starts, ends, passing)
    return cells, passing


@compiled
def _on_the_way(directions, offsets, entries, place):
    """Follow the water from each entry to where it meets a path that is known.

    Returns: the cells of all paths; where each path starts in them, and the place of the cell in
    which it goes on, negative for none.
    """
    codes = directions.reshape(directions.size)
    cells = np.empty(1024, np.int64)
    starts = np.empty(entries.size, np.int64)
    ends = np.empty(entries.size, np.int64)
    size = 0
    paths = 0
    for cell in entries:
        if place[cell] != 0:
            continue
        starts[paths] = size
        while True:
            if size == cells.size:
                cells = grown(cells)
            cells[size] = cell
            size += 1
            place[cell] = size
            code = codes[cell]
            cell += offsets[code]
            if code == OUTSIDE or codes[cell] == NODATA:
                ends[paths] = -1
                break
            if place[cell] != 0:
                ends[paths] = place[cell] - 1
                break
        paths += 1
    return cells[:size].copy(), starts[:paths], ends[:paths]


@compiled
def _sum_along(starts, ends, passing):
    """Sum up what passes down each path. What meets a path has been found after it."""
    after = passing.shape[0]
    for path in range(starts.size - 1, -1, -1):
        for kind in range(passing.shape[1]):
            total = np.int64(0)
            for cell in range(starts[path], after):
                total += passing[cell, kind]
                passing[cell, kind] = total
            if ends[path] >= 0:
                passing[ends[path], kind] += total
        after = starts[path]
