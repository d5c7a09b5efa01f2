"""A site as a shard knows it, and the rule by which it is delineated."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from snakeshed.grid.snap import SnapRule


def sites_of(table: pd.DataFrame) -> list[Site]:
    """The sites of a shard's table."""
    return [
        Site(
            site_id=row.site_id,
            x=row.x,
            y=row.y,
            level=int(row.level),
            reported_area_km2=None if pd.isna(row.reported_area_km2) else row.reported_area_km2,
            needs_more=bool(row.needs_more),
        )
        for row in table.itertuples()
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
    """The science of a delineation, as the configuration states it."""

    snap: SnapRule
    max_void_cells: int
    channel_km2: float
