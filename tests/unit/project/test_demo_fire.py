"""The demo's fire, rock, and storms are synthetic, say so, and follow what is declared of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from snakeshed import demo, demo_storms, demo_terrain
from snakeshed.demo_fire import dnbr, kf_factor
from snakeshed.demo_noise import smooth, uniform
from snakeshed.demo_polygons import PERIMETER, ROCK_BORDERS, inside

SITES = len(demo_storms.TERMS)
STORMS = len(demo_storms.STORMS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo.make_demo(folder)
    return folder


@pytest.fixture(scope="module")
def dem_outline(folder):
    with rasterio.open(folder / "dem.tif") as dem:
        return shapely.box(*dem.bounds)


@pytest.fixture(scope="module")
def severity(folder) -> np.ndarray:
    with rasterio.open(folder / "synthetic_dnbr.tif") as raster:
        return raster.read(1)


def plain_uniform(seed: int, first: int, second: int) -> float:
    """lowbias32 of Wellons (2018), applied to the seed and then to each number."""
    hashed = 0
    for number in (seed, first, second):
        hashed = (hashed + number) % 2**32
        hashed ^= hashed >> 16
        hashed = hashed * 0x7FEB352D % 2**32
        hashed ^= hashed >> 15
        hashed = hashed * 0x846CA68B % 2**32
        hashed ^= hashed >> 16
    return hashed / 2**32


def test_every_file_of_the_fire_says_that_it_is_synthetic(folder):
    for name in ("dnbr", "kf"):
        with rasterio.open(folder / f"synthetic_{name}.tif") as raster:
            assert raster.descriptions[0].startswith("synthetic")
    for name in ("perimeter", "rock"):
        text = (folder / f"synthetic_{name}.geojson").read_text(encoding="utf-8")
        collection = json.loads(text)
        assert collection["name"].startswith("Synthetic")
        for feature in collection["features"]:
            assert "synthetic" in " ".join(feature["properties"].values()).lower()
    columns = pd.read_csv(folder / "sites.csv").columns[-2:]
    assert list(columns) == ["synthetic_rain_mm", "synthetic_debris_flow"]


def test_the_perimeter_lies_on_the_dem(folder, dem_outline):
    [perimeter] = geopandas.read_file(folder / "synthetic_perimeter.geojson").geometry
    assert perimeter.is_valid
    assert perimeter.exterior.is_ccw
    assert dem_outline.contains(perimeter)
    assert 0.2 < perimeter.area / dem_outline.area < 0.5


def test_rock_covers_the_dem_without_gaps_and_overlaps(folder, dem_outline):
    # Without a CRS, areas are those of the plane of longitude and latitude.
    rock = geopandas.read_file(folder / "synthetic_rock.geojson").set_crs(None, allow_override=True)
    assert rock.is_valid.all()
    assert rock.exterior.map(lambda ring: ring.is_ccw).all()
    whole = rock.union_all()
    assert whole.geom_type == "Polygon"
    assert not whole.interiors
    assert whole.contains(dem_outline)
    assert rock.area.sum() == pytest.approx(whole.area, rel=1e-12)
    assert set(rock["GENERALIZE"].str.partition(",")[0]) == {
        "Igneous",
        "Sedimentary",
        "Sedimentary and Metamorphic",
        "Unconsolidated",
    }


@pytest.mark.parametrize("ring", [PERIMETER, (*ROCK_BORDERS[1], *reversed(ROCK_BORDERS[2]))])
def test_cells_are_inside_where_shapely_finds_them(ring):
    column, row = np.meshgrid(np.arange(403) + 0.5, np.arange(344) + 0.5)
    polygon = shapely.Polygon(ring)
    differs = inside(ring, (344, 403)) != shapely.contains_xy(polygon, column, row)
    # A center on the perimeter is in one of the two polygons that it divides.
    centers = shapely.points(column[differs], row[differs])
    assert shapely.distance(polygon.exterior, centers) == pytest.approx(0, abs=1e-9)


def test_dnbr_has_every_class_inside_the_perimeter_and_none_outside(severity):
    burned = inside(PERIMETER, severity.shape)
    assert severity.dtype == np.int16
    assert severity[~burned].max() <= 125
    classes = np.searchsorted([125, 250, 500], severity[burned])
    shares = np.bincount(classes) / classes.size
    assert shares.min() > 0.1
    assert np.abs(severity).max() < 1300


def test_dnbr_rises_with_the_slope(severity):
    elevation, transform = demo_terrain.read_sample()
    level = dnbr(np.full_like(elevation, 500), transform)
    burned = inside(PERIMETER, severity.shape)
    assert level[burned].mean() < severity[burned].mean() - 50
    np.testing.assert_array_equal(level[~burned], severity[~burned])


def test_the_soil_is_less_erodible_on_ridges_and_cliffs():
    _, transform = demo_terrain.read_sample()
    level, ramp = np.zeros((5, 5), np.int16), np.arange(5, dtype=np.int16)[:, np.newaxis]

    def factor(elevation: np.ndarray) -> float:
        return kf_factor(elevation.astype(np.int16), transform)[2, 2]

    assert factor(level + 300) == pytest.approx(0.37)
    assert factor(level + 400) == pytest.approx(0.32)
    assert factor(level + 600) == pytest.approx(0.24)
    assert factor(level + 900) == pytest.approx(0.17)
    assert factor(level + 600 + 40 * ramp) == pytest.approx(0.20)
    assert factor(level + 600 + 90 * ramp) == pytest.approx(0.10)


def test_numbers_are_those_of_the_published_hash():
    row, column = np.indices((4, 5))
    expected = [[plain_uniform(7, first, second) for second in range(5)] for first in range(4)]
    np.testing.assert_array_equal(uniform(7, row, column), expected)


def test_numbers_are_even_and_without_a_trend():
    drawn = uniform(3, np.arange(300)[:, np.newaxis], np.arange(300))
    counts = np.bincount((drawn * 10).astype(int).ravel(), minlength=10)
    assert counts.size == 10
    assert np.abs(counts - 9000).max() < 4 * math.sqrt(9000 * 0.9)
    for one, other in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / 300


def test_a_smooth_field_passes_through_its_points_without_steps():
    field = smooth(5, (61, 81), 10)
    row, column = np.arange(7)[:, np.newaxis], np.arange(9)
    np.testing.assert_array_equal(field[::10, ::10], uniform(5, row, column))
    assert field.min() >= 0
    assert field.max() < 1
    # The steepest part of 3 w^2 - 2 w^3 is 1.5.
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) <= 1.5 / 10


@pytest.mark.parametrize("site", [1, 7, 45])
def test_likelihoods_are_those_of_the_model_that_is_declared(site):
    steep, fire, soil = demo_storms.TERMS[site - 1]
    # Model M1 for 15 minutes, as published.
    log_odds = -3.63 + (0.41 * steep + 0.67 * fire + 0.70 * soil) * 8.0
    expected = 1 / (1 + math.exp(-log_odds))
    assert demo_storms.likelihood(site, 8.0) == pytest.approx(expected, rel=1e-12)


def test_debris_flows_are_as_frequent_as_the_likelihoods():
    draws = [(site, storm) for site in range(1, SITES + 1) for storm in range(STORMS)]
    flows = [demo_storms.debris_flow(*draw) for draw in draws]
    expected = [
        demo_storms.likelihood(site, demo_storms.storm_rainfall(site, storm))
        for site, storm in draws
    ]
    spread = math.sqrt(sum(each * (1 - each) for each in expected))
    assert abs(sum(flows) - sum(expected)) < 2 * spread
    # Likely ones happened more often, but not always.
    ranked = [flow for _, flow in sorted(zip(expected, flows, strict=True))]
    rare, frequent = ranked[: len(ranked) // 2], ranked[len(ranked) // 2 :]
    assert 0 < sum(rare) < sum(frequent) < len(frequent)


def test_the_table_has_the_rain_and_the_debris_flows_of_each_storm(folder):
    table = pd.read_csv(folder / "sites.csv")
    dates = [storm.date for storm in demo_storms.STORMS]
    assert set(table["storm_date"]) == set(dates)
    for row in table.itertuples():
        site, storm = int(row.site.removeprefix("jf_")), dates.index(row.storm_date)
        average_mm = demo_storms.STORMS[storm].rainfall_mm
        assert row.synthetic_rain_mm == demo_storms.storm_rainfall(site, storm)
        assert 0.6 * average_mm - 0.05 <= row.synthetic_rain_mm <= 1.4 * average_mm + 0.05
        flow = demo_storms.debris_flow(site, storm)
        assert pd.isna(row.synthetic_debris_flow) if flow is None else row[-1] == flow


def test_outside_the_dem_it_is_not_known_whether_there_was_a_debris_flow(folder):
    table = pd.read_csv(folder / "sites.csv")
    unknown = table[table["synthetic_debris_flow"].isna()]
    assert unknown["site"].to_list() == ["jf_50"]
    assert table["synthetic_debris_flow"].value_counts().min() >= 10
