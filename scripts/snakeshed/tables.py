"""Tables of results: described columns, deterministic Parquet, exports.

The same inputs give the same bytes: types are fixed by the column, never by its values; nothing
in a file tells when or where it was written.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snakeshed.errors import SnakeshedError, TableError

if TYPE_CHECKING:
    import geopandas
    import numpy as np

GEOMETRY = "geometry"
DESCRIPTION = b"description"

# One row group holds any table of sites; a fixed size keeps the bytes independent of defaults.
_ROW_GROUP = 1_048_576
# GDAL stamps a GeoPackage with the time of writing; a fixed time keeps its bytes reproducible.
_GEOPACKAGE_DATE = "2000-01-01T00:00:00.000Z"
_PART = re.compile(r"\.[0-9a-f]{12}\.part(\.|$)")
# A disk with less room than this takes no table.
_FULL_BYTES = 65536


@contextmanager
def atomic(path: str | Path, lasting: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` at the end.

    Whoever looks at `path` sees the old content or the complete new one. After an error the
    half-written file (or folder) is removed and `path` is as it was.

    Parameters
    ----------
    path : str or Path
        The file to appear. Missing parent folders are made.
    lasting : bool
        Whether it has to be on the disk before it appears, to outlast a loss of power.

    Yields
    ------
    Path
        A hidden, unused name in the same folder, with the same suffix: writers that choose the
        format by suffix work.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.part{path.suffix}")
    try:
        try:
            yield part
            if lasting:
                _onto_disk(part)
            os.replace(part, path)
        except Exception as error:
            # GDAL and SQLite say that a write has failed, not that there was no room for it.
            known = isinstance(error, SnakeshedError | MemoryError) or getattr(error, "errno", None)
            if not known and _is_full(path.parent):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise
        finally:
            _remove(part)
    except OSError as error:
        if error.filename in {None, str(part), part}:
            error.filename = str(path)
        raise


def remove_parts(folder: str | Path) -> int:
    """Remove what `atomic` left half-written in a folder, and below it, when it was killed.

    Parameters
    ----------
    folder : str or Path
        Nobody else writes in it.

    Returns
    -------
    int
        Number of files and folders removed.
    """
    parts = [part for part in Path(folder).rglob(".*.part*") if _PART.search(part.name)]
    for part in parts:
        _remove(part)
    return len(parts)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


def _onto_disk(part: Path) -> None:
    """Have the disk hold a file before it gets its name, so that a power cut leaves no torn one.

    Network file systems tell only here that a disk is full.
    """
    if part.is_file():
        with part.open("rb") as file:
            os.fsync(file)


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _FULL_BYTES or 0 == disk.f_favail < disk.f_files


def write_table(
    frame: pd.DataFrame | pa.Table,
    path: str | Path,
    descriptions: Mapping[str, str] | None = None,
    geometry: np.ndarray | Sequence | None = None,
    crs: object = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> None:
    """Write a table as Parquet, or as GeoParquet 1.1 when it has a geometry.

    Parameters
    ----------
    frame : pandas.DataFrame or pyarrow.Table
        The columns. NaN, None and NaT are written as null.
    path : str or Path
        The file; it appears atomically.
    descriptions : mapping of str to str, optional
        What each column means, units included; names that `frame` lacks are ignored. May be left
        out for a `pyarrow.Table` whose fields already carry their description, such as that of
        `concatenate`.
    geometry : sequence of shapely geometries, optional
        One geometry (or None) per row, written as the last column, `geometry`.
    crs : anything that pyproj understands, optional
        The CRS of `geometry`; required with it.
    types : mapping of str to pyarrow.DataType, optional
        Types of columns that their pandas dtype does not settle, such as lists. Without it an
        object column is text.

    Raises
    ------
    ValueError
        If a column has no description, or `geometry` comes without `crs`.
    TypeError
        If a column holds something else than its type.
    """
    table = _arrow(frame, types or {})
    if geometry is not None:
        table = _with_geometry(table, geometry, crs)
    table = _described(table, descriptions or {})
    with atomic(path) as part:
        pq.write_table(
            table,
            part,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=3,
            row_group_size=_ROW_GROUP,
        )


def read_table(
    path: str | Path, columns: Sequence[str] | None = None
) -> pd.DataFrame | geopandas.GeoDataFrame:
    """Read a table that `write_table` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    columns : sequence of str, optional
        Only these columns. Without the geometry, GeoPandas is not imported.

    Returns
    -------
    pandas.DataFrame or geopandas.GeoDataFrame
        A GeoDataFrame if the geometry was read. Integer and boolean columns with nulls have
        pandas' nullable types, so that no integer becomes a float.

    Raises
    ------
    TableError
        If the file is missing or is no Parquet file, or lacks one of `columns`.
    """
    return _pandas(_read(path, columns))


def read_descriptions(path: str | Path) -> dict[str, str]:
    """Return what each column of a Parquet file means.

    Parameters
    ----------
    path : str or Path
        A file that `write_table` wrote.

    Returns
    -------
    dict of str to str
        Column name to description, in the order of the columns.
    """
    schema = _open(path).schema_arrow
    return {field.name: (field.metadata or {}).get(DESCRIPTION, b"").decode() for field in schema}


def concatenate(paths: Iterable[str | Path]) -> pa.Table:
    """Put the tables of all shards together, sorted by `site_id`.

    Parameters
    ----------
    paths : iterable of str or Path
        Files with the same columns, types, descriptions and CRS. Empty tables are welcome.

    Returns
    -------
    pyarrow.Table
        Every row once, sorted by the code points of `site_id`, with the schema and metadata of
        the files, ready for `write_table`. The result does not depend on how the rows were
        spread over the files, nor on their order.

    Raises
    ------
    TableError
        If two files differ in their schema, or one `site_id` is there twice.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise ValueError("concatenate: no files")
    tables = [_read(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        _check_same_schema(paths[0], tables[0], path, table)
    joined = pa.concat_tables(tables)
    _check_unique(paths, tables)
    joined = joined.take(pc.sort_indices(joined["site_id"])).combine_chunks()
    if GEOMETRY not in joined.column_names:
        return joined
    crs = _geometry_metadata(joined)["crs"]
    return joined.replace_schema_metadata(_geo_metadata(_from_wkb(joined), crs))


def one_site(path: str | Path, site_id: str) -> pa.Table:
    """Return the row of one site, with the schema and metadata of the file, for `write_table`.

    Parameters
    ----------
    path : str or Path
        A table of sites, without geometry.
    site_id : str

    Raises
    ------
    TableError
        The file has no such site.
    """
    table = _read(path)
    row = table.filter(pc.equal(table["site_id"], site_id)).combine_chunks()
    if not row.num_rows:
        raise TableError(
            str(path),
            f"no site {site_id!r}",
            "a row for it",
            "It was written for another site table: delete it and run the workflow again.",
        )
    return row


def write_csv(frame: pd.DataFrame | pa.Table, path: str | Path) -> None:
    """Write a table as CSV: UTF-8, commas, full precision, empty cells for null, no geometry.

    Lists become JSON text.

    Parameters
    ----------
    frame : pandas.DataFrame, geopandas.GeoDataFrame or pyarrow.Table
        The columns.
    path : str or Path
        The file; it appears atomically.
    """
    if isinstance(frame, pa.Table):
        frame = _pandas(frame.select([name for name in frame.column_names if name != GEOMETRY]))
    frame = pd.DataFrame(frame.drop(columns=GEOMETRY, errors="ignore"))
    for name in frame.columns:
        if pd.api.types.is_object_dtype(frame[name]):
            frame[name] = [_cell(value) for value in frame[name]]
    with atomic(path) as part:
        frame.to_csv(
            part, index=False, lineterminator="\n", encoding="utf-8", quoting=_quoting(frame)
        )


def _quoting(frame: pd.DataFrame) -> int:
    """Return how to quote cells: all text, if a single one needs it that Python would not quote.

    Before 3.13 its writer leaves a carriage return bare, which readers take for the end of a row.
    """
    texts = frame.select_dtypes(exclude="number")
    cells = [*frame.columns, *(cell for name in texts for cell in texts[name])]
    bare = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    return csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL


def write_geopackage(path_in: str | Path, path_out: str | Path) -> None:
    """Export a GeoParquet file as a GeoPackage with one layer, named like the file.

    Column descriptions become the comments of the GeoPackage's columns. Lists, which a GeoPackage
    does not know, become JSON text.

    Parameters
    ----------
    path_in : str or Path
        A file with a geometry that `write_table` wrote.
    path_out : str or Path
        The GeoPackage; it appears atomically. The same input gives the same bytes.

    Raises
    ------
    TableError
        If the table has no geometry.
    """
    import pyogrio
    from pyproj import CRS

    table = _read(path_in)
    if GEOMETRY not in table.column_names:
        raise TableError(
            str(path_in),
            "a table without geometry",
            "a GeoParquet file, such as catchments.parquet",
            "Export this table as CSV.",
        )
    metadata = _geometry_metadata(table)
    kinds = metadata["geometry_types"]
    crs = CRS.from_json_dict(metadata["crs"])
    authority = crs.to_authority()
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _GEOPACKAGE_DATE})
    try:
        with atomic(path_out) as part:
            pyogrio.write_arrow(
                _for_geopackage(table),
                part,
                driver="GPKG",
                layer=Path(path_out).stem,
                geometry_name=GEOMETRY,
                geometry_type=kinds[0] if len(kinds) == 1 else "Unknown",
                crs=":".join(authority) if authority else crs.to_wkt(),
            )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})


def _arrow(frame: pd.DataFrame | pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return the columns as Arrow, with types that depend on dtypes only and nulls for NaN."""
    if isinstance(frame, pa.Table):
        columns = {
            field.name: (frame[field.name], _plain(types.get(field.name, field.type)))
            for field in frame.schema
        }
        if len(columns) < frame.num_columns:
            raise ValueError(f"columns named twice: {frame.column_names}")
        fields = [
            pa.field(name, kind, metadata=frame.schema.field(name).metadata)
            for name, (_, kind) in columns.items()
        ]
        arrays = [_without_nan(column.cast(kind)) for column, kind in columns.values()]
        return pa.table(arrays, schema=pa.schema(fields, metadata=frame.schema.metadata))

    arrays, fields = [], []
    if not frame.columns.is_unique:
        raise ValueError(f"columns named twice: {list(frame.columns)}")
    for name, column in frame.items():
        kind = _plain(types.get(name) or _type_of(column.dtype))
        # Arrow reads strings as numbers and numbers as strings only where it is told to; here it
        # refuses, and the name of the column belongs into the message.
        try:
            arrays.append(pa.array(column, type=kind, from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"column {name!r} is not {kind}: {error}") from error
        fields.append(pa.field(name, kind))
    return pa.table(arrays, schema=pa.schema(fields))


def _type_of(dtype: object) -> pa.DataType:
    """Return the Arrow type of a pandas dtype."""
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if pd.api.types.is_bool_dtype(dtype):
        return pa.bool_()
    if pd.api.types.is_integer_dtype(dtype):
        return pa.int64()
    if pd.api.types.is_float_dtype(dtype):
        return pa.float64()
    if pd.api.types.is_datetime64_any_dtype(dtype):
        zone = getattr(dtype, "tz", None)
        return pa.timestamp("us", tz=str(zone) if zone else None)
    return pa.string()


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the plain type behind Arrow's other encodings of the same values."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        # Parquet calls the items "element" when it reads them back, Arrow "item" by default: with
        # one name a table that was read and written again has the same bytes.
        return pa.list_(pa.field("element", _plain(kind.value_type)))
    return kind


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with null in place of NaN."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _described(table: pa.Table, descriptions: Mapping[str, str]) -> pa.Table:
    """Return the table with a description on every field."""
    fields, missing = [], []
    for field in table.schema:
        known = (field.metadata or {}).get(DESCRIPTION, b"").decode()
        text = descriptions.get(field.name, known)
        if not text:
            missing.append(field.name)
        fields.append(field.with_metadata({DESCRIPTION: text}))
    if missing:
        raise ValueError(f"columns without a description: {', '.join(missing)}")
    # Metadata of other writers (pandas' index, a stamp of the tool) would vary with them.
    geo = (table.schema.metadata or {}).get(b"geo")
    metadata = {b"geo": geo} if geo else None
    return pa.table(table.columns, schema=pa.schema(fields, metadata=metadata))


def _with_geometry(table: pa.Table, geometry: np.ndarray | Sequence, crs: object) -> pa.Table:
    """Return the table with a WKB column and the metadata that make it GeoParquet."""
    import shapely
    from pyproj import CRS

    if crs is None:
        raise ValueError("a geometry needs a crs")
    if len(geometry) != table.num_rows:
        raise ValueError(f"{len(geometry)} geometries for {table.num_rows} rows")
    geometry = _object_array(geometry)
    encoded = shapely.to_wkb(geometry, byte_order=1, include_srid=False, flavor="iso")
    table = table.append_column(
        pa.field(GEOMETRY, pa.binary()), pa.array(encoded.tolist(), type=pa.binary())
    )
    projjson = CRS.from_user_input(crs).to_json_dict()
    return table.replace_schema_metadata(_geo_metadata(geometry, projjson))


def _object_array(geometry: np.ndarray | Sequence) -> np.ndarray:
    """Return geometries as a one-dimensional array of objects, whatever holds them."""
    import numpy as np

    array = np.empty(len(geometry), dtype=object)
    array[:] = list(geometry)
    return array


def _geo_metadata(geometry: np.ndarray, projjson: dict) -> dict[bytes, bytes]:
    """Return the file metadata of GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/)."""
    import shapely

    column: dict[str, object] = {"encoding": "WKB", "crs": projjson}
    present = geometry[~(shapely.is_missing(geometry) | shapely.is_empty(geometry))]
    kinds = {
        shape.geom_type + (" Z" if shape.has_z else "") for shape in geometry if shape is not None
    }
    column["geometry_types"] = sorted(kinds)
    if len(present):
        column["bbox"] = [float(bound) for bound in shapely.total_bounds(present)]
    geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    return {b"geo": json.dumps(geo, sort_keys=True).encode()}


def _geometry_metadata(table: pa.Table) -> dict:
    """Return what the file says about its geometry column."""
    return json.loads(table.schema.metadata[b"geo"])["columns"][GEOMETRY]


def _from_wkb(table: pa.Table) -> np.ndarray:
    """Return the geometries of a table."""
    import shapely

    return shapely.from_wkb(_object_array(table[GEOMETRY].to_pylist()))


def _open(path: str | Path) -> pq.ParquetFile:
    """Open a Parquet file, or say what is wrong with it."""
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        found = "no such file"
    except (pa.ArrowInvalid, OSError) as error:
        found = f"a file that is not Parquet ({error})"
    raise TableError(
        str(path),
        found,
        "a Parquet table of this workflow",
        "Delete it and run the workflow again.",
    )


def _read(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table with its own metadata, without that of the Parquet layer."""
    with _open(path) as file:
        names = file.schema_arrow.names
        absent = [name for name in columns or () if name not in names]
        if absent:
            raise TableError(
                str(path),
                f"no column {', '.join(absent)}",
                f"one of {', '.join(names)}",
                "It was written with another configuration: run the workflow again.",
            )
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
    fields = [
        field.with_metadata(
            {key: value for key, value in (field.metadata or {}).items() if key == DESCRIPTION}
        )
        for field in table.schema
    ]
    metadata = table.schema.metadata if GEOMETRY in table.column_names else None
    return pa.table(table.columns, schema=pa.schema(fields, metadata=metadata))


def _pandas(table: pa.Table) -> pd.DataFrame | geopandas.GeoDataFrame:
    """Return a table as a frame in which every null is visible as such."""
    has_geometry = GEOMETRY in table.column_names
    columns = {}
    for name in table.column_names:
        if name == GEOMETRY:
            continue
        column = table[name]
        if column.null_count and pa.types.is_integer(column.type):
            columns[name] = column.to_pandas(types_mapper=lambda _: pd.Int64Dtype())
        elif column.null_count and pa.types.is_boolean(column.type):
            columns[name] = column.to_pandas(types_mapper=lambda _: pd.BooleanDtype())
        else:
            columns[name] = column.to_pandas()
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
    if not has_geometry:
        return frame
    import geopandas
    from pyproj import CRS

    crs = CRS.from_json_dict(_geometry_metadata(table)["crs"])
    return geopandas.GeoDataFrame(frame, geometry=_from_wkb(table), crs=crs)


def _check_same_schema(first: Path, one: pa.Table, path: Path, other: pa.Table) -> None:
    """Refuse to join tables whose columns, descriptions or CRS differ."""
    differences = [
        name
        for name in dict.fromkeys(one.column_names + other.column_names)
        if name not in one.column_names
        or name not in other.column_names
        or not one.schema.field(name).equals(other.schema.field(name), check_metadata=True)
    ]
    if not differences and one.column_names != other.column_names:
        differences = ["their order"]
    if (
        not differences
        and GEOMETRY in one.column_names
        and _geometry_metadata(one)["crs"] != _geometry_metadata(other)["crs"]
    ):
        differences = ["the CRS"]
    if differences:
        raise TableError(
            str(path),
            f"other columns than in {first}: {', '.join(differences)}",
            "the same columns, descriptions and CRS in every shard",
            "The shards come from different configurations: delete them and run again.",
        )


def _check_unique(paths: list[Path], tables: list[pa.Table]) -> None:
    """Refuse a `site_id` that is missing, or that is there twice."""
    ids = [table["site_id"].to_pylist() for table in tables]
    counts = Counter(site for of_table in ids for site in of_table)
    twice = sorted(str(site) for site, count in counts.items() if count > 1 or site is None)
    if twice:
        first = next(site for site, count in counts.items() if str(site) == twice[0])
        holders = [str(path) for path, of in zip(paths, ids, strict=True) if first in of]
        raise TableError(
            ", ".join(holders),
            f"site_id {twice[0]} more than once or empty"
            + (f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""),
            "every site exactly once",
            "The shards come from different site tables: delete them and run again.",
        )


def _cell(value: object) -> object:
    """Return a list as JSON text, and any other value as it is."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list):
        return value
    # NaN is how pandas shows a null inside a list; JSON has no NaN.
    return json.dumps([None if pd.isna(item) else item for item in value])


def _for_geopackage(table: pa.Table) -> pa.Table:
    """Return a table in types that a GeoPackage has, with descriptions as GDAL's comments."""
    arrays, fields = [], []
    for field in table.schema:
        column = table[field.name]
        metadata = {b"GDAL:OGR:comment": field.metadata[DESCRIPTION]}
        if field.name == GEOMETRY:
            metadata = {b"ARROW:extension:name": b"geoarrow.wkb"}
        elif pa.types.is_nested(field.type):
            texts = [None if value is None else json.dumps(value) for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, type=pa.string())])
        arrays.append(column)
        fields.append(pa.field(field.name, column.type, metadata=metadata))
    return pa.table(arrays, schema=pa.schema(fields))
