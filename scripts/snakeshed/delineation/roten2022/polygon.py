"""The catchment as a polygon, and the DEM's cells in it."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine

from snakeshed.delineation.roten2022.published import CONTOUR
from snakeshed.raster.crs import transformer
from snakeshed.terrain.index import TerrainIndex


def contour_polygon(mask: np.ndarray, transform: Affine) -> shapely.Polygon | None:
    """Return the largest part of the contour around some cells.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
    transform : Affine
        Of the cells.

    Returns
    -------
    shapely.Polygon or None
        From center to center of cells, cut halfway between one inside and one outside. Cells that
        touch at a corner only are separate parts, of which the smaller ones are lost. None if the
        contour has no area.
    """
    from matplotlib.figure import Figure

    # Around the catchment nothing but zeros; at the rim of the window the contour follows centers.
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    part = mask[top : rows[-1] + 2, left : columns[-1] + 2]
    if min(part.shape) < 2:
        return None
    x, _ = transform * (left + np.arange(part.shape[1]) + 0.5, 0.0)
    _, y = transform * (0.0, top + np.arange(part.shape[0]) + 0.5)
    filled = Figure().subplots().contourf(x, y, part.astype(float), levels=[CONTOUR, 1.5])
    (path,) = filled.get_paths()
    rings = [shapely.LinearRing(ring) for ring in path.to_polygons() if len(ring) > 3]
    polygons = shapely.polygons(rings)
    if not len(polygons):
        return None
    largest = polygons[np.argmax(shapely.area(polygons))]
    holes = [
        ring
        for ring, polygon in zip(rings, polygons, strict=True)
        if polygon is not largest and shapely.contains(largest, polygon.representative_point())
    ]
    return shapely.Polygon(largest.exterior, holes)


def cells_in(
    polygon: shapely.Polygon, crs: str, index: TerrainIndex
) -> tuple[np.ndarray, int, int]:
    """Return the DEM's cells whose centers lie in a polygon.

    Parameters
    ----------
    polygon : shapely.Polygon
    crs : str
        Of the polygon.
    index : TerrainIndex
        Of the DEM.

    Returns
    -------
    mask : ndarray of bool, shape (h, w)
        In a ring of False.
    row, column : int
        Absolute cell of the mask's north-western corner.
    """
    lattice = index.lattice
    way = transformer(crs, lattice.crs)

    def to_terrain(xy: np.ndarray) -> np.ndarray:
        x, y = way.transform(*xy.T)
        return np.column_stack([index.turned(x), y])

    there = shapely.transform(polygon, to_terrain)
    west, south, east, north = there.bounds
    (row, column), (last_row, last_column) = (
        lattice.cell_of(west, north),
        lattice.cell_of(east, south),
    )
    x, _ = lattice.centre(0, np.arange(column - 1, last_column + 2))
    _, y = lattice.centre(np.arange(row - 1, last_row + 2), 0)
    shapely.prepare(there)
    return shapely.contains_xy(there, *np.meshgrid(x, y)), row - 1, column - 1
