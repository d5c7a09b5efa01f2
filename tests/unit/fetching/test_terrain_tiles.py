"""Which tiles a table of sites needs: those under its patches, at every level, and no others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.errors import TerrainError
from snakeshed.fetching.terrain_tiles import missing_tiles, terrain_tiles
from snakeshed.terrain.dem import source_index
from snakeshed.terrain.index import DemTile, TerrainIndex
from snakeshed.terrain.sources import SOURCES, SourceTile

PATCHES = {
    "core_m": 1500.0,
    "buffer_m": 1500.0,
    "levels": 6,
    "radius_factor": 1.0,
    "backwater_m": 10.0,
}


def dem(source: str = "3dep-10m", crs: str | None = None, resolution: float | None = None) -> dict:
    return {"source": source, "target_crs": crs, "resolution": resolution}


def sites(*places: tuple[float, float], area: float | None = None) -> pd.DataFrame:
    lons, lats = zip(*places, strict=True)
    return pd.DataFrame(
        {
            "site_id": [f"s{k}" for k in range(len(places))],
            "lon": lons,
            "lat": lats,
            "x": lons,
            "y": lats,
            "crs": "EPSG:4326",
            "reported_area_km2": np.full(len(places), np.nan if area is None else area),
        }
    )


def names(dem: dict, patches: dict, table: pd.DataFrame) -> list[str]:
    return [tile.name.removesuffix(".tif")[-7:] for tile in terrain_tiles(dem, patches, table)]


def test_a_site_in_the_middle_of_a_tile_needs_no_other_at_low_levels():
    assert names(dem(), PATCHES | {"levels": 4}, sites((-118.5, 34.5))) == ["n35w119"]


def test_a_level_more_may_need_more_tiles():
    counts = [
        len(terrain_tiles(dem(), PATCHES | {"levels": levels}, sites((-118.3, 34.3))))
        for levels in range(1, 8)
    ]
    assert counts == sorted(counts)
    assert counts[0] == 1
    # A patch of 144 km at the default levels, and of twice that at one more.
    assert counts[5:] == [9, 16]


def test_a_reported_area_spares_the_levels_below():
    low = terrain_tiles(dem(), PATCHES | {"levels": 1}, sites((-118.5, 34.5)))
    high = terrain_tiles(dem(), PATCHES | {"levels": 6}, sites((-118.5, 34.5), area=5000))
    assert set(low) < set(high)


def test_sites_of_several_utm_zones_and_continents_are_one_study():
    here, there = (-119.9, 34.5), (-120.1, 34.5)
    both = names(dem(), PATCHES | {"levels": 2}, sites(here, there))
    assert both == ["n35w120", "n35w121"]
    glo = [tile.name for tile in terrain_tiles(dem("glo-30"), PATCHES, sites(here, (151.2, -33.5)))]
    assert any("_N34_00_W120_" in name for name in glo)
    assert any("_S34_00_E151_" in name for name in glo)


def test_a_site_by_the_overlap_needs_the_neighbor_too():
    step = 1 / 10_800
    small = PATCHES | {"core_m": 30.0, "buffer_m": 10.0, "levels": 1}
    # Seven columns from the border, the patch of a few cells begins beyond the other's overlap.
    assert names(dem(), small, sites((-118 + 20 * step, 34.5))) == ["n35w118"]
    assert names(dem(), small, sites((-118 + 2 * step, 34.5))) == ["n35w118", "n35w119"]


def test_a_site_near_the_antimeridian_needs_tiles_of_both_sides():
    found = [t.name[22:36] for t in terrain_tiles(dem("glo-90"), PATCHES, sites((179.9, -16.5)))]
    assert "S17_00_E179_00" in found
    assert "S17_00_W180_00" in found
    # By longitudes that go on, it is the same place.
    same = terrain_tiles(dem("glo-90"), PATCHES, sites((-180.1, -16.5)))
    assert [tile.name for tile in same] == [
        tile.name for tile in terrain_tiles(dem("glo-90"), PATCHES, sites((179.9, -16.5)))
    ]


def test_a_site_without_a_place_needs_nothing():
    table = sites((-118.5, 34.5), (0.0, 0.0))
    table.loc[1, ["x", "y", "lon", "lat"]] = np.nan
    alone = terrain_tiles(dem(), PATCHES, sites((-118.5, 34.5)))
    assert terrain_tiles(dem(), PATCHES, table) == alone


def test_with_another_crs_the_tiles_are_those_of_the_ground():
    table = sites((-118.5, 34.5))
    native = names(dem(), PATCHES | {"levels": 3}, table)
    assert names(dem("3dep-10m", "EPSG:32611", 10.0), PATCHES | {"levels": 3}, table) == native


def test_a_crs_that_ends_near_the_sites_is_refused():
    # Seen from space above 42.5 degrees north, it is on the horizon.
    with pytest.raises(TerrainError) as error:
        terrain_tiles(dem("glo-90", "ESRI:102038", 90.0), PATCHES, sites((-72.5, -47.4)))
    assert str(error.value) == (
        "dem.target_crs: found patches that reach beyond what ESRI:102038 can express; expected a "
        "CRS that covers the sites and some hundred kilometers around them. Remove dem.target_crs "
        "to keep the grid of the source, or lower patches.levels."
    )


def as_dem_tile(tile: SourceTile) -> DemTile:
    return DemTile(tile.name, *tile.place, "float32", None, 1.0, 0.0, 1.0)


@given(
    places=st.lists(
        st.tuples(st.floats(-121, -117), st.floats(33, 36)), min_size=1, max_size=4, unique=True
    ),
    shards=st.sampled_from([1, 2, 16]),
)
def test_the_tiles_are_those_that_the_shards_read(places, shards):
    """With all tiles of the source there, no shard reads one that would not have been fetched."""
    source = SOURCES["3dep-30m"]
    table = sites(*places)
    patches = PATCHES | {"levels": 5}
    empty = source_index(source, table["lat"])
    lattice = empty.source
    everywhere = [
        as_dem_tile(source.tile(lattice, i, j)) for i in range(30, 39) for j in range(-125, -113)
    ]
    index = TerrainIndex(lattice, lattice, tuple(everywhere), meridian=0.0)
    pyramid = PatchPyramid(lattice, **patches)
    parts = split(table, index, pyramid, shards)
    read = {tile.path for part in parts for tile in part.terrain.tiles}
    needed = terrain_tiles(dem("3dep-30m"), patches, table)
    assert read == {tile.name for tile in needed}
    assert missing_tiles(dem("3dep-30m"), patches, table, index) == []
    without = TerrainIndex(lattice, lattice, tuple(everywhere[:1]), meridian=0.0)
    missing = missing_tiles(dem("3dep-30m"), patches, table, without)
    assert missing == [tile.name for tile in needed if tile.name != everywhere[0].path]


def test_without_a_source_nobody_knows_which_tiles_there_might_be():
    index = source_index(SOURCES["3dep-10m"], [34.0])
    assert missing_tiles(None, PATCHES, sites((-118.5, 34.5)), index) == []
    own = {"source": None, "target_crs": None, "resolution": None}
    assert missing_tiles(own, PATCHES, sites((-118.5, 34.5)), index) == []
