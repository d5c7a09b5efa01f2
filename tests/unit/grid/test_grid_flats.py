"""Pits, depressions and flats of the grid, as pysheds finds and resolves them, and better."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import reference
from pysheds_terrain import assert_same_raster, grids, raster

from snakeshed.grid.grid import Grid
from snakeshed.kernels.d8 import open_border


@pytest.fixture(scope="module", params=[np.float32, np.float64, np.int16])
def dem(request):
    z = raster(reference.jacksboro()[100:145, 50:105].astype(request.param), nodata=-1)
    z.metadata["source"] = "test"
    return z


@pytest.fixture(scope="module")
def with_nodata():
    z = reference.jacksboro()[100:145, 50:105].copy()
    z[:7, 20:30] = z[30:34, 40:44] = -9999
    return raster(z, nodata=-9999)


def trapped(grid: Grid, dem) -> int:
    """Cells without a direction that are neither at the rim nor beside nodata."""
    numbers = np.asarray(grid.flowdir(dem))
    z = np.where(np.asarray(dem) == dem.nodata, np.nan, np.asarray(dem))
    return int(((numbers < 0) & (open_border(reference.pad(z))[1:-1, 1:-1] == 0)).sum())


def test_pits_are_those_of_pysheds(dem):
    ours, stock = grids(dem)
    assert_same_raster(ours.detect_pits(dem), stock.detect_pits(dem))
    assert ours.detect_pits(dem).any()
    filled = ours.fill_pits(dem)
    assert_same_raster(filled, stock.fill_pits(dem))
    assert not ours.detect_pits(filled).any()


@pytest.mark.parametrize("nodata", [-9999.0, np.nan])
@pytest.mark.parametrize("nodata_out", [None, -5.0])
def test_pits_beside_nodata_are_those_of_pysheds(with_nodata, nodata, nodata_out):
    z = np.asarray(with_nodata).copy()
    z[z == -9999] = nodata
    z[7, 25] = z[29, 41] = 0
    dem = raster(z, nodata=nodata)
    ours, stock = grids(dem)
    before = z.copy()
    assert_same_raster(ours.detect_pits(dem), stock.detect_pits(dem))
    assert_same_raster(
        ours.fill_pits(dem, nodata_out=nodata_out), stock.fill_pits(dem, nodata_out=nodata_out)
    )
    assert np.array_equal(dem, before, equal_nan=True)


def test_flats_are_those_of_pysheds(dem):
    ours, stock = grids(dem)
    assert_same_raster(ours.detect_flats(dem), stock.detect_flats(dem))
    assert ours.detect_flats(dem).sum() > 5


def test_depressions_are_what_is_filled(dem):
    ours, stock = grids(dem)
    found = ours.detect_depressions(dem)
    assert np.array_equal(found, np.asarray(ours.fill_depressions(dem)) > np.asarray(dem))
    assert found.any()
    assert (found.dtype, found.nodata) == (np.bool_, False)
    assert not stock.detect_depressions(dem).any()


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("fill", [False, True])
def test_flats_are_inflated_as_pysheds_does_it(dem, eps, fill):
    ours, stock = grids(dem)
    surface = ours.fill_depressions(dem) if fill else dem
    before = np.array(surface)
    inflated, expected = ours.resolve_flats(surface, eps=eps), stock.resolve_flats(surface, eps=eps)
    assert np.array_equal(surface, before)
    assert not ours.detect_flats(inflated).any()
    if fill:
        assert_same_raster(inflated, expected)
    # Here and there the bottom of a depression is left flat.
    different = np.asarray(inflated) != np.asarray(expected)
    flat = np.asarray(stock.detect_flats(expected))
    assert not different[~flat].any()


def test_a_wide_flat_drains():
    """The gradient of pysheds ends after `max_iter` steps; what lies beyond stays flat."""
    z = np.full((9, 40), 9.0)
    z[1:-1, 1:-1] = 5.0
    z[4, 0] = 4.0
    dem = raster(z)
    ours, stock = grids(dem)
    inflated = ours.resolve_flats(dem, max_iter=6)
    expected = stock.resolve_flats(dem, max_iter=6)
    assert stock.detect_flats(expected).sum() > 20
    assert trapped(ours, expected) > 20
    assert not ours.detect_flats(inflated).any()
    assert trapped(ours, inflated) == 0
    assert (np.asarray(inflated) >= np.asarray(expected)).all()
    assert inflated.max() < 9.001
    near = np.asarray(expected)[:, :5]
    assert np.array_equal(np.asarray(inflated)[:, :5][near > 5.00001], near[near > 5.00001])


def test_a_flat_lifted_above_its_exit_drains():
    """The exit falls by less than the flat that lies below it is raised."""
    z = np.full((7, 34), 9.0)
    z[1:-1, 1:-1] = 5.0
    z[1:-1, 25:-1] = 5.0001
    z[3, 0] = 4.0
    dem = raster(z)
    ours, stock = grids(dem)
    expected = stock.resolve_flats(dem)
    assert trapped(ours, expected) > 0
    assert trapped(ours, ours.resolve_flats(dem)) == 0


def test_nodata_stays_nodata(with_nodata):
    ours, stock = grids(with_nodata)
    filled = ours.fill_depressions(with_nodata)
    missing = np.asarray(with_nodata) == -9999
    assert (np.asarray(stock.resolve_flats(filled))[missing] != -9999).any()
    inflated = ours.resolve_flats(filled)
    assert np.array_equal(np.asarray(inflated) == -9999, missing)
    assert (inflated.dtype, inflated.nodata) == (np.float64, -9999)
    assert trapped(ours, inflated) == 0
    assert not np.asarray(ours.detect_flats(with_nodata))[missing].any()
    assert np.asarray(stock.detect_flats(with_nodata))[missing].any()


def test_the_steps_of_the_readme_of_pysheds_trap_no_water(with_nodata):
    ours, _ = grids(with_nodata)
    flooded = ours.fill_depressions(ours.fill_pits(with_nodata))
    fdir = ours.flowdir(ours.resolve_flats(flooded))
    acc = np.asarray(ours.accumulation(fdir))
    missing = np.asarray(with_nodata) == -9999
    assert acc[np.asarray(fdir) < 0].sum() == np.count_nonzero(~missing)
    assert (acc[missing] == 0).all()


@reference.needs_speed
def test_real_flats_are_inflated_as_by_pysheds(shared_data):
    with rasterio.open(shared_data("santiago-fire") / "dem.tif") as file:
        z = file.read(1)[200:800, 300:1000]
    assert (z != -9999).all()
    dem = raster(z, nodata=-9999, width=30.0, height=30.0)
    ours, stock = grids(dem)
    filled = ours.fill_depressions(ours.fill_pits(dem))
    assert_same_raster(filled, stock.fill_depressions(stock.fill_pits(dem)))
    assert_same_raster(ours.detect_flats(filled), stock.detect_flats(filled))
    inflated = ours.resolve_flats(filled)
    assert_same_raster(inflated, stock.resolve_flats(filled))
    assert trapped(ours, inflated) == 0
