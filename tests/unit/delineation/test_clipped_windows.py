"""What a patch has beyond the DEM costs nothing there, and changes nothing."""

from __future__ import annotations

import itertools
import math
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster

from snakeshed.backends.local import Backend
from snakeshed.delineation import tiled_window
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.patch import TileSettings, delineate_patch
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, Site, sites_of
from snakeshed.errors import ConfigurationError
from snakeshed.grid.snap import SnapRule
from snakeshed.jobs.endings import Terminated
from snakeshed.raster.crs import transformer
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex
from snakeshed.tiled.store import TileStore

NODATA = -9999.0
RULE = DelineationRule(SnapRule(45.0, 0.05, 0.0005), max_void_cells=9, channel_km2=0.001)
PARTS = {
    "whole": [(0, 0, 40, 36)],
    # With a gap of two columns, and a corner where no tile is.
    "tiles": [(0, 0, 22, 17), (0, 19, 22, 17), (22, 0, 18, 21)],
}
CRSES = {
    "projected": ("EPSG:32611", 10.0, 500_000.0, 4_000_000.0, {}),
    "geographic": ("EPSG:4326", 1 / 10_800, -117.0, 36.0, {}),
    "on the antimeridian": ("EPSG:4326", 1 / 10_800, 180 - 19 / 10_800, 52.0, {}),
    "resampled to degrees": (
        "EPSG:32611",
        10.0,
        500_000.0,
        4_000_000.0,
        {"target_crs": "EPSG:4326", "resolution": 1 / 10_800},
    ),
    "resampled to another zone": (
        "EPSG:32611",
        10.0,
        500_000.0,
        4_000_000.0,
        {"target_crs": "EPSG:32612", "resolution": 12.0},
    ),
    "resampled on the antimeridian": (
        "EPSG:4326",
        1 / 10_800,
        180 - 19 / 10_800,
        52.0,
        {"target_crs": "EPSG:32601", "resolution": 10.0},
    ),
    "resampled to degrees on the antimeridian": (
        "EPSG:4326",
        1 / 10_800,
        180 - 19 / 10_800,
        52.0,
        {"target_crs": "EPSG:4269", "resolution": 1 / 9000},
    ),
}


def ground() -> np.ndarray:
    """Rough ground with a lake without data at the side, one inside, voids, and a pool."""
    random = np.random.default_rng(5)
    z = 500 - 3.0 * np.arange(40)[:, None] + random.uniform(0, 9, (40, 36))
    z[10:15, 8:12] = z[30:36, 33:] = NODATA
    z[25, 25] = z[3, 4:7] = z[0, 20] = NODATA
    z[17:21, 26:31] = 400.0
    z[18, :6] = z[19, 5] = 410.0
    return z.astype(np.float32)


@pytest.fixture(scope="module")
def indices(tmp_path_factory) -> dict[tuple[str, str], TerrainIndex]:
    made = {}
    for name, (crs, cell, left, top, options) in CRSES.items():
        for kind, parts in PARTS.items():
            folder = tmp_path_factory.mktemp("dem")
            files = []
            for k, (row, column, height, width) in enumerate(parts):
                z = ground()[row : row + height, column : column + width]
                west = left + column * cell
                files.append(
                    write_raster(
                        folder / f"{k}.tif",
                        z,
                        left=west - 360 if crs == "EPSG:4326" and west >= 180 else west,
                        top=top - row * cell,
                        dx=cell,
                        crs=crs,
                        nodata=NODATA,
                    )
                )
            made[name, kind] = index_terrain(files, **options)
    return made


@contextmanager
def unclipped():
    """Windows as wide as the patches, wherever the DEM ends."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TerrainIndex, "part_with_tiles", lambda _, *window: window)
        yield


def place(index: TerrainIndex, name: str, row: float, column: float) -> tuple[float, float]:
    """A place on the DEM's own grid, in the CRS of its terrain."""
    crs, cell, left, top, _ = CRSES[name]
    x, y = left + column * cell, top - row * cell
    if not index.is_native:
        x, y = transformer(crs, index.lattice.crs).transform(x, y)
    return float(index.turned_near(x)), y


def same(one: list[Catchment], other: list[Catchment]) -> None:
    assert [repr(asdict(each)) for each in one] == [repr(asdict(each)) for each in other]
    for first, second in zip(one, other, strict=True):
        assert shapely.to_wkb(first.geometry) == shapely.to_wkb(second.geometry)


places = st.tuples(st.floats(-12, 52), st.floats(-12, 48))
some_sites = st.lists(
    st.tuples(places, st.integers(0, 3), st.sampled_from([None, 0.0005, 0.004, 0.03])),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize(
    ("kind", "edge"),
    [
        pytest.param("tiles", None, id="tiles of a DEM"),
        pytest.param("whole", None, id="one raster", marks=pytest.mark.slow),
        pytest.param("tiles", 17, id="tiles of a DEM by tiles", marks=pytest.mark.slow),
        pytest.param("whole", 17, id="one raster by tiles", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", CRSES)
@examples(6)
@given(
    chosen=some_sites,
    core_m=st.floats(60, 700),
    buffer_m=st.floats(30, 500),
    backwater_m=st.sampled_from([0.0, 5.0]),
    conditioning=st.sampled_from(["fill", "carve"]),
    radius_m=st.sampled_from([15.0, 45.0, 150.0]),
)
def test_the_result_is_that_of_the_whole_window(
    indices,
    tmp_path_factory,
    name,
    kind,
    edge,
    chosen,
    core_m,
    buffer_m,
    backwater_m,
    conditioning,
    radius_m,
):
    index = indices[name, kind]
    pyramid = PatchPyramid(index.lattice, core_m, buffer_m, 4, 2.5, backwater_m)
    snap = replace(RULE.snap, radius_m=radius_m)
    rule = replace(RULE, snap=snap, conditioning=conditioning)
    sites = [
        Site(f"s{k}", *place(index, name, *where), level, area)
        for k, (where, level, area) in enumerate(chosen)
    ]
    tiles = edge and TileSettings(0, edge, str(tmp_path_factory.mktemp("tiles")))
    backend = Backend("serial")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tiled_window, "PIECE", 9)
        clipped = delineate(sites, index, pyramid, rule, backend, tiles)
    with unclipped():
        same(clipped, delineate(sites, index, pyramid, rule, backend))


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("name", CRSES)
@examples(25)
@given(
    row=st.integers(-60, 60),
    column=st.integers(-60, 60),
    height=st.integers(1, 200),
    width=st.integers(1, 200),
)
def test_the_part_has_all_data_of_the_window_and_the_same_border(
    indices, name, kind, row, column, height, width
):
    index = indices[name, kind]
    first_row, first_column = index.lattice.cell_of(*place(index, name, 0, 0))
    window = first_row + row, first_column + column, height, width
    part = index.part_with_tiles(*window)
    top, left = part[0] - window[0], part[1] - window[1]
    assert top >= 0
    assert left >= 0
    assert 1 <= part[2] <= height - top
    assert 1 <= part[3] <= width - left
    with Terrain(index, RULE.max_void_cells) as terrain:
        whole, read = terrain.read(*window), terrain.read(*part)
    assert whole.z.dtype == read.z.dtype
    here = np.s_[top : top + part[2], left : left + part[3]]
    np.testing.assert_array_equal(whole.z[here], read.z)
    np.testing.assert_array_equal(whole.border[here], read.border)
    rest = np.ones(whole.z.shape, bool)
    rest[here] = False
    assert np.isnan(whole.z[rest]).all()


@pytest.mark.parametrize("name", ["projected", "geographic", "on the antimeridian"])
def test_a_huge_patch_routes_the_cells_of_the_dem(indices, name):
    index = indices[name, "whole"]
    pyramid = PatchPyramid(index.lattice, 1e6, 1e6, 6, 2.5)
    for level in (0, 5):
        patch = pyramid.patch_of(*index.lattice.cell_of(*place(index, name, 30, 9)), level)
        site = Site("a", *place(index, name, 30, 9), level)
        with Terrain(index, 9) as terrain:
            result = delineate_patch(patch, (site,), terrain, pyramid, RULE)
        assert (result.work.height, result.work.width) == (40, 36)
        (done,) = result.catchments
        assert (done.status, done.patch) == ("ok", patch.id)


@pytest.mark.parametrize("name", CRSES)
def test_all_levels_that_the_schema_allows_can_be_used_on_a_small_dem(indices, name):
    index = indices[name, "tiles"]
    pyramid = PatchPyramid(index.lattice, 1e3, 1e3, 16, 2.5)
    x, y = place(index, name, 30, 9)
    table = pd.DataFrame(
        {
            "site_id": ["a", "b"],
            "x": x,
            "y": y,
            "crs": index.lattice.crs,
            "reported_area_km2": [0.001, 1.7e8],
        }
    )
    (shard,) = split(table, index, pyramid, 1)
    assert shard.sites["level"].to_pylist() == [0, 15]
    done = delineate(sites_of(shard.sites), shard.terrain, pyramid, RULE, Backend("serial"))
    assert [each.status for each in done] == ["ok", "ok"]
    assert done[1].patch_level == 15


@pytest.mark.parametrize("name", [name for name in CRSES if name.startswith("resampled")])
def test_a_resampled_dem_is_not_much_larger(indices, name):
    index = indices[name, "whole"]
    pyramid = PatchPyramid(index.lattice, 1e5, 1e5, 1, 2.5)
    row, column = index.lattice.cell_of(*place(index, name, 30, 9))
    part = index.part_with_tiles(*pyramid.window(pyramid.patch_of(row, column, 0)))
    ratio = index.source.cell_height_m() / index.lattice.cell_height_m()
    assert max(part[2:]) < 2.5 * 40 * ratio


def test_a_huge_patch_is_not_cut_into_tiles_where_the_dem_is_small(indices, tmp_path, monkeypatch):
    index = indices["projected", "whole"]
    monkeypatch.setattr("snakeshed.delineation.delineate.delineate_by_tiles", None)
    tiles = TileSettings(40 * 36, 13, str(tmp_path))
    pyramid = PatchPyramid(index.lattice, 1e6, 1e6, 6, 2.5)
    site = Site("a", *place(index, "projected", 30, 9), 5)
    (done,) = delineate([site], index, pyramid, RULE, Backend("serial"), tiles)
    assert (done.status, done.patch_level) == ("ok", 5)


def test_a_window_without_a_tile_is_one_row_or_column(indices):
    index = indices["projected", "whole"]
    row, column = index.lattice.cell_of(*place(index, "projected", 0, 0))
    assert index.part_with_tiles(row - 50, column, 20, 10) == (row - 31, column, 1, 10)
    assert index.part_with_tiles(row, column + 100, 20, 10) == (row, column + 100, 20, 1)
    assert index.subset(()).part_with_tiles(row, column, 20, 10) == (row, column, 1, 1)


@pytest.mark.parametrize("name", CRSES)
def test_the_number_of_shards_changes_nothing_though_each_has_its_own_tiles(indices, name):
    index = indices[name, "tiles"]
    pyramid = PatchPyramid(index.lattice, 60.0, 20.0, 1, 2.5)
    cells = [(row, column) for row in range(-3, 44, 6) for column in range(-3, 40, 6)]
    x, y = zip(*(place(index, name, *cell) for cell in cells), strict=True)
    sites = pd.DataFrame(
        {
            "site_id": [f"s{k:03}" for k in range(len(cells))],
            "x": x,
            "y": y,
            "crs": index.lattice.crs,
            "reported_area_km2": [None if k % 3 else 0.002 for k in range(len(cells))],
        }
    )
    results, subsets = [], set()
    for shards in (1, 40):
        done = []
        for shard in split(sites, index, pyramid, shards):
            subsets.add(len(shard.terrain.tiles))
            backend = Backend("serial")
            done += delineate(sites_of(shard.sites), shard.terrain, pyramid, RULE, backend)
        results.append(sorted(done, key=lambda each: each.site_id))
    assert len(subsets) > 1
    assert {each.status for each in results[0]} >= {"ok", "outside_dem"}
    same(*results)


def test_a_dem_that_may_lie_anywhere_is_not_clipped(tmp_path: Path):
    """A target CRS without an image of a part of the DEM, and all longitudes in a projected DEM."""
    world = write_raster(
        tmp_path / "world.tif",
        np.ones((18, 36), np.float32),
        left=-180,
        top=90,
        dx=10,
        crs="EPSG:4326",
    )
    polar = write_raster(
        tmp_path / "polar.tif",
        np.ones((40, 40), np.float32),
        left=-200_000,
        top=200_000,
        dx=10_000,
        crs="EPSG:3413",
    )
    window = -300, -5000, 700, 9000
    index = index_terrain([world], target_crs="EPSG:3413", resolution=1e6)
    assert index.part_with_tiles(*window) == window
    index = index_terrain([polar], target_crs="EPSG:4326", resolution=0.1)
    assert index.part_with_tiles(*window) == window
    assert math.isfinite(index.extent_m[0])


def test_voids_too_large_to_be_seen_around_a_tile_are_refused(indices, tmp_path, monkeypatch):
    index = indices["projected", "whole"]
    pyramid = PatchPyramid(index.lattice, 1e4, 1e4, 1, 2.5)
    site = Site("a", *place(index, "projected", 30, 9), 0)

    def run(max_void_cells, cells):
        rule, tiles = (
            replace(RULE, max_void_cells=max_void_cells),
            TileSettings(cells, 13, str(tmp_path)),
        )
        return delineate([site], index, pyramid, rule, Backend("serial"), tiles)

    same(run(5000, 40 * 36 - 1), run(5001, 40 * 36))
    same(run(5000, 40 * 36 - 1), run(1_000_000, 40 * 36))
    with pytest.raises(ConfigurationError) as caught:
        run(5001, 40 * 36 - 1)
    (patch,) = {done.patch for done in run(5000, 0)}
    assert str(caught.value) == (
        f"dem.max_void_cells: found 5,001, and patch {patch} of 40 x 36 cells, which a worker has "
        "no memory for; expected at most 5,000 where a patch is routed by tiles. Set a smaller "
        "number, or give each worker 321 MB of memory."
    )
    # Tiles with few cells around them are smaller than what fits.
    monkeypatch.setattr("snakeshed.delineation.tiled_window.MOST_VOID_CELLS_BY_TILES", 2)
    same(run(3, 21 * 21), run(3, 40 * 36))
    with pytest.raises(ConfigurationError):
        run(3, 21 * 21 - 1)


def test_tiles_are_removed_while_workers_write_them(indices, tmp_path):
    """As after SIGTERM, with tasks that were begun before."""
    index = indices["projected", "whole"]
    pyramid = PatchPyramid(index.lattice, 1e4, 1e4, 1, 2.5)
    site = Site("a", *place(index, "projected", 30, 9), 0)
    tiles = TileSettings(0, 13, str(tmp_path))
    writers, ended = [], []

    def write(store: TileStore, number: int) -> None:
        with suppress(FileNotFoundError):
            for again in itertools.count():
                name = f"late{number}-{again % 50}"
                store.save(name, store.tiling.tiles[0], np.zeros(3))
        ended.append(number)

    class Stopped(Backend):
        def map(self, function, tasks, lost=None, what="tasks"):
            if what == "patches":
                return iter(())
            if not writers:
                (store,) = function.args
                for number in range(4):
                    writers.append(threading.Thread(target=write, args=(store, number)))
                    writers[-1].start()
                while len(list(Path(store.folder).iterdir())) < 50:
                    time.sleep(0.001)
            raise Terminated

    with pytest.raises(Terminated):
        delineate([site], index, pyramid, RULE, Stopped("serial"), tiles)
    assert list(tmp_path.iterdir()) == []
    for writer in writers:
        writer.join(20)
    assert sorted(ended) == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == []
