"""Tables of results: described columns, deterministic Parquet, exports.

The same inputs give the same bytes: types are fixed by the column, never by its values; nothing
in a file tells when or where it was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from snakeshed.errors import TableError
from snakeshed.result_files import check_result, damaged, missing, named_in_errors, result_file
from snakeshed.tables.arrays import array_of, null_for_nan

if TYPE_CHECKING:
    import geopandas
    import numpy as np
    import pandas as pd

GEOMETRY = "geometry"
DESCRIPTION = b"description"

# One row group holds any table of sites; a fixed size keeps the bytes independent of defaults.
_ROW_GROUP = 1_048_576


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
        The file; it appears atomically, with a record of its bytes.
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
    with result_file(path) as part:
        pq.write_table(
            table,
            part,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=3,
            row_group_size=_ROW_GROUP,
            # For other readers: ours compare the file with its record.
            write_page_checksum=True,
        )


def read_table(
    path: str | Path, columns: Sequence[str] | None = None, recorded: bool = True
) -> pd.DataFrame | geopandas.GeoDataFrame:
    """Read a table that `write_table` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    columns : sequence of str, optional
        Only these columns. Without the geometry, GeoPandas is not imported.
    recorded : bool
        Whether the record of its bytes is beside it, to compare the file with.

    Returns
    -------
    pandas.DataFrame or geopandas.GeoDataFrame
        A GeoDataFrame if the geometry was read. Integer and boolean columns with nulls have
        pandas' nullable types, so that no integer becomes a float.

    Raises
    ------
    ResultError
        The file, or the record of its bytes, is missing, or it is damaged.
    TableError
        It lacks one of `columns`.
    """
    return to_geopandas(read_arrow(path, columns, recorded))


def rows_of(table: pa.Table | pd.DataFrame | geopandas.GeoDataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain values, without pandas where they come from `read_arrow`.

    Parameters
    ----------
    table : pyarrow.Table, pandas.DataFrame or geopandas.GeoDataFrame

    Returns
    -------
    list of dict
        Column name to value: None for null and NaN, a shapely geometry in the column `geometry`.
    """
    if not isinstance(table, pa.Table):
        outlines = table[GEOMETRY].tolist() if GEOMETRY in table.columns else None
        rows = _arrow(table.drop(columns=GEOMETRY, errors="ignore"), {}).to_pylist()
    else:
        outlines = from_wkb(table).tolist() if GEOMETRY in table.column_names else None
        rows = _arrow(table, {}).to_pylist()
    for row, outline in zip(rows, outlines or (), strict=outlines is not None):
        row[GEOMETRY] = outline
    return rows


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
    with _opened(path) as file:
        schema = file.schema_arrow
    return {field.name: (field.metadata or {}).get(DESCRIPTION, b"").decode() for field in schema}


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
        arrays = [_without_nan(_cast(column, kind)) for column, kind in columns.values()]
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
    import pandas as pd

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
    return pa.chunked_array([null_for_nan(chunk) for chunk in column.chunks], column.type)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column in another type, without pyarrow.compute where it has it already."""
    if not pa.types.is_nested(kind) and column.type.equals(kind):
        return column
    return column.cast(kind)


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
        pa.field(GEOMETRY, pa.binary()), array_of(encoded.tolist(), pa.binary())
    )
    projjson = CRS.from_user_input(crs).to_json_dict()
    return table.replace_schema_metadata(geo_metadata(geometry, projjson))


def _object_array(geometry: np.ndarray | Sequence) -> np.ndarray:
    """Return geometries as a one-dimensional array of objects, whatever holds them."""
    import numpy as np

    array = np.empty(len(geometry), dtype=object)
    array[:] = list(geometry)
    return array


def geo_metadata(geometry: np.ndarray, projjson: dict) -> dict[bytes, bytes]:
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


def geometry_metadata(table: pa.Table) -> dict:
    """Return what the file says about its geometry column."""
    return json.loads(table.schema.metadata[b"geo"])["columns"][GEOMETRY]


def from_wkb(table: pa.Table) -> np.ndarray:
    """Return the geometries of a table."""
    import shapely

    return shapely.from_wkb(_object_array(table[GEOMETRY].to_pylist()))


@contextmanager
def _opened(path: str | Path, recorded: bool = True) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; whatever is wrong with it, here or while it is read, names it."""
    try:
        if recorded:
            check_result(path)
        with (
            named_in_errors(path),
            pq.ParquetFile(path, page_checksum_verification=True) as file,
        ):
            yield file
    except FileNotFoundError:
        raise missing(path) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Where the operating system cannot read, it says so with a number.
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise
        found = f"a table that cannot be read ({error})"
        if recorded:
            raise damaged(path, found) from error
        raise TableError(
            str(path), found, "a table of this workflow", "Get it again from where it is from."
        ) from error


def read_arrow(
    path: str | Path, columns: Sequence[str] | None = None, recorded: bool = True
) -> pa.Table:
    """Read a table with its own metadata, without that of the Parquet layer.

    Parameters and errors are those of `read_table`.
    """
    with _opened(path, recorded) as file:
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


def to_geopandas(table: pa.Table) -> pd.DataFrame | geopandas.GeoDataFrame:
    """Return a table as a frame in which every null is visible as such."""
    import pandas as pd

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

    crs = CRS.from_json_dict(geometry_metadata(table)["crs"])
    return geopandas.GeoDataFrame(frame, geometry=from_wkb(table), crs=crs)
