"""Flow directions without a terrain, for the kernels that follow them."""

from __future__ import annotations

import numpy as np
import reference
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snakeshed.grid.dirmap import from_dirmap

CODES = (1, 2, 3, 4, 5, 6, 7, 8)


@st.composite
def flow_directions(draw: st.DrawFn, cycles: bool = False) -> np.ndarray:
    """Padded codes, down to one row, one column and one cell, with holes of nodata.

    Without cycles, every code is south of west or east, so that all water runs down and on.
    """
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
    numbers = st.integers(0, 8) if cycles else st.sampled_from([0, 3, 4, 4, 5, 5, 6, 6])
    fdir = draw(hnp.arrays(np.int64, shape, elements=numbers))
    nodata = draw(hnp.arrays(bool, shape, elements=st.integers(0, 9).map(lambda n: n == 9)))
    return from_dirmap(fdir, nodata, CODES)


def channels(directions: np.ndarray) -> st.SearchStrategy[np.ndarray]:
    """Some of the data cells."""
    return hnp.arrays(bool, directions.shape).map(lambda some: some & (directions != 255))


def below(directions: np.ndarray, cell: reference.Cell) -> reference.Cell | None:
    """The cell that a cell drains into; None at the end of the water."""
    code = int(directions[cell])
    return reference.neighbours(cell)[code - 1] if 1 <= code <= 8 else None


def donors(directions: np.ndarray, cell: reference.Cell) -> list[reference.Cell]:
    rows, columns = directions.shape
    return [
        donor
        for donor in reference.neighbours(cell)
        if 0 <= donor[0] < rows and 0 <= donor[1] < columns and below(directions, donor) == cell
    ]


def cells(directions: np.ndarray) -> list[reference.Cell]:
    return [(int(i), int(j)) for i, j in np.argwhere(directions != 255)]
