"""What a projected CRS makes of lengths: how large its units are on the ellipsoid, and where.

Whatever depends on it depends on the CRS and the place alone. All is exact to a millionth, and
rounded to that, so that the last bits in which the C libraries of two CPUs differ vanish.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

# Differences are taken over this distance to each side: a scale bends by 1e-8 over it, and
# PROJ's inverse, which is exact to a few micrometres, blurs it by as much.
_REACH_M = 1000.0
_DECIMALS = 6


def ground_scale(crs: str, unit_m: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Measure the axes of a projected CRS on its ellipsoid.

    Nothing is assumed of the projection. Each point's neighbours along the two axes are taken to
    the ellipsoid and into space, where nothing is singular, not even a pole.

    Parameters
    ----------
    crs : str
        Authority code or WKT.
    unit_m : float
        Metres per unit of the CRS.
    x, y : ndarray of float64, shape (n,)
        Points, in units of the CRS.

    Returns
    -------
    ndarray of float64, shape (4, n)
        Lengths on the ground of a metre of the CRS along x and along y, the ground's area of a
        square metre, and the cosine of the angle between the axes on the ground. Where the CRS
        has no ground, beyond the limits of the projection, it is taken at its word: 1, 1, 1, 0.
    """
    to_angles, radians, to_space = _transformers(crs)
    reach = _REACH_M / unit_m
    xs = np.stack([x - reach, x + reach, x, x])
    ys = np.stack([y, y, y - reach, y + reach])
    lon, lat = to_angles.transform(xs.ravel(), ys.ravel())
    places = to_space.transform(lon * radians, lat * radians, np.zeros(lon.size), radians=True)
    west, east, south, north = np.moveaxis(np.reshape(places, (3, 4, -1)), 1, 0)
    with np.errstate(invalid="ignore"):
        along_x, along_y = ((east - west) / (2 * _REACH_M), (north - south) / (2 * _REACH_M))
        square_x, square_y, product = (
            one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
            for one, other in ((along_x, along_x), (along_y, along_y), (along_x, along_y))
        )
        area = np.sqrt(np.maximum(square_x * square_y - product * product, 0))
        length_x, length_y = np.sqrt(square_x), np.sqrt(square_y)
        known = np.isfinite(area) & (area > 0)
        scale = np.stack([length_x, length_y, area, product / (length_x * length_y)])
    nominal = np.array([1.0, 1.0, 1.0, 0.0])
    return np.where(known, np.round(scale, _DECIMALS) + 0.0, nominal[:, None])


# Cylindrical projections whose scales along the two axes differ, by EPSG's names of the methods.
_UNEQUAL_CYLINDRICAL = (
    "Equidistant Cylindrical",
    "Equidistant Cylindrical (Spherical)",
    "Lambert Cylindrical Equal Area",
    "Lambert Cylindrical Equal Area (Spherical)",
    "Popular Visualisation Pseudo Mercator",
    "Pseudo Plate Carree",
)


@lru_cache(maxsize=64)
def stretches_rows(crs: str) -> bool:
    """Tell whether the shape of a projected CRS's squares on the ground depends on y alone.

    So it is with cylindrical projections. Conformal ones, on the other hand, keep squares square,
    and with all others shapes depend on x as well.
    """
    from pyproj import CRS

    operation = CRS.from_user_input(crs).coordinate_operation
    return operation is not None and operation.method_name in _UNEQUAL_CYLINDRICAL


@lru_cache(maxsize=64)
def _transformers(crs: str) -> tuple[Any, float, Any]:
    """Return how to get to the CRS's own angles, their unit in radians, and from there to space."""
    from pyproj import CRS, Transformer

    projected = CRS.from_user_input(crs)
    angles = projected.geodetic_crs
    ellipsoid = angles.ellipsoid
    size = f"+a={ellipsoid.semi_major_metre!r} +b={ellipsoid.semi_minor_metre!r}"
    return (
        Transformer.from_crs(projected, angles, always_xy=True),
        angles.axis_info[0].unit_conversion_factor,
        Transformer.from_pipeline(f"+proj=cart {size}"),
    )
