"""Layers of polygons: exact shares, the same for every order and number of catchments."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from urllib.parse import unquote

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from rasters import write_raster
from vectors import CRS, NORTH, WEST, box, declared, prepared, write_vector

from snakeshed.features.form_and_relief import CatchmentCells
from snakeshed.features.joint import joint_rules
from snakeshed.features.joint_cells import joint_features
from snakeshed.features.label_rule import LabelRule
from snakeshed.features.layer import Catchments, columns_of
from snakeshed.features.layers import type_of
from snakeshed.features.prepared_polygons import (
    Polygons,
    PreparedPolygons,
    polygons_of,
    write_polygons,
)
from snakeshed.features.zonal import summarise
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex

RULES = {"text_up_to": ",", "text_split": " and "}
LABELS = {"Igneous": "igneous", "Sedimentary": "sedimentary", "Water": "sedimentary"}


@pytest.fixture(scope="module")
def terrain(tmp_path_factory) -> TerrainIndex:
    folder = tmp_path_factory.mktemp("terrain")
    return index_terrain([write_raster(folder / "dem.tif", np.ones((100, 120), np.float32))])


def values(layer, outlines, sites=None) -> list[dict]:
    sites = sites or [(0.0, 0.0)] * len(outlines)
    catchments = Catchments(outlines, CRS, [1.0] * len(outlines), sites)
    return [row for row, _ in summarise(layer, catchments)]


# A catchment of 16 squares: 8 are Igneous, 2 are half Metamorphic and half Sedimentary, 2 Water,
# 1 without a text, and 3 beside all polygons.
ROCKS = {
    "Igneous, volcanic": box(0, 4, 2, 0),
    "Metamorphic and Sedimentary, undifferentiated": box(2, 2, 4, 1),
    "Water": box(2, 3, 3, 1.999).intersection(box(2, 3, 4, 2)),
    None: box(3, 3, 4, 2),
}


def rock_file(folder, crs=CRS) -> str:
    shapes = [*ROCKS.values(), box(2, 4, 3, 3)]
    return write_vector(folder / "rock.gpkg", shapes, crs=crs, kind=[*ROCKS, "Water"])


def test_squares_counted_by_hand(tmp_path, terrain):
    entry = declared(rock_file(tmp_path), attribute="kind", classes=LABELS, **RULES)
    layer, file = prepared(entry, terrain, tmp_path)
    (row,) = values(layer, [box(0, 4, 4, 0)])
    assert row == {
        "rock_dominant": "igneous",
        "rock_share_igneous": pytest.approx(8 / 12, abs=1e-6),
        "rock_share_sedimentary": pytest.approx(3 / 12, abs=1e-6),
        "rock_share_unlabelled": pytest.approx(1 / 12, abs=1e-6),
        "rock_codes": "Igneous=0.666667;Metamorphic=0.0833333;Sedimentary=0.0833333;Water=0.166667",
        "rock_coverage": pytest.approx(12 / 16, abs=1e-6),
    }
    shares = [value for name, value in row.items() if "_share_" in name]
    assert math.fsum(shares) == pytest.approx(1.0, abs=1e-8)
    assert file.features == 4
    assert file.warnings == (
        f"layer rock ({entry['path']}): features near the DEM that are without a value of the "
        "attribute, and count as missing: 1.",
    )
    assert layer.undeclared({"rock_codes": [row["rock_codes"], None]}) == {"Metamorphic": 1}


def test_a_catchment_without_any_polygon_has_no_values(tmp_path, terrain):
    entry = declared(rock_file(tmp_path), attribute="kind", classes=LABELS, max_missing=0.2)
    layer, _ = prepared(entry, terrain, tmp_path)
    beside, too_little = values(layer, [box(5, 6, 6, 5), box(0, 4, 4, 0)])
    assert set(beside) == {column.name for column in columns_of(layer)}
    assert beside.pop("rock_coverage") == 0.0
    assert too_little.pop("rock_coverage") == pytest.approx(12 / 16, abs=1e-6)
    assert {*beside.values(), *too_little.values()} == {None}


def test_numbers_by_area_with_their_extremes_and_that_of_the_site(tmp_path, terrain):
    shapes = [box(0, 4, 3, 0), box(3, 4, 4, 0), box(4, 4, 9, 0)]
    path = write_vector(tmp_path / "age.fgb", shapes, age=[10.0, 50.0, 900.0])
    entry = declared(path, attribute="age", summary="number", unit="ma", at_site=True)
    layer, _ = prepared(entry, terrain, tmp_path)
    inside, at_the_side = (WEST + 350.0, NORTH - 50.0), (WEST + 300.0, NORTH - 50.0)
    rows = values(layer, [box(0, 4, 4, 0)] * 3, [inside, at_the_side, (WEST - 9.0, NORTH)])
    for row in rows:
        assert row["rock_mean_ma"] == pytest.approx(20.0, abs=1e-5)
        # The third polygon only touches the catchment.
        assert (row["rock_min_ma"], row["rock_max_ma"]) == (10.0, 50.0)
    assert [row["rock_at_site_ma"] for row in rows] == [50.0, 10.0, None]


def test_presence_is_a_share_and_never_missing(tmp_path, terrain):
    shapes = [box(0, 4, 2, 0), box(1, 4, 3, 0)]
    path = write_vector(tmp_path / "fire.geojson", shapes, crs="EPSG:4326")
    layer, _ = prepared(declared(path, name="fire"), terrain, tmp_path)
    rows = values(layer, [box(0, 4, 4, 0), box(5, 6, 6, 5), box(1, 2, 2, 1)])
    assert rows == [
        {"fire_share": pytest.approx(0.75, abs=1e-6)},
        {"fire_share": 0.0},
        {"fire_share": 1.0},
    ]


def test_where_polygons_overlap_the_first_in_the_file_counts(tmp_path, terrain):
    # In a GeoPackage, an index of places finds the second one first.
    shapes = [box(1, 4, 3, 0), box(0, 4, 2, 0), box(2.5, 4, 4, 0)]
    path = write_vector(tmp_path / "a.gpkg", shapes, kind=["b", "a", "c"])
    layer, _ = prepared(declared(path, attribute="kind"), terrain, tmp_path)
    summaries = list(layer.summarise(Catchments([box(0, 4, 4, 0), box(0, 4, 1, 0)], CRS)))
    assert summaries[0].values[-1] == "a=0.25;b=0.5;c=0.25"
    assert summaries[0].remark == (
        "polygons of layer rock overlap in 0.375 of the catchment, where the first in the file "
        "counts"
    )
    assert summaries[1].remark is None
    assert summaries[1].values[-1] == "a=1"


@pytest.mark.parametrize(
    ("rule", "text", "codes"),
    [
        (LabelRule(), "Igneous, volcanic", ("Igneous, volcanic",)),
        (LabelRule(","), "Igneous, volcanic", ("Igneous",)),
        (LabelRule(","), "Water", ("Water",)),
        (LabelRule(",", " and "), "Metamorphic and Sedimentary, x", ("Metamorphic", "Sedimentary")),
        (LabelRule(",", " and "), "Igneous, a and b", ("Igneous",)),
        (LabelRule(None, "/"), " a/b / c/", ("a", "b", "c")),
        (LabelRule(","), ", volcanic", (", volcanic",)),
    ],
)
def test_codes_of_texts(rule, text, codes):
    assert rule.codes(text) == codes


# Coordinates in hundreds of meters, in and around a DEM of 12 by 10.
corners = st.tuples(st.integers(-2, 14), st.integers(-2, 12))


@st.composite
def polygons(draw) -> shapely.Polygon:
    """Any triangle or quadrangle, also one that crosses itself, perhaps with a hole."""
    ring = draw(st.lists(corners, min_size=3, max_size=4, unique=True))
    points = [(WEST + 100 * x, NORTH - 100 * y) for x, y in ring]
    shape = shapely.Polygon(points)
    if shape.is_valid and draw(st.booleans()):
        middle = shape.centroid
        hole = [(middle.x + (x - middle.x) / 3, middle.y + (y - middle.y) / 3) for x, y in points]
        holed = shapely.Polygon(points, [hole])
        shape = holed if holed.is_valid else shape
    return shape


# The hole is an island of what the first polygon leaves to the others.
HOLED = box(0, 1, 1, 0).difference(box(0.4, 0.6, 0.6, 0.4))
# One of its sides crosses a catchment of 10 m by 10 m.
ACROSS = shapely.Polygon([(WEST + 100 * x, NORTH - 100 * y) for x, y in [(0, 0), (1, 12), (7, 3)]])
# Sides in another CRS are divided every 100 m (here every 50 m), and straight in between. In
# degrees, at this latitude, they are off by up to 0.16 mm.
SIDES_M = 2e-4


@examples(25)
@example(shapes=[HOLED], crs="EPSG:4326")
@example(shapes=[ACROSS], crs="EPSG:4326")
@given(
    shapes=st.lists(polygons(), min_size=1, max_size=6),
    crs=st.sampled_from([CRS, "EPSG:4326", "EPSG:5070"]),
)
def test_a_plain_loop_over_all_polygons_finds_the_same(tmp_path_factory, terrain, shapes, crs):
    folder = tmp_path_factory.mktemp("loop")
    file = box(-2, 12, 14, -2), *shapes
    texts = [f"{number:02}" for number in range(len(file))]
    # The last one is around all others, so that the file is never beside the DEM.
    path = write_vector(folder / "a.fgb", [*file[1:], file[0]], crs=crs, kind=texts)
    layer, _ = prepared(declared(path, attribute="kind"), terrain, folder)
    outlines = [box(1, 9, 8, 2), box(0, 10, 12, 0), box(3, 4, 4, 3), box(5, 6, 5.1, 5.9)]
    outlines.append(outlines[0].difference(box(2, 5, 6, 3)))
    expected = [brute_force(outline, path, crs) for outline in outlines]
    for outline, row, shares in zip(outlines, values(layer, outlines), expected, strict=True):
        near = 2e-6 + SIDES_M * outline.length / outline.area
        assert row["rock_coverage"] == 1.0
        found = dict(entry.split("=") for entry in row["rock_codes"].split(";"))
        for text in texts:
            assert float(found.get(text, 0)) == pytest.approx(shares.get(text, 0), abs=near)
    alone = [values(layer, [outline])[0] for outline in reversed(outlines)]
    assert alone[::-1] == values(layer, outlines)


# Beside each other, in each other, and on each other.
NESTED = [box(0, 4, 4, 0), box(1, 3, 2, 2), box(4, 4, 8, 0), box(9, 4, 12, 0), box(9, 4, 12, 0)]


@examples(200)
@example(shapes=NESTED)
@given(shapes=st.lists(polygons(), min_size=2, max_size=8))
def test_of_two_polygons_that_overlap_at_least_one_says_so(tmp_path_factory, shapes):
    shapes = shapely.make_valid(np.array(shapes), method="structure", keep_collapsed=False)
    shapes = shapes[shapely.area(shapes) > 0]
    path = tmp_path_factory.mktemp("pairs") / "a.parquet"
    write_polygons(Polygons(shapes, None), str(path), CRS, texts=False)
    written = PreparedPolygons(str(path), CRS, "a")
    for k, one in enumerate(shapes):
        for m, other in enumerate(shapes[:k]):
            if shapely.area(shapely.intersection(one, other)) > 1e-6:
                assert written.may_overlap(np.array([m, k]))
            elif len(shapes) == 2 and one.disjoint(other):
                assert not written.may_overlap(np.array([m, k]))


def test_a_map_whose_polygons_share_their_sides_is_not_searched_for_overlaps(tmp_path, terrain):
    tiles = [box(x, y + 1, x + 1, y) for x in range(4) for y in range(4)]
    path = write_vector(tmp_path / "a.gpkg", tiles, kind=[str(k) for k in range(16)])
    layer, _ = prepared(declared(path, attribute="kind"), terrain, tmp_path)
    written = PreparedPolygons(layer.prepared, CRS, "rock")
    assert not written.may_overlap(np.arange(16))
    assert written.may_overlap(np.arange(0)) is False


def brute_force(outline: shapely.Geometry, path: str, crs: str) -> dict[str, float]:
    frame = geopandas.read_file(path)
    there = Transformer.from_crs(crs, CRS, always_xy=True)
    back = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    step = 0.0005 if crs == "EPSG:4326" else 50

    def moved(shape, way):
        return shapely.transform(shape, lambda xy: np.column_stack(way.transform(*xy.T)))

    def area(shape):
        fine = moved(shapely.segmentize(shape, 200), back)
        parts = shapely.get_parts(shapely.get_parts(fine))
        polygons = [part for part in parts if part.geom_type == "Polygon"]
        shells = [ring_area(part.exterior) for part in polygons]
        return sum(shells) - sum(ring_area(hole) for part in polygons for hole in part.interiors)

    def ring_area(ring):
        return abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.Polygon(ring))[0])

    left, areas = outline, {}
    for text, shape in zip(frame["kind"], frame.geometry, strict=True):
        valid = shapely.make_valid(shape, method="structure", keep_collapsed=False)
        own = shapely.make_valid(moved(shapely.segmentize(valid, step), there))
        own = polygons_of(np.array([own]))[0]
        areas[text] = area(left.intersection(own))
        left = polygons_of(np.array([left.difference(own)]))[0]
    return {text: part / area(outline) for text, part in areas.items()}


def test_the_area_of_a_catchment_is_that_of_its_cells(tmp_path, terrain):
    from snakeshed.features.polygon_cover import cover_of

    layer, _ = prepared(declared(rock_file(tmp_path), attribute="kind"), terrain, tmp_path)
    polygons_of_file = PreparedPolygons(layer.prepared, CRS, "rock")
    cover = cover_of(box(1, 9, 8, 2), polygons_of_file, CRS)
    sizes = terrain.lattice.cells(-400_000 + 20, 50_010, 70, 70)
    cells = sum(terrain.lattice.cell_at(-400_000 + 20 + k, 50_045).area_m2 for k in range(70)) * 70
    assert sizes.area_m2.shape[0] == 70
    assert cover.area_km2 == pytest.approx(cells / 1e6, rel=1e-6)


def test_points_have_the_polygon_that_is_first_in_the_file(tmp_path, terrain):
    shapes = [box(1, 4, 3, 0), box(0, 4, 2, 0)]
    texts = ["Igneous and Water", "Igneous"]
    path = write_vector(tmp_path / "a.parquet", shapes, crs="EPSG:4269", kind=texts)
    entry = declared(path, attribute="kind", classes=LABELS, **RULES)
    layer, _ = prepared(entry, terrain, tmp_path)
    x, y = (
        each.ravel()
        for each in np.meshgrid(
            WEST + 5 + 10.0 * np.arange(-3, 45), NORTH - 5 - 10.0 * np.arange(-3, 50)
        )
    )
    found = layer.sampler(CRS).values(x, y)
    names = np.array([layer.names().get(code, "") for code in found])
    inside = (y < NORTH) & (y > NORTH - 400)
    expected = np.where(inside & (x > WEST) & (x < WEST + 200), "igneous", "").astype(object)
    expected[inside & (x > WEST + 100) & (x < WEST + 300)] = "igneous and sedimentary"
    assert names.tolist() == expected.tolist()
    shares = {layer.names()[code]: part for code, part in layer.codes_of(["igneous"]).items()}
    assert shares == {"igneous": 1.0, "igneous and sedimentary": 0.5}
    assert list(layer.codes_of(["sedimentary"]).values()) == [0.5]


def test_joint_features_count_cells_of_a_class(tmp_path, terrain):
    """Half of the cells of "Metamorphic and Sedimentary" are of each."""
    entry = declared(rock_file(tmp_path), attribute="kind", classes=LABELS, **RULES)
    layer, _ = prepared(entry, terrain, tmp_path)
    level = {"layer": "rock", "elevation_min_m": 0.0}
    rules = joint_rules(
        [
            {"name": "igneous", "classes": ["igneous"], **level},
            {"name": "sedimentary", "classes": ["sedimentary"], **level},
            {"name": "high", "classes": ["igneous"], "layer": "rock", "elevation_min_m": 2.0},
        ],
        [layer],
    )
    with (
        Terrain(terrain, 9) as ground,
        joint_features(rules, [layer], terrain.lattice) as features,
    ):
        shares = features.of(CatchmentCells.of(box(0, 4, 4, 0), ground))
    assert shares == pytest.approx({"igneous": 8 / 12, "sedimentary": 3 / 12, "high": 0.0})


@pytest.mark.parametrize(
    "suffix", ["gpkg", "fgb", "geojson", "json", "shp", "parquet", "geoparquet", "zip"]
)
def test_every_format_gives_the_same(tmp_path, terrain, suffix):
    name = f"a.{suffix}"
    shapes, texts = [box(1, 4, 3, 0), box(0, 4, 2, 0), box(3, 2, 4, 0)], ["b", "a", "Größe"]
    if name == "a.zip":
        write_vector(tmp_path / "in.shp", shapes, crs="EPSG:4326", kind=texts)
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for part in sorted(tmp_path.glob("in.*")):
                file.write(part, part.name)
    elif name == "a.geoparquet":
        write_vector(tmp_path / "in.parquet", shapes, crs="OGC:CRS84", kind=texts)
        (tmp_path / "in.parquet").rename(tmp_path / name)
    elif name == "a.json":
        write_vector(tmp_path / "in.geojson", shapes, crs="EPSG:4326", kind=texts)
        (tmp_path / "in.geojson").rename(tmp_path / name)
    else:
        write_vector(tmp_path / name, shapes, crs="EPSG:4326", kind=texts)
    layer, file = prepared(declared(tmp_path / name, attribute="kind"), terrain, tmp_path)
    (row,) = values(layer, [box(0, 4, 4, 0)])
    found = dict(entry.split("=") for entry in row["rock_codes"].split(";"))
    shares = {unquote(text): float(share) for text, share in found.items()}
    assert shares == pytest.approx({"Größe": 1 / 7, "a": 2 / 7, "b": 4 / 7}, abs=2e-6)
    assert row["rock_coverage"] == pytest.approx(0.875, abs=1e-6)
    assert file.features == 3


def test_a_dem_in_degrees(tmp_path):
    z = np.ones((100, 120), np.float32)
    dem = write_raster(tmp_path / "d.tif", z, crs="EPSG:4269", left=-118.0, top=35.0, dx=0.001)
    terrain = index_terrain([dem])
    # Beyond its northern half, a parallel divides a catchment into zones of other areas.
    west, south, east, north = -117.98, 34.92, -117.9, 34.98
    sides = [shapely.box(west - 1, 34.95, east + 1, 36), shapely.box(west - 1, 34, east + 1, 34.95)]
    frame = geopandas.GeoDataFrame({"side": ["north", "south"]}, geometry=sides, crs="EPSG:4269")
    frame.geometry = frame.segmentize(0.001)
    frame.to_crs(32611).to_file(tmp_path / "a.gpkg")
    layer, _ = prepared(declared(tmp_path / "a.gpkg", attribute="side"), terrain, tmp_path)
    outline = shapely.box(west, south, east, north)
    (summary,) = layer.summarise(Catchments([outline], terrain.lattice.crs))
    geod = Geod(ellps="GRS80")
    areas = [
        abs(geod.geometry_area_perimeter(shapely.segmentize(side & outline, 1e-4))[0])
        for side in sides
    ]
    found = dict(entry.split("=") for entry in summary.values[-1].split(";"))
    assert float(found["north"]) == pytest.approx(areas[0] / sum(areas), abs=1e-6)
    assert float(found["north"]) < 0.49995
    assert summary.coverage == 1.0


def test_numbers_and_presence_at_points(tmp_path, terrain):
    path = write_vector(tmp_path / "a.shp", [box(0, 1, 1, 0)], age=[7.5])
    x, y = np.array([WEST + 50.0, WEST + 150.0]), np.array([NORTH - 50.0] * 2)
    number, _ = prepared(declared(path, attribute="age", summary="number"), terrain, tmp_path)
    assert number.sampler(CRS).values(x, y).tolist() == pytest.approx([7.5, math.nan], nan_ok=True)
    assert (number.names(), number.codes_of(["a"]), number.classes()) == (None, {}, [])
    presence, _ = prepared(declared(path, name="fire"), terrain, tmp_path)
    assert presence.sampler(CRS).values(x, y).tolist() == [1.0, 0.0]
    assert presence.codes_of(presence.classes()) == {1.0: 1.0}


def test_the_text_under_the_site_is_as_it_is_in_the_file(tmp_path, terrain):
    entry = declared(rock_file(tmp_path), attribute="kind", at_site=True, **RULES)
    layer, _ = prepared(entry, terrain, tmp_path)
    sites = [(WEST + 50.0, NORTH - 50.0), (WEST + 250.0, NORTH - 150.0), (WEST + 350.0, NORTH - 5)]
    rows = values(layer, [box(0, 4, 4, 0)] * 3, sites)
    texts = ["Igneous, volcanic", "Metamorphic and Sedimentary, undifferentiated", None]
    assert [row["rock_at_site"] for row in rows] == texts


def test_what_is_wrong_with_single_features_is_counted(tmp_path, terrain):
    bow_tie = shapely.Polygon([(WEST, NORTH), (WEST + 200, NORTH - 200), (WEST + 200, NORTH),
                               (WEST, NORTH - 200)])  # fmt: skip
    mixed = shapely.GeometryCollection([box(3, 1, 4, 0), shapely.Point(WEST, NORTH)])
    shapes = [bow_tie, shapely.LineString([(WEST, NORTH), (WEST + 9, NORTH)]), None, mixed]
    shapes += [shapely.Polygon(), shapely.force_3d(box(4, 1, 5, 0), 7.0), box(1, 3, 2, 2)]
    path = write_vector(tmp_path / "a.gpkg", shapes, kind=["a", "b", "c", "d", "e", "f", " "])
    layer, file = prepared(declared(path, attribute="kind"), terrain, tmp_path)
    told = [warning.removeprefix(f"layer rock ({path}): features near the DEM that are ")
            for warning in file.warnings]  # fmt: skip
    assert told == [
        "not valid, such as polygons that cross themselves, and used as GEOS makes them valid: 1.",
        "no polygons, and left out: 1.",
        "without a value of the attribute, and count as missing: 1.",
    ]
    (row,) = values(layer, [box(0, 2, 5, 0)])
    # Two triangles of a square of 2 by 2, and two squares, of ten.
    assert row["rock_codes"] == "a=0.5;d=0.25;f=0.25"
    assert row["rock_coverage"] == pytest.approx(0.4, abs=1e-6)


def test_whole_numbers_are_codes_and_keys_as_they_are_written(tmp_path, terrain):
    shapes = [box(0, 4, 1, 0), box(1, 4, 4, 0), box(4, 4, 5, 0)]
    path = write_vector(tmp_path / "a.gpkg", shapes, code=[3.0, 12.0, None])
    entry = declared(path, attribute="code", classes={3: "low", "12": "high"})
    entry = type_of(entry).completed(entry, {})
    layer, _ = prepared(entry, terrain, tmp_path)
    (row,) = values(layer, [box(0, 4, 4, 0)])
    assert row["rock_codes"] == "12=0.75;3=0.25"
    assert row["rock_share_low"] == pytest.approx(0.25, abs=1e-6)


def test_a_world_of_polygons_is_cut_before_it_is_brought_to_a_utm_zone(tmp_path, terrain):
    halves = [shapely.box(-180, -90, -117, 90), shapely.box(-117, -90, 180, 90)]
    frame = geopandas.GeoDataFrame({"side": ["west", "east"]}, geometry=halves, crs="EPSG:4326")
    frame.to_file(tmp_path / "world.gpkg")
    entry = declared(tmp_path / "world.gpkg", attribute="side")
    layer, file = prepared(entry, terrain, tmp_path)
    # The DEM begins at the zone's middle, which is at 117 W.
    rows = values(layer, [box(0, 4, 4, 0), box(-2, 4, 2, 0)])
    assert [row["rock_codes"] for row in rows] == ["east=1", "east=0.5;west=0.5"]
    assert file.warnings == ()


def test_polygons_on_both_sides_of_the_antimeridian(tmp_path):
    z = np.ones((20, 40), np.float32)
    dem = write_raster(tmp_path / "d.tif", z, crs="EPSG:4326", left=179.98, top=-16.0, dx=0.001)
    terrain = index_terrain([dem])
    sides = [shapely.box(179.9, -17, 180, -15), shapely.box(-180, -17, -179.9, -15)]
    frame = geopandas.GeoDataFrame({"side": ["w", "e"]}, geometry=sides, crs="EPSG:4326")
    frame.to_file(tmp_path / "a.gpkg")
    layer, _ = prepared(declared(tmp_path / "a.gpkg", attribute="side"), terrain, tmp_path)
    outline = shapely.box(179.99, -16.01, 180.01, -16.0)
    (row,) = [row for row, _ in summarise(layer, Catchments([outline], terrain.lattice.crs))]
    assert row["rock_codes"] == "e=0.5;w=0.5"


def test_what_is_prepared_has_the_same_bytes_and_the_attribute_alone(tmp_path, terrain):
    path = rock_file(tmp_path, "EPSG:4326")
    entry = declared(path, attribute="kind")
    first, second = (
        prepared(entry, terrain, tmp_path / name)[0].prepared for name in ("one", "two")
    )
    with open(first, "rb") as one, open(second, "rb") as two:
        assert one.read() == two.read()
    names = pq.read_schema(first).names
    assert names == ["west", "south", "east", "north", "may_overlap", "text", "geometry"]


ON_ANOTHER_CPU = """
import json, sys
from pathlib import Path
import shapely
from snakeshed.features.layer import Catchments
from snakeshed.features.zonal import summarise
from snakeshed.terrain.index import TerrainIndex
from vectors import declared, prepared

terrain = TerrainIndex.from_json(Path(sys.argv[1]).read_text())
outlines = [shapely.from_wkt(text) for text in json.loads(sys.argv[2])]
for crs in ("EPSG:4326", "EPSG:5070"):
    entry = declared(sys.argv[3].replace("CRS", crs[5:]), attribute="kind")
    layer, _ = prepared(entry, terrain, Path(sys.argv[4]))
    print(Path(layer.prepared).read_bytes().hex())
    print([row for row, _ in summarise(layer, Catchments(outlines, terrain.lattice.crs))])
"""


def test_a_cpu_without_fused_operations_gives_the_same_bytes(tmp_path):
    """The C library, whose sines PROJ takes, and NumPy have other code for such a CPU."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(WEST, WEST + 3000, 60), rng.uniform(NORTH - 3000, NORTH, 60)
    cells = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(np.column_stack([x, y])))
    )
    texts = [f"{k % 5}" for k in range(60)]
    for crs in (4326, 5070):
        write_vector(tmp_path / f"a{crs}.gpkg", cells, crs=f"EPSG:{crs}", kind=texts)
    z = np.ones((300, 300), np.float32)
    terrain = index_terrain([write_raster(tmp_path / "dem.tif", z)])
    (tmp_path / "terrain.json").write_text(terrain.to_json())
    outlines = [box(k, k + 3, k + 4, k).wkt for k in range(20)]

    def said(folder, **other) -> str:
        arguments = (tmp_path / "terrain.json", json.dumps(outlines), tmp_path / "aCRS.gpkg")
        run = subprocess.run(
            [sys.executable, "-c", ON_ANOTHER_CPU, *map(str, arguments), str(tmp_path / folder)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | other,
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    old = {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3",
    }
    assert said("new") == said("old", **old)
