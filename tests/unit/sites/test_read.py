"""A table is read with its types and values, whatever its format; problems are named."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from snakeshed.errors import TableError
from snakeshed.sites.cells import is_missing, number_in, shown
from snakeshed.sites.observations import NULL_TEXTS
from snakeshed.sites.read import FORMATS, read_observations
from snakeshed.tables.exports import write_csv

# Numbers, codes and dates in every spelling, some of them the canonical one.
CELLS = st.one_of(
    st.from_regex(r"[+-]?0?[0-9]{1,3}(\.[0-9]{1,2})?(e[+-]?[0-9])?", fullmatch=True),
    st.integers(-(10**18), 10**18).map(str),
    st.floats().map(str),
    st.booleans().map(str),
    st.dates().map(str),
    st.datetimes().map(lambda when: str(when.replace(microsecond=0))),
    st.sampled_from(["", "NA", "nan", "true", "2008-01-22 00:00:00", "x", "1 000", "١"]),
)


def read(path, sheet=None, id_column=None, with_points=False):
    return read_observations(path, f"data/{path.name}", sheet, id_column, with_points)


def problem(path, **options) -> str:
    with pytest.raises(TableError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"data/{path.name}: found ")
    return str(caught.value)


def save_xlsx(path, **sheets):
    book = Workbook()
    book.remove(book.active)
    for title, lines in sheets.items():
        sheet = book.create_sheet(title)
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def rewrite(path, *changes):
    """Replace bytes in all parts of an XLSX file."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for name, part in parts.items():
            for old, new in zip(changes[::2], changes[1::2], strict=True):
                part = part.replace(old, new)
            book.writestr(name, part)


def save_csv(path, *lines, encoding="utf-8"):
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


class TestCsv:
    def test_types_are_those_of_the_columns(self, tmp_path):
        path = save_csv(
            tmp_path / "a.csv",
            "id,n,x,when,word,flag",
            "7,1,0.1,2008-01-22,NA,True",
            "8,,1e+16,,b,",
        )
        table = read(path).table
        assert [str(kind) for kind in table.schema.types] == [
            "int64",
            "int64",
            "double",
            "date32[day]",
            "string",
            "bool",
        ]
        assert table["n"].to_pylist() == [1, None]
        assert table["x"].to_pylist() == [0.1, 1e16]
        assert table["word"].to_pylist() == ["NA", "b"]

    @pytest.mark.parametrize(
        "codes",
        [
            ["05130101", "18070105"],
            ["1e5", "2"],
            ["1.10", "1.1"],
            ["1.0", "2"],
            ["+1", "2"],
            ["-0", "2"],
            [" 1", "2"],
            ["1,000", "2"],
            ["100000000000000000001", "100000000000000000002"],
            ["9007199254740993", "2"],
            ["0.1234567890123456789"],
            ["inf", "1.5"],
            ["TRUE", "FALSE"],
            ["1"] * 1000 + ["02"],
            ["2008-1-22"],
            ["20080122", "2008-01-22"],
            ["10:30"],
            ["2008-01-22 00:00:00"],
            ["2008-01-22T10:00:00"],
            ["NA", "007"],
        ],
    )
    def test_codes_stay_text(self, tmp_path, codes):
        path = save_csv(tmp_path / "a.csv", "code", *(f'"{code}"' for code in codes))
        assert read(path).table["code"].to_pylist() == codes
        assert read(path, id_column="code").table["code"].to_pylist() == codes

    @pytest.mark.parametrize(
        ("texts", "kind"),
        [
            (["0", "-7", "9007199254740992"], "int64"),
            (["0.25", "-1.5", "2.0", "1e-07"], "double"),
            (["True", "False"], "bool"),
            (["2008-01-22"], "date32[day]"),
            (["2008-01-22 00:00:00", "2008-01-22 16:27:00"], "timestamp[us]"),
        ],
    )
    def test_what_prints_as_it_stands_has_a_type(self, tmp_path, texts, kind):
        table = read(save_csv(tmp_path / "a.csv", "x", *texts, "NA", texts[0])).table
        assert str(table["x"].type) == kind
        cells = [str(cell) for cell in table["x"].to_pylist()]
        assert cells == [*texts, texts[0]]

    @examples(200)
    @given(st.lists(CELLS, min_size=1, max_size=4))
    def test_every_cell_survives_the_way_to_a_table_and_back(self, cells):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.csv")
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL)
                writer.writerows([("row", "code"), *enumerate(cells)])
            write_csv(read(path).table, path)
            with path.open(newline="", encoding="utf-8") as file:
                found = [row["code"] for row in csv.DictReader(file)]
        for cell, after in zip(cells, found, strict=True):
            assert after == cell or (after == "" and cell in NULL_TEXTS)

    def test_identifiers_stay_text(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "id,x", "007,1", "NA,2", ",3")
        assert read(path, id_column="id").table["id"].to_pylist() == ["007", "NA", None]

    def test_a_byte_order_mark_and_quoted_line_breaks(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "id,x", '"a\nb",1', encoding="utf-8-sig")
        assert read(path).table.to_pylist() == [{"id": "a\nb", "x": 1}]

    def test_numbers_are_the_nearest_double_beside_anything(self, tmp_path):
        digits = ["368133.51650000001", "0.1234567890123456789", "5e-324", "3823231.9890000005"]
        alone = read(save_csv(tmp_path / "a.csv", "x", *digits)).table["x"].to_pylist()
        mixed = read(save_csv(tmp_path / "b.csv", "x", *digits, "?")).table["x"].to_pylist()
        assert [number_in(cell) for cell in alone] == [float(text) for text in digits]
        assert [number_in(cell) for cell in mixed] == [*map(float, digits), None]

    def test_types_come_from_all_rows_however_long_the_file(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "x", *["12345678"] * 150_000, "no number")
        assert read(path).table["x"].to_pylist()[-1] == "no number"

    def test_empty_rows_are_left_out_and_counted(self, tmp_path):
        given = read(save_csv(tmp_path / "a.csv", "id,x", "a,1", ",", "b,2", ",", ","))
        assert given.rows == [1, 3]
        assert given.empty_rows == 1
        assert given.table["id"].to_pylist() == ["a", "b"]

    def test_other_separators_are_named(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "id;x", "a;1,5")
        message = problem(path)
        assert "found columns separated by semicolons; expected columns separated by" in message
        assert "points in decimal numbers" in message
        path = save_csv(tmp_path / "b.csv", "id\tx", "a\t1")
        assert "found columns separated by tabs" in problem(path)
        path = save_csv(tmp_path / "c.csv", "id|x|y", "a|1|1")
        assert "found columns separated by vertical bars" in problem(path)
        # A comma in a name makes it no table of commas.
        path = save_csv(tmp_path / "d.csv", "id;x;y, north", "a;1;2")
        assert "found columns separated by semicolons" in problem(path)
        path = save_csv(tmp_path / "e.csv", "id,width;m,depth;m", "a,1,2")
        assert read(path).rows == [1]

    def test_other_encodings_are_named(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "id,x", "Ñuñoa,1", encoding="latin-1")
        assert "not UTF-8 in the column 'id'" in problem(path)
        message = "in the column 'id'; expected a CSV file in UTF-8. Save the table again"
        assert message in problem(path, id_column="id")
        path = save_csv(tmp_path / "b.csv", "Ñame,x", "a,1", encoding="latin-1")
        assert "found text that is not UTF-8 in the header" in problem(path)
        path = save_csv(tmp_path / "c.csv", "id,x", "a,1", encoding="utf-16")
        assert "found text that is not UTF-8: UTF-16" in problem(path)

    def test_lines_may_end_as_on_any_system(self, tmp_path):
        for name, end in (("a", "\r\n"), ("b", "\r")):
            path = tmp_path / f"{name}.csv"
            path.write_bytes(f"id,x{end}a,1{end}".encode())
            assert read(path).table.to_pylist() == [{"id": "a", "x": 1}]

    def test_a_row_of_another_length_is_named(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "id,x", "a,1", "b,2,3")
        assert "Expected 2 columns, got 3: b,2,3" in problem(path)


class TestXlsx:
    LINES = (
        ["id", "n", "x", "when", "mixed", "word", None],
        [7, 1, 1, dt.datetime(2008, 1, 21, 16, 27), dt.datetime(2008, 1, 22), "007", None],
        [8.5, None, 2.5, "NA", "9/10-9/12/2002", "b", None],
        [None, 3, "NA", None, 3, None, None],
    )

    def test_types_are_those_of_the_columns(self, tmp_path):
        table = read(save_xlsx(tmp_path / "a.xlsx", Data=self.LINES)).table
        assert {field.name: str(field.type) for field in table.schema} == {
            "id": "double",
            "n": "int64",
            "x": "double",
            "when": "timestamp[us]",
            "mixed": "string",
            "word": "string",
        }
        assert table["n"].to_pylist() == [1, None, 3]
        assert table["x"].to_pylist() == [1.0, 2.5, None]
        assert table["when"].to_pylist() == [dt.datetime(2008, 1, 21, 16, 27), None, None]
        assert table["mixed"].to_pylist() == ["2008-01-22 00:00:00", "9/10-9/12/2002", "3"]
        assert table["word"].to_pylist() == ["007", "b", None]

    def test_the_named_sheet_is_read(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", About=[["text"]], Data=self.LINES)
        assert read(path, sheet="Data").rows == [1, 2, 3]
        assert "no sheet 'data'; expected one of the sheets 'About', 'Data'" in problem(
            path, sheet="data"
        )

    def test_several_sheets_without_a_choice_are_refused(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", About=[["text"]], Data=self.LINES)
        message = problem(path)
        assert "found 2 sheets; expected one of the sheets 'About', 'Data'" in message
        assert "sites.sheet" in message

    def test_rows_count_as_in_the_sheet(self, tmp_path):
        lines = [["id", "x"], ["a", 1], [None, None], ["b", 2], [None, None]]
        given = read(save_xlsx(tmp_path / "a.xlsx", Data=lines))
        assert given.rows == [1, 3]
        assert given.empty_rows == 1

    def test_formulas_that_nobody_has_calculated_are_empty_and_told(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["id", "x"], ["a", "=1+1"], ["b", 2]])
        given = read(path)
        assert given.table["x"].to_pylist() == [None, 2]
        (remark,) = given.remarks
        assert remark.startswith("data/a.xlsx: 1 cells hold formulas without a stored result")
        assert "open the file in a spreadsheet program and save it" in remark
        assert read(save_xlsx(tmp_path / "b.xlsx", Data=self.LINES)).remarks == ()

    def test_formulas_with_results_are_their_results(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["id", "x"], ["a", "=1+1"]])
        rewrite(path, b"<v/>", b"<v>2</v>", b"<v />", b"<v>2</v>")
        given = read(path)
        assert given.table["x"].to_pylist() == [2]
        assert given.remarks == ()

    def test_cells_that_were_merged_are_the_first_of_them(self, tmp_path):
        book = Workbook()
        for line in (["id", "x"], ["a", 1], [None, 2], [None, None], ["b", 3]):
            book.active.append(line)
        book.active.merge_cells("A2:A3")
        book.active.merge_cells("A4:B4")
        book.save(tmp_path / "a.xlsx")
        given = read(tmp_path / "a.xlsx")
        assert given.table["id"].to_pylist() == ["a", None, "b"]
        assert (given.rows, given.empty_rows) == ([1, 2, 4], 1)

    def test_a_title_above_the_header_is_named(self, tmp_path):
        lines = [["Sites of 2008"], ["id", "x"], ["a", 1]]
        message = problem(save_xlsx(tmp_path / "a.xlsx", Data=lines))
        assert "found no name for column 2; expected a first row with a different name" in message

    def test_old_and_protected_files_are_named(self, tmp_path):
        path = tmp_path / "a.xlsx"
        path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2000))
        message = problem(path)
        assert "found an old .xls file, or one that is protected by a password" in message
        assert "save it as an Excel workbook (.xlsx) without a password" in message

    def test_a_file_that_unpacks_to_too_much_is_refused_before_it_does(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=self.LINES)
        with (
            zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as book,
            book.open("xl/bomb.xml", "w") as part,
        ):
            for _ in range(1001):
                part.write(bytes(1_000_000))
        assert path.stat().st_size < 2_000_000
        message = problem(path)
        assert "found 1,001 MB of cells once unpacked; expected at most 1,000 MB" in message
        assert "Save the sheet as CSV or Parquet" in message

    def test_a_single_cell_in_the_last_corner_costs_no_memory(self, tmp_path):
        book = Workbook()
        for line in (["id", "x"], ["a", 1]):
            book.active.append(line)
        book.active["XFD1"] = "far"
        book.active["A60000"] = "b"
        book.save(tmp_path / "a.xlsx")
        tracemalloc.start()
        given = read(tmp_path / "a.xlsx")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert given.table.column_names == ["id", "x", "far"]
        assert given.rows == [1, 59_999]
        # As a rectangle it would have 983 million cells.
        assert peak < 100e6

    def test_a_row_beyond_the_last_is_refused(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["id", "x"], ["a", 1]])
        rewrite(path, b'r="2"', b'r="1500000000"')
        assert "cannot be read as XLSX (more than 1,048,576 rows)" in problem(path)

    def test_a_site_may_be_called_na(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["id", "x"], [1, 1], ["NA", 2], ["nan", "NA"]])
        given = read(path, id_column="id")
        assert given.cells("id") == ["1", "NA", "nan"]
        assert given.cells("x") == [1, 2, None]

    @pytest.mark.parametrize(
        ("number_format", "value", "expected"),
        [
            ("00000000", 5130101, "05130101"),
            ("00000", 6037.0, "06037"),
            ("00000;@", 6037, "06037"),
            ("[$-409]00000_)", 6037, "06037"),
            ("00000-0000", 21230045, "02123-0045"),
            ("000\\-00\\-0000", 12345678, "012-34-5678"),
            ('"HUC 0"0000', 513, "HUC 00513"),
            ("00", 1234, "1234"),
            ("00", 0, "00"),
            # Quantities, not codes.
            ("0", 7, 7),
            ("General", 7, 7),
            ("0.00", 1.1, 1.1),
            ("00.00", 1.5, 1.5),
            ("#,##0", 5130101, 5130101),
            ("000", 1.5, 1.5),
            ("000", -3, -3),
            ("000", "x", "x"),
            ("00", True, True),
        ],
    )
    def test_codes_are_read_as_their_format_shows_them(
        self, tmp_path, number_format, value, expected
    ):
        book = Workbook()
        for line in (["id", "code"], ["a", value], ["b", None]):
            book.active.append(line)
        book.active["B2"].number_format = number_format
        book.save(tmp_path / "a.xlsx")
        (cell, gone) = read(tmp_path / "a.xlsx", id_column="code").table["code"].to_pylist()
        assert (cell, gone) == (expected, None)
        assert type(cell) is type(expected)

    def test_large_codes_beside_decimal_numbers_keep_their_digits(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["code"], [123456789], [0.5]])
        rewrite(path, b"123456789", b"9007199254740993")
        table = read(path).table
        assert table["code"].to_pylist() == ["9007199254740993", "0.5"]

    def test_huge_integers_are_text(self, tmp_path):
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["id"], [123456789]])
        # The program that wrote this one knows more digits than openpyxl.
        rewrite(path, b"123456789", b"9223372036854775808")
        assert read(path).table["id"].to_pylist() == ["9223372036854775808"]


class TestParquet:
    def test_types_are_kept_and_pandas_metadata_is_not(self, tmp_path):
        frame = pd.DataFrame({"n": pd.array([1, None], dtype="Int32"), "c": ["a", "b"]})
        frame["c"] = frame["c"].astype("category")
        frame.to_parquet(tmp_path / "a.parquet")
        table = read(tmp_path / "a.parquet").table
        assert [str(kind) for kind in table.schema.types] == ["int32", "string"]
        assert table["n"].to_pylist() == [1, None]
        assert table.schema.metadata is None

    def test_geoparquet_gives_points_and_crs(self, tmp_path):
        points = [shapely.Point(400_000, 3_800_000), None]
        frame = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=points, crs="EPSG:26911")
        frame.to_parquet(tmp_path / "a.parquet")
        given = read(tmp_path / "a.parquet", with_points=True)
        assert given.crs == "EPSG:26911"
        assert given.points == points
        assert given.table.column_names == ["id"]
        assert read(tmp_path / "a.parquet").points is None

    def test_plain_parquet_has_no_points(self, tmp_path):
        pq.write_table(pa.table({"x": [1.0]}), tmp_path / "a.parquet")
        assert "found no geometry; expected points" in problem(
            tmp_path / "a.parquet", with_points=True
        )

    @pytest.mark.parametrize("geo", [b"no JSON", b"[]", b"{}", b'{"primary_column": "shape"}'])
    def test_metadata_that_name_no_geometry_are_named(self, tmp_path, geo):
        table = pa.table({"x": [1.0]}).replace_schema_metadata({b"geo": geo})
        pq.write_table(table, tmp_path / "a.parquet")
        for with_points in (True, False):
            message = problem(tmp_path / "a.parquet", with_points=with_points)
            assert "a file that cannot be read as Parquet" in message

    def test_text_that_is_not_utf8_is_named(self, tmp_path):
        buffers = pa.array([b"\xff\xfe"]).buffers()
        pq.write_table(
            pa.table({"id": pa.Array.from_buffers(pa.string(), 1, buffers)}), tmp_path / "a.parquet"
        )
        assert "Invalid UTF8 sequence" in problem(tmp_path / "a.parquet")

    def test_instants_beyond_all_calendars_are_empty_cells(self, tmp_path):
        when = pa.array([0, 2**62], pa.timestamp("us"))
        pq.write_table(pa.table({"id": when}), tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet").cells("id") == [dt.datetime(1970, 1, 1), None]


class TestGeoJson:
    def test_without_features_there_are_no_rows(self, tmp_path):
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
        assert "found no rows; expected at least one site" in problem(path, with_points=True)

    def test_other_json_is_named(self, tmp_path):
        path = tmp_path / "a.geojson"
        path.write_text('{"sites": 1}')
        assert "found a file that cannot be read as GeoJSON" in problem(path, with_points=True)


RDB = """\
# ---------------------------------- WARNING ----------------------------------------
# Some of the data may be\tprovisional, "as is".
#
agency_cd\tsite_no\tstation_nm\tdec_lat_va\tdrain_area_va\tinventory_dt\tcount_nu
5s\t15s\t50s\t16s\t8n\t10d\t6n
USGS\t05130101\tTOUTLE R "N FORK"\t46.3310\t0.25\t2008-01-22\t7
USGS\t13010000\tS FORK\t46.5000\t\t\t
"""


class TestTabs:
    @pytest.mark.parametrize("suffix", [".tsv", ".tab", ".txt", ".TSV"])
    def test_columns_may_be_separated_by_tabs(self, tmp_path, suffix):
        path = save_csv(tmp_path / f"a{suffix}", "id\tx, m", '007\t"1\t2"', "b\t3")
        assert read(path).table.to_pydict() == {"id": ["007", "b"], "x, m": ["1\t2", "3"]}

    def test_text_files_may_have_commas(self, tmp_path):
        assert read(save_csv(tmp_path / "a.txt", "id,x", "a,1")).table["x"].to_pylist() == [1]

    def test_other_separators_are_named(self, tmp_path):
        message = problem(save_csv(tmp_path / "a.tsv", "id,x", "a,1"))
        assert "found columns separated by commas; expected columns separated by tabs" in message
        assert "call it .csv if it has commas" in message
        message = problem(save_csv(tmp_path / "a.csv", "id\tx", "a\t1"))
        assert "found columns separated by tabs; expected columns separated by commas" in message
        assert "Call the file .tsv" in message

    @pytest.mark.parametrize("suffix", [".rdb", ".txt", ".tsv", ".csv"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_tables_of_usgs_are_known_by_their_line_of_formats(self, tmp_path, suffix, end):
        path = tmp_path / f"a{suffix}"
        path.write_text(RDB, newline=end)
        given = read(path, id_column="site_no")
        assert given.rows == [1, 2]
        assert given.table.to_pydict() == {
            "agency_cd": ["USGS", "USGS"],
            "site_no": ["05130101", "13010000"],
            "station_nm": ['TOUTLE R "N FORK"', "S FORK"],
            "dec_lat_va": ["46.3310", "46.5000"],
            "drain_area_va": [0.25, None],
            "inventory_dt": [dt.date(2008, 1, 22), None],
            "count_nu": [7, None],
        }
        # Without comments, and codes as text although all of them could be numbers.
        path.write_text("a\tb\n5s\t2n\n12\t34\n")
        assert read(path).table.to_pydict() == {"a": ["12"], "b": [34]}

    def test_rdb_without_its_formats_or_rows_is_named(self, tmp_path):
        message = problem(save_csv(tmp_path / "a.rdb", "# x", "a\tb", "1\t2"))
        assert "found a file without the line of formats below its header" in message
        assert "a line such as 5s 15s 10n" in message
        assert "save the table as .tsv or .csv" in message
        assert "found no rows" in problem(save_csv(tmp_path / "b.rdb", "a\tb", "5s\t5s", ""))


class TestShapefile:
    def save(self, folder, name="sites", x=-118.25, crs="EPSG:4326"):
        folder.mkdir(exist_ok=True)
        frame = geopandas.GeoDataFrame(
            {"code": ["05130101", "b"], "n": [7, 8]},
            geometry=[shapely.Point(x, 34.5), shapely.Point(x, 35)],
            crs=crs,
        )
        frame.to_file(folder / f"{name}.shp")
        return folder / f"{name}.shp"

    def zipped(self, path, *shapefiles):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._sites.shp", "a Mac's own")
            for shapefile in shapefiles:
                for file in shapefile.parent.glob(f"{shapefile.stem}.*"):
                    archive.write(file, f"data of 2008/{file.name}")
        return path

    def test_points_and_columns(self, tmp_path):
        given = read(self.save(tmp_path), with_points=True)
        assert given.crs == "EPSG:4326"
        assert given.points == [shapely.Point(-118.25, 34.5), shapely.Point(-118.25, 35)]
        assert given.table.to_pydict() == {"code": ["05130101", "b"], "n": [7, 8]}

    def test_one_in_a_zip_file(self, tmp_path):
        path = self.zipped(tmp_path / "a.zip", self.save(tmp_path / "one"))
        given = read(path, with_points=True)
        assert given.points == [shapely.Point(-118.25, 34.5), shapely.Point(-118.25, 35)]
        assert given.table["code"].to_pylist() == ["05130101", "b"]
        assert read(path).points is None

    def test_several_in_a_zip_file_need_a_choice(self, tmp_path):
        both = [self.save(tmp_path / "s", "east"), self.save(tmp_path / "s", "west", x=-119.0)]
        path = self.zipped(tmp_path / "a.zip", *both)
        message = problem(path)
        assert "found 2 shapefiles; expected one of the shapefiles 'east', 'west'" in message
        assert "Name the shapefile in sites.sheet." in message
        assert read(path, sheet="west", with_points=True).points[0].x == -119.0

    def test_several_of_one_name_in_a_zip_file_are_told_apart_by_their_folders(self, tmp_path):
        files = [self.save(tmp_path / "old"), self.save(tmp_path / "new", x=-119.0)]
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for shapefile in files:
                for file in shapefile.parent.iterdir():
                    archive.write(file, f"{shapefile.parent.name}/{file.name}")
        name = files[0].stem
        assert f"one of the shapefiles 'new/{name}', 'old/{name}'" in problem(path)
        assert read(path, sheet=f"new/{name}", with_points=True).points[0].x == -119.0

    def test_missing_parts_are_named(self, tmp_path):
        path = self.save(tmp_path)
        path.with_suffix(".prj").unlink()
        assert "found no CRS; expected a file that says in which CRS" in problem(
            path, with_points=True
        )
        path.with_suffix(".dbf").unlink()
        assert "found no .dbf beside it; expected all files of the shapefile" in problem(path)
        path.with_suffix(".shx").unlink()
        message = problem(path)
        assert "found no .dbf and no .shx beside it" in message
        assert "Copy them there too, or name the ZIP file that has them all." in message

    def test_other_zip_files_are_named(self, tmp_path):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for k in range(6):
                archive.writestr(f"{k}.csv", "id,x")
        message = problem(path)
        assert "found a ZIP file without a shapefile (0.csv, 1.csv, 2.csv, 3.csv, 4.csv" in message
        assert "4.csv and 1 more); expected a ZIP file with the .shp, .shx, .dbf, and" in message
        assert "Unpack it and name the table." in message


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
class TestVector:
    def save(self, path, crs="EPSG:4326"):
        points = [shapely.Point(-118.25, 34.5), None]
        frame = geopandas.GeoDataFrame(
            {"id": ["a", None], "n": [2**31, 2]}, geometry=points, crs=crs
        )
        # A FlatGeobuf with an index has its rows in an order of its own, and no gaps.
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}))
        return path

    def test_points_and_columns(self, tmp_path, suffix):
        given = read(self.save(tmp_path / f"a{suffix}"), with_points=True)
        assert given.crs == "EPSG:4326"
        assert given.points == [shapely.Point(-118.25, 34.5), None]
        assert given.table.to_pydict() == {"id": ["a", None], "n": [2**31, 2]}
        assert given.rows == [1, 2]

    def test_without_points(self, tmp_path, suffix):
        given = read(self.save(tmp_path / f"a{suffix}"))
        assert given.points is None
        assert given.table.column_names == ["id", "n"]


class TestGeoPackage:
    def test_several_layers_need_a_choice(self, tmp_path):
        path = tmp_path / "a.gpkg"
        for layer, x in (("one", 1.0), ("two", 2.0)):
            frame = geopandas.GeoDataFrame(geometry=[shapely.Point(x, 0)], crs="EPSG:4326")
            frame.to_file(path, layer=layer)
        assert "found 2 layers; expected one of the layers 'one', 'two'" in problem(path)
        assert "no layer 'three'" in problem(path, sheet="three")
        assert read(path, sheet="two", with_points=True).points == [shapely.Point(2, 0)]

    def test_a_layer_without_crs_is_refused(self, tmp_path):
        path = tmp_path / "a.gpkg"
        frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.Point(1, 0)])
        with pytest.warns(UserWarning, match="'crs' was not provided"):
            frame.to_file(path)
        assert "found no CRS; expected a file that says in which CRS" in problem(
            path, with_points=True
        )

    def test_a_layer_without_geometry_has_no_points(self, tmp_path):
        import pyogrio

        path = tmp_path / "a.gpkg"
        pyogrio.write_dataframe(pd.DataFrame({"x": [1.0]}), path)
        assert "found no geometry" in problem(path, with_points=True)
        assert read(path).table["x"].to_pylist() == [1.0]


class TestAnyFile:
    def test_unknown_formats_are_named(self, tmp_path):
        assert "found the format .kml; expected one of .xlsx, .csv" in problem(tmp_path / "a.kml")
        assert "the format without a suffix" in problem(tmp_path / "sites")

    def test_missing_files_are_named(self, tmp_path):
        assert "found no such file; expected the site table" in problem(tmp_path / "a.csv")
        (tmp_path / "b.csv").mkdir()
        assert "found a folder; expected the site table" in problem(tmp_path / "b.csv")

    def test_suffixes_may_be_capitals(self, tmp_path):
        assert read(save_csv(tmp_path / "A.CSV", "x", "1")).rows == [1]

    @pytest.mark.parametrize("suffix", sorted(FORMATS))
    def test_other_content_is_named(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"\x00\x01\x02, nothing of the kind\n 1")
        message = problem(path, with_points=True)
        assert message.startswith(f"data/a{suffix}: found ")
        if suffix not in {".shp", ".tsv", ".tab", ".rdb"}:
            assert "found a file that cannot be read as " in message
            assert "Open it in the program that wrote it" in message

    @pytest.mark.parametrize("suffix", sorted(FORMATS))
    def test_a_file_without_a_byte_is_named(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.touch()
        assert "found a file of 0 bytes; expected a table with a header" in problem(path)

    @pytest.mark.parametrize("suffix", sorted(FORMATS))
    def test_a_file_without_read_permission_is_named(self, tmp_path, suffix, monkeypatch):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"id,x\na,1\n")
        # Whoever runs the tests as root may read every file.
        monkeypatch.setattr(os, "access", lambda *_: False)
        message = problem(path)
        assert "found a file that may not be read; expected a file with read" in message
        assert f"chmod u+r a{suffix}." in message

    def test_no_rows(self, tmp_path):
        empty = "found no rows; expected at least one site"
        assert empty in problem(save_csv(tmp_path / "a.csv", "id,x"))
        assert empty in problem(save_csv(tmp_path / "b.csv", "id,x", ""))
        assert empty in problem(save_csv(tmp_path / "c.csv", "id,x", ","))
        assert empty in problem(save_xlsx(tmp_path / "a.xlsx", Data=[["id", "x"]]))
        assert empty in problem(save_xlsx(tmp_path / "b.xlsx", Data=[]))
        pd.DataFrame({"x": [1.0]}).iloc[:0].to_parquet(tmp_path / "a.parquet")
        assert empty in problem(tmp_path / "a.parquet")

    def test_columns_need_different_names(self, tmp_path):
        path = save_csv(tmp_path / "a.csv", "x,x,", "1,2,3")
        assert "found several columns named 'x'; no name for column 3" in problem(path)
        path = save_xlsx(tmp_path / "a.xlsx", Data=[["x", None], [1, 2]])
        assert "found no name for column 2" in problem(path)


class TestCells:
    @pytest.mark.parametrize("text", ["1", " -2.5 ", "+.5", "1e3", "7.", "12E-2"])
    def test_numbers_and_their_text_are_the_same(self, text):
        assert number_in(text) == number_in(float(text)) == float(text)

    @pytest.mark.parametrize(
        "cell", [None, "", "x", "1_000", "1,5", "nan", "inf", "١", True, dt.date(2008, 1, 1)]
    )
    def test_what_is_no_number(self, cell):
        assert number_in(cell) is None

    @pytest.mark.parametrize("cell", [float("nan"), float("inf"), 10**400, "1e400"])
    def test_what_is_no_finite_number(self, cell):
        assert number_in(cell) is None

    def test_what_is_missing(self):
        assert all(is_missing(cell) for cell in (None, float("nan"), "", "  "))
        assert not any(is_missing(cell) for cell in (0, "0", False, "NA"))
        assert shown(" ") == "an empty cell"
        assert shown("a") == "'a'"
