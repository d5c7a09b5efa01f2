"""What is known of a site after delineation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import shapely

STATUSES = (
    "ok",
    "outside_dem",
    "on_nodata",
    "no_stream",
    "no_reported_area",
    "recipe_failed",
    "worker_killed",
    "area_mismatch",
)
"""The closed list: delineated, or the one reason why not.

``area_mismatch`` has a catchment, but one that is not to be used.
"""


@dataclass(frozen=True)
class Catchment:
    """What is known of a site after delineation; the columns of ``catchments.parquet``.

    `snakeshed.delineation.table.CATCHMENTS` describes them. What was not reached is None.
    """

    site_id: str
    status: str
    reason: str | None
    site_x: float | None
    site_y: float | None
    reported_area_km2: float | None
    patch: str | None
    patch_level: int | None
    outlet_x: float | None = None
    outlet_y: float | None = None
    outlet_lon: float | None = None
    outlet_lat: float | None = None
    area_km2: float | None = None
    area_low_km2: float | None = None
    area_high_km2: float | None = None
    area_ratio: float | None = None
    cells: int | None = None
    snap_distance_m: float | None = None
    snap_cost: float | None = None
    stability: float | None = None
    confidence: str | None = None
    runner_up_x: float | None = None
    runner_up_y: float | None = None
    runner_up_area_km2: float | None = None
    runner_up_distance_m: float | None = None
    runner_up_cost: float | None = None
    touches_edge: bool | None = None
    touches_nodata: bool | None = None
    pool_at_rim: bool | None = None
    needs_larger_window: bool | None = None
    pit_depth_m: float | None = None
    deep_pit: bool | None = None
    open_water: bool | None = None
    perimeter_km: float | None = None
    longest_flow_path_km: float | None = None
    basin_length_km: float | None = None
    channel_length_km: float | None = None
    geometry: shapely.Geometry | None = None
