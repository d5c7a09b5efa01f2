"""Layers summarised over outlines: hand-worked cells, other CRSs, gaps, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import Transformer
from rasterio.warp import Resampling, reproject
from rasters import write_raster

from snakeshed.delineation.outlines import outline
from snakeshed.errors import LayerError
from snakeshed.features.layer import Catchments, columns_of
from snakeshed.features.layer_types.classes import ClassLayer
from snakeshed.features.layer_types.fbfm40 import FuelLayer
from snakeshed.features.layer_types.numeric import ConstantLayer, NumericLayer
from snakeshed.features.missing import Missing
from snakeshed.features.zonal import summarise
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice

CRS = "EPSG:32611"
LEFT, TOP, CELL = 500_000.0, 4_000_000.0, 10.0
TABLE = str(Path(__file__).parents[3] / "config" / "fbfm40.csv")


def box(row: float, column: float, height: float, width: float) -> shapely.Polygon:
    """A rectangle in cells of the rasters below."""
    west, north = LEFT + column * CELL, TOP - row * CELL
    return shapely.box(west, north - height * CELL, west + width * CELL, north)


def numeric(path, percentiles=(), **options) -> NumericLayer:
    return NumericLayer("kf", str(path), percentiles, **options)


def values_of(layer, outlines, crs) -> list[dict]:
    return [row for row, _ in summarise(layer, Catchments(outlines, crs))]


def only(layer, outline) -> dict:
    (row,) = values_of(layer, [outline], CRS)
    assert list(row) == [column.name for column in columns_of(layer)]
    return row


def raster(folder, values, **options) -> str:
    return write_raster(folder / "layer.tif", np.asarray(values), **options)


# ---- numeric ---------------------------------------------------------------------------------


def test_cells_are_weighted_by_their_share_in_the_outline(tmp_path):
    path = raster(tmp_path, np.float32([[1, 2, 3], [4, 5, 6]]))
    # All of the cells 1 and 4, half of 2 and 5.
    row = only(numeric(path), box(0, 0, 2, 1.5))
    mean = (1 + 4 + 1 + 2.5) / 3
    variance = ((1 - mean) ** 2 + (4 - mean) ** 2 + ((2 - mean) ** 2 + (5 - mean) ** 2) / 2) / 3
    assert row == pytest.approx(
        {"kf_mean": mean, "kf_std": math.sqrt(variance), "kf_min": 1, "kf_max": 5, "kf_coverage": 1}
    )


def test_scale_and_unit(tmp_path):
    path = raster(tmp_path, np.int16([[100, 200, 300]]))
    row = only(numeric(path, (0.0, 100.0), scale=0.01, unit="m"), box(0, 0, 1, 3))
    assert row == pytest.approx(
        {
            "kf_mean_m": 2.0,
            "kf_std_m": math.sqrt(2 / 3),
            "kf_min_m": 1.0,
            "kf_max_m": 3.0,
            "kf_p0_m": 1.0,
            "kf_p100_m": 3.0,
            "kf_coverage": 1.0,
        }
    )


def test_a_negative_scale_turns_the_order_round(tmp_path):
    values = np.float64([[1, 2, 4, 8, 16]])
    straight = only(numeric(raster(tmp_path, -2 * values), (10.0, 37.5, 90.0)), box(0, 0, 1, 5))
    scaled = only(
        numeric(raster(tmp_path, values), (10.0, 37.5, 90.0), scale=-2.0), box(0, 0, 1, 5)
    )
    assert scaled == pytest.approx(straight)
    assert scaled["kf_min"] == -32
    assert scaled["kf_std"] > 0


def test_scale_and_offset_of_the_file_apply_before_the_declared_scale(tmp_path):
    path = raster(tmp_path, np.int16([[123, 321, -9]]), scale=0.1, offset=5.0, nodata=-9)
    row = only(numeric(path, (50.0,), scale=-10.0), box(0, 0, 1, 3))
    # In double precision: single precision would leave an error of 1e-6.
    assert row["kf_max"] == pytest.approx(-10 * (12.3 + 5), rel=1e-14)
    assert row["kf_min"] == pytest.approx(-10 * (32.1 + 5), rel=1e-14)
    assert row["kf_p50"] == row["kf_min"]
    assert row["kf_mean"] == pytest.approx(-10 * (22.2 + 5), rel=1e-14)
    assert row["kf_std"] == pytest.approx(99.0, rel=1e-14)
    assert row["kf_coverage"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize("gap", ["nodata", "nan", "mask", "end of the raster"])
def test_what_is_not_covered_is_left_out_and_told(tmp_path, gap, south_up):
    values = np.float32([[2, 4, 7], [6, 8, 7]])
    options = {}
    if gap == "nodata":
        options["nodata"] = 7
    elif gap == "nan":
        values[:, 2] = np.nan
    elif gap == "mask":
        options["mask"] = np.uint8([[255, 255, 0]] * 2)
    else:
        values = values[:, :2]
    if south_up:
        options["transform"] = rasterio.Affine(CELL, 0, LEFT, 0, CELL, TOP - 2 * CELL)
        values = values[::-1].copy()
        if "mask" in options:
            options["mask"] = options["mask"][::-1].copy()
    layer = numeric(raster(tmp_path, values, **options))
    row = only(layer, box(0, 0, 1, 3))
    assert row["kf_mean"] == pytest.approx(3)
    assert row["kf_coverage"] == pytest.approx(2 / 3)
    nothing = only(layer, box(0, 2, 2, 1))
    assert nothing.pop("kf_coverage") == 0
    assert set(nothing.values()) == {None}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64])
def test_no_cover_is_null_and_not_zero(tmp_path, dtype):
    layer = numeric(raster(tmp_path, np.array([[0, 0]], dtype)), (50.0,))
    assert only(layer, box(0, 0, 1, 2))["kf_mean"] == 0
    beside, far = box(5, 5, 2, 2), box(1e4, 1e4, 2, 2)
    for row in values_of(layer, [beside, far], CRS):
        assert row.pop("kf_coverage") == 0
        assert set(row.values()) == {None}


def test_an_outline_without_a_place_in_the_crs_of_the_layer_is_not_covered(tmp_path):
    # The Mercator projection has no poles.
    layer = numeric(raster(tmp_path, np.float32([[1.0]]), left=0.0, top=10.0, crs="EPSG:3395"))
    inside, pole = shapely.box(0, 0, 1e-5, 1e-5), shapely.box(0, 89, 1, 90)
    first, second = values_of(layer, [pole, inside], "EPSG:4326")
    assert (first["kf_mean"], first["kf_coverage"]) == (None, 0.0)
    assert (second["kf_mean"], second["kf_coverage"]) == (1.0, 1.0)


def test_a_layer_in_another_crs_and_resolution(tmp_path):
    # A plane, exactly in UTM, resampled to degrees and to feet.
    n = 80
    x = LEFT + (np.arange(n) + 0.5) * CELL
    y = TOP - (np.arange(n) + 0.5) * CELL
    plane = (0.1 * (x - LEFT))[None, :] + (0.2 * (TOP - y))[:, None]
    native = only(numeric(raster(tmp_path, plane)), box(20, 20, 35, 25))
    assert native["kf_mean"] == pytest.approx(0.1 * 325 + 0.2 * 375)
    source = rasterio.Affine(CELL, 0, LEFT, 0, -CELL, TOP)
    for crs, step in (("EPSG:4326", 4e-5), ("EPSG:2229", 17.0)):
        west, north = Transformer.from_crs(CRS, crs, always_xy=True).transform(LEFT, TOP)
        transform = rasterio.Affine(step, 0, west - step * 30, 0, -step, north + step * 60)
        other = np.full((400, 400), np.nan)
        reproject(
            plane,
            other,
            src_transform=source,
            src_crs=CRS,
            dst_transform=transform,
            dst_crs=crs,
            resampling=Resampling.bilinear,
            src_nodata=np.nan,
        )
        path = write_raster(tmp_path / "other.tif", other, transform=transform, crs=crs)
        row = only(numeric(path), box(20, 20, 35, 25))
        assert row["kf_mean"] == pytest.approx(native["kf_mean"], rel=2e-3)
        assert row["kf_std"] == pytest.approx(native["kf_std"], rel=1e-2)
        assert row["kf_coverage"] == pytest.approx(1, abs=1e-6)


@examples(20)
@given(
    hnp.arrays(np.float32, (5, 6), elements=st.integers(-50, 50).map(float)),
    st.integers(0, 4),
    st.integers(0, 5),
    st.data(),
)
def test_whole_cells_give_the_plain_statistics(tmp_path_factory, values, row, column, data):
    height = data.draw(st.integers(1, 5 - row))
    width = data.draw(st.integers(1, 6 - column))
    values[values == 50] = np.nan
    layer = numeric(raster(tmp_path_factory.mktemp("z"), values), (0.0, 100.0))
    got = only(layer, box(row, column, height, width))
    cells = values[row : row + height, column : column + width].astype(float)
    known = cells[~np.isnan(cells)]
    assert got["kf_coverage"] == pytest.approx(known.size / cells.size)
    if not known.size:
        assert got["kf_mean"] is None
        return
    assert got["kf_mean"] == pytest.approx(known.mean(), abs=1e-9)
    assert got["kf_std"] == pytest.approx(known.std(), abs=1e-6)
    assert (got["kf_min"], got["kf_max"]) == (known.min(), known.max())
    assert (got["kf_p0"], got["kf_p100"]) == (known.min(), known.max())


def test_an_outline_has_the_same_bits_alone_and_among_others(tmp_path):
    random = np.random.default_rng(4)
    layer = numeric(raster(tmp_path, random.random((40, 40))), (10.0, 50.0, 90.0))
    outlines = [box(*random.uniform(0, 30, 2), *random.uniform(0.1, 15, 2)) for _ in range(12)]
    together = list(values_of(layer, outlines, CRS))
    assert [only(layer, outline) for outline in outlines] == together
    assert list(values_of(layer, outlines[::-1], CRS)) == together[::-1]


def test_no_outlines_read_no_file():
    assert list(values_of(numeric("missing.tif"), [], CRS)) == []


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_cell_is_refused_where_a_catchment_meets_it(tmp_path, value):
    layer = numeric(raster(tmp_path, np.float32([[1, 2, value]])), (50.0,))
    assert only(layer, box(0, 0, 1, 2))["kf_mean"] == pytest.approx(1.5)
    with pytest.raises(LayerError) as told:
        only(layer, box(0, 0, 1, 3))
    assert str(told.value) == (
        f"layer kf ({layer.path}): found the cell value {value:g}; expected finite numbers, and "
        f"nodata where there are none. Declare it with gdal_edit.py -a_nodata {value:g}, or set "
        "the layer's valid_range."
    )
    path = raster(tmp_path, np.float32([[1, 2, value]]), nodata=value)
    assert only(numeric(path), box(0, 0, 1, 3))["kf_coverage"] == pytest.approx(2 / 3)


def test_a_constant_stands_in_for_a_raster():
    layer = ConstantLayer("rain", 0.2, (10.0, 50.0), "mm")
    row = only(layer, box(0, 0, 1, 3))
    assert row == {
        "rain_mean_mm": 0.2,
        "rain_std_mm": 0.0,
        "rain_min_mm": 0.2,
        "rain_max_mm": 0.2,
        "rain_p10_mm": 0.2,
        "rain_p50_mm": 0.2,
        "rain_coverage": 1.0,
    }


# ---- layers on the grid of the DEM -----------------------------------------------------------

GRIDS = {
    "1/3 arc-second": ("EPSG:4269", -118.0005555555613, 36.00055555555613, 9.259259259269e-05),
    "1 arc-second": ("EPSG:4326", -119.000138888889, 37.000138888889, 1 / 3600),
    "3 arc-seconds, east": ("EPSG:4326", 147.30041666666667, -41.29958333333333, 1 / 1200),
    "10 m": ("EPSG:32611", 500_000.0, 4_000_000.0, 10.0),
    "feet": ("EPSG:2229", 6_500_003.25, 1_900_001.5, 3.0),
}


@examples(15)
@given(
    st.sampled_from(sorted(GRIDS)),
    hnp.arrays(np.int16, (9, 11), elements=st.integers(-40, 40)),
    hnp.arrays(np.bool_, (7, 9)),
    st.booleans(),
)
def test_a_layer_on_the_grid_of_the_dem_equals_numpy_in_every_statistic(
    tmp_path_factory, grid, values, mask, other_datum
):
    """Nothing of the cells beside the catchment is in it, on geographic grids above all."""
    if not mask.any():
        return
    crs, left, top, step = GRIDS[grid]
    lattice = Lattice.through(crs_facts(crs), left, top, step, step)
    row, column = lattice.cell_of(left + step / 2, top - step / 2)
    catchment = outline(mask, lattice, row + 1, column + 1)
    # The same grid by another name, as that of a layer in WGS84 on a DEM in NAD83.
    layer_crs = {"EPSG:4269": "EPSG:4326", "EPSG:4326": "EPSG:4269"}.get(crs, crs)
    options = {"crs": layer_crs if other_datum else crs, "left": left, "top": top, "dx": step}
    path = raster(tmp_path_factory.mktemp("z"), values, **options)
    asked = (0.0, 10.0, 33.0, 50.0, 90.0, 100.0)
    (got,) = values_of(numeric(path, asked), [catchment], lattice.crs)
    cells = values[1:-1, 1:-1][mask]
    exact = {"kf_min": cells.min(), "kf_max": cells.max(), "kf_coverage": 1.0} | {
        f"kf_p{q:g}": np.percentile(cells, q, method="inverted_cdf") for q in asked
    }
    assert {name: got[name] for name in exact} == exact
    assert got["kf_mean"] == pytest.approx(cells.mean(), rel=1e-12, abs=1e-12)
    assert got["kf_std"] == pytest.approx(cells.std(), rel=1e-12, abs=1e-12)
    (got,) = values_of(classes(path, {}), [catchment], lattice.crs)
    codes, counts = np.unique(cells, return_counts=True)
    assert got["barc_codes"] == ";".join(
        f"{code}={count / cells.size:.6g}" for code, count in zip(codes, counts, strict=True)
    )
    assert got["barc_coverage"] == 1


@examples(15)
@given(
    hnp.arrays(np.float32, (5, 6), elements=st.integers(-3, 3).map(float)),
    # An outline that is closer to the side of a cell than 1e-4 is on it.
    st.lists(st.floats(0.001, 0.999), min_size=4, max_size=4),
    st.lists(st.floats(0, 100), min_size=1, max_size=5, unique=True),
)
def test_partly_covered_cells_have_the_weighted_percentiles_of_numpy(
    tmp_path_factory, values, sides, asked
):
    top, left, bottom, right = sides[0], sides[1], 3 + sides[2], 4 + sides[3]
    path = raster(tmp_path_factory.mktemp("z"), values)
    layer = NumericLayer("kf", str(path), tuple(asked))
    row = list(only(layer, box(top, left, bottom - top, right - left)).values())
    rows = [max(0, min(bottom, i + 1) - max(top, i)) for i in range(5)]
    columns = [max(0, min(right, j + 1) - max(left, j)) for j in range(6)]
    weights = np.float32(np.outer(rows, columns)).ravel()
    some = weights > 2e-6
    cells, weights = values.ravel()[some], weights[some]
    for got, q in zip(row[4:-1], asked, strict=True):
        # Shares of cells have single precision: a step of the distribution may lie beside.
        near = np.clip([q - 1e-4, q, q + 1e-4], 0, 100)
        assert got in np.percentile(cells, near, method="inverted_cdf", weights=weights)
    assert row[0] == pytest.approx(np.average(cells, weights=weights), abs=1e-5)


def test_percentiles_of_repeated_values_are_values(tmp_path):
    kf = np.full((10, 10), 0.25)
    kf[:2] = -0.1
    row = only(numeric(raster(tmp_path, kf), (10.0, 50.0, 90.0)), box(0, 0, 10, 10))
    assert [row["kf_p10"], row["kf_p50"], row["kf_p90"]] == [-0.1, 0.25, 0.25]
    zeros = np.zeros((50, 50), np.float32)
    zeros[7, 9] = 3
    row = only(numeric(raster(tmp_path, zeros), (50.0, 99.96, 100.0)), box(0, 0, 50, 50))
    assert [row["kf_p50"], row["kf_p99p96"], row["kf_p100"]] == [0, 0, 3]


# ---- missing cells ---------------------------------------------------------------------------

UNDECLARED = [
    (np.int16, -9999, None, "-9999"),
    (np.float32, -9999, None, "-9999"),
    (np.float32, -9999, -9999.01, "-9999"),
    (np.int16, -32768, None, "-32768"),
    (np.float64, -32768, None, "-32768"),
    (np.float32, -3.4028234663852886e38, None, "-3.4028235e+38"),
    (np.float64, 1e20, None, "1e+20"),
    (np.float32, 9.96921e36, None, "9.96921e+36"),
    (np.uint16, 65535, None, "65535"),
    (np.float32, 65535, None, "65535"),
    (np.uint8, 255, None, "255"),
    (np.int32, -2147483648, 2147483647, "-2147483648"),
]


@pytest.mark.parametrize(("dtype", "value", "declared", "written"), UNDECLARED)
@pytest.mark.parametrize("kind", ["numeric", "classes", "fuel"])
def test_numbers_that_stand_for_missing_data_are_refused(
    tmp_path, kind, dtype, value, declared, written
):
    kind = {"numeric": numeric, "classes": classes, "fuel": fuel}[kind]
    cells = np.array([[13, 13, 13, 13, value]], dtype)
    layer = kind(raster(tmp_path, cells, nodata=declared))
    assert only(layer, box(0, 0, 1, 4))[f"{layer.name}_coverage"] == 1
    with pytest.raises(LayerError) as refused:
        only(layer, box(0, 0, 1, 5))
    assert str(refused.value) == (
        f"layer {layer.name} ({layer.path}): found the cell value {written} in 1 of 5 cells, "
        "which often stands for missing data; expected data, and a declared nodata value where "
        f"there are none. Set the layer's nodata: {written} if these cells are missing, or its "
        "valid_range with the smallest and the largest value that is data."
    )
    without = replace(layer, missing=Missing(nodata=(float(written),)))
    row = only(without, box(0, 0, 1, 5))
    assert row[f"{layer.name}_coverage"] == pytest.approx(0.8)
    if kind is numeric:
        assert row["kf_mean"] == 13
        ranged = replace(layer, missing=Missing(valid_range=(0, 100)))
        assert only(ranged, box(0, 0, 1, 5)) == row
        data = replace(layer, missing=Missing(valid_range=(-math.inf, math.inf)))
        assert only(data, box(0, 0, 1, 5))["kf_coverage"] == 1


def test_a_mark_within_the_range_of_the_data_is_removed_by_either_key(tmp_path):
    path = raster(tmp_path, np.float32([[-0.1, -0.1, 0.2, 0.3]]))
    for missing in (Missing(nodata=(-0.1,)), Missing(valid_range=(0, 1))):
        row = only(numeric(path, missing=missing), box(0, 0, 1, 4))
        assert row["kf_mean"] == pytest.approx(0.25)
        assert row["kf_min"] == pytest.approx(0.2)
        assert row["kf_coverage"] == 0.5


def test_the_valid_range_holds_for_scaled_values_and_its_ends_are_valid(tmp_path):
    path = raster(tmp_path, np.int16([[10, 20, 30, 40]]), scale=0.1)
    layer = numeric(path, scale=-0.5, missing=Missing(valid_range=(-1.5, -1.0)))
    row = only(layer, box(0, 0, 1, 4))
    assert (row["kf_min"], row["kf_max"], row["kf_coverage"]) == (-1.5, -1.0, 0.5)
    # Decimals that neither type holds exactly: float32(0.02) < 0.02, and 3 * 0.1 > 0.3.
    path = raster(tmp_path, np.float32([[0.02, 0.3, 0.019, 0.301]]))
    row = only(numeric(path, missing=Missing(valid_range=(0.02, 0.3))), box(0, 0, 1, 4))
    assert row["kf_coverage"] == 0.5
    path = raster(tmp_path, np.int16([[3, 4]]))
    row = only(numeric(path, scale=0.1, missing=Missing(valid_range=(0, 0.3))), box(0, 0, 1, 2))
    assert row["kf_coverage"] == 0.5


def test_a_catchment_that_misses_too_much_has_no_values(tmp_path):
    path = raster(tmp_path, np.int16([[1, 1, 1, -9]]), nodata=-9)
    for layer in (numeric(path), classes(path), fuel(path)):
        enough = replace(layer, missing=Missing(max_share=0.25))
        assert next(iter(only(enough, box(0, 0, 1, 4)).values())) in (1, "unburned", "1")
        few = only(replace(layer, missing=Missing(max_share=0.24)), box(0, 0, 1, 4))
        assert few.pop(f"{layer.name}_coverage") == 0.75
        assert set(few.values()) == {None}


def test_a_catchment_that_misses_exactly_as_much_as_allowed_has_values(tmp_path):
    path = raster(tmp_path, np.int16([[-9] + [1] * 19]), nodata=-9)
    row = only(numeric(path, missing=Missing(max_share=0.05)), box(0, 0, 1, 20))
    assert (row["kf_mean"], row["kf_coverage"]) == (1, 0.95)


def test_a_catchment_may_be_smaller_than_a_millionth_of_a_cell(tmp_path):
    path = raster(tmp_path, np.float32([[7, 8]]), dx=1e5)
    row = only(numeric(path), shapely.box(LEFT + 5e4, TOP - 5e4, LEFT + 5e4 + 20, TOP - 5e4 + 20))
    assert (row["kf_mean"], row["kf_coverage"]) == (7, 1)


# ---- across the antimeridian ------------------------------------------------------------------


@pytest.mark.parametrize(("left", "columns"), [(-180.0, 360), (0.0, 360), (178.0, 4)])
@pytest.mark.parametrize("west", [179.0, -181.0])
def test_a_catchment_across_the_antimeridian(tmp_path, left, columns, west):
    # Cells of one degree, each with its longitude from 0 to 359.
    longitude = np.int16([(np.arange(columns) + left) % 360])
    path = raster(tmp_path, longitude, crs="EPSG:4326", left=left, top=1.0, dx=1.0)
    (row,) = values_of(numeric(path), [shapely.box(west, 0, west + 2, 1)], "EPSG:4326")
    assert (row["kf_min"], row["kf_max"], row["kf_coverage"]) == (179, 180, 1)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:6933", "EPSG:3832"])
def test_a_catchment_that_the_seam_of_a_projection_cuts_has_no_values(tmp_path, crs):
    """Not those of a strip around the globe."""
    cells = np.arange(420, dtype=np.float32)[None].repeat(200, 0)
    path = raster(tmp_path, cells, crs=crs, left=-2.1e7, top=1e7, dx=1e5)
    seam = -30.0 if crs == "EPSG:3832" else 180.0
    outlines = [shapely.box(seam + west, -17.5, seam + west + 1, -16.5) for west in (-0.5, -3)]
    torn, beside = values_of(numeric(path), outlines, "EPSG:4326")
    assert torn.pop("kf_coverage") == 0
    assert set(torn.values()) == {None}
    assert beside["kf_coverage"] == 1
    assert beside["kf_max"] - beside["kf_min"] < 5


# ---- classes ---------------------------------------------------------------------------------

LABELS = {1: "unburned", 2: "low", 3: "burned", 4: "burned"}


def classes(path, labels=None) -> ClassLayer:
    return ClassLayer("barc", str(path), LABELS if labels is None else labels)


def test_shares_of_labels(tmp_path):
    path = raster(tmp_path, np.uint8([[2, 3, 4, 9, 255, 255]]), nodata=255)
    assert only(classes(path), box(0, 0, 1, 6)) == pytest.approx(
        {
            "barc_dominant": "burned",
            "barc_share_unburned": 0.0,
            "barc_share_low": 0.25,
            "barc_share_burned": 0.5,
            "barc_share_unlabelled": 0.25,
            "barc_codes": "2=0.25;3=0.25;4=0.25;9=0.25",
            "barc_coverage": 4 / 6,
        }
    )


@pytest.mark.parametrize(
    ("cells", "dominant"),
    [([2, 1], "unburned"), ([9, 2], "low"), ([9, 7], "7"), ([9, 9, 2], "9"), ([-3, 2], "-3")],
)
def test_the_dominant_class_is_that_of_the_smallest_code_among_equals(tmp_path, cells, dominant):
    row = only(classes(raster(tmp_path, np.int16([cells]))), box(0, 0, 1, len(cells)))
    assert row["barc_dominant"] == dominant


def test_a_layer_of_classes_without_labels_has_its_codes(tmp_path):
    row = only(classes(raster(tmp_path, np.int32([[70000, 5]])), {}), box(0, 0, 1, 2))
    assert row == {
        "barc_dominant": "5",
        "barc_share_unlabelled": 1.0,
        "barc_codes": "5=0.5;70000=0.5",
        "barc_coverage": 1.0,
    }


def test_codes_may_be_stored_as_floats(tmp_path):
    path = raster(tmp_path, np.float32([[1, 2, np.nan]]))
    row = only(classes(path), box(0, 0, 1, 3))
    assert row["barc_codes"] == "1=0.5;2=0.5"
    assert row["barc_coverage"] == pytest.approx(2 / 3)


def test_a_cell_that_the_outline_only_touches_has_no_share(tmp_path):
    row = only(classes(raster(tmp_path, np.uint8([[1, 2]]))), box(0, 0, 1, 1))
    assert row["barc_codes"] == "1=1"


def test_a_class_that_is_not_covered_is_null(tmp_path):
    row = only(classes(raster(tmp_path, np.uint8([[0, 1]]), nodata=0)), box(0, 0, 1, 1))
    assert row.pop("barc_coverage") == 0
    assert set(row.values()) == {None}


def test_a_code_that_is_no_whole_number_is_refused(tmp_path):
    path = raster(tmp_path, np.float32([[1, 2.5]]))
    with pytest.raises(LayerError) as told:
        only(classes(path), box(0, 0, 1, 2))
    assert str(told.value) == (
        f"layer barc ({path}): found the cell value 2.5; expected whole numbers, the codes of "
        "classes. Declare the layer as numeric, or round its cells."
    )


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_a_code_that_floats_cannot_hold_is_refused(tmp_path, dtype):
    path = raster(tmp_path, np.array([[1, 2**53 + 2]], dtype))
    with pytest.raises(LayerError) as told:
        only(classes(path), box(0, 0, 1, 2))
    assert str(told.value) == (
        f"layer barc ({path}): found the code 9007199254740994; expected codes of less than 2^53, "
        "which floats hold exactly. Number the classes anew, with smaller codes."
    )


# ---- fuel ------------------------------------------------------------------------------------


def fuel(path) -> FuelLayer:
    return FuelLayer("fuel", str(path), TABLE)


def test_fuel_groups_models_and_means_over_burnable_cells(tmp_path):
    # GR1, GR2, NB9 (not burnable), SH5, and two codes that no table knows.
    path = raster(
        tmp_path, np.int16([[101, 102, 102, 99, 145, 145, 145, 300, 7, -9999]]), nodata=-9999
    )
    row = only(fuel(path), box(0, 0, 1, 10))
    shares = {name: value for name, value in row.items() if "_share_" in name and value}
    assert shares == pytest.approx(
        {
            "fuel_share_nb": 1 / 9,
            "fuel_share_gr": 3 / 9,
            "fuel_share_sh": 3 / 9,
            "fuel_share_nb9": 1 / 9,
            "fuel_share_gr1": 1 / 9,
            "fuel_share_gr2": 2 / 9,
            "fuel_share_sh5": 3 / 9,
            "fuel_share_burnable": 6 / 9,
            "fuel_share_unmapped": 2 / 9,
        }
    )
    assert row["fuel_dominant_model"] == "SH5"
    # As much as of SH, which follows it in the table.
    assert row["fuel_dominant_group"] == "GR"
    assert row["fuel_unmapped_codes"] == "7;300"
    assert row["fuel_coverage"] == pytest.approx(0.9)
    # Scott and Burgan (2005), table 7: fuel bed depths of 0.4, 1.0 and 6.0 ft.
    assert row["fuel_depth_ft"] == pytest.approx((0.4 + 2 * 1.0 + 3 * 6.0) / 6)
    # Live herbaceous fuel is not a part of SH5, so its surface is that of the grass alone.
    assert row["fuel_sav_live_herb_per_ft"] == pytest.approx((2000 + 2 * 1800) / 3)


def test_packing_ratios_are_averaged_not_computed_from_averages(tmp_path):
    row = only(fuel(raster(tmp_path, np.int16([[101, 188]]))), box(0, 0, 1, 2))
    # Scott and Burgan (2005): GR1 and TL8.
    assert row["fuel_packing_ratio"] == pytest.approx((0.00143 + 0.03969) / 2, abs=1e-5)
    assert row["fuel_characteristic_sav_per_ft"] == pytest.approx((2054 + 1770) / 2, abs=1)


def test_where_nothing_burns_means_are_null(tmp_path):
    row = only(fuel(raster(tmp_path, np.int16([[99, 91]]))), box(0, 0, 1, 2))
    assert row["fuel_share_burnable"] == 0
    assert row["fuel_depth_ft"] is None
    assert row["fuel_dominant_model"] == "NB1"
    assert row["fuel_unmapped_codes"] is None
    assert row["fuel_share_unmapped"] == 0


def test_an_unmapped_code_may_be_the_dominant_one(tmp_path):
    row = only(fuel(raster(tmp_path, np.int16([[300, 300, 101]]))), box(0, 0, 1, 3))
    assert (row["fuel_dominant_model"], row["fuel_dominant_group"]) == ("300", "GR")
    row = only(fuel(raster(tmp_path, np.int16([[300, 300]]))), box(0, 0, 1, 2))
    assert (row["fuel_dominant_model"], row["fuel_dominant_group"]) == ("300", None)


def test_fuel_that_is_not_covered_is_null(tmp_path):
    row = only(fuel(raster(tmp_path, np.int16([[101]]))), box(3, 3, 1, 1))
    assert row.pop("fuel_coverage") == 0
    assert set(row.values()) == {None}


# ---- what is refused -------------------------------------------------------------------------


def refusal(layer) -> str:
    with pytest.raises(LayerError) as told:
        only(layer, box(0, 0, 1, 1))
    return str(told.value)


@pytest.mark.parametrize("kind", [numeric, classes, fuel])
def test_a_missing_layer(tmp_path, kind):
    layer = kind(tmp_path / "none.tif")
    assert refusal(layer) == (
        f"layer {layer.name} ({layer.path}): found no such file; expected a raster. "
        "Correct the layer's path."
    )


def test_a_file_that_is_no_raster(tmp_path):
    path = tmp_path / "layer.tif"
    path.write_text("none")
    message = refusal(numeric(path))
    assert message.startswith(f"layer kf ({path}): found a file that cannot be opened (")
    assert message.endswith(
        "expected a raster that GDAL reads. Check that it exists and is complete; fetch it again "
        "if not."
    )


def test_a_layer_without_a_crs(tmp_path):
    path = raster(tmp_path, np.uint8([[1]]), crs=None)
    assert refusal(classes(path)) == (
        f"layer barc ({path}): found no CRS; expected a georeferenced raster. "
        "Assign one, e.g. gdal_edit.py -a_srs."
    )


def test_a_layer_of_several_bands(tmp_path):
    path = raster(tmp_path, np.zeros((3, 2, 2), np.uint8))
    assert refusal(numeric(path)) == (
        f"layer kf ({path}): found 3 bands; expected one band. "
        "Extract the right one with gdal_translate -b <band>."
    )


def test_a_rotated_layer(tmp_path):
    turned = rasterio.Affine(CELL, 1, LEFT, 1, -CELL, TOP)
    path = raster(tmp_path, np.zeros((2, 2), np.uint8), transform=turned)
    assert refusal(numeric(path)) == (
        f"layer kf ({path}): found rotated cells; expected rows and columns along the axes of its "
        "CRS. Rectify it with gdalwarp."
    )


def test_a_local_crs_has_no_way_to_it(tmp_path):
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    message = refusal(numeric(raster(tmp_path, np.zeros((2, 2), np.uint8), crs=local)))
    assert "found a CRS that cannot be used (site is neither geographic nor projected)" in message


def test_a_layer_that_is_damaged_inside(tmp_path):
    values = np.random.default_rng(0).integers(0, 9, (64, 64))
    path = raster(tmp_path, values, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    content = bytearray(Path(path).read_bytes())
    content[-100:] = b"\xff" * 100
    Path(path).write_bytes(content)
    layer = numeric(path)
    assert only(layer, box(0, 0, 8, 8))["kf_coverage"] == 1, "what is damaged lies elsewhere"
    with pytest.raises(LayerError) as told:
        only(layer, box(0, 0, 64, 64))
    message = str(told.value)
    assert message.startswith(f"layer kf ({path}): found a file that cannot be read (")
    assert message.endswith("It is damaged: fetch it again, or check it with gdalinfo.")


def test_a_layer_is_not_called_damaged_for_want_of_memory(tmp_path, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    layer = numeric(raster(tmp_path, np.float32([[1, 2, 3]])))
    monkeypatch.setattr("rasterio.io.DatasetReader.read", no_memory)
    with pytest.raises(MemoryError):
        only(layer, box(0, 0, 1, 3))
