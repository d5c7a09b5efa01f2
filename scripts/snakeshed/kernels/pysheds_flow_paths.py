"""What is passed down the flow paths besides counts, and lengths along them.

Where a cell passes something on, it does so when its last donor has arrived; the order of the
arithmetic is that of pysheds, which walks down from each cell without donors, row by row.
"""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, neighbour_offsets, opposite
from snakeshed.kernels.growing_lists import grown


def drops(z: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Elevation of each cell above the one that it drains into.

    Parameters
    ----------
    z : ndarray of float64, shape (h, w)
        Elevations.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.

    Returns
    -------
    ndarray of float64, shape (h, w)
        In the unit of the elevations; 0 where a cell drains outside; NaN where one of the
        two is not finite.
    """
    result = np.zeros(z.shape)
    offsets = neighbour_offsets(z.shape[1])
    _subtract(z.reshape(z.size), directions, offsets, result.reshape(z.size))
    return result


def lengths(
    numbers: np.ndarray, dirmap: tuple[int, ...], width: float, height: float
) -> np.ndarray:
    """Length of the step that each direction means, wherever it leads.

    Parameters
    ----------
    numbers : ndarray of int64, shape (h, w)
        Flow directions.
    dirmap : tuple of 8 int
        Numbers for N, NE, E, SE, S, SW, W, NW.
    width, height : float
        Size of a cell.

    Returns
    -------
    ndarray of float64, shape (h, w)
        In the unit of the size; 0 for any number that is not in `dirmap`.
    """
    diagonal = math.sqrt(width**2 + height**2)
    result = np.zeros(numbers.shape)
    _look_up(
        np.ascontiguousarray(numbers).reshape(numbers.size),
        np.array(dirmap, dtype=np.int64),
        np.array([height, diagonal, width, diagonal] * 2),
        result.reshape(numbers.size),
    )
    return result


@compiled
def _subtract(z, directions, offsets, result):
    rows, columns = directions.shape
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            code = directions[i, j]
            cell = (i - 1) * (columns - 2) + j - 1
            below = cell + offsets[code] if code != NODATA else cell
            result[cell] = z[cell] - z[below]


@compiled
def _look_up(numbers, keys, values, result):
    for cell in range(numbers.size):
        for k in range(keys.size):
            if numbers[cell] == keys[k]:
                result[cell] = values[k]
                break


def accumulate_with_losses(
    directions: np.ndarray, weights: np.ndarray, efficiency: np.ndarray
) -> np.ndarray:
    """Sum of the weights that arrive at each cell when each passes on a share of what it has.

    O(cells). A cell in a cycle keeps what its other donors bring.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.
    weights : ndarray of float64, shape (h + 2, w + 2)
        In any unit; at nodata and in the ring they stay as they are.
    efficiency : ndarray of float64, shape (h + 2, w + 2)
        Share of its sum that a cell passes on.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
        Each cell's own weight and what arrives, before the cell's own loss.
    """
    sums = weights.copy()
    offsets = neighbour_offsets(directions.shape[1])
    _pass_with_losses(directions.ravel(), offsets, efficiency.ravel(), sums.reshape(sums.size))
    return sums


def distance_to_ridge(directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Greatest sum of the weights along the flow paths that lead to each cell.

    O(cells). The first cell of a path does not count; without donors the distance is 0.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.
    weights : ndarray of float64, shape (h + 2, w + 2)
        Length of the step into each cell.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
    """
    distances = np.zeros(directions.shape)
    offsets = neighbour_offsets(directions.shape[1])
    _pass_farthest(directions.ravel(), offsets, weights.ravel(), distances.reshape(distances.size))
    return distances


def distance_to_outlet(directions: np.ndarray, weights: np.ndarray, outlet: int) -> np.ndarray:
    """Sum of the weights along the flow path from each cell down to an outlet.

    Proportional to the catchment, which is walked up from the outlet.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded; cycles are allowed.
    weights : ndarray of float64, shape (h + 2, w + 2)
        Length of the step out of each cell.
    outlet : int
        Flat index.

    Returns
    -------
    ndarray of float64, shape (h + 2, w + 2)
        0 at the outlet, whose own weight does not count; infinite outside its catchment.
    """
    distances = np.full(directions.shape, np.inf)
    offsets = neighbour_offsets(directions.shape[1])
    _measure_upslope(
        directions.ravel(),
        offsets,
        weights.ravel(),
        np.int64(outlet),
        distances.reshape(distances.size),
    )
    return distances


@compiled
def _count_donors(codes, offsets):
    donors = np.zeros(codes.size, np.uint8)
    for cell in range(codes.size):
        code = codes[cell]
        if code not in (OUTSIDE, NODATA):
            donors[cell + offsets[code]] += 1
    return donors


@compiled
def _pass_with_losses(codes, offsets, efficiency, sums):
    donors = _count_donors(codes, offsets)
    waiting = donors.copy()
    for start in range(codes.size):
        if donors[start] != 0:
            continue
        cell = start
        while waiting[cell] == 0 and codes[cell] != OUTSIDE and codes[cell] != NODATA:
            passed = sums[cell] * efficiency[cell]
            cell += offsets[codes[cell]]
            sums[cell] += passed
            waiting[cell] -= 1


@compiled
def _pass_farthest(codes, offsets, weights, distances):
    donors = _count_donors(codes, offsets)
    waiting = donors.copy()
    for start in range(codes.size):
        if donors[start] != 0:
            continue
        cell = start
        while waiting[cell] == 0 and codes[cell] != OUTSIDE and codes[cell] != NODATA:
            distance = distances[cell]
            cell += offsets[codes[cell]]
            distances[cell] = max(distances[cell], distance + weights[cell])
            waiting[cell] -= 1


@compiled
def _measure_upslope(codes, offsets, weights, outlet, distances):
    cells = np.empty(1024, np.int64)
    cells[0] = outlet
    distances[outlet] = 0.0
    end = 1
    while end > 0:
        end -= 1
        if end + 8 > cells.size:
            cells = grown(cells)
        cell = cells[end]
        distance = distances[cell]
        for k in range(1, 9):
            donor = cell + offsets[k]
            if codes[donor] == opposite(k) and donor != outlet:
                distances[donor] = distance + weights[donor]
                cells[end] = donor
                end += 1
