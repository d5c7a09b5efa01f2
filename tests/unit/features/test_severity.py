"""Burn severity: shares worked by hand in each coding, and what is not known of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster

from snakeshed.errors import LayerError
from snakeshed.features.layer import Catchments, Summary, columns_of
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layer_types.severity import SeverityLayer, layer_of
from snakeshed.features.layers import layer_of as any_layer_of
from snakeshed.features.layers import unknown_codes
from snakeshed.features.missing import Missing
from snakeshed.features.zonal import summarise
from snakeshed.terrain.dem import index_terrain

CRS, LEFT, TOP = "EPSG:32611", 500_000.0, 4_000_000.0
CLASSES = ("unburned", "low", "moderate", "high")


def layer(folder, cells, coding="barc4", nodata=None, **options) -> SeverityLayer:
    path = write_raster(folder / "severity.tif", np.atleast_2d(cells), nodata=nodata)
    return SeverityLayer("severity", path, coding, **options)


def over(layer, columns: float, area_km2=2.0) -> tuple[dict, Summary]:
    """What a layer of one row says of its first columns."""
    outline = shapely.box(LEFT, TOP - 10, LEFT + 10 * columns, TOP)
    ((row, summary),) = summarise(layer, Catchments([outline], CRS, [area_km2]))
    assert list(row) == [column.name for column in columns_of(layer)]
    return row, summary


def shares(row: dict) -> list[float]:
    return [row[f"severity_share_{name}"] for name in CLASSES]


def test_shares_and_areas_by_hand(tmp_path):
    row, _ = over(layer(tmp_path, np.uint8([1, 1, 2, 3, 3, 4, 4, 4])), 7.5, area_km2=3.0)
    assert shares(row) == pytest.approx([2 / 7.5, 1 / 7.5, 2 / 7.5, 2.5 / 7.5])
    assert row["severity_burned_share"] == pytest.approx(5.5 / 7.5)
    assert row["severity_share_moderate_high"] == pytest.approx(4.5 / 7.5)
    assert row["severity_moderate_high_km2"] == pytest.approx(3 * 4.5 / 7.5)
    assert row["severity_burned_km2"] == pytest.approx(3 * 5.5 / 7.5)
    assert row["severity_coverage"] == 1


def test_codes_of_mtbs(tmp_path):
    # Increased greenness is no burn; what could not be mapped is missing.
    cells = np.uint8([1, 5, 2, 3, 4, 4, 4, 6])
    row, _ = over(layer(tmp_path, cells, "mtbs"), 8)
    assert shares(row) == pytest.approx([2 / 7, 1 / 7, 1 / 7, 3 / 7])
    assert row["severity_coverage"] == pytest.approx(7 / 8)


def test_dnbr_is_classified_above_its_thresholds(tmp_path):
    cells = np.int16([-300, 125, 126, 250, 251, 500, 501, 1200])
    row, _ = over(layer(tmp_path, cells, "dnbr"), 8)
    assert shares(row) == pytest.approx([2 / 8, 2 / 8, 2 / 8, 2 / 8])
    row, _ = over(layer(tmp_path, cells, "dnbr", thresholds=(0.0, 300.0, 600.0)), 8)
    assert shares(row) == pytest.approx([1 / 8, 4 / 8, 2 / 8, 1 / 8])
    small = np.float32(cells / 1000)
    row, _ = over(layer(tmp_path, small, "dnbr", scale=1000.0), 8)
    assert shares(row)[0] == pytest.approx(2 / 8)


def test_outside_the_map_is_missing_or_unburned_as_declared(tmp_path):
    # Half of the catchment is mapped: 0 is outside the map, 255 is nodata, and the raster ends.
    cells = np.uint8([2, 3, 4, 4, 0, 255])
    row, _ = over(layer(tmp_path, cells, nodata=255), 8)
    assert row["severity_coverage"] == 0.5
    assert shares(row) == pytest.approx([0, 1 / 4, 1 / 4, 2 / 4])
    row, _ = over(layer(tmp_path, cells, nodata=255, unburned_outside=True), 8)
    assert row["severity_coverage"] == 1
    assert shares(row) == pytest.approx([4 / 8, 1 / 8, 1 / 8, 2 / 8])
    assert row["severity_moderate_high_km2"] == pytest.approx(2 * 3 / 8)


def test_what_could_not_be_mapped_did_not_burn_or_burn(tmp_path):
    cells = np.uint8([2, 3, 6, 6])
    row, _ = over(layer(tmp_path, cells, "mtbs", unburned_outside=True), 8)
    assert row["severity_coverage"] == pytest.approx(6 / 8)
    assert shares(row) == pytest.approx([4 / 6, 1 / 6, 1 / 6, 0])


def test_shares_of_a_fire_are_not_taken_for_those_of_a_catchment(tmp_path):
    """Without a limit, a catchment of which a tenth burned would seem to have burned altogether."""
    declared = {
        "name": "severity",
        "path": None,
        "coding": "barc4",
        "thresholds": [125, 250, 500],
        "outside": "missing",
        "scale": 1.0,
        "max_missing": 0.05,
        "perimeter": None,
    }
    path = layer(tmp_path, np.uint8([4, 0, 0, 0, 0, 0, 0, 0, 0, 0])).path
    row, summary = over(layer_of(declared | {"path": path}), 10)
    assert row.pop("severity_coverage") == pytest.approx(0.1)
    assert set(row.values()) == {None}
    assert summary.remark == (
        "layer severity is missing in 0.9 of the catchment, more than its max_missing of 0.05; if "
        "that part did not burn, set perimeter, or outside: unburned"
    )
    row, summary = over(layer_of(declared | {"path": path, "outside": "unburned"}), 10)
    assert shares(row) == pytest.approx([0.9, 0, 0, 0.1])
    assert summary.remark is None


def test_what_could_not_be_mapped_is_no_reason_to_declare_the_outside(tmp_path):
    cells = np.uint8([4, 6, 6, 6])
    limited = {"missing": Missing(max_share=0.5), "unburned_outside": True}
    _, summary = over(layer(tmp_path, cells, "mtbs", **limited), 4)
    assert summary.remark == (
        "layer severity is missing in 0.75 of the catchment, more than its max_missing of 0.5"
    )


def test_beside_the_raster(tmp_path):
    outline = shapely.box(LEFT + 1e4, TOP - 10, LEFT + 1e4 + 50, TOP)
    burned = layer(tmp_path, np.uint8([4, 4]))
    ((row, summary),) = summarise(burned, Catchments([outline], CRS, [1.0]))
    assert row.pop("severity_coverage") == 0
    assert set(row.values()) == {None}
    assert summary.remark is None
    burned = layer(tmp_path, np.uint8([4, 4]), unburned_outside=True)
    ((row, _),) = summarise(burned, Catchments([outline], CRS, [1.0]))
    assert shares(row) == [1, 0, 0, 0]


@examples(60)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(0.5, 12))
def test_shares_are_those_of_a_plain_sum(tmp_path_factory, seed, unburned_outside, columns):
    cells = np.random.default_rng(seed).integers(0, 7, 10).astype(np.uint8)
    options = {"unburned_outside": unburned_outside}
    found, _ = over(layer(tmp_path_factory.mktemp("s"), cells, "mtbs", **options), columns)
    parts = dict.fromkeys(range(1, 5), 0.0)
    outside = max(0.0, columns - 10)
    for k, code in enumerate(cells.tolist()):
        part = min(1.0, max(0.0, columns - k))
        if code == 0:
            outside += part
        elif code != 6:
            parts[1 if code == 5 else code] += part
    parts[1] += outside if unburned_outside else 0.0
    known = sum(parts.values())
    assert found["severity_coverage"] == pytest.approx(known / columns, abs=2e-4)
    if known / columns > 0.01:
        assert shares(found) == pytest.approx([part / known for part in parts.values()], abs=2e-4)


def test_at_points(tmp_path):
    cells = np.uint8([1, 5, 2, 6, 0, 4])
    x, y = LEFT + 5 + 10.0 * np.arange(7), np.full(7, TOP - 5)
    with closing(layer(tmp_path, cells, "mtbs").sampler(CRS)) as sampler:
        found = sampler.values(x, y)
    np.testing.assert_array_equal(found, [1, 1, 2, np.nan, np.nan, 4, np.nan])
    outside = layer(tmp_path, cells, "mtbs", unburned_outside=True)
    with closing(outside.sampler(CRS)) as sampler:
        np.testing.assert_array_equal(sampler.values(x, y), [1, 1, 2, np.nan, 1, 4, 1])
    assert outside.codes_of(["moderate", "high"]) == {3.0: 1.0, 4.0: 1.0}


def test_no_code_is_left_to_be_declared(tmp_path):
    assert unknown_codes(None, [layer(tmp_path, np.uint8([1]))]) == {}


@pytest.mark.parametrize(
    ("coding", "cells", "told"),
    [
        (
            "barc4",
            np.uint8([1, 5]),
            "found the cell value 5; expected the codes 0 to 4 of coding barc4. Set coding: mtbs "
            "if these are codes of MTBS.",
        ),
        (
            "mtbs",
            np.uint8([1, 127]),
            "found the cell value 127; expected the codes 0 to 6 of coding mtbs. Set nodata: 127 "
            "if these cells are missing, or coding: dnbr if these are values of dNBR.",
        ),
        (
            "dnbr",
            np.float32([-0.2, 0.61]),
            "found values from -0.2 to 0.61; expected dNBR times 1000, of some hundreds where a "
            "fire was severe. Set scale: 1000 if this is dNBR itself.",
        ),
    ],
)
def test_what_is_no_severity_stops_the_run_before_any_shard(tmp_path, coding, cells, told):
    terrain = index_terrain([write_raster(tmp_path / "dem.tif", np.ones((4, 4), np.float32))])
    path = layer(tmp_path, cells).path
    declared = {"name": "severity", "type": "severity", "path": path, "coding": coding}
    with pytest.raises(LayerError) as problem:
        index_layers([declared], terrain)
    assert str(problem.value) == f"layer severity ({path}): {told}"


def test_a_code_with_a_fraction(tmp_path):
    with pytest.raises(LayerError, match="found the cell value 2.5; .* Round the cells, or"):
        over(layer(tmp_path, np.float32([1, 2.5])), 2)


# ---- the perimeter ---------------------------------------------------------------------------


def with_perimeter(folder, cells, *polygons: shapely.Geometry, coding="barc4") -> SeverityLayer:
    """A layer and its perimeter, prepared as rule index_layers does."""
    terrain = index_terrain([write_raster(folder / "dem.tif", np.ones((4, 12), np.float32))])
    path = folder / "perimeter.gpkg"
    geopandas.GeoDataFrame(geometry=list(polygons), crs=CRS).to_file(path)
    raw = layer(folder, cells, coding).path
    declared = {"name": "severity", "type": "severity", "path": raw, "coding": coding}
    declared |= {"perimeter": str(path), "sheet": None, "max_missing": 0.05, "scale": 1.0}
    declared |= {"outside": "missing", "thresholds": [125, 250, 500]}
    files = index_layers([declared], terrain, str(folder))
    assert [file.path for file in files] == [raw, str(path)]
    return any_layer_of(declared, str(folder))


def columns(first: float, end: float) -> shapely.Polygon:
    """A box over columns of the raster, higher than it."""
    return shapely.box(LEFT + 10 * first, TOP - 50, LEFT + 10 * end, TOP + 5)


def test_outside_the_perimeter_nothing_burned_whatever_the_raster_says(tmp_path):
    # The first two columns are outside, the last six are not mapped, and five of these are outside.
    cells = np.uint8([4, 4, 2, 3, 4, 4, 0])
    burned = with_perimeter(tmp_path, cells, columns(2, 4), columns(4, 6))
    row, _ = over(burned, 12, area_km2=3.0)
    assert row["severity_coverage"] == 1
    assert shares(row) == pytest.approx([8 / 12, 1 / 12, 1 / 12, 2 / 12])
    assert row["severity_burned_km2"] == pytest.approx(3 * 4 / 12)
    with closing(burned.sampler(CRS)) as sampler:
        x = LEFT + 5 + 10.0 * np.arange(8)
        found = sampler.values(x, np.full(8, TOP - 5))
    np.testing.assert_array_equal(found, [1, 1, 2, 3, 4, 4, 1, 1])


def test_gaps_of_the_map_inside_the_perimeter_are_missing(tmp_path):
    cells = np.uint8([4, 4, 2, 3, 0, 6])
    burned = with_perimeter(tmp_path, cells, columns(2, 6), coding="mtbs")
    row, summary = over(replace(burned, missing=Missing()), 10)
    assert row["severity_coverage"] == pytest.approx(0.8)
    assert shares(row) == pytest.approx([6 / 8, 1 / 8, 1 / 8, 0])
    row, summary = over(burned, 10)
    assert set(row.values()) == {None, 0.8}
    assert summary.remark == (
        "layer severity is missing in 0.2 of the catchment, more than its max_missing of 0.05"
    )
    with closing(burned.sampler(CRS)) as sampler:
        found = sampler.values(LEFT + np.array([45.0, 55.0, 65.0]), np.full(3, TOP - 5))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 1])


def test_a_catchment_beside_the_fire_did_not_burn(tmp_path):
    burned = with_perimeter(tmp_path, np.uint8([4, 4]), columns(8, 9))
    row, summary = over(burned, 7)
    assert shares(row) == [1, 0, 0, 0]
    assert (row["severity_burned_share"], row["severity_coverage"]) == (0, 1)
    assert summary.remark is None
    assert "outside the perimeter nothing burned" in columns_of(burned)[0].description


def test_a_perimeter_around_everything_changes_nothing(tmp_path):
    cells = np.uint8([1, 2, 3, 4, 4, 1, 2, 2, 3, 3])
    burned = with_perimeter(tmp_path, cells, columns(-5, 30))
    assert over(burned, 9.3)[0] == over(replace(burned, perimeter=None), 9.3)[0]


def test_parts_of_cells_inside_the_perimeter_count_by_their_area(tmp_path):
    burned = with_perimeter(tmp_path, np.uint8([4, 4, 4, 4]), columns(0.25, 1.5))
    row, _ = over(burned, 4)
    assert row["severity_burned_share"] == pytest.approx(1.25 / 4, rel=1e-5)
