"""The time that a shard's jobs are expected to take, a whole number of seconds."""

from snakeshed.delineation import expected_time
from snakeshed.delineation.expected_time import delineation_s, features_s, recipe_s


def test_little_is_one_second_and_parts_of_seconds_are_rounded_up():
    assert delineation_s(0, 0) == features_s(0, 0, 3) == 1
    assert delineation_s(251, 0) == 2
    assert features_s(1001, 0, 0) == 2


def test_sites_cells_and_layers_take_time():
    cells = round(60 / expected_time.PATCH_CELL_S)
    assert delineation_s(1000, cells) == 64
    assert features_s(999, 0, 2) == 9
    cells = round(60 / expected_time.CATCHMENT_CELL_S)
    assert [features_s(0, cells, layers) for layers in (0, 1, 2)] == [60, 120, 180]


def test_a_recipe_takes_its_time():
    assert recipe_s(0, 0) == 1
    assert recipe_s(10, 10_000_000) == 24


def test_a_shard_of_the_demo_takes_as_long_as_it_took():
    """Seconds of CPU that all shards took together, for sites and cells as they were."""
    for sites, cells, took in (
        (57, 595_354, 0.433),
        (120, 1_999_650, 0.601),
        (60, 3_376_635, 0.846),
    ):
        expected = sites * expected_time.DELINEATION_SITE_S + cells * expected_time.PATCH_CELL_S
        assert 0.75 < expected / took < 1.55
    for sites, cells, layers, took in (
        (57, 51_071, 1, 0.303),
        (120, 41_732, 0, 0.123),
        (60, 235_031, 0, 0.130),
    ):
        a_site = expected_time.FEATURES_SITE_S + layers * expected_time.LAYER_SITE_S
        expected = sites * a_site + cells * (1 + layers) * expected_time.CATCHMENT_CELL_S
        assert 0.75 < expected / took < 1.25
