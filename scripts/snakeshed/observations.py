"""Observations: the rows of a site table as its file has them, in any of the formats.

Reading keeps types where Arrow has them and changes no value. What a cell yields never depends
on other rows: numbers are parsed to the nearest double, and identifiers in CSV stay text.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from snakeshed.errors import TableError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_NULL_TEXTS = frozenset(pyarrow.csv.ConvertOptions().null_values)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FORMATS = (".xlsx", ".csv", ".parquet", ".geoparquet", ".gpkg", ".geojson", ".json")


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
    """

    table: pa.Table
    rows: list[int]
    empty_rows: int = 0
    points: list[BaseGeometry | None] | None = None
    crs: str | None = None


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
    if suffix == ".xlsx":
        read = _read_xlsx(path, name, sheet)
    elif suffix == ".csv":
        read = _read_csv(path, name, id_column)
    elif suffix in {".parquet", ".geoparquet"}:
        read = _read_parquet(path, name, with_points)
    else:
        read = _read_vector(path, name, sheet, with_points)
    if not read.rows:
        raise _without_rows(name)
    return read


def _read_csv(path: Path, name: str, id_column: str | None) -> Observations:
    """Read a CSV file: UTF-8, commas, a header."""
    with path.open("rb") as file:
        header = file.readline()
    if b"," not in header and (b";" in header or b"\t" in header):
        raise TableError(
            name,
            f"columns separated by {'semicolons' if b';' in header else 'tabs'}",
            "columns separated by commas",
            "Save the table again with commas, and with points in decimal numbers.",
        )
    if header.strip() and not header.endswith(b"\n"):
        raise _without_rows(name)
    try:
        table = pyarrow.csv.read_csv(
            path,
            # One block: types are inferred from all rows, not from the first megabyte.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=max(path.stat().st_size, 1)
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={id_column: pa.string()} if id_column else None
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _unreadable(name, "CSV", error) from error
    _check_column_names(table.column_names, name)
    for column in table.schema:
        if pa.types.is_binary(column.type):
            raise TableError(
                name,
                f"text that is not UTF-8 in the column {column.name!r}",
                "a CSV file in UTF-8",
                "Save the table again in this encoding.",
            )
    columns = [
        # An empty cell is missing, also where the column is text.
        pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return _without_empty_rows(pa.table(columns, names=table.column_names))


def _read_xlsx(path: Path, name: str, sheet: str | None) -> Observations:
    """Read one sheet of an XLSX file: values, not formulas; a header in the first row."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise _unreadable(name, "XLSX", error) from error
    try:
        chosen = book[_choose(sheet, book.sheetnames, "sheet", name)]
        # Some programs write a wrong extent of the sheet, which would cut it.
        chosen.reset_dimensions()
        lines = [list(line) for line in chosen.iter_rows(values_only=True)]
    finally:
        book.close()
    width = max((len(line) for line in lines), default=0)
    lines = [line + [None] * (width - len(line)) for line in lines]
    header, body = (lines[0], lines[1:]) if lines else ([], [])
    # Columns without a name and without a value are left over from formatting.
    used = [
        index
        for index, title in enumerate(header)
        if title is not None or any(line[index] is not None for line in body)
    ]
    names = ["" if header[index] is None else str(header[index]) for index in used]
    _check_column_names(names, name)
    columns = [_column([line[index] for line in body]) for index in used]
    return _without_empty_rows(pa.table(columns, names=names))


def _read_parquet(path: Path, name: str, with_points: bool) -> Observations:
    """Read a Parquet file, and the primary geometry of a GeoParquet file."""
    try:
        table = pq.read_table(path, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(name, "Parquet", error) from error
    _check_column_names(table.column_names, name)
    rows = list(range(1, table.num_rows + 1))
    geo = json.loads((table.schema.metadata or {}).get(b"geo", b"{}"))
    geometry = geo.get("primary_column")
    if with_points:
        import geopandas

        if geometry is None:
            raise _without_geometry(name)
        points = geopandas.read_parquet(path, columns=[geometry]).geometry
        crs = _crs_text(points.crs, name)
        plain = table.drop_columns([geometry])
        return Observations(_plain(plain), rows, points=list(points), crs=crs)
    return Observations(_plain(table if geometry is None else table.drop_columns([geometry])), rows)


def _read_vector(path: Path, name: str, sheet: str | None, with_points: bool) -> Observations:
    """Read a layer of a GeoPackage, or a GeoJSON file."""
    import pyogrio
    import shapely
    from pyogrio.errors import DataSourceError

    try:
        layers = [str(layer) for layer, _ in pyogrio.list_layers(path)]
        layer = _choose(sheet, layers, "layer", name)
        meta, table = pyogrio.read_arrow(path, layer=layer)
    except DataSourceError as error:
        raise _unreadable(name, path.suffix, error) from error
    geometry = meta["geometry_name"] or "wkb_geometry"
    _check_column_names(table.column_names, name)
    rows = list(range(1, table.num_rows + 1))
    if geometry not in table.column_names:
        if with_points:
            raise _without_geometry(name)
        return Observations(_plain(table), rows)
    encoded = table[geometry].to_pylist()
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


def _column(cells: list[Any]) -> pa.Array:
    """Return the cells of one XLSX column as the plainest Arrow type that holds all of them."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if str in kinds and len(kinds) > 1:
        # Among numbers or dates, NA and its kin are missing values.
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


def _unreadable(name: str, kind: str, error: Exception) -> TableError:
    """Return the problem of a file that a reader refused."""
    reason = str(error).strip().split("\n", maxsplit=1)[0]
    return TableError(
        name,
        f"a file that cannot be read as {kind} ({reason})",
        f"a {kind} file",
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
