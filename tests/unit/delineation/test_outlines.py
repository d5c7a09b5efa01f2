"""Outlines of sets of cells: valid, and the cells again."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features

from snakeshed.delineation.outlines import cells_within, outline
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice

METRES = Lattice.through(crs_facts("EPSG:32611"), 500_000.0, 4_000_000.0, 10.0, 10.0)
FEET = Lattice.through(crs_facts("EPSG:2229"), 6_400_001.7, 1_900_003.1, 3.3, 7.7)
ARC_SECONDS = Lattice.through(crs_facts("EPSG:4269"), -118.0, 34.5, 1 / 10800, 1 / 10800)
LATTICES = [METRES, FEET, ARC_SECONDS]

cells = st.integers(-1_300_000, 1_300_000)
masks = hnp.arrays(
    np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)
).filter(np.any)


def in_their_place(mask: np.ndarray, row: int, column: int) -> set[tuple[int, int]]:
    return {(int(i) + row, int(j) + column) for i, j in np.argwhere(mask)}


@given(masks, st.sampled_from(LATTICES), cells, cells)
def test_an_outline_is_valid_and_gives_its_cells_back(mask, lattice, row, column):
    shape = outline(mask, lattice, row, column)
    assert shape.is_valid, shapely.is_valid_reason(shape)
    back, top, left = cells_within(shape, lattice)
    assert in_their_place(back, top, left) == in_their_place(mask, row, column)
    assert not np.concatenate([back[0], back[-1], back[:, 0], back[:, -1]]).any()


@given(masks, st.sampled_from(LATTICES), cells, cells, *[st.integers(0, 3)] * 4)
def test_the_same_cells_have_the_same_bits_wherever_the_mask_begins(
    mask, lattice, row, column, above, below, before, after
):
    larger = np.pad(mask, ((above, below), (before, after)))
    one = outline(mask, lattice, row, column)
    other = outline(larger, lattice, row - above, column - before)
    assert shapely.to_wkb(one) == shapely.to_wkb(other)


def gdals_outline(mask: np.ndarray, lattice: Lattice, row: int, column: int):
    def ring(nodes):
        columns, rows = np.array(nodes).T
        return shapely.linearrings(*lattice.corner(rows + row, columns + column))

    parts = [
        shapely.polygons(ring(shell), [ring(hole) for hole in holes] or None)
        for shape, _ in features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
        for shell, *holes in [shape["coordinates"]]
    ]
    return shapely.normalize(shapely.multipolygons(parts))


@given(masks, st.sampled_from(LATTICES), cells, cells)
def test_an_outline_is_what_gdal_makes_of_the_cells(mask, lattice, row, column):
    theirs = gdals_outline(mask, lattice, row, column)
    assert shapely.to_wkb(outline(mask, lattice, row, column)) == shapely.to_wkb(theirs)


def test_an_outline_of_many_turns_is_what_gdal_makes_of_the_cells():
    # Longer rings, and more of them, than the kernel has room for at first.
    mask = np.random.default_rng(5).random((90, 110)) < 0.6
    shape = outline(mask, METRES, 0, 0)
    assert shapely.to_wkb(shape) == shapely.to_wkb(gdals_outline(mask, METRES, 0, 0))
    assert shape.is_valid, shapely.is_valid_reason(shape)
    back, top, left = cells_within(shape, METRES)
    assert in_their_place(back, top, left) == in_their_place(mask, 0, 0)


def test_no_cells_have_no_outline():
    with pytest.raises(ValueError, match="no cells"):
        outline(np.zeros((3, 4), bool), METRES, 0, 0)


@given(masks)
def test_the_area_is_that_of_the_cells(mask):
    assert outline(mask, METRES, -4, 7).area == mask.sum() * METRES.dx * METRES.dy


@pytest.mark.parametrize(
    ("rows", "parts", "holes"),
    [
        (["11", "11"], 1, 0),
        (["10", "01"], 2, 0),  # a corner joins nothing
        (["111", "101", "111"], 1, 1),
        (["111", "101", "110"], 1, 1),  # the hole touches the rim at a node
        (["1111", "1011", "1101", "1111"], 1, 2),  # two holes touch at a node
        (["0110", "1001", "0110"], 4, 0),
    ],
)
def test_parts_and_holes(rows, parts, holes):
    mask = np.array([[cell == "1" for cell in row] for row in rows])
    shape = outline(mask, METRES, 0, 0)
    assert shape.is_valid, shapely.is_valid_reason(shape)
    assert len(shape.geoms) == parts
    assert sum(len(part.interiors) for part in shape.geoms) == holes


def test_the_outline_of_one_cell_has_its_corners():
    shape = outline(np.array([[True]]), METRES, -3, 5)
    west, north = METRES.corner(-3, 5)
    south, east = METRES.corner(-2, 6)[1], METRES.corner(-2, 6)[0]
    assert shape.equals(shapely.box(west, south, east, north))
