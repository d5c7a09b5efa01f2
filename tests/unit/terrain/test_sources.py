"""Tiles of sources: their names, their places, and an index that no other tile changes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasters import write_raster

from snakeshed.errors import ConfigurationError, SeveralProblems, TerrainError
from snakeshed.terrain.dem import index_terrain, source_index
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.sources import (
    SOURCES,
    TerrainSource,
    is_fetched,
    terrain_source,
    with_source,
)

# A degree of 24 cells; files of 28.
COARSE = {
    "name": "coarse",
    "address": "http://localhost/{ns}{lat:02d}{ew}{lon:03d}.tif",
    "crs": "EPSG:4269",
    "tile_size": 1,
    "cells": 24,
    "overlap": 2,
}


def names_at(source: TerrainSource, lon: float, lat: float) -> list[str]:
    lattice = source.lattice(source.widening(lat))
    return [tile.name for tile in source.touching(lattice, *lattice.cell_of(lon, lat), 1, 1)]


# The addresses are those of `sources.md` and of the producers' documentation.
@pytest.mark.parametrize(
    ("name", "lon", "lat", "address"),
    [
        (
            "3dep-10m",
            -118.3,
            34.25,
            "https://prd-tnm.s3.amazonaws.com/StagedProducts/Elevation/13/TIFF/current/n35w119/"
            "USGS_13_n35w119.tif",
        ),
        (
            "3dep-30m",
            144.8,
            13.4,
            "https://prd-tnm.s3.amazonaws.com/StagedProducts/Elevation/1/TIFF/current/n14e144/"
            "USGS_1_n14e144.tif",
        ),
        (
            "3dep-10m",
            -170.7,
            -14.3,
            "https://prd-tnm.s3.amazonaws.com/StagedProducts/Elevation/13/TIFF/current/s14w171/"
            "USGS_13_s14w171.tif",
        ),
        (
            "glo-30",
            -118.3,
            34.25,
            "https://copernicus-dem-30m.s3.eu-central-1.amazonaws.com/"
            "Copernicus_DSM_COG_10_N34_00_W119_00_DEM/Copernicus_DSM_COG_10_N34_00_W119_00_DEM.tif",
        ),
        (
            "glo-90",
            0.5,
            -0.5,
            "https://copernicus-dem-90m.s3.eu-central-1.amazonaws.com/"
            "Copernicus_DSM_COG_30_S01_00_E000_00_DEM/Copernicus_DSM_COG_30_S01_00_E000_00_DEM.tif",
        ),
    ],
)
def test_a_tile_is_where_its_producer_has_it(name, lon, lat, address):
    source = SOURCES[name]
    lattice = source.lattice()
    (tile,) = source.touching(lattice, *lattice.cell_of(lon, lat), 1, 1)
    assert tile.address == address
    assert tile.name == address.rpartition("/")[2]


def test_tiles_of_3dep_overlap_by_twelve_columns():
    source = SOURCES["3dep-10m"]
    lattice = source.lattice()
    assert names_at(source, -118.0, 34.5) == ["USGS_13_n35w119.tif", "USGS_13_n35w118.tif"]
    row, column = lattice.cell_of(-118.0, 34.5)
    both = [len(source.touching(lattice, row, column + k, 1, 1)) for k in range(-8, 8)]
    assert both == [1, 1, *[2] * 12, 1, 1]
    west, east = source.touching(lattice, row, column, 1, 1)
    assert (west.height, west.width) == (10_812, 10_812)
    assert lattice.corner(west.row, west.column) == pytest.approx(
        (-119 - 6 / 10_800, 35 + 6 / 10_800)
    )
    assert east.column - west.column == 10_800


def test_centers_of_cells_of_copernicus_are_on_whole_degrees():
    source = SOURCES["glo-30"]
    lattice = source.lattice()
    (tile,) = source.touching(lattice, *lattice.cell_of(-118.3, 34.25), 1, 1)
    assert lattice.centre(tile.row, tile.column) == pytest.approx((-119, 35))
    assert (tile.height, tile.width) == (3_600, 3_600)


@pytest.mark.parametrize(
    ("lat", "columns"),
    [(49.5, 3600), (50.5, 2400), (-50.5, 2400), (60.5, 1800), (75, 1200), (82, 720), (86, 360)],
)
def test_cells_of_copernicus_are_wider_towards_the_poles(lat, columns):
    source = SOURCES["glo-30"]
    lattice = source.lattice(source.widening(lat))
    (tile,) = source.touching(lattice, *lattice.cell_of(10.5, lat), 1, 1)
    assert (tile.height, tile.width) == (3_600, columns)


def test_tiles_with_cells_of_two_widths_are_refused():
    source = SOURCES["glo-30"]
    lattice = source.lattice()
    row, column = lattice.cell_of(10.5, 49.99)
    assert len(source.touching(lattice, row, column, 100, 1)) == 1
    with pytest.raises(TerrainError) as error:
        source.touching(lattice, row - 100, column, 100, 1)
    assert str(error.value) == (
        "dem.source: glo-30: found terrain at latitude 50 to 51, where cells span 1.5 times as "
        "many degrees from west to east as from north to south, beside terrain where they span 1 "
        "times as many; expected terrain on one grid. Split the study at that latitude or use "
        "fewer levels of patches (patches.levels). Or bring the tiles to one grid with gdalwarp "
        "and name them in dem.path."
    )
    with pytest.raises(TerrainError) as error:
        source_index(source, [49.5, 51.25])
    assert str(error.value) == (
        "dem.source: glo-30: found sites at latitude 49.5000 and 51.2500, where its cells are 1 "
        "and 1.5 times as wide, in degrees, as high; expected sites where all cells are of one "
        "width. "
        "Make a study of each part of the sites. Or bring the tiles to one grid with gdalwarp and "
        "name them in dem.path."
    )


@given(
    source=st.sampled_from([*SOURCES.values(), terrain_source(COARSE)]),
    lon=st.floats(-200, 200),
    lat=st.floats(-49, 49),
    height=st.integers(1, 30_000),
    width=st.integers(1, 30_000),
)
def test_touching_tiles_are_those_that_share_a_cell(source, lon, lat, height, width):
    lattice = source.lattice()
    row, column = lattice.cell_of(lon, lat)
    height, width = min(height, 2 * source.cells), min(width, 2 * source.cells)
    if abs(lattice.corner(row + height, column)[1]) > 49:
        return
    found = source.touching(lattice, row, column, height, width)
    # Every tile that may be near, by what it shares with the window.
    expected = []
    for i in range(math.floor(lat) - 4, math.floor(lat) + 3):
        for j in range(math.floor(lon) - 2, math.floor(lon) + 5):
            tile = source.tile(lattice, i, j)
            rows = set(range(max(row, tile.row), min(row + height, tile.row + tile.height)))
            shares = max(column, tile.column) < min(column + width, tile.column + tile.width)
            if rows and shares:
                expected.append(tile)
    assert found == expected
    assert all(source.tile_of(lattice, tile.row, tile.column) == tile for tile in found)


def test_a_window_across_the_antimeridian_has_tiles_of_both_sides():
    source = SOURCES["glo-30"]
    lattice = source.lattice()
    for lon in (180.0, -180.0):
        row, column = lattice.cell_of(lon, -16.5)
        tiles = source.touching(lattice, row, column - 5, 1, 10)
        assert [tile.name[22:36] for tile in tiles] == ["S17_00_E179_00", "S17_00_W180_00"]


def write_tile(folder: Path, source: TerrainSource, lon: int, lat: int, z: float) -> str:
    """Write the tile of a coarse source with a corner northwest of it; all its cells alike."""
    lattice = source.lattice()
    tile = source.tile(lattice, lat - 1, lon)
    x, y = lattice.corner(tile.row, tile.column)
    cells = np.full((tile.height, tile.width), z, np.float32)
    path = folder / tile.name
    return write_raster(path, cells, left=x, top=y, dx=lattice.dx, crs=source.crs, unit="m")


def test_no_tile_changes_what_an_index_says_of_the_others(tmp_path):
    source = terrain_source(COARSE)
    west, east, far = (
        write_tile(tmp_path, source, lon, 35, z) for lon, z in ((-119, 1), (-118, 2), (20, 3))
    )
    one = index_terrain([west, east], source=source)
    other = index_terrain([far, west, east], source=source)
    assert other.subset([west, east]) == one
    assert other.meridian == one.meridian == 0


@pytest.mark.parametrize("cells", [1, 5, 12, 40])
def test_a_seam_is_the_same_in_every_window(tmp_path, cells):
    source = terrain_source(COARSE)
    # Their four columns in common have different values.
    files = [write_tile(tmp_path, source, lon, 35, z) for lon, z in ((-119, 100), (-118, 103))]
    index = index_terrain(sorted(files), source=source, max_step_m=5)
    row, column = index.lattice.cell_of(-118.0, 34.5)
    with Terrain(index, 0) as terrain:
        whole = terrain.elevations(row, column - 24, 1, 48)[0]
        # The file whose name comes first counts: that of the tile in the east.
        assert whole.tolist() == [100.0] * 22 + [103.0] * 26
        for start in range(48 - cells):
            part = terrain.elevations(row, column - 24 + start, 1, cells)[0]
            np.testing.assert_array_equal(part, whole[start : start + cells])


def test_tiles_near_the_antimeridian_are_there_on_both_sides(tmp_path):
    source = terrain_source(COARSE)
    files = [write_tile(tmp_path, source, lon, -16, z) for lon, z in ((179, 1), (-180, 2), (10, 3))]
    index = index_terrain(files, source=source)
    around = 360 * 24
    columns = sorted((tile.path, tile.column) for tile in index.tiles)
    expected = [(files[0], 179 * 24 - 2), (files[1], -180 * 24 - 2), (files[2], 238)]
    expected += [(files[0], 179 * 24 - 2 - around), (files[1], 180 * 24 - 2)]
    assert columns == sorted(expected)
    with Terrain(index, 0) as terrain:
        for lon in (180.0, -180.0):
            row, column = index.lattice.cell_of(lon, -16.5)
            read = terrain.elevations(row, column - 4, 1, 8)[0].tolist()
            assert read == [1, 1, 1, 1, 1, 1, 2, 2]


def test_a_file_that_is_no_tile_of_the_source_is_named(tmp_path):
    source = terrain_source(COARSE)
    good = write_tile(tmp_path, source, -118, 35, 1)
    lattice = source.lattice()
    x, y = lattice.corner(*source.tile(lattice, 34, -120)[2:4])
    size = {"dx": lattice.dx, "crs": source.crs, "unit": "m"}
    larger = write_raster(tmp_path / "a.tif", np.ones((40, 28)), left=x, top=y, **size)
    other = write_raster(tmp_path / "b.tif", np.ones((28, 28)), left=x + lattice.dx, top=y, **size)
    with pytest.raises(SeveralProblems) as error:
        index_terrain([good, larger, other], source=source)
    begins = f"{x:.10g}, {y:.10g} on"
    advice = (
        "Remove it if it is of another DEM. If the source has other tiles by now, fetch them "
        "yourself and name them in dem.path, without dem.source."
    )
    assert str(error.value).splitlines() == [
        f"- {larger}: found 40 rows and 28 columns from {begins}; expected a tile of coarse, with "
        f"28 rows and 28 columns. {advice}",
        f"- {other}: found 28 rows and 28 columns from {x + lattice.dx:.10g}, {y:.10g} on; "
        f"expected a tile of coarse, which begins at another place. {advice}",
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cells": 25}, "cells of 0.04 x 0.04 in EPSG:4269, one of them at 0, 0"),
        (
            {"shift": 0.5},
            "cells of 0.04166666667 x 0.04166666667 in EPSG:4269, one of them at -0.02083333333, "
            "-0.02083333333",
        ),
        (
            {"crs": "EPSG:4326"},
            "cells of 0.04166666667 x 0.04166666667 in EPSG:4326, one of them at 0, 0",
        ),
    ],
)
def test_files_with_other_cells_than_the_source_has_are_refused(tmp_path, changed, expected):
    file = write_tile(tmp_path, terrain_source(COARSE), -118, 35, 1)
    with pytest.raises(TerrainError) as error:
        index_terrain([file], source=terrain_source(COARSE | changed))
    assert str(error.value) == (
        "dem.source: coarse: found files with cells of 0.04166666667 x 0.04166666667 in EPSG:4269, "
        f"one of them at 0, 0; expected {expected}. Correct crs, tile_size, cells, or shift of "
        "dem.source; or remove it, and name the files in dem.path."
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "3dep_10m",
            "dem.source: found the name '3dep_10m'; expected one of 3dep-10m, 3dep-30m, glo-30, "
            "glo-90. Did you mean 3dep-10m? Describe another source by its address, CRS, "
            "tile_size, and cells.",
        ),
        (
            COARSE | {"address": "http://a.example/{lat}_{zoom}.tif"},
            "dem.source.address: found http://a.example/{lat}_{zoom}.tif, with {zoom} in it; "
            "expected an address with {lat}, {lon}, {ns}, {ew}, {NS}, {EW}, {x}, {y} where tiles "
            "differ. Example: https://example.org/dem/{ns}{lat:02d}{ew}{lon:03d}.tif",
        ),
        (
            COARSE | {"address": "http://a.example/{lat}.tif"},
            "dem.source.address: found http://a.example/{lat}.tif, with no place for the tile's "
            "corner; expected an address with {lat}, {lon}, {ns}, {ew}, {NS}, {EW}, {x}, {y} where "
            "tiles differ. Example: https://example.org/dem/{ns}{lat:02d}{ew}{lon:03d}.tif",
        ),
        (
            COARSE | {"crs": "EPSG:1"},
            "dem.source.crs: found 'EPSG:1' (",
        ),
        (
            COARSE | {"tile_size": 1e-9},
            "dem.source.cells: found 24 in tiles of 1e-09 units of EPSG:4269, which is cells of "
            "4.16667e-11; expected cells of at least 1e-08. Check tile_size and cells.",
        ),
        (
            COARSE | {"tile_size": 0.7},
            "dem.source.tile_size: found 0.7 degrees; expected a size that divides 360 degrees. "
            "Set the side of a tile without overlap.",
        ),
    ],
)
def test_a_source_that_cannot_be_one_is_refused(value, message):
    with pytest.raises(ConfigurationError) as error:
        terrain_source(value)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("field", ["{lat.real}", "{lat[0]}", "{lat!x}", "{", "{lat:{lon}}", "{0}"])
def test_an_address_is_no_way_to_run_anything(field):
    with pytest.raises(ConfigurationError, match="dem.source.address: found "):
        terrain_source(COARSE | {"address": f"http://a.example/{{x}}{{y}}{field}.tif"})


def test_a_source_in_meters_is_named_by_its_corner():
    source = terrain_source(
        {
            "name": "lidar",
            "address": "https://a.example/{x}/{y}/dem.tif",
            "crs": "EPSG:26911",
            "tile_size": 1000,
            "cells": 1000,
            "corner": "southwest",
        }
    )
    lattice = source.lattice()
    tiles = source.touching(lattice, *lattice.cell_of(400_999.5, 3_800_000.5), 1, 2)
    assert [(tile.name, tile.address) for tile in tiles] == [
        ("3800000_400000_dem.tif", "https://a.example/400000/3800000/dem.tif"),
        ("3800000_401000_dem.tif", "https://a.example/401000/3800000/dem.tif"),
    ]


def test_tiles_without_number_are_refused():
    source = terrain_source(COARSE | {"tile_size": 1e-6, "cells": 3})
    lattice = source.lattice()
    row, column = lattice.cell_of(-118, 34)
    with pytest.raises(TerrainError) as error:
        source.touching(lattice, row, column, 30_000, 30_000)
    assert str(error.value) == (
        "dem.source: coarse: found 100,060,009 tiles of 1e-06 units of EPSG:4269 around one patch; "
        "expected at most 100,000. Check tile_size and cells, or set patches.levels lower."
    )


def test_what_a_source_says_completes_the_section_dem():
    dem = {"path": None, "source": "3dep-10m", "vertical_unit": None, "url": None, "licence": "own"}
    done = with_source(dem, "mine")
    assert done == {
        "path": "resources/mine/3dep-10m",
        "source": "3dep-10m",
        "vertical_unit": "m",
        "url": "https://www.usgs.gov/3d-elevation-program",
        "licence": "own",
    }
    assert with_source(done, "mine") == done
    assert is_fetched({"study": "mine", "dem": done})
    # The files are there already.
    own = with_source(dem | {"path": "tiles"}, "mine")
    assert own["path"] == "tiles"
    assert not is_fetched({"study": "mine", "dem": own})
    assert not is_fetched({"study": "mine", "dem": done | {"source": None}})
