"""The report: every site, escaped, in one file that loads nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from small_study import small_study, with_rejected

from snakeshed.errors import printable
from snakeshed.report import study_page as module
from snakeshed.report.study_page import RuleTimes, report, rule_times

NAMES = ["<script>alert(1)</script>", "quo\"te's & co", "黄河", "Río\u2028", "e", "f", "g"]
MADE_WITH = [("snakeshed", "<0.1>")]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("report"), NAMES)


@pytest.fixture(scope="module")
def text(study):
    with study.terrain() as terrain:
        return report(study.results, terrain, MADE_WITH)


class Reader(HTMLParser):
    """Elements of a page: all tags with their attributes, and the texts of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        if self.tags:
            self.texts.setdefault(self.tags[-1][0], []).append(text)

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def test_every_site_is_a_row_of_the_table_and_of_the_data(study, text):
    ids = list(study.results.catchments["site_id"])
    assert sorted(ids) == sorted(NAMES)
    assert [site["id"] for site in data_of(text)["sites"]] == ids
    rows = [row for row in Reader(text).of("tr") if "data-site" in row]
    assert [int(row["data-site"]) for row in rows] == list(range(len(ids)))
    kinds = study.results.catchments["confidence"].fillna(study.results.catchments["status"])
    assert [row["data-kind"] for row in rows] == list(kinds)
    assert {"high", "medium", "low", "unrated", "outside_dem", "no_stream"} == set(kinds)


def test_names_are_text_and_never_markup(text):
    page = Reader(text)
    assert set(map(printable, NAMES)) <= set(page.texts["button"])
    # The data, and the page's own script.
    assert len(page.of("script")) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_nothing_is_loaded_from_anywhere(text):
    page = Reader(text)
    assert not page.of("link") + page.of("iframe") + page.of("img")
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href")
    ]
    assert addresses
    assert all(value.startswith(("data:image/webp;base64,", "#")) for value in addresses)
    assert "@import" not in text
    assert set(re.findall(r"url\([^)]*\)", text)) == {"url(#frame)"}
    (policy,) = [m["content"] for m in page.of("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy


def test_values_are_those_of_the_tables(study, text):
    data = data_of(text)
    names = [name for name, _ in data["columns"]]
    tables = study.results.catchments.merge(study.results.features, on="site_id")
    for site in data["sites"]:
        row = tables[tables["site_id"] == site["id"]].iloc[0]
        for name in ("rain_mean_mm", "relief_m", "snap_distance_m", "burn_dominant"):
            value = site["values"][names.index(name)]
            if pd.isna(row[name]):
                assert value is None
            elif isinstance(value, str):
                assert value == row[name]
            else:
                assert value == pytest.approx(row[name], rel=1e-4)
    described = dict(data["columns"])
    assert described["rain_mean_mm"] == "Mean of rain, weighted by coverage, mm."


def test_reasons_of_failures_are_told_with_their_sites(study, text):
    failed = study.results.catchments.query("status != 'ok'")
    assert set(failed["status"]) == {"outside_dem", "no_stream"}
    table = text.partition('id="failed-title"')[2].partition("</section>")[0]
    for site in failed.itertuples():
        assert f'<td>{site.reason}</td><td class="n">1</td><td>{site.site_id}</td>' in table


def test_of_very_many_sites_the_page_has_no_features_of_each(study, text, monkeypatch):
    assert "too many sites" not in text
    monkeypatch.setattr(module, "_MOST_VALUES", 100)
    with study.terrain() as terrain:
        less = report(study.results, terrain, MADE_WITH)
    assert "There are too many sites to show the features of each here." in less
    names = [name for name, _ in data_of(less)["columns"]]
    assert "snap_distance_m" in names
    assert "rain_mean_mm" not in names
    # Their distributions stay, but nothing marks the chosen site in them.
    svgs = [each for each in Reader(less).of("svg") if "data-low" in each]
    assert svgs
    columns = [each.get("data-column") for each in svgs]
    assert set(filter(None, columns)) == {str(names.index("area_km2"))} | {
        str(names.index(name))
        for name in ("perimeter_km", "basin_length_km", "longest_flow_path_km")
    }


def test_of_too_many_sites_each_kind_has_its_first_and_rare_ones_are_all_there(
    tmp_path, monkeypatch
):
    many = small_study(tmp_path, list("abcdefg"), copies=3)
    # One site alone is of its kind, and it is the last.
    catchments = many.results.catchments.copy()
    last = len(catchments) - 1
    catchments.loc[last, "status"] = "on_nodata"
    results = replace(many.results, catchments=catchments)
    with many.terrain() as terrain:
        whole = report(results, terrain, MADE_WITH)
        monkeypatch.setattr(module, "_MOST_SITES", 9)
        less = report(results, terrain, MADE_WITH)
    assert "The map, the table and the chart of areas show" not in whole
    assert "The map, the table and the chart of areas show 9 of 21 sites" in less

    ids = list(catchments["site_id"])
    sites = data_of(less)["sites"]
    shown = [site["id"] for site in sites]
    assert len(shown) == 9
    assert shown == [name for name in ids if name in set(shown)]
    assert shown[-1] == ids[last]
    kinds = catchments["confidence"].where(catchments["status"] == "ok", catchments["status"])
    for kind, group in catchments.groupby(kinds):
        of_kind = [site["id"] for site in sites if site["kind"] == kind]
        assert of_kind
        assert of_kind == list(group["site_id"])[: len(of_kind)]
    rows = [row for row in Reader(less).of("tr") if "data-site" in row]
    assert [int(row["data-site"]) for row in rows] == list(range(9))

    # What tells of all sites does so as before.
    for start, end in (
        ('id="failed-title"', "</section>"),
        ("<h3>Snap distance", "</figure>"),
        ("Shaded: within 10 %", "</p>"),
    ):
        assert (
            less.partition(start)[2].partition(end)[0]
            == (whole.partition(start)[2].partition(end)[0])
        )


def test_a_feature_that_differs_by_rounding_only_is_told_as_the_same(study):
    features = study.results.features.copy()
    done = features["status"] == "ok"
    features.loc[done, "rain_mean_mm"] = 7.0
    features.loc[done.idxmax(), "rain_mean_mm"] = 7.000000000000001
    with study.terrain() as terrain:
        text = report(replace(study.results, features=features), terrain, MADE_WITH)
    told = text.partition("<summary>Layer rain</summary>")[2].partition("</details>")[0]
    assert "The same at every site, or without data: rain_mean_mm, rain_coverage." in told
    assert 'title="Standard deviation (population) of rain' in told


def test_the_same_results_give_the_same_page(study, text):
    with study.terrain() as terrain:
        assert report(study.results, terrain, MADE_WITH) == text


def test_what_was_run_is_told(study, text):
    assert "<dt>snakeshed</dt><dd>&lt;0.1&gt;</dd>" in text
    assert "backwater_m: 10" in text
    with study.terrain() as terrain:
        times = [
            RuleTimes("delineate", 16, 12.0, 3.5, 1234.56),
            RuleTimes("gather", 2, 0.3, 0.2, None),
        ]
        timed = report(study.results, terrain, MADE_WITH, times)
    table = timed.partition('<table id="times">')[2].partition("</table>")[0]
    delineate, gather = table.partition("<tbody>")[2].split("</tr>")[:2]
    assert ">delineate</td>" in delineate
    assert re.findall(r'<td class="n">([^<]*)</td>', delineate) == ["16", "12.00", "3.50", "1,235"]
    assert re.findall(r'<td class="n">([^<]*)</td>', gather) == ["2", "0.30", "0.20", "–"]
    assert ">delineate</td>" not in text


def test_whom_the_terrain_is_from_is_told(study, text):
    assert "Terrain: " not in text
    configuration = study.results.configuration
    dem = configuration["dem"] | {"source": "glo-30"}
    results = replace(study.results, configuration=configuration | {"dem": dem})
    with study.terrain() as terrain:
        page = report(results, terrain, MADE_WITH)
    assert (
        "<p>Terrain: © DLR e.V. 2010-2014 and © Airbus Defence and Space GmbH 2014-2018, provided "
        "under COPERNICUS by the European Union and ESA; all rights reserved. License: Copernicus "
        "DEM license, free with attribution.</p>"
    ) in page


def test_times_are_those_of_the_jobs_that_ended_well(tmp_path):
    logs = {}
    for name, last in (("a", "done in 1.50 s"), ("b", "done in 2.25 s"), ("c", "failed after 9 s")):
        logs[name] = str(tmp_path / f"{name}.log")
        (tmp_path / f"{name}.log").write_text(f"10:00:00 delineating\n10:00:09 {last}\n")
    # As Snakemake writes them: the second job was too short, the third did not end well.
    for name, peak in (("a", "512.25"), ("b", "NA"), ("c", "9000.00")):
        (tmp_path / f"{name}.tsv").write_text(f"s\th:m:s\tmax_rss\n2.1\t0:00:02\t{peak}\n")
    missing = str(tmp_path / "missing.log")
    times = rule_times({"delineate": [*logs.values(), missing], "gather": [missing]})
    assert times == [RuleTimes("delineate", 2, 3.75, 2.25, 512.25)]


def test_without_any_measurement_of_memory_times_are_told_alone(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("10:00:01 done in 1.50 s\n")
    assert rule_times({"gather": [str(log)]}) == [RuleTimes("gather", 1, 1.5, 1.5, None)]
    (tmp_path / "a.tsv").write_text("s\th:m:s\tmax_rss\n1.6\t0:00:01\tNA\n")
    assert rule_times({"gather": [str(log)]}) == [RuleTimes("gather", 1, 1.5, 1.5, None)]


def test_rejected_rows_are_told_the_first_200_of_many(study):
    rows = [(k, None, "rejected", "x is not a number", f"<b>{k}") for k in range(1, 251)]
    many = with_rejected(study, rows)
    with many.terrain() as terrain:
        text = report(many.results, terrain, MADE_WITH)
    assert "<td>&lt;b&gt;200</td>" in text
    assert "&lt;b&gt;201" not in text
    assert "And 50 more in rejected.csv." in text
    # Spaces of a certain width are no hostile characters.
    assert "km²" in text
    assert "\\xa0" not in text
    # What an archive leaves out with the site table.
    between = text.partition("<!-- rows of the site table -->")[2].partition("<!-- end of rows -->")
    assert between[0].count("&lt;b&gt;") == text.count("&lt;b&gt;") == 200


def test_a_catchment_that_is_not_used_is_drawn_and_told(study):
    catchments = study.results.catchments
    refused = catchments["site_id"] == catchments.loc[catchments["status"] == "ok", "site_id"].max()
    (name,) = catchments.loc[refused, "site_id"]
    status = catchments["status"].mask(refused, "area_mismatch")
    reason = catchments["reason"].mask(refused, "too <large>")
    results = replace(
        study.results,
        catchments=catchments.assign(status=status, reason=reason),
        features=study.results.features.assign(status=status),
        summary=study.results.summary | {"area_mismatch": [name]},
    )
    with study.terrain() as terrain:
        text = report(results, terrain, MADE_WITH)
    page = Reader(text)
    number = str(list(catchments["site_id"]).index(name))
    own = [each for each in page.of("path") if each.get("data-site") == number]
    assert [each["class"] for each in own] == ["area_mismatch failed"]
    (row,) = [each for each in page.of("tr") if each.get("data-site") == number]
    assert row["data-kind"] == "area_mismatch"
    assert "<td>too &lt;large&gt;</td>" in text
    assert "; 1 with another area than reported." in text
    assert any(each.get("class") == "bar failed" for each in page.of("rect"))


def test_comparisons_with_published_values_are_a_table(study, text):
    assert "Published values" not in text
    bound = {"column": "PropHM23", "feature": "share_steeper_23deg", "relation": "at_most"}
    bound |= {"sites": 1230, "ratio_median": 0.8765, "within_10_percent": 0.25}
    same = {"column": "<relief>", "feature": "relief_m", "relation": "same", "sites": 0}
    same |= {"ratio_median": None, "within_10_percent": None}
    compared = [
        bound | {"contradicting": ["a"] * 1148, "excess_median": 0.1},
        same | {"contradicting": [], "excess_median": None},
    ]
    results = replace(study.results, summary=study.results.summary | {"compared": compared})
    with study.terrain() as terrain:
        page = report(results, terrain, MADE_WITH)
    table = page.split('id="published-title"')[1].split("</table>")[0]
    rows = [re.sub("<[^>]+>", "|", row) for row in table.split("<tr>")[2:]]
    cells = [[cell for cell in row.strip("|\n ").split("|") if cell.strip()] for row in rows]
    assert cells == [
        ["PropHM23", "at most ", "share_steeper_23deg", "1230", "–", "–", "1,148"],
        ["&lt;relief&gt;", "the same as ", "relief_m", "0", "–", "–", "–"],
    ]


def test_a_study_without_any_catchment_has_a_page(tmp_path):
    study = small_study(tmp_path, ["g", "h"])
    failed = study.results.catchments["status"] != "none"
    results = study.results
    none = results.catchments.assign(
        status="no_stream", reason="none", confidence=None, geometry=None
    ).loc[failed]
    for name in none.select_dtypes("number").columns.difference(["site_x", "site_y"]):
        none[name] = float("nan")
    features = results.features.assign(status="no_stream")
    summary = results.summary | {
        "status": {"no_stream": 2},
        "not_delineated": {"no_stream": ["g", "h"]},
        "confidence": {},
        "area_ratio_median": None,
        "area_within_10_percent": None,
        "snap_distance_median_m": None,
    }
    results = replace(results, catchments=none, features=features, summary=summary)
    with study.terrain() as terrain:
        text = report(results, terrain, MADE_WITH)
    assert "0 of 2 sites delineated; not delineated: 2 no stream." in text
    assert "No delineated site has a reported area." in text
    assert text.count("No site was delineated.") == 2


def test_slopes_of_coarse_cells_are_told_beside_the_features(study, text, monkeypatch):
    told = "<p><strong>Slopes:</strong> the DEM has cells of 30 m, and slopes are gentler on"
    assert text.count(told) == 1
    assert text.index('id="features-title"') < text.index(told)
    monkeypatch.setattr("snakeshed.report.study_page.coarse_cells", lambda index: None)
    with study.terrain() as terrain:
        assert "<strong>Slopes:" not in report(study.results, terrain, MADE_WITH)


def test_a_note_stands_before_everything_else_and_is_no_markup(study, text):
    assert "Note:" not in text
    configuration = {**study.results.configuration, "note": "A <b>draft</b>."}
    with study.terrain() as terrain:
        noted = report(replace(study.results, configuration=configuration), terrain, MADE_WITH)
    shown = "<strong>Note:</strong> A &lt;b&gt;draft&lt;/b&gt;."
    assert noted.count(shown) == 1
    assert noted.index(shown) < noted.index('class="figures"')
