"""The cost of each cell near a site as its outlet, and which cells lie on one drainage line.

Drainage lines are followed within a box of cells, and beyond it where that is asked for.
"""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.cell_sizes import distance as length_of
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import NODATA, OUTSIDE


@compiled
def score_candidates(
    areas_m2,
    directions,
    row,
    column,
    width_m,
    height_m,
    skew,
    radius_m,
    reported_m2,
    min_area_m2,
    distance_weight,
    distance_m,
    cost,
    lower_bound,
):
    """Fill in distance, cost and the cost's lower bound of every candidate in a box of cells.

    With a reported area the cost is
    ``|ln(area / reported)| + distance_weight * distance / radius``; without one (NaN) it is
    ``distance / radius`` for cells of at least ``min_area_m2``. An area that the window cuts is
    itself a lower bound, so the cost it might have in a larger window is bounded below by its
    cost at the area, not below its own, that suits best.

    Parameters
    ----------
    areas_m2 : ndarray of float64, shape (h, w)
        Upslope area of each cell, itself included.
    directions : ndarray of uint8, shape (h, w)
    row, column : float
        Position of the site in cells from the box's north-western corner.
    width_m, height_m : float
        Size of a cell at the site, on the ground.
    skew : float
        As in `snakeshed.kernels.cell_sizes.CellSizes`.
    radius_m, reported_m2, min_area_m2, distance_weight : float
    distance_m, cost, lower_bound : ndarray of float64, shape (h, w)
        Written; infinite where a cell is no candidate.
    """
    known = not math.isnan(reported_m2)
    for i in range(areas_m2.shape[0]):
        for j in range(areas_m2.shape[1]):
            distance_m[i, j] = cost[i, j] = lower_bound[i, j] = np.inf
            if directions[i, j] == NODATA:
                continue
            north = (row - (i + 0.5)) * height_m
            east = (j + 0.5 - column) * width_m
            distance = length_of(east, north, skew)
            if distance > radius_m:
                continue
            distance_m[i, j] = distance
            share = distance / radius_m
            area = areas_m2[i, j]
            if known:
                cost[i, j] = abs(math.log(area / reported_m2)) + distance_weight * share
                lower_bound[i, j] = distance_weight * share if area < reported_m2 else cost[i, j]
            else:
                if area >= min_area_m2:
                    cost[i, j] = share
                lower_bound[i, j] = share


@compiled
def mark_downstream(directions, start, row_step, column_step, marks):
    """Mark a cell of a box and those downstream of it, as far as the water stays in the box.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h, w)
        D8 codes without cycles.
    start : int
        Flat index of the cell, which has data.
    row_step, column_step : ndarray of int64, shape (9,)
        `ROW_STEP` and `COLUMN_STEP`.
    marks : ndarray of bool, shape (h, w)
        Marked cells are set.

    Returns
    -------
    int
        Flat index of the last one.
    """
    rows, columns = directions.shape
    last = start
    i, j = start // columns, start % columns
    while 0 <= i < rows and 0 <= j < columns and directions[i, j] != NODATA:
        marks[i, j] = True
        last = i * columns + j
        code = directions[i, j]
        if code == OUTSIDE:
            break
        i, j = i + row_step[code], j + column_step[code]
    return last


@compiled
def same_drainage_line(directions, row, column, row_step, column_step):
    """Find the cells of a box that lie upstream or downstream of one of them, within the box.

    Linear in the cells of the box: each is walked over twice at most, because a walk ends where an
    earlier one has been.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h, w)
        D8 codes without cycles.
    row, column : int
        The cell in question, which has data.
    row_step, column_step : ndarray of int64, shape (9,)
        `ROW_STEP` and `COLUMN_STEP`.

    Returns
    -------
    ndarray of bool, shape (h, w)
        The cell itself included.
    """
    rows, columns = directions.shape
    upstream, elsewhere = 1, 2
    known = np.zeros((rows, columns), np.uint8)
    i, j = row, column
    while 0 <= i < rows and 0 <= j < columns and directions[i, j] != NODATA:
        # What drains into the line below the cell is another line.
        known[i, j] = elsewhere
        code = directions[i, j]
        if code == OUTSIDE:
            break
        i, j = i + row_step[code], j + column_step[code]
    known[row, column] = upstream
    for start in range(rows * columns):
        verdict = 0
        for look in range(2):
            i, j = start // columns, start % columns
            while 0 <= i < rows and 0 <= j < columns and directions[i, j] != NODATA:
                if known[i, j] != 0:
                    verdict = known[i, j]
                    break
                if look == 1:
                    known[i, j] = verdict
                code = directions[i, j]
                if code == OUTSIDE:
                    break
                i, j = i + row_step[code], j + column_step[code]
            if look == 0 and verdict == 0:
                verdict = elsewhere
    same = known == upstream
    mark_downstream(directions, row * columns + column, row_step, column_step, same)
    return same


@compiled
def last_in_box(directions, row, column, row_step, column_step):
    """Find where the water of each cell leaves a box, if it does not come by a certain cell.

    Linear in the cells of the box, as `same_drainage_line`.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h, w)
        D8 codes without cycles.
    row, column : int
        The certain cell, which has data.
    row_step, column_step : ndarray of int64, shape (9,)
        `ROW_STEP` and `COLUMN_STEP`.

    Returns
    -------
    ndarray of int64, shape (h, w)
        Flat index of the certain cell where the water comes by it, else of the last cell in the
        box; -1 where there is no data.
    """
    rows, columns = directions.shape
    last = np.full((rows, columns), -1, np.int64)
    last[row, column] = row * columns + column
    for start in range(rows * columns):
        end = np.int64(-1)
        for look in range(2):
            i, j = start // columns, start % columns
            while 0 <= i < rows and 0 <= j < columns and directions[i, j] != NODATA:
                if last[i, j] >= 0:
                    end = last[i, j]
                    break
                if look == 1:
                    last[i, j] = end
                else:
                    end = np.int64(i * columns + j)
                code = directions[i, j]
                if code == OUTSIDE:
                    break
                i, j = i + row_step[code], j + column_step[code]
    return last


@compiled
def follow_to_box(directions, row, column, top, left, bottom, right, row_step, column_step):
    """Follow the water of a cell until it enters a box.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h, w)
        D8 codes.
    row, column : int
        The cell.
    top, left, bottom, right : int
        First row and column of the box, and those after the last.
    row_step, column_step : ndarray of int64, shape (9,)
        `ROW_STEP` and `COLUMN_STEP`.

    Returns
    -------
    state : int
        1 in the box, 2 where the array ends, 0 where the water does.
    row, column : int
        The cell there.
    """
    rows, columns = directions.shape
    # No path is longer, unless it goes in a circle.
    for _ in range(directions.size + 1):
        if top <= row < bottom and left <= column < right:
            return 1, row, column
        if not (0 <= row < rows and 0 <= column < columns):
            return 2, row, column
        code = directions[row, column]
        if code in (NODATA, OUTSIDE):
            break
        row, column = row + row_step[code], column + column_step[code]
    return 0, row, column
