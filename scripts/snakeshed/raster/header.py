"""A raster as a file: what it is made of, whether all of it is there, and what its header says."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakeshed.errors import SnakeshedError, TerrainError
from snakeshed.raster.crs import CrsFacts, crs_facts, short_crs
from snakeshed.raster.tiff import bytes_needed
from snakeshed.raster.vrt_sources import files_behind

if TYPE_CHECKING:
    from rasterio import DatasetReader

# GDAL would keep blocks in up to 5 % of the machine's memory, whatever a job was given. It looks
# here when it reads the first one. In MB; the patches of a shard share few blocks.
os.environ.setdefault("GDAL_CACHEMAX", "64")

# Nobody has cells of less than this many metres or feet; a "projected" raster that has, within the
# range of longitudes and latitudes, is one in degrees.
_SMALLEST_PROJECTED_CELL = 0.02

# More columns than the globe has at 1.2 m; headers that say more are damaged, and the coordinates
# of the columns alone would fill the memory.
_LARGEST_SIDE = 1 << 25

# GDAL decodes a whole block to read one cell of it.
_LARGEST_BLOCK_BYTES = 1 << 30

# Absolute rows and columns are exact up to here, with digits to spare for the phase of the cells.
_MOST_CELLS_FROM_ORIGIN = 1 << 40


def gdal_faults() -> tuple[type[Exception], ...]:
    """Return the errors that opening or reading a damaged file may raise.

    Not all of what GDAL reports arrives as an error of rasterio: texts that are no UTF-8, numbers
    too large for their type and CRSs that cannot be understood are ones of Python.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    return (RasterioError, CPLE_BaseError, OSError, ValueError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Header:
    """What a raster's file says of itself.

    Attributes
    ----------
    path : str
    crs : str or None
        WKT.
    transform : tuple of float
        Six coefficients in the order of `affine.Affine`.
    bands, height, width : int
    alpha : bool
        One of several bands says where the others have data.
    block : tuple of int
        Rows and columns that are decoded together.
    dtype : str
        Of the stored numbers.
    nodata : float or None
        Stored number that marks cells without data.
    scale, offset : float
        ``stored * scale + offset`` is the value in the file's unit.
    unit : str
        Of the band; empty where it has none.
    """

    path: str
    crs: str | None
    transform: tuple[float, ...]
    bands: int
    height: int
    width: int
    alpha: bool
    block: tuple[int, int]
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    unit: str

    def facts(self) -> CrsFacts:
        """Return what the CRS says about lengths; see `snakeshed.raster.crs.crs_facts`."""
        return crs_facts(self.crs)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """West, south, east and north, where the grid is not rotated."""
        dx, _, x, _, dy, y = self.transform
        xs, ys = (x, x + self.width * dx), (y, y + self.height * dy)
        return min(xs), min(ys), max(xs), max(ys)

    def told_extent(self) -> str:
        """The extent in words."""
        west, south, east, north = self.extent
        return f"x from {west:.10g} to {east:.10g}, y from {south:.10g} to {north:.10g}"


def read_header(
    path: str, *, where: str | None = None, error: type[SnakeshedError] = TerrainError
) -> Header:
    """Read the header of a raster, after its file was found to be complete.

    Parameters
    ----------
    path : str
    where : str, optional
        How errors name the raster. Default: by its path.
    error : type
        Of the errors raised.

    Raises
    ------
    SnakeshedError
        Of the type `error`: the file is truncated, or names another that is truncated or
        missing; it cannot be opened, or holds several datasets.
    """
    import rasterio

    where = where or path
    try:
        for file in files_behind(path):
            _require_complete(file, where, path, error)
    except TerrainError as problem:
        raise error(where, problem.found, problem.expected, problem.next_step) from None
    try:
        with rasterio.open(path) as raster:
            if raster.subdatasets:
                raise error(
                    where,
                    "several datasets in one file",
                    "one raster with one band",
                    "Extract one of them with gdal_translate.",
                )
            return _header(path, raster)
    except gdal_faults() as fault:
        raise error(
            where,
            f"a file that cannot be opened ({fault})",
            "a raster that GDAL reads",
            "Check that it exists and is complete; fetch it again if not.",
        ) from fault


def _header(path: str, raster: DatasetReader) -> Header:
    from rasterio.enums import ColorInterp

    bands = raster.count
    unit = raster.units[0] if bands else ""
    return Header(
        path=path,
        crs=raster.crs.to_wkt() if raster.crs else None,
        transform=tuple(raster.transform)[:6],
        bands=bands,
        height=raster.height,
        width=raster.width,
        alpha=ColorInterp.alpha in raster.colorinterp,
        block=raster.block_shapes[0] if bands else (0, 0),
        dtype=raster.dtypes[0] if bands else "none",
        nodata=None if raster.nodata is None else float(raster.nodata),
        scale=float(raster.scales[0]) if bands else 1.0,
        offset=float(raster.offsets[0]) if bands else 0.0,
        unit=unit.strip() if isinstance(unit, str) else "",
    )


def problems_of_header(header: Header) -> Iterator[tuple[str, str, str]]:
    """Tell what makes a raster useless, whatever it is used for, but for what its CRS is.

    Yields
    ------
    tuple of str
        What was found, what was expected, and the next step.
    """
    if header.bands != 1:
        if header.alpha:
            yield (
                f"{header.bands} bands, one of them an alpha band",
                "one band, with a nodata value where there are no data",
                "Let gdalwarp -dstnodata <value> make one of the other.",
            )
        else:
            yield (
                f"{header.bands} bands",
                "one band",
                "Extract the right one with gdal_translate -b <band>.",
            )
    whole = header.dtype.startswith(("int", "uint"))
    if not (whole or header.dtype.startswith("float")):
        yield (
            f"numbers of type {header.dtype}",
            "integers or floats",
            "Convert it with gdal_translate -ot Float32.",
        )
    # GDAL compares with the value's integer part, and would take real cells for missing ones.
    if whole and header.nodata is not None and not header.nodata.is_integer():
        yield (
            f"the nodata value {header.nodata:g} among numbers of type {header.dtype}",
            "a whole number",
            "Declare the right one with gdal_edit.py -a_nodata, or none with -unsetnodata.",
        )
    if not all(math.isfinite(value) for value in (header.scale, header.offset)):
        yield (
            f"a scale of {header.scale} and an offset of {header.offset}",
            "finite numbers",
            "Correct them with gdal_edit.py -scale and -offset.",
        )
    if max(header.height, header.width) > _LARGEST_SIDE:
        yield (
            f"{header.height:,} rows and {header.width:,} columns",
            f"at most {_LARGEST_SIDE:,} of each",
            "If that is not a damaged header, split it into tiles with gdal_retile.py.",
        )
    elif header.block[0] * header.block[1] * 8 > _LARGEST_BLOCK_BYTES:
        yield (
            f"blocks of {header.block[0]:,} x {header.block[1]:,} cells",
            "blocks that fit in memory",
            "Write it again with gdal_translate -co TILED=YES.",
        )
    if not all(math.isfinite(value) for value in header.transform):
        yield (
            f"the transform {header.transform}",
            "finite numbers",
            "Mend it with gdal_edit.py -a_ullr.",
        )
        return
    dx, skew_x, _, skew_y, dy, _ = header.transform
    farthest = max(map(abs, header.extent))
    size = min(abs(dx), abs(dy))
    if not (skew_x or skew_y) and not 0 < farthest < size * _MOST_CELLS_FROM_ORIGIN:
        yield (
            f"cells of {dx:g} by {dy:g} in {header.told_extent()}",
            "cells that can be counted from the origin of the CRS",
            "Mend the transform with gdal_edit.py -a_ullr.",
        )


def contradiction(header: Header, facts: CrsFacts) -> tuple[str, str, str] | None:
    """Tell where the coordinates cannot be ones of the CRS: found, expected and next step."""
    west, south, east, north = header.extent
    dx, dy = abs(header.transform[0]), abs(header.transform[4])
    crs = short_crs(facts.crs)
    # Grids whose cells are centred on the antimeridian or a pole reach half a cell further.
    like_degrees = max(abs(west), abs(east)) <= 360 + dx and max(abs(south), abs(north)) <= 90 + dy
    if facts.geographic and not like_degrees:
        return (
            f"{header.told_extent()} in the geographic CRS {crs}",
            "longitudes and latitudes in degrees",
            "The CRS in the file is wrong: set the right one with gdal_edit.py -a_srs.",
        )
    if not facts.geographic and like_degrees and dx < _SMALLEST_PROJECTED_CELL:
        return (
            f"{header.told_extent()}, in cells of {dx:.10g}, in the projected CRS {crs}",
            "coordinates in the unit of the CRS, not in degrees",
            "The CRS in the file is wrong: set the geographic one with gdal_edit.py -a_srs.",
        )
    return None


def _require_complete(file: str, where: str, raster: str, error: type[SnakeshedError]) -> None:
    """Raise an error where a local file is missing or shorter than it says that it is."""
    told = "" if file == raster else f"{file}, which it names, "
    try:
        needed = bytes_needed(file)
        size = os.path.getsize(file)
    except FileNotFoundError:
        if file == raster:
            return  # GDAL tells it, or knows the name as that of something else
        raise error(
            where,
            f"the name of {file}, which does not exist",
            "files that exist",
            "Build the VRT again, or bring the file to its place.",
        ) from None
    except OSError as fault:
        raise error(
            where,
            f"{told}a file that cannot be read ({fault})",
            "a raster",
            "Check its permissions.",
        ) from fault
    if needed is not None and needed > size:
        raise error(
            where,
            f"{told}{size:,} bytes of at least {needed:,}",
            "a complete file",
            "It was truncated or partly downloaded: fetch it again.",
        )


def open_raster(path: str) -> DatasetReader:
    """Open a raster.

    Raises
    ------
    TerrainError
        The file cannot be opened.
    """
    import rasterio

    try:
        return rasterio.open(path)
    except gdal_faults() as error:
        raise TerrainError(
            path,
            f"a file that cannot be opened ({error})",
            "a raster that GDAL reads",
            "Check that it exists and is complete; fetch it again if not.",
        ) from error
