"""The tables that a study ends in, and what is said of them."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from snakeshed.columns import BEFORE_FEATURES, Column
from snakeshed.delineate import Catchment
from snakeshed.results import (
    CATCHMENTS,
    summarise,
    summary_text,
    write_catchments,
    write_features,
    write_summary,
)
from snakeshed.tables import read_descriptions, read_table

CRS = "EPSG:32611"
FAILED = Catchment("z", "on_nodata", "no data", 1.0, 2.0, None, "L0_R0_C0", 0)
DONE = Catchment(
    site_id="a",
    status="ok",
    reason=None,
    site_x=1.0,
    site_y=2.0,
    reported_area_km2=0.5,
    patch="L1_R-1_C2",
    patch_level=1,
    outlet_x=3.0,
    outlet_y=4.0,
    outlet_lon=-117.5,
    outlet_lat=34.5,
    area_km2=0.55,
    area_ratio=1.1,
    cells=5500,
    snap_distance_m=12.5,
    snap_cost=0.1,
    confidence="high",
    touches_edge=False,
    touches_nodata=True,
    pool_at_rim=False,
    needs_larger_window=False,
    perimeter_km=3.0,
    longest_flow_path_km=1.5,
    basin_length_km=1.0,
    channel_length_km=0.7,
    geometry=shapely.MultiPolygon([shapely.box(0, 0, 10, 20)]),
)


def write(catchments, folder, name="catchments"):
    path = folder / f"{name}.parquet"
    write_catchments(catchments, path, CRS)
    return path


def test_catchments_come_back_as_they_were(tmp_path):
    table = read_table(write([DONE, FAILED], tmp_path))
    assert list(table.columns) == [field.name for field in fields(Catchment)]
    assert table.crs == CRS
    for row, catchment in zip(table.itertuples(), [DONE, FAILED], strict=True):
        for field in fields(Catchment):
            value, expected = getattr(row, field.name), getattr(catchment, field.name)
            assert (value == expected) if expected is not None else pd.isna(value), field.name
    assert table["cells"].dtype == "Int64"


def test_every_column_is_described_with_its_unit(tmp_path):
    texts = read_descriptions(write([DONE], tmp_path))
    assert list(texts) == [*CATCHMENTS, "geometry"]
    assert all(texts.values())
    for suffix, unit in (("_km2", "km2"), ("_km", "km"), ("_m", "m")):
        for name, text in texts.items():
            if name.endswith(suffix):
                assert f"{unit}." in text, name


@pytest.mark.parametrize("catchments", [[], [FAILED]])
def test_the_schema_does_not_depend_on_the_values(tmp_path, catchments):
    one = pq.read_schema(write([DONE, FAILED], tmp_path))
    other = pq.read_schema(write(catchments, tmp_path, "other"))
    assert one.remove_metadata() == other.remove_metadata()


def test_features_have_the_types_of_their_columns(tmp_path):
    # The ending of a name says nothing about the type.
    columns = {
        "a_codes": Column("a_codes", "A number."),
        "b_mean": Column("b_mean", "A text.", is_text=True),
    }
    rows = [
        {"site_id": "a", "status": "ok", "reason": None, "a_codes": 1.5, "b_mean": "x"},
        {"site_id": "z", "status": "on_nodata", "reason": "no data"},
    ]
    path = tmp_path / "features.parquet"
    write_features(rows, columns, path)
    schema = pq.read_schema(path)
    assert schema.names == [*BEFORE_FEATURES, *columns]
    assert schema.field("a_codes").type == pa.float64()
    assert schema.field("b_mean").type == pa.string()
    assert read_descriptions(path)["b_mean"] == "A text."
    table = pq.read_table(path).to_pylist()
    nothing = dict.fromkeys([*BEFORE_FEATURES, *columns])
    assert table[0] == nothing | rows[0]
    assert table[1] == nothing | rows[1]


# ---- the summary -----------------------------------------------------------------------------

NO_ROWS = pd.DataFrame({"row": [], "action": []})


def summary_of(catchments, folder, rejected=NO_ROWS) -> dict:
    table = read_table(write(catchments, folder), columns=list(CATCHMENTS))
    return summarise("mine", table, rejected)


def test_a_summary_by_hand(tmp_path):
    catchments = [
        DONE,
        replace(DONE, site_id="b", area_ratio=0.8, confidence="low", snap_distance_m=20.0),
        replace(DONE, site_id="c", area_ratio=1.01, pool_at_rim=True, patch_level=0),
        replace(
            DONE,
            site_id="d",
            area_ratio=None,
            confidence="unrated",
            needs_larger_window=True,
            touches_edge=True,
        ),
        replace(FAILED, site_id="y"),
        FAILED,
    ]
    rejected = pd.DataFrame({"row": [1, 2, 3], "action": ["rejected", "kept", "rejected"]})
    assert summary_of(catchments, tmp_path, rejected) == {
        "study": "mine",
        "sites": 6,
        "status": {"ok": 4, "on_nodata": 2},
        "rows_rejected": 2,
        "rows_with_remarks": 1,
        "confidence": {"high": 2, "low": 1, "unrated": 1},
        "area_ratio_median": 1.01,
        "area_within_10_percent": 0.6667,
        "snap_distance_median_m": 12.5,
        "touches_edge": 1,
        "touches_nodata": 4,
        "needs_larger_window": ["d"],
        "pool_at_rim": ["c"],
        "patch_level": {"0": 1, "1": 3},
    }


@pytest.mark.parametrize("catchments", [[], [FAILED]])
def test_a_summary_of_nothing_delineated(tmp_path, catchments):
    summary = summary_of(catchments, tmp_path)
    assert summary["area_ratio_median"] is None
    assert summary["area_within_10_percent"] is None
    assert summary["snap_distance_median_m"] is None
    assert summary["needs_larger_window"] == []
    text = summary_text(summary, "results/mine")
    assert text.startswith(f"Study mine: {len(catchments)} sites, 0 delineated; not delineated: ")
    assert "Area against" not in text


def test_a_summary_is_plain_json(tmp_path):
    summary = summary_of([DONE, FAILED], tmp_path)
    write_summary(summary, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_what_a_person_reads(tmp_path):
    many = [replace(DONE, site_id=f"s{k:02}", pool_at_rim=True) for k in range(10)]
    cut = replace(DONE, site_id="t", needs_larger_window=True, confidence="low")
    rejected = pd.DataFrame({"row": [1, 2], "action": ["rejected", "kept"]})
    text = summary_text(summary_of([*many, cut, FAILED], tmp_path, rejected), "results/mine")
    assert text.splitlines() == [
        "Study mine: 12 sites, 11 delineated; not delineated: 1 on_nodata.",
        "Area against reported area: median ratio 1.100, 100% within 10 %.",
        "Confidence: 10 high, 1 low.",
        "Cut by, or too large for, the top patch level: t.",
        "Beside a depression that the patch cuts: s00, s01, s02, s03, s04, s05, s06, s07 and 2 "
        "more.",
        "Rows of the site table rejected: 1, kept with a remark: 1; see results/mine/rejected.csv.",
        "Open:",
        "  results/mine/catchments.parquet  outlines, outlets and how sure they are",
        "  results/mine/features.parquet    one row of features per site",
        "  results/mine/summary.json        this summary",
    ]
