"""Accumulation: how many cells, or how much of a weight, drains through each cell.

References
----------
Zhou, G., H. Wei, and S. Fu (2019), A fast and simple algorithm for calculating flow accumulation
matrices from raster digital elevation models. Frontiers of Earth Science 13, 317-326.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.cell_sizes import CellSizes
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, index_type, neighbour_offsets
from snakeshed.kernels.row_bands import in_bands, split


def count_upslope(directions: np.ndarray, threads: int = 1) -> np.ndarray:
    """Number of cells that drain through each cell, the cell itself included.

    O(cells): each cell passes its count on when that of its last donor has arrived.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded (see `snakeshed.kernels.steepest_descent`).
    threads : int
        Bands of rows that are worked on at once; the result does not depend on it.

    Returns
    -------
    ndarray of int32, shape (h + 2, w + 2)
        0 at nodata and in the ring; int64 where the array has more than 2**31 - 1 cells.
    """
    counts = np.zeros(directions.shape, dtype=index_type(directions.size))
    _gather(directions, counts, True, None, None, threads)
    return counts


def count_and_measure(
    directions: np.ndarray, sizes: CellSizes, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `count_upslope` does, and the area that drains through each cell, in one pass.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded.
    sizes : CellSizes
        Of the cells of the padded array.
    threads : int
        Bands of rows that are worked on at once; the result does not depend on it.

    Returns
    -------
    counts : ndarray of int32 or int64, shape (h + 2, w + 2)
    areas : ndarray of int64, shape (h + 2, w + 2)
        In whole square millimetres, the cell's own included; 0 at nodata and in the ring. Sums of
        integers are exact in any order.
    """
    counts = np.zeros(directions.shape, dtype=index_type(directions.size))
    areas = np.zeros(directions.shape, np.int64)
    own = sizes.area_m2, sizes.bits, sizes.offset
    _gather(directions, counts, True, own, areas, threads)
    return counts, areas


def accumulate(directions: np.ndarray, weights: np.ndarray, threads: int = 1) -> np.ndarray:
    """Sum of the weights of all cells that drain through each cell, its own included.

    Sums of integers are exact. The order in which floating-point numbers are summed depends only on
    the catchment of the cell: on its directions and the order of its cells by row and column, not
    on what else the array holds, nor on the threads.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes without cycles, padded.
    weights : ndarray of float64 or int64, shape (h + 2, w + 2)
        In any unit; what stands at nodata and in the ring is not used.
    threads : int
        Bands of rows that are worked on at once; one only, if the weights are no integers.

    Returns
    -------
    ndarray of the type of the weights, shape (h + 2, w + 2)
        In the unit of the weights; 0 at nodata and in the ring.
    """
    sums = np.where(directions != NODATA, weights, weights.dtype.type(0))
    if np.issubdtype(sums.dtype, np.integer):
        _gather(directions, sums, False, None, None, threads)
        return sums
    return _gather_in_order(directions, sums)


@compiled(nogil=True)
def _own_areas(directions, area_m2, bits, offset, first, end, areas):
    columns = directions.shape[1]
    # A power of two: to multiply by it is to divide, in every bit.
    per_column = 1.0 / (1 << bits)
    for i in range(first, end):
        codes = directions[i]
        own = areas[i]
        start = 1
        while start < columns - 1:
            # As `between`, from one value to the next.
            node = (start + offset) >> bits
            begin = (node << bits) - offset
            stop = min(columns - 1, begin + (1 << bits))
            left = area_m2[i, node]
            step = area_m2[i, node + 1] - left
            # Counted in 32 bits, which processors turn into floating point several at a time.
            for k in range(np.uint32(stop - start)):
                share = (np.int32(k) + (start - begin + 0.5)) * per_column
                own[start + k] = np.int64(np.rint((left + share * step) * 1e6))
            start = stop
        for j in range(1, columns - 1):
            own[j] *= codes[j] != NODATA


def _gather(
    directions: np.ndarray,
    sums: np.ndarray,
    ones: bool,
    own: tuple[np.ndarray, int, int] | None,
    areas: np.ndarray | None,
    threads: int,
) -> None:
    """Add up whole numbers in place, in any order.

    `ones` is to begin with 1 for each cell of data. With the cells' `own` areas, as of
    `CellSizes`, those are added up in a second array, too.
    """
    offsets = neighbour_offsets(directions.shape[1])
    bands = split(1, directions.shape[0] - 1, threads)
    states = _first_states(directions)
    in_bands(
        lambda first, end: _sum_rows(
            directions, offsets, first, end, ROWS_AT_ONCE, ones, own, states, sums, areas
        ),
        bands,
    )
    # What leaves a band goes on when all bands are done.
    leaving = [_leaving(directions, states, first, end) for first, end in bands]
    _pass_on(directions, states, offsets, np.concatenate(leaving), sums, areas)


def _leaving(directions: np.ndarray, states: np.ndarray, first: int, end: int) -> np.ndarray:
    """Cells whose direction leads out of a band of rows, as far as their sums are complete."""
    if first == end:
        return np.empty(0, np.int64)
    found = []
    for row, codes in ((first, UPWARD), (end - 1, DOWNWARD)):
        out = np.isin(directions[row], codes) & (states[row] == DONE)
        found.append(np.flatnonzero(out) + row * directions.shape[1])
    return np.concatenate(found)


def _gather_in_order(directions: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Add up numbers whose sum depends on the order: path by path."""
    offsets = neighbour_offsets(directions.shape[1])
    states = _first_states(directions)
    rows = directions.shape[0]
    _wait(directions, 1, rows - 1, False, states, sums)
    leaving = _pass_down_rows(states, offsets, 1, rows - 1, sums)
    _pass_down_from(states, offsets, leaving, sums)
    return sums


# The state of a cell is one byte: its code, plus 16 times the donors that it still waits for.
ONE_DONOR = np.uint8(16)
DONE = np.uint8(15)
UPWARD = (1, 2, 8)
DOWNWARD = (4, 5, 6)
# Rows that stay in the cache while their cells are passed on.
ROWS_AT_ONCE = 16


def _first_states(directions: np.ndarray) -> np.ndarray:
    states = np.empty(directions.shape, np.uint8)
    states[[0, -1]] = DONE
    states[:, [0, -1]] = DONE
    return states


@compiled(nogil=True)
def _wait(directions, first, end, ones, states, sums):
    """Write the first states of some rows, and their sums if these are to begin with `ones`."""
    columns = directions.shape[1]
    for i in range(first, end):
        above = directions[i - 1]
        here = directions[i]
        below = directions[i + 1]
        state = states[i]
        for j in range(1, columns - 1):
            donors = (
                np.uint8(above[j] == 5)
                + np.uint8(above[j + 1] == 6)
                + np.uint8(here[j + 1] == 7)
                + np.uint8(below[j + 1] == 8)
                + np.uint8(below[j] == 1)
                + np.uint8(below[j - 1] == 2)
                + np.uint8(here[j - 1] == 3)
                + np.uint8(above[j - 1] == 4)
            )
            state[j] = donors * ONE_DONOR + min(here[j], DONE)
        if ones:
            total = sums[i]
            for j in range(1, columns - 1):
                total[j] = here[j] != NODATA


@compiled(nogil=True)
def _sum_rows(directions, offsets, first, end, rows_at_once, ones, own, states, sums, areas):
    """Pass on what gathers in some rows, up to the cells from which it goes on beyond them.

    A few rows at a time: the cells that wait for no donor pass their sums on, then those that this
    has made ready, and so on. The loops have no branch that depends on the terrain: a processor
    that guesses how long a path is guesses wrong once for each path. Where water goes is read from
    `directions`, which the loops do not write to: reads of `states` wait for the writes before.
    """
    columns = directions.shape[1]
    code_of = directions.reshape(directions.size)
    state_of = states.reshape(states.size)
    sum_at = sums.reshape(sums.size)
    # Numba leaves out what there are no areas for.
    area_at = None if areas is None else areas.reshape(areas.size)
    ready = np.empty(rows_at_once * columns, np.int64)
    written = first
    for start in range(first, end, rows_at_once):
        after = min(start + rows_at_once, end)
        # One row more, as its cells wait for donors in these.
        known = min(after + 1, end)
        _wait(directions, written, known, ones, states, sums)
        if own is not None:
            _own_areas(directions, *own, written, known, areas)
        if written == first:
            _hold(directions, first, UPWARD, states)
        if known == end and written < end:
            _hold(directions, end - 1, DOWNWARD, states)
        written = known
        # Indices are unsigned here and below, as those take no test for being negative.
        scanned = np.uint64(after * columns)
        size = 0
        for cell in range(np.uint64(start * columns), scanned):
            ready[size] = cell
            size += (state_of[cell] > OUTSIDE) & (state_of[cell] < DONE)
        while size > 0:
            kept = 0
            for place in range(size):
                cell = np.uint64(ready[place])
                to = np.uint64(ready[place] + offsets[code_of[cell]])
                sum_at[to] += sum_at[cell]
                if area_at is not None:
                    area_at[to] += area_at[cell]
                state = np.uint8(state_of[to] - ONE_DONOR)
                state_of[to] = state
                ready[kept] = to
                # Those in rows to come are found when these are scanned.
                kept += (state > OUTSIDE) & (state < DONE) & (to < scanned)
            size = kept


@compiled(nogil=True)
def _hold(directions, row, out, states):
    """Keep the cells of a row whose direction leads out of a band from ever being ready."""
    for j in range(1, directions.shape[1] - 1):
        code = directions[row, j]
        if code == out[0] or code == out[1] or code == out[2]:
            states[row, j] |= DONE


@compiled(nogil=True)
def _pass_on(directions, states, offsets, cells, sums, areas):
    """Pass on from cells that were held, and whose sums are complete."""
    code_of = directions.reshape(directions.size)
    state_of = states.reshape(states.size)
    sum_at = sums.reshape(sums.size)
    area_at = None if areas is None else areas.reshape(areas.size)
    for start in cells:
        cell = start
        while code_of[cell] != OUTSIDE and code_of[cell] != NODATA:
            below = cell + offsets[code_of[cell]]
            sum_at[below] += sum_at[cell]
            if area_at is not None:
                area_at[below] += area_at[cell]
            cell = below
            state_of[cell] -= ONE_DONOR
            if state_of[cell] > DONE:
                break


@compiled(nogil=True)
def _pass_down_rows(states, offsets, first, end, sums):
    """Pass on what gathers in some rows, and return the cells whose sum goes on beyond them."""
    columns = states.shape[1]
    state_of = states.reshape(states.size)
    sum_at = sums.reshape(states.size)
    begin = first * columns
    stop = end * columns
    leaving = np.empty(2 * columns, np.int64)
    count = 0
    for i in range(first, end):
        for start in range(i * columns + 1, (i + 1) * columns - 1):
            code = state_of[start]
            if code >= DONE:
                continue
            # A cell without donors: walk down until a cell still waits for another donor.
            cell = start
            passed = sum_at[start]
            while code != OUTSIDE:
                receiver = cell + offsets[code]
                if receiver < begin or receiver >= stop:
                    leaving[count] = cell
                    count += 1
                    break
                cell = receiver
                passed += sum_at[cell]
                sum_at[cell] = passed
                code = state_of[cell] - ONE_DONOR
                if code >= DONE:
                    state_of[cell] = code
                    break
                # Else the state stays, as if for a last donor: the scan starts no walk here.
    return leaving[:count].copy()


@compiled(nogil=True)
def _pass_down_from(states, offsets, cells, sums):
    """Pass on from cells whose sums are complete."""
    state_of = states.reshape(states.size)
    sum_at = sums.reshape(states.size)
    for start in cells:
        cell = start
        passed = sum_at[start]
        code = state_of[start] & DONE
        while code != OUTSIDE:
            cell += offsets[code]
            passed += sum_at[cell]
            sum_at[cell] = passed
            code = state_of[cell] - ONE_DONOR
            if code >= DONE:
                state_of[cell] = code
                break
