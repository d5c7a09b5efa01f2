"""Rings around cells, against what makes them rings, and back to the cells."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from snakeshed.kernels.outline_rings import cells_in_rings, outline_rings

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8))


def rings_of(mask: np.ndarray) -> list[np.ndarray]:
    """Nodes of each ring, (n, 2)."""
    rows, columns, ends, _ = outline_rings(mask)
    return np.split(np.column_stack([rows, columns]), ends[:-1]) if ends.size else []


def signed_area(nodes: np.ndarray) -> float:
    """Positive where the ring goes clockwise, as rows count southward."""
    row, column = nodes.T
    return 0.5 * float(np.sum(column * np.roll(row, -1) - np.roll(column, -1) * row))


@given(MASKS)
def test_rings_turn_at_each_node_and_pass_none_twice(mask):
    for nodes in rings_of(mask):
        assert len(np.unique(nodes, axis=0)) == len(nodes) >= 4
        along_rows = np.diff(nodes, axis=0, append=nodes[:1])[:, 0] == 0
        assert (along_rows != np.roll(along_rows, 1)).all()


@given(MASKS)
def test_there_is_a_ring_around_each_part_and_the_areas_add_up(mask):
    areas = [signed_area(nodes) for nodes in rings_of(mask)]
    _, parts = ndimage.label(mask)
    assert sum(area > 0 for area in areas) == parts
    assert sum(areas) == np.count_nonzero(mask)


@given(MASKS)
def test_a_ring_names_one_of_its_cells(mask):
    _, _, _, cells = outline_rings(mask)
    labels, parts = ndimage.label(mask)
    named = [labels.ravel()[cell] for cell in cells]
    assert 0 not in named
    shells = [
        name for name, nodes in zip(named, rings_of(mask), strict=True) if signed_area(nodes) > 0
    ]
    assert sorted(shells) == list(range(1, parts + 1))


@given(MASKS, st.integers(0, 2))
def test_rings_give_the_cells_back(mask, wider):
    closed = [np.append(nodes, nodes[:1], axis=0) for nodes in rings_of(mask)]
    nodes = np.concatenate([np.empty((0, 2), np.int64), *closed])
    ring = np.repeat(np.arange(len(closed)), [len(each) for each in closed])
    shape = mask.shape[0] + 1 + wider, mask.shape[1] + 1
    found = cells_in_rings(nodes[:, 0].copy(), nodes[:, 1].copy(), ring, shape)
    expected = np.zeros(shape, bool)
    expected[: mask.shape[0], : mask.shape[1]] = mask
    np.testing.assert_array_equal(found, expected)
