"""Files of polygons and points: what of them lies near the DEM."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from snakeshed.errors import LayerError, TableError
from snakeshed.features.layer_look import Extent, around
from snakeshed.features.near_dem import box_around_dem, check_overlap
from snakeshed.raster.crs import crs_facts
from snakeshed.sites.observations import plain_table, reading
from snakeshed.sites.vector_layer import VECTOR_FORMATS, layer_in
from snakeshed.terrain.index import TerrainIndex

if TYPE_CHECKING:
    from snakeshed.raster.crs import CrsFacts

FORMATS = {".parquet": "GeoParquet", ".geoparquet": "GeoParquet", **VECTOR_FORMATS}
_RASTERS = (".tif", ".tiff", ".vrt", ".img", ".asc", ".nc", ".hgt", ".bil", ".flt", ".jp2")

# WKB adds 1000, 2000, or 3000 for Z, M, or both; EWKB sets bits. From 8 to 17, curves and surfaces.
_CURVES = range(8, 18)


@dataclass(frozen=True, eq=False)
class Features:
    """What a file has near the DEM, in the order of the file.

    Attributes
    ----------
    shapes : ndarray of shapely.Geometry, shape (n,)
        As they are in the file, but without Z.
    values : pyarrow.Array, or None
        The attribute, if one was asked for.
    crs : str
        Of the file and of the shapes.
    extent : tuple of float
        West, south, east, and north of all that was read, in `crs`.
    """

    shapes: np.ndarray
    values: pa.Array | None
    crs: str
    extent: Extent


def read_features(
    path: str,
    where: str,
    sheet: str | None,
    sheet_key: str,
    attribute: str | None,
    expected: str,
    terrain: TerrainIndex,
) -> Features:
    """Read what of a file is near the DEM.

    Parameters
    ----------
    path, where : str
        The file, and how messages name it.
    sheet, sheet_key : str
        Layer in the file, and the key that names it. None if there is only one.
    attribute : str or None
        Column to read.
    expected : str
        What it is a file of: polygons or points.
    terrain : TerrainIndex
        The whole DEM.

    Raises
    ------
    LayerError
        It cannot be read, has no such attribute or no CRS, or lies beside all of the DEM.
    """
    _check_file(path, where, expected)
    suffix = PurePath(path).suffix.lower()
    with _as_layer_errors():
        if VECTOR_FORMATS.get(suffix):
            source, sheet = layer_in(Path(path), where, sheet, sheet_key)
            return _read_by_gdal(source, sheet, suffix, where, attribute, terrain, expected)
        return _read_parquet(path, where, attribute, terrain, expected)


def _check_file(path: str, where: str, expected: str) -> None:
    suffix = PurePath(path).suffix.lower()
    if suffix not in FORMATS:
        is_raster = suffix in _RASTERS
        raise LayerError(
            where,
            f"a raster ({suffix})" if is_raster else f"the format {suffix or 'without a suffix'}",
            f"{expected} in one of {', '.join(FORMATS)}",
            "Set the layer's type to numeric or classes, or name the file of the "
            + (f"{expected}." if is_raster else f"{expected} in one of these formats."),
        )
    if not os.path.isfile(path):
        raise LayerError(where, "no such file", f"a file of {expected}", "Correct the path.")


@contextmanager
def _as_layer_errors() -> Iterator[None]:
    """Turn problems of a table into problems of a layer."""
    try:
        yield
    except TableError as problem:
        raise LayerError(
            problem.where, problem.found, problem.expected, problem.next_step
        ) from problem


def _read_by_gdal(
    source: Path | str,
    sheet: str,
    suffix: str,
    where: str,
    attribute: str | None,
    terrain: TerrainIndex,
    expected: str,
) -> Features:
    import pyogrio

    kind = VECTOR_FORMATS[suffix]
    with reading(where, kind):
        info = pyogrio.read_info(source, layer=sheet, force_total_bounds=True)
    _check_attribute(attribute, [str(name) for name in info["fields"]], where)
    facts = _facts(info["crs"], where)
    if info["geometry_type"] is None or info["features"] == 0 or info["total_bounds"] is None:
        raise _without(expected, where, "no geometry")
    extent = tuple(float(bound) for bound in info["total_bounds"])
    box = box_around_dem(facts, where, terrain)
    check_overlap(extent, facts, where, terrain)
    # GDAL's own way from FlatGeobuf to Arrow loses the count where a row has no geometry.
    pyogrio.set_gdal_config_options({"OGR_FLATGEOBUF_STREAM_BASE_IMPL": True})
    with reading(where, kind):
        meta, table = pyogrio.read_arrow(
            source,
            layer=sheet,
            columns=[] if attribute is None else [attribute],
            bbox=box,
            return_fids=True,
        )
        table.validate(full=True)
        if attribute is not None:
            table = table.set_column(
                table.column_names.index(attribute),
                attribute,
                plain_table(table.select([attribute]))[attribute],
            )
    geometry = meta["geometry_name"] or "wkb_geometry"
    # An index of places gives features in its own order.
    order = np.argsort(table[meta["fid_column"] or "OGC_FID"].to_numpy(), kind="stable")
    wkb = table[geometry].to_pylist()
    values = None
    if attribute is not None:
        values = table[attribute].combine_chunks().take(pa.array(order))
    return _near([wkb[k] for k in order.tolist()], values, facts.crs, box, extent, where)


def _read_parquet(
    path: str, where: str, attribute: str | None, terrain: TerrainIndex, expected: str
) -> Features:
    with reading(where, "GeoParquet"):
        file = pq.ParquetFile(path)
        stated = (file.schema_arrow.metadata or {}).get(b"geo")
        names = file.schema_arrow.names
        if stated is None:
            raise _without(expected, where, "no geometry (metadata geo)")
        geo = json.loads(stated)
        geometry = geo["primary_column"]
        column = geo["columns"][geometry]
    if column.get("encoding") != "WKB":
        raise LayerError(
            where,
            f"geometry encoded as {column.get('encoding')}",
            "WKB",
            "Write the file with this encoding, for example with GeoPandas.",
        )
    _check_attribute(attribute, [name for name in names if name != geometry], where)
    crs = column.get("crs", "OGC:CRS84")
    facts = _facts(json.dumps(crs) if isinstance(crs, dict) else crs, where)
    wanted = [geometry, *([] if attribute is None else [attribute])]
    with reading(where, "GeoParquet"):
        table = file.read(columns=wanted, use_threads=False)
        table.validate(full=True)
        values = None
        if attribute is not None:
            values = plain_table(table.select([attribute]))[attribute].combine_chunks()
    box = box_around_dem(facts, where, terrain)
    wkb = table[geometry].to_pylist()
    if not any(wkb):
        raise _without(expected, where, "no geometry")
    features = _near(wkb, values, facts.crs, box, None, where)
    check_overlap(features.extent, facts, where, terrain)
    return features


def _near(
    wkb: Sequence[bytes | None],
    values: pa.Array | None,
    crs: str,
    box: Extent | None,
    extent: Extent | None,
    where: str,
) -> Features:
    """Keep what touches a box."""
    kinds = {int.from_bytes(each[1:5], "little" if each[0] else "big") for each in wkb if each}
    curved = sorted({kind % 1000 for kind in (k & 0x1FFFFFFF for k in kinds)}.intersection(_CURVES))
    if curved:
        raise LayerError(
            where,
            f"curves or surfaces (WKB type {', '.join(map(str, curved))})",
            "polygons with straight sides, or points",
            "Convert them, for example with ogr2ogr -nlt CONVERT_TO_LINEAR.",
        )
    with reading(where, "geometries"):
        shapes = shapely.force_2d(shapely.from_wkb(np.array([*wkb, None], object)[:-1]))
    bounds = shapely.bounds(shapes)
    if extent is None:
        known = bounds[np.isfinite(bounds).all(axis=1)]
        extent = around(known.tolist()) if len(known) else (math.nan,) * 4
    kept = np.isfinite(bounds).all(axis=1)
    if box is not None:
        west, south, east, north = box
        kept &= (bounds[:, 0] <= east) & (bounds[:, 2] >= west)
        kept &= (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
    rows = np.flatnonzero(kept)
    return Features(
        shapes[rows], None if values is None else values.take(pa.array(rows)), crs, extent
    )


def _check_attribute(attribute: str | None, there: list[str], where: str) -> None:
    if attribute is None or attribute in there:
        return
    lower = {name.lower(): name for name in there}
    near = difflib.get_close_matches(attribute.lower(), lower, n=1, cutoff=0.5)
    hint = f"Did you mean {lower[near[0]]!r}? " if near else ""
    raise LayerError(
        where,
        f"no attribute {attribute!r}",
        f"one of {', '.join(map(repr, there)) or 'none: the file has no attributes'}",
        f"{hint}Correct the layer's attribute.",
    )


def _facts(crs: Any, where: str) -> CrsFacts:
    if not crs:
        raise LayerError(
            where,
            "no CRS",
            "a file that says in which CRS it is",
            "Set it in the file, for example with ogr2ogr -a_srs; a shapefile has it in its .prj.",
        )
    try:
        return crs_facts(crs)
    except ValueError as error:
        raise LayerError(
            where,
            f"a CRS that cannot be used ({error})",
            "a projected CRS, or a geographic one in degrees",
            "Set the right one in the file, for example with ogr2ogr -a_srs.",
        ) from error


def _without(expected: str, where: str, found: str) -> LayerError:
    return LayerError(
        where, found, f"a file of {expected}", "Check that this is the right file and layer."
    )
