"""Polygons and points around the DEM, and in its CRS.

Places are rounded to a millionth of a cell of the DEM, so that every CPU agrees.
"""

from __future__ import annotations

import math

import numpy as np
import shapely

from snakeshed.errors import LayerError
from snakeshed.features.layer_look import Extent, around
from snakeshed.features.raster_layer import tiles_in, way_to_layer
from snakeshed.raster.crs import CrsFacts, crs_facts, same_crs, short_crs
from snakeshed.terrain.index import TerrainIndex

# A side that is straight in the CRS of the file is bent in that of the DEM: by 0.2 mm over 100 m.
_STEP_M = 100.0
_STEP_DEGREES = 0.001
_DECIMALS = 6
# What is read reaches beyond the DEM by this part of its size, and by so much more.
_MARGIN = 0.05
_MARGIN_M = 1000.0
_MARGIN_DEGREES = 0.01
_HALF_TURN = 180.0


def box_around_dem(facts: CrsFacts, where: str, terrain: TerrainIndex) -> Extent | None:
    """Return a box around the DEM in a CRS; None where it has none there.

    Parameters
    ----------
    facts : CrsFacts
    where : str
        How messages name the layer.
    terrain : TerrainIndex

    Raises
    ------
    LayerError
        There is no way to this CRS.
    """
    tiles = tiles_in(facts.crs, where, terrain)
    if any(tile is None for tile in tiles):
        return None
    west, south, east, north = around(tiles)
    least = _MARGIN_DEGREES if facts.geographic else _MARGIN_M / facts.unit_m
    margin = max(least, _MARGIN * max(east - west, north - south))
    box = west - margin, south - margin, east + margin, north + margin
    # Longitudes of a file may count from either side of the antimeridian.
    if facts.geographic and max(-box[0], box[2]) > _HALF_TURN:
        return None
    return box


def check_overlap(extent: Extent, facts: CrsFacts, where: str, terrain: TerrainIndex) -> None:
    """Refuse a file beside all of the DEM.

    Parameters
    ----------
    extent : Extent
        Of the file, in its CRS.
    facts : CrsFacts
        Of that CRS.
    where : str
        How messages name the layer.
    terrain : TerrainIndex

    Raises
    ------
    LayerError
        It is.
    """
    tiles = tiles_in(facts.crs, where, terrain)
    if any(tile is None for tile in tiles) or not all(map(math.isfinite, extent)):
        return
    turns = (0, -360, 360) if facts.geographic else (0,)
    west, south, east, north = extent
    for left, bottom, right, top in tiles:
        for turn in turns:
            if west < right + turn and left + turn < east and south < top and bottom < north:
                return
            # What has no width, such as one point, may lie within.
            inside = left + turn <= west <= right + turn and bottom <= south <= top
            if inside and (west == east or south == north):
                return
    left, bottom, right, top = around(tiles)
    raise LayerError(
        where,
        f"x from {west:.10g} to {east:.10g}, y from {south:.10g} to {north:.10g}, beside all of "
        "the DEM",
        f"some of x from {left:.10g} to {right:.10g}, y from {bottom:.10g} to {top:.10g}, where "
        f"the DEM is in the file's CRS {short_crs(facts.crs)}",
        "Name the file of the right place, or correct its CRS.",
    )


def cut_to_dem(shapes: np.ndarray, crs: str, where: str, terrain: TerrainIndex) -> np.ndarray:
    """Cut valid polygons to the surroundings of the DEM; its CRS may have no place for the rest."""
    box = box_around_dem(crs_facts(crs), where, terrain)
    if box is None:
        return shapes
    west, south, east, north = box
    bounds = shapely.bounds(shapes)
    beyond = (bounds[:, 0] < west) | (bounds[:, 1] < south)
    beyond |= (bounds[:, 2] > east) | (bounds[:, 3] > north)
    cut = shapes.copy()
    cut[beyond] = shapely.intersection(shapes[beyond], shapely.box(*box))
    return cut


def in_crs_of_dem(shapes: np.ndarray, crs: str, where: str, terrain: TerrainIndex) -> np.ndarray:
    """Bring shapes to the CRS of the DEM, and round their places.

    Sides are divided before, so that they stay where they are.

    Returns
    -------
    ndarray of shapely.Geometry, shape (n,)
        None where the CRS of the DEM has no place for a shape.
    """
    lattice = terrain.lattice
    same = same_crs(crs, lattice.crs)
    if not same:
        way = way_to_layer(crs, lattice.crs, where)
        shapes = _divided(shapes, crs_facts(crs))

    def move(xy: np.ndarray) -> np.ndarray:
        x, y = xy.T if same else way.transform(*xy.T)
        column = np.round((x - lattice.x0) / lattice.dx, _DECIMALS)
        row = np.round((lattice.y0 - y) / lattice.dy, _DECIMALS)
        return np.column_stack(lattice.corner(row, column))

    with np.errstate(invalid="ignore"):
        moved = shapely.transform(shapes, move)
    bounds = shapely.bounds(moved)
    moved[~np.isfinite(bounds).all(axis=1)] = None
    if not lattice.geographic or terrain.meridian is None:
        return moved
    # A shape lies on one side of the antimeridian as a whole.
    middles = (bounds[:, 0] + bounds[:, 2]) / 2
    turns = np.nan_to_num(terrain.turned(middles) - middles)
    for turn in np.unique(turns[turns != 0]):
        others = turns == turn
        moved[others] = shapely.transform(
            moved[others], lambda xy, turn=turn: xy + np.array([turn, 0.0])
        )
    return moved


def _divided(shapes: np.ndarray, facts: CrsFacts) -> np.ndarray:
    """Divide long sides."""
    step = _STEP_DEGREES if facts.geographic else _STEP_M / facts.unit_m
    xy, of_shape = shapely.get_coordinates(shapes, return_index=True)
    # From one ring to the next is no side; where it is long, dividing changes nothing.
    is_long = np.hypot(*np.diff(xy, axis=0).T) > step
    some = np.unique(of_shape[1:][is_long & (of_shape[1:] == of_shape[:-1])])
    divided = shapes.copy()
    divided[some] = shapely.segmentize(shapes[some], step)
    return divided
