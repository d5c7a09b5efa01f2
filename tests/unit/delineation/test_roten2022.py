"""The recipe of Roten et al. (2022) on valleys whose areas are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasters import write_raster, write_tiles

from snakeshed.backends.dask_cluster import DaskBackend
from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import STATUSES, Catchment
from snakeshed.delineation.outlines import cells_within
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.roten2022 import sites as recipe
from snakeshed.delineation.roten2022.polygon import cells_in, contour_polygon
from snakeshed.delineation.roten2022.sites import delineate_as_published
from snakeshed.delineation.roten2022.watershed import find_watershed
from snakeshed.delineation.roten2022.window import cut_out, window_cells
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import Site, sites_of
from snakeshed.delineation.table import write_catchments
from snakeshed.errors import TerrainError
from snakeshed.grid.pysheds_import import Grid
from snakeshed.tables.geoparquet import read_table
from snakeshed.terrain.dem import index_terrain

CELLS, CELL_M, LEFT, TOP = 400, 10.0, 500_000.0, 4_000_000.0
WIDTH = 21
"""Columns of a valley, with the channel in the middle one."""
DIVIDE = 150
"""First row that drains to the south."""
CHANNEL = 10 * WIDTH + WIDTH // 2


def valleys() -> np.ndarray:
    """Parallel valleys that run south: all cells of a row drain to its channel, and down that."""
    row, column = np.indices((CELLS, CELLS))
    from_channel = np.abs(column % WIDTH - WIDTH // 2)
    return (1000 - 0.5 * np.abs(row - DIVIDE + 0.5) + 2 * from_channel).astype(np.float32)


def drained(row: int) -> float:
    """What drains through a cell of a channel, km2."""
    return (row - DIVIDE + 1) * WIDTH * CELL_M**2 / 1e6


def site_on(row: int, reported_km2: float | None, name: str = "a", column: int = CHANNEL) -> Site:
    """A site 2 m from the north-western corner of a cell, where pysheds sees that cell."""
    x, y = LEFT + column * CELL_M + 1.2, TOP - row * CELL_M - 1.6
    return Site(name, x, y, 0, reported_km2)


def delineated(sites, index) -> list[Catchment]:
    return delineate_as_published(sites, index, 0.02, Backend("serial"))


def cell_of(catchment: Catchment) -> tuple[int, int]:
    """Row and column of the outlet in the array."""
    column, row = (catchment.outlet_x - LEFT) / CELL_M, (TOP - catchment.outlet_y) / CELL_M
    return math.floor(row), math.floor(column)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valleys")
    return index_terrain([write_raster(folder / "dem.tif", valleys(), nodata=-9999.0)])


@pytest.fixture(scope="module")
def in_degrees(tmp_path_factory):
    folder = tmp_path_factory.mktemp("degrees")
    values = np.random.default_rng(1).permutation(400 * 400).reshape(400, 400).astype(np.float32)
    size = 1 / 10800
    options = {"left": -118.5, "top": 36.0, "dx": size, "crs": "EPSG:4269"}
    return index_terrain([write_raster(folder / "dem.tif", values / 100, **options)])


class TestOutlet:
    def test_a_site_on_its_channel_keeps_its_cell_and_its_area(self, index):
        (found,) = delineated([site_on(197, drained(197))], index)
        assert (found.status, found.reason) == ("ok", None)
        assert cell_of(found) == (197, CHANNEL)
        assert found.area_km2 == pytest.approx(drained(197), rel=1e-9)
        assert found.area_ratio == pytest.approx(1, rel=1e-9)
        # To the corner of the cell, as pysheds counts.
        assert found.snap_distance_m == pytest.approx(math.hypot(1.2, 1.6), abs=1e-3)
        assert (found.confidence, found.touches_edge, found.touches_nodata) == (
            "medium",
            False,
            False,
        )
        # From the end of the first row to its channel, and down that.
        assert found.longest_flow_path_km == pytest.approx((10 + 47) * CELL_M / 1000)
        assert found.basin_length_km == pytest.approx(math.hypot(10, 47) * CELL_M / 1000)
        # Ten cells of a channel drain 0.02 km2.
        assert found.channel_length_km == pytest.approx(38 * CELL_M / 1000)

    def test_the_nearest_cell_with_more_than_nine_tenths_of_the_area_counts(self, index):
        (found,) = delineated([site_on(183, drained(197))], index)
        least = next(row for row in range(150, 300) if drained(row) > 0.9 * drained(197))
        assert cell_of(found) == (least, CHANNEL)
        assert found.area_km2 == pytest.approx(drained(least))

    def test_a_catchment_more_than_three_times_too_large_is_sought_again(self, index):
        reported = 0.02
        assert 3 * reported < drained(182) < 3.5 * reported
        (found,) = delineated([site_on(182, reported)], index)
        most = max(row for row in range(150, 300) if drained(row) < 1.6 * reported)
        assert cell_of(found) == (most, CHANNEL)
        assert 150 < found.snap_distance_m < 200

    def test_that_is_kept_only_if_its_snap_is_shorter_than_200_m(self, index):
        reported = 0.02
        (found,) = delineated([site_on(187, reported)], index)
        assert cell_of(found) == (187, CHANNEL)
        assert found.area_ratio > 3.9
        assert found.confidence == "low"

    def test_a_snap_of_more_than_200_m_is_sought_again(self, index):
        reported = drained(197)
        (found,) = delineated([site_on(168, reported)], index)
        least = next(row for row in range(150, 300) if drained(row) > 0.5 * reported)
        assert cell_of(found) == (least, CHANNEL)
        assert found.snap_distance_m < 100

    def test_without_a_second_outlet_the_first_one_stays(self, index):
        # Nothing drains less than a cell, and the site's own cell drains 798 of them.
        site = site_on(187, 0.02)
        window = window_at(index, site)
        found = find_watershed(window, *in_window(index, site, window), 0.6 * window.cell_m2 / 1e6)
        assert found.area_km2 == pytest.approx(drained(187))
        assert found.snap_m < 3

    def test_the_outline_has_the_cells_of_the_dem(self, index):
        (found,) = delineated([site_on(197, drained(197))], index)
        mask, row, column = cells_within(found.geometry, index.lattice)
        (tile,) = index.tiles
        rows, columns = np.nonzero(mask)
        assert set(zip(rows + row - tile.row, columns + column - tile.column, strict=True)) == {
            (r, c)
            for r in range(DIVIDE, 198)
            for c in range(CHANNEL - WIDTH // 2, CHANNEL + WIDTH // 2 + 1)
        }
        assert found.cells == 48 * WIDTH
        assert found.perimeter_km == pytest.approx(2 * (48 + WIDTH) * CELL_M / 1000, rel=1e-3)


def window_at(index, site: Site):
    (tile,) = index.tiles
    with rasterio.open(tile.path) as raster:
        return cut_out(raster, site.x, site.y, site.reported_area_km2, index.source)


def in_window(index, site: Site, window) -> tuple[float, float]:
    way = Transformer.from_crs(index.lattice.crs, window.crs, always_xy=True)
    return way.transform(site.x, site.y)


class TestWindow:
    def test_it_reaches_six_times_the_root_of_the_area_from_the_site(self, index):
        site = site_on(200, 0.04)
        window = window_at(index, site)
        assert window.z.shape == pytest.approx((240, 240), abs=2)
        x, y = in_window(index, site, window)
        column, row = ~window.transform * (x, y)
        assert (row, column) == pytest.approx((120, 120), abs=1.5)

    def test_degrees_become_utm_with_the_nearest_cell(self, in_degrees):
        x, y = in_degrees.lattice.centre(
            in_degrees.tiles[0].row + 200, in_degrees.tiles[0].column + 200
        )
        site = Site("a", x, y, 0, 0.05)
        window = window_at(in_degrees, site)
        assert "UTM zone 11N" in window.crs
        assert 9 < window.transform.a < 10.5
        # Half of the window, 1,342 m, as far as cells of 10.3 m by 8.3 m have it.
        assert window.z.shape == pytest.approx((2 * 1342 / window.transform.a,) * 2, abs=2)
        with rasterio.open(in_degrees.tiles[0].path) as raster:
            stored, transform = raster.read(1), raster.transform
        rows, columns = np.indices(window.z.shape)
        xs, ys = window.transform * (columns + 0.5, rows + 0.5)
        back = Transformer.from_crs(window.crs, "EPSG:4269", always_xy=True)
        there, down = ~transform * back.transform(xs, ys)
        expected = stored[np.floor(down).astype(int), np.floor(there).astype(int)]
        # GDAL is a fraction of a cell off, so a few cells have the value of a neighbor.
        assert (window.z == expected).mean() > 0.95
        assert np.isin(window.z, stored).all()

    def test_it_is_what_pysheds_reads_from_a_file(self, index, tmp_path):
        site = site_on(197, 0.02)
        window = window_at(index, site)
        path = write_raster(
            tmp_path / "window.tif", window.z, nodata=-9999.0, transform=window.transform
        )
        grid = Grid.from_raster(path)
        z = grid.read_raster(path)
        for step in (grid.fill_pits, grid.fill_depressions, grid.resolve_flats):
            z = step(z)
        found = find_watershed(window, *in_window(index, site, window), 0.02)
        assert np.array_equal(found.directions, np.asarray(grid.flowdir(z)))

    def test_numbers_that_the_study_calls_nodata_are_none(self, tmp_path):
        z = valleys()
        z[210:230, CHANNEL - 3 : CHANNEL + 4] = 8000.0
        path = write_raster(tmp_path / "dem.tif", z)
        with_it, without = index_terrain([path]), index_terrain([path], nodata=8000.0)
        sites = [site_on(236, 0.05)]
        (one,), (other,) = delineated(sites, with_it), delineated(sites, without)
        assert (one.touches_nodata, other.touches_nodata) == (False, True)

    def test_what_is_read_is_known_before(self, index):
        (tile,) = index.tiles
        near, far = site_on(200, 0.01), site_on(200, 100.0)
        aside, without = Site("b", LEFT - 500, TOP, 0, 1.0), site_on(200, None)
        nowhere = Site("c", math.nan, math.nan, 0, 1.0)
        cells = window_cells([near, far, aside, without, nowhere], index)
        assert cells == [181**2, tile.height * tile.width]

    def test_of_a_second_tile_nothing_is_read(self, tmp_path, index):
        pieces = [(slice(0, 170), slice(None)), (slice(170, None), slice(None))]
        tiled = index_terrain(write_tiles(tmp_path / "tiles", valleys(), pieces, nodata=-9999.0))
        site = site_on(197, drained(197))
        (whole,), (cut,) = delineated([site], index), delineated([site], tiled)
        assert cell_of(whole) == (197, CHANNEL)
        assert not whole.touches_edge
        # The cells above row 170 are missing, so the outlet is farther down.
        assert cell_of(cut)[0] > 205
        assert cut.touches_edge
        assert cut.confidence == "low"
        assert cut.geometry.bounds[3] <= TOP - 170 * CELL_M

    def test_a_damaged_tile_is_named(self, tmp_path):
        path = write_raster(tmp_path / "dem.tif", valleys(), compress="deflate")
        damaged = index_terrain([path])
        content = (tmp_path / "dem.tif").read_bytes()
        (tmp_path / "dem.tif").write_bytes(content[: len(content) // 3] + bytes(2000))
        with pytest.raises(TerrainError) as error:
            delineated([site_on(197, 0.05)], damaged)
        assert str(error.value).startswith(f"{path}: found ")
        assert "expected a complete raster" in str(error.value) or "a raster" in str(error.value)


class TestStatus:
    def test_no_site_vanishes(self, index):
        sites = [
            site_on(197, 0.05, "fine"),
            Site("nowhere", math.nan, math.nan, 0, 0.05),
            Site("beside", LEFT - 20, TOP - 100, 0, 0.05),
            site_on(197, None, "unreported"),
            site_on(197, 1e-6, "tiny"),
            site_on(197, 1e-9, "tinier"),
            site_on(197, 500.0, "huge"),
        ]
        found = {each.site_id: (each.status, each.reason) for each in delineated(sites, index)}
        assert list(found) == sorted(site.site_id for site in sites)
        assert found["fine"] == ("ok", None)
        assert found["nowhere"] == (
            "outside_dem",
            "the site's coordinates have no place in the CRS of the DEM",
        )
        assert found["beside"] == ("outside_dem", "no tile of the DEM lies under the site")
        assert found["unreported"] == (
            "no_reported_area",
            "no area is reported, by which the recipe finds window and outlet",
        )
        assert found["huge"] == (
            "no_stream",
            "no cell of the site's window drains more than 0.9 times the reported area",
        )
        assert found["tiny"] == (
            "recipe_failed",
            "the catchment is too small: the contour around its cells (1) holds the center of no "
            "cell of the DEM",
        )
        status, reason = found["tinier"]
        assert status == "recipe_failed"
        assert reason.startswith("no window around the site: ")
        assert {status for status, _ in found.values()} <= set(STATUSES)

    def test_where_there_is_no_utm_zone_the_site_says_so(self, tmp_path):
        around_pole = {"left": -2000.0, "top": 2000.0, "crs": "EPSG:3413"}
        pole = index_terrain([write_raster(tmp_path / "dem.tif", valleys(), **around_pole)])
        (found,) = delineated([Site("a", 1.0, 1.0, 0, 0.05)], pole)
        assert (found.status, found.reason) == (
            "recipe_failed",
            "no window around the site: Unable to determine UTM CRS",
        )

    def test_a_window_without_data_says_so(self, tmp_path):
        z = valleys()
        z[:, 150:] = -9999
        gap = index_terrain([write_raster(tmp_path / "dem.tif", z, nodata=-9999.0)])
        (found,) = delineated([site_on(200, 0.002, column=300)], gap)
        assert (found.status, found.reason) == (
            "on_nodata",
            "the DEM has no data in the site's window",
        )

    def test_an_error_of_pysheds_is_that_site_s(self, index, monkeypatch):
        def stops(*_):
            raise IndexError("index 7 is out of bounds")

        monkeypatch.setattr(recipe, "find_watershed", stops)
        (found,) = delineated([site_on(200, 0.05)], index)
        assert (found.status, found.reason) == (
            "recipe_failed",
            "pysheds stopped with: index 7 is out of bounds",
        )

    def test_a_polygon_between_the_centers_of_cells_holds_none(self, index, monkeypatch):
        (tile,) = index.tiles
        x, y = index.lattice.corner(tile.row + 200, tile.column + 200)
        between = rasterio.Affine(CELL_M, 0, x - 1.5 * CELL_M, 0, -CELL_M, y + 1.5 * CELL_M)
        polygon = contour_polygon(np.pad(np.ones((1, 1), bool), 1), between)
        monkeypatch.setattr(recipe, "contour_polygon", lambda *_: polygon)
        (found,) = delineated([site_on(200, 0.05)], index)
        assert found.status == "recipe_failed"
        assert "holds the center of no cell of the DEM" in found.reason

    def test_a_worker_that_is_killed_leaves_a_row(self, index):
        class Lossy(Backend):
            def map(self, function, tasks, lost=None, what="tasks"):
                yield from map(lost, tasks)

        (found,) = delineate_as_published([site_on(200, 0.05)], index, 0.1, Lossy("serial"))
        assert found.status == "worker_killed"
        assert "with more memory for each worker" in found.reason


def test_cells_without_data_are_in_no_outline(tmp_path, monkeypatch):
    z = valleys()
    z[200:, CHANNEL + 3 :] = -9999
    gap = index_terrain([write_raster(tmp_path / "dem.tif", z, nodata=-9999.0)])
    # As a reprojection may move the border of a gap.
    around = shapely.box(LEFT + 2100, TOP - 2100, LEFT + 2300, TOP - 1900)
    monkeypatch.setattr(recipe, "contour_polygon", lambda *_: around)
    (found,) = delineated([site_on(197, 0.05)], gap)
    assert found.cells == 20 * 20 - 10 * 7
    assert found.geometry.area == pytest.approx(found.cells * CELL_M**2)


class TestPolygon:
    @pytest.fixture
    def transform(self):
        return rasterio.Affine(CELL_M, 0, LEFT, 0, -CELL_M, TOP)

    def test_it_is_cut_halfway_between_cells(self, transform):
        mask = np.zeros((5, 6), bool)
        mask[1:4, 1:5] = True
        polygon = contour_polygon(mask, transform)
        assert polygon.bounds == (LEFT + 10, TOP - 40, LEFT + 50, TOP - 10)
        # A corner has an eighth of a cell less.
        assert polygon.area == pytest.approx((12 - 4 / 8) * CELL_M**2)

    def test_cells_that_touch_at_a_corner_are_lost_with_the_smaller_part(self, transform):
        mask = np.zeros((8, 8), bool)
        mask[1:4, 1:4] = mask[4:6, 4:6] = True
        polygon = contour_polygon(mask, transform)
        assert polygon.area == pytest.approx((9 - 4 / 8) * CELL_M**2)

    def test_holes_stay(self, transform):
        mask = np.zeros((7, 7), bool)
        mask[1:6, 1:6] = True
        mask[3, 3] = False
        polygon = contour_polygon(mask, transform)
        assert len(polygon.interiors) == 1
        assert polygon.area == pytest.approx((25 - 4 / 8 - 1 / 2) * CELL_M**2)

    def test_its_cells_on_the_same_grid_are_the_cells(self, transform, index):
        mask = np.zeros((9, 9), bool)
        mask[2:5, 3:8] = mask[5, 3] = True
        polygon = contour_polygon(mask, transform)
        found, row, column = cells_in(polygon, "EPSG:32611", index)
        (tile,) = index.tiles
        rows, columns = np.nonzero(found)
        whole = np.zeros((9, 9), bool)
        whole[rows + row - tile.row, columns + column - tile.column] = True
        assert np.array_equal(whole, mask)

    def test_at_the_rim_of_the_window_it_follows_the_centers(self, transform):
        mask = np.ones((3, 4), bool)
        assert contour_polygon(mask, transform).bounds == (LEFT + 5, TOP - 25, LEFT + 35, TOP - 5)
        assert contour_polygon(np.ones((1, 4), bool), transform) is None


def table_of(index, shards: int, backend: Backend, folder) -> pd.DataFrame:
    places = [(160 + 9 * k, 0.004 * (k + 1), f"s{k}", CHANNEL + WIDTH * (k % 4)) for k in range(12)]
    sites = [site_on(*place) for place in places] + [site_on(190, None, "none")]
    rows = pd.DataFrame(
        [(site.site_id, site.x, site.y, "EPSG:32611", site.reported_area_km2) for site in sites],
        columns=["site_id", "x", "y", "crs", "reported_area_km2"],
    )
    pyramid = PatchPyramid(index.lattice, 300.0, 300.0, 2, 1.0)
    tables = []
    for shard in split(rows, index, pyramid, shards):
        done = delineate_as_published(sites_of(shard.sites), shard.terrain, 0.02, backend)
        write_catchments(done, folder / "part.parquet", index.lattice.crs)
        tables.append(read_table(folder / "part.parquet"))
    return pd.concat(tables).sort_values("site_id").reset_index(drop=True)


@pytest.mark.slow
def test_no_result_depends_on_shards_or_backends(index, tmp_path):
    one = table_of(index, 1, Backend("serial"), tmp_path)
    assert (one["status"] == "ok").sum() == 12
    four = table_of(index, 4, Backend("serial"), tmp_path)
    with Backend("process", 2) as backend:
        apart = table_of(index, 1, backend, tmp_path)
    with DaskBackend(2, 2 * 10**9) as backend:
        on_dask = table_of(index, 2, backend, tmp_path)
    for other in (four, apart, on_dask):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
