"""A window of terrain that is routed by tiles, and read in pieces.

What `snakeshed.routed.Routed.of` makes of a window as one array stands here in files of tiles, the
same in every bit; what a site asks of it is read as a `Routed` of the cells around the site, and
one of the box around its catchment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import rasterio

from snakeshed.dem import TerrainIndex
from snakeshed.kernels.directions import NODATA, OUTSIDE
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.tile_walks import MARKED, back_up, climb, flood_pools
from snakeshed.lattice import Lattice, RowGeometry
from snakeshed.routed import POOL, Routed, box_of
from snakeshed.site import Site
from snakeshed.terrain import CUT, EDGE, Terrain, terrain_of
from snakeshed.terrain import NODATA as BESIDE_NODATA
from snakeshed.tiled import Job, Map, TiledDrainage, route_tiled
from snakeshed.tiling import Tile, Tiling, frame_cells, hand_over

FLAGS = (CUT, EDGE, BESIDE_NODATA, POOL)


@dataclass(frozen=True)
class TerrainWindow:
    """A window of terrain as tiles read it.

    Attributes
    ----------
    index : TerrainIndex
    max_void_cells : int
        As of `snakeshed.terrain.Terrain`.
    row, column, height, width : int
        The window, in absolute cells.
    run : str
        Keeps files open, as in `snakeshed.terrain.terrain_of`.
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
        # A gap that reaches farther than this is too large for a void, wherever it ends; one that
        # does not, and the data that it may enclose, are seen whole.
        margin = self.max_void_cells + 1
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
        """Return the sizes of cells in rows of the window, from -1 on."""
        return self.index.lattice.rows(self.row + first, count)

    @cached_property
    def dtype(self) -> np.dtype:
        """Type in which the elevations of the whole window are exact."""
        if not self.index.is_native:
            return np.dtype(np.float64)
        return np.result_type(np.float32, *(tile.exact_dtype for tile in self.index.tiles))

    @property
    def _terrain(self) -> Terrain:
        return terrain_of(self.index, self.max_void_cells, self.run)


@dataclass(frozen=True)
class TiledWindow:
    """A routed window in files.

    Attributes
    ----------
    job : Job
        Its folder has the arrays of `snakeshed.tiled.TiledDrainage`, and ``flags``, those of
        `snakeshed.routed.Routed`.
    lattice : Lattice
    row, column : int
        Absolute cell of the north-western corner.
    """

    job: Job
    lattice: Lattice
    row: int
    column: int

    @classmethod
    def route(
        cls, source: TerrainWindow, edge: int, backwater_m: float, folder: str, run: Map
    ) -> TiledWindow:
        """Route a window.

        Parameters
        ----------
        source : TerrainWindow
        edge : int
            Side of a tile in cells, at most; no result depends on it.
        backwater_m : float
            As in `snakeshed.patches.PatchPyramid`.
        folder : str
            For the files; all workers see it.
        run : callable
            Such as `snakeshed.backends.Backend.map`.
        """
        lattice = source.index.lattice
        tiling = Tiling.of_size(source.height, source.width, edge)
        drainage = route_tiled(source, tiling, folder, run, source.dtype, lattice.geographic)
        _find_flags(drainage, backwater_m, run)
        return cls(drainage.job, lattice, source.row, source.column)

    def around(self, site: Site, radius_m: float) -> Routed:
        """Read the cells within a radius of a site."""
        tiling = self.job.tiling
        row, column = self.lattice.cell_of(site.x, site.y)
        geometry = self.lattice.rows(row, 1)
        box = box_of(row, column, geometry.width_m[0], geometry.height_m[0], radius_m)
        top, left = max(self.row - 1, box[0]), max(self.column - 1, box[1])
        bottom = min(self.row + tiling.height + 1, box[2])
        right = min(self.column + tiling.width + 1, box[3])
        return self._piece(top, left, bottom - top, right - left)

    def catchment_at(self, row: int, column: int) -> Routed:
        """Read the box around the catchment of an absolute cell, with a ring around.

        The box has to fit in the memory of one worker.
        """
        tiling = self.job.tiling
        tile = tiling.tile_at(row - self.row, column - self.column)
        outlet = (row - self.row - tile.row + 1) * (tile.width + 2)
        outlet += column - self.column - tile.column + 1
        starts = {tile: (np.array([outlet]), np.array([OUTSIDE], np.uint8))}
        first_row, last_row, first_column, last_column = row, row, column, column
        while starts:
            tile, (cells, towards) = starts.popitem()
            directions = self.job.load("directions", tile)
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
        """Read absolute cells, of the window or the ring around it."""
        areas = self._read("areas", 0, row, column, height, width) if self._geographic else None
        return Routed(
            self.lattice,
            row,
            column,
            self.lattice.rows(row, height),
            self._read("directions", NODATA, row, column, height, width),
            self._read("counts", 0, row, column, height, width),
            None if areas is None else areas / 1e6,
            self._read("flags", 0, row, column, height, width),
        )

    @property
    def _geographic(self) -> bool:
        return self.job.areas

    def _read(
        self, name: str, beyond: int, row: int, column: int, height: int, width: int
    ) -> np.ndarray:
        tiling = self.job.tiling
        row, column = row - self.row, column - self.column
        top, left = max(0, row), max(0, column)
        bottom, right = min(tiling.height, row + height), min(tiling.width, column + width)
        known = self.job.read(name, top, left, bottom - top, right - left)
        values = np.full((height, width), beyond, known.dtype)
        values[top - row : bottom - row, left - column : right - column] = known
        return values


# --- Flags


def _find_flags(drainage: TiledDrainage, backwater_m: float, run: Map) -> None:
    """Write the flags of all cells: what all that drains through them lies beside."""
    job = drainage.job
    marks = _mark_water_at_rim(job, backwater_m, run)
    tasks = [(tile, marks.get(tile)) for tile in job.tiling.tiles]
    leaving = dict(zip(job.tiling.tiles, run(partial(_spread, job), tasks), strict=True))
    passage = drainage.passage
    at_exits = np.concatenate([leaving[tile] for tile in job.tiling.tiles])[passage.exits]
    coming = np.zeros(passage.links.size, np.uint8)
    for flag in FLAGS:
        # How many of the exits upstream have it.
        coming[passage.coming((at_exits & flag != 0).astype(np.int64)) > 0] |= flag
    entering = [(tile, passage.frame_of(tile, coming)) for tile in job.tiling.tiles]
    for _ in run(partial(_spread_in, job), entering):
        pass
    job.forget("own-flags", *set(marks.values()))


def _mark_water_at_rim(job: Job, rise: float, run: Map) -> dict[Tile, str]:
    """Mark pools that the rim cuts, and backwater from beyond it; return where the marks are."""
    marks: dict[Tile, str] = {}
    pools: dict[Tile, np.ndarray] = {}
    water: dict[Tile, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for tile, (cut, exits, levels) in zip(
        job.tiling.tiles, run(partial(_find_cut, job), job.tiling.tiles), strict=True
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
        for task, (told, waters) in zip(tasks, run(partial(_mark, job), tasks), strict=True):
            tile = task[0]
            marks[tile] = task[2]
            for other, _, there in hand_over(job.tiling, tile, told):
                found_pools[other].append(there)
            cells, levels, towards = waters
            for other, which, there in hand_over(job.tiling, tile, cells):
                found_water[other].append((there, levels[which], towards[which]))
        pools = {tile: np.concatenate(parts) for tile, parts in found_pools.items()}
        water = {
            tile: tuple(map(np.concatenate, zip(*parts, strict=True)))
            for tile, parts in found_water.items()
        }
    return marks


def _find_cut(job: Job, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the cut pools of a tile; and where water leaves at cut cells, and at which level."""
    cut = np.flatnonzero(job.load("border", tile) & CUT)
    pools = cut[job.load("pools", tile).reshape(-1)[cut]]
    exits = cut[job.load("directions", tile).reshape(-1)[cut] == OUTSIDE]
    return pools, exits, job.load("filled", tile).reshape(-1)[exits].astype(np.float64)


def _mark(job: Job, task: tuple) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mark the water of a tile from some cells on, and tell to which cells around it goes on."""
    tile, before, after, pools, water = task
    shape = tile.height + 2, tile.width + 2
    marks = np.zeros(shape, np.uint8) if before is None else np.array(job.load(before, tile))
    directions = job.load("directions", tile)
    told = np.empty(0, np.int64)
    if pools is not None:
        told = flood_pools(job.load("pools", tile), directions, marks, pools)
    waters = told[:0], np.empty(0), np.empty(0, np.uint8)
    if water is not None:
        waters = back_up(job.load("filled", tile), directions, marks, *water)
    job.save(after, tile, marks)
    return told, waters


def _spread(job: Job, task: tuple[Tile, str | None]) -> np.ndarray:
    """Spread the flags of a tile down its own flow paths, and return those along its sides."""
    tile, marks = task
    flags = np.array(job.load("border", tile))
    if marks is not None:
        inside = job.load(marks, tile)[1:-1, 1:-1]
        flags[1:-1, 1:-1][inside & MARKED != 0] |= POOL
    sides = frame_cells(tile.height, tile.width)
    spread_downstream(_within(job, tile), flags)
    job.save("own-flags", tile, flags)
    return flags.reshape(-1)[sides]


def _spread_in(job: Job, task: tuple[Tile, np.ndarray]) -> None:
    """Spread what comes in from other tiles."""
    tile, coming = task
    flags = np.array(job.load("own-flags", tile))
    if coming.any():
        fresh = np.zeros(flags.shape, np.uint8)
        sides = frame_cells(tile.height, tile.width)
        np.bitwise_or.at(fresh.reshape(-1), sides, coming)
        spread_downstream(_within(job, tile), fresh)
        flags |= fresh
    job.save("flags", tile, flags)


def _within(job: Job, tile: Tile) -> np.ndarray:
    """Directions of a tile, `OUTSIDE` where they lead to another one."""
    directions = np.array(job.load("directions", tile))
    directions.reshape(-1)[job.load("exits", tile)] = OUTSIDE
    return directions
