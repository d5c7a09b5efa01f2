"""Layers that are rasters: what their headers say, and whether they can be summarized at all.

They are looked at before any shard starts. A cell that is no class code, or a block that is
damaged, is found when a catchment meets it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from snakeshed.errors import LayerError, SeveralProblems
from snakeshed.features.layer import place_of
from snakeshed.features.layer_look import Extent, around, look_at_cells, window_under
from snakeshed.features.missing import Missing
from snakeshed.raster.crs import short_crs, transformer
from snakeshed.raster.header import Header, contradiction, problems_of_header, read_header
from snakeshed.raster.vrt_sources import is_remote
from snakeshed.terrain.index import DemTile, TerrainIndex


@dataclass(frozen=True)
class RasterFile:
    """What the header of a layer's raster says.

    Attributes
    ----------
    name, path : str
    crs : str
        Authority code or WKT.
    extent : tuple of float
        West, south, east and north, in units of `crs`.
    height, width : int
        In cells.
    dtype : str
        Of the stored numbers.
    nodata : str or None
        Stored number that marks cells without data, in digits (JSON has no NaN).
    warnings : tuple of str
        What looks wrong but may be right.
    """

    name: str
    path: str
    crs: str
    extent: Extent
    height: int
    width: int
    dtype: str
    nodata: str | None
    warnings: tuple[str, ...] = ()

    def described(self) -> str:
        """Return it in a few words."""
        return f"{self.height} x {self.width} cells, CRS {self.crs}"


class RasterLayer(Protocol):
    """A layer that is read from a raster."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def path(self) -> str:
        """Its raster."""
        ...

    @property
    def scale(self) -> float:
        """Factor on every cell, beside that of the file."""
        ...

    @property
    def missing(self) -> Missing:
        """Which cells count as missing."""
        ...


def look_at_raster(
    declared: Mapping,
    terrain: TerrainIndex,
    *,
    codes: bool,
    judge: Callable[[np.ndarray], None] | None = None,
) -> RasterFile:
    """Read the header of a layer's raster, and look at some of its cells.

    Parameters
    ----------
    declared : mapping
        Its name and path, and its scale, nodata, and valid_range, if it has any.
    terrain : TerrainIndex
        The whole DEM, which the raster has to overlap.
    codes : bool
        Its cells are codes of classes.
    judge : callable, optional
        Raises a LayerError if the values that were looked at cannot be those of the layer.

    Raises
    ------
    LayerError, SeveralProblems
        It cannot be summarized.
    """
    where = place_of(declared["name"], declared["path"])
    header = read_header(declared["path"], where=where, error=LayerError)
    if problems := list(problems_of_layer(header, where)):
        raise SeveralProblems(problems) if len(problems) > 1 else problems[0]
    tiles = tiles_in(header.facts().crs, where, terrain)
    for problem in _misplaced(header, where, tiles):
        raise problem
    warnings = _warnings(declared, header, where, tiles, codes=codes, judge=judge)
    return _file(declared["name"], header, warnings)


def header_of(layer: RasterLayer) -> Header:
    """Read the header of a layer that was indexed before; it may have changed since.

    Raises
    ------
    LayerError
        The layer cannot be read or summarized.
    """
    where = place_of(layer.name, layer.path)
    if not is_remote(layer.path) and not Path(layer.path).is_file():
        raise LayerError(where, "no such file", "a raster", "Correct the layer's path.")
    header = read_header(layer.path, where=where, error=LayerError)
    for problem in problems_of_layer(header, where):
        raise problem
    return header


def scale_of(layer: RasterLayer, header: Header) -> tuple[float, float]:
    """Return by what stored numbers are multiplied, and what is added, to get a layer's values."""
    return _scaled(header, layer.scale)


def _scaled(header: Header, scale: float) -> tuple[float, float]:
    return header.scale * scale, header.offset * scale


def problems_of_layer(header: Header, where: str) -> Iterator[LayerError]:
    """Tell what makes a raster useless as a layer, wherever it lies.

    Parameters
    ----------
    header : Header
    where : str
        From `place_of`.
    """
    for problem in problems_of_header(header):
        yield LayerError(where, *problem)
    if header.transform[1] or header.transform[3]:
        yield LayerError(
            where,
            "rotated cells",
            "rows and columns along the axes of its CRS",
            "Rectify it with gdalwarp.",
        )
    if header.crs is None:
        yield LayerError(
            where, "no CRS", "a georeferenced raster", "Assign one, e.g. gdal_edit.py -a_srs."
        )
        return
    try:
        facts = header.facts()
    except ValueError as error:
        yield LayerError(
            where,
            f"a CRS that cannot be used ({error})",
            "a projected CRS, or a geographic one in degrees",
            "Assign the right one, e.g. gdal_edit.py -a_srs, or reproject it with gdalwarp.",
        )
        return
    if all(map(math.isfinite, header.transform)) and (problem := contradiction(header, facts)):
        yield LayerError(where, *problem)


def way_to_layer(crs: str, layer_crs: str, where: str) -> Any:
    """Return the pyproj transformer to a layer's CRS, x before y in both.

    Raises
    ------
    LayerError
        There is none, for example because the layer shows another planet.
    """
    from pyproj.exceptions import ProjError

    try:
        return transformer(crs, layer_crs)
    except ProjError as error:
        raise LayerError(
            where,
            f"a CRS without a way to it from that of the catchments ({error})",
            "a geographic or projected CRS of the Earth",
            "Assign the right one, e.g. gdal_edit.py -a_srs.",
        ) from error


def _misplaced(header: Header, where: str, tiles: Sequence[Extent | None]) -> Iterator[LayerError]:
    """Yield an error if a layer lies beside all tiles of the DEM."""
    # An extent that the layer's CRS cannot express may lie anywhere.
    turns = (0, -360, 360) if header.facts().geographic else (0,)
    for tile in tiles:
        if tile is None:
            return
        west, south, east, north = tile
        for turn in turns:
            if _overlap((west + turn, south, east + turn, north), header.extent):
                return
    west, south, east, north = around(tiles)
    yield LayerError(
        where,
        f"{header.told_extent()}, beside all of the DEM",
        f"some of x from {west:.10g} to {east:.10g}, y from {south:.10g} to {north:.10g}, where "
        f"the DEM is in the layer's CRS {short_crs(header.facts().crs)}",
        "Name the raster of the right place, or correct its CRS with gdal_edit.py -a_srs.",
    )


def tiles_in(crs: str, where: str, terrain: TerrainIndex) -> list[Extent | None]:
    """Return where the tiles of the DEM lie in a layer's CRS; None where that has no extent.

    Raises
    ------
    LayerError
        There is no way to this CRS.
    """
    way = way_to_layer(terrain.source.crs, crs, where)
    return [_moved(_extent_of(terrain, tile), way) for tile in terrain.tiles]


def _warnings(
    layer: Mapping,
    header: Header,
    where: str,
    tiles: Sequence[Extent | None],
    *,
    codes: bool,
    judge: Callable[[np.ndarray], None] | None,
) -> list[str]:
    """Look at a layer's scale and cells; raise a LayerError if it cannot be summarized."""
    warnings = []
    scale = layer.get("scale", 1.0)
    if scale != 1 and header.scale != 1:
        warnings.append(
            f"{where}: the file has a scale of {header.scale:.10g} and the configuration one of "
            f"{scale:.10g}; cells are multiplied by both. Remove the layer's scale if the file's "
            "is enough."
        )
    factor, shift = _scaled(header, scale)
    window = window_under(header, tiles)
    missing = Missing.of(layer)
    return warnings + look_at_cells(
        header, window, missing, factor, shift, where, codes=codes, judge=judge
    )


def _extent_of(terrain: TerrainIndex, tile: DemTile) -> Extent:
    west, north = terrain.source.corner(tile.row, tile.column)
    east, south = terrain.source.corner(tile.row + tile.height, tile.column + tile.width)
    return west, south, east, north


def _moved(extent: Extent, way: Any) -> Extent | None:
    """Return the extent in another CRS; None where it has none there, or holds the antimeridian."""
    west, south, east, north = moved = way.transform_bounds(*extent, densify_pts=21)
    return moved if all(map(math.isfinite, moved)) and west <= east and south <= north else None


def _overlap(one: Extent, other: Extent) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _file(name: str, header: Header, warnings: Sequence[str]) -> RasterFile:
    return RasterFile(
        name=name,
        path=header.path,
        crs=header.facts().crs,
        extent=header.extent,
        height=header.height,
        width=header.width,
        dtype=header.dtype,
        nodata=None if header.nodata is None else repr(header.nodata),
        warnings=tuple(warnings),
    )
