"""A comparison with what is not computed is found before anything runs."""

from __future__ import annotations

import pytest

from snakeshed.errors import SeveralProblems
from snakeshed.features.columns import Column
from snakeshed.study.compared import check_compared

COLUMNS = {
    name: Column(name, "", is_text)
    for name, is_text in (("relief_m", False), ("area_km2", False), ("fuel_dominant", True))
}


def test_numeric_features_can_be_compared():
    check_compared([{"feature": "relief_m"}, {"feature": "area_km2"}], COLUMNS)
    check_compared([], COLUMNS)


def test_others_are_named_with_the_nearest():
    declared = [{"feature": each} for each in ("relief", "relief_m", "fuel_dominant", "xyz")]
    with pytest.raises(SeveralProblems) as caught:
        check_compared(declared, COLUMNS)
    first, text, far = map(str, caught.value.problems)
    assert first == (
        "compare[0].feature: found no feature relief; expected a numeric column of "
        "features.parquet of this study. Did you mean relief_m? Correct the name, or compute it: "
        "features and layers say what is."
    )
    assert text.startswith("compare[2].feature: found the text fuel_dominant; expected a numeric")
    assert "Did you mean" not in far
