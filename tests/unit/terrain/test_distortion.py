"""What is said of a DEM whose CRS is not true to scale."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rasters import write_raster

from snakeshed.raster.crs import transformer
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.distortion import distortion_note, distortion_of


def index_between(folder, crs, south, north, cell=2000.0, lon=-118.0, **options):
    """A DEM from one latitude to another."""
    (x, _), (_, low), (_, high) = (
        transformer("EPSG:4326", crs).transform(lon, lat) for lat in (north, south, north)
    )
    z = np.ones((max(2, round(abs(high - low) / cell)), 3), np.float32)
    path = write_raster(folder / "dem.tif", z, left=x, top=max(low, high), dx=cell, crs=crs)
    return index_terrain([path], **options)


@pytest.mark.parametrize(
    ("crs", "lon", "north", "least", "most"),
    [
        ("EPSG:3857", -118.0, 36.0, 1.46, 1.54),
        ("EPSG:26917", -118.4, 34.1, 1.34, 1.34),  # six zones from its own
        ("EPSG:26911", -117.5, 36.0, 0.999, 1.001),
    ],
)
def test_how_much_larger_areas_are_from_34_degrees_on(tmp_path, crs, lon, north, least, most):
    found = distortion_of(index_between(tmp_path, crs, 34.0, north, lon=lon))
    assert found.least_area == pytest.approx(least, abs=0.01)
    assert found.most_area == pytest.approx(most, abs=0.015)


def test_areas_of_a_polar_projection(tmp_path):
    x, y = transformer("EPSG:4326", "EPSG:3413").transform(-118.0, 36.5)
    z = np.ones((3, 3), np.float32)
    path = write_raster(tmp_path / "d.tif", z, left=x, top=y, dx=30.0, crs="EPSG:3413")
    assert distortion_of(index_terrain([path])).most_area == pytest.approx(1.48, abs=0.01)


def test_what_is_said_of_mercators_projection(tmp_path):
    said = distortion_note(index_between(tmp_path, "EPSG:3857", 34.0, 36.0))
    assert re.fullmatch(
        r"EPSG:3857 shows areas 1\.4[56] to 1\.5[345] times as large as they are over this DEM\. "
        r"Areas, lengths, slopes, and snap\.radius_m are those of the ellipsoid all the same; "
        r"patches\.core_m, patches\.buffer_m, and cells are not\. "
        r"For cells that are true to scale, set dem\.target_crs to the UTM zone of the sites\.",
        said,
    )


def test_squares_that_are_none_are_said_too(tmp_path):
    said = distortion_note(index_between(tmp_path, "EPSG:6933", 60.0, 61.0))
    assert "EPSG:6933 has squares that are 0.3" in said
    assert "times as wide as high on the ground over this DEM" in said
    assert "Flow directions" not in said
    said = distortion_note(index_between(tmp_path, "EPSG:5070", 55.0, 56.0, lon=-96.0))
    assert "Flow directions take cells for as wide as they are in the CRS." in said


def test_a_target_of_ones_own_choice_can_be_taken_back(tmp_path):
    index = index_between(
        tmp_path, "EPSG:26911", 35.0, 35.5, lon=-117.0, target_crs="EPSG:3857", resolution=3000.0
    )
    said = distortion_note(index)
    assert said.endswith("zone of the sites, or to null for the DEM's own EPSG:26911.")


@pytest.mark.parametrize(("crs", "cell"), [("EPSG:26911", 2000.0), ("EPSG:4269", 0.02)])
def test_nothing_is_said_of_what_is_nearly_true_to_scale(tmp_path, crs, cell):
    assert distortion_note(index_between(tmp_path, crs, 34.0, 36.0, cell)) is None
