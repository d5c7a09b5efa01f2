"""Observations: the rows of a site table as its file has them, in any of the formats.

Reading keeps types where Arrow has them and changes no value. What a cell yields never depends
on other rows: numbers are parsed to the nearest double, and identifiers in CSV stay text.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import textwrap
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from snakeshed.errors import TableError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_NULL_TEXTS = frozenset(pyarrow.csv.ConvertOptions().null_values)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FORMATS = {
    ".xlsx": "XLSX",
    ".csv": "CSV",
    ".parquet": "Parquet",
    ".geoparquet": "Parquet",
    ".gpkg": "GeoPackage",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
}
# What the readers of these formats raise on a damaged file; openpyxl and zipfile have no errors of
# their own for most of it.
_READER_FAULTS = (
    pa.ArrowException,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    ParseError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
# How old Excel files begin, and encrypted new ones.
_OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
# A worksheet has no more rows. A damaged file may say so, and would be padded with empty ones.
_XLSX_ROWS = 1_048_576
# An XLSX file is unpacked into memory, and a small one may unpack to anything.
_XLSX_UNPACKED_BYTES = 1_000_000_000
_SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}


@dataclass(frozen=True)
class Observations:
    """The rows of one site table.

    Attributes
    ----------
    table : pyarrow.Table
        The columns of the file, without its geometry, in the order of the file.
    rows : list of int
        Number of each row among the data rows of the file, from 1.
    empty_rows : int
        Rows without any value, which are not in `table`; they count in `rows`.
    points : list of shapely geometries or None, or None
        The geometry of each row, if it was asked for.
    crs : str or None
        CRS of `points`: an authority and a code where it has them, else WKT.
    remarks : tuple of str
        What a person should know about how the file was read.
    """

    table: pa.Table
    rows: list[int]
    empty_rows: int = 0
    points: list[BaseGeometry | None] | None = None
    crs: str | None = None
    remarks: tuple[str, ...] = ()

    def cells(self, column: str) -> list[Any]:
        """Return the cells of a column as Python values; None for what Python cannot hold.

        A file may have instants beyond the year 9999, which are neither numbers nor names.
        """
        try:
            return self.table[column].to_pylist()
        except (ValueError, OverflowError):
            return [_value(cell) for cell in self.table[column]]


def read_observations(
    path: Path, name: str, sheet: str | None, id_column: str | None, with_points: bool
) -> Observations:
    """Read a site table.

    Parameters
    ----------
    path : Path
        The file; its suffix says the format.
    name : str
        The file as the user calls it, for messages.
    sheet : str or None
        Sheet of an XLSX file or layer of a GeoPackage; None if there is only one.
    id_column : str or None
        Column to be read as text, for formats that have no types.
    with_points : bool
        Whether the coordinates are in the file's geometry.

    Returns
    -------
    Observations
        At least one row.

    Raises
    ------
    TableError
        If the file is missing, has an unknown format or cannot be read, if it has no rows, or
        columns without distinct names, if the sheet is not there or ambiguous, or if geometry is
        asked for and the file has none, or none with a CRS.
    """
    _check_file(path, name)
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        read = _read_xlsx(path, name, sheet, id_column)
    elif suffix == ".csv":
        read = _read_csv(path, name, id_column)
    elif suffix in {".parquet", ".geoparquet"}:
        read = _read_parquet(path, name, with_points)
    else:
        read = _read_vector(path, name, sheet, with_points)
    if not read.rows:
        raise _without_rows(name)
    return read


def _check_file(path: Path, name: str) -> None:
    """Refuse what is no file of a known format with something in it."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise TableError(
            name,
            f"the format {suffix or 'without a suffix'}",
            f"one of {', '.join(_FORMATS)}",
            "Save the table in one of these formats.",
        )
    if not path.is_file():
        raise TableError(
            name,
            "a folder" if path.is_dir() else "no such file",
            "the site table",
            "Correct sites.path; it is relative to the folder in which the workflow runs.",
        )
    if not os.access(path, os.R_OK):
        raise TableError(
            name,
            "a file that may not be read",
            "a file with read permission",
            f"Give it, for example with chmod u+r {path.name}.",
        )
    if path.stat().st_size == 0:
        raise TableError(
            name,
            "a file of 0 bytes",
            "a table with a header and at least one site",
            "Save it again; perhaps a copy or a download was cut off.",
        )


@contextmanager
def _reading(name: str, kind: str) -> Iterator[None]:
    """Turn what a reader raises on a damaged file into a problem of the table."""
    try:
        yield
    except _READER_FAULTS as error:
        raise _unreadable(name, kind, error) from error


def _read_csv(path: Path, name: str, id_column: str | None) -> Observations:
    """Read a CSV file: UTF-8, commas, a header."""
    with path.open("rb") as file:
        header = file.readline()
    _check_header(header, name)
    with _reading(name, "CSV"):
        try:
            table = pyarrow.csv.read_csv(
                path,
                # One block: types are inferred from all rows, not from the first megabyte.
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=path.stat().st_size
                ),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={id_column: pa.string()} if id_column else None
                ),
            )
        except pa.ArrowInvalid as error:
            if "invalid UTF8" in str(error):
                raise _not_utf8(name, "") from error
            raise
    _check_column_names(table.column_names, name)
    for column in table.schema:
        if pa.types.is_binary(column.type):
            raise _not_utf8(name, f" in the column {column.name!r}")
    columns = [
        # An empty cell is missing, also where the column is text.
        pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return _without_empty_rows(pa.table(columns, names=table.column_names))


def _check_header(header: bytes, name: str) -> None:
    """Refuse a CSV file by its first line: other encodings, other separators, nothing below it."""
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _not_utf8(name, ": UTF-16")
    try:
        header.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(name, " in the header") from error
    commas = header.count(b",")
    likely = max(_SEPARATORS, key=header.count)
    if header.count(likely) > commas:
        raise TableError(
            name,
            f"columns separated by {_SEPARATORS[likely]}",
            "columns separated by commas",
            "Save the table again with commas, and with points in decimal numbers.",
        )
    # Old programs for the Mac end lines with a carriage return alone.
    if header.strip() and not header.endswith(b"\n") and b"\r" not in header:
        raise _without_rows(name)


def _read_xlsx(path: Path, name: str, sheet: str | None, id_column: str | None) -> Observations:
    """Read one sheet of an XLSX file: values, not formulas; a header in the first row."""
    _check_xlsx(path, name)
    lines = _xlsx_lines(path, name, sheet, formulas=False)
    header, body = (lines[0], lines[1:]) if lines else ([], [])
    # Columns without a name and without a value are left over from formatting.
    used = sorted({index for line in lines for index, cell in enumerate(line) if cell is not None})
    names = [
        str(header[index]) if index < len(header) and header[index] is not None else ""
        for index in used
    ]
    _check_column_names(names, name)
    # A cell beyond the end of its line is empty; lines are not made equally long, since a single
    # cell in the last corner of a sheet would make them as wide as that.
    columns = [
        _column(
            [line[index] if index < len(line) else None for line in body],
            is_identifier=title == id_column,
        )
        for index, title in zip(used, names, strict=True)
    ]
    read = _without_empty_rows(pa.table(columns, names=names))
    uncalculated = _formulas_without_result(path, name, sheet, lines)
    if not uncalculated:
        return read
    remark = (
        f"{name}: {uncalculated} cells hold formulas without a stored result and count as empty; "
        "open the file in a spreadsheet program and save it"
    )
    return replace(read, remarks=(remark,))


def _check_xlsx(path: Path, name: str) -> None:
    """Refuse what is no XLSX file, although it is called so, and one that unpacks to too much."""
    with path.open("rb") as file:
        if file.read(len(_OLE_MAGIC)) == _OLE_MAGIC:
            raise TableError(
                name,
                "an old .xls file, or one that is protected by a password",
                "an XLSX file without a password",
                "Open it and save it as an Excel workbook (.xlsx) without a password.",
            )
    with _reading(name, "XLSX"), zipfile.ZipFile(path) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
    if unpacked > _XLSX_UNPACKED_BYTES:
        raise TableError(
            name,
            f"{unpacked / 1e6:,.0f} MB of cells once unpacked",
            f"at most {_XLSX_UNPACKED_BYTES / 1e6:,.0f} MB",
            "Save the sheet as CSV or Parquet.",
        )


def _xlsx_lines(path: Path, name: str, sheet: str | None, formulas: bool) -> list[list[Any]]:
    """Return the cells of each line of a sheet, up to the last one that is not empty."""
    from openpyxl import load_workbook

    with _reading(name, "XLSX"):
        book = load_workbook(path, read_only=True, data_only=not formulas)
        titles = list(book.sheetnames)
    title = _choose(sheet, titles, "sheet", name)
    lines: list[list[Any]] = []
    with _reading(name, "XLSX"), closing(book):
        if not hasattr(book[title], "reset_dimensions"):
            raise ValueError(f"the sheet {title!r} is a chart")
        # Some programs write a wrong extent of the sheet, which would cut it.
        book[title].reset_dimensions()
        for number, cells in enumerate(book[title].iter_rows(values_only=True), start=1):
            if number > _XLSX_ROWS:
                raise ValueError(f"more than {_XLSX_ROWS:,} rows")
            line = list(cells)
            while line and line[-1] is None:
                line.pop()
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _formulas_without_result(
    path: Path, name: str, sheet: str | None, lines: list[list[Any]]
) -> int:
    """Return how many cells of a sheet hold formulas that no program has calculated yet."""
    with zipfile.ZipFile(path) as parts:
        # Few tables have formulas at all; without any, the sheet need not be read again.
        sheets = [part for part in parts.namelist() if part.startswith("xl/worksheets/")]
        if not any(re.search(rb"<(?:\w+:)?f[ >/]", parts.read(part)) for part in sheets):
            return 0
    return sum(
        isinstance(cell, str)
        and cell.startswith("=")
        and (index >= len(values) or values[index] is None)
        for stated, values in zip_longest(
            _xlsx_lines(path, name, sheet, formulas=True), lines, fillvalue=()
        )
        for index, cell in enumerate(stated)
    )


def _read_parquet(path: Path, name: str, with_points: bool) -> Observations:
    """Read a Parquet file, and the primary geometry of a GeoParquet file."""
    with _reading(name, "Parquet"):
        table = pq.read_table(path, use_threads=False)
        # Text is not checked when it is read.
        table.validate(full=True)
        geometry = _primary_geometry(table)
    _check_column_names(table.column_names, name)
    rows = list(range(1, table.num_rows + 1))
    points = crs = None
    if with_points:
        import geopandas

        if geometry is None:
            raise _without_geometry(name)
        with _reading(name, "GeoParquet"):
            geometries = geopandas.read_parquet(path, columns=[geometry]).geometry
        points, crs = list(geometries), _crs_text(geometries.crs, name)
    with _reading(name, "Parquet"):
        plain = _plain(table if geometry is None else table.drop_columns([geometry]))
    return Observations(plain, rows, points=points, crs=crs)


def _primary_geometry(table: pa.Table) -> str | None:
    """Return the column that a GeoParquet file says is its geometry; None for other files.

    Raises
    ------
    ValueError
        It says so in no way that can be understood.
    """
    stated = (table.schema.metadata or {}).get(b"geo")
    if stated is None:
        return None
    geo = json.loads(stated)
    geometry = geo.get("primary_column") if isinstance(geo, dict) else None
    if geometry not in table.column_names:
        raise ValueError("its metadata 'geo' name no column of it as the geometry")
    return geometry


def _read_vector(path: Path, name: str, sheet: str | None, with_points: bool) -> Observations:
    """Read a layer of a GeoPackage, or a GeoJSON file."""
    import pyogrio
    import shapely

    kind = _FORMATS[path.suffix.lower()]
    with _reading(name, kind):
        layers = [str(layer) for layer, _ in pyogrio.list_layers(path)]
    layer = _choose(sheet, layers, "layer", name)
    with _reading(name, kind):
        meta, table = pyogrio.read_arrow(path, layer=layer)
        table.validate(full=True)
    geometry = meta["geometry_name"] or "wkb_geometry"
    _check_column_names(table.column_names, name)
    rows = list(range(1, table.num_rows + 1))
    if geometry not in table.column_names:
        if with_points:
            raise _without_geometry(name)
        return Observations(_plain(table), rows)
    encoded = table[geometry].to_pylist()
    with _reading(name, kind):
        table = _plain(table.drop_columns([geometry]))
        if not with_points:
            return Observations(table, rows)
        points = [None if wkb is None else shapely.from_wkb(wkb) for wkb in encoded]
    return Observations(table, rows, points=points, crs=_crs_text(meta["crs"], name))


def _choose(sheet: str | None, there: list[str], kind: str, name: str) -> str:
    """Return the sheet (or layer) to read."""
    if sheet is not None and sheet in there:
        return sheet
    listed = ", ".join(repr(title) for title in there)
    if sheet is not None:
        found, next_step = f"no {kind} {sheet!r}", "Correct sites.sheet."
    elif len(there) == 1:
        return there[0]
    else:
        found, next_step = f"{len(there)} {kind}s", f"Name the {kind} in sites.sheet."
    raise TableError(name, found, f"one of the {kind}s {listed}", next_step)


def _check_column_names(names: list[str], name: str) -> None:
    """Refuse columns that cannot be told apart."""
    twice = sorted({title for title in names if names.count(title) > 1 and title})
    unnamed = [index for index, title in enumerate(names, start=1) if not title]
    if twice or unnamed:
        found = [f"several columns named {title!r}" for title in twice]
        found += [f"no name for column {index}" for index in unnamed]
        raise TableError(
            name,
            "; ".join(found),
            "a first row with a different name for every column",
            "Rename them in the table.",
        )


def _column(cells: list[Any], is_identifier: bool) -> pa.Array:
    """Return the cells of one XLSX column as the plainest Arrow type that holds all of them."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if str in kinds and len(kinds) > 1 and not is_identifier:
        # Among numbers or dates, NA and its kin are missing values; a site may have that name.
        missing = [isinstance(cell, str) and cell in _NULL_TEXTS for cell in cells]
        without = [None if gone else cell for cell, gone in zip(cells, missing, strict=True)]
        if str not in {type(cell) for cell in without}:
            cells, kinds = without, kinds - {str}
    if kinds == {int, float}:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    types = {
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        str: pa.string(),
        datetime.datetime: pa.timestamp("us"),
        datetime.date: pa.date32(),
        datetime.time: pa.time64("us"),
        datetime.timedelta: pa.duration("us"),
    }
    fits_int = all(-(2**63) <= cell < 2**63 for cell in cells if type(cell) is int)
    if len(kinds) == 1 and kinds <= types.keys() and fits_int:
        return pa.array(cells, types[kinds.pop()])
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _plain(table: pa.Table) -> pa.Table:
    """Return a table without the metadata and the encodings of the file it comes from."""
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return table.replace_schema_metadata(None).cast(pa.schema(fields))


def _without_empty_rows(table: pa.Table) -> Observations:
    """Return the rows that have any value, with their numbers."""
    present = [False] * table.num_rows
    for column in table.columns:
        present = [
            before or here
            for before, here in zip(present, column.is_valid().to_pylist(), strict=True)
        ]
    rows = [number for number, any_value in enumerate(present, start=1) if any_value]
    # Rows after the last value are left over from formatting: they are no rows at all.
    return Observations(
        table.filter(pa.array(present, pa.bool_())),
        rows,
        empty_rows=(rows[-1] if rows else 0) - len(rows),
    )


def _value(cell: pa.Scalar) -> Any:
    """Return a cell as a Python value, or None where Python has none for it."""
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return None


def _crs_text(crs: object, name: str) -> str:
    """Return a CRS by authority and code, or as WKT if it has none."""
    from pyproj import CRS

    if crs is None:
        raise TableError(
            name,
            "no CRS",
            "a file that says in which CRS its points are",
            "Set the CRS in the file, or name columns with coordinates and set sites.crs.",
        )
    with _reading(name, "a file with a known CRS"):
        crs = CRS.from_user_input(crs)
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt()


def _without_rows(name: str) -> TableError:
    """Return the problem of a table with a header at most."""
    return TableError(
        name, "no rows", "at least one site", "Check that this is the right file and sheet."
    )


def _without_geometry(name: str) -> TableError:
    """Return the problem of a file that has no geometry although no x and y are named."""
    return TableError(
        name,
        "no geometry",
        "points, since sites.columns names no x and y",
        "Set sites.columns.x and sites.columns.y, and sites.crs or sites.utm.",
    )


def _not_utf8(name: str, place: str) -> TableError:
    """Return the problem of a CSV file in another encoding."""
    return TableError(
        name,
        f"text that is not UTF-8{place}",
        "a CSV file in UTF-8",
        "Save the table again in this encoding (spreadsheet programs call it CSV UTF-8).",
    )


def _unreadable(name: str, kind: str, error: Exception) -> TableError:
    """Return the problem of a file that a reader refused."""
    # Some readers quote the file, whatever is in it.
    words = "".join(sign if sign.isprintable() else " " for sign in str(error)).split()
    reason = " ".join(words) or type(error).__name__
    return TableError(
        name,
        f"a file that cannot be read as {kind} ({textwrap.shorten(reason, 200, placeholder=' …')})",
        f"{'an' if kind == 'XLSX' else 'a'} {kind} file",
        "Open it in the program that wrote it and save it again.",
    )


def number_in(cell: Any) -> float | None:
    """Return a cell as a finite number, or None.

    Parameters
    ----------
    cell : object
        A number, or text such as `12.5` or `1e3`; anything else is no number.

    Returns
    -------
    float or None
        The nearest double: the same for a number and for its text.
    """
    if isinstance(cell, bool) or cell is None:
        return None
    # Python's float() would also take 1_000 and digits of other scripts.
    if isinstance(cell, str) and not _NUMBER.fullmatch(cell.strip()):
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def is_missing(cell: Any) -> bool:
    """Tell whether a cell is empty.

    Parameters
    ----------
    cell : object
        None, NaN and blank text are empty.

    Returns
    -------
    bool
        True if it is.
    """
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def shown(cell: Any) -> str:
    """Return a cell as it is quoted in a reason.

    Parameters
    ----------
    cell : object
        Any value.

    Returns
    -------
    str
        Its value, text in quotes.
    """
    return "an empty cell" if is_missing(cell) else repr(cell)
