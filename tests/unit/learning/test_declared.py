"""Refits and classifiers of a configuration: what they take, and what is contradictory."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakeshed.errors import SeveralProblems
from snakeshed.features.layers import declared_columns
from snakeshed.learning.declared import (
    check_learning,
    declared_refits,
    features_taken,
    learning_settings,
    refit_settings,
)
from snakeshed.models.logistic import LogisticModel
from snakeshed.models.registry import published_models
from snakeshed.study.configuration import complete
from snakeshed.study.yaml_file import load_schema

SCHEMA = load_schema(Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml")
M1 = {
    "model": "staley2017_m1",
    "duration_min": 15,
    "inputs": {"terrain": "PropHM23", "fire": "dNBR/1000", "soil": "KF"},
}
OBSERVATIONS = {
    "rainfall": [{"duration_min": 15, "column": "Acc015_mm", "unit": "mm"}],
    "response": {"column": "Response"},
}
ROCK = {"name": "rock", "path": "rock.gpkg", "type": "polygons", "attribute": "unit"}
SEVERITY = {"name": "burn", "path": "barc.tif", "type": "severity"}
LAYERS = [
    {"name": "dnbr", "path": "dnbr.tif", "type": "numeric"},
    {"name": "kf", "value": 0.2, "type": "numeric"},
]


def declared(layers=(), **observations):
    raw = {
        "study": "mine",
        "sites": {"path": "s.csv", "columns": {"x": "lon", "y": "lat"}, "crs": "EPSG:4326"},
        "dem": {"path": "dem.tif"},
        "layers": list(layers),
        "observations": OBSERVATIONS | observations,
    }
    study = complete(raw, SCHEMA, "mine.yaml")
    return study, declared_columns(study["features"], study["layers"])


def problems_of(layers=(), **observations) -> list[str]:
    study, columns = declared(layers, **observations)
    with pytest.raises(SeveralProblems) as caught:
        check_learning(learning_settings(study), columns)
    return list(map(str, caught.value.problems))


def test_the_schema_has_every_likelihood_model():
    logistic = {
        name for name, model in published_models().items() if isinstance(model, LogisticModel)
    }
    refits = SCHEMA["properties"]["observations"]["properties"]["refits"]
    assert set(refits["items"]["properties"]["model"]["enum"]) == logistic


def test_columns_of_the_site_table_need_no_feature():
    study, columns = declared(refits=[M1], classifiers={"columns": ["StormDur_H", "KF"]})
    settings = learning_settings(study)
    check_learning(settings, columns)
    assert features_taken(settings, columns) == []
    # As in a study without terrain.
    assert features_taken(settings, {}) == []
    (refit,) = declared_refits(settings, [])
    assert (refit.name, refit.duration_min, refit.training) == ("staley2017_m1_15min", 15, None)
    assert [each.column for each in refit.inputs] == ["PropHM23", "dNBR/1000", "KF"]
    assert refit.published.intercept == -3.63


def test_classifiers_do_not_change_what_a_refit_depends_on():
    study, _ = declared(refits=[M1])
    other, columns = declared(refits=[M1], classifiers={"columns": ["relief_m"]})
    assert refit_settings(study) == refit_settings(other)
    assert features_taken(refit_settings(other), columns) == []
    assert features_taken(learning_settings(other), columns) == ["relief_m"]


def test_the_factor_of_an_input_is_for_features_only():
    """The model divides a mean dNBR by 1000; a published column has done so already."""
    inputs = {"terrain": "PropHM23", "fire": "dNBR/1000", "soil": "kf_mean"}
    scaled = inputs | {"fire": {"column": "dNBR", "scale": 0.001}, "soil": "KF"}
    own = {"terrain": "PropHM23"}
    for layers, chosen, factors in (
        (LAYERS, inputs, [1, 1, 1]),
        (LAYERS, scaled, [1, 0.001, 1]),
        (LAYERS, own, [1, 0.001, 1]),
        ([], scaled | {"soil": {"column": "KF", "scale": 2}}, [1, 0.001, 2]),
    ):
        study, columns = declared(layers, refits=[M1 | {"inputs": chosen}])
        settings = learning_settings(study)
        check_learning(settings, columns)
        (refit,) = declared_refits(settings, features_taken(settings, columns))
        assert [each.scale for each in refit.inputs] == factors


def test_an_input_that_is_not_named_is_the_models_own_feature():
    study, columns = declared([*LAYERS, SEVERITY], refits=[M1 | {"inputs": {}}])
    settings = learning_settings(study)
    check_learning(settings, columns)
    # The term is computed since the refit takes it.
    assert features_taken(settings, columns) == ["dnbr_mean", "kf_mean", "terrain_m1"]


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        (
            {"refits": [M1], "classifiers": {"columns": ["KF"]}, "response": None},
            "observations.response: found no such key, but observations.refits and "
            "observations.classifiers; expected the column that says whether there was a debris "
            "flow. Set it, or remove observations.refits and observations.classifiers.",
        ),
        (
            {"refits": [M1 | {"duration_min": 20}]},
            "observations.refits[1].duration_min: found 20, which staley2017_m1 does not take; "
            "expected one of 15, 30, 60 minutes. Correct it.",
        ),
        (
            {"refits": [M1, M1 | {"duration_min": 60}]},
            "observations.refits[2].duration_min: found 60, but no rainfall of 60 minutes; "
            "expected the duration of a column under observations.rainfall. Add the column there, "
            "or correct the duration.",
        ),
        (
            {"refits": [M1, M1]},
            "observations.refits[2]: found staley2017_m1 for 15 minutes, as in "
            "observations.refits[1]; expected every model once for each duration. Remove one of "
            "the two, or correct its model or duration.",
        ),
        (
            {"refits": [M1 | {"inputs": M1["inputs"] | {"tterain": "x"}}]},
            "observations.refits[1].inputs.tterain: found an unknown input; expected one of "
            "terrain, fire, soil. Did you mean terrain? Correct it, or remove it; `snakeshed "
            "models` lists them.",
        ),
        (
            {"refits": [M1 | {"inputs": {"terrain": "PropHM23", "fire": "dNBR/1000"}}]},
            "observations.refits[1].inputs.soil: found no such key, and no numeric feature "
            "kf_mean; expected a feature of this study, or a column of the site table, with the "
            "mean erodibility factor KF of the soil. Name it: inputs: {soil: ...}.",
        ),
    ],
)
def test_contradictions_are_named(observations, said):
    assert problems_of(**observations) == [said]


def test_a_feature_of_text_is_no_column():
    _, columns = declared([ROCK], classifiers={"columns": ["KF"]})
    texts = [name for name, column in columns.items() if column.is_text]
    assert texts
    assert problems_of([ROCK], classifiers={"columns": ["KF", texts[0]]}) == [
        f"observations.classifiers.columns[2]: found the feature {texts[0]}, which is text; "
        "expected a numeric feature of this study, or a column of the site table of another name. "
        "Name another one; features.parquet describes each."
    ]


def test_the_response_is_no_column_to_learn_from():
    assert problems_of(classifiers={"columns": ["KF", "Response"]}) == [
        "observations.classifiers.columns[2]: found 'Response', which is the response; expected "
        "columns that are known before there is a debris flow. Remove it."
    ]


def test_a_severity_layer_that_is_not_there_is_named():
    refit = {"model": "staley2017_m3", "duration_min": 15, "inputs": {"soil": "Thick"}}
    (said,) = problems_of(refits=[refit])
    assert said.startswith(
        "observations.refits[1].inputs.fire: found no such key, and no numeric feature of a "
        "severity layer; "
    )
