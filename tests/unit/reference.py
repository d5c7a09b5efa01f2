"""Plain references for the kernels: each a few obvious lines, as slow as it likes.

A cell is a pair (row, column) of the padded array.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.cbook import get_sample_data
from numba import config

STEPS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""N, NE, E, SE, S, SW, W, NW: the directions 1 to 8."""

# The first example of a test waits for the kernels to compile.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")

needs_speed = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="a whole DEM takes minutes without compilation"
)

Cell = tuple[int, int]


def pad(z: np.ndarray) -> np.ndarray:
    return np.pad(z, 1, constant_values=np.nan)


def data_cells(z: np.ndarray) -> list[Cell]:
    return [(int(i), int(j)) for i, j in np.argwhere(~np.isnan(z))]


def neighbours(cell: Cell) -> list[Cell]:
    return [(cell[0] + di, cell[1] + dj) for di, dj in STEPS]


def priority_flood(z: np.ndarray, border: np.ndarray) -> np.ndarray:
    filled = z.copy()
    queue = [(z[cell], cell) for cell in data_cells(z) if border[cell]]
    heapq.heapify(queue)
    closed = np.isnan(z) | (border != 0)
    while queue:
        level, cell = heapq.heappop(queue)
        for neighbour in neighbours(cell):
            if not closed[neighbour]:
                closed[neighbour] = True
                filled[neighbour] = max(filled[neighbour], level)
                heapq.heappush(queue, (filled[neighbour], neighbour))
    return filled


def steepest(z: np.ndarray, cell: Cell, width_m: np.ndarray, height_m: np.ndarray) -> int:
    """Direction of the largest positive slope, the first among equals; 0 without any."""
    dx, dy = float(width_m[cell[0]]), float(height_m[cell[0]])
    best, code = 0.0, 0
    for k, (di, dj) in enumerate(STEPS, start=1):
        distance = dy if dj == 0 else dx if di == 0 else math.sqrt(dx * dx + dy * dy)
        slope = (float(z[cell]) - float(z[cell[0] + di, cell[1] + dj])) / distance
        if slope > best:
            best, code = slope, k
    return code


def route(
    filled: np.ndarray, border: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
) -> np.ndarray:
    """Directions on a filled surface: steepest descent, and in flats one step nearer to an exit."""
    directions = np.full(filled.shape, 255)
    exits = []
    for cell in data_cells(filled):
        directions[cell] = steepest(filled, cell, width_m, height_m)
        if directions[cell] or border[cell]:
            exits.append(cell)
    drain_flats(filled, exits, directions)
    return directions


def drain_flats(z: np.ndarray, exits: list[Cell], directions: np.ndarray) -> None:
    """Direct all cells of equal elevation around the exits one step nearer to them."""
    steps_to_exit = dict.fromkeys(exits, 0)
    queue = deque(exits)
    while queue:
        cell = queue.popleft()
        for neighbour in neighbours(cell):
            if z[neighbour] == z[cell] and neighbour not in steps_to_exit:
                steps_to_exit[neighbour] = steps_to_exit[cell] + 1
                queue.append(neighbour)
    for cell, steps in steps_to_exit.items():
        if steps:
            directions[cell] = 1 + next(
                k
                for k, neighbour in enumerate(neighbours(cell))
                if z[neighbour] == z[cell] and steps_to_exit[neighbour] == steps - 1
            )


def opposite(code: int) -> int:
    return (code + 3) % 8 + 1


def carve(
    z: np.ndarray, border: np.ndarray, width_m: np.ndarray, height_m: np.ndarray
) -> np.ndarray:
    """Prim's tree over the basins, from the outside: the next basin is joined by reversing a path.

    Saddles are ordered by level, then by the first of their two cells and the direction from it.
    """
    directions = route(z, border, width_m, height_m)
    while True:
        paths = {cell: flow_path(directions, cell) for cell in data_cells(z)}
        undrained = {cell: path for cell, path in paths.items() if not border[path[-1]]}
        if not undrained:
            return directions
        saddles = []
        for cell in undrained:
            if border[cell]:
                saddles.append((z[cell], cell, 0, cell, 0))
            for k, there in enumerate(neighbours(cell), start=1):
                if not np.isnan(z[there]) and there not in undrained:
                    place = (cell, k) if cell < there else (there, opposite(k))
                    saddles.append((max(z[cell], z[there]), *place, cell, k))
        *_, saddle, onward = min(saddles)
        path = undrained[saddle]
        for cell in path:
            code = directions[cell]
            directions[cell] = onward
            onward = opposite(code)
        drain_flats(z, path[-1:], directions)


def flow_path(directions: np.ndarray, cell: Cell) -> list[Cell]:
    """The cell and all that its water flows through; an AssertionError if it goes in a circle."""
    path = [cell]
    while directions[path[-1]]:
        path.append(neighbours(path[-1])[directions[path[-1]] - 1])
        assert len(path) <= directions.size, f"the water of {cell} flows in a circle"
        assert 0 <= directions[path[-1]] <= 8, f"the water of {cell} ends in {path[-1]}"
    return path


def step_length(
    directions: np.ndarray, cell: Cell, width_m: np.ndarray, height_m: np.ndarray
) -> float:
    """From a cell to the one that it drains to: that of a cell of its row; 0 if to the outside."""
    if not directions[cell]:
        return 0.0
    di, dj = STEPS[directions[cell] - 1]
    return math.sqrt((di * height_m[cell[0]]) ** 2 + (dj * width_m[cell[0]]) ** 2)


def upslope(directions: np.ndarray, outlet: Cell) -> set[Cell]:
    """Breadth-first search against the flow."""
    found = {outlet}
    queue = deque([outlet])
    while queue:
        cell = queue.popleft()
        for k, neighbour in enumerate(neighbours(cell)):
            if directions[neighbour] == (k + 4) % 8 + 1 and neighbour not in found:
                found.add(neighbour)
                queue.append(neighbour)
    return found


def jacksboro() -> np.ndarray:
    """The sample DEM of matplotlib: integer SRTM heights with many flats, 344 x 403 cells."""
    with get_sample_data("jacksboro_fault_dem.npz") as dem:
        return dem["elevation"].astype(np.float32)


def adversarial_grids() -> dict[str, np.ndarray]:
    """Ground that breaks what random ground does not, by name: float32 or float64, not padded."""
    row, column = np.indices((13, 16))
    ring = np.minimum(np.minimum(row, 12 - row), np.minimum(column, 15 - column)).astype(np.float32)
    corridor, way = spiral(13)
    teeth = np.where((column % 2 == 1) & (row > 0) | (row == 12), 0, 9).astype(np.float32)
    striped = np.where(column % 4 == 3, np.nan, (row * 7 + column * 5) % 11).astype(np.float32)
    largest = np.finfo(np.float32).max
    integers = np.array([np.iinfo(np.int32).min, np.iinfo(np.int32).max, 0, -1, 1], np.float64)
    return {
        "one cell": np.zeros((1, 1), np.float32),
        "one row": np.array([[3, 1, 2, 1, 1, 4, 0, 0, 5]], np.float32),
        "one column": np.array([[3], [1], [2], [1], [1], [4], [0], [5]], np.float64),
        "constant": np.full((13, 16), -7, np.float32),
        "checkerboard": ((row + column) % 2).astype(np.float32),
        "one-cell pits": np.where((row % 2 == 1) & (column % 2 == 1), 0, 1).astype(np.float32),
        "pits of all depths": np.where(
            (row % 2 == 1) & (column % 2 == 1), -(row * 3 + column) % 7, 9 + (row + column) % 2
        ).astype(np.float64),
        "bowl": -ring,
        "dome": ring,
        "rings of moats": np.where(ring % 2 == 1, 0, 9 - ring).astype(np.float32),
        "rings of deeper moats": np.where(ring % 2 == 1, -ring, 9).astype(np.float32),
        "level spiral": np.where(corridor, 0, 9).astype(np.float32),
        "spiral down to the middle": np.where(corridor, -way, 99).astype(np.float32),
        "spiral down to the rim": np.where(corridor, way, 99).astype(np.float64),
        "level comb": teeth,
        "comb with pits": np.where(row == 2, teeth - 1, teeth).astype(np.float32),
        "lake in a lake": np.select([ring > 4, ring > 3, ring > 1], [1, 2, 1], 5).astype(
            np.float64
        ),
        "stripes of nodata": striped,
        "islands of one cell": np.where((row % 2 == 1) & (column % 2 == 1), row, np.nan),
        "no data": np.full((13, 16), np.nan, np.float32),
        "largest numbers": np.where((row * 3 + column) % 4 < 2, largest, -largest),
        "smallest numbers": np.float32(1e-45) * ((row * 5 + column * 3) % 7).astype(np.float32),
        "signed zeros": np.where((row + column) % 2 == 0, 0.0, -0.0),
        "extreme integers": integers[(row * 3 + column * 7) % 5],
        "neighbouring numbers": np.nextafter(1000, 2000 * ((row + column * 5) % 3)),
    }


def spiral(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A corridor from a corner to the middle: its cells, and their steps from that corner."""
    corridor = np.zeros((size, size), dtype=bool)
    way = np.zeros((size, size))
    row, column, down, right = 0, 0, 0, 1
    for step in range(size * size):
        corridor[row, column] = True
        way[row, column] = step
        for _ in range(2):
            # On, unless the corridor already lies there or beyond a wall.
            ahead = [(row + n * down, column + n * right) for n in (1, 2)]
            inside = [0 <= i < size and 0 <= j < size for i, j in ahead]
            if inside[0] and not any(
                corridor[at] for at, ok in zip(ahead, inside, strict=True) if ok
            ):
                break
            down, right = right, -down
        else:
            break
        row, column = ahead[0]
    return corridor, way


def has_closed_piece(z: np.ndarray, border: np.ndarray) -> bool:
    """Whether some connected piece of the data has no border cell."""
    reached = {cell for cell in data_cells(z) if border[cell]}
    queue = deque(reached)
    while queue:
        for neighbour in neighbours(queue.popleft()):
            if not np.isnan(z[neighbour]) and neighbour not in reached:
                reached.add(neighbour)
                queue.append(neighbour)
    return len(reached) < len(data_cells(z))


def beside_nodata(z: np.ndarray) -> np.ndarray:
    border = np.zeros(z.shape, dtype=np.uint8)
    for cell in data_cells(z):
        border[cell] = any(np.isnan(z[neighbour]) for neighbour in neighbours(cell))
    return border


@st.composite
def terrains(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Small padded terrain, its border, and the widths and heights of the cells of its rows.

    Constant, terraced and rough surfaces, in single and double precision, down to one row, one
    column and one cell; holes of nodata, some of which are missing ground, with no border beside.
    """
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    levels = draw(
        st.sampled_from(
            [
                st.just(7.0),
                st.integers(0, 2).map(float),
                st.integers(-9, 9).map(float),
                st.floats(-1000.0, 1000.0, width=32),
            ]
        )
    )
    z = draw(hnp.arrays(dtype, shape, elements=levels))
    # What hypothesis draws is mostly level; roughness has more pits and saddles.
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    z += draw(st.sampled_from([0, 0, 2, 5, 100])) * rng.random(shape).astype(dtype)
    z = pad(draw(st.sampled_from([z, np.round(z)])))
    z[1:-1, 1:-1][draw(_holes(shape))] = np.nan
    border = beside_nodata(z)
    # Missing ground: no border beside it, so that water is routed around.
    z[1:-1, 1:-1][draw(_holes(shape))] = np.nan
    border[np.isnan(z)] = 0
    sizes = hnp.arrays(np.float64, z.shape[0], elements=st.sampled_from([1.0, 1.5, 10.0, 27.3]))
    return z, border, draw(sizes), draw(sizes)


def _holes(shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    seldom = st.integers(0, 9).map(lambda n: n == 9)
    return st.one_of(st.just(np.zeros(shape, dtype=bool)), hnp.arrays(bool, shape, elements=seldom))
