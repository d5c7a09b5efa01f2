"""Routing by tiles: a window too large for one worker, drained exactly as if it were one array.

What a tile has to know of the others goes through this module, as frames and rings of it (see
`snakeshed.tiling`); all else a tile writes to a folder that all workers see, and reads again.
The steps are those of `snakeshed.grid.Grid.route`: the levels of depressions, the filled surface,
its directions, those in flats, and what drains through each cell. A step that failed, or was done
twice, can be done again: no task changes what it reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from snakeshed.kernels.accumulation import accumulate, count_upslope
from snakeshed.kernels.conditioning import _raise_rows, label_basins, saddles, spill_levels
from snakeshed.kernels.directions import (
    FLAT,
    OUTSIDE,
    index_type,
    neighbour_offsets,
    steepest_descent,
    steepest_descent_inside,
)
from snakeshed.kernels.flats import resolve_flats
from snakeshed.kernels.tile_basins import contract, spanning_edges
from snakeshed.kernels.tile_flats import FAR, direct, share_flats, shorten
from snakeshed.kernels.tile_links import NOWHERE, link_sides, pass_through, spread_inflow
from snakeshed.lattice import RowGeometry
from snakeshed.tables import atomic
from snakeshed.tiling import (
    Tile,
    Tiling,
    frame,
    frame_cells,
    hand_over,
    lay_ring,
    lines_between,
    place_in_frame,
    ring,
    touching,
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
        """Return the sizes of cells in rows of the window, from -1 on."""


@dataclass(frozen=True)
class Job:
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
        with atomic(self.path(name, tile), lasting=False) as part:
            np.save(part, values)

    def load(self, name: str, tile: Tile) -> np.ndarray:
        """Return an array of a tile as it lies in its file; it cannot be written to."""
        return np.load(self.path(name, tile), mmap_mode="r")

    def inflow(self, name: str, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows and columns in the tile of the cells that water from others passes through.

        With how much of it does: cells or mm2.
        """
        cells = self.load("inflow", tile)
        rows, columns = np.divmod(cells[:, 0], tile.width + 2)
        return rows - 1, columns - 1, cells[:, 1 + SUMS.index(name)]

    def forget(self, *names: str) -> None:
        """Delete arrays of all tiles."""
        for name in names:
            for tile in self.tiling.tiles:
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
        By which exit the water of each cell leaves the tile, `NOWHERE` for none.
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


@dataclass(frozen=True)
class TiledDrainage:
    """Where the water of a window goes, in files of its tiles.

    Attributes
    ----------
    job : Job
        ``filled``, ``directions``, ``counts`` and, if they were asked for, ``areas`` in mm2; and
        ``pools``, the cells that filling raised or that have no lower neighbour, and ``border``:
        arrays of its folder, to be read by `read`.
    passage : Passage
    """

    job: Job
    passage: Passage

    def read(self, name: str, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Read a piece of the window, as `Job.read` does."""
        return self.job.read(name, row, column, height, width)


def route_tiled(
    source: Source,
    tiling: Tiling,
    folder: str,
    run: Map,
    dtype: type = np.float32,
    areas: bool = False,
) -> TiledDrainage:
    """Drain a window tile by tile, exactly as `snakeshed.grid.Grid.route` drains it as one array.

    Each worker needs room for a tile, not for the window: some 40 bytes for each of its cells.

    Parameters
    ----------
    source : Source
    tiling : Tiling
        No result depends on it.
    folder : str
        Where arrays of tiles are kept, up to 20 bytes for each cell; all workers see it.
    run : callable
        Such as `snakeshed.backends.Backend.map`.
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
    job = Job(source, tiling, folder, np.dtype(dtype).name, areas)
    levels = _window_levels(job, run)
    tasks = list(zip(tiling.tiles, levels, strict=True))
    filled = dict(zip(tiling.tiles, run(partial(_raise, job), tasks), strict=True))
    job.forget("ground", "labels", "tree", "numbers")
    direct_all(job, run, filled)
    return TiledDrainage(job, count_all(job, run))


# --- Depressions


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


def _window_levels(job: Job, run: Map) -> list[np.ndarray]:
    """Find the level of each numbered basin of each tile."""
    tiles = job.tiling.tiles
    first, second, level = [], [], []
    number_frames, z_frames = {}, {}
    ends = [0]
    for tile, told in zip(tiles, run(partial(_gather_basins, job), tiles), strict=True):
        first.append(in_window(told.first, ends[-1]))
        second.append(in_window(told.second, ends[-1]))
        level.append(told.level)
        number_frames[tile] = in_window(told.number_frame, ends[-1])
        z_frames[tile] = told.z_frame
        ends.append(ends[-1] + told.numbers)
    for (here, there), (low, high) in zip(
        lines_between(job.tiling, number_frames), lines_between(job.tiling, z_frames), strict=True
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


def _gather_basins(job: Job, tile: Tile) -> _Basins:
    """Label the basins of a tile as if it were a window, but for the ways outside at its sides."""
    z, outlets = _read(job, tile)
    job.save("ground", tile, z)
    job.save("border", tile, outlets)
    directions = steepest_descent(z, outlets, *_sizes(job, tile))
    resolve_flats(z, directions)
    labels, basins = label_basins(directions)
    del directions
    first, second, level, saddle = saddles(z, outlets, labels, basins)
    del outlets
    tree = spanning_edges(basins, first, second, level, saddle)
    first, second, level = first[tree], second[tree], level[tree]
    number_of, number_frame = number_sides(labels, basins, frame_cells(tile.height, tile.width))
    job.save("labels", tile, labels)
    job.save("numbers", tile, number_of)
    job.save("tree", tile, records(first=first, second=second, level=level))
    edges, one, other = contract(basins, first, second, number_of)
    z_frame = frame(z[1:-1, 1:-1])
    return _Basins(int(number_of.max()), one, other, level[edges], number_frame, z_frame)


def records(**columns: np.ndarray) -> np.ndarray:
    """Put columns of the same length together in one array, to be kept in one file."""
    table = np.empty(
        len(next(iter(columns.values()))), [(name, one.dtype) for name, one in columns.items()]
    )
    for name, one in columns.items():
        table[name] = one
    return table


def _read(job: Job, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Read elevations and border of a tile, padded."""
    ground, border = job.source.read(tile.row, tile.column, tile.height, tile.width)
    z = np.full((tile.height + 2, tile.width + 2), np.nan, job.dtype)
    z[1:-1, 1:-1] = ground
    outlets = np.zeros(z.shape, np.uint8)
    outlets[1:-1, 1:-1] = border
    return z, outlets


def read_ground(job: Job, tile: Tile) -> np.ndarray:
    """Take the ground of a tile for the surface on which water runs, and return its frame."""
    z, outlets = _read(job, tile)
    job.save("filled", tile, z)
    job.save("border", tile, outlets)
    return frame(z[1:-1, 1:-1])


def _raise(job: Job, task: tuple[Tile, np.ndarray]) -> np.ndarray:
    """Fill the depressions of a tile, and return the frame of the filled surface."""
    tile, levels_at_sides = task
    tree, number_of = job.load("tree", tile), job.load("numbers", tile)
    at_sides = np.flatnonzero(number_of > 0).astype(tree["first"].dtype)
    # What is known of the levels at the sides stands for all ways through other tiles.
    first = np.concatenate([tree["first"], at_sides])
    second = np.concatenate([tree["second"], np.zeros_like(at_sides)])
    level = np.concatenate([tree["level"], levels_at_sides])
    levels = spill_levels(number_of.size - 1, first, second, level, np.arange(first.size))
    ground = job.load("ground", tile)
    filled = np.array(ground)
    _raise_rows(filled, job.load("labels", tile), levels, 1, tile.height + 1)
    job.save("filled", tile, filled)
    job.save("raised", tile, filled > ground)
    return frame(filled[1:-1, 1:-1])


# --- Directions


def direct_all(
    job: Job, run: Map, filled: dict[Tile, np.ndarray], given: Mapping[Tile, str] | None = None
) -> None:
    """Find the directions, and drain the flats that reach over the sides of tiles.

    Parameters
    ----------
    job : Job
        With ``filled`` and ``border``.
    run : callable
    filled : dict of Tile to ndarray
        Frames of the surface.
    given : mapping of Tile to str, optional
        Names of directions that are there, to be found only where they are still `FLAT`.
    """
    tiling = job.tiling
    levels = {tile: ring(tiling, tile, filled, np.nan) for tile in tiling.tiles}
    tasks = [(tile, levels[tile], given and given[tile]) for tile in tiling.tiles]
    distances: dict[Tile, np.ndarray] = {}
    sharing: set[Tile] = set()
    for tile, (shared, known) in zip(tiling.tiles, run(partial(_descend, job), tasks), strict=True):
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
        for tile, shorter in zip(waiting, run(partial(_shorten, job), tasks), strict=True):
            if not np.array_equal(shorter, distances[tile]):
                distances[tile] = shorter
                changed.update(tiling.neighbours(tile))
        waiting = changed & sharing
    tasks = [(tile, levels[tile], ring(tiling, tile, distances, -1)) for tile in sorted(sharing)]
    for _ in run(partial(_direct, job), tasks):
        pass
    job.forget("shared", "distances", "raised")


def _descend(job: Job, task: tuple[Tile, np.ndarray, str | None]) -> tuple[bool, np.ndarray]:
    """Find the directions of a tile but in flats that others share; tell the distances there."""
    tile, around, given = task
    filled = np.array(job.load("filled", tile))
    lay_ring(filled, around)
    if given is not None:
        directions = np.array(job.load(given, tile))
    else:
        directions = steepest_descent_inside(filled, job.load("border", tile), *_sizes(job, tile))
    if job.path("raised", tile).exists():  # filled, not carved
        # Water stands, or may: where no neighbour is lower, and where filling raised the ground.
        pools = (directions == FLAT) | (directions == OUTSIDE) | job.load("raised", tile)
        job.save("pools", tile, pools)
        del pools
    cells, levels, exits = share_flats(filled, directions)
    resolve_flats(filled, directions)
    job.save("shared", tile, records(cell=cells, level=levels, exit=exits))
    distances = np.where(exits != 0, np.int32(1), FAR)
    job.save("distances", tile, distances)
    job.save("directions", tile, directions)
    return bool(cells.size), _distance_frame(tile, cells, distances)


def _shared_flats(job: Job, task: tuple[Tile, np.ndarray, np.ndarray]) -> tuple:
    """Gather what is known of the shared cells of a tile: the arguments of the kernels."""
    tile, levels_around, distances_around = task
    shared = job.load("shared", tile)
    cells, levels, exits = (shared[name].copy() for name in ("cell", "level", "exit"))
    shape = tile.height + 2, tile.width + 2
    distances = np.array(job.load("distances", tile))
    return shape, cells, levels, exits, distances, levels_around, distances_around


def _shorten(job: Job, task: tuple[Tile, np.ndarray, np.ndarray]) -> np.ndarray:
    """Shorten the distances of a tile's shared cells, and tell those at its sides."""
    known = _shared_flats(job, task)
    distances = shorten(*known)
    job.save("distances", task[0], distances)
    return _distance_frame(task[0], known[1], distances)


def _direct(job: Job, task: tuple[Tile, np.ndarray, np.ndarray]) -> None:
    """Give the shared cells of a tile their directions."""
    known = _shared_flats(job, task)
    directions = np.array(job.load("directions", task[0]))
    directions.reshape(-1)[known[1]] = direct(*known)
    job.save("directions", task[0], directions)


def _distance_frame(tile: Tile, cells: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the steps to an exit from each cell of a tile's frame: 0 where none is needed."""
    sides = frame_cells(tile.height, tile.width)
    told = np.zeros(sides.size, np.int32)
    if cells.size:
        place = np.minimum(np.searchsorted(cells, sides), cells.size - 1)
        shared = cells[place] == sides
        told[shared] = distances[place[shared]]
    return told


# --- What drains through each cell


def count_all(job: Job, run: Map) -> Passage:
    """Sum up within the tiles, then what passes from tile to tile."""
    tiling = job.tiling
    sums = SUMS if job.areas else SUMS[:1]
    starts, places, entries, links = {}, [], [], []
    leaving: dict[str, list[np.ndarray]] = {name: [] for name in sums}
    start = 0
    for tile in tiling.tiles:
        starts[tile] = start
        start += tile.frame_size
    for tile, told in zip(tiling.tiles, run(partial(_count, job), tiling.tiles), strict=True):
        places.append(told.exits + starts[tile])
        entries.append(told.exits.copy())
        for other, which, there in hand_over(tiling, tile, told.leads_to):
            entries[-1][which] = starts[other] + place_in_frame(other, there)
        links.append(np.where(told.links == NOWHERE, NOWHERE, told.links + starts[tile]))
        for name, values in zip(sums, told.leaving, strict=True):
            leaving[name].append(values)
    passage = Passage(starts, *map(np.concatenate, (places, entries, links)))
    coming = np.stack([passage.coming(np.concatenate(leaving[name])) for name in sums], axis=1)
    tasks = []
    for tile in tiling.tiles:
        here = passage.frame_of(tile, coming)
        at = np.flatnonzero(here[:, 0])
        tasks.append((tile, at, here[at]))
    for _ in run(partial(_pass_in, job), tasks):
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


def _count(job: Job, tile: Tile) -> _Links:
    """Sum up what drains through each cell of a tile from the tile itself."""
    directions = job.load("directions", tile)
    sides = frame_cells(tile.height, tile.width)
    links = link_sides(directions, sides)
    exits = np.unique(links[links != NOWHERE])
    codes = directions.reshape(-1)[sides[exits]]
    leads_to = sides[exits] + neighbour_offsets(tile.width + 2)[codes]
    job.save("exits", tile, sides[exits])
    leaving = []
    counts = count_upslope(directions)
    leaving.append(counts.reshape(counts.size)[sides[exits]].astype(np.int64))
    job.save("counts", tile, counts.astype(job.counts_dtype, copy=False))
    del counts
    if job.areas:
        mm2 = np.rint(_geometry(job, tile).area_m2 * 1e6).astype(np.int64)
        areas = accumulate(directions, np.broadcast_to(mm2[:, None], directions.shape))
        leaving.append(areas.reshape(areas.size)[sides[exits]])
        job.save("areas", tile, areas)
    return _Links(links, exits, leads_to, leaving)


def _pass_in(job: Job, task: tuple[Tile, np.ndarray, np.ndarray]) -> None:
    """Find what comes in from other tiles passes through."""
    tile, places, coming = task
    entries = frame_cells(tile.height, tile.width)[places]
    cells, passing = spread_inflow(job.load("directions", tile), entries, coming)
    job.save("inflow", tile, np.column_stack([cells, passing]))


def _geometry(job: Job, tile: Tile) -> RowGeometry:
    """Sizes of the cells in the rows of a tile's padded array."""
    return job.source.rows(tile.row - 1, tile.height + 2)


def _sizes(job: Job, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of the cells in the rows of a tile's padded array, in metres."""
    geometry = _geometry(job, tile)
    return geometry.width_m, geometry.height_m
