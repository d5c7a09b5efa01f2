"""Shards: which sites one job processes, and which tiles it may read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from snakeshed.delineation.pyramid import PatchPyramid, shard_name, shard_of
from snakeshed.errors import TerrainError
from snakeshed.raster.crs import transformer
from snakeshed.terrain.index import TerrainIndex, near_a_tile, tiles_under

COLUMNS = {
    "site_id": "Identifier of the site.",
    "x": "Easting or longitude of the site, in the CRS of the terrain; null if it has none there. "
    "Longitudes are counted on where the DEM goes on beyond the antimeridian.",
    "y": "Northing or latitude of the site, in the CRS of the terrain; null if it has none there.",
    "reported_area_km2": "Published area of the site's catchment, km2; null if none.",
    "level": "Level of the patch pyramid at which the site starts.",
    "patch": "Patch in whose core the site lies at that level; null without x and y.",
    "needs_more": "The reported area asks for a larger window than the top level has.",
}

# Digits of coordinates in a projected CRS (1 mm) and in degrees (1 mm): coarser than what two
# CPUs may differ in, finer than any survey.
_PROJECTED_DECIMALS = 3
_GEOGRAPHIC_DECIMALS = 8


@dataclass(frozen=True, eq=False)
class Shard:
    """The sites of one job (columns `COLUMNS`, sorted by ``site_id``) and the tiles under them."""

    name: str
    sites: pd.DataFrame
    terrain: TerrainIndex


def split(
    sites: pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid, shards: int
) -> list[Shard]:
    """Spread sites over shards, by a stable hash of their patch.

    Parameters
    ----------
    sites : pandas.DataFrame
        ``sites.parquet``: site_id, x, y, crs, reported_area_km2.
    index : TerrainIndex
        Of the whole DEM.
    pyramid : PatchPyramid
    shards : int
        Number of shards; some may be empty.

    Returns
    -------
    list of Shard
        One for each name, in order. A shard's content depends on its own sites alone.
    """
    placed = _place(sites, index, pyramid)
    # Sites without a place have no patch; together they go to one shard.
    patches = placed["patch"].fillna("")
    number = np.array([shard_of(patch, shards) for patch in patches], np.int64)
    result = []
    for shard in range(shards):
        own = placed[number == shard].sort_values("site_id", ignore_index=True)
        tiles = _tiles(own, index, pyramid)
        result.append(Shard(shard_name(shard, shards), own, index.subset(tiles)))
    return result


def within_reach(sites: pd.DataFrame, index: TerrainIndex, radius_m: float) -> Iterator[bool]:
    """Tell of one site after the other whether the DEM has a tile within a radius of it.

    Parameters
    ----------
    sites : pandas.DataFrame
        ``sites.parquet``: site_id, x, y, crs.
    index : TerrainIndex
        Of the whole DEM.
    radius_m : float
        ``snap.radius_m``: how far from a site its outlet may be.

    Yields
    ------
    bool
        False for a site that will be a row with ``outside_dem``.
    """
    for site in sites.itertuples():
        yield _reaches(index, site.site_id, site.x, site.y, site.crs, radius_m)


def check_reach(sites: pd.DataFrame, index: TerrainIndex, radius_m: float) -> None:
    """Refuse a DEM that not one site lies on or near.

    Parameters
    ----------
    sites : pandas.DataFrame
        ``sites.parquet``: site_id, lon, lat, x, y, crs.
    index : TerrainIndex
        Of the whole DEM.
    radius_m : float
        ``snap.radius_m``.

    Raises
    ------
    TerrainError
        There is none within reach, although there are sites.
    """
    if sites.empty or any(within_reach(sites, index, radius_m)):
        return
    exchanged = sites[sites["lon"].abs() <= 90]
    exchanged = exchanged.assign(x=exchanged["lat"], y=exchanged["lon"], crs="EPSG:4326")
    count = "the only site not" if len(sites) == 1 else f"not one of {len(sites):,} sites"
    lons, lats = sites["lon"].tolist(), sites["lat"].tolist()
    raise TerrainError(
        "sites.path and dem.path",
        f"{count} within {radius_m:g} m of the DEM: "
        f"sites in {_told((min(lons), min(lats), max(lons), max(lats)))}, DEM in "
        f"{_told(_extent(index))}",
        "sites on the DEM",
        "Some would be on it with longitude and latitude exchanged: check sites.columns.x and y."
        if any(within_reach(exchanged, index, radius_m))
        else "Check sites.crs (or sites.utm and the zones), and that this is the DEM of the place.",
    )


def _reaches(
    index: TerrainIndex, site_id: str, x: float, y: float, crs: str, radius_m: float
) -> bool:
    """Tell whether the DEM has a tile within reach of a site."""
    x, y = transformer(crs, index.lattice.crs).transform(x, y)
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    return near_a_tile(index, index.turned(x), y, radius_m)


def _extent(index: TerrainIndex) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a DEM in degrees, None if it has no such box."""
    source, tiles = index.source, index.tiles
    west, north = source.corner(min(t.row for t in tiles), min(t.column for t in tiles))
    east, south = source.corner(
        max(t.row + t.height for t in tiles), max(t.column + t.width for t in tiles)
    )
    way = transformer(source.crs, "EPSG:4326")
    extent = way.transform_bounds(west, south, east, north, errcheck=False)
    return extent if all(map(math.isfinite, extent)) else None


def _told(extent: tuple[float, float, float, float] | None) -> str:
    """Return a box in degrees in words; four decimals are some 10 m."""
    if extent is None:
        return "a place without longitude and latitude"
    west, south, east, north = (f"{degrees:.4f}" for degrees in extent)
    return f"longitude {west} to {east}, latitude {south} to {north}"


def _place(sites: pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid) -> pd.DataFrame:
    lattice = index.lattice
    decimals = _GEOGRAPHIC_DECIMALS if lattice.geographic else _PROJECTED_DECIMALS
    rows = []
    for site in sites.itertuples():
        x, y = transformer(site.crs, lattice.crs).transform(site.x, site.y)
        area = None if pd.isna(site.reported_area_km2) else float(site.reported_area_km2)
        level, needs_more = pyramid.start_level(area)
        patch = None
        if math.isfinite(x) and math.isfinite(y):
            x, y = round(float(index.turned_near(x)), decimals), round(y, decimals)
            patch = pyramid.patch_of(*lattice.cell_of(x, y), level).id
        else:
            x = y = math.nan
        rows.append((site.site_id, x, y, area, level, patch, needs_more))
    types = {
        "site_id": "str",
        "x": "float64",
        "y": "float64",
        "reported_area_km2": "float64",
        "level": "int64",
        "patch": "str",
        "needs_more": "bool",
    }
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


def _tiles(sites: pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid) -> set[str]:
    """Tiles under the sites' patches at every level that they may reach."""
    patches = {
        pyramid.patch_of(*index.lattice.cell_of(site.x, site.y), level)
        for site in sites[sites["patch"].notna()].itertuples()
        for level in range(site.level, pyramid.levels)
    }
    return {tile for patch in patches for tile in tiles_under(index, *pyramid.window(patch))}
