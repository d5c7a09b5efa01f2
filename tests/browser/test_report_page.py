"""The report in a browser: what a reader does with mouse and keyboard, at two widths."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from screens import NARROW, WIDE
from small_study import small_study

from snakeshed.report.study_page import report

ODD = ["<script>alert(1)</script>", "quo\"te's & co", "黄河", '"><img src=x onerror=alert(1)>']
NAMES = [*ODD, "</script><b>", "far", "dry"]
LARGEST_BYTES = 8_000_000


def write_report(study, path: Path) -> Path:
    with study.terrain() as terrain:
        path.write_text(report(study.results, terrain, [("snakeshed", "1")]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("study"), NAMES)


@pytest.fixture(scope="module")
def path(study, tmp_path_factory):
    return write_report(study, tmp_path_factory.mktemp("page") / "report.html")


def rows(page):
    return page.locator(".sites tbody tr:visible")


def names(page) -> list[str]:
    return rows(page).locator(".pick").all_text_contents()


def row_of(page, name: str):
    return rows(page).filter(has=page.get_by_role("button", name=name, exact=True))


def view(page) -> list[float]:
    return [float(part) for part in page.get_attribute("#map", "viewBox").split()]


def test_opens_without_network_and_without_a_complaint(open_page, path):
    page = open_page(path)
    assert page.title() == "small – catchments"
    assert page.locator("h1").inner_text() == "small"
    assert sorted(names(page)) == sorted(NAMES)
    loaded = page.evaluate("() => [...document.images].length + document.fonts.size")
    assert loaded == 0
    drawn = page.locator("#map image")
    assert drawn.count() > 0
    # The hillshade is there as a picture that the browser can read.
    assert page.evaluate(
        "async () => { const picture = new Image();"
        "picture.src = document.querySelector('#map image').getAttribute('href');"
        "await picture.decode(); return picture.naturalWidth }"
    )


def test_odd_names_are_text(open_page, path):
    page = open_page(path)
    assert set(ODD) <= set(names(page))
    for name in NAMES:
        row_of(page, name).click()
        assert page.locator(".brief h3").inner_text() == name
        assert page.locator("#site-title").inner_text() == name
    assert page.locator("img").count() == 0
    # The page's own: its data and its code.
    assert page.locator("script").count() == 2


def test_a_site_chosen_in_the_table_is_seen_on_the_map(open_page, path):
    page = open_page(path)
    before = view(page)
    row_of(page, ODD[2]).click()
    assert row_of(page, ODD[2]).get_attribute("aria-selected") == "true"
    after = view(page)
    assert after != before
    assert after[2] < before[2]
    edge = page.locator("#map .chosen .edge").bounding_box()
    frame = page.locator("#map").bounding_box()
    brief = page.locator(".brief").bounding_box()
    assert frame["x"] <= edge["x"]
    assert edge["x"] + edge["width"] <= frame["x"] + frame["width"]
    assert frame["y"] <= edge["y"]
    # The panel with its values does not hide it.
    assert edge["y"] + edge["height"] <= brief["y"]
    assert page.locator("#map .chosen .ring").count() == 1
    values = page.locator(".brief dl").inner_text().split("\n")
    area, _, ratio, snap = row_of(page, ODD[2]).locator("td.n").all_text_contents()
    assert {f"{area} km²", ratio, f"{snap} m"} <= set(values)
    assert "snakemake 'results/small/cards/黄河.html'" in page.locator("#card").inner_text()
    shown = page.locator("#all-values").inner_text()
    assert "rain_mean_mm" in shown
    assert "Mean of rain, weighted by coverage, mm." in shown


def test_a_site_chosen_on_the_map_is_seen_in_the_table(open_page, path):
    page = open_page(path)
    k = row_of(page, ODD[3]).get_attribute("data-site")
    page.locator(f"#map .marks g[data-site='{k}'] .dot").dispatch_event("click")
    assert page.locator("tr[aria-selected='true'] .pick").inner_text() == ODD[3]
    page.keyboard.press("Escape")
    assert page.locator("tr[aria-selected='true']").count() == 0
    assert page.locator(".brief").is_hidden()


def test_hovering_links_map_and_table(open_page, path):
    page = open_page(path)
    row_of(page, ODD[2]).hover()
    assert page.locator("#map path.near").count() == 1
    (box,) = [page.locator("#map .catchments path").last.bounding_box()]
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator(".tip").is_visible()
    assert page.locator(".sites tr.near").count() == 1


def test_filters_failures_and_finds_remarks(open_page, path):
    page = open_page(path)
    page.get_by_role("button", name="outside DEM 1").click()
    assert names(page) == ["far"]
    assert page.locator("#count").inner_text() == "1 of 7 sites"
    assert page.locator("#map .marks g:visible").count() <= 1
    page.get_by_role("button", name="no stream 1").click()
    assert sorted(names(page)) == ["dry", "far"]
    page.get_by_role("searchbox").fill("min_area")
    assert names(page) == ["dry"]
    page.get_by_role("searchbox").fill("nothing like this")
    assert page.get_by_text("No site fits the filter.").is_visible()
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="outside DEM 1").click()
    page.get_by_role("button", name="no stream 1").click()
    assert len(names(page)) == len(NAMES)


def test_sorts_by_a_column_both_ways_with_empty_cells_last(open_page, path, study):
    page = open_page(path)
    areas = study.results.catchments.set_index("site_id")["area_km2"].dropna().sort_values()
    head = page.get_by_role("button", name="Area, km²", exact=True)
    head.click()
    assert names(page)[: len(areas)] == list(areas.index)
    assert head.locator("..").get_attribute("aria-sort") == "ascending"
    head.click()
    assert names(page)[: len(areas)] == list(areas.index[::-1])
    page.get_by_role("button", name="Confidence", exact=True).click()
    kinds = [rows(page).nth(n).get_attribute("data-kind") for n in range(len(NAMES))]
    order = ["high", "medium", "low", "unrated", "outside_dem", "no_stream"]
    assert kinds == sorted(kinds, key=order.index)


def test_all_of_it_is_reached_with_the_keyboard(open_page, path):
    page = open_page(path)
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "() => { const e = document.activeElement;"
                "return e.id || e.className || e.textContent.trim() }"
            )
        )
    for wanted in ("search", "kind", "map", "zoom-in", "fit-all", "pick", "configuration"):
        assert wanted in seen, wanted
    # One stop in the table: the arrows lead on from there.
    assert seen.count("pick") == 1

    page.locator(".pick[tabindex='0']").focus()
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    assert page.locator(".brief h3").inner_text() == first
    page.keyboard.press("ArrowDown")
    assert page.locator(".brief h3").inner_text() == names(page)[1]
    assert page.evaluate("document.activeElement.textContent") == names(page)[1]
    page.keyboard.press("End")
    assert page.locator(".brief h3").inner_text() == names(page)[-1]

    page.locator("#map").focus()
    for key, wider in (("+", False), ("-", True)):
        before = view(page)
        page.keyboard.press(key)
        assert (view(page)[2] > before[2]) == wider
    before = view(page)
    page.keyboard.press("ArrowRight")
    assert view(page)[0] > before[0]


def test_the_wheel_scrolls_the_page_until_the_map_is_chosen(open_page, path):
    page = open_page(path)
    page.hover("#map")
    before = view(page)
    page.mouse.wheel(0, -200)
    assert view(page) == before
    page.locator("#map").focus()
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"document.querySelector('#map').viewBox.baseVal.width < {before[2]}")


def test_two_fingers_move_and_zoom_the_map(open_page, path):
    page = open_page(path, NARROW, has_touch=True)
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": px, "y": py, "id": k} for k, (px, py) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    before = view(page)
    touch("touchStart", (x - 20, y), (x + 20, y))
    for apart in (30, 40, 60):
        touch("touchMove", (x - apart, y), (x + apart, y))
    touch("touchEnd")
    after = view(page)
    # From the first move on, 30 to 60: half as wide, around the same point.
    assert after[2] == pytest.approx(before[2] / 2, rel=0.02)
    assert after[0] + after[2] / 2 == pytest.approx(before[0] + before[2] / 2, abs=0.5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_readable_at_any_width_and_in_the_dark(open_page, path, size, scheme):
    page = open_page(path, size, color_scheme=scheme)
    row_of(page, ODD[0]).click()
    # Nothing is wider than the window, but for tables that scroll by themselves.
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    small = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((e) =>
             e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
             && !["SCRIPT", "STYLE", "TITLE"].includes(e.tagName) && !e.closest("svg")
             && parseFloat(getComputedStyle(e).fontSize) < 12).map((e) => e.outerHTML)"""
    )
    assert small == []
    faint = [(text, round(ratio, 2)) for text, ratio in contrasts(page) if ratio < 4.5]
    assert faint == []


def contrasts(page) -> list[tuple[str, float]]:
    """Contrast of every text on the colour behind it, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
        if colour.startswith("rgb"):
            parts = [part / 255 for part in parts]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    found = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((e) =>
             e.checkVisibility() && !e.closest("svg") && !["SCRIPT", "STYLE"].includes(e.tagName)
             && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((e) => {
               let behind = e, colour;
               do {
                 colour = getComputedStyle(behind).backgroundColor;
                 behind = behind.parentElement;
               } while (behind && (colour === "transparent" || / 0\\)|, 0\\)/.test(colour)));
               return [e.textContent.trim().slice(0, 40), getComputedStyle(e).color, colour];
             })"""
    )
    ratios = []
    for text, ink, paper in found:
        light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
        ratios.append((text, (light + 0.05) / (dark + 0.05)))
    return ratios


def test_every_control_has_a_name(open_page, path):
    page = open_page(path)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, [tabindex='0'], svg[role]")]
             .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim()))
             .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


def test_readable_without_scripts(open_page, path):
    page = open_page(path, java_script_enabled=False)
    assert page.get_by_text("Scripts are off").is_visible()
    assert sorted(names(page)) == sorted(NAMES)
    assert page.locator("#map .catchments path").count() == 5


@pytest.mark.parametrize("count", [1, 714])
def test_one_site_and_many(open_page, tmp_path, count):
    study = small_study(tmp_path, NAMES[:1] if count == 1 else NAMES, copies=max(1, count // 7))
    page_file = write_report(study, tmp_path / "report.html")
    assert page_file.stat().st_size < LARGEST_BYTES
    page = open_page(page_file)
    assert rows(page).count() == count
    assert len(json.loads(page.locator("#data").text_content())["sites"]) == count
    rows(page).last.click()
    assert page.locator(".brief").is_visible()
