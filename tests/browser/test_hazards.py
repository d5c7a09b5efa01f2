"""Hazards in a browser: what a reader chooses is what map, table, and legend show."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from screens import NARROW, WIDE
from small_study import small_study, with_hazards

from snakeshed.report.card import CardValues, card
from snakeshed.report.card_hazards import card_hazards
from snakeshed.report.site_values import plain_rows
from snakeshed.report.study_page import report

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "c", "d", "e", "far", "dry"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return with_hazards(small_study(tmp_path_factory.mktemp("study"), NAMES))


@pytest.fixture(scope="module")
def path(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    with study.terrain() as terrain:
        path.write_text(report(study.results, terrain, [("snakeshed", "1")]), encoding="utf-8")
    return path


def heads(page) -> list[str]:
    return page.locator(".sites thead th:visible").all_inner_texts()


def column(page, quantity: str) -> list[str]:
    """What a column of the table says, from the top."""
    return page.evaluate(
        "quantity => { const n = [...document.querySelectorAll('.sites thead th')]"
        ".findIndex(each => each.dataset.quantity === quantity);"
        "return [...document.querySelectorAll('.sites tbody tr')]"
        ".map(row => row.children[n].textContent) }",
        quantity,
    )


def step_of(page, name: str) -> set[str]:
    """The steps that a site has on the map."""
    return set(
        page.evaluate(
            "name => { const k = [...document.querySelectorAll('.sites tbody tr')]"
            ".find(row => row.querySelector('.pick').textContent === name).dataset.site;"
            "return [...document.querySelectorAll(`#map [data-site='${k}']`)]"
            ".map(part => [...part.classList].find(each => each.startsWith('step-'))) }",
            name,
        )
    )


def show(page, quantity: str) -> None:
    page.locator(".show").filter(has_text=quantity).click()


def row_of(page, name: str):
    return page.locator(".sites tbody tr").filter(
        has=page.get_by_role("button", name=name, exact=True)
    )


def test_the_page_opens_with_the_class_of_the_first_storm(open_page, path):
    page = open_page(path)
    assert page.locator("#hazard-model").input_value() == "cannon2010"
    assert page.locator("#hazard-storm").input_value() == "i15_24"
    pressed = page.locator(".show[aria-pressed='true']")
    assert pressed.all_inner_texts() == ["Hazard class"]
    # The highest class first, and sites without one at the end.
    classes = column(page, "hazard_class")
    assert classes[-2:] == ["no value", "no value"]
    assert classes[:-2] == sorted(classes[:-2], reverse=True)
    assert "Area, km²" not in "".join(heads(page))


def test_a_storm_changes_map_table_and_legend(study, open_page, path):
    page = open_page(path)
    show(page, "Likelihood")
    page.locator("#hazard-model").select_option("staley2017_m3")
    table = study.results.hazards.hazard.to_pandas().query("model == 'staley2017_m3'")
    seen = {}
    for storm in ("i15_24", "i15_80"):
        page.locator("#hazard-storm").select_option(storm)
        values = table.query("storm == @storm").set_index("site_id")["likelihood"]
        assert f"storm {storm}" in page.locator("#hazard-key").inner_text()
        shown = column(page, "likelihood")
        # Never 0 or 1: the page says "< 0.01" or "> 0.99" instead.
        known = [float(text.strip("<> ")) for text in shown[:5]]
        limited = values.dropna().clip(0.01, 0.99)
        assert known == pytest.approx(sorted(limited, reverse=True), abs=0.0051)
        assert shown[5:] == ["no value"] * 2
        for name, value in values.dropna().items():
            assert step_of(page, name) == {f"step-{sum(value > k for k in (0.2, 0.4, 0.6, 0.8))}"}
        seen[storm] = page.evaluate(
            "() => getComputedStyle(document.querySelector('.catchments path')).fill"
        )
    assert seen["i15_24"] != seen["i15_80"]


def test_no_value_is_visibly_none(open_page, path):
    page = open_page(path)
    assert step_of(page, "dry") == {"step-none"}
    row = row_of(page, "dry")
    assert "no cell within 100 m drains" in row.locator(".of-hazard.flag").inner_text()
    assert "no value: 2 sites" in page.locator("#hazard-key").inner_text()
    fills = page.evaluate(
        "() => [...document.querySelectorAll('.swatch')]"
        ".map(each => [each.className, getComputedStyle(each).backgroundColor])"
    )
    none = {color for name, color in fills if "step-none" in name}
    assert len(none) == 1
    assert none.isdisjoint(color for name, color in fills if "step-none" not in name)


def test_a_model_offers_what_it_gives(open_page, path):
    page = open_page(path)
    page.locator("#hazard-model").select_option("gartner2014_emergency")
    assert page.locator(".show:disabled").all_inner_texts() == ["Likelihood", "Hazard class"]
    assert page.locator(".show[aria-pressed='true']").all_inner_texts() == ["Volume"]
    assert "Likelihood" not in " ".join(heads(page))
    storms = page.locator("#hazard-storm option").all_inner_texts()
    assert storms == ["i15_24: 24 mm/h within 15 minutes", "i15_80: 80 mm/h within 15 minutes"]


def test_confidence_brings_back_the_outlets(open_page, path):
    page = open_page(path)
    show(page, "Confidence")
    assert "Area, km²" in " ".join(heads(page))
    assert "No value because" not in " ".join(heads(page))
    assert page.locator("#hazard-key").is_hidden()
    assert page.locator(".key .chip").first.is_visible()
    assert step_of(page, "c") == {None}


@pytest.mark.parametrize("name", NAMES[:2])
def test_the_chosen_site_has_its_hazards_and_its_thresholds(open_page, path, name):
    page = open_page(path)
    assert page.locator("#site-hazards").is_hidden()
    assert page.locator(".lines .own").count() == 0
    row_of(page, name).click()
    assert "cannon2010, i15_24: likelihood 0." in page.locator(".brief .hazard").inner_text()
    assert page.locator("#site-hazards tbody tr").count() == 7
    assert page.locator(".lines .own").count() == 2
    # Another storm is told of the same site.
    page.locator("#hazard-storm").select_option("i15_80")
    assert "cannon2010, i15_80" in page.locator(".brief .hazard").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".lines .own").count() == 0


def test_the_map_tells_the_value_under_the_pointer(open_page, path):
    page = open_page(path)
    box = page.locator("#map .catchments path").last.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "; hazard class: " in page.locator(".tip").inner_text()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_wider_than_the_screen(open_page, path, size):
    page = open_page(path, size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    row_of(page, "c").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_report_whose_hazards_were_taken_out_shows_confidence(open_page, path, tmp_path):
    text = path.read_text(encoding="utf-8")
    start = text.index('<script type="application/json" id="hazard-data">')
    end = text.index("</script>", start) + len("</script>")
    without = tmp_path / "report.html"
    without.write_text(text[:start] + text[end:], encoding="utf-8")
    page = open_page(without)
    assert page.locator("#hazard-controls").is_hidden()
    assert "Area, km²" in " ".join(heads(page))
    row_of(page, "c").click()
    assert page.locator(".brief h3").inner_text() == "c"


def test_a_card_shows_its_curves(study, open_page, tmp_path):
    (catchment,), (features,) = (
        plain_rows(table[table["site_id"] == "c"])
        for table in (study.results.catchments, study.results.features)
    )
    results = study.results
    values = CardValues(catchment, features, results.descriptions, results.configuration)
    picture = io.BytesIO()
    Image.new("RGB", (1638, 1100), "white").save(picture, "PNG")
    path = tmp_path / "card.html"
    hazards = card_hazards(study.models(), features)
    path.write_text(card(values, picture.getvalue(), hazards=hazards), encoding="utf-8")
    page = open_page(path, NARROW)
    assert page.locator("svg[role='img'] .curve").count() == 3
    assert page.locator("#hazards tbody tr").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
