"""A DEM goes on beyond the antimeridian: tiles are joined across it, and sites found on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rasters import write_raster

from snakeshed import demo, demo_terrain
from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.patch import TileSettings
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import check_reach, split, within_reach
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.demo_outlets import OUTLETS
from snakeshed.grid.snap import SnapRule
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex, on_a_tile

RULE = DelineationRule(SnapRule(250.0, 0.05, 0.1), max_void_cells=64, channel_km2=0.1)
CELL = 3 / 3600
TOP = 36.72
AROUND = 360 * 1200


def raster(path: Path, z: np.ndarray, west: float, **options) -> str:
    return write_raster(path, z, left=west, top=TOP, dx=CELL, crs="EPSG:4326", **options)


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return demo_terrain.read_sample()[0]


@pytest.fixture(scope="module")
def places(ground) -> list[tuple[float, float, float]]:
    """Sites of the demo: by columns and rows of its DEM, and their areas."""
    _, transform = demo_terrain.read_sample()
    table = demo.site_table(OUTLETS, ground.shape, transform)
    table = table.drop_duplicates("site")
    columns, rows = ~transform * (table["lon"].to_numpy(), table["lat"].to_numpy())
    places = zip(columns, rows, table["area_km2"], strict=True)
    # One site of the demo lies outside its DEM.
    return [place for place in places if 0 <= place[0] < 403 and 0 <= place[1] < 344]


def table_of(places, west: float) -> pd.DataFrame:
    """Sites of a DEM that begins in the west at a longitude, theirs in -180 to 180."""
    lons = [west + column * CELL for column, _, _ in places]
    return pd.DataFrame(
        {
            "site_id": [f"s{k:02}" for k in range(len(places))],
            "x": [lon - 360 if lon > 180 else lon for lon in lons],
            "y": [TOP - row * CELL for _, row, _ in places],
            "crs": "EPSG:4326",
            "reported_area_km2": [area for _, _, area in places],
        }
    )


def delineated(
    index: TerrainIndex, table: pd.DataFrame, shards: int = 1, tiles: TileSettings | None = None
) -> list[Catchment]:
    pyramid = PatchPyramid(index.lattice, 2000, 1000, 6, 2.0)
    done = []
    for shard in split(table, index, pyramid, shards):
        sites = sites_of(shard.sites)
        done += delineate(sites, shard.terrain, pyramid, RULE, Backend("serial"), tiles)
    return sorted(done, key=lambda catchment: catchment.site_id)


def test_a_raster_that_extends_beyond_180_degrees_has_all_its_sites(tmp_path, ground, places):
    west = 180 - 200 * CELL
    index = index_terrain([raster(tmp_path / "a.tif", ground, west)])
    table = table_of(places, west)
    assert (table["x"] < 0).sum() > 15
    assert all(within_reach(table, index, 250.0))
    check_reach(table[table["x"] < 0].assign(lon=table["x"], lat=table["y"]), index, 250.0)
    done = delineated(index, table)
    inland = delineated(
        index_terrain([raster(tmp_path / "b.tif", ground, 10.0)]), table_of(places, 10.0)
    )
    assert {one.status for one in done} == {"ok"}
    for one, other in zip(done, inland, strict=True):
        assert one.area_km2 == other.area_km2
        assert one.outlet_x - west == pytest.approx(other.outlet_x - 10.0, abs=1e-9)
        assert one.site_x == pytest.approx(one.outlet_x, abs=0.01)
        assert -180 <= one.outlet_lon <= 180
        assert one.outlet_lon == pytest.approx((one.outlet_x + 180) % 360 - 180, abs=1e-7)
        assert one.geometry.bounds[0] >= west - 1e-9
    assert sum(one.outlet_lon < 0 for one in done) > 15


@pytest.mark.parametrize("overlap", [0, 12])
def test_tiles_on_both_sides_of_180_degrees_are_one_dem(tmp_path, ground, places, overlap):
    west = 180 - 210 * CELL
    whole = index_terrain([raster(tmp_path / "whole.tif", ground, west)])
    end, start = 210 + overlap // 2, 210 - overlap // 2
    paths = [
        raster(tmp_path / "east.tif", ground[:, start:], -180.0 - overlap // 2 * CELL),
        raster(tmp_path / "west.tif", ground[:, :end], west),
    ]
    index = index_terrain(paths)
    assert (index.lattice, index.meridian) == (whole.lattice, whole.meridian)
    column = whole.tiles[0].column
    assert [tile.column - column for tile in index.tiles] == [start, 0]
    row = index.tiles[0].row
    with Terrain(whole, 0) as one, Terrain(index, 0) as other:
        expected, found = (terrain.read(row - 2, column - 2, 348, 407) for terrain in (one, other))
    np.testing.assert_array_equal(found.z, expected.z)
    np.testing.assert_array_equal(found.border, expected.border)
    table = table_of(places, west)
    expected = delineated(whole, table)
    assert delineated(index, table) == expected
    assert delineated(index, table, shards=3) == expected
    tiles = TileSettings(10_000, 90, str(tmp_path))
    assert delineated(index, table[::6], tiles=tiles) == expected[::6]


@pytest.mark.parametrize(
    ("wests", "expected", "meridian"),
    [
        # Where the headers say: the usual DEM, also of two continents.
        ([-118.0, -117.0], [-118.0, -117.0], -117.0),
        ([-120.0, 139.0], [-120.0, 139.0], 10.0),
        ([-180.0], [-180.0], -179.5),
        ([179.0], [179.0], 179.5),
        ([179.2], [179.2], 179.7),
        ([-180.005], [-180.005], -179.505),
        # Longitudes from 0 to 360.
        ([190.0], [190.0], 190.5),
        ([190.0, -169.0], [-170.0, -169.0], -169.0),
        ([359.0, 0.0], [-1.0, 0.0], 0.0),
        # Both sides of the antimeridian.
        ([-180.0, 179.0], [180.0, 179.0], 180.0),
        ([-180.0, -179.0, 179.0], [-180.0, -179.0, -181.0], -179.5),
        ([179.0, 180.0], [179.0, 180.0], 180.0),
        ([178.0, 179.5, -100.0], [178.0, 179.5, 260.0], 219.5),
    ],
)
def test_where_tiles_of_one_degree_are_placed(tmp_path, wests, expected, meridian):
    z = np.ones((2, 200), np.float32)
    for order in (1, -1):
        paths = [
            write_raster(tmp_path / f"{k}.tif", z, left=west, top=TOP, dx=0.005, crs="EPSG:4326")
            for k, west in enumerate(wests)
        ][::order]
        index = index_terrain(paths)
        placed = [index.lattice.corner(tile.row, tile.column)[0] for tile in index.tiles][::order]
        assert placed == pytest.approx(expected, abs=1e-9)
        assert index.meridian == pytest.approx(meridian, abs=1e-9)
        assert TerrainIndex.from_json(index.to_json()) == index
        assert index.subset(paths[:1]).meridian == index.meridian
        for west in wests:
            for x in (west + 0.3, west + 0.3 - 360, west + 0.3 + 360):
                assert on_a_tile(index, float(index.turned(x)), TOP - 0.005)


@pytest.mark.parametrize("west", [-180.0, 0.0, -180.5])
def test_a_globe_stays_where_its_header_says(tmp_path, west):
    z = np.ones((2, 361 if west == -180.5 else 360), np.float32)
    path = write_raster(tmp_path / "a.tif", z, left=west, top=10.0, dx=1.0, crs="EPSG:4326")
    index = index_terrain([path])
    assert index.lattice.corner(0, index.tiles[0].column)[0] == west
    for x in (-179.9, -0.1, 0.1, 179.9):
        assert on_a_tile(index, float(index.turned(x)), 9.5)


def test_cells_of_which_no_whole_number_goes_around_are_still_found(tmp_path):
    z = np.ones((3, 100), np.float32)
    path = write_raster(tmp_path / "a.tif", z, left=179.0, top=10.0, dx=0.0137, crs="EPSG:4326")
    index = index_terrain([path])
    assert on_a_tile(index, float(index.turned(-179.9)), 9.98)
    assert not on_a_tile(index, float(index.turned(-179.5)), 9.98)


def test_a_projected_dem_has_no_meridian(tmp_path):
    index = index_terrain([write_raster(tmp_path / "a.tif", np.ones((2, 2), np.float32))])
    assert index.meridian is None
    assert index.turned(500_000.0) == 500_000.0


@pytest.mark.parametrize("target", ["EPSG:3832", "EPSG:4269"])
def test_resampled_terrain_goes_on_beyond_the_antimeridian(tmp_path, ground, target):
    """Mercator around 150 degrees east, and another geographic CRS."""
    z = ground.astype(np.float32)
    west = 180 - 200 * CELL
    whole = [raster(tmp_path / "whole.tif", z, west)]
    halves = [
        raster(tmp_path / "east.tif", z[:, 200:], -180.0),
        raster(tmp_path / "west.tif", z[:, :200], west),
    ]
    resolution = 100.0 if target == "EPSG:3832" else CELL * 1.1
    reads = []
    for paths in (whole, halves):
        index = index_terrain(paths, target_crs=target, resolution=resolution)
        with Terrain(index, 0) as terrain:
            x = 3_339_584.7 if target == "EPSG:3832" else 180.0
            y = 4_365_000.0 if target == "EPSG:3832" else 36.6
            row, column = index.lattice.cell_of(x, y)
            reads.append(terrain.read(row - 30, column - 40, 60, 80).z)
    assert np.isfinite(reads[0]).all()
    np.testing.assert_array_equal(*reads)


def test_a_site_far_from_the_dem_keeps_its_longitude(tmp_path, ground):
    path = write_raster(tmp_path / "a.tif", ground, crs="EPSG:4326", left=-118.5, top=36.0, dx=1e-3)
    index = index_terrain([path])
    assert index.turned_near(100.0) == 100.0
    assert index.turned_near(-118.2) == -118.2
    path = write_raster(tmp_path / "b.tif", ground, crs="EPSG:4326", left=179.9, top=36.0, dx=1e-3)
    assert index_terrain([path]).turned_near(-179.95) == pytest.approx(180.05)
