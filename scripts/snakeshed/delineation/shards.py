"""Shards: which sites one job processes, and which tiles it may read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from snakeshed.delineation.pyramid import Patch, PatchPyramid, shard_name, shard_of
from snakeshed.errors import TerrainError
from snakeshed.progress import counted
from snakeshed.raster.crs import transformer
from snakeshed.tables.schema import REAL, TEXT, TRUTH, WHOLE, table_of
from snakeshed.terrain.index import TerrainIndex, near_a_tile, tiles_under

if TYPE_CHECKING:
    import pandas as pd

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

_TYPES = dict(zip(COLUMNS, (TEXT, REAL, REAL, REAL, WHOLE, TEXT, TRUTH), strict=True))

# Digits of coordinates in a projected CRS (1 mm) and in degrees (1 mm): coarser than what two
# CPUs may differ in, finer than any survey.
_PROJECTED_DECIMALS = 3
_GEOGRAPHIC_DECIMALS = 8

# Cells along the side of a piece of the lattice whose sites are looked for together.
_BLOCK = 256
# Rows and columns beyond this are no place on Earth.
_FARTHEST = 2**53


@dataclass(frozen=True, eq=False)
class Shard:
    """The sites of one job (columns `COLUMNS`, sorted by ``site_id``) and the tiles under them."""

    name: str
    sites: pa.Table
    terrain: TerrainIndex


class _Placed(NamedTuple):
    """A row of a shard's table."""

    site_id: str
    x: float | None
    y: float | None
    reported_area_km2: float | None
    level: int
    patch: str | None
    needs_more: bool


def split(
    sites: pa.Table | pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid, shards: int
) -> list[Shard]:
    """Spread sites over shards, by a stable hash of their patch.

    Parameters
    ----------
    sites : pyarrow.Table or pandas.DataFrame
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
    rows_of: dict[int, list[_Placed]] = {}
    placed = _place(sites, index, pyramid)
    for number, row in zip(_shard_numbers(placed, shards), placed, strict=True):
        rows_of.setdefault(number, []).append(row)
    described = {name: (_TYPES[name], text) for name, text in COLUMNS.items()}
    nobody, nothing = table_of([], described), index.subset(())
    result = []
    for shard in range(shards):
        name = shard_name(shard, shards)
        if shard not in rows_of:
            result.append(Shard(name, nobody, nothing))
            continue
        own = sorted(rows_of[shard], key=lambda row: row.site_id)
        tiles = _tiles(own, index, pyramid)
        table = table_of([row._asdict() for row in own], described)
        result.append(Shard(name, table, index.subset(tiles)))
    return result


def windows_of(
    sites: pa.Table | pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the windows of the terrain that sites may need.

    Parameters
    ----------
    sites : pyarrow.Table or pandas.DataFrame
        As for `split`.
    index : TerrainIndex
        Its tiles make no difference: they need not be known yet.
    pyramid : PatchPyramid

    Yields
    ------
    tuple of int
        Row, column, height, and width in absolute cells: the patches of all sites at every level
        that they may reach, each once.
    """
    yield from _windows(_place(sites, index, pyramid), pyramid)


def shards_with_sites(
    sites: pa.Table | pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid, shards: int
) -> int:
    """Return how many of the shards that `split` makes have sites."""
    return len(set(_shard_numbers(_place(sites, index, pyramid), shards)))


def within_reach(
    sites: pa.Table | pd.DataFrame, index: TerrainIndex, radius_m: float
) -> np.ndarray:
    """Tell of each site whether the DEM has a tile within a radius of it.

    Parameters
    ----------
    sites : pyarrow.Table or pandas.DataFrame
        ``sites.parquet``: x, y, crs.
    index : TerrainIndex
        Of the whole DEM.
    radius_m : float
        ``snap.radius_m``: how far from a site its outlet may be.

    Returns
    -------
    numpy.ndarray of bool
        False for a site that will be a row with ``outside_dem``.
    """
    return _within_reach(_places(sites), index, radius_m)


def _within_reach(places: _Places, index: TerrainIndex, radius_m: float) -> np.ndarray:
    x, y = _in_terrain_crs(places, index)
    has_place = np.isfinite(x) & np.isfinite(y)
    x = index.turned(x)
    reached = np.zeros(len(x), bool)
    reached[has_place] = _on_tiles(index, x[has_place], y[has_place])
    beside = np.flatnonzero(has_place & ~reached).tolist()
    doing = "looking for the DEM near sites beside it"
    for site in counted(beside, doing, len(beside), "sites"):
        reached[site] = near_a_tile(index, float(x[site]), float(y[site]), radius_m)
    return reached


def check_reach(sites: pa.Table | pd.DataFrame, index: TerrainIndex, radius_m: float) -> np.ndarray:
    """Refuse a DEM that not one site lies on or near.

    Parameters
    ----------
    sites : pyarrow.Table or pandas.DataFrame
        ``sites.parquet``: site_id, lon, lat, x, y, crs.
    index : TerrainIndex
        Of the whole DEM.
    radius_m : float
        ``snap.radius_m``.

    Returns
    -------
    numpy.ndarray of bool
        From `within_reach`.

    Raises
    ------
    TerrainError
        There is none within reach, although there are sites.
    """
    reached = within_reach(sites, index, radius_m)
    if not len(sites) or reached.any():
        return reached
    lons, lats = _values(sites, "lon"), _values(sites, "lat")
    possible = [(lat, lon) for lon, lat in zip(lons, lats, strict=True) if abs(lon) <= 90]
    exchanged = _Places(*np.array(possible).reshape(-1, 2).T, ["EPSG:4326"] * len(possible))
    count = "the only site not" if len(sites) == 1 else f"not one of {len(sites):,} sites"
    raise TerrainError(
        "sites.path and dem.path",
        f"{count} within {radius_m:g} m of the DEM: "
        f"sites in {_told((min(lons), min(lats), max(lons), max(lats)))}, DEM in "
        f"{_told(_extent(index))}",
        "sites on the DEM",
        "Some would be on it with longitude and latitude exchanged: check sites.columns.x and y."
        if any(_within_reach(exchanged, index, radius_m))
        else "Check sites.crs (or sites.utm and the zones), and that this is the DEM of the place.",
    )


class _Places(NamedTuple):
    """Where sites are: coordinates, each in the CRS of its site."""

    x: np.ndarray
    y: np.ndarray
    crs: Sequence[str]


def _places(sites: pa.Table | pd.DataFrame) -> _Places:
    x, y = (np.array(_values(sites, name), np.float64) for name in ("x", "y"))
    return _Places(x, y, _values(sites, "crs"))


def _values(sites: pa.Table | pd.DataFrame, name: str) -> list:
    column = sites[name]
    return column.to_pylist() if isinstance(column, pa.ChunkedArray) else column.tolist()


def _in_terrain_crs(places: _Places, index: TerrainIndex) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in the CRS of the terrain; not finite where a site has no place in it."""
    x, y = places.x.copy(), places.y.copy()
    rows_of: dict[str, list[int]] = {}
    for row, crs in enumerate(places.crs):
        rows_of.setdefault(crs, []).append(row)
    for crs, rows in rows_of.items():
        x[rows], y[rows] = _transformed(crs, index.lattice.crs, x[rows], y[rows])
    return x, y


def _transformed(
    from_crs: str, to_crs: str, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # Of lists, since pyproj has another way for an array of one number.
    there = transformer(from_crs, to_crs).transform(x.tolist(), y.tolist())
    return np.asarray(there[0], np.float64), np.asarray(there[1], np.float64)


def _on_tiles(index: TerrainIndex, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell of points in the CRS of the terrain whether they lie on a cell of a tile."""
    source = index.source
    if not index.is_native:
        x, y = _transformed(index.lattice.crs, source.crs, x, y)
    x = index.turned_at_source(x)
    rows, columns = np.floor((source.y0 - y) / source.dy), np.floor((x - source.x0) / source.dx)
    countable = np.flatnonzero((np.abs(rows) < _FARTHEST) & (np.abs(columns) < _FARTHEST))
    rows, columns = rows[countable].astype(np.int64), columns[countable].astype(np.int64)
    on = np.zeros(len(countable), bool)
    # Sites near one another are looked for together.
    blocks = zip((rows // _BLOCK).tolist(), (columns // _BLOCK).tolist(), strict=True)
    groups: dict[tuple[int, int], list[int]] = {}
    for point, block in enumerate(blocks):
        groups.setdefault(block, []).append(point)
    for (row, column), own in counted(groups.items(), "looking for sites on the DEM", what="parts"):
        for number in index.touching(row * _BLOCK, column * _BLOCK, _BLOCK, _BLOCK):
            tile = index.tiles[number]
            on[own] |= (
                (tile.row <= rows[own])
                & (rows[own] < tile.row + tile.height)
                & (tile.column <= columns[own])
                & (columns[own] < tile.column + tile.width)
            )
            if on[own].all():
                break
    result = np.zeros(len(x), bool)
    result[countable] = on
    return result


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


def _place(
    sites: pa.Table | pd.DataFrame, index: TerrainIndex, pyramid: PatchPyramid
) -> list[_Placed]:
    """Return the rows of all sites."""
    lattice = index.lattice
    decimals = _GEOGRAPHIC_DECIMALS if lattice.geographic else _PROJECTED_DECIMALS
    # Null and NaN alike: none.
    areas = np.array(_values(sites, "reported_area_km2"), np.float64).tolist()
    names: dict[Patch, str] = {}
    rows = []
    coordinates = (values.tolist() for values in _in_terrain_crs(_places(sites), index))
    placing = zip(_values(sites, "site_id"), *coordinates, areas, strict=True)
    for site_id, x, y, area in counted(placing, "placing sites on the DEM", len(sites), "sites"):
        level, needs_more = pyramid.start_level(area)
        patch = None
        if math.isfinite(x) and math.isfinite(y):
            x, y = round(float(index.turned_near(x)), decimals), round(y, decimals)
            own = pyramid.patch_of(*lattice.cell_of(x, y), level)
            patch = names.setdefault(own, own.id)
        else:
            x = y = None
        known = None if math.isnan(area) else area
        rows.append(_Placed(site_id, x, y, known, level, patch, needs_more))
    return rows


def _shard_numbers(placed: Sequence[_Placed], shards: int) -> list[int]:
    """Return the shard of each site."""
    # Sites without a place have no patch; together they go to one shard.
    numbers = {patch: shard_of(patch or "", shards) for patch in {row.patch for row in placed}}
    return [numbers[row.patch] for row in placed]


def _tiles(sites: Sequence[_Placed], index: TerrainIndex, pyramid: PatchPyramid) -> set[str]:
    """Tiles under the sites' patches at every level that they may reach."""
    windows = _windows(sites, pyramid)
    return {tile for window in windows for tile in tiles_under(index, *window)}


def _windows(
    sites: Sequence[_Placed], pyramid: PatchPyramid
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the windows of the sites' patches at every level that they may reach, each once."""
    patches: set[Patch] = set()
    for name in sorted({row.patch for row in sites} - {None}):
        patch = Patch.from_id(name)
        # What is above a patch that is there already is there too.
        while patch not in patches:
            patches.add(patch)
            yield pyramid.window(patch)
            if patch.level + 1 == pyramid.levels:
                break
            patch = pyramid.parent(patch)
