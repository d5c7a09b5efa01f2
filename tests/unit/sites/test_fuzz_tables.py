"""Any site table and any configuration ends in a result, or in a sentence that names it.

A result keeps the promise of the tables: every data row is an observation or rejected, every site
is there once. Anything else than a `SnakeshedError` fails these tests; so does a hang.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import warnings
import zipfile
from functools import cache
from pathlib import Path

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from snakeshed.errors import SeveralProblems, SnakeshedError
from snakeshed.sites.prepare import PreparedSites, prepare_sites
from snakeshed.study.configuration import complete
from snakeshed.study.yaml_file import load_schema, read_study
from snakeshed.tables.geoparquet import read_table

SCHEMA = load_schema(Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml")
SUFFIXES = (
    *(".csv", ".tsv", ".rdb", ".xlsx", ".parquet", ".geoparquet"),
    *(".gpkg", ".geojson", ".fgb", ".zip"),
)
WITH_POINTS = {".geoparquet", ".gpkg", ".geojson", ".fgb", ".zip"}
WITHOUT_GEOMETRY = {".csv", ".tsv", ".rdb", ".xlsx"}
COLUMNS = {"site_id": "name", "x": "x", "y": "y", "area": "area"}


def fuzzed(count: int):
    # Nothing here takes a second; a hang would.
    return examples(count, deadline=20_000, suppress_health_check=list(HealthCheck))


def sites_section(suffix: str, has_points: bool, **changes) -> dict:
    section = {
        "path": f"sites{suffix}",
        "columns": {"site_id": "name", "area": "area"} if has_points else COLUMNS,
        "crs": None if has_points else "EPSG:4326",
    }
    raw = {"study": "fuzz", "dem": {"path": "dem.tif"}, "sites": section | changes}
    return complete(raw, SCHEMA, "fuzz.yaml")["sites"]


def outcome(content: bytes, suffix: str, has_points: bool) -> PreparedSites | None:
    """Prepare a table of these bytes; None if it is refused as it should be."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Libraries warn of what is odd in a file; that is no failure.
        warnings.simplefilter("ignore")
        path = Path(folder, f"sites{suffix}")
        path.write_bytes(content)
        try:
            prepared = prepare_sites(sites_section(suffix, has_points), folder)
        except SnakeshedError as error:
            check_message(error, path.name)
            return None
        check_promise(prepared)
        written = [Path(folder, name) for name in ("s.parquet", "o.parquet", "r.csv", "w.json")]
        prepared.write(*written)
        assert read_table(written[0])["site_id"].tolist() == prepared.sites["site_id"].tolist()
        assert json.loads(written[3].read_text(encoding="utf-8")) == prepared.warnings
        return prepared


def check_message(error: SnakeshedError, where: str) -> None:
    problems = error.problems if isinstance(error, SeveralProblems) else [error]
    assert problems
    for problem in problems:
        assert where in problem.where or problem.where.startswith("sites.")
        for part in (problem.found, problem.expected, problem.next_step):
            assert part.strip()


def check_promise(prepared: PreparedSites) -> None:
    sites, observations = prepared.sites, prepared.observations
    assert len(sites) > 0
    assert sites["site_id"].is_unique
    assert sites["site_id"].tolist() == sorted(sites["site_id"])
    assert all(sites["site_id"].str.len() > 0)
    assert sites["lon"].between(-180, 180).all()
    assert sites["lat"].between(-90, 90).all()
    areas = sites["reported_area_km2"].dropna()
    assert all(math.isfinite(area) and area > 0 for area in areas)

    out = prepared.rejected.loc[prepared.rejected["action"] == "rejected", "row"].tolist()
    kept = observations["row"].to_pylist()
    assert len({*out, *kept}) == len(out) + len(kept)
    assert set(prepared.rejected["row"]) <= {*out, *kept}
    counts = pd.Series(observations["site_id"].to_pylist()).value_counts()
    assert counts.to_dict() == dict(zip(sites["site_id"], sites["observations"], strict=True))


@cache
def valid(suffix: str) -> bytes:
    """A good table in each format, with every kind of column."""
    frame = pd.DataFrame(
        {
            "name": ["a", "b", "ñ", "b"],
            "x": [-118.1, -118.2, -118.3, -118.2],
            "y": [34.1, 34.2, 34.3, 34.2],
            "area": [0.5, 1.5, None, 1.5],
            "storm": pd.to_datetime(["2008-01-22", None, "2008-02-01", "2008-03-01"]),
            "n": [1, 2, 3, 4],
        }
    )
    points = geopandas.GeoDataFrame(
        frame, geometry=geopandas.points_from_xy(frame["x"], frame["y"]), crs="EPSG:4326"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"sites{suffix}")
        if suffix == ".csv":
            frame.to_csv(path, index=False)
        elif suffix == ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        elif suffix == ".rdb":
            header, *rows = frame.to_csv(index=False, sep="\t").splitlines()
            lines = ["# USGS", header, "\t".join(["9s", "9n", "9n", "9n", "9d", "9n"]), *rows]
            path.write_text("\n".join(lines) + "\n")
        elif suffix == ".zip":
            # A shapefile has dates, but no instants.
            points.astype({"storm": "str"}).to_file(Path(folder, "sites.shp"))
            with zipfile.ZipFile(path, "w") as archive:
                for file in Path(folder).glob("sites.*"):
                    if file != path:
                        archive.write(file, file.name)
        elif suffix == ".xlsx":
            frame.to_excel(path, index=False)
        elif suffix == ".parquet":
            frame.to_parquet(path)
        elif suffix == ".geoparquet":
            points.to_parquet(path)
        else:
            points.to_file(path)
        return path.read_bytes()


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes with a few bits flipped, a piece cut out, written twice, or garbage put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["flip", "set", "cut", "end", "insert", "again"]))
        if kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            data[at] = draw(st.sampled_from([0, 1, 10, 34, 44, 127, 128, 255]))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "end":
            del data[at:]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=32))
        else:
            data[at:at] = data[at : at + 64]
    return bytes(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_files_that_are_damaged_are_good_ones(suffix):
    has_points = suffix in WITH_POINTS
    prepared = outcome(valid(suffix), suffix, has_points)
    assert prepared.sites["site_id"].tolist() == ["a", "b", "ñ"]
    assert prepared.rejected.empty


@fuzzed(60)
@given(st.binary(max_size=300), st.sampled_from(SUFFIXES), st.booleans())
def test_any_bytes(content, suffix, has_points):
    has_points = has_points and suffix not in WITHOUT_GEOMETRY
    outcome(content, suffix, has_points)


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzzed(30)
@given(st.data())
def test_damaged_files(suffix, data):
    has_points = suffix in WITH_POINTS
    outcome(data.draw(damaged(valid(suffix))), suffix, has_points)


@fuzzed(40)
@given(st.data())
def test_xlsx_files_with_damaged_parts(data):
    """Inside the archive, where its checksums do not catch the damage."""
    with zipfile.ZipFile(io.BytesIO(valid(".xlsx"))) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    which = data.draw(st.sampled_from(sorted(parts)))
    parts[which] = data.draw(damaged(parts[which]))
    if data.draw(st.integers(0, 9)) == 0:
        del parts[data.draw(st.sampled_from(sorted(parts)))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as book:
        for name, part in parts.items():
            book.writestr(name, part)
    outcome(packed.getvalue(), ".xlsx", False)


CSV_TEXTS = st.one_of(
    st.sampled_from(["a", "-118.1", "34.1", "400000", "", " ", "NA", "nan", "inf", "1e999", "0"]),
    st.sampled_from(['"', '""', '"a,b"', '"a\nb"', "\r", "1,5", "2008-01-22", "true", "\x00", "é"]),
    st.text(max_size=8),
)


@fuzzed(100)
@given(
    st.lists(st.lists(CSV_TEXTS, min_size=3, max_size=5), max_size=6),
    st.sampled_from(["name,x,y,area", "name,x,y,area,", "x,y,name,area", "name,x,y,area,site_id"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_csv_of_any_cells(rows, header, end):
    lines = [header, *(",".join(row) for row in rows)]
    content = (end.join(lines) + end).encode("utf-8", "surrogatepass")
    outcome(content, ".csv", False)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.floats(-180, 180),
    st.text(max_size=12),
    st.sampled_from(["a", "b", "-118.1", "34.1", "11", "11N", "11S", "0", "-1", "1e400", "1_0"]),
)
WHOLE_COLUMNS = st.one_of(
    st.lists(PLAIN.map(lambda cell: None if cell is None else str(cell)), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(-180, 180), min_size=3, max_size=3),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    st.lists(st.none() | st.dates(), min_size=3, max_size=3),
    st.lists(st.none() | st.decimals(-1000, 1000, places=2), min_size=3, max_size=3),
    st.lists(st.none() | st.binary(max_size=4), min_size=3, max_size=3),
    st.lists(st.none() | st.lists(st.integers(0, 9), max_size=2), min_size=3, max_size=3),
    st.lists(
        st.integers(-(2**63), 2**63 - 1).map(lambda tick: pa.scalar(tick, pa.timestamp("us"))),
        min_size=3,
        max_size=3,
    ),
)


@fuzzed(80)
@given(st.data(), st.sampled_from(["EPSG:4326", "EPSG:32611", "EPSG:3857", "EPSG:2229", None]))
def test_any_cells_of_any_type(data, crs):
    names = ["name", "x", "y", "area", "zone"]
    columns = {name: data.draw(WHOLE_COLUMNS) for name in names}
    if data.draw(st.booleans()):
        columns["x"], columns["y"] = [-118.1, 400_000.0, 6.5e6], [34.1, 3_787_000.0, 1.8e6]
    table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
    sites = {"path": "sites.parquet", "columns": COLUMNS, "crs": crs}
    if crs is None:
        utm = {
            "datum": data.draw(st.sampled_from(["WGS84", "NAD83", "NAD27"])),
            "hemisphere": data.draw(st.sampled_from(["north", None])),
        }
        sites |= {"columns": COLUMNS | {"utm_zone": "zone"}, "utm": utm}
    raw = {"study": "fuzz", "dem": {"path": "dem.tif"}, "sites": sites}
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder, "sites.parquet"))
        try:
            prepared = prepare_sites(complete(raw, SCHEMA, "fuzz.yaml")["sites"], folder)
        except SnakeshedError as error:
            check_message(error, "sites.parquet")
            return
        check_promise(prepared)
        out = prepared.rejected.loc[prepared.rejected["action"] == "rejected", "row"].tolist()
        assert sorted([*out, *prepared.observations["row"].to_pylist()]) == [1, 2, 3]
        written = [Path(folder, name) for name in ("s.parquet", "o.parquet", "r.csv", "w.json")]
        prepared.write(*written)
        assert read_table(written[0])["site_id"].tolist() == prepared.sites["site_id"].tolist()


@fuzzed(60)
@given(st.sampled_from(["EPSG", "ESRI", "OGC", "IAU_2015", "X"]), st.integers(0, 40_000))
def test_any_crs(authority, code):
    """Codes of other than two axes, of other planets, of nothing at all."""
    points = [(-118.1, 34.1), (400_000.0, 3_787_000.0), (0.0, 0.0), (1e300, -1e300), (500.0, 500.0)]
    frame = pd.DataFrame(points, columns=["x", "y"]).assign(name=list("abcde"), area=1.0)
    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(Path(folder, "sites.parquet"))
        section = sites_section(".parquet", False, crs=f"{authority}:{code}")
        try:
            prepared = prepare_sites(section, folder)
        except SnakeshedError as error:
            check_message(error, "sites.parquet")
            return
        check_promise(prepared)


def key_names(schema: dict):
    for key, inner in schema.get("properties", {}).items():
        yield key
        yield from key_names(inner)
        yield from key_names(inner.get("items", {}))


KEYS = st.sampled_from(sorted(set(key_names(SCHEMA))))
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**30, -(10**300), 10**4000]),
        st.floats(),
        st.text(max_size=6),
        st.dates(),
        st.binary(max_size=3),
        st.sampled_from(["EPSG:4326", "numeric", "classes", "a.csv", "a.gpkg", "mine", "lon"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS | st.text(max_size=3) | st.integers() | st.none(), inner, max_size=4),
    ),
    max_leaves=12,
)


def completed(raw: object) -> None:
    try:
        done = complete(raw, SCHEMA, "fuzz.yaml")
    except SeveralProblems as error:
        for problem in error.problems:
            assert problem.where.startswith("fuzz.yaml: ")
            assert len(str(problem)) < 4000
        return
    assert repr(complete(done, SCHEMA, "fuzz.yaml")) == repr(done)


@fuzzed(150)
@given(VALUES)
def test_any_value_as_configuration(raw):
    completed(raw)


def paths_into(value: object, path: tuple = ()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_into(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths_into(item, (*path, index))


def whole_study() -> dict:
    return {
        "study": "mine",
        "shards": 4,
        "sites": {
            "path": "sites.csv",
            "columns": {"site_id": "name", "x": "x", "y": "y", "utm_zone": "z", "area": "a"},
            "utm": {"datum": "NAD83", "hemisphere": "north"},
        },
        "dem": {"path": ["a.tif", "b.tif"], "target_crs": "EPSG:32611", "resolution": 10},
        "snap": {"radius_m": 100},
        "features": {"percentiles": [10, 90]},
        "layers": [
            {"name": "kf", "path": "kf.tif", "type": "numeric", "percentiles": [5]},
            {"name": "severity", "path": "b.tif", "type": "classes", "classes": {1: "low"}},
        ],
    }


@fuzzed(150)
@given(st.data())
def test_a_configuration_with_any_value_anywhere(data):
    study = whole_study()
    complete(study, SCHEMA, "fuzz.yaml")
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([path for path in paths_into(study) if path]))
        parent = study
        for part in path[:-1]:
            parent = parent[part]
        action = data.draw(st.sampled_from(["set", "remove", "rename"]))
        if action == "set":
            parent[path[-1]] = data.draw(VALUES)
        elif action == "remove" or isinstance(parent, list):
            del parent[path[-1]]
        else:
            parent[data.draw(st.text(max_size=5))] = parent.pop(path[-1])
    completed(study)


@fuzzed(150)
@given(st.one_of(st.binary(max_size=200), damaged(yaml.safe_dump(whole_study()).encode())))
def test_any_file_as_configuration(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.yaml")
        path.write_bytes(content)
        try:
            raw = read_study(path)
        except SeveralProblems as error:
            check_message(error, str(path))
            return
        completed(raw)
