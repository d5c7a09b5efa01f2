"""Spread marks down the flow paths."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE, neighbour_offsets


def spread_downstream(directions: np.ndarray, flags: np.ndarray) -> None:
    """Give every cell the bits of all cells that drain through it.

    Each bit is carried down until a cell already has it, so that a cell is passed at most once for
    each of the eight bits.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded.
    flags : ndarray of uint8, shape (h + 2, w + 2)
        Eight marks, one a bit; changed in place. The flags of nodata stay as they are.
    """
    _carry_down(directions, neighbour_offsets(directions.shape[1]), flags)


@compiled
def _carry_down(directions, offsets, flags):
    codes = directions.reshape(directions.size)
    bits = flags.reshape(directions.size)
    for start in range(codes.size):
        if bits[start] == 0 or codes[start] == NODATA:
            continue
        cell = start
        carried = bits[start]
        while codes[cell] != OUTSIDE:
            cell += offsets[codes[cell]]
            carried &= ~bits[cell]
            if carried == 0:
                break
            bits[cell] |= carried
