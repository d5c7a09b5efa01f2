"""The accelerated grid against pysheds' own, and its deliberate differences."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import reference
from affine import Affine
from pyproj import CRS, Geod
from pysheds_terrain import assert_same_raster, grids, raster

from snakeshed.demo_terrain import read_sample
from snakeshed.grid.drainage import Drainage
from snakeshed.grid.grid import Grid
from snakeshed.grid.pysheds_import import Grid as StockGrid
from snakeshed.grid.pysheds_import import Raster, ViewFinder
from snakeshed.kernels.d8 import open_border


@pytest.fixture(scope="module")
def terrain() -> Raster:
    """Part of the sample DEM, with flats, depressions and a hole of nodata at its rim."""
    z = reference.jacksboro()[100:145, 50:105].copy()
    z[:7, 20:30] = np.nan
    return raster(z)


@pytest.fixture(scope="module")
def rough() -> Raster:
    """The same without nodata."""
    return raster(reference.jacksboro()[100:145, 50:105].copy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_depressions_are_filled_as_pysheds_fills_them(rough, dtype):
    dem = raster(np.asarray(rough).astype(dtype), nodata=0)
    dem.metadata["source"] = "test"
    ours, stock = grids(dem)
    filled = ours.fill_depressions(dem)
    assert (np.asarray(filled) > np.asarray(dem)).any()
    assert_same_raster(filled, stock.fill_depressions(dem.copy()))


def test_filling_leaves_the_dem_as_it_is(terrain):
    before = np.array(terrain)
    Grid(viewfinder=terrain.viewfinder).fill_depressions(terrain)
    assert np.array_equal(terrain, before, equal_nan=True)


def test_water_leaves_into_all_nodata():
    z = np.full((5, 5), 9.0)
    z[1:4, 1:4] = 5.0
    z[2, 2] = np.nan
    ours, stock = grids(raster(z))
    assert ours.fill_depressions(raster(z))[1, 1] == 5.0
    assert stock.fill_depressions(raster(z))[1, 1] == 9.0


def test_nan_is_nodata_whatever_else_is():
    z = np.array([[9.0, 9.0, 9.0, 9.0], [9.0, 8.0, np.nan, -1.0], [9.0, 9.0, 9.0, 9.0]])
    ours, stock = grids(raster(z, nodata=-1.0))
    assert ours.flowdir(raster(z, nodata=-1.0))[1].tolist() == [1, -2, 0, 0]
    assert stock.flowdir(raster(z, nodata=-1.0))[1].tolist() == [1, -2, -2, 0]


def test_elevations_smaller_than_any_ground_are_level():
    z = np.zeros((3, 4))
    z[1, 1] = 1e-300
    ours, stock = grids(raster(z))
    assert ours.flowdir(raster(z))[1, 1] == -1
    assert stock.flowdir(raster(z))[1, 1] == 1


@pytest.mark.parametrize("fill", [False, True])
def test_directions_are_those_of_pysheds(terrain, fill):
    ours, stock = grids(terrain)
    dem = ours.fill_depressions(terrain) if fill else terrain
    fdir = ours.flowdir(dem)
    expected = stock.flowdir(dem)
    assert_same_raster(fdir, expected)
    assert {-2, -1, 0, 1, 2, 4, 8, 16, 32, 64, 128} >= set(np.unique(fdir).tolist()) >= {-1, 0, 1}
    options = {"dirmap": (1, 2, 3, 4, 5, 6, 7, 8), "flats": 20, "pits": 30, "nodata_out": 40}
    assert_same_raster(ours.flowdir(dem, **options), stock.flowdir(dem, **options))


@pytest.mark.parametrize("routing", ["dinf", "mfd"])
def test_other_routings_are_pysheds_own(terrain, routing):
    ours, stock = grids(terrain)
    assert np.array_equal(
        ours.flowdir(terrain, routing=routing), stock.flowdir(terrain, routing=routing), True
    )


def test_accumulation_is_that_of_pysheds(terrain):
    ours, stock = grids(terrain)
    fdir = stock.flowdir(stock.resolve_flats(ours.fill_depressions(terrain)))
    assert_same_raster(ours.accumulation(fdir), stock.accumulation(fdir))
    weights = raster(np.random.default_rng(3).random(terrain.shape))
    # Equal to the last bit: pysheds sums in the same order.
    assert_same_raster(
        ours.accumulation(fdir, weights=weights), stock.accumulation(fdir, weights=weights)
    )
    efficiency = raster(np.random.default_rng(4).random(terrain.shape))
    for own in (None, weights):
        assert_same_raster(
            ours.accumulation(fdir, weights=own, efficiency=efficiency),
            stock.accumulation(fdir, weights=own, efficiency=efficiency),
        )


def test_nodata_keeps_what_drains_into_it_as_in_pysheds():
    fdir = raster(np.array([[1, 1, 0, 16]]), nodata=0)
    ours, stock = grids(fdir)
    weights = raster(np.array([[1.0, 2.0, 50.0, 4.0]]))
    accumulation = ours.accumulation(fdir, weights=weights)
    assert accumulation.tolist() == [[1, 3, 57, 4]]
    assert_same_raster(accumulation, stock.accumulation(fdir, weights=weights))
    assert_same_raster(ours.accumulation(fdir), stock.accumulation(fdir))
    assert ours.accumulation(fdir).tolist() == [[1, 2, 3, 1]]


def test_catchments_are_those_of_pysheds_and_have_a_rim(rough):
    ours, stock = grids(rough)
    fdir = stock.flowdir(stock.resolve_flats(ours.fill_depressions(rough)))
    accumulation = np.asarray(ours.accumulation(fdir))
    row, column = np.unravel_index(np.argmax(accumulation[1:-1, 1:-1]), (43, 53))
    place = {"x": column + 1, "y": row + 1, "xytype": "index"}
    catchment = ours.catchment(fdir=fdir, **place)
    assert np.count_nonzero(catchment) == accumulation[row + 1, column + 1]
    expected = np.asarray(stock.catchment(fdir=fdir, **place))
    # Without the rim, and what drains over it.
    assert expected.sum() > 50
    assert np.asarray(catchment)[expected].all()
    inner = np.array(fdir)
    inner[[0, -1]] = 0
    inner[:, [0, -1]] = 0
    assert_same_raster(
        ours.catchment(fdir=Raster(inner, fdir.viewfinder, fdir.metadata), **place),
        stock.catchment(fdir=fdir, **place),
    )


def test_a_pour_point_is_found_by_its_coordinates(rough):
    ours, _ = grids(rough)
    fdir = ours.route(rough).flowdir()
    # The cell in row 20 and column 30, by its upper left corner and by its centre.
    corner = 500.0 + 30 * 10.0, 900.0 - 20 * 12.0
    expected = ours.catchment(30, 20, fdir, xytype="index")
    assert expected[20, 30]
    assert np.array_equal(ours.catchment(*corner, fdir), expected)
    centre = corner[0] + 5.0, corner[1] - 6.0
    assert np.array_equal(ours.catchment(*centre, fdir, snap="center"), expected)
    with pytest.raises(ValueError, match="out of bounds"):
        ours.catchment(0.0, 0.0, fdir)
    with pytest.raises(ValueError, match="nearest to a cell outside"):
        ours.catchment(500.0 + 55 * 10.0, 900.0, fdir)


def test_a_route_agrees_with_its_steps(terrain):
    grid = Grid(viewfinder=terrain.viewfinder)
    drainage = grid.route(terrain)
    inside = ~np.isnan(np.asarray(terrain))
    assert drainage.filled.dtype == np.float32
    assert np.array_equal(
        drainage.filled[1:-1, 1:-1], grid.fill_depressions(terrain), equal_nan=True
    )
    fdir = drainage.flowdir()
    assert (fdir.dtype, fdir.nodata, fdir.viewfinder.affine) == (np.int64, 0, terrain.affine)
    assert fdir.metadata == {"dirmap": (64, 128, 1, 2, 4, 8, 16, 32), "flats": -1, "pits": -2}
    assert (np.asarray(fdir)[~inside] == 0).all()
    # Where the filled surface falls, pysheds gives the same direction; nowhere else is it steeper.
    stock = np.asarray(
        StockGrid(viewfinder=terrain.viewfinder).flowdir(grid.fill_depressions(terrain))
    )
    assert np.array_equal(fdir[stock > 0], stock[stock > 0])
    assert np.array_equal(drainage.accumulation(), grid.accumulation(drainage.flowdir()))
    assert drainage.accumulation(nodata_out=-1.0)[0, 25] == -1.0
    outside = np.asarray(fdir) == -2
    assert drainage.accumulation()[outside].sum() == np.count_nonzero(inside)


def test_catchments_of_a_drainage(terrain):
    drainage = Grid(viewfinder=terrain.viewfinder).route(terrain)
    cells = np.argsort(drainage.counts, axis=None)[[-1, -40, -1, -300]]
    for cell, catchment in zip(cells, drainage.catchments(cells), strict=True):
        assert catchment[0] == cell
        assert len(catchment) == drainage.counts.flat[cell]
        expected = reference.upslope(drainage.directions, divmod(int(cell), 57))
        assert {divmod(c, 57) for c in catchment.tolist()} == expected
    assert drainage.catchments([]) == []
    with pytest.raises(ValueError, match="no data at 1 of the outlets"):
        drainage.catchments([0])


def test_a_route_keeps_to_the_border_and_the_cell_sizes_it_is_given():
    z = np.full((5, 6), 9.0)
    z[2, 1:5] = [4.0, 3.0, np.nan, 5.0]
    dem = raster(z)
    grid = Grid(viewfinder=dem.viewfinder)
    assert grid.route(dem).filled[3, 3] == 3.0
    rim = np.ones((5, 6), dtype=np.uint8)
    rim[1:-1, 1:-1] = 0
    assert grid.route(dem, border=rim).filled[3, 3] == 9.0
    slope = raster(np.array([[9.0, 9.0, 9.0], [9.0, 5.0, 3.0], [9.0, 2.9, 9.0]]))
    grid = Grid(viewfinder=slope.viewfinder)
    assert grid.route(slope).directions[2, 2] == 3  # 2 / 10 m east, 2.1 / 12 m south
    assert grid.route(slope, width_m=np.full(3, 12.0)).directions[2, 2] == 5
    assert grid.route(slope, height_m=np.array([1.0, 9.0, 1.0])).directions[2, 2] == 5


@pytest.fixture(scope="module")
def jacksboro() -> Raster:
    """The demo's DEM, of 3 arc-seconds, at 36 degrees north."""
    elevation, affine = read_sample()
    view = ViewFinder(affine=affine, shape=elevation.shape, nodata=np.int16(-9999))
    return Raster(elevation, view)


def test_a_route_takes_degrees_for_what_they_are_on_the_ground(jacksboro):
    grid = Grid(viewfinder=jacksboro.viewfinder)
    ground, crs = grid.route(jacksboro), grid.route(jacksboro, lengths="crs")
    differ = (ground.directions != crs.directions)[1:-1, 1:-1]
    assert differ.mean() == pytest.approx(0.15, abs=0.015)
    # The first and the last row, measured by geodesics instead.
    geod, step = Geod(ellps="WGS84"), jacksboro.affine.a
    rows = np.arange(jacksboro.shape[0])
    north = jacksboro.affine.f - rows * step
    west = np.full(len(rows), jacksboro.affine.c)
    width_m = geod.inv(west, north - step / 2, west + step, north - step / 2)[2]
    height_m = geod.inv(west, north, west, north - step)[2]
    measured = grid.route(jacksboro, width_m=width_m, height_m=height_m)
    assert (measured.directions != ground.directions).mean() < 1e-4
    # flowdir is that of pysheds, for which a degree is a degree.
    slopes = np.asarray(grid.flowdir(grid.fill_depressions(jacksboro)))
    falls = slopes > 0
    assert np.array_equal(np.asarray(crs.flowdir())[falls], slopes[falls])
    assert (np.asarray(ground.flowdir())[falls] != slopes[falls]).mean() > 0.1


def test_lengths_of_a_projected_crs_are_lengths_already(rough):
    view = ViewFinder(
        affine=Affine(0.0005, 0, 10.0, 0, -0.001, 36.0),
        shape=rough.shape,
        nodata=rough.nodata,
        crs=CRS("EPSG:32611"),
    )
    dem = Raster(np.asarray(rough), view)
    grid = Grid(viewfinder=view)
    assert np.array_equal(grid.route(dem).directions, grid.route(dem, lengths="crs").directions)


def test_coordinates_that_are_no_degrees_are_lengths(rough):
    # pysheds gives EPSG:4326 to whatever is given no CRS; these lie beyond the pole.
    assert rough.affine.f == 900.0
    grid = Grid(viewfinder=rough.viewfinder)
    assert np.array_equal(grid.route(rough).directions, grid.route(rough, lengths="crs").directions)


def test_a_raster_without_a_place_has_no_degrees():
    # pysheds gives it EPSG:4326 too, and cells of 1 x 1 from the equator on.
    z = np.random.default_rng(3).random((60, 60))
    view = ViewFinder(shape=z.shape)
    dem, grid = Raster(z, view), Grid(viewfinder=view)
    assert np.array_equal(grid.route(dem).directions, grid.route(dem, lengths="crs").directions)


def test_lengths_are_of_the_ground_or_of_the_crs(rough):
    with pytest.raises(ValueError, match='lengths must be "ground" or "crs", not \'degrees\''):
        Grid(viewfinder=rough.viewfinder).route(rough, lengths="degrees")


def test_the_help_lists_what_route_does_with_degrees():
    assert "degrees for lengths" in Grid.__doc__
    assert 'lengths="crs"' in Grid.__doc__


@pytest.mark.parametrize(
    ("dtype", "nodata", "inside"),
    [
        (np.int16, -9999, np.float32),
        (np.uint8, 255, np.float32),
        (np.int32, -9999, np.float32),
        (np.int64, -(2**62) - 1, np.float32),
        (np.float32, -9999.0, np.float32),
        (np.float64, np.nan, np.float32),
    ],
)
def test_a_route_sees_nodata_of_any_type(dtype, nodata, inside):
    z = np.array([[9, 9, 9, 9], [9, 3, 4, 9], [9, 9, 9, 9]]).astype(dtype)
    z[1, 1] = nodata
    dem = raster(z, nodata)
    drainage = Grid(viewfinder=dem.viewfinder).route(dem)
    assert drainage.filled.dtype == inside
    assert drainage.counts.sum() > 0
    assert (drainage.counts[2, 2], drainage.directions[2, 2]) == (0, 255)
    assert drainage.filled[2, 3] == 4


def test_a_route_is_the_same_on_any_number_of_threads(terrain):
    grid = Grid(viewfinder=terrain.viewfinder)
    expected = grid.route(terrain, threads=1)
    for threads in (None, 2, 5):
        drainage = grid.route(terrain, threads=threads)
        assert np.array_equal(drainage.filled, expected.filled, equal_nan=True)
        assert np.array_equal(drainage.directions, expected.directions)
        assert np.array_equal(drainage.counts, expected.counts)


def test_a_carved_route_raises_nothing_and_drains_everything(terrain):
    grid = Grid(viewfinder=terrain.viewfinder)
    carved, filled = grid.route(terrain, conditioning="carve"), grid.route(terrain)
    assert np.array_equal(carved.filled[1:-1, 1:-1], terrain, equal_nan=True)
    assert not np.array_equal(carved.directions, filled.directions)
    cells = np.count_nonzero(~np.isnan(np.asarray(terrain)))
    for drainage in (carved, filled):
        assert drainage.counts[drainage.directions == 0].sum() == cells
    with pytest.raises(ValueError, match='"fill" or "carve", not \'breach\''):
        grid.route(terrain, conditioning="breach")


@pytest.mark.parametrize("conditioning", ["fill", "carve"])
def test_differences_too_small_for_a_slope_still_drain(conditioning):
    z = np.full((6, 7), 5e-324)
    z[2:4, 2:5] = [[1e-323, 3e-320, 2e-310], [0.0, -1e-315, 1e-300]]
    drainage = Grid(viewfinder=raster(z).viewfinder).route(raster(z), conditioning=conditioning)
    assert set(drainage.directions[1:-1, 1:-1].ravel().tolist()) <= set(range(9))
    assert drainage.counts[drainage.directions == 0].sum() == z.size


@pytest.mark.parametrize(
    "level", [np.int32(2**24 + 1), np.float64(0.1), np.float64(1e300), np.uint32(2**32 - 1)]
)
def test_elevations_that_singles_do_not_hold_are_doubles(level):
    z = np.array([[9, 9, 9, 9], [9, 3, 4, 9], [9, 9, 9, 9]]).astype(level.dtype)
    z[1, 1:] = level
    dem = raster(z, nodata=level.dtype.type(77))
    drainage = Grid(viewfinder=dem.viewfinder).route(dem)
    assert drainage.filled.dtype == np.float64
    assert drainage.filled[2, 4] == level


def test_a_route_looks_through_the_view_of_the_grid(rough):
    mask = np.ones(rough.shape, dtype=bool)
    mask[:15] = False
    view = ViewFinder(affine=rough.affine, nodata=np.float32(np.nan), mask=mask)
    drainage = Grid(viewfinder=view).route(rough)
    assert (drainage.counts[1:16] == 0).all()
    assert (drainage.counts[16:-1, 1:-1] > 0).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"border": np.zeros((47, 57))},
            r"border must have the shape \(45, 55\), not \(47, 57\)",
        ),
        ({"width_m": np.ones(47)}, r"width_m must have the shape \(45,\), not \(47,\)"),
        ({"height_m": np.float64(3)}, r"height_m must have the shape \(45,\), not \(\)"),
        ({"border": np.zeros((45, 55), np.uint8)}, "every connected piece of the data needs"),
        ({"threads": 0}, "0 threads: at least 1 is needed"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rough, arrays, message):
    with pytest.raises(ValueError, match=message):
        Grid(viewfinder=rough.viewfinder).route(rough, **arrays)


def test_a_drainage_is_not_changed_by_what_is_made_of_it(terrain):
    drainage = Grid(viewfinder=terrain.viewfinder).route(terrain)
    assert isinstance(drainage, Drainage)
    directions, counts = drainage.directions.copy(), drainage.counts.copy()
    drainage.flowdir()[:] = 7
    drainage.accumulation()[:] = 7
    assert np.array_equal(drainage.directions, directions)
    assert np.array_equal(drainage.counts, counts)


@reference.needs_speed
@pytest.mark.parametrize("name", ["station-fire", "santiago-fire"])
def test_real_dems_are_filled_and_accumulated_as_by_pysheds(shared_data, name):
    with rasterio.open(shared_data(name) / "dem.tif") as file:
        z = file.read(1)[:600, :700]
        assert (z != file.nodata).all()
    dem = raster(z, nodata=-1, width=30.0, height=30.0)
    ours, stock = grids(dem)
    filled = ours.fill_depressions(dem)
    assert_same_raster(filled, stock.fill_depressions(dem.copy()))
    fdir = ours.flowdir(filled)
    assert_same_raster(fdir, stock.flowdir(filled))
    assert_same_raster(ours.accumulation(fdir), stock.accumulation(fdir))
    padded = reference.pad(z.astype(np.float32))
    assert np.array_equal(
        ours.route(dem).filled, reference.priority_flood(padded, open_border(padded)), True
    )
