"""What a person is told first of hazards: the largest likelihood, and what is missing."""

from __future__ import annotations

import pytest
from models.studies import ROW, features, study_models

from snakeshed.models.hazard import hazard_table
from snakeshed.report.hazard_summary import hazard_line, summarise_hazards
from snakeshed.report.summary import summary_text

STORMS = [
    {"duration_min": 15, "intensity_mm_per_h": 24},
    {"duration_min": 15, "intensity_mm_per_h": 40},
    {"name": "own", "duration_min": 15, "column": "rain", "unit": "mm"},
]
MODELS = ("staley2017_m1", "gartner2014_emergency", "cannon2010")
DESIGN = ("i15_24", "i15_40")
FAILED = {"status": "on_nodata", "reason": "no data here"}


def summary_of(*rows, storms=DESIGN, models=MODELS):
    import pyarrow as pa

    ids = [row["site_id"] for row in rows]
    rain = pa.table({"site_id": ids, "rain": ["500"] * len(ids)})
    table = hazard_table(features(*rows), study_models(*models, storms=STORMS), rain)
    return table.to_pylist(), summarise_hazards(table, models, storms)


def test_the_highest_likelihood_is_that_of_a_design_storm():
    rows, found = summary_of(
        {"site_id": "a"}, {"site_id": "b", "terrain_m1": 0.9}, {"site_id": "c"}
    )
    own = [row["likelihood"] for row in rows if row["storm"] in DESIGN and row["likelihood"]]
    assert found["highest_likelihood"] == {
        "value": max(own),
        "site_id": "b",
        "model": "staley2017_m1",
        "storm": "i15_40",
    }
    # The rainfall of the site table, which may not be passed on, gives more.
    assert max(row["likelihood"] or 0 for row in rows) > max(own)


def test_a_site_is_counted_once_and_a_failed_one_not_at_all():
    _, found = summary_of(
        {"site_id": "a", "kf_mean": None},
        {"site_id": "b", "kf_mean": None, "burn_moderate_high_km2": None},
        {"site_id": "c"},
        ROW | FAILED | {"site_id": "z"},
    )
    assert found["sites_without_value"] == 2
    soil = "missing input: soil (kf_mean)"
    burned = "missing input: moderate_high_km2 (burn_moderate_high_km2)"
    assert found["reasons"] == {soil: 2, burned: 1, f"{soil}; {burned}": 1}
    line = hazard_line(found)
    assert "a value is missing at 2 delineated sites (missing input: soil (kf_mean);" in line
    assert "and 1 more reason)." in line
    assert "no data here" not in line


def test_implausible_inputs_are_counted_by_site():
    sites = ({"site_id": "a", "kf_mean": 11.0}, {"site_id": "b"}, {"site_id": "c", "kf_mean": 9.0})
    _, found = summary_of(*sites)
    assert found["sites_with_remark"] == 2
    assert hazard_line(found).endswith("; implausible inputs at 2 sites.")


def test_the_line_by_hand():
    _, found = summary_of({"site_id": "a"})
    value = found["highest_likelihood"]["value"]
    assert hazard_line(found) == (
        f"Hazards: 3 models; highest likelihood {value:.2f} (site a, staley2017_m1) for i15_40."
    )
    found["highest_likelihood"]["confidence"] = "low"
    assert "(site a, whose outlet has low confidence, staley2017_m1)" in hazard_line(found)
    found["highest_likelihood"]["confidence"] = "medium"
    assert "confidence" not in hazard_line(found)
    _, found = summary_of({"site_id": "a"}, models=("gartner2014_emergency",))
    assert hazard_line(found) == "Hazards: 1 model."


@pytest.mark.parametrize("storms", [(), ("i15_24",)])
def test_nothing_of_a_storm_of_the_site_table_is_in_the_summary(storms):
    _, found = summary_of({"site_id": "a"}, storms=storms)
    assert "own" not in str(found)
    assert (found["highest_likelihood"] is None) == (not storms)


def test_no_site_has_a_value():
    _, found = summary_of(ROW | FAILED)
    assert found["highest_likelihood"] is None
    assert hazard_line(found) == "Hazards: 3 models."


def test_the_end_of_a_run_names_the_tables_of_hazards_only_if_there_are_any():
    _, found = summary_of({"site_id": "a"})
    summary = {
        "study": "mine",
        "sites": 1,
        "status": {"ok": 1},
        "not_delineated": {},
        "area_ratio_median": None,
        "layers": {},
        "unknown_codes": {},
        **dict.fromkeys(("confidence", "needs_larger_window", "pool_at_rim")),
        **dict.fromkeys(("rows_rejected", "rows_with_remarks"), 0),
        **dict.fromkeys(("assumptions", "warnings"), ()),
    }
    text = summary_text(summary | {"hazards": found}, "results/mine")
    assert "\nHazards: 3 models; highest likelihood " in text
    for name in ("hazard.parquet", "thresholds.parquet"):
        assert f"  results/mine/{name}" in text
    assert "azard" not in summary_text(summary, "results/mine")
