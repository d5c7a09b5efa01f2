"""A raster as a file: what it is made of, whether all of it is there, and what its header says."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from xml.etree import ElementTree

import numpy as np

from snakeshed.errors import SnakeshedError, TerrainError
from snakeshed.lattice import CrsFacts, crs_facts

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

# TIFF 6.0 and BigTIFF: bytes of a value of each type, and the tags that place blocks in the file.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
_BLOCK_OFFSETS, _BLOCK_SIZES = (273, 324), (279, 325)
_MOST_DIRECTORIES = 10_000


def is_remote(path: str) -> bool:
    """Whether a path is an address that GDAL reads, and no file of this machine."""
    return "://" in path or path.startswith("/vsi")


def files_behind(path: str) -> list[str]:
    """List what a raster is read from: itself and, for a VRT, the local files that it names.

    Parameters
    ----------
    path : str
        A raster of any format; VRTs are followed, also VRTs of VRTs.

    Returns
    -------
    list of str
        Sorted, each once. Sources at a web address are not files and are left out.

    Raises
    ------
    TerrainError
        A VRT does not exist or is not XML.
    """
    behind: set[str] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in behind or is_remote(file):
            continue
        behind.add(file)
        if file.lower().endswith(".vrt"):
            waiting.extend(_vrt_sources(file))
    return sorted(behind)


def relative_vrt(path: str, places: Mapping[str, str]) -> bytes | None:
    """Write a VRT again for another folder, with relative names of the files that it names.

    Parameters
    ----------
    path : str
        A VRT.
    places : mapping of str to str
        New paths, by what `files_behind` calls them, of this file and those that it names.

    Returns
    -------
    bytes or None
        None where all names are relative already.
    """
    root = _vrt(path)
    changed = False
    for element, source in _vrt_named(root, path):
        if not is_remote(source) and element.get("relativeToVRT") != "1":
            element.text = os.path.relpath(places[source], os.path.dirname(places[path]))
            element.set("relativeToVRT", "1")
            changed = True
    return ElementTree.tostring(root) if changed else None


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
        """Return what the CRS says about lengths; see `snakeshed.lattice.crs_facts`."""
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


def short_crs(crs: str) -> str:
    """Return a CRS's code, or of a WKT its name."""
    return crs.split('"')[1] if '"' in crs else crs


def bytes_needed(path: str) -> int | None:
    """Return how long a TIFF file must be at least for its directories and blocks to lie in it.

    All directories are followed, those of masks and overviews too: a mask that is lost would turn
    missing cells into data. Blocks that were never written (of sparse files) need nothing. The
    time grows with the number of blocks, not with their size.

    Parameters
    ----------
    path : str
        A file of this machine.

    Returns
    -------
    int or None
        A number of bytes; None if the file is no TIFF.

    References
    ----------
    Adobe (1992), TIFF Revision 6.0, section 2; and the BigTIFF design of 2004.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return None
        magic = struct.unpack_from(order + "H", head, 2)[0]
        if magic not in (42, 43):
            return None
        big = magic == 43
        if big and len(head) < 16:
            return 16
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
        needed, seen = len(head), set()
        while at and at not in seen and len(seen) < _MOST_DIRECTORIES:
            seen.add(at)
            end, at = _directory(file, at, order, big, size)
            needed = max(needed, end)
        return needed


def _directory(file: BinaryIO, at: int, order: str, big: bool, size: int) -> tuple[int, int]:
    """Return the end of what a directory points to, and the place of the next one (0: none)."""
    count_format, entry_format, next_format = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    count_bytes, word = struct.calcsize("<" + count_format), 8 if big else 4
    if at + count_bytes > size:
        return at + count_bytes, 0
    file.seek(at)
    (entries,) = struct.unpack(order + count_format, file.read(count_bytes))
    entry_bytes = struct.calcsize("<" + entry_format) + word
    end = at + count_bytes + entries * entry_bytes + word
    if end > size:
        return end, 0
    table = file.read(entries * entry_bytes)
    (following,) = struct.unpack(order + next_format, file.read(word))
    offsets = sizes = None
    for k in range(entries):
        tag, kind, n = struct.unpack_from(order + entry_format, table, k * entry_bytes)
        value = table[(k + 1) * entry_bytes - word : (k + 1) * entry_bytes]
        n_bytes = n * _TYPE_BYTES.get(kind, 0)
        if n_bytes > word:
            (place,) = struct.unpack(order + next_format, value)
            end = max(end, place + n_bytes)
            if place + n_bytes > size:
                continue
        if tag in _BLOCK_OFFSETS + _BLOCK_SIZES and kind in (3, 4, 16):
            if n_bytes > word:
                file.seek(place)
                value = file.read(n_bytes)
            numbers = np.frombuffer(value[:n_bytes], f"{order}u{_TYPE_BYTES[kind]}")
            if tag in _BLOCK_OFFSETS:
                offsets = numbers
            else:
                sizes = numbers
    if offsets is not None and sizes is not None:
        end = max(end, _end_of_blocks(offsets, sizes, size))
    return end, following


def _end_of_blocks(offsets: np.ndarray, sizes: np.ndarray, size: int) -> int:
    """Return where the last of the blocks ends."""
    n = min(len(offsets), len(sizes))
    offsets, sizes = offsets[:n].astype(np.uint64), sizes[:n].astype(np.uint64)
    written = (offsets > 0) & (sizes > 0)
    if not written.any():
        return 0
    offsets, sizes = offsets[written], sizes[written]
    farthest, largest = int(offsets.max()), int(sizes.max())
    if farthest > size or largest > size:
        return max(farthest, largest)  # the sums below might overflow
    return int((offsets + sizes).max())


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


def _vrt_sources(path: str) -> list[str]:
    return [source for _, source in _vrt_named(_vrt(path), path)]


def _vrt(path: str) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise TerrainError(
            path,
            f"a file that is no VRT ({error})",
            "the XML that gdalbuildvrt writes",
            "Build it again with gdalbuildvrt.",
        ) from error


def _vrt_named(root: ElementTree.Element, path: str) -> Iterator[tuple[ElementTree.Element, str]]:
    """Yield what names a file or an address in a VRT, and that."""
    for element in root.iter():
        if element.tag in ("SourceFilename", "SourceDataset") and element.text:
            name = element.text.strip()
            if element.get("relativeToVRT") == "1" and not is_remote(name):
                name = os.path.join(os.path.dirname(path), name)
            yield element, name if is_remote(name) else os.path.normpath(name)
