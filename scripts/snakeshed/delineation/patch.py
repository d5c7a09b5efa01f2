"""One patch, the unit of work: the outlets and catchments of its sites."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.level_ground import PatchGround
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.routed_window import Box, Routed
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.grid.snap import Snap, snap
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex, near_a_tile, on_a_tile

if TYPE_CHECKING:
    from snakeshed.delineation.tiled_window import TerrainWindow, TiledWindow


@dataclass(frozen=True)
class PatchWork:
    """What a patch took, for the log: the cells that were routed, its sites, and seconds."""

    patch: Patch
    height: int
    width: int
    sites: int
    read_s: float
    route_s: float


@dataclass(frozen=True)
class PatchResult:
    """Catchments that are final, and sites that go one level up.

    `work` is None where no site of the patch is near the DEM.
    """

    catchments: tuple[Catchment, ...]
    promoted: tuple[Site, ...]
    work: PatchWork | None = None


@dataclass(frozen=True)
class TileSettings:
    """How patches are worked on that are too large for one worker; no result depends on it.

    Attributes
    ----------
    cells : int
        Patches of more cells are routed by tiles.
    edge : int
        Side of a tile in cells, at most.
    folder : str
        Where the tiles' files are kept as long as they are needed; all workers see it.
    """

    cells: int
    edge: int
    folder: str


def lost_patch(task: tuple[Patch, tuple[Site, ...]]) -> PatchResult:
    """What stands for a patch that no process could finish."""
    patch, sites = task
    return PatchResult(tuple(_lost_site(site, patch) for site in sites), ())


def _lost_site(site: Site, patch: Patch) -> Catchment:
    reason = (
        f"patch {patch.id} ended each process that worked on it, most likely for want of memory: "
        "delineate its shard again with more memory for each worker"
    )
    return failed(site, patch, "worker_killed", reason)


def delineate_patch(
    patch: Patch,
    sites: tuple[Site, ...],
    terrain: Terrain,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    threads: int = 1,
) -> PatchResult:
    """Delineate the sites of one patch; the unit of work of every backend.

    Parameters
    ----------
    patch : Patch
    sites : tuple of Site
        Sites in the core of the patch.
    terrain : Terrain
    pyramid : PatchPyramid
    rule : DelineationRule
    threads : int
        Of the routing; no result depends on it.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    started = time.perf_counter()
    lattice = terrain.index.lattice
    inside, final = _split_off_distant(sites, patch, terrain.index, rule)
    if not inside:
        return PatchResult(tuple(final), ())
    whole = pyramid.window(patch)
    row, column, height, width = terrain.index.part_with_tiles(*whole)
    ground = terrain.read(row, column, height, width)
    window = PatchGround(terrain, row, column, height, width, ground)
    read = time.perf_counter()
    routed = Routed.of(ground, lattice, rule.conditioning, pyramid.backwater_m, threads)
    promoted: list[Site] = []
    chosen: list[tuple[Site, Box, Snap]] = []
    for site in inside:
        box = routed.box_around(site, rule.snap.radius_m, whole)
        outcome = choose(site, patch, box, terrain.index, pyramid, rule)
        if isinstance(outcome, Site):
            promoted.append(outcome)
        elif isinstance(outcome, Catchment):
            final.append(outcome)
        else:
            chosen.append((site, box, outcome))
    catchments = routed.catchments([box.flat_index(choice.outlet) for _, box, choice in chosen])
    for (site, box, choice), cells in zip(chosen, catchments, strict=True):
        on_tile = on_a_tile(terrain.index, site.x, site.y)
        final.append(routed.describe(site, patch, box, choice, cells, rule, window, on_tile))
    work = PatchWork(patch, height, width, len(sites), read - started, time.perf_counter() - read)
    return PatchResult(tuple(final), tuple(promoted), work)


def delineate_by_tiles(
    patch: Patch,
    sites: tuple[Site, ...],
    source: TerrainWindow,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    tiles: TileSettings,
    backend: Backend,
) -> PatchResult:
    """Delineate the sites of a patch of any size, exactly as `delineate_patch` does.

    The box around a catchment has to fit in the memory of one worker.

    Parameters
    ----------
    patch, sites, pyramid, rule
        As in `delineate_patch`.
    source : TerrainWindow
        The part of the patch's window that has tiles of the DEM.
    tiles : TileSettings
    backend : Backend

    Raises
    ------
    TerrainError
        A tile of the DEM cannot be read.
    """
    from snakeshed.delineation.tiled_window import TiledWindow

    started = time.perf_counter()
    inside, final = _split_off_distant(sites, patch, source.index, rule)
    if not inside:
        return PatchResult(tuple(final), ())
    name = f"tiles of patch {patch.id}"
    run = partial(backend.map, lost=_lost_tile, what=name)
    promoted: list[Site] = []
    with _folder_of_tiles(patch, tiles.folder) as made:
        window = TiledWindow.route(
            source, tiles.edge, rule.conditioning, pyramid.backwater_m, made, run
        )
        finish = partial(
            _finish_by_tiles,
            window=window,
            patch=patch,
            index=source.index,
            pyramid=pyramid,
            rule=rule,
        )
        lost = partial(_lost_site, patch=patch)
        for outcome in backend.map(finish, inside, lost=lost, what=f"sites of patch {patch.id}"):
            (promoted if isinstance(outcome, Site) else final).append(outcome)
    seconds = time.perf_counter() - started
    work = PatchWork(patch, source.height, source.width, len(sites), 0.0, seconds)
    return PatchResult(tuple(final), tuple(promoted), work)


@contextmanager
def _folder_of_tiles(patch: Patch, folder: str) -> Iterator[str]:
    """Make a folder for the tiles of a patch, and remove it also while workers write to it."""
    made = Path(tempfile.mkdtemp(prefix=f"{TILES_PREFIX}{patch.id}-", dir=folder))
    try:
        yield str(made)
    finally:
        # After an error, tasks go on for a while. Under another name they find it no more.
        removed = made.with_name(f"{made.name}-removed")
        with suppress(FileNotFoundError):
            made.rename(removed)
        # One that had found it just before may add a file while the others are removed.
        for _ in range(_REMOVALS):
            shutil.rmtree(removed, ignore_errors=True)
            if not removed.exists():
                break


def remove_left_tiles(folder: Path) -> None:
    """Remove what a job that was killed has left of its tiles."""
    for left in folder.glob(f"{TILES_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


class TileLostError(Exception):
    """A tile ended each process that worked on it."""


def _lost_tile(task: object) -> None:
    raise TileLostError(task)


TILES_PREFIX = ".tiles-"
"""Begins the names of folders with the files of a patch's tiles."""
# Tries to remove such a folder.
_REMOVALS = 10


def _finish_by_tiles(
    site: Site,
    window: TiledWindow,
    patch: Patch,
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
) -> Site | Catchment:
    """Choose and describe the outlet of one site, or send it to a larger patch."""
    around = window.around(site, rule.snap.radius_m, pyramid.window(patch))
    box = around.box_around(site, rule.snap.radius_m)
    choice = choose(site, patch, box, index, pyramid, rule)
    if not isinstance(choice, Snap):
        return choice
    row, column = np.divmod(box.flat_index(choice.outlet), around.directions.shape[1])
    row, column = int(row) + around.row, int(column) + around.column
    piece = window.catchment_at(row, column)
    outlet = (row - piece.row) * piece.directions.shape[1] + column - piece.column
    (cells,) = piece.catchments([outlet])
    ground, on_tile = window.store.source.patch_ground, on_a_tile(index, site.x, site.y)
    # Within one environment of GDAL; each read would set up its own.
    with rasterio.Env():
        return piece.describe(site, patch, box, choice, cells, rule, ground, on_tile)


def choose(
    site: Site,
    patch: Patch,
    box: Box,
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
) -> Snap | Site | Catchment:
    """Choose the outlet of a site in a patch.

    Returns
    -------
    Snap, Site or Catchment
        With an outlet; the site one level up, where a larger patch could change the outlet or its
        catchment; or what there is to say of a site without an outlet.
    """
    choice = snap(box.near, site.reported_area_km2, rule.snap)
    certain = choice.final and not box.pool_reaches(choice)
    if not certain and patch.level + 1 < pyramid.levels:
        return replace(site, level=site.level + 1)
    if choice.outlet is None:
        return _without_outlet(site, patch, index, choice, rule)
    return choice


def _split_off_distant(
    sites: Iterable[Site], patch: Patch, index: TerrainIndex, rule: DelineationRule
) -> tuple[list[Site], list[Catchment]]:
    """Tell sites near the DEM from the others, which are done with."""
    inside: list[Site] = []
    distant: list[Catchment] = []
    for site in sites:
        if near_a_tile(index, site.x, site.y, rule.snap.radius_m):
            inside.append(site)
        else:
            reason = f"no tile of the DEM lies within {rule.snap.radius_m:g} m of the site"
            distant.append(failed(site, patch, "outside_dem", reason))
    return inside, distant


def _without_outlet(
    site: Site, patch: Patch, index: TerrainIndex, choice: Snap, rule: DelineationRule
) -> Catchment:
    radius = f"{rule.snap.radius_m:g} m"
    if choice.cells:
        reason = (
            f"no cell within {radius} drains snap.min_area_km2 = {rule.snap.min_area_km2:g} km2"
        )
        if not choice.final:
            reason += "; the rim of the top patch level cuts one that might"
        return failed(site, patch, "no_stream", reason)
    if not on_a_tile(index, site.x, site.y):
        return failed(site, patch, "outside_dem", f"the DEM has no cell within {radius}")
    return failed(site, patch, "on_nodata", f"the DEM has no data within {radius}")


def failed(site: Site, patch: Patch | None, status: str, reason: str) -> Catchment:
    """Describe a site without a catchment."""
    return Catchment(
        site_id=site.site_id,
        status=status,
        reason=reason,
        site_x=site.x,
        site_y=site.y,
        reported_area_km2=site.reported_area_km2,
        patch=patch.id if patch else None,
        patch_level=patch.level if patch else None,
    )
