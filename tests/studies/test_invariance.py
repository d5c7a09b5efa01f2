"""The result of a site depends on its own row and the ground around it, and on nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.warp import transform_bounds
from rasterio.windows import Window
from vectors import declared

from snakeshed import demo
from snakeshed.backends.local import Backend
from snakeshed.backends.opening import open_backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.nesting import NESTING, with_nesting
from snakeshed.delineation.patch import TileSettings
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.delineation.table import write_catchments
from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.joint import joint_rules
from snakeshed.features.layer import Layer
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layer_types.numeric import NumericLayer
from snakeshed.features.layers import feature_columns, layer_of
from snakeshed.features.table import write_features
from snakeshed.grid.grid import Grid
from snakeshed.grid.pysheds_import import Raster, ViewFinder
from snakeshed.grid.snap import SnapRule
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.water_at_rim import pools_at_rim
from snakeshed.study.configuration import complete
from snakeshed.tables.gather import concatenate
from snakeshed.tables.geoparquet import read_table, write_table
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex

RULE = DelineationRule(SnapRule(250.0, 0.05, 0.1), max_void_cells=64, channel_km2=0.1)
RELIEF = ReliefRule((23.0, 30.0), (10.0, 50.0, 90.0))
# Small patches, so that there are many of them and some sites go up.
LEVELS = {"core_m": 2000, "buffer_m": 1000, "levels": 6, "radius_factor": 2.0}


@pytest.fixture(scope="module", params=["geographic", "projected"])
def ground(request, shared_data, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A DEM of real terrain and a table of sites on it."""
    folder = tmp_path_factory.mktemp(request.param)
    demo.make_demo(folder)
    if request.param == "geographic":
        table = pd.read_csv(folder / "sites.csv").drop_duplicates("site")
        return folder / "dem.tif", pd.DataFrame(
            {
                "site_id": table["site"],
                "x": table["lon"],
                "y": table["lat"],
                "crs": "EPSG:4326",
                "reported_area_km2": table["area_km2"],
            }
        ).reset_index(drop=True)
    dem = shared_data("colorado-fire-2022") / "dem.tif"
    with rasterio.open(dem) as raster:
        known = raster.read_masks(1) > 0
        cells = np.argwhere(known)[:: known.sum() // 60]
        x, y = raster.xy(cells[:, 0], cells[:, 1])
    areas = [None if k % 7 == 0 else 0.02 * 1.08**k for k in range(len(cells))]
    return dem, pd.DataFrame(
        {
            "site_id": [f"c{k:02d}" for k in range(len(cells))],
            "x": x,
            "y": y,
            "crs": "EPSG:26910",
            "reported_area_km2": areas,
        }
    )


def burned(dem: str, index: TerrainIndex, folder: Path) -> Layer:
    """Burn severity within a perimeter, from dNBR with gaps on a grid of its own."""
    with rasterio.open(dem) as raster:
        crs, bounds = raster.crs, raster.bounds
    west, _, east, north = transform_bounds(crs, "EPSG:5070", *bounds)
    cell = (east - west) / 300
    dnbr = np.random.default_rng(8).integers(-200, 900, (400, 300)).astype(np.int16)
    dnbr[::13, ::7] = -9999
    options = {"driver": "GTiff", "dtype": "int16", "count": 1, "height": 400, "width": 300}
    options |= {"crs": "EPSG:5070", "nodata": -9999}
    options |= {"transform": rasterio.Affine(cell, 0, west, 0, -cell, north)}
    with rasterio.open(folder / "dnbr.tif", "w", **options) as raster:
        raster.write(dnbr, 1)
    west, south, east, north = transform_bounds(crs, "EPSG:4326", *bounds)
    center = shapely.Point((west + east) / 2, (south + north) / 2)
    fire = center.buffer(0.3 * (east - west))
    geopandas.GeoDataFrame(geometry=[fire], crs="EPSG:4326").to_file(folder / "fire.gpkg")
    (entry,) = complete(
        {
            "study": "burned",
            "sites": {"path": "a.csv", "crs": "EPSG:4326", "columns": {"x": "x", "y": "y"}},
            "dem": {"path": dem},
            "layers": [
                {"name": "severity", "type": "severity", "path": str(folder / "dnbr.tif")}
                | {"coding": "dnbr", "perimeter": str(folder / "fire.gpkg")}
            ],
        },
        Path(__file__).parents[2] / "config/schema/study.schema.yaml",
        "burned",
    )["layers"]
    index_layers([entry], index, str(folder / "layers"))
    return layer_of(entry, str(folder / "layers"))


def vector_layers(dem: str, index: TerrainIndex, folder: Path) -> list[Layer]:
    """Polygons of which some overlap and some cross themselves, and points, in degrees."""
    with rasterio.open(dem) as raster:
        bounds = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds)
    west, south, east, north = np.round(bounds, 2)
    rng = np.random.default_rng(4)
    x, y = rng.uniform(west, east, 400), rng.uniform(south, north, 400)
    points = shapely.points(x, y)
    rocks = list(shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points))))
    rocks += [
        shapely.box(a - 0.01, b - 0.004, a + 0.01, b + 0.004)
        for a, b in zip(x[:40], y[:40], strict=True)
    ]
    rocks += [
        shapely.Polygon([(a, b), (a + 0.02, b + 0.02), (a + 0.02, b), (a, b + 0.02)])
        for a, b in zip(x[:9], y[:9], strict=True)
    ]
    # The first ones count.
    shapes = rocks[::-1]
    columns = {"kind": [f"kind {k % 7}" for k in range(len(shapes))], "age": np.sqrt(range(449))}
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326")
    frame.to_file(folder / "rock.gpkg")
    geopandas.GeoDataFrame(geometry=points, crs="EPSG:4326").to_file(folder / "basins.fgb")
    rock = declared(folder / "rock.gpkg", attribute="kind", at_site=True)
    age = declared(folder / "rock.gpkg", name="age", attribute="age", summary="number")
    entries = [rock, age, declared(folder / "basins.fgb", "points", "basins")]
    index_layers(entries, index, str(folder / "layers"))
    return [layer_of(entry, str(folder / "layers")) for entry in entries]


def tables(
    files,
    sites: pd.DataFrame,
    folder: Path,
    shards: int = 1,
    backend: Backend | None = None,
    tiles: TileSettings | None = None,
    rule: DelineationRule = RULE,
) -> tuple[Path, Path]:
    """Run all stages as the workflow does; paths of the gathered tables."""
    folder.mkdir(parents=True, exist_ok=True)
    index = index_terrain([str(file) for file in files])
    pyramid = PatchPyramid(index.lattice, **LEVELS)
    dem = str(files[0])
    layers = []
    if len(files) == 1:
        layers = [NumericLayer("height", dem, (50.0,)), *vector_layers(dem, index, folder)]
        layers.append(burned(dem, index, folder))
    joint = joint_rules(["terrain_m1", "terrain_m2"] if layers else [], layers)
    parts = {"catchments": [], "features": []}
    for shard in split(sites, index, pyramid, shards):
        where = backend or Backend("serial")
        done = delineate(sites_of(shard.sites), shard.terrain, pyramid, rule, where, tiles)
        catchments = folder / f"{shard.name}_catchments.parquet"
        write_catchments(done, catchments, index.lattice.crs)
        features = folder / f"{shard.name}_features.parquet"
        with Terrain(shard.terrain, RULE.max_void_cells) as terrain:
            rows = extract_features(read_table(catchments), terrain, RELIEF, layers, joint)
        write_features(rows, feature_columns(RELIEF, layers, joint), features)
        parts["catchments"].append(catchments)
        parts["features"].append(features)
    write_table(with_nesting(concatenate(parts["catchments"])), folder / "catchments.parquet")
    write_table(concatenate(parts["features"]), folder / "features.parquet")
    return folder / "catchments.parquet", folder / "features.parquet"


@pytest.fixture(scope="module")
def reference(ground, tmp_path_factory) -> tuple[Path, Path]:
    dem, sites = ground
    return tables([dem], sites, tmp_path_factory.mktemp("reference"))


def assert_equal_bytes(one: tuple[Path, Path], other: tuple[Path, Path]) -> None:
    for first, second in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(read_table(first), read_table(second), check_exact=True)
        assert first.read_bytes() == second.read_bytes()


def test_reference_is_worth_comparing(reference):
    catchments = read_table(reference[0])
    assert (catchments["status"] == "ok").sum() >= 40
    assert catchments["patch_level"].nunique() >= 3
    features = read_table(reference[1])
    assert features["rock_codes"].str.contains(";").sum() >= 20
    assert features["reason"].str.contains("polygons of layer rock overlap").sum() >= 5
    assert features["basins_count"].sum() >= 5
    assert features["severity_burned_share"].between(0.01, 0.99).sum() >= 5
    assert (features["terrain_m1"] > 0).sum() >= 5


@pytest.mark.parametrize("shards", [5, 16])
def test_number_of_shards(ground, reference, tmp_path, shards):
    dem, sites = ground
    assert_equal_bytes(reference, tables([dem], sites, tmp_path, shards))


def test_order_of_rows(ground, reference, tmp_path):
    dem, sites = ground
    shuffled = sites.sample(frac=1, random_state=7)
    assert_equal_bytes(reference, tables([dem], shuffled, tmp_path, 5))


def test_other_sites(ground, reference, tmp_path):
    dem, sites = ground
    kept = sites[::3]
    fewer = tables([dem], kept, tmp_path)
    for whole, part in zip(reference, fewer, strict=True):
        expected = read_table(whole)
        expected = expected[expected["site_id"].isin(kept["site_id"])].reset_index(drop=True)
        # What these columns tell is how the sites of a table are nested.
        pd.testing.assert_frame_equal(
            expected.drop(columns=list(NESTING), errors="ignore"),
            read_table(part).drop(columns=list(NESTING), errors="ignore"),
            check_dtype=False,
            check_exact=True,
        )


@pytest.fixture(scope="module")
def few(ground, tmp_path_factory) -> tuple[pd.DataFrame, tuple[Path, Path]]:
    """Every eighth site, and their tables without tiles."""
    dem, sites = ground
    kept = sites[::8]
    whole = tables([dem], kept, tmp_path_factory.mktemp("few"))
    # The largest windows, of level 2 and above, have several tiles of 150 or 400 cells.
    assert read_table(whole[0])["patch_level"].max() >= 2
    return kept, whole


def test_threads_of_one_process(ground, reference, tmp_path):
    dem, sites = ground
    with open_backend("serial", 3) as backend:
        assert_equal_bytes(reference, tables([dem], sites, tmp_path, backend=backend))


@pytest.mark.parametrize(("name", "edge"), [("process", 150), ("dask", 400)])
def test_backend_and_tiles(ground, reference, few, tmp_path, name, edge, monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    dem, sites = ground
    kept, whole = few
    tiles = TileSettings(0, edge, str(tmp_path))  # all patches
    with open_backend(name, 2) as backend:
        assert_equal_bytes(reference, tables([dem], sites, tmp_path / "whole", backend=backend))
        assert_equal_bytes(whole, tables([dem], kept, tmp_path / "tiled", 2, backend, tiles))
    assert not list(tmp_path.glob(".tiles-*"))


def test_carving(ground, few, tmp_path):
    """Carved depressions change the catchments, but shards, processes, and tiles do not."""
    dem, _ = ground
    rule = replace(RULE, conditioning="carve")
    kept, filled = few
    whole = tables([dem], kept, tmp_path / "whole", rule=rule)
    assert whole[0].read_bytes() != filled[0].read_bytes()
    tiles = TileSettings(0, 150, str(tmp_path))
    with open_backend("process", 2) as backend:
        again = tables([dem], kept, tmp_path / "shards", 5, backend, rule=rule)
        assert_equal_bytes(whole, again)
        again = tables([dem], kept, tmp_path / "tiles", 2, backend, tiles, rule)
        assert_equal_bytes(whole, again)


def test_tiles_of_the_dem(ground, tmp_path):
    dem, sites = ground
    files = []
    with rasterio.open(dem) as raster:
        profile = raster.profile
        rows, columns = [0, 150, raster.height], [0, 77, 260, raster.width]
        for i, top in enumerate(rows[:-1]):
            for j, left in enumerate(columns[:-1]):
                window = Window(left, top, columns[j + 1] - left, rows[i + 1] - top)
                files.append(tmp_path / f"tile_{i}_{j}.tif")
                profile.update(
                    height=window.height,
                    width=window.width,
                    transform=raster.window_transform(window),
                    tiled=False,
                    blockxsize=None,
                    blockysize=None,
                )
                kept = {key: value for key, value in profile.items() if value is not None}
                with rasterio.open(files[-1], "w", **kept) as tile:
                    tile.write(raster.read(1, window=window), 1)
    # Neither has layers, since these would be different files.
    one = tables([dem, dem], sites, tmp_path / "one")
    assert_equal_bytes(one, tables(files, sites, tmp_path / "tiles", 3))


def test_cpu_without_avx512(ground, reference, tmp_path):
    dem, sites = ground
    sites.to_parquet(tmp_path / "sites.parquet")
    code = (
        "import sys; from pathlib import Path; import pandas as pd; from test_invariance import *;"
        f"tables([Path({str(dem)!r})], pd.read_parquet({str(tmp_path / 'sites.parquet')!r}),"
        f"Path({str(tmp_path)!r}))"
    )
    features = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"
    folders = [str(Path(__file__).parent), *filter(None, sys.path)]
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        env=os.environ
        | {
            "NPY_DISABLE_CPU_FEATURES": features,
            "PYTHONPATH": os.pathsep.join(folders),
        },
    )
    assert_equal_bytes(reference, (tmp_path / "catchments.parquet", tmp_path / "features.parquet"))


def pool_crosses_rim(dem: Path, catchment, smaller: PatchPyramid, larger: PatchPyramid, patches):
    """Whether the water of a larger patch ponds across the rim of the smaller one.

    A dam beyond the smaller rim, which only the larger patch sees, raises the level of a
    depression that the smaller one drains through its rim; then what spills into the catchment, or
    where its outlet drains, may change.
    """
    index = index_terrain([str(dem)])
    lattice = index.lattice
    inner = smaller.window(Patch.from_id(patches[0]))
    outer = larger.window(Patch.from_id(patches[1]))
    with Terrain(index, RULE.max_void_cells) as terrain:
        ground = terrain.read(*outer)
    sizes = lattice.rows(outer[0], outer[2])
    view = ViewFinder(
        affine=lattice.affine(*outer[:2]), shape=ground.z.shape, nodata=ground.z.dtype.type(np.nan)
    )
    drainage = Grid(view).route(
        Raster(ground.z, view), ground.border, sizes.width_m, sizes.height_m
    )
    rows, columns = np.indices(drainage.directions.shape)
    rows, columns = rows - 1 + outer[0] - inner[0], columns - 1 + outer[1] - inner[1]
    from_rim = np.minimum.reduce([rows, columns, inner[2] - 1 - rows, inner[3] - 1 - columns])
    z = np.pad(ground.z, 1, constant_values=np.nan)
    cut = np.flatnonzero((from_rim == 0) & ~np.isnan(z))
    pools = pools_at_rim(z, drainage.filled, drainage.directions, cut)
    flags = pools.astype(np.uint8)
    spread_downstream(drainage.directions, flags)
    row, column = lattice.cell_of(catchment["outlet_x"], catchment["outlet_y"])
    return bool(flags[row - outer[0] + 1, column - outer[1] + 1])


def test_larger_patches(ground, reference, tmp_path, monkeypatch):
    """Twice as large patches change only sites beside depressions that reach the smaller rim."""
    dem, sites = ground
    lattice = index_terrain([str(dem)]).lattice
    small_pyramid = PatchPyramid(lattice, **LEVELS)
    monkeypatch.setitem(LEVELS, "core_m", 4000)
    monkeypatch.setitem(LEVELS, "buffer_m", 2000)
    monkeypatch.setitem(LEVELS, "levels", 5)
    larger = read_table(tables([dem], sites, tmp_path)[0]).set_index("site_id")
    smaller = read_table(reference[0]).set_index("site_id")
    flagged = smaller["pool_at_rim"].fillna(False).astype(bool)
    differ = []
    for site_id in smaller.index:
        one, other = smaller.loc[site_id], larger.loc[site_id]
        same = (
            one["status"] == other["status"]
            and one["outlet_x"] == other["outlet_x"]
            and one["outlet_y"] == other["outlet_y"]
            and one["area_km2"] == other["area_km2"]
            and one["geometry"].equals(other["geometry"])
        )
        if one["status"] == "ok" and not same:
            differ.append(site_id)
    large_pyramid = PatchPyramid(lattice, **LEVELS)
    unexplained = [
        site_id
        for site_id in set(differ) - set(flagged[flagged].index)
        if not any(
            pool_crosses_rim(
                dem,
                table.loc[site_id],
                small_pyramid,
                large_pyramid,
                (smaller.loc[site_id, "patch"], larger.loc[site_id, "patch"]),
            )
            for table in (smaller, larger)
        )
    ]
    assert not unexplained
    assert len(differ) <= len(smaller) / 10
    assert flagged.mean() < 0.5
