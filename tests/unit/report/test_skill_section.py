"""The report's skill: the numbers of skill.json, curves that are what they are called."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from small_study import small_study

from snakeshed.observations.skill import Scored, skill
from snakeshed.report.line_charts import HEIGHT, LEFT, TOP, WIDTH
from snakeshed.report.skill_section import skill_section
from snakeshed.report.study_page import report


def observations(count: int = 200) -> tuple[list[str], list[bool], list[float]]:
    dice = random.Random(3)
    likelihoods = [dice.random() for _ in range(count)]
    events = [dice.random() < likelihood for likelihood in likelihoods]
    return [f"s{k // 2}" for k in range(count)], events, likelihoods


@pytest.fixture(scope="module")
def found():
    sites, events, likelihoods = observations()
    return skill(
        "Response <b>",
        sites,
        events,
        [
            Scored("m1", 15, "m1_15", likelihoods),
            Scored("m1", 30, "m1_30", [each**2 for each in likelihoods]),
            Scored("m2", 15, "m2_15", [None] * len(sites)),
        ],
    )


def corners(path: str) -> list[tuple[float, float]]:
    pairs = [map(float, pair.split()) for pair in path.removeprefix("M").split("L")]
    return [((right - LEFT) / WIDTH, (TOP + HEIGHT - down) / HEIGHT) for right, down in pairs]


def test_rows_have_the_measures_with_their_intervals(found):
    section = skill_section(found)
    for row, own in zip(section.rows, found.models, strict=True):
        assert (row.model, row.duration_min) == (own.model, own.duration_min)
        assert (row.observations, row.events) == (own.observations, own.events)
    first, measured = section.rows[0], found.models[0].roc_area
    assert first.roc_area == f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"
    assert section.level == "95 %"
    last = section.rows[-1]
    assert last.reason == "no observation with a known response has a likelihood"
    assert last.without_likelihood == 200
    assert [each.model for each in section.charts] == ["m1"]


def test_the_area_under_the_drawn_curve_is_the_roc_area(found):
    (charts,) = skill_section(found).charts
    assert [curve.label for curve in charts.roc.curves] == ["15 minutes", "30 minutes"]
    for curve, own in zip(charts.roc.curves, found.models, strict=False):
        drawn = corners(curve.line)
        assert drawn[0] == (0, 0)
        assert drawn[-1] == (1, 1)
        area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(drawn))
        assert area == pytest.approx(own.roc_area.value, abs=2e-3)
    # The second is the square of the first, which ranks alike.
    assert charts.roc.curves[0].line == charts.roc.curves[1].line


def test_dots_of_the_calibration_are_its_bins(found):
    (charts,) = skill_section(found).charts
    _, events, likelihoods = observations()
    own = [
        (likelihood, event)
        for likelihood, event in zip(likelihoods, events, strict=True)
        if 0.7 <= likelihood < 0.8
    ]
    mean = sum(likelihood for likelihood, _ in own) / len(own)
    share = sum(event for _, event in own) / len(own)
    right, down, told = charts.calibration.curves[0].marks[7]
    assert (right - LEFT) / WIDTH == pytest.approx(mean, abs=1e-3)
    assert (TOP + HEIGHT - down) / HEIGHT == pytest.approx(share, abs=1e-3)
    assert told == (
        f"15 minutes, likelihood 0.7 to 0.8: {len(own)} observations, mean {mean:.2f}, "
        f"share {share:.2f}"
    )


def test_of_one_site_there_are_measures_without_intervals():
    found = skill(
        "R", ["a"] * 4, [True, False, True, False], [Scored("m", 15, "c", [0.9, 0.1, 0.2, 0.8])]
    )
    (row,) = skill_section(found).rows
    assert row.roc_area == "0.750"


def test_the_page_has_a_section_only_with_observations(found, tmp_path):
    study = small_study(tmp_path, ["a", "b"])
    with study.terrain() as terrain:
        without = report(study.results, terrain, [("snakeshed", "1")])
        text = report(replace(study.results, skill=found), terrain, [("snakeshed", "1")])
    assert "skill" not in without.lower()
    section = text.partition('id="skill-title"')[2].partition("</section>")[0]
    assert "<code>Response &lt;b&gt;</code>" in section
    assert section.count("<tr><td") == 3
    assert section.count('<svg class="lines" viewBox="0 0 480 400"') == 2
    assert 'class="diagonal"' in section
