"""Zonal statistics: declared layers summarised over catchments, weighted by exact coverage.

A layer stays in its own CRS and resolution: the outlines are brought to it. What a layer does not
cover is null, and `<layer>_coverage` says which share of a catchment it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from exactextract import exact_extract

from snakeshed.errors import LayerError
from snakeshed.features.fuel import FuelLayer
from snakeshed.features.layer_index import place_of, problems_of_layer, way_to_layer
from snakeshed.features.layers import ClassLayer, Layer, NumericLayer
from snakeshed.raster.header import gdal_faults, read_header
from snakeshed.raster.vrt_sources import is_remote

# Outlines in a layer's CRS are rounded to this many decimals, so that every CPU agrees.
_PROJECTED_DECIMALS = 4
_GEOGRAPHIC_DECIMALS = 9


def summarise(
    layer: Layer, outlines: Sequence[shapely.Geometry], crs: str
) -> Iterator[dict[str, float | str | None]]:
    """Summarise a layer over outlines.

    Parameters
    ----------
    layer : Layer
    outlines : sequence of shapely.Geometry
    crs : str
        Of the outlines.

    Yields
    ------
    dict
        The columns of ``layer.columns()``, for each outline in turn. All but the coverage is None
        where the layer has no data.

    Raises
    ------
    LayerError
        The layer cannot be read, has no CRS, several bands or rotated cells, or its codes are no
        whole numbers.
    """
    if not len(outlines):
        return
    names = [column.name for column in layer.columns()]
    rows = {NumericLayer: _numbers, ClassLayer: _classes, FuelLayer: _fuel}[type(layer)]
    for values, coverage in rows(layer, outlines, crs):
        known = values or [None] * (len(names) - 1)
        yield dict(zip(names, [*known, coverage], strict=True))


Row = tuple[list[float | str | None] | None, float]
"""Values of all columns but the last, None without data; and the coverage."""


def _numbers(layer: NumericLayer, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[Row]:
    with closing(_open(layer)) as raster:
        factor, shift = _scale_and_offset(raster)
        factor, shift = factor * layer.scale, shift * layer.scale
        # A negative scale turns the order of the cells round.
        flip = factor < 0
        asked = [100 - q if flip else q for q in layer.percentiles]
        quantiles = [f"p{k}=quantile(q={q / 100!r})" for k, q in enumerate(asked)]
        operations = ["mean", "stdev", "min", "max", *quantiles]
        for row, coverage in _extract(layer, raster, operations, outlines, crs):
            if row is None:
                yield None, coverage
                continue
            for end in (row["min"], row["max"]):
                if not math.isfinite(end):
                    raise LayerError(
                        place_of(layer.name, layer.path),
                        f"the cell value {end:g}",
                        "finite numbers, and nodata where there are none",
                        f"Declare it with gdal_edit.py -a_nodata {end:g}.",
                    )
            # exactextract ends the name that it was given with the rounded percentile.
            ranked = [
                next(value for name, value in row.items() if name.startswith(f"p{k}_"))
                for k in range(len(asked))
            ]
            low, high = (row["max"], row["min"]) if flip else (row["min"], row["max"])
            mean, low, high, *ranked = (
                float(value) * factor + shift for value in (row["mean"], low, high, *ranked)
            )
            yield [mean, float(row["stdev"]) * abs(factor), low, high, *ranked], coverage


def _classes(layer: ClassLayer, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[Row]:
    labels = layer.distinct_labels()
    for shares, coverage in _class_shares(layer, outlines, crs):
        if not shares:
            yield None, coverage
            continue
        unlabelled = {code: share for code, share in shares.items() if code not in layer.labels}
        by_label = {
            label: _total(
                share for code, share in shares.items() if layer.labels.get(code) == label
            )
            for label in labels
        }
        # In the order of the codes, so that the smallest one comes first among equals.
        candidates = {
            layer.labels.get(code, str(code)): by_label.get(layer.labels.get(code), share)
            for code, share in shares.items()
        }
        yield (
            [
                max(candidates, key=candidates.get),
                *by_label.values(),
                _total(unlabelled.values()),
                ";".join(f"{code}={share:.6g}" for code, share in shares.items()),
            ],
            coverage,
        )


def _fuel(layer: FuelLayer, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[Row]:
    models = {model.code: model for model in layer.models()}
    groups, parameters = layer.groups(), layer.parameters()
    for shares, coverage in _class_shares(layer, outlines, crs):
        if not shares:
            yield None, coverage
            continue
        known = {code: share for code, share in shares.items() if code in models}
        unmapped = {code: share for code, share in shares.items() if code not in models}
        burnable = {code: share for code, share in known.items() if models[code].burnable}
        dominant = max(shares, key=shares.get)
        yield (
            [
                models[dominant].model if dominant in models else str(dominant),
                *(_total(s for c, s in known.items() if models[c].group == g) for g in groups),
                *(shares.get(code, 0.0) for code in models),
                _total(burnable.values()),
                *(
                    _weighted_mean(burnable, {c: models[c].parameters[name] for c in burnable})
                    for name in parameters
                ),
                _total(unmapped.values()),
                ";".join(map(str, unmapped)) or None,
            ],
            coverage,
        )


def _class_shares(
    layer: ClassLayer | FuelLayer, outlines: Sequence[shapely.Geometry], crs: str
) -> Iterator[tuple[dict[int, float], float]]:
    """Share of each code, by ascending code, in what the layer covers; and that coverage."""
    with closing(_open(layer)) as raster:
        factor, shift = _scale_and_offset(raster)
        for row, coverage in _extract(layer, raster, ["unique", "frac"], outlines, crs):
            shares: dict[int, float] = {}
            if row is not None:
                for value, share in sorted(zip(row["unique"], row["frac"], strict=True)):
                    code = float(value) * factor + shift
                    if not code.is_integer():
                        raise LayerError(
                            place_of(layer.name, layer.path),
                            f"the cell value {code:g}",
                            "whole numbers, the codes of classes",
                            "Declare the layer as numeric, or round its cells.",
                        )
                    # A cell that only touches the outline has no share.
                    if share > 0:
                        shares[int(code)] = float(share)
            yield dict(sorted(shares.items())), coverage


def _extract(
    layer: Layer,
    raster: Any,
    operations: list[str],
    outlines: Sequence[shapely.Geometry],
    crs: str,
) -> Iterator[tuple[dict[str, Any] | None, float]]:
    """Run exactextract: statistics of each outline, None without data, and the coverage."""
    to = raster.rio.crs
    transform = way_to_layer(crs, to.to_wkt(), place_of(layer.name, layer.path))
    decimals = _GEOGRAPHIC_DECIMALS if to.is_geographic else _PROJECTED_DECIMALS

    def to_layer(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transform.transform(*points.T)).round(decimals)

    moved = shapely.transform(list(outlines), to_layer)
    # What has no place in the layer's CRS is not covered by the layer.
    placed = np.isfinite(shapely.bounds(moved)).all(axis=1)
    frame = geopandas.GeoDataFrame(geometry=moved[placed], crs=to)
    width, height = (abs(size) for size in raster.rio.resolution())
    rows = iter(())
    if placed.any():
        with _telling(layer, "read"):
            table = exact_extract(raster, frame, [*operations, "count"], output="pandas")
        rows = iter(table.to_dict("records"))
    for outline, has_place in zip(moved, placed, strict=True):
        row = next(rows) if has_place else None
        if row is None or not row["count"] > 0:
            yield None, 0.0
        else:
            share = float(row["count"]) * width * height / outline.area
            yield row, min(1.0, round(share, 9))


def _open(layer: Layer) -> Any:
    """Open a layer's raster lazily; cells without data are read as NaN."""
    import rioxarray

    where = place_of(layer.name, layer.path)
    if not is_remote(layer.path) and not Path(layer.path).is_file():
        raise LayerError(where, "no such file", "a raster", "Correct the layer's path.")
    # The workflow has looked at all layers at its start; the header may have changed since.
    header = read_header(layer.path, where=where, error=LayerError)
    for problem in problems_of_layer(header, where):
        raise problem
    with _telling(layer, "opened"):
        return rioxarray.open_rasterio(layer.path, cache=False, masked=True)


@contextmanager
def _telling(layer: Layer, done: str) -> Iterator[None]:
    """Turn errors of GDAL into one that names the layer."""
    try:
        yield
    except MemoryError:
        raise  # nothing is wrong with the layer
    except gdal_faults() as error:
        raise LayerError(
            place_of(layer.name, layer.path),
            f"a file that cannot be {done} ({error.__cause__ or error})",
            "a raster that GDAL reads",
            "It is damaged: fetch it again, or check it with gdalinfo.",
        ) from error


def _scale_and_offset(raster: Any) -> tuple[float, float]:
    """What the file says that its cells are to be multiplied with, and what to be added."""
    return float(raster.attrs.get("scale_factor", 1.0)), float(raster.attrs.get("add_offset", 0.0))


def _total(shares: Iterable[float]) -> float:
    """Exact sum: Python's own sum has changed its rounding from one version to the next."""
    return math.fsum(shares)


def _weighted_mean(shares: Mapping[int, float], values: Mapping[int, float | None]) -> float | None:
    """Mean of what is defined; None where nothing is."""
    defined = {code: share for code, share in shares.items() if values[code] is not None}
    if not defined:
        return None
    weighted = _total(share * values[code] for code, share in defined.items())
    return weighted / _total(defined.values())
