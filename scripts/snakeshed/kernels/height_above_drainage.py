"""Height above nearest drainage (HAND): the channel cell that each cell's water comes to first.

References
----------
Rennó, C. D., et al. (2008), HAND, a new terrain descriptor using SRTM-DEM. Remote Sensing of
Environment 112, 3469-3481.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, index_type, neighbour_offsets

UNKNOWN = -2
ON_PATH = -3


def nearest_drainage(directions: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """First channel cell on the flow path of each cell.

    O(cells): a path is walked down to what is known, and once more to write that down.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded; cycles are allowed.
    channels : ndarray of bool, shape (h + 2, w + 2)
        The channel cells.

    Returns
    -------
    ndarray of int32 or int64, shape (h + 2, w + 2)
        Flat indices in the array without its ring, a channel cell's its own; -1 where no channel
        is below, and at nodata.
    """
    nearest = np.full(directions.shape, UNKNOWN, dtype=index_type(directions.size))
    _look_down(
        directions.reshape(directions.size),
        channels.reshape(channels.size),
        directions.shape[1],
        neighbour_offsets(directions.shape[1]),
        nearest.reshape(nearest.size),
    )
    return nearest


@compiled
def _look_down(codes, channels, columns, offsets, nearest):
    for cell in range(codes.size):
        if channels[cell]:
            nearest[cell] = (cell // columns - 1) * (columns - 2) + cell % columns - 1
        elif codes[cell] == OUTSIDE or codes[cell] == NODATA:
            nearest[cell] = -1
    for start in range(codes.size):
        cell = start
        while nearest[cell] == UNKNOWN:
            nearest[cell] = ON_PATH
            cell += offsets[codes[cell]]
        found = nearest[cell]
        if found == ON_PATH:  # the path has met itself
            found = -1
        cell = start
        while nearest[cell] == ON_PATH:
            nearest[cell] = found
            cell += offsets[codes[cell]]
