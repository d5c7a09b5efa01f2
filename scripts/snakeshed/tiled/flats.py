"""Flats that reach over the sides of tiles: put together from their pieces, and drained whole.

What a tile keeps of a piece, its runs, takes little room however wide the water stands. A flat is
laid into an array of the box around it, one byte a cell; where that is much larger than a tile, the
array is a file. No flat is drained twice, however many tiles it crosses.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from snakeshed.atomic import atomic
from snakeshed.kernels.tiled.flats import (
    MARGIN,
    SharedFlats,
    SmallFlats,
    drain_marked,
    drain_small,
    mark_runs,
    write_codes,
    write_runs,
)
from snakeshed.tiled.store import Map, TileStore, components, records
from snakeshed.tiled.tiling import Tile, Tiling, cells_beside_lines, lines_between, touching

SMALL = 2**20
"""Cells of the box around a flat up to which it is drained together with others."""
IN_MEMORY = 8
"""A larger box than this many of the largest tile is a file."""


@dataclass(frozen=True)
class Pieces:
    """What a tile tells of its pieces of shared flats.

    Attributes
    ----------
    numbers : ndarray of int32, shape (frame,)
        As of `snakeshed.kernels.tiled.flats.SharedFlats`.
    boxes : ndarray of int64, shape (pieces, 4)
        First row and column of each, and the ones after the last, in the padded window.
    """

    numbers: np.ndarray
    boxes: np.ndarray


def keep_pieces(store: TileStore, tile: Tile, shared: SharedFlats) -> Pieces:
    """Keep the pieces of a tile in its files, and return what is told of them."""
    store.save("runs", tile, shared.runs)
    store.save("outlets", tile, shared.outlets)
    ends = records(run=shared.run_ends, outlet=shared.outlet_ends)
    store.save("pieces", tile, ends)
    place = [tile.row, tile.column, tile.row, tile.column]
    return Pieces(shared.numbers, shared.boxes(tile.width + 2) + place)


def drain_shared(
    store: TileStore, run: Map, told: dict[Tile, Pieces], levels: dict[Tile, np.ndarray]
) -> None:
    """Give all cells of shared flats their directions.

    Parameters
    ----------
    store : TileStore
        With ``directions``, and what `keep_pieces` has kept.
    run : callable
    told : dict of Tile to Pieces
    levels : dict of Tile to ndarray
        Frames of the surface.
    """
    groups = _groups(store.tiling, told, levels)
    # The largest first, as they take longest.
    groups.sort(key=lambda group: group.cells, reverse=True)
    for _ in run(partial(_drain, store), groups):
        pass
    of_tiles: dict[Tile, list] = defaultdict(list)
    for group in groups:
        for tile, numbers in group.pieces():
            of_tiles[tile].append((group.name, group.place_of(tile), numbers))
    for _ in run(partial(_direct, store), sorted(of_tiles.items())):
        pass
    store.forget("runs", "outlets", "pieces")
    for group in groups:
        store.forget(group.name, tiles=group.tiles)


@dataclass(frozen=True)
class _Group:
    """Flats that are drained by one task: small ones, or a single one in an array of its own.

    Attributes
    ----------
    name : str
        Of the arrays that hold the directions.
    alone : bool
    tiles : tuple of Tile
        Those that have pieces.
    tile_of, number_of, flat_of : ndarray of int64, shape (parts,)
        Tile of each piece, its number there, and its flat, ascending.
    boxes : ndarray of int64, shape (flats, 4)
        As of `Pieces`.
    outlets : ndarray of int64, shape (m,)
        Flat indices in the padded window: cells beyond the side of a tile by which flats drain.
    outlet_ends : ndarray of int64, shape (flats,)
        How many of them there are up to the last of each flat.
    """

    name: str
    alone: bool
    tiles: tuple[Tile, ...]
    tile_of: np.ndarray
    number_of: np.ndarray
    flat_of: np.ndarray
    boxes: np.ndarray
    outlets: np.ndarray
    outlet_ends: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Of an array with room for each of the flats."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        height, width = sides.max(axis=0).tolist()
        return height + 2 * MARGIN, width + 2 * MARGIN

    @property
    def cells(self) -> int:
        """Of all boxes."""
        return int(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1).sum())

    def shifts(self, flats: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Flat indices, where flats are laid into the array, of cells of the padded window."""
        top, left = self.boxes[flats, 0], self.boxes[flats, 1]
        return (rows - top + MARGIN) * self.shape[1] + columns - left + MARGIN

    def pieces(self) -> list[tuple[Tile, np.ndarray]]:
        """Each tile, and the numbers of its pieces, flat by flat."""
        order = np.argsort(self.tile_of, kind="stable")
        ends = np.cumsum(np.bincount(self.tile_of))
        return list(zip(self.tiles, np.split(self.number_of[order], ends[:-1]), strict=True))

    def place_of(self, tile: Tile) -> tuple[Tile, int, int] | None:
        """Where the array of a single flat is kept, its columns, and where a tile begins in it."""
        if not self.alone:
            return None
        (shift,) = self.shifts(np.array([0]), np.array([tile.row]), np.array([tile.column]))
        return self.tiles[0], self.shape[1], int(shift)


def _groups(
    tiling: Tiling, told: dict[Tile, Pieces], levels: dict[Tile, np.ndarray]
) -> list[_Group]:
    """Put the flats together from their pieces, and those that are drained by one task."""
    counts = np.array([len(told[tile].boxes) for tile in tiling.tiles])
    pieces = int(counts.sum())
    if pieces == 0:
        return []
    before = np.cumsum(counts) - counts
    tile_of = np.repeat(np.arange(counts.size), counts)
    number_of = np.arange(pieces) - before[tile_of] + 1
    one, other, drained, outlets = _over_lines(tiling, told, levels, before)
    flats, flat_of = components(pieces, one, other)
    box_of = np.concatenate([told[tile].boxes for tile in tiling.tiles])
    boxes = np.empty((flats, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, -1
    np.minimum.at(boxes[:, :2], flat_of, box_of[:, :2])
    np.maximum.at(boxes[:, 2:], flat_of, box_of[:, 2:])
    alone = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) > SMALL
    # Small flats go with others that begin in the same tile.
    home = np.full(flats, counts.size)
    np.minimum.at(home, flat_of, tile_of)
    key = np.where(alone, counts.size + np.arange(flats), home)
    order = np.lexsort((flat_of, key[flat_of]))
    keys, starts = np.unique(key[flat_of[order]], return_index=True)
    outlet_order = np.lexsort((flat_of[drained], key[flat_of[drained]]))
    drained, outlets = flat_of[drained][outlet_order], outlets[outlet_order]
    ends = np.searchsorted(key[drained], keys, "right")
    groups = []
    for number, parts in enumerate(np.split(order, starts[1:])):
        here = slice(ends[number - 1] if number else 0, ends[number])
        these, within = np.unique(flat_of[parts], return_inverse=True)
        tiles, tile_within = np.unique(tile_of[parts], return_inverse=True)
        groups.append(
            _Group(
                f"drained{keys[number]}",
                bool(alone[these[0]]),
                tuple(tiling.tiles[tile] for tile in tiles),
                tile_within,
                number_of[parts],
                within,
                boxes[these],
                outlets[here],
                np.searchsorted(drained[here], these, "right"),
            )
        )
    return groups


def _over_lines(
    tiling: Tiling,
    told: dict[Tile, Pieces],
    levels: dict[Tile, np.ndarray],
    before: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find what pieces, by their numbers from 0 on in the window, have over the sides of tiles.

    Returns: pairs of pieces that touch; pieces that drain by a cell of another tile, and the flat
    indices of such cells in the padded window.
    """
    numbers = {
        tile: np.where(told[tile].numbers > 0, told[tile].numbers + start, 0)
        for tile, start in zip(tiling.tiles, before.tolist(), strict=True)
    }
    nothing = np.empty(0, np.int64)
    ones, others, drained, outlets = [nothing], [nothing], [nothing], [nothing]
    for cells, number, level in zip(
        cells_beside_lines(tiling),
        lines_between(tiling, numbers),
        lines_between(tiling, levels),
        strict=True,
    ):
        for pair in touching(cells[0].size):
            here, there = (side[which] for side, which in zip(number, pair, strict=True))
            low, high = (side[which] for side, which in zip(level, pair, strict=True))
            same = low == high
            both = same & (here > 0) & (there > 0)
            ones.append(here[both] - 1)
            others.append(there[both] - 1)
            # A cell of the same level that is in no flat has a lower neighbour, or drains outside.
            for mine, theirs, beyond in ((here, there, 1), (there, here, 0)):
                found = same & (mine > 0) & (theirs == 0)
                drained.append(mine[found] - 1)
                outlets.append(cells[beyond][pair[beyond]][found])
    return tuple(map(np.concatenate, (ones, others, drained, outlets)))


def _drain(store: TileStore, group: _Group) -> None:
    """Drain the flats of a group."""
    if group.alone:
        _drain_alone(store, group)
    else:
        _drain_together(store, group)


def _drain_alone(store: TileStore, group: _Group) -> None:
    """Drain a flat in an array of its own."""
    home = group.tiles[0]
    room = IN_MEMORY * max(tile.height * tile.width for tile in store.tiling.tiles)
    in_memory = group.shape[0] * group.shape[1] <= room
    with atomic(store.path(group.name, home), lasting=False, make_parents=False) as part:
        codes = np.zeros(group.shape, np.uint8) if in_memory else _zeros_in_file(part, group.shape)
        window = store.tiling.width + 2
        rows, columns = np.divmod(group.outlets, window)
        outlets = [group.shifts(np.zeros(rows.size, np.int64), rows, columns)]
        size = 0
        for tile, numbers in group.pieces():
            runs, inside = _pieces_of(store, tile, numbers)
            _, _, shift = group.place_of(tile)
            size += mark_runs(codes, runs, tile.width + 2, shift)
            rows, columns = np.divmod(inside.astype(np.int64), tile.width + 2)
            outlets.append(rows * group.shape[1] + columns + shift)
        drain_marked(codes, np.concatenate(outlets), size)
        if isinstance(codes, np.memmap):
            codes.flush()
        else:
            np.save(part, codes)


def _zeros_in_file(path: Path, shape: tuple[int, int]) -> np.memmap:
    """Make an array that lies in a file, with room on the disk for all of it."""
    codes = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    # Where a disk is full, this is an error. Later, what is written would end the process.
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return codes


def _drain_together(store: TileStore, group: _Group) -> None:
    """Drain flats in one array, one after the other."""
    flats = len(group.boxes)
    # Each flat has one part more, for its outlets over the sides of tiles.
    flat_of = np.append(group.flat_of, np.arange(flats))
    order = np.argsort(flat_of, kind="stable")
    flat_of = flat_of[order]
    tile_of = np.append(group.tile_of, np.full(flats, len(group.tiles)))[order]
    tiling = store.tiling
    places = [(tile.row, tile.column, tile.width + 2) for tile in group.tiles]
    rows, columns, widths = np.array([*places, (0, 0, tiling.width + 2)])[tile_of].T
    lists = [_Lists(store, tile) for tile in group.tiles]
    numbers = np.append(group.number_of, np.zeros(flats, np.int64))[order]
    foreign = iter(np.split(group.outlets, group.outlet_ends[:-1]))
    none = np.empty((0, 2), np.int64)
    parts = [
        (lists[tile].runs(number), lists[tile].outlets(number)) if number else (none, next(foreign))
        for tile, number in zip(tile_of.tolist(), numbers.tolist(), strict=True)
    ]
    runs, outlets = zip(*parts, strict=True)
    sizes = np.array([int((one[:, 1] - one[:, 0]).sum()) for one in runs])
    # The codes of each tile lie together.
    by_tile = np.argsort(tile_of, kind="stable")
    begins = np.empty(sizes.size, np.int64)
    begins[by_tile] = np.cumsum(sizes[by_tile]) - sizes[by_tile]
    found = drain_small(
        SmallFlats(
            group.shape,
            np.searchsorted(flat_of, np.arange(flats), "right"),
            widths,
            group.shifts(flat_of, rows, columns),
            np.concatenate(runs),
            np.cumsum([len(one) for one in runs]),
            np.concatenate(outlets).astype(np.int64),
            np.cumsum([len(one) for one in outlets]),
            begins,
        )
    )
    ends = np.cumsum([sizes[tile_of == number].sum() for number in range(len(group.tiles))])
    for tile, codes in zip(group.tiles, np.split(found, ends[:-1]), strict=True):
        store.save(group.name, tile, codes)


def _direct(
    store: TileStore,
    task: tuple[Tile, list[tuple[str, tuple[Tile, int, int] | None, np.ndarray]]],
) -> None:
    """Give the shared cells of a tile their directions."""
    tile, groups = task
    directions = store.copy("directions", tile)
    for name, place, numbers in groups:
        runs, _ = _pieces_of(store, tile, numbers)
        if place is None:
            write_codes(directions, runs, store.load(name, tile))
        else:
            home, wide, shift = place
            write_runs(directions, runs, store.load(name, home).reshape(-1), wide, shift)
    store.save("directions", tile, directions)


class _Lists:
    """The runs and outlets of a tile, piece by piece."""

    def __init__(self, store: TileStore, tile: Tile) -> None:
        # Views of arrays in files take ten times longer to make than those of plain arrays.
        self._runs = np.asarray(store.load("runs", tile))
        self._outlets = np.asarray(store.load("outlets", tile))
        ends = store.load("pieces", tile)
        self._run_ends = [0, *ends["run"].tolist()]
        self._outlet_ends = [0, *ends["outlet"].tolist()]

    def runs(self, number: int) -> np.ndarray:
        """Return the runs of a piece."""
        return self._runs[self._run_ends[number - 1] : self._run_ends[number]]

    def outlets(self, number: int) -> np.ndarray:
        """Return the outlets of a piece."""
        return self._outlets[self._outlet_ends[number - 1] : self._outlet_ends[number]]


def _pieces_of(store: TileStore, tile: Tile, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs and outlets of some pieces of a tile."""
    lists = _Lists(store, tile)
    parts = [(lists.runs(number), lists.outlets(number)) for number in numbers.tolist()]
    runs, outlets = map(np.concatenate, zip(*parts, strict=True))
    return runs, outlets
