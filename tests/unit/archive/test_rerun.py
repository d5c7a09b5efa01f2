"""What a re-run of an archive is compared with, and what is refused before it."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest
import yaml

from snakeshed.archive.rerun import compare_tables, prepare, told_differences
from snakeshed.archive.write import CONFIGURATION, INPUTS, LINKS
from snakeshed.errors import ArchiveError

BEFORE = pd.DataFrame({"site_id": ["a", "b"], "area_km2": [1.0, None], "status": ["ok", "no"]})


def told(after, tolerance=0.0):
    return told_differences(list(compare_tables(BEFORE, after, "t.parquet", tolerance)))


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
    assert told_differences(list(compare_tables(before[:1], after, "t.parquet"))) == [
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
    lines = told_differences(list(compare_tables(many, many.assign(x=1.0), "t")))
    assert len(lines) == 101
    assert lines[-1] == "… and 50 more"


@pytest.fixture
def unpacked(tmp_path):
    """An archive without an input that it names, and a folder with it."""
    data, own = tmp_path / "data", tmp_path / "own"
    (data / "workflow/profiles/far").mkdir(parents=True)
    (data / "results/tiny").mkdir(parents=True)
    (own / "inputs/dem").mkdir(parents=True)
    (own / "inputs/dem/a.tif").write_bytes(b"dem")
    told = {
        "key": "dem",
        "path": "inputs/dem/a.tif",
        "size": 3,
        "sha256": hashlib.sha256(b"dem").hexdigest(),
        "url": "https://dem.example/a.tif",
        "licence": None,
        "included": False,
    }
    (data / INPUTS).write_text(json.dumps([told]))
    (data / LINKS).write_text(json.dumps({"far": "profiles/far"}))
    (data / CONFIGURATION).write_text(yaml.safe_dump({"study": "tiny"}))
    return data, own


def test_links_and_inputs_are_there_again(unpacked):
    data, own = unpacked
    assert prepare(data, "tiny.zip", own) == "tiny"
    assert (data / "workflow/far").readlink().as_posix() == "profiles/far"
    assert (data / "inputs/dem/a.tif").read_bytes() == b"dem"
    assert (data / "archived/tiny").is_dir()


def test_an_input_that_is_missing_is_named_with_its_origin(unpacked):
    data, own = unpacked
    message = (
        r"^tiny.zip: inputs/dem/a.tif: found an input that is only named; expected 3 bytes with "
        r"SHA-256 [0-9a-f]{64}, from https://dem.example/a.tif. Put it at this path"
    )
    with pytest.raises(ArchiveError, match=message):
        prepare(data, "tiny.zip", None)
    (own / "inputs/dem/a.tif").write_bytes(b"dom")
    (data / "workflow/far").unlink()
    with pytest.raises(ArchiveError, match="found another file, .*Fetch the one"):
        prepare(data, "tiny.zip", own)


@pytest.mark.parametrize(
    ("name", "target"),
    [("far", "../../evil"), ("far", "/etc"), ("../far", "workflow"), ("far/../../x", "workflow")],
)
def test_links_that_leave_the_workflow_are_refused(unpacked, name, target):
    data, own = unpacked
    (data / LINKS).write_text(json.dumps({name: target}))
    with pytest.raises(ArchiveError, match=r"which leaves the workflow.*Nothing of it was run"):
        prepare(data, "tiny.zip", own)


def test_an_input_outside_of_the_archive_is_refused(unpacked):
    data, own = unpacked
    told = json.loads((data / INPUTS).read_text())
    told[0]["path"] = "../../evil"
    (data / INPUTS).write_text(json.dumps(told))
    with pytest.raises(ArchiveError, match=r"outside of it; .*Nothing of it was run"):
        prepare(data, "tiny.zip", own)
