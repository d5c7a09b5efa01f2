"""Published sites on real terrain: every site in the output, and areas as published."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Geod
from rasterio.features import geometry_mask
from staley import COMPARE, SHEET, SITES, TABLE

from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.delineation.table import CATCHMENTS, write_catchments
from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.joint import joint_rules
from snakeshed.features.layer_types.fbfm40 import FuelLayer
from snakeshed.features.layers import feature_columns
from snakeshed.features.table import write_features
from snakeshed.report.study_page import StudyResults, report
from snakeshed.report.summary import Finished, summarise, summary_text
from snakeshed.sites.prepare import prepare_sites
from snakeshed.study.configuration import complete
from snakeshed.tables.geoparquet import read_descriptions, read_table
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

STUDY = complete(
    {"study": "staley", "sites": SITES, "dem": {"path": "dem.tif"}, "compare": COMPARE},
    Path(__file__).parents[2] / "config/schema/study.schema.yaml",
    "these tests",
)
VOID_CELLS = STUDY["dem"]["max_void_cells"]
RULE = DelineationRule.of(STUDY)


@pytest.fixture(scope="module")
def prepared(shared_data):
    """The site table of Staley et al. (2016)."""
    return prepare_sites(STUDY["sites"], shared_data("staley2016"))


@pytest.fixture(scope="module")
def staley(prepared):
    """Its 716 sites."""
    return prepared.sites


def catchments_on(dem, sites, path) -> pd.DataFrame:
    index = index_terrain([str(dem)])
    pyramid = PatchPyramid(index.lattice, **STUDY["patches"])
    (shard,) = split(sites, index, pyramid, 1)
    done = delineate(sites_of(shard.sites), index, pyramid, RULE, Backend("serial"))
    write_catchments(done, path, index.lattice.crs)
    return read_table(path)


@pytest.fixture(scope="module")
def station(staley, shared_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("station") / "catchments.parquet"
    return catchments_on(shared_data("station-fire") / "dem.tif", staley, path)


def test_every_site_of_the_table_is_in_the_output(staley, station):
    assert list(station["site_id"]) == sorted(staley["site_id"])
    # 228 sites lie on the DEM, two more within reach of it.
    assert Counter(station["status"]) == {"ok": 230, "outside_dem": 486}
    assert station.loc[station["status"] != "ok", "area_km2"].isna().all()
    assert station.loc[station["status"] != "ok", "reason"].notna().all()


def test_areas_agree_with_the_published_ones(station):
    done = station[station["status"] == "ok"]
    agrees = done["area_ratio"].between(0.9, 1.1)
    assert agrees.mean() >= 0.59
    assert agrees[done["reported_area_km2"] > 0.1].mean() >= 0.68


def test_outlines_are_valid_and_have_the_catchments_area(station):
    done = station[station["status"] == "ok"]
    assert done.geometry.is_valid.all()
    geod = Geod(ellps="GRS80")
    on_ground = [
        abs(geod.geometry_area_perimeter(outline)[0]) / 1e6
        for outline in done.geometry.segmentize(300).to_crs("EPSG:4269")
    ]
    assert on_ground == pytest.approx(done["area_km2"].to_list(), rel=1e-5)
    # In the CRS itself, that of a UTM zone, areas are 0.08 % smaller at most.
    assert (done.geometry.area / 1e6).to_numpy() == pytest.approx(done["area_km2"], rel=8e-4)
    assert (done["cells"] * 900).to_numpy() == pytest.approx(done.geometry.area, rel=1e-9)
    assert (done["snap_distance_m"] <= RULE.snap.radius_m).all()


def test_the_report_of_all_sites_is_one_page_that_can_be_mailed(
    station, prepared, shared_data, tmp_path
):
    index = index_terrain([str(shared_data("station-fire") / "dem.tif")])
    rule = ReliefRule((23.0, 30.0), (10.0, 50.0, 90.0))
    path = tmp_path / "features.parquet"
    rejected = pd.DataFrame(columns=["row", "site_id", "action", "reason", "found"])
    with Terrain(index, VOID_CELLS) as terrain:
        rows = extract_features(station, terrain, rule, [])
        write_features(rows, feature_columns(rule, []), path)
        features = read_table(path)
        descriptions = read_descriptions(path) | {
            name: text for name, (_, text) in CATCHMENTS.items()
        }
        finished = Finished(station, features, rejected, observations=prepared.observations)
        summary = summarise("staley", finished, compared=STUDY["compare"])
        results = StudyResults(station, features, descriptions, rejected, summary, STUDY)
        text = report(results, terrain, [("snakeshed", "1")])
    assert len(text.encode()) < 8_000_000
    assert text.count("<tr data-site=") == 716
    assert text.count("<path data-site=") == 230
    assert "716 sites delineated; not delineated: 486 outside DEM." in text
    check_published(summary, features, shared_data("staley2016") / TABLE, text)


def check_published(summary: dict, features: pd.DataFrame, table: Path, text: str) -> None:
    """Compare with the workbook itself: steep and burned ground is part of steep ground."""
    sheet = pd.read_excel(table, sheet_name=SHEET).drop_duplicates("Fire_SegID")
    sheet = sheet.set_index("Fire_SegID")
    done = features[features["status"] == "ok"].set_index("site_id")
    published = sheet.loc[done.index, "PropHM23"]
    larger = published - done["share_steeper_23deg"] > 0.02
    steep, area = summary["compared"]
    assert steep["sites"] == area["sites"] == len(done)
    assert steep["contradicting"] == list(done.index[larger])
    # More than half: the DEM is coarser than theirs, and its slopes are less steep.
    assert 0.5 < larger.mean() < 0.8
    assert area["ratio_median"] == summary["area_ratio_median"]
    assert area["within_10_percent"] == summary["area_within_10_percent"]
    told = (
        f"PropHM23 of the site table against share_steeper_23deg: at {larger.sum()} of {len(done)}"
    )
    assert told in text
    assert told in summary_text(summary, "results")


def test_fuel_shares_of_the_santiago_and_freeway_fires(staley, shared_data, tmp_path):
    folder = shared_data("santiago-fire")
    near = staley[staley["site_id"].str.startswith(("san_", "fwy_"))]
    assert len(near) == 20
    catchments = catchments_on(folder / "dem.tif", near, tmp_path / "catchments.parquet")
    # All 12 Santiago sites and 4 of the Freeway fire lie on the DEM, two more within reach of it.
    assert Counter(catchments["status"]) == {"ok": 18, "outside_dem": 2}
    assert (catchments.loc[catchments["site_id"].str.startswith("san_"), "status"] == "ok").all()

    index = index_terrain([str(folder / "dem.tif")])
    rule = ReliefRule((23.0, 30.0), (10.0, 50.0, 90.0))
    fuel = FuelLayer("fuel", str(folder / "fbfm40.tif"), "config/fbfm40.csv")
    with Terrain(index, VOID_CELLS) as terrain:
        rows = extract_features(catchments, terrain, rule, [fuel])
    features = pd.DataFrame(rows, columns=["site_id", "status", *feature_columns(rule, [fuel])])
    done = features[features["status"] == "ok"]
    groups = [f"fuel_share_{group}" for group in ("nb", "gr", "gs", "sh", "tu", "tl", "sb")]
    total = done[groups].sum(axis=1) + done["fuel_share_unmapped"]
    assert total.to_numpy() == pytest.approx(1, abs=1e-9)
    assert done["fuel_coverage"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert (done["fuel_share_unmapped"] == 0).all()
    # Chaparral and grass of the Santa Ana Mountains.
    assert (done["fuel_share_sh"] + done["fuel_share_gs"] + done["fuel_share_gr"]).median() > 0.5
    assert features.loc[features["status"] != "ok", groups].isna().all(axis=None)


def test_steep_shrubs_of_the_santiago_fire_are_those_of_a_plain_count(
    staley, shared_data, tmp_path
):
    """Fuel models and terrain have one grid here: NumPy counts cells of both."""
    folder = shared_data("santiago-fire")
    near = staley[staley["site_id"].str.startswith("san_")]
    catchments = catchments_on(folder / "dem.tif", near, tmp_path / "catchments.parquet")
    index = index_terrain([str(folder / "dem.tif")])
    rule = ReliefRule((), ())
    fuel = FuelLayer("fuel", str(folder / "fbfm40.tif"), "config/fbfm40.csv")
    declared = {"name": "steep_shrubs", "layer": "fuel", "classes": ["SH", "GS"]}
    declared["slope_min_deg"] = 15.0
    joint = joint_rules([declared], [fuel])
    with Terrain(index, VOID_CELLS) as terrain:
        rows = extract_features(catchments, terrain, rule, [fuel], joint)
    with rasterio.open(folder / "dem.tif") as raster:
        z, transform = raster.read(1).astype(np.float64), raster.transform
    with rasterio.open(folder / "fbfm40.tif") as raster:
        assert raster.transform == transform
        is_shrub = np.isin(raster.read(1) // 10, (12, 14))
    around = [np.roll(z, (-down, -right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    nw, n, ne, w, _, e, sw, s, se = around
    east = (ne + 2 * e + se - nw - 2 * w - sw) / (8 * transform.a)
    north = (nw + 2 * n + ne - sw - 2 * s - se) / (8 * transform.a)
    is_steep = np.hypot(east, north) >= np.tan(np.radians(15))
    counted = {
        site["site_id"]: (is_shrub & is_steep)[inside].sum() / inside.sum()
        for site in catchments.to_dict("records")
        for inside in [geometry_mask([site["geometry"]], z.shape, transform, invert=True)]
    }
    found = {row["site_id"]: row["steep_shrubs"] for row in rows}
    assert len(found) == 12
    # A UTM grid is a few ten-thousandths off the ground, so a cell may be at the limit; the
    # smallest catchment has a hundred.
    assert found == pytest.approx(counted, abs=0.01)
    assert max(found.values()) > 0.1
