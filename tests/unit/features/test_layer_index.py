"""Layers that cannot be summarised are known before any shard starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasters import write_raster

from snakeshed.errors import LayerError, SeveralProblems
from snakeshed.features.layer_index import index_layers, to_json
from snakeshed.features.raster_layer import RasterFile
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import TerrainIndex

Z = np.ones((30, 40), np.float32)


@pytest.fixture
def terrain(tmp_path) -> TerrainIndex:
    return index_terrain([write_raster(tmp_path / "dem.tif", Z)])


def declared(path: object, name: str = "kf") -> dict:
    return {"name": name, "type": "numeric", "path": str(path)}


def refusal(path: object, terrain: TerrainIndex) -> str:
    """What is said of a layer, after its name and path."""
    with pytest.raises(LayerError) as told:
        index_layers([declared(path)], terrain)
    where, said = str(told.value).split(": ", 1)
    assert where == f"layer kf ({path})"
    return said


def test_what_a_layer_says_of_itself(tmp_path, terrain):
    path = write_raster(tmp_path / "kf.tif", np.zeros((6, 8), np.int16), dx=50.0, nodata=-9)
    (file,) = files = index_layers([declared(path)], terrain)
    extent = (500_000.0, 3_999_700.0, 500_400.0, 4_000_000.0)
    assert file == RasterFile("kf", path, "EPSG:32611", extent, 6, 8, "int16", "-9.0")
    assert json.loads(to_json(files))[0]["nodata"] == "-9.0"


def test_no_layers(terrain):
    assert index_layers([], terrain) == []
    assert to_json([]) == "[]"


@pytest.mark.parametrize(
    "options",
    [
        {"nodata": np.nan},
        {"transform": Affine(10, 0, 500_000, 0, 10, 3_999_700)},
        {"crs": "EPSG:4326", "left": -117.01, "top": 36.15, "dx": 0.001},
        {"crs": "EPSG:5070", "left": -1_900_000, "top": 1_800_000, "dx": 10_000.0},
        {"left": 500_399.0},
    ],
    ids=["NaN", "south-up", "geographic", "Albers", "one cell"],
)
def test_layers_that_can_be_used(tmp_path, terrain, options):
    (file,) = index_layers([declared(write_raster(tmp_path / "a.tif", Z, **options))], terrain)
    json.loads(to_json([file]), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_all_problems_of_all_layers_are_told_at_once(tmp_path, terrain):
    write_raster(tmp_path / "good.tif", Z)
    (tmp_path / "text.tif").write_text("none")
    write_raster(tmp_path / "bands.tif", np.stack([Z, Z]), crs=None)
    write_raster(tmp_path / "far.tif", Z, left=900_000.0)
    names = ["good", "text", "bands", "far", "missing"]
    with pytest.raises(SeveralProblems) as told:
        index_layers([declared(tmp_path / f"{name}.tif", name) for name in names], terrain)
    found = [(p.where.split()[1], p.found.split(" (")[0]) for p in told.value.problems]
    assert found == [
        ("text", "a file that cannot be opened"),
        ("bands", "2 bands"),
        ("bands", "no CRS"),
        ("far", "x from 900000 to 900400, y from 3999700 to 4000000, beside all of the DEM"),
        ("missing", "a file that cannot be opened"),
    ]


def test_a_truncated_layer(tmp_path, terrain):
    path = Path(write_raster(tmp_path / "a.tif", Z))
    path.write_bytes(path.read_bytes()[:-100])
    said = refusal(path, terrain)
    size = path.stat().st_size
    assert said.startswith(f"found {size:,} bytes of at least ")
    assert said.endswith("It was truncated or partly downloaded: fetch it again.")


def test_a_rotated_layer(tmp_path, terrain):
    path = write_raster(tmp_path / "a.tif", Z, transform=Affine(10, 1, 500_000, 1, -10, 4_000_000))
    assert refusal(path, terrain) == (
        "found rotated cells; expected rows and columns along the axes of its CRS. Rectify it with "
        "gdalwarp."
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"crs": "EPSG:4326"}, "in the geographic CRS EPSG:4326; expected longitudes and latit"),
        (
            {"left": -117.01, "top": 36.15, "dx": 0.001},
            "in the projected CRS EPSG:32611; expected coordinates in the unit of the CRS, not in",
        ),
    ],
)
def test_a_crs_that_contradicts_the_coordinates(tmp_path, terrain, options, found):
    assert found in refusal(write_raster(tmp_path / "a.tif", Z, **options), terrain)


def test_numbers_that_are_no_numbers(tmp_path, terrain):
    path = write_raster(tmp_path / "a.tif", Z.astype(np.complex64))
    assert refusal(path, terrain).startswith("found numbers of type complex64; expected integers")


def test_a_layer_of_another_place_is_named_with_both_extents(tmp_path, terrain):
    path = write_raster(tmp_path / "a.tif", Z, crs="EPSG:4326", left=117.0, top=36.2, dx=0.01)
    assert refusal(path, terrain) == (
        "found x from 117 to 117.4, y from 35.9 to 36.2, beside all of the DEM; expected some of x "
        "from -117 to -116.9955537, y from 36.1420133 to 36.1447181, where the DEM is in the "
        "layer's CRS EPSG:4326. Name the raster of the right place, or correct its CRS with "
        "gdal_edit.py -a_srs."
    )


def test_a_layer_that_lies_between_the_tiles_is_beside_the_dem(tmp_path):
    paths = [write_raster(tmp_path / f"{k}.tif", Z, left=500_000.0 + k * 4000) for k in (0, 1)]
    terrain = index_terrain(paths)
    between = write_raster(tmp_path / "a.tif", Z, left=502_000.0)
    assert "beside all of the DEM" in refusal(between, terrain)
    assert index_layers([declared(paths[1])], terrain)


def test_the_extent_counts_where_the_terrain_is_resampled(tmp_path):
    path = write_raster(tmp_path / "dem.tif", Z)
    terrain = index_terrain([path], target_crs="EPSG:5070", resolution=30.0)
    assert index_layers([declared(path)], terrain)


def test_a_layer_of_another_planet(tmp_path, terrain):
    mars = (
        'GEOGCRS["Mars (2015) - Sphere",DATUM["Mars (2015) - Sphere",ELLIPSOID["Mars (2015) - '
        'Sphere",3396190,0,LENGTHUNIT["metre",1]]],PRIMEM["Reference Meridian",0,ANGLEUNIT["degree"'
        ',0.0174532925199433]],CS[ellipsoidal,2],AXIS["latitude",north,ANGLEUNIT["degree",'
        '0.0174532925199433]],AXIS["longitude",east,ANGLEUNIT["degree",0.0174532925199433]]]'
    )
    vrt = tmp_path / "mars.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="4" rasterYSize="4"><SRS>{mars.replace(chr(34), "&quot;")}</SRS>'
        "<GeoTransform>-117, 0.01, 0, 36.2, 0, -0.01</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"/></VRTDataset>'
    )
    assert "a CRS without a way to it from that of the catchments" in refusal(vrt, terrain)


def test_class_codes_stored_as_floats_are_no_problem_of_the_header(tmp_path, terrain):
    path = write_raster(tmp_path / "a.tif", np.float64([[1, 2], [3, 4]]))
    layer = declared(path) | {"type": "classes", "classes": {1: "one"}}
    assert index_layers([layer], terrain)[0].dtype == "float64"


def test_a_raster_whose_coordinates_would_fill_the_memory(tmp_path, terrain):
    vrt = tmp_path / "wide.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="2147483647" rasterYSize="1"><SRS>EPSG:32611</SRS>'
        "<GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    )
    assert rasterio.open(vrt).width == 2_147_483_647
    assert refusal(vrt, terrain).startswith("found 1 rows and 2,147,483,647 columns; expected at")


# ---- a look at the cells -----------------------------------------------------------------------


def test_a_number_that_stands_for_missing_data_is_found_before_any_shard(tmp_path, terrain):
    values = np.full((30, 40), 13, np.int16)
    values[20:, 30:] = -9999
    path = write_raster(tmp_path / "kf.tif", values)
    assert refusal(path, terrain) == (
        "found the cell value -9999 in 100 of 1,200 cells, which often stands for missing data; "
        "expected data, and a declared nodata value where there are none. Set the layer's nodata: "
        "-9999 if these cells are missing, or its valid_range with the smallest and the largest "
        "value that is data."
    )
    for keys in ({"nodata": -9999.0}, {"nodata": [-1.0, -9999.0]}, {"valid_range": [0.0, 1e3]}):
        (file,) = index_layers([declared(path) | keys], terrain)
        assert file.warnings == ()


def test_a_large_layer_is_looked_at_under_the_dem_in_squares(tmp_path, terrain):
    # The DEM covers 300 m x 400 m of it; what lies elsewhere is not this study's business.
    values = np.ones((3000, 4000), np.uint8)
    values[:, 3500:] = 255
    path = write_raster(tmp_path / "kf.tif", values, dx=0.1)
    assert "found the cell value 255 in " in refusal(path, terrain)
    path = write_raster(tmp_path / "kf.tif", values, dx=1.0, compress="deflate")
    assert index_layers([declared(path)], terrain)


def test_the_only_negative_value_is_suspicious(tmp_path, terrain):
    values = np.full((30, 40), 0.25, np.float32)
    values[:6] = -0.1
    values[7] = 0.4
    path = write_raster(tmp_path / "kf.tif", values)
    (file,) = index_layers([declared(path)], terrain)
    assert file.warnings == (
        f"layer kf ({path}): -0.1 is the only negative value, in 0.2 of the cells that were looked "
        "at. If it stands for missing data, set the layer's nodata: -0.1; if not, set its "
        "valid_range.",
    )
    for keys in ({"nodata": -0.1}, {"valid_range": [-1.0, 1.0]}):
        (file,) = index_layers([declared(path) | keys], terrain)
        assert file.warnings == ()
    values[8, 8] = -0.2
    path = write_raster(tmp_path / "kf.tif", values)
    assert index_layers([declared(path)], terrain)[0].warnings == ()


@pytest.mark.parametrize(
    ("value", "found"), [(1.5, "the cell value 1.5"), (2.0**53, "the code 9007199254740992")]
)
def test_a_number_that_is_no_code_is_found_before_any_shard(tmp_path, terrain, value, found):
    path = write_raster(tmp_path / "a.tif", np.float64([[1, 2, value]]))
    assert index_layers([declared(path) | {"type": "numeric"}], terrain)
    for kind in ("classes", "fbfm40"):
        with pytest.raises(LayerError, match=f"^layer kf .*: found {found}; expected"):
            index_layers([declared(path) | {"type": kind}], terrain)


def test_a_scale_in_the_file_and_in_the_configuration(tmp_path, terrain):
    path = write_raster(tmp_path / "kf.tif", np.full((30, 40), 6000, np.int16), scale=1e-4)
    (file,) = index_layers([declared(path) | {"scale": 1e-4}], terrain)
    assert file.warnings == (
        f"layer kf ({path}): the file has a scale of 0.0001 and the configuration one of 0.0001; "
        "cells are multiplied by both. Remove the layer's scale if the file's is enough.",
    )
    assert index_layers([declared(path) | {"scale": 1.0}], terrain)[0].warnings == ()


def test_a_layer_with_damaged_cells_is_found(tmp_path, terrain):
    values = np.random.default_rng(0).integers(0, 9, (64, 64))
    path = write_raster(
        tmp_path / "a.tif", values, tiled=True, blockxsize=16, blockysize=16, compress="deflate"
    )
    with open(path, "r+b") as file:
        file.seek(-3000, 2)
        file.write(b"\xff" * 100)
    said = refusal(path, terrain)
    assert said.startswith("found a file that cannot be read (")
    assert said.endswith("It is damaged: fetch it again, or check it with gdalinfo.")


def test_a_constant_has_no_file(terrain):
    assert index_layers([{"name": "rain", "type": "numeric", "path": None}], terrain) == []


def test_a_layer_a_full_turn_away_is_in_its_place(tmp_path):
    terrain = index_terrain(
        [write_raster(tmp_path / "d.tif", Z, crs="EPSG:4326", left=179.9, top=10.0, dx=0.01)]
    )
    layer = write_raster(tmp_path / "l.tif", Z, crs="EPSG:4326", left=-180.5, top=10.0, dx=0.02)
    assert index_layers([declared(layer)], terrain)
