"""Plain references for the kernels: each a few obvious lines, as slow as it likes.

A cell is a pair (row, column) of the padded array.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.cbook import get_sample_data

STEPS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""N, NE, E, SE, S, SW, W, NW: the directions 1 to 8."""

# The first example of a test waits for the kernels to compile.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")

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
    steps_to_exit = {}
    for cell in data_cells(filled):
        directions[cell] = steepest(filled, cell, width_m, height_m)
        if directions[cell] or border[cell]:
            steps_to_exit[cell] = 0
    queue = deque(steps_to_exit)
    while queue:
        cell = queue.popleft()
        for neighbour in neighbours(cell):
            if filled[neighbour] == filled[cell] and neighbour not in steps_to_exit:
                steps_to_exit[neighbour] = steps_to_exit[cell] + 1
                queue.append(neighbour)
    for cell, steps in steps_to_exit.items():
        if steps:
            directions[cell] = 1 + next(
                k
                for k, neighbour in enumerate(neighbours(cell))
                if filled[neighbour] == filled[cell] and steps_to_exit[neighbour] == steps - 1
            )
    return directions


def flow_path(directions: np.ndarray, cell: Cell) -> list[Cell]:
    """The cell and all that its water flows through; an AssertionError if it goes in a circle."""
    path = [cell]
    while directions[path[-1]]:
        path.append(neighbours(path[-1])[directions[path[-1]] - 1])
        assert len(path) <= directions.size, f"the water of {cell} flows in a circle"
        assert 0 <= directions[path[-1]] <= 8, f"the water of {cell} ends in {path[-1]}"
    return path


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
