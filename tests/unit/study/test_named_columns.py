"""Columns of the site table that sections other than sites name, by the key that names them."""

from __future__ import annotations

from snakeshed.study.named_columns import named_columns

GAUGE = {"name": "gauge", "column": "i15"}
NOTHING = {"rainfall": [], "response": None, "refits": [], "classifiers": None}

NOTHING_ELSE = {
    "compare": [],
    "models": [],
    "storms": [],
    "layers": [],
    "observations": NOTHING,
}


def test_comparisons_and_storms_name_columns():
    study = {
        "compare": [{"column": "relief"}, {"column": "area"}],
        "models": [{"name": "swb"}],
        "storms": [{"name": None, "column": None}, {"name": None, "column": "i30"}, GAUGE],
        "layers": [],
        "observations": NOTHING,
    }
    assert named_columns(study) == {
        "compare[0].column": "relief",
        "compare[1].column": "area",
        "storms[2].column": "i30",
        "storms[gauge].column": "i15",
    }


def test_storms_without_models_need_no_column():
    study = NOTHING_ELSE | {"storms": [GAUGE]}
    assert named_columns(study) == {}


def test_observations_name_columns():
    study = NOTHING_ELSE | {
        "observations": NOTHING
        | {
            "rainfall": [{"column": "Acc015_mm"}, {"column": "Acc030_mm"}],
            "response": {"column": "Response"},
        },
    }
    assert named_columns(study) == {
        "observations.rainfall[1].column": "Acc015_mm",
        "observations.rainfall[2].column": "Acc030_mm",
        "observations.response.column": "Response",
    }


def test_refits_and_classifiers_name_columns_that_are_no_feature():
    refit = {
        "model": "staley2017_m1",
        "inputs": {"terrain": "PropHM23", "soil": {"column": "kf_mean", "scale": None}},
        "training": {"column": "Database", "values": ["Training"]},
    }
    classifiers = {"columns": ["KF", "ruggednes", "relief_m"], "split_by": "Fire_ID"}
    study = NOTHING_ELSE | {
        "observations": NOTHING | {"refits": [refit], "classifiers": classifiers}
    }
    neither = "which is no numeric feature of this study either"
    assert named_columns(study, ["kf_mean", "relief_m", "ruggedness"]) == {
        "observations.refits[1].training.column": "Database",
        "observations.classifiers.split_by": "Fire_ID",
        f"observations.refits[1].inputs.terrain, {neither}": "PropHM23",
        f"observations.classifiers.columns[1], {neither}": "KF",
        f"observations.classifiers.columns[2], {neither} (the feature ruggedness is)": "ruggednes",
    }
