"""The demo's inputs are real terrain in its real place, and the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import demo_stock
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from pyproj import Geod

from snakeshed import demo, demo_terrain
from snakeshed.demo_outlets import OUTLETS
from snakeshed.demo_storms import TERMS

MILLIDEGREES = Affine(0.001, 0.0, 10.0, 0.0, -0.001, 40.0)
FUEL_TABLE = Path(__file__).parents[3] / "config" / "fbfm40.csv"
# Where it has not done so before, stock pysheds compiles for 20 s.
runs_stock_pysheds = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "new"
    demo.make_demo(folder)
    return folder


@pytest.fixture(scope="module")
def sites(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "sites.csv")


@pytest.fixture(scope="module")
def terrain():
    return demo_terrain.read_sample()


@pytest.fixture(scope="module")
def areas(terrain):
    return demo_stock.contributing_areas(*terrain)


# Where and how high, from Wikipedia: Cross Mountain (Tennessee); Jacksboro, Tennessee.
@pytest.mark.parametrize(
    ("lat", "lon", "height_m"), [(36.19833, -84.23056, 1077), (36.33, -84.184, 326)]
)
def test_known_places_have_their_known_height(folder, lat, lon, height_m):
    with rasterio.open(folder / "dem.tif") as dem:
        assert dem.crs.to_epsg() == 4326
        [[found_m]] = dem.sample([(lon, lat)])
    assert abs(int(found_m) - height_m) <= 2


def test_highest_cell_is_the_summit_of_cross_mountain(folder):
    with rasterio.open(folder / "dem.tif") as dem:
        elevation = dem.read(1)
        row, column = divmod(int(elevation.argmax()), dem.width)
        lon, lat = dem.xy(row, column)
    assert (lon, lat) == pytest.approx((-84.23056, 36.19833), abs=1 / 1200)
    assert elevation.shape == (344, 403)
    assert elevation.dtype == np.int16


def test_cell_centres_are_whole_multiples_of_three_arc_seconds(terrain):
    _, transform = terrain
    lon, lat = transform @ (0.5, 0.5)
    assert (lon * 1200, lat * 1200) == pytest.approx((-101296, 43735), abs=1e-6)


def test_layers_lie_on_the_dem(folder):
    with rasterio.open(folder / "dem.tif") as dem:
        for name in ("roughness.tif", "fuel.tif", "synthetic_dnbr.tif", "synthetic_kf.tif"):
            with rasterio.open(folder / name) as layer:
                assert (layer.shape, layer.transform, layer.crs) == (
                    (dem.height, dem.width),
                    dem.transform,
                    dem.crs,
                )


def test_same_bytes_every_time(folder, tmp_path):
    demo.make_demo(tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "dem.tif",
        "fuel.tif",
        "roughness.tif",
        "sites.csv",
        "synthetic_dnbr.tif",
        "synthetic_kf.tif",
        "synthetic_perimeter.geojson",
        "synthetic_rock.geojson",
    ]
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@runs_stock_pysheds
def test_outlets_are_those_that_stock_pysheds_finds():
    assert demo_stock.stock_outlets() == list(OUTLETS)


@runs_stock_pysheds
def test_debris_flows_are_drawn_with_what_burned_in_the_catchments_of_stock_pysheds():
    # Means are rounded to three decimals.
    assert np.array(demo_stock.stock_terms()) == pytest.approx(np.array(TERMS), abs=0.0011)


def test_another_process_makes_the_same_bytes_and_imports_neither_pysheds_nor_numba(
    folder, tmp_path
):
    code = """
import sys
from snakeshed.demo import make_demo
make_demo(sys.argv[1])
print({"pysheds", "numba"} & set(sys.modules))
"""
    # As on an older CPU, where NumPy's transcendental functions have other last bits.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@runs_stock_pysheds
def test_areas_are_geodesic():
    # A ramp down to the south: each cell drains itself and the cells north of it.
    elevation = np.repeat(np.arange(20, 0, -2, dtype=np.int16)[:, np.newaxis], 9, axis=1)
    area_km2, is_whole = demo_stock.contributing_areas(elevation, MILLIDEGREES)
    strip = [(10.004, 40.0), (10.005, 40.0), (10.005, 39.993), (10.004, 39.993)]
    strip_m2, _ = Geod(ellps="WGS84").polygon_area_perimeter(*zip(*strip, strict=True))
    assert area_km2[6, 4] == pytest.approx(abs(strip_m2) / 1e6, rel=1e-6)
    assert not is_whole.any()


@runs_stock_pysheds
def test_a_catchment_is_whole_unless_it_reaches_the_edge():
    row, column = np.indices((11, 11))
    bowl = (10 * ((row - 5) ** 2 + (column - 5) ** 2)).astype(np.int16)
    _, is_whole = demo_stock.contributing_areas(bowl.max() - bowl, MILLIDEGREES)
    assert is_whole[1:-1, 1:-1].all()
    assert not is_whole[0].any()

    bowl[5, 5:] = np.arange(0, -6, -1)  # a breach to the east
    _, is_whole = demo_stock.contributing_areas(bowl, MILLIDEGREES)
    assert not is_whole[5, 5:].any()


def test_enough_sites_with_areas_spread_over_the_orders_of_magnitude(sites):
    unique = sites.drop_duplicates("site")
    reported = unique["area_km2"].dropna()
    assert len(unique) == 50
    assert reported.min() < 0.35
    assert reported.max() > 20
    classes = pd.cut(reported, [0.25, 0.5, 1, 2, 4, 8, 16, 32], labels=False)
    assert classes.value_counts().min() >= 3


def test_sites_are_spread_over_the_map(sites):
    unique = sites.drop_duplicates("site")
    quarters = unique.groupby([unique["lon"] > -84.246, unique["lat"] > 36.303]).size()
    assert len(quarters) == 4
    assert quarters.min() >= 8


def test_one_site_has_no_area_and_one_lies_outside(sites, terrain):
    elevation, transform = terrain
    unique = sites.drop_duplicates("site")
    assert unique["area_km2"].isna().sum() == 1
    column, row = ~transform @ (unique["lon"].to_numpy(), unique["lat"].to_numpy())
    inside = (column > 0) & (column < elevation.shape[1]) & (row > 0) & (row < elevation.shape[0])
    assert unique.loc[~inside, "site"].to_list() == ["jf_50"]


def test_some_sites_have_two_observations_of_one_place(sites):
    by_site = sites.groupby("site")
    assert by_site.size().value_counts().to_dict() == {1: 43, 2: 7}
    assert (by_site[["lon", "lat"]].nunique() == 1).all(axis=None)
    assert not sites.duplicated(["site", "storm_date"]).any()


@runs_stock_pysheds
def test_sites_are_close_to_a_stream_of_their_area(sites, terrain, areas):
    _, transform = terrain
    area_km2, is_whole = areas
    beside = 0
    for site in sites.dropna().drop_duplicates("site").itertuples():
        if site.site == "jf_50":
            continue
        column, row = (int(value) for value in ~transform @ (site.lon, site.lat))
        near = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        difference_km2 = np.abs(area_km2[near] - site.area_km2)
        assert difference_km2.min() <= 0.0005
        beside += difference_km2[1, 1] > 0.0005
        found = np.unravel_index(difference_km2.argmin(), difference_km2.shape)
        assert is_whole[near][found] == (site.site != "jf_49")
    assert beside >= 20


def test_outlets_need_streams_of_all_sizes():
    with pytest.raises(ValueError, match=r"no stream of the demo's terrain drains 25\.0 km2"):
        demo_stock.choose_outlets(np.ones((20, 20)), np.ones((20, 20), dtype=bool))


def test_roughness_is_the_standard_deviation_of_the_window():
    elevation = np.random.default_rng(1).integers(-50, 3000, (6, 7)).astype(np.int16)
    found = demo.roughness(elevation)
    assert found.dtype == np.float32
    assert found[2, 3] == pytest.approx(elevation[1:4, 2:5].std())
    corner = elevation[[0, 0, 1]][:, [0, 0, 1]]
    assert found[0, 0] == pytest.approx(corner.std())
    assert demo.roughness(np.full((3, 3), 7, np.int16)).max() == 0


def test_fuel_follows_elevation_slope_and_aspect():
    transform = Affine(1 / 1200, 0.0, -84.0, 0.0, -1 / 1200, 36.0)
    level, ramp = np.zeros((5, 5), np.int16), 30 * np.arange(5, dtype=np.int16)
    uphill_north = np.repeat(ramp[::-1, np.newaxis], 5, axis=1)

    def model(elevation: np.ndarray) -> int:
        return demo.fuel_models(elevation.astype(np.int16), transform)[2, 2]

    assert model(level + 305) == 98  # water
    assert model(level + 340) == 91  # towns
    assert model(level + 1000) == 201  # ridge tops
    assert model(uphill_north + 500) == 188  # slopes to the south
    assert model(uphill_north[::-1] + 500) == 186  # to the north
    assert model(uphill_north.T + 500) == 163  # to the east
    assert model(uphill_north.T + 700) == 162
    assert model(3 * uphill_north + 500) == 99  # cliffs


def test_fuel_codes_are_known_and_of_every_group(folder):
    groups = pd.read_csv(FUEL_TABLE).set_index("code")["group"]
    with rasterio.open(folder / "fuel.tif") as fuel:
        codes = np.unique(fuel.read(1))
        assert fuel.nodata == -9999
        assert fuel.dtypes == ("int16",)
    assert set(groups.loc[codes]) == {"NB", "GR", "GS", "SH", "TU", "TL", "SB"}
