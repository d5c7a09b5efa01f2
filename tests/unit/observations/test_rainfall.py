"""Rainfall of an observation in millimeters, whatever the unit of its column."""

from __future__ import annotations

import pytest

from snakeshed.observations.rainfall import RainfallColumn


@pytest.mark.parametrize(
    ("unit", "duration_min", "cell", "mm"),
    [
        ("mm", 15, 6.0, 6.0),
        ("mm", 60, "6.50", 6.5),
        ("mm_per_h", 15, 24, 6.0),
        ("mm_per_h", 60, 24, 24.0),
        ("in", 30, 2, 50.8),
        ("in_per_h", 15, 4, 25.4),
        ("mm", 15, 0, 0.0),
    ],
)
def test_by_hand(unit, duration_min, cell, mm):
    assert RainfallColumn(duration_min, "R", unit).accumulation_mm(cell) == pytest.approx(
        mm, rel=1e-15
    )


@pytest.mark.parametrize("cell", [None, float("nan"), "", "NA", "trace", -9999, -0.1, True])
def test_what_is_no_rainfall_is_missing_and_not_0(cell):
    assert RainfallColumn(15, "R", "mm").accumulation_mm(cell) is None
