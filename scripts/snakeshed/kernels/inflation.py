"""Inflation: flats get a slope of tiny steps, so that each of their cells has a lower neighbour.

References
----------
Barnes, R., C. Lehman, and D. Mulla (2014), An efficient assignment of drainage direction over
flat surfaces in raster digital elevation models. Computers & Geosciences 62, 128-135.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, OUTSIDE, index_type, neighbour_offsets, open_border, opposite
from snakeshed.kernels.filling import fill
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.growing_lists import grown
from snakeshed.kernels.steepest_descent import steepest_descent


def inflate_flats(
    z: np.ndarray, width_m: np.ndarray, height_m: np.ndarray, step: float, reach: int
) -> np.ndarray:
    """Raise the cells of flats a little, so that no flat is left and water runs off.

    First by `step` times the `drainage_gradient`, as pysheds does. On a wide flat that gradient
    ends, and it may lift a flat above its own outlet or beside another one; what is then trapped
    or level is raised further, as little as drains it. O(cells), but for the spanning tree of this
    second step.

    Parameters
    ----------
    z : ndarray of float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata, and so is the ring.
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row.
    step : float
        Rise for one step of the gradient, in the unit of the elevations.
    reach : int
        Steps from its edges after which the gradient of a flat ends.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
        A surface not below `z`. Each cell has a lower neighbour, but for cells at the rim or
        beside nodata, and one in each depression of `z`.
    """
    border = open_border(z)
    offsets = neighbour_offsets(z.shape[1])
    towards_lower, away_from_higher = drainage_gradient(z, reach)
    directions = steepest_descent(z, border, width_m, height_m)
    if ((directions == FLAT) & (towards_lower == 0)).any():
        # Flats without an outlet, or with one that is out of reach.
        drain_flats(z, directions)
        bottoms = directions == FLAT
    else:
        bottoms = np.zeros(z.shape, dtype=np.bool_)
    inflated = z + step * (2 * towards_lower + away_from_higher)
    if bottoms.any():
        # A depression stays one: where it is lowest, one cell keeps its water.
        directions = steepest_descent(inflated, border, width_m, height_m)
        drain_flats(inflated, directions)
        bottoms &= directions == FLAT
        _keep_one_of_each(inflated.reshape(z.size), offsets, bottoms.reshape(z.size))
        border[bottoms] = 1
    if (steepest_descent(inflated, border, width_m, height_m) != FLAT).all():
        return inflated
    filled, directions = fill(inflated, border, width_m, height_m)
    _raise_above_recipients(filled, directions, offsets, step)
    return filled


def drainage_gradient(z: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance to lower ground and nearness to higher ground in each flat.

    A flat cell has a level neighbour and no lower one. Distances are counted in steps to any of
    the eight neighbours: from an outlet, which is a level cell that has a lower neighbour or lies
    at the rim or beside nodata; and from higher ground. Both through flat cells that touch, which
    are of one level. O(cells).

    Parameters
    ----------
    z : ndarray of float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata.
    reach : int
        Largest distance that is counted; farther cells have none.

    Returns
    -------
    towards_lower : ndarray of int32 or int64, shape (h + 2, w + 2)
        1 at an outlet, and one more with each step away from it; 0 outside of flats and where no
        outlet is in reach.
    away_from_higher : ndarray of the same
        Largest distance to higher ground in the connected flats, less that of the cell; 0 outside
        of flats and where no higher ground is in reach.
    """
    kind = np.zeros(z.shape, dtype=np.uint8)
    _classify(z, open_border(z), kind)
    kinds = kind.reshape(z.size)
    flat_cells = np.flatnonzero(kinds >= PLAIN)
    # Each flat cell has eight neighbours that may be outlets.
    queue = np.empty(min(9 * flat_cells.size, z.size), dtype=index_type(z.size))
    towards_lower = np.zeros(z.shape, dtype=queue.dtype)
    away_from_higher = np.zeros(z.shape, dtype=queue.dtype)
    offsets = neighbour_offsets(z.shape[1])
    shared = z.reshape(z.size), kinds, flat_cells, offsets, reach, queue
    _count_from_outlets(*shared, towards_lower.reshape(z.size))
    _count_from_high_edges(*shared, away_from_higher.reshape(z.size))
    return towards_lower, away_from_higher


# What a cell is: nothing of these, or level ground with a way on, or flat, or flat below a slope.
OUTLET, PLAIN, HIGH_EDGE = 1, 2, 3


@compiled
def _classify(z, border, kind):
    rows, columns = z.shape
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            level = z[i, j]
            lower = border[i, j] != 0
            equal = False
            higher = False
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    beside = z[i + di, j + dj]
                    lower |= beside < level
                    higher |= beside > level
                    equal |= (beside == level) & ((di != 0) | (dj != 0))
            if equal:
                kind[i, j] = OUTLET if lower else HIGH_EDGE if higher else PLAIN


@compiled
def _spread(z, kind, offsets, reach, queue, end, distances):
    """Count on from the cells in the queue, at distance 1, through flat cells of their level."""
    start = 0
    distance = 1
    while start < end and distance < reach:
        wave_end = end
        distance += 1
        for place in range(start, wave_end):
            cell = np.int64(queue[place])
            for k in range(1, 9):
                beside = cell + offsets[k]
                if kind[beside] >= PLAIN and distances[beside] == 0 and z[beside] == z[cell]:
                    distances[beside] = distance
                    queue[end] = beside
                    end += 1
        start = wave_end


@compiled
def _count_from_outlets(z, kind, flat_cells, offsets, reach, queue, distances):
    end = 0
    for cell in flat_cells:
        for k in range(1, 9):
            beside = cell + offsets[k]
            if kind[beside] == OUTLET and distances[beside] == 0 and z[beside] == z[cell]:
                distances[beside] = 1
                queue[end] = beside
                end += 1
    _spread(z, kind, offsets, reach, queue, end, distances)


@compiled
def _count_from_high_edges(z, kind, flat_cells, offsets, reach, queue, distances):
    end = 0
    for cell in flat_cells:
        if kind[cell] == HIGH_EDGE:
            distances[cell] = 1
            queue[end] = cell
            end += 1
    _spread(z, kind, offsets, reach, queue, end, distances)
    # The nearness is counted from the largest distance in each patch of flat cells that touch.
    for first in flat_cells:
        if kind[first] < PLAIN:
            continue
        queue[0] = first
        end = 1
        kind[first] = 0
        largest = distances[first]
        place = 0
        while place < end:
            cell = np.int64(queue[place])
            place += 1
            largest = max(largest, distances[cell])
            for k in range(1, 9):
                beside = cell + offsets[k]
                if kind[beside] >= PLAIN:
                    kind[beside] = 0
                    queue[end] = beside
                    end += 1
        for place in range(end):
            cell = np.int64(queue[place])
            if distances[cell] != 0:
                distances[cell] = largest - distances[cell]


@compiled
def _keep_one_of_each(z, offsets, marked):
    """Unmark all cells but the first of each connected set of marked cells that are level."""
    stack = []
    for first in range(z.size):
        if not marked[first]:
            continue
        stack.append(first)
        while stack:
            cell = stack.pop()
            for k in range(1, 9):
                beside = cell + offsets[k]
                # What stands before the first cell has been left out, or is not connected.
                if beside > first and marked[beside] and z[beside] == z[cell]:
                    marked[beside] = False
                    stack.append(beside)


@compiled
def _raise_above_recipients(z, directions, offsets, step):
    surface = z.reshape(z.size)
    codes = directions.reshape(z.size)
    stack = np.empty(1024, np.int64)
    for outside_cell in range(codes.size):
        if codes[outside_cell] != OUTSIDE:
            continue
        stack[0] = outside_cell
        end = 1
        while end > 0:
            end -= 1
            cell = stack[end]
            if end + 8 > stack.size:
                stack = grown(stack)
            for k in range(1, 9):
                donor = cell + offsets[k]
                if codes[donor] == opposite(k):
                    if not surface[donor] > surface[cell]:
                        raised = surface[cell] + step
                        if not raised > surface[cell]:  # the step is lost in the rounding
                            raised = np.nextafter(surface[cell], np.inf)
                        surface[donor] = raised
                    stack[end] = donor
                    end += 1
