"""The network of a card is the one that the site was delineated on."""

from __future__ import annotations

import numpy as np
import pytest
from small_study import small_study

from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.report.network import network_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("network"), list("abcdefg"))


@pytest.fixture(scope="module")
def site(study):
    return study.results.catchments.set_index("site_id").loc["a"]


@pytest.fixture(scope="module")
def network(study, site):
    pyramid = PatchPyramid(study.index.lattice, **study.results.configuration["patches"])
    with study.terrain() as terrain:
        return network_of(terrain, "fill", *pyramid.window(Patch.from_id(site["patch"])))


@pytest.fixture(scope="module")
def everywhere(study):
    tile = study.index.tiles[0]
    return tile.column, tile.row, tile.column + tile.width, tile.row + tile.height


def test_the_outlet_lies_on_it_with_the_area_of_the_catchment(study, site, network, everywhere):
    lattice = study.index.lattice
    outlet = [
        (site["outlet_x"] - lattice.x0) / lattice.dx,
        (lattice.y0 - site["outlet_y"]) / lattice.dy,
    ]
    channels = network.channels(everywhere, 0.1, 10**6)
    (at,) = np.flatnonzero((np.abs(channels.start - outlet) < 1e-6).all(axis=1))
    assert channels.area_km2[at] == site["area_km2"]


def test_channels_grow_downstream_and_begin_at_the_threshold(network, everywhere):
    channels = network.channels(everywhere, 0.1, 10**6)
    assert channels.area_km2.min() >= 0.1
    steps = np.abs(channels.end - channels.start)
    assert steps.max() == 1
    assert (steps.sum(axis=1) > 0).all()
    area_at = {
        tuple(start): area for start, area in zip(channels.start, channels.area_km2, strict=True)
    }
    followed = 0
    for end, area in zip(channels.end, channels.area_km2, strict=True):
        # The last cells drain out of the window.
        if tuple(end) in area_at:
            assert area_at[tuple(end)] > area
            followed += 1
    assert followed > 0.9 * len(channels.area_km2)


def test_the_largest_channels_and_those_in_a_box(network, everywhere):
    channels = network.channels(everywhere, 0.01, 10**6)
    largest = network.channels(everywhere, 0.01, 10)
    assert len(largest.area_km2) == 10
    assert largest.area_km2.min() >= np.sort(channels.area_km2)[-10]

    west, north, *_ = everywhere
    box = (west + 10, north + 60, west + 50, north + 90)
    inside = network.channels(box, 0.01, 10**6)
    column, row = channels.start.T
    keep = (column > box[0]) & (column < box[2] + 1) & (row > box[1]) & (row < box[3] + 1)
    assert 0 < keep.sum() < len(keep)
    assert inside.start.tolist() == channels.start[keep].tolist()
    assert inside.end.tolist() == channels.end[keep].tolist()
    assert network.channels((0, 0, 5, 5), 0.01, 10).area_km2.size == 0


def test_a_window_without_data_has_none(study):
    with study.terrain() as terrain:
        network = network_of(terrain, "fill", 0, 0, 20, 20)
    assert network.channels((0, 0, 20, 20), 0.0, 100).area_km2.size == 0
