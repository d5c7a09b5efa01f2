"""Carving by tiles: the directions of `snakeshed.kernels.carving.carve`, whatever the tiles.

Each tile tells of the pieces of basins that reach its sides, and of the lowest saddles between
them. Put together, the pieces are the basins of the window, and one tree joins them to the outside;
it tells each tile by which saddle its basins drain, and the paths from there down to the pits are
reversed, from tile to tile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from snakeshed.kernels.basin_graph import saddles
from snakeshed.kernels.carving import check_drained
from snakeshed.kernels.d8 import FLAT, neighbour_offsets, opposite
from snakeshed.kernels.tiled.basins import contract, spanning_edges
from snakeshed.kernels.tiled.carving import label_pieces, orient, reverse_paths
from snakeshed.kernels.tiled.sides import frame, frame_cells
from snakeshed.tiled.basins import in_window, number_sides
from snakeshed.tiled.directions import direct_ground
from snakeshed.tiled.store import Map, TileStore, components, read_ground, records
from snakeshed.tiled.tiling import (
    Tile,
    Tiling,
    cells_beside_lines,
    hand_over,
    lines_between,
    place_in_frame,
    touching,
)

DEEP = np.iinfo(np.int64).max


def carve_all(store: TileStore, run: Map) -> None:
    """Direct all cells of a window, uphill out of depressions, exactly as `Grid.route` does.

    Parameters
    ----------
    store : TileStore
        Receives ``directions``, ``border`` and, as ``filled``, the elevations as they are. What
        `snakeshed.tiled.routing.fill_all` has left there under these names is replaced.
    run : callable
        Such as `snakeshed.backends.local.Backend.map`.

    Raises
    ------
    ValueError
        If a connected piece of the data has no cell that may drain outside.
    """
    tiles = store.tiling.tiles
    ground = dict(zip(tiles, run(partial(read_ground, store), tiles), strict=True))
    direct_ground(store, run, ground)
    names = _reverse_all(store, run, _join_basins(store, run))
    direct_ground(store, run, ground, given=names)
    store.forget(*set(names.values()))


@dataclass(frozen=True)
class _Pieces:
    """What a tile tells of its pieces of basins; those at its sides have numbers from 1.

    Attributes
    ----------
    numbers : int
    first, second, level, saddle, edge : ndarray, shape (n,)
        Numbers on both sides of a saddle, its level and its place in the window, and which edge of
        the tile's own tree it is.
    number_frame, z_frame, pit_frame : ndarray, shape (frame,)
        Numbers, elevations, and which cells are of a pit.
    exits, leads_to : ndarray of int64, shape (m,)
        Numbers of the pieces that leave the tile, and the cells of the ring that they lead to.
    """

    numbers: int
    first: np.ndarray
    second: np.ndarray
    level: np.ndarray
    saddle: np.ndarray
    edge: np.ndarray
    number_frame: np.ndarray
    z_frame: np.ndarray
    pit_frame: np.ndarray
    exits: np.ndarray
    leads_to: np.ndarray


@dataclass(frozen=True)
class _Share:
    """What a tile is told: which edges of its tree are chosen, and of its numbers, from 0 on.

    Attributes
    ----------
    edges : ndarray of int64
    basins : ndarray of int64
        Basins of the window.
    depths : ndarray of int64
        How far each is from the outside.
    cells, onward : ndarray
        Where paths begin whose saddle is on the line to another tile, and the code there.
    """

    edges: np.ndarray
    basins: np.ndarray
    depths: np.ndarray
    cells: np.ndarray
    onward: np.ndarray


def _gather_pieces(store: TileStore, tile: Tile) -> _Pieces:
    directions = store.load("directions", tile)
    z = store.load("filled", tile)
    sides = frame_cells(tile.height, tile.width)
    labels, pieces, exits = label_pieces(directions, np.unique(sides))
    first, second, level, saddle = saddles(z, store.load("border", tile), labels)
    tree = spanning_edges(pieces, first, second, level, saddle)
    first, second, level, saddle = first[tree], second[tree], level[tree], saddle[tree]
    number_of, number_frame = number_sides(labels, pieces, sides)
    store.save("numbers", tile, number_of)
    told, one, other = contract(pieces, first, second, number_of.copy())
    edge = np.flatnonzero(told)
    # Which of the two basins the first cell of a saddle is of.
    basin = np.maximum(labels.reshape(-1)[saddle // 8], 0)
    tree = records(first=first, second=second, saddle=saddle, basin=basin, told=told)
    store.save("tree", tile, tree)
    cell, code = np.divmod(saddle[edge], 8)
    row, column = np.divmod(cell, tile.width + 2)
    absolute = (row + tile.row) * (store.tiling.width + 2) + column + tile.column
    codes = directions.reshape(-1)
    return _Pieces(
        int(number_of.max()),
        one,
        other,
        level[edge],
        absolute * 8 + code,
        edge,
        number_frame,
        frame(z[1:-1, 1:-1]),
        codes[sides] == FLAT,
        number_of[labels.reshape(-1)[exits]],
        exits + neighbour_offsets(tile.width + 2)[codes[exits]],
    )


def _join_basins(store: TileStore, run: Map) -> dict[Tile, _Share]:
    """Put the pieces of basins together, and find how the basins drain."""
    tiles = store.tiling.tiles
    told = dict(zip(tiles, run(partial(_gather_pieces, store), tiles), strict=True))
    return _WindowBasins(store.tiling, told).shares()


@dataclass(frozen=True)
class _Saddles:
    """Saddles between basins of the window.

    Attributes
    ----------
    first, second, level, saddle : ndarray, shape (n,)
        The basins, and the saddle's level and place in the window.
    tile : ndarray of int64, shape (n,)
        Number of the tile in which it lies, -1 on a line between tiles.
    edge : ndarray of int64, shape (n,)
        Which edge of that tile's tree it is.
    """

    first: np.ndarray
    second: np.ndarray
    level: np.ndarray
    saddle: np.ndarray
    tile: np.ndarray
    edge: np.ndarray

    def pick(self, which: np.ndarray) -> _Saddles:
        """Return some of them."""
        return _Saddles(*(getattr(self, one.name)[which] for one in fields(self)))


class _WindowBasins:
    """The basins of a window, put together from what all tiles tell of theirs.

    Parameters
    ----------
    tiling : Tiling
    told : dict of Tile to _Pieces
    """

    def __init__(self, tiling: Tiling, told: dict[Tile, _Pieces]) -> None:
        self._tiling = tiling
        self._told = told
        ends = np.cumsum([0, *(told[tile].numbers for tile in tiling.tiles)]).tolist()
        self._before = dict(zip(tiling.tiles, ends, strict=False))
        self._pieces = ends[-1]
        self._frames = {tile: self._known(tile, told[tile].number_frame) for tile in tiling.tiles}
        self._basin_of, self._basins = self._unite()

    def shares(self) -> dict[Tile, _Share]:
        """Choose the saddles of the tree, and tell each tile of those that concern it."""
        saddles = self._saddles()
        tree = spanning_edges(
            self._basins, saddles.first, saddles.second, saddles.level, saddles.saddle
        )
        check_drained(tree, self._basins)
        chosen = saddles.pick(tree)
        top = np.ones(self._basins + 1, np.int64)
        top[0] = 0
        up, depths = orient(top.size, chosen.first, chosen.second, top)
        begins = self._begins(chosen, up)
        shares = {}
        for number, tile in enumerate(self._tiling.tiles):
            basins = self._basin_of[self._known(tile, np.arange(self._told[tile].numbers + 1))]
            begin = np.array(begins[tile], np.int64).reshape(-1, 2)
            shares[tile] = _Share(
                chosen.edge[chosen.tile == number],
                basins,
                depths[basins],
                begin[:, 0],
                begin[:, 1].astype(np.uint8),
            )
        return shares

    def _known(self, tile: Tile, numbers: np.ndarray) -> np.ndarray:
        """Numbers in the window of a tile's own; 0 stays the outside."""
        return in_window(numbers, self._before[tile])

    def _unite(self) -> tuple[np.ndarray, int]:
        """Basin of the window that each numbered piece belongs to, 0 the outside; and how many."""
        ones, others = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for tile in self._tiling.tiles:
            told = self._told[tile]
            exits = self._known(tile, told.exits)
            for other, which, there in hand_over(self._tiling, tile, told.leads_to):
                ones.append(exits[which])
                others.append(self._frames[other][place_in_frame(other, there)])
        pits = {tile: told.pit_frame for tile, told in self._told.items()}
        for (here, there), (pit, beside) in zip(
            lines_between(self._tiling, self._frames),
            lines_between(self._tiling, pits),
            strict=True,
        ):
            for one, other in touching(here.size):
                # They are of one level, as neither has a lower neighbour.
                both = pit[one] & beside[other]
                ones.append(here[one][both])
                others.append(there[other][both])
        count, piece = components(self._pieces + 1, np.concatenate(ones), np.concatenate(others))
        # The outside is 0, whichever was found first.
        outside = piece[0]
        return np.where(piece == outside, 0, piece + (piece < outside)), count - 1

    def _saddles(self) -> _Saddles:
        """All saddles between basins that tiles have told of, and those on lines between tiles."""
        parts = list(self._saddles_on_lines())
        for number, tile in enumerate(self._tiling.tiles):
            told = self._told[tile]
            parts.append(
                _Saddles(
                    self._basin_of[self._known(tile, told.first)],
                    self._basin_of[self._known(tile, told.second)],
                    told.level,
                    told.saddle,
                    np.full(told.edge.size, number),
                    told.edge,
                )
            )
        names = [one.name for one in fields(_Saddles)]
        found = _Saddles(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in names)
        )
        return found.pick(found.first != found.second)

    def _saddles_on_lines(self) -> Iterator[_Saddles]:
        tiling = self._tiling
        columns = tiling.width + 2
        z = {tile: told.z_frame for tile, told in self._told.items()}
        lines = zip(
            cells_beside_lines(tiling),
            lines_between(tiling, self._frames),
            lines_between(tiling, z),
            strict=True,
        )
        for (ours, theirs), (here, there), (low, high) in lines:
            for one, other in touching(here.size):
                data = ~(np.isnan(low[one]) | np.isnan(high[other]))
                a, b = ours[one][data], theirs[other][data]
                # A saddle is written down from the cell that comes first, row by row.
                first = np.minimum(a, b)
                step = np.maximum(a, b) - first
                code = np.select([step == 1, step == columns + 1, step == columns], [3, 4, 5], 6)
                nowhere = np.full(first.size, -1)
                yield _Saddles(
                    self._basin_of[here[one][data]],
                    self._basin_of[there[other][data]],
                    np.maximum(low[one][data], high[other][data]),
                    first * 8 + code,
                    nowhere,
                    nowhere,
                )

    def _begins(self, chosen: _Saddles, up: np.ndarray) -> dict[Tile, list[tuple[int, int]]]:
        """Where the paths of basins begin that drain over a line: flat indices, and codes there."""
        tiling = self._tiling
        columns = tiling.width + 2
        offsets = neighbour_offsets(columns)
        begins = defaultdict(list)
        on_line = np.flatnonzero(up >= 0)
        on_line = on_line[chosen.tile[up[on_line]] < 0]
        for basin in on_line.tolist():
            cell, code = divmod(int(chosen.saddle[up[basin]]), 8)
            beyond = cell + int(offsets[code]), opposite(code)
            for at, onward in ((cell, code), beyond):
                row, column = divmod(at, columns)
                tile = tiling.tile_at(row - 1, column - 1)
                local = (row - tile.row) * (tile.width + 2) + column - tile.column
                (place,) = place_in_frame(tile, np.array([local]))
                if self._basin_of[self._frames[tile][place]] == basin:
                    begins[tile].append((local, onward))
        return begins


def _reverse_all(store: TileStore, run: Map, shares: dict[Tile, _Share]) -> dict[Tile, str]:
    """Reverse the path of each basin, from tile to tile; return where the directions are then."""
    names = dict.fromkeys(store.tiling.tiles, "directions")
    number = 0
    tasks = [(tile, "directions", "reversed0", shares[tile]) for tile in store.tiling.tiles]
    step = _reverse_own
    while tasks:
        going_on: dict[Tile, list] = defaultdict(list)
        for task, (cells, onward) in zip(tasks, run(partial(step, store), tasks), strict=True):
            names[task[0]] = task[2]
            for other, which, there in hand_over(store.tiling, task[0], cells):
                going_on[other].append((there, onward[which]))
        number += 1
        step = _reverse_on
        # What a task reads is never what it writes, so that it can be done again.
        tasks = []
        for tile in sorted(going_on):
            parts = zip(*going_on[tile], strict=True)
            begin = tuple(np.concatenate(part) for part in parts)
            tasks.append((tile, names[tile], f"reversed{number}", begin))
    given_up = {f"reversed{one}" for one in range(number)} - set(names.values())
    store.forget("tree", "numbers", *given_up)
    return names


def _reverse_own(
    store: TileStore, task: tuple[Tile, str, str, _Share]
) -> tuple[np.ndarray, np.ndarray]:
    """Reverse the paths that begin at saddles of a tile, and those that begin on its sides."""
    tile, before, after, share = task
    tree = store.load("tree", tile)
    number_of = store.load("numbers", tile)
    # Pieces of one basin are one node. Those inside the tile are basins of their own.
    names, own = np.unique(share.basins, return_inverse=True)
    inside = np.flatnonzero(number_of < 0)
    node_of = np.empty(number_of.size, np.int64)
    node_of[inside] = names.size + np.arange(inside.size)
    numbered = np.flatnonzero(number_of >= 0)
    node_of[numbered] = own[number_of[numbered]]
    depth = np.full(names.size + inside.size, DEEP, np.int64)
    depth[own] = share.depths
    # An edge between numbered pieces counts if it is chosen; others lead to pieces inside.
    told = tree["told"].copy()
    told[share.edges] = False
    edges = np.flatnonzero(~told)
    first, second = node_of[tree["first"][edges]], node_of[tree["second"][edges]]
    up, _ = orient(depth.size, first, second, depth)
    nodes = np.flatnonzero(up >= 0)
    saddle = tree["saddle"][edges[up[nodes]]]
    cells, codes = saddle // 8, saddle % 8
    here = node_of[tree["basin"][edges[up[nodes]]]] == nodes
    offsets = neighbour_offsets(tile.width + 2)
    cells = np.where(here, cells, cells + offsets[codes])
    onward = np.where(here, codes, opposite(codes)).astype(np.uint8)
    directions = store.copy(before, tile)
    result = reverse_paths(
        directions, np.concatenate([cells, share.cells]), np.concatenate([onward, share.onward])
    )
    store.save(after, tile, directions)
    return result


def _reverse_on(store: TileStore, task: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Reverse paths that come from other tiles."""
    tile, before, after, (cells, onward) = task
    directions = store.copy(before, tile)
    result = reverse_paths(directions, cells, onward)
    store.save(after, tile, directions)
    return result
