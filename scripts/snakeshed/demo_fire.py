"""The demo's synthetic fire: what a satellite would have seen of it, and the soil that burned.

No such fire has burned. The ground is real; dNBR and soil are invented, in the way of real ones.
"""

from __future__ import annotations

import numpy as np
from affine import Affine

from snakeshed.demo_noise import smooth, uniform
from snakeshed.demo_polygons import PERIMETER, inside
from snakeshed.demo_terrain import gradient

DNBR_SEED = 2002
# Mean of dNBR x 1000 where nothing burned.
OFFSET = 12.0


def dnbr(elevation: np.ndarray, transform: Affine) -> np.ndarray:
    """Difference of the normalized burn ratios before and after the synthetic fire.

    Inside the perimeter it is patchy, at two scales, and higher on steep ground. Everywhere, cells
    have noise, and the years of the two images differ a little. Outside there is nothing else.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres.
    transform : Affine
        Of a geographic, north-up grid.

    Returns
    -------
    ndarray of int16, shape (h, w)
        dNBR x 1000, as agencies store it.
    """
    shape = elevation.shape
    east, north = gradient(elevation, transform)
    slope = np.minimum(np.sqrt(east * east + north * north), 0.6)
    patchy = 0.6 * smooth(DNBR_SEED, shape, 28) + 0.4 * smooth(DNBR_SEED + 1, shape, 9)
    burned = 170.0 + 1100.0 * (patchy - 0.5) + 500.0 * slope

    row, column = np.arange(shape[0])[:, np.newaxis], np.arange(shape[1])
    drawn = [uniform(DNBR_SEED + seed, row, column) for seed in (2, 3, 4)]
    noise = OFFSET + 70.0 * (drawn[0] + drawn[1] + drawn[2] - 1.5)
    return np.rint(np.where(inside(PERIMETER, shape), burned, 0.0) + noise).astype(np.int16)


def kf_factor(elevation: np.ndarray, transform: Affine) -> np.ndarray:
    """Erodibility of the soil as it might be there, by elevation and slope.

    Parameters
    ----------
    elevation : ndarray of int16, shape (h, w)
        In metres.
    transform : Affine
        Of a geographic, north-up grid.

    Returns
    -------
    ndarray of float32, shape (h, w)
        KF factor, in US customary units.
    """
    east, north = gradient(elevation, transform)
    steepness = east * east + north * north
    rules = [
        (0.10, steepness > 0.6 * 0.6),  # rock crops out
        (0.37, elevation < 350),  # silt of the valley
        (0.32, (elevation < 500) & (steepness < 0.2 * 0.2)),  # foot slopes
        (0.17, elevation > 800),  # stony ridges
        (0.24, steepness < 0.35 * 0.35),
    ]
    factors, places = zip(*rules, strict=True)
    return np.select(places, factors, default=0.20).astype(np.float32)
