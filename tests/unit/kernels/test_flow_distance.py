"""Distances up and down the flow, by hand and against plain walks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.carving import carve
from snakeshed.kernels.catchment_shape import flow_lengths
from snakeshed.kernels.catchments import preorder
from snakeshed.kernels.d8 import NODATA, neighbour_offsets, open_border
from snakeshed.kernels.filling import fill
from snakeshed.kernels.flow_distance import (
    downstream_distance,
    longest_flow_path,
    step_lengths,
    upstream_distance,
)

SLANT = math.sqrt(2.0)
NAN = math.nan


def padded(directions: list) -> np.ndarray:
    return np.pad(np.array(directions, np.uint8), 1, constant_values=NODATA)


# S  SW W
# S  W  NW
# 0  W  255
WORKED = padded([[5, 6, 7], [5, 7, 8], [0, 7, 255]])


def test_a_hand_worked_catchment():
    ones = np.ones(5)
    up = upstream_distance(WORKED, ones, ones)[1:-1, 1:-1]
    expected = [[0, SLANT, 0], [2 * SLANT, 0, 0], [2 * SLANT + 1, 0, NAN]]
    np.testing.assert_allclose(up, expected, rtol=1e-15)
    down = downstream_distance(WORKED, ones, ones)[1:-1, 1:-1]
    np.testing.assert_allclose(
        down, [[2, 1 + SLANT, 2 + SLANT], [1, 2, 1 + 2 * SLANT], [0, 1, NAN]], rtol=1e-15
    )


def test_a_step_has_the_size_of_the_cells_of_the_row_where_it_begins():
    width = np.array([0, 2.0, 3.0, 4.0, 0])
    height = np.array([0, 10.0, 11.0, 12.0, 0])
    directions = padded([[3, 6], [5, 255], [0, 255]])
    slant = math.sqrt(2.0 * 2.0 + 10.0 * 10.0)
    up = upstream_distance(directions, width, height)
    assert up[1:4, 1].tolist() == [0.0, 2.0 + slant, 2.0 + slant + 11.0]
    down = downstream_distance(directions, width, height)
    assert down[1:4, 1].tolist() == [11.0 + slant + 2.0, 11.0, 0.0]
    assert step_lengths(width, height)[1].tolist() == [0, 10, slant, 2, slant, 10, slant, 2, slant]


def test_the_longest_path_begins_at_the_outlet():
    ones = np.ones(5)
    up = upstream_distance(WORKED, ones, ones)
    path = longest_flow_path(WORKED, up, 3 * 5 + 1, ones, ones)
    assert [divmod(int(cell) - 6, 5) for cell in path] == [(2, 0), (1, 0), (0, 1), (1, 2)]
    assert longest_flow_path(WORKED, up, 1 * 5 + 1, ones, ones).tolist() == [6]


def test_of_equally_long_ways_the_first_direction_goes_on():
    directions = padded([[4, 5, 6], [3, 0, 7], [2, 1, 8]])
    ones = np.ones(5)
    up = upstream_distance(directions, ones, ones)
    assert up[2, 2] == SLANT
    assert longest_flow_path(directions, up, 12, ones, ones).tolist() == [12, 8]


def test_water_that_goes_round_in_a_circle_never_arrives():
    directions = padded([[3, 3, 5, 7], [0, 1, 7, 5], [1, 255, 1, 0]])
    ones = np.ones(5)
    down = downstream_distance(directions, ones, ones)[1:-1, 1:-1]
    circle = math.inf
    expected = [[circle] * 4, [0, circle, circle, 1], [1, NAN, circle, 0]]
    assert np.array_equal(down, expected, equal_nan=True)


def test_a_path_longer_than_any_buffer():
    # A serpentine: east through odd rows, west through even ones.
    directions = np.full((70, 60), 3)
    directions[1::2] = 7
    directions[::2, -1] = 5
    directions[1::2, 0] = 5
    directions[-1, 0] = 0
    codes = padded(directions)
    ones = np.ones(72)
    down = downstream_distance(codes, ones, ones)
    up = upstream_distance(codes, ones, ones)
    assert down[1, 1] == 70 * 60 - 1
    assert np.array_equal(up[1:-1, 1:-1], 70 * 60 - 1 - down[1:-1, 1:-1])
    outlet = 70 * 62 + 1
    path = longest_flow_path(codes, up, outlet, ones, ones)
    assert up.ravel()[path].tolist() == list(range(70 * 60 - 1, -1, -1))


def test_no_data_at_all():
    directions = np.full((4, 5), NODATA, np.uint8)
    ones = np.ones(4)
    assert np.isnan(upstream_distance(directions, ones, ones)).all()
    assert np.isnan(downstream_distance(directions, ones, ones)).all()


@settings(max_examples=500)
@given(reference.terrains(), st.sampled_from(["fill", "carve"]))
def test_distances_equal_their_reference(terrain, how):
    z, border, width_m, height_m = terrain
    if reference.has_closed_piece(z, border):
        return
    if how == "fill":
        directions = fill(z, border, width_m, height_m)[1]
    else:
        directions = carve(z, border, width_m, height_m)
    up = upstream_distance(directions, width_m, height_m)
    down = downstream_distance(directions, width_m, height_m)
    longest = np.where(np.isnan(z), NAN, 0.0)
    for cell in reference.data_cells(z):
        path = reference.flow_path(directions, cell)
        # The sums run along the path as the kernels' do: the distances are equal to the last bit.
        distance = 0.0
        for here, below in pairwise(path):
            distance += reference.step_length(directions, here, width_m, height_m)
            longest[below] = max(longest[below], distance)
        distance = 0.0
        for here in path[-2::-1]:
            distance += reference.step_length(directions, here, width_m, height_m)
        assert down[cell] == distance
    assert np.array_equal(up, longest, equal_nan=True)
    assert np.array_equal(np.isnan(down), np.isnan(z))


@given(reference.terrains(), st.data())
def test_the_longest_path_flows_to_its_outlet_and_has_its_length(terrain, data):
    z, border, width_m, height_m = terrain
    cells = reference.data_cells(z)
    if not cells or reference.has_closed_piece(z, border):
        return
    directions = carve(z, border, width_m, height_m)
    up = upstream_distance(directions, width_m, height_m)
    row, column = data.draw(st.sampled_from(cells))
    flat = longest_flow_path(directions, up, row * z.shape[1] + column, width_m, height_m)
    path = [divmod(int(cell), z.shape[1]) for cell in flat]
    assert path[0] == (row, column)
    assert path[::-1] == reference.flow_path(directions, path[-1])[: len(path)]
    distance = 0.0
    for cell in path[:0:-1]:
        distance += reference.step_length(directions, cell, width_m, height_m)
    assert distance == up[row, column]


@given(reference.terrains(), st.data())
def test_agrees_with_the_lengths_of_one_catchment(terrain, data):
    z, border, width_m, height_m = terrain
    cells = reference.data_cells(z)
    if not cells or reference.has_closed_piece(z, border):
        return
    directions = fill(z, border, width_m, height_m)[1]
    counts = count_upslope(directions)
    outlet = data.draw(st.sampled_from(cells))
    members, _ = preorder(directions, counts, np.array([outlet[0] * z.shape[1] + outlet[1]]))
    area = width_m * height_m
    longest, *_ = flow_lengths(members, directions, counts, width_m, height_m, math.inf, area)
    up = upstream_distance(directions, width_m, height_m)
    assert longest == pytest.approx(up[outlet], rel=1e-12)
    if directions[outlet] == 0:
        # Summed from the outlet up, both: equal to the last bit.
        down = downstream_distance(directions, width_m, height_m)
        assert longest == down.ravel()[members].max()


@reference.needs_speed
def test_distances_add_up_over_a_sample_dem():
    z = reference.pad(reference.jacksboro())
    width_m = np.linspace(74.0, 75.0, len(z))
    height_m = np.full(len(z), 92.5)
    directions = carve(z, open_border(z), width_m, height_m)
    up = upstream_distance(directions, width_m, height_m).ravel()
    down = downstream_distance(directions, width_m, height_m).ravel()
    codes = directions.ravel()
    draining = np.flatnonzero((codes > 0) & (codes <= 8))
    below = draining + neighbour_offsets(z.shape[1])[codes[draining]]
    steps = step_lengths(width_m, height_m)[draining // z.shape[1], codes[draining]]
    assert np.array_equal(down[draining], down[below] + steps)
    assert (down[codes == 0] == 0).all()
    longest = np.where(np.isnan(z), NAN, 0.0).ravel()
    np.maximum.at(longest, below, up[draining] + steps)
    assert np.array_equal(up, longest, equal_nan=True)
    assert up[codes == 0].max() == pytest.approx(np.nanmax(down), rel=1e-12)
    assert np.nanmax(down) > 40_000
