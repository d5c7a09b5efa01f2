"""Cells of a geographic grid on the ellipsoid."""

from __future__ import annotations

import math

_ROUND_DECIMALS = 6


def ellipsoid_cell(
    latitude: float, dx: float, dy: float, semi_major_m: float, inverse_flattening: float
) -> tuple[float, float, float]:
    """Return width, height (m) and area (m2) of a cell of an ellipsoid, rounded.

    Parameters
    ----------
    latitude : float
        Of the cell's centre, degrees; beyond a pole that of the cell at the pole.
    dx, dy : float
        Size of the cell, degrees.
    semi_major_m, inverse_flattening : float
        The ellipsoid; an inverse flattening of 0 is a sphere.

    Notes
    -----
    The area between two parallels is the difference of two nearly equal numbers (Snyder 1987, Map
    Projections: A Working Manual, equation 3-12). Here that difference is taken before it is
    computed, with the identities for a difference of sines and of inverse hyperbolic tangents, so
    that no digits cancel.
    """
    flattening = 1 / inverse_flattening if inverse_flattening else 0.0
    e2 = flattening * (2 - flattening)
    pole = 90.0 - dy / 2
    latitude = max(-pole, min(pole, latitude))
    middle, half_height, width = (math.radians(angle) for angle in (latitude, dy / 2, dx))
    sine, cosine = math.sin(middle), math.cos(middle)
    w2 = 1 - e2 * sine * sine
    prime_vertical = semi_major_m / math.sqrt(w2)
    meridian = prime_vertical * (1 - e2) / w2

    north, south = math.sin(middle + half_height), math.sin(middle - half_height)
    rise = 2 * cosine * math.sin(half_height)
    zone = rise * (1 + e2 * north * south)
    zone /= (1 - e2 * north * north) * (1 - e2 * south * south)
    if e2:
        e = math.sqrt(e2)
        zone += math.atanh(e * rise / (1 - e2 * north * south)) / e
    else:
        zone += rise
    area = semi_major_m * semi_major_m * (1 - e2) / 2 * width * zone
    return (
        round(prime_vertical * cosine * width, _ROUND_DECIMALS),
        round(meridian * 2 * half_height, _ROUND_DECIMALS),
        round(area, _ROUND_DECIMALS),
    )
