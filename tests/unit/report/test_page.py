"""Pages: numbers for people, and no value that becomes markup or code."""

from __future__ import annotations

import math

import pytest

from snakeshed.report.page import fixed, number, page_digest, percent, words


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


def test_digest_is_that_of_the_files_of_a_page():
    assert page_digest("report") == page_digest("report")
    assert page_digest("report") != page_digest("card")
