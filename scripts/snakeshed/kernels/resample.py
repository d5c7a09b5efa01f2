"""Resampling of terrain: elevations of the source lattice at arbitrary points.

Every value depends on the position of its own point and on at most four source cells, so it is
the same in every window and whatever tiles the source is cut into. The arrays are not padded:
a position beyond the source is an answer here, not an accident.
"""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.compiled import compiled

# What a point of the terrain is.
HAS_DATA, HAS_NODATA, OFF_TILES = 0, 1, 2

# Positions are counted in millionths of a cell: the last bits in which the map projections of two
# CPUs differ vanish, and a point on a cell's centre needs that cell alone.
_MICRO = 1_000_000

# No position beyond this many cells is one: it is infinite, NaN, or would overflow when counted.
_FARTHEST = 1e12


@compiled
def bilinear(
    rows: np.ndarray,
    columns: np.ndarray,
    z: np.ndarray,
    covered: np.ndarray,
    first_row: int,
    first_column: int,
    out: np.ndarray,
    kind: np.ndarray,
) -> None:
    """Interpolate bilinearly between the centres of the four source cells around each point.

    A point is without data where one of the cells that it needs is; a cell with zero weight is
    not needed. Linear in the number of points.

    Parameters
    ----------
    rows, columns : numpy.ndarray
        (h, w) float64, absolute positions on the source lattice, 0 on the north-western corner of
        cell (0, 0); not finite where there is none.
    z : numpy.ndarray
        (H, W) elevations, NaN without data; its first cell is (first_row, first_column).
    covered : numpy.ndarray
        (H, W) bool, false outside all tiles.
    first_row, first_column : int
        Absolute cell at which `z` begins.
    out : numpy.ndarray
        (h, w) float64, receives the elevations, NaN without data.
    kind : numpy.ndarray
        (h, w) uint8, receives `HAS_DATA`, `HAS_NODATA` or, where a needed cell lies outside all
        tiles or outside `z`, `OFF_TILES`.
    """
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[i, j] = np.nan
            kind[i, j] = OFF_TILES
            if not (abs(rows[i, j]) < _FARTHEST and abs(columns[i, j]) < _FARTHEST):
                continue
            # Relative to the centres of the cells.
            v = math.floor(rows[i, j] * _MICRO + 0.5) - _MICRO // 2
            u = math.floor(columns[i, j] * _MICRO + 0.5) - _MICRO // 2
            row, column = v // _MICRO, u // _MICRO
            fy, fx = (v - row * _MICRO) / _MICRO, (u - column * _MICRO) / _MICRO
            # A cell without weight is replaced by the one across from it.
            down, right = row + (fy > 0.0), column + (fx > 0.0)
            worst = HAS_DATA
            for r, c in ((row, column), (row, right), (down, column), (down, right)):
                r, c = r - first_row, c - first_column
                if r < 0 or c < 0 or r >= z.shape[0] or c >= z.shape[1] or not covered[r, c]:
                    worst = OFF_TILES
                elif math.isnan(z[r, c]):
                    worst = max(worst, HAS_NODATA)
            kind[i, j] = worst
            if worst == HAS_DATA:
                row, down = row - first_row, down - first_row
                column, right = column - first_column, right - first_column
                # Differences rather than weights: a lake stays level to the last bit. In float64,
                # and not by float(), which leaves a float32 as it is when compiled.
                north, south = np.float64(z[row, column]), np.float64(z[down, column])
                north += fx * (np.float64(z[row, right]) - north)
                south += fx * (np.float64(z[down, right]) - south)
                out[i, j] = north + fy * (south - north)
