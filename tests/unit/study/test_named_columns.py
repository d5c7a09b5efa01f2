"""Columns of the site table that sections other than sites name, by the key that names them."""

from __future__ import annotations

from snakeshed.study.named_columns import named_columns

GAUGE = {"name": "gauge", "column": "i15"}


def test_comparisons_and_storms_name_columns():
    study = {
        "compare": [{"column": "relief"}, {"column": "area"}],
        "models": [{"name": "swb"}],
        "storms": [{"name": None, "column": None}, {"name": None, "column": "i30"}, GAUGE],
    }
    assert named_columns(study) == {
        "compare[0].column": "relief",
        "compare[1].column": "area",
        "storms[2].column": "i30",
        "storms[gauge].column": "i15",
    }


def test_storms_without_models_need_no_column():
    assert named_columns({"compare": [], "models": [], "storms": [GAUGE]}) == {}
