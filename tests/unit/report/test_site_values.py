"""Values of sites in words, and the sentences that tell why."""

from __future__ import annotations

import pytest

from snakeshed.report.site_values import (
    KINDS,
    feature_groups,
    kind_in_words,
    kind_of,
    remarks,
    shown,
    snap_reach_m,
    why,
)

GOOD = {
    "status": "ok",
    "reason": None,
    "confidence": "high",
    "area_km2": 1.234,
    "area_low_km2": 1.234,
    "area_high_km2": 1.234,
    "stability": 1.0,
    "area_ratio": 1.02,
    "reported_area_km2": 1.21,
    "snap_cost": 0.02,
    "runner_up_cost": None,
    "runner_up_area_km2": None,
    "runner_up_distance_m": None,
    "touches_edge": False,
    "touches_nodata": False,
    "layer_gap": None,
}
RIVAL = {"runner_up_cost": 0.05, "runner_up_area_km2": 1.4, "runner_up_distance_m": 61.2}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {},
            [
                "The catchment has 1.23 km², 1.02 times the reported 1.21 km²: within 10 %.",
                "No other drainage line nearby is a plausible outlet.",
            ],
        ),
        (
            {"area_ratio": 0.7, "reported_area_km2": 1.76, "stability": 0.0, "area_high_km2": 1.4}
            | RIVAL,
            [
                "The catchment has 1.23 km², 0.70 times the reported 1.76 km²: within a factor of "
                "1.5.",
                "The runner-up, on another drainage line 61 m from the site with 1.40 km², costs "
                "not much more: 0.0500 against 0.0200.",
                "Plausible outlets nearby drain 1.23 to 1.40 km². The catchment of one of them has "
                "nothing in common with this one.",
            ],
        ),
        (
            {"area_ratio": 4.0, "touches_edge": True} | RIVAL | {"runner_up_cost": 1.0},
            [
                "The catchment has 1.23 km², 4.00 times the reported 1.21 km²: not within a factor "
                "of 1.5.",
                "The runner-up, on another drainage line 61 m from the site with 1.40 km², costs "
                "more: 1.00 against 0.0200.",
                "Touches the edge of the DEM: the area is a lower bound.",
            ],
        ),
        (
            {"area_ratio": 1.1, "stability": 0.714, "area_low_km2": 0.881},
            [
                "The catchment has 1.23 km², 1.10 times the reported 1.21 km²: within 10 %.",
                "No other drainage line nearby is a plausible outlet.",
                "Plausible outlets nearby drain 0.881 to 1.23 km². The catchment of one of them "
                "has 71 % in common with this one.",
            ],
        ),
        # With a recipe nothing is known of other outlets.
        (
            {"snap_cost": None, "stability": None, "area_low_km2": None, "touches_edge": True},
            [
                "The catchment has 1.23 km², 1.02 times the reported 1.21 km²: within 10 %.",
                "The outlet was found with the recipe of a paper, which compares no others.",
                "Touches the edge of the DEM: the area is a lower bound.",
            ],
        ),
        (
            {"area_ratio": None, "reported_area_km2": None},
            [
                "The catchment has 1.23 km². No area is reported that could confirm the outlet: it "
                "is the nearest cell that drains at least snap.min_area_km2.",
                "No other drainage line nearby is a plausible outlet.",
            ],
        ),
        (
            {"status": "area_mismatch", "area_ratio": 4.0, "reason": "the catchment is too large"},
            [
                "Delineated, but without features, and not to be used as it is.",
                "The catchment has 1.23 km², 4.00 times the reported 1.21 km²: not within a factor "
                "of 1.5.",
                "No other drainage line nearby is a plausible outlet.",
                "The catchment is too large.",
            ],
        ),
        (
            {"status": "on_nodata", "reason": "the DEM has no data within 100 m"},
            ["Not delineated, on nodata: the DEM has no data within 100 m."],
        ),
    ],
)
def test_why_a_site_is_what_it_is(changes, told):
    assert why(GOOD | changes) == told


def test_remarks_tell_what_limits_a_site():
    row = GOOD | {"touches_edge": True, "touches_nodata": None, "layer_gap": "kf;fuel"}
    assert remarks(row) == [
        "touches the edge of the DEM: the area is a lower bound",
        "no data of kf, fuel",
    ]


def test_a_site_is_shown_as_its_confidence_or_its_status():
    assert kind_of(GOOD) == "high"
    assert kind_of(GOOD | {"status": "area_mismatch"}) == "area_mismatch"
    assert kind_of(GOOD | {"status": "no_stream", "confidence": None}) == "no_stream"
    assert [kind_in_words(kind) for kind in ("low", "unrated", "outside_dem")] == [
        "low confidence",
        "unrated",
        "outside DEM",
    ]
    assert KINDS[:4] == ("high", "medium", "low", "unrated")
    assert "ok" not in KINDS


def test_coordinates_are_shown_with_more_digits():
    assert shown("outlet_lon", -84.211666671234) == -84.21166667
    assert shown("relief_m", 123.456789) == 123.46
    assert shown("touches_edge", None) is None


def test_columns_are_grouped_by_what_they_are_features_of():
    configuration = {
        "features": {
            "steep_degrees": [23],
            "percentiles": [50],
            "joint": ["terrain_m1", {"name": "kf_steep"}],
        },
        "layers": [{"name": "kf"}, {"name": "kf_new"}],
    }
    columns = ["site_id", "layer_gap", "relief_m", "slope_p50_deg", "terrain_m1", "kf_steep"]
    columns += ["kf_mean", "kf_new_mean"]
    assert feature_groups(configuration, columns) == {
        "Catchment": ["relief_m", "slope_p50_deg"],
        "Terrain and layers": ["terrain_m1", "kf_steep"],
        "Layer kf": ["kf_mean"],
        "Layer kf_new": ["kf_new_mean"],
    }


def test_an_outlet_may_be_as_far_as_the_rule_or_the_recipe_has_it():
    study = {"recipe": None, "snap": {"radius_m": 70.0}}
    assert snap_reach_m(study, [None, 12.0]) == 70
    recipe = study | {"recipe": "roten2022"}
    assert snap_reach_m(recipe, [None, 12.0]) == 200
    assert snap_reach_m(recipe, [350.2, None]) == 351
    assert snap_reach_m(recipe, []) == 200
