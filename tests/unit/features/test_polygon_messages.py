"""Files of polygons that cannot be used, and keys that contradict each other, are named."""

from __future__ import annotations

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from rasters import write_raster
from vectors import CRS, NORTH, WEST, box, declared, prepared, write_vector

from snakeshed.errors import LayerError, SeveralProblems
from snakeshed.features.layer import Catchments
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layers import type_of
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import TerrainIndex

RULES = {"text_up_to": ",", "text_split": " and "}


@pytest.fixture(scope="module")
def terrain(tmp_path_factory) -> TerrainIndex:
    folder = tmp_path_factory.mktemp("terrain")
    return index_terrain([write_raster(folder / "dem.tif", np.ones((100, 120), np.float32))])


def rock_file(folder) -> str:
    return write_vector(folder / "rock.gpkg", [box(0, 4, 2, 0)], kind=["Igneous"])


def refusal(entry: dict, terrain: TerrainIndex) -> str:
    """What is said of a layer, after its name and path."""
    with pytest.raises(LayerError) as told:
        index_layers([entry], terrain)
    where, said = str(told.value).split("): ", 1)
    assert where == f"layer rock ({entry['path']}"
    return said


def test_no_such_attribute(tmp_path, terrain):
    entry = declared(rock_file(tmp_path), attribute="Kinds")
    assert refusal(entry, terrain) == (
        "found no attribute 'Kinds'; expected one of 'kind'. Did you mean 'kind'? Correct the "
        "layer's attribute."
    )
    path = write_vector(tmp_path / "a.parquet", [box(0, 1, 1, 0)])
    assert refusal(declared(path, attribute="x"), terrain) == (
        "found no attribute 'x'; expected one of none: the file has no attributes. Correct "
        "the layer's attribute."
    )


def test_texts_where_numbers_are_expected(tmp_path, terrain):
    entry = declared(rock_file(tmp_path), attribute="kind", summary="number")
    assert refusal(entry, terrain) == (
        "found the attribute 'kind' of type string; expected numbers, since summary is number. "
        "Set summary: classes, or name an attribute of numbers."
    )


def test_numbers_that_stand_for_missing_data(tmp_path, terrain):
    shapes = [box(0, 4, 1, 0), box(1, 4, 2, 0)]
    path = write_vector(tmp_path / "a.gpkg", shapes, age=[-9999.0, 5.0])
    entry = declared(path, attribute="age", summary="number")
    assert refusal(entry, terrain) == (
        "found the attribute value -9999 in 1 of 2 polygons, which often stands for missing "
        "data; expected data, and a declared nodata value where there are none. Set the "
        "layer's nodata: -9999 if these polygons are missing, or its valid_range with the "
        "smallest and the largest value that is data."
    )
    layer, _ = prepared({**entry, "nodata": -9999.0}, terrain, tmp_path)
    (summary,) = layer.summarise(Catchments([box(0, 4, 2, 0)], CRS))
    assert summary.values == [5.0, 5.0, 5.0]
    assert summary.coverage == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("suffix", ["shp", "parquet", "gpkg"])
def test_no_crs(tmp_path, terrain, suffix):
    path = write_vector(tmp_path / f"a.{suffix}", [box(0, 1, 1, 0)], crs=None, kind=["a"])
    assert refusal(declared(path), terrain) == (
        "found no CRS; expected a file that says in which CRS it is. Set it in the file, for "
        "example with ogr2ogr -a_srs; a shapefile has it in its .prj."
    )


@pytest.mark.parametrize("suffix", ["gpkg", "parquet", "geojson"])
def test_no_polygons(tmp_path, terrain, suffix):
    points = [shapely.Point(WEST + 5, NORTH - 5), shapely.Point(WEST + 9, NORTH - 50)]
    path = write_vector(tmp_path / f"a.{suffix}", points)
    assert refusal(declared(path), terrain) == (
        "found no polygons (Point); expected polygons. Name the file or the layer with the "
        "polygons; for points set type: points."
    )


@pytest.mark.parametrize("suffix", ["gpkg", "parquet"])
def test_nothing_in_the_file(tmp_path, terrain, suffix):
    path = write_vector(tmp_path / f"a.{suffix}", [None], kind=["a"])
    assert refusal(declared(path), terrain) == (
        "found no geometry; expected a file of polygons. Check that this is the right file "
        "and layer."
    )


def test_a_raster(tmp_path, terrain):
    path = write_raster(tmp_path / "a.tif", np.ones((2, 2), np.uint8))
    assert refusal(declared(path), terrain) == (
        "found a raster (.tif); expected polygons in one of .parquet, .geoparquet, .gpkg, "
        ".geojson, .json, .fgb, .shp, .zip. Set the layer's type to numeric or classes, or "
        "name the file of the polygons."
    )
    assert refusal(declared("a.kml"), terrain).startswith("found the format .kml; expected ")
    assert refusal(declared("a.gpkg"), terrain) == (
        "found no such file; expected a file of polygons. Correct the path."
    )


@pytest.mark.parametrize("suffix", ["gpkg", "parquet"])
def test_beside_all_of_the_dem(tmp_path, terrain, suffix):
    path = write_vector(tmp_path / f"a.{suffix}", [box(900, 1, 901, 0)])
    assert refusal(declared(path), terrain) == (
        "found x from 590000 to 590100, y from 3999900 to 4000000, beside all of the DEM; "
        "expected some of x from 500000 to 501200, y from 3999000 to 4000000, where the DEM "
        "is in the file's CRS EPSG:32611. Name the file of the right place, or correct its "
        "CRS."
    )


def test_several_layers(tmp_path, terrain):
    path = tmp_path / "a.gpkg"
    write_vector(path, [box(0, 1, 1, 0)], sheet="one")
    write_vector(path, [box(0, 1, 1, 0)], sheet="two")
    expected = "expected one of the layers 'one', 'two'"
    assert refusal(declared(path), terrain) == (
        f"found 2 layers; {expected}. Name the layer in layers[rock].sheet."
    )
    assert refusal(declared(path, sheet="three"), terrain) == (
        f"found no layer 'three'; {expected}. Correct layers[rock].sheet."
    )
    (file,) = index_layers([declared(path, sheet="two")], terrain)
    assert file.described() == "1 polygons near the DEM, CRS EPSG:32611"


@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "geojson", "parquet", "zip"])
def test_a_file_that_cannot_be_read(tmp_path, terrain, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text("nothing of the kind")
    said = refusal(declared(path), terrain)
    assert said.startswith("found a file that cannot be read as ")
    assert said.endswith("Open it in the program that wrote it and save it again.")


def test_curves(tmp_path, terrain):
    path = write_vector(tmp_path / "a.parquet", [box(0, 1, 1, 0)])
    table = pq.read_table(path)
    corners = box(0, 1, 1, 0).exterior
    # A curve polygon, whose ring is a line string here.
    curved = bytes.fromhex("010a00000001000000") + shapely.LineString(corners).wkb
    geometry = pa.array([curved], pa.binary())
    pq.write_table(table.set_column(0, table.schema.field("geometry"), geometry), path)
    assert refusal(declared(path), terrain) == (
        "found curves or surfaces (WKB type 10); expected polygons with straight sides, or "
        "points. Convert them, for example with ogr2ogr -nlt CONVERT_TO_LINEAR."
    )


def test_geometry_in_another_encoding(tmp_path, terrain):
    frame = geopandas.GeoDataFrame(geometry=[box(0, 1, 1, 0)], crs=CRS)
    frame.to_parquet(tmp_path / "a.parquet", geometry_encoding="geoarrow")
    assert refusal(declared(tmp_path / "a.parquet"), terrain) == (
        "found geometry encoded as polygon; expected WKB. Write the file with this encoding, "
        "for example with GeoPandas."
    )


def test_a_file_prepared_for_another_dem(tmp_path, terrain):
    layer, _ = prepared(declared(rock_file(tmp_path)), terrain, tmp_path)
    with pytest.raises(LayerError) as told:
        layer.sampler("EPSG:32612")
    assert str(told.value).endswith(
        "found polygons that were prepared for the CRS WGS 84 / UTM zone 11N; expected the CRS "
        "of the catchments, EPSG:32612. Run the workflow again, without changing its results."
    )


def test_all_problems_of_all_layers_at_once(tmp_path, terrain):
    with pytest.raises(SeveralProblems) as told:
        index_layers([declared("a.gpkg"), declared("b.kml", name="fire")], terrain)
    assert len(told.value.problems) == 2


@pytest.mark.parametrize(
    ("keys", "key", "found"),
    [
        ({"summary": "number"}, "summary", "this key on polygons with no attribute"),
        ({"classes": {"a": "b"}}, "classes", "this key on polygons with no attribute"),
        ({"at_site": True}, "at_site", "this key on polygons with no attribute"),
        ({"max_missing": 0.5}, "max_missing", "this key on polygons with no attribute"),
        ({"attribute": "a", "unit": "m"}, "unit", "this key on polygons with summary: classes"),
        (
            {"attribute": "a", "summary": "number", "text_up_to": ","},
            "text_up_to",
            "this key on polygons with summary: number",
        ),
        (
            {"attribute": "a", "text_up_to": ",", "classes": {"a, b": "c"}},
            "classes",
            "the text 'a, b', of which text_up_to and text_split make 'a'",
        ),
        (
            {"attribute": "a", "text_split": " and ", "classes": {"a and b": "c"}},
            "classes",
            "the text 'a and b', of which text_up_to and text_split make 'a' and 'b'",
        ),
        ({"attribute": "a", "classes": {3: "c", "3": "d"}}, "classes", "the text '3' twice"),
        ({"path": "a.shp", "sheet": "b"}, "sheet", "'b' for a file in .shp"),
        (
            {"path": "https://example.org/a.gpkg"},
            "path",
            "the address https://example.org/a.gpkg",
        ),
    ],
)
def test_keys_that_contradict_each_other(keys, key, found):
    entry = {"name": "rock", "type": "polygons", "path": "a.gpkg", **keys}
    told = [problem[:2] for problem in type_of(entry).contradictions(entry)]
    assert (key, found) in told
    assert len(set(told)) == 1


def test_keys_that_agree():
    entry = {"name": "rock", "type": "polygons", "path": "a.gpkg", "attribute": "a", "sheet": "b"}
    entry |= {"classes": {"Igneous": "igneous"}, "at_site": True, "max_missing": 0.1, **RULES}
    assert not list(type_of(entry).contradictions(entry))
