"""Zonal statistics: declared layers summarised over catchments, weighted by exact coverage.

A layer stays in its own CRS and resolution: the outlines are brought to it. What a layer does not
cover is null, and `<layer>_coverage` says which share of a catchment it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import shapely

from snakeshed.features.fuel import FuelLayer
from snakeshed.features.layer_cells import LayerCells, cells_of_layer
from snakeshed.features.layer_index import header_of, place_of, scale_of
from snakeshed.features.layer_look import code_of
from snakeshed.features.layers import ClassLayer, ConstantLayer, Layer, NumericLayer
from snakeshed.kernels.weighted import mean_and_deviation, percentiles


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
    rows = {
        NumericLayer: _numbers,
        ConstantLayer: _constant,
        ClassLayer: _classes,
        FuelLayer: _fuel,
    }[type(layer)]
    for values, coverage in rows(layer, outlines, crs):
        known = values or [None] * (len(names) - 1)
        yield dict(zip(names, [*known, coverage], strict=True))


Row = tuple[list[float | str | None] | None, float]
"""Values of all columns but the last, None without data; and the coverage."""


def _numbers(layer: NumericLayer, outlines: Sequence[shapely.Geometry], crs: str) -> Iterator[Row]:
    header = header_of(layer)
    factor, shift = scale_of(layer, header)
    # With a negative factor the largest stored number is the smallest value.
    turned = factor < 0
    for cells in cells_of_layer(layer, header, outlines, crs):
        if not _enough(layer, cells):
            yield None, cells.coverage
            continue
        asked = (0.0, 100.0, *layer.percentiles)
        ranked = percentiles(cells.stored, cells.shares, asked, descending=turned)
        mean, deviation = mean_and_deviation(cells.stored, cells.shares, factor, shift)
        yield [mean, deviation, *(value * factor + shift for value in ranked)], cells.coverage


def _constant(
    layer: ConstantLayer, outlines: Sequence[shapely.Geometry], crs: str
) -> Iterator[Row]:
    for _ in outlines:
        yield [layer.value, 0.0, *[layer.value] * (2 + len(layer.percentiles))], 1.0


def _enough(layer: Layer, cells: LayerCells) -> bool:
    """Whether a layer covers enough of a catchment to say something of it."""
    if not cells.stored.size:
        return False
    most = layer.missing.max_share
    return most is None or 1 - cells.coverage <= most + 1e-9


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
    header = header_of(layer)
    factor, shift = scale_of(layer, header)
    for cells in cells_of_layer(layer, header, outlines, crs):
        shares: dict[int, float] = {}
        if _enough(layer, cells):
            stored, places = np.unique(cells.stored, return_inverse=True)
            # bincount adds in the order of the cells.
            parts = np.bincount(places, cells.shares)
            whole = _total(parts)
            for value, part in zip(stored, parts, strict=True):
                code = code_of(float(value) * factor + shift, place_of(layer.name, layer.path))
                shares[code] = float(part) / whole
        yield dict(sorted(shares.items())), cells.coverage


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
