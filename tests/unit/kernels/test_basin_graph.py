"""The graph of basins against one of all pairs of neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.kernels.basin_graph import ARCS, label_basins, saddles, spanning_tree, spill_levels
from snakeshed.kernels.d8 import open_border
from snakeshed.kernels.flats import drain_flats
from snakeshed.kernels.steepest_descent import steepest_descent

Edge = tuple[float, int, int, int]


def all_edges(z: np.ndarray, border: np.ndarray, labels: np.ndarray) -> list[Edge]:
    """Level, place, and basins of each pair of neighbours in two basins, and each way outside."""
    edges = []
    for cell in reference.data_cells(z):
        place = (cell[0] * z.shape[1] + cell[1]) * 8
        if border[cell]:
            edges.append((z[cell], place, labels[cell], 0))
        for code, there in enumerate(reference.neighbours(cell), start=1):
            if there > cell and not np.isnan(z[there]):
                edges.append((max(z[cell], z[there]), place + code, labels[cell], labels[there]))
    return [edge for edge in edges if edge[2] != edge[3]]


def kruskal(edges: list[Edge], basins: int) -> set[tuple[float, int]]:
    """Level and place of the edges of the minimum spanning tree."""
    piece = list(range(basins + 1))
    tree = set()
    for level, place, one, other in sorted(edges):
        if piece[one] != piece[other]:
            tree.add((level, place))
            piece = [piece[one] if number == piece[other] else number for number in piece]
    return tree


@given(reference.terrains(), st.integers(1, 3))
@examples(1000)
def test_the_tree_is_that_of_all_pairs_of_neighbours(terrain, threads):
    z, border, width, height = terrain
    assert_same_tree(z, border, width, height, threads)


@pytest.mark.parametrize("name", reference.adversarial_grids())
def test_the_tree_of_ground_that_is_made_to_break_it(name):
    z = reference.pad(reference.adversarial_grids()[name])
    assert_same_tree(z, open_border(z), np.full(len(z), 10.0), np.full(len(z), 7.0), 2)


def assert_same_tree(
    z: np.ndarray, border: np.ndarray, width: np.ndarray, height: np.ndarray, threads: int
) -> None:
    directions = steepest_descent(z, border, width, height)
    drain_flats(z, directions)
    labels, basins = label_basins(directions)
    first, second, level, saddle = saddles(z, border, labels, threads)
    edges = {edge[1]: edge for edge in all_edges(z, border, labels)}
    for index, place in enumerate(saddle.tolist()):
        assert level[index] == edges[place][0]
        assert {first[index], second[index]} == set(edges[place][2:])
        assert first[index] > second[index]
    tree = spanning_tree(basins, first, second, level, saddle)
    found = set(zip(level[tree].tolist(), saddle[tree].tolist(), strict=True))
    assert found == kruskal(list(edges.values()), basins)


def test_arcs_of_neighbours():
    # In the order NW, N, NE, W, E, SE, S, SW.
    assert ARCS[0b00000001] == 0b00000001
    # N and E touch across the corner; NW and SW touch nothing but W.
    assert ARCS[0b00010010] == 0b00010010
    assert ARCS[0b10000001] == 0b00000001
    assert ARCS[0b10001001] == 0b10001001
    # All but N and S: two arcs, east and west.
    assert ARCS[0b10111101] == 0b10001001
    assert ARCS[0b10111101 & ~0b10001001] == 0b00110100
    assert ARCS[255] == 255


def test_levels_are_the_lowest_on_the_way_outside():
    first, second = np.array([1, 2, 2, 3]), np.array([0, 1, 0, 2])
    level = np.array([5.0, 3.0, 9.0, 1.0])
    levels = spill_levels(3, first, second, level, np.arange(4))
    assert levels.tolist() == [-np.inf, 5, 5, 5]
    with pytest.raises(ValueError, match="1 basins have no way outside"):
        spill_levels(3, first[:3], second[:3], level[:3], np.arange(3))
