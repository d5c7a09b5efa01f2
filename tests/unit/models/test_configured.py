"""A configured model takes its inputs from the features, or says why it cannot."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from studies import COLUMNS, ROW, SCHEMA, settings, study_models

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.models.configured import StudyModels, needed_columns
from snakeshed.models.contradictions import check_models
from snakeshed.models.declared import declared_models
from snakeshed.models.registry import published_models
from snakeshed.models.storms import Storm
from snakeshed.study.configuration import complete

ALL = tuple(
    name if name != "gartner2014_long_term" else {"name": name, "years_since_fire": 2}
    for name in published_models()
)
STORMS = [
    {"duration_min": 15, "intensity_mm_per_h": 24},
    {"duration_min": 60, "intensity_mm_per_h": 20},
]


def problems_of(*models, columns=COLUMNS, **sections) -> dict[str, str]:
    with pytest.raises(SeveralProblems) as caught:
        study_models(*models, columns=columns, **sections)
    assert all(isinstance(problem, ConfigurationError) for problem in caught.value.problems)
    found = {problem.where: str(problem) for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found


def only_problem_of(*models, **sections) -> str:
    (message,) = problems_of(*models, **sections).values()
    return message


class TestEvaluate:
    def test_inputs_are_scaled_columns(self):
        found = study_models("staley2017_m1").evaluate("staley2017_m1", ROW, 15, 6.0)
        assert found.inputs == {"terrain": 0.3, "fire": pytest.approx(0.35), "soil": 0.25}
        odds = -3.63 + (0.41 * 0.3 + 0.67 * 0.35 + 0.70 * 0.25) * 6
        assert found.likelihood == pytest.approx(1 / (1 + math.exp(-odds)))
        assert (found.reason, found.remark) == (None, None)

    def test_every_published_model_gives_a_value_for_a_plausible_catchment(self):
        combined = {
            "name": "cannon2010",
            "likelihood": "staley2017_m1",
            "volume": "gartner2014_emergency",
        }
        others = [each for each in ALL if each != "cannon2010"]
        models = study_models(*others, combined, storms=STORMS)
        assert set(models.models) == set(published_models())
        for name in models.models:
            for duration in models.durations_min(name):
                found = models.evaluate(name, ROW, duration, 8.0)
                assert (found.reason, found.remark) == (None, None), name
                given = published_models()[name].gives
                assert all(getattr(found, each) is not None for each in given), name

    def test_columns_and_scales_can_be_others(self):
        inputs = {
            "fire": {"column": "ruggedness", "scale": 0.5},
            "soil": "area_km2",
            "terrain": {"column": "terrain_m2"},
        }
        models = study_models({"name": "staley2017_m1", "inputs": inputs})
        found = models.evaluate("staley2017_m1", ROW, 15, 6.0)
        assert found.inputs == {"terrain": 0.2, "fire": 0.3, "soil": 1.5}

    def test_another_column_keeps_the_scale_of_the_input(self):
        models = study_models({"name": "staley2017_m1", "inputs": {"fire": "relief_m"}})
        found = models.evaluate("staley2017_m1", ROW, 15, 6.0)
        assert found.inputs["fire"] == pytest.approx(0.4)

    @pytest.mark.parametrize("gap", [None, math.nan])
    def test_a_missing_input_is_named_and_never_zero(self, gap):
        models = study_models("staley2017_m1")
        row = ROW | {"kf_mean": gap, "dnbr_mean": gap}
        found = models.evaluate("staley2017_m1", row, 15, 6.0)
        assert found.likelihood is None
        assert found.inputs == {"terrain": 0.3, "fire": None, "soil": None}
        assert found.reason == "missing input: fire (dnbr_mean), soil (kf_mean)"
        row |= {"reason": "kf: more than 20 % is missing"}
        found = models.evaluate("staley2017_m1", row, 15, 6.0)
        assert found.reason.endswith("soil (kf_mean); kf: more than 20 % is missing")

    def test_a_site_without_a_catchment_has_its_own_reason(self):
        models = study_models("staley2017_m1")
        row = dict.fromkeys(ROW) | {"status": "outside_dem", "reason": "5 km from the DEM"}
        found = models.evaluate("staley2017_m1", row, 15, 6.0)
        assert (found.likelihood, found.reason) == (None, "5 km from the DEM")
        assert set(found.inputs.values()) == {None}
        found = models.evaluate("staley2017_m1", row | {"reason": None}, 15, 6.0)
        assert found.reason == "outside_dem"

    def test_where_nothing_burned_no_volume_follows_from_the_formula(self):
        models = study_models("gartner2014_emergency")
        row = ROW | {"burn_moderate_high_km2": 0.0}
        found = models.evaluate("gartner2014_emergency", row, 15, 6.0)
        assert (found.volume_m3, found.volume_low_m3) == (None, None)
        assert found.reason == "the formula has no value where moderate_high_km2 is 0"
        assert found.inputs["moderate_high_km2"] == 0

    @pytest.mark.parametrize(
        ("changed", "remark"),
        [
            ({"kf_mean": 11.36}, "soil (kf_mean) is 11.36; expected 0 to 1"),
            ({"dnbr_mean": 350_000.0}, "fire (dnbr_mean) is 350; expected -0.5 to 1.5"),
            (
                {"dnbr_mean": 0.35},
                "fire (dnbr_mean) is 0.00035, next to 0: the catchment is unburned, or the scale "
                "of 0.001 is wrong",
            ),
        ],
    )
    def test_an_implausible_input_is_used_and_reported(self, changed, remark):
        models = study_models("staley2017_m1")
        found = models.evaluate("staley2017_m1", ROW | changed, 15, 6.0)
        assert found.likelihood is not None
        assert (found.remark, found.reason) == (remark, None)

    def test_no_burn_at_all_is_not_implausible(self):
        models = study_models("staley2017_m1")
        row = ROW | {"dnbr_mean": 0.0, "terrain_m1": 0.0}
        assert models.evaluate("staley2017_m1", row, 15, 6.0).remark is None

    def test_a_missing_rainfall_is_the_reason(self):
        models = study_models("staley2017_m1")
        assert models.evaluate("staley2017_m1", ROW, 15, None).reason == "no rainfall"
        found = models.evaluate("staley2017_m1", ROW | {"kf_mean": None}, 15, None, "no gauge")
        assert found.reason == "missing input: soil (kf_mean); no gauge"
        assert models.evaluate("staley2017_m1", ROW, 15, -1.0).reason == "the rainfall is -1 mm"
        nothing = models.evaluate("staley2017_m1", ROW, 15, math.nan)
        assert (nothing.likelihood, nothing.reason) == (None, "the rainfall is nan mm")

    def test_another_duration_is_a_mistake_of_the_caller(self):
        models = study_models("staley2017_m1")
        with pytest.raises(ValueError, match="staley2017_m1 takes no rainfall of 10 minutes"):
            models.evaluate("staley2017_m1", ROW, 10, 6.0)


class TestCombined:
    def test_it_combines_the_only_models_of_the_study(self):
        models = study_models("cannon2010", "gartner2014_emergency", "staley2017_m2")
        found = models.evaluate("cannon2010", ROW, 15, 6.0)
        likelihood = models.evaluate("staley2017_m2", ROW, 15, 6.0).likelihood
        volume = models.evaluate("gartner2014_emergency", ROW, 15, 6.0).volume_m3
        assert (found.likelihood, found.volume_m3) == (likelihood, volume)
        assert found.volume_low_m3 < volume < found.volume_high_m3
        # 2 + 2.
        assert 0.2 < likelihood < 0.4
        assert 1e3 < volume < 1e4
        assert (found.likelihood_class, found.volume_class, found.hazard_class) == (2, 2, 2)

    def test_bins_of_the_paper(self):
        models = study_models(
            {"name": "cannon2010", "bins": "paper"}, "gartner2014_emergency", "staley2017_m2"
        )
        found = models.evaluate("cannon2010", ROW, 15, 4.5)
        assert 0.2 < found.likelihood < 0.25
        assert (found.likelihood_class, found.volume_class, found.hazard_class) == (1, 2, 1)

    def test_what_one_of_both_lacks_is_named(self):
        models = study_models("cannon2010", "gartner2014_emergency", "staley2017_m1")
        row = ROW | {"burn_moderate_high_km2": 0.0}
        found = models.evaluate("cannon2010", row, 15, 6.0)
        assert found.likelihood_class == 2
        assert (found.volume_class, found.hazard_class) == (None, None)
        assert found.reason == "the formula has no value where moderate_high_km2 is 0"
        found = models.evaluate("cannon2010", row | {"kf_mean": None}, 15, 6.0)
        assert found.reason.startswith("missing input: soil (kf_mean); the formula has no value")

    def test_its_durations_are_those_that_both_take(self):
        long_term = {"name": "gartner2014_long_term", "years_since_fire": 1}
        models = study_models("cannon2010", long_term, "staley2017_m1", storms=STORMS)
        assert models.durations_min("cannon2010") == (60,)
        assert [(name, storm.duration_min) for name, storm in models.runs()] == [
            ("cannon2010", 60),
            ("gartner2014_long_term", 60),
            ("staley2017_m1", 15),
            ("staley2017_m1", 60),
        ]


class TestNeededColumns:
    def test_each_once_and_without_what_is_not_clear(self):
        models = ("staley2017_m1", "staley2017_m3", "gartner2014_emergency")
        burned = ["burn_share_moderate_high", "burn_moderate_high_km2"]
        whole = settings(*models)
        assert needed_columns(whole) == [
            "terrain_m1",
            "dnbr_mean",
            "kf_mean",
            "ruggedness",
            burned[0],
            "thickness_mean",
            burned[1],
            "relief_m",
        ]
        assert StudyModels.of(whole, COLUMNS).needed_columns() == needed_columns(whole)
        unclear = needed_columns(settings(*models, layers=()))
        assert unclear == [each for each in needed_columns(whole) if each not in burned]
        assert needed_columns(settings()) == []

    def test_a_study_without_models_needs_nothing(self):
        models = study_models(columns=())
        assert (models.runs(), models.threshold_runs(), models.input_keys()) == ([], [], [])
        assert not models.need_observations()


class TestContradictions:
    def test_a_column_that_is_not_computed_is_named_with_the_nearest(self):
        columns = [each for each in COLUMNS if each != "kf_mean"] + ["kffact_mean"]
        message = only_problem_of("staley2017_m1", columns=columns)
        assert message == (
            "models[staley2017_m1].inputs.soil: found no numeric column kf_mean; expected a column "
            "of features.parquet of this study with the mean erodibility factor KF of the soil. "
            "Did you mean kffact_mean? Compute it, or name the column that has it: "
            "inputs: {soil: ...}."
        )

    def test_an_input_that_the_model_does_not_take(self):
        message = only_problem_of({"name": "staley2017_m1", "inputs": {"soils": "kf_mean"}})
        assert message == (
            "models[staley2017_m1].inputs.soils: found an unknown input; expected one of terrain, "
            "fire, soil. Did you mean soil? Correct it, or remove it; `snakeshed models` lists "
            "them."
        )
        combined = {"name": "cannon2010", "inputs": {"soil": "kf_mean"}}
        message = only_problem_of(combined, "staley2017_m1", "gartner2014_emergency")
        assert "expected no inputs, since this model has none. Correct it" in message

    @pytest.mark.parametrize(
        ("layers", "found"),
        [((), "no layer"), (("soil_burn", "barc"), "2 layers (soil_burn, barc)")],
    )
    def test_a_severity_layer_that_is_not_the_only_one(self, layers, found):
        message = only_problem_of("gartner2014_emergency", layers=layers)
        assert message == (
            f"models[gartner2014_emergency].inputs.moderate_high_km2: found {found} of type "
            "severity; expected one such layer, or the column that holds the area burned at "
            "moderate or high severity. Keep one layer of type severity, or name the column: "
            "inputs: {moderate_high_km2: ...}."
        )
        named = {"name": "gartner2014_emergency", "inputs": {"moderate_high_km2": "area_km2"}}
        assert study_models(named, layers=layers).runs()

    def test_a_terrain_term_needs_the_severity_layer_that_it_is_computed_from(self):
        columns = [each for each in COLUMNS if each != "terrain_m1"]
        message = only_problem_of("staley2017_m1", columns=columns, layers=())
        assert message.startswith(
            "models[staley2017_m1].inputs.terrain: found no layer of type severity; expected one "
            "such layer, or the column that holds the share of the catchment burned at moderate"
        )
        # One that the study computes in another way needs none.
        assert study_models("staley2017_m1", layers=()).runs()

    def test_a_setting_without_which_the_model_has_no_value(self):
        message = only_problem_of("gartner2014_long_term", storms=STORMS[1:])
        assert message == (
            "models[gartner2014_long_term].years_since_fire: found no such key; expected the time "
            "since the most recent fire, years. Set it: the model has no value without it."
        )

    def test_a_model_twice(self):
        message = only_problem_of("staley2017_m1", "staley2017_m1")
        assert message.startswith("models[staley2017_m1].name: found 2 models of this name")
        assert message.endswith("expected every model once. Remove all but one.")

    def test_a_model_without_a_storm(self):
        long_term = {"name": "gartner2014_long_term", "years_since_fire": 1}
        assert only_problem_of(long_term) == (
            "storms: found no storm for gartner2014_long_term among those of 15 minutes; expected "
            "one of 60 minutes. Add one, or remove the model."
        )

    def test_a_storm_without_a_model(self):
        storms = [*STORMS, {"duration_min": 10, "intensity_mm_per_h": 30}]
        assert only_problem_of("staley2017_m1", storms=storms) == (
            "storms[i10_30].duration_min: found 10, which no model of this study takes; expected "
            "one of 15, 30, 60 minutes. Correct it, or remove the storm."
        )

    @pytest.mark.parametrize(
        ("models", "key", "message"),
        [
            (
                ("staley2017_m1",),
                "volume",
                "found no volume model in this study; expected a volume model to combine. Add one "
                "under models; `snakeshed models` lists them.",
            ),
            (
                ("gartner2014_emergency",),
                "likelihood",
                "found no likelihood model in this study; expected a likelihood model to combine. "
                "Add one under models; `snakeshed models` lists them.",
            ),
            (
                ("staley2017_m1", "swb", "gartner2014_emergency"),
                "likelihood",
                "found no such key, but 2 likelihood models: staley2017_m1, swb; expected the one "
                "to combine. Name it.",
            ),
        ],
    )
    def test_nothing_to_combine_or_no_choice(self, models, key, message):
        assert only_problem_of("cannon2010", *models) == f"models[cannon2010].{key}: {message}"

    def test_a_choice_that_is_no_such_model_of_the_study(self):
        combined = {"name": "cannon2010", "likelihood": "staley2017_m2"}
        assert only_problem_of(combined, "staley2017_m1", "gartner2014_emergency") == (
            "models[cannon2010].likelihood: found staley2017_m2, which is no likelihood model of "
            "this study; expected one of staley2017_m1. Did you mean staley2017_m1? Correct it, "
            "or add that model."
        )
        combined = {"name": "cannon2010", "volume": "staley2017_m1"}
        message = only_problem_of(combined, "staley2017_m1")
        assert "expected a volume model under models. Correct it" in message

    def test_models_to_combine_without_a_common_duration_or_storm(self):
        long_term = {"name": "gartner2014_long_term", "years_since_fire": 1}
        message = only_problem_of("cannon2010", "swa", long_term, storms=STORMS)
        assert message == (
            "models[cannon2010]: found swa for 15 minutes and gartner2014_long_term for 60 "
            "minutes; expected a likelihood and a volume for the same duration. Name other models "
            "in likelihood or volume."
        )
        # What a part lacks is said once.
        storms = [{"duration_min": 30, "intensity_mm_per_h": 24}]
        message = only_problem_of("cannon2010", "staley2017_m1", long_term, storms=storms)
        assert message.startswith("storms: found no storm for gartner2014_long_term among those")

    def test_storms_for_each_of_two_models_but_not_for_both(self):
        """No published volume takes several durations; one that does may have none in common."""
        whole = settings("cannon2010", "staley2017_m1", "gartner2014_emergency", storms=STORMS)
        models = declared_models(whole)
        volume = replace(models[2].model, durations_min=(15, 10))
        models[2] = replace(models[2], model=volume)
        storms = [Storm("a", 60, 1.0), Storm("b", 10, 1.0)]
        (problem,) = check_models(whole, models, storms, COLUMNS)
        assert str(problem) == (
            "storms: found no storm for cannon2010 among those of 10, 60 minutes; expected one of "
            "15 minutes. Add one, or name other models in likelihood or volume."
        )

    def test_keys_of_another_model(self):
        with pytest.raises(SeveralProblems) as caught:
            settings({"name": "staley2017_m1", "bins": "usgs", "years_since_fire": 1})
        assert [str(each) for each in caught.value.problems] == [
            "mine.yaml: models[staley2017_m1].bins: found this key on the model staley2017_m1; "
            "expected it on cannon2010 only. Remove it.",
            "mine.yaml: models[staley2017_m1].years_since_fire: found this key on the model "
            "staley2017_m1; expected it on gartner2014_long_term only. Remove it.",
        ]

    def test_all_problems_are_reported_at_once(self):
        found = problems_of("staley2017_m1", "gartner2014_emergency", columns=(), layers=())
        assert list(found) == [
            "models[staley2017_m1].inputs.terrain",
            "models[staley2017_m1].inputs.fire",
            "models[staley2017_m1].inputs.soil",
            "models[gartner2014_emergency].inputs.moderate_high_km2",
            "models[gartner2014_emergency].inputs.relief_m",
        ]


class TestCompleted:
    def joint(self, *models: str, joint=(), severity=("burn",)) -> list:
        layers = [
            {"name": name, "path": "a.tif", "type": "severity", "coding": "barc4"}
            for name in severity
        ]
        raw = {
            "study": "mine",
            "sites": {"path": "a.csv", "columns": {"x": "x", "y": "y"}, "crs": "EPSG:4326"},
            "dem": {"path": "dem.tif"},
            "features": {"joint": list(joint)},
            "layers": layers,
            "models": [{"name": name} for name in models],
        }
        once = complete(raw, SCHEMA, "mine.yaml")
        assert complete(once, SCHEMA, "mine.yaml") == once
        return once["features"]["joint"]

    def test_terrain_terms_that_models_take_are_computed(self):
        assert self.joint("staley2017_m1", "staley2017_m3", "staley2017_m4") == [
            "terrain_m1",
            "terrain_m4",
        ]
        assert self.joint("staley2017_m3", "swb") == []
        own = {"name": "terrain_m1", "layer": "burn", "classes": ["high"], "slope_min_deg": 23}
        (only,) = self.joint("staley2017_m1", joint=[own])
        assert only["classes"] == ["high"]
        assert self.joint("staley2017_m1", joint=["terrain_m1"]) == ["terrain_m1"]
        # Of which layer they would be is not clear; the models say so.
        assert self.joint("staley2017_m1", severity=()) == []
        assert self.joint("staley2017_m1", severity=("a", "b")) == []

    def test_numbers_of_models_have_one_form(self):
        one = settings({"name": "staley2017_m1", "inputs": {"soil": {"column": "kf_mean"}}})
        (entry,) = one["models"]
        assert entry == {
            "name": "staley2017_m1",
            "inputs": {"soil": {"column": "kf_mean", "scale": None}},
        }
        scaled = {"name": "staley2017_m1", "inputs": {"soil": {"column": "kf_mean", "scale": 1}}}
        (entry,) = settings(scaled)["models"]
        assert isinstance(entry["inputs"]["soil"]["scale"], float)

    def test_unknown_keys_and_values_of_inputs_are_named(self):
        for own, where in (({"colum": "kf_mean"}, "soil.colum"), (3, "soil"), ({}, "soil.column")):
            with pytest.raises(SeveralProblems) as caught:
                settings({"name": "staley2017_m1", "inputs": {"soil": own}})
            places = [each.where for each in caught.value.problems]
            assert f"mine.yaml: models[staley2017_m1].inputs.{where}" in places


def test_the_schema_names_the_published_models_and_their_settings():
    keys = SCHEMA["properties"]["models"]["items"]["properties"]
    assert sorted(keys["name"]["enum"]) == sorted(published_models())
    for model in published_models().values():
        for each in model.inputs:
            if each.setting is not None:
                assert model.name in keys[each.setting]["only_for"]


def test_what_every_start_reads_imports_nothing_heavy():
    code = (
        "import snakeshed.models.configured, snakeshed.models.registry, sys; "
        "snakeshed.models.registry.published_models(); print(*sys.modules)"
    )
    scripts = Path(__file__).parents[3] / "scripts"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(scripts)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "snakeshed.models.published.staley2017" in loaded
    assert not {"numpy", "pandas", "pyarrow", "scipy"}.intersection(loaded)
