"""Sites: from the observations of a table to unique places with a stable identifier.

A row that cannot be used is refused by name, with its reason; nothing is dropped silently, and
no site depends on the order of the rows.
"""

from __future__ import annotations

import difflib
import json
import math
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import shapely
from pyproj import Geod

from snakeshed.errors import SeveralProblems, TableError
from snakeshed.progress import begin, counted
from snakeshed.result_files import result_file, sha256_of
from snakeshed.sites.cells import is_missing, most_frequent, number_in, shown
from snakeshed.sites.coordinates import Place, Refusal, places_of
from snakeshed.sites.observations import NULL_TEXTS, Observations
from snakeshed.sites.read import read_observations
from snakeshed.sites.reserved import RESERVED, description_of, kept_as
from snakeshed.tables.exports import write_csv
from snakeshed.tables.geoparquet import DESCRIPTION, GEOMETRY, write_table

SITE_DESCRIPTIONS = {
    "site_id": "identifier of the site, from the site table or from its coordinates",
    "lon": "longitude of the site, degrees east (EPSG:4326), to 1e-8 degree",
    "lat": "latitude of the site, degrees north (EPSG:4326), to 1e-8 degree",
    "x": "easting or longitude as given, in units of crs",
    "y": "northing or latitude as given, in units of crs",
    "crs": "CRS of x and y",
    "reported_area_km2": "contributing area as reported in the site table, km2",
    "observations": "number of rows of the site table that belong to the site",
}
_POINTS_CRS = "EPSG:4326"
_POINT_DESCRIPTION = "the site as a point: lon, lat (EPSG:4326)"
ROW_DESCRIPTION = "number of the row among the data rows of the site table, from 1"

# International acre: 4,046.8564224 m2; international mile: 1,609.344 m.
AREA_UNITS_IN_M2 = {
    "km2": 1e6,
    "m2": 1.0,
    "ha": 1e4,
    "acre": 4046.8564224,
    "mi2": 2589988.110336,
}
# Rows of one site may differ by the rounding of coordinates, not more.
_SAME_PLACE_M = 1.0
# Medians beyond these, in km2, are rather a wrong unit than sites.
_PLAUSIBLE_AREA_KM2 = (1e-4, 1e4)
_ENOUGH_AREAS = 5

_REJECTED = "rejected"
_WITHOUT_AREA = "kept without reported area"
_OTHER_AREA = "kept with the reported area of other rows"


@dataclass(frozen=True)
class PreparedSites:
    """A site table, ready for the workflow.

    Attributes
    ----------
    sites : pandas.DataFrame
        One row per site, sorted by `site_id`: the columns of `SITE_DESCRIPTIONS`.
    observations : pyarrow.Table
        The rows that belong to sites, in the order of the file: `site_id`, `row` and all columns
        of the file with their types. Columns of a reserved name are called ``input_...``.
    rejected : pandas.DataFrame
        What was refused, in the order of the file: `row`, `site_id` (if known), `action`,
        `reason`, `found`. Every row of the file is in `observations`, or rejected here.
    warnings : list of str
        What a person should look at, although it stops nothing.
    """

    sites: pd.DataFrame
    observations: pa.Table
    rejected: pd.DataFrame
    warnings: list[str]

    def write(
        self,
        sites: str | Path,
        observations: str | Path,
        rejected: str | Path,
        warnings: str | Path,
    ) -> None:
        """Write two tables as Parquet, the rejected rows as CSV, the warnings as JSON.

        The table of sites is GeoParquet: beside its columns it has a point per site, at `lon` and
        `lat`.

        Parameters
        ----------
        sites, observations, rejected, warnings : str or Path
            The files; each appears atomically. The last one has a list of texts.
        """
        points = shapely.points(self.sites["lon"], self.sites["lat"])
        described = SITE_DESCRIPTIONS | {GEOMETRY: _POINT_DESCRIPTION}
        write_table(self.sites, sites, described, points, _POINTS_CRS)
        descriptions = {
            field.name: "as in the site table"
            for field in self.observations.schema
            if not field.metadata
        }
        descriptions |= {"site_id": SITE_DESCRIPTIONS["site_id"], "row": ROW_DESCRIPTION}
        write_table(self.observations, observations, descriptions)
        write_csv(self.rejected, rejected)
        with result_file(warnings) as part:
            text = json.dumps(self.warnings, indent=1, ensure_ascii=False)
            part.write_text(f"{text}\n", encoding="utf-8")


def prepare_sites(
    settings: Mapping, base: str | Path = ".", also: Mapping[str, str] | None = None
) -> PreparedSites:
    """Turn a site table into unique sites.

    Rows with the same identifier are observations of one site. It lies at the lexicographically
    smallest (longitude, latitude) of its rows, which must be within 1 m of each other place.

    Parameters
    ----------
    settings : mapping
        The section `sites` of a completed configuration.
    base : str or Path
        Folder to which `sites.path` is relative.
    also : mapping of str to str, optional
        Columns that other sections name, which have to be there too, by their keys.

    Returns
    -------
    PreparedSites
        Sites, their observations, and what was refused.

    Raises
    ------
    TableError
        If the file cannot be read, is not the one that `sites.sha256` states, or has no row that
        can be used.
    SeveralProblems
        If columns or the CRS that the configuration names do not exist.
    """
    columns, name = settings["columns"], settings["path"]
    _check_sha256(Path(base) / name, settings)
    given = read_observations(
        Path(base) / name,
        name,
        settings["sheet"],
        id_column=columns["site_id"],
        with_points=columns["x"] is None,
    )
    named = [(f"sites.columns.{key}", title) for key, title in columns.items()]
    named += (also or {}).items()
    _check_columns(given.table.column_names, named, name)

    warnings = list(given.remarks)
    if given.empty_rows:
        warnings.append(f"{name}: {given.empty_rows} empty rows were left out")
    places, told = places_of(given, settings)
    warnings += told
    identified = _site_ids(given, columns["site_id"], places)
    ids = [None if isinstance(site, Refusal) else site for site in identified]
    areas = _areas(given, columns["area"], settings["area_unit"])
    refused = {
        index: (_REJECTED, place)
        for index, place in enumerate(places)
        if isinstance(place, Refusal)
    }
    refused |= {
        index: (_REJECTED, site)
        for index, site in enumerate(identified)
        if isinstance(site, Refusal) and index not in refused
    }
    records = []
    grouped = sorted(_rows_of_sites(ids, refused).items())
    for site, rows in counted(grouped, f"grouping the rows of {name}", len(grouped), "sites"):
        record = _site(site, rows, places, areas, given.rows, refused)
        if record is not None:
            records.append(record)

    rejected = _rejected(given, ids, refused)
    if not records:
        raise _all_rejected(name, rejected, given)
    sites = pd.DataFrame(records, columns=list(SITE_DESCRIPTIONS)).astype(
        {"site_id": "str", "crs": "str", "reported_area_km2": "float64", "observations": "int64"}
    )
    warnings += _look_alikes(sites["site_id"].tolist(), name)
    warnings += _unit_warnings(sites["reported_area_km2"], settings["area_unit"], name)
    begin(f"putting the observations of {name} together")
    observations = _observations(given, ids, refused, columns["site_id"], warnings, name)
    return PreparedSites(sites, observations, rejected, warnings)


def _check_sha256(file: Path, settings: Mapping) -> None:
    """Refuse another file than the one that the configuration states."""
    stated = settings.get("sha256")
    if stated is None or not file.is_file():
        return
    found = sha256_of(file)
    if found != stated:
        source = f" from {settings['url']}" if settings.get("url") else ""
        raise TableError(
            settings["path"],
            f"a file with SHA-256 {found}",
            f"{stated}, as sites.sha256 says",
            f"Get the file{source} again; if another version is meant, change sites.sha256.",
        )


def _check_columns(there: list[str], named: list[tuple[str, str | None]], name: str) -> None:
    """Refuse names of columns that the table does not have, with the likeliest ones."""
    problems: list[TableError] = []
    lower = {title.lower(): title for title in there}
    for key, title in named:
        if title is None or title in there:
            continue
        near = difflib.get_close_matches(title.lower(), lower, n=1, cutoff=0.5)
        hint = f"Did you mean {lower[near[0]]!r}? " if near else ""
        problems.append(
            TableError(
                name,
                f"no column {title!r}",
                f"one of {', '.join(repr(other) for other in there)}",
                f"{hint}Correct {key}.",
            )
        )
    if problems:
        raise SeveralProblems(problems)


def _site_ids(
    given: Observations, column: str | None, places: list[Place | Refusal]
) -> list[str | Refusal]:
    """Return the identifier of each row: from its cell, or else from its place."""
    if column is not None:
        return [_identifier(cell, column) for cell in given.cells(column)]
    return [place if isinstance(place, Refusal) else place.name for place in places]


def _identifier(cell: Any, column: str) -> str | Refusal:
    """Return a cell as text: text as it is, whole numbers without decimals."""
    nothing = Refusal("no site_id", f"an empty cell in {column!r}")
    if is_missing(cell):
        return nothing
    text = str(cell).strip()
    if "\0" in text:
        return Refusal("the site_id has a NUL character, at which GeoPackages end it", shown(cell))
    if isinstance(cell, float):
        # Data frames turn 11 into 11.0 where a column has gaps.
        text = text.removesuffix(".0")
    return text or nothing


def _areas(given: Observations, column: str | None, unit: str) -> list[float | Refusal | None]:
    """Return the reported area of each row in km2, None where nothing is reported."""
    if column is None:
        return [None] * len(given.rows)
    areas: list[float | Refusal | None] = []
    for cell in given.cells(column):
        area = number_in(cell)
        # A column that is text in the whole has the usual spellings of nothing as text.
        if is_missing(cell) or (isinstance(cell, str) and cell.strip() in NULL_TEXTS):
            areas.append(None)
        elif area is None:
            areas.append(Refusal("the reported area is not a finite number", shown(cell)))
        elif area <= 0:
            areas.append(Refusal("the reported area is not positive", shown(cell)))
        else:
            areas.append(area if unit == "km2" else area * AREA_UNITS_IN_M2[unit] / 1e6)
    return areas


def _rows_of_sites(
    ids: list[str | None], refused: Mapping[int, tuple[str, Refusal]]
) -> dict[str, list[int]]:
    """Return the rows that each site has, as positions in the table."""
    rows: dict[str, list[int]] = {}
    for index, site in enumerate(ids):
        if site is not None and index not in refused:
            rows.setdefault(site, []).append(index)
    return rows


def _site(
    site: str,
    rows: list[int],
    places: list[Place | Refusal],
    areas: list[float | Refusal | None],
    numbers: list[int],
    refused: dict[int, tuple[str, Refusal]],
) -> tuple | None:
    """Return one site in the order of `SITE_DESCRIPTIONS`; note in `refused` what it leaves out."""
    of_rows = {index: place for index in rows if isinstance(place := places[index], Place)}
    distinct = sorted(set(of_rows.values()))
    place = distinct[0]
    if _farthest_m(place, distinct) > _SAME_PLACE_M:
        first_row = {other: index for index, other in reversed(of_rows.items())}
        listed = [f"{other.name} (row {numbers[first_row[other]]})" for other in distinct]
        found = ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
        for index in rows:
            refused[index] = (_REJECTED, Refusal("one site_id at different places", found))
        return None
    area = _agreed_area([areas[index] for index in rows])
    for index in rows:
        of_row = areas[index]
        if isinstance(of_row, Refusal):
            refused[index] = (_WITHOUT_AREA if area is None else _OTHER_AREA, of_row)
        elif of_row is not None and of_row != area:
            told = Refusal("different reported areas of one site", f"{of_row!r} km2, not {area!r}")
            refused[index] = (_OTHER_AREA, told)
    return site, place.lon, place.lat, place.x, place.y, place.crs, area, len(rows)


def _farthest_m(place: Place, others: list[Place]) -> float:
    """Return the largest geodesic distance from one place to others, m."""
    if len(others) == 1:
        return 0.0
    count = len(others)
    _, _, distances = Geod(ellps="WGS84").inv(
        [place.lon] * count,
        [place.lat] * count,
        [other.lon for other in others],
        [other.lat for other in others],
    )
    return max(distances)


def _agreed_area(areas: list[float | Refusal | None]) -> float | None:
    """Return the most frequent reported area, the smallest of several such."""
    return most_frequent(area for area in areas if isinstance(area, float))


def _rejected(
    given: Observations, ids: list[str | None], refused: Mapping[int, tuple[str, Refusal]]
) -> pd.DataFrame:
    """Return what was refused as a table, in the order of the file."""
    records = [
        (given.rows[index], ids[index], action, refusal.reason, refusal.found)
        for index, (action, refusal) in sorted(refused.items())
    ]
    frame = pd.DataFrame(records, columns=["row", "site_id", "action", "reason", "found"])
    return frame.astype(
        {"row": "int64", "site_id": "str", "action": "str", "reason": "str", "found": "str"}
    )


def _all_rejected(name: str, rejected: pd.DataFrame, given: Observations) -> TableError:
    """Return the problem of a table without one usable row."""
    # Rows without a place are the problem; a remark on an area would add none.
    whole = rejected[rejected["action"] == _REJECTED]
    reasons = Counter(whole["reason"]).most_common(3)
    examples = {reason: whole[whole["reason"] == reason].iloc[0] for reason, _ in reasons}
    told = "; ".join(
        f"{count} x {reason} (row {examples[reason]['row']}: {examples[reason]['found']})"
        for reason, count in reasons
    )
    if given.remarks:
        next_step = f"{given.remarks[0].removeprefix(f'{name}: ')}."
    elif given.points is not None:
        next_step = "Check that this is the layer of the sites, as points, and its CRS."
    else:
        next_step = "Check sites.columns, and sites.crs or sites.utm."
    return TableError(
        name,
        f"not one usable row among {len(given.rows)}: {told}",
        "at least one site",
        next_step,
    )


def _look_alikes(sites: list[str], name: str) -> list[str]:
    """Return a warning for each pair of identifiers that a reader cannot tell apart.

    They stay two sites: an identifier that was changed could not be joined with its table again.
    """
    first: dict[str, str] = {}
    warnings = []
    for site in sites:
        other = first.setdefault(unicodedata.normalize("NFC", site), site)
        if other != site:
            warnings.append(
                f"{name}: the site {site!r} is there twice, with its accents written in two ways "
                "(Unicode normal forms); they are taken for two sites"
            )
    return warnings


def _unit_warnings(areas: pd.Series, unit: str, name: str) -> list[str]:
    """Return a warning if the reported areas look as if they were in another unit."""
    known = [area for area in areas.tolist() if not math.isnan(area)]
    if len(known) < _ENOUGH_AREAS:
        return []
    median, (low, high) = statistics.median(known), _PLAUSIBLE_AREA_KM2
    if low <= median <= high:
        return []
    as_given = median * 1e6 / AREA_UNITS_IN_M2[unit]
    likely = [
        other
        for other, in_m2 in AREA_UNITS_IN_M2.items()
        if low * 100 <= as_given * in_m2 / 1e6 <= high / 100
    ]
    hint = f": are they in {' or '.join(likely)}?" if likely else "."
    return [
        f"{name}: half of the reported areas are {'above' if median > high else 'below'} "
        f"{median:g} km2 with sites.area_unit {unit}{hint}"
    ]


def _observations(
    given: Observations,
    ids: list[str | None],
    refused: Mapping[int, tuple[str, Refusal]],
    id_column: str | None,
    warnings: list[str],
    name: str,
) -> pa.Table:
    """Return the rows that belong to sites, with `site_id` and `row` in front."""
    table = given.table
    if id_column == "site_id":
        table = table.drop_columns(["site_id"])
    renamed = {}
    for taken in RESERVED:
        if taken in table.column_names:
            other = kept_as(taken, table.column_names)
            table = table.rename_columns({taken: other})
            renamed[other] = {DESCRIPTION: description_of(taken)}
            warnings.append(f"{name}: the column {taken!r} is called {other!r} in observations")
    kept = [index for index in range(len(ids)) if refused.get(index, ("",))[0] != _REJECTED]
    front = {
        "site_id": pa.array([ids[index] for index in kept], pa.string()),
        "row": pa.array([given.rows[index] for index in kept], pa.int64()),
    }
    table = table.take(pa.array(kept, pa.int64()))
    columns = front | {title: table[title] for title in table.column_names}
    fields = [
        pa.field(title, column.type, metadata=renamed.get(title))
        for title, column in columns.items()
    ]
    return pa.table(list(columns.values()), schema=pa.schema(fields))
