"""Joint features: grids of 7 x 7 cells worked by hand, a plain reference, and every refusal."""

from __future__ import annotations

import math
from contextlib import closing

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster

from snakeshed.delineation.outlines import outline
from snakeshed.errors import SeveralProblems
from snakeshed.features.form_and_relief import CatchmentCells
from snakeshed.features.joint import JointRule, joint_rules
from snakeshed.features.joint_cells import joint_features
from snakeshed.features.layer_types.classes import ClassLayer
from snakeshed.features.layer_types.fbfm40 import FuelLayer
from snakeshed.features.layer_types.numeric import ConstantLayer, NumericLayer
from snakeshed.features.layer_types.severity import SeverityLayer
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

GROUND = 10 / 0.9996
"""Side of a cell on the ground: this is the central meridian of a UTM zone."""

# Unburned, low, moderate, high; 0 is outside the map.
SEVERITY = np.uint8(
    [
        [1, 1, 1, 2, 2, 2, 2],
        [1, 1, 2, 2, 3, 3, 3],
        [1, 1, 2, 3, 3, 4, 4],
        [1, 1, 2, 3, 4, 4, 4],
        [1, 1, 2, 3, 3, 4, 4],
        [1, 1, 1, 2, 2, 3, 3],
        [0, 0, 0, 0, 0, 0, 0],
    ]
)


def roof() -> np.ndarray:
    """A ridge from north to south: three columns rise to it by 0.4, three fall from it by 0.7.

    Horn's slope across the ridge itself is (-0.7 + 0.4) / 2.
    """
    columns = np.arange(9)
    height = np.where(columns <= 4, 0.4 * columns, 1.6 - 0.7 * (columns - 4)) * GROUND
    return np.tile(height + 500, (9, 1))


def cells_of(folder, z) -> tuple[CatchmentCells, object]:
    """The inner 7 x 7 cells of a grid of 9 x 9, and their lattice."""
    index = index_terrain([write_raster(folder / "dem.tif", np.float64(z))])
    tile = index.tiles[0]
    mask = np.ones((7, 7), bool)
    with Terrain(index, 0) as terrain:
        shape = outline(mask, index.lattice, tile.row + 1, tile.column + 1)
        return CatchmentCells.of(shape, terrain), index.lattice


def severity(folder, codes=SEVERITY, **options) -> SeverityLayer:
    path = write_raster(folder / "severity.tif", codes, left=500_010.0, top=3_999_990.0)
    return SeverityLayer("severity", path, **options)


def feature(folder, z, layers, **keys) -> float | None:
    rules = joint_rules([{"name": "it", "layer": layers[0].name} | keys], layers)
    cells, lattice = cells_of(folder, z)
    with joint_features(rules, layers, lattice) as features:
        return features.of(cells)["it"]


MH, ALL = ["moderate", "high"], ["low", "moderate", "high"]


# Three columns rise by 0.4 (21.8 degrees) to the ridge in the fourth, which faces east by 0.15;
# three fall by 0.7 (35.0 degrees). Severity is known in six rows, 42 cells. By columns, 0, 0, 4, 3,
# 2, 1, 1 cells are low, and 0, 0, 0, 3, 4, 5, 5 are moderate or high.
@pytest.mark.parametrize(
    ("keys", "cells"),
    [
        ({"classes": MH, "slope_min_deg": 23}, 14),
        ({"classes": MH, "slope_min_deg": 21}, 14),
        ({"classes": MH, "slope_max_deg": 10}, 3),
        ({"classes": ALL, "slope_min_deg": 30}, 18),
        ({"classes": ALL, "slope_min_deg": 20, "slope_max_deg": 30}, 4),
        ({"classes": ["low"], "aspect_deg": [225, 315]}, 4),
        ({"classes": ["low"], "aspect_deg": [45, 135]}, 7),
        ({"classes": ["low"], "aspect_deg": [0, 360]}, 11),
        ({"classes": ["low"], "aspect_deg": [315, 45]}, 0),
        ({"classes": ["low"], "aspect_deg": [45, 315]}, 11),
        # The ridge lies 1.6 cells above 500 m.
        ({"classes": ["moderate"], "elevation_min_m": 500 + 1.5 * GROUND}, 3),
        ({"classes": ["moderate"], "elevation_max_m": 500 + 1.5 * GROUND}, 7),
    ],
)
def test_cells_counted_by_hand(tmp_path, keys, cells):
    known = 42
    assert feature(tmp_path, roof(), [severity(tmp_path)], **keys) == pytest.approx(cells / known)


def test_one_direction_is_not_its_opposite(tmp_path):
    layers = [severity(tmp_path)]
    for rise, cells in ((-3.0, 0), (3.0, 11)):
        # Rows go south: with a negative rise every cell faces south, else every one faces north.
        plane = np.tile(np.arange(9)[:, None] * rise, (1, 9))
        found = feature(tmp_path, plane, layers, classes=["low"], aspect_deg=[0, 0])
        assert found == pytest.approx(cells / 42)


def test_what_is_outside_the_map_counts_as_unburned_if_so_declared(tmp_path):
    layers = [severity(tmp_path, unburned_outside=True)]
    found = feature(tmp_path, roof(), layers, classes=MH, slope_min_deg=23)
    assert found == pytest.approx(14 / 49)


def test_the_mean_of_a_quantity_is_relative_to_the_whole_catchment(tmp_path):
    layers = [severity(tmp_path)]
    east, ridge = math.sin(math.atan(0.7)), math.sin(math.atan(0.15))
    found = feature(tmp_path, roof(), layers, classes=MH, mean="sin_slope")
    assert found == pytest.approx((3 * ridge + 14 * east) / 42, rel=1e-5)
    found = feature(tmp_path, roof(), layers, classes=MH, mean="tan_slope")
    assert found == pytest.approx((3 * 0.15 + 14 * 0.7) / 42, rel=1e-5)
    heights = 500 + GROUND * np.array([1.6, 0.9, 0.2, -0.5])
    found = feature(tmp_path, roof(), layers, classes=MH, mean="elevation_m")
    assert found == pytest.approx((np.array([3, 4, 5, 5]) * heights).sum() / 42, rel=1e-5)


def test_a_range_of_numbers_and_its_limits(tmp_path):
    kf = np.float32(np.tile([0.1, 0.2, 0.3, 0.4, 0.5, np.nan, 0.7], (7, 1)))
    path = write_raster(tmp_path / "kf.tif", kf, left=500_010.0, top=3_999_990.0)
    layers = [NumericLayer("kf", path, (), scale=10.0)]
    steep = {"slope_min_deg": 30}
    assert feature(tmp_path, roof(), layers, range=[4.9, None], **steep) == pytest.approx(2 / 6)
    assert feature(tmp_path, roof(), layers, range=[None, 6], **steep) == pytest.approx(1 / 6)
    assert feature(tmp_path, roof(), layers, range=[None, None], **steep) == pytest.approx(2 / 6)
    assert feature(tmp_path, roof(), [ConstantLayer("kf", 5.0, ())], range=[5, 5], **steep) == 3 / 7


def test_fuel_models_and_groups_are_classes(tmp_path):
    codes = np.int16(np.tile([101, 102, 145, 145, 99, 102, 102], (7, 1)))
    path = write_raster(tmp_path / "fuel.tif", codes, left=500_010.0, top=3_999_990.0)
    layers = [FuelLayer("fuel", path, "config/fbfm40.csv")]
    assert feature(tmp_path, roof(), layers, classes=["GR"], slope_min_deg=30) == 2 / 7
    assert feature(tmp_path, roof(), layers, classes=["GR2", "NB"], slope_min_deg=0) == 4 / 7


def test_without_any_data_it_is_null(tmp_path):
    layers = [severity(tmp_path, np.zeros((7, 7), np.uint8))]
    assert feature(tmp_path, roof(), layers, classes=MH, slope_min_deg=23) is None


def test_the_terms_of_staleys_models_have_their_names(tmp_path):
    layers = [NumericLayer("kf", "kf.tif", ()), severity(tmp_path)]
    rules = joint_rules(["terrain_m1", "terrain_m2", "terrain_m4"], layers)
    cells, lattice = cells_of(tmp_path, roof())
    with joint_features(rules, layers, lattice) as features:
        found = features.of(cells)
    assert found["terrain_m1"] == pytest.approx(14 / 42)
    assert found["terrain_m4"] == pytest.approx(18 / 42)
    east, ridge = math.sin(math.atan(0.7)), math.sin(math.atan(0.15))
    assert found["terrain_m2"] == pytest.approx((3 * ridge + 14 * east) / 42)
    text = rules[0].column().description
    assert "severity is moderate or high and the slope (Horn 1981) is at least 23 degrees" in text
    assert "Staley et al. (2017)" in text
    assert "along D8 directions" in text


@examples(60)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 60),
    st.tuples(st.floats(0, 360), st.floats(0, 360)),
)
def test_a_plain_loop_over_the_cells_finds_the_same(tmp_path_factory, seed, steep, aspect):
    random = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("joint")
    codes = random.integers(0, 5, (7, 7)).astype(np.uint8)
    layers = [severity(folder, codes)]
    z = random.integers(0, 60, (9, 9)).astype(np.float64)
    rule = JointRule("it", "severity", ("high", "low"), slope_deg=(steep, None), aspect_deg=aspect)
    cells, lattice = cells_of(folder, z)
    with joint_features([rule], layers, lattice) as features:
        found = features.of(cells)["it"]
    count = known = 0
    span = (aspect[1] - aspect[0]) % 360 or (360 if aspect[1] > aspect[0] else 0)
    for k, code in enumerate(codes.ravel()):
        known += code > 0
        slope = math.degrees(math.atan(math.hypot(cells.east[k], cells.north[k])))
        faces = math.degrees(math.atan2(-cells.east[k], -cells.north[k]))
        turned = (faces - aspect[0]) % 360
        near_a_limit = min(abs(slope - steep), abs(turned - span), turned, 360 - turned) < 1e-6
        if near_a_limit and code in (2, 4):
            return
        count += code in (2, 4) and slope >= steep > -1 and slope > 0 and turned <= span
    assert found == (count / known if known else None)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (
            "terrain_m3",
            "features.joint[terrain_m3]: found no feature of the name terrain_m3; expected keys, "
            "or one of terrain_m1, terrain_m2, terrain_m4. Did you mean terrain_m4? Correct the "
            "name, or write name, layer, and classes.",
        ),
        (
            {"name": "x", "layer": "severty", "classes": ["low"], "slope_min_deg": 3},
            "features.joint[x].layer: found no layer severty; expected the name of a layer of this "
            "study. Did you mean severity? Correct it, or declare the layer.",
        ),
        (
            {"name": "x", "layer": "severity", "slope_min_deg": 3},
            "features.joint[x]: found neither classes nor range; expected one of them. Set classes "
            "for a layer of classes, range for one of numbers.",
        ),
        (
            {"name": "x", "layer": "kf", "classes": ["low"], "range": [0, 1], "mean": "sin_slope"},
            "features.joint[x]: found both classes and range; expected one of them. Set classes "
            "for a layer of classes, range for one of numbers.",
        ),
        (
            {"name": "x", "layer": "kf", "classes": ["low"], "mean": "sin_slope"},
            "features.joint[x].classes: found classes of kf, a layer of numbers; expected a range. "
            "Set range: [smallest, largest] instead.",
        ),
        (
            {"name": "x", "layer": "severity", "range": [0, 1], "mean": "sin_slope"},
            "features.joint[x].range: found a range of severity, a layer of classes; expected "
            "classes. Set classes to some of unburned, low, moderate, high.",
        ),
        (
            {"name": "x", "layer": "severity", "classes": ["moderat"], "mean": "sin_slope"},
            "features.joint[x].classes: found moderat; expected classes of severity: unburned, "
            "low, moderate, high. Did you mean moderate? Correct it, or label the "
            "codes of the layer.",
        ),
        (
            {"name": "x", "layer": "severity", "classes": ["low"]},
            "features.joint[x]: found nothing of the terrain; expected one of slope_min_deg, "
            "slope_max_deg, elevation_min_m, elevation_max_m, aspect_deg, or mean. Add one; the "
            "share of a class alone is a column of the layer.",
        ),
        (
            {
                "name": "x",
                "layer": "severity",
                "classes": ["low"],
                "slope_min_deg": 30,
                "slope_max_deg": 3,
            },
            "features.joint[x].slope_min_deg: found 30, more than the slope_max_deg of 3; expected "
            "the smaller value. Swap the two.",
        ),
        (
            {"name": "x", "layer": "kf", "range": [2, 1], "slope_min_deg": 3},
            "features.joint[x].range: found 2 before 1; expected the smallest value first, then "
            "the largest. Write [1, 2].",
        ),
    ],
)
def test_what_is_refused(declared, told):
    layers = [SeverityLayer("severity", "s.tif"), NumericLayer("kf", "k.tif", ())]
    with pytest.raises(SeveralProblems) as problems:
        joint_rules([declared], layers)
    assert str(problems.value) == f"- {told}"


def test_the_predefined_ones_need_one_layer_of_severity():
    with pytest.raises(SeveralProblems) as problems:
        joint_rules(["terrain_m1"], [NumericLayer("kf", "k.tif", ())])
    assert str(problems.value) == (
        "- features.joint[terrain_m1]: found 0 layers with the classes low, moderate, and high; "
        "expected one layer of type severity. Declare one; with several, write the keys of "
        "terrain_m1 and name the layer."
    )
    two = [SeverityLayer(name, "s.tif") for name in ("one", "two")]
    with pytest.raises(SeveralProblems, match=r"found 2 layers .* \(one, two\)"):
        joint_rules(["terrain_m1"], two)


def test_labels_of_a_raster_of_classes_serve_too(tmp_path):
    path = write_raster(tmp_path / "c.tif", SEVERITY, left=500_010.0, top=3_999_990.0, nodata=0)
    layers = [ClassLayer("burn", path, {1: "no", 2: "low", 3: "moderate", 4: "high"})]
    (rule,) = joint_rules(["terrain_m1"], layers)
    assert rule.layer == "burn"
    with closing(layers[0].sampler("EPSG:32611")) as sampler:
        x = 500_015.0 + 10 * np.arange(7)
        values = sampler.values(x, np.full(7, 3_999_985.0))
    assert values.tolist() == SEVERITY[0].tolist()
