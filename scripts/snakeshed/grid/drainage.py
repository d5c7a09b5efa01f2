"""What routing knows: where the water of a DEM goes, and the catchments of many outlets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.grid.dirmap import DIRMAP, FLATS, PITS, to_dirmap
from snakeshed.grid.pysheds_import import Raster, ViewFinder
from snakeshed.grid.routing import Routing


@dataclass(frozen=True, eq=False)
class Drainage(Routing):
    """Where the water of a conditioned DEM goes, and the DEM's place, for rasters of pysheds.

    Attributes
    ----------
    viewfinder : pysheds ViewFinder
        Of the DEM, for the rasters that are made of the arrays.
    """

    viewfinder: ViewFinder

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
