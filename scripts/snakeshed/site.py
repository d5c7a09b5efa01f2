"""A site as a shard knows it, and the rule by which it is delineated."""

from __future__ import annotations

from dataclasses import dataclass

from snakeshed.snap import SnapRule


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
