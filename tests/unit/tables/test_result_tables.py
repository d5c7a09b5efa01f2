"""The tables that a study ends in."""

from __future__ import annotations

from dataclasses import fields

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.table import CATCHMENTS, write_catchments
from snakeshed.features.columns import BEFORE_FEATURES, Column
from snakeshed.features.table import write_features
from snakeshed.tables.geoparquet import read_descriptions, read_table

CRS = "EPSG:32611"
FAILED = Catchment("z", "on_nodata", "no data", 1.0, 2.0, None, "L0_R0_C0", 0)
DONE = Catchment(
    site_id="a",
    status="ok",
    reason=None,
    site_x=1.0,
    site_y=2.0,
    reported_area_km2=0.5,
    patch="L1_R-1_C2",
    patch_level=1,
    outlet_x=3.0,
    outlet_y=4.0,
    outlet_lon=-117.5,
    outlet_lat=34.5,
    area_km2=0.55,
    area_ratio=1.1,
    cells=5500,
    snap_distance_m=12.5,
    snap_cost=0.1,
    confidence="high",
    touches_edge=False,
    touches_nodata=True,
    pool_at_rim=False,
    needs_larger_window=False,
    pit_depth_m=31.5,
    deep_pit=True,
    open_water=False,
    perimeter_km=3.0,
    longest_flow_path_km=1.5,
    basin_length_km=1.0,
    channel_length_km=0.7,
    geometry=shapely.MultiPolygon([shapely.box(0, 0, 10, 20)]),
)


def write(catchments, folder, name="catchments"):
    path = folder / f"{name}.parquet"
    write_catchments(catchments, path, CRS)
    return path


def test_catchments_come_back_as_they_were(tmp_path):
    table = read_table(write([DONE, FAILED], tmp_path))
    assert list(table.columns) == [field.name for field in fields(Catchment)]
    assert table.crs == CRS
    for row, catchment in zip(table.itertuples(), [DONE, FAILED], strict=True):
        for field in fields(Catchment):
            value, expected = getattr(row, field.name), getattr(catchment, field.name)
            assert (value == expected) if expected is not None else pd.isna(value), field.name
    assert table["cells"].dtype == "Int64"


def test_no_two_columns_are_one_to_a_geopackage(tmp_path):
    columns = [name.casefold() for name in read_table(write([DONE], tmp_path)).columns]
    # SQLite ignores case, and GDAL has a column of its own.
    assert len({*columns, "fid", "ogc_fid"}) == len(columns) + 2


def test_every_column_is_described_with_its_unit(tmp_path):
    texts = read_descriptions(write([DONE], tmp_path))
    assert list(texts) == [*CATCHMENTS, "geometry"]
    assert all(texts.values())
    for suffix, unit in (("_km2", "km2"), ("_km", "km"), ("_m", "m")):
        for name, text in texts.items():
            if name.endswith(suffix):
                assert f"{unit}." in text, name


@pytest.mark.parametrize("catchments", [[], [FAILED]])
def test_the_schema_does_not_depend_on_the_values(tmp_path, catchments):
    one = pq.read_schema(write([DONE, FAILED], tmp_path))
    other = pq.read_schema(write(catchments, tmp_path, "other"))
    assert one.remove_metadata() == other.remove_metadata()


def test_features_have_the_types_of_their_columns(tmp_path):
    # The ending of a name says nothing about the type.
    columns = {
        "a_codes": Column("a_codes", "A number."),
        "b_mean": Column("b_mean", "A text.", is_text=True),
    }
    rows = [
        {"site_id": "a", "status": "ok", "reason": None, "a_codes": 1.5, "b_mean": "x"},
        {"site_id": "z", "status": "on_nodata", "reason": "no data"},
    ]
    path = tmp_path / "features.parquet"
    write_features(rows, columns, path)
    schema = pq.read_schema(path)
    assert schema.names == [*BEFORE_FEATURES, *columns]
    assert schema.field("a_codes").type == pa.float64()
    assert schema.field("b_mean").type == pa.string()
    assert read_descriptions(path)["b_mean"] == "A text."
    table = pq.read_table(path).to_pylist()
    nothing = dict.fromkeys([*BEFORE_FEATURES, *columns])
    assert table[0] == nothing | rows[0]
    assert table[1] == nothing | rows[1]
