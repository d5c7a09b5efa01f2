"""Routing by tiles: a window too large for one worker, drained exactly as if it were one array.

What a tile has to know of the others goes through this module, as frames and rings of it (see
`snakeshed.tiled.tiling`); all else a tile writes to a folder that all workers see, and
reads again. The steps are those of `snakeshed.grid.grid.Grid.route`: the levels of
depressions, the filled surface, its directions, those in flats, and what drains through each cell.
A step that failed, or was done twice, can be done again: no task changes what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from snakeshed.tiled.accumulation import Passage, count_all
from snakeshed.tiled.basins import raise_to_levels, window_levels
from snakeshed.tiled.directions import direct_all
from snakeshed.tiled.store import Map, Source, TileStore
from snakeshed.tiled.tiling import (
    Tiling,
)


@dataclass(frozen=True)
class TiledDrainage:
    """Where the water of a window goes, in files of its tiles.

    Attributes
    ----------
    store : TileStore
        ``filled``, ``directions``, ``counts`` and, if they were asked for, ``areas`` in mm2; and
        ``pools``, the cells that filling raised or that have no lower neighbour, and ``border``:
        arrays of its folder, to be read by `read`.
    passage : Passage
    """

    store: TileStore
    passage: Passage

    def read(self, name: str, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Read a piece of the window, as `TileStore.read` does."""
        return self.store.read(name, row, column, height, width)


def route_tiled(
    source: Source,
    tiling: Tiling,
    folder: str,
    run: Map,
    dtype: type = np.float32,
    areas: bool = False,
) -> TiledDrainage:
    """Drain a window tile by tile, exactly as `Grid.route` drains it as one array.

    Each worker needs room for a tile, not for the window: some 40 bytes for each of its cells.

    Parameters
    ----------
    source : Source
    tiling : Tiling
        No result depends on it.
    folder : str
        Where arrays of tiles are kept, up to 20 bytes for each cell; all workers see it.
    run : callable
        Such as `snakeshed.backends.local.Backend.map`.
    dtype : type
        In which the elevations are worked on, float32 or float64.
    areas : bool
        Whether to sum areas too, in mm2: for grids whose cells differ.

    Returns
    -------
    TiledDrainage

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    store = TileStore(source, tiling, folder, np.dtype(dtype).name, areas)
    levels = window_levels(store, run)
    tasks = list(zip(tiling.tiles, levels, strict=True))
    filled = dict(zip(tiling.tiles, run(partial(raise_to_levels, store), tasks), strict=True))
    store.forget("ground", "labels", "tree", "numbers")
    direct_all(store, run, filled)
    return TiledDrainage(store, count_all(store, run))
