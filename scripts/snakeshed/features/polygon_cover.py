"""What polygons cover of a catchment, and what they say at points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from snakeshed.features.ground_area import GroundArea
from snakeshed.features.prepared_polygons import PreparedPolygons, polygons_of

# A piece smaller than this part of its polygon and of the catchment is noise: as for cells.
_NO_SHARE = 1e-6
# Polygons that overlap in a smaller part of a catchment touch each other.
_NO_OVERLAP = 1e-9
_SHARE_DECIMALS = 9


@dataclass(frozen=True)
class Cover:
    """What polygons cover of a catchment.

    Attributes
    ----------
    rows : tuple of int
        Polygons with a part of it, in the order of the file.
    areas_km2 : tuple of float
        Area on the ground of each one's part. Where polygons overlap, that is a part of the first.
    overlap_km2 : float
        Area that is left out because an earlier polygon has it.
    area_km2 : float
        Of the catchment.
    """

    rows: tuple[int, ...]
    areas_km2: tuple[float, ...]
    overlap_km2: float
    area_km2: float

    @property
    def share(self) -> float:
        """Share of the catchment that they cover, 0 to 1."""
        covered = math.fsum(self.areas_km2) / self.area_km2
        return 1.0 if covered > 1 - _NO_SHARE else round(covered, _SHARE_DECIMALS)

    @property
    def overlap(self) -> float:
        """Share of the catchment in which polygons overlap; 0 if they only touch."""
        share = self.overlap_km2 / self.area_km2
        return share if share > _NO_SHARE else 0.0


def cover_of(outline: shapely.Geometry, polygons: PreparedPolygons, crs: str) -> Cover:
    """Intersect polygons with a catchment.

    Parameters
    ----------
    outline : shapely.Geometry
    polygons : PreparedPolygons
    crs : str
        Of the outline and the polygons. Their sides are straight in it.
    """
    rows = np.array(polygons.touching(outline.bounds), np.int64)
    shapes = polygons.shapes(rows.tolist())
    shapely.prepare(outline)
    touched = shapely.intersects(outline, shapes)
    rows, shapes = rows[touched], shapes[touched]
    pieces = shapes.copy()
    crossing = ~shapely.contains_properly(outline, shapes)
    pieces[crossing] = _areas_of(shapely.intersection(outline, shapes[crossing]))
    least = _NO_SHARE * np.minimum(shapely.area(shapes), outline.area)
    counts = shapely.area(pieces) >= least
    rows, pieces, least = rows[counts], pieces[counts], least[counts]
    ground = GroundArea.around(outline, crs)
    (whole,) = ground.of(np.array([outline]))
    areas, overlap = ground.of(pieces), 0.0
    if polygons.may_overlap(rows) and _excess(pieces) > _NO_OVERLAP * outline.area:
        before = math.fsum(areas)
        pieces = _without_earlier(pieces)
        counts = shapely.area(pieces) >= least
        rows, areas = rows[counts], ground.of(pieces[counts])
        overlap = before - math.fsum(areas)
    return Cover(tuple(rows.tolist()), tuple(areas.tolist()), overlap, float(whole))


def _excess(pieces: np.ndarray) -> float:
    """Return the area that is in more than one piece, as often as it is so."""
    return math.fsum(shapely.area(pieces)) - shapely.union_all(pieces).area


def _without_earlier(pieces: np.ndarray) -> np.ndarray:
    """Take from each piece what earlier ones have."""
    tree = shapely.STRtree(pieces)
    left = pieces.copy()
    for k, piece in enumerate(pieces):
        near = tree.query(piece)
        earlier = np.sort(near[near < k])
        if len(earlier):
            left[k] = shapely.difference(piece, shapely.union_all(pieces[earlier]))
    return left


def _areas_of(shapes: np.ndarray) -> np.ndarray:
    """Return of shapes that touch along a line, too, their polygons alone."""
    areas = shapes.copy()
    collections = shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
    areas[collections] = polygons_of(shapes[collections])
    return areas


class PolygonSampler:
    """Polygons, read at points: each has the value of the first polygon of the file that it is in.

    A point on a side is in both polygons.

    Parameters
    ----------
    polygons : PreparedPolygons
    value_of : callable
        Returns the value of a polygon by its row.
    outside : float
        The value beside all polygons.
    """

    def __init__(
        self, polygons: PreparedPolygons, value_of: Callable[[int], float], outside: float
    ) -> None:
        self._polygons = polygons
        self._value_of = value_of
        self._outside = outside

    def close(self) -> None:
        """Do nothing: no file is open."""

    def values(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the value at each point.

        Parameters
        ----------
        x, y : ndarray of float64, shape (n,)

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        values = np.full(x.shape, self._outside)
        if not x.size:
            return values
        free = np.ones(x.shape, np.bool_)
        from_south = np.argsort(y, kind="stable")
        sorted_y = y[from_south]
        box = float(x.min()), float(y.min()), float(x.max()), float(y.max())
        for row in self._polygons.touching(box):
            shape = self._polygons.shape(row)
            west, south, east, north = shape.bounds
            first = np.searchsorted(sorted_y, south, "left")
            end = np.searchsorted(sorted_y, north, "right")
            near = from_south[first:end]
            near = near[free[near] & (x[near] >= west) & (x[near] <= east)]
            if near.size:
                shapely.prepare(shape)
                inside = near[shapely.intersects_xy(shape, x[near], y[near])]
                values[inside] = self._value_of(row)
                free[inside] = False
        return values
