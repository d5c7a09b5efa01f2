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
from snakeshed.kernels.d8 import FLAT, neighbour_offsets
from snakeshed.kernels.growing_lists import grown
from snakeshed.kernels.row_bands import in_bands, split

GATHERED = 10
UNRESOLVED = 11
EIGHT_FLATS = np.uint64(0x0101010101010101 * FLAT)
ALL_BUT_HIGHEST = np.uint64(0x7F7F7F7F7F7F7F7F)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# A wave of this many cells or more spreads without branches.
WIDE = 8


def drain_flats(filled: np.ndarray, directions: np.ndarray, threads: int = 1) -> None:
    """Give each `FLAT` cell the direction of its first neighbour one step nearer to the outlet.

    The outlets of a flat are its cells with a lower neighbour, and those that drain outside. Steps
    go to any of the eight neighbours of equal elevation. O(cells), breadth first.

    Parameters
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations, padded; NaN is nodata.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, changed in place. A flat without any outlet stays `FLAT`.
    threads : int
        Bands of rows that are worked on at once; the result does not depend on it.
    """
    rows, columns = directions.shape
    offsets = neighbour_offsets(columns).view(np.uint64)
    bands = split(0, rows, threads)
    closed = False
    # Flats that reach from one band to the next come first: all others are a band's own.
    for start, _ in bands[1:]:
        closed |= _drain(filled, offsets, (start - 1) * columns, (start + 1) * columns, directions)
    closed |= any(
        in_bands(
            lambda first, end: _drain(filled, offsets, first * columns, end * columns, directions),
            bands,
        )
    )
    if closed:
        in_bands(lambda first, end: _reopen(directions, first, end), bands)


NONE = np.uint64(0)
ONE = np.uint64(1)


@compiled(nogil=True)
def _drain(filled, offsets, begin, stop, directions):
    """Drain the flats whose first cell is one of some cells; tell if some have no outlet.

    Indices are unsigned, as those take no test for being negative.
    """
    level_at = filled.reshape(filled.size)
    codes = directions.reshape(filled.size)
    eights = codes[: codes.size // 8 * 8].view(np.uint64)
    columns = np.uint64(filled.shape[1])
    # The pieces of rows that make up a flat, and the cells that water of it comes to, in waves.
    starts = np.empty(1024, np.uint64)
    ends = np.empty(1024, np.uint64)
    wave = np.empty(1024, np.uint64)
    closed = False
    first = next_flat(codes, eights, begin, stop)
    while first < stop:
        # Flat by flat: what one of them needs stays in the cache.
        pieces, size, outlets, starts, ends, wave = gather_flat(
            codes, level_at, columns, first, np.uint8(GATHERED), starts, ends, wave
        )
        if outlets == NONE:
            closed = True
            for piece in range(pieces):
                for cell in range(starts[piece], ends[piece]):
                    codes[cell] = UNRESOLVED
        else:
            wave = spread(codes, offsets, wave, outlets, size)
        first = next_flat(codes, eights, first, stop)
    return closed


@compiled(nogil=True, inline="always")
def gather_flat(codes, level_at, columns, first, mark, starts, ends, wave):
    """Mark the cells of a flat; find the pieces of rows that it is made of.

    `first` is one of its cells to whose west there is no other.

    Returns: how many pieces, cells and outlets there are; the lists of where the pieces start and
    end and of the outlets, which are the given ones unless these had to grow. An outlet may be in
    its list several times.
    """
    level = level_at[first]
    starts[0] = first
    ends[0] = _gather(codes, level_at, level, mark, starts[0])
    pieces = 1
    scanned = 0
    size = np.int64(ends[0] - starts[0])
    outlets = NONE
    while scanned < pieces:
        # The cells around a piece: on both sides in its row, then above and below.
        left = starts[scanned] - ONE
        right = ends[scanned] + ONE
        width = np.int64(right - left)
        scanned += 1
        if pieces + width + 2 > starts.size:
            starts = grown(starts, pieces + width + 2)
            ends = grown(ends, pieces + width + 2)
        room = np.int64(outlets) + 2 * width + 2
        if room > wave.size:
            wave = grown(wave, room)
        for cell in (left, right - ONE):
            wave[outlets] = cell
            outlets += np.uint64((codes[cell] < FLAT) & (level_at[cell] == level))
        for above in (True, False):
            cell = left - columns if above else left + columns
            last = right - columns if above else right + columns
            while cell < last:
                code = codes[cell]
                level_here = level_at[cell] == level
                wave[outlets] = cell
                outlets += np.uint64((code < FLAT) & level_here)
                if level_here & (code == FLAT):
                    start = cell
                    while codes[start - ONE] == FLAT and level_at[start - ONE] == level:
                        start -= ONE
                    cell = _gather(codes, level_at, level, mark, start)
                    starts[pieces] = start
                    ends[pieces] = cell
                    pieces += 1
                    size += np.int64(cell - start)
                else:
                    cell += ONE
    return pieces, size, outlets, starts, ends, wave


@compiled(nogil=True)
def _gather(codes, level_at, level, mark, cell):
    """Mark a piece of a row of a flat from a cell on, and return the cell after it."""
    while codes[cell] == FLAT and level_at[cell] == level:
        codes[cell] = mark
        cell += ONE
    return cell


@compiled(nogil=True)
def spread(codes, offsets, wave, outlets, size):
    """Give each of the gathered cells, `size` in all, its direction, wave by wave.

    `wave` begins with the cells outside of the flat that it drains to. It is returned, as it may
    have to grow.
    """
    begin = NONE
    end = outlets
    while size > 0:
        # All cells of a wave are beside the wave before. The first direction takes them first.
        stop = end
        width = np.int64(stop - begin)
        if np.int64(stop) + 8 * width + 1 > wave.size:
            # Waves that are done make room.
            for place in range(np.uint64(width)):
                wave[place] = wave[begin + place]
            begin = NONE
            stop = np.uint64(width)
            end = stop
            if 18 * width + 2 > wave.size:
                wave = grown(wave, 18 * width + 2)
        for k in range(1, 9):
            back = offsets[k]
            if width < WIDE:
                for place in range(begin, stop):
                    cell = wave[place] - back
                    if codes[cell] == GATHERED:
                        codes[cell] = k
                        wave[end] = cell
                        end += ONE
            else:
                for place in range(begin, stop):
                    cell = wave[place] - back
                    code = codes[cell]
                    codes[cell] = np.uint8(k) if code == GATHERED else code
                    wave[end] = cell
                    end += np.uint64(code == GATHERED)
        begin = stop
        size -= np.int64(end - stop)
    return wave


@compiled(nogil=True)
def _reopen(directions, first, end):
    for i in range(first, end):
        codes = directions[i]
        for j in range(codes.size):
            codes[j] = FLAT if codes[j] == UNRESOLVED else codes[j]


@compiled(nogil=True)
def next_flat(codes, eights, cell, stop):
    """First flat cell from a cell on, or `stop`; looks at eight codes at a time."""
    while cell < stop:
        if cell % 8 == 0 and cell // 8 < eights.size:
            differ = eights[cell // 8] ^ EIGHT_FLATS
            # The highest bit of each byte of it, if the byte is not 0.
            if ((differ & ALL_BUT_HIGHEST) + ALL_BUT_HIGHEST) | differ | ALL_BUT_HIGHEST == ALL:
                cell += 8
                continue
        if codes[cell] == FLAT:
            return cell
        cell += 1
    return stop
