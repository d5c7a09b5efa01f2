from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.delineation.pyramid import Patch, PatchPyramid, shard_name, shard_of
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice

UTM = Lattice.through(crs_facts("EPSG:32611"), 3.0, 7.0, 10.0, 10.0)
OBLONG = Lattice.through(crs_facts("EPSG:32611"), 0.0, 0.0, 10.0, 20.0)
FEET = Lattice.through(crs_facts("EPSG:2229"), 0.0, 0.0, 30.0, 30.0)
DEGREES = Lattice.through(crs_facts("EPSG:4269"), 0.0, 0.0, 1 / 10800, 1 / 10800)
LATTICES = st.sampled_from([UTM, OBLONG, FEET, DEGREES])

# On the geographic lattice, rows of 324,000 cells are 30 degrees.
CELLS = st.integers(-900_000, 900_000)
LEVELS = st.integers(0, 3)


def pyramid(lattice: Lattice = UTM, **changes: float) -> PatchPyramid:
    settings = {"core_m": 5000.0, "buffer_m": 2500.0, "levels": 4, "radius_factor": 1.5}
    return PatchPyramid(lattice, **{**settings, **changes})


def contains(window: tuple[int, int, int, int], row: int, column: int) -> bool:
    return 0 <= row - window[0] < window[2] and 0 <= column - window[1] < window[3]


def test_a_patch_is_a_square_of_cells_with_a_buffer_around_it():
    patches = pyramid()
    assert patches.core(Patch(0, -3, 2)) == (-1500, 1000, 500, 500)
    assert patches.window(Patch(0, -3, 2)) == (-1750, 750, 1000, 1000)
    assert patches.core(Patch(2, -1, 0)) == (-2000, 0, 2000, 2000)
    assert patches.window(Patch(2, -1, 0)) == (-3000, -1000, 4000, 4000)
    assert patches.patch_of(-1001, 1499, 0) == Patch(0, -3, 2)
    assert patches.patch_of(-1000, 1500, 0) == Patch(0, -2, 3)
    assert patches.patch_of(-1001, 1499, 2) == Patch(2, -1, 0)


def test_metres_become_whole_cells_of_a_grid_in_feet():
    patches = pyramid(FEET)
    cell = 30 * 1200 / 3937
    assert patches.core_cells(0) == round(5000 / cell) == 547
    assert patches.core_cells(3) == 547 * 8
    assert patches.buffer_cells(Patch(1, 5, -7)) == math.ceil(5000 / cell) == 547


def test_a_buffer_covers_its_metres_along_the_narrower_side_of_a_cell():
    assert pyramid(OBLONG).core_cells(0) == 250
    assert pyramid(OBLONG).buffer_cells(Patch(0, 0, 0)) == 250


@pytest.mark.parametrize("hemisphere", [1, -1])
def test_at_latitude_60_a_buffer_has_twice_the_columns(hemisphere):
    patches = pyramid(DEGREES)
    size = patches.core_cells(0)
    # A third of an arc-second of the meridian at latitude 45 is 10.290 m.
    assert size == round(5000 / (111_131.8 / 10800)) == 486
    row, _ = DEGREES.cell_of(-118.0, 60.0 * hemisphere)
    patch = patches.patch_of(row, 0, 0)
    # A degree of longitude at latitude 60 has 55,800 m (Snyder 1987, table 3), 18 m less for each
    # cell of 486 towards the pole, and the core's poleward row is at most 486 cells away.
    widest, narrowest = 55_800 / 10800, (55_800 - 486 * 0.16) / 10800
    assert 2500 / widest <= patches.buffer_cells(patch) <= math.ceil(2500 / narrowest)
    # A mirror image has the same buffer.
    mirror = Patch(0, -1 - patch.row, 5)
    assert patches.buffer_cells(mirror) == patches.buffer_cells(patch)
    window, buffer = patches.window(patch), patches.buffer_cells(patch)
    poleward = patches.core(patch)[0] if hemisphere > 0 else patches.core(patch)[0] + size - 1
    assert buffer * DEGREES.rows(poleward, 1).width_m[0] >= 2500
    assert window[2] == window[3] == size + 2 * buffer


@given(LATTICES, CELLS, CELLS, LEVELS)
def test_every_cell_is_in_the_core_of_exactly_one_patch_of_a_level(lattice, row, column, level):
    patches = pyramid(lattice)
    patch = patches.patch_of(row, column, level)
    around = [
        Patch(level, patch.row + down, patch.column + right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    assert [one for one in around if contains(patches.core(one), row, column)] == [patch]


@given(LATTICES, CELLS, CELLS, st.integers(0, 2))
def test_the_patch_one_level_up_sees_all_that_a_patch_sees(lattice, row, column, level):
    patches = pyramid(lattice)
    patch, above = patches.patch_of(row, column, level), patches.patch_of(row, column, level + 1)
    assert patches.parent(patch) == above
    for piece in (patches.core, patches.window):
        (top, left, height, width), (above_top, above_left, above_height, above_width) = (
            piece(patch),
            piece(above),
        )
        assert above_top <= top
        assert above_left <= left
        assert top + height <= above_top + above_height
        assert left + width <= above_left + above_width


@given(LATTICES, CELLS, CELLS, LEVELS, st.floats(0.0001, 200))
def test_the_buffer_covers_what_a_site_needs_wherever_it_is_in_the_core(
    lattice, row, column, level, area_km2
):
    patches = pyramid(lattice)
    level, needs_more = patches.start_level(area_km2)
    need_m = 1500 * math.sqrt(area_km2)
    patch = patches.patch_of(row, column, level)
    top, left, height, width = patches.window(patch)
    size = lattice.rows(row, 1)
    columns = min(column - left, left + width - 1 - column)
    # A row of the buffer may be a little narrower than the core's poleward row, which counts.
    covered = columns * size.width_m[0] >= need_m * (1 - 1e-9)
    assert covered or needs_more
    assert needs_more == (patches.buffer_at(3) < need_m)
    rows = min(row - top, top + height - 1 - row)
    assert rows * size.height_m[0] >= need_m * (1 - 0.01) or needs_more


def test_a_site_starts_at_the_lowest_level_whose_buffer_covers_its_need():
    patches = pyramid()
    # Buffers of 2.5, 5, 10 and 20 km hold 1.5 * sqrt(A) km up to 2.78, 11.1, 44.4 and 177.8 km2.
    for area, expected in [
        (None, (0, False)),
        (math.nan, (0, False)),
        (0.0, (0, False)),
        (2.7, (0, False)),
        (2.8, (1, False)),
        (11.2, (2, False)),
        (44.5, (3, False)),
        (177.7, (3, False)),
        (177.8, (0, True)),  # flagged, not obeyed
    ]:
        assert patches.start_level(area) == expected, area


def test_a_need_that_the_buffer_meets_exactly_is_covered():
    assert pyramid(buffer_m=3000.0, radius_factor=1.5).start_level(4.0) == (0, False)


def test_a_patch_is_named_and_found_by_its_name():
    patch = Patch(0, -152, 87)
    assert patch.id == "L0_R-152_C87"
    assert Patch.from_id(patch.id) == patch
    assert sorted([Patch(1, 0, 0), Patch(0, 5, 1), Patch(0, -5, 9)])[0] == Patch(0, -5, 9)
    for bad in ("L0_R-152", "L0_R1.5_C2", "L-1_R0_C0", "L0_R0_C0 "):
        with pytest.raises(ValueError, match="is not the name of a patch"):
            Patch.from_id(bad)


@pytest.mark.parametrize(
    "changes",
    [{"core_m": 0.0}, {"buffer_m": -1.0}, {"radius_factor": math.nan}, {"levels": 0}],
)
def test_a_pyramid_needs_sizes_and_a_level(changes):
    with pytest.raises(ValueError, match="not a positive number|a pyramid of 0 levels"):
        pyramid(**changes)


def test_there_is_no_level_above_the_top_one():
    patches = pyramid()
    with pytest.raises(ValueError, match="level 4 of a pyramid of 4 levels"):
        patches.parent(Patch(3, 0, 0))
    with pytest.raises(ValueError, match="level -1 of a pyramid"):
        patches.patch_of(0, 0, -1)


def test_cells_larger_than_a_core_are_patches_of_one_cell():
    assert pyramid(core_m=4.0).core_cells(0) == 1


def test_the_shard_of_a_patch_is_the_same_in_every_process():
    """Python's own hash of a text differs from process to process."""
    code = (
        "from snakeshed.delineation.pyramid import shard_of; print(shard_of('L0_R-152_C87', 1000))"
    )
    source = str(Path(__file__).parents[3] / "scripts")
    elsewhere = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": source, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert {int(answer) for answer in elsewhere} == {shard_of("L0_R-152_C87", 1000)}


def test_shards_get_similar_numbers_of_patches():
    counts = [0] * 16
    for row in range(64):
        for column in range(64):
            counts[shard_of(Patch(0, row, column).id, 16)] += 1
    assert sum(counts) == 4096
    # 256 expected each; a binomial count is within 6 standard deviations of 15.5.
    assert 256 - 93 < min(counts) <= max(counts) < 256 + 93
    assert shard_of("L0_R0_C0", 1) == 0


def test_names_of_shards_sort_as_their_numbers():
    assert [shard_name(i, 16) for i in (0, 7, 15)] == ["00", "07", "15"]
    assert shard_name(0, 1) == "00"
    assert shard_name(7, 100) == "07"
    for shards in (5, 16, 101, 1001):
        names = [shard_name(i, shards) for i in range(shards)]
        assert names == sorted(names)
