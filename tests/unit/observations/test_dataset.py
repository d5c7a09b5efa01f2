"""One row per observation: nothing of the user's table and nothing of the features is lost."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import staley
from hypothesis import given
from hypothesis import strategies as st

import dataset as dataset_rule
from snakeshed.errors import SeveralProblems, TableError
from snakeshed.models.configured import StudyModels
from snakeshed.observations.columns import check_names, own_columns
from snakeshed.observations.dataset import dataset, measured
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.observations.response import Response
from snakeshed.sites.prepare import prepare_sites
from snakeshed.sites.reserved import name_in
from snakeshed.study.configuration import complete
from snakeshed.tables.geoparquet import read_arrow, read_descriptions, write_table
from snakeshed.tables.schema import REAL, TEXT, TRUTH, WHOLE, table_of

FEATURES = table_of(
    [
        {
            "site_id": "a",
            "status": "ok",
            "relief_m": 120.5,
            "touches_edge": False,
            "rock": "gneiss",
        },
        {"site_id": "b", "status": "outside_dem", "reason": "not on a tile"},
        {"site_id": "z", "status": "ok", "relief_m": 1.0, "touches_edge": True},
    ],
    {
        "site_id": (TEXT, "Identifier of the site."),
        "status": (TEXT, "ok, or why not."),
        "reason": (TEXT, "In words."),
        "touches_edge": (TRUTH, "At the edge."),
        "relief_m": (REAL, "Highest less lowest, m."),
        "rock": (TEXT, "Rock."),
    },
)
SCHEMA = Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml"
OURS = {"site_id": (TEXT, "Identifier of the site."), "row": (WHOLE, "Number of the row.")}


def observed(*rows: dict, **kinds: pa.DataType) -> pa.Table:
    of_user = {name: (kind, "as in the site table") for name, kind in kinds.items()}
    return table_of(rows, OURS | of_user)


ROWS = observed(
    {"site_id": "b", "row": 1, "storm": "x", "Acc015": 3.5, "Response": 1},
    {"site_id": "a", "row": 2, "storm": "x", "Acc015": -9999.0, "Response": 0},
    {"site_id": "a", "row": 4, "storm": "y", "Acc015": None, "Response": None},
    storm=TEXT,
    Acc015=REAL,
    Response=WHOLE,
)
NO_MODELS = StudyModels({}, (), ())
RAINFALL = [RainfallColumn(15, "Acc015", "mm")]
RESPONSE = Response("Response", (1.0,))


def test_by_hand():
    own = measured(ROWS, RAINFALL, RESPONSE)
    assert dataset(ROWS, FEATURES, own.table).to_pydict() == {
        "site_id": ["b", "a", "a"],
        "row": [1, 2, 4],
        "status": ["outside_dem", "ok", "ok"],
        "reason": ["not on a tile", None, None],
        "storm": ["x", "x", "y"],
        "Acc015": [3.5, -9999.0, None],
        "Response": [1, 0, None],
        "touches_edge": [None, False, False],
        "relief_m": [None, 120.5, 120.5],
        "rock": [None, "gneiss", "gneiss"],
        "rainfall_15min_mm": [3.5, None, None],
        "debris_flow": [1, 0, None],
    }
    # The cell itself is not in the log, which an archive may hold.
    (remark,) = own.remarks
    assert remark == (
        "the column 'Acc015': 1 cells are no rainfall, the first in row 2; they are missing in "
        "rainfall_15min_mm"
    )


def test_without_rainfall_and_response_there_are_no_columns_of_them():
    own = measured(ROWS, [], None)
    assert own.table.column_names == []
    assert dataset(ROWS, FEATURES, own.table).equals(dataset(ROWS, FEATURES))


def test_a_column_of_the_user_gives_way_and_is_found_by_its_own_name():
    names = ["status", "reason", "relief_m", "input_relief_m", "debris_flow", "Response", "rock"]
    rows = observed(
        {"site_id": "a", "row": 1} | {name: float(k) for k, name in enumerate(names)},
        **dict.fromkeys(names, REAL),
    )
    joined = dataset(rows, FEATURES, measured(rows, [], RESPONSE).table)
    assert len(set(joined.column_names)) == joined.num_columns
    for k, name in enumerate(names):
        assert joined[name_in(joined, name)].to_pylist() == [float(k)], name
    assert joined["relief_m"].to_pylist() == [120.5]
    assert joined["input_input_relief_m"].to_pylist() == [2.0]
    assert joined["input_relief_m"].to_pylist() == [3.0]
    assert joined["debris_flow"].to_pylist() == [0]


def test_a_renamed_column_keeps_the_name_that_it_had_in_the_site_table():
    rows = table_of(
        [{"site_id": "a", "row": 1, "input_row": 7.0}],
        OURS | {"input_row": (REAL, "the column 'row' of the site table")},
    )
    joined = dataset(rows, FEATURES)
    assert name_in(joined, "row") == "input_row"


def test_every_column_says_what_it_means(tmp_path):
    path = tmp_path / "dataset.parquet"
    write_table(dataset(ROWS, FEATURES, measured(ROWS, RAINFALL, RESPONSE).table), path)
    described = read_descriptions(path)
    assert described["relief_m"] == "Highest less lowest, m."
    assert described["storm"] == "as in the site table"
    assert "'Acc015' of the site table in mm" in described["rainfall_15min_mm"]
    assert "is one of 1; 0 where" in described["debris_flow"]


def test_numbers_are_numbers_for_scikit_learn(tmp_path):
    rows = observed(
        {"site_id": "a", "row": 1, "slope": "0.50", "storm": "x"},
        {"site_id": "b", "row": 2, "slope": None, "storm": "y"},
        slope=TEXT,
        storm=TEXT,
    )
    write_table(dataset(rows, FEATURES), tmp_path / "dataset.parquet")
    frame = pd.read_parquet(tmp_path / "dataset.parquet")
    numbers = frame.select_dtypes("number")
    assert list(numbers) == ["row", "slope", "relief_m"]
    values = numbers.to_numpy(float)
    assert values[0].tolist() == [1.0, 0.5, 120.5]
    assert pd.isna(values[1, 1:]).all()


def test_a_site_without_features_is_named():
    rows = observed({"site_id": "q", "row": 1}, {"site_id": "r", "row": 2})
    with pytest.raises(TableError) as caught:
        dataset(rows, FEATURES)
    assert str(caught.value) == (
        "features.parquet: found no site 'q' and 1 more; expected a row for every site of "
        "observations.parquet. The tables are of different site tables: delete both and run the "
        "workflow again."
    )


@given(st.lists(st.sampled_from("abz"), max_size=9), st.randoms(use_true_random=False))
def test_order_of_rows_and_of_features_changes_no_row(sites, dice: random.Random):
    records = [{"site_id": site, "row": k, "storm": str(k)} for k, site in enumerate(sites, 1)]
    given_order = dataset(observed(*records, storm=TEXT), FEATURES).to_pylist()
    assert [row["row"] for row in given_order] == list(range(1, len(sites) + 1))
    shuffled = dice.sample(records, len(records))
    other = FEATURES.take(pa.array(dice.sample(range(3), 3)))
    again = dataset(observed(*shuffled, storm=TEXT), other).to_pylist()
    assert sorted(again, key=lambda row: row["row"]) == given_order


def test_a_feature_called_like_another_column_is_refused_before_anything_runs():
    declared = {
        "rainfall": [{"duration_min": 15, "column": "R", "unit": "mm"}],
        "response": {"column": "Response", "events": [1.0]},
    }
    own = own_columns(declared, NO_MODELS)
    nothing = own_columns({"rainfall": [], "response": None}, NO_MODELS)
    check_names(own, ["relief_m"])
    check_names(nothing, ["debris_flow", "rainfall_15min_mm"])
    with pytest.raises(SeveralProblems) as caught:
        check_names(own, ["row", "relief_m", "debris_flow", "rainfall_15min_mm"])
    first, *others = map(str, caught.value.problems)
    assert first == (
        "features and layers: found the feature row; expected no feature of this name, which is "
        "that of another column of dataset.parquet. Rename the feature or the layer that it is of."
    )
    assert len(others) == 2


def test_the_rule_writes_what_it_left_out_into_its_log(tmp_path):
    write_table(ROWS, tmp_path / "observations.parquet")
    write_table(FEATURES, tmp_path / "features.parquet")
    dataset_rule.main(
        declared={
            "rainfall": [{"duration_min": 15, "column": "Acc015", "unit": "mm"}],
            "response": {"column": "Response", "events": [1.0]},
        },
        settings={"models": [], "storms": [], "likelihoods": [], "layers": []},
        observations=str(tmp_path / "observations.parquet"),
        features=str(tmp_path / "features.parquet"),
        table=str(tmp_path / "dataset.parquet"),
        log=str(tmp_path / "log"),
    )
    expected = dataset(ROWS, FEATURES, measured(ROWS, RAINFALL, RESPONSE).table)
    assert read_arrow(tmp_path / "dataset.parquet").equals(expected)
    log = (tmp_path / "log").read_text()
    assert "1 cells are no rainfall, the first in row 2" in log
    assert json.dumps(-9999) not in log


def test_a_published_table_keeps_every_row_and_column(shared_data, tmp_path):
    """Of 1,550 observations of 716 sites, with dates, gaps, and ranges of days in words."""
    raw = {"study": "staley", "sites": staley.SITES, "dem": {"path": "dem.tif"}}
    settings = complete(raw, SCHEMA, "staley.yaml")["sites"]
    prepared = prepare_sites(settings, shared_data("staley2016"))
    features = table_of(
        [
            {"site_id": site, "status": "ok", "relief_m": float(place)}
            for place, site in enumerate(prepared.sites["site_id"])
        ],
        {
            "site_id": OURS["site_id"],
            "status": (TEXT, "."),
            "reason": (TEXT, "."),
            "relief_m": (REAL, "."),
        },
    )
    rainfall = [
        RainfallColumn(15, "Peak_I15_mm/h", "mm_per_h"),
        RainfallColumn(30, "Acc030_mm", "mm"),
    ]
    own = measured(prepared.observations, rainfall, RESPONSE)
    assert own.remarks == ()
    write_table(
        dataset(prepared.observations, features, own.table),
        tmp_path / "dataset.parquet",
        dict.fromkeys(prepared.observations.column_names, "as in the site table"),
    )
    got = pd.read_parquet(tmp_path / "dataset.parquet")
    given = pd.read_excel(shared_data("staley2016") / staley.TABLE, sheet_name=staley.SHEET)
    assert len(got) == 1550
    assert got["site_id"].tolist() == given["Fire_SegID"].tolist()
    for name in given.select_dtypes("number"):
        pd.testing.assert_series_equal(got[name], given[name], check_dtype=False, check_exact=True)
    assert set(given) < set(got)
    # The table's own accumulation is a quarter of its intensity.
    known = got[["rainfall_15min_mm", "Acc015_mm"]].dropna()
    assert len(known) == 1320
    assert (known["rainfall_15min_mm"] - known["Acc015_mm"]).abs().max() < 0.01
    assert got["debris_flow"].equals(given["Response"])
    of_sites = got.groupby("site_id")["relief_m"].nunique()
    assert (of_sites == 1).all()
    assert len(of_sites) == 716
