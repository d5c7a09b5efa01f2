"""All kernels of routing over ground that is made to break them, on square and other cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference

from snakeshed.kernels.accumulation import accumulate, count_upslope
from snakeshed.kernels.carving import carve
from snakeshed.kernels.catchment_shape import flow_lengths
from snakeshed.kernels.catchments import preorder
from snakeshed.kernels.cell_sizes import even_rows
from snakeshed.kernels.d8 import open_border
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.filling import fill
from snakeshed.kernels.steepest_descent import steepest_descent

GRIDS = reference.adversarial_grids()

Ground = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(params=GRIDS)
def z(request: pytest.FixtureRequest) -> np.ndarray:
    return reference.pad(GRIDS[request.param])


@pytest.fixture(params=["square", "geographic"])
def ground(request: pytest.FixtureRequest, z: np.ndarray) -> Ground:
    """Padded elevations, their border, and the widths and heights of the rows."""
    rows = np.arange(len(z))
    if request.param == "square":
        return z, open_border(z), np.full(len(z), 10.0), np.full(len(z), 10.0)
    return z, open_border(z), 24.1 - 0.01 * rows, 30.8 + 0.001 * rows


def test_the_spiral_winds_to_the_middle():
    corridor, way = reference.spiral(7)
    assert ["".join("#."[cell] for cell in row) for row in corridor.astype(int)] == [
        ".......",
        "######.",
        ".....#.",
        ".###.#.",
        ".#...#.",
        ".#####.",
        ".......",
    ]
    assert way.max() == np.count_nonzero(corridor) - 1 == way[4, 2]


def test_steepest_descent(ground):
    z, border, width, height = ground
    directions = steepest_descent(z, border, width, height)
    for cell in reference.data_cells(z):
        code = reference.steepest(z, cell, width, height)
        assert directions[cell] == (code or (0 if border[cell] else 9))


def test_filling(ground):
    z, border, width, height = ground
    filled, directions = fill(z, border, width, height)
    assert np.array_equal(filled, reference.priority_flood(z, border), equal_nan=True)
    assert directions.tolist() == reference.route(filled, border, width, height).tolist()
    for threads in (2, 5):
        again = fill(z, border, width, height, threads)
        assert np.array_equal(again[0], filled, equal_nan=True)
        assert np.array_equal(again[1], directions)


def test_carving(ground):
    z, border, width, height = ground
    directions = carve(z, border, width, height)
    assert directions.tolist() == reference.carve(z, border, width, height).tolist()
    filled = reference.priority_flood(z, border)
    for cell in reference.data_cells(z):
        path = reference.flow_path(directions, cell)
        assert border[path[-1]]
        assert max(z[on_path] for on_path in path) == filled[cell]
    for threads in (2, 5):
        assert np.array_equal(carve(z, border, width, height, threads), directions)


@pytest.mark.parametrize("conditioning", ["fill", "carve"])
def test_what_follows_the_directions(ground, conditioning):
    z, border, width, height = ground
    if conditioning == "fill":
        directions = fill(z, border, width, height)[1]
    else:
        directions = carve(z, border, width, height)
    cells = reference.data_cells(z)
    counts = np.zeros(z.shape, np.int64)
    marks = np.zeros(z.shape, np.uint8)
    way_outside = np.zeros(z.shape)
    for number, cell in enumerate(cells):
        path = reference.flow_path(directions, cell)
        for here in path:
            counts[here] += 1
            marks[here] |= 1 << number % 8
        for here in path[::-1]:
            way_outside[cell] += reference.step_length(directions, here, width, height)
    assert np.array_equal(count_upslope(directions), counts)
    assert np.array_equal(count_upslope(directions, threads=3), counts)
    assert np.array_equal(accumulate(directions, np.ones(z.shape)), counts)
    flags = np.zeros(z.shape, np.uint8)
    for number, cell in enumerate(cells):
        flags[cell] = 1 << number % 8
    spread_downstream(directions, flags)
    assert np.array_equal(flags, marks)
    if not cells:
        return
    outlets = np.flatnonzero(directions == 0)
    members, starts = preorder(directions, counts, outlets)
    assert sorted(members.tolist()) == [row * z.shape[1] + column for row, column in cells]
    for outlet, start in zip(outlets.tolist(), starts.tolist(), strict=True):
        catchment = members[start : start + counts.flat[outlet]]
        lengths = flow_lengths(catchment, directions, counts, even_rows(width, height), math.inf)
        assert lengths[0] == way_outside.flat[catchment].max()
