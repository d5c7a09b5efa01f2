"""The catchments of many outlets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snakeshed.grid.pysheds_import import Raster, ViewFinder
from snakeshed.kernels.catchments import preorder, upslope_mask
from snakeshed.kernels.d8 import NODATA, OUTSIDE


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
