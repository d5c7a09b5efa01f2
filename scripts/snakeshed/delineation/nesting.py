"""Which site lies next downstream of another, and what each catchment has of its own.

The only columns in which other sites matter; they are found when all shards are gathered.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import shapely

from snakeshed.tables.geoparquet import GEOMETRY, from_wkb
from snakeshed.tables.schema import REAL, TEXT, table_of

NESTING = {
    "downstream_site_id": (
        TEXT,
        "Site with status ok whose outlet is the next one downstream: the smallest catchment that "
        "contains this one. The first by site_id of several with that outlet; sites that share an "
        "outlet have the same site downstream. Null if there is none.",
    ),
    "area_incremental_km2": (
        REAL,
        "area_km2 less the areas of the catchments that are nested in it directly, km2: what "
        "drains through no other site's outlet first. Null unless the status is ok.",
    ),
}

_ABREAST = 500
"""Catchments that are searched for outlets at a time."""


def with_nesting(catchments: pa.Table) -> pa.Table:
    """Add the columns `NESTING` to a table of the catchments of all sites.

    Water of an outlet flows through another one where its cell lies in the other's catchment. The
    result does not depend on the order of the rows.

    Parameters
    ----------
    catchments : pyarrow.Table
        ``catchments.parquet``, sorted by ``site_id``, with the outlines.

    Returns
    -------
    pyarrow.Table
        The new columns stand before the geometry.
    """
    ids = catchments["site_id"].to_pylist()
    done = np.array([status == "ok" for status in catchments["status"].to_pylist()], np.bool_)
    outlets: dict[tuple[float, float], int] = {}
    x, y = catchments["outlet_x"].to_pylist(), catchments["outlet_y"].to_pylist()
    # The first site stands for all that have its outlet.
    first = {k: outlets.setdefault((x[k], y[k]), k) for k in np.flatnonzero(done).tolist()}
    own = np.array(sorted(outlets.values()), np.int64)
    areas = np.array(catchments["area_km2"].to_pylist(), np.float64)
    below = _downstream(
        from_wkb(catchments)[own], np.array([(x[k], y[k]) for k in own]), areas[own]
    )
    downstream = {int(k): int(own[b]) if b >= 0 else None for k, b in zip(own, below, strict=True)}
    nested: dict[int, list[float]] = {}
    for k, into in downstream.items():
        if into is not None:
            nested.setdefault(into, []).append(areas[k])
    rows = []
    for k in range(len(ids)):
        outlet = first.get(k)
        if outlet is None:
            rows.append({})
            continue
        into = downstream[outlet]
        rows.append(
            {
                "downstream_site_id": None if into is None else ids[into],
                # Rounded once, so that the order of the terms does not matter.
                "area_incremental_km2": math.fsum(
                    [areas[outlet], *(-area for area in nested.get(outlet, ()))]
                ),
            }
        )
    found = table_of(rows, NESTING)
    place = catchments.column_names.index(GEOMETRY)
    for name in reversed(found.column_names):
        catchments = catchments.add_column(place, found.schema.field(name), found[name])
    return catchments


def _downstream(outlines: np.ndarray, outlets: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Number of the smallest larger catchment that contains each outlet; -1 without one."""
    below = np.full(len(outlines), -1, np.int64)
    if not len(outlines):
        return below
    tree = shapely.STRtree(shapely.points(outlets))
    # The largest first, so that smaller ones take their outlets over.
    ranked = np.argsort(-areas, kind="stable")
    for start in range(0, len(ranked), _ABREAST):
        some = ranked[start : start + _ABREAST]
        nth, point = tree.query(outlines[some], predicate="contains")
        order = np.argsort(nth, kind="stable")
        catchment, point = some[nth[order]], point[order]
        larger = areas[catchment] > areas[point]
        below[point[larger]] = catchment[larger]
    return below
