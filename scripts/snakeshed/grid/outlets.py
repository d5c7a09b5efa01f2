"""Outlets of many points: what `Grid.snap` and `Grid.catchments` take."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from snakeshed.grid import snap as snapping
from snakeshed.grid.pysheds_import import ViewFinder
from snakeshed.kernels.d8 import COLUMN_STEP, NODATA, ROW_STEP
from snakeshed.kernels.snapping import follow_to_box

SNAP_COLUMNS = {
    "x": "float64",
    "y": "float64",
    "column": "int64",
    "row": "int64",
    "area": "float64",
    "area_low": "float64",
    "area_high": "float64",
    "area_ratio": "float64",
    "distance": "float64",
    "runner_up_x": "float64",
    "runner_up_y": "float64",
    "runner_up_area": "float64",
    "stability": "float64",
    "confidence": "str",
}


def snap_one(
    point: np.ndarray,
    wanted: float,
    directions: np.ndarray,
    drained: np.ndarray,
    view: ViewFinder,
    rule: snapping.SnapRule,
) -> dict:
    """Row of the table that `Grid.snap` returns."""
    nothing = {name: -1 if kind == "int64" else math.nan for name, kind in SNAP_COLUMNS.items()} | {
        "confidence": "none"
    }
    rows, columns = directions.shape
    width, height = abs(view.affine.a), abs(view.affine.e)
    column, row = ~view.affine @ (float(point[0]), float(point[1]))
    if not (math.isfinite(column) and math.isfinite(row)):
        return nothing
    left = max(0, math.floor(column - rule.radius_m / width) - 1)
    right = min(columns, math.ceil(column + rule.radius_m / width) + 1)
    top = max(0, math.floor(row - rule.radius_m / height) - 1)
    bottom = min(rows, math.ceil(row + rule.radius_m / height) + 1)
    if left >= right or top >= bottom:
        return nothing
    box = (slice(top, bottom), slice(left, right))
    areas = drained[box].astype(np.float64)

    def beyond(row: int, column: int, _: float) -> tuple[int, int] | None:
        state, row, column = follow_to_box(
            directions, row + top, column + left, top, left, bottom, right, ROW_STEP, COLUMN_STEP
        )
        return (row - top, column - left) if state == 1 else None

    near = snapping.Neighbourhood(
        areas_m2=areas,
        # Where nothing is accumulated no outlet can be.
        directions=np.where(areas > 0, directions[box], np.uint8(NODATA)),
        cut=np.zeros(areas.shape, dtype=np.bool_),
        row=row - top,
        column=column - left,
        width_m=width,
        height_m=height,
        beyond=beyond,
    )
    # The unit of the areas is that of `acc`; the snapping of sites reads it as square metres.
    wanted_km2 = wanted / 1e6
    choice = snapping.snap(near, wanted_km2, rule)
    if choice.outlet is None:
        return nothing
    place = left + choice.outlet.column, top + choice.outlet.row
    x, y = view.affine @ place
    record = nothing | {
        "x": x,
        "y": y,
        "column": place[0],
        "row": place[1],
        "area": choice.outlet.area_m2,
        "area_low": choice.area_low_m2,
        "area_high": choice.area_high_m2,
        "area_ratio": choice.outlet.area_m2 / wanted,
        "distance": choice.outlet.distance_m,
        "stability": choice.stability,
        "confidence": snapping.confidence(choice, wanted_km2),
    }
    if choice.runner_up is not None:
        rival = choice.runner_up
        record["runner_up_x"], record["runner_up_y"] = view.affine @ (
            left + rival.column,
            top + rival.row,
        )
        record["runner_up_area"] = rival.area_m2
    return record


def point_pairs(outlets: ArrayLike) -> np.ndarray:
    """Points as an array of shape (n, 2); one pair is one point."""
    points = np.asarray(outlets, dtype=np.float64)
    if points.size == 0:
        return points.reshape(0, 2)
    points = np.atleast_2d(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"outlets must be pairs of x and y, not of shape {points.shape}")
    return points
