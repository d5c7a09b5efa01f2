"""Zonal statistics: declared layers summarized over catchments, weighted by exact coverage.

A layer stays in its own CRS and resolution: the outlines are brought to it. What a layer does not
cover is null, and `<layer>_coverage` says which share of a catchment it does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snakeshed.features.class_columns import total
from snakeshed.features.layer import Catchments, Layer, Summary, columns_of, place_of
from snakeshed.features.layer_cells import LayerCells, cells_of_layer
from snakeshed.features.layer_look import code_of
from snakeshed.features.raster_layer import RasterLayer, header_of, scale_of


def summarise(
    layer: Layer, catchments: Catchments
) -> Iterator[tuple[dict[str, float | str | None], Summary]]:
    """Summarize a layer over catchments.

    Parameters
    ----------
    layer : Layer
    catchments : Catchments

    Yields
    ------
    columns : dict
        Of `columns_of` the layer, for each catchment in turn. All but the coverage is None where
        the layer has no data, or too little.
    summary : Summary
        What they were made of.

    Raises
    ------
    LayerError
        The layer cannot be read, has no CRS, several bands or rotated cells, or its codes are no
        whole numbers.
    """
    if not len(catchments.outlines):
        return
    names = [column.name for column in columns_of(layer)]
    for summary in layer.summarise(catchments):
        coverage = [summary.coverage] if layer.has_coverage else []
        values = summary.values or [None] * (len(names) - len(coverage))
        yield dict(zip(names, [*values, *coverage], strict=True)), summary


def is_enough(layer: Layer, cells: LayerCells) -> bool:
    """Whether a layer covers enough of a catchment to say something of it."""
    return bool(cells.stored.size) and layer.missing.allows(cells.coverage)


def class_shares(
    layer: RasterLayer, catchments: Catchments
) -> Iterator[tuple[dict[int, float], float]]:
    """Yield the share of each code, by ascending code, in what the layer covers; and the coverage.

    Without data, or with too little, there are no shares.
    """
    header = header_of(layer)
    factor, shift = scale_of(layer, header)
    for cells in cells_of_layer(layer, header, catchments):
        shares: dict[int, float] = {}
        if is_enough(layer, cells):
            stored, places = np.unique(cells.stored, return_inverse=True)
            # bincount adds in the order of the cells.
            parts = np.bincount(places, cells.shares)
            whole = total(parts)
            for value, part in zip(stored, parts, strict=True):
                code = code_of(float(value) * factor + shift, place_of(layer.name, layer.path))
                shares[code] = float(part) / whole
        yield dict(sorted(shares.items())), cells.coverage
