"""A window of terrain that is routed by tiles, and read in pieces.

What `Routed.of` makes of a window as one array stands here in files of tiles, the same in every
bit; what a site asks of it is read as a `Routed` of the cells around the site, and one of the box
around its catchment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import rasterio

from snakeshed.delineation.level_ground import PatchGround
from snakeshed.delineation.routed_window import Routed, box_of, piece_of
from snakeshed.delineation.site import Site
from snakeshed.delineation.tiled_flags import find_flags, mark_water_at_rim
from snakeshed.kernels.cell_sizes import CellSizes
from snakeshed.kernels.d8 import NODATA, OUTSIDE
from snakeshed.kernels.tiled.walks import climb
from snakeshed.raster.lattice import Lattice, RowGeometry
from snakeshed.terrain.elevations import Terrain, terrain_of
from snakeshed.terrain.index import TerrainIndex
from snakeshed.tiled.carving import carve_all
from snakeshed.tiled.routing import TiledDrainage, fill_all
from snakeshed.tiled.store import Map, TileStore
from snakeshed.tiled.tiling import Tiling, hand_over

PIECE = 256
"""Cells to each side of one by which water is followed; no result depends on it."""
MOST_VOID_CELLS_BY_TILES = 5000
"""Larger voids need a worker that has memory for a tile with so many cells around it."""


@dataclass(frozen=True)
class TerrainWindow:
    """A window of terrain as tiles read it.

    Attributes
    ----------
    index : TerrainIndex
    max_void_cells : int
        As of `snakeshed.terrain.elevations.Terrain`.
    row, column, height, width : int
        The window, in absolute cells.
    run : str
        Keeps files open, as in `snakeshed.terrain.elevations.terrain_of`.
    """

    index: TerrainIndex
    max_void_cells: int
    row: int
    column: int
    height: int
    width: int
    run: str = ""

    def read(self, row: int, column: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return elevations and border of cells of the window, as a read of all of it would."""
        margin = self.margin
        top, left = max(0, row - margin), max(0, column - margin)
        bottom = min(self.height, row + height + margin)
        right = min(self.width, column + width + margin)
        # Within one environment of GDAL; each call would set up its own.
        with rasterio.Env():
            ground = self._terrain.read(
                self.row + top, self.column + left, bottom - top, right - left
            )
        here = np.s_[row - top : row - top + height, column - left : column - left + width]
        return ground.z[here], ground.border[here]

    def rows(self, first: int, count: int) -> RowGeometry:
        """Return the sizes of cells in rows of the window, from -1 on, to find directions by."""
        return self.index.lattice.routing_rows(self.row + first, count)

    def cells(self, row: int, column: int, height: int, width: int) -> CellSizes:
        """Return the sizes of cells of the window, from -1 on, on the ground."""
        return self.index.lattice.cells(self.row + row, self.column + column, height, width)

    @property
    def margin(self) -> int:
        """Cells around a tile that are read with it.

        A gap that reaches farther is too large for a void, wherever it ends; one that does not,
        and the data that it may enclose, are seen whole.
        """
        return self.max_void_cells + 1

    @cached_property
    def dtype(self) -> np.dtype:
        """Type in which the elevations of the whole window are exact."""
        if not self.index.is_native:
            return np.dtype(np.float64)
        return np.result_type(np.float32, *(tile.exact_dtype for tile in self.index.tiles))

    @property
    def patch_ground(self) -> PatchGround:
        """The raw ground of the window, to be read piece by piece."""
        return PatchGround(self._terrain, self.row, self.column, self.height, self.width)

    @property
    def _terrain(self) -> Terrain:
        return terrain_of(self.index, self.max_void_cells, self.run)


@dataclass(frozen=True)
class TiledWindow:
    """A routed window in files.

    Attributes
    ----------
    store : TileStore
        Its folder has the arrays of `snakeshed.tiled.routing.TiledDrainage`, and ``flags``,
        those of `snakeshed.delineation.routed_window.Routed`.
    lattice : Lattice
    row, column : int
        Absolute cell of the north-western corner.
    """

    store: TileStore
    lattice: Lattice
    row: int
    column: int

    @classmethod
    def route(
        cls,
        source: TerrainWindow,
        edge: int,
        conditioning: str,
        backwater_m: float,
        folder: str,
        run: Map,
    ) -> TiledWindow:
        """Route a window.

        Parameters
        ----------
        source : TerrainWindow
        edge : int
            Side of a tile in cells, at most; no result depends on it.
        conditioning : {"fill", "carve"}
        backwater_m : float
            As in `snakeshed.delineation.pyramid.PatchPyramid`.
        folder : str
            For the files; all workers see it.
        run : callable
            Such as `snakeshed.backends.local.Backend.map`.
        """
        lattice = source.index.lattice
        tiling = Tiling.of_size(source.height, source.width, edge)
        store = TileStore(source, tiling, folder, source.dtype.name, areas=True)
        # Water at the rim stands as high as it would in a filled depression, carved or not.
        fill_all(store, run)
        marks = mark_water_at_rim(store, backwater_m, run)
        if conditioning == "carve":
            carve_all(store, run)
        find_flags(TiledDrainage.of(store, run), marks, run)
        return cls(store, lattice, source.row, source.column)

    def around(self, site: Site, radius_m: float, window: tuple[int, int, int, int]) -> Routed:
        """Read the cells within a radius of a site, as far as a window has them.

        Parameters
        ----------
        site, radius_m, window
            As of `snakeshed.delineation.routed_window.Routed.box_around`.
        """
        row, column = self.lattice.cell_of(site.x, site.y)
        box = box_of(row, column, self.lattice.cell_at(row, column), radius_m)
        top, left = max(window[0] - 1, box[0]), max(window[1] - 1, box[1])
        bottom = min(window[0] + window[2] + 1, box[2])
        right = min(window[1] + window[3] + 1, box[3])
        piece = self._piece(top, left, bottom - top, right - left)
        return replace(piece, around=self._around_cell)

    def _around_cell(self, row: int, column: int) -> Routed:
        """Read the cells around an absolute cell of the window, or of the ring around it."""
        tiling = self.store.tiling
        top, left = max(self.row - 1, row - PIECE), max(self.column - 1, column - PIECE)
        bottom = min(self.row + tiling.height + 1, row + PIECE + 1)
        right = min(self.column + tiling.width + 1, column + PIECE + 1)
        return self._piece(top, left, bottom - top, right - left)

    def catchment_at(self, row: int, column: int) -> Routed:
        """Read the box around the catchment of an absolute cell, with a ring around.

        The box has to fit in the memory of one worker.
        """
        tiling = self.store.tiling
        tile = tiling.tile_at(row - self.row, column - self.column)
        outlet = (row - self.row - tile.row + 1) * (tile.width + 2)
        outlet += column - self.column - tile.column + 1
        starts = {tile: (np.array([outlet]), np.array([OUTSIDE], np.uint8))}
        first_row, last_row, first_column, last_column = row, row, column, column
        while starts:
            tile, (cells, towards) = starts.popitem()
            directions = self.store.load("directions", tile)
            extent, cells, towards = climb(directions, cells, towards)
            if extent[0] <= extent[1]:
                first_row = min(first_row, self.row + tile.row + extent[0] - 1)
                last_row = max(last_row, self.row + tile.row + extent[1] - 1)
                first_column = min(first_column, self.column + tile.column + extent[2] - 1)
                last_column = max(last_column, self.column + tile.column + extent[3] - 1)
            for other, told, there in hand_over(tiling, tile, cells):
                known = starts.get(other, (there[:0], towards[:0]))
                starts[other] = (
                    np.concatenate([known[0], there]),
                    np.concatenate([known[1], towards[told]]),
                )
        return self._piece(
            first_row - 1,
            first_column - 1,
            last_row - first_row + 3,
            last_column - first_column + 3,
        )

    def _piece(self, row: int, column: int, height: int, width: int) -> Routed:
        """Read absolute cells; there is no data beyond the window."""
        return Routed(
            self.lattice,
            row,
            column,
            self.lattice.cells(row, column, height, width),
            self._read("directions", NODATA, row, column, height, width),
            self._read("counts", 0, row, column, height, width),
            self._read("areas", 0, row, column, height, width),
            self._read("flags", 0, row, column, height, width),
        )

    def _read(
        self, name: str, beyond: int, row: int, column: int, height: int, width: int
    ) -> np.ndarray:
        tiling = self.store.tiling
        row, column = row - self.row, column - self.column
        top, left = max(0, row), max(0, column)
        bottom, right = min(tiling.height, row + height), min(tiling.width, column + width)
        if top >= bottom or left >= right:
            return np.full((height, width), beyond, self.store.read(name, 0, 0, 1, 1).dtype)
        known = self.store.read(name, top, left, bottom - top, right - left)
        top, left = top - row, left - column
        return piece_of(known, beyond, -top, -left, height - top, width - left)
