"""Flow directions of a window by tiles, flats included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from snakeshed.kernels.d8 import FLAT, OUTSIDE
from snakeshed.kernels.filling import raise_rows
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent_inside
from snakeshed.kernels.tiled.flats import share_flats
from snakeshed.kernels.tiled.sides import lay_ring
from snakeshed.tiled.flats import Pieces, drain_shared, keep_pieces
from snakeshed.tiled.store import Map, TileStore, sizes_of
from snakeshed.tiled.tiling import Tile, ring


def direct_filled(
    store: TileStore,
    run: Map,
    filled: dict[Tile, np.ndarray],
    levels: Mapping[Tile, np.ndarray],
) -> None:
    """Fill the depressions of all tiles, and find the directions on the filled surface.

    Parameters
    ----------
    store : TileStore
        With what `snakeshed.tiled.basins.window_levels` leaves there.
    run : callable
    filled : dict of Tile to ndarray
        Frames of the filled surface.
    levels : mapping of Tile to ndarray
        Levels of the numbered basins of each tile, from 0, the outside, on.
    """
    _direct_all(store, run, _fill, filled, levels, ("raised", "basins"))


def direct_ground(
    store: TileStore,
    run: Map,
    ground: dict[Tile, np.ndarray],
    given: Mapping[Tile, str] | None = None,
) -> None:
    """Find the directions on the surface as it is.

    Parameters
    ----------
    store : TileStore
        With ``filled`` and ``border``.
    run : callable
    ground : dict of Tile to ndarray
        Frames of the surface.
    given : mapping of Tile to str, optional
        Names of directions that are there, to be found only where they are still `FLAT`.
    """
    _direct_all(store, run, _descend, ground, given or dict.fromkeys(store.tiling.tiles), ())


def _direct_all(
    store: TileStore,
    run: Map,
    function: Callable,
    surface: dict[Tile, np.ndarray],
    known: Mapping,
    read: tuple[str, ...],
) -> None:
    """Find the directions, and drain the flats that reach over the sides of tiles.

    The arrays that are `read` for the last time are deleted tile by tile: what is written next
    takes their room.
    """
    tiles = store.tiling.tiles
    tasks = [(tile, ring(store.tiling, tile, surface, np.nan), known[tile]) for tile in tiles]
    told = {}
    for tile, pieces in zip(tiles, run(partial(function, store), tasks), strict=True):
        told[tile] = pieces
        store.forget(*read, tiles=[tile])
    drain_shared(store, run, told, surface)


def _fill(store: TileStore, task: tuple[Tile, np.ndarray, np.ndarray]) -> Pieces:
    """Fill the depressions of a tile, and find its directions but in flats that others share."""
    tile, around, levels = task
    filled = store.copy("raised", tile)
    raise_rows(filled, store.load("basins", tile), levels, 1, tile.height + 1)
    store.save("filled", tile, filled)
    lay_ring(filled, around)
    directions = steepest_descent_inside(filled, store.load("border", tile), *sizes_of(store, tile))
    # Water stands, or may, where no neighbour is lower; so it is wherever the ground was raised.
    store.save("pools", tile, (directions == FLAT) | (directions == OUTSIDE))
    return _drain_own(store, tile, filled, directions)


def _descend(store: TileStore, task: tuple[Tile, np.ndarray, str | None]) -> Pieces:
    """Find the directions of a tile but in flats that others share."""
    tile, around, given = task
    surface = store.copy("filled", tile)
    lay_ring(surface, around)
    if given is not None:
        directions = store.copy(given, tile)
    else:
        directions = steepest_descent_inside(
            surface, store.load("border", tile), *sizes_of(store, tile)
        )
    return _drain_own(store, tile, surface, directions)


def _drain_own(store: TileStore, tile: Tile, surface: np.ndarray, directions: np.ndarray) -> Pieces:
    """Drain the flats of a tile that no other tile shares; keep what there is of the others."""
    told = keep_pieces(store, tile, share_flats(surface, directions))
    drain_flats(surface, directions)
    store.save("directions", tile, directions)
    return told
