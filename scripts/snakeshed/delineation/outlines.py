"""Catchments as polygons, and polygons back as cells, without loss."""

from __future__ import annotations

import numpy as np
import shapely
from rasterio import features

from snakeshed.raster.lattice import Lattice


def outline(mask: np.ndarray, lattice: Lattice, row: int, column: int) -> shapely.MultiPolygon:
    """Outline of a set of cells along the cells' sides, holes included.

    Cells that touch at a corner only are separate parts, so that the outline is valid.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
    lattice : Lattice
    row, column : int
        Absolute cell of the mask's north-western corner.

    Returns
    -------
    shapely.MultiPolygon
        In the CRS of the lattice. Its vertices are nodes of the lattice, computed from absolute
        rows and columns: the same cells give the same bits wherever the mask begins.
    """

    def ring(nodes: list[tuple[float, float]]) -> shapely.LinearRing:
        columns, rows = np.array(nodes).T
        return shapely.linearrings(*lattice.corner(rows + row, columns + column))

    shapes = features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    parts = [
        shapely.polygons(ring(shell), [ring(hole) for hole in holes] or None)
        for shell, *holes in (shape["coordinates"] for shape, _ in shapes)
    ]
    return shapely.normalize(shapely.multipolygons(parts))


def cells_within(geometry: shapely.Geometry, lattice: Lattice) -> tuple[np.ndarray, int, int]:
    """Cells of an outline, the inverse of `outline`.

    Returns
    -------
    mask : ndarray of bool, shape (h + 2, w + 2)
        The cells in their bounding box, in a ring of False.
    row, column : int
        Absolute cell of the mask's north-western corner.
    """
    west, south, east, north = geometry.bounds
    column, row = round((west - lattice.x0) / lattice.dx), round((lattice.y0 - north) / lattice.dy)
    shape = (
        round((lattice.y0 - south) / lattice.dy) - row + 2,
        round((east - lattice.x0) / lattice.dx) - column + 2,
    )

    def to_nodes(vertices: np.ndarray) -> np.ndarray:
        x, y = vertices.T
        columns = np.rint((x - lattice.x0) / lattice.dx) - (column - 1)
        rows = np.rint((lattice.y0 - y) / lattice.dy) - (row - 1)
        return np.column_stack([columns, rows])

    nodes = shapely.transform(geometry, to_nodes)
    return features.rasterize([nodes], shape, dtype=np.uint8) > 0, row - 1, column - 1
