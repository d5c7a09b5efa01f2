"""What models give for observations: their own outcome for the site and the rain that fell."""

from __future__ import annotations

from pathlib import Path

import pytest

import dataset as dataset_rule
import skill as skill_rule
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.observations.columns import own_columns, result_column, scored_columns
from snakeshed.observations.dataset import measured
from snakeshed.observations.model_results import model_results
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.observations.skill import read_skill
from snakeshed.study.configuration import complete
from snakeshed.tables.geoparquet import read_arrow, read_descriptions, rows_of, write_table
from snakeshed.tables.schema import REAL, TEXT, WHOLE, table_of

SCHEMA = Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml"
DECLARED = {
    "rainfall": [
        {"duration_min": 15, "column": "i15", "unit": "mm_per_h"},
        {"duration_min": 20, "column": "i20", "unit": "mm_per_h"},
        {"duration_min": 60, "column": "r60", "unit": "mm"},
    ],
    "response": {"column": "Response"},
}
STUDY = complete(
    {
        "study": "mine",
        "sites": {"path": "a.csv", "columns": {"x": "x", "y": "y"}, "crs": "EPSG:4326"},
        "dem": {"path": "dem.tif"},
        "models": [
            {
                "name": "staley2017_m1",
                "inputs": {
                    "terrain": "steep",
                    "fire": {"column": "dnbr", "scale": 1},
                    "soil": "kf",
                },
            },
            {"name": "gartner2014_emergency", "inputs": {"moderate_high_km2": "burned_km2"}},
            {"name": "cannon2010"},
        ],
        "observations": DECLARED,
    },
    SCHEMA,
    "mine.yaml",
)
NUMBERS = ("steep", "dnbr", "kf", "burned_km2", "relief_m")
FEATURES = table_of(
    [
        # The worked values of a catchment without steep burned ground.
        {"site_id": "a", "status": "ok"}
        | dict(zip(NUMBERS, (0.0, 0.2125, 0.2, 0.0004, 0.0), strict=True)),
        {"site_id": "b", "status": "outside_dem", "reason": "no tile of the DEM"},
        {"site_id": "c", "status": "ok", "steep": 0.5, "dnbr": 0.4, "relief_m": 100.0},
    ],
    {
        "site_id": (TEXT, "Site."),
        "status": (TEXT, "Status."),
        "reason": (TEXT, "Reason."),
        **{name: (REAL, name) for name in NUMBERS},
    },
)
ROWS = [
    ("a", 16.0, 1),
    ("a", 20.0, 0),
    ("c", 24.0, 1),
    ("b", 24.0, 0),
    ("a", 24.0, 1),
    ("a", None, 0),
]
OBSERVATIONS = table_of(
    [
        {"site_id": site, "row": row, "i15": i15, "i20": 9.0, "r60": 12.0, "Response": response}
        for row, (site, i15, response) in enumerate(ROWS, 1)
    ],
    {
        "site_id": (TEXT, "Site."),
        "row": (WHOLE, "Row."),
        **dict.fromkeys(("i15", "i20", "r60"), (REAL, "as in the site table")),
        "Response": (WHOLE, "as in the site table"),
    },
)
RAINFALL = [RainfallColumn.of(each) for each in STUDY["observations"]["rainfall"]]
MODELS = StudyModels.of(hazard_settings(STUDY), NUMBERS)


@pytest.fixture(scope="module")
def results():
    own = measured(OBSERVATIONS, RAINFALL, None).table
    return model_results(OBSERVATIONS, FEATURES, own, RAINFALL, MODELS)


def test_worked_values(results):
    """Of the published models, for 16, 20, and 24 mm/h in 15 minutes."""
    p = results["staley2017_m1_likelihood_15min"].to_pylist()
    assert [p[row] for row in (0, 1, 4)] == pytest.approx([0.075823, 0.098135, 0.126116], abs=1e-6)
    v = results["gartner2014_emergency_volume_15min_m3"].to_pylist()
    assert [v[row] for row in (0, 1, 4)] == pytest.approx([19.3626, 23.2772, 27.4934], abs=1e-4)


def test_each_value_is_that_of_the_model_for_the_site_and_its_rain(results):
    features = {row["site_id"]: row for row in rows_of(FEATURES)}
    for row, (site, i15, _) in enumerate(ROWS):
        rain = {15: None if i15 is None else i15 / 4, 60: 12.0}
        for name, duration in (("staley2017_m1", 15), ("staley2017_m1", 60), ("cannon2010", 15)):
            outcome = MODELS.evaluate(name, features[site], duration, rain[duration])
            for result in (*MODELS.models[name].model.gives, "reason"):
                found = results[result_column(name, result, duration)][row].as_py()
                assert found == getattr(outcome, result), (row, name, result)


def test_what_is_missing_is_null_with_its_reason(results):
    p = results["staley2017_m1_likelihood_15min"].to_pylist()
    reasons = results["staley2017_m1_reason_15min"].to_pylist()
    assert [value is None for value in p] == [False, False, True, True, False, True]
    assert [reason is None for reason in reasons] == [True, True, False, False, True, False]
    assert "soil (kf)" in reasons[2]
    assert reasons[3].startswith("no tile of the DEM")
    assert reasons[5] == "no rainfall"


def test_a_model_has_columns_for_the_durations_that_it_takes():
    own = own_columns(STUDY["observations"], MODELS)
    table = measured(OBSERVATIONS, RAINFALL, None).table
    results = model_results(OBSERVATIONS, FEATURES, table, RAINFALL, MODELS)
    assert [*table.column_names, "debris_flow", *results.column_names] == own
    assert not [name for name in results.column_names if "20min" in name]
    assert "staley2017_m1_likelihood_60min" in own
    assert scored_columns(STUDY["observations"] | {"response": None}, MODELS) == []
    assert [tuple(each) for each in scored_columns(STUDY["observations"], MODELS)] == [
        ("staley2017_m1", 15, "staley2017_m1_likelihood_15min"),
        ("staley2017_m1", 60, "staley2017_m1_likelihood_60min"),
    ]


def test_the_rules_write_results_and_how_good_they_are(tmp_path):
    write_table(OBSERVATIONS, tmp_path / "observations.parquet")
    write_table(FEATURES, tmp_path / "features.parquet")
    dataset_rule.main(
        declared=STUDY["observations"],
        settings=hazard_settings(STUDY),
        observations=str(tmp_path / "observations.parquet"),
        features=str(tmp_path / "features.parquet"),
        table=str(tmp_path / "dataset.parquet"),
        log=str(tmp_path / "log"),
    )
    log = (tmp_path / "log").read_text()
    assert "no model takes rainfall_20min_mm" in log
    assert "no model takes rainfall_15min_mm" not in log
    described = read_descriptions(tmp_path / "dataset.parquet")
    text = described["gartner2014_emergency_volume_15min_m3"]
    assert "m3" in text
    assert "rainfall_15min_mm" in text
    assert "doi" in text
    skill_rule.main(
        response="Response",
        columns=scored_columns(STUDY["observations"], MODELS),
        dataset=str(tmp_path / "dataset.parquet"),
        output=str(tmp_path / "skill.json"),
        log=str(tmp_path / "log"),
    )
    found = read_skill(tmp_path / "skill.json")
    assert found.response == "Response"
    of_15, of_60 = found.models
    assert (of_15.observations, of_15.events, of_15.sites, of_15.without_likelihood) == (3, 2, 1, 3)
    # 0.076 and 0.126 with a debris flow, 0.098 without: of two pairs, one is in order.
    assert of_15.roc_area.value == 0.5
    assert of_15.threat_score_half.value == 0.0
    assert of_15.threat_score_best.value == pytest.approx(2 / 3)
    assert of_60.observations == 4
    p = read_arrow(tmp_path / "dataset.parquet", ["staley2017_m1_likelihood_60min"])
    assert len({value for value in p[0].to_pylist() if value is not None}) == 1
