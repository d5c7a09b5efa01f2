"""The border of the data: rim, edge of the DEM, nodata and voids."""

from __future__ import annotations

import numpy as np

# Bits of `Ground.border`.
CUT = 1
EDGE = 2
BESIDE_NODATA = 4

SIDES = np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]
"""The outermost rows and columns of an array."""


def border_of(z: np.ndarray, covered: np.ndarray, max_void_cells: int) -> np.ndarray:
    """Return the border bits of a window from the window with one ring around it.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
        NaN without data.
    covered : ndarray of bool, shape (h + 2, w + 2)
        False outside all tiles.
    max_void_cells : int

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        0 in the ring.
    """
    if not np.isnan(z.min()):
        border = np.zeros(z.shape, np.uint8)
        for side in SIDES:
            border[1:-1, 1:-1][side] = CUT
        return border
    gap = np.isnan(z)
    # What each cell means to the cells beside it.
    beside = np.zeros(z.shape, np.uint8)
    for side in SIDES:
        beside[side] = CUT
    beside[gap] = 0
    beside[~covered] = EDGE
    nodata = gap & covered
    if nodata.any():
        beside |= _gaps(nodata, ~covered, max_void_cells)
    border = _spread(beside)
    border[gap] = 0
    for side in SIDES:
        border[side] = 0
    # Only a void that is routed around can keep a piece of data from all ways out.
    if (beside[gap] == 0).any():
        here = np.s_[1:-1, 1:-1]
        islands = _islands(border[here], ~gap[here])
        border[here][islands & (_spread(gap) > 0)[here]] = BESIDE_NODATA
    return border


def _islands(border: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return the cells of pieces of data that voids enclose: no water could leave them."""
    from scipy import ndimage

    labels, n = ndimage.label(data, structure=np.ones((3, 3), bool))
    open_pieces = np.zeros(n + 1, bool)
    open_pieces[labels[border > 0]] = True
    open_pieces[0] = True
    return ~open_pieces[labels]


def _gaps(nodata: np.ndarray, outside: np.ndarray, max_void_cells: int) -> np.ndarray:
    """Return what each cell without data means to the cells beside it: 0, CUT or BESIDE_NODATA."""
    from scipy import ndimage

    labels, n = ndimage.label(nodata, structure=np.ones((3, 3), bool))
    beyond = np.zeros(n + 1, bool)
    for side in SIDES:
        beyond[labels[side]] = True
    open_to_outside = np.zeros(n + 1, bool)
    if outside.any():
        open_to_outside[labels[_spread(outside.astype(np.uint8)) > 0]] = True
    large = np.bincount(labels.ravel(), minlength=n + 1) > max_void_cells
    # A small gap that leaves the window may be a void or the rim of a sea.
    meaning = np.where(beyond, CUT, 0)
    meaning[large | open_to_outside] = BESIDE_NODATA
    meaning[0] = 0
    return meaning.astype(np.uint8)[labels]


def _spread(bits: np.ndarray) -> np.ndarray:
    """Return for each cell the bits of itself and its eight neighbours together."""
    rows = bits.copy()
    rows[1:] |= bits[:-1]
    rows[:-1] |= bits[1:]
    around = rows.copy()
    around[:, 1:] |= rows[:, :-1]
    around[:, :-1] |= rows[:, 1:]
    return around
