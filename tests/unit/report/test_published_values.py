"""Published values beside computed ones: what agrees, and what cannot be."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from test_summary import DONE, FAILED, finished

from snakeshed.report.published import (
    compare,
    comparison_lines,
    comparison_warnings,
    published_values,
)
from snakeshed.report.summary import summarise, summary_text
from snakeshed.sites.reserved import description_of

SAME = {
    "column": "relief",
    "feature": "relief_m",
    "relation": "same",
    "tolerance": 0.0,
    "scale": 1.0,
}


def tables(published: list, computed: list) -> tuple[pa.Table, pd.DataFrame]:
    """One site per pair, called s0, s1, ..."""
    sites = [f"s{k}" for k in range(len(published))]
    features = pd.DataFrame({"site_id": sites, "status": "ok", "relief_m": computed})
    return pa.table({"site_id": sites, "relief": published}), features


def compared(published: list, computed: list, **declared) -> dict:
    (one,) = compare([SAME | declared], *tables(published, computed))
    return one


def test_values_are_numbers_however_they_are_written():
    rows = [("a", "1.10"), ("b", "1e1"), ("b", "n. d."), ("c", None), ("d", " +2 "), ("e", "NA")]
    table = pa.table(dict(zip(("site_id", "v"), map(list, zip(*rows, strict=True)), strict=True)))
    assert published_values(table, "v") == {"a": 1.1, "b": 10.0, "d": 2.0}


def test_of_several_rows_the_most_frequent_value_holds_then_the_smallest():
    table = pa.table({"site_id": list("aaabbc"), "v": [3.0, 2.0, 3.0, 5.0, 4.0, 1.0]})
    assert published_values(table, "v") == {"a": 3.0, "b": 4.0, "c": 1.0}


def test_a_column_that_is_called_like_one_of_ours_is_found_under_its_other_name():
    # The table has a column row, kept as input_input_row, and one that is called input_row.
    fields = [
        pa.field("site_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("input_row", pa.float64()),
        pa.field("input_input_row", pa.float64(), metadata={b"description": description_of("row")}),
    ]
    table = pa.table([["a"], [1], [8.5], [7.5]], schema=pa.schema(fields))
    assert published_values(table, "row") == {"a": 7.5}
    assert published_values(table, "input_row") == {"a": 8.5}
    table = pa.table({"site_id": ["a"], "slope": [10.0], "input_slope": [99.0]})
    assert published_values(table, "slope") == {"a": 10.0}


def test_counts_ratios_and_contradictions_by_hand():
    published, computed = (
        [100.0, 210.0, 50.0, 0.0, None, 10.0],
        [100.0, 200.0, 100.0, 5.0, 7.0, None],
    )
    told = {"column": "relief", "feature": "relief_m", "sites": 4, "ratio_median": 1.0}
    told |= {"within_10_percent": 0.6667}
    none = {"contradicting": [], "excess_median": None}
    assert compared(published, computed) == told | {"relation": "same"} | none
    assert compared(published, computed, relation="at_most") == told | {
        "relation": "at_most",
        "contradicting": ["s1"],
        "excess_median": 10.0,
    }
    assert compared(published, computed, relation="at_least") == told | {
        "relation": "at_least",
        "contradicting": ["s2", "s3"],
        "excess_median": 27.5,
    }
    near = compared(published, computed, relation="at_most", tolerance=10.0)
    assert (near["contradicting"], near["excess_median"]) == ([], None)
    halved = compared(published, computed, relation="at_most", scale=0.5)
    assert (halved["ratio_median"], halved["contradicting"]) == (2.0, [])


def test_sites_that_were_not_delineated_are_not_compared():
    observations, features = tables([1.0, 1.0], [1.0, 2.0])
    features.loc[1, "status"] = "on_nodata"
    (one,) = compare([SAME], observations, features)
    assert one["sites"] == 1


def test_contradictions_are_a_warning_with_sites_and_what_to_check():
    one = compared([0.5] * 5, [0.4, 0.6, 0.25, 0.3, 0.45], relation="at_most")
    (warning,) = comparison_warnings([one])
    assert warning == (
        "relief of the site table against relief_m: at 4 of 5 sites it is larger, by 0.15 in the "
        "median, though it should be at most that (s0, s2, s3 and 1 more). Check what the column "
        "means, the outlets, and the cell size of the DEM."
    )
    (other,) = comparison_warnings([compared([0.5], [0.6], relation="at_least")])
    assert "at 1 of 1 sites it is smaller, by 0.1 in the median" in other
    assert "though it should be at least that (s0)." in other
    assert comparison_warnings([compared([0.5], [0.5], relation="at_most")]) == []


@pytest.mark.parametrize("factor", [0.3048, 3.2808])
def test_another_unit_is_a_warning(factor):
    relief = [100.0, 200.0, 300.0, 400.0, 500.0]
    (warning,) = comparison_warnings([compared([r / factor for r in relief], relief)])
    side = "below" if factor < 1 else "above"
    assert f"half of the computed values are {side} {factor:.3g} times the published" in warning
    assert "Check the unit of the column (compare.scale)" in warning
    assert comparison_warnings([compared(relief, [1.9 * r for r in relief])]) == []
    # Of a few sites, nothing follows.
    assert comparison_warnings([compared([1.0] * 4, [9.0] * 4)]) == []


def test_a_column_without_numbers_is_a_warning():
    one = compared(["high", None], [1.0, 2.0])
    assert (one["sites"], one["ratio_median"], one["within_10_percent"]) == (0, None, None)
    (warning,) = comparison_warnings([one])
    assert "relief of the site table against relief_m: no site has both" in warning
    assert comparison_lines([one]) == []


def test_the_summary_tells_them():
    observations = pa.table({"site_id": ["a", "z"], "relief": ["120", "1"]})
    features = [{"site_id": "a", "status": "ok", "relief_m": 100.0}]
    done = finished(DONE, FAILED, features=features, observations=observations)
    summary = summarise("mine", done, compared=[SAME | {"relation": "at_most"}])
    assert summary["compared"] == [
        {
            "column": "relief",
            "feature": "relief_m",
            "relation": "at_most",
            "sites": 1,
            "ratio_median": 0.8333,
            "within_10_percent": 0.0,
            "contradicting": ["a"],
            "excess_median": 20.0,
        }
    ]
    lines = summary_text(summary, "results/mine").splitlines()
    # Of a bound, the ratio means nothing.
    assert "relief_m against published relief at 1 sites: 1 contradiction." in lines
    assert any(
        line.startswith("Warning: relief of the site table against relief_m: at 1 of 1 sites")
        for line in lines
    )
