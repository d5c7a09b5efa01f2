"""Polygons of a layer, written once for all shards: valid, near the DEM, and in its CRS.

A shard reads the boxes of all polygons, and only those polygons whose boxes touch its catchments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely

from snakeshed.errors import LayerError
from snakeshed.features.layer_look import Extent
from snakeshed.features.near_dem import cut_to_dem, in_crs_of_dem
from snakeshed.features.vector_file import Features
from snakeshed.raster.crs import same_crs, short_crs
from snakeshed.tables.arrays import array_of, numbers_of
from snakeshed.tables.geoparquet import GEOMETRY, geometry_metadata, read_arrow, write_table
from snakeshed.terrain.index import TerrainIndex

_SIDES = ("west", "south", "east", "north")
_DESCRIPTIONS = {
    "text": "The attribute of the polygon.",
    "number": "The attribute of the polygon.",
    **{side: f"The {side}ern side of the polygon's box, in the CRS of the DEM." for side in _SIDES},
    "may_overlap": "The polygon overlaps another one, or its sides do not match those of one.",
    GEOMETRY: "The polygon, valid, in the CRS of the DEM, rounded to a millionth of a cell.",
}
_POLYGON, _MULTIPOLYGON = shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON
_COLLECTION = shapely.GeometryType.GEOMETRYCOLLECTION


@dataclass(frozen=True, eq=False)
class Polygons:
    """Valid polygons in the CRS of the DEM, in the order of their file.

    Attributes
    ----------
    shapes : ndarray of shapely.Geometry, shape (n,)
    values : list of str, list of float, or None
        The attribute.
    invalid, others, nowhere : int
        How many were not valid and were made so; were no polygons and are left out; have no place
        in the CRS of the DEM and are left out.
    """

    shapes: np.ndarray
    values: list | None
    invalid: int = 0
    others: int = 0
    nowhere: int = 0


def valid_polygons(
    features: Features, values: list | None, where: str, terrain: TerrainIndex
) -> Polygons:
    """Make what a file has near the DEM valid, and bring it to the CRS of the DEM.

    Parameters
    ----------
    features : Features
    values : list, or None
        Of the features; a feature without a value is left out.
    where : str
        How messages name the layer.
    terrain : TerrainIndex

    Raises
    ------
    LayerError
        There is no way from the file's CRS to that of the DEM, or none of it is a polygon.
    """
    shapes = features.shapes
    kinds = shapely.get_type_id(shapes)
    usable = np.isin(kinds, (_POLYGON, _MULTIPOLYGON))
    collections = kinds == _COLLECTION
    shapes[collections] = polygons_of(shapes[collections])
    usable |= collections & ~shapely.is_empty(shapes)
    if len(shapes) and not usable.any():
        found = sorted({str(shape.geom_type) for shape in shapes[:1000]})
        raise LayerError(
            where,
            f"no polygons ({', '.join(found)})",
            "polygons",
            "Name the file or the layer with the polygons; for points set type: points.",
        )
    others = int(np.count_nonzero(~usable))
    rows = np.flatnonzero(usable)
    if values is not None:
        rows = rows[[values[row] is not None for row in rows]]
    shapes, invalid = _made_valid(shapes[rows])
    cut = cut_to_dem(shapes, features.crs, where, terrain)
    moved = in_crs_of_dem(cut, features.crs, where, terrain)
    placed = ~shapely.is_missing(moved)
    # Rounded, a polygon may touch itself.
    shapes, _ = _made_valid(moved[placed])
    some = shapely.area(shapes) > 0
    rows = rows[placed][some]
    nowhere = int(np.count_nonzero(~placed & ~shapely.is_empty(cut)))
    kept = None if values is None else [values[row] for row in rows]
    return Polygons(shapes[some], kept, invalid, others, nowhere)


def _made_valid(shapes: np.ndarray) -> tuple[np.ndarray, int]:
    """Return shapes with the invalid ones made valid polygons, and how many those were."""
    wrong = np.flatnonzero(~shapely.is_valid(shapes))
    if not len(wrong):
        return shapes, 0
    made = shapes.copy()
    # The shells of a multipolygon that overlap are united.
    valid = shapely.make_valid(shapes[wrong], method="structure", keep_collapsed=False)
    made[wrong] = polygons_of(valid)
    return made, len(wrong)


def polygons_of(shapes: np.ndarray) -> np.ndarray:
    """Return of each shape its polygons alone."""
    result = np.empty(len(shapes), object)
    for k, shape in enumerate(shapes):
        parts = shapely.get_parts(shapely.get_parts(shape))
        result[k] = shapely.multipolygons(parts[shapely.get_type_id(parts) == _POLYGON])
    return result


def write_polygons(polygons: Polygons, path: str, crs: str, *, texts: bool) -> None:
    """Write polygons for the shards.

    Parameters
    ----------
    polygons : Polygons
    path : str
    crs : str
        Of the DEM.
    texts : bool
        The values, if there are any, are texts; else they are numbers.
    """
    bounds = shapely.bounds(polygons.shapes)
    columns = {side: array_of(bounds[:, k].tolist(), pa.float64()) for k, side in enumerate(_SIDES)}
    # In each pair that overlaps, at least one polygon has such sides.
    unmatched = ~shapely.is_empty(shapely.coverage_invalid_edges(polygons.shapes))
    columns["may_overlap"] = array_of(unmatched.tolist(), pa.bool_())
    if polygons.values is not None:
        name, kind = ("text", pa.string()) if texts else ("number", pa.float64())
        columns[name] = array_of(polygons.values, kind)
    write_table(pa.table(columns), path, _DESCRIPTIONS, polygons.shapes, crs)


class PreparedPolygons:
    """Polygons that `write_polygons` wrote, of which only those are decoded that are asked for.

    Parameters
    ----------
    path : str
    crs : str
        In which they are needed.
    where : str
        How messages name the layer.

    Raises
    ------
    LayerError
        They are in another CRS.
    ResultError
        The file is missing or damaged.
    """

    def __init__(self, path: str, crs: str, where: str) -> None:
        table = read_arrow(path)
        own = geometry_metadata(table)["crs"]
        if not same_crs(crs, json.dumps(own)):
            raise LayerError(
                where,
                f"polygons that were prepared for the CRS {own.get('name')}",
                f"the CRS of the catchments, {short_crs(crs)}",
                "Run the workflow again, without changing its results.",
            )
        self._boxes = [numbers_of(table[side]) for side in _SIDES]
        self._may_overlap = np.array(table["may_overlap"].to_pylist(), np.bool_)
        self._encoded = table[GEOMETRY]
        self._shapes: dict[int, shapely.Geometry] = {}
        value = next((name for name in ("text", "number") if name in table.column_names), None)
        self._values = None if value is None else table[value]

    def touching(self, box: Extent) -> list[int]:
        """Return which polygons have boxes that touch one, in the order of the file."""
        west, south, east, north = self._boxes
        touched = (west <= box[2]) & (east >= box[0]) & (south <= box[3]) & (north >= box[1])
        return np.flatnonzero(touched).tolist()

    def shape(self, row: int) -> shapely.Geometry:
        """Return a polygon."""
        if row not in self._shapes:
            self._shapes[row] = shapely.from_wkb(self._encoded[row].as_py())
        return self._shapes[row]

    def shapes(self, rows: Sequence[int]) -> np.ndarray:
        """Return some polygons."""
        some = np.empty(len(rows), object)
        some[:] = [self.shape(row) for row in rows]
        return some

    def may_overlap(self, rows: np.ndarray) -> bool:
        """Tell whether some polygons may overlap each other.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
        """
        return len(rows) > 1 and bool(self._may_overlap[rows].any())

    def value(self, row: int) -> str | float | None:
        """Return the attribute of a polygon; None if there is none."""
        return None if self._values is None else self._values[row].as_py()

    def value_at(self, x: float, y: float) -> str | float | None:
        """Return the attribute of the first polygon at a point; None beside all."""
        for row in self.touching((x, y, x, y)):
            if shapely.intersects_xy(self.shape(row), x, y):
                return self.value(row)
        return None


def distinct_texts(path: str) -> list[str]:
    """Return all texts of the attribute, each once, sorted."""
    return sorted(set(read_arrow(path, ["text"])["text"].to_pylist()))
