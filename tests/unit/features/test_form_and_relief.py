"""The catchment group: planes worked by hand, and plain statistics of any set of cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasters import write_raster

from snakeshed.delineation.outlines import outline
from snakeshed.features.columns import ReliefRule, catchment_columns
from snakeshed.features.form_and_relief import CatchmentCells, catchment_features
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

LEFT, TOP, CELL = 500_000.0, 4_000_000.0, 10.0
ROW, COLUMN = -400_000, 50_000
GROUND = CELL / 0.9996
"""Side of a cell on the ground: this is the central meridian of a UTM zone."""
RULE = ReliefRule((23.0, 30.0), (0.0, 10.0, 50.0, 100.0))
AREA_KM2, FLOW_KM, BASIN_KM, CHANNEL_KM, PERIMETER_KM = 0.25, 1.3, 0.8, 0.5, 2.9


def features(folder, z, mask=None, row=0, column=0, rule=RULE, **options) -> dict:
    """Features of the cells of a mask whose first cell is (row, column) of the raster."""
    z = np.asarray(z, np.float32)
    mask = np.ones(z.shape, bool) if mask is None else mask
    where = {"left": LEFT, "top": TOP, "dx": CELL, "nodata": -9999.0} | options
    index = index_terrain([write_raster(folder / "dem.tif", z, **where)])
    tile = index.tiles[0]
    shape = outline(mask, index.lattice, tile.row + row, tile.column + column)
    measured = AREA_KM2, FLOW_KM, BASIN_KM, CHANNEL_KM, PERIMETER_KM
    with Terrain(index, 0) as terrain:
        cells = CatchmentCells.of(shape, terrain)
    return catchment_features(shape, cells, *measured, index.lattice, rule)


def plane(east, north, shape=(9, 9)) -> np.ndarray:
    rows, columns = np.indices(shape)
    return 500 + columns * GROUND * east - rows * GROUND * north


INNER = {"mask": np.ones((5, 5), bool), "row": 2, "column": 2}
"""Cells all of whose neighbours have data."""


def test_the_columns_are_the_described_ones_in_order(tmp_path):
    columns = [column.name for column in catchment_columns(RULE)]
    assert list(features(tmp_path, plane(0.1, 0.1))) == columns
    assert len(set(columns)) == len(columns)


def test_a_plane_by_hand(tmp_path):
    # It rises by 0.3 to the east and by 0.4 to the south: a slope of 0.5, down to the north-west.
    got = features(tmp_path, plane(0.3, -0.4), **INNER)
    slope = math.degrees(math.atan(0.5))
    for name in ("slope_mean_deg", "slope_p0_deg", "slope_p10_deg", "slope_p50_deg"):
        assert got[name] == pytest.approx(slope, rel=1e-5)
    assert got["slope_std_deg"] == pytest.approx(0, abs=1e-4)
    assert got["share_steeper_23deg"] == 1.0  # 26.6 degrees
    assert got["share_steeper_30deg"] == 0.0
    assert got["aspect_mean_deg"] == pytest.approx(360 - math.degrees(math.atan2(0.3, 0.4)), 1e-5)
    assert got["share_north_facing"] == 1.0
    # The cells from (2, 2) to (6, 6).
    assert got["elevation_min_m"] == pytest.approx(500 + 2 * GROUND * 0.7)
    assert got["elevation_max_m"] == pytest.approx(500 + 6 * GROUND * 0.7)
    assert got["elevation_mean_m"] == pytest.approx(500 + 4 * GROUND * 0.7)
    assert got["relief_m"] == pytest.approx(4 * GROUND * 0.7, rel=1e-5)
    assert got["hypsometric_integral"] == pytest.approx(0.5)
    assert got["ruggedness"] == pytest.approx(4 * GROUND * 0.7 / 500, rel=1e-5)
    assert (got["centroid_x"], got["centroid_y"]) == (LEFT + 45, TOP - 45)
    box = [got[side] for side in ("west", "south", "east", "north")]
    assert box == [LEFT + 20, TOP - 70, LEFT + 70, TOP - 20]


@pytest.mark.parametrize(
    ("east", "north", "aspect"),
    [(0, -1, 0), (-1, 0, 90), (0, 1, 180), (1, 0, 270), (-1, -1, 45), (1, 1, 225)],
)
def test_aspects_of_planes(tmp_path, east, north, aspect):
    got = features(tmp_path, plane(east, north), **INNER)["aspect_mean_deg"]
    assert (got - aspect + 180) % 360 - 180 == pytest.approx(0, abs=1e-4)


def test_aspects_are_averaged_on_the_circle(tmp_path):
    # A valley that falls to the north: its sides face north-east and north-west, around 0 degrees.
    z = plane(0, -0.2) + 2.0 * np.abs(np.arange(9) - 4)
    got = features(tmp_path, z, **INNER)
    assert (got["aspect_mean_deg"] + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)


def test_level_ground_has_neither_aspect_nor_hypsometry(tmp_path):
    got = features(tmp_path, np.full((9, 9), 7.0), **INNER)
    assert got["aspect_mean_deg"] is None
    assert got["hypsometric_integral"] is None
    assert got["slope_mean_deg"] == got["slope_std_deg"] == got["share_north_facing"] == 0
    assert got["relief_m"] == got["ruggedness"] == 0


def test_what_was_measured_before_is_passed_on_and_set_in_relation(tmp_path):
    got = features(tmp_path, plane(0.1, 0.1))
    assert got["area_km2"] == AREA_KM2
    assert got["perimeter_km"] == PERIMETER_KM
    assert got["longest_flow_path_km"] == FLOW_KM
    assert got["basin_length_km"] == BASIN_KM
    assert got["drainage_density_km_per_km2"] == CHANNEL_KM / AREA_KM2
    # A circle of 0.25 km2 has a diameter of 0.5642 km.
    assert got["elongation"] == pytest.approx(0.5642 / BASIN_KM, abs=1e-4)


def test_a_catchment_of_one_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.BASIN_KM", 0.0)
    got = features(tmp_path, plane(0.5, 0.0), np.array([[True]]), 4, 4)
    assert got["elongation"] is None
    assert got["slope_mean_deg"] == pytest.approx(math.degrees(math.atan(0.5)), rel=1e-5)
    assert got["slope_p0_deg"] == got["slope_p50_deg"] == got["slope_p100_deg"]
    assert got["hypsometric_integral"] is None


def test_percentiles_are_slopes_of_cells(tmp_path):
    # Two cells, of 0 and about 45 degrees.
    z = np.array([[0, 0, 0, 0, 0, 0]] * 3, float)
    z[:, 4:] = [GROUND, 2 * GROUND]
    mask = np.zeros((1, 4), bool)
    mask[0, 0] = mask[0, 3] = True
    rule = ReliefRule((), (0.0, 25.0, 50.0, 50.1, 100.0))
    got = features(tmp_path, z, mask, 1, 1, rule)
    assert got["slope_p0_deg"] == got["slope_p25_deg"] == got["slope_p50_deg"] == 0
    assert got["slope_p50p1_deg"] == got["slope_p100_deg"] == pytest.approx(45, rel=1e-5)


def test_a_slope_that_equals_the_threshold_counts(tmp_path):
    z = plane(0.5, 0.0)
    steep = features(tmp_path, z, **INNER)["slope_p0_deg"]
    assert steep == pytest.approx(math.degrees(math.atan(0.5)), rel=1e-5)
    exactly, above = ReliefRule((steep - 1e-9,), ()), ReliefRule((steep + 1e-3,), ())
    (share,) = (v for k, v in features(tmp_path, z, rule=exactly, **INNER).items() if "steep" in k)
    assert share == 1
    (share,) = (v for k, v in features(tmp_path, z, rule=above, **INNER).items() if "steep" in k)
    assert share == 0


def horn(z, i, j) -> tuple[float, float]:
    box = z[i - 1 : i + 2, j - 1 : j + 2]
    box = np.where(np.isnan(box), z[i, j], box)
    weights = np.array([1.0, 2.0, 1.0])
    return (
        weights @ (box[:, 2] - box[:, 0]) / (8 * GROUND),
        weights @ (box[0] - box[2]) / (8 * GROUND),
    )


@examples(25)
@given(
    hnp.arrays(np.float32, (6, 7), elements=st.floats(0, 200, width=16)),
    hnp.arrays(np.bool_, (6, 7)),
    hnp.arrays(np.bool_, (6, 7), elements=st.sampled_from([False] * 9 + [True])),
)
def test_statistics_equal_those_of_numpy(tmp_path_factory, z, mask, holes):
    """Any set of cells, at the rim and beside holes of nodata too."""
    mask &= ~holes
    if not mask.any():
        return
    z[holes] = -9999
    got = features(tmp_path_factory.mktemp("f"), z, mask)
    ring = np.pad(np.where(holes, np.nan, z.astype(float)), 1, constant_values=np.nan)
    cells = np.argwhere(np.pad(mask, 1))
    heights = np.array([ring[i, j] for i, j in cells])
    east, north = np.array([horn(ring, i, j) for i, j in cells]).T
    steepness = np.hypot(east, north)
    slope = np.degrees(np.arctan(steepness))
    expected = {
        "elevation_mean_m": heights.mean(),
        "elevation_min_m": heights.min(),
        "elevation_max_m": heights.max(),
        "relief_m": np.ptp(heights),
        "ruggedness": np.ptp(heights) / 500,
        "slope_mean_deg": slope.mean(),
        "slope_std_deg": slope.std(),
        "share_steeper_23deg": (slope >= 23).mean(),
        "share_north_facing": ((-north >= np.abs(east)) & (steepness > 0)).mean(),
        "centroid_x": LEFT + (cells[:, 1].mean() - 0.5) * CELL,
        "centroid_y": TOP - (cells[:, 0].mean() - 0.5) * CELL,
    } | {
        f"slope_p{q}_deg": np.percentile(slope, q, method="inverted_cdf") for q in (0, 10, 50, 100)
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)
    if np.ptp(heights) > 0:
        assert got["hypsometric_integral"] == pytest.approx(
            (heights.mean() - heights.min()) / np.ptp(heights)
        )


def test_cells_of_a_geographic_lattice_have_the_size_of_their_row(tmp_path):
    step = 1 / 3600
    z = np.broadcast_to(np.arange(9.0) * 10, (9, 9))
    got = features(tmp_path, z, left=-118.0, top=60.0, dx=step, crs="EPSG:4326", **INNER)
    # At 60 degrees an arc-second of longitude is 15.5 m.
    assert got["slope_mean_deg"] == pytest.approx(math.degrees(math.atan(10 / 15.5)), abs=0.1)
    assert got["centroid_x"] == pytest.approx(-118 + 4.5 * step, abs=1e-12)
