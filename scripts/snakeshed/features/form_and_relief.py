"""The catchment group of features: form and relief of each catchment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from snakeshed.delineation.outlines import cells_within
from snakeshed.features.columns import ReliefRule, number
from snakeshed.kernels.relief import gradients, slope_and_aspect, squared_deviations, total
from snakeshed.raster.lattice import Lattice
from snakeshed.terrain.elevations import Terrain


@dataclass(frozen=True, eq=False)
class CatchmentCells:
    """The cells of a catchment, row by row, and the terrain at each.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (n,)
        Absolute, on the terrain's lattice.
    elevation : ndarray of float64, shape (n,)
        In m.
    east, north : ndarray of float64, shape (n,)
        Gradients (Horn 1981), m/m.
    """

    rows: np.ndarray
    columns: np.ndarray
    elevation: np.ndarray
    east: np.ndarray
    north: np.ndarray

    @classmethod
    def of(cls, geometry: shapely.Geometry, terrain: Terrain) -> CatchmentCells:
        """Read the terrain of a catchment.

        Parameters
        ----------
        geometry : shapely.Geometry
            Outline from `snakeshed.delineation.outlines.outline`, on the terrain's lattice.
        terrain : Terrain

        Raises
        ------
        TerrainError
            A tile cannot be read.
        """
        lattice = terrain.index.lattice
        mask, row, column = cells_within(geometry, lattice)
        z = terrain.elevations(row, column, *mask.shape)
        sizes = lattice.cells(row, column, *mask.shape)
        elevation, east, north = (np.empty(int(np.count_nonzero(mask))) for _ in range(3))
        gradients(z, mask, sizes, elevation, east, north)
        rows, columns = np.nonzero(mask)
        return cls(rows + row, columns + column, elevation, east, north)


def catchment_features(
    geometry: shapely.Geometry,
    cells: CatchmentCells,
    area_km2: float,
    longest_flow_path_km: float,
    basin_length_km: float,
    channel_length_km: float,
    perimeter_km: float,
    lattice: Lattice,
    rule: ReliefRule,
) -> dict[str, float | None]:
    """Features of one catchment.

    Parameters
    ----------
    geometry : shapely.Geometry
        Its outline.
    cells : CatchmentCells
        Its cells.
    area_km2, longest_flow_path_km, basin_length_km, channel_length_km, perimeter_km : float
        As `snakeshed.delineation.delineate` measured them.
    lattice : Lattice
        Of the terrain.
    rule : ReliefRule

    Returns
    -------
    dict
        The columns of `snakeshed.features.columns.catchment_columns`. Statistics count each
        cell once, whatever its area.
    """
    elevation, count = cells.elevation, cells.elevation.size
    tangent, degrees = np.empty(count), np.empty(count)
    to_east, to_north, facing_north = slope_and_aspect(cells.east, cells.north, tangent, degrees)
    slope_mean = total(degrees) / count
    slope_std = math.sqrt(squared_deviations(degrees, slope_mean) / count)
    tangent.sort()
    low, high = float(elevation.min()), float(elevation.max())
    mean = total(elevation) / count
    # Small whole numbers, so that the division is exact to the last bit wherever the catchment is.
    row, column = int(cells.rows.min()) - 1, int(cells.columns.min()) - 1
    mean_row = int((cells.rows - row).sum()) / count
    mean_column = int((cells.columns - column).sum()) / count
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
        values[f"share_steeper_{number(steep)}deg"] = (count - below) / count
    level = to_east == 0 and to_north == 0
    values["aspect_mean_deg"] = (
        None if level else math.degrees(math.atan2(to_east, to_north)) % 360.0
    )
    values["share_north_facing"] = facing_north / count
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
