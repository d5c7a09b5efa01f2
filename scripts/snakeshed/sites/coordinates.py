"""Coordinates: from what a row states to a place on Earth, or to the reason why there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyproj import CRS, Transformer, network
from pyproj.exceptions import CRSError, ProjError

from snakeshed.errors import ConfigurationError, SeveralProblems, TableError
from snakeshed.progress import begin, counted
from snakeshed.sites.cells import is_missing, number_in, shown
from snakeshed.sites.observations import Observations

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

# EPSG code of zone 1, less one, and the number of zones, by datum and hemisphere.
_UTM_ZONES = {
    ("WGS84", "N"): (32600, 60),
    ("WGS84", "S"): (32700, 60),
    ("NAD83", "N"): (26900, 23),
    ("NAD27", "N"): (26700, 22),
}
_ZONE = re.compile(r"([0-9]{1,2})(?:\.0+)?\s*([NnSs]?)")
# Beyond these, in m, a pair is no UTM coordinate: kilometres, swapped axes, a missing value.
_UTM_EASTING = (100_000.0, 900_000.0)
_UTM_NORTHING = (0.0, 10_000_000.0)
# Points are often kept in the zone next to their own: the area of use with a zone around it.
_MARGIN_DEGREES = 6.0
# The farthest that the places of a CRS without a known area may be from its origin, to be meant as
# degrees where metres are expected.
_REACH_DEGREES = 30.0
# A datum transformation as exact as NAD83 to WGS 84 (4 m) goes without saying.
_TOLD_ACCURACY_M = 5.0


@dataclass(frozen=True, order=True)
class Place:
    """Where a row is; places are ordered by their attributes.

    Attributes
    ----------
    lon, lat : float
        Degrees (EPSG:4326), rounded to 1e-8 degree (1 mm).
    crs : str
        CRS of `x` and `y`.
    x, y : float
        The coordinates as given.
    """

    lon: float
    lat: float
    crs: str
    x: float
    y: float

    @property
    def name(self) -> str:
        """Coordinates to 1e-6 degree (0.1 m) as an identifier: 34.321012N_118.001234W."""
        lat, lon = round(self.lat, 6), round(self.lon, 6)
        return f"{abs(lat):.6f}{'S' if lat < 0 else 'N'}_{abs(lon):.6f}{'W' if lon < 0 else 'E'}"


@dataclass(frozen=True)
class Refusal:
    """Why something in a row is not used.

    Attributes
    ----------
    reason : str
        In words, for `rejected.csv`.
    found : str
        What the row has.
    """

    reason: str
    found: str


def places_of(given: Observations, settings: Mapping) -> tuple[list[Place | Refusal], list[str]]:
    """Find the place of each row.

    Parameters
    ----------
    given : Observations
        The rows.
    settings : mapping
        The section `sites` of a completed configuration; its columns are in `given`.

    Returns
    -------
    places : list of Place or Refusal
        One per row. A row is refused for coordinates that are missing, no finite numbers or not
        plausible in their CRS, for a UTM zone that is missing or does not exist, and for a
        geometry that is not one point.
    warnings : list of str
        CRS whose datum can be changed only roughly.

    Raises
    ------
    SeveralProblems
        If PROJ does not know `sites.crs`.
    TableError
        If there is no way from the CRS to longitude and latitude.
    """
    if given.points is not None:
        assert given.crs is not None
        points = counted(given.points, f"reading points of {settings['path']}", len(given.rows))
        stated = [_of_point(point, given.crs) for point in points]
    else:
        stated = _of_columns(given, settings)
    rows_of_crs: dict[str, list[int]] = {}
    for index, item in enumerate(stated):
        if not isinstance(item, Refusal):
            rows_of_crs.setdefault(item[0], []).append(index)

    places: list[Place | Refusal] = [Refusal("", "") for _ in stated]
    warnings: list[str] = []
    with _without_network():
        for crs, rows in sorted(rows_of_crs.items()):
            try:
                transformation = _Transformation(
                    crs, is_zone=settings["utm"] is not None, is_given=given.points is not None
                )
            except (CRSError, ProjError) as error:
                raise TableError(
                    settings["path"],
                    f"the CRS {crs}",
                    "one that has a place on Earth",
                    "Transform the coordinates to longitude and latitude.",
                ) from error
            pairs = [stated[index][1:] for index in rows]
            begin(f"finding longitudes and latitudes of {settings['path']}")
            found = zip(rows, pairs, transformation(pairs), strict=True)
            for index, pair, lonlat in counted(
                found, f"finding the places of {settings['path']}", len(rows)
            ):
                places[index] = (
                    transformation.refusal(*pair) if lonlat is None else Place(*lonlat, crs, *pair)
                )
            warnings += transformation.warnings()
    return [
        item if isinstance(item, Refusal) else place
        for item, place in zip(stated, places, strict=True)
    ], warnings


def _of_point(point: BaseGeometry | None, crs: str) -> tuple[str, float, float] | Refusal:
    """Return the CRS and the coordinates of a geometry."""
    if point is None or point.is_empty:
        return Refusal("no geometry", "nothing" if point is None else f"an empty {point.geom_type}")
    if point.geom_type == "MultiPoint" and len(point.geoms) == 1:
        # Many programs store single points so.
        point = point.geoms[0]
    if point.geom_type != "Point":
        return Refusal("the geometry is not one point", f"a {point.geom_type}")
    if not (math.isfinite(point.x) and math.isfinite(point.y)):
        return Refusal("the coordinates are not finite numbers", f"{point.x}, {point.y}")
    return crs, point.x, point.y


def _of_columns(given: Observations, settings: Mapping) -> list[tuple[str, float, float] | Refusal]:
    """Return the CRS and the coordinates of each row from its cells."""
    columns, utm = settings["columns"], settings["utm"]
    xs, ys = given.cells(columns["x"]), given.cells(columns["y"])
    zones = [None] * len(xs) if utm is None else given.cells(columns["utm_zone"])
    crs = None if utm is not None else _authority(settings["crs"])
    stated: list[tuple[str, float, float] | Refusal] = []
    doing = f"reading coordinates of {settings['path']}"
    for x_cell, y_cell, zone in counted(zip(xs, ys, zones, strict=True), doing, len(xs)):
        x, y = number_in(x_cell), number_in(y_cell)
        crs_of_row = _zone_crs(zone, utm) if crs is None else crs
        if x is None or y is None:
            wrong = [
                f"{columns[axis]} = {shown(cell)}"
                for axis, cell, value in (("x", x_cell, x), ("y", y_cell, y))
                if value is None
            ]
            commas = any(_has_decimal_comma(cell) for cell in (x_cell, y_cell))
            hint = ": they need a point where these have a comma" if commas else ""
            reason = f"the coordinates are not finite numbers{hint}"
            stated.append(Refusal(reason, ", ".join(wrong)))
        elif isinstance(crs_of_row, Refusal):
            stated.append(crs_of_row)
        else:
            stated.append((crs_of_row, x, y))
    return stated


def _has_decimal_comma(cell: Any) -> bool:
    """Tell whether a cell would be a number if it had a point instead of a comma."""
    return (
        isinstance(cell, str)
        and number_in(cell) is None
        and number_in(cell.replace(",", ".")) is not None
    )


def _zone_crs(cell: Any, utm: Mapping) -> str | Refusal:
    """Return the CRS of a UTM zone, such as EPSG:26911 for 11 in NAD83."""
    if is_missing(cell):
        return Refusal("no UTM zone", shown(cell))
    parts = _ZONE.fullmatch(str(cell).strip())
    if parts is None:
        return Refusal("no UTM zone: neither a number nor a number with N or S", shown(cell))
    number, letter = int(parts[1]), parts[2].upper()
    stated = {"north": "N", "south": "S", None: ""}[utm["hemisphere"]]
    if letter and stated and letter != stated:
        return Refusal(
            f"the letter of the UTM zone says {'south' if letter == 'S' else 'north'}, "
            f"sites.utm.hemisphere says {utm['hemisphere']} (bands of the military grid, whose S "
            "is in the north, have to be taken off)",
            shown(cell),
        )
    if not (letter or stated):
        return Refusal(
            "the hemisphere of the UTM zone is unknown: it has no letter, and "
            "sites.utm.hemisphere is not set",
            shown(cell),
        )
    first, zones = _UTM_ZONES.get((utm["datum"], letter or stated), (0, 0))
    if not 1 <= number <= zones:
        there = f"zones 1 to {zones}" if zones else "only northern zones"
        return Refusal(f"no such UTM zone: {utm['datum']} has {there}", shown(cell))
    return f"EPSG:{first + number}"


class _Transformation:
    """From coordinates in one CRS to longitude and latitude, where they are plausible there.

    Parameters
    ----------
    crs : str
        The CRS.
    is_zone : bool
        Whether it is the UTM zone of a row, so that coordinates have their usual range.
    is_given : bool
        Whether it is the CRS of the file, not of the configuration.
    """

    def __init__(self, crs: str, is_zone: bool, is_given: bool) -> None:
        self._crs = CRS.from_user_input(crs)
        # The WKT of a CRS without a code would fill pages.
        self._name = crs if len(crs) < 40 else self._crs.name
        self._is_zone = is_zone
        self._is_given = is_given
        self._transformer = Transformer.from_crs(self._crs, "EPSG:4326", always_xy=True)

    def __call__(self, pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float] | None]:
        """Return (longitude, latitude) in degrees, or None for what cannot be meant."""
        xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
        lons, lats = self._transformer.transform(xs, ys, errcheck=False)
        found: list[tuple[float, float] | None] = []
        for pair, lon, lat in zip(pairs, lons, lats, strict=True):
            if math.isfinite(lon) and math.isfinite(lat) and self._is_plausible(pair, lon, lat):
                # PROJ's last bits differ between CPUs. Adding zero makes -0.0 the same as 0.0.
                found.append((round(lon, 8) + 0.0, round(lat, 8) + 0.0))
            else:
                found.append(None)
        return found

    def _is_plausible(self, pair: tuple[float, float], lon: float, lat: float) -> bool:
        """Tell whether a pair can be meant as coordinates in this CRS."""
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            return False
        if self._is_zone:
            (x, y), (west, east), (south, north) = pair, _UTM_EASTING, _UTM_NORTHING
            return west <= x <= east and south <= y <= north
        return self._is_in_area(lon, lat) and not self._looks_like_degrees(*pair)

    def _looks_like_degrees(self, x: float, y: float) -> bool:
        """Tell whether x and y are rather degrees than lengths in a projected CRS."""
        if self._crs.is_geographic:
            return False
        # Some count longitudes from 0 to 360.
        return any(
            abs(lon) <= 360 and abs(lat) <= 90 and self._is_near(lon, lat)
            for lon, lat in ((x, y), (y, x))
        )

    def _is_near(self, lon: float, lat: float) -> bool:
        """Tell whether a place is where this projected CRS is used."""
        if self._crs.area_of_use is not None:
            return self._is_in_area(lon, lat)
        # A grid made for one place has its origin there, and genuine coordinates next to it.
        of_origin = self._transformer.transform(0.0, 0.0, errcheck=False)
        return all(
            abs(one - other) <= _REACH_DEGREES
            for one, other in zip((lon, lat), of_origin, strict=True)
        )

    def _is_in_area(self, lon: float, lat: float) -> bool:
        """Tell whether a place can be meant by who uses this CRS."""
        area = self._crs.area_of_use
        if area is None:
            return True
        if not area.south - _MARGIN_DEGREES <= lat <= area.north + _MARGIN_DEGREES:
            return False
        # An area across the antimeridian has its western bound east of its eastern one.
        width = area.east - area.west + (360 if area.east < area.west else 0)
        width += 2 * _MARGIN_DEGREES
        return width >= 360 or (lon - area.west + _MARGIN_DEGREES) % 360 <= width

    def refusal(self, x: float, y: float) -> Refusal:
        """Return why a pair is not plausible."""
        found = f"{x!r}, {y!r}"
        axes = "longitude and latitude" if self._crs.is_geographic else "x and y"
        if self._looks_like_degrees(x, y):
            return Refusal(f"the coordinates look like degrees{self._instead_of_degrees()}", found)
        if self([(y, x)])[0] is not None:
            return Refusal(f"{axes} look swapped", found)
        if self._is_zone:
            usual = "eastings 100,000 to 900,000 m, northings 0 to 10,000,000 m"
            return Refusal(f"not plausible as UTM coordinates ({usual})", found)
        if self._crs.is_geographic and not (abs(x) <= 180 and abs(y) <= 90):
            mended = "the file needs the CRS" if self._is_given else "sites.crs has to be the CRS"
            return Refusal(
                f"{axes} beyond 180 and 90 degrees: if they are lengths, {mended} that they are in",
                found,
            )
        return Refusal(f"outside the area for which {self._name} is made", found)

    def _instead_of_degrees(self) -> str:
        """Return what this CRS has instead, and what to set where coordinates are degrees."""
        unit = self._crs.axis_info[0].unit_name if self._crs.axis_info else "length"
        if self._is_given:
            return f", but the file's CRS, {self._name}, counts in units of {unit}"
        instead = "remove sites.utm and " if self._is_zone else ""
        return (
            f", but {self._name} counts in units of {unit}: for longitude and latitude, "
            f"{instead}set sites.crs to EPSG:4326"
        )

    def warnings(self) -> list[str]:
        """Return a warning if the datum can be changed only roughly."""
        try:
            operation = self._transformer.get_last_used_operation()
        except ProjError:
            # Not one pair could be transformed.
            return []
        if 0 <= operation.accuracy <= _TOLD_ACCURACY_M:
            return []
        known = f"only to {operation.accuracy:g} m" if operation.accuracy > 0 else "only roughly"
        return [f"{self._name}: places are known {known} ({operation.description})"]


@contextmanager
def _without_network() -> Iterator[None]:
    """Keep PROJ from fetching grids: places must not depend on what a machine can reach."""
    before = network.is_network_enabled()
    network.set_network_enabled(active=False)
    try:
        yield
    finally:
        network.set_network_enabled(active=before)


def _authority(crs: str) -> str:
    """Return a configured CRS in one spelling, such as EPSG:4326."""
    try:
        authority = CRS.from_user_input(crs).to_authority()
    except CRSError as error:
        problem = ConfigurationError(
            "sites.crs",
            f"{crs!r}, which PROJ does not know",
            "an authority and a code, such as EPSG:4326",
            "Correct the code.",
        )
        raise SeveralProblems([problem]) from error
    return ":".join(authority) if authority else crs
