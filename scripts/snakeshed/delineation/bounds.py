"""Bounds that only the DEM or the site table shows: a number beyond them is a mistake."""

from __future__ import annotations

from collections.abc import Mapping

from snakeshed.errors import ConfigurationError, SeveralProblems
from snakeshed.terrain.index import TerrainIndex

# A square as long as the DEM, with a buffer as wide, covers all of it, wherever it lies. This many
# times the length leaves room for numbers that were rounded up, or chosen for a larger DEM.
_DEM_LENGTHS = 2
# A square of this many cells fits into the memory of any job, however small the DEM is.
_CELLS_OF_ANY_PATCH = 2000
# The defaults of the schema suit every DEM.
_PATCH_M = {"core_m": 1500.0, "buffer_m": 1500.0}
_AREA_KM2 = 0.1
_ANY_RADIUS_M = 1000.0
# So few shards are never too many, so that a study can be tried with some of its sites.
_ANY_SHARDS = 1000


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
        From `min_areas_km2`.

    Raises
    ------
    SeveralProblems
        One problem per key.
    """
    height_m, width_m = index.extent_m
    length_m, area_km2 = max(height_m, width_m), height_m * width_m / 1e6
    cell_m = index.lattice.cell_height_m()
    dem = f"on a DEM that is {_in_words(length_m)} m long, with cells of {_in_words(cell_m)} m"
    problems = []

    def refuse(key: str, found: str, most: str, next_step: str) -> None:
        problems.append(ConfigurationError(key, f"{found} {dem}", most, next_step))

    widest_m = max(_DEM_LENGTHS * length_m, _CELLS_OF_ANY_PATCH * cell_m)
    for key, default in _PATCH_M.items():
        most = max(default, widest_m)
        if patches[key] > most:
            refuse(
                f"patches.{key}",
                f"{_in_words(patches[key])} m",
                f"at most {_in_words(most)} m here: a larger patch covers no more of the DEM",
                f"Remove it for the default of {_in_words(default)}, or set a smaller number.",
            )
    if radius_m > max(_ANY_RADIUS_M, length_m):
        refuse(
            "snap.radius_m",
            f"{_in_words(radius_m)} m",
            f"at most {_in_words(max(_ANY_RADIUS_M, length_m))} m here",
            "Set the distance by which sites may be misplaced, such as 100.",
        )
    for key, area in min_areas_km2.items():
        most = max(_AREA_KM2, area_km2)
        if area > most:
            refuse(
                key,
                f"{_in_words(area)} km2",
                f"at most {_in_words(most)} km2 here: the box around the DEM has "
                f"{_in_words(area_km2)} km2, and no cell drains more",
                f"Set a smaller area in km2; the default is {_AREA_KM2:g}.",
            )
    if problems:
        raise SeveralProblems(problems)


def min_areas_km2(study: Mapping) -> dict[str, float]:
    """Return the areas of a completed configuration that `check_bounds` looks at, by key."""
    return {
        f"{section}.min_area_km2": study[section]["min_area_km2"] for section in ("snap", "network")
    }


def _in_words(number: float) -> str:
    """Return a number for a message: whole ones in full, but not hundreds of digits."""
    return f"{number:,.0f}" if 1e3 <= abs(number) < 1e9 else f"{number:,.5g}"


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
