"""Depressions of a window by tiles."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np

from snakeshed.kernels.basin_graph import label_basins, saddles, spill_levels
from snakeshed.kernels.filling import raise_rows
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent
from snakeshed.kernels.tiled.basins import contract, spanning_edges
from snakeshed.kernels.tiled.sides import frame, frame_cells
from snakeshed.tiled.store import Map, TileStore, read_frames, records, sizes_of
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


def window_levels(store: TileStore, run: Map) -> list[np.ndarray]:
    """Find the level of each numbered basin of each tile."""
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
    levels = spill_levels(ends[-1], *edges, np.arange(edges[0].size))
    return [levels[begin + 1 : end + 1] for begin, end in itertools.pairwise(ends)]


def _gather_basins(store: TileStore, tile: Tile) -> _Basins:
    """Label the basins of a tile as if it were a window, but for the ways outside at its sides."""
    z, outlets = read_frames(store, tile)
    store.save("ground", tile, z)
    store.save("border", tile, outlets)
    directions = steepest_descent(z, outlets, *sizes_of(store, tile))
    drain_flats(z, directions)
    labels, basins = label_basins(directions)
    del directions
    first, second, level, saddle = saddles(z, outlets, labels)
    del outlets
    tree = spanning_edges(basins, first, second, level, saddle)
    first, second, level = first[tree], second[tree], level[tree]
    number_of, number_frame = number_sides(labels, basins, frame_cells(tile.height, tile.width))
    store.save("labels", tile, labels)
    store.save("numbers", tile, number_of)
    store.save("tree", tile, records(first=first, second=second, level=level))
    edges, one, other = contract(basins, first, second, number_of)
    z_frame = frame(z[1:-1, 1:-1])
    return _Basins(int(number_of.max()), one, other, level[edges], number_frame, z_frame)


def raise_to_levels(store: TileStore, task: tuple[Tile, np.ndarray]) -> np.ndarray:
    """Fill the depressions of a tile, and return the frame of the filled surface."""
    tile, levels_at_sides = task
    tree, number_of = store.load("tree", tile), store.load("numbers", tile)
    at_sides = np.flatnonzero(number_of > 0).astype(tree["first"].dtype)
    # What is known of the levels at the sides stands for all ways through other tiles.
    first = np.concatenate([tree["first"], at_sides])
    second = np.concatenate([tree["second"], np.zeros_like(at_sides)])
    level = np.concatenate([tree["level"], levels_at_sides])
    levels = spill_levels(number_of.size - 1, first, second, level, np.arange(first.size))
    ground = store.load("ground", tile)
    filled = np.array(ground)
    raise_rows(filled, store.load("labels", tile), levels, 1, tile.height + 1)
    store.save("filled", tile, filled)
    store.save("raised", tile, filled > ground)
    return frame(filled[1:-1, 1:-1])
