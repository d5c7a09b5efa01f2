"""Depressions of a window by tiles."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np

from snakeshed.kernels.basin_graph import label_basins, saddles, spill_levels
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent
from snakeshed.kernels.tiled.basins import (
    contract,
    levels_inside,
    raise_and_number,
    spanning_edges,
)
from snakeshed.kernels.tiled.sides import frame, frame_cells
from snakeshed.tiled.store import Map, TileStore, read_frames, sizes_of
from snakeshed.tiled.tiling import (
    Tile,
    lines_between,
    touching,
)


@dataclass(frozen=True)
class _Basins:
    """What a tile tells of its basins: those that reach its sides have numbers from 1."""

    numbers: int
    first: np.ndarray
    second: np.ndarray
    level: np.ndarray
    number_frame: np.ndarray
    z_frame: np.ndarray


def number_sides(labels: np.ndarray, pieces: int, sides: np.ndarray) -> tuple[np.ndarray, ...]:
    """Number the basins that reach the sides of a tile, for others to know them by.

    Parameters
    ----------
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
    pieces : int
        The largest label.
    sides : ndarray of int64, shape (frame,)
        Flat indices.

    Returns
    -------
    number_of : ndarray of int64, shape (pieces + 1,)
        From 1, 0 for the outside, negative for a basin that reaches no side.
    number_frame : ndarray of int64, shape (frame,)
        0 where there is no data, too.
    """
    label_frame = np.maximum(labels.reshape(-1)[sides], 0)
    at_sides = np.unique(label_frame[label_frame > 0])
    number_of = np.full(pieces + 1, -1, np.int64)
    number_of[0] = 0
    number_of[at_sides] = np.arange(1, at_sides.size + 1)
    return number_of, number_of[label_frame]


def in_window(numbers: np.ndarray, before: int) -> np.ndarray:
    """Make numbers of a tile into numbers of the window; 0 stays the outside.

    Parameters
    ----------
    numbers : ndarray of int64
    before : int
        How many the tiles before have.
    """
    return np.where(numbers > 0, numbers + before, 0)


def window_levels(
    store: TileStore, run: Map
) -> tuple[dict[Tile, np.ndarray], dict[Tile, np.ndarray]]:
    """Find the level of each basin that reaches the side of a tile.

    Parameters
    ----------
    store : TileStore
        Receives ``border``, ``basins``, the number of each cell's basin in its tile, and
        ``raised``, the ground where depressions inside of a tile are filled as far as their water
        gets to such basins.
    run : callable

    Returns
    -------
    levels : dict of Tile to ndarray
        By the numbers of the tile's basins; -inf for the outside, 0.
    filled : dict of Tile to ndarray
        Frames of the filled surface.

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    tiles = store.tiling.tiles
    first, second, level = [], [], []
    number_frames, z_frames = {}, {}
    ends = [0]
    for tile, told in zip(tiles, run(partial(_gather_basins, store), tiles), strict=True):
        first.append(in_window(told.first, ends[-1]))
        second.append(in_window(told.second, ends[-1]))
        level.append(told.level)
        number_frames[tile] = in_window(told.number_frame, ends[-1])
        z_frames[tile] = told.z_frame
        ends.append(ends[-1] + told.numbers)
    for (here, there), (low, high) in zip(
        lines_between(store.tiling, number_frames),
        lines_between(store.tiling, z_frames),
        strict=True,
    ):
        for one, other in touching(here.size):
            saddle = np.maximum(low[one], high[other])
            data = ~np.isnan(saddle)
            first.append(here[one][data])
            second.append(there[other][data])
            level.append(saddle[data])
    edges = [np.concatenate(each) for each in (first, second, level)]
    found = spill_levels(ends[-1], *edges, np.arange(edges[0].size))
    levels, filled = {}, {}
    for tile, (begin, end) in zip(tiles, itertools.pairwise(ends), strict=True):
        levels[tile] = np.append(found[:1], found[begin + 1 : end + 1])
        filled[tile] = np.maximum(z_frames[tile], found[number_frames[tile]])
    return levels, filled


def _gather_basins(store: TileStore, tile: Tile) -> _Basins:
    """Label the basins of a tile as if it were a window, but for the ways outside at its sides."""
    z, border = read_frames(store, tile)
    store.save("border", tile, border)
    directions = steepest_descent(z, border, *sizes_of(store, tile))
    drain_flats(z, directions)
    labels, basins = label_basins(directions)
    del directions
    first, second, level, saddle = saddles(z, border, labels)
    del border
    tree = spanning_edges(basins, first, second, level, saddle)
    first, second, level = first[tree], second[tree], level[tree]
    number_of, number_frame = number_sides(labels, basins, frame_cells(tile.height, tile.width))
    numbered = number_of >= 0
    between, one, other = contract(basins, first, second, number_of)
    levels = levels_inside(first, second, level, between, numbered)
    store.save("basins", tile, raise_and_number(z, labels, levels, number_of))
    store.save("raised", tile, z)
    z_frame = frame(z[1:-1, 1:-1])
    return _Basins(int(number_of.max()), one, other, level[between], number_frame, z_frame)
