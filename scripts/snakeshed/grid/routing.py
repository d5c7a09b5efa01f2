"""Routing of arrays, without pysheds: where the water of a DEM goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.carving import carve
from snakeshed.kernels.catchments import preorder
from snakeshed.kernels.filling import fill


@dataclass(frozen=True, eq=False)
class Routing:
    """Where the water of a conditioned DEM goes.

    The arrays are padded by a ring of one cell, and a cell is named by its flat index in them: the
    cell in row i and column j of a DEM of w columns is ``(i + 1) * (w + 2) + j + 1``.

    Attributes
    ----------
    filled : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations without depressions, in the DEM's unit; NaN at nodata and in the ring. Where
        depressions are carved, the elevations as they are.
    directions : ndarray of uint8, shape (h + 2, w + 2)
        1 to 8 for N, NE, E, SE, S, SW, W, NW; 0 for a cell that drains outside; 255 at nodata and
        in the ring.
    counts : ndarray of int32 or int64, shape (h + 2, w + 2)
        Cells that drain through each cell, itself included; 0 at nodata and in the ring.
    """

    filled: np.ndarray
    directions: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(
        cls,
        z: np.ndarray,
        outlets: np.ndarray,
        widths: np.ndarray,
        heights: np.ndarray,
        threads: int,
        conditioning: str,
    ) -> Routing:
        """Drain a DEM, its depressions and flats included, and count upslope cells.

        Parameters
        ----------
        z : ndarray of float32 or float64, shape (h + 2, w + 2)
            From `snakeshed.grid.padding.padded_elevations`; where depressions are filled, it is
            changed.
        outlets : ndarray of uint8, shape (h + 2, w + 2)
            Non-zero where a cell may drain outside.
        widths, heights : ndarray of float64, shape (h + 2,)
            Of the cells of each padded row, in one unit.
        threads : int
            No result depends on them.
        conditioning : {"fill", "carve"}

        Raises
        ------
        ValueError
            If a connected piece of the data has no cell that may drain outside.
        """
        filled, directions = drained(z, outlets, widths, heights, threads, conditioning)
        return cls(filled, directions, count_upslope(directions, threads))

    def catchments(self, cells: np.ndarray) -> list[np.ndarray]:
        """Catchment of each of some cells.

        Parameters
        ----------
        cells : array_like of int64, shape (n,)
            Outlets, as flat indices; nested and repeated ones are ordinary.

        Returns
        -------
        list of n ndarrays of int64
            Flat indices, the outlet first, each cell before those that drain into it. Nested
            catchments share their memory.

        Raises
        ------
        ValueError
            If an outlet is outside the data or on nodata.
        """
        outlets = np.asarray(cells, dtype=np.int64)
        order, starts = preorder(self.directions, self.counts, outlets)
        sizes = self.counts.reshape(self.counts.size)[outlets]
        return [order[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def drained(
    z: np.ndarray,
    outlets: np.ndarray,
    widths: np.ndarray,
    heights: np.ndarray,
    threads: int,
    conditioning: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Drain a DEM; see `Routing.of`, of which this returns `filled` and `directions`."""
    if conditioning == "carve":
        return z, carve(z, outlets, widths, heights, threads)
    return fill(z, outlets, widths, heights, threads, out=z)
