"""The table of catchments and its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from snakeshed.delineation.catchment import STATUSES, Catchment
from snakeshed.tables.geoparquet import write_table
from snakeshed.tables.schema import REAL, TEXT, TRUTH, WHOLE, table_of

STATUS = {
    "site_id": (TEXT, "Identifier of the site."),
    "status": (TEXT, f"ok, or why there is no catchment to use: {', '.join(STATUSES[1:])}."),
    "reason": (TEXT, "The status in words, or a remark on a delineated site; null if none."),
}

CATCHMENTS = STATUS | {
    "site_x": (REAL, "x of the site in the terrain's CRS."),
    "site_y": (REAL, "y of the site in the terrain's CRS."),
    "reported_area_km2": (REAL, "Published area of the site's catchment, km2."),
    "patch": (TEXT, "Patch in which the site's result is final; null with a recipe."),
    "patch_level": (WHOLE, "Level of that patch; 0 is the smallest; null with a recipe."),
    "outlet_x": (
        REAL,
        "x of the centre of the outlet's cell, in the terrain's CRS.",
    ),
    "outlet_y": (
        REAL,
        "y of the centre of the outlet's cell, in the terrain's CRS.",
    ),
    "outlet_lon": (REAL, "Longitude of the outlet, degrees (EPSG:4326)."),
    "outlet_lat": (REAL, "Latitude of the outlet, degrees (EPSG:4326)."),
    "area_km2": (
        REAL,
        "Area of the catchment, km2. With a recipe, that of its own grid, which is not exactly "
        "that of the outline.",
    ),
    "area_low_km2": (
        REAL,
        "Least area of the plausible outlets: the candidates whose cost exceeds snap_cost by at "
        "most ln 1.5, the outlet itself among them, km2.",
    ),
    "area_high_km2": (REAL, "Largest area of the plausible outlets, km2."),
    "area_ratio": (REAL, "area_km2 / reported_area_km2."),
    "cells": (WHOLE, "Number of DEM cells in the catchment."),
    "snap_distance_m": (REAL, "From the site to the centre of the outlet's cell, m."),
    "snap_cost": (REAL, "Cost of the outlet; the least of all candidates; null with a recipe."),
    "stability": (
        REAL,
        "Least intersection over union of the catchment with that of a plausible outlet, 0 to 1: "
        "0 if one lies on another drainage line.",
    ),
    "confidence": (
        TEXT,
        "high: area_ratio 0.9 to 1.1 and stability at least 0.8; medium: area_ratio within a "
        "factor of 1.5; low: else, if a larger window might choose another outlet, if the site "
        "does not lie on data of the DEM, or with deep_pit or open_water; unrated: no reported "
        "area. With a recipe, which knows no stability, never high, and low with touches_edge.",
    ),
    "runner_up_x": (REAL, "x of the best plausible candidate on another drainage line."),
    "runner_up_y": (REAL, "y of that candidate."),
    "runner_up_area_km2": (REAL, "Its area, km2."),
    "runner_up_distance_m": (REAL, "Its distance from the site, m."),
    "runner_up_cost": (REAL, "Its cost."),
    "touches_edge": (TRUTH, "The catchment contains a cell at the border of the DEM, or is cut."),
    "touches_nodata": (TRUTH, "The catchment contains a cell beside nodata of the DEM."),
    "pool_at_rim": (
        TRUTH,
        "At the top patch level: a depression that the patch's rim cuts, or water dammed beyond "
        "it, may reach the catchment or that of another plausible outlet.",
    ),
    "needs_larger_window": (
        TRUTH,
        "The top patch level cuts the catchment or a candidate that could be better, or is smaller "
        "than the reported area asks for.",
    ),
    "pit_depth_m": (
        REAL,
        "From the outlet down to the lowest cell of the catchment, m. Null with a recipe.",
    ),
    "deep_pit": (TRUTH, "pit_depth_m is more than dem.max_pit_m; null with a recipe."),
    "open_water": (
        TRUTH,
        "The outlet lies on open water, of which the catchment has an arbitrary part: at least 9 "
        "connected cells of the catchment, its outlet among them, have exactly the outlet's "
        "elevation, and the DEM's cells of that elevation that are connected with them reach its "
        "edge, nodata, or 1 km (16 to 1,000 cells) from the outlet. Null with a recipe.",
    ),
    "perimeter_km": (REAL, "Length of the outline along the cells' sides, holes included, km."),
    "longest_flow_path_km": (REAL, "Longest flow path to the outlet, km."),
    "basin_length_km": (REAL, "Greatest straight distance from the outlet to a cell, km."),
    "channel_length_km": (REAL, "Length of all channels above the outlet, km."),
}


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
    descriptions = {
        "geometry": "Outline of the catchment, along the sides of cells of the DEM; null where "
        "there is none. With a recipe, of the cells whose centers lie in the recipe's polygon."
    }
    write_table(table_of(rows, CATCHMENTS), path, descriptions, geometry=outlines, crs=crs)
