"""The outlet and the catchment of every site, whatever its patch and its company."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import reference
import shapely
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from rasters import write_raster

from snakeshed.backends.local import Backend
from snakeshed.delineation import tiled_window
from snakeshed.delineation.catchment import STATUSES, Catchment
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.outlines import cells_within
from snakeshed.delineation.patch import TileSettings
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.errors import TerrainError
from snakeshed.grid.snap import SnapRule
from snakeshed.raster.crs import transformer
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.index import TerrainIndex

LEFT, TOP, CELL = 500_000.0, 4_000_000.0, 10.0
ROW, COLUMN = -400_000, 50_000
"""Absolute cell of the north-western corner of these rasters."""
SCALE = 0.9996
"""Of lengths in the CRS: this is the central meridian of a UTM zone."""

RULE = DelineationRule(SnapRule(15.0, 0.05, 0.0005), max_void_cells=0, channel_km2=0.001)
CARVE = replace(RULE, conditioning="carve")
NODATA = -9999.0


def index_of(folder, z, **options) -> TerrainIndex:
    folder.mkdir(exist_ok=True)
    path = folder / "dem.tif"
    where = {"left": LEFT, "top": TOP, "dx": CELL} | options
    return index_terrain([write_raster(path, np.asarray(z, np.float32), nodata=NODATA, **where)])


def patches_of(index, core_m=100.0, buffer_m=100.0, levels=3) -> PatchPyramid:
    return PatchPyramid(index.lattice, core_m, buffer_m, levels, 2.5)


def site_at(row: float, column: float, name="a", level=0, area=None, more=False) -> Site:
    """A site in a cell, by row and column of the raster; whole numbers are its centre."""
    x, y = LEFT + (column + 0.5) * CELL, TOP - (row + 0.5) * CELL
    return Site(name, x, y, level, area, more)


@pytest.fixture(autouse=True, params=[None, 23], ids=["whole", "tiles"])
def tiles(request, tmp_path_factory, monkeypatch) -> TileSettings | None:
    """All that is said here of sites holds for patches that are worked on by tiles."""
    made = request.param and TileSettings(100, request.param, str(tmp_path_factory.mktemp("tiles")))
    monkeypatch.setattr(sys.modules[__name__], "TILES", made)
    yield made
    assert made is None or not list(Path(made.folder).iterdir())


TILES: TileSettings | None = None


def run(sites, index, pyramid=None, rule=RULE) -> list[Catchment]:
    return delineate(sites, index, pyramid or patches_of(index), rule, Backend("serial"), TILES)


def only(results: list[Catchment]) -> Catchment:
    (result,) = results
    return result


def cells_of(catchment: Catchment, index: TerrainIndex) -> set[tuple[int, int]]:
    """Cells by row and column of the raster."""
    mask, row, column = cells_within(catchment.geometry, index.lattice)
    return {(int(i) + row - ROW, int(j) + column - COLUMN) for i, j in np.argwhere(mask)}


def hills(height: int, width: int, seed: int, relief: float = 6.0) -> np.ndarray:
    """Rough ground that falls to the south; `relief` over a cell's fall decides on the pits."""
    random = np.random.default_rng(seed)
    rough = random.uniform(0, relief, (height, width))
    return (1000 - 5.0 * np.arange(height)[:, None] + rough).astype(np.float32)


# ---- what a catchment is ---------------------------------------------------------------------

VALLEY = [
    [9.0, 8.0, 7.0, 8.0, 9.0],
    [8.5, 6.0, 5.0, 6.0, 8.5],
    [8.0, 5.5, 4.0, 5.5, 8.0],
    [7.5, 5.0, 3.0, 5.0, 7.5],
    [7.0, 4.5, 2.0, 4.5, 7.0],
]


def test_a_hand_worked_catchment(tmp_path):
    index = index_of(tmp_path, VALLEY)
    done = only(run([site_at(2.2, 1.9, area=0.001)], index, patches_of(index, levels=1)))
    # Water of these comes down to (2, 2): all cells above it, but not those of its own row.
    inside = {(2, 2), *((0, j) for j in range(1, 4)), *((1, j) for j in range(1, 4))}
    assert inside <= cells_of(done, index)
    assert done.status == "ok"
    assert (done.outlet_x, done.outlet_y) == (LEFT + 25.0, TOP - 25.0)
    assert done.cells == len(cells_of(done, index))
    assert done.area_km2 == pytest.approx(done.cells * (CELL / SCALE) ** 2 / 1e6)
    assert done.area_ratio == done.area_km2 / 0.001
    assert done.snap_distance_m == pytest.approx(math.sqrt(1 + 4) / SCALE)
    assert done.geometry.area == pytest.approx(done.area_km2 * 1e6 * SCALE**2)
    assert done.perimeter_km == pytest.approx(done.geometry.length / 1000 / SCALE)
    assert done.touches_edge
    assert not done.touches_nodata
    assert not done.needs_larger_window
    assert done.outlet_lon == pytest.approx(-117.0 + 25.0 / 91_000, abs=1e-4)
    assert (done.patch, done.patch_level) == (Patch(0, ROW // 10, COLUMN // 10).id, 0)


@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.floats(0, 40), st.integers(0, 13), st.integers(0, 13))
def test_catchments_are_what_a_breadth_first_search_finds(tmp_path, seed, relief, row, column):
    z = hills(14, 14, seed, relief)
    index = index_of(tmp_path, z)
    padded = reference.pad(z)
    sizes = np.full(16, CELL)
    border = reference.beside_nodata(padded)
    filled = reference.priority_flood(padded, border)
    directions = reference.route(filled, border, sizes, sizes)
    rule = replace(RULE, snap=SnapRule(1.0, 0.05, 1e-9))
    done = only(run([site_at(row, column)], index, patches_of(index, 200.0, 200.0, 1), rule))
    expected = reference.upslope(directions, (row + 1, column + 1))
    assert cells_of(done, index) == {(i - 1, j - 1) for i, j in expected}


@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10_000),
    st.floats(0, 40),
    st.integers(2, 27),
    st.integers(2, 27),
    st.sampled_from([None, 0.0005, 0.002, 0.005]),
)
def test_the_stability_is_the_worst_overlap_with_a_plausible_catchment(
    tmp_path, seed, relief, row, column, area
):
    """Whole catchments, though snapping sees a box of 9 x 9 cells, and tiles 7 x 7 beyond it."""
    z = hills(30, 30, seed, relief)
    index = index_of(tmp_path, z)
    padded = reference.pad(z)
    sizes = np.full(32, CELL)
    border = reference.beside_nodata(padded)
    directions = reference.route(reference.priority_flood(padded, border), border, sizes, sizes)
    rule = replace(RULE, snap=SnapRule(25.0, 0.05, 0.0004))
    side = CELL / SCALE
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tiled_window, "PIECE", 3)
        site = site_at(row, column, area=area)
        done = only(run([site], index, patches_of(index, 400.0, 400.0, 1), rule))
    costs = {}
    for i, j in np.ndindex(30, 30):
        share = math.hypot(i - row, j - column) * side / 25.0
        size = len(reference.upslope(directions, (i + 1, j + 1))) * side * side / 1e6
        if share <= 1 and area is not None:
            costs[i, j] = abs(math.log(size / area)) + 0.05 * share
        elif share <= 1 and size >= 0.0004:
            costs[i, j] = share
    if done.status != "ok":
        assert not costs
        return
    # The sizes of cells differ by some 1e-9 within the window, which settles what would be a tie.
    near_tie = 1e-6
    outlet = index.lattice.cell_of(done.outlet_x, done.outlet_y)
    outlet = outlet[0] - index.tiles[0].row, outlet[1] - index.tiles[0].column
    assert costs[outlet] <= min(costs.values()) + near_tie
    ours = reference.upslope(directions, (outlet[0] + 1, outlet[1] + 1))
    found = (done.stability, done.area_low_km2, done.area_high_km2)
    possible = []
    for slack in (-near_tie, near_tie):
        near = [
            reference.upslope(directions, (i + 1, j + 1))
            for (i, j), cost in costs.items()
            if (i, j) == outlet or cost <= costs[outlet] + math.log(1.5) + slack
        ]
        overlap = min(len(ours & each) / len(ours | each) for each in near)
        areas = [count * side * side / 1e6 for count in sorted(map(len, near))]
        possible.append(pytest.approx((overlap, areas[0], areas[-1]), rel=1e-6))
    assert found in possible


def test_nested_sites_and_sites_on_one_cell(tmp_path):
    z = hills(20, 20, 3)
    index = index_of(tmp_path, z)
    rule = replace(RULE, snap=SnapRule(1.0, 0.05, 1e-9))
    places = [(19, 9), (12, 9), (12, 9), (5, 9)]
    sites = [site_at(*place, name=f"s{k}") for k, place in enumerate(places)]
    together = run(sites, index, rule=rule)
    assert [site.site_id for site in together] == ["s0", "s1", "s2", "s3"]
    assert replace(together[1], site_id="s2") == together[2]
    for site, done in zip(sites, together, strict=True):
        assert only(run([site], index, rule=rule)) == done


# ---- every site, exactly once ----------------------------------------------------------------


@pytest.fixture(scope="module")
def holed(tmp_path_factory) -> TerrainIndex:
    """A DEM of 60 x 50 cells with a lake of nodata, and a void."""
    z = hills(60, 50, 7)
    z[20:29, 15:22] = NODATA
    z[40, 40] = NODATA
    return index_of(tmp_path_factory.mktemp("holed"), z)


places = st.tuples(st.floats(-30, 90), st.floats(-30, 90)).map(
    lambda place: tuple(round(number, 2) for number in place)
)
areas = st.one_of(st.none(), st.sampled_from([0.0002, 0.003, 0.02, 0.3]))
some_sites = st.lists(st.tuples(places, st.integers(0, 2), areas), max_size=6)


def named(chosen) -> list[Site]:
    return [
        site_at(*place, name=f"s{k}", level=level, area=area)
        for k, (place, level, area) in enumerate(chosen)
    ]


@examples(25)
@given(some_sites)
def test_every_site_is_there_once_with_a_status_and_the_numbers_that_led_to_it(holed, chosen):
    sites = named(chosen)
    results = run(reversed(sites), holed)
    assert [done.site_id for done in results] == [site.site_id for site in sites]
    for site, done in zip(sites, results, strict=True):
        assert done.status in STATUSES
        assert (done.site_x, done.site_y) == (site.x, site.y)
        assert done.reported_area_km2 == site.reported_area_km2
        assert done.patch_level >= site.level
        missing = [name for name, value in asdict(done).items() if value is None]
        if done.status == "ok":
            allowed = {"reason", "reported_area_km2", "area_ratio"}
            allowed |= {name for name in missing if name.startswith("runner_up_")}
            assert set(missing) <= allowed
            assert done.geometry.is_valid
            assert done.snap_distance_m <= RULE.snap.radius_m
        else:
            assert done.reason
            assert done.geometry is None
            assert done.area_km2 is None


@pytest.mark.parametrize("rule", [RULE, CARVE], ids=["fill", "carve"])
@examples(15)
@given(some_sites.filter(bool))
def test_a_site_is_the_same_alone_and_among_others(holed, rule, chosen):
    sites = named(chosen)
    for site, among in zip(sites, run(sites, holed, rule=rule), strict=True):
        alone = only(run([site], holed, rule=rule))
        assert alone == among
        assert repr(asdict(alone)) == repr(asdict(among))  # so also -0.0 and NaN
        assert shapely.to_wkb(alone.geometry) == shapely.to_wkb(among.geometry)


@examples(25)
@given(places, areas)
def test_a_promoted_site_ends_as_if_it_had_started_there(holed, place, area):
    done = only(run([site_at(*place, area=area)], holed))
    again = only(run([site_at(*place, area=area, level=done.patch_level)], holed))
    assert again == done


@pytest.fixture(scope="module")
def smooth(tmp_path_factory) -> TerrainIndex:
    """A DEM of 60 x 50 cells in which every cell but those of the last row has a lower one."""
    return index_of(tmp_path_factory.mktemp("smooth"), hills(60, 50, 11, relief=4.9))


@examples(40)
@given(places, areas)
def test_a_larger_patch_changes_no_site_without_a_pool_at_the_rim(smooth, place, area):
    small = only(run([site_at(*place, area=area)], smooth))
    if small.patch_level == 2 or small.pool_at_rim:
        return
    large = only(run([site_at(*place, area=area, level=small.patch_level + 1)], smooth))
    assert replace(small, patch=large.patch, patch_level=large.patch_level) == large


@pytest.mark.parametrize("rule", [RULE, CARVE], ids=["fill", "carve"])
def test_on_rough_ground_too_whether_filled_or_carved(tmp_path, rule):
    index = index_of(tmp_path, hills(60, 50, 51, relief=20.0))
    cells = [(row, column) for row in range(4, 58, 7) for column in range(4, 48, 5)]
    sites = [site_at(*cell, name=f"{cell[0]:02d}-{cell[1]:02d}", area=0.002) for cell in cells]
    small = run(sites, index, rule=rule)
    pairs = zip(sites, small, strict=True)
    final = [pair for pair in pairs if pair[1].patch_level < 2 and not pair[1].pool_at_rim]
    assert len(final) > 50
    up = [replace(site, level=done.patch_level + 1) for site, done in final]
    for (_, done), large in zip(final, run(up, index, rule=rule), strict=True):
        assert replace(done, patch=large.patch, patch_level=large.patch_level) == large


def test_carving_leaves_the_valley_behind_a_road_as_it_is_and_filling_drowns_it(tmp_path):
    valley = 500 - 0.5 * np.arange(60.0)[:, None] + 0.4 * np.abs(np.arange(41) - 20)
    road = valley.copy()
    road[40] = np.maximum(road[40], valley[40].min() + 3)
    road[40, 26] -= 0.5  # where water runs over it
    free, blocked = (index_of(tmp_path / name, z) for name, z in (("a", valley), ("b", road)))
    site = site_at(38, 20, area=0.1138)
    expected = only(run([site], free))
    assert expected.area_km2 == pytest.approx(0.1138 / SCALE**2)
    carved, filled = (only(run([site], blocked, rule=rule)) for rule in (CARVE, RULE))
    assert cells_of(carved, blocked) == cells_of(expected, free)
    # On the lake all water runs straight to the overflow, past the old channel.
    assert filled.area_km2 < 0.01


def test_no_sites(holed):
    assert run([], holed) == []


# ---- promotion -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ramp(tmp_path_factory) -> TerrainIndex:
    """200 x 31 cells, one valley that falls to the south along column 15."""
    z = 2000 - 2.0 * np.arange(200)[:, None] + 5.0 * np.abs(np.arange(31) - 15)
    return index_of(tmp_path_factory.mktemp("ramp"), z)


def test_a_catchment_that_the_rim_cuts_moves_to_the_level_that_holds_it(ramp):
    # At row 65 the window of level 0 begins at row 50, that of level 1 at 40, of level 2 at 0.
    done = only(run([site_at(65, 15, area=0.2)], ramp))
    assert (done.status, done.patch_level) == ("ok", 2)
    assert done.touches_edge  # the DEM begins there
    assert not done.needs_larger_window
    assert done.confidence == "high"


def dammed_valley(fall: float) -> np.ndarray:
    """A valley that begins at a divide and falls to the south, with a dam across it at row 70.

    At row 36 a pass 3 m above its floor leads to the east: the dam turns the water that way.
    """
    rows, columns = np.arange(90)[:, None], np.arange(30)[None, :]
    floor = np.where(rows <= 32, 130.0 - 8.0 * (32 - rows), 100.0 - fall * (rows - 33))
    z = floor + 5.0 * np.abs(columns - 15)
    z[36, 16:] = floor[36] + 3.0 - 0.2 * (columns[0, 16:] - 16)
    z[70] += 37 * fall + 6.0
    return z


@pytest.mark.parametrize(("fall", "turned"), [(0.1, True), (2.0, False)])
def test_a_dam_beyond_the_rim_that_could_turn_the_water_takes_a_larger_patch(
    tmp_path, fall, turned
):
    index = index_of(tmp_path, dammed_valley(fall))
    site = site_at(40, 15, area=0.02)
    # The window of level 0 ends at row 59.
    unaware = only(run([site], index))
    aware = only(run([site], index, replace(patches_of(index), backwater_m=10.0)))
    assert unaware.patch_level == 0
    assert unaware.area_ratio == pytest.approx(1.0, abs=0.25)
    if turned:
        larger = only(run([replace(site, level=aware.patch_level)], index))
        assert replace(aware, pool_at_rim=larger.pool_at_rim, reason=larger.reason) == larger
        assert aware.patch_level > 0
        assert aware.area_km2 != unaware.area_km2
    else:
        # It would have to rise by 38 m.
        assert aware == unaware


def test_what_the_top_level_cuts_is_said(ramp):
    done = only(run([site_at(65, 15, area=0.2)], ramp, patches_of(ramp, levels=2)))
    assert (done.status, done.patch_level) == ("ok", 1)
    assert done.touches_edge
    assert done.needs_larger_window
    assert done.confidence == "low"
    assert done.reason == "the catchment is cut by the rim of the top patch level"


def test_a_candidate_that_could_win_is_said_where_no_larger_patch_is(ramp):
    # Column 14 drains its own row's west; the valley beside it drains more than any window holds.
    site = site_at(65, 12.0, area=0.0003)
    rule = replace(RULE, snap=SnapRule(31.0, 0.05, 0.0005))
    last = only(run([replace(site, reported_area_km2=0.2)], ramp, patches_of(ramp, levels=1), rule))
    assert last.status == "ok"
    assert last.needs_larger_window
    assert last.confidence == "low"


def test_no_stream_where_the_rim_cuts_one_is_said(ramp):
    rule = replace(RULE, snap=SnapRule(15.0, 0.05, 5.0))
    done = only(run([site_at(65, 15)], ramp, patches_of(ramp, levels=1), rule))
    assert done.status == "no_stream"
    assert done.reason == (
        "no cell within 15 m drains snap.min_area_km2 = 5 km2; the rim of the top patch level cuts "
        "one that might"
    )
    done = only(run([site_at(65, 15)], ramp, rule=rule))
    assert done.patch_level == 2
    assert done.reason == "no cell within 15 m drains snap.min_area_km2 = 5 km2"


def test_a_reported_area_that_asks_for_too_much_is_said(ramp):
    done = only(run([site_at(3, 15, area=0.003, more=True)], ramp))
    assert done.needs_larger_window
    assert done.reason.startswith(
        "the reported area asks for a larger window than the top patch level"
    )


def test_a_radius_beyond_the_buffer_takes_a_larger_patch(ramp):
    rule = replace(RULE, snap=SnapRule(120.0, 0.0, 0.0005))
    # Row 50 is the first of its patch, so the window of level 0 lacks cells within the radius.
    narrow = only(run([site_at(50, 15, area=0.01)], ramp, rule=rule))
    assert narrow.patch_level > 0
    wide = patches_of(ramp, buffer_m=800.0)
    best = only(run([site_at(50, 15, area=0.01)], ramp, wide, rule))
    assert (narrow.outlet_x, narrow.outlet_y) == (best.outlet_x, best.outlet_y)


# ---- edges, nodata, outside ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "edge", "nodata"), [(5, True, False), (15, False, True), (25, False, False)]
)
def test_edge_nodata_and_neither(tmp_path, column, edge, nodata):
    # Three valleys that fall to the south. The first reaches the northern edge of the DEM, the
    # second a gap in it; the third begins at a divide.
    z = 1000 - 2.0 * np.arange(20)[:, None] + 5.0 * np.abs(np.arange(36) % 10 - 5)
    z[:4, 11:] += 5.0 * np.arange(4)[:, None]
    z[4, 14:17] = NODATA
    index = index_of(tmp_path, z)
    site = site_at(12, column, area=0.004)
    done = only(run([site], index, patches_of(index, 300.0, 300.0, 1)))
    assert (done.status, done.reason) == ("ok", None)
    assert (done.touches_edge, done.touches_nodata) == (edge, nodata)
    assert not done.needs_larger_window


def test_a_void_is_no_outlet_and_no_nodata(tmp_path):
    z = 1000 - 2.0 * np.arange(30)[:, None] + 5.0 * np.abs(np.arange(21) - 10)
    z[15, 10] = NODATA
    index = index_of(tmp_path, z)
    site, pyramid = site_at(25, 10, area=0.04), patches_of(index, 300.0, 300.0, 1)
    outlet = only(run([site], index, pyramid))
    void = only(run([site], index, pyramid, replace(RULE, max_void_cells=1)))
    assert outlet.touches_nodata
    assert not void.touches_nodata
    assert void.cells > outlet.cells
    assert (15, 10) not in cells_of(void, index)


def test_why_a_site_has_no_catchment(holed):
    sites = [
        site_at(24, 18, name="lake"),
        site_at(-40, 20, name="near"),
        site_at(0, 5_000_000, name="far"),
        Site("nowhere", math.nan, math.nan, 0),
        site_at(-2.4, 20, name="over"),
    ]
    far, lake, near, nowhere, over = run(sites, holed)
    assert (lake.status, lake.reason) == ("on_nodata", "the DEM has no data within 15 m")
    for site in (far, near):
        assert site.status == "outside_dem"
        assert site.reason == "no tile of the DEM lies within 15 m of the site"
    assert (over.status, over.reason) == ("outside_dem", "the DEM has no cell within 15 m")
    assert nowhere.status == "outside_dem"
    assert nowhere.reason == "the site's coordinates have no place in the CRS of the DEM"
    assert (nowhere.site_x, nowhere.site_y, nowhere.patch, nowhere.patch_level) == (None,) * 4


@pytest.mark.parametrize("place", [(0, 20), (59, 20), (30, 0), (30, 49), (0, 0), (59, 49)])
def test_sites_at_the_rim_and_just_outside_have_a_catchment(holed, place):
    done = only(run([site_at(*place, area=0.0001)], holed))
    assert done.status == "ok"
    row, column = place
    outside = (row + (row == 59) - (row == 0), column + (column == 49) - (column == 0))
    snapped = only(run([site_at(*outside, area=done.area_km2)], holed))
    assert snapped.status == "ok"
    assert snapped.reason == (
        "the site lies outside the DEM: its outlet is the cell with data within snap.radius_m "
        f"that fits best, {snapped.snap_distance_m:.0f} m away"
    )
    # However well the area fits, the true outlet may be one that the DEM does not have.
    fits = only(run([site_at(*outside, area=snapped.area_km2)], holed))
    assert (fits.area_ratio, fits.confidence) == (1.0, "low")
    assert only(run([site_at(*place, area=done.area_km2)], holed)).confidence != "low"


def test_a_site_on_nodata_says_so(holed):
    done = only(run([site_at(28, 18, area=0.01)], holed))
    assert (done.status, done.confidence) == ("ok", "low")
    assert done.reason.startswith("the site lies on nodata of the DEM: its outlet is the cell ")
    unrated = only(run([site_at(28, 18)], holed, rule=replace(RULE, snap=LOOSE)))
    assert (unrated.status, unrated.confidence) == ("ok", "unrated")
    assert unrated.reason == done.reason


LOOSE = SnapRule(15.0, 0.05, 1e-9)


# ---- a catchment of another size than reported -----------------------------------------------


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 10.0])
def test_an_area_too_far_from_the_reported_one_is_refused_but_kept(tmp_path, factor):
    index = index_of(tmp_path, hills(20, 20, 3))
    site = site_at(12, 9)
    snap = SnapRule(1.0, 0.05, 1e-9)

    def found(reported, most):
        rule = replace(RULE, snap=replace(snap, max_area_mismatch=most))
        return only(run([replace(site, reported_area_km2=reported)], index, rule=rule))

    area = found(None, 1.0).area_km2
    assert found(None, 1.0).status == "ok"
    done, refused = found(area / factor, None), found(area / factor, 1.9)
    assert done.status == "ok"
    reason = (
        f"the catchment has {area:.4g} km2, {factor:.3g} times the reported {area / factor:.4g} "
        "km2: more apart than snap.max_area_mismatch = 1.9"
    )
    assert refused.reason == "; ".join(filter(None, (reason, done.reason)))
    assert replace(refused, status="ok", reason=done.reason) == done
    # The limit itself is accepted, and what is not beyond it.
    for most in (max(factor, 1 / factor), 11.0):
        assert found(area / factor, most) == done


def test_a_tile_that_cannot_be_read_is_named(tmp_path):
    index = index_of(tmp_path, hills(20, 20, 1))
    path = tmp_path / "dem.tif"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(TerrainError, match="dem.tif"):
        run([site_at(5, 5)], index)


# ---- other lattices --------------------------------------------------------------------------


def test_areas_on_a_geographic_lattice_are_geodesic(tmp_path):
    from pyproj import Geod

    step = 1 / 3600
    z = hills(20, 20, 5)
    path = write_raster(tmp_path / "d.tif", z, left=-118.0, top=34.5, dx=step, crs="EPSG:4269")
    index = index_terrain([path])
    site = Site("a", -118.0 + 10.5 * step, 34.5 - 15.5 * step, 0, 0.02)
    rule = replace(RULE, snap=SnapRule(60.0, 0.05, 0.01))
    done = only(run([site], index, patches_of(index, 2000.0, 2000.0, 1), rule))
    area = abs(Geod(ellps="GRS80").geometry_area_perimeter(done.geometry)[0])
    assert done.status == "ok"
    assert done.area_km2 == pytest.approx(area / 1e6, rel=1e-6)
    assert (done.outlet_lon, done.outlet_lat) == pytest.approx((done.outlet_x, done.outlet_y))


def test_a_crs_without_a_code(tmp_path):
    crs = "+proj=tmerc +lat_0=33 +lon_0=-117.3 +k=0.9999 +x_0=1000 +ellps=GRS80 +units=m"
    index = index_of(tmp_path, hills(20, 20, 5), crs=crs, left=2000.0, top=3000.0)
    assert not index.lattice.crs.startswith("EPSG")
    done = only(run([Site("a", 2105.0, 2845.0, 0, 0.005)], index))
    assert done.status == "ok"
    assert done.outlet_lat == pytest.approx(33 + 2845 / 111_000, abs=1e-3)
    assert done.outlet_lon == pytest.approx(-117.3 + 1105 / 93_500, abs=1e-3)


def test_sites_on_a_resampled_terrain(tmp_path):
    path = write_raster(tmp_path / "d.tif", hills(30, 30, 5), left=LEFT, top=TOP, dx=CELL)
    index = index_terrain([path], target_crs="EPSG:32612", resolution=CELL)
    to_target = transformer("EPSG:32611", "EPSG:32612").transform

    def at(name, row, column) -> Site:
        return Site(name, *to_target(LEFT + column * CELL, TOP - row * CELL), 0, 0.002)

    sites = [at("a", 20, 15), at("b", -4, 15), at("c", -400, 15)]
    inside, beside, far = run(sites, index)
    assert inside.status == "ok"
    assert inside.snap_distance_m <= RULE.snap.radius_m
    assert beside.status == far.status == "outside_dem"


class WithoutMemory(Backend):
    """Loses each task that something can stand for; which ones, a word in their name says."""

    def __init__(self, word: str) -> None:
        super().__init__("serial")
        self.word = word

    def map(self, function, tasks, lost=None, what="tasks"):
        return map(lost if self.word in what else function, tasks)


@pytest.mark.parametrize("word", ["patches", "tiles of patch", "sites of patch"])
def test_what_no_worker_has_memory_for_is_a_row_with_a_reason(tmp_path, tiles, word):
    index = index_of(tmp_path, hills(40, 40, 1))
    sites = [site_at(20, column, f"s{column}") for column in (18, 19, 20)]
    done = delineate(sites, index, patches_of(index), RULE, WithoutMemory(word), tiles)
    assert [one.site_id for one in done] == ["s18", "s19", "s20"]
    if (word == "patches") == (tiles is None):
        assert {one.status for one in done} == {"worker_killed"}
        assert all("delineate its shard again with more memory" in one.reason for one in done)
    else:
        assert "worker_killed" not in {one.status for one in done}
