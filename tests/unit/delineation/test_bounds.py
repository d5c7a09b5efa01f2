"""Settings far beyond the DEM are refused, and no legitimate ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster

import split_shards
from snakeshed.delineation import bounds
from snakeshed.delineation.bounds import check_bounds, check_shards
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice
from snakeshed.result_files import result_file
from snakeshed.study.configuration import complete
from snakeshed.study.yaml_file import load_schema
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import DemTile, TerrainIndex

CONFIG = Path(__file__).parents[3] / "config"
SCHEMA = load_schema(CONFIG / "schema" / "study.schema.yaml")
SECTIONS = SCHEMA["properties"]
PATCHES = {key: of_key["default"] for key, of_key in SECTIONS["patches"]["properties"].items()}
AREAS = {"snap.min_area_km2": 0.1, "network.min_area_km2": 0.1}


def dem(height=1000, width=1000, cell=10.0, crs="EPSG:32611", tiles=1) -> TerrainIndex:
    """A DEM of so many cells, in tiles from west to east."""
    lattice = Lattice.through(crs_facts(crs), 0.0, 0.0, cell, cell)
    wide = [
        DemTile(f"{k}.tif", 0, k * width, height, width, "float32", None, 1.0, 0.0, 1.0)
        for k in range(tiles)
    ]
    return TerrainIndex(lattice, lattice, tuple(wide))


def problems(index, radius_m=100.0, areas=AREAS, **patches) -> dict[str, str]:
    try:
        check_bounds(index, PATCHES | patches, radius_m, areas)
    except SeveralProblems as several:
        return {problem.where: str(problem) for problem in several.problems}
    return {}


any_dem = st.builds(
    dem,
    st.integers(1, 100_000),
    st.integers(1, 100_000),
    st.floats(1e-3, 1e3),
    st.just("EPSG:32611"),
    st.integers(1, 3),
) | st.builds(
    dem, st.integers(1, 3600), st.integers(1, 3600), st.floats(1e-6, 0.1), st.just("EPSG:4326")
)


@examples(200)
@given(any_dem)
def test_the_defaults_suit_every_dem(index):
    snap, network = SECTIONS["snap"]["properties"], SECTIONS["network"]["properties"]
    areas = {
        "snap.min_area_km2": snap["min_area_km2"]["default"],
        "network.min_area_km2": network["min_area_km2"]["default"],
    }
    assert problems(index, snap["radius_m"]["default"], areas) == {}


def test_the_defaults_of_the_schema_are_those_that_are_never_refused():
    assert {key: PATCHES[key] for key in bounds._PATCH_M} == bounds._PATCH_M
    assert SECTIONS["snap"]["properties"]["radius_m"]["default"] <= bounds._ANY_RADIUS_M
    assert SECTIONS["shards"]["default"] <= bounds._ANY_SHARDS


@examples(100)
@given(any_dem, st.sampled_from(["core_m", "buffer_m"]), st.floats(0.01, 1.99))
def test_a_patch_of_some_dems_is_never_refused(index, key, times):
    assert problems(index, **{key: times * max(index.extent_m)}) == {}


@examples(100)
@given(any_dem)
def test_a_radius_and_an_area_within_the_dem_are_never_refused(index):
    height_m, width_m = index.extent_m
    areas = dict.fromkeys(AREAS, height_m * width_m / 1e6)
    assert problems(index, max(height_m, width_m), areas) == {}


def test_the_demo_passes():
    study = complete(yaml.safe_load((CONFIG / "config.yaml").read_text()), SCHEMA, "demo")
    areas = {key: study[key.split(".")[0]]["min_area_km2"] for key in AREAS}
    # 344 x 403 cells of three arc-seconds.
    index = dem(344, 403, 3 / 3600, "EPSG:4326")
    check_bounds(index, study["patches"], study["snap"]["radius_m"], areas)
    check_shards(study["shards"], 5)


@pytest.mark.parametrize("size", [1e9, 1e300])
def test_a_patch_far_larger_than_the_dem_is_refused_with_both_numbers(size):
    found = problems(dem(tiles=2), core_m=size, buffer_m=size)
    assert list(found) == ["patches.core_m", "patches.buffer_m"]
    assert found["patches.core_m"] == (
        f"patches.core_m: found {size:g} m on a DEM that is 20,000 m long, with cells of 10 m; "
        "expected at most 40,000 m here: a larger patch covers no more of the DEM. Remove it for "
        "the default of 1,500, or set a smaller number."
    )


@pytest.mark.parametrize("levels", [1, SECTIONS["patches"]["properties"]["levels"]["maximum"]])
def test_levels_are_never_refused(levels):
    assert problems(dem(3, 3), levels=levels) == {}


def test_lengths_are_written_out():
    wide = dem(11_113, 11_113)
    found = problems(wide, 2e5, dict.fromkeys(AREAS, 12_351.0))
    assert found["snap.radius_m"].startswith(
        "snap.radius_m: found 200,000 m on a DEM that is 111,130 m long, with cells of 10 m; "
        "expected at most 111,130 m here."
    )
    assert "found 12,351 km2" in found["snap.min_area_km2"]


def test_an_area_is_told_from_that_of_a_small_dem():
    found = problems(dem(30, 30), areas={"snap.min_area_km2": 0.11})
    assert found["snap.min_area_km2"].endswith(
        "expected at most 0.1 km2 here: the box around the DEM has 0.09 km2, and no cell drains "
        "more. Set a smaller area in km2; the default is 0.1."
    )


def test_a_radius_beyond_the_dem_and_areas_larger_than_it_are_refused():
    found = problems(dem(), 1e9, dict.fromkeys(AREAS, 100.5))
    assert found == {
        "snap.radius_m": "snap.radius_m: found 1e+09 m on a DEM that is 10,000 m long, with cells "
        "of 10 m; expected at most 10,000 m here. Set the distance by which sites may be "
        "misplaced, such as 100.",
        **{
            key: f"{key}: found 100.5 km2 on a DEM that is 10,000 m long, with cells of 10 m; "
            "expected at most 100 km2 here: the box around the DEM has 100 km2, and no cell drains "
            "more. Set a smaller area in km2; the default is 0.1."
            for key in AREAS
        },
    }


def test_shards_beyond_the_sites_are_refused():
    for shards, sites in [(1000, 0), (1000, 1), (10_000, 10_000), (5, 1_000_000)]:
        check_shards(shards, sites)
    with pytest.raises(ConfigurationError) as caught:
        check_shards(10_000, 1)
    assert str(caught.value) == (
        "shards: found 10,000 for 1 site; expected at most 1,000: every shard is two jobs, even "
        "without a site. Set a smaller number, or remove it for the default of 16."
    )


def test_cells_far_finer_than_those_of_the_dem_or_larger_than_it_are_refused(tmp_path):
    path = write_raster(tmp_path / "dem.tif", np.ones((60, 60), np.float32))
    for resolution in (0.5, 3.0, 10.0, 30.0, 250.0, 600.0):
        index_terrain([path], target_crs="EPSG:32611", resolution=resolution)
    for resolution in (1e-320, 1e-6, 0.49, 601.0, 1e7):
        with pytest.raises(ConfigurationError) as caught:
            index_terrain([path], target_crs="EPSG:32611", resolution=resolution)
        assert caught.value.where == "dem.resolution"
        told = "from a DEM with cells of 10 m; expected cells of 0.5 m to 600 m, the length of the "
        assert told in str(caught.value)
    with pytest.raises(ConfigurationError, match="which is cells of 1,111.* m from a DEM"):
        index_terrain([path], target_crs="EPSG:4326", resolution=0.01)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"patches": PATCHES | {"core_m": 1e9}}, "patches.core_m"),
        ({"radius_m": 1e9}, "snap.radius_m"),
        ({"min_areas_km2": {"network.min_area_km2": 1e9}}, "network.min_area_km2"),
        ({"shards": 1001}, "shards"),
    ],
)
def test_a_run_stops_before_any_shard(tmp_path, changes, key):
    path = write_raster(tmp_path / "dem.tif", np.ones((60, 60), np.float32))
    index = index_terrain([path])
    sites = pd.DataFrame({"site_id": ["a"], "x": [500_100.0], "y": [3_999_900.0]})
    sites = sites.assign(lon=-117.0, lat=36.1, crs="EPSG:32611", reported_area_km2=np.nan)
    with result_file(tmp_path / "sites.parquet") as part:
        sites.to_parquet(part)
    with result_file(tmp_path / "terrain.json") as part:
        part.write_text(index.to_json(), encoding="utf-8")
    changes = dict(changes)
    shards = changes.pop("shards", 2)
    settings = {"patches": PATCHES, "radius_m": 100.0, "min_areas_km2": AREAS} | changes
    there = {path.name for path in tmp_path.iterdir()} | {"log"}
    with pytest.raises(SystemExit, match="1"):
        split_shards.main(
            sites=str(tmp_path / "sites.parquet"),
            terrain=str(tmp_path / "terrain.json"),
            **settings,
            shards=shards,
            output=str(tmp_path / "shards/index.json"),
            log=str(tmp_path / "log"),
        )
    assert f"{key}: found " in (tmp_path / "log").read_text()
    assert {path.name for path in tmp_path.iterdir()} == there


def test_a_legitimate_large_patch_can_be_made():
    index = dem()
    patches = PATCHES | {"core_m": 20_000.0, "buffer_m": 20_000.0}
    assert problems(index, **patches) == {}
    assert PatchPyramid(index.lattice, **patches).core_cells(0) == 2000
