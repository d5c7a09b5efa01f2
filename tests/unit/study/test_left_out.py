"""A study goes without inputs that it describes, and without what needs them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.features.columns import numeric
from snakeshed.features.layers import declared_columns
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.study.compared import check_compared
from snakeshed.study.configuration import complete
from snakeshed.study.left_out import (
    as_run,
    has_terrain,
    left_out,
    refuse_terrain,
)

SCHEMA = Path(__file__).parents[3] / "config/schema/study.schema.yaml"


def study(*without: str, **sections) -> dict:
    """Return a study with burn severity, dNBR, soil, and models."""
    return complete(
        {
            "study": "mine",
            "without": list(without),
            "sites": {"path": "s.csv", "crs": "EPSG:4326", "columns": {"x": "x", "y": "y"}},
            "dem": {"path": "dem.tif"},
            "layers": [
                {"name": "burn", "path": "burn.tif", "type": "severity"},
                {"name": "dnbr", "path": "dnbr.tif", "type": "numeric"},
                {"name": "kf", "path": "kf.tif", "type": "numeric"},
                {"name": "kf_usgs", "path": "kf_usgs.tif", "type": "numeric"},
            ],
            "features": {
                "joint": [
                    {
                        "name": "steep_burn",
                        "layer": "burn",
                        "classes": ["high"],
                        "slope_min_deg": 30,
                    },
                    {"name": "steep_kf", "layer": "kf", "range": [0.3, None], "slope_min_deg": 30},
                ]
            },
            "models": [
                {"name": "staley2017_m1"},
                {"name": "staley2017_m3", "inputs": {"soil": "kf_usgs_mean"}},
                {"name": "gartner2014_emergency"},
                {"name": "gartner2014_long_term", "years_since_fire": 1},
                {
                    "name": "cannon2010",
                    "likelihood": "staley2017_m3",
                    "volume": "gartner2014_emergency",
                },
            ],
            "storms": [
                {"duration_min": 15, "intensity_mm_per_h": 24},
                {"duration_min": 60, "intensity_mm_per_h": 12},
            ],
            "compare": [
                {"column": "KF", "feature": "kf_mean"},
                {"column": "KF", "feature": "kf_min", "relation": "at_least"},
                {"column": "area", "feature": "area_km2"},
                {"column": "PropHM23", "feature": "steep_burn"},
            ],
        }
        | sections,
        SCHEMA,
        "mine.yaml",
    )


def test_a_study_with_all_that_it_describes_stays_as_it_is():
    whole = study()
    before = copy.deepcopy(whole)
    assert as_run(whole) == whole == before
    assert left_out(whole) is None
    assert has_terrain(whole)


def test_a_layer_goes_with_all_that_needs_it():
    whole = study("kf")
    before = copy.deepcopy(whole)
    run = as_run(whole)
    assert whole == before
    assert [layer["name"] for layer in run["layers"]] == ["burn", "dnbr", "kf_usgs"]
    assert left_out(whole) == {
        "inputs": ["kf"],
        "tables": [],
        "joint_features": ["steep_kf"],
        "models": ["staley2017_m1"],
        "comparisons": ["KF with kf_mean", "KF with kf_min"],
        "fits": [],
        "words": "Left out, as `without` says: kf; with them: joint features steep_kf; models "
        "staley2017_m1; comparisons of KF with kf_mean, KF with kf_min.",
    }


def test_a_combined_model_goes_with_either_of_its_parts():
    assert left_out(study("kf_usgs"))["models"] == ["staley2017_m3", "cannon2010"]
    burn = left_out(study("burn"))
    del burn["words"]
    assert burn == {
        "inputs": ["burn"],
        "tables": [],
        "joint_features": ["steep_burn", "terrain_m1"],
        "models": [
            "staley2017_m1",
            "staley2017_m3",
            "gartner2014_emergency",
            "gartner2014_long_term",
            "cannon2010",
        ],
        "comparisons": ["PropHM23 with steep_burn"],
        "fits": [],
    }


@pytest.mark.parametrize("without", [["kf"], ["kf_usgs"], ["kf", "kf_usgs"], ["burn"], ["dem"]])
def test_what_is_left_makes_sense_as_a_study(without):
    run = as_run(study(*without))
    StudyModels.of(hazard_settings(run), _columns(run))
    check_compared(run["compare"], declared_columns(run["features"], run["layers"]))
    assert as_run(run) == run


def _columns(run) -> set[str]:
    return set(numeric(declared_columns(run["features"], run["layers"])))


def test_a_storm_that_only_a_lost_model_takes_goes_too():
    whole = study("kf", models=[{"name": "staley2017_m1"}, {"name": "gartner2014_emergency"}])
    run = as_run(whole)
    assert [each["name"] for each in run["models"]] == ["gartner2014_emergency"]
    assert [storm["duration_min"] for storm in run["storms"]] == [15]
    StudyModels.of(hazard_settings(run), _columns(run))


def test_without_the_dem_there_is_nothing_on_terrain():
    whole = study("dem")
    run = as_run(whole)
    assert not has_terrain(run)
    assert run["layers"] == run["models"] == run["compare"] == run["features"]["joint"] == []
    text = left_out(whole)["words"]
    assert text.startswith(
        "Left out, as `without` says: dem, burn, dnbr, kf, kf_usgs; with them: the tables "
        "catchments, features; joint features steep_burn, steep_kf, terrain_m1; models "
    )
    with pytest.raises(ConfigurationError) as error:
        refuse_terrain(["results/mine/observations.parquet", "results/mine/rejected.csv"])
    assert str(error.value) == (
        "without: found dem, and a target that needs catchments; expected a target that needs only "
        "the site table: results/mine/observations.parquet, results/mine/rejected.csv. Ask for one "
        "of these, or remove dem from `without` and give the DEM."
    )


def test_a_typing_error_in_a_model_is_not_taken_for_something_left_out():
    whole = study("kf", models=[{"name": "staley2017_m1", "inputs": {"soil": "kv_mean"}}])
    assert [each["name"] for each in as_run(whole)["models"]] == ["staley2017_m1"]


def test_an_unknown_name_is_refused():
    with pytest.raises(SeveralProblems) as error:
        study("kf", "brun")
    (problem,) = error.value.problems
    assert str(problem) == (
        "mine.yaml: without[1]: found no layer brun; expected an input of this study: dem, burn, "
        "dnbr, kf, kf_usgs. Did you mean burn? Correct the name, or remove it."
    )


def test_the_table_of_a_fuel_layer_that_is_left_out_need_not_be_there():
    fuel = {"name": "fuel", "path": "fuel.tif", "type": "fbfm40", "table": "nowhere.csv"}
    assert as_run(study("fuel", layers=[fuel], models=[], features={}, compare=[]))


def fitted(*without: str, columns: list[str]) -> dict:
    """Return what is left of refits and classifiers, with these columns to learn from."""
    whole = study(
        *without,
        observations={
            "rainfall": [{"duration_min": 15, "column": "Acc015_mm", "unit": "mm"}],
            "response": {"column": "Response"},
            "refits": [
                {"model": "staley2017_m1", "duration_min": 15},
                {
                    "model": "staley2017_m3",
                    "duration_min": 15,
                    "inputs": {"terrain": "Ruggedness", "fire": "PropHM", "soil": "Thickness"},
                },
            ],
            "classifiers": {"columns": columns},
        },
    )
    return as_run(whole)["observations"] | {"left_out": (left_out(whole) or {}).get("fits")}


def test_what_is_fitted_to_columns_of_the_site_table_needs_neither_layers_nor_the_dem():
    for without in (["dem"], ["kf"]):
        run = fitted(*without, columns=["KF", "PropHM23"])
        assert [each["model"] for each in run["refits"]] == ["staley2017_m3"]
        assert run["classifiers"]["columns"] == ["KF", "PropHM23"]
        assert run["left_out"] == ["staley2017_m1 for 15 min"]


@pytest.mark.parametrize(
    ("without", "column"), [("kf", "kf_mean"), ("burn", "steep_burn"), ("dem", "relief_m")]
)
def test_classifiers_go_with_any_of_their_columns(without, column):
    run = fitted(without, columns=["KF", column])
    assert run["classifiers"] is None
    assert run["left_out"][-1] == "classifiers"
    assert fitted(columns=["KF", column])["classifiers"] is not None
