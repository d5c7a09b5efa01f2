"""Distances along the flow: up to the farthest source, and down to where the water leaves.

A step has the length of a cell of the row where it begins, as in
`snakeshed.kernels.catchment_shape`. A distance is summed step by step along one flow path, so that
it depends on nothing but that path, whatever the order in which cells are visited.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.accumulation import DONE, ONE_DONOR, wait_for_donors
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, ROW_STEP, neighbour_offsets, opposite
from snakeshed.kernels.growth import grown

# What no distance is.
UNKNOWN = -1.0


def step_lengths(width_m: np.ndarray, height_m: np.ndarray) -> np.ndarray:
    """Length of a step from a cell of each row in each direction.

    Parameters
    ----------
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres.

    Returns
    -------
    ndarray of float64, shape (h + 2, 9)
        In metres, by direction code; 0 for code 0.
    """
    lengths = np.empty((width_m.size, 9))
    lengths[:, 0] = 0.0
    lengths[:, [1, 5]] = height_m[:, None]
    lengths[:, [3, 7]] = width_m[:, None]
    lengths[:, 2::2] = np.sqrt(width_m * width_m + height_m * height_m)[:, None]
    return lengths


def upstream_distance(
    directions: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
) -> np.ndarray:
    """Length of the longest flow path that ends in each cell.

    O(cells): each cell passes its distance on when its last donor has arrived.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded (see `snakeshed.kernels.steepest_descent`).
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
        In metres, between cell centres: 0 where no neighbour drains into the cell. NaN at nodata
        and in the ring.
    """
    distances = np.where(directions == NODATA, np.nan, 0.0)
    states = np.full(directions.shape, DONE, np.uint8)
    wait_for_donors(directions, 1, directions.shape[0] - 1, states, np.empty((0, 0), np.int32))
    _pass_longest_downstream(
        states,
        neighbour_offsets(directions.shape[1]),
        ROW_STEP,
        step_lengths(width_m, height_m),
        distances,
    )
    return distances


@compiled
def _pass_longest_downstream(states, offsets, row_step, lengths, distances):
    rows, columns = states.shape
    state_of = states.reshape(states.size)
    distance_at = distances.reshape(states.size)
    for i in range(1, rows - 1):
        for start in range(i * columns + 1, (i + 1) * columns - 1):
            code = state_of[start]
            if code >= DONE:
                continue
            # A cell without donors: walk down until a cell still waits for another donor.
            cell = start
            row = i
            longest = distance_at[start]
            while code != OUTSIDE:
                longest += lengths[row, code]
                cell += offsets[code]
                row += row_step[code]
                longest = max(longest, distance_at[cell])
                distance_at[cell] = longest
                code = state_of[cell] - ONE_DONOR
                if code >= DONE:
                    state_of[cell] = code
                    break
                # Else the state stays, as if for a last donor: the scan starts no walk here.


def longest_flow_path(
    directions: np.ndarray,
    upstream_m: np.ndarray,
    outlet: int,
    width_m: np.ndarray,
    height_m: np.ndarray,
) -> np.ndarray:
    """Cells of the longest flow path that ends in a cell.

    O(its cells).

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded.
    upstream_m : ndarray of float64, shape (h + 2, w + 2)
        The `upstream_distance` of these directions and sizes.
    outlet : int
        Flat padded index of the cell.
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres.

    Returns
    -------
    ndarray of int64, shape (n,)
        Flat padded indices, the outlet first. Of equally long ways the one goes on to the first
        neighbour in the order of the directions.
    """
    return _trace_up(
        directions,
        upstream_m,
        outlet,
        neighbour_offsets(directions.shape[1]),
        step_lengths(width_m, height_m),
    )


@compiled
def _trace_up(directions, upstream_m, outlet, offsets, lengths):
    codes = directions.reshape(directions.size)
    upstream = upstream_m.reshape(directions.size)
    columns = directions.shape[1]
    cells = [np.int64(outlet)]
    while True:
        cell = cells[-1]
        donor = np.int64(-1)
        longest = UNKNOWN
        for k in range(1, 9):
            beside = cell + offsets[k]
            back = opposite(k)
            if codes[beside] == back:
                distance = upstream[beside] + lengths[beside // columns, back]
                if distance > longest:
                    donor = beside
                    longest = distance
        if donor < 0:
            return np.array(cells, dtype=np.int64)
        cells.append(donor)


def downstream_distance(
    directions: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
) -> np.ndarray:
    """Length of each cell's flow path, down to the cell that drains outside.

    O(cells): each cell is walked over once.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded (see `snakeshed.kernels.steepest_descent`).
    width_m, height_m : ndarray of float64, shape (h + 2,)
        Width and height of the cells of each row, in metres.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
        In metres, between cell centres: 0 at a cell that drains outside, infinite where the
        directions lead into a circle. NaN at nodata and in the ring.
    """
    distances = np.where(directions == NODATA, np.nan, UNKNOWN)
    _walk_down(
        directions,
        neighbour_offsets(directions.shape[1]),
        ROW_STEP,
        step_lengths(width_m, height_m),
        distances,
    )
    return distances


@compiled
def _walk_down(directions, offsets, row_step, lengths, distances):
    rows, columns = directions.shape
    codes = directions.reshape(directions.size)
    distance_at = distances.reshape(directions.size)
    steps = np.empty(1024, np.uint8)
    for i in range(1, rows - 1):
        for start in range(i * columns + 1, (i + 1) * columns - 1):
            cell = start
            row = i
            taken = 0
            # A cell on the path in progress is infinitely far: so is what comes back to it.
            while distance_at[cell] == UNKNOWN:
                code = codes[cell]
                if code == OUTSIDE:
                    distance_at[cell] = 0.0
                    break
                distance_at[cell] = np.inf
                if taken == steps.size:
                    steps = grown(steps)
                steps[taken] = code
                taken += 1
                cell += offsets[code]
                row += row_step[code]
            distance = distance_at[cell]
            while taken > 0:
                taken -= 1
                code = steps[taken]
                cell -= offsets[code]
                row -= row_step[code]
                distance += lengths[row, code]
                distance_at[cell] = distance
