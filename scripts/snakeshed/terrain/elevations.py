"""The terrain: windows of elevations as the kernels route them, whatever files they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from snakeshed.errors import TerrainError
from snakeshed.raster.crs import transformer
from snakeshed.raster.header import gdal_faults, open_raster
from snakeshed.terrain.border import SIDES, border_of
from snakeshed.terrain.index import DemTile, TerrainIndex, overlap

if TYPE_CHECKING:
    from rasterio import DatasetReader

# The ground of the Earth, sea floor included.
_LOWEST_M, _HIGHEST_M = -11_000, 9_000

# Stored numbers that mean "no data" to the programs that write them, and lie within these limits.
_SENTINELS = (-9999.0, -32767.0, -32768.0)

# GDAL takes a number for nodata, too, if it differs from that in the last digits alone: of itself,
# or of the smallest numbers that float32 holds.
_NEAR_NODATA, _SMALLEST = 1e-6, 1e-44

# Target cells that are resampled at a time; bounds the memory that their coordinates take.
_STRIP_CELLS = 1 << 20


@dataclass(frozen=True)
class Ground:
    """Elevations of a window and where water may leave them.

    Attributes
    ----------
    row, column : int
        Absolute cell of the north-western corner.
    padded_z : ndarray of float32 or float64, shape (h + 2, w + 2)
        Elevations in meters, NaN without data and in the ring around the window. float32 where the
        files' numbers are exact in it, else float64.
    padded_border : ndarray of uint8, shape (h + 2, w + 2)
        Bits of what a cell with data lies beside (8 neighbors): ``CUT`` a cell with data, or a gap
        of unknown size, beyond the window; ``EDGE`` a cell outside all tiles; ``BESIDE_NODATA`` a
        gap too large to be a void. 0 for cells without data, and in the ring.
    """

    row: int
    column: int
    padded_z: np.ndarray
    padded_border: np.ndarray

    @property
    def z(self) -> np.ndarray:
        """Elevations of the window, (h, w)."""
        return self.padded_z[1:-1, 1:-1]

    @property
    def border(self) -> np.ndarray:
        """Border bits of the window, (h, w)."""
        return self.padded_border[1:-1, 1:-1]


class Terrain:
    """Reads windows of a DEM; opens each tile when it is first needed and keeps it open.

    Parameters
    ----------
    index : TerrainIndex
        The whole DEM, or a subset that holds :func:`snakeshed.terrain.index.tiles_under`
        each window that will be read.
    max_void_cells : int
        Cells without data that are connected (8 neighbours), at most this many, and enclosed by
        data are a void: missing ground, which is no outlet.
    """

    def __init__(self, index: TerrainIndex, max_void_cells: int) -> None:
        self.index = index
        self.max_void_cells = max_void_cells
        self._rasters: dict[str, DatasetReader] = {}
        self._transformer = (
            None if index.is_native else transformer(index.lattice.crs, index.source.crs)
        )

    def __enter__(self) -> Terrain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        for raster in self._rasters.values():
            raster.close()
        self._rasters.clear()

    def read(self, row: int, column: int, height: int, width: int) -> Ground:
        """Read a window of the terrain.

        Cells outside all tiles and cells without data are NaN. What is told of a cell does not
        depend on the window, but for ``CUT`` and what it stands in for.

        Parameters
        ----------
        row, column : int
            Absolute cell of the north-western corner; may be negative.
        height, width : int
            Cells, positive.

        Raises
        ------
        TerrainError
            A tile cannot be read, has changed since it was indexed, holds what is no elevation, or
            differs by more than ``index.max_step_m`` from another one where the two overlap.
        """
        _check_size(height, width)
        # One ring more, to know what each cell of the window lies beside.
        z, covered = self._read(row - 1, column - 1, height + 2, width + 2)
        border = border_of(z, covered, self.max_void_cells)
        for side in SIDES:
            z[side] = np.nan
        return Ground(row, column, z, border)

    def elevations(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Read the elevations of a window as `read` does, without looking at cells around it.

        Returns
        -------
        ndarray of float32 or float64, shape (h, w)
            In meters, NaN without data.
        """
        _check_size(height, width)
        return self._read(row, column, height, width)[0]

    def _read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read elevations, in a new array, and find out which cells any tile covers."""
        read = self._native if self.index.is_native else self._resampled
        return read(row, column, height, width)

    def _native(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the source lattice: elevations, and which cells any tile covers."""
        shares = [(tile, overlap(tile, row, column, height, width)) for tile in self.index.tiles]
        shares = [(tile, share) for tile, share in shares if share is not None]
        dtype = np.result_type(np.float32, *(tile.exact_dtype for tile, _ in shares))
        if [share for _, share in shares] == [(row, row + height, column, column + width)]:
            values = self.read_tile(shares[0][0], *shares[0][1])
            return values.astype(dtype, copy=False), np.ones(values.shape, bool)
        z = np.full((height, width), np.nan, dtype)
        covered = np.zeros((height, width), bool)
        # Which tile gave a cell is only asked once two have been found to contradict each other.
        read: list[tuple[DemTile, tuple[int, int, int, int]]] = []
        for tile, share in shares:
            values = self.read_tile(tile, *share)
            here = (
                slice(share[0] - row, share[1] - row),
                slice(share[2] - column, share[3] - column),
            )
            known = z[here]
            if covered[here].any():
                places, steps = steps_between(known, values)
                if steps.size and steps.max() > self.index.max_step_m:
                    i, j = map(int, places[np.argmax(steps > self.index.max_step_m)])
                    self._refuse_contradiction(tile, read, share[0] + i, share[2] + j)
                # The first tile that has data counts, whatever window is read.
                values = np.where(np.isnan(known), values, known)
            z[here] = values
            covered[here] = True
            read.append((tile, share))
        return z, covered

    def read_tile(
        self, tile: DemTile, first_row: int, end_row: int, first_column: int, end_column: int
    ) -> np.ndarray:
        """Read absolute rows and columns of one tile, in metres, NaN without data.

        Raises
        ------
        TerrainError
            They cannot be read, or hold what is no elevation.
        """
        values = self.read_stored(tile, first_row, end_row, first_column, end_column)
        return _elevations(tile, values) if tile.exact_dtype == np.float64 else values

    def read_stored(
        self, tile: DemTile, first_row: int, end_row: int, first_column: int, end_column: int
    ) -> np.ndarray:
        """Read cells as `read_tile` does, but return the stored numbers."""
        rows = first_row - tile.row, end_row - tile.row
        columns = first_column - tile.column, end_column - tile.column
        try:
            raster = self._raster(tile)
            stored = raster.read(1, window=(rows, columns))
            values = stored.astype(tile.stored_float_dtype, copy=False)
            if _may_be_masked(raster, *_range(values)):
                values[raster.read_masks(1, window=(rows, columns)) == 0] = np.nan
        except MemoryError:
            raise  # nothing is wrong with the tile
        except gdal_faults() as error:
            raise unreadable(tile, error) from error
        for number in tile.also_nodata:
            with np.errstate(over="ignore"):  # too large for the file: no cell has it
                values[values == values.dtype.type(number)] = np.nan
        low, high = _range(values)
        if math.isinf(low) or math.isinf(high):
            values[np.isinf(values)] = np.nan
            low, high = _range(values)
        # A scale turns the order round or not, but never leaves the range of its ends.
        ends = _elevations(tile, np.array([low, high]))
        if low <= max(_SENTINELS) or ends.min() < _LOWEST_M or ends.max() > _HIGHEST_M:
            self._refuse_no_elevations(tile, values, first_row, first_column)
        return values

    def compare(self, one: DemTile, other: DemTile, share: tuple[int, int, int, int]) -> np.ndarray:
        """Compare the cells that two tiles share, given as by `overlap`.

        Returns
        -------
        numpy.ndarray
            1-D float64: the absolute difference in metres in each cell where both have data.

        Raises
        ------
        TerrainError
            The tiles contradict each other, or one of them cannot be read.
        """
        theirs, ours = self.read_tile(one, *share), self.read_tile(other, *share)
        places, steps = steps_between(theirs, ours)
        if steps.size and steps.max() > self.index.max_step_m:
            i, j = map(int, places[np.argmax(steps > self.index.max_step_m)])
            self._refuse_contradiction(other, [(one, share)], share[0] + i, share[2] + j)
        compared = np.count_nonzero(~np.isnan(theirs) & ~np.isnan(ours))
        return np.pad(steps, (0, compared - steps.size))

    def _raster(self, tile: DemTile) -> DatasetReader:
        raster = self._rasters.get(tile.path)
        if raster is None:
            raster = open_raster(tile.path)
            if (raster.count, *raster.shape) != (1, tile.height, tile.width):
                raise TerrainError(
                    tile.path,
                    f"{raster.height} x {raster.width} cells in {raster.count} bands",
                    f"{tile.height} x {tile.width} in one, as when the DEM was indexed",
                    "The file has changed: let the workflow index the DEM again.",
                )
            self._rasters[tile.path] = raster
        return raster

    def _refuse_no_elevations(
        self, tile: DemTile, stored: np.ndarray, row: int, column: int
    ) -> None:
        """Raise an error if any number cannot be an elevation.

        `stored` are those of the tile's cells from the absolute (row, column) on.
        """
        metres = _elevations(tile, stored)
        wrong = np.isin(stored, _SENTINELS) | (metres < _LOWEST_M) | (metres > _HIGHEST_M)
        if not wrong.any():
            return
        i, j = (int(index) for index in np.argwhere(wrong)[0])
        x, y = self.index.source.centre(row + i, column + j)
        value = f"{float(stored[i, j]):.17g}"  # all digits, to be declared
        as_stored = (tile.scale, tile.offset, tile.vertical_unit_m) == (1.0, 0.0, 1.0)
        told = "" if as_stored else f", which is {metres[i, j]:.9g} m,"
        known = [] if tile.nodata is None else [tile.nodata]
        known += tile.also_nodata
        declared = (
            f"the nodata value {' and '.join(f'{number:g}' for number in known)}"
            if known
            else "no nodata value"
        )
        raise TerrainError(
            tile.path,
            f"{value}{told} in the cell at x {x:.10g}, y {y:.10g}, and {declared}",
            f"elevations from {_LOWEST_M:,} to {_HIGHEST_M:,} m, and a declared nodata value for "
            "cells without data",
            f"If it means missing, set dem.nodata: {value}; if it is an elevation in another "
            "unit, name that in dem.vertical_unit.",
        )

    def _refuse_contradiction(
        self,
        tile: DemTile,
        read: list[tuple[DemTile, tuple[int, int, int, int]]],
        row: int,
        column: int,
    ) -> None:
        """Raise the error about two tiles that contradict each other in the cell (row, column)."""
        cell = (row, row + 1, column, column + 1)
        ours = self.read_tile(tile, *cell)[0, 0]
        for other, share in read:
            if share[0] <= row < share[1] and share[2] <= column < share[3]:
                theirs = self.read_tile(other, *cell)[0, 0]
                if not np.isnan(theirs):  # the first tile with data, whose number counts
                    x, y = self.index.source.centre(row, column)
                    raise TerrainError(
                        f"{other.path} and {tile.path}",
                        f"{theirs:.9g} m and {ours:.9g} m in the same cell at x {x:.10g}, "
                        f"y {y:.10g}",
                        f"a difference of at most {self.index.max_step_m:g} m where tiles overlap",
                        "Remove the wrong tile from dem.path. If both are right, raise "
                        "dem.max_step_m: the first in dem.path counts.",
                    )

    def _resampled(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Resample a window of the target lattice; like :meth:`_native`, always float64."""
        from snakeshed.kernels.resample import OFF_TILES, bilinear

        z = np.empty((height, width))
        kind = np.empty((height, width), np.uint8)
        step = max(1, _STRIP_CELLS // width)
        for first in range(0, height, step):
            strip = slice(first, min(height, first + step))
            rows, columns = self._source_positions(row + first, column, strip.stop - first, width)
            window = self._window_around(rows, columns)
            if window is None:
                z[strip], kind[strip] = np.nan, OFF_TILES
                continue
            source, covered = self._native(*window)
            bilinear(rows, columns, source, covered, window[0], window[1], z[strip], kind[strip])
        return z, kind != OFF_TILES

    def _source_positions(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where the centres of target cells lie, in absolute source rows and columns."""
        target, source = self.index.lattice, self.index.source
        xs = target.x0 + (np.arange(column, column + width) + 0.5) * target.dx
        ys = target.y0 - (np.arange(row, row + height) + 0.5) * target.dy
        x, y = self._to_source(np.tile(xs, height), np.repeat(ys, width))
        x = self.index.turned_at_source(x)
        shape = (height, width)
        return (
            ((source.y0 - y) / source.dy).reshape(shape),
            ((x - source.x0) / source.dx).reshape(shape),
        )

    def _to_source(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Transform coordinates to the CRS of the files."""
        if xs.size > 1:
            return self._transformer.transform(xs, ys)
        # pyproj takes an array of one number for a number, which NumPy warns about.
        x, y = self._transformer.transform(xs.item(), ys.item())
        return np.array([x]), np.array([y])

    def _window_around(
        self, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[int, int, int, int] | None:
        """Return the source window that positions need, or None where no tile can cover them."""
        finite = np.isfinite(rows) & np.isfinite(columns)
        tiles = self.index.tiles
        if not (finite.any() and tiles):
            return None
        # Positions may run far beyond the DEM; cells beyond its tiles need not be allocated.
        first_row = max(int(rows[finite].min()) - 2, min(t.row for t in tiles))
        first_column = max(int(columns[finite].min()) - 2, min(t.column for t in tiles))
        end_row = min(int(rows[finite].max()) + 3, max(t.row + t.height for t in tiles))
        end_column = min(int(columns[finite].max()) + 3, max(t.column + t.width for t in tiles))
        if first_row >= end_row or first_column >= end_column:
            return None
        return first_row, first_column, end_row - first_row, end_column - first_column


@lru_cache(maxsize=1)
def terrain_of(index: TerrainIndex, max_void_cells: int, run: str) -> Terrain:
    """Return a terrain that keeps its tiles open from one call to the next, in whatever process.

    But not from run to run, which a name tells apart: a process that outlives one would miss that
    a file was replaced, and take a relative path for that of another folder.
    """
    return Terrain(index, max_void_cells)


def steps_between(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where two arrays with data differ, (n, 2), and by how much, (n,) float64."""
    differ = (one != other) & ~np.isnan(one) & ~np.isnan(other)
    steps = np.abs(one[differ].astype(np.float64) - other[differ].astype(np.float64))
    return np.argwhere(differ), steps


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"a window of {height} x {width} cells")


def _may_be_masked(raster: DatasetReader, low: float, high: float) -> bool:
    """Whether cells of the first band, with numbers in a range, may be marked as missing."""
    from rasterio.enums import MaskFlags

    flags, nodata = raster.mask_flag_enums[0], raster.nodata
    if flags == [MaskFlags.all_valid]:
        return False
    if flags != [MaskFlags.nodata] or nodata is None:
        return True
    near = _NEAR_NODATA * abs(nodata) + _SMALLEST
    return low - near <= nodata <= high + near


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest number; both NaN where there is none."""
    # These are much faster than those below. They are NaN where any number is.
    low, high = values.min(), values.max()
    if not np.isnan(low):
        return float(low), float(high)
    return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))


def unreadable(tile: DemTile, error: Exception) -> TerrainError:
    """Return how GDAL's error is reported for a tile whose cells cannot be read."""
    return TerrainError(
        tile.path,
        f"cells that cannot be read ({error.__cause__ or error})",
        "a complete raster",
        "The file is damaged or truncated: fetch it again.",
    )


def _elevations(tile: DemTile, stored: np.ndarray) -> np.ndarray:
    """Return stored numbers of a tile in metres, float64."""
    values = stored.astype(np.float64)
    # One after the other and only where they say something: a factor of 1 must not change a value.
    if tile.scale != 1.0:
        values *= tile.scale
    if tile.offset != 0.0:
        values += tile.offset
    if tile.vertical_unit_m != 1.0:
        values *= tile.vertical_unit_m
    return values
