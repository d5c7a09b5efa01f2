"""Flags of a window by tiles: what all that drains through a cell lies beside."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import numpy as np

from snakeshed.delineation.routed_window import POOL
from snakeshed.kernels.d8 import OUTSIDE
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.tiled.sides import frame_cells
from snakeshed.kernels.tiled.walks import MARKED, back_up, flood_pools
from snakeshed.terrain.border import BESIDE_NODATA, CUT, EDGE
from snakeshed.tiled.routing import TiledDrainage
from snakeshed.tiled.store import Map, TileStore
from snakeshed.tiled.tiling import Tile, hand_over

FLAGS = (CUT, EDGE, BESIDE_NODATA, POOL)


def find_flags(drainage: TiledDrainage, marks: dict[Tile, str], run: Map) -> None:
    """Write the flags of all cells: what all that drains through them lies beside.

    Parameters
    ----------
    drainage : TiledDrainage
    marks : dict of Tile to str
        From `mark_water_at_rim`; they are deleted.
    run : callable
    """
    store = drainage.store
    tasks = [(tile, marks.get(tile)) for tile in store.tiling.tiles]
    leaving = dict(zip(store.tiling.tiles, run(partial(_spread, store), tasks), strict=True))
    passage = drainage.passage
    at_exits = np.concatenate([leaving[tile] for tile in store.tiling.tiles])[passage.exits]
    coming = np.zeros(passage.links.size, np.uint8)
    for flag in FLAGS:
        # How many of the exits upstream have it.
        coming[passage.coming((at_exits & flag != 0).astype(np.int64)) > 0] |= flag
    entering = [(tile, passage.frame_of(tile, coming)) for tile in store.tiling.tiles]
    for _ in run(partial(_spread_in, store), entering):
        pass
    store.forget("own-flags", *set(marks.values()))


def mark_water_at_rim(store: TileStore, rise: float, run: Map) -> dict[Tile, str]:
    """Mark pools that the rim cuts, and backwater from beyond it.

    Parameters
    ----------
    store : TileStore
        With the filled surface and its directions.
    rise : float
        Of the water beyond the rim, in the unit of the elevations.
    run : callable

    Returns
    -------
    dict of Tile to str
        Names of the arrays of marks, where there are any.
    """
    marks: dict[Tile, str] = {}
    pools: dict[Tile, np.ndarray] = {}
    water: dict[Tile, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for tile, (cut, exits, levels) in zip(
        store.tiling.tiles, run(partial(_find_cut, store), store.tiling.tiles), strict=True
    ):
        if cut.size:
            pools[tile] = cut
        if exits.size:
            water[tile] = exits, levels + rise, np.zeros(exits.size, np.uint8)
    number = 0
    while pools or water:
        # What a task reads is never what it writes, so that it can be done again.
        number += 1
        tasks = [
            (tile, marks.get(tile), f"marks{number}", pools.get(tile), water.get(tile))
            for tile in sorted(pools.keys() | water.keys())
        ]
        pools, water = {}, {}
        found_pools: dict[Tile, list] = defaultdict(list)
        found_water: dict[Tile, list] = defaultdict(list)
        for task, (told, waters) in zip(tasks, run(partial(_mark, store), tasks), strict=True):
            tile = task[0]
            marks[tile] = task[2]
            for other, _, there in hand_over(store.tiling, tile, told):
                found_pools[other].append(there)
            cells, levels, towards = waters
            for other, which, there in hand_over(store.tiling, tile, cells):
                found_water[other].append((there, levels[which], towards[which]))
        pools = {tile: np.concatenate(parts) for tile, parts in found_pools.items()}
        water = {
            tile: tuple(map(np.concatenate, zip(*parts, strict=True)))
            for tile, parts in found_water.items()
        }
    return marks


def _find_cut(store: TileStore, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the cut pools of a tile; and where water leaves at cut cells, and at which level."""
    cut = np.flatnonzero(store.load("border", tile) & CUT)
    pools = cut[store.load("pools", tile).reshape(-1)[cut]]
    exits = cut[store.load("directions", tile).reshape(-1)[cut] == OUTSIDE]
    return pools, exits, store.load("filled", tile).reshape(-1)[exits].astype(np.float64)


def _mark(
    store: TileStore, task: tuple
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mark the water of a tile from some cells on, and tell to which cells around it goes on."""
    tile, before, after, pools, water = task
    shape = tile.height + 2, tile.width + 2
    marks = np.zeros(shape, np.uint8) if before is None else np.array(store.load(before, tile))
    directions = store.load("directions", tile)
    told = np.empty(0, np.int64)
    if pools is not None:
        told = flood_pools(store.load("pools", tile), directions, marks, pools)
    waters = told[:0], np.empty(0), np.empty(0, np.uint8)
    if water is not None:
        waters = back_up(store.load("filled", tile), directions, marks, *water)
    store.save(after, tile, marks)
    return told, waters


def _spread(store: TileStore, task: tuple[Tile, str | None]) -> np.ndarray:
    """Spread the flags of a tile down its own flow paths, and return those along its sides."""
    tile, marks = task
    flags = np.array(store.load("border", tile))
    if marks is not None:
        inside = store.load(marks, tile)[1:-1, 1:-1]
        flags[1:-1, 1:-1][inside & MARKED != 0] |= POOL
    sides = frame_cells(tile.height, tile.width)
    spread_downstream(_within(store, tile), flags)
    store.save("own-flags", tile, flags)
    return flags.reshape(-1)[sides]


def _spread_in(store: TileStore, task: tuple[Tile, np.ndarray]) -> None:
    """Spread what comes in from other tiles."""
    tile, coming = task
    flags = np.array(store.load("own-flags", tile))
    if coming.any():
        fresh = np.zeros(flags.shape, np.uint8)
        sides = frame_cells(tile.height, tile.width)
        np.bitwise_or.at(fresh.reshape(-1), sides, coming)
        spread_downstream(_within(store, tile), fresh)
        flags |= fresh
    store.save("flags", tile, flags)


def _within(store: TileStore, tile: Tile) -> np.ndarray:
    """Directions of a tile, `OUTSIDE` where they lead to another one."""
    directions = np.array(store.load("directions", tile))
    directions.reshape(-1)[store.load("exits", tile)] = OUTSIDE
    return directions
