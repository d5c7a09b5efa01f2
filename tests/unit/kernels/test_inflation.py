"""Inflated flats: the gradient of pysheds where it drains, and water that always gets away."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.kernels.d8 import FLAT, open_border
from snakeshed.kernels.filling import fill
from snakeshed.kernels.inflation import drainage_gradient, inflate_flats
from snakeshed.kernels.pits import find_flats
from snakeshed.kernels.steepest_descent import steepest_descent


def spread(sources: list, may_step, reach: int) -> dict:
    """Distance in steps from the nearest source, which is at 1."""
    distances = dict.fromkeys(sources, 1)
    queue = deque(sources)
    while queue:
        cell = queue.popleft()
        for neighbour in reference.neighbours(cell):
            if neighbour not in distances and may_step(cell, neighbour):
                distances[neighbour] = distances[cell] + 1
                queue.append(neighbour)
    return {cell: steps for cell, steps in distances.items() if steps <= max(reach, 1)}


def plain_gradient(z: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    border = open_border(z)
    near = {cell: [z[n] for n in reference.neighbours(cell)] for cell in reference.data_cells(z)}
    flat = {cell for cell, around in near.items() if not border[cell] and min(around) == z[cell]}
    outlets = [
        cell
        for cell in near
        if cell not in flat
        and (border[cell] or min(near[cell]) < z[cell])
        and any(n in flat and z[n] == z[cell] for n in reference.neighbours(cell))
    ]
    towards_lower = spread(outlets, lambda a, b: b in flat and z[a] == z[b], reach)
    slopes = [cell for cell in flat if max(near[cell]) > z[cell]]
    away_from_higher = spread(slopes, lambda a, b: b in flat, reach)
    gradients = np.zeros((2, *z.shape), dtype=np.int64)
    for cell, steps in towards_lower.items():
        gradients[0][cell] = steps
    for cell, steps in away_from_higher.items():
        patch = spread([cell], lambda a, b: b in flat, z.size)
        gradients[1][cell] = max(away_from_higher.get(other, 0) for other in patch) - steps
    return gradients[0], gradients[1]


@given(reference.terrains(), st.sampled_from([1, 2, 3, 1000]))
def test_the_gradient_is_made_of_two_distances(terrain, reach):
    z = terrain[0].astype(np.float64)
    for found, expected in zip(drainage_gradient(z, reach), plain_gradient(z, reach), strict=True):
        assert found.tolist() == expected.tolist()


@given(reference.terrains(), st.sampled_from([1e-5, 0.5, 30.0]), st.sampled_from([1, 2, 1000]))
def test_all_water_gets_away_from_a_filled_surface(terrain, step, reach):
    z, _, width, height = terrain
    border = open_border(z)
    filled = fill(z.astype(np.float64), border, width, height)[0]
    inflated = inflate_flats(filled, width, height, step, reach)
    assert (inflated[~np.isnan(z)] >= filled[~np.isnan(z)]).all()
    assert np.isnan(inflated[np.isnan(z)]).all()
    # Each cell but those at the rim and beside nodata has a lower neighbour: every descent ends
    # at one of those.
    assert (steepest_descent(inflated, border, width, height) != FLAT).all()


@given(reference.terrains())
def test_depressions_stay_depressions(terrain):
    z, _, width, height = terrain
    z = z.astype(np.float64)
    inflated = inflate_flats(z, width, height, 1e-5, 1000)
    deep = fill(z, open_border(z), width, height)[0] - z
    # Rises by a few steps of 1e-5 fill no depression of more than a thousandth.
    assert (inflated[deep > 1e-3] - z[deep > 1e-3] < 1e-3).all()


@given(reference.terrains(), st.sampled_from([1e-5, 0.5]), st.sampled_from([1, 2, 1000]))
def test_no_flat_is_left_of_any_surface(terrain, step, reach):
    z, _, width, height = terrain
    inflated = inflate_flats(z.astype(np.float64), width, height, step, reach)
    assert not (find_flats(inflated) & (open_border(z) == 0)).any()


def test_a_surface_without_flats_stays_as_it_is():
    z = reference.pad(np.add.outer(np.arange(6.0), np.arange(7.0)))
    ones = np.ones(8)
    assert np.array_equal(inflate_flats(z, ones, ones, 1e-5, 1000), z, equal_nan=True)


@pytest.mark.parametrize("level", [1.0, 1e9])
def test_a_flat_wider_than_the_reach_is_drained(level):
    """Also where a step vanishes in the rounding: at 1e9, doubles are 1e-7 apart."""
    z = np.full((30, 30), level + 1.0)
    z[1:-1, 1:-1] = level
    z[0, 15] = level - 1.0
    z, sizes = reference.pad(z), np.ones(32)
    inflated = inflate_flats(z, sizes, sizes, 1e-9, 4)
    assert (drainage_gradient(z, 4)[0][20:25, 10:20] == 0).any()
    assert (steepest_descent(inflated, open_border(z), sizes, sizes) != FLAT).all()
