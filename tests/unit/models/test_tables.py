"""Every site is in both tables once for each of their keys, with its values or a reason."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import ROW, features, study_models

from snakeshed.models.hazard import hazard_table
from snakeshed.models.thresholds import threshold_table
from snakeshed.tables.geoparquet import read_descriptions, read_table, write_table

MODELS = ("staley2017_m1", "gartner2014_emergency", "cannon2010")
SITES = (
    {"site_id": "b", "kf_mean": None},
    {"site_id": "a"},
    {"site_id": "d", "burn_moderate_high_km2": 0.0, "kf_mean": 11.0},
    {
        **dict.fromkeys(ROW),
        "site_id": "c",
        "status": "outside_dem",
        "reason": "far from the DEM",
    },
)


def frame(table: pa.Table, folder):
    write_table(table, folder / "table.parquet")
    return read_table(folder / "table.parquet")


@pytest.fixture
def hazard(tmp_path):
    return frame(hazard_table(features(*SITES), study_models(*MODELS)), tmp_path)


def test_rows_are_sites_by_models_by_storms_in_their_order(hazard):
    storms = ["i15_16", "i15_20", "i15_24", "i15_40"]
    expected = [(site, model, storm) for site in "abcd" for model in MODELS for storm in storms]
    assert list(zip(hazard["site_id"], hazard["model"], hazard["storm"], strict=True)) == expected
    assert set(hazard["duration_min"]) == {15}
    assert list(hazard["intensity_mm_per_h"][:4]) == [16, 20, 24, 40]
    assert list(hazard["rainfall_mm"][:4]) == [4, 5, 6, 10]


def test_columns_are_those_of_the_models_of_the_study(hazard):
    first = ["site_id", "status", "reason", "remark", "model", "storm", "duration_min"]
    rain = ["rainfall_mm", "intensity_mm_per_h"]
    inputs = ["terrain", "fire", "soil", "moderate_high_km2", "relief_m"]
    results = ["likelihood", "volume_m3", "volume_low_m3", "volume_high_m3"]
    classes = ["likelihood_class", "volume_class", "hazard_class"]
    assert list(hazard.columns) == [*first, *rain, *inputs, *results, *classes]
    alone = hazard_table(features(ROW), study_models("staley2017_m1"))
    assert alone.column_names == [*first, *rain, *inputs[:3], "likelihood"]


def test_values_are_those_of_the_models():
    models = study_models(*MODELS)
    rows = hazard_table(features(*SITES), models).filter(pc.field("site_id") == "a").to_pylist()
    assert len(rows) == 12
    for row in rows:
        found = models.evaluate(row["model"], ROW, 15, row["rainfall_mm"])
        for name in ("likelihood", "volume_m3", "volume_low_m3", "volume_high_m3", "hazard_class"):
            value = row[name] if row[name] == row[name] else None
            assert value == getattr(found, name)
    combined = [row for row in rows if row["model"] == "cannon2010"]
    assert [row["hazard_class"] for row in combined] == [1, 2, 2, 3]


def test_null_has_a_reason_and_a_reason_has_null(hazard):
    for model, name in zip(MODELS, ("likelihood", "volume_m3", "hazard_class"), strict=True):
        of_model = hazard[hazard["model"] == model]
        assert (of_model[name].isna() == of_model["reason"].notna()).all()
    reasons = hazard.groupby(["site_id", "model"])["reason"].first()
    assert reasons["b", "staley2017_m1"] == "missing input: soil (kf_mean)"
    assert reasons["c", "cannon2010"] == "far from the DEM"
    assert "moderate_high_km2 is 0" in reasons["d", "gartner2014_emergency"]
    assert set(hazard[hazard["site_id"] == "c"]["status"]) == {"outside_dem"}


def test_what_is_implausible_is_remarked_where_it_is_used(hazard):
    of_d = hazard[hazard["site_id"] == "d"].set_index("model")
    assert set(of_d.loc["staley2017_m1"]["remark"]) == {"soil (kf_mean) is 11; expected 0 to 1"}
    assert set(of_d.loc["staley2017_m1"]["soil"]) == {11.0}
    assert of_d.loc["staley2017_m1"]["likelihood"].notna().all()
    assert of_d.loc["gartner2014_emergency"]["remark"].isna().all()


def test_classes_are_whole_numbers_and_every_column_is_described(tmp_path):
    table = hazard_table(features(*SITES), study_models(*MODELS))
    assert table.schema.field("hazard_class").type == pa.int64()
    write_table(table, tmp_path / "hazard.parquet")
    described = read_descriptions(tmp_path / "hazard.parquet")
    assert "p = 1 / (1 + exp(-(B + (Ct terrain" in described["likelihood"]
    assert "0.41, 0.67, 0.70 for 15 minutes" in described["likelihood"]
    assert "doi:10.1016/j.geomorph.2016.10.019" in described["likelihood"]
    assert "cannon2010: of the two models that it combines" in described["likelihood"]
    assert described["volume_m3"].startswith("Volume of a debris flow, m3. gartner2014_emergency:")
    assert "doi:10.1016/j.enggeo.2014.04.008" in described["volume_high_m3"]
    assert "0.2, 0.4, 0.6, 0.8 (bins usgs)" in described["hazard_class"]
    assert described["fire"] == (
        "Input of staley2017_m1: mean dNBR (stored dNBR x 1000, divided by 1000) = 0.001 x "
        "dnbr_mean of features.parquet."
    )


def test_an_input_of_several_models_names_each():
    models = study_models("staley2017_m1", "staley2017_m3", "swb")
    schema = hazard_table(features(ROW), models).schema
    fire = schema.field("fire").metadata[b"description"].decode()
    assert "of staley2017_m1, swb: mean dNBR" in fire
    assert "of staley2017_m3: share of the catchment burned" in fire


def test_a_storm_of_the_site_table_is_that_of_each_site(tmp_path):
    storms = [{"name": "gauge", "duration_min": 15, "column": "depth", "unit": "mm"}]
    rows = pa.table({"site_id": ["a", "b", "b"], "depth": [3.0, 4.0, 5.0]})
    models = study_models("staley2017_m1", storms=storms)
    table = hazard_table(features({"site_id": "a"}, {"site_id": "b"}), models, rows)
    found = frame(table, tmp_path).set_index("site_id")
    assert found.loc["a", "rainfall_mm"] == 3.0
    assert found.loc["a", "intensity_mm_per_h"] == 12.0
    assert found.loc["b", ["rainfall_mm", "intensity_mm_per_h", "likelihood"]].isna().all()
    assert found.loc["b", "reason"] == "the rows of the site differ in depth: 4.0, 5.0"
    assert found.loc["b", "soil"] == 0.25


def test_thresholds_are_the_inverse_of_likelihoods(tmp_path):
    models = study_models("gartner2014_emergency", "staley2017_m1", likelihoods=[0.5, 0.75])
    found = frame(threshold_table(features(*SITES), models), tmp_path)
    keys = [(site, d, p) for site in "abcd" for d in (15, 30, 60) for p in (0.5, 0.75)]
    columns = [found[name] for name in ("site_id", "duration_min", "likelihood")]
    assert list(zip(*columns, strict=True)) == keys
    assert set(found["model"]) == {"staley2017_m1"}
    for _, row in found[found["site_id"] == "a"].iterrows():
        back = models.evaluate("staley2017_m1", ROW, row["duration_min"], row["rainfall_mm"])
        assert back.likelihood == pytest.approx(row["likelihood"], rel=1e-12)
        hours = row["duration_min"] / 60
        assert row["intensity_mm_per_h"] * hours == pytest.approx(row["rainfall_mm"])
    assert (found["rainfall_mm"].isna() == found["reason"].notna()).all()
    reasons = found.groupby("site_id")["reason"].first()
    assert reasons["b"] == "missing input: soil (kf_mean)"
    assert reasons["c"] == "far from the DEM"
    assert found[found["site_id"] == "d"]["remark"].notna().all()
    described = read_descriptions(tmp_path / "table.parquet")
    assert "Inverse of staley2017_m1: p = 1 / (1 + exp(" in described["rainfall_mm"]


def test_what_no_rainfall_reaches_is_null_with_a_reason(tmp_path):
    row = {"dnbr_mean": -400.0, "terrain_m1": 0.0, "kf_mean": 0.1}
    found = frame(threshold_table(features(row), study_models("staley2017_m1")), tmp_path)
    at_15 = found[found["duration_min"] == 15]
    assert at_15["rainfall_mm"].isna().all()
    assert set(at_15["reason"]) == {"the likelihood does not rise with rainfall"}


def test_a_study_without_likelihood_models_has_an_empty_table_of_thresholds(tmp_path):
    table = threshold_table(features(ROW), study_models("gartner2014_emergency"))
    assert len(frame(table, tmp_path)) == 0
    assert table.schema.field("rainfall_mm").type == pa.float64()


def test_no_sites_give_empty_tables(tmp_path):
    models = study_models(*MODELS)
    assert len(frame(hazard_table(features(), models), tmp_path)) == 0
    assert len(frame(threshold_table(features(), models), tmp_path)) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1))), max_size=6))
def test_other_sites_change_no_site(values):
    rows = [
        {"site_id": f"s{place}", "terrain_m1": terrain, "kf_mean": soil}
        for place, (terrain, soil) in enumerate(values)
    ]
    models = study_models(*MODELS)
    together = hazard_table(features(*rows), models)
    alone = [hazard_table(features(row), models) for row in rows]
    assert together.equals(pa.concat_tables(alone or [together]).combine_chunks())
