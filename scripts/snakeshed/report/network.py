"""The drainage network of a window of terrain, routed as a delineation routes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.delineation.routed_window import route_ground
from snakeshed.kernels.d8 import COLUMN_STEP, NODATA, OUTSIDE, ROW_STEP
from snakeshed.terrain.elevations import Terrain


@dataclass(frozen=True, eq=False)
class Channels:
    """Pieces of channels: from some cells to the next ones downstream.

    Attributes
    ----------
    start, end : ndarray of float64, shape (n, 2)
        Centres of the two cells, as absolute columns and rows.
    area_km2 : ndarray of float64, shape (n,)
        What drains through the first one.
    """

    start: np.ndarray
    end: np.ndarray
    area_km2: np.ndarray


@dataclass(frozen=True, eq=False)
class Network:
    """Where each cell of a window drains to, and how much drains through it.

    Attributes
    ----------
    row, column : int
        Absolute cell of the north-western corner.
    directions : ndarray of uint8, shape (h, w)
        Codes of `snakeshed.kernels.steepest_descent`.
    area_km2 : ndarray of float64, shape (h, w)
    """

    row: int
    column: int
    directions: np.ndarray
    area_km2: np.ndarray

    def channels(
        self, box: tuple[float, float, float, float], least_km2: float, most: int
    ) -> Channels:
        """Return the channels in a box.

        Parameters
        ----------
        box : tuple of 4 float
            West, north, east and south, in columns and rows.
        least_km2 : float
            Channels begin where so much drains.
        most : int
            Not more pieces than this: those that drain most.
        """
        west, north, east, south = box
        first_row, first_column = (
            max(0, int(low)) for low in (north - self.row, west - self.column)
        )
        part = (
            slice(first_row, max(0, int(south) + 1 - self.row)),
            slice(first_column, max(0, int(east) + 1 - self.column)),
        )
        to, area_km2 = self.directions[part], self.area_km2[part]
        rows, columns = np.nonzero((area_km2 >= least_km2) & (to != NODATA) & (to != OUTSIDE))
        areas = area_km2[rows, columns]
        keep = np.sort(np.argsort(-areas, kind="stable")[:most])
        rows, columns = rows[keep], columns[keep]
        codes = to[rows, columns]
        start = np.column_stack(
            [columns + (self.column + first_column + 0.5), rows + (self.row + first_row + 0.5)]
        )
        end = start + np.column_stack([COLUMN_STEP[codes], ROW_STEP[codes]])
        return Channels(start, end, areas[keep])


def network_of(
    terrain: Terrain, conditioning: str, row: int, column: int, height: int, width: int
) -> Network:
    """Route a window of terrain.

    Parameters
    ----------
    terrain : Terrain
    conditioning : {"fill", "carve"}
    row, column, height, width : int
        The window in absolute cells: that of a patch, to see what its delineation saw.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    ground = terrain.read(row, column, height, width)
    if np.isnan(ground.z).all():
        empty = np.full(ground.z.shape, NODATA, np.uint8)
        return Network(row, column, empty, np.zeros(ground.z.shape))
    _, _, drainage, areas_mm2 = route_ground(ground, terrain.index.lattice, conditioning, threads=1)
    # The arrays have a ring of one cell around the window.
    # First square meters, as everywhere, so that rounding is the same.
    area_km2 = areas_mm2[1:-1, 1:-1] / 1e6 / 1e6
    return Network(row, column, drainage.directions[1:-1, 1:-1], area_km2)
