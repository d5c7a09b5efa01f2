"""Relief of one catchment: elevation, slope and aspect of its cells."""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.cell_sizes import CellSizes, between
from snakeshed.kernels.compiled import compiled


def gradients(
    z: np.ndarray,
    mask: np.ndarray,
    sizes: CellSizes,
    elevation: np.ndarray,
    east: np.ndarray,
    north: np.ndarray,
) -> None:
    """Elevation of the cells of a mask, and their gradient by Horn's method.

    A neighbour without data is given the elevation of the cell itself.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h, w)
        Elevations in metres; NaN is nodata.
    mask : ndarray of bool, shape (h, w)
        The cells, none of them in the outermost ring or on nodata.
    sizes : CellSizes
        Of the cells of the arrays.
    elevation, east, north : ndarray of float64, shape (n,)
        Written, in row-major order: metres, and metres per metre of ground, positive where the
        ground rises along the rows and, at right angles to them, to the north of the grid.

    References
    ----------
    Horn, B. K. P. (1981), Hill shading and the reflectance map. Proceedings of the IEEE 69, 14-47.
    """
    _gradients(
        z,
        mask,
        sizes.width_m,
        sizes.height_m,
        sizes.skew,
        sizes.bits,
        sizes.offset,
        elevation,
        east,
        north,
    )


@compiled
def _gradients(z, mask, width_m, height_m, skew, bits, offset, elevation, east, north):
    around = np.empty((3, 3))
    n = 0
    for i in range(1, z.shape[0] - 1):
        for j in range(1, z.shape[1] - 1):
            if not mask[i, j]:
                continue
            here = np.float64(z[i, j])
            for di in range(3):
                for dj in range(3):
                    value = np.float64(z[i + di - 1, j + dj - 1])
                    around[di, dj] = here if math.isnan(value) else value
            right = around[0, 2] + 2 * around[1, 2] + around[2, 2]
            left = around[0, 0] + 2 * around[1, 0] + around[2, 0]
            upper = around[0, 0] + 2 * around[0, 1] + around[0, 2]
            lower = around[2, 0] + 2 * around[2, 1] + around[2, 2]
            along_row = (right - left) / (8 * between(width_m, bits, offset, i, j))
            along_column = (upper - lower) / (8 * between(height_m, bits, offset, i, j))
            lean = between(skew, bits, offset, i, j)
            elevation[n] = here
            east[n] = along_row
            north[n] = (along_column - lean * along_row) / math.sqrt(1.0 - lean * lean)
            n += 1


@compiled
def slope_and_aspect(east, north, tangent, degrees):
    """Slope of each cell, and sums of its direction, in the order of the cells.

    Parameters
    ----------
    east, north : ndarray of float64, shape (n,)
        Gradients, metres per metre.
    tangent, degrees : ndarray of float64, shape (n,)
        Written: each slope as its tangent, and in degrees.

    Returns
    -------
    to_east, to_north : float
        Sum of the unit vectors that point downslope; level cells add nothing.
    facing_north : int
        Cells that face within 45 degrees of north.
    """
    to_east = to_north = 0.0
    facing_north = 0
    for k in range(east.size):
        steepness = math.sqrt(east[k] * east[k] + north[k] * north[k])
        tangent[k] = steepness
        degrees[k] = math.atan(steepness) * (180.0 / math.pi)
        if steepness > 0:
            to_east -= east[k] / steepness
            to_north -= north[k] / steepness
            facing_north += -north[k] >= abs(east[k])
    return to_east, to_north, facing_north


@compiled
def squared_deviations(values, mean):
    """Sum of the squared deviations of a float64 array from a value, in its own order."""
    result = 0.0
    for value in values:
        result += (value - mean) * (value - mean)
    return result


@compiled
def total(values):
    """Sum of a float64 array in its own order, whatever the CPU."""
    result = 0.0
    for value in values:
        result += value
    return result
