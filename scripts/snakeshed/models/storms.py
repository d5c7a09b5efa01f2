"""Design storms: a rainfall within a duration, the same everywhere or from the site table.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakeshed.errors import ConfigurationError
from snakeshed.features.columns import number
from snakeshed.sites.cells import is_missing, number_in, shown
from snakeshed.sites.reserved import name_in

if TYPE_CHECKING:
    import pyarrow as pa

_MM_PER_INCH = 25.4
UNITS = ("mm", "mm_per_h", "in", "in_per_h")


@dataclass(frozen=True)
class Storm:
    """A design storm.

    Attributes
    ----------
    name : str
    duration_min : int
        Minutes.
    intensity_mm_per_h : float or None
        The same at all sites; None if each site has its own.
    column : str or None
        The column of the site table with that of each site.
    unit : str or None
        Of the column: one of `UNITS`.
    """

    name: str
    duration_min: int
    intensity_mm_per_h: float | None = None
    column: str | None = None
    unit: str | None = None

    @classmethod
    def of(cls, declared: Mapping) -> Storm:
        """Make a storm of its declaration, one entry of ``storms``."""
        name, intensity = declared["name"], declared["intensity_mm_per_h"]
        if name is None and intensity is not None:
            name = f"i{declared['duration_min']}_{number(intensity)}"
        return cls(
            name or declared["column"] or "",
            declared["duration_min"],
            intensity,
            declared["column"],
            declared["unit"],
        )


@dataclass(frozen=True)
class Rainfall:
    """What falls at a site in a storm: mm within its duration, or the reason why it is missing."""

    mm: float | None = None
    reason: str | None = None


def rainfall_mm(value: float, unit: str, duration_min: int) -> float:
    """Return a rainfall as mm within its duration.

    Parameters
    ----------
    value : float
    unit : str
        One of `UNITS`.
    duration_min : int
        Minutes.
    """
    if unit.startswith("in"):
        value *= _MM_PER_INCH
    return value * duration_min / 60.0 if unit.endswith("_per_h") else value


def site_rainfall(storm: Storm, observations: pa.Table | None) -> Mapping[str, Rainfall]:
    """Return the rainfall of a storm at every site.

    Parameters
    ----------
    storm : Storm
    observations : pyarrow.Table or None
        ``observations.parquet``; needed by a storm with a column.

    Returns
    -------
    mapping of str to Rainfall
        By site; any site has one.
    """
    if storm.intensity_mm_per_h is not None:
        everywhere = Rainfall(rainfall_mm(storm.intensity_mm_per_h, "mm_per_h", storm.duration_min))
        return defaultdict(lambda: everywhere)
    cells: dict[str, dict] = defaultdict(dict)
    sites = observations["site_id"].to_pylist()
    column = observations[name_in(observations, storm.column)].to_pylist()
    for site, cell in zip(sites, column, strict=True):
        value = number_in(cell)
        # Equal numbers are one, in whatever way they are written.
        cells[site][str(cell) if value is None else value] = cell
    nowhere = Rainfall(reason=f"no row of the site table has its {storm.column}")
    found = defaultdict(lambda: nowhere)
    found.update((site, _agreed(storm, list(cells[site].values()))) for site in cells)
    return found


def storms_from_table(configuration: Mapping) -> bool:
    """Tell whether a storm of a completed configuration is a column of the site table.

    Hazards then hold cells of that table.
    """
    return any(storm["column"] is not None for storm in configuration["storms"])


def check_storms(declared: Sequence[Mapping]) -> Iterator[ConfigurationError]:
    """Yield what is contradictory in ``storms`` of a completed configuration."""
    storms = [Storm.of(each) for each in declared]
    names = [storm.name for storm in storms]
    for place, (storm, written) in enumerate(zip(storms, declared, strict=True), start=1):
        where = f"storms[{written['name'] or place}]"
        if storm.intensity_mm_per_h is None and storm.column is None:
            yield ConfigurationError(
                where,
                "neither intensity_mm_per_h nor column",
                "the rainfall",
                "Set intensity_mm_per_h, or column and unit for a rainfall of each site.",
            )
        elif storm.intensity_mm_per_h is not None and storm.column is not None:
            yield ConfigurationError(
                where,
                "both intensity_mm_per_h and column",
                "one of them",
                "Remove one of the two.",
            )
        elif storm.column is not None and storm.unit is None:
            yield ConfigurationError(
                f"{where}.unit",
                f"no such key, but the column {storm.column!r}",
                f"one of {', '.join(UNITS)}",
                "Set it to the unit of that column.",
            )
        elif storm.column is None and storm.unit is not None:
            yield ConfigurationError(
                f"{where}.unit",
                f"{storm.unit}, but no column",
                "a unit only together with a column",
                "Remove it: intensity_mm_per_h has its unit in its name.",
            )
        elif names.index(storm.name) != place - 1:
            yield ConfigurationError(
                where,
                f"the name {storm.name} again",
                "every storm with its own name",
                "Give it another name, or remove it.",
            )


def _agreed(storm: Storm, cells: list) -> Rainfall:
    """Return the rainfall that the rows of a site agree on; gaps agree with anything."""
    column = storm.column
    present = [cell for cell in cells if not is_missing(cell)]
    if not present:
        return Rainfall(reason=f"no {column} in the site table")
    if len(present) > 1:
        values = ", ".join(sorted(map(shown, present)))
        return Rainfall(reason=f"the rows of the site differ in {column}: {values}")
    value = number_in(present[0])
    if value is None:
        return Rainfall(reason=f"{column} is no number: {shown(present[0])}")
    if value < 0:
        return Rainfall(reason=f"{column} is negative: {value:g}")
    return Rainfall(rainfall_mm(value, storm.unit, storm.duration_min))
