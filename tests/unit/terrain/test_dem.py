from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasters import write_raster, write_tiles, write_vrt

from snakeshed.errors import ConfigurationError, SeveralProblems, TerrainError
from snakeshed.raster.crs import US_SURVEY_FOOT_M
from snakeshed.raster.input_files import input_files
from snakeshed.raster.vrt_sources import files_behind
from snakeshed.terrain.dem import dem_files, index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex, overlap, tiles_under

Z = np.arange(12, dtype=np.float32).reshape(3, 4)


# ---- files -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.tif", "a.TIFF", "c.vrt", "d.img", "notes.txt", "a.tif.aux.xml", "e[1].tif"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "f.tif").touch()
    return tmp_path


def names(files: list[str]) -> list[str]:
    return [Path(file).name for file in files]


def test_a_folder_stands_for_the_rasters_in_it(folder):
    assert names(dem_files(str(folder))) == ["a.TIFF", "b.tif", "c.vrt", "d.img", "e[1].tif"]


def test_globs_and_lists_are_expanded_and_each_file_is_named_once(folder):
    assert names(dem_files(f"{folder}/**/*.tif")) == ["b.tif", "f.tif", "e[1].tif"]
    listed = [f"{folder}/b.tif", f"{folder}/./b.tif", f"{folder}/*.tif", f"{folder}/e[1].tif"]
    assert names(dem_files(listed)) == ["b.tif", "e[1].tif"]


def test_an_address_stands_for_itself():
    addresses = ["https://example.org/n35w119.tif", "/vsicurl/https://example.org/n34w119.tif"]
    assert dem_files(addresses) == addresses


def test_a_list_keeps_its_order_and_what_a_folder_holds_is_sorted(folder):
    listed = [f"{folder}/e[1].tif", f"{folder}/deeper", str(folder)]
    assert names(dem_files(listed)) == ["e[1].tif", "f.tif", "a.TIFF", "b.tif", "c.vrt", "d.img"]


def test_every_pattern_that_finds_nothing_is_named(folder):
    with pytest.raises(SeveralProblems) as raised:
        dem_files([f"{folder}/*.asc", str(folder / "b.tif"), f"{folder}/none"])
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        f"- dem.path: {folder}/*.asc: found no raster; expected a file, a folder or a ZIP "
        "file with .tif, .tiff, .vrt, .img, .hgt, .bil, .flt, .asc, .dem, or a glob pattern. Check "
        "the path; it is relative to the working directory of the workflow."
    )
    assert f"dem.path: {folder}/none: found no raster" in lines[1]


def zip_of(path: Path, *files: str, into: str = "", extra: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in extra:
            archive.writestr(name, "text")
        for file in files:
            archive.write(file, f"{into}{Path(file).name}")
    return path


def test_a_zip_file_stands_for_the_rasters_in_it(tmp_path):
    z = np.arange(24, dtype="float32").reshape(4, 6)
    halves = [(slice(0, 4), slice(0, 3)), (slice(0, 4), slice(3, 6))]
    tiles = write_tiles(tmp_path, z, halves)
    packed = zip_of(
        tmp_path / "dem.zip", *tiles, into="DEM/", extra=("readme.txt", "__MACOSX/DEM/._t.tif")
    )
    found = dem_files(str(packed))
    assert found == sorted(f"/vsizip/{packed}/DEM/{Path(tile).name}" for tile in tiles)
    assert dem_files(f"{tmp_path}/d*.zip") == found
    assert np.array_equal(read_all(found), z)
    assert input_files(found) == [str(packed)]


def test_a_folder_without_rasters_stands_for_its_zip_files(tmp_path):
    tile = write_raster(tmp_path / "a.tif", np.ones((2, 2), "float32"))
    folder = tmp_path / "srtm"
    folder.mkdir()
    packed = zip_of(folder / "a.tif.zip", tile)
    assert dem_files(str(folder)) == [f"/vsizip/{packed}/a.tif"]
    Path(tile).rename(folder / "a.tif")
    assert dem_files(str(folder)) == [str(folder / "a.tif")]


def test_zip_files_without_a_raster_are_named_with_what_they_hold(tmp_path):
    empty = zip_of(tmp_path / "e.zip", extra=tuple(f"{k}.txt" for k in range(7)))
    (tmp_path / "bad.zip").write_bytes(b"no ZIP")
    with pytest.raises(SeveralProblems) as raised:
        dem_files([str(empty), str(tmp_path / "bad.zip")])
    told, bad = str(raised.value).splitlines()
    assert "e.zip: found a ZIP file without a raster (0.txt, 1.txt, 2.txt, 3.txt, 4.txt and" in told
    assert "4.txt and 2 more); expected a file with .tif, " in told
    assert "bad.zip: found a file that cannot be read as ZIP" in bad
    assert "Fetch it again, or unpack it and name the folder." in bad


def test_an_esri_grid_is_one_raster(tmp_path):
    for name in ("hdr.adf", "w001001.adf", "prj.adf"):
        (tmp_path / name).touch()
    assert dem_files(str(tmp_path)) == [str(tmp_path / "hdr.adf")]


def test_a_folder_of_srtm_tiles_is_one_dem(tmp_path):
    """Neighbors share a row or column of cells; -32768 is no data."""
    z = (np.arange(1201)[:, None] + np.arange(2401)[None, :]).astype(">i2")
    z[600, 600] = -32768
    for name, columns in (("N34W119", slice(0, 1201)), ("N34W118", slice(1200, 2401))):
        z[:, columns].tofile(tmp_path / f"{name}.hgt")
    files = dem_files(str(tmp_path))
    assert names(files) == ["N34W118.hgt", "N34W119.hgt"]
    index = index_terrain(files)
    assert index.lattice.geographic
    assert {tile.nodata for tile in index.tiles} == {-32768.0}
    expected = z.astype("float64")
    expected[600, 600] = np.nan
    assert np.array_equal(read_all(files), expected, equal_nan=True)
    packed = [zip_of(tmp_path / f"{file.stem}.hgt.zip", file) for file in map(Path, files)]
    for file in files:
        Path(file).unlink()
    assert input_files(dem_files(str(tmp_path))) == list(map(str, packed))
    assert np.array_equal(read_all(dem_files(str(tmp_path))), expected, equal_nan=True)


def read_all(files: list[str]) -> np.ndarray:
    """Elevations of all tiles of a DEM."""
    index = index_terrain(files)
    row, column = min(t.row for t in index.tiles), min(t.column for t in index.tiles)
    height = max(t.row + t.height for t in index.tiles) - row
    width = max(t.column + t.width for t in index.tiles) - column
    with Terrain(index, 0) as terrain:
        return terrain.read(row, column, height, width).z


def test_no_pattern_is_no_dem():
    with pytest.raises(TerrainError, match="dem.path: found an empty list; expected at least one"):
        dem_files([])


def test_listing_files_imports_nothing_heavy(folder):
    """The Snakefile lists the files at every start, also of a run that has nothing to do."""
    code = (
        "import sys; from snakeshed.terrain.dem import dem_files; "
        "from snakeshed.raster.input_files import input_files; "
        "input_files(dem_files(sys.argv[1] + '/*.[ti]*')); "
        "heavy = {'rasterio', 'rioxarray', 'xarray', 'pyproj', 'numba', 'scipy', 'pandas'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "scripts")},
    )
    assert done.returncode == 0, done.stderr


def test_behind_a_vrt_are_its_sources_however_deep(tmp_path):
    inner, outer = tmp_path / "tiles" / "inner.vrt", tmp_path / "outer.vrt"
    inner.parent.mkdir()
    inner.write_text(
        "<VRTDataset><VRTRasterBand><SimpleSource>"
        '<SourceFilename relativeToVRT="1">../data/a.tif</SourceFilename></SimpleSource>'
        f'<ComplexSource><SourceFilename relativeToVRT="0">{tmp_path}/b.tif</SourceFilename>'
        "</ComplexSource></VRTRasterBand></VRTDataset>"
    )
    outer.write_text(
        '<VRTDataset subClass="VRTWarpedDataset"><GDALWarpOptions>'
        '<SourceDataset relativeToVRT="1">tiles/inner.vrt</SourceDataset></GDALWarpOptions>'
        "<SourceFilename>/vsicurl/https://example.org/c.tif</SourceFilename>"
        '<SourceFilename relativeToVRT="1">outer.vrt</SourceFilename></VRTDataset>'
    )
    files = [outer, inner, tmp_path / "data" / "a.tif", tmp_path / "b.tif"]
    assert files_behind(str(outer)) == sorted(map(str, files))
    assert files_behind("a.tif") == ["a.tif"]
    assert files_behind("https://example.org/a.vrt") == []


def test_a_vrt_that_is_no_xml_is_named(tmp_path):
    (tmp_path / "bad.vrt").write_text("II*")
    with pytest.raises(TerrainError, match=r"bad.vrt: found a file that is no VRT .*gdalbuildvrt"):
        files_behind(str(tmp_path / "bad.vrt"))


# ---- headers ---------------------------------------------------------------------------------


def test_a_tile_lies_where_its_header_says(tmp_path):
    path = write_raster(tmp_path / "a.tif", Z.astype("int16"), left=503.0, top=1207.0, nodata=-9999)
    index = index_terrain([path])
    (tile,) = index.tiles
    assert (index.lattice.x0, index.lattice.y0) == (3.0, -3.0)
    assert (tile.row, tile.column, tile.height, tile.width) == (-121, 50, 3, 4)
    assert (tile.path, tile.dtype, tile.nodata) == (path, "int16", -9999.0)
    assert (tile.scale, tile.offset, tile.vertical_unit_m) == (1.0, 0.0, 1.0)
    assert index.is_native
    assert index.lattice.corner(tile.row, tile.column) == (503.0, 1207.0)


def test_an_index_survives_json_with_every_kind_of_nodata(tmp_path):
    paths = [
        write_raster(tmp_path / f"{i}.tif", Z, nodata=nodata)
        for i, nodata in enumerate([None, np.nan, -3.4028234663852886e38])
    ]
    index = index_terrain(paths, nodata=[0, -10000.5], max_step_m=2)
    text = index.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = TerrainIndex.from_json(text)
    assert again.to_json() == text
    assert [repr(tile.nodata) for tile in again.tiles] == ["None", "nan", "-3.4028234663852886e+38"]
    assert {tile.also_nodata for tile in again.tiles} == {(0.0, -10000.5)}
    assert again.max_step_m == 2
    assert (again.lattice, again.assumptions) == (index.lattice, index.assumptions)


def test_the_lattice_is_the_same_whichever_tiles_are_listed(tmp_path):
    pieces = [(slice(0, 1), slice(0, 2)), (slice(1, 3), slice(2, 4)), (slice(0, 1), slice(2, 4))]
    tiles = write_tiles(tmp_path / "tiles", Z, pieces, left=376313.6554542635, dx=30.0)
    lattices = {index_terrain([tile]).lattice for tile in tiles} | {index_terrain(tiles).lattice}
    assert len(lattices) == 1


def test_a_subset_keeps_the_lattice_and_some_tiles(tmp_path):
    tiles = write_tiles(tmp_path / "t", Z, [(slice(0, 3), slice(0, 2)), (slice(0, 3), slice(2, 4))])
    index = index_terrain(tiles)
    assert index.subset(tiles[1:]).tiles == index.tiles[1:]
    assert index.subset(tiles[1:]).lattice == index.lattice


def test_cells_need_not_be_square(tmp_path):
    lattice = index_terrain([write_raster(tmp_path / "a.tif", Z, dx=10, dy=20)]).lattice
    assert (lattice.dx, lattice.dy) == (10.0, 20.0)


def refused(tmp_path: Path, z: np.ndarray = Z, **options: object) -> str:
    path = write_raster(tmp_path / "bad.tif", z, **options)
    with pytest.raises(TerrainError) as raised:
        index_terrain([path])
    message = str(raised.value)
    assert message.startswith(f"{path}: found ")
    return message.removeprefix(f"{path}: found ")


def test_a_dem_without_crs_is_refused(tmp_path):
    assert refused(tmp_path, crs=None) == (
        "no CRS; expected the CRS of its coordinates. Add it with gdal_edit.py -a_srs <EPSG code>."
    )


def test_degrees_in_a_projected_crs_are_refused(tmp_path):
    message = refused(tmp_path, left=-119.0, top=35.0, dx=1 / 3600)
    assert message == (
        "x from -119 to -118.9988889, y from 34.99916667 to 35, in cells of 0.0002777777778, in "
        "the projected CRS EPSG:32611; expected coordinates in the unit of the CRS, not in "
        "degrees. The CRS in the file is wrong: set the geographic one with gdal_edit.py -a_srs."
    )


def test_metres_in_a_geographic_crs_are_refused(tmp_path):
    message = refused(tmp_path, crs="EPSG:4269")
    assert "in the geographic CRS EPSG:4269; expected longitudes and latitudes" in message


def test_a_globe_whose_cells_are_centred_on_the_poles_is_accepted(tmp_path):
    path = write_raster(
        tmp_path / "a.tif",
        np.zeros((181, 360), np.float32),
        left=-180.5,
        top=90.5,
        dx=1.0,
        crs="EPSG:4326",
    )
    assert index_terrain([path]).lattice.geographic


def test_a_rotated_dem_is_refused(tmp_path):
    transform = Affine(10, 1, 500_000, 1, -10, 4_000_000)
    message = refused(tmp_path, transform=transform)
    assert message == (
        "a rotated grid; expected rows that run from west to east. Make it north-up with gdalwarp."
    )


def test_a_south_up_dem_is_refused(tmp_path):
    message = refused(tmp_path, transform=Affine(10, 0, 500_000, 0, 10, 4_000_000))
    assert "cells of 10.0 by 10.0 (south-up or mirrored)" in message
    assert message.endswith("Make it north-up with gdalwarp.")


def test_several_bands_are_refused(tmp_path):
    assert refused(tmp_path, z=np.stack([Z, Z])) == (
        "2 bands; expected one band. Extract the right one with gdal_translate -b <band>."
    )


def test_numbers_that_are_no_elevations_are_refused(tmp_path):
    assert "numbers of type complex64; expected integers" in refused(
        tmp_path, Z.astype("complex64")
    )


def test_a_crs_without_lengths_is_refused(tmp_path):
    message = refused(tmp_path, crs="EPSG:4807", left=2.0, top=50.0, dx=0.01)
    assert "a CRS that cannot be used" in message
    assert "counts angles in grad" in message


def test_a_file_that_is_no_raster_is_refused(tmp_path):
    path = tmp_path / "bad.tif"
    path.write_text("no raster")
    with pytest.raises(TerrainError) as raised:
        index_terrain([str(path)])
    assert "found a file that cannot be opened" in str(raised.value)
    assert "not recognized as being in a supported file format" in str(raised.value)


def test_a_file_with_several_datasets_is_refused(tmp_path):
    path = write_raster(tmp_path / "pages.tif", Z)
    write_raster(tmp_path / "pages.tif", Z, APPEND_SUBDATASET="YES")
    with pytest.raises(TerrainError, match="found several datasets in one file; expected one ras"):
        index_terrain([path])


def other_tile(tmp_path: Path, **options: object) -> str:
    """Return what is said of a tile that does not fit to the first."""
    first = write_raster(tmp_path / "a.tif", Z)
    second = write_raster(tmp_path / "b.tif", Z, **{"left": 500_040.0, **options})
    with pytest.raises(TerrainError) as raised:
        index_terrain([second, first])
    message = str(raised.value)
    assert message.startswith(f"{second}: found ")
    assert f", as in {first}. Bring all tiles to one" in message
    return message


def test_tiles_in_different_crs_are_refused(tmp_path):
    message = other_tile(tmp_path, crs="EPSG:32612")
    assert "found the CRS EPSG:32612; expected the CRS EPSG:32611, as in" in message


def test_tiles_with_different_cells_are_refused(tmp_path):
    assert "found cells of 30 x 30; expected cells of 10 x 10" in other_tile(tmp_path, dx=30.0)


def test_misaligned_tiles_are_refused(tmp_path):
    message = other_tile(tmp_path, left=500_040.2, top=4_000_003.0)
    assert "found cells shifted by 0.0200 columns and -0.3000 rows; expected cells on" in message


def test_rounding_in_a_tile_s_origin_is_no_misalignment(tmp_path):
    first = write_raster(tmp_path / "a.tif", Z)
    second = write_raster(tmp_path / "b.tif", Z, left=500_040.004)
    assert [tile.column for tile in index_terrain([first, second]).tiles] == [50_000, 50_004]


def test_the_same_crs_in_other_words_is_the_same_crs(tmp_path):
    custom = "+proj=utm +zone=11 +datum=WGS84 +units=m"
    first = write_raster(tmp_path / "a.tif", Z)
    second = write_raster(tmp_path / "b.tif", Z, crs=custom)
    assert len(index_terrain([first, second]).tiles) == 2


def test_all_problems_of_all_files_are_told_at_once(tmp_path):
    (tmp_path / "a.tif").write_text("no raster")
    write_raster(tmp_path / "b.tif", np.stack([Z, Z]), crs=None)
    write_raster(tmp_path / "c.tif", Z)
    write_raster(tmp_path / "d.tif", Z, dx=30.0)
    with pytest.raises(SeveralProblems) as raised:
        index_terrain(dem_files(str(tmp_path)))
    found = [(Path(problem.where).name, problem.found[:9]) for problem in raised.value.problems]
    assert found == [
        ("a.tif", "a file th"),
        ("b.tif", "2 bands"),
        ("b.tif", "no CRS"),
        ("d.tif", "cells of "),
    ]


def test_no_file_is_no_terrain():
    with pytest.raises(TerrainError, match="dem.path: found no file"):
        index_terrain([])


# ---- vertical units --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "crs", "unit", "metres"),
    [
        ("ft", "EPSG:32611", None, 0.3048),
        ("us-ft", "EPSG:32611", "m", US_SURVEY_FOOT_M),
        ("m", "EPSG:2229+6360", "US survey foot", 1.0),
        (None, "EPSG:2229+6360", None, US_SURVEY_FOOT_M),
        (None, "EPSG:2229+6360", "US survey foot", US_SURVEY_FOOT_M),
        (None, "EPSG:32611+5703", None, 1.0),
        (None, "EPSG:32611", "ft", 0.3048),
        (None, "EPSG:32611", "metre", 1.0),
        (None, "EPSG:32611", "cm", 0.01),
    ],
)
def test_the_vertical_unit_comes_from_the_key_else_the_crs_else_the_band(
    tmp_path, key, crs, unit, metres
):
    index = index_terrain([write_raster(tmp_path / "a.tif", Z, crs=crs, unit=unit)], key)
    assert index.tiles[0].vertical_unit_m == metres
    assert index.assumptions == ()


def test_metres_are_assumed_and_said_where_nothing_names_the_unit(tmp_path):
    tiles = write_tiles(tmp_path / "t", Z, [(slice(0, 3), slice(0, 2)), (slice(0, 3), slice(2, 4))])
    index = index_terrain(tiles)
    assert [tile.vertical_unit_m for tile in index.tiles] == [1.0, 1.0]
    assert index.assumptions == (
        "2 of 2 files: neither the CRS nor the band names a vertical unit; elevations are taken "
        "to be metres (dem.vertical_unit says otherwise).",
    )


def test_a_unit_that_nobody_knows_is_refused(tmp_path):
    message = refused(tmp_path, unit="fathom")
    assert message.startswith("a band in the unknown unit 'fathom'; expected one unit, among m, ")
    assert message.endswith("Name the unit of the elevations in dem.vertical_unit.")


def test_two_units_in_one_file_are_refused(tmp_path):
    message = refused(tmp_path, crs="EPSG:32611+5703", unit="ft")
    assert message.startswith("a CRS with a vertical unit of 1 m and a band in 'ft'; expected one")


def test_a_misspelt_vertical_unit_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="dem.vertical_unit: found 'yard'; expected one"):
        index_terrain([write_raster(tmp_path / "a.tif", Z)], "yard")


# ---- another CRS -----------------------------------------------------------------------------


def test_a_target_crs_has_a_lattice_of_its_own(tmp_path):
    path = write_raster(tmp_path / "a.tif", Z, left=-119.0, top=35.0, dx=1 / 3600, crs="EPSG:4269")
    index = index_terrain([path], target_crs="EPSG:26911", resolution=30.0)
    assert (index.lattice.crs, index.source.crs) == ("EPSG:26911", "EPSG:4269")
    assert (index.lattice.dx, index.lattice.x0, index.lattice.y0) == (30.0, 0.0, 0.0)
    assert not index.is_native
    assert TerrainIndex.from_json(index.to_json()) == index


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_crs": "EPSG:0", "resolution": 30.0}, "dem.target_crs: found 'EPSG:0'"),
        ({"target_crs": "EPSG:4978", "resolution": 30.0}, "neither geographic nor projected"),
        ({"target_crs": "EPSG:26911"}, "dem.resolution: found None; expected a positive cell size"),
        ({"target_crs": "EPSG:26911", "resolution": -1.0}, "dem.resolution: found -1.0"),
    ],
)
def test_a_target_that_cannot_be_reached_is_refused(tmp_path, options, message):
    path = write_raster(tmp_path / "a.tif", Z)
    with pytest.raises(ConfigurationError, match=message):
        index_terrain([path], **options)


# ---- which tiles -----------------------------------------------------------------------------


def test_the_tiles_under_a_window_are_those_that_it_or_the_ring_around_it_touches(tmp_path):
    z = np.zeros((8, 8), np.float32)
    halves = (slice(0, 4), slice(4, 8))
    tiles = write_tiles(tmp_path / "t", z, [(rows, cols) for rows in halves for cols in halves])
    index = index_terrain(tiles)
    row, column = index.tiles[0].row, index.tiles[0].column

    def under(*window: int) -> list[int]:
        first_row, first_column, height, width = window
        found = tiles_under(index, row + first_row, column + first_column, height, width)
        return [tiles.index(path) for path in found]

    assert under(0, 0, 3, 3) == [0]
    assert under(0, 0, 4, 3) == [0, 2]
    assert under(5, 5, 1, 1) == [3]
    assert under(4, 4, 1, 1) == [0, 1, 2, 3]
    assert under(0, -1, 2, 1) == [0]
    assert under(0, -2, 2, 1) == []


def test_what_a_tile_and_a_window_share(tmp_path):
    (tile,) = index_terrain([write_raster(tmp_path / "a.tif", Z, left=0.0, top=0.0)]).tiles
    assert overlap(tile, -5, 1, 7, 2) == (0, 2, 1, 3)
    assert overlap(tile, 3, 0, 1, 1) is None
    assert overlap(tile, 0, -1, 1, 1) is None


def test_a_vrt_is_one_tile(tmp_path):
    tiles = write_tiles(tmp_path / "t", Z, [(slice(0, 3), slice(0, 2)), (slice(0, 3), slice(2, 4))])
    vrt = write_vrt(tmp_path / "all.vrt", tiles, Z.shape, -9999)
    (tile,) = index_terrain([vrt]).tiles
    assert (tile.height, tile.width, tile.nodata) == (3, 4, -9999.0)
    assert index_terrain([vrt]).lattice == index_terrain(tiles).lattice
    assert files_behind(vrt) == sorted([vrt, *tiles])
