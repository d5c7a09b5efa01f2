"""Delineation: the outlet and the catchment of every site of a shard.

All sites of a patch share one conditioned and routed piece of the DEM. A site whose outlet or
catchment a larger patch could change moves one level up and is done again there; so a site's
result depends on the ground around it, and neither on its shard nor on the other sites.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import rasterio

from snakeshed.backends.local import Backend
from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.memory_request import whole_patch_bytes
from snakeshed.delineation.patch import (
    PatchResult,
    TileLostError,
    TileSettings,
    delineate_by_tiles,
    delineate_patch,
    failed,
    lost_patch,
)
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.errors import ConfigurationError
from snakeshed.terrain.elevations import terrain_of
from snakeshed.terrain.index import TerrainIndex

if TYPE_CHECKING:
    from snakeshed.delineation.tiled_window import TerrainWindow

log = logging.getLogger(__name__)


def delineate(
    sites: Iterable[Site],
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    backend: Backend,
    tiles: TileSettings | None = None,
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
    tiles : TileSettings, optional
        Without it, each patch is worked on as a whole.

    Returns
    -------
    list of Catchment
        Sorted by ``site_id``.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    ConfigurationError
        `rule.max_void_cells` is too large for a patch that is routed by tiles.
    """
    shard = _Shard(index, pyramid, rule, backend, tiles, uuid.uuid4().hex)
    waiting: list[Site] = []
    done: list[Catchment] = []
    for site in sites:
        if math.isfinite(site.x) and math.isfinite(site.y):
            waiting.append(site)
        else:
            reason = "the site's coordinates have no place in the CRS of the DEM"
            done.append(failed(replace(site, x=None, y=None), None, "outside_dem", reason))
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
    tiles: TileSettings | None
    name: str

    def is_large(self, patch: Patch) -> bool:
        """Whether a patch is routed by tiles."""
        if self.tiles is None:
            return False
        _, _, height, width = self.index.part_with_tiles(*self.pyramid.window(patch))
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
        yield from self.backend.map(run, small, lost=lost_patch, what="patches")
        for patch, sites in tasks:
            if self.is_large(patch):
                yield self._run_by_tiles(patch, sites)

    def _run_by_tiles(self, patch: Patch, sites: tuple[Site, ...]) -> PatchResult:
        # Few shards have such a patch, and its kernels take long to load.
        from snakeshed.delineation.tiled_window import TerrainWindow

        part = self.index.part_with_tiles(*self.pyramid.window(patch))
        source = TerrainWindow(self.index, self.rule.max_void_cells, *part, self.name)
        self._check_voids(patch, source)
        try:
            return delineate_by_tiles(
                patch, sites, source, self.pyramid, self.rule, self.tiles, self.backend
            )
        except TileLostError:
            return lost_patch((patch, sites))

    def _check_voids(self, patch: Patch, source: TerrainWindow) -> None:
        """Refuse voids for whose sake a tile would be read with more ground than fits."""
        from snakeshed.delineation.tiled_window import MOST_VOID_CELLS_BY_TILES

        if self.rule.max_void_cells <= MOST_VOID_CELLS_BY_TILES:
            return
        around = self.tiles.edge + 2 * source.margin
        if min(source.height, around) * min(source.width, around) <= self.tiles.cells:
            return
        needed_mb = math.ceil(whole_patch_bytes(source.height * source.width) / 1e6)
        raise ConfigurationError(
            "dem.max_void_cells",
            f"{self.rule.max_void_cells:,}, and patch {patch.id} of {source.height:,} x "
            f"{source.width:,} cells, which a worker has no memory for",
            f"at most {MOST_VOID_CELLS_BY_TILES:,} where a patch is routed by tiles",
            f"Set a smaller number, or give each worker {needed_mb:,} MB of memory.",
        )


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
