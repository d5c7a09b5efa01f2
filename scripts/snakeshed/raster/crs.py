"""Coordinate reference systems: units, transformations and short names."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple


def same_crs(one: str, other: str) -> bool:
    """Tell whether two CRS are the same, whatever the order of their axes."""
    if one == other:
        return True
    from pyproj import CRS

    return CRS.from_user_input(one).equals(CRS.from_user_input(other), ignore_axis_order=True)


@lru_cache(maxsize=64)
def transformer(from_crs: str, to_crs: str) -> Any:
    """Return the pyproj transformer from one CRS to another, x before y in both.

    Points that have no image in the other CRS become infinite.
    """
    from pyproj import Transformer

    return Transformer.from_crs(from_crs, to_crs, always_xy=True)


# Lengths of the units in which elevations and projected coordinates come, in metres.
FOOT_M = 0.3048
US_SURVEY_FOOT_M = 1200 / 3937


class CrsFacts(NamedTuple):
    """What a DEM's CRS says about lengths.

    Attributes
    ----------
    crs : str
        The horizontal CRS: an authority code (``EPSG:32611``) where it has one, else WKT.
    geographic : bool
        Coordinates are longitudes and latitudes in degrees.
    unit_m : float
        Metres per unit of a projected CRS; 1.0 for a geographic one.
    semi_major_m, inverse_flattening : float
        The ellipsoid; an inverse flattening of 0 is a sphere.
    vertical_unit_m : float or None
        Metres per unit of the vertical axis, where the CRS has one.
    """

    crs: str
    geographic: bool
    unit_m: float
    semi_major_m: float
    inverse_flattening: float
    vertical_unit_m: float | None


@lru_cache(maxsize=256)
def crs_facts(crs: str) -> CrsFacts:
    """Read from a CRS (authority code, PROJ string or WKT) what lengths on it are.

    Raises
    ------
    ValueError
        It is no CRS, is neither geographic nor projected, or has angles in other units than
        degrees.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        whole = CRS.from_user_input(crs)
    except CRSError as error:
        raise ValueError(str(error)) from error
    parts = whole.sub_crs_list if whole.is_compound else [whole]
    horizontal = parts[0].source_crs if parts[0].is_bound else parts[0]
    if not (horizontal.is_geographic or horizontal.is_projected):
        raise ValueError(f"{horizontal.name} is neither geographic nor projected")
    axes = [axis for part in parts for axis in part.axis_info]
    vertical = [axis for axis in axes if axis.direction in ("up", "down")]
    horizontal = horizontal.to_2d()
    # A code only where it means exactly this CRS; a near match could shift the whole DEM.
    authority = horizontal.to_authority(min_confidence=100)
    name = ":".join(authority) if authority else horizontal.to_wkt()
    # An authority's ellipsoid is the same for every file that names it; files round its numbers.
    ellipsoid = CRS.from_user_input(name).ellipsoid
    unit = horizontal.axis_info[0]
    if horizontal.is_geographic and abs(unit.unit_conversion_factor * 180 / math.pi - 1) > 1e-9:
        raise ValueError(f"{horizontal.name} counts angles in {unit.unit_name}, not in degrees")
    return CrsFacts(
        crs=name,
        geographic=horizontal.is_geographic,
        unit_m=1.0 if horizontal.is_geographic else exact_unit(unit.unit_conversion_factor),
        semi_major_m=ellipsoid.semi_major_metre,
        inverse_flattening=ellipsoid.inverse_flattening,
        vertical_unit_m=exact_unit(vertical[0].unit_conversion_factor) if vertical else None,
    )


def exact_unit(metres: float) -> float:
    """Return the exact length of the unit that a file states with fewer digits, in metres."""
    for exact in (1.0, FOOT_M, US_SURVEY_FOOT_M):
        if abs(metres / exact - 1) < 1e-9:
            return exact
    return metres


def short_crs(crs: str) -> str:
    """Return a CRS's code, or of a WKT its name."""
    return crs.split('"')[1] if '"' in crs else crs
