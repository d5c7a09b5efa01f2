"""The catchment group of features: form and relief of each catchment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely

from snakeshed.delineation.outlines import cells_within
from snakeshed.features.columns import ReliefRule, number
from snakeshed.kernels.relief import gradients, slope_and_aspect, squared_deviations, total
from snakeshed.terrain.elevations import Terrain


def catchment_features(
    geometry: shapely.Geometry,
    area_km2: float,
    longest_flow_path_km: float,
    basin_length_km: float,
    channel_length_km: float,
    perimeter_km: float,
    terrain: Terrain,
    rule: ReliefRule,
) -> dict[str, float | None]:
    """Features of one catchment.

    Parameters
    ----------
    geometry : shapely.Geometry
        Outline from `snakeshed.delineation.outlines.outline`, on the terrain's lattice.
    area_km2, longest_flow_path_km, basin_length_km, channel_length_km, perimeter_km : float
        As `snakeshed.delineation.delineate` measured them.
    terrain : Terrain
    rule : ReliefRule

    Returns
    -------
    dict
        The columns of `snakeshed.features.columns.catchment_columns`. Statistics count each
        cell once, whatever its area.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    lattice = terrain.index.lattice
    mask, row, column = cells_within(geometry, lattice)
    z = terrain.elevations(row, column, *mask.shape)
    sizes = lattice.cells(row, column, *mask.shape)
    cells = int(np.count_nonzero(mask))
    elevation, east, north, tangent = (np.empty(cells) for _ in range(4))
    gradients(z, mask, sizes, elevation, east, north)
    degrees = np.empty(cells)
    to_east, to_north, facing_north = slope_and_aspect(east, north, tangent, degrees)
    slope_mean = total(degrees) / cells
    slope_std = math.sqrt(squared_deviations(degrees, slope_mean) / cells)
    tangent.sort()
    low, high = float(elevation.min()), float(elevation.max())
    mean = total(elevation) / cells
    rows, columns = np.nonzero(mask)
    mean_row, mean_column = int(rows.sum()) / cells, int(columns.sum()) / cells
    x, y = lattice.corner(row + mean_row + 0.5, column + mean_column + 0.5)
    west, south, east_edge, north_edge = geometry.bounds
    relief = high - low
    values = {
        "area_km2": area_km2,
        "perimeter_km": perimeter_km,
        "centroid_x": x,
        "centroid_y": y,
        "west": west,
        "south": south,
        "east": east_edge,
        "north": north_edge,
        "elevation_mean_m": mean,
        "elevation_min_m": low,
        "elevation_max_m": high,
        "relief_m": relief,
        "ruggedness": relief / (math.sqrt(area_km2) * 1000),
        "hypsometric_integral": (mean - low) / relief if relief > 0 else None,
        "elongation": 2 * math.sqrt(area_km2 / math.pi) / basin_length_km
        if basin_length_km > 0
        else None,
        "basin_length_km": basin_length_km,
        "longest_flow_path_km": longest_flow_path_km,
        "drainage_density_km_per_km2": channel_length_km / area_km2,
        "slope_mean_deg": slope_mean,
        "slope_std_deg": slope_std,
    }
    for q in rule.percentiles:
        values[f"slope_p{number(q)}_deg"] = _percentile_degrees(tangent, q)
    for steep in rule.steep_degrees:
        below = int(np.searchsorted(tangent, math.tan(math.radians(steep)), side="left"))
        values[f"share_steeper_{number(steep)}deg"] = (cells - below) / cells
    level = to_east == 0 and to_north == 0
    values["aspect_mean_deg"] = (
        None if level else math.degrees(math.atan2(to_east, to_north)) % 360.0
    )
    values["share_north_facing"] = facing_north / cells
    return values


def _percentile_degrees(tangents: Sequence[float], q: float) -> float:
    """Percentile of slopes in degrees, from their sorted tangents: that of a cell (inverse CDF)."""
    cells, share = len(tangents), q / 100
    place = min(max(0, math.ceil(share * cells) - 1), cells - 1)
    # The first cell up to which this share lies, as NumPy's quotients put it.
    while place > 0 and place / cells >= share:
        place -= 1
    while (place + 1) / cells < share:
        place += 1
    return math.degrees(math.atan(tangents[place]))
