"""Values of sites as people read them: in words, in groups, and why a site is what it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from snakeshed.delineation.catchment import STATUSES
from snakeshed.delineation.roten2022.published import LONGEST_SNAP_M
from snakeshed.features.columns import BEFORE_FEATURES, ReliefRule, catchment_columns
from snakeshed.grid.snap_rule import CONFIDENCE, PLAUSIBLE_COST, agreement
from snakeshed.report.page import fixed, number, percent, words

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCES = (*CONFIDENCE, "low", "unrated")
KINDS = (*CONFIDENCES, *STATUSES[1:])
"""What a site is shown as: how sure its outlet is, or why it has none."""

# Columns that say where a catchment is, not what it is like.
PLACES = ("centroid_x", "centroid_y", "west", "south", "east", "north")


def snap_reach_m(study: Mapping, distances: Iterable[float | None]) -> float:
    """Return how far from its site an outlet may be, in m.

    Parameters
    ----------
    study : mapping
        The completed configuration.
    distances : iterable of float or None
        ``snap_distance_m`` of sites: with a recipe, an outlet may be as far as the farthest of
        these.
    """
    if study["recipe"] is None:
        return study["snap"]["radius_m"]
    return max([LONGEST_SNAP_M, *(math.ceil(each) for each in distances if each is not None)])


def plain(value: Any) -> Any:
    """Return a cell of a table as a plain value, None for whatever stands for null."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    import pandas as pd

    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as plain values by column, without a geometry."""
    rows = frame.drop(columns="geometry", errors="ignore").to_dict("records")
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def shown(name: str, value: Any) -> Any:
    """Return a value with the digits that a person needs: coordinates have more of them."""
    value = plain(value)
    if not isinstance(value, float):
        return value
    digits = 10 if name in PLACES or name.endswith(("_x", "_y", "_lon", "_lat")) else 5
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def kind_of(row: Mapping[str, Any]) -> str:
    """Return one of `KINDS` for a row of ``catchments.parquet``."""
    return row["confidence"] if row["status"] == "ok" else row["status"]


def kind_in_words(kind: str) -> str:
    """Tell one of `KINDS` to a person: "low confidence", "outside DEM"."""
    return f"{kind} confidence" if kind in CONFIDENCES[:-1] else words(kind)


def remarks(row: Mapping[str, Any]) -> list[str]:
    """Tell in words what a person should know of a site before using its values.

    Parameters
    ----------
    row : mapping
        Plain values of ``catchments.parquet`` and, for the layers, ``layer_gap`` of
        ``features.parquet``.
    """
    told = [row["reason"]] if row["reason"] else []
    if row["touches_edge"]:
        told.append("touches the edge of the DEM: the area is a lower bound")
    if row["touches_nodata"]:
        told.append("touches nodata of the DEM: the area is a lower bound")
    if row["layer_gap"]:
        told.append(f"no data of {row['layer_gap'].replace(';', ', ')}")
    return told


def why(row: Mapping[str, Any]) -> list[str]:
    """Tell in sentences why a site has its status and its confidence.

    Parameters
    ----------
    row : mapping
        Plain values of ``catchments.parquet``, and ``layer_gap``.
    """
    if row["status"] not in ("ok", "area_mismatch"):
        return [f"Not delineated, {words(row['status'])}: {row['reason']}."]
    area, ratio = number(row["area_km2"]), row["area_ratio"]
    if ratio is None:
        told = [
            f"The catchment has {area} km². No area is reported that could confirm the outlet: it "
            "is the nearest cell that drains at least snap.min_area_km2."
        ]
    else:
        near = {
            "high": "within 10 %",
            "medium": "within a factor of 1.5",
            "low": "not within a factor of 1.5",
        }[agreement(ratio)]
        told = [
            f"The catchment has {area} km², {fixed(ratio, 2)} times the reported "
            f"{number(row['reported_area_km2'])} km²: {near}."
        ]
    if row["status"] == "area_mismatch":
        told.insert(0, "Delineated, but without features, and not to be used as it is.")
    if row["snap_cost"] is None:
        told.append("The outlet was found with the recipe of a paper, which compares no others.")
    elif row["runner_up_cost"] is None:
        told.append("No other drainage line nearby is a plausible outlet.")
    else:
        plausible = row["runner_up_cost"] <= row["snap_cost"] + PLAUSIBLE_COST
        told.append(
            f"The runner-up, on another drainage line {fixed(row['runner_up_distance_m'], 0)} m "
            f"from the site with {number(row['runner_up_area_km2'])} km², "
            + ("costs not much more" if plausible else "costs more")
            + f": {number(row['runner_up_cost'])} against {number(row['snap_cost'])}."
        )
    if row["stability"] is not None and row["stability"] < 1:
        share = percent(row["stability"]) if row["stability"] else "nothing"
        told.append(
            f"Plausible outlets nearby drain {number(row['area_low_km2'])} to "
            f"{number(row['area_high_km2'])} km². The catchment of one of them has {share} in "
            "common with this one."
        )
    return told + [f"{remark[0].upper()}{remark[1:]}." for remark in remarks(row)]


def feature_groups(configuration: Mapping, columns: Iterable[str]) -> dict[str, list[str]]:
    """Group the columns of ``features.parquet`` by what they are features of.

    Parameters
    ----------
    configuration : mapping
        Of the study, completed.
    columns : iterable of str
        In order; those before the features are left out.

    Returns
    -------
    dict of str to list of str
        ``Catchment`` first, then what joins terrain and layers, then each layer.
    """
    chosen = configuration["features"]
    rule = ReliefRule(tuple(chosen["steep_degrees"]), tuple(chosen["percentiles"]))
    own = {column.name for column in catchment_columns(rule)}
    joint = {each if isinstance(each, str) else each["name"] for each in chosen["joint"]}
    layers = [layer["name"] for layer in configuration["layers"]]
    groups: dict[str, list[str]] = {"Catchment": []}
    for name in columns:
        if name in own:
            groups["Catchment"].append(name)
        elif name in joint:
            groups.setdefault("Terrain and layers", []).append(name)
        elif name not in BEFORE_FEATURES:
            # One layer's name may be the beginning of another's.
            of = max((layer for layer in layers if name.startswith(f"{layer}_")), key=len)
            groups.setdefault(f"Layer {of}", []).append(name)
    return groups
