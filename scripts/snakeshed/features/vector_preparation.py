"""Layers of polygons and points as files: looked at, and written once for all shards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakeshed.errors import LayerError
from snakeshed.features.layer import place_of
from snakeshed.features.layer_look import Extent
from snakeshed.features.missing import Missing

if TYPE_CHECKING:
    import pyarrow as pa

    from snakeshed.features.prepared_polygons import Polygons
    from snakeshed.features.vector_file import Features
    from snakeshed.terrain.index import TerrainIndex


@dataclass(frozen=True)
class VectorFile:
    """What is known of a file of polygons or points.

    Attributes
    ----------
    name, path : str
    crs : str
        Authority code or WKT.
    extent : tuple of float
        West, south, east and north, in units of `crs`.
    features : int
        Near the DEM, with data.
    kind : str
        Of what: polygons or points.
    warnings : tuple of str
        What looks wrong but may be right.
    """

    name: str
    path: str
    crs: str
    extent: Extent
    features: int
    kind: str
    warnings: tuple[str, ...] = ()

    def described(self) -> str:
        """Return it in a few words."""
        return f"{self.features:,} {self.kind} near the DEM, CRS {self.crs}"


def prepare_polygons(declared: Mapping, terrain: TerrainIndex, path: str | None) -> VectorFile:
    """Look at a file of polygons, and write those near the DEM.

    Parameters
    ----------
    declared : mapping
        Its name, path, sheet, attribute, summary, nodata, and valid_range.
    terrain : TerrainIndex
        The whole DEM.
    path : str or None
        Where they are written; None looks only.

    Raises
    ------
    LayerError
        It cannot be summarized.
    """
    from snakeshed.features.prepared_polygons import valid_polygons, write_polygons

    where = place_of(declared["name"], declared["path"])
    features = _read(declared, terrain, where, "polygons")
    texts, values = declared["summary"] == "classes", None
    if features.values is not None:
        given = features.values
        values = _texts(given) if texts else _numbers(given, declared, where)
    polygons = valid_polygons(features, values, where, terrain)
    if path is not None:
        write_polygons(polygons, path, terrain.lattice.crs, texts=texts)
    empty = 0 if values is None else sum(value is None for value in values)
    warnings = tuple(_warnings(polygons, empty, where))
    return _file(declared, features, len(polygons.shapes), "polygons", warnings)


def prepare_points(declared: Mapping, terrain: TerrainIndex, path: str | None) -> VectorFile:
    """Look at a file of points, and write the cells of the DEM that they are in.

    Parameters and errors are those of `prepare_polygons`.
    """
    from snakeshed.features.prepared_points import cells_of_points, write_points

    where = place_of(declared["name"], declared["path"])
    features = _read(declared, terrain, where, "points")
    points = cells_of_points(features, where, terrain)
    if path is not None:
        write_points(points, path)
    warnings = ()
    if points.others:
        warnings = (
            f"{where}: features near the DEM that are no points, and left out: {points.others:,}.",
        )
    return _file(declared, features, len(points.x), "points", warnings)


def _read(declared: Mapping, terrain: TerrainIndex, where: str, kind: str) -> Features:
    from snakeshed.features.vector_file import read_features

    return read_features(
        declared["path"],
        where,
        declared["sheet"],
        f"layers[{declared['name']}].sheet",
        declared.get("attribute"),
        kind,
        terrain,
    )


def _file(
    declared: Mapping, features: Features, count: int, kind: str, warnings: tuple[str, ...]
) -> VectorFile:
    name, path = declared["name"], declared["path"]
    return VectorFile(name, path, features.crs, features.extent, count, kind, warnings)


def _warnings(polygons: Polygons, empty: int, where: str) -> Iterator[str]:
    warnings = {
        "not valid, such as polygons that cross themselves, and used as GEOS makes them valid": (
            polygons.invalid
        ),
        "no polygons, and left out": polygons.others,
        "without a value of the attribute, and count as missing": empty,
        "without a place in the CRS of the DEM, and left out": polygons.nowhere,
    }
    for what, count in warnings.items():
        if count:
            yield f"{where}: features near the DEM that are {what}: {count:,}."


def _texts(values: pa.Array) -> list[str | None]:
    """Return an attribute as texts: whole numbers without a point, None for what is empty."""
    return [_text(value) for value in values.to_pylist()]


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def _numbers(values: pa.Array, declared: Mapping, where: str) -> list[float | None]:
    """Return an attribute as numbers; None for what counts as missing."""
    import numpy as np
    import pyarrow as pa

    kind = values.type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    if not is_number:
        raise LayerError(
            where,
            f"the attribute {declared['attribute']!r} of type {kind}",
            "numbers, since summary is number",
            "Set summary: classes, or name an attribute of numbers.",
        )
    numbers = np.array(
        [math.nan if value is None else float(value) for value in values.to_pylist()], np.float64
    )
    missing = Missing.of(declared)
    lost = missing.drop(numbers, 1.0, 0.0)
    problem = missing.undeclared(numbers[~lost], "float64", where, of="attribute", among="polygons")
    if problem:
        raise problem
    return [None if no else value for value, no in zip(numbers.tolist(), lost, strict=True)]
