"""Which cell near a site is its outlet, how sure that is, and what a larger window may change."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snakeshed.grid.snap import (
    PLAUSIBLE_COST,
    STABLE,
    Candidate,
    Neighbourhood,
    Snap,
    SnapRule,
    agreement,
    confidence,
    snap,
)
from snakeshed.kernels.d8 import COLUMN_STEP, ROW_STEP
from snakeshed.kernels.snapping import same_drainage_line

RULE = SnapRule(radius_m=30.0, distance_weight=0.05, min_area_km2=0.1)
KM2 = 1e6
SOUTH = 5


def box(areas_km2, directions=SOUTH, cut=(), row=None, column=None, **changes) -> Neighbourhood:
    """Cells of 10 m; the site in the centre of the box unless said otherwise."""
    areas = np.array(areas_km2, float) * KM2
    flags = np.zeros(areas.shape, bool)
    for cell in cut:
        flags[cell] = True
    near = Neighbourhood(
        areas_m2=areas,
        directions=np.broadcast_to(np.uint8(directions), areas.shape).copy(),
        cut=flags,
        row=areas.shape[0] / 2 if row is None else row,
        column=areas.shape[1] / 2 if column is None else column,
        width_m=10.0,
        height_m=10.0,
    )
    return replace(near, **changes)


def place(candidate: Candidate | None) -> tuple[int, int] | None:
    return candidate and (candidate.row, candidate.column)


# ---- the outlet ------------------------------------------------------------------------------


def test_the_cell_whose_area_fits_best_is_the_outlet():
    near = box([[0.1, 5.0, 0.1], [0.1, 0.2, 0.1], [1.1, 0.1, 0.1]])
    choice = snap(near, 1.0, RULE)
    assert place(choice.outlet) == (2, 0)
    assert choice.outlet.area_m2 == 1.1 * KM2
    assert choice.outlet.distance_m == math.sqrt(200.0)
    assert choice.outlet.cost == pytest.approx(math.log(1.1) + 0.05 * math.sqrt(200.0) / 30)
    assert choice.cells == 9
    assert choice.final


def test_without_a_reported_area_the_nearest_large_enough_cell_is_the_outlet():
    near = box([[9.0, 0.1, 0.1], [0.0999, 0.0999, 0.0999], [0.0, 0.0, 0.0]], column=1.4)
    choice = snap(near, None, RULE)
    assert place(choice.outlet) == (0, 1)
    assert choice.outlet.cost == choice.outlet.distance_m / 30


def test_the_first_in_row_major_order_wins_among_equals():
    assert place(snap(box(np.ones((4, 4))), 1.0, RULE).outlet) == (1, 1)
    assert place(snap(box(np.ones((4, 4))), None, RULE).outlet) == (1, 1)


def test_a_cell_at_the_radius_is_a_candidate_and_one_beyond_is_none():
    near = box([[0.2, 0.2, 0.2, 0.2, 1.0]], row=0.5, column=0.5)
    assert place(snap(near, 1.0, replace(RULE, radius_m=40.0)).outlet) == (0, 4)
    choice = snap(near, 1.0, replace(RULE, radius_m=39.999))
    assert place(choice.outlet) == (0, 0)
    assert choice.cells == 4


def test_nodata_is_no_candidate():
    directions = np.full((3, 3), 255)
    choice = snap(box(np.ones((3, 3)), directions), 1.0, RULE)
    assert choice == Snap(None, None, True, 0)
    directions[2, 2] = 0
    choice = snap(box(np.ones((3, 3)), directions), 1.0, RULE)
    assert place(choice.outlet) == (2, 2)
    assert choice.cells == 1


def test_no_cell_drains_enough():
    choice = snap(box(np.full((3, 3), 0.0999)), None, RULE)
    assert choice == Snap(None, None, True, 9)


def test_sizes_of_cells_differ_in_the_two_directions():
    near = box(np.ones((3, 3)), row=0.5, column=0.5, width_m=3.0, height_m=40.0)
    choice = snap(near, None, replace(RULE, radius_m=6.0))
    assert choice.cells == 3  # of the first row alone


# ---- the runner-up ---------------------------------------------------------------------------


def test_the_runner_up_is_on_another_drainage_line():
    # The middle column drains south through the outlet; the others are lines of their own.
    near = box([[1.3, 0.9, 0.8], [1.3, 1.0, 0.8], [1.3, 1.1, 0.8]])
    choice = snap(near, 1.0, RULE)
    assert place(choice.outlet) == (1, 1)
    assert place(choice.runner_up) == (1, 2)


def test_an_implausible_area_is_no_runner_up():
    near = box([[3.01, 1.0, 0.33], [3.01, 1.0, 0.33], [3.01, 1.0, 0.33]])
    choice = snap(near, 1.0, RULE)
    assert place(choice.outlet) == (1, 1)
    assert choice.runner_up is None
    near.areas_m2[0, 0] = 3.0 * KM2
    assert place(snap(near, 1.0, RULE).runner_up) == (0, 0)


def test_without_a_reported_area_every_large_enough_cell_elsewhere_is_plausible():
    near = box([[50.0, 1.0, 0.05]], row=0.5, column=1.6)
    assert place(snap(near, None, RULE).runner_up) == (0, 0)


# ---- final or not ----------------------------------------------------------------------------


def test_a_chosen_cell_that_the_rim_cuts_is_not_final():
    assert not snap(box([[0.1, 1.0, 0.1]], cut=[(0, 1)]), 1.0, RULE).final


@pytest.mark.parametrize(
    ("cut_area", "outlet", "final"),
    [
        (0.01, (0, 0), False),  # might drain the reported 1.0 km2 in truth
        (0.99, (0, 2), False),
        (1.05, (0, 2), False),
        (1.3, (0, 0), False),  # cannot win, but is plausible and may drain more
        (1.8, (0, 0), False),  # is not plausible, but the runner-up
        (3.01, (0, 0), True),  # is too large already
    ],
)
def test_a_cut_area_is_a_lower_bound(cut_area, outlet, final):
    near = box([[1.1, 0.001, cut_area]], directions=[[SOUTH, 255, SOUTH]], cut=[(0, 2)])
    choice = snap(near, 1.0, RULE)
    assert place(choice.outlet) == outlet
    assert choice.final == final


def test_a_cut_cell_that_is_too_far_to_win_can_still_become_the_runner_up():
    near = box(
        [[0.1, 1.0, 0.1, 0.1]],
        directions=[[255, SOUTH, 255, SOUTH]],
        cut=[(0, 3)],
        row=0.5,
        column=1.5,
    )
    rule = replace(RULE, distance_weight=10.0)
    choice = snap(near, 1.0, rule)
    assert place(choice.outlet) == (0, 1)
    assert choice.runner_up is None
    assert not choice.final
    # Larger than three times the reported area it is none, however much is cut.
    near.areas_m2[0, 3] = 3.1 * KM2
    assert snap(near, 1.0, rule).final


def test_a_cut_cell_might_have_enough_area_where_no_cell_has():
    near = box([[0.01, 0.05, 0.02]], cut=[(0, 2)])
    choice = snap(near, None, RULE)
    assert choice.outlet is None
    assert not choice.final


def test_a_cut_cell_beyond_the_radius_does_not_matter():
    near = box([[1.0, 0.1, 0.1, 0.1, 0.1]], cut=[(0, 4)], row=0.5, column=0.5)
    assert snap(near, 1.0, RULE).final


def test_a_window_that_lacks_cells_within_the_radius_is_not_final():
    near = box([[0.1, 1.0, 0.1]])
    assert snap(near, 1.0, RULE).final
    assert not snap(replace(near, whole=False), 1.0, RULE).final


@st.composite
def neighbourhoods(draw):
    """Directions of a routed terrain with any areas and any cuts, whether or not they agree."""
    z, border, width_m, height_m = draw(reference.terrains())
    filled = reference.priority_flood(z, border)
    directions = reference.route(filled, border, width_m, height_m)[1:-1, 1:-1].astype(np.uint8)
    shape = directions.shape
    areas = draw(
        hnp.arrays(np.float64, shape, elements=st.sampled_from([0.05, 0.5, 0.9, 1, 1.2, 4]))
    )
    cut = draw(hnp.arrays(np.bool_, shape))
    inside = st.floats(0, 1, exclude_max=True)
    return Neighbourhood(
        areas * KM2, directions, cut, draw(inside) * shape[0], draw(inside) * shape[1], 10.0, 12.0
    )


def line_of(directions, cell):
    """Cells up- and downstream of a cell, by the plain references."""
    padded = np.pad(directions, 1, constant_values=255)
    i, j = cell[0] + 1, cell[1] + 1
    found = reference.upslope(padded, (i, j)) | set(reference.flow_path(padded, (i, j)))
    same = np.zeros(padded.shape, bool)
    same[tuple(np.transpose(sorted(found)))] = True
    return same[1:-1, 1:-1]


@given(neighbourhoods(), st.data())
def test_the_drainage_line_equals_its_reference(near, data):
    cells = np.argwhere(near.directions != 255).tolist()
    if not cells:
        return
    row, column = data.draw(st.sampled_from(cells))
    same = same_drainage_line(near.directions, row, column, ROW_STEP, COLUMN_STEP)
    np.testing.assert_array_equal(same, line_of(near.directions, (row, column)))


def plain_costs(near, reported, rule):
    """Cost of each candidate, straight from the definition."""
    costs = {}
    for i, j in np.argwhere(near.directions != 255).tolist():
        north, east = (i + 0.5 - near.row) * near.height_m, (j + 0.5 - near.column) * near.width_m
        distance = math.hypot(north, east)
        area = near.areas_m2[i, j] / KM2
        if distance > rule.radius_m or (reported is None and area < rule.min_area_km2):
            continue
        share = distance / rule.radius_m
        if reported is None:
            costs[i, j] = share
        else:
            costs[i, j] = abs(math.log(area / reported)) + rule.distance_weight * share
    return costs


def plain_rivals(near, reported, rule):
    """Cost of each candidate, and of each that may be runner-up."""
    costs = plain_costs(near, reported, rule)
    if not costs:
        return {}, {}
    outlet = min(costs, key=lambda cell: (costs[cell], cell))
    line = line_of(near.directions, outlet)
    rivals = {
        cell: cost
        for cell, cost in costs.items()
        if not line[cell]
        and (reported is None or 1 / 3 <= near.areas_m2[cell] / KM2 / reported <= 3)
    }
    return costs, rivals


@given(neighbourhoods(), st.sampled_from([None, 0.3, 1.0, 2.0]))
def test_outlet_and_runner_up_have_the_least_cost_by_definition(near, reported):
    choice = snap(near, reported, RULE)
    costs, rivals = plain_rivals(near, reported, RULE)
    for ours, among in ((choice.outlet, costs), (choice.runner_up, rivals)):
        assert (ours is None) == (not among)
        if ours is not None:
            assert ours.cost == pytest.approx(min(among.values()), rel=1e-12, abs=1e-12)
            assert among[place(ours)] == pytest.approx(ours.cost, rel=1e-12, abs=1e-12)


@given(neighbourhoods(), st.sampled_from([None, 0.3, 1.0, 2.0]), st.data())
def test_no_growth_of_cut_areas_changes_a_final_choice(near, reported, data):
    choice = snap(near, reported, RULE)
    growth = data.draw(
        hnp.arrays(np.float64, near.cut.shape, elements=st.floats(1, 100, allow_nan=False))
    )
    grown = replace(near, areas_m2=np.where(near.cut, near.areas_m2 * growth, near.areas_m2))
    after = snap(grown, reported, RULE)
    if choice.final:
        assert after.outlet == choice.outlet
        assert after.runner_up == choice.runner_up


# ---- stability -------------------------------------------------------------------------------


def test_along_one_line_the_stability_is_the_ratio_of_areas():
    # Down the middle column; at the sides drains too little to matter.
    near = box([[0.01, 0.9, 0.01], [0.01, 1.0, 0.01], [0.01, 1.25, 0.01]])
    choice = snap(near, 1.0, RULE)
    assert (choice.area_low_m2, choice.area_high_m2) == (0.9 * KM2, 1.25 * KM2)
    assert choice.stability == 1 / 1.25
    choice = snap(near, 1.25, RULE)
    assert place(choice.outlet) == (2, 1)
    assert choice.stability == 0.9 / 1.25


def test_an_implausible_candidate_changes_no_stability():
    # The upper cell costs more than ln 1.5 beyond the outlet's cost, the lower one less.
    near = box([[0.66], [1.0], [1.49]], column=0.5)
    choice = snap(near, 1.0, replace(RULE, distance_weight=0.0))
    assert (choice.area_low_m2, choice.area_high_m2) == (KM2, 1.49 * KM2)
    assert choice.plausible.ravel().tolist() == [False, True, True]


def test_another_line_that_could_be_meant_leaves_no_stability():
    near = box([[0.01, 0.9, 0.01], [0.01, 1.0, 0.01], [0.01, 1.0, 1.2]])
    choice = snap(near, 1.0, RULE)
    assert choice.stability == 0.0
    assert choice.area_high_m2 == 1.2 * KM2


def test_without_a_reported_area_what_is_not_much_farther_is_plausible():
    # At 5, 15, and 25 m; the outlet costs 1/6 and PLAUSIBLE_COST is worth 12.2 m.
    areas = [[0.5, 0.4, 0.3]]
    near = box(areas, directions=7, row=0.5, column=0.0)
    choice = snap(near, None, RULE)
    assert place(choice.outlet) == (0, 0)
    assert choice.plausible.tolist() == [[True, True, False]]
    assert choice.stability == 0.4 / 0.5
    assert confidence(choice, None) == "unrated"


def test_no_outlet_has_no_stability():
    choice = snap(box(np.full((3, 3), 0.0999)), None, RULE)
    assert math.isnan(choice.stability)
    assert math.isnan(choice.area_low_m2)
    assert math.isnan(choice.area_high_m2)


# Water of the left column goes east below the box and comes back, or does not.
@pytest.mark.parametrize(("entry", "stability"), [((2, 2), 0.9 / 1.0), ((2, 1), 0.0), (None, 0.0)])
def test_water_that_leaves_the_box_and_comes_back_is_followed(entry, stability):
    near = box(
        [[0.01, 0.01, 1.0], [0.01, 0.01, 0.99], [0.9, 0.01, 0.98]],
        directions=[[5, 5, 0], [5, 5, 1], [5, 0, 1]],
    )
    asked = []

    def beyond(row, column, most_m2):
        asked.append((row, column, most_m2))
        return entry

    choice = snap(replace(near, beyond=beyond), 1.0, RULE)
    assert place(choice.outlet) == (0, 2)
    assert choice.stability == stability
    assert asked[0] == (3, 0, KM2)


@st.composite
def drained(draw):
    """A routed terrain with its own upslope areas, and a box of it that may cut lines."""
    z, border, width_m, height_m = draw(reference.terrains())
    filled = reference.priority_flood(z, border)
    directions = reference.route(filled, border, width_m, height_m).astype(np.uint8)
    rows, columns = directions.shape
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    bottom, right = draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns))
    return directions, top, bottom, left, right


@given(drained(), st.sampled_from([None, 1.0, 3.0, 8.0]), st.data())
def test_stability_is_the_worst_overlap_of_whole_catchments(terrain, reported, data):
    directions, top, bottom, left, right = terrain
    cells = [tuple(cell) for cell in np.argwhere(directions != 255).tolist()]
    upslope = {cell: reference.upslope(directions, cell) for cell in cells}
    areas = np.zeros(directions.shape)
    for cell, found in upslope.items():
        areas[cell] = len(found)
    here = (slice(top, bottom), slice(left, right))
    asked_too_much = data.draw(st.booleans())

    def beyond(row, column, most):
        for i, j in reference.flow_path(directions, (row + top, column + left)):
            if asked_too_much and areas[i, j] * KM2 > most:
                return None
            if top <= i < bottom and left <= j < right:
                return i - top, j - left
        return None

    shape = directions[here].shape
    near = box(areas[here], directions[here], beyond=beyond)
    rule = SnapRule(float(10 * max(shape)), 0.05, 2.0)
    choice = snap(near, reported, rule)
    if choice.outlet is None:
        return
    ours = upslope[choice.outlet.row + top, choice.outlet.column + left]
    overlaps, sizes = [], []
    for i, j in np.argwhere(choice.plausible).tolist():
        theirs = upslope[i + top, j + left]
        overlaps.append(len(ours & theirs) / len(ours | theirs))
        sizes.append(len(theirs))
    assert choice.plausible[choice.outlet.row, choice.outlet.column]
    assert choice.stability == min(overlaps)
    assert (choice.area_low_m2, choice.area_high_m2) == (min(sizes) * KM2, max(sizes) * KM2)
    costs = plain_costs(near, reported, rule)
    limit = min(costs.values()) + PLAUSIBLE_COST
    sure = {cell for cell, cost in costs.items() if cost < limit - 1e-9}
    unsure = {cell for cell, cost in costs.items() if cost < limit + 1e-9}
    assert sure <= set(map(tuple, np.argwhere(choice.plausible).tolist())) <= unsure


@given(neighbourhoods(), st.sampled_from([None, 0.3, 1.0, 2.0]), st.data())
def test_no_growth_of_cut_areas_changes_a_final_stability(near, reported, data):
    choice = snap(near, reported, RULE)
    growth = data.draw(
        hnp.arrays(np.float64, near.cut.shape, elements=st.floats(1, 100, allow_nan=False))
    )
    grown = replace(near, areas_m2=np.where(near.cut, near.areas_m2 * growth, near.areas_m2))
    if choice.final and choice.outlet is not None:
        after = snap(grown, reported, RULE)
        assert after.stability == choice.stability
        assert (after.area_low_m2, after.area_high_m2) == (choice.area_low_m2, choice.area_high_m2)
        np.testing.assert_array_equal(after.plausible, choice.plausible)


# ---- confidence ------------------------------------------------------------------------------


def choice_of(area_km2, stability=1.0, final=True, on_data=True) -> Snap:
    outlet = Candidate(0, 0, 10.0, area_km2 * KM2, 0.1)
    return Snap(outlet, None, final, 9, stability=stability, on_data=on_data)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (choice_of(1.0), "high"),
        (choice_of(1.1), "high"),
        (choice_of(0.9), "high"),
        (choice_of(0.899), "medium"),
        (choice_of(1.101), "medium"),
        (choice_of(1.5), "medium"),
        (choice_of(1.501), "low"),
        (choice_of(0.667), "medium"),
        (choice_of(0.666), "low"),
        (choice_of(1.0, stability=STABLE), "high"),
        (choice_of(1.0, stability=math.nextafter(STABLE, 0)), "medium"),
        (choice_of(1.2, stability=0.0), "medium"),
        (choice_of(1.6, stability=0.0), "low"),
        (choice_of(1.0, final=False), "low"),
        (choice_of(1.0, on_data=False), "low"),
    ],
)
def test_confidence(choice, expected):
    assert confidence(choice, 1.0) == expected


@given(st.integers(1, 10**6), st.integers(0, 6))
def test_limits_belong_to_their_class_whatever_the_decimals(reported, digits):
    unit = 10.0**-digits
    for tenths in (9, 11):
        # As in tables: decimal numbers that are exactly 10 % apart.
        assert agreement((tenths * reported * unit) / (10 * reported * unit)) == "high"
    assert agreement((3 * reported * unit) / (2 * reported * unit)) == "medium"
    assert agreement((2 * reported * unit) / (3 * reported * unit)) == "medium"


def test_a_site_beside_the_data_is_known_as_such():
    directions = np.full((3, 3), SOUTH)
    directions[1, 1] = 255
    near = box(np.ones((3, 3)), directions)
    assert not snap(near, 1.0, RULE).on_data
    assert snap(replace(near, column=0.5), 1.0, RULE).on_data
    assert not snap(replace(near, column=-0.5), 1.0, RULE).on_data


def test_without_a_reported_area_there_is_nothing_to_rate_by():
    assert confidence(choice_of(1.0, final=False), None) == "unrated"


# ---- cost ------------------------------------------------------------------------------------


def test_time_is_linear_in_the_cells_even_on_one_long_winding_line():
    def seconds(side):
        directions = np.full((side, side), 3, np.uint8)
        directions[1::2] = 7
        directions[::2, -1] = directions[1::2, 0] = SOUTH
        started = time.perf_counter()
        same = same_drainage_line(directions, side // 2, side // 2, ROW_STEP, COLUMN_STEP)
        assert same.all()
        return time.perf_counter() - started

    seconds(9)  # compiles
    # A radius of 100 m on a DEM of 1 m. Walking from each cell to the end would take 2 s.
    assert min(seconds(201) for _ in range(3)) < 0.5
