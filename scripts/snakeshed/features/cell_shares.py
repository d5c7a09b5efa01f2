"""The share of each cell of a raster that lies in each catchment."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from exactextract import exact_extract
from exactextract.feature import JSONFeatureSource
from exactextract.raster import NumPyRasterSource

from snakeshed.features.layer import Catchments
from snakeshed.features.raster_layer import way_to_layer
from snakeshed.raster.crs import same_crs
from snakeshed.raster.header import Header

# Outlines are placed to this many decimals of a cell, so that every CPU agrees. A corner this
# close to a corner of cells is on it: the noise of a transformation between two CRSs with one
# grid, and of cell sizes that a header rounds.
_DECIMALS = 6
_ON_A_CORNER = 1e-4

# A cell of which less than this is inside is outside, and the reverse.
NO_SHARE = 1e-6

# A step along an outline that a CRS stretches so much more than the others goes around the Earth.
_TORN = 100.0

# Cells that are read at a time.
_STRIP_CELLS = 1 << 22

# Shares of so many cells are kept for other layers on the same grid, of a catchment and in all.
_MOST_OF_ONE, _MOST_OF_ALL = 100_000, 4_000_000

_FULL_CIRCLE = 360.0


@dataclass(frozen=True, eq=False)
class Piece:
    """A window of a raster that a catchment has cells in.

    Attributes
    ----------
    row, column, height, width : int
    inside : ndarray of int64, shape (n,)
        Cells of the window, by flat index.
    share : ndarray of float32, shape (n,)
        Share of each that lies in the catchment, above 0 and at most 1.
    """

    row: int
    column: int
    height: int
    width: int
    inside: np.ndarray
    share: np.ndarray


@dataclass(frozen=True, eq=False)
class Shares:
    """Where a catchment lies on a raster.

    Attributes
    ----------
    area : float
        Of the catchment, in cells; 0 if it has no place in the raster's CRS.
    pieces : tuple of Piece
    """

    area: float
    pieces: tuple[Piece, ...]


def shares_on_grid(header: Header, catchments: Catchments, where: str) -> Iterator[Shares]:
    """Find the cells of a raster in each catchment.

    Layers often share a grid, and finding the cells takes longer than reading them. What is found
    is kept with the catchments, unless they are so large that it takes too much memory.

    Parameters
    ----------
    header : Header
        Of the raster.
    catchments : Catchments
    where : str
        How errors name the layer.

    Raises
    ------
    LayerError
        There is no way from the CRS of the catchments to that of the raster.
    """
    grid = header.facts().crs, header.transform, header.height, header.width
    kept = catchments.kept.setdefault(grid, {})
    for k, outline in enumerate(_in_cells(header, catchments, where, frozenset(kept))):
        if k in kept:
            yield kept[k]
            continue
        shares = _shares_of(header, outline)
        cells = sum(piece.inside.size for piece in shares.pieces)
        in_all = catchments.kept.get("cells", 0)
        if cells <= _MOST_OF_ONE and in_all + cells <= _MOST_OF_ALL:
            kept[k] = shares
            catchments.kept["cells"] = in_all + cells
        yield shares


def _shares_of(header: Header, outline: shapely.Geometry | None) -> Shares:
    if outline is None:
        return Shares(0.0, ())
    pieces = []
    for around in _turns(header, outline):
        for window in _strips(header, around):
            inside, share = _shares(around, *window)
            if inside.size:
                pieces.append(Piece(*window, inside, share))
    return Shares(outline.area, tuple(pieces))


def _in_cells(
    header: Header, catchments: Catchments, where: str, known: Collection[int]
) -> Iterator[shapely.Geometry | None]:
    """Yield the outlines in columns (x) and negative rows (y) of a raster; None without a place.

    None, too, for those that are known.
    """
    facts = header.facts()
    transform = None
    if not same_crs(facts.crs, catchments.crs):
        transform = way_to_layer(catchments.crs, facts.crs, where)
    dx, _, left, _, dy, top = header.transform
    circle = _FULL_CIRCLE if facts.geographic else None

    def to_cells(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        if transform is not None:
            x, y = transform.transform(x, y)
        if circle is not None and np.ptp(x) > circle / 2:
            # The antimeridian tears a small outline apart.
            x = np.where(x < 0, x + circle, x)
        cells = np.column_stack([(x - left) / dx, (top - y) / dy])
        nearest = np.rint(cells)
        on_a_corner = np.abs(cells - nearest) < _ON_A_CORNER
        return np.where(on_a_corner, nearest, cells.round(_DECIMALS))

    for k, outline in enumerate(catchments.outlines):
        if k in known:
            yield None
            continue
        moved = shapely.transform(outline, to_cells)
        whole = np.isfinite(shapely.bounds(moved)).all() and not _is_torn(outline, moved)
        yield moved if whole else None


def _is_torn(outline: shapely.Geometry, moved: shapely.Geometry) -> bool:
    """Whether the seam of a CRS, such as the antimeridian, lies between corners of an outline."""
    before, after = (
        np.hypot(*np.diff(shapely.get_coordinates(shape), axis=0).T) for shape in (outline, moved)
    )
    stretched = after[before > 0] / before[before > 0]
    return bool(stretched.max() > _TORN * stretched.min())


def _turns(header: Header, outline: shapely.Geometry) -> list[shapely.Geometry]:
    """Return an outline where a raster has it: perhaps a full turn away, or at both its ends."""
    if not header.facts().geographic:
        return [outline]
    turn = _FULL_CIRCLE / abs(header.transform[0])
    if abs(turn - round(turn)) < _ON_A_CORNER:
        turn = round(turn)
    turned = [
        shapely.transform(outline, lambda xy, by=by: xy + np.array([by, 0.0]))
        for by in (0, turn, -turn)
    ]
    for one in turned:
        west, _, east, _ = one.bounds
        if west >= 0 and east <= header.width:
            return [one]
    return turned


def _strips(header: Header, outline: shapely.Geometry) -> Iterator[tuple[int, int, int, int]]:
    """Yield the pieces of a raster under an outline: first row and column, height and width."""
    west, south, east, north = outline.bounds
    first, end = max(0, math.floor(-north)), min(header.height, math.ceil(-south))
    left, right = max(0, math.floor(west)), min(header.width, math.ceil(east))
    if left >= right:
        return
    step = max(1, _STRIP_CELLS // (right - left))
    for row in range(first, end, step):
        yield row, left, min(end, row + step) - row, right - left


def _shares(
    outline: shapely.Geometry, row: int, column: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells of a window are in an outline, by flat index, and their shares."""
    grid = NumPyRasterSource(
        np.zeros((height, width), np.int8), column, -(row + height), column + width, -row
    )
    feature = JSONFeatureSource({"type": "Feature", "geometry": shapely.geometry.mapping(outline)})
    (found,) = exact_extract(grid, feature, ["cell_id", "coverage"])
    inside = np.asarray(found["properties"]["cell_id"], np.int64)
    share = np.asarray(found["properties"]["coverage"], np.float32)
    share[share > 1 - NO_SHARE] = 1
    # A catchment may be smaller than a cell.
    some = share >= NO_SHARE * min(1.0, outline.area)
    return inside[some], share[some]
