"""What drains through each cell of a window, by tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from snakeshed.kernels.accumulation import count_and_measure, count_upslope
from snakeshed.kernels.d8 import neighbour_offsets
from snakeshed.kernels.tiled.links import NO_EXIT, link_sides, pass_through, spread_inflow
from snakeshed.kernels.tiled.sides import frame_cells
from snakeshed.tiled.store import SUMS, Map, TileStore
from snakeshed.tiled.tiling import (
    Tile,
    hand_over,
    place_in_frame,
)


@dataclass(frozen=True)
class Passage:
    """How water passes from tile to tile, by numbers of the cells of all frames.

    Attributes
    ----------
    starts : dict of Tile to int
        Number of the first cell of each tile's frame.
    exits : ndarray of int64, shape (n,)
        Cells by which water leaves a tile.
    entries : ndarray of int64, shape (n,)
        The cells of other tiles that they lead to.
    links : ndarray of int64, shape (cells of frames,)
        By which exit the water of each cell leaves the tile, `NO_EXIT` for none.
    """

    starts: dict[Tile, int]
    exits: np.ndarray
    entries: np.ndarray
    links: np.ndarray

    def coming(self, leaving: np.ndarray) -> np.ndarray:
        """Sum up what comes in at each cell, from what gathers within its tile at each exit."""
        return pass_through(self.exits, self.entries, self.links, leaving)

    def frame_of(self, tile: Tile, values: np.ndarray) -> np.ndarray:
        """Return what is said of the cells of a tile's frame, by what is said of all."""
        return values[self.starts[tile] : self.starts[tile] + tile.frame_size]


def count_all(store: TileStore, run: Map) -> Passage:
    """Sum up within the tiles, then what passes from tile to tile."""
    tiling = store.tiling
    sums = SUMS if store.areas else SUMS[:1]
    starts, places, entries, links = {}, [], [], []
    leaving: dict[str, list[np.ndarray]] = {name: [] for name in sums}
    start = 0
    for tile in tiling.tiles:
        starts[tile] = start
        start += tile.frame_size
    for tile, told in zip(tiling.tiles, run(partial(_count, store), tiling.tiles), strict=True):
        places.append(told.exits + starts[tile])
        entries.append(told.exits.copy())
        for other, which, there in hand_over(tiling, tile, told.leads_to):
            entries[-1][which] = starts[other] + place_in_frame(other, there)
        links.append(np.where(told.links == NO_EXIT, NO_EXIT, told.links + starts[tile]))
        for name, values in zip(sums, told.leaving, strict=True):
            leaving[name].append(values)
    passage = Passage(starts, *map(np.concatenate, (places, entries, links)))
    coming = np.stack([passage.coming(np.concatenate(leaving[name])) for name in sums], axis=1)
    tasks = []
    for tile in tiling.tiles:
        here = passage.frame_of(tile, coming)
        at = np.flatnonzero(here[:, 0])
        tasks.append((tile, at, here[at]))
    for _ in run(partial(_pass_in, store), tasks):
        pass
    return passage


@dataclass(frozen=True)
class _Links:
    """How water passes through a tile; places are those of its frame.

    Attributes
    ----------
    links : ndarray of int64, shape (frame,)
    exits : ndarray of int64, shape (n,)
    leads_to : ndarray of int64, shape (n,)
        Where each exit leads to: flat indices of the ring.
    leaving : list of ndarray of int64, shape (n,)
        What gathers at the exits within the tile: cells, and areas.
    """

    links: np.ndarray
    exits: np.ndarray
    leads_to: np.ndarray
    leaving: list[np.ndarray]


def _count(store: TileStore, tile: Tile) -> _Links:
    """Sum up what drains through each cell of a tile from the tile itself."""
    directions = store.load("directions", tile)
    sides = frame_cells(tile.height, tile.width)
    links = link_sides(directions, sides)
    exits = np.unique(links[links != NO_EXIT])
    codes = directions.reshape(-1)[sides[exits]]
    leads_to = sides[exits] + neighbour_offsets(tile.width + 2)[codes]
    store.save("exits", tile, sides[exits])
    if store.areas:
        sizes = store.source.cells(tile.row - 1, tile.column - 1, *directions.shape)
        counts, areas = count_and_measure(directions, sizes)
        store.save("areas", tile, areas)
        sums = [counts, areas]
    else:
        counts = count_upslope(directions)
        sums = [counts]
    store.save("counts", tile, counts.astype(store.counts_dtype, copy=False))
    leaving = [each.reshape(-1)[sides[exits]].astype(np.int64) for each in sums]
    return _Links(links, exits, leads_to, leaving)


def _pass_in(store: TileStore, task: tuple[Tile, np.ndarray, np.ndarray]) -> None:
    """Find what comes in from other tiles passes through."""
    tile, places, coming = task
    entries = frame_cells(tile.height, tile.width)[places]
    cells, passing = spread_inflow(store.load("directions", tile), entries, coming)
    store.save("inflow", tile, np.column_stack([cells, passing]))
