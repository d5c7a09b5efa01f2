"""Routing by tiles: a window too large for one worker, drained exactly as if it were one array.

What a tile has to know of the others goes through this package, as frames and rings of it (see
`snakeshed.tiled.tiling`); all else a tile writes to a folder that all workers see, and reads again.
The steps are those of `Grid.route`: the levels of depressions, the filled surface, its directions,
those in flats, and what drains through each cell. A step reads an array of a tile once, and writes
it once; what no step reads again is deleted tile by tile. A step that failed, or was done twice,
can be done again: no task changes what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.tiled.accumulation import Passage, count_all
from snakeshed.tiled.basins import window_levels
from snakeshed.tiled.directions import direct_filled
from snakeshed.tiled.store import Map, TileStore


def fill_all(store: TileStore, run: Map) -> None:
    """Fill the depressions of a window and direct its cells, exactly as `Grid.route` does.

    Each worker needs room for a tile, not for the window: some 40 bytes for each of its cells.

    Parameters
    ----------
    store : TileStore
        Receives ``filled``, ``directions`` and ``border``, and ``pools``: the cells that filling
        raised or that have no lower neighbor. Up to 15 bytes for each cell.
    run : callable
        Such as `snakeshed.backends.local.Backend.map`.

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    levels, filled = window_levels(store, run)
    direct_filled(store, run, filled, levels)


@dataclass(frozen=True)
class TiledDrainage:
    """Where the water of a window goes, in files of its tiles.

    Attributes
    ----------
    store : TileStore
        ``filled``, ``directions``, ``border``, ``counts`` and, if they were asked for, ``areas`` in
        mm2: arrays of its folder, to be read by `read`.
    passage : Passage
    """

    store: TileStore
    passage: Passage

    @classmethod
    def of(cls, store: TileStore, run: Map) -> TiledDrainage:
        """Count what drains through each cell.

        Parameters
        ----------
        store : TileStore
            After `fill_all` or `snakeshed.tiled.carving.carve_all`.
        run : callable
        """
        return cls(store, count_all(store, run))

    def read(self, name: str, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Read a piece of the window, as `TileStore.read` does."""
        return self.store.read(name, row, column, height, width)
