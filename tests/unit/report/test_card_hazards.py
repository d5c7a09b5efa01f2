"""The hazards on a card: the same values as in the tables, from the site's own row."""

from __future__ import annotations

import io
import math
import re
from html import unescape

import pyarrow as pa
import pytest
from models.studies import ROW, features, study_models
from PIL import Image
from small_study import small_study, with_hazards

from snakeshed.models.hazard import hazard_table
from snakeshed.models.model import intensity_mm_per_h
from snakeshed.report.card import CardValues, card
from snakeshed.report.card_hazards import card_hazards
from snakeshed.report.line_charts import HEIGHT, LEFT, TOP, WIDTH
from snakeshed.report.site_values import plain_rows

MODELS = ("staley2017_m1", "gartner2014_emergency", "cannon2010")
STORMS = [
    {"duration_min": 15, "intensity_mm_per_h": 16},
    {"duration_min": 60, "intensity_mm_per_h": 10},
]
OWN = {"name": "own", "duration_min": 30, "column": "rain", "unit": "in"}


def points(path: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split())) for pair in path.removeprefix("M").split("L")]


def test_curves_are_the_published_formula():
    """Staley et al. (2017), Table 4: x = b + (0.41 T + 0.67 F + 0.70 S) R for 15 minutes."""
    models = study_models("staley2017_m1", storms=STORMS)
    (curves,) = card_hazards(models, ROW).curves
    chart = curves.chart
    assert [curve.label for curve in chart.curves] == ["15 minutes", "30 minutes", "60 minutes"]
    slope = 0.41 * 0.3 + 0.67 * 0.35 + 0.70 * 0.25
    drawn = points(chart.curves[0].line)
    assert len(drawn) > 50
    for right, down in drawn:
        intensity = (right - LEFT) / WIDTH * chart.x.high
        likelihood = (TOP + HEIGHT - down) / HEIGHT
        expected = 1 / (1 + math.exp(3.63 - slope * intensity / 4))
        assert likelihood == pytest.approx(expected, abs=2e-3)
    assert drawn == sorted(drawn, key=lambda point: (point[0], -point[1]))


def test_storms_are_marked_on_the_curve_of_their_duration():
    models = study_models("staley2017_m1", storms=STORMS)
    (curves,) = card_hazards(models, ROW).curves
    marks = [curve.marks for curve in curves.chart.curves]
    assert [len(each) for each in marks] == [1, 0, 1]
    ((right, _, text),) = marks[0]
    assert right == pytest.approx(LEFT + WIDTH * 16 / curves.chart.x.high, abs=0.06)
    assert text.startswith("i15_16, 16.0 mm/h: 0.")


def test_the_axis_reaches_beyond_every_storm():
    storms = [{"duration_min": 15, "intensity_mm_per_h": 200}]
    models = study_models("staley2017_m1", storms=storms)
    (curves,) = card_hazards(models, ROW).curves
    assert curves.chart.x.high == 250


def test_values_are_those_of_the_table():
    models = study_models(*MODELS, storms=STORMS)
    rows = card_hazards(models, ROW).storms
    table = hazard_table(features(ROW), models).to_pylist()
    assert [(each.model, each.storm) for each in rows] == [
        (each["model"], each["storm"]) for each in table
    ]
    for said, of_table in zip(rows, table, strict=True):
        if of_table["likelihood"] is None:
            assert said.likelihood == "–"
        else:
            assert float(said.likelihood) == pytest.approx(of_table["likelihood"], abs=0.005)
        assert said.hazard_class[:1] == str(of_table["hazard_class"] or "–")
    assert rows[0].rainfall == "16 mm/h within 15 minutes"


def test_a_rainfall_of_the_site_table_is_that_of_the_site():
    models = study_models("staley2017_m1", storms=[OWN])
    rain = pa.table({"site_id": ["a", "b"], "rain": ["0.5", "3"]})
    found = card_hazards(models, ROW, rain)
    (row,) = found.storms
    assert row.rainfall == "25.4 mm/h within 30 minutes"
    ((_, _, text),) = found.curves[0].chart.curves[1].marks
    assert text.startswith(f"own, {intensity_mm_per_h(12.7, 30):.1f} mm/h: ")


def test_a_missing_rainfall_or_input_has_a_dash_and_its_reason():
    models = study_models("staley2017_m1", storms=[OWN])
    nothing = pa.table({"site_id": ["a"], "rain": pa.array([None], pa.string())})
    found = card_hazards(models, ROW, nothing)
    (row,) = found.storms
    assert (row.likelihood, row.remark) == ("–", "no rain in the site table")
    # The curve needs no rainfall of the site.
    assert found.curves[0].chart.curves[1].line
    assert [curve.marks for curve in found.curves[0].chart.curves] == [(), (), ()]
    without = card_hazards(models, ROW | {"kf_mean": None}, nothing)
    assert without.curves[0].chart is None
    assert without.curves[0].reason == "missing input: soil (kf_mean)"


def test_implausible_inputs_are_remarked():
    models = study_models("staley2017_m1", storms=STORMS)
    remarks = [row.remark for row in card_hazards(models, ROW | {"kf_mean": 11.0}).storms]
    assert remarks == ["soil (kf_mean) is 11; expected 0 to 1"] * 2


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    names = ["a", "<script>alert('b')</script>", "c", "d", "e", "far", "dry"]
    return with_hazards(small_study(tmp_path_factory.mktemp("card"), names))


@pytest.mark.parametrize("name", ["a", "<script>alert('b')</script>", "far"])
def test_the_page_has_the_rows_and_curves(study, name):
    results = study.results
    catchment, of_site = (
        plain_rows(table[table["site_id"] == name])[0]
        for table in (results.catchments, results.features)
    )
    values = CardValues(catchment, of_site, results.descriptions, results.configuration)
    hazards = card_hazards(study.models(), of_site)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    text = card(values, picture.getvalue(), hazards=hazards)
    section = text.partition('id="hazards-title"')[2].partition("</section>")[0]
    assert section.count("<tr><td") == len(hazards.storms) == 7
    if name == "far":
        assert catchment["reason"] in unescape(section)
        assert "<circle" not in section
        assert 'class="n">0' not in section
    else:
        assert section.count("<circle") == 3
        assert len(re.findall(r'<path class="curve[^>]* d="M60 ', section)) == 3
    assert 'id="hazards-title"' not in card(values, picture.getvalue())
