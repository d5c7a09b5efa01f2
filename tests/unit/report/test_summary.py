"""What a person is told of a finished study."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from snakeshed.features.layer_types.classes import ClassLayer
from snakeshed.features.layer_types.fbfm40 import FuelLayer
from snakeshed.features.layer_types.numeric import NumericLayer
from snakeshed.features.layer_types.points import PointLayer
from snakeshed.features.layer_types.polygons import PolygonLayer
from snakeshed.report.summary import Finished, summarise, summary_text, write_summary

NO_ROWS = pd.DataFrame({"row": [], "action": []})
DONE = {
    "site_id": "a",
    "status": "ok",
    "area_ratio": 1.1,
    "confidence": "high",
    "snap_distance_m": 12.5,
    "touches_edge": False,
    "touches_nodata": True,
    "needs_larger_window": False,
    "pool_at_rim": False,
    "deep_pit": False,
    "open_water": False,
    "patch_level": 1,
}
FAILED = dict.fromkeys(DONE) | {"site_id": "z", "status": "on_nodata"}


def finished(*sites: dict, features: list[dict] = (), rejected=NO_ROWS, **told) -> Finished:
    types = {"area_ratio": "float64", "snap_distance_m": "float64", "patch_level": "Int64"}
    types |= dict.fromkeys(("touches_edge", "touches_nodata", "pool_at_rim"), "boolean")
    types |= dict.fromkeys(("deep_pit", "open_water"), "boolean")
    catchments = pd.DataFrame(sites, columns=list(DONE)).astype(types)
    catchments["needs_larger_window"] = catchments["needs_larger_window"].astype("boolean")
    rows = list(features) or [
        {"site_id": site["site_id"], "status": site["status"]} for site in sites
    ]
    return Finished(catchments, pd.DataFrame(rows), rejected, **told)


def test_sites_of_another_area_are_named_and_count_for_no_figure_but_the_warning():
    refused = [
        DONE | {"site_id": f"r{k}", "status": "area_mismatch", "area_ratio": 0.39 + k / 100}
        for k in range(6)
    ]
    refused = [site | {"area_ratio": site["area_ratio"] / 100} for site in refused]
    done = summarise("mine", finished(DONE, FAILED, *refused), area_unit="km2")
    assert done["status"] == {"ok": 1, "on_nodata": 1, "area_mismatch": 6}
    assert done["not_delineated"] == {"on_nodata": ["z"]}
    assert done["area_mismatch"] == ["r0", "r1", "r2", "r3", "r4", "r5"]
    assert (done["area_ratio_median"], done["confidence"]) == (1.1, {"high": 1})
    assert len(done["warnings"]) == 1
    assert "are the areas in acre?" in done["warnings"][0]
    text = summary_text(done, "results/mine")
    assert (
        "Without features, since the area is beyond snap.max_area_mismatch: r0, r1, r2, r3, r4, r5."
    ) in text


@pytest.mark.parametrize(
    ("ratio", "share"), [(0.9, 1.0), (0.8999, 0.0), (0.363 / 0.33, 1.0), (1.1001, 0.0)]
)
def test_within_10_percent_is_from_0_9_to_1_1(ratio, share):
    assert summarise("a", finished(DONE | {"area_ratio": ratio}))["area_within_10_percent"] == share


def test_a_summary_by_hand():
    rejected = pd.DataFrame({"row": [1, 2, 3], "action": ["rejected", "kept", "rejected"]})
    done = finished(
        DONE | {"open_water": True},
        DONE
        | {"site_id": "b", "area_ratio": 0.8, "confidence": "low", "snap_distance_m": 20.0}
        | {"deep_pit": True, "open_water": True},
        DONE | {"site_id": "c", "area_ratio": 1.01, "pool_at_rim": True, "patch_level": 0},
        DONE
        | {"site_id": "d", "area_ratio": None, "confidence": "unrated"}
        | {"needs_larger_window": True, "touches_edge": True},
        FAILED | {"site_id": "y"},
        FAILED,
        rejected=rejected,
        warnings=["sites.csv: odd"],
        assumptions=["metres"],
    )
    assert summarise("mine", done) == {
        "study": "mine",
        "sites": 6,
        "status": {"ok": 4, "on_nodata": 2},
        "not_delineated": {"on_nodata": ["y", "z"]},
        "area_mismatch": [],
        "rows_rejected": 2,
        "rows_with_remarks": 1,
        "warnings": ["sites.csv: odd"],
        "assumptions": ["metres"],
        "confidence": {"high": 2, "low": 1, "unrated": 1},
        "area_ratio_median": 1.01,
        "area_within_10_percent": 0.6667,
        "compared": [],
        "snap_distance_median_m": 12.5,
        "touches_edge": 1,
        "touches_nodata": 4,
        "needs_larger_window": ["d"],
        "pool_at_rim": ["c"],
        "deep_pit": ["b"],
        "open_water": ["a", "b"],
        "patch_level": {"0": 1, "1": 3},
        "layers": {},
        "unknown_codes": {},
    }


def test_what_the_crs_distorts_is_a_warning():
    summary = summarise("mine", finished(DONE, distortion="EPSG:3857 shows areas 1.5 times"))
    assert summary["warnings"] == ["EPSG:3857 shows areas 1.5 times"]
    assert "Warning: EPSG:3857 shows areas 1.5 times" in summary_text(summary, "results/mine")


@pytest.mark.parametrize("sites", [[], [FAILED]])
def test_a_summary_of_nothing_delineated(sites):
    summary = summarise("mine", finished(*sites, features=[FAILED]))
    assert summary["area_ratio_median"] is None
    assert summary["area_within_10_percent"] is None
    assert summary["snap_distance_median_m"] is None
    assert summary["needs_larger_window"] == summary["warnings"] == []
    text = summary_text(summary, "results/mine")
    assert text.startswith(f"Study mine: {len(sites)} sites, 0 delineated; not delineated: ")
    assert "Area against" not in text


LAYERS = [
    NumericLayer("kf", "kf.tif", ()),
    ClassLayer("burn", "burn.tif", {1: "low"}),
    FuelLayer("fuel", "fuel.tif", "fbfm40.csv"),
]


def layer_rows() -> list[dict]:
    nothing = {"kf_coverage": 0.0, "burn_codes": None, "fuel_unmapped_codes": None}
    rows = [
        {"kf_coverage": 1.0, "burn_codes": "1=0.5;7=0.5", "fuel_unmapped_codes": "-9"},
        {"kf_coverage": 0.25, "burn_codes": "7=1", "fuel_unmapped_codes": "-9;999"},
        nothing,
    ]
    same = {"status": "ok", "burn_coverage": 1.0, "fuel_coverage": 1.0}
    rows = [{"site_id": f"s{k}"} | same | row for k, row in enumerate(rows)]
    return [*rows, nothing | {"site_id": "z", "status": "on_nodata"}]


def test_layers_that_miss_sites_and_codes_that_nobody_declared():
    sites = [DONE | {"site_id": f"s{k}"} for k in range(3)]
    summary = summarise("mine", finished(*sites, FAILED, features=layer_rows()), LAYERS)
    whole = {"sites_without_data": 0, "sites_covered_in_part": 0}
    assert summary["layers"] == {
        # A site without a catchment is no gap of a layer.
        "kf": {"sites_without_data": 1, "sites_covered_in_part": 1},
        "burn": whole,
        "fuel": whole,
    }
    assert summary["unknown_codes"] == {"burn": {"7": 2}, "fuel": {"-9": 2, "999": 1}}
    lines = summary_text(summary, "results/mine").splitlines()
    assert "Layer kf: no data for 1 sites, data for a part of 1 sites' catchments." in lines
    assert "Layer burn has codes that are not declared: 7 (2 sites)." in lines
    assert "Layer fuel has codes that are not declared: -9 (2 sites), 999 (1 sites)." in lines
    assert not any("Layer burn:" in line for line in lines)


def test_layers_whose_values_are_never_missing_have_no_gaps():
    layers = [PointLayer("basins", "a.gpkg"), PolygonLayer("fire", "b.gpkg", None)]
    row = {"site_id": "s0", "status": "ok", "basins_count": 0.0, "fire_share": 0.0}
    summary = summarise("mine", finished(DONE | {"site_id": "s0"}, features=[row]), layers)
    assert summary["layers"] == {}


def warnings_of(ratios: list[float], unit: str) -> list[str]:
    sites = [DONE | {"site_id": f"s{k}", "area_ratio": ratio} for k, ratio in enumerate(ratios)]
    return summarise("mine", finished(*sites), area_unit=unit)["warnings"]


@pytest.mark.parametrize(
    ("ratio", "unit", "meant"),
    [
        (1 / 247.1, "km2", "acre"),
        (1 / 90, "km2", "ha"),
        (1 / 500, "km2", "acre"),  # the outlets are too small as well
        (1 / 4e5, "km2", "m2"),
        (247.1, "acre", "km2"),
        (1e6, "m2", "km2"),
        (640.0, "acre", "mi2"),
    ],
)
def test_areas_in_another_unit_than_the_configured_one(ratio, unit, meant):
    (told,) = warnings_of([0.9 * ratio, ratio, ratio, ratio, 1.1 * ratio, 1.0], unit)
    assert told.startswith(
        f"half of the catchments are {'smaller' if ratio < 1 else 'larger'} than"
    )
    assert told.endswith(
        f"times the reported area with sites.area_unit {unit}: are the areas in {meant}? "
        "Then set that unit, and run again."
    )


def test_areas_that_are_off_by_no_unit():
    (told,) = warnings_of([0.1] * 6, "km2")
    assert told.endswith("check sites.area_unit, and whether the coordinates fit their CRS.")
    assert warnings_of([0.3] * 6, "km2") == warnings_of([2.59] * 6, "km2") == []
    # Too few to judge.
    assert warnings_of([1 / 247] * 4, "km2") == []


def test_a_summary_is_plain_json(tmp_path):
    summary = summarise("mine", finished(DONE, FAILED))
    write_summary(summary, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_what_a_person_reads():
    many = [DONE | {"site_id": f"s{k:02}", "pool_at_rim": True} for k in range(10)]
    cut = DONE | {"site_id": "t", "needs_larger_window": True, "confidence": "low"}
    cut |= {"deep_pit": True, "open_water": True}
    rejected = pd.DataFrame({"row": [1, 2], "action": ["rejected", "kept"]})
    told = {"warnings": ["sites.csv: odd"], "assumptions": ["elevations in metres"]}
    done = finished(*many, cut, FAILED, rejected=rejected, **told)
    assert summary_text(summarise("mine", done), "results/mine").splitlines() == [
        "Study mine: 12 sites, 11 delineated; not delineated: 1 on_nodata (z).",
        "Area against reported area: median ratio 1.100, 100% within 10 %.",
        "Confidence: 10 high, 1 low.",
        "Cut by, or too large for, the top patch level: t.",
        "Water at the rim of the top patch level may reach: s00, s01, s02, s03, s04, s05, s06, s07 "
        "and 2 more.",
        "A cell of the catchment lies far below its outlet, a quarry or missing data: t.",
        "The outlet lies on open water: t.",
        "Rows of the site table rejected: 1, kept with a remark: 1; see results/mine/rejected.csv.",
        "Assumed: elevations in metres",
        "Warning: sites.csv: odd",
        "Open:",
        "  results/mine/report.html         map, table and figures, in a browser",
        "  results/mine/catchments.parquet  outlines, outlets and how sure they are",
        "  results/mine/features.parquet    one row of features per site",
        "  results/mine/dataset.parquet     one row per observation, with the features of its site",
        "  results/mine/summary.json        this summary",
    ]


def test_showing_a_summary_imports_nothing_heavy():
    code = "import snakeshed.report.summary, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "pandas", "numba", "pyarrow"} & set(loaded.stdout.split())


def test_what_a_recipe_does_not_know_of_a_site_counts_for_none():
    unknown = dict.fromkeys(("deep_pit", "open_water", "patch_level"))
    done = summarise("mine", finished(DONE | unknown, DONE | {"site_id": "b", "deep_pit": True}))
    assert (done["deep_pit"], done["open_water"]) == (["b"], [])
    assert done["patch_level"] == {"1": 1}
