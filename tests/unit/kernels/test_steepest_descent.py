"""Steepest descent against a plain reference, hand-worked slopes, and pysheds."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import reference
from affine import Affine
from examples import examples
from hypothesis import given

from snakeshed.grid.dirmap import from_dirmap, to_dirmap
from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder
from snakeshed.kernels.d8 import FLAT, NODATA, open_border
from snakeshed.kernels.steepest_descent import steepest_descent

DIRMAP = (64, 128, 1, 2, 4, 8, 16, 32)


def sizes(z: np.ndarray, width_m: float = 1.0, height_m: float = 1.0) -> tuple:
    return np.full(len(z), width_m), np.full(len(z), height_m)


def no_border(z: np.ndarray) -> np.ndarray:
    return np.zeros(z.shape, dtype=np.uint8)


def directions_of(z: list | np.ndarray, **cell: float) -> list:
    padded = reference.pad(np.asarray(z, dtype=np.float32))
    return steepest_descent(padded, no_border(padded), *sizes(padded, **cell))[1:-1, 1:-1].tolist()


def test_a_worked_example():
    # A valley that falls eastwards in the middle row, into a pit of 1 at its end.
    z = [
        [9, 9, 9, 9, 9, 9, 9],
        [8, 8, 8, 7, 8, 8, 8],
        [7, 7, 6, 6, 6, 6, 5],
        [7, 6, 5, 4, 3, 2, 1],
        [7, 7, 6, 6, 6, 6, 5],
        [8, 8, 8, 7, 8, 8, 8],
        [9, 9, 9, 9, 9, 9, 9],
    ]
    assert directions_of(z) == [
        [5, 5, 4, 5, 6, 5, 5],
        [5, 4, 5, 5, 5, 4, 5],
        [4, 4, 4, 4, 5, 5, 5],
        [3, 3, 3, 3, 3, 3, 9],
        [2, 2, 2, 2, 1, 1, 1],
        [1, 2, 1, 1, 1, 2, 1],
        [1, 1, 2, 1, 8, 1, 1],
    ]


@pytest.mark.parametrize(
    ("row", "column", "code"), [(*step, k + 1) for k, step in enumerate(reference.STEPS)]
)
def test_each_direction_has_its_code(row, column, code):
    z = np.full((3, 3), 5)
    z[1 + row, 1 + column] = 1
    assert directions_of(z)[1][1] == code


def test_the_first_of_equal_slopes_wins():
    assert directions_of([[1, 9, 1], [9, 5, 9], [1, 9, 1]])[1][1] == 2
    assert directions_of([[9, 1, 9], [1, 5, 1], [9, 1, 9]])[1][1] == 1


def test_narrow_cells_turn_the_water_east():
    z = [[9, 9, 9], [9, 5, 3], [9, 3, 9]]
    assert directions_of(z)[1][1] == 3
    assert directions_of(z, width_m=2.0)[1][1] == 5
    assert directions_of([[9, 9, 9], [9, 5, 4], [9, 9, 3.6]])[1][1] == 3
    assert directions_of([[9, 9, 9], [9, 5, 4], [9, 9, 3.5]])[1][1] == 4


def test_distances_are_those_of_the_row_of_the_cell():
    z = reference.pad(np.array([[5, 4], [4.1, 9], [5, 4], [4.1, 9]], dtype=np.float32))
    width = np.array([np.nan, 1, 1, 2, 1, np.nan])
    height = np.array([np.nan, 1, 1, 1, 1, np.nan])
    directions = steepest_descent(z, no_border(z), width, height)
    assert directions[1, 1] == 3
    assert directions[3, 1] == 1  # 0.9 to the north and to the south, 0.5 to the east


def test_no_water_flows_from_or_to_nodata():
    assert directions_of([[np.nan, 5, 4]]) == [[NODATA, 3, FLAT]]
    assert directions_of([[np.nan, 5, 6]]) == [[NODATA, FLAT, 7]]


@given(reference.terrains())
@examples(1000)
def test_equal_to_the_reference(terrain):
    z, border, width, height = terrain
    directions = steepest_descent(z, border, width, height)
    expected = np.full(z.shape, NODATA)
    for cell in reference.data_cells(z):
        undecided = 0 if border[cell] else FLAT
        expected[cell] = reference.steepest(z, cell, width, height) or undecided
    assert directions.tolist() == expected.tolist()
    for threads in (2, 5):
        out = np.full(z.shape, 7, dtype=np.uint8)
        again = steepest_descent(z, border, width, height, threads, out)
        assert again is out
        assert np.array_equal(again, directions)


SINGLES = {
    "rough": lambda random, shape: random.random(shape) * 1000,
    "beside the sea": lambda random, shape: random.random(shape) * 4 - 1,
    "of all sizes": lambda random, shape: (
        random.choice([-1, 1], shape) * 10.0 ** random.uniform(-44, 38, shape)
    ),
    "a step apart": lambda random, shape: 1000 + random.integers(0, 4, shape) * 2.0**-14,
    "small and large": lambda random, shape: random.choice(
        [1, 1 + 2.0**-23, 2.0**24, 3e-8, 0, np.inf, -np.inf], shape
    ),
    "tiny": lambda random, shape: 1e-37 * (1 + random.integers(0, 99, shape) * 2.0**-23),
    "whole numbers": lambda random, shape: random.integers(-3, 9, shape),
    "with holes": lambda random, shape: random.choice([1.5, 2, 2.5, 3, np.nan], shape),
}


@pytest.mark.parametrize("kind", SINGLES)
@pytest.mark.parametrize(
    "cell", [(10.0, 10.0), (1.0, 1.0), (24.1, 30.8), (1e-40, 1.0), (1e40, 1e39)]
)
@pytest.mark.parametrize("columns", [5, 700])
def test_single_precision_directs_as_double_precision_does(kind, cell, columns):
    random = np.random.default_rng(columns)
    z = reference.pad(SINGLES[kind](random, (max(3, 1400 // columns), columns)).astype(np.float32))
    border = open_border(z)
    expected = steepest_descent(z.astype(np.float64), border, *sizes(z, *cell))
    assert np.array_equal(steepest_descent(z, border, *sizes(z, *cell)), expected)
    assert np.array_equal(steepest_descent(z, border, *sizes(z, *cell), threads=3), expected)


@pytest.mark.parametrize("width", [1.0, 0.7])
def test_nearly_equal_slopes_are_distinguished(width):
    random = np.random.default_rng(1)
    east = np.float32(200 - random.uniform(50, 70, 2000))
    z = np.full((3 * east.size, 3), 201, np.float32)
    z[1::3, 1] = 200
    z[1::3, 2] = east
    # Across the corner as steep, up to the last bits.
    z[2::3, 2] = 200 - (200 - east.astype(np.float64)) * np.hypot(1, width) / width
    z = reference.pad(z)
    codes = steepest_descent(z, no_border(z), *sizes(z, width))
    expected = steepest_descent(z.astype(np.float64), no_border(z), *sizes(z, width))
    assert np.array_equal(codes, expected)
    assert set(codes[2:-1:3, 2].tolist()) == {3, 4}


@given(reference.terrains())
def test_the_open_border_lies_beside_nodata(terrain):
    z = terrain[0]
    assert open_border(z).tolist() == reference.beside_nodata(z).tolist()


@given(reference.terrains())
@examples(30)
def test_numbers_of_pysheds_and_back(terrain):
    z, border, width, height = terrain
    directions = steepest_descent(z, border, width, height)
    directions[directions == FLAT] = 0
    fdir = to_dirmap(directions, DIRMAP, outside=-2, nodata_out=0)
    assert from_dirmap(fdir, fdir == 0, DIRMAP).tolist() == directions.tolist()


def test_numbers_that_lead_away_drain_outside():
    fdir = np.array([[64, 1, 1], [-1, 77, 16]])
    nodata = np.array([[False, False, True], [False, False, False]])
    directions = from_dirmap(fdir, nodata, DIRMAP)
    assert directions[1:-1, 1:-1].tolist() == [[0, 0, NODATA], [0, 0, 7]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": np.zeros(5, np.float32)}, "z must be a C-contiguous padded array"),
        ({"z": np.zeros((5, 4), np.float32).T}, "z must be a C-contiguous padded array"),
        (
            {"border": np.zeros((4, 4), np.uint8)},
            r"border must be C-contiguous with shape \(4, 5\)",
        ),
        ({"width_m": np.ones(3)}, "one value for each of 4 rows"),
        ({"height_m": np.ones(5)}, "one value for each of 4 rows"),
        ({"z": np.zeros((4, 5), np.float32)}, "the ring of z around the data must be NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    z = reference.pad(np.zeros((2, 3), dtype=np.float32))
    arrays = {"z": z, "border": no_border(z), "width_m": np.ones(4), "height_m": np.ones(4)}
    with pytest.raises(ValueError, match=message):
        steepest_descent(**{**arrays, **change})


def stock_directions(z: np.ndarray, width_m: float, height_m: float) -> np.ndarray:
    """By pysheds: its numbers, -1 and -2 for cells without a lower neighbour."""
    affine = Affine(width_m, 0, 0, 0, -height_m, 0)
    view = ViewFinder(affine=affine, shape=z.shape, nodata=np.nan)
    return np.asarray(Grid(viewfinder=view).flowdir(Raster(z.astype(np.float64), view)))


def assert_as_pysheds(z: np.ndarray, width_m: float, height_m: float) -> None:
    padded = reference.pad(z)
    ours = steepest_descent(padded, no_border(padded), *sizes(padded, width_m, height_m))
    expected = stock_directions(z, width_m, height_m)
    expected[expected < 0] = -2
    assert np.array_equal(to_dirmap(ours, DIRMAP, outside=-2, nodata_out=0), expected)


@reference.needs_speed
@pytest.mark.parametrize(
    ("name", "sea"),
    [("station-fire", 32767), ("santiago-fire", -9999), ("colorado-fire-2022", None)],
)
def test_real_dems_as_pysheds_directs_them(shared_data, name, sea):
    with rasterio.open(shared_data(name) / "dem.tif") as file:
        z = file.read(1).astype(np.float32)
        z[z == file.nodata] = np.nan
        assert_as_pysheds(z, *file.res)
        # Uneven cells, as those of a geographic grid.
        assert_as_pysheds(z[:300, :300], 24.7, 30.9)


@reference.needs_speed
def test_a_sample_dem_as_pysheds_directs_it():
    assert_as_pysheds(reference.jacksboro(), 74.4, 92.5)
