"""Pages: numbers for people, and no value that becomes markup or code."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import shutil

import pytest

from snakeshed.report import page as module
from snakeshed.report.page import fixed, number, page, page_digest, percent, words


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "–"),
        (math.nan, 3, "–"),
        (0.0, 3, "0"),
        (21.43, 3, "21.4"),
        (0.99961, 3, "1.00"),
        (0.996, 3, "0.996"),
        (0.0123456, 3, "0.0123"),
        (123456.0, 3, "123,000"),
        (71.9487, 2, "72"),
        (-3.25, 2, "−3.2"),
        (1e-9, 3, "0.00000000100"),
    ],
)
def test_numbers_have_significant_digits(value, digits, text):
    assert number(value, digits) == text


def test_fixed_decimals_shares_and_words():
    assert fixed(1234.567, 2) == "1,234.57"
    assert fixed(None, 2) == "–"
    assert [percent(1, 3), percent(0), percent(0.001), percent(0.999), percent(1)] == [
        "33 %",
        "0 %",
        "< 1 %",
        "> 99 %",
        "100 %",
    ]
    assert words("outside_dem") == "outside DEM"


@pytest.mark.parametrize("name", ["page.css", "report.html", "report.css", "report.js"])
def test_a_change_in_any_file_of_a_page_changes_its_digest_alone(tmp_path, monkeypatch, name):
    copy = tmp_path / "pages"
    shutil.copytree(module._FOLDER, copy)
    monkeypatch.setattr(module, "_FOLDER", copy)
    before = page_digest("report"), page_digest("card")
    with (copy / name).open("a") as file:
        file.write(" ")
    assert page_digest("report") != before[0]
    assert (page_digest("card") != before[1]) == (name == "page.css")


def test_a_page_lets_nothing_in_but_its_own_style_and_script(tmp_path, monkeypatch):
    (tmp_path / "page.css").write_text("p {}")
    (tmp_path / "x.css").write_text("")
    (tmp_path / "x.js").write_text("go()")
    text = "<style>{{ style }}</style><script>{{ script }}</script>{{ policy }}{{ name }}"
    (tmp_path / "x.html").write_text(text)
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    made = page("x", {"name": "</script><script>alert(1)"})
    assert made.startswith("<style>p {}</style><script>go()</script>default-src &#39;none&#39;")
    assert made.endswith("&lt;/script&gt;&lt;script&gt;alert(1)")
    for own in (b"p {}", b"go()"):
        digest = base64.b64encode(hashlib.sha256(own).digest()).decode()
        assert f"'sha256-{digest}'" in html.unescape(made)
