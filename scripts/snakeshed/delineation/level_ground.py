"""What the ground of a catchment says of its outlet: pits below it, and open water around it.

A value that stands for missing cells, such as 0 or -999, makes a pit far deeper than real ground
has; and an outlet on open water has an arbitrary part of that water in its catchment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from snakeshed.terrain.elevations import Ground, Terrain

# Level ground of fewer cells is a stretch of a stream in whole meters.
_FEWEST_LEVEL_CELLS = 9

# Level ground that reaches so far from the outlet is open water; in cells, at least and at most.
_REACH_M = 1000.0
_SHORTEST_REACH, _LONGEST_REACH = 16, 1000

# Cells of a catchment's box that are looked at together.
_STRIP_CELLS = 1 << 20


class LevelGround(NamedTuple):
    """What the ground of a catchment says of its outlet.

    Attributes
    ----------
    pit_depth_m : float
        From the outlet down to the lowest cell; 0 if the outlet is that.
    open_water : bool
        The outlet lies on open water.
    """

    pit_depth_m: float
    open_water: bool

    def remarks(self, max_pit_m: float) -> list[str]:
        """Tell what makes the catchment doubtful."""
        told = []
        if self.pit_depth_m > max_pit_m:
            told.append(
                f"the lowest cell is {self.pit_depth_m:.5g} m below the outlet, more than "
                f"dem.max_pit_m = {max_pit_m:g}: a quarry, or a value that means missing"
            )
        if self.open_water:
            told.append("the catchment includes a part of open water around its outlet")
        return told


@dataclass(frozen=True, eq=False)
class PatchGround:
    """The raw ground of a patch's window, from memory or from the DEM's files.

    Attributes
    ----------
    terrain : Terrain
    row, column, height, width : int
        The window, in absolute cells.
    whole : Ground, optional
        All of it, where it has been read.
    """

    terrain: Terrain
    row: int
    column: int
    height: int
    width: int
    whole: Ground | None = None

    def elevations(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Return elevations of absolute cells of the window, (h, w) in meters, NaN without data."""
        if self.whole is None:
            return self.terrain.elevations(row, column, height, width)
        row, column = row - self.row, column - self.column
        return self.whole.z[row : row + height, column : column + width]

    def around(self, row: int, column: int, north: int, east: int) -> Ground:
        """Read the box of so many cells around an absolute one, as far as the window has them."""
        top, left = max(self.row, row - north), max(self.column, column - east)
        bottom = min(self.row + self.height, row + north + 1)
        right = min(self.column + self.width, column + east + 1)
        # Not from `whole`: what its border says depends on how the patch is worked on.
        return self.terrain.read(top, left, bottom - top, right - left)


def level_ground(
    ground: PatchGround,
    cells: np.ndarray,
    row: int,
    column: int,
    outlet: tuple[int, int],
    width_m: float,
    height_m: float,
) -> LevelGround:
    """Look at the raw ground of a catchment.

    Parameters
    ----------
    ground : PatchGround
    cells : ndarray of bool, shape (h, w)
        The catchment's cells in their bounding box.
    row, column : int
        Absolute cell of the box's north-western corner.
    outlet : tuple of int
        Absolute row and column.
    width_m, height_m : float
        Size of the outlet's cell.
    """
    # Of this type, or NumPy would round it to the type of what it is compared with.
    at_outlet = np.float64(ground.elevations(*outlet, 1, 1)[0, 0])
    lowest, level = at_outlet, np.zeros(cells.shape, np.bool_)
    for rows in _strips(*cells.shape):
        strip = slice(*rows)
        z = ground.elevations(row + rows[0], column, rows[1] - rows[0], cells.shape[1])
        own = z[cells[strip]]
        lowest = min(lowest, float(np.fmin.reduce(own))) if own.size else lowest
        level[strip] = cells[strip] & (z == at_outlet)
    place = outlet[0] - row, outlet[1] - column
    open_water = (
        np.count_nonzero(level) >= _FEWEST_LEVEL_CELLS
        and np.count_nonzero(_piece(level, *place)) >= _FEWEST_LEVEL_CELLS
        and _reaches_far(ground, outlet, at_outlet, width_m, height_m)
    )
    return LevelGround(float(at_outlet - lowest), bool(open_water))


def _reaches_far(
    ground: PatchGround,
    outlet: tuple[int, int],
    elevation: np.float64,
    width_m: float,
    height_m: float,
) -> bool:
    """Whether the outlet's level ground reaches the edge, nodata, or the box around the outlet."""
    north, east = (
        min(_LONGEST_REACH, max(_SHORTEST_REACH, math.ceil(_REACH_M / size)))
        for size in (height_m, width_m)
    )
    around = ground.around(*outlet, north, east)
    level = _piece(around.z == elevation, outlet[0] - around.row, outlet[1] - around.column)
    return bool(around.border[level].any())


def _piece(cells: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the cells that are connected (8 neighbors) with one of them."""
    from scipy import ndimage

    labels, _ = ndimage.label(cells, structure=np.ones((3, 3), bool))
    return labels == labels[row, column]


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _STRIP_CELLS // width)
    for first in range(0, height, step):
        yield first, min(height, first + step)
