"""Charts: where marks and bars stand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.report.charts import histogram, scatter


def test_scatter_places_decades_and_factors():
    chart = scatter([0.1, None, 1.0, 5.0, 0.0], [0.1, 2.0, 10.0, None, 1.0])
    assert chart.points == ((0, 0.0, 0.0), (2, 0.5, 1.0))
    assert [(tick.at, tick.text) for tick in chart.ticks] == [(0, "0.1"), (0.5, "1"), (1, "10")]
    assert chart.offset(10) == pytest.approx(0.5)
    assert scatter([1.0, None], [None, 1.0]) is None


def test_scatter_of_one_value_has_a_decade():
    chart = scatter([10.0], [10.0])
    assert [tick.text for tick in chart.ticks] == ["10", "100"]


VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 9)) | st.just(math.nan) | st.none()


@given(st.lists(VALUES, max_size=60), st.data())
def test_histogram_counts_every_value_once(values, data):
    kinds = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    known = [v for v in values if v is not None and not math.isnan(v)]
    chart = histogram(values, kinds)
    if len(set(known)) < 2:
        assert chart is None
        return
    assert sum(bar.high - bar.low for bar in chart.bars) == len(known)
    for kind in range(4):
        there = sum(
            v is not None and not math.isnan(v) and k == kind
            for v, k in zip(values, kinds, strict=True)
        )
        assert sum(bar.high - bar.low for bar in chart.bars if bar.kind == kind) == there
    assert all(-1e-6 <= tick.at <= 1 + 1e-6 for tick in chart.ticks)


def test_histogram_stacks_kinds_in_their_bins():
    chart = histogram([0.0, 1.0, 1.0, 9.0, 10.0], [1, 0, 1, 0, 0], bins=2, low=0.0, high=10.0)
    assert [(bar.left, bar.right, bar.low, bar.high, bar.kind) for bar in chart.bars] == [
        (0, 0.5, 0, 1, 0),
        (0, 0.5, 1, 3, 1),
        (0.5, 1, 0, 2, 0),
    ]
    assert chart.most == 3
    assert [tick.text for tick in chart.ticks] == ["0", "2", "4", "6", "8", "10"]
