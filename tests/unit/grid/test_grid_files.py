"""Reading and writing, which are pysheds' own, through the accelerated grid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from numba import config
from pysheds_terrain import assert_same_raster, raster
from rasters import write_raster

import snakeshed
from snakeshed.grid.pysheds_import import Grid as StockGrid
from snakeshed.grid.pysheds_import import Raster

Grid = snakeshed.Grid

needs_compilation = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="pysheds' own views need compilation"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    z = reference.jacksboro()[100:145, 50:105]
    return write_raster(tmp_path_factory.mktemp("files") / "dem.tif", z, nodata=-9999.0)


def test_the_package_has_the_grid_and_does_not_import_it_before_it_is_asked():
    code = """
import sys, snakeshed
assert {"Grid", "Raster", "ViewFinder"} < set(dir(snakeshed)), dir(snakeshed)
assert not {"numpy", "numba", "pysheds"} & set(sys.modules)
from snakeshed import Grid
assert Grid is snakeshed.Grid
assert Grid.__mro__[1].__module__ == "pysheds.sgrid"
assert not hasattr(snakeshed, "Drainage")
"""
    scripts = str(Path(__file__).parents[3] / "scripts")
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": scripts}, check=True)


def test_a_grid_is_made_from_a_file_or_a_raster(path):
    grid, stock = Grid.from_raster(path), StockGrid.from_raster(path)
    assert type(grid) is Grid
    assert grid.viewfinder == stock.viewfinder
    dem = grid.read_raster(path)
    assert_same_raster(dem, stock.read_raster(path))
    assert Grid.from_raster(dem).viewfinder == dem.viewfinder
    window = (500_100.0, 3_999_700.0, 500_200.0, 3_999_900.0)
    assert_same_raster(
        grid.read_raster(path, window=window, window_crs=grid.crs),
        stock.read_raster(path, window=window, window_crs=stock.crs),
    )


def test_rasters_are_written_and_read_again(path, tmp_path):
    grid = Grid.from_raster(path)
    fdir = grid.route(grid.read_raster(path)).flowdir(nodata_out=0)
    file = str(tmp_path / "fdir.tif")
    grid.to_raster(fdir, file, dtype=np.int16, nodata=np.int16(0), blockxsize=16, blockysize=16)
    assert np.array_equal(grid.read_raster(file), fdir)


def test_integers_written_as_floats_are_read(tmp_path):
    numbers = raster(np.array([[1, 128], [64, 255]]), nodata=255, width=10.0, height=10.0)
    grid = Grid(viewfinder=numbers.viewfinder)
    file = str(tmp_path / "numbers.asc")
    grid.to_ascii(numbers, file, dtype=np.float64)
    found = grid.read_ascii(file, dtype=np.uint8)
    assert (found.dtype, found.nodata, found.nodata.dtype) == (np.uint8, 255, np.uint8)
    assert np.array_equal(found, numbers)
    assert found.affine == numbers.affine
    assert Grid.from_ascii(file, dtype=np.uint8).viewfinder == found.viewfinder
    grid.to_ascii(numbers, file, dtype=np.int64)
    assert_same_raster(
        grid.read_ascii(file, dtype=np.uint8), StockGrid().read_ascii(file, dtype=np.uint8)
    )


@pytest.mark.parametrize("value", ["0.5", "300", "x"])
def test_what_is_no_integer_is_not_read_as_one(tmp_path, value):
    file = tmp_path / "numbers.asc"
    header = "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\nNODATA_value 0\n"
    file.write_text(header + f"1.0 {value}\n2.0 3.0\n")
    with pytest.raises(ValueError, match="could not convert string"):
        Grid().read_ascii(str(file), dtype=np.uint8)
    if value != "x":
        assert Grid().read_ascii(str(file))[0, 1] == float(value)


@needs_compilation
def test_a_mask_hides_what_is_outside(path):
    """The flow inside of a catchment, computed again inside of it alone."""
    grid = Grid.from_raster(path)
    dem = grid.read_raster(path)
    fdir = grid.flowdir(grid.resolve_flats(grid.fill_depressions(dem)))
    catchment = grid.catchment(20, 20, fdir, xytype="index")
    grid.clip_to(catchment)
    assert grid.shape < dem.shape
    seen = grid.view(fdir)
    assert seen.shape == grid.shape
    assert (np.asarray(seen)[~grid.mask] == fdir.nodata).all()
    assert grid.accumulation(fdir).max() == catchment.sum()
    shapes = list(grid.polygonize())
    burnt = grid.rasterize([shapes[0]], dtype=np.uint8)
    assert np.array_equal(np.asarray(burnt) == 1, np.asarray(grid.mask) == bool(shapes[0][1]))


def test_a_class_of_ones_own_may_be_made_of_the_grid(path):
    class Gauged(Grid):
        def outlets(self, fdir: Raster) -> np.ndarray:
            return np.argwhere(np.asarray(fdir) < 0)

    grid = Gauged.from_raster(path)
    assert type(grid) is Gauged
    fdir = grid.route(grid.read_raster(path)).flowdir()
    assert len(grid.outlets(fdir)) == 10
