"""Columns of the site table that sections other than sites name, by the key that names them."""

from __future__ import annotations

from snakeshed.study.named_columns import named_columns

GAUGE = {"name": "gauge", "column": "i15"}
NOTHING = {"rainfall": [], "response": None}


def test_comparisons_and_storms_name_columns():
    study = {
        "compare": [{"column": "relief"}, {"column": "area"}],
        "models": [{"name": "swb"}],
        "storms": [{"name": None, "column": None}, {"name": None, "column": "i30"}, GAUGE],
        "observations": NOTHING,
    }
    assert named_columns(study) == {
        "compare[0].column": "relief",
        "compare[1].column": "area",
        "storms[2].column": "i30",
        "storms[gauge].column": "i15",
    }


def test_storms_without_models_need_no_column():
    study = {"compare": [], "models": [], "storms": [GAUGE], "observations": NOTHING}
    assert named_columns(study) == {}


def test_observations_name_columns():
    study = {
        "compare": [],
        "models": [],
        "storms": [],
        "observations": {
            "rainfall": [{"column": "Acc015_mm"}, {"column": "Acc030_mm"}],
            "response": {"column": "Response"},
        },
    }
    assert named_columns(study) == {
        "observations.rainfall[1].column": "Acc015_mm",
        "observations.rainfall[2].column": "Acc030_mm",
        "observations.response.column": "Response",
    }
