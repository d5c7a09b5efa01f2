"""Pits far below an outlet and open water around it are said of a catchment, by tiles as whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasters import write_raster

from snakeshed import demo
from snakeshed.backends.local import Backend
from snakeshed.delineation import level_ground as level_ground_module
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.level_ground import PatchGround, level_ground
from snakeshed.delineation.outlines import cells_within
from snakeshed.delineation.patch import TileSettings
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.grid.snap import SnapRule
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain

LEFT, TOP, CELL = 500_000.0, 4_000_000.0, 10.0
NORTH = -400_000
"""Absolute row of the northern edge of these rasters."""

RULE = DelineationRule(SnapRule(8.0, 0.05, 0.0001), max_void_cells=0, channel_km2=0.001)
BOTH = pytest.mark.parametrize(
    "tiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["whole", "tiles"]
)


def valley(height: int = 60, width: int = 40) -> np.ndarray:
    """A valley that falls 2 m a row to the south, with its channel in the middle."""
    row, column = np.indices((height, width))
    return (400.0 - 2 * row + 3 * np.abs(column - width // 2)).astype(np.float32)


def delineated(
    folder: Path,
    z: np.ndarray,
    *places: tuple[int, int, float | None],
    tiled: bool = False,
    rule: DelineationRule = RULE,
    nodata: float | None = None,
    size: float = 900.0,
) -> list[Catchment]:
    """Delineate sites, each by row and column of the raster and its reported area."""
    path = write_raster(folder / "dem.tif", z, left=LEFT, top=TOP, nodata=nodata)
    index = index_terrain([path])
    pyramid = PatchPyramid(index.lattice, size, size, 1, 1.0)
    sites = [
        Site(f"s{k:03}", LEFT + (column + 0.5) * CELL, TOP - (row + 0.5) * CELL, 0, area)
        for k, (row, column, area) in enumerate(places)
    ]
    tiles = TileSettings(100, 23, str(folder)) if tiled else None
    return delineate(sites, index, pyramid, rule, Backend("serial"), tiles)


@BOTH
def test_a_zero_in_the_channel_is_a_deep_pit_and_never_of_high_confidence(tmp_path, tiled):
    z, place = valley(), (55, 20)
    (sound,) = delineated(tmp_path, z, (*place, None), tiled=tiled)
    assert (sound.pit_depth_m, sound.deep_pit, sound.reason) == (0.0, False, None)
    place = (*place, sound.area_km2)
    (sound,) = delineated(tmp_path, z, place, tiled=tiled)
    assert sound.confidence == "high"
    z[30, 20] = 0
    above, pit = delineated(tmp_path, z, (20, 20, 0.01), place, tiled=tiled)
    assert pit.area_km2 == sound.area_km2
    assert (pit.pit_depth_m, pit.deep_pit, pit.confidence) == (290.0, True, "low")
    assert pit.reason == (
        "the lowest cell is 290 m below the outlet, more than dem.max_pit_m = 30: a quarry, or a "
        "value that means missing"
    )
    assert (above.pit_depth_m, above.deep_pit, above.reason) == (0.0, False, None)
    (unrated,) = delineated(tmp_path, z, (55, 20, None), tiled=tiled)
    assert (unrated.deep_pit, unrated.confidence) == (True, "unrated")


@pytest.mark.parametrize(("most", "deep"), [(12.0, False), (11.9, True)])
def test_a_pit_is_deep_from_dem_max_pit_m_on(tmp_path, most, deep):
    z = valley()
    z[30, 20] = 290 - 12
    rule = replace(RULE, max_pit_m=most)
    (done,) = delineated(tmp_path, z, (55, 20, None), rule=rule)
    assert (done.pit_depth_m, done.deep_pit) == (12.0, deep)


def test_zeros_along_a_channel_of_the_demo_and_what_dem_nodata_makes_of_them(tmp_path):
    """Real terrain: relief would be that down to sea level, with the same area and outlet."""
    demo.make_demo(tmp_path)
    rule = DelineationRule(SnapRule(250.0, 0.05, 0.1), max_void_cells=64, channel_km2=0.1)
    table = pd.read_csv(tmp_path / "sites.csv").drop_duplicates("site")
    row = table[table["area_km2"].between(3, 6)].iloc[0]
    site = [Site(row["site"], row["lon"], row["lat"], 2, row["area_km2"])]

    def run(nodata: float | None = None) -> Catchment:
        index = index_terrain([str(tmp_path / "dem.tif")], nodata=nodata)
        pyramid = PatchPyramid(index.lattice, 2000, 1000, 6, 2.0)
        return delineate(site, index, pyramid, rule, Backend("serial"))[0]

    sound = run()
    assert (sound.status, sound.deep_pit, sound.confidence) == ("ok", False, "high")
    index = index_terrain([str(tmp_path / "dem.tif")])
    mask, top, left = cells_within(sound.geometry, index.lattice)
    top, left = top - index.tiles[0].row, left - index.tiles[0].column
    with rasterio.open(tmp_path / "dem.tif", "r+") as file:
        z = file.read(1)
        cells = np.argwhere(mask) + np.array([top, left])
        on_channel = cells[np.argsort(z[tuple(cells.T)], kind="stable")[10:13]]
        z[tuple(on_channel.T)] = 0
        file.write(z, 1)
    zeros = run()
    assert zeros.cells == sound.cells
    assert zeros.outlet_x == sound.outlet_x
    assert zeros.pit_depth_m > 250
    assert (zeros.deep_pit, zeros.confidence) == (True, "low")
    declared = run(nodata=0)
    assert declared.cells == sound.cells - 3
    assert (declared.deep_pit, declared.confidence) == (False, "high")


def coast(level: float = 0.0) -> np.ndarray:
    """The valley, wide enough that a level sea south of row 40 drains southwards."""
    z = valley(80, 160)
    z[40:] = level
    return z


@BOTH
@pytest.mark.parametrize("level", [0.0, -2.5])
def test_an_outlet_on_the_open_sea_is_flagged(tmp_path, level, tiled):
    places = (60, 80), (79, 80), (38, 80)
    first = delineated(tmp_path, coast(level), *((*place, None) for place in places), tiled=tiled)
    exact = [(*place, done.area_km2) for place, done in zip(places, first, strict=True)]
    at_sea, at_edge, on_land = delineated(tmp_path, coast(level), *exact, tiled=tiled)
    for done in (at_sea, at_edge):
        assert (done.open_water, done.confidence) == (True, "low")
        assert done.reason == "the catchment includes a part of open water around its outlet"
    assert (on_land.open_water, on_land.confidence, on_land.reason) == (False, "high", None)
    assert [(done.open_water, done.confidence) for done in first] == [
        (True, "unrated"),
        (True, "unrated"),
        (False, "unrated"),
    ]


def test_nine_cells_of_the_sea_in_a_catchment_are_open_water(tmp_path):
    places = [(row, column, None) for row in range(36, 80, 3) for column in range(2, 160, 13)]
    found = set()
    lattice = index_terrain([write_raster(tmp_path / "a.tif", coast())]).lattice
    for done in delineated(tmp_path, coast(), *places):
        mask, row, _ = cells_within(done.geometry, lattice)
        at_sea = int(mask[max(0, NORTH + 40 - row) :].sum())
        assert done.open_water == (at_sea >= 9)
        found.add(at_sea)
    assert {0, 8, 9} <= found


@BOTH
def test_a_sea_that_ends_at_nodata_is_flagged_and_a_lake_is_not(tmp_path, tiled):
    z = coast()
    z[70:] = -9999
    (sea,) = delineated(tmp_path, z, (60, 80, None), tiled=tiled, nodata=-9999)
    assert sea.open_water
    lake = valley(100)
    lake[50:80] = np.maximum(lake[50:80], 300)
    (done,) = delineated(tmp_path, lake, (60, 20, None), tiled=tiled)
    assert done.cells > 9
    assert not done.open_water


@pytest.mark.slow
@BOTH
def test_a_lake_that_reaches_1_km_is_open_water(tmp_path, tiled):
    row, column = np.indices((240, 40))
    z = (500 - 0.1 * row + 20 * np.abs(column - 20)).astype(np.float32)
    z[60:200, 15:26] = 300.0
    z[200:] -= 300.0
    places = [(row, column, None) for row in (190, 130) for column in range(15, 26)]
    done = delineated(tmp_path, z, *places, tiled=tiled, size=3000.0)
    assert max(one.cells for one in done[11:]) > 500
    # 130 cells of 10 m to the other end of the lake, and 70.
    assert any(one.open_water for one in done[:11])
    assert not any(one.open_water for one in done[11:])


@BOTH
def test_a_few_level_cells_of_a_stream_at_the_edge_are_no_open_water(tmp_path, tiled):
    z = valley()
    z[52:, 20] = z[59, 20]
    (few,) = delineated(tmp_path, z, (59, 20, None), tiled=tiled)
    assert not few.open_water
    z[51:, 20] = z[59, 20]
    (enough,) = delineated(tmp_path, z, (59, 20, None), tiled=tiled)
    assert enough.open_water


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "conditioning"), [(250.0, "fill"), (250.0, "carve"), (900.0, "carve")]
)
def test_by_tiles_as_whole_wherever_the_rim_of_the_patch_is(tmp_path, conditioning, size):
    random = np.random.default_rng(8)
    z = coast() + random.integers(0, 3, (80, 160))
    z[40:] = 0
    z[random.integers(0, 40, 12), random.integers(0, 160, 12)] = -99
    z[60:65, 60:90] = -9999
    places = [(int(i), int(j), None) for i, j in random.integers(0, (80, 160), (15, 2))]
    settings = {"rule": replace(RULE, conditioning=conditioning), "nodata": -9999, "size": size}
    whole = delineated(tmp_path, z.astype(np.int16), *places, **settings)
    tiled = delineated(tmp_path, z.astype(np.int16), *places, tiled=True, **settings)
    assert whole == tiled
    assert {done.deep_pit for done in whole if done.status == "ok"} == {True, False}
    assert {done.open_water for done in whole if done.status == "ok"} == {True, False}


def test_numbers_of_single_precision_are_not_taken_for_those_of_double(tmp_path, monkeypatch):
    # 100.1 is one number in single precision and another one in double. The rows of the first tile
    # are read alone where the window is not in memory.
    lower = np.full((1, 20), 99.0)
    lower[0, 8:13] = 100.1
    index = index_terrain(
        [
            write_raster(tmp_path / "a.tif", np.full((30, 20), 100.1, np.float32), top=TOP),
            write_raster(tmp_path / "b.tif", lower, top=TOP - 30 * CELL),
        ]
    )
    row, column = index.tiles[0].row, index.tiles[0].column
    monkeypatch.setattr(level_ground_module, "_STRIP_CELLS", 300)
    with Terrain(index, 0) as terrain:
        window = row, column, 31, 20
        for whole in (None, terrain.read(*window)):
            ground = PatchGround(terrain, *window, whole)
            cells, outlet = np.ones((31, 20), bool), (row + 30, column + 10)
            found = level_ground(ground, cells, row, column, outlet, CELL, CELL)
            assert not found.open_water
            assert found.pit_depth_m == pytest.approx(1.1)
