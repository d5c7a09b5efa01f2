"""The recipe of Roten et al. (2022) at published sites on real terrain."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio
from staley import SITES

from snakeshed.backends.local import Backend
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.roten2022.sites import delineate_as_published
from snakeshed.delineation.roten2022.watershed import find_watershed
from snakeshed.delineation.roten2022.window import cut_out, tile_under
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import sites_of
from snakeshed.delineation.table import write_catchments
from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.raster.crs import transformer
from snakeshed.sites.prepare import prepare_sites
from snakeshed.study.configuration import complete
from snakeshed.tables.geoparquet import read_arrow
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

STUDY = complete(
    {"study": "recipe", "recipe": "roten2022", "sites": SITES, "dem": {"path": "dem.tif"}},
    Path(__file__).parents[2] / "config/schema/study.schema.yaml",
    "these tests",
)


@pytest.fixture(scope="module")
def index(shared_data):
    return index_terrain([str(shared_data("station-fire") / "dem.tif")])


@pytest.fixture(scope="module")
def some(shared_data, index):
    """Every 28th site on the DEM."""
    sites = prepare_sites(STUDY["sites"], shared_data("staley2016")).sites
    (shard,) = split(sites, index, PatchPyramid(index.lattice, **STUDY["patches"]), 1)
    there = [site for site in sites_of(shard.sites) if tile_under(site, index)]
    assert len(there) == 228
    return there[::28]


@pytest.fixture(scope="module")
def done(some, index):
    return delineate_as_published(some, index, 0.1, Backend("serial"))


def test_sites_are_what_the_recipe_gives_one_by_one(some, done, index):
    assert [found.site_id for found in done] == sorted(site.site_id for site in some)
    (tile,) = index.tiles
    for site, found in zip(some, done, strict=True):
        assert found.status == "ok"
        with rasterio.open(tile.path) as raster:
            window = cut_out(raster, site.x, site.y, site.reported_area_km2, index.source)
        x, y = transformer(index.lattice.crs, window.crs).transform(site.x, site.y)
        alone = find_watershed(window, x, y, site.reported_area_km2)
        assert (found.area_km2, found.snap_distance_m) == (alone.area_km2, alone.snap_m)
        # The outline has the cells whose centers are in the contour, without what it lost.
        assert 0.7 < found.geometry.area / 1e6 / found.area_km2 < 1.01


def test_most_areas_are_those_that_were_published(done):
    agree = [0.9 <= found.area_ratio <= 1.1 for found in done]
    assert sum(agree) >= len(done) / 2


def test_features_are_those_of_their_outlines(done, index, tmp_path):
    path = tmp_path / "catchments.parquet"
    write_catchments(done, path, index.lattice.crs)
    with Terrain(index, STUDY["dem"]["max_void_cells"]) as terrain:
        rows = extract_features(read_arrow(path), terrain, ReliefRule((23.0,), (50.0,)), [])
    for row, found in zip(rows, done, strict=True):
        assert row["area_km2"] == found.area_km2
        assert row["relief_m"] > 0
        assert (row["west"], row["north"]) == (found.geometry.bounds[0], found.geometry.bounds[3])
        assert row["longest_flow_path_km"] >= row["basin_length_km"] > 0
