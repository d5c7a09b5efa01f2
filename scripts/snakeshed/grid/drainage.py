"""What routing knows: where the water of a DEM goes, and the catchments of many outlets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.grid.dirmap import DIRMAP, FLATS, PITS, to_dirmap
from snakeshed.grid.pysheds_import import Raster, ViewFinder
from snakeshed.kernels.catchments import preorder


@dataclass(frozen=True, eq=False)
class Drainage:
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
    viewfinder : pysheds ViewFinder
        Of the DEM, for the rasters that are made of the arrays.
    """

    filled: np.ndarray
    directions: np.ndarray
    counts: np.ndarray
    viewfinder: ViewFinder

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

    def flowdir(self, dirmap: tuple[int, ...] = DIRMAP, nodata_out: int = 0) -> Raster:
        """Flow directions as pysheds writes them.

        Parameters
        ----------
        dirmap : tuple of 8 int
            Numbers for N, NE, E, SE, S, SW, W, NW.
        nodata_out : int
            Number for nodata.

        Returns
        -------
        Raster of int64, shape (h, w)
            A cell that drains outside has the number of a pit, -2.
        """
        numbers = to_dirmap(self.directions, dirmap, PITS, nodata_out)
        metadata = {"dirmap": dirmap, "flats": FLATS, "pits": PITS}
        return self._raster(numbers, nodata_out, metadata)

    def accumulation(self, nodata_out: float = 0.0) -> Raster:
        """Upslope cells as pysheds writes them.

        Parameters
        ----------
        nodata_out : float
            Value of nodata.

        Returns
        -------
        Raster of float64, shape (h, w)
        """
        values = self.counts[1:-1, 1:-1].astype(np.float64)
        values[values == 0] = nodata_out
        return self._raster(values, nodata_out, {})

    def _raster(self, values: np.ndarray, nodata: float, metadata: dict) -> Raster:
        view = ViewFinder(**{**self.viewfinder.properties, "nodata": nodata})
        return Raster(values, view, metadata=metadata)
