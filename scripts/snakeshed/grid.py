"""The accelerated pysheds: a `Grid` whose slow methods run on the kernels of this library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.kernels.accumulation import accumulate, count_upslope
from snakeshed.kernels.catchments import preorder, upslope
from snakeshed.kernels.conditioning import fill
from snakeshed.kernels.directions import (
    FLAT,
    from_dirmap,
    has_level_neighbour,
    open_border,
    steepest_descent,
    to_dirmap,
)
from snakeshed.pysheds_import import Grid as StockGrid
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
        Elevations without depressions, in the DEM's unit; NaN at nodata and in the ring.
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


class Grid(StockGrid):
    """A pysheds grid, with its data model and all its methods, that routes water fast.

    `fill_depressions`, and the D8 routing of `flowdir`, `accumulation` and `catchment`, run on the
    kernels of this library; everything else is pysheds' own. `route` does all of them at once,
    flats included, and its result answers for the catchments of many outlets.

    What differs from pysheds 0.5, on purpose:

    ==================  ===========================  ==============================================
    method              pysheds                      here
    ==================  ===========================  ==============================================
    fill_depressions    changes the DEM it is given  leaves it as it is
    fill_depressions    water leaves at the first    water leaves at all cells of the rim and all
                        data cell of each row and    beside nodata
                        column, from each side
    accumulation        counts at a nodata cell the  nodata cells stay 0; what drains into one has
                        cells that drain into it,    left
                        and its own weight
    catchment           blanks the rim, so that no   the rim takes part
                        catchment touches it
    accumulation,       ``algorithm`` chooses        ``algorithm`` has no effect
    catchment           iteration or recursion
    ==================  ===========================  ==============================================

    `resolve_flats`, which is pysheds' own, leaves some flats undrained; `route` leaves none.
    """

    def route(
        self,
        dem: Raster,
        border: np.ndarray | None = None,
        width_m: np.ndarray | None = None,
        height_m: np.ndarray | None = None,
    ) -> Drainage:
        """Fill the depressions of a DEM, drain its flats, and count upslope cells.

        Parameters
        ----------
        dem : Raster, shape (h, w)
            Elevations, seen through the grid's own view as in every method of pysheds; in float32
            if that holds all values of its type, else in float64. Its nodata value and NaN are
            nodata.
        border : ndarray of uint8, shape (h, w), optional
            Non-zero where a cell may drain outside. Without it, all cells at the rim and beside
            nodata. Nodata without such a cell beside it is routed around.
        width_m, height_m : ndarray of float64, shape (h,), optional
            Width and height of the cells of each row, in metres. Without them, those of the affine
            transformation, in the unit of the CRS.

        Returns
        -------
        Drainage

        Raises
        ------
        ValueError
            If an array's shape does not fit, or a connected piece of the data has no cell that may
            drain outside.
        """
        dem = self._input_handler(dem, nodata=dem.nodata)
        z = _padded_elevations(dem, self._get_nodata_cells(dem))
        outlets = open_border(z)
        if border is not None:
            outlets = np.zeros(z.shape, dtype=np.uint8)
            outlets[1:-1, 1:-1] = _checked(border, dem.shape, "border")
        widths, heights = _cell_sizes(dem)
        if width_m is not None:
            widths[1:-1] = _checked(width_m, dem.shape[:1], "width_m")
        if height_m is not None:
            heights[1:-1] = _checked(height_m, dem.shape[:1], "height_m")
        filled, directions = fill(z, outlets, widths, heights)
        return Drainage(filled, directions, count_upslope(directions), dem.viewfinder)

    def fill_depressions(self, dem: Raster, nodata_out: float = np.nan, **kwargs) -> Raster:
        """Fill the depressions of a DEM, up to the level at which they spill.

        Parameters
        ----------
        dem : Raster
            Elevations; it is not changed.
        nodata_out : float
            Has no effect, as in pysheds: the nodata value of `dem` stays.
        **kwargs
            Have no effect, as in pysheds.

        Returns
        -------
        Raster
            With the data type, nodata value and metadata of `dem`.
        """
        nodata_cells = self._get_nodata_cells(dem)
        z = _padded_elevations(dem, nodata_cells)
        filled, _ = fill(z, open_border(z), *_cell_sizes(dem))
        values = np.array(dem)
        raised = filled[1:-1, 1:-1] > z[1:-1, 1:-1]
        values[raised] = filled[1:-1, 1:-1][raised]
        return self._output_handler(
            data=values, viewfinder=dem.viewfinder, metadata=dem.metadata, nodata=dem.nodata
        )

    def _d8_flowdir(
        self, dem, nodata_cells, nodata_out=0, flats=FLATS, pits=PITS, dirmap=DIRMAP
    ) -> Raster:
        z = _padded_elevations(dem, nodata_cells)
        directions = steepest_descent(z, np.zeros(z.shape, np.uint8), *_cell_sizes(dem))
        numbers = to_dirmap(directions, dirmap, pits, nodata_out)
        undrained = np.flatnonzero(directions == FLAT)
        numbers[directions[1:-1, 1:-1] == FLAT] = np.where(
            has_level_neighbour(z, undrained), flats, pits
        )
        return self._output_handler(
            data=numbers, viewfinder=dem.viewfinder, metadata=dem.metadata, nodata=nodata_out
        )

    def _d8_accumulation(
        self,
        fdir,
        weights=None,
        dirmap=DIRMAP,
        nodata_out=0.0,
        efficiency=None,
        algorithm="iterative",
        **kwargs,
    ) -> Raster:
        if efficiency is not None:
            return super()._d8_accumulation(
                fdir, weights, dirmap, nodata_out, efficiency, algorithm, **kwargs
            )
        directions = from_dirmap(np.asarray(fdir), np.asarray(self._get_nodata_cells(fdir)), dirmap)
        if weights is None:
            sums = count_upslope(directions).astype(np.float64)
        else:
            sums = accumulate(directions, np.pad(np.asarray(weights, dtype=np.float64), 1))
        return self._output_handler(
            data=sums[1:-1, 1:-1].copy(),
            viewfinder=fdir.viewfinder,
            metadata=fdir.metadata,
            nodata=nodata_out,
        )

    def _d8_catchment(
        self,
        x,
        y,
        fdir,
        pour_value=None,
        dirmap=DIRMAP,
        nodata_out=False,
        xytype="coordinate",
        snap="corner",
        algorithm="iterative",
    ) -> Raster:
        column, row = x, y
        if xytype in {"label", "coordinate"}:
            column, row = self.nearest_cell(x, y, fdir.affine, snap)
        rows, columns = fdir.shape
        if not (0 <= row < rows and 0 <= column < columns):
            # Rounded to the nearest corner, a point on the far sides is one cell too far.
            raise ValueError(f"Pour point ({x}, {y}) is nearest to a cell outside the grid.")
        directions = from_dirmap(np.asarray(fdir), np.asarray(self._get_nodata_cells(fdir)), dirmap)
        mask = np.zeros(directions.shape, dtype=np.bool_)
        mask.reshape(mask.size)[upslope(directions, (row + 1) * (columns + 2) + column + 1)] = True
        if pour_value is not None:
            mask[row + 1, column + 1] = pour_value
        return self._output_handler(
            data=mask[1:-1, 1:-1].copy(),
            viewfinder=fdir.viewfinder,
            metadata=fdir.metadata,
            nodata=nodata_out,
        )


def _padded_elevations(dem: Raster, nodata_cells: np.ndarray) -> np.ndarray:
    """Elevations in a ring of NaN, with NaN for nodata; float32 if it holds all values."""
    dtype = np.float32 if np.can_cast(dem.dtype, np.float32) else np.float64
    z = np.full((dem.shape[0] + 2, dem.shape[1] + 2), np.nan, dtype=dtype)
    z[1:-1, 1:-1] = dem
    z[1:-1, 1:-1][np.asarray(nodata_cells)] = np.nan
    return z


def _cell_sizes(dem: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of the cells of each padded row, in the unit of the CRS."""
    rows = dem.shape[0] + 2
    return np.full(rows, abs(dem.affine.a)), np.full(rows, abs(dem.affine.e))


def _checked(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if np.shape(array) != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {np.shape(array)}")
    return array
