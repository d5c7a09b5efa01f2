"""Bounds of settings that only the DEM or the site table shows: beyond them a run would not end."""

from __future__ import annotations

import math
from collections.abc import Mapping

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.terrain.index import TerrainIndex

# A square as long as the DEM, with a buffer as wide, has all of it, wherever it lies; this many
# times the length leaves room for numbers that were rounded up, or made for a larger DEM.
_DEM_LENGTHS = 2
# A square of this many cells fits into the memory of any job, however small the DEM is.
_CELLS_OF_ANY_PATCH = 2000
# The defaults of the schema suit every DEM.
_PATCH_M = {"core_m": 1500.0, "buffer_m": 1500.0}
_LEVELS = 6
_AREA_KM2 = 0.1
# Levels beyond the one whose buffer is as wide as the DEM.
_MORE_LEVELS = 2
_ANY_RADIUS_M = 1000.0
# So few shards are never too many, so that a study can be tried with some of its sites.
_ANY_SHARDS = 100


def check_bounds(
    index: TerrainIndex,
    patches: Mapping[str, float],
    radius_m: float,
    min_areas_km2: Mapping[str, float],
) -> None:
    """Refuse patches, a radius, or areas that are far larger than the DEM.

    Parameters
    ----------
    index : TerrainIndex
        Of the whole DEM.
    patches : mapping
        The section ``patches`` of a completed configuration.
    radius_m : float
        ``snap.radius_m``.
    min_areas_km2 : mapping of str to float
        By key: ``snap.min_area_km2`` and ``network.min_area_km2``.

    Raises
    ------
    SeveralProblems
        One problem per key.
    """
    length_m, area_km2 = _extent(index)
    cell_m = index.lattice.cell_height_m()
    dem = f"on a DEM that is {length_m:,.5g} m long, with cells of {cell_m:,.5g} m"
    problems = []

    def refuse(key: str, found: str, most: str, next_step: str) -> None:
        problems.append(ConfigurationError(key, f"{found} {dem}", most, next_step))

    widest_m = max(_DEM_LENGTHS * length_m, _CELLS_OF_ANY_PATCH * cell_m)
    for key, default in _PATCH_M.items():
        most = max(default, widest_m)
        if patches[key] > most:
            refuse(
                f"patches.{key}",
                f"{patches[key]:,.5g} m",
                f"at most {most:,.5g} m here: a larger patch has no more of the DEM",
                f"Remove it for the default of {default:,.5g}, or set a smaller number.",
            )
    most_levels = max(_LEVELS, _levels_to(length_m, patches, cell_m) + _MORE_LEVELS)
    if patches["levels"] > most_levels:
        refuse(
            "patches.levels",
            f"{patches['levels']}",
            f"at most {most_levels} here: the patches of level {most_levels - _MORE_LEVELS} have "
            "all of the DEM",
            "Set a smaller number.",
        )
    if radius_m > max(_ANY_RADIUS_M, length_m):
        refuse(
            "snap.radius_m",
            f"{radius_m:,.5g} m",
            f"at most {max(_ANY_RADIUS_M, length_m):,.5g} m here",
            "Set the distance by which sites may be misplaced, such as 100.",
        )
    for key, area in min_areas_km2.items():
        if area > max(_AREA_KM2, area_km2):
            refuse(
                key,
                f"{area:,.5g} km2",
                f"at most the {max(_AREA_KM2, area_km2):,.5g} km2 of the DEM: no cell drains more",
                f"Set a smaller area in km2; the default is {_AREA_KM2:g}.",
            )
    if problems:
        raise SeveralProblems(problems)


def check_shards(shards: int, sites: int) -> None:
    """Refuse far more shards than there are sites.

    Parameters
    ----------
    shards : int
        Number of shards.
    sites : int
        Number of sites.

    Raises
    ------
    ConfigurationError
        Most shards could only be empty, and each is two jobs.
    """
    most = max(_ANY_SHARDS, sites)
    if shards > most:
        raise ConfigurationError(
            "shards",
            f"{shards:,} for {sites:,} {'site' if sites == 1 else 'sites'}",
            f"at most {most:,}: every shard is two jobs, even without a site",
            "Set a smaller number, or remove it for the default of 16.",
        )


def _extent(index: TerrainIndex) -> tuple[float, float]:
    """Return the longer side (m) and the area (km2) of the box around a DEM.

    Degrees are as long as on a meridian at latitude 45: the box is rather too large.
    """
    source, tiles = index.source, index.tiles
    unit_m = source.cell_height_m() / source.dy
    height = max(t.row + t.height for t in tiles) - min(t.row for t in tiles)
    width = max(t.column + t.width for t in tiles) - min(t.column for t in tiles)
    height_m, width_m = height * source.dy * unit_m, width * source.dx * unit_m
    return max(height_m, width_m), height_m * width_m / 1e6


def _levels_to(length_m: float, patches: Mapping[str, float], cell_m: float) -> int:
    """Return the number of levels of which the top one has patches as wide as the DEM."""
    # No core and no buffer is narrower than a cell.
    times = length_m / max(cell_m, min(patches["core_m"], patches["buffer_m"]))
    return 1 + math.ceil(math.log2(max(1.0, times)))
