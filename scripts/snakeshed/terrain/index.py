"""The DEM as an index of files: which tile lies where on the lattice."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from snakeshed.raster.crs import transformer
from snakeshed.raster.lattice import Lattice

# Kinds of numbers that float32 holds exactly.
_EXACT_IN_FLOAT32 = ("int8", "uint8", "int16", "uint16", "float32")

# Farther from all tiles a site keeps the longitude that it was given.
_NEAR_DEGREES = 5.0


@dataclass(frozen=True)
class DemTile:
    """One raster of a DEM and its place on the lattice.

    Attributes
    ----------
    path : str
    row, column : int
        Absolute cell of its north-western corner.
    height, width : int
        In cells.
    dtype : str
        Of the stored numbers.
    nodata : float or None
        Stored number that marks cells without data.
    scale, offset : float
        ``stored * scale + offset`` is the elevation in the file's vertical unit.
    vertical_unit_m : float
        Length of that unit in metres.
    also_nodata : tuple of float
        More stored numbers that mark cells without data: ``dem.nodata``.
    """

    path: str
    row: int
    column: int
    height: int
    width: int
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    vertical_unit_m: float
    also_nodata: tuple[float, ...] = ()

    @property
    def stored_float_dtype(self) -> np.dtype:
        """Float type that holds the stored numbers without loss."""
        return np.dtype(np.float32 if self.dtype in _EXACT_IN_FLOAT32 else np.float64)

    @property
    def exact_dtype(self) -> np.dtype:
        """Float type that holds the tile's elevations in metres without loss."""
        as_stored = (self.scale, self.offset, self.vertical_unit_m) == (1.0, 0.0, 1.0)
        return self.stored_float_dtype if as_stored else np.dtype(np.float64)


@dataclass(frozen=True)
class TerrainIndex:
    """Where the tiles of a DEM lie, and on which lattice the terrain is read.

    Attributes
    ----------
    lattice : Lattice
        The lattice of the terrain: the DEM's own, or that of `dem.target_crs`.
    source : Lattice
        The lattice on which `tiles` are counted: the DEM's own.
    tiles : tuple of DemTile
        In the order of ``dem.path``: where two overlap, the first one that has data counts.
    max_step_m : float
        Two tiles that differ by more than this in a cell are not of one DEM: ``dem.max_step_m``.
    meridian : float or None
        Longitude in the middle of the whole DEM, where that is counted in degrees. Tiles on both
        sides of the antimeridian lie side by side, and longitudes are those within 180 degrees of
        this one: they may be beyond 180 or -180.
    assumptions : tuple of str
        What the files do not say and was assumed.
    warnings : tuple of str
        What a person should look at.
    """

    lattice: Lattice
    source: Lattice
    tiles: tuple[DemTile, ...]
    max_step_m: float = 0.0
    meridian: float | None = None
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_native(self) -> bool:
        """The terrain is read on the DEM's own lattice."""
        return self.lattice == self.source

    def turned(self, x: float | np.ndarray) -> float | np.ndarray:
        """Return a longitude as the terrain counts it; an easting as it is."""
        return x if not self.lattice.geographic else self._turned(x)

    def turned_near(self, x: float) -> float:
        """Return a longitude as the terrain counts it if that is near its tiles; else as it is."""
        turned = self.turned(x)
        # Without tiles it is not known yet which there are.
        if turned == x or not self.source.geographic or not self.tiles:
            return turned
        _, _, first_column, end_column = self._bounds
        west, _ = self.source.corner(0, int(first_column.min()))
        east, _ = self.source.corner(0, int(end_column.max()))
        return turned if west - _NEAR_DEGREES <= turned <= east + _NEAR_DEGREES else x

    def turned_at_source(self, x: np.ndarray) -> np.ndarray:
        """Return longitudes as the tiles count them; eastings as they are."""
        return x if not self.source.geographic else self._turned(x)

    def _turned(self, x: float | np.ndarray) -> float | np.ndarray:
        if self.meridian is None:
            return x
        with np.errstate(invalid="ignore"):  # a place beyond what the CRS can express
            return x - 360.0 * np.floor((x - self.meridian + 180.0) / 360.0)

    @cached_property
    def _bounds(self) -> np.ndarray:
        """First row, end row, first column and end column (axis 0) of each tile (axis 1)."""
        bounds = [(t.row, t.row + t.height, t.column, t.column + t.width) for t in self.tiles]
        return np.array(bounds, np.int64).reshape(-1, 4).T

    @cached_property
    def extent_m(self) -> tuple[float, float]:
        """Height and width of the box around all tiles in meters.

        Degrees are as long as on a meridian at latitude 45: the box is rather too large.
        """
        unit_m = self.source.cell_height_m() / self.source.dy
        _, _, height, width = self._source_box
        return height * self.source.dy * unit_m, width * self.source.dx * unit_m

    @cached_property
    def _source_box(self) -> tuple[int, int, int, int]:
        """The box of all tiles, of which there is one at least, on the source lattice."""
        first_row, end_row, first_column, end_column = self._bounds
        row, column = int(first_row.min()), int(first_column.min())
        return row, column, int(end_row.max()) - row, int(end_column.max()) - column

    @cached_property
    def _box(self) -> tuple[int, int, int, int] | None:
        """A box of the terrain's lattice with all cells of tiles; None if there may be none."""
        if self.is_native:
            return self._source_box
        box = _image(self._source_box, self.source, self.lattice, self.turned)
        # A DEM on both sides of the antimeridian, or around a pole, may go on beyond any box.
        if box is not None and self.lattice.geographic and box[3] * self.lattice.dx > 180.0:
            return None
        return box

    def part_with_tiles(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[int, int, int, int]:
        """Return the part of a window that has all of its cells that lie on tiles.

        The cells around that part, as far as they are not around the window too, lie on no tile:
        reading and routing the part gives what the window gives there.

        Parameters
        ----------
        row, column, height, width : int
            A window of `lattice`, in absolute cells.

        Returns
        -------
        tuple of int
            Row, column, height, and width; one cell at least.
        """
        box = self._box if self.tiles else (row, column, 1, 1)
        if box is None:
            return row, column, height, width
        first_row, rows = _shared(row, height, box[0], box[2])
        first_column, columns = _shared(column, width, box[1], box[3])
        return first_row, first_column, rows, columns

    def touching(self, row: int, column: int, height: int, width: int) -> list[int]:
        """Return which tiles have cells in a window of the source lattice."""
        # Thousands of patches ask this of thousands of tiles.
        first_row, end_row, first_column, end_column = self._bounds
        rows = (first_row < row + height) & (end_row > row)
        touched = rows & (first_column < column + width) & (end_column > column)
        return np.flatnonzero(touched).tolist()

    def subset(self, paths: Iterable[str]) -> TerrainIndex:
        """Keep only the tiles of these paths, in their order, and nothing said of the others."""
        keep = set(paths)
        tiles = tuple(tile for tile in self.tiles if tile.path in keep)
        return replace(self, tiles=tiles, assumptions=(), warnings=())

    def to_json(self) -> str:
        """Return a JSON object from which :meth:`from_json` makes an equal index."""
        fields = asdict(self)
        for tile in fields["tiles"]:
            # JSON has no NaN, which is a common nodata value.
            tile["nodata"] = None if tile["nodata"] is None else repr(tile["nodata"])
        return json.dumps(fields, indent=1)

    @classmethod
    def from_json(cls, text: str) -> TerrainIndex:
        """Make the index that :meth:`to_json` wrote."""
        fields = json.loads(text)
        for tile in fields["tiles"]:
            tile["nodata"] = None if tile["nodata"] is None else float(tile["nodata"])
        return cls(
            lattice=Lattice(**fields["lattice"]),
            source=Lattice(**fields["source"]),
            tiles=tuple(
                DemTile(**tile | {"also_nodata": tuple(tile["also_nodata"])})
                for tile in fields["tiles"]
            ),
            max_step_m=fields["max_step_m"],
            meridian=fields["meridian"],
            assumptions=tuple(fields["assumptions"]),
            warnings=tuple(fields["warnings"]),
        )


def tiles_under(index: TerrainIndex, row: int, column: int, height: int, width: int) -> list[str]:
    """List the tiles that reading a window may touch, the ring of cells around it included.

    Parameters
    ----------
    index : TerrainIndex
    row, column, height, width : int
        A window of ``index.lattice``, in absolute cells.

    Returns
    -------
    list of str
        Paths in the order of the index: exactly those touched on the DEM's own lattice; with
        resampling perhaps some more, never fewer.
    """
    window = source_window(index, row, column, height, width)
    if window is None:
        return [tile.path for tile in index.tiles]
    return [index.tiles[k].path for k in index.touching(*window)]


def source_window(
    index: TerrainIndex, row: int, column: int, height: int, width: int
) -> tuple[int, int, int, int] | None:
    """Return the window of the source lattice that reading a window may need.

    Parameters
    ----------
    index : TerrainIndex
        Its tiles make no difference.
    row, column, height, width : int
        A window of ``index.lattice``, in absolute cells.

    Returns
    -------
    tuple of int or None
        Row, column, height, and width, with the ring of cells around it; None where the window
        reaches beyond what the two CRSs can express: then any cell may be needed.
    """
    window = (row - 1, column - 1, height + 2, width + 2)
    if index.is_native:
        return window
    return _image(window, index.lattice, index.source, index.turned_at_source)


def overlap(
    tile: DemTile, row: int, column: int, height: int, width: int
) -> tuple[int, int, int, int] | None:
    """Return (first row, end row, first column, end column) that a tile and a window share."""
    first_row, end_row = max(row, tile.row), min(row + height, tile.row + tile.height)
    first_column, end_column = (
        max(column, tile.column),
        min(column + width, tile.column + tile.width),
    )
    if first_row >= end_row or first_column >= end_column:
        return None
    return first_row, end_row, first_column, end_column


def _image(
    window: tuple[int, int, int, int],
    lattice: Lattice,
    other: Lattice,
    turned: Callable[[np.ndarray], np.ndarray],
) -> tuple[int, int, int, int] | None:
    """Return a window of another lattice that contains all ground of a window of a lattice.

    None where the window reaches beyond what the two CRSs can express: then any cell may be
    needed. `turned` makes longitudes those that are counted there.
    """
    row, column, height, width = window
    steps = 32
    xs = [lattice.x0 + (column + width * i / steps) * lattice.dx for i in range(steps + 1)]
    ys = [lattice.y0 - (row + height * i / steps) * lattice.dy for i in range(steps + 1)]
    x, y = transformer(lattice.crs, other.crs).transform(
        np.tile(xs, steps + 1), np.repeat(ys, steps + 1)
    )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    x = turned(x)
    columns, rows = (x - other.x0) / other.dx, (other.y0 - y) / other.dy
    # Between two of these points a smooth map strays by less than one step of the mesh.
    margin_columns = math.ceil(2 + (columns.max() - columns.min()) / steps)
    margin_rows = math.ceil(2 + (rows.max() - rows.min()) / steps)
    first_column = math.floor(columns.min()) - margin_columns
    first_row = math.floor(rows.min()) - margin_rows
    end_column = math.ceil(columns.max()) + margin_columns
    end_row = math.ceil(rows.max()) + margin_rows
    return first_row, first_column, end_row - first_row, end_column - first_column


def _shared(first: int, count: int, other: int, other_count: int) -> tuple[int, int]:
    """Return first and count of what two ranges share, or the one of the first nearest to it."""
    start = min(max(first, other), first + count - 1)
    return start, max(min(first + count, other + other_count), start + 1) - start


def near_a_tile(index: TerrainIndex, x: float, y: float, radius_m: float) -> bool:
    """Tell whether any tile of a DEM may have cells within a radius of a point.

    Parameters
    ----------
    index : TerrainIndex
    x, y : float
        Finite, in the CRS of the terrain.
    radius_m : float
        Metres on the ground.

    Returns
    -------
    bool
        False only if no tile reaches the box of cells around the circle.
    """
    lattice = index.lattice
    row, column = lattice.cell_of(x, y)
    cell = lattice.cell_at(row, column)
    reach_m = radius_m / math.sqrt(1 - cell.skew * cell.skew)
    north, east = math.ceil(reach_m / cell.height_m), math.ceil(reach_m / cell.width_m)
    # tiles_under adds a ring of cells to the window.
    return bool(tiles_under(index, row - north + 1, column - east + 1, 2 * north - 1, 2 * east - 1))


def on_a_tile(index: TerrainIndex, x: float, y: float) -> bool:
    """Tell whether a point lies on a cell of a tile, with data or without."""
    if not index.is_native:
        x, y = transformer(index.lattice.crs, index.source.crs).transform(x, y)
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    cell = index.source.cell_of(index.turned_at_source(x), y)
    return any(overlap(tile, *cell, 1, 1) for tile in index.tiles)
