"""Tiles: the pieces that a window too large for one worker is cut into, and what passes between.

All that a tile tells the others is its frame: what it knows of the cells along its four sides. All
that it is told is its ring: what the tiles around it know of the cells beside its own.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, order=True)
class Tile:
    """One tile of a window, and the place of its first cell there.

    Attributes
    ----------
    i, j : int
        Row and column of the tile among the tiles.
    row, column : int
        Of its north-western cell in the window.
    height, width : int
        Cells.
    """

    i: int
    j: int
    row: int
    column: int
    height: int
    width: int

    @property
    def frame_size(self) -> int:
        """Length of an array that tells something of each cell along the sides (see `frame`)."""
        return 2 * (self.height + self.width)


@dataclass(frozen=True)
class Tiling:
    """A window cut into tiles by lines from side to side.

    Attributes
    ----------
    rows, columns : tuple of int
        Where the tiles begin, and where the last one ends: ascending, from 0.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of_size(cls, height: int, width: int, edge: int) -> Tiling:
        """Cut a window into tiles of about the same size, none with sides of more than `edge`.

        Parameters
        ----------
        height, width : int
            Cells of the window.
        edge : int
            Cells, positive.
        """

        def cuts(length: int) -> tuple[int, ...]:
            count = -(-length // edge)
            return tuple(length * number // count for number in range(count + 1))

        return cls(cuts(height), cuts(width))

    def __post_init__(self) -> None:
        for name, cuts in (("rows", self.rows), ("columns", self.columns)):
            if len(cuts) < 2 or cuts[0] != 0 or any(b <= a for a, b in pairwise(cuts)):
                raise ValueError(f"{name} {cuts}: expected ascending numbers from 0")

    @property
    def height(self) -> int:
        """Rows of the window."""
        return self.rows[-1]

    @property
    def width(self) -> int:
        """Columns of the window."""
        return self.columns[-1]

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        return tuple(
            Tile(i, j, top, left, bottom - top, right - left)
            for i, (top, bottom) in enumerate(pairwise(self.rows))
            for j, (left, right) in enumerate(pairwise(self.columns))
        )

    def tile(self, i: int, j: int) -> Tile | None:
        """Return a tile by its place among the tiles, None beyond the window."""
        if 0 <= i < len(self.rows) - 1 and 0 <= j < len(self.columns) - 1:
            return self.tiles[i * (len(self.columns) - 1) + j]
        return None

    def tile_at(self, row: int, column: int) -> Tile:
        """Return the tile of a cell of the window."""
        return self.tile(bisect(self.rows, row) - 1, bisect(self.columns, column) - 1)

    def neighbours(self, tile: Tile) -> list[Tile]:
        """Return the tiles that a tile touches, at their sides and corners."""
        around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        found = (self.tile(tile.i + i, tile.j + j) for i, j in around)
        return [each for each in found if each is not None]

    def tiles_of(self, row: int, column: int, height: int, width: int) -> list[Tile]:
        """Return the tiles that share cells with a piece of the window."""
        return [
            tile
            for tile in self.tiles
            if tile.row < row + height
            and row < tile.row + tile.height
            and tile.column < column + width
            and column < tile.column + tile.width
        ]


def hand_over(
    tiling: Tiling, tile: Tile, cells: np.ndarray
) -> list[tuple[Tile, np.ndarray, np.ndarray]]:
    """Find whose cells those of a tile's ring are.

    Parameters
    ----------
    tiling : Tiling
    tile : Tile
    cells : ndarray of int64, shape (n,)
        Flat indices in the padded array of the tile, of cells of its ring.

    Returns
    -------
    list of (Tile, ndarray of int64, ndarray of int64)
        Each tile that has any of them, the places of these in `cells`, and their flat indices in
        the padded array of that tile. Those beyond the window are left out.
    """
    rows, columns = np.divmod(cells, tile.width + 2)
    rows, columns = rows + tile.row - 1, columns + tile.column - 1
    owners = []
    for other in tiling.neighbours(tile):
        there = (other.row <= rows) & (rows < other.row + other.height)
        there &= (other.column <= columns) & (columns < other.column + other.width)
        which = np.flatnonzero(there)
        if which.size:
            row, column = rows[which] - other.row + 1, columns[which] - other.column + 1
            owners.append((other, which, row * (other.width + 2) + column))
    return owners


def place_in_frame(tile: Tile, cells: np.ndarray) -> np.ndarray:
    """Return where cells of a tile's sides are first found in its frame.

    Parameters
    ----------
    tile : Tile
    cells : ndarray of int64, shape (n,)
        Flat indices in the padded array of the tile.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    rows, columns = np.divmod(cells, tile.width + 2)
    rows, columns = rows - 1, columns - 1
    north, south = rows == 0, rows == tile.height - 1
    west = columns == 0
    across = 2 * tile.width
    return np.select(
        [north, south, west],
        [columns, tile.width + columns, across + rows],
        across + tile.height + rows,
    )


def ring(
    tiling: Tiling, tile: Tile, frames: Mapping[Tile, np.ndarray], beyond: float | int
) -> np.ndarray:
    """Gather what the tiles around a tile know of the cells beside it.

    Parameters
    ----------
    tiling : Tiling
    tile : Tile
    frames : mapping of Tile to ndarray
        Frame of each tile around it.
    beyond : number
        What is told of cells beyond the window.

    Returns
    -------
    ndarray, shape (2 * (w + 2) + 2 * h,)
        North and south with the corners, then west, and east; see `lay_ring`.
    """
    dtype = frames[tile].dtype
    height, width = tile.height, tile.width
    north = np.full(width + 2, beyond, dtype)
    south = north.copy()
    west = np.full(height, beyond, dtype)
    east = west.copy()
    for other in tiling.neighbours(tile):
        told = frames[other]
        their_north, their_south = told[: other.width], told[other.width : 2 * other.width]
        sides = told[2 * other.width :]
        their_west, their_east = sides[: other.height], sides[other.height :]
        if other.i == tile.i:
            if other.j < tile.j:
                west[:] = their_east
            else:
                east[:] = their_west
            continue
        ours, theirs = (north, their_south) if other.i < tile.i else (south, their_north)
        if other.j < tile.j:
            ours[0] = theirs[-1]
        elif other.j > tile.j:
            ours[-1] = theirs[0]
        else:
            ours[1:-1] = theirs
    return np.concatenate([north, south, west, east])


def lines_between(
    tiling: Tiling, frames: Mapping[Tile, np.ndarray]
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """Return what is known along both sides of each line between tiles.

    Parameters
    ----------
    tiling : Tiling
    frames : mapping of Tile to ndarray
        Frame of each tile.

    Returns
    -------
    list of (ndarray, ndarray)
        From side to side of the window: north and south of a line, or west and east of it. Which
        of the cells touch over the line, `touching` tells.
    """
    lines = []
    down, across = len(tiling.rows) - 1, len(tiling.columns) - 1
    for i in range(down - 1):
        above = [tiling.tile(i, j) for j in range(across)]
        below = [tiling.tile(i + 1, j) for j in range(across)]
        lines.append(
            (
                np.concatenate([frames[tile][tile.width : 2 * tile.width] for tile in above]),
                np.concatenate([frames[tile][: tile.width] for tile in below]),
            )
        )
    for j in range(across - 1):
        left = [tiling.tile(i, j) for i in range(down)]
        right = [tiling.tile(i, j + 1) for i in range(down)]
        lines.append(
            (
                np.concatenate([frames[tile][2 * tile.width + tile.height :] for tile in left]),
                np.concatenate([frames[tile][2 * tile.width :][: tile.height] for tile in right]),
            )
        )
    return lines


def cells_beside_lines(tiling: Tiling) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the cells along both sides of each line between tiles.

    Parameters
    ----------
    tiling : Tiling

    Returns
    -------
    list of (ndarray of int64, ndarray of int64)
        Flat indices in the padded array of the window, in the order of `lines_between`.
    """
    columns = tiling.width + 2
    along = np.arange(1, tiling.width + 1)
    down = np.arange(1, tiling.height + 1) * columns
    above = [row * columns + along for row in tiling.rows[1:-1]]
    left = [down + column for column in tiling.columns[1:-1]]
    return [(cells, cells + columns) for cells in above] + [(cells, cells + 1) for cells in left]


def touching(size: int) -> list[tuple[slice, slice]]:
    """Return which cells touch over a line: those of the same number, and of the next ones.

    Parameters
    ----------
    size : int
        Cells along the line.

    Returns
    -------
    list of (slice, slice)
        On the one side and on the other.
    """
    return [
        (slice(max(0, -step), min(size, size - step)), slice(max(0, step), min(size, size + step)))
        for step in (-1, 0, 1)
    ]
