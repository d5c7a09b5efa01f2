"""Features of all sites of a shard, whatever became of them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pyproj import CRS
from rasters import write_raster

from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.delineation.table import write_catchments
from snakeshed.errors import ConfigurationError
from snakeshed.features.columns import BEFORE_FEATURES, TRUST, ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.layer_types.classes import ClassLayer
from snakeshed.features.layer_types.numeric import NumericLayer
from snakeshed.features.layers import feature_columns
from snakeshed.features.missing import Missing
from snakeshed.features.table import write_features
from snakeshed.grid.snap import SnapRule
from snakeshed.tables.geoparquet import read_table
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

LEFT, TOP, CELL = 500_000.0, 4_000_000.0, 10.0
RELIEF = ReliefRule((23.0,), (50.0,))
RULE = DelineationRule(SnapRule(15.0, 0.05, 0.001), 0, 0.001)
# Axes without a code and in another place than any code's.
OWN_CRS = "+proj=tmerc +lat_0=33 +lon_0=-117.3 +k=0.9999 +x_0=1000 +ellps=GRS80 +units=m"


def site(name, row, column) -> Site:
    return Site(name, LEFT + (column + 0.5) * CELL, TOP - (row + 0.5) * CELL, 0, 0.004)


SITES = [site("b", 35, 20), site("a", 25, 12), site("far", 900, 900), site("c", 30, 31)]


class Study:
    """A terrain with two layers; runs from sites to the two tables of a shard."""

    def __init__(self, folder, crs="EPSG:32611"):
        random = np.random.default_rng(2)
        z = 500 - 3.0 * np.arange(40)[:, None] + random.uniform(0, 4, (40, 40))
        self.folder = folder
        self.index = index_terrain([write_raster(folder / "dem.tif", np.float32(z), crs=crs)])
        kf = write_raster(folder / "kf.tif", np.float32(random.random((40, 40))), crs=crs)
        # Covers the western half alone.
        soil = write_raster(folder / "soil.tif", np.uint8(z[:, :15] % 3), crs=crs)
        self.layers = [
            NumericLayer("kf", kf, (50.0,), unit="codes"),
            ClassLayer("soil", soil, {0: "clay", 1: "sand"}),
        ]

    def run(self, sites, name="one"):
        """Paths of catchments.parquet and features.parquet."""
        pyramid = PatchPyramid(self.index.lattice, 200.0, 400.0, 2, 2.5)
        done = delineate(sites, self.index, pyramid, RULE, Backend("serial"))
        catchments = self.folder / f"{name}_catchments.parquet"
        features = self.folder / f"{name}_features.parquet"
        write_catchments(done, catchments, self.index.lattice.crs)
        with Terrain(self.index, 0) as terrain:
            rows = extract_features(read_table(catchments), terrain, RELIEF, self.layers)
        write_features(rows, feature_columns(RELIEF, self.layers), features)
        return catchments, features


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def test_every_site_has_a_row_and_only_delineated_ones_have_features(study):
    table = read_table(study.run(SITES)[1])
    assert list(table["site_id"]) == ["a", "b", "c", "far"]
    assert list(table["status"]) == ["ok", "ok", "ok", "outside_dem"]
    features = table.drop(columns=list(BEFORE_FEATURES))
    assert features.iloc[3].isna().all()
    assert table["reason"].iloc[3] == "no tile of the DEM lies within 15 m of the site"
    assert features["elevation_mean_m"].iloc[:3].notna().all()
    assert features["kf_coverage"].iloc[:3].to_list() == [1.0, 1.0, 1.0]


def test_what_a_layer_does_not_cover_is_null(study):
    table = read_table(study.run(SITES)[1]).set_index("site_id")
    assert table.loc["c", "soil_coverage"] == 0
    absent = [name for name in table if name.startswith("soil_") and name != "soil_coverage"]
    assert table.loc["c", absent].isna().all()
    assert table.loc["a", absent].notna().all()
    assert absent, "not 0, and not left out"


def test_layers_without_data_in_a_catchment_are_named(study, tmp_path):
    table = read_table(study.run(SITES)[1]).set_index("site_id")
    gaps = table["layer_gap"]
    assert gaps.dropna().to_dict() == {"b": "soil", "c": "soil"}
    assert gaps[["a", "far"]].isna().all()
    # Site b's catchment begins to the east of the layer, site a's lies on it in part or in full.
    assert table.loc[["a", "b", "c"], "soil_coverage"].gt(0).to_list() == [True, False, False]

    nowhere = write_raster(tmp_path / "nowhere.tif", np.full((40, 40), 7, np.uint8), nodata=7)
    layers = [NumericLayer("dnbr", nowhere, ()), *study.layers, ClassLayer("barc", nowhere)]
    twin = copy.copy(study)
    twin.layers = layers
    table = read_table(twin.run(SITES, "gaps")[1]).set_index("site_id")
    assert table.loc["c", "layer_gap"] == "dnbr;soil;barc", "in the order of their declaration"
    assert table.loc["a", "layer_gap"] == "dnbr;barc"
    values = [
        name for name in table if name.startswith(("dnbr", "barc")) and "coverage" not in name
    ]
    assert len(values) == 7
    assert table[values].isna().all(axis=None)


def test_how_far_to_trust_a_site_stands_beside_its_features(study):
    import pyarrow.parquet as pq

    catchments, features = study.run(SITES)
    named = list(read_table(features).columns[: len(BEFORE_FEATURES)])
    assert named == ["site_id", "status", "reason", "layer_gap", *TRUST]
    pd.testing.assert_frame_equal(
        read_table(features)[list(TRUST)], pd.DataFrame(read_table(catchments)[list(TRUST)])
    )
    here, there = pq.read_schema(features), pq.read_schema(catchments)
    for name in ("site_id", "status", "reason", *TRUST):
        assert here.field(name).equals(there.field(name), check_metadata=True)


def test_the_same_bytes_in_one_shard_or_in_two(study):
    from snakeshed.tables.gather import concatenate
    from snakeshed.tables.geoparquet import write_table

    whole = study.run(SITES, "whole")
    parts = [study.run(SITES[:1], "p0"), study.run(SITES[1:], "p1"), study.run([], "p2")]
    for k, path in enumerate(whole):
        gathered = study.folder / f"gathered_{k}.parquet"
        write_table(concatenate([part[k] for part in parts]), gathered)
        assert gathered.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("sites", [[], SITES[2:3]], ids=["no site", "none delineated"])
def test_shards_without_a_catchment_have_the_same_columns(study, sites):
    import pyarrow.parquet as pq

    full, empty = study.run(SITES, "full"), study.run(sites, "empty")
    for one, other in zip(full, empty, strict=True):
        assert pq.read_schema(other).remove_metadata() == pq.read_schema(one).remove_metadata()
        assert [field.metadata for field in pq.read_schema(other)] == [
            field.metadata for field in pq.read_schema(one)
        ]
        assert len(read_table(other)) == len(sites)


def test_a_catchment_of_another_area_has_no_features(study):
    catchments = read_table(study.run(SITES)[0])
    refused = catchments.assign(
        status=["ok", "area_mismatch", "ok", "outside_dem"],
        reason=[None, "too large", None, "none"],
    )
    with Terrain(study.index, 0) as terrain:
        before = extract_features(catchments, terrain, RELIEF, study.layers)
        after = extract_features(refused, terrain, RELIEF, study.layers)
    assert after[0] == before[0]
    assert after[2] == before[2]
    trust = {name: before[1][name] for name in TRUST}
    told = {"site_id": "b", "status": "area_mismatch", "reason": "too large"}
    assert after[1] == told | trust


def test_a_crs_without_a_code_all_the_way(tmp_path):
    study = Study(tmp_path, OWN_CRS)
    catchments, features = map(read_table, study.run(SITES))
    assert catchments.crs.to_authority(min_confidence=100) is None
    assert catchments.crs == CRS.from_user_input(study.index.lattice.crs)
    assert list(features["status"]) == ["ok", "ok", "ok", "outside_dem"]
    assert features["kf_coverage"].iloc[:3].to_list() == [1.0, 1.0, 1.0]


def test_a_layer_that_misses_too_much_is_a_gap_with_a_reason(study):
    kf, soil = study.layers
    twin = copy.copy(study)
    table = read_table(study.run(SITES)[1]).set_index("site_id")
    coverage = table.loc["a", "soil_coverage"]
    assert 0 < coverage < 1
    twin.layers = [kf, replace(soil, missing=Missing(max_share=0.001))]
    table = read_table(twin.run(SITES, "missing")[1]).set_index("site_id")
    assert table.loc["a", "layer_gap"] == "soil"
    assert table.loc["a", "reason"].endswith(
        f"layer soil is missing in {1 - coverage:.3g} of the catchment, more than its max_missing "
        "of 0.001"
    )
    assert table.loc["a", "soil_coverage"] == coverage
    assert pd.isna(table.loc["a", "soil_dominant"])
    assert pd.isna(table.loc["b", "reason"]), "without any data there: layer_gap says so"


def test_columns_of_the_same_name_stop_before_any_work(study):
    class NoTerrain:
        index = None

    layers = [NumericLayer("slope", "none.tif", (), unit="deg")]
    with pytest.raises(ConfigurationError, match="slope_mean_deg"):
        extract_features(pd.DataFrame(), NoTerrain(), RELIEF, layers)
