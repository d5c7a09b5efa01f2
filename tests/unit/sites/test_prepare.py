"""Sites are unique, stable, and nothing of their table is lost without a word."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import random
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pyproj import Transformer
from staley import SHEET, SITES, TABLE

import prepare_sites as prepare_sites_rule
from snakeshed.errors import SeveralProblems, TableError
from snakeshed.report.published import published_values
from snakeshed.result_files import record_of
from snakeshed.sites.prepare import AREA_UNITS_IN_M2, prepare_sites
from snakeshed.sites.reserved import RESERVED, name_in
from snakeshed.study.configuration import complete
from snakeshed.tables.exports import write_csv, write_geopackage
from snakeshed.tables.geoparquet import (
    geometry_metadata,
    read_arrow,
    read_descriptions,
    read_table,
    write_table,
)

SCHEMA = Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml"
COLUMNS = {"site_id": "name", "x": "lon", "y": "lat", "area": "area"}


def prepare(folder, path="sites.csv", **sites):
    """Prepare a table with the settings that the configuration would give."""
    sites = {"path": path, "columns": COLUMNS, "crs": "EPSG:4326"} | sites
    raw = {"study": "test", "dem": {"path": "dem.tif"}, "sites": sites}
    return prepare_sites(complete(raw, SCHEMA, "test.yaml")["sites"], folder)


def save(folder, rows, columns=("name", "lon", "lat", "area")):
    """Write a table of raw text, as an editor would."""
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    (folder / "sites.csv").write_text("\n".join(lines) + "\n")
    return folder


def refused(prepared) -> dict:
    return {row: (action, reason) for row, _, action, reason, _ in prepared.rejected.to_numpy()}


# Paths, markup, spreadsheets' and other programs' special values, signs that are easily lost.
STRANGE = [
    "../../etc/passwd",
    "..",
    "a/b\\c",
    "a.b",
    "'q\"q'",
    "<script>alert(1)</script>",
    "&amp;",
    "x" * 300,
    "line\nbreak",
    "tab\tstop",
    "one\rtwo",
    "nan",
    "NA",
    "null",
    "None",
    "1e5",
    "007",
    "1.50",
    "-",
    "%s{shard}",
    "Ñuñoa",
    "東京",
    "القدس",
    "\U0001f600",
    "zero\u200bwidth",
    "=1+1",
]

GOOD = [
    ("a", -118.1, 34.1, 0.5),
    ("b", -118.2, 34.2, 1.5),
    ("a", -118.1, 34.1, 0.5),
]


class TestSites:
    def test_rows_of_one_site_are_its_observations(self, tmp_path):
        prepared = prepare(save(tmp_path, GOOD))
        assert prepared.sites.to_dict("list") == {
            "site_id": ["a", "b"],
            "lon": [-118.1, -118.2],
            "lat": [34.1, 34.2],
            "x": [-118.1, -118.2],
            "y": [34.1, 34.2],
            "crs": ["EPSG:4326", "EPSG:4326"],
            "reported_area_km2": [0.5, 1.5],
            "observations": [2, 1],
        }
        assert prepared.observations["site_id"].to_pylist() == ["a", "b", "a"]
        assert prepared.observations["row"].to_pylist() == [1, 2, 3]
        assert prepared.rejected.empty
        assert prepared.warnings == []

    def test_sites_are_sorted_by_code_point(self, tmp_path):
        names = ["b10", "b9", "B", "é", "a", "~"]
        prepared = prepare(save(tmp_path, [(name, -118, 34, 1) for name in names]))
        assert prepared.sites["site_id"].tolist() == ["B", "a", "b10", "b9", "~", "é"]

    def test_without_a_column_the_site_is_named_by_its_place(self, tmp_path):
        rows = [("p", -118.001234, 34.321012, 1), ("q", 151.2, -33.8, 1), ("r", 151.2, -33.8, 1)]
        columns = {"x": "lon", "y": "lat"}
        prepared = prepare(save(tmp_path, rows), columns=columns)
        assert prepared.sites["site_id"].tolist() == [
            "33.800000S_151.200000E",
            "34.321012N_118.001234W",
        ]
        assert prepared.sites["observations"].tolist() == [2, 1]
        assert prepared.sites["reported_area_km2"].isna().all()
        alone = prepare(save(tmp_path, rows[1:2]), columns=columns)
        assert alone.sites["site_id"].tolist() == ["33.800000S_151.200000E"]

    def test_all_columns_of_the_input_are_kept(self, tmp_path):
        rows = [("x", -118, 34, 1, 7, "2008-01-22"), ("y", -119, 34, "", "", "2008-02-01")]
        save(tmp_path, rows, ("name", "lon", "lat", "area", "I15", "storm"))
        observations = prepare(tmp_path).observations
        assert observations.column_names == [
            "site_id",
            "row",
            "name",
            "lon",
            "lat",
            "area",
            "I15",
            "storm",
        ]
        assert observations["I15"].to_pylist() == [7, None]
        assert str(observations.schema.field("I15").type) == "int64"
        assert str(observations.schema.field("storm").type) == "date32[day]"

    def test_names_of_ours_in_the_input_are_kept_under_another_name(self, tmp_path):
        rows = [("x", -118, 34, "k", 9)]
        save(tmp_path, rows, ("name", "lon", "lat", "site_id", "row"))
        columns = {"site_id": "name", "x": "lon", "y": "lat"}
        prepared = prepare(tmp_path, columns=columns)
        assert prepared.observations["site_id"].to_pylist() == ["x"]
        assert prepared.observations["input_site_id"].to_pylist() == ["k"]
        assert prepared.observations["input_row"].to_pylist() == [9]
        assert len(prepared.warnings) == 2
        own = prepare(tmp_path, columns=columns | {"site_id": "site_id"})
        assert own.observations["site_id"].to_pylist() == ["k"]
        assert "input_site_id" not in own.observations.column_names

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_column_of_a_reserved_name_keeps_its_values_and_is_found(self, tmp_path, suffix):
        names = [*RESERVED, *(name.upper() for name in RESERVED), "Geometry", "input_row"]
        frame = pd.DataFrame({"name": ["a", "b"], "lon": -118.0, "lat": 34.0})
        frame = frame.assign(**{name: [10.5 + k, 20.5 + k] for k, name in enumerate(names)})
        {".csv": frame.to_csv, ".parquet": frame.to_parquet}[suffix](
            tmp_path / f"sites{suffix}", index=False
        )
        columns = {"site_id": "name", "x": "lon", "y": "lat"}
        prepared = prepare(tmp_path, f"sites{suffix}", columns=columns)
        written = [tmp_path / name for name in ("s.parquet", "o.parquet", "r.csv", "w.json")]
        prepared.write(*written)
        observations = read_arrow(written[1])
        write_csv(read_arrow(written[1]), tmp_path / "o.csv")
        of_csv = pd.read_csv(tmp_path / "o.csv")
        assert list(of_csv) == observations.column_names
        assert len(read_table(written[1])) == 2
        assert len(set(observations.column_names)) == len(frame.columns) + 2
        assert "geometry" not in observations.column_names
        for name in names:
            # By its own name, whatever it is called now: for `compare`.
            values = dict(zip(frame["name"], frame[name], strict=True))
            assert published_values(observations, name) == values, name
            assert of_csv[name_in(observations, name)].tolist() == frame[name].tolist()
        assert observations["row"].to_pylist() == [1, 2]
        renamed = [warning for warning in prepared.warnings if "in observations" in warning]
        assert [warning.split("'")[1] for warning in renamed] == list(RESERVED)
        assert read_descriptions(written[1])["input_geometry"] == (
            "the column 'geometry' of the site table"
        )


class TestIdentifiers:
    def test_text_is_kept_and_trimmed(self, tmp_path):
        rows = [("007", -118, 34, 1), (" 7 ", -118.5, 34, 1), ("NA", -119, 34, 1)]
        assert prepare(save(tmp_path, rows)).sites["site_id"].tolist() == ["007", "7", "NA"]

    def test_codes_stay_apart(self, tmp_path):
        names = ["1.0", "1", "1.00", "1e0", "05130101", "5130101", f"{10**20 + 1}", f"{10**20 + 2}"]
        prepared = prepare(save(tmp_path, [(name, -118, 34, 1) for name in names]))
        assert prepared.sites["site_id"].tolist() == sorted(names)
        assert prepared.observations["site_id"].to_pylist() == names

    def test_coordinates_and_areas_are_read_however_they_are_written(self, tmp_path):
        prepared = prepare(save(tmp_path, [("a", "-118.10", "+34.10", "1e1"), ("b", -119, 34, 1)]))
        assert prepared.sites.loc[0, ["x", "y", "reported_area_km2"]].tolist() == [-118.1, 34.1, 10]
        assert prepared.observations["lon"].to_pylist() == ["-118.10", "-119"]

    @pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet"])
    @pytest.mark.parametrize("ids", [[11, 12], [11.0, 12.0], ["11", "12"], [11, "x"], [11.0, None]])
    def test_whole_numbers_read_the_same_from_every_format(self, tmp_path, suffix, ids):
        if suffix == ".csv":
            # Text has no types: there, 11.0 is another code than 11.
            ids = [str(int(one)) if isinstance(one, float) else one for one in ids]
        if suffix == ".parquet" and "x" in ids:
            # A column of Parquet has one type.
            ids = [str(one) for one in ids]
        frame = pd.DataFrame({"name": ids, "lon": [-118.0, -119.0], "lat": 34.0, "area": 1.0})
        writers = {
            ".csv": frame.to_csv,
            ".xlsx": frame.to_excel,
            ".parquet": frame.to_parquet,
        }
        writers[suffix](tmp_path / f"sites{suffix}", index=False)
        prepared = prepare(tmp_path, f"sites{suffix}")
        assert prepared.sites["site_id"][0] == "11"
        assert prepared.observations["site_id"][0].as_py() == "11"

    @pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet", ".gpkg", ".geojson"])
    def test_any_text_is_an_identifier_and_stays_as_it_is(self, tmp_path, suffix):
        # What begins with = is a formula in XLSX, and XML has one kind of line break.
        names = STRANGE if suffix != ".xlsx" else [name for name in STRANGE if name[0] != "="]
        expected = names if suffix != ".xlsx" else [name.replace("\r", "\n") for name in names]
        frame = pd.DataFrame({"name": names, "lon": -118.0, "lat": 34.0, "area": 1.0})
        path = tmp_path / f"sites{suffix}"
        if suffix in {".gpkg", ".geojson"}:
            points = geopandas.points_from_xy(frame["lon"], frame["lat"])
            geopandas.GeoDataFrame(frame, geometry=points, crs="EPSG:4326").to_file(path)
        elif suffix == ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                frame.to_csv(file, index=False, quoting=csv.QUOTE_ALL)
        else:
            {".xlsx": frame.to_excel, ".parquet": frame.to_parquet}[suffix](path, index=False)
        prepared = prepare(tmp_path, path.name)
        assert prepared.rejected.empty
        assert prepared.observations["site_id"].to_pylist() == expected
        written = [tmp_path / name for name in ("s.parquet", "o.parquet", "r.csv", "w.json")]
        prepared.write(*written)
        assert read_table(written[0])["site_id"].tolist() == sorted(expected)
        assert read_table(written[1])["site_id"].tolist() == expected
        # No path is built from an identifier.
        records = [record_of(file) for file in written]
        assert sorted(tmp_path.iterdir()) == sorted([path, *written, *records])

    def test_identifiers_of_rejected_rows_stay_as_they_are(self, tmp_path):
        frame = pd.DataFrame({"name": [*STRANGE, "good"], "lon": "?", "lat": 34.0, "area": 1.0})
        frame.loc[len(STRANGE), "lon"] = "-118"
        frame.to_parquet(tmp_path / "sites.parquet")
        prepared = prepare(tmp_path, "sites.parquet")
        prepared.write(*(tmp_path / name for name in ("s.parquet", "o.parquet", "r.csv", "w.json")))
        with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
            found = [row["site_id"] for row in csv.DictReader(file)]
        assert found == STRANGE

    def test_normal_forms_of_one_name_are_two_sites_and_told(self, tmp_path):
        names = ["Ca\u00f1on", "Can\u0303on"]
        prepared = prepare(save(tmp_path, [(name, -118, 34, 1) for name in names]))
        assert prepared.sites["site_id"].tolist() == sorted(names)
        (warning,) = prepared.warnings
        assert "'Ca\u00f1on' is there twice, with its accents written in two ways" in warning

    def test_two_names_of_one_place_are_two_sites(self, tmp_path):
        prepared = prepare(save(tmp_path, [("a", -118, 34, 1), ("b", -118, 34, 2)]))
        assert prepared.sites["reported_area_km2"].tolist() == [1, 2]
        assert prepared.warnings == []

    def test_a_row_without_identifier_is_refused(self, tmp_path):
        prepared = prepare(save(tmp_path, [*GOOD, ("", -118, 34, 1), ("  ", -118, 34, 1)]))
        assert refused(prepared) == {4: ("rejected", "no site_id"), 5: ("rejected", "no site_id")}
        assert prepared.rejected["found"].tolist() == ["an empty cell in 'name'"] * 2
        assert prepared.rejected["site_id"].isna().all()

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_nul_character_is_refused_since_geopackages_would_end_there(self, tmp_path, suffix):
        frame = pd.DataFrame({"name": ["\0", "a\0b", "a"], "lon": -118.0, "lat": 34.0, "area": 1.0})
        if suffix == ".csv":
            save(tmp_path, frame.to_numpy().tolist())
        else:
            frame.to_parquet(tmp_path / "sites.parquet")
        prepared = prepare(tmp_path, f"sites{suffix}")
        reason = "the site_id has a NUL character, at which GeoPackages end it"
        assert refused(prepared) == dict.fromkeys((1, 2), ("rejected", reason))
        assert prepared.rejected["found"].tolist() == [r"'\x00'", r"'a\x00b'"]
        assert prepared.sites["site_id"].tolist() == ["a"]

    @examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
    def test_every_other_identifier_survives_all_exports(self, tmp_path, name):
        write_table(
            pd.DataFrame({"site_id": [name]}),
            tmp_path / "t.parquet",
            {"site_id": "a site", "geometry": "its place"},
            geometry=[shapely.box(0, 0, 1, 1)],
            crs="EPSG:32611",
        )
        write_geopackage(tmp_path / "t.parquet", tmp_path / "t.gpkg")
        write_csv(read_arrow(tmp_path / "t.parquet"), tmp_path / "t.csv")
        assert geopandas.read_file(tmp_path / "t.gpkg")["site_id"].tolist() == [name]
        with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
            assert [row["site_id"] for row in csv.DictReader(file)] == [name]


class TestRefusedRows:
    def test_the_other_rows_go_on(self, tmp_path):
        bad = [("c", "north", 34, 1), ("d", 34.5, -118.5, 1), ("e", "", "", 1)]
        prepared = prepare(save(tmp_path, [bad[0], *GOOD, *bad[1:]]))
        assert prepared.sites["site_id"].tolist() == ["a", "b"]
        assert prepared.observations["row"].to_pylist() == [2, 3, 4]
        assert refused(prepared) == {
            1: ("rejected", "the coordinates are not finite numbers"),
            5: ("rejected", "longitude and latitude look swapped"),
            6: ("rejected", "the coordinates are not finite numbers"),
        }
        assert prepared.rejected["site_id"].tolist() == ["c", "d", "e"]
        assert prepared.rejected["found"][0] == "lon = 'north'"

    def test_a_bad_row_of_a_site_leaves_its_other_rows(self, tmp_path):
        prepared = prepare(save(tmp_path, [*GOOD, ("a", "", 34.1, 0.5)]))
        assert prepared.sites["observations"].tolist() == [2, 1]
        assert list(refused(prepared)) == [4]

    def test_one_identifier_at_two_places_is_refused_with_both(self, tmp_path):
        # 0.00002 degrees of latitude are 2.2 m.
        prepared = prepare(save(tmp_path, [*GOOD, ("a", -118.1, 34.10002, 0.5)]))
        assert prepared.sites["site_id"].tolist() == ["b"]
        assert refused(prepared) == dict.fromkeys(
            [1, 3, 4], ("rejected", "one site_id at different places")
        )
        places = "34.100000N_118.100000W (row 1), 34.100020N_118.100000W (row 4)"
        assert set(prepared.rejected["found"]) == {places}
        assert prepared.observations["site_id"].to_pylist() == ["b"]

    def test_many_places_of_one_identifier_are_told_briefly(self, tmp_path):
        rows = [("x", -118 - k / 100, 34, 1) for k in range(7)]
        prepared = prepare(save(tmp_path, [*GOOD, *rows]))
        assert prepared.rejected["found"].iloc[0].endswith("(row 8) and 4 more")

    def test_places_within_a_metre_are_one_site_at_the_smallest(self, tmp_path):
        # 0.000005 degrees of latitude are 0.55 m.
        rows = [("a", -118.1, 34.100005, 0.5), *GOOD]
        prepared = prepare(save(tmp_path, rows))
        assert prepared.rejected.empty
        assert prepared.sites.loc[0, ["lat", "y", "observations"]].tolist() == [34.1, 34.1, 3]

    def test_one_site_may_be_given_in_two_zones(self, tmp_path):
        rows = []
        for number in (12, 11):
            to_zone = Transformer.from_crs(4269, 26900 + number, always_xy=True)
            x, y = to_zone.transform(-114.0, 34.0)
            rows.append(("a", f"{x:.4f}", f"{y:.4f}", number))
        save(tmp_path, rows, ("name", "E", "N", "zone"))
        columns = {"site_id": "name", "x": "E", "y": "N", "utm_zone": "zone"}
        utm = {"datum": "NAD83", "hemisphere": "north"}
        prepared = prepare(tmp_path, columns=columns, crs=None, utm=utm)
        assert len(prepared.sites) == 1
        assert prepared.sites["lon"][0] == pytest.approx(-114, abs=1e-7)
        again = prepare(
            save(tmp_path, rows[::-1], ("name", "E", "N", "zone")),
            columns=columns,
            crs=None,
            utm=utm,
        )
        pd.testing.assert_frame_equal(prepared.sites, again.sites)


class TestReportedAreas:
    @pytest.mark.parametrize(
        ("unit", "value"),
        [("km2", 2.0), ("m2", 2e6), ("ha", 200), ("acre", 494.2107629), ("mi2", 0.7722043171)],
    )
    def test_units(self, tmp_path, unit, value):
        prepared = prepare(save(tmp_path, [("a", -118, 34, value)]), area_unit=unit)
        assert prepared.sites["reported_area_km2"][0] == pytest.approx(2, rel=1e-9)

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ("small", "the reported area is not a finite number"),
            ("inf", "the reported area is not a finite number"),
            ("-1", "the reported area is not positive"),
            ("0", "the reported area is not positive"),
        ],
    )
    def test_a_bad_area_is_left_out_and_told(self, tmp_path, cell, reason):
        prepared = prepare(save(tmp_path, [*GOOD, ("c", -118, 34, cell)]))
        assert refused(prepared) == {4: ("kept without reported area", reason)}
        assert math.isnan(prepared.sites["reported_area_km2"][2])
        assert prepared.observations["row"].to_pylist() == [1, 2, 3, 4]

    @pytest.mark.parametrize("cell", ["", "NA", "NaN"])
    @pytest.mark.parametrize("beside", [0.5, "0.50"])
    def test_a_missing_area_is_no_problem(self, tmp_path, cell, beside):
        rows = [("a", -118.1, 34.1, beside), ("b", -118.2, 34.2, 1.5), ("c", -118, 34, cell)]
        prepared = prepare(save(tmp_path, rows))
        assert prepared.rejected.empty
        assert math.isnan(prepared.sites["reported_area_km2"][2])

    @pytest.mark.parametrize(
        ("areas", "agreed", "told"),
        [
            ([2, 1, 2], 2, {2}),
            ([2, 1], 1, {1}),
            (["", 3, ""], 3, set()),
            (["x", 3, ""], 3, {1}),
            ([-1, 0], None, {1, 2}),
        ],
    )
    def test_the_most_frequent_area_holds_then_the_smallest(self, tmp_path, areas, agreed, told):
        prepared = prepare(save(tmp_path, [("a", -118, 34, area) for area in areas]))
        found = prepared.sites["reported_area_km2"][0]
        assert math.isnan(found) if agreed is None else found == agreed
        assert set(refused(prepared)) == told
        action = "kept without" if agreed is None else "kept with the reported area of other rows"
        assert all(item[0].startswith(action) for item in refused(prepared).values())
        assert prepared.sites["observations"][0] == len(areas)

    def test_a_likely_slip_of_units_is_told(self, tmp_path):
        rows = [(f"s{k}", -118, 34, 435_986 + k) for k in range(9)]
        (warning,) = prepare(save(tmp_path, rows)).warnings
        assert "half of the reported areas are above 435990 km2" in warning
        assert warning.endswith("are they in m2?")
        # The warnings are a file, for the summary of the run.
        prepare(tmp_path).write(*(tmp_path / name for name in ("s.parquet", "o", "r", "w.json")))
        assert json.loads((tmp_path / "w.json").read_text(encoding="utf-8")) == [warning]
        rows = [(f"s{k}", -118, 34, 0.4 + k) for k in range(9)]
        (warning,) = prepare(save(tmp_path, rows), area_unit="m2").warnings
        assert "below 4.4e-06 km2 with sites.area_unit m2: are they in km2" in warning
        assert prepare(save(tmp_path, rows)).warnings == []

    def test_the_units_are_those_of_their_definitions(self):
        assert AREA_UNITS_IN_M2["mi2"] == pytest.approx(1609.344**2, rel=1e-12)
        assert AREA_UNITS_IN_M2["acre"] == pytest.approx(1609.344**2 / 640, rel=1e-12)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", ""]),
        st.sampled_from([-118.1, -118.1000001, -118.2, 34.1, "x", ""]),
        st.sampled_from([34.1, 34.1000002, -118.1]),
        st.sampled_from([0.5, 1.5, "", "n/a", -1]),
    ),
    max_size=9,
)


class TestOrder:
    @examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(ROWS, st.randoms(use_true_random=False), st.booleans())
    def test_row_order_changes_no_site(self, tmp_path, rows, shuffler, with_ids):
        rows = [*rows, ("z", -118.5, 34.5, 1)]
        columns = COLUMNS if with_ids else COLUMNS | {"site_id": None}
        shuffled = shuffler.sample(rows, len(rows))
        one = prepare(save(tmp_path, rows), columns=columns)
        two = prepare(save(tmp_path, shuffled), columns=columns)
        pd.testing.assert_frame_equal(one.sites, two.sites, check_exact=True)
        told = [
            sorted(map(tuple, item.rejected[["action", "reason"]].to_numpy()))
            for item in (one, two)
        ]
        assert told[0] == told[1]

        # Every row is an observation, or rejected; every observation belongs to its site.
        out = set(one.rejected.loc[one.rejected["action"] == "rejected", "row"])
        kept = one.observations["row"].to_pylist()
        assert sorted([*out, *kept]) == list(range(1, len(rows) + 1))
        counts = pd.Series(one.observations["site_id"].to_pylist()).value_counts()
        assert counts.to_dict() == dict(
            zip(one.sites["site_id"], one.sites["observations"], strict=True)
        )

    @examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(ROWS)
    def test_other_sites_change_no_site(self, tmp_path, rows):
        alone = prepare(save(tmp_path, [("z", -118.5, 34.5, 1)])).sites
        among = prepare(save(tmp_path, [*rows, ("z", -118.5, 34.5, 1)])).sites
        among = among[among["site_id"] == "z"].reset_index(drop=True)
        pd.testing.assert_frame_equal(among, alone, check_exact=True)


class TestFiles:
    def test_the_rule_writes_warnings_in_words(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save(tmp_path, [GOOD[0], ("", "", "", ""), GOOD[1]])
        raw = {
            "study": "test",
            "dem": {"path": "dem.tif"},
            "sites": {"path": "sites.csv", "columns": COLUMNS, "crs": "EPSG:4326"},
        }
        section = complete(raw, SCHEMA, "test.yaml")["sites"]
        prepare_sites_rule.main(
            settings=section,
            also={"compare[0].column": "area"},
            inputs=["sites.csv"],
            inputs_of_run="none.json",
            sites="s.parquet",
            observations="o.parquet",
            rejected="r.csv",
            warnings="w.json",
            log="log",
        )
        expected = ["sites.csv: 1 empty rows were left out"]
        assert json.loads((tmp_path / "w.json").read_text(encoding="utf-8")) == expected
        assert expected[0] in (tmp_path / "log").read_text()

    def test_a_column_that_another_key_names_has_to_be_there(self, tmp_path):
        save(tmp_path, GOOD)
        also = {"observations.response.column": "Area", "compare[0].column": "area"}
        settings = complete(
            {
                "study": "test",
                "dem": {"path": "dem.tif"},
                "sites": {"path": "sites.csv", "columns": COLUMNS, "crs": "EPSG:4326"},
            },
            SCHEMA,
            "test.yaml",
        )["sites"]
        with pytest.raises(SeveralProblems) as caught:
            prepare_sites(settings, tmp_path, also)
        (problem,) = map(str, caught.value.problems)
        assert problem == (
            "sites.csv: found no column 'Area'; expected one of 'name', 'lon', 'lat', 'area'. Did "
            "you mean 'area'? Correct observations.response.column."
        )

    def test_every_format_gives_the_same_sites(self, tmp_path):
        frame = pd.DataFrame(GOOD, columns=["name", "lon", "lat", "area"])
        points = shapely.points(frame["lon"], frame["lat"])
        vector = geopandas.GeoDataFrame(frame[["name", "area"]], geometry=points, crs="EPSG:4326")
        frame.to_csv(tmp_path / "sites.csv", index=False)
        frame.to_excel(tmp_path / "sites.xlsx", index=False)
        frame.to_parquet(tmp_path / "sites.parquet")
        vector.to_parquet(tmp_path / "points.geoparquet")
        vector.to_file(tmp_path / "points.gpkg")
        vector.to_file(tmp_path / "points.geojson")
        expected = prepare(tmp_path).sites
        assert len(expected) == 2
        for name in ("sites.xlsx", "sites.parquet"):
            pd.testing.assert_frame_equal(prepare(tmp_path, name).sites, expected)
        for name in ("points.geoparquet", "points.gpkg", "points.geojson"):
            columns = {"site_id": "name", "area": "area"}
            found = prepare(tmp_path, name, columns=columns, crs=None).sites
            pd.testing.assert_frame_equal(found, expected)

    def test_all_unknown_columns_are_named_with_the_nearest(self, tmp_path):
        save(tmp_path, GOOD, ("Name", "Longitude", "lat", "Area_km2"))
        with pytest.raises(SeveralProblems) as caught:
            prepare(tmp_path)
        messages = [str(problem) for problem in caught.value.problems]
        assert len(messages) == 3
        assert messages[0].startswith("sites.csv: found no column 'name'; expected one of 'Name',")
        assert messages[0].endswith("Did you mean 'Name'? Correct sites.columns.site_id.")
        assert "Did you mean 'Longitude'? Correct sites.columns.x." in messages[1]
        assert "Did you mean 'Area_km2'? Correct sites.columns.area." in messages[2]

    @pytest.mark.parametrize(
        "shape", [shapely.LineString([(0, 0), (1, 1)]), shapely.box(0, 0, 1, 1)]
    )
    def test_lines_and_polygons_are_refused_with_what_to_check(self, tmp_path, shape):
        frame = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shape], crs="EPSG:4326")
        frame.to_file(tmp_path / "sites.gpkg")
        with pytest.raises(TableError) as caught:
            prepare(tmp_path, "sites.gpkg", columns={"site_id": "name"}, crs=None)
        message = str(caught.value)
        assert f"1 x the geometry is not one point (row 1: a {shape.geom_type})" in message
        assert "Check that this is the layer of the sites, as points, and its CRS." in message

    def test_a_table_of_formulas_says_how_to_get_their_results(self, tmp_path):
        frame = pd.DataFrame({"name": ["a"], "lon": ["=-118"], "lat": ["=34"], "area": 1.0})
        frame.to_excel(tmp_path / "sites.xlsx", index=False)
        with pytest.raises(TableError, match="open the file in a spreadsheet program and save it"):
            prepare(tmp_path, "sites.xlsx")

    def test_a_table_in_degrees_with_a_projected_crs_is_refused(self, tmp_path):
        with pytest.raises(TableError) as caught:
            prepare(save(tmp_path, GOOD), crs="EPSG:32611")
        message = str(caught.value)
        assert "not one usable row among 3: 3 x the coordinates look like degrees" in message
        assert "for longitude and latitude, set sites.crs to EPSG:4326" in message

    def test_a_row_in_degrees_among_metres_is_refused(self, tmp_path):
        rows = [("a", 400_000, 3_787_000, 1), ("b", -118.1, 34.2, 1)]
        prepared = prepare(save(tmp_path, rows), crs="EPSG:32611")
        assert prepared.sites["site_id"].tolist() == ["a"]
        (reason,) = prepared.rejected["reason"]
        assert reason.startswith("the coordinates look like degrees")

    def test_a_table_in_metres_called_degrees_is_refused(self, tmp_path):
        with pytest.raises(TableError, match="if they are lengths, sites.crs has to be the CRS"):
            prepare(save(tmp_path, [("a", 400_000, 3_787_000, 1)]))

    def test_a_table_without_a_usable_row_is_refused_with_the_reasons(self, tmp_path):
        rows = [("a", 34.1, -118.1, 1), ("b", 34.2, -118.1, 1), ("c", "", 34, 1)]
        with pytest.raises(TableError) as caught:
            prepare(save(tmp_path, rows))
        message = str(caught.value)
        assert "not one usable row among 3: 2 x longitude and latitude look swapped" in message
        assert "(row 1: 34.1, -118.1); 1 x the coordinates are not finite numbers" in message

    def test_empty_rows_are_told(self, tmp_path):
        prepared = prepare(save(tmp_path, [GOOD[0], ("", "", "", ""), GOOD[1]]))
        assert prepared.warnings == ["sites.csv: 1 empty rows were left out"]
        assert prepared.observations["row"].to_pylist() == [1, 3]

    def test_what_is_written_can_be_read_and_says_what_it_means(self, tmp_path):
        prepared = prepare(save(tmp_path, [*GOOD, ("c", '"x,\ny"', 34, 1), ("d", -118, 34, "?")]))
        paths = [tmp_path / name for name in ("s.parquet", "o.parquet", "r.csv", "w.json")]
        prepared.write(*paths)
        columns = list(prepared.sites)
        pd.testing.assert_frame_equal(read_table(paths[0], columns), prepared.sites)
        assert read_table(paths[1])["row"].tolist() == [1, 2, 3, 5]
        assert all(read_descriptions(paths[0]).values())
        assert "from 1" in read_descriptions(paths[1])["row"]
        rejected = pd.read_csv(paths[2])
        assert rejected.columns.tolist() == ["row", "site_id", "action", "reason", "found"]
        assert rejected["row"].tolist() == [4, 5]

    def test_sites_are_geoparquet_with_a_point_at_their_longitude_and_latitude(self, tmp_path):
        written = [tmp_path / name for name in ("s.parquet", "o.parquet", "r.csv", "w.json")]
        prepared = prepare(save(tmp_path, GOOD))
        prepared.write(*written)
        # GeoPandas as any user has it.
        sites = geopandas.read_parquet(written[0])
        assert sites.crs == "EPSG:4326"
        assert (sites.geometry.x == sites["lon"]).all()
        assert (sites.geometry.y == sites["lat"]).all()
        assert sites.geometry.geom_type.unique().tolist() == ["Point"]
        metadata = geometry_metadata(read_arrow(written[0]))
        assert metadata["geometry_types"] == ["Point"]
        assert metadata["bbox"] == sites.total_bounds.tolist()
        columns = pd.DataFrame(sites.drop(columns="geometry"))
        pd.testing.assert_frame_equal(columns, prepared.sites, check_exact=True)
        assert "EPSG:4326" in read_descriptions(written[0])["geometry"]

    def test_a_table_without_problems_has_an_empty_list_of_them(self, tmp_path):
        prepare(save(tmp_path, GOOD)).write(
            *(tmp_path / name for name in ("s.parquet", "o.parquet", "rejected.csv", "w.json"))
        )
        assert (tmp_path / "w.json").read_text() == "[]\n"
        assert (tmp_path / "rejected.csv").read_text() == "row,site_id,action,reason,found\n"


@pytest.fixture(scope="module")
def staley(shared_data):
    return prepare(shared_data("staley2016"), **(SITES | {"crs": None}))


class TestStaley:
    def test_716_sites_of_1550_observations(self, staley):
        assert len(staley.sites) == 716
        assert staley.observations.num_rows == 1550
        assert staley.sites["observations"].sum() == 1550
        assert staley.rejected.empty
        assert staley.warnings == []
        assert staley.sites["site_id"].str.startswith("stn_").sum() == 250

    def test_places_and_areas_are_those_of_the_table(self, staley, shared_data):
        path = shared_data("staley2016") / TABLE
        table = pd.read_excel(path, sheet_name=SHEET)
        table = table.drop_duplicates("Fire_SegID").set_index("Fire_SegID").sort_index()
        sites = staley.sites.set_index("site_id")
        assert sites.index.tolist() == table.index.tolist()
        np.testing.assert_array_equal(sites["x"], table["UTM_X"])
        np.testing.assert_array_equal(sites["y"], table["UTM_Y"])
        np.testing.assert_array_equal(sites["reported_area_km2"], table["ContributingArea_km2"])
        assert (sites["crs"] == "EPSG:269" + table["UTM_Zone"].astype(str)).all()
        points = geopandas.GeoSeries.from_xy(sites["lon"], sites["lat"], crs="EPSG:4326")
        for zone, of_zone in sites.groupby("crs"):
            back = points[of_zone.index].to_crs(zone)
            assert np.abs(back.x - of_zone["x"]).max() < 0.002
            assert np.abs(back.y - of_zone["y"]).max() < 0.002

    def test_columns_keep_their_values(self, staley, shared_data):
        path = shared_data("staley2016") / TABLE
        table = pd.read_excel(path, sheet_name=SHEET)
        observations = staley.observations.to_pandas()
        assert [*observations.columns[2:]] == [*table.columns]
        for name in table.select_dtypes("number"):
            np.testing.assert_array_equal(observations[name], table[name])
        # Some storms have a range of days, in words.
        assert "9/10-9/12/2002" in set(observations["StormDate"])

    def test_shuffled_rows_give_the_same_sites(self, staley, shared_data, tmp_path):
        path = shared_data("staley2016") / TABLE
        table = pd.read_excel(path, sheet_name=SHEET, usecols="C:D,G:I,U")
        order = random.Random(3).sample(range(len(table)), len(table))
        table.iloc[order].to_csv(tmp_path / "sites.csv", index=False)
        again = prepare(tmp_path, **(SITES | {"path": "sites.csv", "crs": None, "sheet": None}))
        pd.testing.assert_frame_equal(again.sites, staley.sites, check_exact=True)


def test_another_file_than_the_one_that_is_stated_is_refused(tmp_path):
    save(tmp_path, [("a", -118, 34, 1.5)])
    digest = hashlib.sha256((tmp_path / "sites.csv").read_bytes()).hexdigest()
    assert len(prepare(tmp_path, sha256=digest).sites) == 1
    save(tmp_path, [("a", -118, 34, 1.25)])
    with pytest.raises(TableError) as error:
        prepare(tmp_path, sha256=digest, url="https://tables.example")
    other = hashlib.sha256((tmp_path / "sites.csv").read_bytes()).hexdigest()
    assert str(error.value) == (
        f"sites.csv: found a file with SHA-256 {other}; expected {digest}, as sites.sha256 says. "
        "Get the file from https://tables.example again; if another version is meant, change "
        "sites.sha256."
    )
