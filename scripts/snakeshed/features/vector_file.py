"""Files of polygons and points: what of them lies near the DEM, in the DEM's CRS.

Places are rounded to a millionth of a cell of the DEM, so that every CPU agrees.
"""

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
from snakeshed.features.raster_layer import tiles_in, way_to_layer
from snakeshed.raster.crs import crs_facts, same_crs, short_crs
from snakeshed.sites.observations import plain_table, reading
from snakeshed.sites.vector_layer import VECTOR_FORMATS, layer_in
from snakeshed.terrain.index import TerrainIndex

if TYPE_CHECKING:
    from snakeshed.raster.crs import CrsFacts

FORMATS = {".parquet": "GeoParquet", ".geoparquet": "GeoParquet", **VECTOR_FORMATS}
_RASTERS = (".tif", ".tiff", ".vrt", ".img", ".asc", ".nc", ".hgt", ".bil", ".flt", ".jp2")

# A side that is straight in the CRS of the file is bent in that of the DEM: by 0.2 mm over 100 m.
_STEP_M = 100.0
_STEP_DEGREES = 0.001
_DECIMALS = 6
# What is read reaches beyond the DEM by this part of its size, and by so much more.
_MARGIN = 0.05
_MARGIN_M = 1000.0
_MARGIN_DEGREES = 0.01
_HALF_TURN = 180.0
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
    with _told_of_layer():
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
def _told_of_layer() -> Iterator[None]:
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
    box = _box(facts, where, terrain)
    _check_overlap(extent, facts, where, terrain)
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
    box = _box(facts, where, terrain)
    wkb = table[geometry].to_pylist()
    if not any(wkb):
        raise _without(expected, where, "no geometry")
    features = _near(wkb, values, facts.crs, box, None, where)
    _check_overlap(features.extent, facts, where, terrain)
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


def cut_to_dem(shapes: np.ndarray, crs: str, where: str, terrain: TerrainIndex) -> np.ndarray:
    """Cut valid polygons to the surroundings of the DEM; its CRS may have no place for the rest."""
    box = _box(crs_facts(crs), where, terrain)
    if box is None:
        return shapes
    west, south, east, north = box
    bounds = shapely.bounds(shapes)
    beyond = (bounds[:, 0] < west) | (bounds[:, 1] < south)
    beyond |= (bounds[:, 2] > east) | (bounds[:, 3] > north)
    cut = shapes.copy()
    cut[beyond] = shapely.intersection(shapes[beyond], shapely.box(*box))
    return cut


def in_crs_of_dem(shapes: np.ndarray, crs: str, where: str, terrain: TerrainIndex) -> np.ndarray:
    """Bring shapes to the CRS of the DEM, and round their places.

    Sides are divided before, so that they stay where they are.

    Returns
    -------
    ndarray of shapely.Geometry, shape (n,)
        None where the CRS of the DEM has no place for a shape.
    """
    lattice = terrain.lattice
    same = same_crs(crs, lattice.crs)
    if not same:
        way = way_to_layer(crs, lattice.crs, where)
        shapes = _divided(shapes, crs_facts(crs))

    def move(xy: np.ndarray) -> np.ndarray:
        x, y = xy.T if same else way.transform(*xy.T)
        column = np.round((x - lattice.x0) / lattice.dx, _DECIMALS)
        row = np.round((lattice.y0 - y) / lattice.dy, _DECIMALS)
        return np.column_stack(lattice.corner(row, column))

    with np.errstate(invalid="ignore"):
        moved = shapely.transform(shapes, move)
    bounds = shapely.bounds(moved)
    moved[~np.isfinite(bounds).all(axis=1)] = None
    if not lattice.geographic or terrain.meridian is None:
        return moved
    # A shape lies on one side of the antimeridian as a whole.
    middles = (bounds[:, 0] + bounds[:, 2]) / 2
    turns = np.nan_to_num(terrain.turned(middles) - middles)
    for turn in np.unique(turns[turns != 0]):
        others = turns == turn
        moved[others] = shapely.transform(
            moved[others], lambda xy, turn=turn: xy + np.array([turn, 0.0])
        )
    return moved


def _divided(shapes: np.ndarray, facts: CrsFacts) -> np.ndarray:
    """Divide long sides."""
    step = _STEP_DEGREES if facts.geographic else _STEP_M / facts.unit_m
    xy, of_shape = shapely.get_coordinates(shapes, return_index=True)
    # From one ring to the next is no side; where it is long, dividing changes nothing.
    is_long = np.hypot(*np.diff(xy, axis=0).T) > step
    some = np.unique(of_shape[1:][is_long & (of_shape[1:] == of_shape[:-1])])
    divided = shapes.copy()
    divided[some] = shapely.segmentize(shapes[some], step)
    return divided


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


def _box(facts: CrsFacts, where: str, terrain: TerrainIndex) -> Extent | None:
    """Return a box around the DEM in a CRS; None where it has none there."""
    tiles = tiles_in(facts.crs, where, terrain)
    if any(tile is None for tile in tiles):
        return None
    west, south, east, north = around(tiles)
    least = _MARGIN_DEGREES if facts.geographic else _MARGIN_M / facts.unit_m
    margin = max(least, _MARGIN * max(east - west, north - south))
    box = west - margin, south - margin, east + margin, north + margin
    # Longitudes of a file may count from either side of the antimeridian.
    if facts.geographic and max(-box[0], box[2]) > _HALF_TURN:
        return None
    return box


def _check_overlap(extent: Extent, facts: CrsFacts, where: str, terrain: TerrainIndex) -> None:
    """Refuse a file beside all of the DEM."""
    tiles = tiles_in(facts.crs, where, terrain)
    if any(tile is None for tile in tiles) or not all(map(math.isfinite, extent)):
        return
    turns = (0, -360, 360) if facts.geographic else (0,)
    west, south, east, north = extent
    for left, bottom, right, top in tiles:
        for turn in turns:
            if west < right + turn and left + turn < east and south < top and bottom < north:
                return
            # What has no width, such as one point, may lie within.
            inside = left + turn <= west <= right + turn and bottom <= south <= top
            if inside and (west == east or south == north):
                return
    left, bottom, right, top = around(tiles)
    raise LayerError(
        where,
        f"x from {west:.10g} to {east:.10g}, y from {south:.10g} to {north:.10g}, beside all of "
        "the DEM",
        f"some of x from {left:.10g} to {right:.10g}, y from {bottom:.10g} to {top:.10g}, where "
        f"the DEM is in the file's CRS {short_crs(facts.crs)}",
        "Name the file of the right place, or correct its CRS.",
    )
