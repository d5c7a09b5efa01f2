"""Which sites and tiles a job gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster, write_tiles

import split_shards
from snakeshed.delineation.pyramid import PatchPyramid, shard_of
from snakeshed.delineation.shards import COLUMNS, Shard, check_reach, within_reach
from snakeshed.delineation.shards import split as split_sites
from snakeshed.delineation.site import Site, sites_of
from snakeshed.errors import TerrainError
from snakeshed.result_files import result_file
from snakeshed.tables.geoparquet import read_arrow, read_table, to_geopandas, write_table
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import TerrainIndex, tiles_under

LEFT, TOP, CELL = 500_000.0, 4_000_000.0, 10.0


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> TerrainIndex:
    """A DEM of 60 x 60 cells in nine tiles."""
    pieces = [
        (slice(20 * i, 20 * i + 20), slice(20 * j, 20 * j + 20)) for i in range(3) for j in range(3)
    ]
    folder = tmp_path_factory.mktemp("dem") / "tiles"
    return index_terrain(write_tiles(folder, np.zeros((60, 60), np.float32), pieces))


def pyramid_of(index, levels=2) -> PatchPyramid:
    return PatchPyramid(index.lattice, 50.0, 40.0, levels, 0.5)


def table(sites, crs="EPSG:32611") -> pd.DataFrame:
    """Sites as (id, row, column, area) in cells of the DEM."""
    rows = [
        (name, LEFT + column * CELL, TOP - row * CELL, crs, area)
        for name, row, column, area in sites
    ]
    frame = pd.DataFrame(rows, columns=["site_id", "x", "y", "crs", "reported_area_km2"])
    return frame.astype({"reported_area_km2": "float64"})


def split(*arguments) -> list[Shard]:
    """The shards with their tables as frames."""
    return [replace(shard, sites=to_geopandas(shard.sites)) for shard in split_sites(*arguments)]


def same(one: Shard, other: Shard) -> bool:
    return one.sites.equals(other.sites) and one.terrain == other.terrain and one.name == other.name


some_sites = st.lists(
    st.tuples(st.floats(-5, 65), st.floats(-5, 65), st.sampled_from([None, 0.001, 0.02, 9.0])),
    max_size=12,
).map(lambda sites: [(f"s{k:02}", *site) for k, site in enumerate(sites)])


@examples(30)
@given(some_sites, st.integers(1, 20))
def test_every_site_is_in_one_shard_with_all_of_its_patch(index, sites, n):
    pyramid = pyramid_of(index)
    shards = split(table(sites), index, pyramid, n)
    assert [shard.name for shard in shards] == [f"{k:02}" for k in range(n)]
    placed = pd.concat([shard.sites for shard in shards])
    assert sorted(placed["site_id"]) == [name for name, *_ in sites]
    for k, shard in enumerate(shards):
        assert list(shard.sites.columns) == list(COLUMNS)
        assert shard.sites["site_id"].is_monotonic_increasing
        assert all(shard_of(patch, n) == k for patch in shard.sites["patch"])
        for site in sites_of(shard.sites):
            cell = index.lattice.cell_of(site.x, site.y)
            for level in range(site.level, pyramid.levels):
                window = pyramid.window(pyramid.patch_of(*cell, level))
                # What the shard knows of the DEM is all there is under the site.
                assert tiles_under(shard.terrain, *window) == tiles_under(index, *window)


@examples(30)
@given(some_sites.filter(bool), st.integers(0, 11), st.randoms(use_true_random=False))
def test_a_shard_depends_on_its_own_sites_alone(index, sites, which, random):
    pyramid = pyramid_of(index)
    before = split(table(sites), index, pyramid, 4)
    shuffled = list(sites)
    random.shuffle(shuffled)
    assert all(map(same, before, split(table(shuffled), index, pyramid, 4)))
    gone = sites[which % len(sites)]
    without = split(table([site for site in sites if site != gone]), index, pyramid, 4)
    changed = [one.name for one, other in zip(before, without, strict=True) if not same(one, other)]
    (own,) = (shard.name for shard in before if gone[0] in set(shard.sites["site_id"]))
    assert changed == [own]


def test_levels_and_what_no_level_covers(index):
    # Buffers of 40 and 80 m; a site needs 500 m times the root of its area in km2.
    sites = [("a", 5, 5, None), ("b", 5, 5, 0.0064), ("c", 5, 5, 0.0065), ("d", 5, 5, 0.03)]
    (shard,) = split(table(sites), index, pyramid_of(index), 1)
    assert list(shard.sites["level"]) == [0, 0, 1, 0]
    assert list(shard.sites["needs_more"]) == [False, False, False, True]
    assert list(shard.sites["patch"]) == [
        "L0_R-79999_C10001",
        "L0_R-79999_C10001",
        "L1_R-40000_C5000",
        "L0_R-79999_C10001",  # an area that no level covers is flagged, not obeyed
    ]


def test_only_the_tiles_under_the_sites_are_read(index):
    (shard,) = split(table([("a", 5, 5, None)]), index, pyramid_of(index, 1), 1)
    assert [path.rsplit("/", 1)[1] for path in map(str, (t.path for t in shard.terrain.tiles))] == [
        "tile_0.tif"
    ]
    (far,) = split(table([("a", 5000, 5000, None)]), index, pyramid_of(index), 1)
    assert far.terrain.tiles == ()
    assert len(far.sites) == 1


def test_coordinates_are_brought_to_the_crs_of_the_terrain_and_rounded(index):
    sites = pd.DataFrame(
        {
            "site_id": ["a", "b"],
            "x": [-117.0, LEFT + 0.00049],
            "y": [36.0, TOP],
            "crs": ["EPSG:4326", "EPSG:32611"],
            "reported_area_km2": [np.nan, 1.0],
        }
    )
    (shard,) = split(sites, index, pyramid_of(index), 1)
    assert shard.sites["x"].to_list() == [500_000.0, LEFT]
    assert shard.sites["y"].iloc[0] == pytest.approx(3_983_948.453, abs=2e-3)
    assert shard.sites["y"].iloc[0] == round(shard.sites["y"].iloc[0], 3)


def test_a_site_without_a_place_in_the_crs_is_kept(index, tmp_path):
    sites = table([("a", 5, 5, None)])
    # On the equator, 90 degrees from the central meridian, transverse Mercator is infinite.
    lost = pd.DataFrame(
        {"site_id": ["lost"], "x": [-27.0], "y": [0.0], "crs": ["EPSG:4326"]}
    ).assign(reported_area_km2=np.nan)
    shards = split_sites(pd.concat([sites, lost]), index, pyramid_of(index), 3)
    (shard,) = (shard for shard in shards if "lost" in shard.sites["site_id"].to_pylist())
    write_table(shard.sites, tmp_path / "sites.parquet", COLUMNS)
    back = read_table(tmp_path / "sites.parquet").set_index("site_id")
    assert back.loc["lost", ["x", "y", "patch"]].isna().all()
    (site,) = (site for site in sites_of(back.reset_index()) if site.site_id == "lost")
    assert np.isnan(site.x)
    assert np.isnan(site.y)


def lonlat(*places) -> pd.DataFrame:
    """Sites by longitude and latitude."""
    rows = [(f"s{k}", lon, lat, lon, lat, "EPSG:4326") for k, (lon, lat) in enumerate(places)]
    return pd.DataFrame(rows, columns=["site_id", "lon", "lat", "x", "y", "crs"])


# The DEM's north-western corner is at 117 degrees west, 36.1446 degrees north.
ON_DEM = (-116.999, 36.143)


def test_which_sites_are_within_reach_of_the_dem(index):
    # 0.001 degrees of longitude are 90 m here.
    sites = lonlat(ON_DEM, (-117.001, 36.143), (-117.003, 36.143), (10.0, 45.0))
    assert list(within_reach(sites, index, 100.0)) == [True, True, False, False]
    assert list(within_reach(sites, index, 300.0)) == [True, True, True, False]
    check_reach(sites, index, 100.0)
    check_reach(sites.iloc[1:2], index, 100.0)
    check_reach(sites.iloc[:0], index, 100.0)


def test_a_dem_of_another_place_is_refused_with_both_extents(index):
    with pytest.raises(TerrainError) as caught:
        check_reach(lonlat((10.0, 45.0), (11.25, 46.5)), index, 100.0)
    assert str(caught.value) == (
        "sites.path and dem.path: found not one of 2 sites within 100 m of the DEM: sites in "
        "longitude 10.0000 to 11.2500, latitude 45.0000 to 46.5000, DEM in longitude -117.0000 to "
        "-116.9933, latitude 36.1393 to 36.1447; expected sites on the DEM. Check sites.crs (or "
        "sites.utm and the zones), and that this is the DEM of the place."
    )


def test_a_wrong_zone_is_refused(index):
    sites = table([("a", 5, 5, None)], crs="EPSG:32612").assign(lon=-111.0, lat=36.14)
    with pytest.raises(TerrainError, match="the only site not within 100 m of the DEM"):
        check_reach(sites, index, 100.0)


def test_swapped_coordinates_that_are_both_possible_are_named(tmp_path):
    # 10 degrees east, 45 degrees north: the reverse is in Arabia.
    path = write_raster(
        tmp_path / "dem.tif",
        np.zeros((60, 60), np.float32),
        left=10,
        top=45,
        dx=0.001,
        crs="EPSG:4326",
    )
    dem = index_terrain([path])
    check_reach(lonlat((10.01, 44.99)), dem, 100.0)
    with pytest.raises(TerrainError, match="longitude and latitude exchanged: check sites.columns"):
        check_reach(lonlat((44.99, 10.01)), dem, 100.0)


def test_a_site_without_a_place_in_the_crs_of_the_dem_is_not_within_reach(index):
    assert list(within_reach(lonlat(ON_DEM, (-27.0, 0.0)), index, 100.0)) == [True, False]
    with pytest.raises(TerrainError, match="not one of 2 sites"):
        check_reach(lonlat((-27.0, 0.0), (-27.0, 0.0)), index, 100.0)


def test_the_rule_stops_before_any_shard(index, tmp_path):
    sites = lonlat((10.0, 45.0)).assign(reported_area_km2=np.nan)
    with result_file(tmp_path / "sites.parquet") as part:
        sites.to_parquet(part)
    with result_file(tmp_path / "terrain.json") as part:
        part.write_text(index.to_json(), encoding="utf-8")
    patches = {"core_m": 50.0, "buffer_m": 40.0, "levels": 2, "radius_factor": 0.5}
    with pytest.raises(SystemExit) as stopped:
        split_shards.main(
            sites=str(tmp_path / "sites.parquet"),
            terrain=str(tmp_path / "terrain.json"),
            patches=patches,
            radius_m=100.0,
            min_areas_km2={"snap.min_area_km2": 0.1},
            shards=2,
            output=str(tmp_path / "shards/index.json"),
            log=str(tmp_path / "log"),
        )
    told = "sites.path and dem.path: found the only site not within 100 m of the DEM"
    assert stopped.value.code == 1
    assert told in (tmp_path / "log").read_text()
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        "sites.parquet",
        "terrain.json",
        "log",
    }


def test_sites_come_back_from_the_table_of_a_shard(index, tmp_path):
    sites = [("b", 5, 5, None), ("a", 7.25, 9.5, 0.02)]
    expected = [
        Site("a", LEFT + 95.0, TOP - 72.5, 1, 0.02, False),
        Site("b", LEFT + 50.0, TOP - 50.0, 0, None, False),
    ]
    (shard,) = split_sites(table(sites), index, pyramid_of(index), 1)
    assert sites_of(shard.sites) == expected
    write_table(shard.sites, tmp_path / "sites.parquet", COLUMNS)
    for read in (read_arrow, read_table):
        assert sites_of(read(tmp_path / "sites.parquet")) == expected


@examples(20)
@given(some_sites, st.integers(1, 4))
def test_a_table_of_arrow_is_split_as_a_frame_is(index, sites, n):
    frame = table(sites).assign(lon=-116.999, lat=36.143)
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    one, other = (split_sites(each, index, pyramid_of(index), n) for each in (frame, arrow))
    assert all(map(same, one, other))
    reached = [within_reach(each, index, 100.0).tolist() for each in (frame, arrow)]
    assert reached[0] == reached[1]
    if not any(reached[0]) and sites:
        for each in (frame, arrow):
            with pytest.raises(TerrainError, match="within 100 m of the DEM"):
                check_reach(each, index, 100.0)


def test_an_empty_shard_is_an_empty_table_with_the_same_columns(index, tmp_path):
    full, *_ = split_sites(table([("a", 5, 5, 0.02)]), index, pyramid_of(index), 1)
    empty, *_ = split_sites(table([]), index, pyramid_of(index), 1)
    assert empty.sites.schema.equals(full.sites.schema, check_metadata=True)
    assert empty.terrain.tiles == ()
    write_table(empty.sites, tmp_path / "sites.parquet", COLUMNS)
    assert sites_of(read_arrow(tmp_path / "sites.parquet")) == []
