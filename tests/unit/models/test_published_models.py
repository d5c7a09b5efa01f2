"""Models give the numbers that others published, and behave as their formulas do."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.models.combined import CombinedModel
from snakeshed.models.logistic import LogisticModel, logistic
from snakeshed.models.registry import published_models
from snakeshed.models.volume import VolumeModel

MODELS = published_models()
M1 = MODELS["staley2017_m1"]
EMERGENCY = MODELS["gartner2014_emergency"]
LONG_TERM = MODELS["gartner2014_long_term"]
CANNON = MODELS["cannon2010"]
LOGISTIC = [model for model in MODELS.values() if isinstance(model, LogisticModel)]
VOLUMES = [model for model in MODELS.values() if isinstance(model, VolumeModel)]

# Of a catchment of a published assessment, without steep slopes and without relief.
EXAMPLE = {"terrain": 0.0, "fire": 0.2125, "soil": 0.2}
EXAMPLE_VOLUME = {"moderate_high_km2": 0.0004, "relief_m": 0.0}

shares = st.floats(0.01, 1.0)
rainfalls = st.floats(0.1, 60.0)


def inputs_of(model, values):
    """Give every input of a model one of the values, in turn, inside its plausible range."""
    return {
        each.key: each.plausible[0] + value * (each.plausible[1] - each.plausible[0])
        for each, value in zip(model.inputs, values, strict=False)
    }


@pytest.mark.parametrize(
    ("intensity", "likelihood", "volume"),
    [(16, 0.075823, 19.3626), (20, 0.098135, 23.2772), (24, 0.126116, 27.4934)],
)
def test_the_worked_example_comes_out(intensity, likelihood, volume):
    rainfall = intensity / 4
    assert M1.values(EXAMPLE, 15, rainfall)["likelihood"] == pytest.approx(likelihood, abs=5e-7)
    found = EMERGENCY.values(EXAMPLE_VOLUME, 15, rainfall)
    assert found["volume_m3"] == pytest.approx(volume, abs=5e-5)


def test_the_worked_threshold_comes_out():
    assert M1.threshold(EXAMPLE, 15, 0.5).rainfall_mm == pytest.approx(12.855, abs=5e-4)


def test_coefficients_are_those_of_the_table_in_the_paper():
    """At one millimeter of rain, an input of one adds its own coefficient to the log-odds."""
    published = """
        m1 -3.63 -3.61 -3.21  0.41 0.26 0.17  0.67 0.39 0.20  0.70 0.50 0.22
        m2 -3.62 -3.61 -3.22  0.64 0.42 0.27  0.65 0.38 0.19  0.68 0.49 0.22
        m3 -3.71 -3.79 -3.46  0.32 0.21 0.14  0.33 0.19 0.10  0.47 0.36 0.18
        m4 -3.60 -3.64 -3.30  0.51 0.33 0.20  0.82 0.46 0.24  0.27 0.26 0.13
    """
    none = {"terrain": 0.0, "fire": 0.0, "soil": 0.0}
    for line in published.strip().splitlines():
        name, *numbers = line.split()
        model = MODELS[f"staley2017_{name}"]
        for place, duration in enumerate((15, 30, 60)):
            of_duration = [float(each) for each in numbers[place::3]]
            found = [log_odds(model, none, duration)]
            found += [log_odds(model, none | {key: 1.0}, duration) - found[0] for key in none]
            assert found == pytest.approx(of_duration, abs=1e-12)


def log_odds(model, inputs, duration):
    likelihood = model.values(inputs, duration, 1.0)["likelihood"]
    return math.log(likelihood / (1 - likelihood))


def test_the_long_term_volume_follows_its_equation():
    inputs = {"burned_km2": 2.0, "years_since_fire": 3.0, "area_km2": 5.0, "relief_m": 400.0}
    # i60 = 20 mm/h: 6.07 + 2.12697 + 0.15249 - 0.26367 + 0.78863 + 0.6 = 9.47442
    found = LONG_TERM.values(inputs, 60, 20.0)
    assert math.log(found["volume_m3"]) == pytest.approx(9.47442, abs=1e-5)
    # 1.96 residual standard errors of 1.25 on both sides.
    assert math.log(found["volume_high_m3"]) == pytest.approx(9.47442 + 2.45, abs=1e-4)
    assert math.log(found["volume_low_m3"]) == pytest.approx(9.47442 - 2.45, abs=1e-4)


@pytest.mark.parametrize("model", LOGISTIC, ids=lambda model: model.name)
@given(values=st.tuples(shares, shares, shares), rainfall=rainfalls, more=st.floats(0.1, 20.0))
def test_more_rain_is_more_likely_and_a_likelihood_has_one_rainfall(model, values, rainfall, more):
    inputs = inputs_of(model, values)
    if inputs.get("fire", 0.0) < 0:
        return  # A negative dNBR makes rain less of a threat.
    for duration in model.durations_min:
        likelihood = model.values(inputs, duration, rainfall)["likelihood"]
        more_likely = model.values(inputs, duration, rainfall + more)["likelihood"]
        assert 0 < likelihood <= more_likely <= 1
        # Next to 1, doubles are too far apart to tell likelihoods apart.
        if likelihood < 0.999:
            assert likelihood < more_likely
            back = model.threshold(inputs, duration, likelihood).rainfall_mm
            assert back == pytest.approx(rainfall, rel=1e-6)


@pytest.mark.parametrize("model", VOLUMES, ids=lambda model: model.name)
@given(
    values=st.tuples(shares, shares, shares, shares), rainfall=rainfalls, more=st.floats(0.1, 20.0)
)
def test_more_rain_is_more_volume_within_an_interval(model, values, rainfall, more):
    inputs = inputs_of(model, values)
    (duration,) = model.durations_min
    found = model.values(inputs, duration, rainfall)
    assert 0 < found["volume_low_m3"] < found["volume_m3"] < found["volume_high_m3"]
    assert found["volume_m3"] < model.values(inputs, duration, rainfall + more)["volume_m3"]


def test_what_no_rainfall_reaches_has_a_reason():
    unburned = {"terrain": 0.0, "fire": -0.3, "soil": 0.1}
    found = M1.threshold(unburned, 15, 0.5)
    assert (found.rainfall_mm, found.reason) == (None, "the likelihood does not rise with rainfall")
    # 1 / (1 + exp(3.63)) is 0.0258.
    found = M1.threshold(EXAMPLE, 15, 0.02)
    assert (found.rainfall_mm, found.reason) == (
        None,
        "the likelihood is 0.0258 without any rainfall",
    )
    level = M1.values(EXAMPLE, 15, 0.0)["likelihood"]
    assert M1.threshold(EXAMPLE, 15, level).rainfall_mm == pytest.approx(0.0, abs=1e-9)
    tiny = {"terrain": 0.0, "fire": 1e-320, "soil": 0.0}
    assert M1.threshold(tiny, 15, 0.5).rainfall_mm is None


@given(st.floats(-1e300, 1e300))
def test_any_log_odds_have_a_likelihood(log_odds):
    assert 0 <= logistic(log_odds) <= 1
    assert logistic(log_odds) + logistic(-log_odds) == pytest.approx(1)


def test_a_volume_that_is_no_number_has_a_reason():
    inputs = {"moderate_high_km2": 1.0, "relief_m": 1e9}
    assert EMERGENCY.values(inputs, 15, 6.0) == {"reason": "the formula gives no finite volume"}
    inputs = {"burned_km2": 2.0, "years_since_fire": 3.0, "area_km2": 5.0, "relief_m": 400.0}
    assert LONG_TERM.values(inputs, 60, 0.0) == {
        "reason": "the formula takes the logarithm of the rainfall, which is 0"
    }


@pytest.mark.parametrize(
    ("bins", "likelihood", "expected"),
    [
        ("usgs", 0.0, 1),
        ("usgs", 0.2, 1),
        ("usgs", 0.2000001, 2),
        ("usgs", 0.5, 3),
        ("usgs", 0.8, 4),
        ("usgs", 0.81, 5),
        ("usgs", 1.0, 5),
        ("paper", 0.25, 1),
        ("paper", 0.26, 2),
        ("paper", 0.51, 3),
        ("paper", 0.75, 3),
        ("paper", 0.76, 4),
    ],
)
def test_a_likelihood_has_the_score_of_its_bin(bins, likelihood, expected):
    assert CANNON.classes(bins, likelihood, None) == {"likelihood_class": expected}


@pytest.mark.parametrize(
    ("volume", "expected"), [(0.1, 1), (1e3, 1), (1001, 2), (1e4, 2), (1e5, 3), (100_001, 4)]
)
def test_a_volume_has_the_score_of_its_bin(volume, expected):
    assert CANNON.classes("usgs", None, volume) == {"volume_class": expected}


@pytest.mark.parametrize(
    ("likelihood", "volume", "expected"),
    # Sums of 2, 3, 4, 6, 7, and 9.
    [(0.1, 10, 1), (0.3, 10, 1), (0.5, 10, 2), (0.9, 500, 2), (0.9, 5e3, 3), (0.9, 1e6, 3)],
)
def test_the_hazard_class_follows_the_sum_of_both(likelihood, volume, expected):
    assert CANNON.classes("usgs", likelihood, volume)["hazard_class"] == expected


def test_every_model_says_where_it_is_from_and_what_it_takes():
    for name, model in MODELS.items():
        assert model.name == name
        assert re.fullmatch(r"10\.\d{4}/\S+", model.paper.doi), name
        assert model.title
        assert len(model.formula) > 40
        assert (not model.durations_min) == isinstance(model, CombinedModel)
        keys = [each.key for each in model.inputs]
        assert len(keys) == len(set(keys)), name
        for each in model.inputs:
            assert (each.column is None) != (each.setting is None), (name, each.key)
            assert each.description
            assert each.plausible[0] < each.plausible[1], (name, each.key)


def test_in_the_models_of_the_southwest_moderate_severity_counts_twice():
    """Half of the catchment burned at low, half at moderate severity, on a slope of 30 degrees."""
    swa, swb = MODELS["swa"], MODELS["swb"]
    inputs = {"slope_deg": 30.0, "low_share": 0.5, "moderate_high_share": 0.5}
    found = swa.threshold(inputs, 15, 0.5).rainfall_mm
    assert found == pytest.approx(4.64726 / (0.00625791 * 30 + 0.0839502 * 1.5))
    found = swb.threshold({"slope_deg": 30.0, "fire": 0.4}, 15, 0.5).rainfall_mm
    assert found == pytest.approx(4.42988 / (0.00735652 * 30 + 0.201282 * 0.4))
