"""A site as a shard knows it, and the rule by which it is delineated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakeshed.grid.snap_rule import SnapRule
from snakeshed.tables.geoparquet import rows_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_PIT_M = 30.0
"""Default of `dem.max_pit_m`."""


def sites_of(table: pa.Table | pd.DataFrame) -> list[Site]:
    """The sites of a shard's table."""
    return [
        Site(
            site_id=row["site_id"],
            x=math.nan if row["x"] is None else row["x"],
            y=math.nan if row["y"] is None else row["y"],
            level=row["level"],
            reported_area_km2=row["reported_area_km2"],
            needs_more=row["needs_more"],
        )
        for row in rows_of(table)
    ]


@dataclass(frozen=True)
class Site:
    """A site as a shard knows it.

    Attributes
    ----------
    site_id : str
    x, y : float
        In the CRS of the terrain; NaN where it has no place in that.
    level : int
        Level of the patch pyramid at which it starts.
    reported_area_km2 : float or None
    needs_more : bool
        The reported area asks for a larger window than the top level has.
    """

    site_id: str
    x: float
    y: float
    level: int
    reported_area_km2: float | None = None
    needs_more: bool = False


@dataclass(frozen=True)
class DelineationRule:
    """The science of a delineation, as the configuration states it.

    Attributes
    ----------
    snap : SnapRule
    max_void_cells : int
        Enclosed voids of at most this many cells are missing ground, not outlets.
    channel_km2 : float
        Channels begin where this much drains.
    conditioning : {"fill", "carve"}
        Whether water fills a depression and runs over its lowest saddle, or runs through a cut
        from its bottom to that saddle.
    max_pit_m : float
        A catchment with a cell farther below its outlet is not to be trusted.
    """

    snap: SnapRule
    max_void_cells: int
    channel_km2: float
    conditioning: str = "fill"
    max_pit_m: float = MAX_PIT_M

    @classmethod
    def of(cls, study: Mapping) -> DelineationRule:
        """Take it from a complete configuration; its other keys need not be there.

        Parameters
        ----------
        study : mapping
            With ``snap``, ``dem.max_void_cells``, ``dem.conditioning``, ``dem.max_pit_m``,
            ``network.min_area_km2``.
        """
        return cls(
            snap=SnapRule(**study["snap"]),
            max_void_cells=study["dem"]["max_void_cells"],
            channel_km2=study["network"]["min_area_km2"],
            conditioning=study["dem"]["conditioning"],
            max_pit_m=study["dem"]["max_pit_m"],
        )
