"""A routed window: what a site finds around it, and what there is to know of a catchment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from snakeshed.delineation.catchment import Catchment
from snakeshed.delineation.level_ground import PatchGround, level_ground
from snakeshed.delineation.outlines import outline
from snakeshed.delineation.pyramid import Patch
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.grid.padding import padded_elevations
from snakeshed.grid.routing import Routing, drained
from snakeshed.grid.snap import Candidate, Neighbourhood, Snap, confidence
from snakeshed.kernels.accumulation import count_and_measure
from snakeshed.kernels.catchment_shape import flow_lengths, perimeter
from snakeshed.kernels.catchments import preorder
from snakeshed.kernels.cell_sizes import CellSizes
from snakeshed.kernels.d8 import COLUMN_STEP, NODATA, ROW_STEP
from snakeshed.kernels.downstream import spread_downstream
from snakeshed.kernels.filling import fill
from snakeshed.kernels.snapping import follow_to_box
from snakeshed.kernels.water_at_rim import backwater, pools_at_rim
from snakeshed.raster.crs import transformer
from snakeshed.raster.lattice import CellSize, Lattice, RowGeometry
from snakeshed.terrain.border import BESIDE_NODATA, CUT, EDGE
from snakeshed.terrain.elevations import Ground

POOL = 8
"""Flag beside those of `snakeshed.terrain.border`: water at the rim may reach the cell."""


def route_ground(
    ground: Ground, lattice: Lattice, conditioning: str, threads: int
) -> tuple[RowGeometry, CellSizes, Routing, np.ndarray]:
    """Route a window of terrain.

    Parameters
    ----------
    ground : Ground
        The window, (h, w) cells.
    lattice : Lattice
    conditioning : {"fill", "carve"}
    threads : int
        No result depends on them.

    Returns
    -------
    geometry : RowGeometry
        Of the h + 2 rows of the padded window, by which water finds its way.
    sizes : CellSizes
        Of its cells on the ground.
    drainage : Routing
    areas_mm2 : ndarray of int64, shape (h + 2, w + 2)
        What drains through each cell, on the ground.
    """
    geometry = lattice.routing_rows(ground.row - 1, ground.z.shape[0] + 2)
    if ground.z.dtype == np.float32:
        z = ground.padded_z.copy()
    else:
        z = padded_elevations(ground.z, np.isnan(ground.z))
    filled, directions = drained(
        z,
        ground.padded_border,
        geometry.width_m,
        geometry.height_m,
        threads,
        conditioning,
    )
    sizes = lattice.cells(ground.row - 1, ground.column - 1, *directions.shape)
    counts, areas_mm2 = count_and_measure(directions, sizes, threads)
    return geometry, sizes, Routing(filled, directions, counts), areas_mm2


def box_of(row: int, column: int, cell: CellSize, radius_m: float) -> tuple[int, int, int, int]:
    """Return the box of cells around a radius: first row and column, and those after the last.

    Parameters
    ----------
    row, column : int
        The cell in the middle.
    cell : CellSize
        Its size on the ground.
    radius_m : float
    """
    # A circle on the ground reaches farther along axes that are not at right angles.
    reach_m = radius_m / math.sqrt(1 - cell.skew * cell.skew)
    north, east = math.ceil(reach_m / cell.height_m) + 1, math.ceil(reach_m / cell.width_m) + 1
    return row - north, column - east, row + north + 1, column + east + 1


@dataclass(frozen=True, eq=False)
class Routed:
    """A piece of a conditioned window, or all of it.

    Attributes
    ----------
    lattice : Lattice
    row, column : int
        Absolute cell of the first one of the arrays, which are padded by one cell.
    sizes : CellSizes
        Of the cells of the arrays, on the ground.
    directions : ndarray of uint8, shape (h + 2, w + 2)
    counts : ndarray of int32 or int64, shape (h + 2, w + 2)
    areas_mm2 : ndarray of int64, shape (h + 2, w + 2)
        What drains through each cell, in the window, on the ground.
    flags : ndarray of uint8, shape (h + 2, w + 2)
        Of all that drains through each cell: the bits of
        `snakeshed.terrain.elevations.Ground.border`, and `POOL`.
    around : callable or None
        Reads a piece around an absolute cell, where the arrays are a piece of a window.
    """

    lattice: Lattice
    row: int
    column: int
    sizes: CellSizes
    directions: np.ndarray
    counts: np.ndarray
    areas_mm2: np.ndarray
    flags: np.ndarray
    around: Callable[[int, int], Routed] | None = None

    @classmethod
    def of(
        cls, ground: Ground, lattice: Lattice, conditioning: str, backwater_m: float, threads: int
    ) -> Routed:
        """Route a window of terrain as one array."""
        geometry, sizes, drainage, areas = route_ground(ground, lattice, conditioning, threads)
        flags = ground.padded_border.copy()
        cut = np.flatnonzero((flags & CUT).view(np.bool_))
        if cut.size:
            raw = ground.padded_z
            filled, directions = drainage.filled, drainage.directions
            if conditioning == "carve":
                # Water at the rim stands as high as it would in a filled depression.
                filled, directions = fill(raw, flags, geometry.width_m, geometry.height_m, threads)
            pools = pools_at_rim(raw, filled, directions, cut)
            pools |= backwater(filled, directions, cut, backwater_m)
            flags |= pools.view(np.uint8) * np.uint8(POOL)
            del raw, filled, directions, pools
        spread_downstream(drainage.directions, flags)
        return cls(
            lattice,
            ground.row - 1,
            ground.column - 1,
            sizes,
            drainage.directions,
            drainage.counts,
            areas,
            flags,
        )

    def catchments(self, outlets: list[int]) -> list[np.ndarray]:
        """Return the cells of the catchments of outlets, by flat indices, the outlet first."""
        cells, starts = preorder(self.directions, self.counts, np.array(outlets, np.int64))
        sizes = self.counts.ravel()[outlets]
        return [cells[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def box_around(
        self, site: Site, radius_m: float, window: tuple[int, int, int, int] | None = None
    ) -> Box:
        """Return the cells within a radius of a site, as far as a window has them.

        Parameters
        ----------
        site : Site
        radius_m : float
        window : tuple of int, optional
            Row, column, height, and width, in absolute cells. No cell of it that the arrays lack
            has data. By default it is the arrays'.
        """
        lattice = self.lattice
        row, column = lattice.cell_of(site.x, site.y)
        cell = lattice.cell_at(row, column)
        row, column = row - self.row, column - self.column
        # With the ring around the window, as the arrays have it.
        known_row, known_column, known_end_row, known_end_column = 0, 0, *self.directions.shape
        if window is not None:
            known_row, known_column = window[0] - 1 - self.row, window[1] - 1 - self.column
            known_end_row = known_row + window[2] + 2
            known_end_column = known_column + window[3] + 2
        first_row, first_column, end_row, end_column = box_of(row, column, cell, radius_m)
        top, left = max(known_row, first_row), max(known_column, first_column)
        bottom, right = min(known_end_row, end_row), min(known_end_column, end_column)
        here = top, left, bottom, right
        x, y = lattice.corner(self.row + top, self.column + left)
        near = Neighbourhood(
            # Contiguous, so that kernels are compiled and loaded for one layout.
            areas_m2=np.ascontiguousarray(piece_of(self.areas_mm2, 0, *here)) / 1e6,
            directions=np.ascontiguousarray(piece_of(self.directions, NODATA, *here)),
            cut=(piece_of(self.flags, 0, *here) & CUT).astype(np.bool_),
            row=(y - site.y) / lattice.dy,
            column=(site.x - x) / lattice.dx,
            width_m=cell.width_m,
            height_m=cell.height_m,
            skew=cell.skew,
            # The first and the last row and column of the padded window hold no cells.
            whole=here == (first_row, first_column, end_row, end_column),
            beyond=partial(self._come_back, here),
        )
        return Box(self, near, top, left)

    def _come_back(
        self, box: tuple[int, int, int, int], row: int, column: int, most_m2: float
    ) -> tuple[int, int] | None:
        """As `Neighbourhood.beyond`; `box` by its first row and column and those after the last."""
        piece, down, right = self, 0, 0
        row, column = row + box[0], column + box[1]
        while True:
            shifted = box[0] - down, box[1] - right, box[2] - down, box[3] - right
            state, row, column = follow_to_box(
                piece.directions, row, column, *shifted, ROW_STEP, COLUMN_STEP
            )
            if state == 1:
                return row - shifted[0], column - shifted[1]
            if state == 0 or self.around is None:
                return None
            row, column = row + piece.row, column + piece.column
            piece = self.around(row, column)
            row, column = row - piece.row, column - piece.column
            if piece.areas_mm2[row, column] / 1e6 > most_m2:
                return None
            down, right = piece.row - self.row, piece.column - self.column

    def describe(
        self,
        site: Site,
        patch: Patch,
        box: Box,
        choice: Snap,
        cells: np.ndarray,
        rule: DelineationRule,
        ground: PatchGround,
        on_tile: bool,
    ) -> Catchment:
        """Measure a catchment and put all that is known of the site together.

        `on_tile` tells whether the site itself lies on a tile of the DEM.
        """
        outlet, rival = choice.outlet, choice.runner_up
        x, y = box.centre_of(outlet)
        lon, lat = lon_lat(self.lattice.crs, x, y)
        rival_x, rival_y = box.centre_of(rival) if rival else (None, None)
        flags = box.flags_of(outlet)
        cut = bool(flags & CUT)
        pool = box.pool_reaches(choice)
        mask, top, left = self._mask_of(cells)
        around = self.lattice.cells(self.row + top, self.column + left, *mask.shape)
        longest, channel, basin = flow_lengths(
            cells,
            self.directions,
            self.counts,
            self.sizes,
            rule.channel_km2 * 1e6,
        )
        reported = site.reported_area_km2
        area_km2 = outlet.area_m2 / 1e6
        mismatch = _mismatch(area_km2, reported, rule.snap.max_area_mismatch)
        aside = None if choice.on_data else _aside(on_tile, outlet.distance_m)
        remark = _remark(site, cut, choice.final, pool)
        level = level_ground(
            ground,
            mask[1:-1, 1:-1],
            self.row + top + 1,
            self.column + left + 1,
            box.cell_of(outlet),
            box.near.width_m,
            box.near.height_m,
        )
        doubts = level.remarks(rule.max_pit_m)
        return Catchment(
            site_id=site.site_id,
            status="area_mismatch" if mismatch else "ok",
            reason="; ".join(filter(None, (mismatch, aside, remark, *doubts))) or None,
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
            area_low_km2=choice.area_low_m2 / 1e6,
            area_high_km2=choice.area_high_m2 / 1e6,
            area_ratio=None if reported is None else area_km2 / reported,
            cells=int(cells.size),
            snap_distance_m=outlet.distance_m,
            snap_cost=outlet.cost,
            stability=choice.stability,
            confidence="low" if doubts and reported is not None else confidence(choice, reported),
            runner_up_x=rival_x,
            runner_up_y=rival_y,
            runner_up_area_km2=rival.area_m2 / 1e6 if rival else None,
            runner_up_distance_m=rival.distance_m if rival else None,
            runner_up_cost=rival.cost if rival else None,
            touches_edge=cut or bool(flags & EDGE),
            touches_nodata=bool(flags & BESIDE_NODATA),
            pool_at_rim=pool,
            needs_larger_window=not choice.final or site.needs_more,
            pit_depth_m=level.pit_depth_m,
            deep_pit=level.pit_depth_m > rule.max_pit_m,
            open_water=level.open_water,
            perimeter_km=perimeter(mask, around) / 1000,
            longest_flow_path_km=longest / 1000,
            basin_length_km=basin / 1000,
            channel_length_km=channel / 1000,
            geometry=outline(mask, self.lattice, self.row + top, self.column + left),
        )

    def _mask_of(self, cells: np.ndarray) -> tuple[np.ndarray, int, int]:
        """The catchment's cells in its bounding box with a ring around, and the box's corner."""
        rows, columns = np.divmod(cells, self.directions.shape[1])
        top, left = rows.min() - 1, columns.min() - 1
        mask = np.zeros((rows.max() - top + 2, columns.max() - left + 2), np.bool_)
        mask[rows - top, columns - left] = True
        return mask, int(top), int(left)


@dataclass(frozen=True, eq=False)
class Box:
    """The neighbourhood of a site and its place in the routed window, or partly beside it."""

    routed: Routed
    near: Neighbourhood
    top: int
    left: int

    def flat_index(self, candidate: Candidate) -> int:
        """Return a candidate's flat index in the arrays."""
        columns = self.routed.directions.shape[1]
        return (self.top + candidate.row) * columns + self.left + candidate.column

    def flags_of(self, candidate: Candidate) -> int:
        """What the catchment of a candidate touches."""
        return int(self.routed.flags.ravel()[self.flat_index(candidate)])

    def pool_reaches(self, choice: Snap) -> bool:
        """Whether water at the rim may reach the catchment of the outlet, or of the runner-up.

        Or of a plausible candidate.
        """
        candidates = [each for each in (choice.outlet, choice.runner_up) if each is not None]
        if any(self.flags_of(candidate) & POOL for candidate in candidates):
            return True
        if choice.plausible is None:
            return False
        height, width = choice.plausible.shape
        bottom, right = self.top + height, self.left + width
        flags = piece_of(self.routed.flags, 0, self.top, self.left, bottom, right)
        return bool((flags[choice.plausible] & POOL).any())

    def centre_of(self, candidate: Candidate) -> tuple[float, float]:
        """Return where a candidate's cell has its centre, in the CRS."""
        return self.routed.lattice.centre(*self.cell_of(candidate))

    def cell_of(self, candidate: Candidate) -> tuple[int, int]:
        """Return the absolute row and column of a candidate's cell."""
        return (
            self.routed.row + self.top + candidate.row,
            self.routed.column + self.left + candidate.column,
        )


def piece_of(
    values: np.ndarray, beyond: float, top: int, left: int, bottom: int, right: int
) -> np.ndarray:
    """Return rows and columns of an array, which may lie beyond it, where `beyond` stands."""
    rows = slice(max(0, top), max(0, bottom))
    columns = slice(max(0, left), max(0, right))
    known = values[rows, columns]
    if known.shape == (bottom - top, right - left):
        return known
    piece = np.full((bottom - top, right - left), beyond, values.dtype)
    row, column = max(0, top) - top, max(0, left) - left
    if known.size:
        piece[row : row + known.shape[0], column : column + known.shape[1]] = known
    return piece


def lon_lat(crs: str, x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude, rounded to 1e-8 degrees (1 mm) so that every CPU agrees."""
    lon, lat = transformer(crs, "EPSG:4326").transform(x, y)
    # Where the terrain goes on beyond the antimeridian, longitudes do.
    lon -= 360.0 * math.ceil((lon - 180.0) / 360.0)
    return round(lon, 8), round(lat, 8)


def _mismatch(area_km2: float, reported_km2: float | None, most: float | None) -> str | None:
    """Why a catchment is not to be used, if it is not."""
    if reported_km2 is None or most is None:
        return None
    ratio = area_km2 / reported_km2
    # A ratio of decimal numbers may miss the limit by a rounding error.
    if max(ratio, 1 / ratio) <= most * (1 + 1e-9):
        return None
    return (
        f"the catchment has {area_km2:.4g} km2, {ratio:.3g} times the reported "
        f"{reported_km2:.4g} km2: more apart than snap.max_area_mismatch = {most:g}"
    )


def _aside(on_tile: bool, distance_m: float) -> str:
    """Remark on a site that does not lie on data itself."""
    where = "on nodata of the DEM" if on_tile else "outside the DEM"
    return (
        f"the site lies {where}: its outlet is the cell with data within snap.radius_m that fits "
        f"best, {distance_m:.0f} m away"
    )


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
            "water at the rim of the top patch level may reach the catchment, or that of another "
            "plausible outlet"
        )
    return "; ".join(remarks) or None
