"""The window of one site: cut out of a tile of the DEM, and reprojected to UTM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from snakeshed.delineation.roten2022.published import EARTH_RADIUS_M, MARGIN, WINDOW_KM
from snakeshed.delineation.site import Site
from snakeshed.raster.lattice import Lattice
from snakeshed.terrain.index import DemTile, TerrainIndex, overlap

if TYPE_CHECKING:
    from rasterio import DatasetReader

_METERS_PER_DEGREE = 2 * math.pi * EARTH_RADIUS_M / 360


class NoWindowError(Exception):
    """There are too few cells around a site, or no UTM zone; the message says which."""


@dataclass(frozen=True, eq=False)
class Window:
    """Elevations around a site.

    Attributes
    ----------
    z : ndarray of float32, shape (h, w)
        As the file states them: in its vertical unit, without its scale and offset, on which no
        direction of flow depends.
    transform : Affine
        Of the cells, in meters.
    crs : str
        A UTM zone, as WKT.
    nodata : float
        What stands for no data; 0 where the file does not say.
    """

    z: np.ndarray
    transform: Affine
    crs: str
    nodata: float

    @property
    def cell_m2(self) -> float:
        """Area of a cell in the plane of the projection, m2."""
        return abs(self.transform.a * self.transform.e)

    @property
    def is_known(self) -> np.ndarray:
        """Which cells have data, bool, (h, w)."""
        return ~(np.isnan(self.z) | (self.z == self.nodata))


def radius_m(reported_area_km2: float) -> float:
    """Return the distance from a site to each side of its window, in meters."""
    return WINDOW_KM * 1000 * math.sqrt(reported_area_km2)


def tile_under(site: Site, index: TerrainIndex) -> DemTile | None:
    """Return the tile that a site lies on; of several, the first one; None without one."""
    if not (math.isfinite(site.x) and math.isfinite(site.y)):
        return None
    cell = index.source.cell_of(site.x, site.y)
    return next((tile for tile in index.tiles if overlap(tile, *cell, 1, 1)), None)


def window_cells(sites: Iterable[Site], index: TerrainIndex) -> list[int]:
    """Estimate how many cells are read for each site that has a window; the DEM is not read."""
    counts = []
    for site in sites:
        tile = tile_under(site, index)
        if tile is not None and site.reported_area_km2 is not None:
            side = 2 * _in_units(MARGIN * radius_m(site.reported_area_km2), index.source)
            rows, columns = (
                math.ceil(side / size) + 1 for size in (index.source.dy, index.source.dx)
            )
            counts.append(min(rows, tile.height) * min(columns, tile.width))
    return counts


def cut_out(
    raster: DatasetReader,
    x: float,
    y: float,
    reported_area_km2: float,
    lattice: Lattice,
    also_nodata: Sequence[float] = (),
) -> Window:
    """Cut the window of a site out of a tile, and reproject it to the UTM zone of its middle.

    Parameters
    ----------
    raster : DatasetReader
        The tile.
    x, y : float
        The site, in the CRS of the tile.
    reported_area_km2 : float
    lattice : Lattice
        Of the DEM.
    also_nodata : sequence of float
        Stored numbers that mean no data, beside the one that the file declares.

    Raises
    ------
    NoWindowError
        The window has less than two rows or columns, or lies in no UTM zone.
    """
    import rioxarray
    from rasterio.enums import Resampling
    from rioxarray.exceptions import RioXarrayError

    from snakeshed.raster.crs import transformer

    radius = radius_m(reported_area_km2)
    around = _in_units(MARGIN * radius, lattice)
    try:
        part = rioxarray.open_rasterio(raster).isel(band=0, drop=True)
        part = part.rio.clip_box(x - around, y - around, x + around, y + around).load()
        if also_nodata:
            nodata = part.rio.nodata
            nodata = np.nan if nodata is None else nodata
            part = part.astype(np.float64).where(~part.isin(also_nodata), nodata)
            part = part.rio.write_nodata(nodata)
        utm = part.rio.estimate_utm_crs()
        there = part.rio.reproject(utm, resampling=Resampling.nearest)
        to_x, to_y = transformer(lattice.crs, utm.to_wkt()).transform(x, y)
        there = there.rio.clip_box(to_x - radius, to_y - radius, to_x + radius, to_y + radius)
    # The second one where no UTM zone is found, as at a pole.
    except (RioXarrayError, RuntimeError) as error:
        raise NoWindowError(str(error)) from error
    nodata = there.rio.nodata
    return Window(
        z=there.values.astype(np.float32),
        transform=there.rio.transform(recalc=True),
        crs=utm.to_wkt(),
        nodata=0.0 if nodata is None else float(np.float32(nodata)),
    )


def _in_units(meters: float, lattice: Lattice) -> float:
    """Return a length in the unit of the DEM's CRS."""
    return meters / (_METERS_PER_DEGREE if lattice.geographic else lattice.unit_m)
