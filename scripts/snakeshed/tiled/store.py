"""Where the arrays of a window's tiles are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from snakeshed.atomic import atomic
from snakeshed.kernels.cell_sizes import CellSizes
from snakeshed.kernels.d8 import index_type
from snakeshed.kernels.tiled.sides import frame
from snakeshed.raster.lattice import RowGeometry
from snakeshed.tiled.tiling import (
    Tile,
    Tiling,
)

SUMS = ("counts", "areas")
"""Arrays that hold what comes from the tile itself; what comes in is kept beside, cell by cell."""

Map = Callable[[Callable, Iterable], Iterator]
"""Applies a function to each of some tasks, anywhere, and yields the results in their order."""


class Source(Protocol):
    """Where tiles have their ground from; it is sent to the workers, so it holds no arrays."""

    def read(self, row: int, column: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return elevations (NaN is nodata) and border of cells of the window, (h, w) each."""

    def rows(self, first: int, count: int) -> RowGeometry:
        """Return the sizes of cells in rows of the window, from -1 on, to find directions by."""

    def cells(self, row: int, column: int, height: int, width: int) -> CellSizes:
        """Return the sizes of cells of the window, from -1 on, on the ground."""


@dataclass(frozen=True)
class TileStore:
    """What the tasks of one window share.

    Attributes
    ----------
    source : Source
    tiling : Tiling
    folder : str
        Where arrays of tiles are kept; all workers see it under this name.
    dtype : str
        Type of the elevations, float32 or float64.
    areas : bool
        Whether areas are summed beside the cells.
    """

    source: Source
    tiling: Tiling
    folder: str
    dtype: str
    areas: bool

    def path(self, name: str, tile: Tile) -> Path:
        """Return the file of an array of a tile."""
        return Path(self.folder, f"{name}-{tile.i}-{tile.j}.npy")

    def save(self, name: str, tile: Tile, values: np.ndarray) -> None:
        """Keep an array; the file appears whole or not at all."""
        # Two workers may be at the same task, when one of them was given up for lost.
        # A folder that is removed while they write does not come back.
        with atomic(self.path(name, tile), lasting=False, make_parents=False) as part:
            np.save(part, values)

    def load(self, name: str, tile: Tile) -> np.ndarray:
        """Return an array of a tile as it lies in its file; it cannot be written to."""
        return np.load(self.path(name, tile), mmap_mode="r")

    def copy(self, name: str, tile: Tile) -> np.ndarray:
        """Return an array of a tile in memory."""
        return np.load(self.path(name, tile))

    def inflow(self, name: str, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows and columns in the tile of the cells that water from others passes through.

        With how much of it does: cells or mm2.
        """
        cells = self.load("inflow", tile)
        rows, columns = np.divmod(cells[:, 0], tile.width + 2)
        return rows - 1, columns - 1, cells[:, 1 + SUMS.index(name)]

    def forget(self, *names: str, tiles: Iterable[Tile] | None = None) -> None:
        """Delete arrays of some tiles, or of all."""
        for tile in self.tiling.tiles if tiles is None else tiles:
            for name in names:
                self.path(name, tile).unlink(missing_ok=True)

    def read(self, name: str, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Read a piece of the window.

        Parameters
        ----------
        name : str
            Of one of the arrays.
        row, column, height, width : int
            Cells of the window, none of them beyond it.

        Returns
        -------
        ndarray, shape (h, w)
        """
        found: np.ndarray | None = None
        for tile in self.tiling.tiles_of(row, column, height, width):
            values = self.load(name, tile)[1:-1, 1:-1]
            if found is None:
                found = np.empty((height, width), values.dtype)
            top, left = max(row, tile.row), max(column, tile.column)
            bottom = min(row + height, tile.row + tile.height)
            right = min(column + width, tile.column + tile.width)
            here = found[top - row : bottom - row, left - column : right - column]
            here[...] = values[
                top - tile.row : bottom - tile.row, left - tile.column : right - tile.column
            ]
            if name in SUMS:
                rows, columns, passing = self.inflow(name, tile)
                rows, columns = rows - (top - tile.row), columns - (left - tile.column)
                inside = (rows >= 0) & (rows < here.shape[0])
                inside &= (columns >= 0) & (columns < here.shape[1])
                here[rows[inside], columns[inside]] += passing[inside].astype(here.dtype)
        if found is None:
            raise ValueError(f"no cell of the window in {height} x {width} from {row}, {column}")
        return found

    @property
    def counts_dtype(self) -> type:
        """Type of the counts, that of the window as one array."""
        return index_type((self.tiling.height + 2) * (self.tiling.width + 2))


def records(**columns: np.ndarray) -> np.ndarray:
    """Put columns of the same length together in one array, to be kept in one file."""
    table = np.empty(
        len(next(iter(columns.values()))), [(name, one.dtype) for name, one in columns.items()]
    )
    for name, one in columns.items():
        table[name] = one
    return table


def components(nodes: int, one: np.ndarray, other: np.ndarray) -> tuple[int, np.ndarray]:
    """Find what is connected in a graph.

    Parameters
    ----------
    nodes : int
    one, other : ndarray of int64, shape (edges,)
        Nodes at both ends of each edge.

    Returns
    -------
    count : int
    component : ndarray of int64, shape (nodes,)
        Number of each node's component, from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(one.size, np.bool_), (one, other)), shape=(nodes, nodes))
    count, component = connected_components(graph, directed=False)
    return count, component.astype(np.int64)


def read_frames(store: TileStore, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Read elevations and border of a tile, padded."""
    ground, border = store.source.read(tile.row, tile.column, tile.height, tile.width)
    z = np.full((tile.height + 2, tile.width + 2), np.nan, store.dtype)
    z[1:-1, 1:-1] = ground
    outlets = np.zeros(z.shape, np.uint8)
    outlets[1:-1, 1:-1] = border
    return z, outlets


def read_ground(store: TileStore, tile: Tile) -> np.ndarray:
    """Take the ground of a tile for the surface on which water runs, and return its frame."""
    z, outlets = read_frames(store, tile)
    store.save("filled", tile, z)
    store.save("border", tile, outlets)
    return frame(z[1:-1, 1:-1])


def sizes_of(store: TileStore, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of the cells in the rows of a tile's padded array, in metres."""
    geometry = store.source.rows(tile.row - 1, tile.height + 2)
    return geometry.width_m, geometry.height_m
