"""The card in a browser."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from screens import NARROW, WIDE
from small_study import small_study

from snakeshed.report.card import CardValues, card
from snakeshed.report.site_values import plain_rows

NAME = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    results = small_study(folder, [NAME]).results
    (catchment,), (features,) = plain_rows(results.catchments), plain_rows(results.features)
    values = CardValues(catchment, features, results.descriptions, results.configuration)
    picture = io.BytesIO()
    Image.new("RGB", (1638, 1100), "white").save(picture, "PNG")
    path = folder / "card.html"
    path.write_text(card(values, picture.getvalue()), encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_opens_without_network_and_is_readable(open_page, path, size):
    page = open_page(path, size)
    assert page.locator("h1").inner_text() == NAME
    assert page.locator(".chip").inner_text() == "high confidence"
    assert page.evaluate("document.images[0].naturalWidth") == 1638
    assert NAME in page.get_attribute("img", "alt")
    # On a narrow screen the maps stay large enough to read, and scroll by themselves.
    assert page.locator("img").bounding_box()["width"] >= 860
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.get_by_text("Area of the catchment, km2.").first.is_visible()
