"""Flats: every cell without a lower neighbour drains towards the nearest outlet of its flat.

The direction of a cell is a function of the surface alone, whatever the order in which cells are
visited: its distance to the outlet decides, in steps, and the order of the directions among equal
ones.

References
----------
Garbrecht, J., and L. W. Martz (1997), The assignment of drainage direction over flat surfaces in
raster digital elevation models. Journal of Hydrology 193, 204-213 (the gradient towards lower
terrain of their two).
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, neighbour_offsets, opposite
from snakeshed.kernels.growing_lists import grown

GATHERED = 10
UNRESOLVED = 11
EIGHT_FLATS = np.uint64(0x0101010101010101 * FLAT)
ALL_BUT_HIGHEST = np.uint64(0x7F7F7F7F7F7F7F7F)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# Added to the code of a cell whose wave is to come: of the next, or of the one after that.
NEXT_WAVES = (16, 32)


def drain_flats(filled: np.ndarray, directions: np.ndarray) -> None:
    """Give each `FLAT` cell the direction of its first neighbour one step nearer to the outlet.

    The outlets of a flat are its cells with a lower neighbour, and those that drain outside. Steps
    go to any of the eight neighbours of equal elevation. O(cells), breadth first.

    Parameters
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, changed in place. A flat without any outlet stays `FLAT`.
    """
    _drain(filled, neighbour_offsets(directions.shape[1]), directions)


@compiled
def _drain(filled, offsets, directions):
    level_at = filled.reshape(filled.size)
    codes = directions.reshape(filled.size)
    flat = np.empty(1024, np.int64)
    queue = np.empty(1024, np.int64)
    eights = codes[: codes.size // 8 * 8].view(np.uint64)
    closed = False
    first = _next_flat(codes, eights, 0)
    while first < codes.size:
        # Flat by flat: what one of them needs stays in the cache. Gather it, and its first wave.
        mark, next_mark = NEXT_WAVES
        level = level_at[first]
        codes[first] = GATHERED
        flat[0] = first
        size = 1
        scanned = 0
        end = 0
        while scanned < size:
            cell = flat[scanned]
            scanned += 1
            if size + 8 > flat.size:
                flat = grown(flat)
                queue = grown(queue)
            outlet_code = 0
            for k in range(8, 0, -1):
                neighbour = cell + offsets[k]
                code = codes[neighbour]
                if code > FLAT or level_at[neighbour] != level:
                    continue
                if code == FLAT:
                    codes[neighbour] = GATHERED
                    flat[size] = neighbour
                    size += 1
                else:
                    outlet_code = k
            if outlet_code != 0:
                codes[cell] = mark + outlet_code
                queue[end] = cell
                end += 1
        # All other cells of a wave are beside the wave before.
        start = 0
        while start < end:
            wave_end = end
            for t in range(start, wave_end):
                cell = queue[t]
                codes[cell] -= mark
                for k in range(1, 9):
                    neighbour = cell + offsets[k]
                    code = codes[neighbour]
                    if code < GATHERED or code > next_mark + 8 or level_at[neighbour] != level:
                        continue
                    # Of the cells of this wave, the first in the order of the directions.
                    towards = next_mark + opposite(k)
                    if code == GATHERED:
                        codes[neighbour] = towards
                        queue[end] = neighbour
                        end += 1
                    elif code > towards:
                        codes[neighbour] = towards
            start = wave_end
            mark, next_mark = next_mark, mark
        if end == 0:
            closed = True
            for cell in flat[:size]:
                codes[cell] = UNRESOLVED
        first = _next_flat(codes, eights, first)
    if closed:
        for cell in range(codes.size):
            if codes[cell] == UNRESOLVED:
                codes[cell] = FLAT


@compiled
def _next_flat(codes, eights, cell):
    """First flat cell from a cell on, or the number of cells; looks at eight codes at a time."""
    while cell < codes.size:
        if cell % 8 == 0 and cell // 8 < eights.size:
            differ = eights[cell // 8] ^ EIGHT_FLATS
            # The highest bit of each byte of it, if the byte is not 0.
            if ((differ & ALL_BUT_HIGHEST) + ALL_BUT_HIGHEST) | differ | ALL_BUT_HIGHEST == ALL:
                cell += 8
                continue
        if codes[cell] == FLAT:
            break
        cell += 1
    return cell
