"""Delineation: the outlet and the catchment of every site of a shard.

All sites of a patch share one conditioned and routed piece of the DEM. A site whose outlet or
catchment a larger patch could change moves one level up and is done again there; so a site's
result depends on the ground around it, and neither on its shard nor on the other sites.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import rasterio

from snakeshed.backends import Backend
from snakeshed.catchment import Catchment
from snakeshed.dem import TerrainIndex, overlap, tiles_under, transformer
from snakeshed.patches import Patch, PatchPyramid
from snakeshed.routed import Box, Routed
from snakeshed.site import DelineationRule, Site
from snakeshed.snap import Snap, snap
from snakeshed.terrain import Terrain, terrain_of
from snakeshed.tiled_window import TerrainWindow, TiledWindow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatchWork:
    """What a patch took, for the log: its window in cells, its sites, and seconds."""

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
class Tiles:
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


def delineate(
    sites: Iterable[Site],
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    backend: Backend,
    tiles: Tiles | None = None,
) -> list[Catchment]:
    """Delineate the sites of a shard, each exactly once.

    Parameters
    ----------
    sites : iterable of Site
    index : TerrainIndex
        Of the tiles under the sites' patches at every level.
    pyramid : PatchPyramid
    rule : DelineationRule
    backend : Backend
    tiles : Tiles, optional
        Without it, each patch is worked on as a whole.

    Returns
    -------
    list of Catchment
        Sorted by ``site_id``.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    shard = _Shard(index, pyramid, rule, backend, tiles, uuid.uuid4().hex)
    waiting: list[Site] = []
    done: list[Catchment] = []
    for site in sites:
        if math.isfinite(site.x) and math.isfinite(site.y):
            waiting.append(site)
        else:
            reason = "the site's coordinates have no place in the CRS of the DEM"
            done.append(_failed(replace(site, x=None, y=None), None, "outside_dem", reason))
    try:
        done += _delineate_level_by_level(waiting, shard)
    finally:
        terrain_of.cache_clear()
    return sorted(done, key=lambda catchment: catchment.site_id)


@dataclass(frozen=True)
class _Shard:
    """What the patches of a shard have in common; `name` is of this run of it alone."""

    index: TerrainIndex
    pyramid: PatchPyramid
    rule: DelineationRule
    backend: Backend
    tiles: Tiles | None
    name: str

    def is_large(self, patch: Patch) -> bool:
        """Whether a patch is routed by tiles."""
        if self.tiles is None:
            return False
        _, _, height, width = self.pyramid.window(patch)
        return height * width > self.tiles.cells

    def run(self, patches: dict[Patch, list[Site]]) -> Iterator[PatchResult]:
        """Delineate sites by their patches: the small ones all at once, then each large one."""
        # Large ones first, or the others would wait for the last of them.
        tasks = [(patch, tuple(patches[patch])) for patch in sorted(patches, reverse=True)]
        small = [task for task in tasks if not self.is_large(task[0])]
        run = partial(
            _delineate_task,
            index=self.index,
            pyramid=self.pyramid,
            rule=self.rule,
            threads=self.backend.threads_for(len(small)),
            shard_run=self.name,
        )
        yield from self.backend.map(run, small, lost=_lost_patch, what="patches")
        for patch, sites in tasks:
            if self.is_large(patch):
                yield self._run_by_tiles(patch, sites)

    def _run_by_tiles(self, patch: Patch, sites: tuple[Site, ...]) -> PatchResult:
        source = TerrainWindow(
            self.index, self.rule.max_void_cells, *self.pyramid.window(patch), self.name
        )
        try:
            return delineate_by_tiles(
                patch, sites, source, self.pyramid, self.rule, self.tiles, self.backend
            )
        except _TileLostError:
            return _lost_patch((patch, sites))


def _delineate_level_by_level(waiting: list[Site], shard: _Shard) -> list[Catchment]:
    """Run the patches of all sites, then those of the sites that go up, until none does."""
    done: list[Catchment] = []
    while waiting:
        patches: dict[Patch, list[Site]] = {}
        for site in sorted(waiting, key=lambda site: site.site_id):
            cell = shard.index.lattice.cell_of(site.x, site.y)
            patches.setdefault(shard.pyramid.patch_of(*cell, site.level), []).append(site)
        waiting = []
        for result in shard.run(patches):
            done.extend(result.catchments)
            waiting.extend(result.promoted)
            _log_work(result)
        log.info(
            "%d patches done, %d sites final, %d go to a larger patch",
            len(patches),
            len(done),
            len(waiting),
        )
    return done


def _log_work(result: PatchResult) -> None:
    """Log a patch here, not where it was worked on: that may be another process."""
    work = result.work
    if work is not None:
        log.info(
            "patch %s: %d x %d cells read in %.2f s, %d sites in %.2f s, %d of them go up",
            work.patch.id,
            work.height,
            work.width,
            work.read_s,
            work.sites,
            work.route_s,
            len(result.promoted),
        )


def _delineate_task(
    task: tuple[Patch, tuple[Site, ...]],
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    shard_run: str,
    threads: int,
) -> PatchResult:
    patch, sites = task
    # Within one environment of GDAL; each call would set up its own.
    with rasterio.Env():
        terrain = terrain_of(index, rule.max_void_cells, shard_run)
        return delineate_patch(patch, sites, terrain, pyramid, rule, threads)


def _lost_patch(task: tuple[Patch, tuple[Site, ...]]) -> PatchResult:
    """What stands for a patch that no process could finish."""
    patch, sites = task
    return PatchResult(tuple(_lost_site(site, patch) for site in sites), ())


def _lost_site(site: Site, patch: Patch) -> Catchment:
    reason = (
        f"patch {patch.id} ended each process that worked on it, most likely for want of memory: "
        "delineate its shard again with more memory for each worker"
    )
    return _failed(site, patch, "worker_killed", reason)


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
    row, column, height, width = pyramid.window(patch)
    ground = terrain.read(row, column, height, width)
    read = time.perf_counter()
    routed = Routed.of(ground, lattice, pyramid.backwater_m, threads)
    promoted: list[Site] = []
    chosen: list[tuple[Site, Box, Snap]] = []
    for site in inside:
        box = routed.box_around(site, rule.snap.radius_m)
        outcome = choose(site, patch, box, terrain.index, pyramid, rule)
        if isinstance(outcome, Site):
            promoted.append(outcome)
        elif isinstance(outcome, Catchment):
            final.append(outcome)
        else:
            chosen.append((site, box, outcome))
    catchments = routed.catchments([box.flat_index(choice.outlet) for _, box, choice in chosen])
    for (site, box, choice), cells in zip(chosen, catchments, strict=True):
        final.append(routed.describe(site, patch, box, choice, cells, rule))
    work = PatchWork(patch, height, width, len(sites), read - started, time.perf_counter() - read)
    return PatchResult(tuple(final), tuple(promoted), work)


def delineate_by_tiles(
    patch: Patch,
    sites: tuple[Site, ...],
    source: TerrainWindow,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    tiles: Tiles,
    backend: Backend,
) -> PatchResult:
    """Delineate the sites of a patch of any size, exactly as `delineate_patch` does.

    The box around a catchment has to fit in the memory of one worker.

    Parameters
    ----------
    patch, sites, pyramid, rule
        As in `delineate_patch`.
    source : TerrainWindow
        The window of the patch.
    tiles : Tiles
    backend : Backend

    Raises
    ------
    TerrainError
        A tile of the DEM cannot be read.
    """
    started = time.perf_counter()
    inside, final = _split_off_distant(sites, patch, source.index, rule)
    if not inside:
        return PatchResult(tuple(final), ())
    name = f"tiles of patch {patch.id}"
    run = partial(backend.map, lost=_lost_tile, what=name)
    promoted: list[Site] = []
    with tempfile.TemporaryDirectory(prefix=f"{TILES_PREFIX}{patch.id}-", dir=tiles.folder) as made:
        window = TiledWindow.route(source, tiles.edge, pyramid.backwater_m, made, run)
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


def remove_left_tiles(folder: Path) -> None:
    """Remove what a job that was killed has left of its tiles."""
    for left in folder.glob(f"{TILES_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


class _TileLostError(Exception):
    """A tile ended each process that worked on it."""


def _lost_tile(task: object) -> None:
    raise _TileLostError(task)


TILES_PREFIX = ".tiles-"
"""Begins the names of folders with the files of a patch's tiles."""


def _finish_by_tiles(
    site: Site,
    window: TiledWindow,
    patch: Patch,
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
) -> Site | Catchment:
    """Choose and describe the outlet of one site, or send it to a larger patch."""
    around = window.around(site, rule.snap.radius_m)
    box = around.box_around(site, rule.snap.radius_m)
    choice = choose(site, patch, box, index, pyramid, rule)
    if not isinstance(choice, Snap):
        return choice
    row, column = np.divmod(box.flat_index(choice.outlet), around.directions.shape[1])
    row, column = int(row) + around.row, int(column) + around.column
    piece = window.catchment_at(row, column)
    outlet = (row - piece.row) * piece.directions.shape[1] + column - piece.column
    (cells,) = piece.catchments([outlet])
    return piece.describe(site, patch, box, choice, cells, rule)


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
        if near_a_tile(index, site, rule.snap.radius_m):
            inside.append(site)
        else:
            reason = f"no tile of the DEM lies within {rule.snap.radius_m:g} m of the site"
            distant.append(_failed(site, patch, "outside_dem", reason))
    return inside, distant


def near_a_tile(index: TerrainIndex, site: Site, radius_m: float) -> bool:
    """Tell whether any tile of a DEM may have cells within a radius of a site.

    Parameters
    ----------
    index : TerrainIndex
    site : Site
        With finite coordinates, in the CRS of the terrain.
    radius_m : float
        Metres.

    Returns
    -------
    bool
        False only if no tile reaches the box of cells around the circle.
    """
    lattice = index.lattice
    row, column = lattice.cell_of(site.x, site.y)
    sizes = lattice.rows(row, 1)
    north = math.ceil(radius_m / sizes.height_m[0])
    east = math.ceil(radius_m / sizes.width_m[0])
    # tiles_under adds a ring of cells to the window.
    return bool(tiles_under(index, row - north + 1, column - east + 1, 2 * north - 1, 2 * east - 1))


def _on_a_tile(index: TerrainIndex, site: Site) -> bool:
    """Whether the site lies on a cell of a tile, with data or without."""
    x, y = site.x, site.y
    if not index.is_native:
        x, y = transformer(index.lattice.crs, index.source.crs).transform(x, y)
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    cell = index.source.cell_of(x, y)
    return any(overlap(tile, *cell, 1, 1) for tile in index.tiles)


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
        return _failed(site, patch, "no_stream", reason)
    if not _on_a_tile(index, site):
        return _failed(site, patch, "outside_dem", f"the DEM has no cell within {radius}")
    return _failed(site, patch, "on_nodata", f"the DEM has no data within {radius}")


def _failed(site: Site, patch: Patch | None, status: str, reason: str) -> Catchment:
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
