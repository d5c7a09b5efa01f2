"""The cells of a layer in each catchment, and the share of each cell that lies in it.

A layer stays in its own CRS and resolution: the outlines are brought to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from exactextract import exact_extract
from exactextract.feature import JSONFeatureSource
from exactextract.raster import NumPyRasterSource

from snakeshed.features.layer import place_of
from snakeshed.features.layer_look import naming
from snakeshed.features.raster_layer import RasterLayer, scale_of, way_to_layer
from snakeshed.kernels.relief import total
from snakeshed.raster.crs import same_crs
from snakeshed.raster.header import Header

# Outlines are placed to this many decimals of a cell, so that every CPU agrees. A corner this
# close to a corner of cells is on it: the noise of a transformation between two CRSs with one
# grid, and of cell sizes that a header rounds.
_DECIMALS = 6
_ON_A_CORNER = 1e-4

# A cell of which less than this is inside is outside, and the reverse.
_NO_SHARE = 1e-6

# A step along an outline that a CRS stretches so much more than the others goes around the Earth.
_TORN = 100.0

# Cells that are read at a time.
_STRIP_CELLS = 1 << 22

_FULL_CIRCLE = 360.0


@dataclass(frozen=True)
class LayerCells:
    """Cells of a layer in one catchment.

    Attributes
    ----------
    stored : ndarray of float32 or float64, shape (n,)
        Stored numbers of the cells with data, row by row; float32 where that is exact.
    shares : ndarray of float32, shape (n,)
        Share of each cell that lies in the catchment, above 0 and at most 1.
    coverage : float
        Share of the catchment that these cells cover, 0 to 1.
    """

    stored: np.ndarray
    shares: np.ndarray
    coverage: float


def cells_of_layer(
    layer: RasterLayer, header: Header, outlines: Sequence[shapely.Geometry], crs: str
) -> Iterator[LayerCells]:
    """Read the cells of a layer in each of some catchments.

    Parameters
    ----------
    layer : RasterLayer
    header : Header
        Of its raster.
    outlines : sequence of shapely.Geometry
    crs : str
        Of the outlines.

    Yields
    ------
    LayerCells
        For each outline in turn. Cells that count as missing (`Missing.drop`) are left out.

    Raises
    ------
    LayerError
        The layer cannot be read, or holds infinite numbers or numbers that stand for missing data
        and are not declared.
    """
    with closing(_open(layer)) as raster:
        for rings in _in_cells(layer, header, outlines, crs):
            yield _cells(layer, header, raster, rings)


def _open(layer: RasterLayer) -> Any:
    """Open a layer's raster lazily; cells that its file declares as missing are read as NaN."""
    import rioxarray

    with naming(place_of(layer.name, layer.path), "opened"):
        return rioxarray.open_rasterio(layer.path, cache=False, masked=True)


def _in_cells(
    layer: RasterLayer, header: Header, outlines: Sequence[shapely.Geometry], crs: str
) -> Iterator[shapely.Geometry | None]:
    """Yield the outlines in columns (x) and negative rows (y) of a raster; None without a place."""
    facts = header.facts()
    transform = None
    if not same_crs(facts.crs, crs):
        transform = way_to_layer(crs, facts.crs, place_of(layer.name, layer.path))
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

    for outline in outlines:
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


def _cells(
    layer: RasterLayer, header: Header, raster: Any, outline: shapely.Geometry | None
) -> LayerCells:
    """Read the cells in one outline, which is in columns and negative rows of the raster."""
    stored = [np.empty(0, np.float32)]
    shares = [np.empty(0, np.float32)]
    factor, shift = scale_of(layer, header)
    where = place_of(layer.name, layer.path)
    for around in [] if outline is None else _turns(header, outline):
        for strip in _strips(header, around):
            inside, share = _shares(around, *strip)
            if not inside.size:
                continue
            row, column, height, width = strip
            with naming(where, "read"):
                window = raster[0, row : row + height, column : column + width].to_numpy()
            values = window.ravel()[inside]
            known = ~layer.missing.drop(values, factor, shift)
            values, share = values[known], share[known]
            if problem := layer.missing.undeclared(values, header.dtype, where):
                raise problem
            stored.append(values)
            shares.append(share)
    found, parts = np.concatenate(stored), np.concatenate(shares)
    coverage = total(parts) / outline.area if parts.size else 0.0
    # The shares of cells are of single precision.
    return LayerCells(found, parts, 1.0 if coverage > 1 - _NO_SHARE else round(coverage, 9))


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
    share[share > 1 - _NO_SHARE] = 1
    # A catchment may be smaller than a cell.
    some = share >= _NO_SHARE * min(1.0, outline.area)
    return inside[some], share[some]
