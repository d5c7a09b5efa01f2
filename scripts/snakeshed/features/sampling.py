"""Rasters of layers, read at points."""

from __future__ import annotations

import numpy as np

from snakeshed.features.layer import place_of
from snakeshed.features.layer_look import as_floats, naming
from snakeshed.features.raster_layer import RasterLayer, header_of, scale_of, way_to_layer
from snakeshed.raster.crs import same_crs

# Points are placed to this many decimals of a cell, so that every CPU agrees on the cell.
_DECIMALS = 6
_FULL_CIRCLE = 360.0


class RasterSampler:
    """A layer's raster, read at points: each has the value of the cell that it lies in.

    A point on a line between two cells belongs to the cell to the east or the south.

    Parameters
    ----------
    layer : RasterLayer
    crs : str
        Of the points.

    Raises
    ------
    LayerError
        The raster cannot be read or summarized.
    """

    def __init__(self, layer: RasterLayer, crs: str) -> None:
        import rasterio

        self._layer = layer
        self._where = place_of(layer.name, layer.path)
        self._header = header_of(layer)
        facts = self._header.facts()
        self._circle = _FULL_CIRCLE if facts.geographic else None
        self._way = None
        if not same_crs(facts.crs, crs):
            self._way = way_to_layer(crs, facts.crs, self._where)
        with naming(self._where, "opened"):
            self._raster = rasterio.open(layer.path)

    def close(self) -> None:
        """Close the raster."""
        self._raster.close()

    def values(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the value at each point; NaN beside the raster, or where it has no data.

        Parameters
        ----------
        x, y : ndarray of float64, shape (n,)

        Returns
        -------
        ndarray of float64, shape (n,)

        Raises
        ------
        LayerError
            Cells cannot be read, or hold numbers that stand for missing data and are not declared.
        """
        values = np.full(x.shape, np.nan)
        row, column = self._cells(x, y)
        inside = (row >= 0) & (row < self._header.height)
        inside &= (column >= 0) & (column < self._header.width)
        if not inside.any():
            return values
        row, column = row[inside].astype(np.int64), column[inside].astype(np.int64)
        top, left = int(row.min()), int(column.min())
        window = ((top, int(row.max()) + 1), (left, int(column.max()) + 1))
        with naming(self._where, "read"):
            cells = self._raster.read(1, window=window, masked=True)
        stored = as_floats(cells.data[row - top, column - left])
        factor, shift = scale_of(self._layer, self._header)
        known = ~np.ma.getmaskarray(cells)[row - top, column - left]
        known &= ~self._layer.missing.drop(stored, factor, shift)
        problem = self._layer.missing.undeclared(stored[known], self._header.dtype, self._where)
        if problem is not None:
            raise problem
        found = stored.astype(np.float64) * factor + shift
        values[inside] = np.where(known, found, np.nan)
        return values

    def _cells(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the row and the column of each point; infinite where it has no place."""
        if self._way is not None:
            x, y = self._way.transform(x, y)
        dx, _, left, _, dy, top = self._header.transform
        column = np.round((x - left) / dx, _DECIMALS)
        if self._circle is not None:
            # A raster may begin at another meridian than the points count from.
            turn = self._circle / abs(dx)
            column = np.where(column < 0, column + turn, column)
            column = np.where(column >= self._header.width, column - turn, column)
        row = np.round((y - top) / dy, _DECIMALS)
        return np.floor(row), np.floor(column)
