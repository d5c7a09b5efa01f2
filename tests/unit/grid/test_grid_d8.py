"""What the grid does with D8 directions, bit for bit as pysheds, and where it differs."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import config
from pysheds_terrain import assert_same_raster, grids, raster

from snakeshed.grid.grid import Grid
from snakeshed.grid.pysheds_import import Grid as StockGrid
from snakeshed.grid.pysheds_import import Raster

TURNED = (1, 2, 3, 4, 5, 6, 7, 8)


def terrain(kind: str) -> Raster:
    z = reference.jacksboro()[100:145, 50:105].copy()
    if kind == "with nodata":
        z[:7, 20:30] = z[30:33, 40:42] = np.nan
        return raster(z)
    if kind == "rough":
        return raster(z + np.random.default_rng(7).random(z.shape, dtype=np.float32))
    return raster(z.astype(np.int16), nodata=-1)


@pytest.fixture(scope="module", params=["with nodata", "rough", "integers"])
def dem(request) -> Raster:
    return terrain(request.param)


def drained(dem: Raster, dirmap=(64, 128, 1, 2, 4, 8, 16, 32)) -> tuple[Raster, Raster]:
    """Flow directions and accumulation, both by pysheds."""
    ours, stock = grids(dem)
    inflated = stock.resolve_flats(ours.fill_depressions(dem))
    fdir = stock.flowdir(inflated, dirmap=dirmap)
    return fdir, stock.accumulation(fdir, dirmap=dirmap)


def weights_for(dem: Raster) -> Raster:
    return raster(np.random.default_rng(3).random(dem.shape), nodata=-1)


@pytest.mark.parametrize("cells", [2, 20])
@pytest.mark.parametrize("dirmap", [(64, 128, 1, 2, 4, 8, 16, 32), TURNED])
def test_channels_are_those_of_pysheds(dem, cells, dirmap):
    ours, stock = grids(dem)
    fdir, acc = drained(dem, dirmap)
    mask = acc > cells
    order = ours.stream_order(fdir, mask, dirmap=dirmap, nodata_out=-5)
    assert_same_raster(order, stock.stream_order(fdir, mask, dirmap=dirmap, nodata_out=-5))
    assert order.max() >= 3
    network = ours.extract_river_network(fdir, mask, dirmap=dirmap)
    expected = stock.extract_river_network(fdir, mask, dirmap=dirmap)
    assert type(network) is type(expected)
    assert network == expected
    assert json.dumps(network) == json.dumps(expected)
    assert {type(feature["geometry"]) for feature in network["features"]} == {
        type(feature["geometry"]) for feature in expected["features"]
    }
    for include_endpoint in (True, False):
        options = {"dirmap": dirmap, "include_endpoint": include_endpoint}
        assert ours.extract_profiles(fdir, mask, **options) == stock.extract_profiles(
            fdir, mask, **options
        )


def test_channels_with_gaps_are_those_of_pysheds(dem):
    ours, stock = grids(dem)
    fdir, _ = drained(dem)
    mask = raster(np.random.default_rng(5).random(dem.shape) < 0.5, nodata=False)
    assert_same_raster(ours.stream_order(fdir, mask), stock.stream_order(fdir, mask))
    assert ours.extract_profiles(fdir, mask) == stock.extract_profiles(fdir, mask)


def test_a_grid_without_channels_has_none(dem):
    ours, stock = grids(dem)
    fdir, acc = drained(dem)
    assert ours.extract_river_network(fdir, acc < 0)["features"] == []
    assert ours.extract_profiles(fdir, acc < 0) == ([], {})
    assert_same_raster(ours.stream_order(fdir, acc < 0), stock.stream_order(fdir, acc < 0))


def test_only_d8_has_channels(dem):
    ours, _ = grids(dem)
    fdir, acc = drained(dem)
    for method in (ours.stream_order, ours.extract_river_network, ours.extract_profiles):
        with pytest.raises(NotImplementedError, match="d8"):
            method(fdir, acc > 9, routing="dinf")


@pytest.mark.parametrize("return_index", [False, True])
@pytest.mark.parametrize("nodata_out", [None, -7])
def test_heights_above_drainage_are_those_of_pysheds(dem, return_index, nodata_out):
    ours, stock = grids(dem)
    fdir, acc = drained(dem)
    options = {"return_index": return_index, "nodata_out": nodata_out}
    assert_same_raster(
        ours.compute_hand(fdir, dem, acc > 20, **options),
        stock.compute_hand(fdir, dem, acc > 20, **options),
    )


def test_distances_are_those_of_pysheds(dem):
    ours, stock = grids(dem)
    fdir, _ = drained(dem)
    # pysheds looks beyond the array, and may crash, where water comes from its rim.
    fdir[[0, -1]] = fdir[:, [0, -1]] = 0
    inner = np.asarray(ours.accumulation(fdir))[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(inner), inner.shape)
    weights = weights_for(dem)
    for own in (None, weights):
        distances = ours.distance_to_outlet(column + 1, row + 1, fdir, own, xytype="index")
        assert_same_raster(
            distances,
            stock.distance_to_outlet(column + 1, row + 1, fdir, own, xytype="index"),
        )
        assert np.isfinite(distances).sum() == inner.max()
    x, y = dem.affine @ (column + 1, row + 1)
    assert_same_raster(ours.distance_to_outlet(x, y, fdir), stock.distance_to_outlet(x, y, fdir))
    with pytest.raises(ValueError, match="nearest to a cell outside"):
        ours.distance_to_outlet(500.0 + 55 * 10.0, 900.0, fdir)


def test_distances_to_the_ridge_are_those_of_pysheds(dem):
    ours, stock = grids(dem)
    # pysheds needs a last cell that something drains to: see the test of the differences.
    fdir, _ = drained(dem)
    fdir[-1, -1], fdir[-1, -2] = 0, 1
    assert_same_raster(ours.distance_to_ridge(fdir), stock.distance_to_ridge(fdir))
    weights = weights_for(dem)
    assert_same_raster(
        ours.distance_to_ridge(fdir, weights), stock.distance_to_ridge(fdir, weights)
    )


@pytest.mark.parametrize("dirmap", [(64, 128, 1, 2, 4, 8, 16, 32), TURNED])
def test_steps_are_those_of_pysheds(dem, dirmap):
    ours, stock = grids(dem)
    fdir, _ = drained(dem, dirmap)
    options = {"dirmap": dirmap, "nodata_out": -1.0}
    assert_same_raster(ours.cell_dh(dem, fdir, **options), stock.cell_dh(dem, fdir, **options))
    assert_same_raster(ours.cell_distances(fdir, **options), stock.cell_distances(fdir, **options))
    assert_same_raster(
        ours.cell_slopes(dem, fdir, **options), stock.cell_slopes(dem, fdir, **options)
    )


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="pysheds' own views need compilation")
def test_a_view_clipped_to_a_catchment_is_that_of_pysheds(dem):
    """Outside the catchment all is masked, so that its own outlet drains into nodata."""
    ours, stock = grids(dem)
    fdir, acc = drained(dem)
    inner = np.asarray(acc)[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(inner), inner.shape)
    catchment = ours.catchment(column + 1, row + 1, fdir, xytype="index")
    for grid in (ours, stock):
        grid.clip_to(catchment, pad=(2, 1, 0, 3))
    assert ours.viewfinder == stock.viewfinder
    assert_same_raster(ours.view(dem), stock.view(dem))
    weights = weights_for(dem)
    assert_same_raster(ours.accumulation(fdir), stock.accumulation(fdir))
    assert_same_raster(
        ours.accumulation(fdir, weights=weights), stock.accumulation(fdir, weights=weights)
    )
    assert_same_raster(
        ours.accumulation(fdir, efficiency=weights), stock.accumulation(fdir, efficiency=weights)
    )
    mask = acc > 5
    assert_same_raster(ours.stream_order(fdir, mask), stock.stream_order(fdir, mask))
    assert ours.extract_river_network(fdir, mask) == stock.extract_river_network(fdir, mask)
    assert ours.extract_profiles(fdir, mask) == stock.extract_profiles(fdir, mask)
    assert_same_raster(ours.compute_hand(fdir, dem, mask), stock.compute_hand(fdir, dem, mask))
    assert_same_raster(ours.cell_slopes(dem, fdir), stock.cell_slopes(dem, fdir))
    shapes = list(ours.polygonize(catchment.astype(np.uint8)))
    assert shapes == list(stock.polygonize(catchment.astype(np.uint8)))


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="pysheds' own views need compilation")
def test_a_whole_analysis_gives_the_same_as_with_pysheds(dem):
    """Step by step as the documentation of pysheds has it."""
    results = []
    for grid in grids(dem):
        z = dem.copy()
        inflated = grid.resolve_flats(grid.fill_depressions(grid.fill_pits(z)))
        fdir = grid.flowdir(inflated)
        acc = grid.accumulation(fdir)
        middle = acc.copy()
        middle[:8] = middle[-8:] = middle[:, :8] = middle[:, -8:] = 0
        # Of a size that does not reach the rim, which pysheds blanks.
        x, y = grid.snap_to_mask((middle > 30) & (middle < 90), (750.0, 630.0))
        catchment = grid.catchment(x=x, y=y, fdir=fdir, xytype="coordinate")
        # With a rim, for pysheds looks for donors beyond the array, and may crash.
        grid.clip_to(catchment, pad=(1, 1, 1, 1))
        rivers = grid.extract_river_network(fdir, acc > 5)
        distances = grid.distance_to_outlet(x=x, y=y, fdir=fdir, xytype="coordinate")
        results.append([inflated, fdir, acc, catchment, grid.view(catchment), distances, rivers])
    *ours, our_rivers = results[0]
    *stock, stock_rivers = results[1]
    for one, other in zip(ours, stock, strict=True):
        assert_same_raster(one, other)
    assert our_rivers == stock_rivers
    assert 30 < ours[3].sum() < 90
    assert np.isfinite(ours[5]).sum() == ours[3].sum()


@given(
    hnp.arrays(
        np.int64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3), elements=st.integers(-2, 9)
    ),
    st.integers(0, 2**32),
    st.sampled_from([0, 4, -2]),
)
def test_any_numbers_lead_where_they_lead_in_pysheds(numbers, seed, nodata):
    """Cycles, numbers that mean nothing, nodata in between: all but what leaves at the rim."""
    numbers[[0, -1]] = numbers[:, [0, -1]] = 0
    fdir = raster(numbers, nodata=nodata)
    ours, stock = grids(fdir)
    rng = np.random.default_rng(seed)
    weights = raster(rng.random(numbers.shape), nodata=-1)
    mask = raster(rng.random(numbers.shape) < 0.6, nodata=False)
    dem = raster(rng.integers(0, 9, numbers.shape).astype(np.float64), nodata=-1)
    options = {"dirmap": TURNED}
    for own in ({}, {"weights": weights}, {"efficiency": weights}):
        assert_same_raster(
            ours.accumulation(fdir, **own, **options), stock.accumulation(fdir, **own, **options)
        )
    for method in ("stream_order", "compute_hand"):
        arguments = (fdir, dem, mask) if method == "compute_hand" else (fdir, mask)
        assert_same_raster(
            getattr(ours, method)(*arguments, **options),
            getattr(stock, method)(*arguments, **options),
        )
    assert ours.extract_profiles(fdir, mask, **options) == stock.extract_profiles(
        fdir, mask, **options
    )
    assert_same_raster(
        ours.distance_to_ridge(fdir, weights, **options),
        stock.distance_to_ridge(fdir, weights, **options),
    )
    assert_same_raster(
        ours.cell_slopes(dem, fdir, **options), stock.cell_slopes(dem, fdir, **options)
    )
    place = {"x": 1, "y": 1, "xytype": "index"}
    for method in ("catchment", "distance_to_outlet"):
        assert_same_raster(
            getattr(ours, method)(fdir=fdir, **place, **options),
            getattr(stock, method)(fdir=fdir, **place, **options),
        )


def test_nodata_may_have_the_number_of_a_direction():
    """As in a file whose nodata value is 255 or 4: it takes no part."""
    fdir = raster(np.array([[1, 1, 4, 16], [1, 1, 1, 0], [0, 0, 0, 0]]), nodata=4)
    ours, stock = grids(fdir)
    assert_same_raster(ours.accumulation(fdir), stock.accumulation(fdir))
    assert ours.accumulation(fdir).tolist() == [[1, 2, 3, 1], [1, 2, 3, 4], [1, 1, 1, 1]]
    assert_same_raster(ours.cell_distances(fdir), stock.cell_distances(fdir))


def test_catchments_end_at_nodata_whatever_its_number():
    fdir = raster(np.array([[0] * 5, [0, 4, 0, 0, 0], [0, 1, 1, 0, 0], [0] * 5]), nodata=4)
    ours, stock = grids(fdir)
    place = {"x": 3, "y": 2, "xytype": "index"}
    assert np.argwhere(ours.catchment(fdir=fdir, **place)).tolist() == [[2, 1], [2, 2], [2, 3]]
    assert stock.catchment(fdir=fdir, **place).sum() == 4


def test_at_a_corner_water_leaves():
    """To the east of the upper right corner pysheds finds the first cell of the next row."""
    fdir = raster(np.array([[1, 1, 1], [0, 0, 0], [0, 0, 0]]), nodata=-1)
    ours, stock = grids(fdir)
    assert ours.accumulation(fdir).tolist() == [[1, 2, 3], [1, 1, 1], [1, 1, 1]]
    assert stock.accumulation(fdir)[1, 0] == 4
    assert ours.distance_to_ridge(fdir).tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0]]


def test_nothing_comes_in_from_the_other_side():
    fdir = raster(np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]), nodata=-1)
    ours, stock = grids(fdir)
    place = {"x": 0, "y": 2, "xytype": "index"}
    assert np.isfinite(ours.distance_to_outlet(fdir=fdir, **place)).sum() == 1
    assert np.isfinite(stock.distance_to_outlet(fdir=fdir, **place)).sum() == 2


def test_the_last_cell_needs_no_donor():
    fdir = raster(np.array([[4, 0], [1, 64]]), nodata=-1)
    ours, stock = grids(fdir)
    assert ours.distance_to_ridge(fdir).tolist() == [[0, 3], [1, 2]]
    headwater = raster(np.array([[1, 0], [16, 16]]), nodata=-1)
    assert ours.distance_to_ridge(headwater).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(IndexError):
        stock.distance_to_ridge(headwater)


def test_no_recursion_overflows():
    """One brook of 90,000 cells, which pysheds would walk up one function call a cell."""
    fdir = np.full((300, 302), 1)
    fdir[1::2] = 16
    fdir[::2, -1] = fdir[1::2, 0] = 4
    fdir[-1, 0] = 0
    fdir = raster(fdir, nodata=-1)
    grid = Grid(viewfinder=fdir.viewfinder)
    assert grid.accumulation(fdir, algorithm="recursive").max() == fdir.size
    mask = raster(np.ones(fdir.shape, dtype=bool), nodata=False)
    assert len(grid.extract_river_network(fdir, mask, algorithm="recursive")["features"]) > 1
    distances = grid.distance_to_outlet(0, 299, fdir, xytype="index", algorithm="recursive")
    assert distances.max() == fdir.size - 1


def test_signatures_are_those_of_pysheds():
    own = [name for name in vars(Grid) if not name.startswith("__") and hasattr(StockGrid, name)]
    own.remove("read_ascii")  # passes everything on
    assert {"flowdir", "route"}.isdisjoint(own)
    assert {"stream_order", "resolve_flats", "_d8_accumulation"} <= set(own)
    for name in own:
        ours = inspect.signature(getattr(Grid, name)).parameters
        stock = inspect.signature(getattr(StockGrid, name)).parameters
        assert [(p.name, str(p.default)) for p in ours.values()] == [
            (p.name, str(p.default)) for p in stock.values()
        ], name
