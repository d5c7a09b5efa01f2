"""Layers of points: every point counts in one catchment at most."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasters import write_raster
from vectors import declared, prepared, write_vector

from snakeshed.delineation.outlines import outline
from snakeshed.errors import LayerError, SeveralProblems
from snakeshed.features.joint import joint_rules
from snakeshed.features.layer import Catchments, columns_of
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layer_types.points import PointLayer
from snakeshed.features.layers import type_of
from snakeshed.features.zonal import summarise
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import TerrainIndex

CRS = "EPSG:32611"
WEST, NORTH = 500_000, 4_000_000


@pytest.fixture(scope="module")
def terrain(tmp_path_factory) -> TerrainIndex:
    folder = tmp_path_factory.mktemp("terrain")
    return index_terrain([write_raster(folder / "dem.tif", np.ones((30, 40), np.float32))])


def entry_of(path, **keys) -> dict:
    return declared(path, "points", "basins", **keys)


def counts(layer, outlines) -> list[float]:
    return [row["basins_count"] for row, _ in summarise(layer, Catchments(outlines, CRS))]


@pytest.mark.parametrize(
    ("name", "crs"), [("a.gpkg", CRS), ("a.geojson", "EPSG:4326"), ("a.parquet", "EPSG:5070")]
)
def test_neighbors_share_no_point_and_lose_none(tmp_path, terrain, name, crs):
    """On outlines, too: half of the points lie on corners and sides of cells."""
    rng = np.random.default_rng(5)
    x, y = rng.integers(1, 40, 200) * 10.0, rng.integers(1, 30, 200) * 10.0
    x[::2] += rng.uniform(0, 10, 100)
    y[::3] -= rng.uniform(0, 10, 67)
    points = shapely.points(WEST + x, NORTH - y)
    layer, file = prepared(
        entry_of(write_vector(tmp_path / name, points, crs=crs)), terrain, tmp_path
    )
    assert file.features == 200
    labels = rng.integers(0, 3, (30, 40))
    row, column = -(NORTH // 10), WEST // 10
    outlines = [outline(labels == k, terrain.lattice, row, column) for k in range(3)]
    cell = np.floor(np.round(y / 10, 6)).astype(int), np.floor(np.round(x / 10, 6)).astype(int)
    expected = [float(np.count_nonzero(labels[cell] == k)) for k in range(3)]
    assert counts(layer, outlines) == expected
    assert sum(expected) == 200
    assert counts(layer, outlines[::-1]) == expected[::-1]


def test_no_point_is_0_and_there_is_no_coverage(tmp_path, terrain):
    shapes = [shapely.Point(WEST + 15, NORTH - 15)]
    shapes += [shapely.MultiPoint([(WEST + 25, NORTH - 5), (WEST + 26, NORTH - 5)]), None]
    shapes += [
        shapely.Point(WEST + 5, NORTH - 5, 100.0),
        shapely.box(WEST, NORTH - 9, WEST + 9, NORTH),
    ]
    path = write_vector(tmp_path / "a.gpkg", shapes)
    layer, file = prepared(entry_of(path), terrain, tmp_path)
    assert [column.name for column in columns_of(layer)] == ["basins_count"]
    near = shapely.box(WEST, NORTH - 100, WEST + 100, NORTH)
    far = shapely.box(WEST + 200, NORTH - 100, WEST + 300, NORTH)
    assert counts(layer, [near, far]) == [4.0, 0.0]
    assert file.warnings == (
        f"layer basins ({path}): features near the DEM that are no points, and left out: 1.",
    )


def test_polygons_are_refused(tmp_path, terrain):
    path = write_vector(tmp_path / "a.gpkg", [shapely.box(WEST, NORTH - 9, WEST + 9, NORTH)])
    with pytest.raises(LayerError) as told:
        index_layers([entry_of(path)], terrain)
    assert str(told.value) == (
        f"layer basins ({path}): found no points (Polygon); expected points. Name the file or the "
        "layer with the points; for polygons set type: polygons."
    )


def test_one_point_beside_the_dem(tmp_path, terrain):
    path = write_vector(tmp_path / "a.gpkg", [shapely.Point(WEST - 90_000, NORTH)])
    with pytest.raises(LayerError, match="beside all of the DEM"):
        index_layers([entry_of(path)], terrain)
    inside = write_vector(tmp_path / "b.gpkg", [shapely.Point(WEST + 5, NORTH - 5)])
    assert index_layers([entry_of(inside)], terrain)[0].features == 1


def test_points_have_no_value_elsewhere(tmp_path, terrain):
    path = write_vector(tmp_path / "a.gpkg", [shapely.Point(WEST + 5, NORTH - 5)])
    layer, _ = prepared(entry_of(path), terrain, tmp_path)
    with pytest.raises(LayerError) as told:
        layer.sampler(CRS)
    assert str(told.value) == (
        f"layer basins ({path}): found points; expected a raster or polygons, which have a value "
        "at every place. Use another layer here."
    )


@pytest.mark.parametrize("keys", [{"range": [0, 1]}, {"classes": ["inside"]}])
def test_joint_features_of_points_are_refused_with_the_configuration(keys):
    layer = PointLayer("basins", "a.gpkg")
    rule = {"name": "near", "layer": "basins", "slope_min_deg": 20.0, **keys}
    with pytest.raises(SeveralProblems) as told:
        joint_rules([rule], [layer])
    assert "basins" in str(told.value)


def test_keys_that_change_nothing_are_refused():
    entry = {"name": "basins", "type": "points", "path": "a.gpkg", "max_missing": 0.1}
    (told,) = type_of(entry).contradictions(entry)
    assert told == (
        "max_missing",
        "this key on points",
        "no such key: no place is missing",
        "Remove it.",
    )
