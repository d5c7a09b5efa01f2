"""Points of a layer, written once for all shards: the cell of the DEM that each lies in.

A cell is in one of neighboring catchments, and so is each point, also one on their outlines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely

from snakeshed.errors import LayerError
from snakeshed.features.near_dem import in_crs_of_dem
from snakeshed.features.vector_file import Features
from snakeshed.tables.arrays import array_of, numbers_of
from snakeshed.tables.geoparquet import read_arrow, write_table
from snakeshed.terrain.index import TerrainIndex

_DESCRIPTIONS = {
    "x": "x of the center of the DEM's cell that the point lies in, in the CRS of the DEM.",
    "y": "y of the center of the DEM's cell that the point lies in, in the CRS of the DEM.",
}
_POINT, _MULTIPOINT = shapely.GeometryType.POINT, shapely.GeometryType.MULTIPOINT


@dataclass(frozen=True, eq=False)
class CellsOfPoints:
    """The cells that points lie in.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Centers of the cells, in the CRS of the DEM.
    others : int
        Features that are no points and are left out.
    """

    x: np.ndarray
    y: np.ndarray
    others: int = 0


def cells_of_points(features: Features, where: str, terrain: TerrainIndex) -> CellsOfPoints:
    """Find the cell of the DEM's lattice that each point is in.

    A point on the line between two cells belongs to the one to the east or to the south.

    Raises
    ------
    LayerError
        None of the features is a point.
    """
    kinds = shapely.get_type_id(features.shapes)
    usable = np.isin(kinds, (_POINT, _MULTIPOINT))
    if len(kinds) and not usable.any():
        found = sorted({str(shape.geom_type) for shape in features.shapes[:1000]})
        raise LayerError(
            where,
            f"no points ({', '.join(found)})",
            "points",
            "Name the file or the layer with the points; for polygons set type: polygons.",
        )
    points = shapely.get_parts(features.shapes[usable])
    moved = in_crs_of_dem(points, features.crs, where, terrain)
    placed = moved[~shapely.is_missing(moved)]
    lattice = terrain.lattice
    # Places are rounded to a millionth of a cell, but for the last bits of their coordinates.
    columns = np.round((shapely.get_x(placed) - lattice.x0) / lattice.dx, 6)
    rows = np.round((lattice.y0 - shapely.get_y(placed)) / lattice.dy, 6)
    x, y = lattice.centre(np.floor(rows), np.floor(columns))
    return CellsOfPoints(x, y, int(np.count_nonzero(~usable)))


def write_points(points: CellsOfPoints, path: str) -> None:
    """Write the cells of points for the shards."""
    columns = {"x": points.x, "y": points.y}
    arrays = {name: array_of(each.tolist(), pa.float64()) for name, each in columns.items()}
    write_table(pa.table(arrays), path, _DESCRIPTIONS)


def read_points(path: str) -> CellsOfPoints:
    """Read what `write_points` wrote.

    Raises
    ------
    ResultError
        The file is missing or damaged.
    """
    table = read_arrow(path, ["x", "y"])
    return CellsOfPoints(numbers_of(table["x"]), numbers_of(table["y"]))


def count_in(outline: shapely.Geometry, points: CellsOfPoints) -> int:
    """Count the points in a catchment."""
    west, south, east, north = outline.bounds
    x, y = points.x, points.y
    near = (x > west) & (x < east) & (y > south) & (y < north)
    shapely.prepare(outline)
    return int(np.count_nonzero(shapely.contains_xy(outline, x[near], y[near])))
