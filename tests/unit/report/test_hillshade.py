"""Shaded relief: light from the north-west, and gaps that stay gaps."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from small_study import small_study

from snakeshed.report.hillshade import hillshade, picture, thinned

SIZES = np.full(9, 30.0)


def plane(east: float, north: float) -> np.ndarray:
    rows, columns = np.mgrid[:9, :9]
    return 100 + 30 * (east * columns - north * rows)


def test_slopes_that_face_the_light_are_bright():
    level, facing, away = (
        hillshade(plane(east, north), SIZES, SIZES)[4, 4]
        for east, north in ((0, 0), (0.5, -0.5), (-0.5, 0.5))
    )
    assert level == pytest.approx(np.sqrt(0.5))
    assert away < level < facing <= 1


def test_a_gap_stays_one_and_its_neighbours_do_not():
    z = plane(0.2, 0.1)
    z[4, 4] = np.nan
    shade = hillshade(z, SIZES, SIZES)
    assert np.argwhere(np.isnan(shade)).tolist() == [[4, 4]]
    assert ((shade >= 0) & (shade <= 1))[~np.isnan(shade)].all()


def test_a_picture_has_the_pixels_and_is_transparent_in_gaps():
    shade = np.full((5, 7), 0.5)
    shade[0, 0] = np.nan
    address = picture(shade)
    kind, _, content = address.partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == (7, 5)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert (alpha == 0).sum() == 1
    assert alpha[0, 0] == 0
    assert picture(shade) == address


def test_thinned_ground_is_the_mean_of_its_cells(tmp_path):
    study = small_study(tmp_path, ["a"])
    with study.terrain() as terrain:
        row, column = study.index.tiles[0].row, study.index.tiles[0].column
        whole = terrain.read(row - 6, column, 150, 30).z.astype(float)
        thin = thinned(terrain, row - 6, column, 50, 10, 3)
    # The first two rows of blocks lie north of the DEM.
    assert np.isnan(thin[:2]).all()
    blocks = whole.reshape(50, 3, 10, 3).swapaxes(1, 2).reshape(50, 10, 9)
    assert thin[2:] == pytest.approx(blocks[2:].mean(axis=2), rel=1e-12)
