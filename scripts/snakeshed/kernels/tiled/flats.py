"""Flats that reach over the sides of tiles: what each tile has of them, and how they are drained.

The cells of such a flat are marked `SHARED`, piece by piece: a piece is what is connected within a
tile. It is kept as runs, the pieces of rows that it is made of, which are few where water stands
wide. All pieces of a flat, laid into one array again, are drained as
`snakeshed.kernels.flats.drain_flats` drains a flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, index_type, neighbour_offsets
from snakeshed.kernels.flats import GATHERED, gather_flat, spread
from snakeshed.kernels.growing_lists import grown

SHARED = 254
"""Code of a cell of a flat that reaches over the sides of the tile, until it has its direction."""
MARGIN = 2
"""Cells around a flat that is laid into an array: its outlets, and what is beside these."""


@dataclass(frozen=True)
class SharedFlats:
    """The pieces of flats of a tile that cells of other tiles belong to, or drain.

    Attributes
    ----------
    runs : ndarray of int32 or int64, shape (n, 2)
        Flat indices of the first cell of each run, and of the cell after its last.
    run_ends : ndarray of int64, shape (pieces,)
        How many runs there are up to the last of each piece.
    outlets : ndarray of the type of the runs, shape (m,)
        Cells of the tile by which a piece drains; some several times.
    outlet_ends : ndarray of int64, shape (pieces,)
        How many there are up to the last of each piece.
    numbers : ndarray of int32, shape (frame,)
        Piece of each cell of the frame, from 1; 0 for none.
    """

    runs: np.ndarray
    run_ends: np.ndarray
    outlets: np.ndarray
    outlet_ends: np.ndarray
    numbers: np.ndarray

    def boxes(self, columns: int) -> np.ndarray:
        """Return the first row and column of each piece, and the ones after the last.

        Parameters
        ----------
        columns : int
            Of the padded array of the tile.

        Returns
        -------
        ndarray of int64, shape (pieces, 4)
        """
        row, left = np.divmod(self.runs[:, 0].astype(np.int64), columns)
        right = left + self.runs[:, 1] - self.runs[:, 0]
        sides = (np.minimum, row), (np.minimum, left), (np.maximum, row + 1), (np.maximum, right)
        if not self.run_ends.size:
            return np.empty((0, 4), np.int64)
        starts = np.append(0, self.run_ends[:-1])
        return np.stack([farthest.reduceat(side, starts) for farthest, side in sides], axis=1)


def share_flats(filled: np.ndarray, directions: np.ndarray) -> SharedFlats:
    """Find the flats that cells of other tiles may belong to.

    Parameters
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations of a tile, the ring around it those of other tiles; NaN is nodata.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, `NODATA` in the ring. Changed in place: `FLAT` becomes `SHARED` in all cells
        from which steps between flat cells of the same elevation lead to the ring.

    Returns
    -------
    SharedFlats
    """
    rows, columns = directions.shape
    numbers = np.zeros(2 * (rows + columns - 4), np.int32)
    starts, ends, run_ends, outlets, outlet_ends = _share(
        filled, neighbour_offsets(columns), directions, numbers
    )
    kind = index_type(directions.size)
    runs = np.stack([starts, ends], axis=1).astype(kind)
    return SharedFlats(runs, run_ends, outlets.astype(kind), outlet_ends, numbers)


@compiled
def _share(filled, offsets, directions, numbers):
    rows, columns = directions.shape
    level_at = filled.reshape(filled.size)
    codes = directions.reshape(directions.size)
    starts = np.empty(1024, np.uint64)
    ends = np.empty(1024, np.uint64)
    wave = np.empty(1024, np.uint64)
    all_starts = np.empty(1024, np.uint64)
    all_ends = np.empty(1024, np.uint64)
    all_outlets = np.empty(1024, np.uint64)
    run_ends = np.zeros(1024, np.int64)
    outlet_ends = np.zeros(1024, np.int64)
    runs_before = 0
    outlets_before = 0
    count = 0
    for i in range(1, rows - 1):
        step = 1 if i == 1 or i == rows - 2 else max(1, columns - 3)
        for j in range(1, columns - 1, step):
            first = i * columns + j
            if codes[first] != FLAT or not _level_with_ring(level_at, offsets, rows, columns, i, j):
                continue
            while codes[first - 1] == FLAT and level_at[first - 1] == level_at[first]:
                first -= 1
            pieces, _, outlets, starts, ends, wave = gather_flat(
                codes,
                level_at,
                np.uint64(columns),
                np.uint64(first),
                np.uint8(SHARED),
                starts,
                ends,
                wave,
            )
            if count == run_ends.size:
                run_ends = grown(run_ends)
                outlet_ends = grown(outlet_ends)
            if runs_before + pieces > all_starts.size:
                all_starts = grown(all_starts, runs_before + pieces)
                all_ends = grown(all_ends, runs_before + pieces)
            for place in range(pieces):
                all_starts[runs_before + place] = starts[place]
                all_ends[runs_before + place] = ends[place]
                _number(numbers, rows, columns, starts[place], ends[place], count + 1)
            found = np.int64(outlets)
            if outlets_before + found > all_outlets.size:
                all_outlets = grown(all_outlets, outlets_before + found)
            for place in range(found):
                all_outlets[outlets_before + place] = wave[place]
            runs_before += pieces
            outlets_before += found
            run_ends[count] = runs_before
            outlet_ends[count] = outlets_before
            count += 1
    return (
        all_starts[:runs_before].copy(),
        all_ends[:runs_before].copy(),
        run_ends[:count].copy(),
        all_outlets[:outlets_before].copy(),
        outlet_ends[:count].copy(),
    )


@compiled
def _level_with_ring(level_at, offsets, rows, columns, i, j):
    """Tell whether a cell of the sides is level with one beside it in the ring."""
    cell = i * columns + j
    for k in range(1, 9):
        beside = cell + offsets[k]
        row, column = beside // columns, beside % columns
        in_ring = row == 0 or row == rows - 1 or column == 0 or column == columns - 1
        if in_ring and level_at[beside] == level_at[cell]:
            return True
    return False


@compiled
def _number(numbers, rows, columns, start, end, number):
    """Write the number of a piece to what is said of the frame of a tile, for one of its runs."""
    height, width = rows - 2, columns - 2
    row = np.int64(start) // columns - 1
    left = np.int64(start) % columns - 1
    right = left + np.int64(end - start)
    for column in range(left, right):
        if row == 0:
            numbers[column] = number
        if row == height - 1:
            numbers[width + column] = number
    if left == 0:
        numbers[2 * width + row] = number
    if right == width:
        numbers[2 * width + height + row] = number


def mark_runs(codes: np.ndarray, runs: np.ndarray, columns: int, shift: int) -> int:
    """Mark the cells of runs in an array into which a flat is laid.

    Parameters
    ----------
    codes : ndarray of uint8, shape (h, w)
        Changed in place.
    runs : ndarray, shape (n, 2)
        As of `SharedFlats`.
    columns : int
        Of the padded array of the tile.
    shift : int
        Flat index, in `codes`, of the first cell of the padded array of the tile; any number.

    Returns
    -------
    int
        How many cells they are.
    """
    return _mark_runs(codes.reshape(-1), codes.shape[1], runs, columns, shift)


@compiled
def _mark_runs(codes, wide, runs, columns, shift):
    size = 0
    for place in range(runs.shape[0]):
        start, end = np.int64(runs[place, 0]), np.int64(runs[place, 1])
        to = _moved(start, columns, wide, shift)
        for step in range(end - start):
            codes[to + step] = GATHERED
        size += end - start
    return size


@compiled
def _moved(cell, columns, wide, shift):
    """Flat index of a cell of a tile in an array of other columns."""
    return cell // columns * wide + cell % columns + shift


def drain_marked(codes: np.ndarray, outlets: np.ndarray, size: int) -> bool:
    """Drain the one flat that is marked in an array.

    Parameters
    ----------
    codes : ndarray of uint8, shape (h, w)
        `GATHERED` where the flat is, elsewhere anything else; changed in place to D8 codes there.
    outlets : ndarray of int64, shape (n,)
        Flat indices of the cells by which it drains.
    size : int
        Cells of the flat.

    Returns
    -------
    bool
        Whether it has an outlet; if not, nothing is changed.
    """
    if outlets.size:
        offsets = neighbour_offsets(codes.shape[1]).view(np.uint64)
        _spread_from(codes.reshape(-1), offsets, outlets.astype(np.uint64), size)
    return outlets.size > 0


@compiled
def _spread_from(codes, offsets, outlets, size):
    spread(codes, offsets, outlets, np.uint64(outlets.size), size)


def write_runs(
    directions: np.ndarray, runs: np.ndarray, codes: np.ndarray, wide: int, shift: int
) -> None:
    """Give the cells of runs the directions that the flat has where it was laid into an array.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of a tile, changed in place.
    runs : ndarray, shape (n, 2)
        As of `SharedFlats`.
    codes : ndarray of uint8, shape (m,)
        That array, flat, after `drain_marked`.
    wide : int
        Its columns.
    shift : int
        As in `mark_runs`.
    """
    _write_runs(directions.reshape(-1), directions.shape[1], runs, codes, wide, shift)


@compiled
def _write_runs(directions, columns, runs, codes, wide, shift):
    for place in range(runs.shape[0]):
        start, end = np.int64(runs[place, 0]), np.int64(runs[place, 1])
        at = _moved(start, columns, wide, shift)
        for step in range(end - start):
            code = codes[at + step]
            directions[start + step] = code if code != GATHERED else FLAT


def write_codes(directions: np.ndarray, runs: np.ndarray, codes: np.ndarray) -> None:
    """Give the cells of runs the directions that `drain_small` has found.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes of a tile, changed in place.
    runs : ndarray, shape (n, 2)
        As of `SharedFlats`.
    codes : ndarray of uint8, shape (cells of the runs,)
    """
    _write_codes(directions.reshape(-1), runs, codes)


@compiled
def _write_codes(directions, runs, codes):
    at = 0
    for place in range(runs.shape[0]):
        for cell in range(runs[place, 0], runs[place, 1]):
            directions[cell] = codes[at]
            at += 1


@dataclass(frozen=True)
class SmallFlats:
    """Flats that are drained one after the other in the same array.

    Attributes
    ----------
    shape : (int, int)
        Of that array.
    part_ends : ndarray of int64, shape (flats,)
        How many parts there are up to the last of each flat. A part is a piece of a tile, or holds
        the outlets that a flat has over the sides of tiles.
    columns, shifts : ndarray of int64, shape (parts,)
        As in `mark_runs`.
    runs : ndarray, shape (n, 2)
    run_ends : ndarray of int64, shape (parts,)
        How many there are up to the last of each part.
    outlets : ndarray of int64, shape (m,)
    outlet_ends : ndarray of int64, shape (parts,)
        How many there are up to the last of each part.
    places : ndarray of int64, shape (parts,)
        Where the codes of each part begin in the result.
    """

    shape: tuple[int, int]
    part_ends: np.ndarray
    columns: np.ndarray
    shifts: np.ndarray
    runs: np.ndarray
    run_ends: np.ndarray
    outlets: np.ndarray
    outlet_ends: np.ndarray
    places: np.ndarray


def drain_small(flats: SmallFlats) -> np.ndarray:
    """Drain flats in one array, one after the other.

    Parameters
    ----------
    flats : SmallFlats

    Returns
    -------
    ndarray of uint8, shape (cells of all runs,)
        D8 codes, run by run; `FLAT` in a flat without any outlet.
    """
    return _drain_small(
        np.zeros(flats.shape[0] * flats.shape[1], np.uint8),
        neighbour_offsets(flats.shape[1]).view(np.uint64),
        flats.shape[1],
        flats.part_ends,
        flats.columns,
        flats.shifts,
        flats.runs,
        flats.run_ends,
        flats.outlets,
        flats.outlet_ends,
        flats.places,
    )


@compiled
def _drain_small(
    codes,
    offsets,
    wide,
    part_ends,
    columns,
    shifts,
    runs,
    run_ends,
    outlets,
    outlet_ends,
    places,
):
    cells = 0
    for place in range(runs.shape[0]):
        cells += runs[place, 1] - runs[place, 0]
    found = np.empty(cells, np.uint8)
    wave = np.empty(1024, np.uint64)
    first = 0
    for flat in range(part_ends.size):
        size = 0
        count = 0
        for part in range(first, part_ends[flat]):
            begin = run_ends[part - 1] if part > 0 else 0
            size += _mark_runs(
                codes, wide, runs[begin : run_ends[part]], columns[part], shifts[part]
            )
            begin = outlet_ends[part - 1] if part > 0 else 0
            more = outlet_ends[part] - begin
            if count + more > wave.size:
                wave = grown(wave, count + more)
            for outlet in outlets[begin : outlet_ends[part]]:
                wave[count] = _moved(outlet, columns[part], wide, shifts[part])
                count += 1
        if count > 0:
            wave = spread(codes, offsets, wave, np.uint64(count), size)
        for part in range(first, part_ends[flat]):
            begin = run_ends[part - 1] if part > 0 else 0
            at = places[part]
            for place in range(begin, run_ends[part]):
                start, end = np.int64(runs[place, 0]), np.int64(runs[place, 1])
                cell = _moved(start, columns[part], wide, shifts[part])
                for step in range(end - start):
                    code = codes[cell + step]
                    found[at] = code if code != GATHERED else FLAT
                    codes[cell + step] = 0
                    at += 1
        first = part_ends[flat]
    return found
