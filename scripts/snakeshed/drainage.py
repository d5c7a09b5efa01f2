"""What routing knows: where the water of a DEM goes, and the catchments of many outlets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snakeshed.kernels.catchments import preorder, upslope_mask
from snakeshed.kernels.directions import NODATA, OUTSIDE, to_dirmap
from snakeshed.pysheds_import import Raster, ViewFinder

DIRMAP = (64, 128, 1, 2, 4, 8, 16, 32)
"""pysheds' numbers for N, NE, E, SE, S, SW, W, NW, those of ESRI."""
FLATS = -1
PITS = -2


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


class Catchments(Sequence):
    """The catchments of many outlets, each as pysheds gives that of one.

    ``catchments[i]`` is a `Raster` of bool, made when it is asked for. What is kept is one list
    of cells, in which nested catchments share their places: a thousand catchments take no more
    memory than the union of them.

    Attributes
    ----------
    index : ndarray of int64, shape (n, 2)
        Column and row of each outlet; negative for none, whose catchment is empty.
    sizes : ndarray of int64, shape (n,)
        Cells of each catchment.

    Raises
    ------
    ValueError
        If an outlet is on nodata.
    """

    def __init__(
        self,
        directions: np.ndarray,
        counts: np.ndarray,
        index: np.ndarray,
        viewfinder: ViewFinder,
        metadata: dict,
    ) -> None:
        self.index = index
        self._columns = directions.shape[1]
        self._viewfinder = ViewFinder(**{**viewfinder.properties, "nodata": False})
        self._metadata = metadata
        known = np.flatnonzero((index >= 0).all(axis=1))
        outlets = (index[known, 1] + 1) * self._columns + index[known, 0] + 1
        on_nodata = known[directions.reshape(directions.size)[outlets] == NODATA]
        if on_nodata.size:
            column, row = index[on_nodata[0]].tolist()
            raise ValueError(
                f"{on_nodata.size} of {len(index)} outlets are on nodata, "
                f"the first is number {on_nodata[0]} in column {column} and row {row}"
            )
        # Flow directions from elsewhere may have cycles. Then counts are no sizes.
        if counts[directions == OUTSIDE].sum() == np.count_nonzero(directions != NODATA):
            order, starts = preorder(directions, counts, outlets)
            ends = starts + counts.reshape(counts.size)[outlets]
            found = [order[start:end] for start, end in zip(starts, ends, strict=True)]
        else:
            found = [_outlet_first(directions, outlet) for outlet in outlets.tolist()]
        self._padded_cells = [np.empty(0, dtype=np.int64)] * len(index)
        for number, cells in zip(known.tolist(), found, strict=True):
            self._padded_cells[number] = cells
        self.sizes = np.array([cells.size for cells in self._padded_cells], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._padded_cells)

    def __getitem__(self, number: int) -> Raster:
        mask = np.zeros(self._viewfinder.shape, dtype=np.bool_)
        mask[self.cells(number)] = True
        return Raster(mask, self._viewfinder, metadata=self._metadata)

    def cells(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the cells of one catchment.

        Parameters
        ----------
        number : int
            Of the outlet.

        Returns
        -------
        rows, columns : ndarray of int64, shape (sizes[number],)
            The outlet first; they index any raster of the same view.
        """
        cells = self._padded_cells[number]
        return cells // self._columns - 1, cells % self._columns - 1

    def labels(self) -> Raster:
        """Which catchment each cell belongs to, the innermost where they are nested.

        Returns
        -------
        Raster of int64, shape (h, w)
            Number of the outlet, the last one if several are the same; -1 for none, which is the
            raster's nodata value.
        """
        numbers = np.full(self._viewfinder.shape, -1, dtype=np.int64)
        for outlet in np.argsort(-self.sizes, kind="stable").tolist():
            numbers[self.cells(outlet)] = outlet
        view = ViewFinder(**{**self._viewfinder.properties, "nodata": -1})
        return Raster(numbers, view, metadata=self._metadata)


def _outlet_first(directions: np.ndarray, outlet: int) -> np.ndarray:
    """Flat indices of the cells of one catchment, the outlet before the others."""
    mask = upslope_mask(directions, outlet)
    mask.reshape(mask.size)[outlet] = False
    return np.concatenate([[outlet], np.flatnonzero(mask)])
