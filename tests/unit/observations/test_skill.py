"""Skill of models: intervals from whole sites, nothing invented where a class is missing."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from snakeshed.errors import ResultError
from snakeshed.observations.resampling import RESAMPLES, interval, resamples
from snakeshed.observations.scores import Ranked
from snakeshed.observations.skill import Scored, read_skill, skill, write_skill
from snakeshed.result_files import result_file


def made(count: int, per_site: int, seed: int = 1) -> tuple[list[str], list[bool], list[float]]:
    """Observations whose likelihood and outcome are those of their site."""
    dice = random.Random(seed)
    sites, events, likelihoods = [], [], []
    for site in range(count):
        event, likelihood = dice.random() < 0.4, dice.random()
        likelihood = round(min(likelihood + 0.2 * event, 1.0), 3)
        sites += [f"s{site}"] * per_site
        events += [event] * per_site
        likelihoods += [likelihood] * per_site
    return sites, events, likelihoods


def skill_of(sites, events, likelihoods):
    scored = Scored("m1", 15, "m1_likelihood_15min", likelihoods)
    (found,) = skill("Response", sites, events, [scored]).models
    return found


MEASURES = ("threat_score_best", "threat_score_half", "roc_area", "brier_score")


def test_intervals_hold_the_value_and_rest_on_all_resamples():
    found = skill_of(*made(80, 1))
    assert found.resamples == RESAMPLES
    assert (found.observations, found.sites, found.without_likelihood) == (80, 80, 0)
    for name in MEASURES:
        estimate = getattr(found, name)
        assert estimate.low < estimate.value < estimate.high, name
    assert found.reason is None


def test_rows_of_one_site_stay_together():
    """Four equal rows for each site say no more than one: neither values nor intervals change."""
    one, four = skill_of(*made(60, 1)), skill_of(*made(60, 4))
    assert four.observations == 4 * one.observations
    for name in MEASURES:
        assert getattr(one, name) == getattr(four, name), name


def test_a_resample_is_of_whole_sites():
    sites = ["b", "a", "b", "c", "a", "b"]
    for counts in list(resamples(sites))[:50]:
        of_site = {site: set(counts[[s == site for s in sites]].tolist()) for site in "abc"}
        assert all(len(each) == 1 for each in of_site.values())
        assert sum(next(iter(each)) for each in of_site.values()) == 3


def test_the_order_of_observations_changes_no_bit():
    rows = list(zip(*made(50, 2), strict=True))
    shuffled = random.Random(2).sample(rows, len(rows))
    assert skill_of(*zip(*shuffled, strict=True)) == skill_of(*zip(*rows, strict=True))


def test_intervals_agree_with_the_textbook_for_independent_observations():
    """The standard error of the mean squared difference is known without any bootstrap."""
    sites, events, likelihoods = made(400, 1)
    found = skill_of(sites, events, likelihoods).brier_score
    squares = (np.array(likelihoods) - np.array(events)) ** 2
    error = squares.std() / np.sqrt(len(squares))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_of_1000_resamples_25_are_left_out_on_either_side():
    values = [float(k) for k in random.Random(3).sample(range(1, 1001), 1000)]
    assert interval(values) == (25.0, 976.0)
    assert interval([2.0, 1.0]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("events", "likelihoods", "reason"),
    [
        ([None, None], [0.1, 0.9], "no observation has a known response"),
        ([1, 0], [None, None], "no observation with a known response has a likelihood"),
        ([0, 0], [0.1, 0.9], "no observation with a likelihood is one with a debris flow"),
        ([1, 1], [0.1, 0.9], "no observation with a likelihood is one without a debris flow"),
        ([1, 0], [0.1, None], "no observation with a likelihood is one without a debris flow"),
        ([], [], "no observation has a known response"),
    ],
)
def test_without_both_kinds_there_is_a_reason_and_no_number(events, likelihoods, reason, tmp_path):
    found = skill_of(["a", "b"][: len(events)], events, likelihoods)
    assert found.reason == reason
    assert all(getattr(found, name) is None for name in (*MEASURES, "threshold_best"))
    assert found.roc == found.calibration == ()
    counted = [event for event, p in zip(events, likelihoods, strict=True) if p is not None]
    assert found.observations == len([event for event in counted if event is not None])


def test_what_is_not_known_is_left_out_and_counted():
    sites, events, likelihoods = made(30, 1)
    whole = skill_of(sites, events, likelihoods)
    more = skill_of(
        [*sites, "x", "y", "z"], [*events, None, True, None], [*likelihoods, 0.9, None, None]
    )
    assert more.without_likelihood == 1
    assert (more.observations, more.events) == (30, whole.events)
    assert more.roc_area == whole.roc_area


def test_a_single_site_has_no_interval():
    found = skill_of(["a", "a"], [True, False], [0.9, 0.1])
    assert found.roc_area.value == 1.0
    assert (found.roc_area.low, found.roc_area.high, found.resamples) == (None, None, 0)


def test_resamples_of_one_kind_count_in_no_interval():
    found = skill_of(["a", "b"], [True, False], [0.9, 0.1])
    assert 0.4 * RESAMPLES < found.resamples < 0.6 * RESAMPLES
    assert (found.roc_area.low, found.roc_area.high) == (1.0, 1.0)


def test_what_is_written_is_read(tmp_path):
    sites, events, likelihoods = made(20, 2)
    scored = [Scored("m1", 15, "a", likelihoods), Scored("m1", 30, "b", [None] * len(sites))]
    found = skill("Response", sites, events, scored)
    write_skill(found, tmp_path / "skill.json")
    assert read_skill(tmp_path / "skill.json") == found
    said = json.loads((tmp_path / "skill.json").read_text())
    assert said["models"][0]["roc_area"]["value"] == Ranked(likelihoods, events).measures().roc_area
    assert said["models"][1]["roc_area"] is None


@pytest.mark.parametrize("text", ["[]", "{}", '{"models": [{}]}', "no JSON", '{"models": 3}'])
def test_a_file_of_another_form_is_named(tmp_path, text):
    with result_file(tmp_path / "skill.json") as part:
        part.write_text(text)
    with pytest.raises(ResultError) as caught:
        read_skill(tmp_path / "skill.json")
    assert f"{tmp_path / 'skill.json'}: found a file of another form (" in str(caught.value)
    assert "Delete it and run the same command again" in str(caught.value)
