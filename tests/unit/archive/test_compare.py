"""How tables of a re-run are compared with the archived ones, which nobody has to trust."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_archive

from snakeshed.archive.compare import compare_apart, compare_tables, differences, summarize
from snakeshed.archive.sandbox import Sandbox, Surroundings
from snakeshed.errors import ArchiveError

BEFORE = pd.DataFrame({"site_id": ["a", "b"], "area_km2": [1.0, None], "status": ["ok", "no"]})


def told(after, tolerance=0.0):
    return summarize(compare_tables(BEFORE, after, "t.parquet", tolerance)).lines()


def test_equal_tables_differ_in_nothing():
    assert told(BEFORE.copy()) == []


def test_a_value_is_named_by_file_column_and_site():
    after = BEFORE.assign(area_km2=[1.0 + 1e-15, None], status=["ok", "yes"])
    assert told(after) == [
        "t.parquet, column area_km2, site a: archived 1.0, now 1.000000000000001",
        "t.parquet, column status, site b: archived no, now yes",
    ]
    assert told(after, 1e-12) == ["t.parquet, column status, site b: archived no, now yes"]


def test_a_value_instead_of_none_is_a_difference_at_any_tolerance():
    after = BEFORE.assign(area_km2=[1.0, 2.0])
    assert told(after, 0.5) == ["t.parquet, column area_km2, site b: archived nan, now 2.0"]


def test_rows_of_a_column_with_gaps_are_compared_with_the_same_without():
    before = pd.DataFrame({"site_id": ["a", "b"], "edge": [True, None], "cells": [7, None]})
    after = pd.DataFrame({"site_id": ["a"], "edge": [True], "cells": [7]})
    assert list(compare_tables(before[:1], after, "t.parquet")) == []
    after = pd.DataFrame({"site_id": ["a"], "edge": [False], "cells": [8]})
    assert summarize(compare_tables(before[:1], after, "t.parquet")).lines() == [
        "t.parquet, column edge, site a: archived True, now False",
        "t.parquet, column cells, site a: archived 7.0, now 8",
    ]


def test_rows_and_columns_are_named():
    after = pd.DataFrame({"site_id": ["a", "c"], "area_km2": [1.0, None], "more": [1, 2]})
    assert told(after)[:4] == [
        "t.parquet, column status: archived a column, now none",
        "t.parquet, column more: archived none, now there",
        "t.parquet, site b: archived a row, now none",
        "t.parquet, site c: archived none, now there",
    ]
    assert told(BEFORE[:1]) == [
        "t.parquet, site b: archived a row, now none",
        "t.parquet: archived 2 rows, now 1",
    ]


def test_of_many_differences_the_first_hundred_are_told():
    many = pd.DataFrame({"site_id": [f"s{k:03}" for k in range(150)], "x": 0.0})
    lines = summarize(compare_tables(many, many.assign(x=1.0), "t")).lines()
    assert len(lines) == 101
    assert lines[-1] == "… and 50 more"


def test_names_and_values_are_shown_without_control_characters():
    before = pd.DataFrame({"site_id": ["\x1b[2J"], "x\n": ["\u202e"]})
    assert summarize(compare_tables(before, before.assign(**{"x\n": ["ok"]}), "t")).lines() == [
        "t, column x\\n, site \\x1b[2J: archived \\u202e, now ok"
    ]


@pytest.fixture
def apart(tmp_path):
    """Compare two files of features in a process of its own."""
    made, archived, own = (tmp_path / name for name in ("made", "archived", "own"))
    for folder in (made / "results/tiny", archived, own):
        folder.mkdir(parents=True)
    target = "results/tiny/features.parquet"

    def compare(before: bytes, after: bytes | None, target: str = target):
        (archived / "features.parquet").write_bytes(before)
        if after is not None:
            (made / target).write_bytes(after)
        surroundings = Surroundings(Sandbox("none"), own)
        return compare_apart(made, archived, "tiny", [target], 0.0, surroundings)

    compare.made = made
    return compare


TABLE = tiny_archive.table(site_id=["a", "b"], relief_m=[1.0, 2.0])


def test_tables_are_compared_in_a_process_of_its_own(apart):
    after = tiny_archive.table(site_id=["a", "b"], relief_m=[1.0, 2.5])
    found = apart(TABLE, after)
    assert found.count == 1
    assert found.lines() == [
        "results/tiny/features.parquet, column relief_m, site b: archived 2.0, now 2.5"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "[", "5", "null", "{}", '{"x": 1}', '{"error": ["a"]}', '{"error": [1, 2, 3, 4]}',
        '{"error": "four"}', '{"count": "1", "first": ["a"]}', '{"count": true, "first": ["a"]}',
        '{"count": 1, "first": [1]}', '{"count": 1, "first": []}', '{"count": -1, "first": []}',
        '{"count": 0, "first": ["a"]}', '{"count": 1, "first": "a"}', "[" * 100_000, "",
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told(apart, monkeypatch, answer):
    def run(self, command, **_):
        Path(command[3]).write_text(answer)
        return 0, ""

    monkeypatch.setattr(Surroundings, "run", run)
    with pytest.raises(ArchiveError, match="tables that cannot be read and compared"):
        apart(TABLE, TABLE)


def test_an_answer_reaches_no_terminal_as_it_stands(apart, monkeypatch):
    def run(self, command, **_):
        Path(command[3]).write_text(json.dumps({"count": 1, "first": ["\x1b[2J\n"]}))
        return 0, ""

    monkeypatch.setattr(Surroundings, "run", run)
    assert apart(TABLE, TABLE).lines() == ["\\x1b[2J\\n"]


@pytest.mark.slow
def test_a_table_that_the_run_did_not_make_is_told(apart):
    with pytest.raises(ArchiveError, match=r"features.parquet: found no file that the re-run made"):
        apart(TABLE, None)


@pytest.mark.slow
def test_a_link_to_a_file_elsewhere_is_not_read(apart, tmp_path):
    (tmp_path / "secret.parquet").write_bytes(TABLE)
    place = apart.made / "results/tiny/features.parquet"
    place.symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(ArchiveError, match="found no file that the re-run made"):
        apart(TABLE, None)


@pytest.mark.slow
def test_a_target_that_is_no_table_is_told(apart):
    with pytest.raises(ArchiveError, match=r"--targets report.html: found no table report.html"):
        apart(TABLE, None, "report.html")


@pytest.mark.slow
def test_what_is_no_table_is_told(apart):
    with pytest.raises(
        ArchiveError, match=r"compared \(features.parquet: a table that cannot be read"
    ):
        apart(b"PAR1", TABLE)


@pytest.mark.slow
def test_a_table_with_damaged_pages_is_told(apart):
    damaged = bytearray(TABLE)
    damaged[4:60] = bytes(56)
    with pytest.raises(ArchiveError) as caught:
        apart(bytes(damaged), TABLE)
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
def test_a_table_that_expands_beyond_the_memory_is_told(apart, monkeypatch):
    """A text of 1 MB in each of 10,000 rows takes some kB in a file, and 10 GB in memory."""
    monkeypatch.setattr("snakeshed.archive.compare._memory", lambda: 3 << 30)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000), pa.array(["x" * (1 << 20)]))
    sink = pa.BufferOutputStream()
    table = pa.table({"site_id": texts})
    with pq.ParquetWriter(sink, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
    bomb = sink.getvalue().to_pybytes()
    assert len(bomb) < 1 << 20
    with pytest.raises(ArchiveError, match=r"cannot be read and compared .*at most 3,072 MB of"):
        apart(bomb, TABLE)


def test_files_of_scores_are_compared_value_by_value(tmp_path):
    folders = tmp_path / "archived", tmp_path / "made/results/mine"
    scores = {"models": [{"name": "m1", "score": 0.25, "roc": []}, {"name": "m2", "score": None}]}
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "refit.json").write_text(json.dumps(scores))

    def compared() -> list[str]:
        targets = ["results/mine/refit.json"]
        found = differences(tmp_path / "made", folders[0], "mine", targets, 0.0)
        return summarize(found).lines()

    assert compared() == []
    scores["models"][0] |= {"score": 0.26, "roc": [1]}
    scores["models"][1]["score"] = 0.0
    (folders[1] / "refit.json").write_text(json.dumps(scores))
    file = "results/mine/refit.json"
    assert compared() == [
        f"{file}, column models[0].roc[0]: archived none, now there",
        f"{file}, column models[0].roc[], site in row 1: archived 0, now 1",
        f"{file}, column models[0].score, site in row 1: archived 0.25, now 0.26",
        f"{file}, column models[1].score, site in row 1: archived None, now 0.0",
    ]
    (folders[1] / "refit.json").write_text("[" * 100_000)
    with pytest.raises(ArchiveError, match="refit.json: found no JSON"):
        compared()
