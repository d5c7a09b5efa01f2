"""Catchments as polygons, and polygons back as cells, without loss."""

from __future__ import annotations

import numpy as np
import shapely

from snakeshed.kernels.outline_rings import cells_in_rings, outline_rings
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

    Raises
    ------
    ValueError
        The mask has no cells.
    """
    rows, columns, ends, cells = outline_rings(mask)
    if not ends.size:
        raise ValueError("no cells, and so no outline")
    x, y = lattice.corner(row + rows, column + columns)
    lengths = np.diff(ends, prepend=0)
    rings = shapely.linearrings(x, y, indices=np.repeat(np.arange(ends.size), lengths))
    around_holes = shapely.is_ccw(rings)
    shells = rings[~around_holes]
    if not around_holes.any():
        parts = shapely.polygons(shells)
    elif shells.size == 1:
        parts = shapely.polygons(shells, [rings[around_holes]])
    else:
        from scipy import ndimage

        labels, _ = ndimage.label(mask)
        part_of = labels.ravel()[cells]
        order = np.argsort(part_of[around_holes], kind="stable")
        holes, part_of_hole = rings[around_holes][order], part_of[around_holes][order]
        first, end = (
            np.searchsorted(part_of_hole, part_of[~around_holes], side)
            for side in ("left", "right")
        )
        parts = [
            shapely.polygons(shell, holes[i:j])
            for shell, i, j in zip(shells, first, end, strict=True)
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
    rings = shapely.get_rings(shapely.get_parts(geometry))
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    x, y = coordinates.T
    columns = np.rint((x - lattice.x0) / lattice.dx).astype(np.int64) - (column - 1)
    rows = np.rint((lattice.y0 - y) / lattice.dy).astype(np.int64) - (row - 1)
    return cells_in_rings(rows, columns, ring, shape), row - 1, column - 1
