"""How far the CRS of a DEM is from true to scale where the DEM lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snakeshed.raster.crs import short_crs, transformer
from snakeshed.raster.ground_scale import ground_scale, stretches_rows
from snakeshed.terrain.index import TerrainIndex

# What is worth a word: an area, or a cell's width over its height, that is off by more.
_NOTABLE = 0.02
# Places at which all tiles together are looked at, or nine for each.
_PLACES = 2000


@dataclass(frozen=True)
class Distortion:
    """What a projected CRS makes of areas and shapes, over all of a DEM.

    Attributes
    ----------
    least_area, most_area : float
        Area in the CRS over area on the ground.
    narrowest, widest : float
        Width over height on the ground of what is a square in the CRS.
    """

    least_area: float
    most_area: float
    narrowest: float
    widest: float


def distortion_of(index: TerrainIndex) -> Distortion | None:
    """Compare the CRS of the terrain with the ground, at places all over the tiles of a DEM.

    Returns
    -------
    Distortion or None
        None for a geographic CRS, whose degrees nobody takes for lengths.
    """
    lattice, source = index.lattice, index.source
    if lattice.geographic or not index.tiles:
        return None
    a_side = max(3, math.isqrt(_PLACES // len(index.tiles)))
    shares = np.linspace(0, 1, a_side)
    down, right = (each.ravel() for each in np.meshgrid(shares, shares, indexing="ij"))
    rows = np.concatenate([tile.row + tile.height * down for tile in index.tiles])
    columns = np.concatenate([tile.column + tile.width * right for tile in index.tiles])
    x, y = source.x0 + columns * source.dx, source.y0 - rows * source.dy
    if not index.is_native:
        x, y = transformer(source.crs, lattice.crs).transform(x, y)
        there = np.isfinite(x) & np.isfinite(y)
        x, y = x[there], y[there]
    if not x.size:
        return None
    width, height, area, _ = ground_scale(lattice.crs, lattice.unit_m, x, y)
    shape = width / height
    return Distortion(
        1 / float(area.max()), 1 / float(area.min()), float(shape.min()), float(shape.max())
    )


def distortion_note(index: TerrainIndex) -> str | None:
    """Say what a CRS distorts by more than 2 %, what is done about it, and what to prefer.

    Returns
    -------
    str or None
        None where the CRS is nearly true to scale.
    """
    found = distortion_of(index)
    if found is None:
        return None
    told = []
    if not _about_one(found.least_area, found.most_area):
        told.append(f"shows areas {_times(found.least_area, found.most_area)} as large as they are")
    if not _about_one(found.narrowest, found.widest):
        told.append(
            "has squares that are "
            f"{_times(found.narrowest, found.widest)} as wide as high on the ground"
        )
    if not told:
        return None
    crs = short_crs(index.lattice.crs)
    known = _about_one(found.narrowest, found.widest) or stretches_rows(index.lattice.crs)
    shapes = "" if known else "Flow directions take cells for as wide as they are in the CRS. "
    if index.is_native:
        advice = "set dem.target_crs to the UTM zone of the sites"
    else:
        advice = (
            "set dem.target_crs to the UTM zone of the sites, or to null for the DEM's own "
            f"{short_crs(index.source.crs)}"
        )
    return (
        f"{crs} {' and '.join(told)} over this DEM. Areas, lengths, slopes, and snap.radius_m are "
        "those of the ellipsoid all the same; patches.core_m, patches.buffer_m, and cells are not. "
        f"{shapes}"
        f"For cells that are true to scale, {advice}."
    )


def _about_one(least: float, most: float) -> bool:
    return least >= 1 - _NOTABLE and most <= 1 + _NOTABLE


def _times(least: float, most: float) -> str:
    low, high = f"{least:.3g}", f"{most:.3g}"
    return f"{low} times" if low == high else f"{low} to {high} times"
