"""Lengths and areas of projected CRSs against geodesics and PROJ's own factors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pyproj import CRS, Geod, Proj

from snakeshed.kernels.cell_sizes import between
from snakeshed.raster.crs import crs_facts, transformer
from snakeshed.raster.ground_scale import ground_scale, stretches_rows
from snakeshed.raster.lattice import Lattice

PLACES = {
    "EPSG:26911": (-117.5, 34.3),
    "EPSG:26918": (-118.0, 35.0),
    "EPSG:3857": (-118.0, 35.0),
    "EPSG:3413": (-118.0, 35.0),
    "EPSG:5070": (-118.0, 47.0),
    "EPSG:2229": (-118.2, 34.3),  # US survey feet
    "EPSG:27572": (2.3, 46.0),  # angles in grads, from Paris
    "EPSG:4087": (179.9999, 60.0),  # across the meridian where longitudes begin anew
    "EPSG:6933": (10.0, -50.0),
    "EPSG:2053": (29.5, -30.0),  # axes to the west and south
    "+proj=sinu +lon_0=0 +R=6371007.181 +units=m": (20.0, 45.0),
}


def scale_at(crs: str, x: float, y: float) -> tuple[float, ...]:
    facts = crs_facts(crs)
    scale = ground_scale(facts.crs, facts.unit_m, np.array([x]), np.array([y]))
    return tuple(scale[:, 0].tolist())


def place_of(crs: str) -> tuple[float, float]:
    return transformer(CRS(crs).geodetic_crs.to_wkt(), crs).transform(*_own_angles(crs))


def _own_angles(crs: str) -> tuple[float, float]:
    lon, lat = PLACES[crs]
    if crs == "EPSG:27572":
        return (lon - 2.33722917) / 0.9, lat / 0.9
    return lon, lat


@pytest.mark.parametrize("crs", PLACES)
def test_lengths_and_areas_are_geodesic(crs):
    facts = crs_facts(crs)
    x, y = place_of(crs)
    width, height, area, skew = scale_at(crs, x, y)
    own = CRS(crs).geodetic_crs
    to_angles = transformer(crs, own.to_wkt())
    unit = math.degrees(own.axis_info[0].unit_conversion_factor)
    half = 50.0 / facts.unit_m
    geod = Geod(a=own.ellipsoid.semi_major_metre, b=own.ellipsoid.semi_minor_metre)

    def on_ground(*points):
        lon, lat = to_angles.transform(*zip(*points, strict=True))
        return np.array(lon) * unit, np.array(lat) * unit

    lon, lat = on_ground((x - half, y), (x + half, y))
    assert width == pytest.approx(geod.line_length(lon, lat) / 100, abs=1e-6)
    lon, lat = on_ground((x, y - half), (x, y + half))
    assert height == pytest.approx(geod.line_length(lon, lat) / 100, abs=1e-6)
    half *= 10
    corners = [
        (x - half, y - half),
        (x + half, y - half),
        (x + half, y + half),
        (x - half, y + half),
    ]
    lon, lat = on_ground(*corners)
    found = abs(geod.polygon_area_perimeter(lon, lat)[0]) / 1e6
    assert area == pytest.approx(found, abs=2e-6)
    assert area == pytest.approx(width * height * math.sqrt(1 - skew * skew), abs=2e-6)
    lon, lat = on_ground(corners[0], corners[2])
    rising = geod.line_length(lon, lat) / 1000
    assert rising**2 == pytest.approx(width**2 + height**2 + 2 * skew * width * height, abs=1e-5)


@pytest.mark.parametrize("crs", ["EPSG:26911", "EPSG:26918", "EPSG:3413", "EPSG:5070", "EPSG:2229"])
def test_areas_are_those_of_projs_factors(crs):
    x, y = place_of(crs)
    factors = Proj(crs).get_factors(*_own_angles(crs))
    assert 1 / scale_at(crs, x, y)[2] == pytest.approx(factors.areal_scale, abs=3e-6)


@pytest.mark.parametrize(
    ("crs", "lat", "inflated"),
    [
        ("EPSG:3857", 34.0, 1.46),
        ("EPSG:3857", 36.0, 1.54 - 0.02),
        ("EPSG:3413", 36.0, 1.50),
    ],
)
def test_areas_are_inflated_by_what_is_known_of_these(crs, lat, inflated):
    x, y = transformer("EPSG:4326", crs).transform(-118.0, lat)
    assert 1 / scale_at(crs, x, y)[2] == pytest.approx(inflated, abs=0.015)


def test_nothing_is_singular_at_a_pole():
    # At the pole itself the scale of the projection is 0.9996 or so, in all directions.
    width, height, area, skew = scale_at("EPSG:3413", 0.0, 0.0)
    assert width == pytest.approx(height, abs=1e-6)
    assert area == pytest.approx(width * height, abs=2e-6)
    assert skew == 0
    assert 1.02 < width < 1.04


def test_where_a_projection_has_no_ground_the_crs_is_taken_at_its_word():
    assert scale_at("EPSG:26911", 1e9, 1e9) == (1, 1, 1, 0)
    assert scale_at("EPSG:3035", 4e7, 4e7) == (1, 1, 1, 0)
    facts = crs_facts("EPSG:26911")
    lattice = Lattice.through(facts, 0.0, 0.0, 10.0, 10.0)
    assert lattice.cell_at(-(10**8), 10**8) == (10, 10, 100, 0)


def test_only_rows_of_cylindrical_projections_are_stretched_evenly():
    assert all(map(stretches_rows, ["EPSG:3857", "EPSG:4087", "EPSG:6933"]))
    assert not any(map(stretches_rows, ["EPSG:26911", "EPSG:5070", "EPSG:3413", "EPSG:3395"]))


def lattice_at(crs: str, cell: float) -> tuple[Lattice, int, int]:
    x, y = place_of(crs)
    lattice = Lattice.through(crs_facts(crs), x, y, cell, cell * 1.25)
    return lattice, *lattice.cell_of(x, y)


@pytest.mark.parametrize("crs", PLACES)
@pytest.mark.parametrize("cell", [3.0, 90.0])
def test_each_cell_is_as_large_as_it_is_there(crs, cell):
    """Between the nodes, and with the unit of the CRS."""
    lattice, row, column = lattice_at(crs, cell)
    for i, j in ((row, column), (row + 700, column + 1300), (row - 333, column - 5)):
        x, y = lattice.centre(i, j)
        scale = ground_scale(lattice.crs, lattice.unit_m, np.array([x]), np.array([y]))[:, 0]
        size = lattice.cell_at(i, j)
        unit = lattice.unit_m
        assert size.width_m == pytest.approx(lattice.dx * unit * scale[0], rel=3e-6)
        assert size.height_m == pytest.approx(lattice.dy * unit * scale[1], rel=3e-6)
        assert size.area_m2 == pytest.approx(lattice.dx * lattice.dy * unit**2 * scale[2], rel=5e-6)
        assert size.skew == pytest.approx(scale[3], abs=5e-6)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:5070"])
def test_a_cell_has_the_same_size_in_every_window(crs):
    lattice, row, column = lattice_at(crs, 30.0)
    for top, left, height, width in ((0, 0, 5, 7), (-400, -900, 600, 1200), (-3, -1, 4, 2)):
        sizes = lattice.cells(row + top, column + left, height, width)
        assert sizes.width_m.shape[0] == height
        for i, j in ((0, 0), (0, 1), (-3, -1)):
            if not (0 <= i - top < height and 0 <= j - left < width):
                continue
            found = tuple(
                between(size, sizes.bits, sizes.offset, i - top, j - left) for size in sizes[:4]
            )
            assert found == lattice.cell_at(row + i, column + j)


def test_rows_for_routing_have_the_shape_that_cells_have_on_the_ground():
    lattice, row, column = lattice_at("EPSG:4087", 30.0)
    rows = lattice.routing_rows(row, 3)
    for k in range(3):
        size = lattice.cell_at(row + k, column)
        assert (rows.width_m[k], rows.height_m[k]) == pytest.approx(size[:2], rel=2e-6)
        assert rows.width_m[k] / 30.0 == pytest.approx(0.5, abs=0.01)
    conformal, row, _ = lattice_at("EPSG:26918", 30.0)
    assert conformal.routing_rows(row, 2).width_m.tolist() == [30.0, 30.0]


def test_cells_of_degrees_are_those_of_their_rows():
    lattice = Lattice.through(crs_facts("EPSG:4269"), -118.0, 35.0, 1 / 3600, 1 / 3600)
    rows, sizes = lattice.rows(-126_000, 4), lattice.cells(-126_000, 7, 4, 9)
    for k in range(4):
        found = tuple(between(size, sizes.bits, sizes.offset, k, 8) for size in sizes[:4])
        assert found == (rows.width_m[k], rows.height_m[k], rows.area_m2[k], 0.0)
        assert found == lattice.cell_at(-126_000 + k, 12)
