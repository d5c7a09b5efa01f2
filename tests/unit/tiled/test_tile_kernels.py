"""Kernels of single tiles, against plain references."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from random_flow import below, cells, flow_directions

from snakeshed.kernels.d8 import FLAT, NODATA
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent_inside
from snakeshed.kernels.tiled.basins import contract, levels_inside, raise_and_number
from snakeshed.kernels.tiled.flats import (
    MARGIN,
    SHARED,
    SmallFlats,
    drain_marked,
    drain_small,
    mark_runs,
    share_flats,
    write_codes,
    write_runs,
)
from snakeshed.kernels.tiled.links import spread_inflow
from snakeshed.kernels.tiled.sides import frame


@st.composite
def tiles(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Elevations of a tile with few levels, in the ring too, and where each cell drains."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(3, 12)), draw(st.integers(3, 12))
    z = rng.integers(0, draw(st.sampled_from([1, 2, 4])), shape).astype(np.float32)
    z[rng.random(shape) < draw(st.sampled_from([0, 0.2]))] = np.nan
    border = (rng.random(shape) < draw(st.sampled_from([0, 0.1]))).astype(np.uint8)
    side = np.full(shape[0], 10.0)
    return z, steepest_descent_inside(z, border, side, side)


def flat_of(z: np.ndarray, directions: np.ndarray, first: reference.Cell) -> set[reference.Cell]:
    """The flat of a cell, cell by cell."""
    found, waiting = {first}, [first]
    while waiting:
        for beside in reference.neighbours(waiting.pop()):
            if beside not in found and directions[beside] == FLAT and z[beside] == z[first]:
                found.add(beside)
                waiting.append(beside)
    return found


def flats_of(z: np.ndarray, directions: np.ndarray) -> list[set[reference.Cell]]:
    flats: list[set[reference.Cell]] = []
    for cell in map(tuple, np.argwhere(directions == FLAT).tolist()):
        if not any(cell in flat for flat in flats):
            flats.append(flat_of(z, directions, cell))
    return flats


def outlets_of(z: np.ndarray, directions: np.ndarray, flat: set) -> set[reference.Cell]:
    beside = {each for cell in flat for each in reference.neighbours(cell)}
    level = z[next(iter(flat))]
    return {cell for cell in beside if directions[cell] < FLAT and z[cell] == level}


def in_ring(shape: tuple[int, int], cell: reference.Cell) -> bool:
    return cell[0] in (0, shape[0] - 1) or cell[1] in (0, shape[1] - 1)


def runs_of(flat: set[reference.Cell], columns: int) -> np.ndarray:
    """The cells of a flat one by one: the shortest runs that there are."""
    places = np.array(sorted(row * columns + column for row, column in flat))
    return np.stack([places, places + 1], axis=1)


@given(tiles())
@examples(500)
def test_flats_that_touch_the_ring_are_found_piece_by_piece(tile):
    z, directions = tile
    shared = [
        flat
        for flat in flats_of(z, directions)
        if any(
            in_ring(z.shape, beside) and z[beside] == z[cell]
            for cell in flat
            for beside in reference.neighbours(cell)
        )
    ]
    marked = directions.copy()
    found = share_flats(z, marked)
    expected = directions.copy()
    for flat in shared:
        expected[tuple(np.transpose(list(flat)))] = SHARED
    np.testing.assert_array_equal(marked, expected)
    columns = z.shape[1]
    numbers = np.zeros(z.shape, np.int32)
    run_ends = pairwise([0, *found.run_ends.tolist()])
    outlet_ends = pairwise([0, *found.outlet_ends.tolist()])
    pieces = []
    for number, (runs, outlets) in enumerate(zip(run_ends, outlet_ends, strict=True)):
        places = [np.arange(*run) for run in found.runs[slice(*runs)].tolist()]
        piece = {divmod(place, columns) for place in np.concatenate(places).tolist()}
        pieces.append(piece)
        assert len(piece) == sum(map(len, places))
        rows, across = np.transpose(list(piece))
        box = [rows.min(), across.min(), rows.max() + 1, across.max() + 1]
        assert found.boxes(columns)[number].tolist() == box
        numbers[rows, across] = number + 1
        ways = {divmod(place, columns) for place in found.outlets[slice(*outlets)].tolist()}
        assert ways == outlets_of(z, directions, piece)
    assert sorted(map(sorted, pieces)) == sorted(map(sorted, shared))
    np.testing.assert_array_equal(found.numbers, frame(numbers[1:-1, 1:-1]))


@given(tiles())
@examples(300)
def test_flats_that_are_laid_into_an_array_drain_as_in_place(tile):
    z, directions = tile
    z[[0, -1]], z[:, [0, -1]] = np.nan, np.nan
    flats = flats_of(z, directions)
    rows, columns = z.shape
    expected = directions.copy()
    drain_flats(z, expected)
    wide = columns + 2 * MARGIN + 3
    shift = MARGIN * wide + MARGIN
    outlets = [
        np.array(
            [row * columns + column for row, column in outlets_of(z, directions, flat)], np.int64
        )
        for flat in flats
    ]
    runs = [runs_of(flat, columns) for flat in flats]
    # Each in an array of its own.
    alone = directions.copy()
    for flat, its_runs, ways in zip(flats, runs, outlets, strict=True):
        codes = np.zeros((rows + 2 * MARGIN, wide), np.uint8)
        assert mark_runs(codes, its_runs, columns, shift) == len(flat)
        there = ways // columns * wide + ways % columns + shift
        assert drain_marked(codes, there, len(flat)) == (ways.size > 0)
        write_runs(alone, its_runs, codes.reshape(-1), wide, shift)
    np.testing.assert_array_equal(alone, expected)
    if not flats:
        return
    # One after the other in one array; the codes of the last come first.
    sizes = np.array([len(flat) for flat in flats])
    count = np.arange(1, sizes.size + 1)
    found = drain_small(
        SmallFlats(
            (rows + 2 * MARGIN, wide),
            count,
            np.full(sizes.size, columns),
            np.full(sizes.size, shift),
            np.concatenate(runs),
            np.cumsum([len(one) for one in runs]),
            np.concatenate(outlets),
            np.cumsum([one.size for one in outlets]),
            sizes[::-1].cumsum()[::-1] - sizes,
        )
    )
    together = directions.copy()
    write_codes(together, np.concatenate(runs[::-1]), found)
    np.testing.assert_array_equal(together, expected)


@st.composite
def forests(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges of a forest, lowest first, and numbers of some nodes; 0 has the number 0."""
    nodes = draw(st.integers(1, 12))
    edges = [(node, draw(st.integers(0, node - 1))) for node in range(1, nodes)]
    edges = [edge for edge in edges if draw(st.integers(0, 9))]
    edges = draw(st.permutations(edges))
    first, second = np.array(edges, np.int32).reshape(-1, 2).T
    some = draw(st.lists(st.integers(-4, 4), min_size=len(edges), max_size=len(edges)))
    level = np.sort(np.array(some, np.float32))
    number_of = np.full(nodes, -1, np.int64)
    chosen = [0] + [node for node in range(1, nodes) if draw(st.booleans())]
    number_of[chosen] = np.arange(len(chosen))
    return nodes - 1, first, second, level, number_of


def highest_on_the_way(nodes: int, first, second, level) -> np.ndarray:
    """Lowest level over which each node can be reached from each other."""
    reached = np.full((nodes, nodes), np.inf)
    np.fill_diagonal(reached, -np.inf)
    for one, other, height in zip(first, second, level, strict=True):
        reached[one, other] = reached[other, one] = min(height, reached[one, other])
    for k in range(nodes):
        reached = np.minimum(reached, np.maximum(reached[:, k : k + 1], reached[k : k + 1]))
    return reached


@given(forests())
@examples(500)
def test_basins_without_a_number_are_left_out_and_levels_stay(forest):
    basins, first, second, level, number_of = forest
    numbered = number_of >= 0
    names = number_of.copy()
    between, one, other = contract(basins, first, second, names)
    before = highest_on_the_way(basins + 1, first, second, level)
    after = highest_on_the_way(numbered.sum(), one, other, level[between])
    np.testing.assert_array_equal(before[np.ix_(numbered, numbered)], after)
    np.testing.assert_array_equal(names[numbered], number_of[numbered])
    nearest = before[:, numbered].min(axis=1)
    if np.isinf(nearest).any() and (nearest == np.inf).any():
        assert ((names < 0) == (nearest == np.inf)).all()
        with pytest.raises(ValueError, match="no way outside"):
            levels_inside(first, second, level, between, numbered)
        return
    levels = levels_inside(first, second, level, between, numbered)
    assert levels.dtype == level.dtype
    np.testing.assert_array_equal(levels, nearest)
    # The basin that it is taken for can be reached at that level.
    at = np.flatnonzero(numbered)[names]
    np.testing.assert_array_equal(before[np.arange(basins + 1), at], nearest)


@pytest.mark.parametrize(("numbers", "kind"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_cells_rise_to_the_level_of_their_basin(numbers, kind):
    z = np.array([[np.nan, 1, 2], [3, 1, 5]], np.float32)
    labels = np.array([[-3, 1, 1], [2, 2, 0]], np.int32)
    levels = np.array([-np.inf, 2, 2.5], np.float32)
    found = raise_and_number(z, labels, levels, np.array([0, numbers, 7]))
    np.testing.assert_array_equal(z, np.array([[np.nan, 2, 2], [3, 2.5, 5]], np.float32))
    assert found.tolist() == [[0, numbers, numbers], [7, 7, 0]]
    assert found.dtype == kind


@given(flow_directions(), st.data())
@examples(300)
def test_what_comes_in_is_found_all_the_way_down(directions, data):
    some = cells(directions)
    entries = data.draw(st.lists(st.sampled_from(some), unique=True)) if some else []
    coming = np.arange(1, 2 * len(entries) + 1).reshape(-1, 2)
    expected = np.zeros((*directions.shape, 2), np.int64)
    on_the_way = np.zeros(directions.shape, bool)
    for cell, amount in zip(entries, coming, strict=True):
        while cell is not None and directions[cell] != NODATA:
            expected[cell] += amount
            on_the_way[cell] = True
            cell = below(directions, cell)
    places = np.array([row * directions.shape[1] + column for row, column in entries], np.int64)
    found, passing = spread_inflow(directions, places, coming)
    assert sorted(found.tolist()) == np.flatnonzero(on_the_way).tolist()
    np.testing.assert_array_equal(passing, expected.reshape(-1, 2)[found])
