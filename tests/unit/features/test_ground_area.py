"""Areas on the ground are those of the ellipsoid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

from snakeshed.ellipsoid import ellipsoid_cell
from snakeshed.features.ground_area import GroundArea


def geodesic_km2(shape: shapely.Geometry, crs: str, step: float) -> float:
    """Area by pyproj, of a shape whose sides are straight in its CRS."""
    angles = CRS.from_user_input(crs).geodetic_crs
    way = Transformer.from_crs(crs, angles, always_xy=True)
    moved = shapely.transform(
        shapely.segmentize(shape, step), lambda xy: np.column_stack(way.transform(*xy.T))
    )
    area, _ = angles.get_geod().geometry_area_perimeter(shapely.orient_polygons(moved))
    return abs(area) / 1e6


def star(x: float, y: float, size: float) -> shapely.Polygon:
    """A polygon with long sides and a hole."""
    angles = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    radius = size * np.where(np.arange(11) % 2, 0.4, 1.0)
    ring = np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])
    return shapely.Polygon(ring, [(ring - [x, y]) * 0.3 + [x, y]])


@pytest.mark.parametrize(
    ("crs", "x", "y", "size"),
    [
        ("EPSG:32611", 400_000, 3_800_000, 10_000),
        ("EPSG:32611", 700_000, 3_800_000, 60_000),
        ("EPSG:5070", -1_900_000, 1_700_000, 30_000),
        ("EPSG:2229", 6_500_000, 1_900_000, 50_000),
        ("EPSG:4326", -118.0, 34.0, 0.05),
        ("EPSG:4269", -118.0, 34.0, 1.0),
        ("EPSG:4326", 10.0, -60.0, 0.5),
    ],
)
def test_areas_are_geodesic_ones_to_a_millionth(crs, x, y, size):
    shape = star(x, y, size)
    (area,) = GroundArea.around(shape, crs).of(np.array([shape]))
    assert area == pytest.approx(geodesic_km2(shape, crs, size / 1000), rel=1e-6)


def test_a_cell_of_degrees_has_the_area_that_the_dem_gives_it():
    cell = shapely.box(-118.0001, 34.0, -118.0, 34.0001)
    around = cell.buffer(0.1)
    (area,) = GroundArea.around(around, "EPSG:4269").of(np.array([cell]))
    grs80 = 6_378_137.0, 298.257222101
    assert area * 1e6 == pytest.approx(ellipsoid_cell(34.00005, 1e-4, 1e-4, *grs80)[2], rel=1e-8)


def test_pieces_add_up_and_holes_are_left_out():
    whole = shapely.box(400_000, 3_800_000, 420_000, 3_815_000)
    hole = shapely.box(405_000, 3_805_000, 407_000, 3_806_000)
    rest = whole.difference(hole)
    ground = GroundArea.around(whole, "EPSG:32611")
    parts = np.array([whole, hole, rest, shapely.GeometryCollection([hole, rest])])
    areas = ground.of(parts)
    assert areas[1] + areas[2] == pytest.approx(areas[0], rel=1e-13)
    assert areas[3] == pytest.approx(areas[0], rel=1e-13)
    assert areas[1] == pytest.approx(2.0, rel=1e-3)
    line, empty = shapely.LineString([(400_000, 3_800_000), (401_000, 3_800_000)]), shapely.Point()
    assert ground.of(np.array([line, empty])).tolist() == [0.0, 0.0]
    assert math.isclose(ground.of(np.array([], object)).sum(), 0.0)
