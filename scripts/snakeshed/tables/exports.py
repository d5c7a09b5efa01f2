"""Tables for other programs: CSV and GeoPackage."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from snakeshed.errors import TableError
from snakeshed.result_files import result_file
from snakeshed.tables.geoparquet import (
    DESCRIPTION,
    GEOMETRY,
    geometry_metadata,
    read_arrow,
    to_geopandas,
)

if TYPE_CHECKING:
    import pandas as pd

# GDAL stamps a GeoPackage with the time of writing; a fixed time keeps its bytes reproducible.
_GEOPACKAGE_DATE = "2000-01-01T00:00:00.000Z"


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
    import pandas as pd

    if isinstance(frame, pa.Table):
        frame = to_geopandas(
            frame.select([name for name in frame.column_names if name != GEOMETRY])
        )
    frame = pd.DataFrame(frame.drop(columns=GEOMETRY, errors="ignore"))
    for name in frame.columns:
        if pd.api.types.is_object_dtype(frame[name]):
            frame[name] = [_cell(value) for value in frame[name]]
    with result_file(path) as part:
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

    table = read_arrow(path_in)
    if GEOMETRY not in table.column_names:
        raise TableError(
            str(path_in),
            "a table without geometry",
            "a GeoParquet file, such as catchments.parquet",
            "Export this table as CSV.",
        )
    metadata = geometry_metadata(table)
    kinds = metadata["geometry_types"]
    crs = CRS.from_json_dict(metadata["crs"])
    authority = crs.to_authority()
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _GEOPACKAGE_DATE})
    try:
        with result_file(path_out) as part:
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


def _cell(value: object) -> object:
    """Return a list as JSON text, and any other value as it is."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list):
        return value
    import pandas as pd

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
