"""Made terrain is what it says it is, and the kernels treat it as their plain references do."""

import numpy as np
import pytest
from made_terrain import KINDS, eroded, fractal, integer_flats, pad
from reference import priority_flood

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.d8 import OUTSIDE
from snakeshed.kernels.filling import fill


def filled_and_directions(z, threads=1):
    padded, border = pad(z.astype(np.float32))
    cell_m = np.full(len(padded), 10.0)
    return padded, border, *fill(padded, border, cell_m, cell_m, threads)


def raised_share(z):
    padded, _, filled, _ = filled_and_directions(z)
    return (filled > padded).sum() / z.size


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_terrain(kind):
    z = KINDS[kind](70, 3)
    assert z.shape == (70, 70)
    assert (z == KINDS[kind](70, 3)).all()
    assert (z != KINDS[kind](70, 4)).any()


@pytest.mark.parametrize("make", [eroded, integer_flats])
def test_threads_do_not_change_the_terrain(make):
    assert (make(70, 3, threads=2) == make(70, 3)).all()


@pytest.mark.parametrize("make", [fractal, eroded])
def test_elevations_are_metres_above_200(make):
    z = make(120, 5)
    assert z.dtype == np.float32
    # Survey noise of 0.25 m comes last.
    assert z.min() == pytest.approx(200, abs=2)
    assert z.max() == pytest.approx(1700, abs=2)


def test_depressions_are_a_third_of_fractal_relief_and_little_of_eroded():
    assert 0.2 < raised_share(fractal(400, 7)) < 0.45
    assert 0.001 < raised_share(eroded(400, 7)) < 0.03


def slope_falls(z):
    """How much less steep the ground is where a lot of water comes through than where little."""
    counts = count_upslope(filled_and_directions(z)[3])[1:-1, 1:-1]
    slope = np.sqrt(sum(part**2 for part in np.gradient(z, 10.0)))
    return np.median(slope[counts < 10]) / np.median(slope[counts > 1000])


def test_rivers_have_eroded_their_beds():
    # By the stream-power law slopes fall with the square root of the area, where rivers win.
    assert slope_falls(eroded(400, 7)) > 2 * slope_falls(fractal(400, 7))


def test_integer_terrain_has_a_lake_and_terraces():
    z = integer_flats(400, 7)
    assert z.dtype == np.int16
    assert (z % 20 == 0).all()
    lake = (z == z.min()).mean()
    assert 0.08 < lake < 0.25
    padded = np.pad(z, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    flat = (windows.min(axis=(2, 3)) == z).mean()
    assert flat > lake + 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_filling_is_priority_flood_and_drains_all(kind, threads):
    z = KINDS[kind](150, 11)
    padded, border, filled, directions = filled_and_directions(z, threads)
    assert np.array_equal(filled, priority_flood(padded, border), equal_nan=True)
    assert count_upslope(directions)[directions == OUTSIDE].sum() == z.size


def test_the_ring_of_padded_terrain_is_nodata_and_its_rim_drains():
    padded, border = pad(np.ones((3, 4), np.float32))
    assert np.isnan(padded).sum() == 5 * 6 - 3 * 4
    assert border[1:-1, 1:-1].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    assert border.sum() == 10
