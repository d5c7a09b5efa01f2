"""Snapping: which cell near a site is its outlet.

Candidates are the cells whose centre lies within ``snap.radius_m`` of the site. The one of least
cost is the outlet (`snakeshed.kernels.snapping.score_candidates` defines the cost), the first in
row-major order among equals. The runner-up is the best plausible candidate on another drainage
line: the outlet that a person might have meant instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snakeshed.kernels.d8 import COLUMN_STEP, ROW_STEP
from snakeshed.kernels.snapping import same_drainage_line, score_candidates

# A candidate is plausible as a runner-up when its area is within this factor of the reported one.
PLAUSIBLE_FACTOR = 3.0

# Confidence classes: the largest factor between area and reported area, best class first.
CONFIDENCE = {"high": 1.1, "medium": 1.5}

# A runner-up whose cost is within this of the outlet's makes the choice ambiguous, so not "high".
AMBIGUOUS_COST = 0.1


@dataclass(frozen=True)
class SnapRule:
    """How sites are snapped; the ``snap`` section of the configuration."""

    radius_m: float
    distance_weight: float
    min_area_km2: float


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
        Size of a cell at the site.
    whole : bool
        The window holds all cells within the radius.
    """

    areas_m2: np.ndarray
    directions: np.ndarray
    cut: np.ndarray
    row: float
    column: float
    width_m: float
    height_m: float
    whole: bool = True


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
        False when a larger window may choose another outlet or runner-up: a candidate is cut by
        the rim and is chosen, or could win or be the runner-up with a larger area, or the window
        does not hold all cells within the radius.
    cells : int
        Cells of the DEM within the radius.
    """

    outlet: Candidate | None
    runner_up: Candidate | None
    final: bool
    cells: int


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
    could_win = _least(bound, near.cut)
    final = near.whole and (outlet is None or not near.cut[outlet.row, outlet.column])
    if could_win is not None and (outlet is None or could_win <= outlet.cost):
        final = False
    if outlet is None:
        return Snap(None, None, final, cells)

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
    return Snap(outlet, runner_up, final, cells)


def _least(costs: np.ndarray, among: np.ndarray) -> float | None:
    """Least finite cost among the marked cells; None without one."""
    least = float(np.where(among, costs, np.inf).min())
    return least if math.isfinite(least) else None


def confidence(choice: Snap, reported_area_km2: float | None) -> str:
    """Class of trust in an outlet: high, medium, low, or unrated without a reported area.

    "high": the area is within 10 % of the reported one and no runner-up costs nearly as little;
    "medium": within a factor of 1.5; "low": everything else, and a choice that is not final.

    Parameters
    ----------
    choice : Snap
        With an outlet.
    reported_area_km2 : float or None
    """
    if reported_area_km2 is None:
        return "unrated"
    if not choice.final:
        return "low"
    area, reported = choice.outlet.area_m2, reported_area_km2 * 1e6
    factor = max(area / reported, reported / area)
    rival = choice.runner_up
    ambiguous = rival is not None and rival.cost - choice.outlet.cost < AMBIGUOUS_COST
    if factor <= CONFIDENCE["high"] and not ambiguous:
        return "high"
    return "medium" if factor <= CONFIDENCE["medium"] else "low"
