"""Rasters for the comparison of the two grids, ours and that of pysheds."""

from __future__ import annotations

import numpy as np
from affine import Affine

from snakeshed.grid.grid import Grid
from snakeshed.grid.pysheds_import import Grid as StockGrid
from snakeshed.grid.pysheds_import import Raster, ViewFinder


def raster(
    z: np.ndarray, nodata: float = np.nan, width: float = 10.0, height: float = 12.0
) -> Raster:
    affine = Affine(width, 0.0, 500.0, 0.0, -height, 900.0)
    nodata = z.dtype.type(nodata)
    return Raster(z, ViewFinder(affine=affine, shape=z.shape, nodata=nodata))


def grids(dem: Raster) -> tuple[Grid, StockGrid]:
    return Grid(viewfinder=dem.viewfinder), StockGrid(viewfinder=dem.viewfinder)


def assert_same_raster(ours: Raster, stock: Raster) -> None:
    assert type(ours) is type(stock)
    assert ours.dtype == stock.dtype
    assert np.array_equal(ours, stock, equal_nan=ours.dtype.kind == "f")
    assert ours.viewfinder == stock.viewfinder
    assert ours.metadata == stock.metadata
