"""Which tiles of a source a study needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import windows_of
from snakeshed.errors import TerrainError
from snakeshed.terrain.dem import source_index
from snakeshed.terrain.index import TerrainIndex, source_window
from snakeshed.terrain.sources import SourceTile, terrain_source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def terrain_tiles(
    dem: Mapping, patches: Mapping, sites: pa.Table | pd.DataFrame
) -> list[SourceTile]:
    """Return the tiles under the patches of all sites, at every level that they may reach.

    Parameters
    ----------
    dem, patches : mapping
        The sections of a completed configuration; `dem` has a source.
    sites : pyarrow.Table or pandas.DataFrame
        ``sites.parquet``: site_id, lat, x, y, crs, reported_area_km2.

    Returns
    -------
    list of SourceTile
        Sorted by name, each once. Not all of them need exist.

    Raises
    ------
    TerrainError
        The tiles are not on one grid.
    """
    source = terrain_source(dem["source"])
    latitudes = [latitude for latitude in _values(sites, "lat") if latitude == latitude]
    index = source_index(
        source, latitudes, target_crs=dem["target_crs"], resolution=dem["resolution"]
    )
    pyramid = PatchPyramid(index.lattice, **patches)
    found: dict[str, SourceTile] = {}
    for window in windows_of(sites, index, pyramid):
        there = source_window(index, *window)
        if there is None:
            raise TerrainError(
                "dem.target_crs",
                f"patches that reach beyond what {dem['target_crs']} can express",
                "a CRS that covers the sites and some hundred kilometers around them",
                "Remove dem.target_crs to keep the grid of the source, or lower patches.levels.",
            )
        found |= {tile.name: tile for tile in source.touching(index.source, *there)}
    return [found[name] for name in sorted(found)]


def missing_tiles(
    dem: Mapping | None, patches: Mapping, sites: pa.Table | pd.DataFrame, index: TerrainIndex
) -> list[str]:
    """Return the names of tiles that sites may need and that an index does not have.

    Parameters
    ----------
    dem : mapping or None
        As for `terrain_tiles`. Without a source, nobody knows which tiles there might be.
    patches, sites
        As for `terrain_tiles`.
    index : TerrainIndex
        Of all tiles that are there.
    """
    if dem is None or dem["source"] is None:
        return []
    there = {(tile.row, tile.column) for tile in index.tiles}
    needed = terrain_tiles(dem, patches, sites)
    return [tile.name for tile in needed if tile.place[:2] not in there]


def _values(sites: pa.Table | pd.DataFrame, name: str) -> list:
    column = sites[name]
    values = column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()
    return [value for value in values if value is not None]
