"""The worked example of ArcGIS: a DEM of six by six cells, its flow directions and accumulation.

Elevations and directions are those of Esri's documentation ("How Flow Direction works", Spatial
Analyst, https://pro.arcgis.com/en/pro-app/latest/tool-reference/spatial-analyst/
how-flow-direction-works.htm). The accumulation is what the R package terra publishes for them
(inst/tinytest/test_flowAccumulation.R, https://github.com/rspatial/terra). The method is that of
Jenson and Domingue (1988), Photogrammetric Engineering and Remote Sensing 54 (11), 1593-1600.
"""

from __future__ import annotations

import numpy as np
import pytest
from pysheds_terrain import grids, raster

ELEVATIONS = [
    [78, 72, 69, 71, 58, 49],
    [74, 67, 56, 49, 46, 50],
    [69, 53, 44, 37, 38, 48],
    [64, 58, 55, 22, 31, 24],
    [68, 61, 47, 21, 16, 19],
    [74, 53, 34, 12, 11, 12],
]
DIRECTIONS = [
    [2, 2, 2, 4, 4, 8],
    [2, 2, 2, 4, 4, 8],
    [1, 1, 2, 4, 8, 4],
    [128, 128, 1, 2, 4, 8],
    [2, 2, 1, 4, 4, 4],
    [1, 1, 1, 1, 4, 16],
]
# Cells that drain through each cell, itself included.
ACCUMULATION = [
    [1, 1, 1, 1, 1, 1],
    [1, 2, 2, 3, 3, 1],
    [1, 4, 8, 6, 5, 1],
    [1, 1, 1, 21, 1, 2],
    [1, 1, 1, 2, 25, 1],
    [1, 3, 5, 8, 36, 2],
]
# The lowest cell, in the bottom row. Its water leaves the map: to the south in Esri's example,
# without a direction in terra and here.
OUTLET = (5, 4)
LEAVES = -2


@pytest.fixture(params=["float32", "float64", "int16"])
def dem(request):
    return raster(
        np.array(ELEVATIONS, dtype=request.param),
        nodata=-1 if request.param == "int16" else np.nan,
        width=1.0,
        height=1.0,
    )


def assert_published(directions, accumulation) -> None:
    expected = np.array(DIRECTIONS)
    assert expected[OUTLET] == 4
    expected[OUTLET] = LEAVES
    assert np.asarray(directions).tolist() == expected.tolist()
    assert np.asarray(accumulation).tolist() == ACCUMULATION


@pytest.mark.parametrize("conditioning", ["fill", "carve"])
@pytest.mark.parametrize("threads", [1, 2])
def test_route_gives_the_published_directions_and_counts(dem, conditioning, threads):
    ours, _ = grids(dem)
    drainage = ours.route(dem, conditioning=conditioning, threads=threads)
    assert_published(drainage.flowdir(), drainage.accumulation())


def test_the_methods_of_pysheds_give_the_published_directions_and_counts(dem):
    ours, _ = grids(dem)
    directions = ours.flowdir(ours.resolve_flats(ours.fill_depressions(dem)))
    assert_published(directions, ours.accumulation(directions))


def test_the_catchment_of_each_cell_has_its_published_size(dem):
    ours, _ = grids(dem)
    drainage = ours.route(dem)
    rows, columns = np.indices(dem.shape)
    cells = ((rows + 1) * (dem.shape[1] + 2) + columns + 1).ravel()
    sizes = [catchment.size for catchment in drainage.catchments(cells)]
    assert sizes == np.ravel(ACCUMULATION).tolist()
