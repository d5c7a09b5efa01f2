"""Many outlets at once: their catchments, and the cells that they are snapped to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from pysheds_terrain import assert_same_raster, grids, raster

from snakeshed.grid.grid import Grid
from snakeshed.grid.pysheds_import import Raster


@pytest.fixture(scope="module")
def rough() -> Raster:
    return raster(reference.jacksboro()[100:145, 50:105].copy())


@pytest.fixture(scope="module")
def grid(rough) -> Grid:
    return Grid(viewfinder=rough.viewfinder)


@pytest.fixture(scope="module")
def drainage(grid, rough):
    return grid.route(rough)


@pytest.fixture(scope="module")
def fdir(drainage) -> Raster:
    return drainage.flowdir()


def largest(acc: Raster, number: int) -> np.ndarray:
    """Columns and rows of the cells that drain most."""
    cells = np.argsort(-np.asarray(acc), axis=None, kind="stable")[:number]
    rows, columns = np.unravel_index(cells, acc.shape)
    return np.column_stack([columns, rows])


def test_many_catchments_are_those_of_one_outlet_each(grid, drainage, fdir):
    index = largest(drainage.accumulation(), 40)
    index = np.vstack([index[::7], [[3, 3], [0, 0]], index[:1]])
    catchments = grid.catchments(index, fdir, xytype="index")
    assert len(catchments) == len(index)
    assert np.array_equal(catchments.index, index)
    for number, (column, row) in enumerate(index.tolist()):
        expected = grid.catchment(column, row, fdir, xytype="index")
        assert_same_raster(catchments[number], expected)
        assert catchments.sizes[number] == expected.sum()
        rows, columns = catchments.cells(number)
        assert (rows[0], columns[0]) == (row, column)
        assert np.asarray(expected)[rows, columns].all()
    assert [mask.sum() for mask in catchments] == catchments.sizes.tolist()


def test_a_drainage_does_as_well_as_directions(grid, drainage, fdir):
    index = largest(drainage.accumulation(), 9)
    by_drainage = grid.catchments(index, drainage, xytype="index")
    by_raster = grid.catchments(index, fdir, xytype="index")
    for one, other in zip(by_drainage, by_raster, strict=True):
        assert np.array_equal(one, other)
        assert one.viewfinder == other.viewfinder


def test_outlets_are_found_by_their_coordinates(grid, fdir):
    # Column 30, row 20: by the upper left corner, as pysheds names a cell, or by any point in it.
    corner = 500.0 + 30 * 10.0, 900.0 - 20 * 12.0
    expected = grid.catchment(*corner, fdir)
    assert np.array_equal(grid.catchments([corner], fdir)[0], expected)
    inside = corner[0] + 9.0, corner[1] - 11.0
    assert np.array_equal(grid.catchments([inside], fdir, snap="center")[0], expected)
    assert np.array_equal(grid.catchments(corner, fdir)[0], expected)
    assert len(grid.catchments([], fdir)) == 0


def test_no_outlet_has_an_empty_catchment_and_keeps_its_number(grid, drainage):
    outlets = grid.snap([[0.0, 0.0], [800.0, 660.0]], 10.0, drainage)
    catchments = grid.catchments(outlets[["x", "y"]], drainage)
    assert catchments.sizes.tolist() == [0, outlets.area[1]]
    assert catchments.index.tolist() == [[-1, -1], outlets.loc[1, ["column", "row"]].tolist()]
    assert not catchments[0].any()
    assert set(np.unique(catchments.labels())) == {-1, 1}


def test_other_directions_and_nodata(grid, fdir):
    numbers = {64: 1, 128: 2, 1: 3, 2: 4, 4: 5, 8: 6, 16: 7, 32: 8, -2: 0}
    turned = np.vectorize(numbers.get)(np.asarray(fdir))
    turned = raster(turned, nodata=0)
    place = [[30, 20]]
    options = {"dirmap": (1, 2, 3, 4, 5, 6, 7, 8), "xytype": "index"}
    assert np.array_equal(
        grid.catchments(place, turned, **options)[0],
        grid.catchments(place, fdir, xytype="index")[0],
    )


def test_labels_name_the_innermost_catchment(grid, drainage):
    path = [(30, 20)]
    while True:
        column, row = path[-1]
        code = int(drainage.directions[row + 1, column + 1])
        if code == 0:
            break
        di, dj = reference.STEPS[code - 1]
        path.append((column + dj, row + di))
    outlets = [path[-1], path[0], path[len(path) // 2], path[0]]
    catchments = grid.catchments(outlets, drainage, xytype="index")
    labels = catchments.labels()
    assert (labels.dtype, labels.nodata) == (np.int64, -1)
    lowest, highest, middle = (np.asarray(mask) for mask in list(catchments)[:3])
    assert (np.asarray(labels)[highest] == 3).all()
    assert (np.asarray(labels)[middle & ~highest] == 2).all()
    assert (np.asarray(labels)[lowest & ~middle] == 0).all()
    assert (np.asarray(labels)[~lowest] == -1).all()


def test_directions_with_a_cycle_have_catchments():
    fdir = raster(np.array([[1, 4, 0], [64, 16, 16], [1, 1, 64]]), nodata=-1)
    grid = Grid(viewfinder=fdir.viewfinder)
    catchments = grid.catchments([(0, 0), (2, 0), (2, 2)], fdir, xytype="index")
    for number, (column, row) in enumerate([(0, 0), (2, 0), (2, 2)]):
        expected = grid.catchment(column, row, fdir, xytype="index")
        assert np.array_equal(catchments[number], expected)
    assert catchments.sizes.tolist() == [8, 1, 3]


def test_nodata_may_have_a_catchment_as_in_pysheds():
    fdir = raster(np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]), nodata=0)
    ours, stock = grids(fdir)
    expected = stock.catchment(2, 1, fdir, xytype="index")
    assert_same_raster(ours.catchments([(2, 1)], fdir, xytype="index")[0], expected)
    assert ours.catchments([(3, 1)], fdir, xytype="index").sizes.tolist() == [3]


@pytest.mark.parametrize(
    ("outlets", "options", "message"),
    [
        ([[5, 5], [55, 3]], {}, r"1 of 2 outlets are outside the grid, the first is number 1"),
        ([[5, -1]], {}, r"at \(5.0, -1.0\)"),
        ([5, 5, 5], {}, r"pairs of x and y, not of shape \(1, 3\)"),
        (np.zeros((2, 2, 2)), {}, r"not of shape \(2, 2, 2\)"),
        ([[5, 5]], {"xytype": "row"}, '"coordinate" or "index", not \'row\''),
    ],
)
def test_outlets_that_cannot_be_are_refused(grid, fdir, outlets, options, message):
    with pytest.raises(ValueError, match=message):
        grid.catchments(outlets, fdir, **{"xytype": "index", **options})


def test_points_are_snapped_to_the_cells_that_drain_their_areas(grid, drainage, fdir):
    """The same gauge belongs to the brook or to the river, as its area says."""
    acc = drainage.accumulation()
    column, row = largest(acc, 12)[-1].tolist()
    counts = np.asarray(acc)
    x, y = fdir.affine @ (column + 0.5, row + 0.5)
    nearby = counts[row - 3 : row + 4, column - 3 : column + 4]
    brook = float(np.sort(nearby[nearby < 60])[-1])
    snapped = grid.snap([[x, y]] * 2, [counts[row, column], brook], fdir, radius=40.0)
    assert snapped.area.tolist() == [counts[row, column], brook]
    assert snapped.area_ratio.tolist() == [1, 1]
    assert (snapped.column[0], snapped.row[0]) == (column, row)
    assert snapped.distance[0] == 0
    # Corners, which pysheds takes for the cells.
    sizes = grid.catchments(snapped[["x", "y"]], fdir).sizes
    assert sizes.tolist() == snapped.area.tolist()
    catchment = grid.catchment(snapped.x[1], snapped.y[1], fdir)
    assert catchment.sum() == brook
    center = fdir.affine @ (snapped.column[1] + 0.5, snapped.row[1] + 0.5)
    assert snapped.distance[1] == pytest.approx(math.dist((x, y), center))


def test_the_cost_is_that_of_the_documentation(grid, drainage):
    acc = np.asarray(drainage.accumulation())
    view = drainage.viewfinder
    x, y = view.affine @ (23.3, 21.8)
    for area, weight in ((30.0, 0.05), (4.0, 3.0), (900.0, 0.0)):
        costs = {}
        for (row, column), drained in np.ndenumerate(acc):
            center = view.affine @ (column + 0.5, row + 0.5)
            distance = math.dist((x, y), center)
            if distance <= 55.0:
                costs[column, row] = abs(math.log(drained / area)) + weight * distance / 55.0
        snapped = grid.snap([x, y], area, drainage, radius=55.0, distance_weight=weight)
        least = min(costs.values())
        assert costs[snapped.column[0], snapped.row[0]] == pytest.approx(least, abs=1e-12)


def test_areas_may_be_those_of_weights(grid, fdir):
    cell_km2 = 120 / 1e6
    weights = raster(np.full(fdir.shape, cell_km2))
    acc = grid.accumulation(fdir, weights=weights)
    index = largest(acc, 30)[::10]
    points = [fdir.affine @ (column + 0.5, row + 0.5) for column, row in index.tolist()]
    areas = [float(np.asarray(acc)[row, column]) for column, row in index.tolist()]
    snapped = grid.snap(points, areas, fdir, acc=acc, radius=30.0)
    assert np.array_equal(snapped[["column", "row"]], index)
    assert snapped.area.tolist() == pytest.approx(areas)
    by_cells = grid.snap(points, np.array(areas) / cell_km2, fdir, radius=30.0)
    assert np.array_equal(by_cells[["column", "row"]], index)


def test_confidence_and_the_runner_up():
    """Of two brooks side by side that are equally large, either one may be meant."""
    fdir = raster(np.full((20, 5), 4), nodata=0)
    fdir[-1] = 0
    grid = Grid(viewfinder=fdir.viewfinder)
    x, y = fdir.affine @ (2.5, 10.5)
    sure = grid.snap([x, y], 11.0, fdir, radius=8.0)
    assert sure.confidence[0] == "high"
    assert np.isnan(sure.runner_up_area[0])
    # No other cell lies within the radius.
    assert sure[["area_low", "area_high", "stability"]].loc[0].tolist() == [11, 11, 1]
    torn = grid.snap([x, y], 11.0, fdir, radius=15.0)
    assert (torn.confidence[0], torn.runner_up_area[0]) == ("medium", 11)
    assert torn.stability[0] == 0.0
    assert (torn.runner_up_x[0], torn.runner_up_y[0]) == fdir.affine @ (1, 10)
    assert grid.snap([x, y], 5.0, fdir, radius=8.0).confidence[0] == "low"


@pytest.mark.parametrize(("joined", "stability"), [(True, 1000 / 1060), (False, 0.0)])
def test_water_that_leaves_the_radius_and_comes_back_is_one_flow_path(joined, stability):
    # East in the first row, west in the last: one brook, if they meet at the far end.
    numbers = np.zeros((3, 30), np.int64)
    numbers[0], numbers[2], numbers[:2, -1] = 1, 16, 4 if joined else 1
    drained = np.zeros((3, 30))
    drained[0], drained[1, -1], drained[2] = 1000 + np.arange(30), 1030, 1060 - np.arange(30)
    fdir, acc = raster(numbers, nodata=0), raster(drained)
    x, y = fdir.affine @ (0.5, 1.5)
    grid = Grid(viewfinder=fdir.viewfinder)
    found = grid.snap([x, y], 1000.0, fdir, acc, radius=13.0)
    assert found[["area", "area_low", "area_high"]].loc[0].tolist() == [1000, 1000, 1060]
    assert found.stability[0] == stability


def test_a_point_far_from_all_data_is_a_row_with_the_reason(grid, drainage):
    far = grid.snap([[0.0, 0.0], [math.nan, 5.0], [600.0, 700.0]], 10.0, drainage)
    assert far.confidence.tolist()[:2] == ["none", "none"]
    assert far.confidence[2] != "none"
    assert far.column.tolist()[:2] == [-1, -1]
    assert far[["x", "area", "runner_up_y"]][:2].isna().all(axis=None)
    assert len(grid.snap([], [], drainage)) == 0


def test_nodata_is_no_outlet():
    z = np.add.outer(np.arange(9.0, 0.0, -1), np.zeros(5))
    z[4:6] = np.nan
    dem = raster(z)
    grid = Grid(viewfinder=dem.viewfinder)
    x, y = dem.affine @ (2.5, 5.0)
    with pytest.raises(ValueError, match="1 of 2 outlets are on nodata, the first is number 1 in"):
        grid.catchments([(1, 1), (2, 5)], grid.route(dem), xytype="index")
    snapped = grid.snap([x, y], 4.0, grid.route(dem), radius=30.0)
    assert (snapped.row[0], snapped.area[0]) == (3, 4)
    fdir = grid.route(dem).flowdir()
    assert grid.snap([x, y], 4.0, fdir, radius=30.0).equals(snapped)
    assert grid.snap([x, y], 4.0, fdir, acc=grid.accumulation(fdir), radius=30.0).equals(snapped)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": 0.0}, "area must be a positive number"),
        ({"area": [1.0, math.nan]}, "area must be a positive number"),
        ({"radius": -1.0}, "radius must be a positive number, not -1.0"),
        ({"outlets": [[1, 2, 3]]}, "pairs of x and y"),
    ],
)
def test_what_cannot_be_snapped_is_refused(grid, drainage, options, message):
    with pytest.raises(ValueError, match=message):
        grid.snap(**{"outlets": [[1, 2], [3, 4]], "area": 5.0, "fdir": drainage, **options})
