"""Snapping: which cell near a site is its outlet, and how much depends on that.

Candidates are the cells whose centre lies within ``snap.radius_m`` of the site. The one of least
cost is the outlet (`snakeshed.kernels.snapping.score_candidates` defines the cost), the first in
row-major order among equals. The runner-up is the best plausible candidate on another drainage
line: the outlet that a person might have meant instead.

Candidates that cost nearly as little as the outlet could be the true one. How much smaller or
larger their catchments are, and how little of one may be left in common with the outlet's, tells
how far the outlet can be trusted: in a small catchment a step along the stream changes much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from snakeshed.grid.snap_rule import PLAUSIBLE_COST, SnapRule, agreement
from snakeshed.kernels.d8 import COLUMN_STEP, NODATA, OUTSIDE, ROW_STEP
from snakeshed.kernels.snapping import (
    last_in_box,
    mark_downstream,
    same_drainage_line,
    score_candidates,
)

# A candidate is plausible as a runner-up when its area is within this factor of the reported one.
PLAUSIBLE_FACTOR = 3.0

# "high" needs this stability as well; docs/confidence.md has the measurements.
STABLE = 0.8


@dataclass(frozen=True)
class Neighbourhood:
    """The cells around a site, as a box cut from a routed window.

    Attributes
    ----------
    areas_m2 : ndarray of float64, shape (h, w)
        Upslope area of each cell; a lower bound where `cut`.
    directions : ndarray of uint8, shape (h, w)
        Drainage directions.
    cut : ndarray of bool, shape (h, w)
        Where the window's rim cuts the cell's catchment.
    row, column : float
        The site, in cells from the box's north-western corner.
    width_m, height_m : float
        Size of a cell at the site, on the ground.
    whole : bool
        The window holds all cells within the radius.
    skew : float
        As in `snakeshed.kernels.cell_sizes.CellSizes`.
    beyond : callable or None
        Follows water that leaves the box: of the row and column of a cell beside the box, and an
        area in m2, it returns the row and column of the cell by which the water comes back into
        the box, or None if it does not. Where more than that area drains it may give up. Without
        it no water comes back.
    """

    areas_m2: np.ndarray
    directions: np.ndarray
    cut: np.ndarray
    row: float
    column: float
    width_m: float
    height_m: float
    whole: bool = True
    skew: float = 0.0
    beyond: Callable[[int, int, float], tuple[int, int] | None] | None = None


@dataclass(frozen=True)
class Candidate:
    """A cell that may be a site's outlet: its place in the box, distance, area and cost."""

    row: int
    column: int
    distance_m: float
    area_m2: float
    cost: float


@dataclass(frozen=True)
class Snap:
    """What snapping decided.

    Attributes
    ----------
    outlet : Candidate or None
        None when no cell qualifies.
    runner_up : Candidate or None
        The best plausible candidate on another drainage line.
    final : bool
        False when a larger window may choose another outlet or runner-up, or find another
        stability: a candidate is cut by the rim and is chosen, or could win, be the runner-up or
        be plausible with a larger area, or the window does not hold all cells within the radius.
    cells : int
        Cells of the DEM within the radius.
    area_low_m2, area_high_m2 : float
        Least and largest area of the plausible candidates: those whose cost is within
        `PLAUSIBLE_COST` of the outlet's, which is one of them. NaN without an outlet.
    stability : float
        The least share that the catchment of a plausible candidate has in common with the
        outlet's: intersection over union, 0 to 1. NaN without an outlet.
    on_data : bool
        The site itself lies on a cell with data.
    plausible : ndarray of bool, shape (h, w), or None
        Plausible candidates in the box.
    """

    outlet: Candidate | None
    runner_up: Candidate | None
    final: bool
    cells: int
    area_low_m2: float = field(default=math.nan, compare=False)
    area_high_m2: float = field(default=math.nan, compare=False)
    stability: float = field(default=math.nan, compare=False)
    on_data: bool = field(default=True, compare=False)
    plausible: np.ndarray | None = field(default=None, compare=False, repr=False)


def snap(near: Neighbourhood, reported_area_km2: float | None, rule: SnapRule) -> Snap:
    """Choose a site's outlet and its runner-up.

    Parameters
    ----------
    near : Neighbourhood
    reported_area_km2 : float or None
        Published area of the site's catchment.
    rule : SnapRule
    """
    shape = near.areas_m2.shape
    distance, cost, bound = (np.empty(shape) for _ in range(3))
    score_candidates(
        near.areas_m2,
        near.directions,
        near.row,
        near.column,
        near.width_m,
        near.height_m,
        near.skew,
        rule.radius_m,
        math.nan if reported_area_km2 is None else reported_area_km2 * 1e6,
        rule.min_area_km2 * 1e6,
        rule.distance_weight,
        distance,
        cost,
        bound,
    )

    def candidate(costs: np.ndarray) -> Candidate | None:
        best = int(np.argmin(costs))
        row, column = divmod(best, shape[1])
        if not math.isfinite(costs[row, column]):
            return None
        return Candidate(
            row,
            column,
            float(distance[row, column]),
            float(near.areas_m2[row, column]),
            float(cost[row, column]),
        )

    cells = int(np.isfinite(distance).sum())
    outlet = candidate(cost)
    could_be = _least(bound, near.cut)
    final = near.whole and (outlet is None or not near.cut[outlet.row, outlet.column])
    # Whether it could win or only be plausible: either may change what is known of the outlet.
    if could_be is not None and (outlet is None or could_be <= outlet.cost + PLAUSIBLE_COST):
        final = False
    on_data = _has_data(near, math.floor(near.row), math.floor(near.column))
    if outlet is None:
        return Snap(None, None, final, cells, on_data=on_data)

    elsewhere = ~same_drainage_line(
        near.directions, outlet.row, outlet.column, ROW_STEP, COLUMN_STEP
    )
    plausible, may_become_plausible = elsewhere, elsewhere & near.cut
    if reported_area_km2 is not None:
        reported_m2 = reported_area_km2 * 1e6
        not_too_large = near.areas_m2 <= reported_m2 * PLAUSIBLE_FACTOR
        plausible = elsewhere & not_too_large & (near.areas_m2 >= reported_m2 / PLAUSIBLE_FACTOR)
        may_become_plausible = may_become_plausible & not_too_large
    runner_up = candidate(np.where(plausible, cost, np.inf))
    could_rival = _least(bound, may_become_plausible)
    if could_rival is not None and (runner_up is None or could_rival <= runner_up.cost):
        final = False
    likely = cost <= outlet.cost + PLAUSIBLE_COST
    areas = near.areas_m2[likely]
    low, high = float(areas.min()), float(areas.max())
    stability = 0.0
    if _on_line(near, outlet, likely, high).all():
        stability = min(low / outlet.area_m2, outlet.area_m2 / high)
    return Snap(outlet, runner_up, final, cells, low, high, stability, on_data, likely)


def _has_data(near: Neighbourhood, row: int, column: int) -> bool:
    rows, columns = near.directions.shape
    inside = 0 <= row < rows and 0 <= column < columns
    return inside and bool(near.directions[row, column] != NODATA)


def _on_line(
    near: Neighbourhood, outlet: Candidate, likely: np.ndarray, high_m2: float
) -> np.ndarray:
    """Tell which of the marked cells lie up- or downstream of the outlet, in or beyond the box.

    The catchments of these contain that of the outlet, or lie in it; the others have no cell in
    common with it. Water that leaves the box and comes back is followed.
    """
    rows, columns = likely.shape
    home = outlet.row * columns + outlet.column
    steps = ROW_STEP, COLUMN_STEP

    def comes_back(last: int, most_m2: float) -> int | None:
        """Where water comes back that leaves the box by a cell, by flat indices."""
        row, column = divmod(last, columns)
        code = near.directions[row, column]
        row, column = row + int(ROW_STEP[code]), column + int(COLUMN_STEP[code])
        inside = 0 <= row < rows and 0 <= column < columns
        if code == OUTSIDE or inside or near.beyond is None:
            return None
        entry = near.beyond(row, column, most_m2)
        return None if entry is None else entry[0] * columns + entry[1]

    on_line = np.zeros(likely.shape, np.bool_)
    start: int | None = home
    while start is not None:
        start = comes_back(mark_downstream(near.directions, start, *steps, on_line), high_m2)
    last = last_in_box(near.directions, outlet.row, outlet.column, *steps)
    on_line |= last == home
    above = likely & ~on_line & (near.areas_m2 < outlet.area_m2)
    for end in set(last[above].tolist()):
        onwards: int | None = end
        while onwards is not None and onwards != home:
            entry = comes_back(onwards, outlet.area_m2)
            onwards = None if entry is None else int(last.ravel()[entry])
        if onwards == home:
            on_line |= last == end
    return on_line[likely]


def _least(costs: np.ndarray, among: np.ndarray) -> float | None:
    """Least finite cost among the marked cells; None without one."""
    least = float(np.where(among, costs, np.inf).min())
    return least if math.isfinite(least) else None


def confidence(choice: Snap, reported_area_km2: float | None) -> str:
    """Class of trust in an outlet: high, medium, low, or unrated without a reported area.

    "high": the area is 0.9 to 1.1 times the reported one, and the stability is at least `STABLE`;
    "medium": the area is within a factor of 1.5; "low": everything else, a choice that is not
    final, and a site that does not lie on data itself.

    Parameters
    ----------
    choice : Snap
        With an outlet.
    reported_area_km2 : float or None
    """
    if reported_area_km2 is None:
        return "unrated"
    if not choice.final or not choice.on_data:
        return "low"
    agrees = agreement(choice.outlet.area_m2 / 1e6 / reported_area_km2)
    return "medium" if agrees == "high" and not choice.stability >= STABLE else agrees
