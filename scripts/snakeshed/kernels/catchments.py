"""Catchments of many outlets, as slices of one depth-first preorder."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, neighbour_offsets, opposite
from snakeshed.kernels.growing_lists import grown


def preorder(
    directions: np.ndarray, counts: np.ndarray, outlets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Order the catchments of some outlets so that each of them is one slice.

    The catchment of ``outlets[i]`` is ``cells[starts[i] : starts[i] + counts[outlets[i]]]``: the
    outlet first, each cell before those that drain into it, and these in the order of the
    directions. So the order of a catchment's cells does not depend on the other outlets.
    Proportional to the cells in the union of the catchments, however often they are nested.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.
    counts : ndarray of int32 or int64, shape (h + 2, w + 2)
        Upslope cells, from `snakeshed.kernels.accumulation.count_upslope`.
    outlets : ndarray of int64, shape (n,)
        Flat indices; nested and repeated ones are ordinary.

    Returns
    -------
    cells : ndarray of int64
        Flat indices of the union of the catchments.
    starts : ndarray of int64, shape (n,)
        Position of each outlet in `cells`.

    Raises
    ------
    ValueError
        If an outlet is outside the data or on nodata.
    """
    outlets = np.asarray(outlets, dtype=np.int64)
    outside = (outlets < 0) | (outlets >= directions.size)
    codes = directions.reshape(directions.size)
    bad = outlets[outside | (codes[np.where(outside, 0, outlets)] == NODATA)]
    if bad.size:
        raise ValueError(f"no data at {bad.size} of the outlets, the first at flat index {bad[0]}")
    # By number, to find an outlet when its cell is met; and the largest catchment first, so that
    # no outlet is met before one that it drains through.
    distinct, which = np.unique(outlets, return_inverse=True)
    largest_first = np.argsort(
        -counts.reshape(counts.size)[distinct].astype(np.int64), kind="stable"
    )
    is_outlet = np.zeros(directions.size, dtype=np.bool_)
    is_outlet[distinct] = True
    cells, starts = _lay_out(
        codes,
        counts.reshape(counts.size),
        neighbour_offsets(directions.shape[1]),
        distinct,
        largest_first,
        is_outlet,
    )
    return cells, starts[which]


@compiled
def _lay_out(codes, counts, offsets, outlets, largest_first, is_outlet):
    cells = np.empty(1024, np.int64)
    starts = np.full(outlets.size, -1, np.int64)
    end = 0
    for outlet in largest_first:
        if starts[outlet] >= 0:
            continue
        position = end
        end += counts[outlets[outlet]]
        if end > cells.size:
            cells = grown(cells, end)
        cells[position] = outlets[outlet]
        # The number of its upslope cells is the room that a donor needs, so that each cell can give
        # its donors their places, and no stack is needed.
        while position < end:
            cell = cells[position]
            if is_outlet[cell]:
                starts[np.searchsorted(outlets, cell)] = position
            free = position + 1
            for k in range(1, 9):
                donor = cell + offsets[k]
                if codes[donor] == opposite(k):
                    cells[free] = donor
                    free += counts[donor]
            position += 1
    return cells[:end].copy(), starts


def upslope_mask(directions: np.ndarray, outlet: int) -> np.ndarray:
    """Cells of one catchment, found by a search from its outlet.

    Proportional to the catchment, and needs no upslope counts. Flow directions from elsewhere may
    have cycles; each cell is still found once.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.
    outlet : int
        Flat index.

    Returns
    -------
    ndarray of bool, shape (h + 2, w + 2)
    """
    mask = np.zeros(directions.shape, dtype=np.bool_)
    _mark_upslope(
        directions.reshape(directions.size),
        neighbour_offsets(directions.shape[1]),
        np.int64(outlet),
        mask.reshape(mask.size),
    )
    return mask


@compiled
def _mark_upslope(codes, offsets, outlet, mask):
    # Cells that wait to be looked at; the last one first, as its neighbours are still at hand.
    waiting = np.empty(1024, np.int64)
    waiting[0] = outlet
    mask[outlet] = True
    end = 1
    while end > 0:
        if end + 8 > waiting.size:
            waiting = grown(waiting)
        end -= 1
        cell = waiting[end]
        for k in range(1, 9):
            donor = cell + offsets[k]
            if codes[donor] == opposite(k) and not mask[donor]:
                mask[donor] = True
                waiting[end] = donor
                end += 1
