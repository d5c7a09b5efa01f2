"""Gradients, slopes and aspects of planes, and against plain formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snakeshed.kernels.cell_sizes import even_rows
from snakeshed.kernels.relief import gradients, slope_and_aspect, squared_deviations, total


def gradients_of(z, mask=None, width=10.0, height=10.0):
    z = np.pad(np.asarray(z, float), 1, constant_values=np.nan)
    mask = ~np.isnan(z) if mask is None else np.pad(mask, 1)
    rows = np.ones(z.shape[0])
    elevation, east, north = (np.empty(int(mask.sum())) for _ in range(3))
    gradients(z, mask, even_rows(rows * width, rows * height), elevation, east, north)
    return elevation, east, north


def plane(east, north, shape=(5, 6), size=10.0):
    rows, columns = np.indices(shape)
    return 100 + columns * size * east - rows * size * north


@pytest.mark.parametrize(("east", "north"), [(0, 0), (0.5, 0), (0, -0.25), (-0.3, 0.4)])
def test_the_gradient_of_a_plane(east, north):
    mask = np.zeros((5, 6), bool)
    mask[1:-1, 1:-1] = True
    elevation, to_east, to_north = gradients_of(plane(east, north), mask)
    np.testing.assert_allclose(to_east, east, atol=1e-12)
    np.testing.assert_allclose(to_north, north, atol=1e-12)
    np.testing.assert_array_equal(elevation, plane(east, north)[mask])


def test_sizes_of_cells_differ():
    _, east, north = gradients_of(plane(1.0, 1.0), width=20.0, height=5.0)
    inner = np.s_[8]
    assert east[inner] == pytest.approx(0.5)
    assert north[inner] == pytest.approx(2.0)


def test_the_gradient_of_a_plane_on_cells_that_lean():
    """Axes that are not at right angles on the ground; a plane is a plane there too."""
    lean, (width, height) = 0.3, (10.0, 12.0)
    rows, columns = np.indices((5, 6))
    x = columns * width - rows * height * lean
    y = -rows * height * math.sqrt(1 - lean**2)
    z = 100 + 0.5 * x + 0.25 * y
    sizes = even_rows(np.full(5, width), np.full(5, height))._replace(skew=np.full((5, 2), lean))
    mask = np.zeros((5, 6), bool)
    mask[1:-1, 1:-1] = True
    elevation, east, north = (np.empty(12) for _ in range(3))
    gradients(z, mask, sizes, elevation, east, north)
    np.testing.assert_allclose(east, 0.5, atol=1e-12)
    np.testing.assert_allclose(north, 0.25, atol=1e-12)


def test_a_neighbour_without_data_is_as_high_as_the_cell_itself():
    z = [[1.0, 2.0, 3.0], [4.0, 5.0, np.nan], [7.0, 8.0, 9.0]]
    _, east, north = gradients_of(z)
    # (3 + 2 * 5 + 9 - 1 - 2 * 4 - 7) / 80 and (1 + 2 * 2 + 3 - 7 - 2 * 8 - 9) / 80
    assert east[4] == pytest.approx(6 / 80)
    assert north[4] == pytest.approx(-24 / 80)
    _, east, north = gradients_of([[5.0]])
    assert (east[0], north[0]) == (0.0, 0.0)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.one_of(st.floats(-100, 100, width=32), st.just(math.nan)),
    ),
    st.sampled_from([1.0, 27.5]),
)
def test_gradients_equal_horns_formula(z, width):
    elevation, east, north = gradients_of(z, width=width, height=3.0)
    ring = np.pad(z.astype(float), 1, constant_values=np.nan)
    for k, (i, j) in enumerate(np.argwhere(~np.isnan(ring))):
        box = ring[i - 1 : i + 2, j - 1 : j + 2]
        box = np.where(np.isnan(box), ring[i, j], box)
        weights = np.array([1, 2, 1])
        assert elevation[k] == ring[i, j]
        assert east[k] == pytest.approx(weights @ (box[:, 2] - box[:, 0]) / (8 * width), abs=1e-9)
        assert north[k] == pytest.approx(weights @ (box[0] - box[2]) / (8 * 3.0), abs=1e-9)


def slopes(east, north):
    east, north = np.array(east, float), np.array(north, float)
    tangent, degrees = np.empty(east.size), np.empty(east.size)
    sums = slope_and_aspect(east, north, tangent, degrees)
    return tangent, degrees, sums


def test_slopes_by_hand():
    tangent, degrees, _ = slopes([0, 1, 0, -0.3], [0, 0, -math.sqrt(3), 0.4])
    np.testing.assert_allclose(tangent, [0, 1, math.sqrt(3), 0.5])
    np.testing.assert_allclose(degrees, [0, 45, 60, math.degrees(math.atan(0.5))])


@pytest.mark.parametrize(
    ("east", "north", "facing"),
    [
        (0, -1, 1),  # the ground falls to the north
        (1, -1, 1),  # to the north-west, just
        (1.001, -1, 0),
        (-1, -1, 1),
        (0, 1, 0),
        (1, 0, 0),
        (0, 0, 0),  # level ground faces nowhere
    ],
)
def test_what_faces_north(east, north, facing):
    _, _, (to_east, to_north, count) = slopes([east], [north])
    assert count == facing
    if east or north:
        steep = math.hypot(east, north)
        assert (to_east, to_north) == pytest.approx((-east / steep, -north / steep))
    else:
        assert (to_east, to_north) == (0, 0)


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(-1e6, 1e6)))
def test_sums_run_in_the_order_of_the_values(values):
    plain = squares = 0.0
    for value in values.tolist():
        plain += value
        squares += (value - 3.5) * (value - 3.5)
    assert total(values) == plain
    assert squared_deviations(values, 3.5) == squares
