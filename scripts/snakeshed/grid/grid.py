"""The accelerated pysheds: a `Grid` whose slow methods run on the kernels of this library."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import geojson
import numba
import numpy as np
from geojson.geometry import DEFAULT_PRECISION
from numpy.typing import ArrayLike

from snakeshed.grid import snap as snapping
from snakeshed.grid.catchments import Catchments
from snakeshed.grid.dirmap import DIRMAP, FLATS, PITS, from_dirmap, has_level_neighbour, to_dirmap
from snakeshed.grid.drainage import Drainage
from snakeshed.grid.outlets import SNAP_COLUMNS, point_pairs, snap_one
from snakeshed.grid.padding import (
    blank_rim,
    cell_sizes,
    checked_elevations,
    ground_sizes,
    padded_elevations,
)
from snakeshed.grid.pysheds_import import Grid as StockGrid
from snakeshed.grid.pysheds_import import Raster, View, ViewFinder
from snakeshed.grid.routing import Routing
from snakeshed.kernels.accumulation import accumulate, count_upslope
from snakeshed.kernels.catchments import upslope_mask
from snakeshed.kernels.channels import reaches, stream_order
from snakeshed.kernels.d8 import FLAT, open_border
from snakeshed.kernels.filling import flood
from snakeshed.kernels.height_above_drainage import nearest_drainage
from snakeshed.kernels.inflation import inflate_flats
from snakeshed.kernels.pits import fill_pits, find_flats, find_pits
from snakeshed.kernels.pysheds_flow_paths import (
    accumulate_with_losses,
    distance_to_outlet,
    distance_to_ridge,
    drops,
    lengths,
)
from snakeshed.kernels.steepest_descent import steepest_descent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Catchments", "Drainage", "Grid", "Raster", "ViewFinder"]


class Grid(StockGrid):
    """A pysheds grid, with its data model and all its methods, that routes water fast.

    Everything that pysheds does with a DEM or with D8 directions runs on the kernels of this
    library, and gives pysheds' values bit for bit but for the differences below; D-infinity and
    multiple flow directions, reading, writing and viewing are pysheds' own. New are `route`, which
    conditions a DEM and routes it at once, `catchments` of many outlets, and `snap`, which knows
    the areas that outlets should have.

    What differs from pysheds 0.5, on purpose:

    ==================  ===========================  ==============================================
    method              pysheds                      here
    ==================  ===========================  ==============================================
    fill_depressions    changes the DEM it is given  leaves it as it is
    detect_depressions  finds none, for that reason  finds what `fill_depressions` raises
    fill_depressions    water leaves at the first    water leaves at all cells of the rim and all
                        data cell of each row and    beside nodata
                        column, from each side
    route               not there: `flowdir` takes   takes the cells' sizes on the ground where
                        degrees for lengths, so that coordinates are degrees; with
                        at latitude 36 every         ``lengths="crs"``, degrees for lengths. So
                        seventh cell drains          does `flowdir`, which gives what pysheds
                        elsewhere                    gives
    resolve_flats       some flats stay undrained    all drain that have a way out; cells that
                        or are lifted into traps,    pysheds traps are raised until they drain,
                        wide ones after `max_iter`   the others are raised as there
                        steps
    resolve_flats,      nodata cells are flats:      nodata stays nodata, and is no flat; a flat
    detect_flats        -9999 may become -9998.9     beside it drains into it
    flowdir,            NaN in a DEM with another    NaN is nodata, whatever else is
    fill_depressions    nodata value is a pit
    all of elevations   count however small          below 1e-290 they count as 0
    catchment           blanks the rim, so that no   the rim takes part
                        catchment touches it
    catchment           nodata whose value is a      nodata takes no part
                        direction's number drains
    catchment,          a point nearest to a cell    an error
    distance_to_outlet  outside overwrites memory
    all of flow         at a corner, a direction     water leaves there, as it does along the
    directions          out of the array leads into  sides
                        another row, or to an error
    distance_to_outlet  looks beyond the array: a    nothing is beyond the array
                        direction out of one side
                        comes in at the other
    distance_to_ridge   an error if no cell drains   no error
                        to the last one
    all                 ``algorithm`` chooses        ``algorithm`` has no effect, and no recursion
                        iteration or recursion       can overflow
    all of D8           fails with NumPy 2.4         works
    ==================  ===========================  ==============================================
    """

    def route(
        self,
        dem: Raster,
        border: np.ndarray | None = None,
        width_m: np.ndarray | None = None,
        height_m: np.ndarray | None = None,
        threads: int | None = None,
        conditioning: str = "fill",
        lengths: str = "ground",
    ) -> Drainage:
        """Drain a DEM, its depressions and flats included, and count upslope cells.

        Parameters
        ----------
        dem : Raster, shape (h, w)
            Elevations, seen through the grid's own view as in every method of pysheds; worked on in
            float32 if that holds all of them exactly, else in float64. Its nodata value and NaN
            are nodata.
        border : ndarray of uint8, shape (h, w), optional
            Non-zero where a cell may drain outside. Without it, all cells at the rim and beside
            nodata. Nodata without such a cell beside it is routed around.
        width_m, height_m : ndarray of float64, shape (h,), optional
            Width and height of the cells of each row, in metres; without them, `lengths` says.
        threads : int, optional
            Threads to work on; the result does not depend on it. Without it, NUMBA_NUM_THREADS of
            them, or one for each core that the process may use.
        conditioning : str
            "fill": depressions are filled to the level at which they spill. "carve": elevations
            stay as they are, and water runs up from the bottom of a depression to its spill.
        lengths : str
            "ground": where coordinates are degrees, cells have their width and height on the
            ellipsoid, row by row; those of a projected CRS are as wide and as high as it says.
            "crs": degrees are lengths too, as in `flowdir` and pysheds.

        Returns
        -------
        Drainage

        Raises
        ------
        ValueError
            If `conditioning` or `lengths` is none of these, an array's shape does not fit, or a
            connected piece of the data has no cell that may drain outside.
        """
        if conditioning not in {"fill", "carve"}:
            raise ValueError(f'conditioning must be "fill" or "carve", not {conditioning!r}')
        if lengths not in {"ground", "crs"}:
            raise ValueError(f'lengths must be "ground" or "crs", not {lengths!r}')
        dem = self._input_handler(dem, nodata=dem.nodata)
        z = padded_elevations(dem, self._get_nodata_cells(dem))
        outlets = open_border(z)
        if border is not None:
            outlets = np.zeros(z.shape, dtype=np.uint8)
            outlets[1:-1, 1:-1] = checked_elevations(border, dem.shape, "border")
        given = width_m is not None and height_m is not None
        of_cells = ground_sizes if lengths == "ground" and not given else cell_sizes
        widths, heights = of_cells(dem)
        if width_m is not None:
            widths[1:-1] = checked_elevations(width_m, dem.shape[:1], "width_m")
        if height_m is not None:
            heights[1:-1] = checked_elevations(height_m, dem.shape[:1], "height_m")
        if threads is None:
            threads = numba.config.NUMBA_NUM_THREADS
        routed = Routing.of(z, outlets, widths, heights, threads, conditioning)
        return Drainage(routed.filled, routed.directions, routed.counts, dem.viewfinder)

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
        z = padded_elevations(dem, nodata_cells)
        filled = flood(z, open_border(z), *cell_sizes(dem), numba.config.NUMBA_NUM_THREADS)
        values = np.array(dem)
        raised = filled[1:-1, 1:-1] > z[1:-1, 1:-1]
        values[raised] = filled[1:-1, 1:-1][raised]
        return self._output_handler(
            data=values, viewfinder=dem.viewfinder, metadata=dem.metadata, nodata=dem.nodata
        )

    def resolve_flats(
        self,
        dem: Raster,
        nodata_out: float | None = None,
        eps: float = 1e-5,
        max_iter: int = 1000,
        **kwargs,
    ) -> Raster:
        """Raise the cells of flats a little, so that their water runs to the flats' outlets.

        Parameters
        ----------
        dem : Raster
            Elevations, seen through the grid's own view. Depressions stay: fill them before.
        nodata_out : float
            Has no effect, as in pysheds.
        eps : float
            Rise for one step of the gradient over a flat, in the unit of the elevations.
        max_iter : int
            Steps after which the gradient of pysheds ends; beyond it, cells are raised one `eps`
            above the cell that they drain into.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        Raster of float64
            With the nodata value and metadata of `dem`.
        """
        dem = self._input_handler(dem, **{**kwargs, "dtype": np.float64})
        nodata_cells = self._get_nodata_cells(dem)
        z = padded_elevations(dem, nodata_cells, np.float64)
        values = inflate_flats(z, *cell_sizes(dem), eps, max_iter)[1:-1, 1:-1].copy()
        values[np.asarray(nodata_cells)] = dem.nodata
        return self._output_handler(data=values, viewfinder=dem.viewfinder, metadata=dem.metadata)

    def fill_pits(self, dem: Raster, nodata_out: float | None = None, **kwargs) -> Raster:
        """Raise single-celled pits to their lowest neighbour.

        Parameters
        ----------
        dem : Raster
            Elevations, seen through the grid's own view.
        nodata_out : float, optional
            What is written at nodata; by default the nodata value of `dem`, which the result has.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        Raster of float64
        """
        dem, nodata_cells = self._with_high_nodata(dem, **kwargs)
        values = np.asarray(dem)
        fill_pits(values)
        values[nodata_cells] = dem.nodata if nodata_out is None else nodata_out
        return self._output_handler(data=values, viewfinder=dem.viewfinder, metadata=dem.metadata)

    def detect_pits(self, dem: Raster, **kwargs) -> Raster:
        """Single-celled pits.

        Parameters
        ----------
        dem : Raster
            Elevations, seen through the grid's own view.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        Raster of bool
            False at the rim.
        """
        dem, _ = self._with_high_nodata(dem, **kwargs)
        return self._output_handler(
            data=find_pits(np.asarray(dem)),
            viewfinder=dem.viewfinder,
            metadata=dem.metadata,
            nodata=False,
        )

    def detect_flats(self, dem: Raster, **kwargs) -> Raster:
        """Cells that have a level neighbour, and no lower one.

        Parameters
        ----------
        dem : Raster
            Elevations, seen through the grid's own view.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        Raster of bool
            False at the rim and at nodata.
        """
        dem, nodata_cells = self._with_high_nodata(dem, **kwargs)
        flats = find_flats(np.asarray(dem))
        flats[nodata_cells] = False
        return self._output_handler(
            data=flats, viewfinder=dem.viewfinder, metadata=dem.metadata, nodata=False
        )

    def stream_order(
        self,
        fdir: Raster,
        mask: Raster,
        dirmap: tuple[int, ...] = DIRMAP,
        nodata_out: float = 0,
        routing: str = "d8",
        algorithm: str = "iterative",
        **kwargs,
    ) -> Raster:
        """Order of each stream: one more than its donors' where all of them are equal.

        That is Strahler's order where two streams meet. Where three or more do, it is what
        pysheds gives: see `snakeshed.kernels.channels.stream_order`.

        Parameters
        ----------
        fdir : Raster
            Flow directions.
        mask : Raster
            Non-zero in channels; the rim takes no part.
        dirmap : tuple of 8 int
            Numbers for N, NE, E, SE, S, SW, W, NW.
        nodata_out : float
            Nodata value of the result.
        routing : str
            Only "d8".
        algorithm : str
            Has no effect.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        Raster of int64
            0 where there is no channel.

        Raises
        ------
        NotImplementedError
            If `routing` is not "d8".
        """
        fdir, directions, channels = self._channels(fdir, mask, dirmap, routing, kwargs)
        return self._output_handler(
            data=stream_order(directions, channels)[1:-1, 1:-1].astype(np.int64),
            viewfinder=fdir.viewfinder,
            metadata=fdir.metadata,
            nodata=nodata_out,
        )

    def extract_river_network(
        self,
        fdir: Raster,
        mask: Raster,
        dirmap: tuple[int, ...] = DIRMAP,
        routing: str = "d8",
        algorithm: str = "iterative",
        **kwargs,
    ) -> geojson.FeatureCollection:
        """Reaches of the channels, from head or junction to the next junction, as lines.

        Parameters
        ----------
        fdir : Raster
            Flow directions.
        mask : Raster
            Non-zero in channels; the rim takes no part.
        dirmap : tuple of 8 int
            Numbers for N, NE, E, SE, S, SW, W, NW.
        routing : str
            Only "d8".
        algorithm : str
            Has no effect.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        geojson.FeatureCollection
            Of LineStrings through the cells' upper left corners, upstream end first, with six
            decimals.

        Raises
        ------
        NotImplementedError
            If `routing` is not "d8".
        """
        fdir, directions, channels = self._channels(fdir, mask, dirmap, routing, kwargs)
        cells, starts = reaches(directions, channels)
        rows, columns = np.divmod(cells, directions.shape[1])
        x, y = View.affine_transform(self.affine, columns - 1, rows - 1)
        with _no_garbage():
            points = [list(point) for point in zip(_rounded(x), _rounded(y), strict=True)]
            features = []
            for number, (start, end) in enumerate(pairwise(starts.tolist())):
                line = geojson.LineString()
                line["coordinates"] = points[start:end]
                features.append(geojson.Feature(geometry=line, id=number))
            return geojson.FeatureCollection(features)

    def extract_profiles(
        self,
        fdir: Raster,
        mask: Raster,
        dirmap: tuple[int, ...] = DIRMAP,
        include_endpoint: bool = True,
        routing: str = "d8",
        algorithm: str = "iterative",
        **kwargs,
    ) -> tuple[list[list[int]], dict[int, int]]:
        """Reaches of the channels as lists of cells, and which of them drains into which.

        Parameters
        ----------
        fdir : Raster
            Flow directions.
        mask : Raster
            Non-zero in channels; the rim takes no part.
        dirmap : tuple of 8 int
            Numbers for N, NE, E, SE, S, SW, W, NW.
        include_endpoint : bool
            Whether a reach has the cell in which it ends.
        routing : str
            Only "d8".
        algorithm : str
            Has no effect.
        **kwargs
            Passed on to `view`.

        Returns
        -------
        profiles : list of lists of int
            Flat indices of the cells of each reach in the raster, upstream end first.
        connections : dict of int to int
            Number of the reach below each reach. Where there is none, that of the first reach
            that ends in the same cell, which may be its own.

        Raises
        ------
        NotImplementedError
            If `routing` is not "d8".
        """
        fdir, directions, channels = self._channels(fdir, mask, dirmap, routing, kwargs)
        cells, starts = reaches(directions, channels)
        rows, columns = np.divmod(cells, directions.shape[1])
        indices = ((rows - 1) * fdir.shape[1] + columns - 1).tolist()
        bounds = starts.tolist()
        upper = {indices[start]: number for number, start in enumerate(bounds[:-1])}
        connections = {
            number: upper.setdefault(indices[end - 1], number)
            for number, end in enumerate(bounds[1:])
        }
        left_out = 0 if include_endpoint else 1
        profiles = [indices[start : end - left_out] for start, end in pairwise(bounds)]
        return profiles, connections

    def read_ascii(self, data: str, *args, **kwargs) -> Raster:
        """Read an ASCII grid, also one in which integers are written as floats.

        That is how `to_ascii` writes them, and NumPy no longer reads them as integers.

        Parameters
        ----------
        data : str
            Path of the file.
        *args, **kwargs
            As in pysheds: skiprows, mask, crs, xll, yll, metadata; others are passed on to
            `numpy.loadtxt`.

        Returns
        -------
        Raster
            In the type `dtype`, by default float64.

        Raises
        ------
        ValueError
            If the file has anything but numbers.
        """
        try:
            return super().read_ascii(data, *args, **kwargs)
        except ValueError:
            dtype = np.dtype(kwargs.pop("dtype", np.float64))
            if dtype.kind not in "iu":
                raise
            raster = super().read_ascii(data, *args, **kwargs)
            values = np.asarray(raster).astype(dtype)
            if (values != raster).any():
                raise
            view = ViewFinder(
                **{**raster.viewfinder.properties, "nodata": dtype.type(raster.nodata)}
            )
            return Raster(values, view, metadata=raster.metadata)

    def catchments(
        self,
        outlets: ArrayLike,
        fdir: Raster | Drainage,
        dirmap: tuple[int, ...] = DIRMAP,
        xytype: str = "coordinate",
        snap: str = "corner",
        **kwargs,
    ) -> Catchments:
        """Delineate the catchments of many outlets at once.

        Proportional to the union of the catchments, however often they are nested: a thousand
        outlets on one river take hardly longer than the lowest of them.

        Parameters
        ----------
        outlets : array_like, shape (n, 2)
            x and y of each outlet, or column and row. NaN means that there is none, as in what
            `snap` returns; its catchment is empty.
        fdir : Raster or Drainage
            Flow directions, or what `route` returns.
        dirmap : tuple of 8 int
            Numbers for N, NE, E, SE, S, SW, W, NW, if `fdir` is a raster.
        xytype : str
            "coordinate" or "index".
        snap : str
            "corner": the cell whose upper left corner is nearest to the coordinates, as
            `snap_to_mask` and `Grid.snap` return them. "center": the cell that they are in.
        **kwargs
            Passed on to `view`, if `fdir` is a raster.

        Returns
        -------
        Catchments
            ``catchments[i]`` equals ``catchment`` of the i-th outlet.

        Raises
        ------
        ValueError
            If `outlets` are not pairs, `xytype` is unknown, or an outlet is outside the grid or on
            nodata of a `Drainage`.
        """
        if isinstance(fdir, Drainage):
            index = self._outlet_cells(outlets, fdir.viewfinder, xytype, snap)
            return Catchments(fdir.directions, fdir.counts, index, fdir.viewfinder, {})
        fdir = self._input_handler(fdir, **{**kwargs, "dtype": np.int64, "nodata": fdir.nodata})
        index = self._outlet_cells(outlets, fdir.viewfinder, xytype, snap)
        directions = self._codes(fdir, dirmap)
        counts = count_upslope(directions, numba.config.NUMBA_NUM_THREADS)
        return Catchments(directions, counts, index, fdir.viewfinder, fdir.metadata)

    def snap(
        self,
        outlets: ArrayLike,
        area: ArrayLike,
        fdir: Raster | Drainage,
        acc: Raster | None = None,
        radius: float | None = None,
        distance_weight: float = 0.05,
        dirmap: tuple[int, ...] = DIRMAP,
        **kwargs,
    ) -> pd.DataFrame:
        """Move points to the cells nearby that drain the areas they should drain.

        Of the cells within `radius`, the one of least
        ``|ln(its area / area)| + distance_weight * distance / radius`` is taken, so that a gauge
        on a brook does not end up in the river beside it.

        Parameters
        ----------
        outlets : array_like, shape (n, 2)
            x and y of each point.
        area : array_like, shape (n,) or a single value
            What each point should drain, in cells, or in the unit of `acc`.
        fdir : Raster or Drainage
            Flow directions, or what `route` returns.
        acc : Raster, optional
            Accumulation, of cells or of weights. Without it, cells are counted.
        radius : float, optional
            In the unit of the CRS. Without it, ten times the longer side of a cell.
        distance_weight : float
            What being `radius` away counts for; 0 ignores distances.
        dirmap : tuple of 8 int
            Numbers for N, NE, E, SE, S, SW, W, NW, if `fdir` is a raster.
        **kwargs
            Passed on to `view`, with `fdir` and `acc`.

        Returns
        -------
        pandas.DataFrame
            One row per point, in their order:

            - x, y: upper left corner of the cell, as `catchment` and `catchments` expect it;
            - column, row: the cell; -1 without one;
            - area, area_ratio: what the cell drains, and its ratio to `area`;
            - area_low, area_high: the least and the largest area of the cells that are plausible
              outlets, whose cost exceeds the least by at most ln 1.5;
            - distance: from the point to the centre of the cell;
            - runner_up_x, runner_up_y, runner_up_area: the best cell on another flow path that
              drains between a third of `area` and three times as much; NaN without one;
            - stability: the least intersection over union of the cell's catchment with that of
              a plausible outlet, 0 to 1;
            - confidence: "high" if the area is within 10 % and the stability at least 0.8,
              "medium" if the area is within a factor of 1.5, else "low", and for a point without
              data; "none" where no cell with data lies within `radius`, and all else is NaN.

        Raises
        ------
        ValueError
            If `outlets` are not pairs, or `area` or `radius` are not positive numbers.
        """
        import pandas as pd

        points = point_pairs(outlets)
        areas = np.broadcast_to(np.asarray(area, dtype=np.float64), points.shape[:1])
        if not (np.isfinite(areas) & (areas > 0)).all():
            raise ValueError("area must be a positive number for each of the outlets")
        if isinstance(fdir, Drainage):
            directions, view = fdir.directions[1:-1, 1:-1], fdir.viewfinder
            drained = fdir.counts[1:-1, 1:-1]
        else:
            options = {**kwargs, "dtype": np.int64, "nodata": fdir.nodata}
            fdir = self._input_handler(fdir, **options)
            padded = from_dirmap(np.asarray(fdir), np.asarray(self._get_nodata_cells(fdir)), dirmap)
            directions, view = padded[1:-1, 1:-1], fdir.viewfinder
            drained = None if acc is not None else count_upslope(padded)[1:-1, 1:-1]
        if acc is not None:
            options = {**kwargs, "dtype": np.float64, "nodata": acc.nodata}
            drained = np.asarray(self._input_handler(acc, **options))
        width, height = abs(view.affine.a), abs(view.affine.e)
        if radius is None:
            radius = 10.0 * max(width, height)
        if not (math.isfinite(radius) and radius > 0):
            raise ValueError(f"radius must be a positive number, not {radius}")
        rule = snapping.SnapRule(float(radius), float(distance_weight), 0.0)
        records = [
            snap_one(point, float(wanted), directions, drained, view, rule)
            for point, wanted in zip(points, areas, strict=True)
        ]
        return pd.DataFrame(records, columns=list(SNAP_COLUMNS)).astype(SNAP_COLUMNS)

    def _d8_flowdir(
        self, dem, nodata_cells, nodata_out=0, flats=FLATS, pits=PITS, dirmap=DIRMAP
    ) -> Raster:
        z = padded_elevations(dem, nodata_cells)
        no_outlets = np.zeros(z.shape, dtype=np.uint8)
        threads = numba.config.NUMBA_NUM_THREADS
        directions = steepest_descent(z, no_outlets, *cell_sizes(dem), threads)
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
        nodata_cells = np.asarray(self._get_nodata_cells(fdir))
        directions = self._codes(fdir, dirmap)
        threads = numba.config.NUMBA_NUM_THREADS
        if weights is None and efficiency is None:
            if nodata_cells.any():
                own = np.pad((~nodata_cells).astype(np.int64), 1)
                sums = accumulate(directions, own, threads).astype(np.float64)
            else:
                sums = count_upslope(directions, threads).astype(np.float64)
        else:
            own = ~nodata_cells if weights is None else np.asarray(weights)
            own = np.pad(own.astype(np.float64), 1)
            if efficiency is None:
                sums = accumulate(directions, own)
            else:
                passed_on = np.pad(np.asarray(efficiency, dtype=np.float64), 1)
                sums = accumulate_with_losses(directions, own, passed_on)
        return self._result(sums, fdir, nodata_out)

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
        (column, row), outlet = self._pour_point(x, y, fdir, xytype, snap)
        directions = self._codes(fdir, dirmap)
        mask = upslope_mask(directions, outlet)
        if pour_value is not None:
            mask[row + 1, column + 1] = pour_value
        return self._result(mask, fdir, nodata_out)

    def _d8_flow_distance(
        self,
        x,
        y,
        fdir,
        weights=None,
        dirmap=DIRMAP,
        nodata_out=np.nan,
        method="shortest",
        xytype="coordinate",
        snap="corner",
        algorithm="iterative",
        **kwargs,
    ) -> Raster:
        _, outlet = self._pour_point(x, y, fdir, xytype, snap)
        steps = self._step_weights(fdir, weights)
        distances = distance_to_outlet(self._codes(fdir, dirmap), steps, outlet)
        return self._result(distances, fdir, nodata_out)

    def _d8_distance_to_ridge(
        self, fdir, weights, dirmap=DIRMAP, algorithm="iterative", nodata_out=np.nan, **kwargs
    ) -> Raster:
        steps = self._step_weights(fdir, weights)
        return self._result(distance_to_ridge(self._codes(fdir, dirmap), steps), fdir, nodata_out)

    def _d8_compute_hand(
        self, fdir, mask, dirmap=DIRMAP, nodata_out=-1, algorithm="iterative"
    ) -> Raster:
        directions = self._codes(fdir, dirmap)
        blank_rim(directions, 0)
        channels = np.pad(np.asarray(mask), 1)
        blank_rim(channels, False)
        cells = nearest_drainage(directions, channels)
        return self._result(cells.astype(np.int64), fdir, -1)

    def _d8_cell_dh(self, dem, fdir, dirmap=DIRMAP, nodata_out=np.nan) -> Raster:
        directions = self._codes(fdir, dirmap)
        blank_rim(directions, 0)
        return self._output_handler(
            data=drops(np.ascontiguousarray(dem), directions),
            viewfinder=fdir.viewfinder,
            metadata=fdir.metadata,
            nodata=nodata_out,
        )

    def _d8_cell_distances(self, fdir, dirmap=DIRMAP, nodata_out=np.nan) -> Raster:
        steps = lengths(np.asarray(fdir), dirmap, abs(fdir.affine.a), abs(fdir.affine.e))
        steps[np.asarray(self._get_nodata_cells(fdir))] = 0.0
        return self._output_handler(
            data=steps, viewfinder=fdir.viewfinder, metadata=fdir.metadata, nodata=nodata_out
        )

    def _with_high_nodata(self, dem: Raster, **kwargs) -> tuple[Raster, np.ndarray]:
        """A copy of a DEM in which nothing flows to nodata, and where that is."""
        dem = self._input_handler(dem, **{**kwargs, "dtype": np.float64, "nodata": dem.nodata})
        nodata_cells = np.asarray(self._get_nodata_cells(dem))
        if nodata_cells.any():
            dem[nodata_cells] = dem.max() + 1
        return dem, nodata_cells

    def _codes(self, fdir: Raster, dirmap: tuple[int, ...]) -> np.ndarray:
        """Padded codes of flow directions; what pysheds accumulates at nodata, it keeps there."""
        numbers, nodata = np.asarray(fdir), np.zeros(fdir.shape, dtype=np.bool_)
        if fdir.nodata in dirmap:
            numbers = np.where(np.asarray(self._get_nodata_cells(fdir)), min(dirmap) - 1, numbers)
        return from_dirmap(numbers, nodata, dirmap)

    def _channels(
        self, fdir: Raster, mask: Raster, dirmap: tuple[int, ...], routing: str, kwargs: dict
    ) -> tuple[Raster, np.ndarray, np.ndarray]:
        """Flow directions, their padded codes, and the padded channels without the rim."""
        if routing.lower() != "d8":
            raise NotImplementedError("Only implemented for `d8` routing.")
        fdir = self._input_handler(fdir, **{**kwargs, "dtype": np.int64, "nodata": fdir.nodata})
        mask = self._input_handler(mask, **{**kwargs, "dtype": np.bool_, "nodata": False})
        channels = np.pad(np.asarray(mask), 1)
        blank_rim(channels, False)
        return fdir, self._codes(fdir, dirmap), channels

    def _step_weights(self, fdir: Raster, weights: Raster | None) -> np.ndarray:
        """Padded lengths of the steps: those given, else 1 for each data cell."""
        if weights is None:
            weights = ~np.asarray(self._get_nodata_cells(fdir))
        return np.pad(np.asarray(weights, dtype=np.float64), 1)

    def _pour_point(
        self, x: float, y: float, fdir: Raster, xytype: str, snap: str
    ) -> tuple[tuple[int, int], int]:
        """Column and row of a pour point, and its flat index in the padded array."""
        column, row = x, y
        if xytype in {"label", "coordinate"}:
            column, row = self.nearest_cell(x, y, fdir.affine, snap)
        rows, columns = fdir.shape
        if not (0 <= row < rows and 0 <= column < columns):
            # Rounded to the nearest corner, a point on the far sides is one cell too far.
            raise ValueError(f"Pour point ({x}, {y}) is nearest to a cell outside the grid.")
        return (column, row), (row + 1) * (columns + 2) + column + 1

    def _outlet_cells(
        self, outlets: ArrayLike, view: ViewFinder, xytype: str, snap: str
    ) -> np.ndarray:
        """Columns and rows of outlets, all of them in the grid; -1 where there is none."""
        points = point_pairs(outlets)
        if xytype not in {"label", "coordinate", "index"}:
            raise ValueError(f'xytype must be "coordinate" or "index", not {xytype!r}')
        known = ~np.isnan(points).any(axis=1)
        index = np.full(points.shape, -1, dtype=np.int64)
        if xytype == "index":
            index[known] = points[known]
        else:
            x, y = points[known].T
            index[known] = np.column_stack(self.nearest_cell(x, y, view.affine, snap))
        outside = ((index < 0) | (index >= view.shape[::-1])).any(axis=1)
        wrong = np.flatnonzero(outside & known)
        if wrong.size:
            x, y = points[wrong[0]].tolist()
            raise ValueError(
                f"{wrong.size} of {len(points)} outlets are outside the grid, "
                f"the first is number {wrong[0]} at ({x}, {y})"
            )
        return index

    def _result(self, padded: np.ndarray, fdir: Raster, nodata_out: float) -> Raster:
        return self._output_handler(
            data=padded[1:-1, 1:-1].copy(),
            viewfinder=fdir.viewfinder,
            metadata=fdir.metadata,
            nodata=nodata_out,
        )


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Hold Python's garbage collector back where many objects are made and none is thrown away.

    It would look through all of them again and again, for more than half of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _rounded(values: np.ndarray) -> list[float]:
    """Coordinates as geojson rounds them, each distinct one once."""
    distinct, which = np.unique(values, return_inverse=True)
    rounded = [round(value, DEFAULT_PRECISION) for value in distinct.tolist()]
    return np.array(rounded)[which].tolist()
