"""Tables keep types, nulls and meaning, and the same inputs give the same bytes."""

from __future__ import annotations

import errno
import json
import sqlite3
import subprocess
import sys

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.atomic import atomic, remove_parts
from snakeshed.errors import ResultError, TableError
from snakeshed.tables.exports import write_csv, write_geopackage
from snakeshed.tables.gather import concatenate, one_site
from snakeshed.tables.geoparquet import read_descriptions, read_table, write_table

CRS = "EPSG:26911"
TYPES = {"steps": pa.list_(pa.float64())}


def catchments() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site_id": ["stn_2", "stn_10", "stn_1"],
            "area_km2": [1.5, np.nan, 0.1 + 0.2],
            "cells": pd.array([3, None, 2**60 + 1], dtype="Int64"),
            "level": [0, 1, 2],
            "touches_edge": [True, False, True],
            "touches_nodata": pd.array([True, None, False], dtype="boolean"),
            "reason": pd.Series([None, None, None], dtype=object),
            "steps": [[1.0, None, 2.0], None, []],
        }
    )


def polygons() -> list:
    square = shapely.box(400_000, 3_800_000, 400_030, 3_800_030)
    return [square, None, shapely.MultiPolygon([shapely.box(0, 0, 1, 2), square])]


def meanings(frame: pd.DataFrame) -> dict[str, str]:
    return {name: f"what {name} means" for name in [*frame.columns, "geometry"]}


def write(path, rows=slice(None), geometry=True) -> None:
    frame = catchments()
    write_table(
        frame.iloc[rows],
        path,
        meanings(frame),
        geometry=polygons()[rows] if geometry else None,
        crs=CRS if geometry else None,
        types=TYPES,
    )


def test_values_types_and_nulls_survive(tmp_path):
    write(tmp_path / "a.parquet")
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert [str(field.type) for field in schema] == [
        "string",
        "double",
        "int64",
        "int64",
        "bool",
        "bool",
        "string",
        "list<element: double>",
        "binary",
    ]
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["area_km2"].to_pylist() == [1.5, None, 0.1 + 0.2]
    assert table["cells"].to_pylist() == [3, None, 2**60 + 1]
    assert table["touches_nodata"].to_pylist() == [True, None, False]
    assert table["reason"].to_pylist() == [None, None, None]
    assert table["steps"].to_pylist() == [[1.0, None, 2.0], None, []]
    assert b"pandas" not in schema.metadata


def test_geopandas_reads_it_with_its_crs(tmp_path):
    write(tmp_path / "a.parquet")
    frame = geopandas.read_parquet(tmp_path / "a.parquet")
    assert frame.crs.to_epsg() == 26911
    assert frame.geometry.iloc[0].equals(polygons()[0])
    assert frame.geometry.iloc[1] is None
    again = read_table(tmp_path / "a.parquet")
    assert isinstance(again, geopandas.GeoDataFrame)
    assert again.crs == frame.crs
    assert again.geometry.equals(frame.geometry)


def test_geo_metadata_is_version_1_1(tmp_path):
    write(tmp_path / "a.parquet")
    geo = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["primary_column"] == "geometry"
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert column["bbox"] == [0, 0, 400_030, 3_800_030]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 26911}


def test_every_column_says_what_it_means(tmp_path):
    write(tmp_path / "a.parquet")
    expected = meanings(catchments())
    assert read_descriptions(tmp_path / "a.parquet") == expected
    assert list(read_descriptions(tmp_path / "a.parquet"))[-1] == "geometry"


def test_a_column_without_meaning_is_refused(tmp_path):
    frame = catchments()[["site_id", "area_km2"]]
    with pytest.raises(ValueError, match="without a description: area_km2"):
        write_table(frame, tmp_path / "a.parquet", {"site_id": "the site"})
    with pytest.raises(ValueError, match="without a description: geometry"):
        words = {"site_id": "the site", "area_km2": "km2"}
        write_table(frame, tmp_path / "a.parquet", words, polygons(), CRS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("geometry", [True, False])
def test_an_empty_table_has_the_same_columns(tmp_path, geometry):
    write(tmp_path / "full.parquet", geometry=geometry)
    write(tmp_path / "empty.parquet", slice(0), geometry=geometry)
    full, empty = (pq.read_schema(tmp_path / f"{name}.parquet") for name in ("full", "empty"))
    assert empty.equals(full, check_metadata=False)
    assert all(a.metadata == b.metadata for a, b in zip(empty, full, strict=True))
    assert len(read_table(tmp_path / "empty.parquet")) == 0
    if geometry:
        assert geopandas.read_parquet(tmp_path / "empty.parquet").crs.to_epsg() == 26911


def test_types_follow_the_column_and_not_its_values(tmp_path):
    frame = pd.DataFrame({"site_id": ["a"], "reason": pd.Series([7], dtype=object)})
    with pytest.raises(TypeError, match="column 'reason' is not string"):
        write_table(frame, tmp_path / "a.parquet", meanings(frame))


def test_categories_are_text(tmp_path):
    frame = pd.DataFrame({"status": pd.Categorical(["ok", None, "ok"])})
    write_table(frame, tmp_path / "a.parquet", meanings(frame))
    assert pq.read_table(tmp_path / "a.parquet")["status"].to_pylist() == ["ok", None, "ok"]


def test_arrow_tables_keep_their_types_and_lose_their_nan(tmp_path):
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int32()),
            "x": pa.array([float("nan"), 1.0]),
            "t": pa.array(["a", "a"]).dictionary_encode(),
            "when": pa.array([0, None], pa.timestamp("ms")),
        }
    ).replace_schema_metadata({"pandas": "{}"})
    write_table(table, tmp_path / "a.parquet", {name: name for name in table.column_names})
    again = pq.read_table(tmp_path / "a.parquet")
    assert [str(kind) for kind in again.schema.types] == [
        "int32",
        "double",
        "string",
        "timestamp[ms]",
    ]
    assert again["x"].to_pylist() == [None, 1.0]
    assert again.schema.metadata is None


def test_integers_with_nulls_do_not_become_floats(tmp_path):
    write(tmp_path / "a.parquet", geometry=False)
    frame = read_table(tmp_path / "a.parquet")
    assert frame["cells"].dtype == pd.Int64Dtype()
    assert frame["cells"].iloc[2] == 2**60 + 1
    assert frame["level"].dtype == np.int64
    assert frame["touches_edge"].dtype == bool
    write_table(frame, tmp_path / "b.parquet", meanings(frame), types=TYPES)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_some_columns_can_be_read_alone(tmp_path):
    write(tmp_path / "a.parquet")
    frame = read_table(tmp_path / "a.parquet", columns=["site_id", "level"])
    assert list(frame.columns) == ["site_id", "level"]
    assert not isinstance(frame, geopandas.GeoDataFrame)
    with pytest.raises(TableError, match="no column relief_m; expected one of site_id"):
        read_table(tmp_path / "a.parquet", columns=["relief_m"])


def test_bytes_are_the_same_in_another_process(tmp_path):
    write(tmp_path / "a.parquet")
    write_geopackage(tmp_path / "a.parquet", tmp_path / "one" / "a.gpkg")
    code = (
        "import sys, test_geoparquet as t; from pathlib import Path; folder = Path(sys.argv[1])\n"
        "t.write(folder / 'b.parquet')\n"
        "t.write_geopackage(folder / 'b.parquet', folder / 'two' / 'a.gpkg')"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        env={"PYTHONPATH": ":".join([*sys.path, str(__file__).rsplit("/", 1)[0]]), "TZ": "UTC-9"},
    )
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    one, two = ((tmp_path / name / "a.gpkg").read_bytes() for name in ("one", "two"))
    assert one == two


@examples(30)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.permutations(range(3)))
def test_gathering_does_not_depend_on_the_shards(tmp_path_factory, shard_of_row, order):
    folder = tmp_path_factory.mktemp("shards")
    paths = []
    for shard in range(4):
        rows = [row for row in order if shard_of_row[row] == shard]
        paths.append(folder / f"{shard}.parquet")
        frame = catchments()
        write_table(
            frame.iloc[rows],
            paths[-1],
            meanings(frame),
            geometry=[polygons()[row] for row in rows],
            crs=CRS,
            types=TYPES,
        )
    write_table(concatenate(paths), folder / "gathered.parquet")

    write_table(
        catchments().iloc[[2, 1, 0]],
        folder / "whole.parquet",
        meanings(catchments()),
        geometry=polygons()[::-1],
        crs=CRS,
        types=TYPES,
    )
    assert read_table(folder / "gathered.parquet")["site_id"].tolist() == [
        "stn_1",
        "stn_10",
        "stn_2",
    ]
    assert (folder / "gathered.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_a_site_in_two_shards_is_refused(tmp_path):
    write(tmp_path / "a.parquet", slice(0, 2))
    write(tmp_path / "b.parquet", slice(1, 3))
    with pytest.raises(TableError) as caught:
        concatenate([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    message = str(caught.value)
    assert "site_id stn_10 more than once" in message
    assert "a.parquet" in message
    assert "b.parquet" in message
    assert "every site exactly once" in message


def test_a_site_twice_in_one_shard_is_refused(tmp_path):
    frame = pd.DataFrame({"site_id": ["x", "x"]})
    write_table(frame, tmp_path / "a.parquet", {"site_id": "the site"})
    with pytest.raises(TableError, match="site_id x more than once"):
        concatenate([tmp_path / "a.parquet"])


def test_shards_of_different_configurations_are_refused(tmp_path):
    frame = pd.DataFrame({"site_id": ["x"], "kf_mean": [0.2]})
    write_table(frame, tmp_path / "a.parquet", meanings(frame))
    variants = {
        "without": (frame[["site_id"]], meanings(frame)),
        "retyped": (frame.assign(site_id="y", kf_mean=1), meanings(frame)),
        "reworded": (frame.assign(site_id="y"), meanings(frame) | {"kf_mean": "in other units"}),
    }
    for name, (other, words) in variants.items():
        write_table(other, tmp_path / f"{name}.parquet", words)
        with pytest.raises(TableError, match="other columns than in .*a.parquet: kf_mean"):
            concatenate([tmp_path / "a.parquet", tmp_path / f"{name}.parquet"])


def test_shards_in_different_crs_are_refused(tmp_path):
    for name, crs in (("a", "EPSG:26911"), ("b", "EPSG:26912")):
        frame = pd.DataFrame({"site_id": [name]})
        write_table(frame, tmp_path / f"{name}.parquet", meanings(frame), [None], crs)
    with pytest.raises(TableError, match="the CRS"):
        concatenate([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_one_site_keeps_schema_and_values(tmp_path):
    frame = catchments()
    write_table(frame, tmp_path / "all.parquet", meanings(frame), types=TYPES)
    row = one_site(tmp_path / "all.parquet", "stn_1")
    write_table(row, tmp_path / "one.parquet")
    whole, one = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("all", "one"))
    assert one.schema.equals(whole.schema, check_metadata=True)
    assert one.equals(whole.slice(2, 1))


def test_one_site_that_is_not_there_is_named(tmp_path):
    frame = catchments()
    write_table(frame, tmp_path / "all.parquet", meanings(frame), types=TYPES)
    with pytest.raises(TableError) as told:
        one_site(tmp_path / "all.parquet", "stn_3")
    assert str(told.value) == (
        f"{tmp_path}/all.parquet: found no site 'stn_3'; expected a row for it. It was written "
        "for another site table: delete it and run the workflow again."
    )


def test_csv_has_full_precision_and_empty_cells(tmp_path):
    write(tmp_path / "a.parquet")
    expected = (
        "site_id,area_km2,cells,level,touches_edge,touches_nodata,reason,steps\n"
        'stn_2,1.5,3,0,True,True,,"[1.0, null, 2.0]"\n'
        "stn_10,,,1,False,,,\n"
        "stn_1,0.30000000000000004,1152921504606846977,2,True,False,,[]\n"
    )
    write_csv(read_table(tmp_path / "a.parquet"), tmp_path / "frame.csv")
    write_csv(pq.read_table(tmp_path / "a.parquet"), tmp_path / "table.csv")
    assert (tmp_path / "frame.csv").read_text() == expected
    assert (tmp_path / "table.csv").read_text() == expected


def test_geopackage_keeps_values_crs_and_meaning(tmp_path):
    write(tmp_path / "a.parquet")
    write_geopackage(tmp_path / "a.parquet", tmp_path / "catchments.gpkg")
    frame = geopandas.read_file(tmp_path / "catchments.gpkg")
    assert frame.crs.to_epsg() == 26911
    assert frame["site_id"].tolist() == ["stn_2", "stn_10", "stn_1"]
    assert frame["area_km2"].tolist()[::2] == [1.5, 0.1 + 0.2]
    assert np.isnan(frame["area_km2"][1])
    # The driver may hand the list over as text or already parsed.
    steps = frame["steps"][0]
    assert (json.loads(steps) if isinstance(steps, str) else list(steps)) == [1.0, None, 2.0]
    assert frame.geometry[0].equals(polygons()[0])
    with sqlite3.connect(tmp_path / "catchments.gpkg") as file:
        comments = dict(file.execute("select column_name, description from gpkg_data_columns"))
        layers = file.execute("select table_name from gpkg_contents").fetchall()
    assert comments["area_km2"] == "what area_km2 means"
    assert layers == [("catchments",)]


def test_a_geopackage_needs_a_geometry(tmp_path):
    write(tmp_path / "a.parquet", geometry=False)
    with pytest.raises(TableError, match="a table without geometry; expected a GeoParquet file"):
        write_geopackage(tmp_path / "a.parquet", tmp_path / "a.gpkg")


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(ResultError, match="none.parquet: found no such file; expected the file"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("site_id\n1\n")
    message = (
        "text.parquet: found a table that cannot be read .*; expected a table of this workflow"
    )
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / "text.parquet", recorded=False)


def test_atomic_replaces_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as part:
        assert part.parent == path.parent
        assert part.suffix == ".txt"
        part.write_text("complete")
        assert not path.exists()
    assert path.read_text() == "complete"
    with pytest.raises(KeyboardInterrupt), atomic(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "complete"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_atomic_removes_a_half_written_folder(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / "bag") as part:
        part.mkdir()
        (part / "data").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_atomic_names_the_file_that_is_not_written(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match="No space") as told, atomic(path):
        # As Python, and as Arrow, which names no file.
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as told, atomic(path) as part:
        part.read_text()
    assert told.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as told, atomic(path):
        (tmp_path / "b.txt").read_text()
    assert told.value.filename == str(tmp_path / "b.txt")


class _Full:
    """What statvfs says of a full disk."""

    f_bavail, f_frsize, f_favail, f_files = 0, 4096, 10, 10


def test_atomic_tells_a_full_disk_from_other_failures(tmp_path, monkeypatch):
    path = tmp_path / "a.gpkg"
    with pytest.raises(RuntimeError, match="disk I/O error"), atomic(path):
        raise RuntimeError("disk I/O error")
    monkeypatch.setattr("os.statvfs", lambda _: _Full)
    with pytest.raises(OSError, match="No space left") as told, atomic(path):
        raise RuntimeError("disk I/O error")
    assert told.value.filename == str(path)
    with pytest.raises(TableError), atomic(path):
        raise TableError("a", "b", "c", "d")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    folder = tmp_path / "shards" / "00"
    code = (
        "import os, sys; from snakeshed.atomic import atomic\n"
        "with atomic(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    for name in ("a.parquet", "bag"):
        subprocess.run([sys.executable, "-c", code, folder / name], check=False)
    kept = [folder / ".part.parquet", folder / "my.part.parquet", folder / ".a.0123.part.csv"]
    for path in kept:
        path.write_text("kept")
    assert len(list(folder.iterdir())) == 5
    assert remove_parts(tmp_path) == 2
    assert sorted(folder.iterdir()) == sorted(kept)


def test_importing_tables_does_not_import_geopandas():
    code = (
        "import sys, snakeshed.tables.geoparquet\n"
        "assert not {'geopandas', 'pyogrio', 'shapely', 'pyproj'} & set(sys.modules)"
    )
    env = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
