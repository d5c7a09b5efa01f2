"""What a column of features is, and those of the catchment group.

This is read at every start of Snakemake, to find columns of the same name before anything runs:
it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

# Columns of `snakeshed.delineation.table.CATCHMENTS` that are repeated in ``features.parquet``, so
# that nobody has to join to know which sites to trust.
TRUST = (
    "confidence",
    "area_ratio",
    "touches_edge",
    "touches_nodata",
    "deep_pit",
    "open_water",
)

# What stands before the features of a site, in order.
BEFORE_FEATURES = ("site_id", "status", "reason", "layer_gap", *TRUST)


class Column(NamedTuple):
    """A column of ``features.parquet``.

    Attributes
    ----------
    name : str
        With the unit at its end.
    description : str
    is_text : bool
        Text; else a number.
    """

    name: str
    description: str
    is_text: bool = False


@dataclass(frozen=True)
class ReliefRule:
    """Which slopes count as steep, and which percentiles are computed."""

    steep_degrees: tuple[float, ...]
    percentiles: tuple[float, ...]


def numeric(columns: Mapping[str, Column]) -> list[str]:
    """Return the names of the columns that hold numbers, in their order."""
    return [name for name, column in columns.items() if not column.is_text]


def number(value: float) -> str:
    """Write a number as part of a column's name: 23, 12p5."""
    return f"{value:g}".replace(".", "p").replace("-", "minus")


def catchment_columns(rule: ReliefRule) -> list[Column]:
    """List the columns that `catchment_features` gives, in order."""
    here = "in the CRS of catchments.parquet"
    columns = [
        Column("area_km2", "Area of the catchment, km2."),
        Column("perimeter_km", "Length of the outline along the cells' sides, holes included, km."),
        Column("centroid_x", f"Mean x of the cell centres, {here}."),
        Column("centroid_y", f"Mean y of the cell centres, {here}."),
        Column("west", f"Smallest x of the outline, {here}."),
        Column("south", f"Smallest y of the outline, {here}."),
        Column("east", f"Largest x of the outline, {here}."),
        Column("north", f"Largest y of the outline, {here}."),
        Column("elevation_mean_m", "Mean elevation of the cells, m."),
        Column("elevation_min_m", "Lowest cell, m."),
        Column("elevation_max_m", "Highest cell, m."),
        Column("relief_m", "Highest less lowest elevation, m."),
        Column("ruggedness", "Relief over the square root of the area (Melton 1965), m/m."),
        Column(
            "hypsometric_integral", "(mean - min) / (max - min) elevation; null without relief."
        ),
        Column(
            "elongation",
            "Diameter of the circle of equal area over the basin length (Schumm 1956); null where "
            "the catchment is one cell.",
        ),
        Column("basin_length_km", "Greatest straight distance from the outlet to a cell, km."),
        Column("longest_flow_path_km", "Longest flow path to the outlet, km."),
        Column(
            "drainage_density_km_per_km2",
            "Channel length over area; channels begin at network.min_area_km2.",
        ),
        Column("slope_mean_deg", "Mean slope (Horn 1981), degrees."),
        Column("slope_std_deg", "Standard deviation (population) of the slope, degrees."),
    ]
    columns += [
        Column(
            f"slope_p{number(q)}_deg",
            f"{q:g}th percentile of the slope: the smallest slope up to which {q:g} % of the cells "
            "lie (inverse CDF), degrees.",
        )
        for q in rule.percentiles
    ]
    columns += [
        Column(
            f"share_steeper_{number(steep)}deg",
            f"Share of the cells with a slope of at least {steep:g} degrees.",
        )
        for steep in rule.steep_degrees
    ]
    columns += [
        Column(
            "aspect_mean_deg",
            "Circular mean of the downslope direction, degrees clockwise from north of the grid; "
            "null where all is level.",
        ),
        Column("share_north_facing", "Share of the cells that face within 45 degrees of north."),
    ]
    return columns


def coverage_column(name: str) -> Column:
    """Describe the column that every layer has."""
    return Column(f"{name}_coverage", f"Share of the catchment where {name} has data, 0 to 1.")
