"""Read a user's table of any supported format."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from snakeshed.errors import TableError
from snakeshed.progress import begin, counted
from snakeshed.sites.observations import (
    Observations,
    check_column_names,
    not_utf8,
    plain_table,
    reading,
    without_empty_rows,
    without_geometry,
    without_rows,
)
from snakeshed.sites.text_columns import text_column, typed_column
from snakeshed.sites.vector_layer import VECTOR_FORMATS, layer_in
from snakeshed.sites.xlsx import read_xlsx

_SEPARATORS = {b",": "commas", b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}
# The type of a column in a USGS RDB file: a width, and s for text, n for numbers, d for dates.
_RDB_FORMAT = re.compile(rb"[0-9]{0,9}[snd]")

FORMATS = {
    ".xlsx": "XLSX",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".tab": "TSV",
    ".txt": "CSV or TSV",
    ".rdb": "USGS RDB",
    ".parquet": "Parquet",
    ".geoparquet": "Parquet",
    **VECTOR_FORMATS,
}
# Those of them that are text.
TEXT_FORMATS = (".csv", ".tsv", ".tab", ".txt", ".rdb")


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
        Sheet of an XLSX file, layer of a GeoPackage, or shapefile in a ZIP file; None if there is
        only one.
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
    begin(f"reading {name}")
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        read = read_xlsx(path, name, sheet, id_column)
    elif suffix in TEXT_FORMATS:
        read = _read_text(path, name, id_column)
    elif suffix in {".parquet", ".geoparquet"}:
        read = _read_parquet(path, name, with_points)
    else:
        read = _read_vector(path, name, sheet, with_points)
    if not read.rows:
        raise without_rows(name)
    return read


def _check_file(path: Path, name: str) -> None:
    """Refuse what is no file of a known format with something in it."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise TableError(
            name,
            f"the format {suffix or 'without a suffix'}",
            f"one of {', '.join(FORMATS)}",
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


@dataclass(frozen=True)
class _TextTable:
    """How a table of text is written: what is above its header, and what is between its cells."""

    kind: str
    separator: str
    comment_lines: int = 0
    # Of a USGS RDB file: the types of its columns, such as 15s, from the line below the header.
    formats: tuple[str, ...] | None = None


def _read_text(path: Path, name: str, id_column: str | None) -> Observations:
    """Read a table of text: UTF-8, with commas or tabs and a header; USGS RDB too."""
    written = _text_table(path, name)
    # A site's name may have a quotation mark; RDB knows no quoting.
    quote = '"' if written.formats is None else False

    def read(column_types: dict[str, pa.DataType] | None) -> pa.Table:
        return pyarrow.csv.read_csv(
            path,
            # One block: types are inferred from all rows, not from the first megabyte.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=path.stat().st_size,
                skip_rows=written.comment_lines,
                skip_rows_after_names=0 if written.formats is None else 1,
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=written.separator, quote_char=quote, newlines_in_values=True
            ),
            convert_options=pyarrow.csv.ConvertOptions(column_types=column_types),
        )

    with reading(name, written.kind):
        names = read(None).column_names
    check_column_names(names, name)
    with reading(name, written.kind):
        table = read(dict.fromkeys(names, pa.binary()))
    columns = []
    begin(f"reading {name}: {table.num_rows:,} rows")
    for column_name, column in zip(names, table.columns, strict=True):
        try:
            columns.append(column.cast(pa.string()))
        except pa.ArrowInvalid as error:
            raise not_utf8(name, f" in the column {column_name!r}") from error
    is_text = [
        title == id_column or (written.formats is not None and written.formats[k].endswith("s"))
        for k, title in enumerate(names)
    ]
    columns = [
        text_column(column) if as_text else typed_column(column)
        for column, as_text in zip(columns, is_text, strict=True)
    ]
    return without_empty_rows(pa.table(columns, names=names))


def _text_table(path: Path, name: str) -> _TextTable:
    """Find out how a table of text is written, by its suffix and its first lines."""
    with path.open("rb") as file:
        lines = iter(file)
        comments, header = 0, next(lines)
        while header.startswith(b"#") and (line := next(lines, None)) is not None:
            comments, header = comments + 1, line
        below = next(lines, b"").strip(b"\r\n").lower().split(b"\t")
    if len(below) == header.count(b"\t") + 1 and all(map(_RDB_FORMAT.fullmatch, below)):
        formats = tuple(each.decode() for each in below)
        return _TextTable("USGS RDB", "\t", comments, formats)
    with path.open("rb") as file:
        header = file.readline()
    suffix = path.suffix.lower()
    if suffix == ".rdb":
        raise TableError(
            name,
            "a file without the line of formats below its header",
            "a USGS RDB file: lines of comment (#), a header, a line such as 5s 15s 10n, rows; "
            "all with tabs",
            "Download it again, or save the table as .tsv or .csv.",
        )
    is_tabs = suffix in {".tsv", ".tab"} or (suffix == ".txt" and b"\t" in header)
    separator = "\t" if is_tabs else ","
    _check_header(header, name, separator)
    return _TextTable("TSV" if is_tabs else "CSV", separator)


def _check_header(header: bytes, name: str, separator: str) -> None:
    """Refuse a table by its first line: other encodings, other separators, nothing below it."""
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise not_utf8(name, ": UTF-16")
    try:
        header.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(name, " in the header") from error
    expected = separator.encode()
    likely = max(_SEPARATORS, key=header.count)
    if header.count(likely) > header.count(expected):
        advice = "Save the table again with commas, and with points in decimal numbers."
        if expected == b"\t":
            advice = "Save the table again with tabs, or call it .csv if it has commas."
        elif likely == b"\t":
            advice = "Call the file .tsv, or save the table again with commas."
        raise TableError(
            name,
            f"columns separated by {_SEPARATORS[likely]}",
            f"columns separated by {_SEPARATORS[expected]}",
            advice,
        )
    # Old programs for the Mac end lines with a carriage return alone.
    if header.strip() and not header.endswith(b"\n") and b"\r" not in header:
        raise without_rows(name)


def _read_parquet(path: Path, name: str, with_points: bool) -> Observations:
    """Read a Parquet file, and the primary geometry of a GeoParquet file."""
    with reading(name, "Parquet"):
        table = pq.read_table(path, use_threads=False)
        # Text is not checked when it is read.
        table.validate(full=True)
        geometry = _primary_geometry(table)
    check_column_names(table.column_names, name)
    rows = list(range(1, table.num_rows + 1))
    points = crs = None
    if with_points:
        import geopandas

        if geometry is None:
            raise without_geometry(name)
        with reading(name, "GeoParquet"):
            geometries = geopandas.read_parquet(path, columns=[geometry]).geometry
        points, crs = list(geometries), _crs_text(geometries.crs, name)
    with reading(name, "Parquet"):
        plain = plain_table(table if geometry is None else table.drop_columns([geometry]))
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
    """Read a layer of a GeoPackage, or a file of another format of GDAL's."""
    import pyogrio
    import shapely

    kind = FORMATS[path.suffix.lower()]
    source, layer = layer_in(path, name, sheet, "sites.sheet")
    # GDAL's own way from FlatGeobuf to Arrow loses the count where a row has no geometry.
    pyogrio.set_gdal_config_options({"OGR_FLATGEOBUF_STREAM_BASE_IMPL": True})
    with reading(name, kind):
        meta, table = pyogrio.read_arrow(source, layer=layer)
        table.validate(full=True)
    geometry = meta["geometry_name"] or "wkb_geometry"
    check_column_names(table.column_names, name)
    rows = list(range(1, table.num_rows + 1))
    if geometry not in table.column_names:
        if with_points:
            raise without_geometry(name)
        return Observations(plain_table(table), rows)
    encoded = table[geometry].to_pylist()
    with reading(name, kind):
        table = plain_table(table.drop_columns([geometry]))
        if not with_points:
            return Observations(table, rows)
        points = [
            None if wkb is None else shapely.from_wkb(wkb)
            for wkb in counted(encoded, f"reading {name}", len(encoded))
        ]
    return Observations(table, rows, points=points, crs=_crs_text(meta["crs"], name))


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
    with reading(name, "a file with a known CRS"):
        crs = CRS.from_user_input(crs)
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt()
