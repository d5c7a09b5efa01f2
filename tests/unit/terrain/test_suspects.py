"""Numbers that are hardly ground, gaps between tiles and coarse cells are told before a run."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rasters import write_raster, write_tiles, write_vrt

import index_terrain as index_terrain_script
import summarise
from snakeshed import demo_terrain
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.table import write_catchments
from snakeshed.features.table import write_features
from snakeshed.raster.vrt_sources import named_behind
from snakeshed.result_files import result_file
from snakeshed.terrain import suspects
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex
from snakeshed.terrain.spot_check import check_cells

LEFT, TOP = 500_000.0, 4_000_000.0
WHOLE_OR_BANDS = pytest.mark.parametrize("bands", [False, True], ids=["whole", "bands"])


@pytest.fixture
def ground() -> np.ndarray:
    """The demo's terrain, int16: 236 to 1,076 m."""
    return demo_terrain.read_sample()[0].copy()


def checked(paths: str | list[str], **options) -> TerrainIndex:
    return check_cells(index_terrain([paths] if isinstance(paths, str) else paths, **options))


def warnings_of(folder, z: np.ndarray, **options) -> list[str]:
    """What is told of a DEM of 10 m cells, without its path."""
    path = write_raster(folder / "dem.tif", z, left=LEFT, top=TOP, **options)
    return [warning.removeprefix(f"{path}: ") for warning in checked(path).warnings]


@pytest.mark.parametrize("value", [0, -1, -99, -999, -10_000, 7])
@WHOLE_OR_BANDS
def test_a_background_is_told_with_its_share_and_what_to_set(
    tmp_path, ground, monkeypatch, value, bands
):
    if bands:
        monkeypatch.setattr(suspects, "_WHOLE_CELLS", 50_000)
    assert warnings_of(tmp_path, ground) == []
    ground[np.add.outer(np.arange(344), np.arange(403)) < 200] = value
    (told,) = warnings_of(tmp_path, ground)
    looked_at = "25,792" if bands else "138,632"
    share = "0.16" if bands else "0.14"
    count = "4,020" if bands else "20,100"
    assert told.startswith(f"{count} of {looked_at} cells ({share} of them) are exactly {value}, ")
    assert told.endswith(
        f" m below those beside them, the first at x 500005, y 3999995; if it means missing, set "
        f"dem.nodata: {value}"
    )
    path = str(tmp_path / "dem.tif")
    assert checked(path, nodata=value).warnings == ()


def test_two_backgrounds_are_both_told(tmp_path, ground):
    ground[:20, :20], ground[300:, 300:] = 0, -999
    first, second = warnings_of(tmp_path, ground)
    assert first.endswith("dem.nodata: -999")
    assert second.endswith("dem.nodata: 0")


def test_isolated_zeros_along_a_channel_are_told(tmp_path, ground):
    ground[[100, 150, 151], [100, 40, 41]] = 0
    (told,) = warnings_of(tmp_path, ground)
    assert told.startswith("3 of 138,632 cells (2.2e-05 of them) are exactly 0, ")
    assert "the first at x 501005, y 3998995;" in told


def test_stored_numbers_are_told_of_scaled_files(tmp_path, ground):
    ground[100, 100] = -99
    (told,) = warnings_of(tmp_path, ground, scale=0.1, unit="ft")
    step = (np.median(ground[[99, 101, 100, 100], [100, 100, 99, 101]]) + 99) * 0.1 * 0.3048
    assert f"are exactly -99, {step:.3g} m below those" in told
    assert told.endswith("set dem.nodata: -99")


def test_a_sea_a_lake_and_one_low_cell_are_ground(tmp_path, ground):
    sea = np.maximum(ground - 400, 0)
    assert (sea == 0).mean() > 0.1
    assert warnings_of(tmp_path, sea) == []
    lake = np.maximum(ground, 300)
    assert warnings_of(tmp_path, lake) == []
    ground[200, 200] = 17
    assert warnings_of(tmp_path, ground) == []


@pytest.mark.parametrize("value", [0, 1500])
@pytest.mark.parametrize("width", [1, 3])
@WHOLE_OR_BANDS
def test_constant_columns_and_rows_are_told(tmp_path, ground, monkeypatch, value, width, bands):
    if bands:
        monkeypatch.setattr(suspects, "_WHOLE_CELLS", 50_000)
    ground[:, 100 : 100 + width] = value
    columns = warnings_of(tmp_path, ground)
    what = "a column" if width == 1 else "3 columns side by side"
    assert len(columns) == 1
    assert columns[0].startswith(f"{what} at x 501005 of nothing but {value}, ")
    assert columns[0].endswith(
        f" m off the columns beside; if it means missing, set dem.nodata: {value}, else fetch the "
        "file again"
    )
    ground = demo_terrain.read_sample()[0].copy()
    ground[50 : 50 + width] = value
    rows = warnings_of(tmp_path, ground)
    what = "a row" if width == 1 else "3 rows side by side"
    assert rows[0].startswith(f"{what} at y 3999495 of nothing but {value}, ")
    assert len(rows) == 1


def test_many_findings_are_counted(tmp_path, ground):
    ground[:, 5:400:20] = 0
    told = warnings_of(tmp_path, ground)
    assert len(told) == 9
    assert told[-1] == "12 more such cells, rows or columns"


def test_what_a_vrt_names_at_a_web_address_is_not_read(tmp_path, ground, monkeypatch):
    ground[:50, :50] = 0
    tile = write_raster(tmp_path / "a.tif", ground.astype(np.float32), left=LEFT, top=TOP)
    vrt = write_vrt(tmp_path / "a.vrt", [tile], ground.shape, -9999)
    assert len(checked(vrt).warnings) == 1
    remote = tmp_path / "remote.vrt"
    address = "https://example.org/a.tif"
    remote.write_text(Path(vrt).read_text().replace(">a.tif<", f">{address}<"))
    assert named_behind(str(remote)) == {str(remote), address}
    # As if that were the file that is read here.
    monkeypatch.setattr(suspects, "named_behind", lambda _: named_behind(str(remote)))
    assert checked(vrt).warnings == ()


def test_no_more_is_read_of_a_large_tile_than_of_a_small_one(tmp_path, ground, monkeypatch):
    read = []
    stored = Terrain.read_stored
    monkeypatch.setattr(
        Terrain,
        "read_stored",
        lambda self, tile, *share: (
            read.append((share[1] - share[0]) * (share[3] - share[2])) or stored(self, tile, *share)
        ),
    )
    monkeypatch.setattr(suspects, "_WHOLE_CELLS", 30_000)
    monkeypatch.setattr(suspects, "_LARGEST_SEARCHED", 100_000)
    index = index_terrain([write_raster(tmp_path / "a.tif", ground)])
    for n_tiles in (1, 20, 1000):
        read.clear()
        with Terrain(index, 0) as terrain:
            suspects.suspect_cells(terrain, index.tiles[0], n_tiles)
        assert 0 < sum(read) <= 30_000
    read.clear()
    monkeypatch.setattr(suspects, "_WIDEST_TILE", 400)
    with Terrain(index, 0) as terrain:
        assert suspects.suspect_cells(terrain, index.tiles[0], 1) == []
    assert not read


# ---- gaps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 90])
def test_a_gap_between_two_tiles_is_told_with_its_width(tmp_path, ground, width):
    pieces = [np.s_[:, :150], np.s_[:, 150 + width :]]
    a, b = write_tiles(tmp_path / "t", ground, pieces, left=LEFT, top=TOP)
    what = "1 column" if width == 1 else f"{width} columns"
    assert checked([b, a]).warnings == (
        f"{a} and {b}: a gap of {what} between them, from x 501500, y 4000000 on, where no tile "
        "has cells; catchments end there. Fetch the tiles again, or the one between them.",
    )
    rows = [np.s_[:150, :], np.s_[150 + width :, :]]
    a, b = write_tiles(tmp_path / "t", ground, rows, left=LEFT, top=TOP)
    (told,) = checked([a, b]).warnings
    assert told.startswith(f"{a} and {b}: a gap of {what.replace('column', 'row')} between them, ")


def test_what_other_tiles_fill_and_what_is_wide_is_no_gap(tmp_path, ground):
    pieces = [np.s_[:, :150], np.s_[:, 152:300], np.s_[:200, 140:160], np.s_[190:, 149:153]]
    tiles = write_tiles(tmp_path / "t", ground, pieces, left=LEFT, top=TOP)
    assert checked(tiles).warnings == ()
    (told,) = checked(tiles[:3]).warnings
    assert "a gap of 2 columns" in told
    wide = write_tiles(tmp_path / "w", ground, [np.s_[:, :150], np.s_[:, 251:]], left=LEFT, top=TOP)
    assert checked(wide).warnings == ()
    corner = [np.s_[:100, :100], np.s_[101:, 101:]]
    assert checked(write_tiles(tmp_path / "c", ground, corner, left=LEFT, top=TOP)).warnings == ()


# ---- overlaps --------------------------------------------------------------------------------


@pytest.mark.parametrize("compared", [1 << 16, 2000], ids=["all", "bands"])
def test_by_how_much_overlapping_tiles_differ_is_told(tmp_path, ground, monkeypatch, compared):
    monkeypatch.setattr("snakeshed.terrain.spot_check._MOST_COMPARED", compared)
    z = ground.astype(np.float32)
    other = z.copy()
    other[::2] += 0.25
    other[:, ::2] += 1.5
    a = write_raster(tmp_path / "a.tif", z[:, :212], left=LEFT, top=TOP)
    b = write_raster(tmp_path / "b.tif", other[:, 200:], left=LEFT + 2000, top=TOP)
    index = index_terrain([b, a])
    found = replace(check_cells(index), assumptions=check_cells(index).assumptions[1:])
    cells = "4,128" if compared > 2000 else "1,920"
    assert found.assumptions == (
        f"{b} and {a} overlap, and the first of them counts: they differ by 0.875 m (median) and "
        f"1.75 m at most, in {cells} cells compared.",
    )
    assert found.warnings == ()
    same = write_raster(tmp_path / "b.tif", z[:, 200:], left=LEFT + 2000, top=TOP)
    assert check_cells(index_terrain([a, same])).assumptions == index.assumptions


# ---- coarse cells ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"dx": 10.0}, None),
        ({"dx": 11.0}, None),
        ({"dx": 30.0}, "30"),
        ({"dx": 40.0, "crs": "EPSG:2229"}, "12.2"),
        ({"dx": 1 / 10800, "crs": "EPSG:4269"}, None),
        ({"dx": 1 / 3600, "crs": "EPSG:4326"}, "30.9"),
        ({"dx": 5.0, "dy": 20.0}, "20"),
    ],
)
def test_cells_that_are_too_coarse_for_slopes_are_told(tmp_path, options, size):
    z = np.arange(100, dtype=np.float32).reshape(10, 10)
    where = {"left": -118.0, "top": 35.0} if options.get("crs", "")[5:6] == "4" else {}
    told = checked(write_raster(tmp_path / "a.tif", z, **where, **options)).warnings
    if size is None:
        assert told == ()
    else:
        (text,) = told
        assert text.startswith(f"the DEM has cells of {size} m, and slopes are gentler on ")
        assert "Compare slope_* and share_steeper_* only with values from cells of this" in text


def test_resampling_to_smaller_cells_does_not_make_slopes_better(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((10, 10), np.float32), dx=30.0)
    index = index_terrain([path], target_crs="EPSG:32610", resolution=10.0)
    assert suspects.coarse_cells(index).startswith("the DEM has cells of 30 m,")


@pytest.mark.parametrize("name", ["station-fire", "santiago-fire", "colorado-fire-2022"])
def test_real_terrain_is_not_suspect(shared_data, name):
    told = checked(str(shared_data(name) / "dem.tif")).warnings
    assert [text for text in told if not text.startswith("the DEM has cells of 30 m,")] == []


# ---- where it is kept ------------------------------------------------------------------------


def test_warnings_are_kept_with_the_index_but_not_with_a_part_of_it(tmp_path, ground):
    ground[100, 100] = 0
    index = checked(write_raster(tmp_path / "dem.tif", ground, dx=30.0))
    assert len(index.warnings) == 2
    assert TerrainIndex.from_json(index.to_json()) == index
    part = index.subset([index.tiles[0].path])
    assert (part.tiles, part.assumptions, part.warnings) == (index.tiles, (), ())


def test_the_log_and_the_summary_tell_it(tmp_path, ground):
    ground[:, 100] = 0
    path = write_raster(tmp_path / "dem.tif", ground)
    index, log = tmp_path / "terrain.json", tmp_path / "index.log"
    settings = {"path": path, "nodata": -7, "max_step_m": 5, "vertical_unit": None}
    settings |= {"target_crs": None, "resolution": None, "source": None}
    index_terrain_script.main(
        settings=settings,
        inputs=[path],
        inputs_of_run="none.json",
        terrain=str(index),
        log=str(log),
    )
    told = f"{path}: a column at x 501005 of nothing but 0, "
    assert told in log.read_text()
    failed = Catchment("z", "on_nodata", "no data", 1.0, 2.0, None, "L0_R0_C0", 0)
    write_catchments([failed], tmp_path / "catchments.parquet", "EPSG:32611")
    row = {"site_id": "z", "status": "on_nodata", "reason": "no data"}
    write_features([row], {}, tmp_path / "features.parquet")
    with result_file(tmp_path / "rejected.csv") as part:
        part.write_text("row,site_id,action,reason,found\n")
    with result_file(tmp_path / "warnings.json") as part:
        part.write_text('["sites.csv: odd"]')
    summarise.main(
        study="mine",
        layers=[],
        area_unit="km2",
        compare=[],
        layer_files=None,
        observations="",
        models=[],
        storms=[],
        left_out=None,
        hazard=None,
        catchments=str(tmp_path / "catchments.parquet"),
        features=str(tmp_path / "features.parquet"),
        rejected=str(tmp_path / "rejected.csv"),
        warnings=str(tmp_path / "warnings.json"),
        terrain=str(index),
        summary=str(tmp_path / "summary.json"),
        log=str(tmp_path / "summarise.log"),
    )
    warnings = json.loads((tmp_path / "summary.json").read_text())["warnings"]
    assert warnings[0] == "sites.csv: odd"
    assert warnings[1].startswith(told)
    assert len(warnings) == 2


def test_tiles_in_a_local_archive_are_looked_at(tmp_path, ground):
    ground[:50, :50] = 0
    tile = Path(write_raster(tmp_path / "a.tif", ground.astype(np.float32), left=LEFT, top=TOP))
    with zipfile.ZipFile(tmp_path / "dem.zip", "w") as archive:
        archive.write(tile, "a.tif")
    (warning,) = checked(f"/vsizip/{tmp_path}/dem.zip/a.tif").warnings
    assert "set dem.nodata: 0" in warning
