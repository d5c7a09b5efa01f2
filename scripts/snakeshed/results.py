"""The tables that a study ends in, and their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa

from snakeshed.catchment import STATUSES, Catchment
from snakeshed.columns import BEFORE_FEATURES, Column
from snakeshed.tables import write_table

_TEXT, _REAL, _WHOLE, _TRUTH = pa.string(), pa.float64(), pa.int64(), pa.bool_()

STATUS = {
    "site_id": (_TEXT, "Identifier of the site."),
    "status": (_TEXT, f"ok, or why there is no catchment: {', '.join(STATUSES[1:])}."),
    "reason": (_TEXT, "The status in words, or a remark on a delineated site; null if none."),
}

CATCHMENTS = STATUS | {
    "site_x": (_REAL, "x of the site in the terrain's CRS."),
    "site_y": (_REAL, "y of the site in the terrain's CRS."),
    "reported_area_km2": (_REAL, "Published area of the site's catchment, km2."),
    "patch": (_TEXT, "Patch in which the site's result is final."),
    "patch_level": (_WHOLE, "Level of that patch; 0 is the smallest."),
    "outlet_x": (
        _REAL,
        "x of the centre of the outlet's cell, in the terrain's CRS.",
    ),
    "outlet_y": (
        _REAL,
        "y of the centre of the outlet's cell, in the terrain's CRS.",
    ),
    "outlet_lon": (_REAL, "Longitude of the outlet, degrees (EPSG:4326)."),
    "outlet_lat": (_REAL, "Latitude of the outlet, degrees (EPSG:4326)."),
    "area_km2": (_REAL, "Area of the catchment, km2."),
    "area_ratio": (_REAL, "area_km2 / reported_area_km2."),
    "cells": (_WHOLE, "Number of DEM cells in the catchment."),
    "snap_distance_m": (_REAL, "From the site to the centre of the outlet's cell, m."),
    "snap_cost": (_REAL, "Cost of the outlet; the least of all candidates."),
    "confidence": (
        _TEXT,
        "high: area within 10 % and no rival of nearly equal cost; medium: within a factor of "
        "1.5; low: else, or if a larger window might choose another outlet; unrated: no reported "
        "area.",
    ),
    "runner_up_x": (_REAL, "x of the best plausible candidate on another drainage line."),
    "runner_up_y": (_REAL, "y of that candidate."),
    "runner_up_area_km2": (_REAL, "Its area, km2."),
    "runner_up_distance_m": (_REAL, "Its distance from the site, m."),
    "runner_up_cost": (_REAL, "Its cost."),
    "touches_edge": (_TRUTH, "The catchment contains a cell at the border of the DEM, or is cut."),
    "touches_nodata": (_TRUTH, "The catchment contains a cell beside nodata of the DEM."),
    "pool_at_rim": (
        _TRUTH,
        "At the top patch level: a depression that the patch's rim cuts, or water dammed beyond "
        "it, may reach the catchment or that of the runner-up.",
    ),
    "needs_larger_window": (
        _TRUTH,
        "The top patch level cuts the catchment or a candidate that could be better, or is smaller "
        "than the reported area asks for.",
    ),
    "perimeter_km": (_REAL, "Length of the outline along the cells' sides, holes included, km."),
    "longest_flow_path_km": (_REAL, "Longest flow path to the outlet, km."),
    "basin_length_km": (_REAL, "Greatest straight distance from the outlet to a cell, km."),
    "channel_length_km": (_REAL, "Length of all channels above the outlet, km."),
}


LAYER_GAP = (
    _TEXT,
    "Names of the layers without any data in the catchment, separated by semicolons; null if none.",
)


def write_catchments(catchments: Sequence[Catchment], path: str | Path, crs: str) -> None:
    """Write ``catchments.parquet``: one row per site, with the outline as geometry.

    Parameters
    ----------
    catchments : sequence of Catchment
        Sorted by ``site_id``.
    path : str or Path
    crs : str
        Of all coordinates.
    """
    names = [field.name for field in fields(Catchment) if field.name != "geometry"]
    if names != list(CATCHMENTS):
        raise ValueError("CATCHMENTS does not describe the fields of Catchment")
    rows = [{name: getattr(catchment, name) for name in names} for catchment in catchments]
    outlines = [catchment.geometry for catchment in catchments]
    descriptions = {"geometry": "Outline of the catchment; null where there is none."}
    write_table(_table(rows, CATCHMENTS), path, descriptions, geometry=outlines, crs=crs)


def write_features(
    rows: Sequence[Mapping], columns: Mapping[str, Column], path: str | Path
) -> None:
    """Write ``features.parquet``: one row per site; every feature is null where status is not ok.

    Parameters
    ----------
    rows : sequence of mapping
        From `snakeshed.extract.extract_features`, sorted by ``site_id``; missing keys are null.
    columns : mapping of str to Column
        From `snakeshed.layers.feature_columns`.
    path : str or Path
    """
    described = {
        name: (_TEXT if column.is_text else _REAL, column.description)
        for name, column in columns.items()
    }
    before = CATCHMENTS | {"layer_gap": LAYER_GAP}
    write_table(_table(rows, {name: before[name] for name in BEFORE_FEATURES} | described), path)


def _table(rows: Sequence[Mapping], columns: Mapping[str, tuple[pa.DataType, str]]) -> pa.Table:
    schema = pa.schema(
        [
            pa.field(name, kind, metadata={"description": text})
            for name, (kind, text) in columns.items()
        ]
    )
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
