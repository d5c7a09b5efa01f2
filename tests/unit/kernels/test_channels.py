"""Orders and reaches of channels, against their definitions cell by cell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from random_flow import below, cells, channels, donors, flow_directions
from reference import Cell

from snakeshed.kernels.channels import reaches, stream_order
from snakeshed.kernels.d8 import NODATA


def plain_order(directions: np.ndarray, mask: np.ndarray, cell: Cell) -> int:
    above = [
        plain_order(directions, mask, donor) for donor in donors(directions, cell) if mask[donor]
    ]
    if not above:
        return int(mask[cell])
    is_end = not mask[cell] or below(directions, cell) is None
    several = len(above) + is_end > 1
    return max(above) + (several and min(above) == max(above))


def plain_reaches(directions: np.ndarray, mask: np.ndarray) -> set[tuple[Cell, ...]]:
    def is_end(cell: Cell) -> bool:
        return not mask[cell] or below(directions, cell) is None

    def above(cell: Cell) -> int:
        return sum(bool(mask[donor]) for donor in donors(directions, cell))

    found = set()
    for start in cells(directions):
        if is_end(start) or above(start) == 1:
            continue
        reach = [start, below(directions, start)]
        while not is_end(reach[-1]) and above(reach[-1]) == 1:
            reach.append(below(directions, reach[-1]))
        found.add(tuple(reach))
    return found


def split(directions: np.ndarray, mask: np.ndarray) -> list[tuple[Cell, ...]]:
    flat, starts = reaches(directions, mask)
    return [
        tuple(divmod(cell, directions.shape[1]) for cell in flat[start:end].tolist())
        for start, end in pairwise(starts)
    ]


@given(flow_directions(), st.data())
def test_the_order_follows_from_the_donors(directions, data):
    mask = data.draw(channels(directions))
    order = stream_order(directions, mask)
    assert order.dtype == np.uint8
    for cell in cells(directions):
        assert order[cell] == plain_order(directions, mask, cell)
    assert (order[directions == NODATA] == 0).all()


@given(flow_directions(), st.data())
def test_reaches_go_from_junction_to_junction(directions, data):
    mask = data.draw(channels(directions))
    found = split(directions, mask)
    assert len(set(found)) == len(found)
    assert set(found) == plain_reaches(directions, mask)


@given(flow_directions(cycles=True), st.data())
def test_cycles_are_survived(directions, data):
    mask = data.draw(channels(directions))
    stream_order(directions, mask)
    for reach in split(directions, mask):
        for upper, lower in pairwise(reach):
            assert below(directions, upper) == lower
            assert mask[upper]


def test_a_worked_example():
    """Two brooks meet, a third one joins, and the stream leaves the channels."""
    directions = np.full((6, 5), NODATA, dtype=np.uint8)
    directions[1:5, 1:4] = [[4, 0, 6], [0, 5, 0], [3, 5, 0], [0, 5, 0]]
    mask = np.zeros((6, 5), dtype=bool)
    mask[1:5, 1:4] = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert stream_order(directions, mask)[1:5, 1:4].tolist() == [
        [1, 0, 1],
        [0, 2, 0],
        [1, 2, 0],
        [0, 3, 0],  # no channel: the last donor and the end of the channels are equal
    ]
    assert split(directions, mask) == [
        ((1, 1), (2, 2)),
        ((1, 3), (2, 2)),
        ((2, 2), (3, 2)),
        ((3, 1), (3, 2)),
        ((3, 2), (4, 2)),
    ]


def test_three_streams_that_meet_have_the_order_of_pysheds():
    directions = np.full((5, 5), NODATA, dtype=np.uint8)
    directions[1:4, 1:4] = [[4, 5, 6], [3, 5, 7], [0, 0, 0]]
    mask = directions != NODATA
    mask[3] = False
    order = stream_order(directions, mask)
    assert order[2, 2] == 2  # five of order 1
    # Two of order 2 and one of order 1 stay 2 in pysheds; Strahler has 3.
    directions = np.full((5, 9), NODATA, dtype=np.uint8)
    directions[1:4, 1:8] = [
        [4, 5, 6, 5, 4, 5, 6],
        [0, 4, 0, 5, 0, 6, 0],
        [0, 0, 3, 0, 7, 0, 0],
    ]
    directions[2, 3] = 0
    directions[2, 2], directions[3, 3] = 4, 3
    directions[2, 6], directions[3, 5] = 6, 7
    order = stream_order(directions, directions != NODATA)
    assert order[3, 3] == order[3, 5] == 2
    assert order[2, 4] == 1
    assert [order[cell] for cell in donors(directions, (3, 4))] == [1, 2, 2]
    assert order[3, 4] == 2


def test_no_channels():
    directions = np.full((3, 3), NODATA, dtype=np.uint8)
    directions[1, 1] = 0
    flat, starts = reaches(directions, np.zeros((3, 3), dtype=bool))
    assert (flat.size, starts.tolist()) == (0, [0])
    assert stream_order(directions, np.zeros((3, 3), dtype=bool)).max() == 0
