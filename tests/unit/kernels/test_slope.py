"""Slopes of planes, against plain formulas and published ones, and as the features compute them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rasterio
import reference
from hypothesis import given, settings

from snakeshed.kernels.carving import carve
from snakeshed.kernels.d8 import NODATA, open_border
from snakeshed.kernels.filling import fill
from snakeshed.kernels.relief import gradients
from snakeshed.kernels.slope import d8_slope, horn_slope


def plane(east: float, north: float, width_m: float, height_m: float) -> np.ndarray:
    rows, columns = np.indices((6, 7))
    return reference.pad(100.0 + columns * width_m * east - rows * height_m * north)


@pytest.mark.parametrize(("east", "north"), [(0, 0), (0.5, 0), (0, -0.25), (-0.3, 0.4), (3, 4)])
@pytest.mark.parametrize(("width_m", "height_m"), [(10.0, 10.0), (7.5, 10.3)])
def test_the_slope_of_a_plane(east, north, width_m, height_m):
    z = plane(east, north, width_m, height_m)
    slope = horn_slope(z, np.full(8, width_m), np.full(8, height_m))
    assert slope.dtype == np.float32
    np.testing.assert_allclose(slope[2:-2, 2:-2], math.hypot(east, north), rtol=1e-6, atol=1e-6)
    assert np.array_equal(np.isnan(slope), np.isnan(z))


def test_a_neighbour_without_data_is_as_high_as_the_cell_itself():
    z = reference.pad(np.array([[1.0, 2, 3], [4, 5, np.nan], [7, 8, 9]]))
    slope = horn_slope(z, np.full(5, 10.0), np.full(5, 10.0))
    # (3 + 2 * 5 + 9 - 1 - 2 * 4 - 7) / 80 and (1 + 2 * 2 + 3 - 7 - 2 * 8 - 9) / 80
    assert slope[2, 2] == np.float32(math.sqrt((6 / 80) ** 2 + (24 / 80) ** 2))
    assert np.isnan(slope[2, 3])


def test_one_cell_is_level():
    z = reference.pad(np.full((1, 1), 5.0, np.float32))
    assert horn_slope(z, np.ones(3), np.ones(3))[1, 1] == 0
    directions = np.where(np.isnan(z), NODATA, 0).astype(np.uint8)
    assert d8_slope(z, directions, np.ones(3), np.ones(3))[1, 1] == 0


@settings(max_examples=500)
@given(reference.terrains())
def test_the_slope_is_that_of_the_features_to_the_last_bit(terrain):
    z, _, width_m, height_m = terrain
    mask = ~np.isnan(z)
    elevation, east, north = (np.empty(np.count_nonzero(mask)) for _ in range(3))
    gradients(z, mask, width_m, height_m, elevation, east, north)
    expected = np.full(z.shape, np.nan, np.float32)
    expected[mask] = [math.sqrt(e * e + n * n) for e, n in zip(east, north, strict=True)]
    slope = horn_slope(z, width_m, height_m)
    assert np.array_equal(slope, expected, equal_nan=True)
    assert np.array_equal(horn_slope(z, width_m, height_m, threads=3), slope, equal_nan=True)


def test_drops_along_the_flow_by_hand():
    z = reference.pad(np.array([[9.0, 7, 5], [6, 4, 4], [3, 8, 1]], np.float32))
    codes = np.array([[4, 5, 5], [3, 4, 7], [0, 8, 0]], np.uint8)
    directions = np.pad(codes, 1, constant_values=NODATA)
    width, height = np.array([0, 3.0, 6.0, 9.0, 0]), np.array([0, 4.0, 8.0, 12.0, 0])
    slope = d8_slope(z, directions, width, height)
    expected = [[5 / 5, 3 / 4, 1 / 4], [2 / 6, 3 / 10, 0], [0, 2 / 15, 0]]
    assert np.array_equal(slope[1:-1, 1:-1], np.array(expected, np.float32))
    assert np.isnan(slope[0]).all()


def test_carved_directions_lead_uphill_out_of_a_pit():
    z = reference.pad(np.array([[9, 9, 9, 9], [9, 2, 5, 1], [9, 9, 9, 9]], np.float32))
    ones = np.ones(5)
    directions = carve(z, open_border(z), ones, ones)
    assert d8_slope(z, directions, ones, ones)[2, 2:5].tolist() == [-3, 4, 0]


@settings(max_examples=500)
@given(reference.terrains())
def test_the_drop_is_the_one_that_decided_the_direction(terrain):
    z, border, width_m, height_m = terrain
    if reference.has_closed_piece(z, border):
        return
    filled, directions = fill(z, border, width_m, height_m)
    slope = d8_slope(filled, directions, width_m, height_m)
    expected = reference.d8_slope(filled, directions, width_m, height_m)
    assert np.array_equal(slope, expected, equal_nan=True)
    threaded = d8_slope(filled, directions, width_m, height_m, threads=3)
    assert np.array_equal(threaded, slope, equal_nan=True)


def test_the_usgs_computes_the_same_drops(shared_data):
    """The D8 slopes that the USGS published with the DEM of the Colorado fire."""
    with rasterio.open(shared_data("colorado-fire-2022") / "dem.tif") as file:
        z = file.read(1).astype(np.float32)
        z[z == file.nodata] = np.nan
    with rasterio.open(shared_data("colorado-fire-2022") / "slopes_d8.tif") as file:
        theirs = np.pad(file.read(1), 1, constant_values=file.nodata)
        published = theirs != file.nodata
    z = reference.pad(z)
    sizes = np.full(len(z), 10.0)
    filled, directions = fill(z, open_border(z), sizes, sizes)
    slope = d8_slope(filled, directions, sizes, sizes)
    compared = published & ~np.isnan(slope)
    assert np.count_nonzero(compared) > 290_000
    np.testing.assert_allclose(slope[compared], theirs[compared], rtol=2e-6, atol=1e-6)


def test_arrays_that_do_not_fit_are_refused():
    z = reference.pad(np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="one value for each of 5 rows"):
        horn_slope(z, np.ones(4), np.ones(5))
    with pytest.raises(ValueError, match="with shape"):
        d8_slope(z, np.zeros((4, 6), np.uint8), np.ones(5), np.ones(5))
    with pytest.raises(ValueError, match="must be NaN"):
        horn_slope(np.zeros((5, 6), np.float32), np.ones(5), np.ones(5))
