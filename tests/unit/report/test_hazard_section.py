"""The report's hazards: all values of all sites, null as null, within the limits of the page."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from small_study import MODELS, small_study, with_hazards

from snakeshed.archive import write as archive
from snakeshed.models.storms import Storm
from snakeshed.report import study_page
from snakeshed.report.hazard_runs import HazardRun, ThresholdRun, hazard_runs
from snakeshed.report.hazard_scales import scales
from snakeshed.report.hazard_section import hazard_section
from snakeshed.report.hazard_words import class_text, likelihood_text, volume_text
from snakeshed.report.line_charts import HEIGHT, LEFT, TOP, WIDTH
from snakeshed.report.page import _FOLDER
from snakeshed.report.study_page import report
from snakeshed.report.threshold_charts import threshold_charts

NAMES = ["<script>alert(1)</script>", "quo\"te's & co", "c", "d", "e", "far", "dry"]
OWN = {"name": "own", "duration_min": 15, "column": "rain", "unit": "mm"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("hazards"), NAMES)


@pytest.fixture(scope="module")
def study(plain):
    return with_hazards(plain)


def page_of(study) -> str:
    with study.terrain() as terrain:
        return report(study.results, terrain, [("snakeshed", "1")])


@pytest.fixture(scope="module")
def text(study):
    return page_of(study)


def section_of(study, chosen=None, most_values=500_000):
    results = study.results
    ids = list(results.catchments["site_id"])
    chosen = range(len(ids)) if chosen is None else chosen
    return hazard_section(results.hazards, results.configuration, ids, list(chosen), most_values)


def data_of(text: str) -> dict:
    (found,) = re.findall(
        r'<script type="application/json" id="hazard-data">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


def test_values_are_those_of_the_table_and_null_is_null(study, text):
    data = data_of(text)
    table = study.results.hazards.hazard.to_pandas()
    ids = list(study.results.catchments["site_id"])
    compared = 0
    for run in data["runs"]:
        rows = table[(table["model"] == run["model"]) & (table["storm"] == run["storm"])]
        assert list(rows["site_id"]) == ids
        for name, values in run["values"].items():
            for value, true in zip(values, rows[name], strict=True):
                assert (value is None) == bool(np.isnan(true))
                if value is not None:
                    assert value == pytest.approx(true, rel=1e-3)
                    compared += 1
        reasons = [None if n is None else data["reasons"][n] for n in run["reasons"]]
        assert reasons == [reason if isinstance(reason, str) else None for reason in rows["reason"]]
    assert compared == 5 * (3 * 1 + 2 * 3 + 2 * 5)
    assert {(run["model"], run["storm"]) for run in data["runs"]} == set(
        zip(table["model"], table["storm"], strict=True)
    )


def test_the_first_map_is_of_the_model_that_has_everything(text):
    data = data_of(text)
    assert data["runs"][data["first"]]["model"] == "cannon2010"


def test_thresholds_of_sites_are_those_of_the_table(study, text):
    table = study.results.hazards.thresholds.to_pandas()
    for each in data_of(text)["thresholds"]:
        rows = table[
            (table["model"] == each["model"])
            & (table["duration_min"] == each["duration"])
            & (table["likelihood"] == each["likelihood"])
        ]
        expected = [None if np.isnan(v) else v for v in rows["intensity_mm_per_h"]]
        assert each["values"] == [v and pytest.approx(v, rel=1e-3) for v in expected]
        assert expected.count(None) == 2


def test_a_report_without_models_is_as_if_there_were_none(plain):
    text = page_of(plain)
    style = "".join((_FOLDER / name).read_text() for name in ("page.css", "report.css"))
    assert f"<style>{style}</style>" in text
    assert f"<script>{(_FOLDER / 'report.js').read_text()}</script>" in text
    assert not re.search("hazard|threshold", "\n".join(body_of(text)), re.IGNORECASE)
    assert text.startswith("<!doctype html>\n")


def test_with_models_the_rest_of_the_page_is_the_same(plain, text):
    """Every line of the page without models is in the one with them, in the same order."""
    left = iter(text.split("\n"))
    changed = [line for line in body_of(page_of(plain)) if not any(line == other for other in left)]
    assert changed == []


def body_of(text: str) -> list[str]:
    body = text.partition("<body>")[2].partition("<h3>Configuration")[0]
    return body.split("\n")


def test_names_of_sites_are_text(text):
    section = text.partition('id="hazards-title"')[2].partition("</section>")[0]
    # The data of the page.
    assert section.count("<script") == 1
    assert "at <script>alert(1)</script>" not in section
    table = re.findall(r" at (.*?)</td>", section)
    assert set(map(unescape, table)) <= set(NAMES)
    assert len(table) == 3 + 2 + 2 * 2


def test_of_many_sites_the_classes_are_there_and_the_page_says_so(study, monkeypatch):
    whole = section_of(study)
    columns = len(NAMES) * whole.values_per_site
    everything = [(run["model"], run["storm"]) for run in whole.data["runs"]]
    assert section_of(study, most_values=columns).values_per_site == whole.values_per_site
    assert section_of(study, most_values=columns).left_out == 0
    assert section_of(study, most_values=columns).data["thresholds"]
    # Thresholds of single sites go first, then storms; one storm stays in any case.
    assert not section_of(study, most_values=columns - 1).data["thresholds"]
    for most in range(-1, columns):
        less = section_of(study, most_values=most)
        assert less.values_per_site * len(NAMES) <= max(most, 6 * len(NAMES))
        assert len(less.data["runs"]) + less.left_out == len(less.results) == 7
        keys = [(run["model"], run["storm"]) for run in less.data["runs"]]
        assert keys == [key for key in everything if key in keys]
        # The classes, with all that they come from, stay longest.
        assert keys[less.data["first"]] == ("cannon2010", "i15_24")
        assert len(less.charts) == 1
    monkeypatch.setattr(study_page, "_MOST_VALUES", 0)
    text = page_of(study)
    assert len(data_of(text)["runs"]) == 1
    assert "have 1 of 7 pairs of a model and a storm" in text


def test_values_of_chosen_sites_are_in_their_order(study):
    whole, some = section_of(study), section_of(study, chosen=[1, 4])
    for run, other in zip(whole.data["runs"], some.data["runs"], strict=True):
        for name, values in run["values"].items():
            assert other["values"][name] == [values[1], values[4]]
    # All else is of all sites.
    assert some.results == whole.results
    assert some.reasons == whole.reasons


def test_results_by_hand(study):
    table = study.results.hazards.hazard.to_pandas()
    of_run = table[(table["model"] == "cannon2010") & (table["storm"] == "i15_80")]
    (result,) = [
        each
        for each in section_of(study).results
        if (each.model, each.storm) == ("cannon2010", "i15_80")
    ]
    assert (result.with_value, result.without_value) == (5, 2)
    assert result.rainfall == "80 mm/h within 15 minutes"
    best = of_run.loc[of_run["volume_m3"].idxmax(), "site_id"]
    assert result.volume.endswith(f" at {best}")
    counts = of_run["hazard_class"].dropna().astype(int).value_counts().sort_index()
    assert result.classes == ", ".join(f"{k}: {n}" for k, n in counts.items())


def test_reasons_are_counted_by_site(study):
    reasons = dict(section_of(study).reasons)
    failed = study.results.catchments.query("status != 'ok'")
    assert reasons == dict.fromkeys(failed["reason"], 1)
    assert 'id="hazard-remarks"' not in page_of(study)


def test_implausible_inputs_are_listed(plain):
    models = [
        {
            "name": "staley2017_m3",
            "inputs": {"fire": "burn_share_high", "soil": {"column": "rain_mean_mm", "scale": 11}},
        }
    ]
    study = with_hazards(plain, models)
    remarks = section_of(study).remarks
    assert sum(count for _, count in remarks) == 5
    assert all(text.startswith("soil (rain_mean_mm) is ") for text, _ in remarks)
    assert 'id="hazard-remarks"' in page_of(study)


def test_hazards_of_other_sites_are_refused(study):
    results = study.results
    ids = list(results.catchments["site_id"])[1:]
    with pytest.raises(ValueError, match="not of the same sites"):
        hazard_runs(results.hazards.hazard, results.configuration, ids)


def test_what_is_in_the_site_table_can_be_taken_out_for_an_archive(plain):
    """A storm of the site table, as an archive has it that may not pass the table on."""
    rain = pa.table({"site_id": NAMES, "rain": ["7.5"] * 4 + ["not a number"] * 3})
    study = with_hazards(plain, storms=[OWN], observations=rain)
    text = page_of(study)
    assert text.count("not a number") > 1
    without = archive._ROWS.sub(b"", text.encode()).decode()
    assert "not a number" not in without
    assert 'id="hazard-data"' not in without
    assert 'id="hazards"' not in without
    # What no rainfall of the table goes into stays.
    assert "thresholds-1" in without
    # With storms that are the same everywhere there is nothing to take out.
    common = page_of(with_hazards(plain))
    assert archive._ROWS.sub(b"", common.encode()).decode() == common


def test_steps_are_the_published_classes(study):
    """Cannon et al. (2010), Table 6, and the bins of USGS hazard maps."""
    steps = scales(study.results.configuration)
    assert steps["likelihood"]["breaks"] == [0.2, 0.4, 0.6, 0.8]
    assert steps["likelihood"]["labels"][0] == "0 to 0.2"
    assert steps["volume_m3"]["breaks"] == [1000, 10_000, 100_000]
    assert steps["volume_m3"]["labels"] == [
        "up to 1,000 m³",
        "1,000 to 10,000 m³",
        "10,000 to 100,000 m³",
        "more than 100,000 m³",
    ]
    assert steps["hazard_class"]["labels"] == ["1 (low)", "2 (moderate)", "3 (high)"]
    for scale in steps.values():
        assert len(scale["labels"]) == len(scale["colors"]) == len(scale["breaks"]) + 1
        assert scale["colors"] == sorted(set(scale["colors"]))


def test_a_study_with_the_bins_of_the_paper_has_them_on_the_map(plain):
    models = [*MODELS[:2], {"name": "cannon2010", "bins": "paper"}]
    steps = scales(with_hazards(plain, models).results.configuration)
    assert steps["likelihood"]["breaks"] == [0.25, 0.5, 0.75]


def test_colors_of_the_map_grow_darker_step_by_step():
    """Luminance alone tells the steps apart: with any color vision, and in print."""

    def luminance(color: str) -> float:
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return math.fsum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    style = (_FOLDER / "report_hazards.css").read_text()
    found = list(map(luminance, re.findall(r"--step-\d: (#[0-9a-f]{6})", style)))
    assert len(found) == 5
    contrasts = [(a + 0.05) / (b + 0.05) for a, b in pairwise(found)]
    assert min(contrasts) > 1.4


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (1e-9, "< 0.01"),
        (0.01, "0.01"),
        (0.994, "> 0.99"),
        (1.0, "1.00"),
    ],
)
def test_a_small_likelihood_is_not_zero_and_a_large_one_not_one(value, told):
    assert likelihood_text(value) == told


def test_a_likelihood_below_one_stays_below_one_on_the_page(study):
    results = study.results
    ids = list(results.catchments["site_id"])
    runs = hazard_runs(results.hazards.hazard, results.configuration, ids)
    assert any(np.nanmax(run.values["likelihood"]) > 0.99996 for run in runs[:3])
    for run in section_of(study).data["runs"][:3]:
        assert all(value is None or value < 1 for value in run["values"]["likelihood"])


def test_volumes_and_classes_in_words():
    assert volume_text(27.4934, 3.581, 211.1) == "27.5 (3.58 to 211)"
    assert volume_text(None, None, None) == class_text(None) == "–"
    assert class_text(2) == "2 (moderate)"


def test_curves_of_thresholds_are_median_and_middle_half():
    """By hand: 10, 20, 30, 40, 50 mm/h have the quartiles 20, 30, 40."""
    values = np.array([50.0, np.nan, 10, 40, 20, 30])
    runs = [
        ThresholdRun("staley2017_m1", 15, 0.5, values),
        ThresholdRun("staley2017_m1", 60, 0.5, values / 2),
        ThresholdRun("staley2017_m1", 15, 0.75, np.full(6, np.nan)),
    ]
    (found,) = threshold_charts(runs)
    assert [row.quartiles for row in found.rows] == [(20, 30, 40), (10, 15, 20), None]
    assert [(row.sites, row.without) for row in found.rows] == [(5, 1), (5, 1), (0, 6)]
    (curve,) = found.chart.curves
    assert curve.label == "0.5"
    x, y = found.chart.x, found.chart.y
    assert y.high > 40

    def up(down: float) -> float:
        return (TOP + HEIGHT - down) / HEIGHT * y.high

    corners = [tuple(map(float, c.split())) for c in curve.band.removeprefix("M").split("L")]
    assert [up(down) for _, down in corners] == pytest.approx([40, 20, 10, 20], abs=0.1)
    assert [up(down) for _, down, _ in curve.marks] == pytest.approx([30, 15], abs=0.1)
    minutes = [x.low + (right - LEFT) / WIDTH * (x.high - x.low) for right, _, _ in curve.marks]
    assert minutes == pytest.approx([15, 60], abs=0.1)


def test_without_a_threshold_there_is_no_chart():
    (found,) = threshold_charts([ThresholdRun("staley2017_m1", 15, 0.5, np.full(3, np.nan))])
    assert found.chart is None
    assert found.rows[0].quartiles is None


def test_a_run_is_what_a_model_gives(study):
    ids = list(study.results.catchments["site_id"])
    runs = hazard_runs(study.results.hazards.hazard, study.results.configuration, ids)
    kinds = {run.model: sorted(run.values) for run in runs}
    assert kinds["staley2017_m3"] == ["likelihood"]
    assert kinds["gartner2014_emergency"] == ["volume_high_m3", "volume_low_m3", "volume_m3"]
    assert "hazard_class" in kinds["cannon2010"]
    assert isinstance(runs[0], HazardRun)
    assert runs[0].storm == Storm("i15_24", 15, 24)
