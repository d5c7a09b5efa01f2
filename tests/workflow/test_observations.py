"""Observations with the features of their sites: from the site table to one for scikit-learn."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_study import TinyStudy

from snakeshed.observations.skill import read_skill

DECLARED = {
    "rainfall": [{"duration_min": 15, "column": "i15", "unit": "mm_per_h"}],
    "response": {"column": "response", "events": ["yes"]},
}
# Of each row of the study's site table: mm/h, and whether there was a debris flow.
I15 = [24, 40, 8, None, 16, 20, 60, 24]
RESPONSE = ["Yes", "No", "", "Yes", "No", "No", "Yes", "Yes"]


# Of columns that the study has; what they mean to the model is of no matter here.
MODEL = {
    "name": "staley2017_m1",
    "inputs": {
        "terrain": "share_steeper_23deg",
        "fire": {"column": "rain_mean", "scale": 0.01},
        "soil": "ruggedness",
    },
}


def ask(study) -> None:
    """Add a model, rainfall, response, and a column called like a feature to the study."""
    study.config |= {"observations": DECLARED, "models": [MODEL]}
    study.write()
    table = pd.read_csv(study.folder / "sites.csv")
    table.assign(i15=I15, response=RESPONSE, relief_m=7.5).to_csv(
        study.folder / "sites.csv", index=False
    )


@pytest.fixture
def observed(study):
    ask(study)
    run = study.run()
    assert run.code == 0, run.text
    # Columns of observations change no result of a site; the report has the configuration.
    table_read = {"prepare_sites": 1, "split_shards": 1}
    after = dict.fromkeys(("dataset", "hazard", "skill", "summarise", "report"), 1)
    assert run.jobs == table_read | after
    return study


def test_every_observation_has_its_cells_and_the_features_of_its_site(observed):
    dataset = pd.read_parquet(observed.results / "dataset.parquet")
    features = pd.read_parquet(observed.results / "features.parquet").set_index("site_id")
    given = pd.read_csv(observed.folder / "sites.csv")
    assert list(dataset)[:4] == ["site_id", "row", "status", "reason"]
    assert dataset["site_id"].tolist() == given["site"].tolist() == list("abcdeffg")
    assert dataset["row"].tolist() == list(range(1, 9))
    for name in given:
        kept = f"input_{name}" if name in ("area_km2", "relief_m") else name
        cells = dataset[kept].astype(str) if name == "storm" else dataset[kept]
        pd.testing.assert_series_equal(
            cells, given[name], check_names=False, check_dtype=False, check_exact=True
        )
    of_sites = features.loc[dataset["site_id"]].reset_index()
    pd.testing.assert_frame_equal(dataset[of_sites.columns], of_sites, check_exact=True)
    # The site that was not delineated has its observation, its reason, and no feature.
    failed = dataset.iloc[-1]
    assert failed["status"] == "outside_dem"
    assert failed["reason"]
    assert pd.isna(failed["relief_m"])
    rain = dataset["rainfall_15min_mm"]
    assert rain.tolist()[:3] == [6, 10, 2]
    assert rain.isna().tolist() == [cell is None for cell in I15]
    flows = dataset["debris_flow"]
    assert flows.dropna().tolist() == [1, 0, 1, 0, 0, 1, 1]
    assert pd.isna(flows[2])


def test_models_are_compared_with_what_happened(observed):
    dataset = pd.read_parquet(observed.results / "dataset.parquet")
    features = pd.read_parquet(observed.results / "features.parquet").set_index("site_id")
    for row in dataset.itertuples():
        mm, site = row.rainfall_15min_mm, features.loc[row.site_id]
        slope = 0.41 * site["share_steeper_23deg"] + 0.67 * site["rain_mean"] / 100
        expected = 1 / (1 + np.exp(3.63 - mm * (slope + 0.70 * site["ruggedness"])))
        assert row.staley2017_m1_likelihood_15min == pytest.approx(expected, nan_ok=True)
        assert pd.isna(row.staley2017_m1_reason_15min) == (not np.isnan(expected))
    skill = read_skill(observed.results / "skill.json")
    (of_model,) = skill.models
    assert (skill.response, of_model.column) == ("response", "staley2017_m1_likelihood_15min")
    # Rows d and g have a response and no likelihood, for want of rain and of a catchment.
    assert (of_model.observations, of_model.events, of_model.sites) == (5, 2, 4)
    assert of_model.without_likelihood == 2
    assert sum(each.observations for each in of_model.calibration) == 5
    report = (observed.results / "report.html").read_text()
    section = report.partition('id="skill-title"')[2].partition("</section>")[0]
    assert f"<td>{of_model.roc_area.value:.3f}" in section


def test_shards_and_the_order_of_rows_change_no_observation(observed, workflow, tmp_path):
    fresh = TinyStudy(tmp_path / "fresh", workflow)
    ask(fresh)
    table = pd.read_csv(fresh.folder / "sites.csv")
    table[::-1].to_csv(fresh.folder / "sites.csv", index=False)
    fresh.config["shards"] = 2
    (fresh.folder / "study.yaml").write_text(yaml.safe_dump(fresh.config))
    run = fresh.run("results/tiny/skill.json", "results/tiny/dataset.csv")
    assert run.code == 0, run.text
    one, other = (
        pd.read_parquet(study.results / "dataset.parquet").drop(columns="row")
        for study in (observed, fresh)
    )
    pd.testing.assert_frame_equal(other[::-1].reset_index(drop=True), one, check_exact=True)
    skills = [read_skill(study.results / "skill.json") for study in (observed, fresh)]
    assert skills[0] == skills[1]
    of_csv = pd.read_csv(fresh.results / "dataset.csv")
    assert list(of_csv.drop(columns="row")) == list(one)
    assert of_csv["row"].tolist() == list(range(1, 9))


def test_a_missing_column_stops_the_run_before_any_site(study):
    study.config["observations"] = DECLARED
    study.write()
    run = study.run()
    assert run.code != 0
    assert run.jobs == {"prepare_sites": 1}
    assert "sites.csv: found no column 'i15'; expected one of 'site', 'x'" in run.text
    assert "Correct observations.rainfall[1].column." in run.text
    assert "Traceback" not in run.text


def test_sites_are_points_where_they_were_given(finished):
    sites = geopandas.read_parquet(finished.results / "sites.parquet")
    there = sites.to_crs("EPSG:32611").geometry
    assert abs(there.x - sites["x"]).max() < 0.002
    assert abs(there.y - sites["y"]).max() < 0.002
