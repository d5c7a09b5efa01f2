from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from snakeshed.raster.crs import US_SURVEY_FOOT_M, crs_facts, exact_unit
from snakeshed.raster.lattice import Lattice

UTM = crs_facts("EPSG:32611")
WGS84 = crs_facts("EPSG:4326")
CELLS = st.integers(-2_000_000, 2_000_000)


def third_arc_second() -> Lattice:
    return Lattice.through(WGS84, -119.0, 35.0, 1 / 10800, 1 / 10800)


def test_cells_are_counted_southwards_and_eastwards_from_the_node_nearest_to_the_origin():
    lattice = Lattice.through(UTM, 500_003.0, 4_000_007.0, 10.0, 20.0)
    # 500003 = 50000 * 10 + 3; 4000007 = 200000 * 20 + 7.
    assert (lattice.x0, lattice.y0) == (3.0, 7.0)
    assert lattice.cell_of(500_003.0, 4_000_007.0) == (-200_000, 50_000)
    assert lattice.cell_of(500_002.9, 4_000_007.1) == (-200_001, 49_999)
    assert lattice.cell_of(500_012.9, 3_999_987.1) == (-200_000, 50_000)
    assert lattice.corner(-200_000, 50_000) == (500_003.0, 4_000_007.0)
    assert lattice.centre(-200_000, 50_000) == (500_008.0, 3_999_997.0)
    assert tuple(lattice.affine(-200_000, 50_000))[:6] == (10, 0, 500_003, 0, -20, 4_000_007)


@given(CELLS, CELLS, st.sampled_from([UTM, WGS84]), st.sampled_from([10.0, 1 / 10800, 28.5]))
def test_the_centre_of_a_cell_is_in_it(row, column, facts, size):
    lattice = Lattice.through(facts, 0.37 * size, -0.21 * size, size, size)
    assert lattice.cell_of(*lattice.centre(row, column)) == (row, column)


@pytest.mark.parametrize(
    ("facts", "size"),
    [(UTM, 30.0), (UTM, 10 * US_SURVEY_FOOT_M), (UTM, 28.123456789), (WGS84, 1 / 10800)],
)
@given(phase=st.integers(-50, 49), start=CELLS, rows=CELLS, cols=CELLS)
def test_every_tile_of_a_raster_gives_the_same_lattice(facts, size, phase, start, rows, cols):
    """Adding a number of cells to an origin rounds: the lattice must not see it."""
    left = (start + phase / 100) * size
    whole = Lattice.through(facts, left, -left, size, size)
    tile = Lattice.through(facts, left + cols * size, -left - rows * size, size, size)
    assert tile == whole
    assert -size / 2 <= whole.x0 < size / 2
    assert -size / 2 <= whole.y0 < size / 2


def test_tiles_that_spell_a_third_of_an_arc_second_differently_share_one_lattice():
    """Origins and cell sizes as 3DEP tiles of several years state them."""
    spellings = [
        (-119.000555555556, 35.0005555555556, 0.0000925925925926),
        (-118.00055555561, 34.00055555557, 0.000092592592593),
        (-117.000555555, 36.000555556, 9.2592593e-05),
        (-120.00055555555556, 35.00055555555556, 9.259259259269217e-05),
    ]
    lattices = {Lattice.through(WGS84, x, y, size, size) for x, y, size in spellings}
    assert len(lattices) == 1
    (lattice,) = lattices
    assert (lattice.dx, lattice.x0, lattice.y0) == (1 / 10800, 0.0, 0.0)


def test_cells_centred_on_whole_degrees_have_one_phase_whichever_way_the_half_is_rounded():
    size = 1 / 3600
    just_below, just_above = -119 - size / 2 - 1e-12, -119 - size / 2 + 1e-12
    one = Lattice.through(WGS84, just_below, 35 + size / 2, size, size)
    other = Lattice.through(WGS84, just_above, 35 - size / 2, size, size)
    assert one == other
    assert one.x0 == one.y0 == -size / 2


def test_a_cell_size_that_is_no_simple_number_is_kept():
    assert Lattice.through(UTM, 0, 0, 27.182818284, 3.14159265).dx == 27.182818284


def test_sizes_on_a_projected_lattice_are_the_same_in_every_row_and_in_metres():
    lattice = Lattice.through(crs_facts("EPSG:2229"), 0.0, 0.0, 30.0, 15.0)
    rows = lattice.rows(-5, 3)
    width, height = 30 * (1200 / 3937), 15 * (1200 / 3937)
    np.testing.assert_array_equal(rows.width_m, [width] * 3)
    np.testing.assert_array_equal(rows.height_m, [height] * 3)
    np.testing.assert_array_equal(rows.area_m2, [width * height] * 3)
    assert lattice.cell_height_m() == height
    assert lattice.unit_m == US_SURVEY_FOOT_M


def test_a_degree_at_latitude_60_has_its_published_lengths():
    """Snyder (1987), table 3 on the WGS 84 ellipsoid: 111.412 and 55.800 km."""
    lattice = Lattice.through(WGS84, 0.0, 60.5, 1.0, 1.0)
    row, _ = lattice.cell_of(0.5, 60.0)
    sizes = lattice.rows(row, 1)
    assert sizes.height_m[0] == pytest.approx(111_412, abs=1)
    assert sizes.width_m[0] == pytest.approx(55_800, abs=1)
    assert lattice.cell_height_m() == pytest.approx(111_132, abs=1)


@pytest.mark.parametrize("latitude", [-71.3, -0.2, 0.0, 34.4, 60.0, 89.9])
def test_cell_sizes_agree_with_geodesics_on_the_ellipsoid(latitude):
    lattice = third_arc_second()
    row, column = lattice.cell_of(-118.5, latitude)
    sizes = lattice.rows(row, 1)
    west, north = lattice.corner(row, column)
    east, south = lattice.corner(row + 1, column + 1)
    middle = (north + south) / 2
    geod = Geod(ellps="WGS84")
    _, _, width = geod.inv(west, middle, east, middle)
    _, _, height = geod.inv(west, north, west, south)
    area, _ = geod.polygon_area_perimeter([west, east, east, west], [south, south, north, north])
    assert sizes.width_m[0] == pytest.approx(width, abs=2e-6)
    assert sizes.height_m[0] == pytest.approx(height, abs=2e-6)
    assert sizes.area_m2[0] == pytest.approx(area, abs=2e-3)


@pytest.mark.parametrize("crs", ["EPSG:4326", "+proj=longlat +R=6371000"])
def test_the_rows_from_pole_to_pole_cover_the_ellipsoid(crs):
    lattice = Lattice.through(crs_facts(crs), 0.0, 90.0, 0.25, 0.25)
    areas = lattice.rows(-360, 720).area_m2
    whole = 4 * math.pi * 6_371_000**2 if "+R" in crs else 510_065_621_724_089.0
    assert math.fsum(areas) * 360 / 0.25 == pytest.approx(whole, rel=1e-12)


def test_a_row_has_the_same_sizes_in_every_piece_of_rows():
    lattice = third_arc_second()
    whole = lattice.rows(-378_010, 20)
    for piece in (lattice.rows(-378_010, 7), lattice.rows(-378_003, 13)):
        for all_rows, some in zip(whole, piece, strict=True):
            assert set(some) <= set(all_rows)
    np.testing.assert_array_equal(whole.width_m[7:], lattice.rows(-378_003, 13).width_m)
    np.testing.assert_array_equal(whole.area_m2[7:], lattice.rows(-378_003, 13).area_m2)
    np.testing.assert_array_equal(whole.area_m2, np.round(whole.area_m2, 6))


def test_rows_beyond_a_pole_are_measured_as_the_row_at_the_pole():
    lattice = Lattice.through(WGS84, 0.0, 90.0, 1.0, 1.0)
    sizes = lattice.rows(-92, 4)
    assert sizes.width_m[0] == sizes.width_m[1] == sizes.width_m[2] > 0
    assert sizes.width_m[3] > sizes.width_m[2]


def test_no_rows_have_no_sizes():
    assert [len(size) for size in third_arc_second().rows(3, 0)] == [0, 0, 0]


def test_a_lattice_survives_json_bit_for_bit():
    for lattice in (third_arc_second(), Lattice.through(UTM, 1.23, 4.56, 28.5, 31.7)):
        assert Lattice.from_json(lattice.to_json()) == lattice


def test_facts_of_a_crs():
    compound = crs_facts("EPSG:2229+6360")
    assert compound.crs == "EPSG:2229"
    assert compound.unit_m == compound.vertical_unit_m == US_SURVEY_FOOT_M
    assert crs_facts("EPSG:4269+5703").vertical_unit_m == 1.0
    assert crs_facts("EPSG:4979").vertical_unit_m == 1.0
    assert crs_facts("EPSG:4269").vertical_unit_m is None
    assert crs_facts("EPSG:4269").inverse_flattening == 298.257222101
    assert exact_unit(0.3048000000001) == 0.3048
    assert exact_unit(0.2) == 0.2


def test_a_file_s_own_wording_of_a_crs_is_the_same_crs():
    from pyproj import CRS

    for version in ("WKT1_GDAL", "WKT2_2019"):
        assert crs_facts(CRS("EPSG:26910").to_wkt(version)) == crs_facts("EPSG:26910")


def test_a_crs_that_shifts_to_wgs84_keeps_its_own_coordinates():
    bound = crs_facts("+proj=utm +zone=10 +ellps=clrk66 +towgs84=-8,160,176 +type=crs")
    assert not bound.geographic
    assert bound.inverse_flattening == pytest.approx(294.978698)


@pytest.mark.parametrize(
    ("crs", "why"),
    [
        ("EPSG:0", "crs not found"),
        ("EPSG:4978", "neither geographic nor projected"),
        ("EPSG:4807", "counts angles in grad"),
    ],
)
def test_a_crs_that_cannot_carry_a_lattice_is_refused(crs, why):
    with pytest.raises(ValueError, match=why):
        crs_facts(crs)


@pytest.mark.parametrize("bad", [(0, 0, 0.0, 1.0), (0, 0, 1.0, -1.0), (math.nan, 0, 1.0, 1.0)])
def test_cells_need_a_place_and_a_size(bad):
    with pytest.raises(ValueError, match="no cells of size"):
        Lattice.through(UTM, *bad)


def test_a_missing_coordinate_is_in_no_cell():
    with pytest.raises(ValueError, match="is not a point"):
        third_arc_second().cell_of(math.nan, 3.0)
