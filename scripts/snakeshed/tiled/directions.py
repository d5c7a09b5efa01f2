"""Flow directions of a window by tiles, flats included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from snakeshed.kernels.d8 import FLAT, OUTSIDE
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent_inside
from snakeshed.kernels.tiled.flats import FAR, direct, share_flats, shorten
from snakeshed.kernels.tiled.sides import frame_cells, lay_ring
from snakeshed.tiled.store import Map, TileStore, records, sizes_of
from snakeshed.tiled.tiling import (
    Tile,
    ring,
)


def direct_all(
    store: TileStore,
    run: Map,
    filled: dict[Tile, np.ndarray],
    given: Mapping[Tile, str] | None = None,
) -> None:
    """Find the directions, and drain the flats that reach over the sides of tiles.

    Parameters
    ----------
    store : TileStore
        With ``filled`` and ``border``.
    run : callable
    filled : dict of Tile to ndarray
        Frames of the surface.
    given : mapping of Tile to str, optional
        Names of directions that are there, to be found only where they are still `FLAT`.
    """
    tiling = store.tiling
    levels = {tile: ring(tiling, tile, filled, np.nan) for tile in tiling.tiles}
    tasks = [(tile, levels[tile], given and given[tile]) for tile in tiling.tiles]
    distances: dict[Tile, np.ndarray] = {}
    sharing: set[Tile] = set()
    for tile, (shared, known) in zip(
        tiling.tiles, run(partial(_descend, store), tasks), strict=True
    ):
        distances[tile] = known
        if shared:
            sharing.add(tile)
    told: dict[Tile, np.ndarray] = {}
    waiting = sharing
    while waiting:
        beside = {tile: ring(tiling, tile, distances, -1) for tile in waiting}
        # Most of what a tile tells has changed on a side that is not everybody's.
        waiting = [
            tile for tile in sorted(waiting) if not np.array_equal(told.get(tile), beside[tile])
        ]
        told |= beside
        tasks = [(tile, levels[tile], beside[tile]) for tile in waiting]
        changed = set()
        for tile, shorter in zip(waiting, run(partial(_shorten, store), tasks), strict=True):
            if not np.array_equal(shorter, distances[tile]):
                distances[tile] = shorter
                changed.update(tiling.neighbours(tile))
        waiting = changed & sharing
    tasks = [(tile, levels[tile], ring(tiling, tile, distances, -1)) for tile in sorted(sharing)]
    for _ in run(partial(_direct, store), tasks):
        pass
    store.forget("shared", "distances", "raised")


def _descend(
    store: TileStore, task: tuple[Tile, np.ndarray, str | None]
) -> tuple[bool, np.ndarray]:
    """Find the directions of a tile but in flats that others share; tell the distances there."""
    tile, around, given = task
    filled = np.array(store.load("filled", tile))
    lay_ring(filled, around)
    if given is not None:
        directions = np.array(store.load(given, tile))
    else:
        directions = steepest_descent_inside(
            filled, store.load("border", tile), *sizes_of(store, tile)
        )
    if store.path("raised", tile).exists():  # filled, not carved
        # Water stands, or may: where no neighbour is lower, and where filling raised the ground.
        pools = (directions == FLAT) | (directions == OUTSIDE) | store.load("raised", tile)
        store.save("pools", tile, pools)
        del pools
    cells, levels, outlets = share_flats(filled, directions)
    drain_flats(filled, directions)
    store.save("shared", tile, records(cell=cells, level=levels, outlet=outlets))
    distances = np.where(outlets != 0, np.int32(1), FAR)
    store.save("distances", tile, distances)
    store.save("directions", tile, directions)
    return bool(cells.size), _distance_frame(tile, cells, distances)


def _shared_flats(store: TileStore, task: tuple[Tile, np.ndarray, np.ndarray]) -> tuple:
    """Gather what is known of the shared cells of a tile: the arguments of the kernels."""
    tile, levels_around, distances_around = task
    shared = store.load("shared", tile)
    cells, levels, outlets = (shared[name].copy() for name in ("cell", "level", "outlet"))
    shape = tile.height + 2, tile.width + 2
    distances = np.array(store.load("distances", tile))
    return shape, cells, levels, outlets, distances, levels_around, distances_around


def _shorten(store: TileStore, task: tuple[Tile, np.ndarray, np.ndarray]) -> np.ndarray:
    """Shorten the distances of a tile's shared cells, and tell those at its sides."""
    known = _shared_flats(store, task)
    distances = shorten(*known)
    store.save("distances", task[0], distances)
    return _distance_frame(task[0], known[1], distances)


def _direct(store: TileStore, task: tuple[Tile, np.ndarray, np.ndarray]) -> None:
    """Give the shared cells of a tile their directions."""
    known = _shared_flats(store, task)
    directions = np.array(store.load("directions", task[0]))
    directions.reshape(-1)[known[1]] = direct(*known)
    store.save("directions", task[0], directions)


def _distance_frame(tile: Tile, cells: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the steps to an outlet from each cell of a tile's frame: 0 where none is needed."""
    sides = frame_cells(tile.height, tile.width)
    told = np.zeros(sides.size, np.int32)
    if cells.size:
        place = np.minimum(np.searchsorted(cells, sides), cells.size - 1)
        shared = cells[place] == sides
        told[shared] = distances[place[shared]]
    return told
