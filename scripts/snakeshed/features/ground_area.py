"""Areas on the ground of polygons in the CRS of a DEM, whose sides are straight there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from snakeshed.raster.crs import crs_facts
from snakeshed.raster.ground_scale import ground_scale

# Where a box is 0, 1, and 2 halves from its west or its south; a quadratic goes through them.
_NODES = (-1.0, 0.0, 1.0)
# Gauss-Legendre with three points, exact to the fifth degree (Abramowitz and Stegun 1972, 25.4.30).
_GAUSS = ((-math.sqrt(0.6), 5 / 9), (0.0, 8 / 9), (math.sqrt(0.6), 5 / 9))
_DIGITS = 12


@dataclass(frozen=True)
class GroundArea:
    """How much ground a unit of area of a CRS is, in a box: a quadratic in x and in y.

    Over 300 km it is within a millionth of the ellipsoid; the ground's area of a projected CRS is
    that of `snakeshed.raster.ground_scale`, as for the cells of the DEM.

    Attributes
    ----------
    middle, half : (float, float)
        Of the box, in x and in y.
    terms : tuple of tuple of float
        ``terms[i][j]`` is the factor of ``u**i * v**j``, where u and v are -1 to 1 in the box.
        In km2 per unit of u and of v.
    """

    middle: tuple[float, float]
    half: tuple[float, float]
    terms: tuple[tuple[float, ...], ...]

    @classmethod
    def around(cls, shape: shapely.Geometry, crs: str) -> GroundArea:
        """Return it for the box around a polygon.

        Parameters
        ----------
        shape : shapely.Geometry
            Not empty.
        crs : str
            Geographic in degrees, or projected.
        """
        west, south, east, north = shape.bounds
        middle = (west + east) / 2, (south + north) / 2
        half = (east - west) / 2, (north - south) / 2
        facts = crs_facts(crs)
        xs = [middle[0] + node * half[0] for node in _NODES]
        ys = [middle[1] + node * half[1] for node in _NODES]
        if facts.geographic:
            of_row = [_per_degrees_m2(y, facts.semi_major_m, facts.inverse_flattening) for y in ys]
            values = [of_row] * len(xs)
        else:
            x, y = np.repeat(xs, len(ys)), np.tile(ys, len(xs))
            scale = ground_scale(crs, facts.unit_m, x, y)[2].reshape(len(xs), len(ys))
            values = (scale * (facts.unit_m * facts.unit_m)).tolist()
        km2 = half[0] * half[1] / 1e6
        along_y = [_quadratic([value * km2 for value in column]) for column in values]
        by_power = [_quadratic(list(of_nodes)) for of_nodes in zip(*along_y, strict=True)]
        return cls(middle, half, tuple(zip(*by_power, strict=True)))

    def of(self, polygons: np.ndarray) -> np.ndarray:
        """Measure polygons in the box.

        The integral over a polygon is that of a primitive along its sides (Green's theorem), and
        that of a polynomial along a straight side is exact. Only sums, products, and quotients of
        numbers are taken, in a fixed order: every CPU gives the same bits.

        Parameters
        ----------
        polygons : ndarray of shapely.Geometry, shape (n,)
            Polygons, or collections; of these only polygons count.

        Returns
        -------
        ndarray of float64, shape (n,)
            km2.
        """
        areas = np.zeros(len(polygons))
        parts, of_part = _polygons_in(polygons)
        rings, of_ring = shapely.get_rings(parts, return_index=True)
        if not len(rings):
            return areas
        xy, at = shapely.get_coordinates(rings, return_index=True)
        u, v = ((xy[:, axis] - self.middle[axis]) / self.half[axis] for axis in (0, 1))
        same = at[1:] == at[:-1]
        sides = self._along(u[:-1], u[1:], v[:-1], v[1:])[same].tolist()
        ends = np.searchsorted(at[:-1][same], np.arange(len(rings)), "right").tolist()
        totals: list[list[float]] = [[] for _ in polygons]
        begin, before = 0, -1
        for end, part in zip(ends, of_ring.tolist(), strict=True):
            inside = abs(math.fsum(sides[begin:end]))
            # The first ring of a polygon is its shell; the others are around holes.
            totals[of_part[part]].append(inside if part != before else -inside)
            begin, before = end, part
        areas[:] = [math.fsum(each) for each in totals]
        return areas

    def _along(self, u0: np.ndarray, u1: np.ndarray, v0: np.ndarray, v1: np.ndarray) -> np.ndarray:
        """Integrate along sides: the primitive in u, by v."""
        half_u, half_v = (u1 - u0) / 2, (v1 - v0) / 2
        middle_u, middle_v = (u0 + u1) / 2, (v0 + v1) / 2
        total = np.zeros(len(u0))
        for node, weight in _GAUSS:
            u, v = middle_u + node * half_u, middle_v + node * half_v
            a, b, c = (row[0] + v * (row[1] + v * row[2]) for row in self.terms)
            total += weight * (u * (a + u * (b / 2 + u * (c / 3))))
        return total * half_v


def _polygons_in(shapes: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return all polygons of shapes, and of which shape each is."""
    parts, of_part = shapely.get_parts(shapes, return_index=True)
    parts, of_nested = shapely.get_parts(parts, return_index=True)
    is_polygon = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return parts[is_polygon], of_part[of_nested[is_polygon]].tolist()


def _quadratic(values: list[float]) -> tuple[float, float, float]:
    """Return the polynomial through values at -1, 0, and 1."""
    low, middle, high = values
    return middle, (high - low) / 2, (high + low) / 2 - middle


def _per_degrees_m2(latitude: float, semi_major_m: float, inverse_flattening: float) -> float:
    """Return the area on an ellipsoid of a square of degrees, m2 (Snyder 1987, equation 4-22).

    Rounded, so that the last bits in which the C libraries of two CPUs differ vanish.
    """
    flattening = 1 / inverse_flattening if inverse_flattening else 0.0
    e2 = flattening * (2 - flattening)
    sine, cosine = math.sin(math.radians(latitude)), math.cos(math.radians(latitude))
    w2 = 1 - e2 * sine * sine
    area = semi_major_m * semi_major_m * (1 - e2) * cosine / (w2 * w2) * math.radians(1) ** 2
    return float(f"{area:.{_DIGITS}g}")
