"""Delineation: the outlet and the catchment of every site of a shard.

All sites of a patch share one conditioned and routed piece of the DEM. A site whose outlet or
catchment a larger patch could change moves one level up and is done again there; so a site's
result depends on the ground around it, and neither on its shard nor on the other sites.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import rasterio

from snakeshed.backends import Backend
from snakeshed.catchment import Catchment
from snakeshed.dem import TerrainIndex, overlap, tiles_under, transformer
from snakeshed.grid import Drainage, Grid
from snakeshed.kernels.accumulation import accumulate
from snakeshed.kernels.catchment_shape import flow_lengths, perimeter
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.pools import backwater, pools_at_rim
from snakeshed.lattice import Lattice, RowGeometry
from snakeshed.outlines import outline
from snakeshed.patches import Patch, PatchPyramid
from snakeshed.pysheds_import import Raster, ViewFinder
from snakeshed.snap import Candidate, Neighbourhood, Snap, SnapRule, confidence, snap
from snakeshed.terrain import CUT, EDGE, NODATA, Ground, Terrain

log = logging.getLogger(__name__)

POOL = 8
"""Flag beside `snakeshed.terrain.CUT`, EDGE and NODATA: water at the rim may reach the cell."""


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


def delineate(
    sites: Iterable[Site],
    index: TerrainIndex,
    pyramid: PatchPyramid,
    rule: DelineationRule,
    backend: Backend,
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

    Returns
    -------
    list of Catchment
        Sorted by ``site_id``.

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    run = partial(_delineate_task, index=index, pyramid=pyramid, rule=rule)
    waiting: list[Site] = []
    done: list[Catchment] = []
    for site in sites:
        if math.isfinite(site.x) and math.isfinite(site.y):
            waiting.append(site)
        else:
            reason = "the site's coordinates have no place in the CRS of the DEM"
            done.append(_failed(replace(site, x=None, y=None), None, "outside_dem", reason))
    try:
        done += _delineate_level_by_level(waiting, index, pyramid, backend, run)
    finally:
        _terrain.cache_clear()
    return sorted(done, key=lambda catchment: catchment.site_id)


def _delineate_level_by_level(
    waiting: list[Site],
    index: TerrainIndex,
    pyramid: PatchPyramid,
    backend: Backend,
    run: Callable[[tuple[Patch, tuple[Site, ...]]], PatchResult],
) -> list[Catchment]:
    """Run the patches of all sites, then those of the sites that go up, until none does."""
    done: list[Catchment] = []
    while waiting:
        patches: dict[Patch, list[Site]] = {}
        for site in sorted(waiting, key=lambda site: site.site_id):
            cell = index.lattice.cell_of(site.x, site.y)
            patches.setdefault(pyramid.patch_of(*cell, site.level), []).append(site)
        results = backend.map(run, [(patch, tuple(patches[patch])) for patch in sorted(patches)])
        waiting = []
        for result in results:
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
) -> PatchResult:
    patch, sites = task
    # Within one environment of GDAL; each call would set up its own.
    with rasterio.Env():
        return delineate_patch(patch, sites, _terrain(index, rule.max_void_cells), pyramid, rule)


@lru_cache(maxsize=1)
def _terrain(index: TerrainIndex, max_void_cells: int) -> Terrain:
    """Keep the tiles open from one patch to the next, in whatever process."""
    return Terrain(index, max_void_cells)


def delineate_patch(
    patch: Patch,
    sites: tuple[Site, ...],
    terrain: Terrain,
    pyramid: PatchPyramid,
    rule: DelineationRule,
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

    Raises
    ------
    TerrainError
        A tile cannot be read.
    """
    started = time.perf_counter()
    lattice = terrain.index.lattice
    inside: list[Site] = []
    final: list[Catchment] = []
    for site in sites:
        if near_a_tile(terrain.index, site, rule.snap.radius_m):
            inside.append(site)
        else:
            reason = f"no tile of the DEM lies within {rule.snap.radius_m:g} m of the site"
            final.append(_failed(site, patch, "outside_dem", reason))
    if not inside:
        return PatchResult(tuple(final), ())
    row, column, height, width = pyramid.window(patch)
    ground = terrain.read(row, column, height, width)
    read = time.perf_counter()
    routed = _Routed.of(ground, lattice, row, column, pyramid.backwater_m)
    last_level = patch.level + 1 >= pyramid.levels
    promoted: list[Site] = []
    chosen: list[tuple[Site, _Box, Snap]] = []
    for site in inside:
        box = routed.box_around(site, rule.snap.radius_m)
        choice = snap(box.near, site.reported_area_km2, rule.snap)
        certain = choice.final and not routed.pool_reaches(box, choice)
        if not certain and not last_level:
            promoted.append(replace(site, level=site.level + 1))
        elif choice.outlet is None:
            final.append(_without_outlet(site, patch, terrain.index, choice, rule))
        else:
            chosen.append((site, box, choice))
    outlets = [box.flat_index(choice.outlet) for _, box, choice in chosen]
    catchments = routed.drainage.catchments(np.array(outlets, np.int64))
    for (site, box, choice), cells in zip(chosen, catchments, strict=True):
        final.append(routed.describe(site, patch, box, choice, cells, rule))
    work = PatchWork(patch, height, width, len(sites), read - started, time.perf_counter() - read)
    return PatchResult(tuple(final), tuple(promoted), work)


@dataclass(frozen=True, eq=False)
class _Routed:
    """A conditioned window; arrays are padded by one cell, rows and columns count in them."""

    lattice: Lattice
    row: int
    column: int
    geometry: RowGeometry
    drainage: Drainage
    areas_m2: np.ndarray | None
    flags: np.ndarray

    @classmethod
    def of(
        cls, ground: Ground, lattice: Lattice, row: int, column: int, backwater_m: float
    ) -> _Routed:
        geometry = lattice.rows(row - 1, ground.z.shape[0] + 2)
        view = ViewFinder(
            affine=lattice.affine(row, column),
            shape=ground.z.shape,
            nodata=ground.z.dtype.type(np.nan),
        )
        drainage = Grid(view).route(
            Raster(ground.z, view),
            ground.border,
            geometry.width_m[1:-1],
            geometry.height_m[1:-1],
        )
        areas = None
        if lattice.geographic:
            weights = np.broadcast_to(geometry.area_m2[:, None], drainage.directions.shape)
            areas = accumulate(drainage.directions, np.ascontiguousarray(weights))
        flags = np.pad(ground.border, 1)
        cut = (flags & CUT).astype(np.bool_)
        if cut.any():
            raw = np.pad(ground.z, 1, constant_values=np.nan)
            pools = pools_at_rim(raw, drainage.filled, drainage.directions, cut)
            pools |= backwater(drainage.filled, drainage.directions, cut, backwater_m)
            flags[pools] |= POOL
        spread_downstream(drainage.directions, flags)
        return cls(lattice, row - 1, column - 1, geometry, drainage, areas, flags)

    def upslope_m2(self, rows: slice, columns: slice) -> np.ndarray:
        if self.areas_m2 is not None:
            return self.areas_m2[rows, columns]
        return self.drainage.counts[rows, columns] * self.geometry.area_m2[0]

    def box_around(self, site: Site, radius_m: float) -> _Box:
        lattice = self.lattice
        row, column = lattice.cell_of(site.x, site.y)
        row, column = row - self.row, column - self.column
        width, height = self.geometry.width_m[row], self.geometry.height_m[row]
        north, east = math.ceil(radius_m / height) + 1, math.ceil(radius_m / width) + 1
        shape = self.drainage.directions.shape
        top, left = max(0, row - north), max(0, column - east)
        rows = slice(top, min(shape[0], row + north + 1))
        columns = slice(left, min(shape[1], column + east + 1))
        x, y = lattice.corner(self.row + top, self.column + left)
        near = Neighbourhood(
            areas_m2=self.upslope_m2(rows, columns),
            directions=self.drainage.directions[rows, columns],
            cut=(self.flags[rows, columns] & CUT).astype(np.bool_),
            row=(y - site.y) / lattice.dy,
            column=(site.x - x) / lattice.dx,
            width_m=float(width),
            height_m=float(height),
            # The first and the last row and column of the padded window hold no cells.
            whole=top == row - north
            and left == column - east
            and rows.stop == row + north + 1
            and columns.stop == column + east + 1,
        )
        return _Box(self, near, top, left)

    def describe(
        self,
        site: Site,
        patch: Patch,
        box: _Box,
        choice: Snap,
        cells: np.ndarray,
        rule: DelineationRule,
    ) -> Catchment:
        """Measure a catchment and put all that is known of the site together."""
        outlet, rival = choice.outlet, choice.runner_up
        x, y = box.centre_of(outlet)
        lon, lat = _lon_lat(self.lattice.crs, x, y)
        rival_x, rival_y = box.centre_of(rival) if rival else (None, None)
        flags = self._flags_of(box, outlet)
        cut = bool(flags & CUT)
        pool = self.pool_reaches(box, choice)
        mask, top, left = self._mask_of(cells)
        rows = slice(top, top + mask.shape[0])
        longest, channel, basin = flow_lengths(
            cells,
            self.drainage.directions,
            self.drainage.counts,
            self.geometry.width_m,
            self.geometry.height_m,
            rule.channel_km2 * 1e6,
            self.geometry.area_m2,
        )
        reported = site.reported_area_km2
        area_km2 = outlet.area_m2 / 1e6
        return Catchment(
            site_id=site.site_id,
            status="ok",
            reason=_remark(site, cut, choice.final, pool),
            site_x=site.x,
            site_y=site.y,
            reported_area_km2=reported,
            patch=patch.id,
            patch_level=patch.level,
            outlet_x=x,
            outlet_y=y,
            outlet_lon=lon,
            outlet_lat=lat,
            area_km2=area_km2,
            area_ratio=None if reported is None else area_km2 / reported,
            cells=int(cells.size),
            snap_distance_m=outlet.distance_m,
            snap_cost=outlet.cost,
            confidence=confidence(choice, reported),
            runner_up_x=rival_x,
            runner_up_y=rival_y,
            runner_up_area_km2=rival.area_m2 / 1e6 if rival else None,
            runner_up_distance_m=rival.distance_m if rival else None,
            runner_up_cost=rival.cost if rival else None,
            touches_edge=cut or bool(flags & EDGE),
            touches_nodata=bool(flags & NODATA),
            pool_at_rim=pool,
            needs_larger_window=not choice.final or site.needs_more,
            perimeter_km=perimeter(mask, self.geometry.width_m[rows], self.geometry.height_m[rows])
            / 1000,
            longest_flow_path_km=longest / 1000,
            basin_length_km=basin / 1000,
            channel_length_km=channel / 1000,
            geometry=outline(mask, self.lattice, self.row + top, self.column + left),
        )

    def pool_reaches(self, box: _Box, choice: Snap) -> bool:
        """Whether water at the rim may reach the catchment of the outlet, or of the runner-up."""
        candidates = [each for each in (choice.outlet, choice.runner_up) if each is not None]
        return any(self._flags_of(box, candidate) & POOL for candidate in candidates)

    def _flags_of(self, box: _Box, candidate: Candidate) -> int:
        """What the catchment of a candidate touches."""
        return int(self.flags.ravel()[box.flat_index(candidate)])

    def _mask_of(self, cells: np.ndarray) -> tuple[np.ndarray, int, int]:
        """The catchment's cells in its bounding box with a ring around, and the box's corner."""
        rows, columns = np.divmod(cells, self.drainage.directions.shape[1])
        top, left = rows.min() - 1, columns.min() - 1
        mask = np.zeros((rows.max() - top + 2, columns.max() - left + 2), np.bool_)
        mask[rows - top, columns - left] = True
        return mask, int(top), int(left)


@dataclass(frozen=True, eq=False)
class _Box:
    """The neighbourhood of a site and its place in the routed window."""

    routed: _Routed
    near: Neighbourhood
    top: int
    left: int

    def flat_index(self, candidate: Candidate) -> int:
        columns = self.routed.drainage.directions.shape[1]
        return (self.top + candidate.row) * columns + self.left + candidate.column

    def centre_of(self, candidate: Candidate) -> tuple[float, float]:
        routed = self.routed
        return routed.lattice.centre(
            routed.row + self.top + candidate.row, routed.column + self.left + candidate.column
        )


def _lon_lat(crs: str, x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude, rounded to 1e-8 degrees (1 mm) so that every CPU agrees."""
    lon, lat = transformer(crs, "EPSG:4326").transform(x, y)
    return round(lon, 8), round(lat, 8)


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


def _remark(site: Site, cut: bool, final: bool, pool: bool) -> str | None:
    remarks = []
    if cut:
        remarks.append("the catchment is cut by the rim of the top patch level")
    elif not final:
        remarks.append("the rim of the top patch level cuts a candidate that could be better")
    if site.needs_more:
        remarks.append("the reported area asks for a larger window than the top patch level")
    if pool:
        remarks.append(
            "water at the rim of the top patch level may reach the catchment, or the runner-up's"
        )
    return "; ".join(remarks) or None


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
