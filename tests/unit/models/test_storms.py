"""A storm has one rainfall at each site, or the reason why it has none."""

from __future__ import annotations

import pyarrow as pa
import pytest
from studies import settings, study_models

from snakeshed.errors import SeveralProblems
from snakeshed.models.storms import Rainfall, Storm, rainfall_mm, site_rainfall

M1 = "staley2017_m1"
OWN = {"duration_min": 15, "column": "i15", "unit": "mm_per_h"}


def observations(**columns) -> pa.Table:
    return pa.table({"site_id": pa.array(columns.pop("site_id")), **columns})


def problem_of(*storms) -> str:
    with pytest.raises(SeveralProblems) as caught:
        study_models(M1, storms=list(storms))
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("unit", "expected"), [("mm", 8.0), ("mm_per_h", 4.0), ("in", 203.2), ("in_per_h", 101.6)]
)
def test_units(unit, expected):
    """8 of each within half an hour."""
    assert rainfall_mm(8.0, unit, 30) == pytest.approx(expected, abs=1e-12)


def test_an_intensity_is_the_same_everywhere():
    (storm,) = study_models(M1, storms=[{"duration_min": 15, "intensity_mm_per_h": 24}]).storms
    assert storm.name == "i15_24"
    assert site_rainfall(storm, None)["any"] == Rainfall(6.0)


def test_names_of_storms():
    storms = [
        {"duration_min": 30, "intensity_mm_per_h": 12.5},
        OWN,
        OWN | {"name": "gauge"},
    ]
    models = study_models(M1, storms=storms)
    assert [storm.name for storm in models.storms] == ["i30_12p5", "i15", "gauge"]
    assert models.need_observations()
    assert not study_models(M1).need_observations()


def test_a_column_of_the_site_table_has_one_value_for_a_site():
    rows = observations(
        site_id=["a", "a", "b", "b", "c", "d", "d", "e", "f"],
        i15=["24", "24.0", "24", "20", "", None, "40", "much", "-1"],
    )
    found = site_rainfall(Storm("i15", 15, column="i15", unit="mm_per_h"), rows)
    assert found["a"] == Rainfall(6.0)
    assert found["b"].mm is None
    assert found["b"].reason == "the rows of the site differ in i15: '20', '24'"
    assert found["c"].reason == "no i15 in the site table"
    # A gap differs from nothing.
    assert found["d"] == Rainfall(10.0)
    assert found["e"].reason == "i15 is no number: 'much'"
    assert found["f"].reason == "i15 is negative: -1"
    assert found["not there"].reason == "no row of the site table has its i15"


def test_numbers_of_any_type_of_column():
    for cells in ([3, None], [3.0, float("nan")]):
        rows = observations(site_id=["a", "b"], p=cells)
        found = site_rainfall(Storm("p", 15, column="p", unit="mm"), rows)
        assert found["a"] == Rainfall(3.0)
        assert found["b"].reason == "no p in the site table"


def test_a_column_that_was_renamed_in_the_observations_is_found():
    fields = [
        pa.field("site_id", pa.string()),
        pa.field(
            "input_row",
            pa.float64(),
            metadata={"description": "the column 'row' of the site table"},
        ),
        pa.field("row", pa.int64()),
    ]
    rows = pa.table([["a"], [5.0], [1]], schema=pa.schema(fields))
    assert site_rainfall(Storm("s", 15, column="row", unit="mm"), rows)["a"] == Rainfall(5.0)


@pytest.mark.parametrize(
    ("storm", "message"),
    [
        (
            {"duration_min": 15},
            "storms[1]: found neither intensity_mm_per_h nor column; expected the rainfall. Set "
            "intensity_mm_per_h, or column and unit for a rainfall of each site.",
        ),
        (
            OWN | {"intensity_mm_per_h": 24, "name": "a"},
            "storms[a]: found both intensity_mm_per_h and column; expected one of them. Remove one "
            "of the two.",
        ),
        (
            OWN | {"unit": None},
            "storms[1].unit: found no such key, but the column 'i15'; expected one of mm, "
            "mm_per_h, in, in_per_h. Set it to the unit of that column.",
        ),
        (
            {"duration_min": 15, "intensity_mm_per_h": 24, "unit": "mm"},
            "storms[1].unit: found mm, but no column; expected a unit only together with a column. "
            "Remove it: intensity_mm_per_h has its unit in its name.",
        ),
    ],
)
def test_contradictions(storm, message):
    assert problem_of(storm) == message


def test_two_storms_of_one_name():
    one = {"duration_min": 15, "intensity_mm_per_h": 24}
    assert problem_of(one, one) == (
        "storms[2]: found the name i15_24 again; expected every storm with its own name. Give it "
        "another name, or remove it."
    )


def test_numbers_out_of_range_are_refused_by_the_schema():
    for storm in ({"duration_min": 0}, {"duration_min": 15, "intensity_mm_per_h": -1}):
        with pytest.raises(SeveralProblems, match=r"storms\[1\].*at least"):
            settings(M1, storms=[storm])
    for level in (0, 1):
        with pytest.raises(SeveralProblems, match=r"likelihoods\[1\].*greater than 0 and less"):
            settings(M1, likelihoods=[level])
