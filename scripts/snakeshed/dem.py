"""The DEM as files: which there are, what their headers say, and where each lies on the lattice."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import numpy as np

from snakeshed.errors import ConfigurationError, SeveralProblems, SnakeshedError, TerrainError
from snakeshed.lattice import (
    FOOT_M,
    US_SURVEY_FOOT_M,
    CrsFacts,
    Lattice,
    crs_facts,
)

RASTER_SUFFIXES = (".tif", ".tiff", ".vrt", ".img")
RESAMPLINGS = ("bilinear", "nearest")

# The spellings of `dem.vertical_unit` and of a band's unit, and the unit's length in metres.
# GDAL writes "ft" for the international foot.
VERTICAL_UNITS = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), FOOT_M),
    **dict.fromkeys(
        ("us-ft", "ftus", "sfu", "us survey foot", "us survey feet", "us_survey_foot"),
        US_SURVEY_FOOT_M,
    ),
    **dict.fromkeys(("dm", "decimetre", "decimeter"), 0.1),
    **dict.fromkeys(("cm", "centimetre", "centimeter"), 0.01),
    **dict.fromkeys(("mm", "millimetre", "millimeter"), 0.001),
}

# A tile may lie this far (in cells) off the lattice: rounding in its header, not a shift.
_ALIGNMENT_TOLERANCE = 1e-3

# Nobody has terrain in cells of less than this many metres or feet; a "projected" DEM that has,
# within the range of longitudes and latitudes, is one in degrees.
_SMALLEST_PROJECTED_CELL = 0.02

# Kinds of numbers that float32 holds exactly.
_EXACT_IN_FLOAT32 = ("int8", "uint8", "int16", "uint16", "float32")


def dem_files(path: str | Iterable[str]) -> list[str]:
    """List the files of a DEM: of a raster, a folder, a glob pattern, or several of these.

    A folder stands for the rasters directly in it (``.tif``, ``.tiff``, ``.vrt``, ``.img``);
    an address (``https://...``, ``/vsi...``) for itself.

    Returns
    -------
    list of str
        Sorted, each once.

    Raises
    ------
    TerrainError
        Nothing is found.
    """
    patterns = [path] if isinstance(path, str) else list(path)
    if not patterns:
        raise TerrainError(
            "dem.path", "an empty list", "at least one raster", "Name the files of the DEM."
        )
    found: set[str] = set()
    problems: list[SnakeshedError] = []
    for pattern in patterns:
        files = _expand(str(pattern))
        if not files:
            problems.append(
                TerrainError(
                    f"dem.path: {pattern}",
                    "no raster",
                    f"a file, a folder with {', '.join(RASTER_SUFFIXES)}, or a glob pattern",
                    "Check the path; it is relative to the working directory of the workflow.",
                )
            )
        found.update(files)
    _raise_all(problems)
    return sorted(found)


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


@dataclass(frozen=True)
class Tile:
    """One raster of a DEM and its place on the lattice.

    Attributes
    ----------
    path : str
    row, col : int
        Absolute cell of its north-western corner.
    height, width : int
        In cells.
    dtype : str
        Of the stored numbers.
    nodata : float or None
        Stored number that marks cells without data.
    scale, offset : float
        ``stored * scale + offset`` is the elevation in the file's vertical unit.
    vertical_unit_m : float
        Length of that unit in metres.
    """

    path: str
    row: int
    col: int
    height: int
    width: int
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    vertical_unit_m: float

    @property
    def exact_dtype(self) -> np.dtype:
        """Float type that holds the tile's elevations in metres without loss."""
        as_stored = (self.scale, self.offset, self.vertical_unit_m) == (1.0, 0.0, 1.0)
        return np.dtype(np.float32 if as_stored and self.dtype in _EXACT_IN_FLOAT32 else np.float64)


@dataclass(frozen=True)
class TerrainIndex:
    """Where the tiles of a DEM lie, and on which lattice the terrain is read.

    Attributes
    ----------
    lattice : Lattice
        The lattice of the terrain: the DEM's own, or that of `dem.target_crs`.
    source : Lattice
        The lattice on which `tiles` are counted: the DEM's own.
    tiles : tuple of Tile
        Sorted by path.
    resampling : str
        ``bilinear`` or ``nearest``; without effect where `lattice` is `source`.
    assumptions : tuple of str
        What the files do not say and was assumed; for the log.
    """

    lattice: Lattice
    source: Lattice
    tiles: tuple[Tile, ...]
    resampling: str = "bilinear"
    assumptions: tuple[str, ...] = ()

    @property
    def is_native(self) -> bool:
        """The terrain is read on the DEM's own lattice."""
        return self.lattice == self.source

    def subset(self, paths: Iterable[str]) -> TerrainIndex:
        """Keep only the tiles of these paths."""
        keep = set(paths)
        return replace(self, tiles=tuple(tile for tile in self.tiles if tile.path in keep))

    def to_json(self) -> str:
        """Return a JSON object from which :meth:`from_json` makes an equal index."""
        fields = asdict(self)
        for tile in fields["tiles"]:
            # JSON has no NaN, which is a common nodata value.
            tile["nodata"] = None if tile["nodata"] is None else repr(tile["nodata"])
        return json.dumps(fields, indent=1)

    @classmethod
    def from_json(cls, text: str) -> TerrainIndex:
        """Make the index that :meth:`to_json` wrote."""
        fields = json.loads(text)
        for tile in fields["tiles"]:
            tile["nodata"] = None if tile["nodata"] is None else float(tile["nodata"])
        return cls(
            lattice=Lattice(**fields["lattice"]),
            source=Lattice(**fields["source"]),
            tiles=tuple(Tile(**tile) for tile in fields["tiles"]),
            resampling=fields["resampling"],
            assumptions=tuple(fields["assumptions"]),
        )


def index_terrain(
    files: Iterable[str],
    vertical_unit: str | None = None,
    *,
    target_crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "bilinear",
) -> TerrainIndex:
    """Read the headers of a DEM's files and place them on one lattice.

    Parameters
    ----------
    files : iterable of str
        From :func:`dem_files`.
    vertical_unit : str, optional
        Unit of the elevations, a key of `VERTICAL_UNITS`. Default: that of the CRS's vertical
        axis, else that of the band, else metres, which is then told in `assumptions`.
    target_crs : str, optional
        Resample the terrain to this CRS. Default: keep the DEM's own grid.
    resolution : float, optional
        Cell size in units of `target_crs`; its lattice has a node at the origin of that CRS.
    resampling : str
        ``bilinear`` or ``nearest``.

    Raises
    ------
    ConfigurationError
        `vertical_unit`, `target_crs`, `resolution` or `resampling` cannot be used.
    TerrainError, SeveralProblems
        Files that cannot be read as DEMs or do not lie on one lattice; all of them at once.
    """
    unit_m = None if vertical_unit is None else _configured_unit(vertical_unit)
    target = _target_lattice(target_crs, resolution, resampling)
    files = sorted(set(files))
    if not files:
        raise TerrainError("dem.path", "no file", "at least one raster", "Name the DEM's files.")

    problems: list[SnakeshedError] = []
    headers: list[_Header] = []
    for path in files:
        try:
            header = _read_header(path)
        except TerrainError as problem:
            problems.append(problem)
            continue
        own = _problems_of(header, unit_m)
        problems.extend(own)
        if not own:
            headers.append(header)
    # The first file is as good a reference as any: the lattice is the same for each of them.
    lattice = headers[0].lattice() if headers else None
    for header in headers[1:]:
        problems.extend(_misfits(header, lattice, headers[0].path))
    _raise_all(problems)

    assumed = [header.path for header in headers if _unit_of(header, unit_m) is None]
    return TerrainIndex(
        lattice=target or lattice,
        source=lattice,
        tiles=tuple(_tile(header, lattice, unit_m) for header in headers),
        resampling=resampling,
        assumptions=_assumptions(assumed, len(headers)),
    )


def tiles_under(index: TerrainIndex, row: int, col: int, height: int, width: int) -> list[str]:
    """List the tiles that reading a window may touch, the ring of cells around it included.

    Parameters
    ----------
    index : TerrainIndex
    row, col, height, width : int
        A window of ``index.lattice``, in absolute cells.

    Returns
    -------
    list of str
        Sorted paths: exactly those touched on the DEM's own lattice; with resampling perhaps
        some more, never fewer.
    """
    window = (row - 1, col - 1, height + 2, width + 2)
    if not index.is_native:
        window = _source_window(index, *window)
        if window is None:
            return [tile.path for tile in index.tiles]
    return [tile.path for tile in index.tiles if overlap(tile, *window) is not None]


def overlap(
    tile: Tile, row: int, col: int, height: int, width: int
) -> tuple[int, int, int, int] | None:
    """Return (first row, end row, first column, end column) that a tile and a window share."""
    first_row, end_row = max(row, tile.row), min(row + height, tile.row + tile.height)
    first_col, end_col = max(col, tile.col), min(col + width, tile.col + tile.width)
    if first_row >= end_row or first_col >= end_col:
        return None
    return first_row, end_row, first_col, end_col


def open_raster(path: str) -> Any:
    """Open a raster lazily through rioxarray; cells without data will be read as NaN.

    Returns
    -------
    xarray.DataArray
        As :func:`rioxarray.open_rasterio` makes it, nothing cached.

    Raises
    ------
    TerrainError
        The file cannot be opened as one raster.
    """
    import rioxarray
    from rasterio.errors import RasterioError

    try:
        raster = rioxarray.open_rasterio(
            path, masked=True, cache=False, parse_coordinates=False, decode_times=False
        )
    except (RasterioError, OSError) as error:
        raise TerrainError(
            path,
            f"a file that cannot be opened ({error})",
            "a raster that GDAL reads",
            "Check that it exists and is complete; fetch it again if not.",
        ) from error
    if not hasattr(raster, "dims") or getattr(raster, "ndim", 0) != 3:
        raise TerrainError(
            path,
            "several datasets in one file",
            "one raster with one band",
            "Extract the elevations with gdal_translate.",
        )
    return raster


@dataclass(frozen=True)
class _Header:
    """What one file says of itself."""

    path: str
    crs: str | None
    transform: tuple[float, ...]
    shape: tuple[int, int, int]
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    unit: str

    def facts(self) -> CrsFacts:
        return crs_facts(self.crs)

    def lattice(self) -> Lattice:
        dx, _, x, _, dy, y = self.transform
        return Lattice.through(self.facts(), x, y, dx, -dy)


def _read_header(path: str) -> _Header:
    raster = open_raster(path)
    try:
        crs = raster.rio.crs
        unit = raster.attrs.get("units", "")
        return _Header(
            path=path,
            crs=crs.to_wkt() if crs else None,
            transform=tuple(raster.rio.transform())[:6],
            shape=raster.shape,
            dtype=raster.encoding["rasterio_dtype"],
            nodata=_nodata(raster),
            scale=float(raster.attrs.get("scale_factor", 1.0)),
            offset=float(raster.attrs.get("add_offset", 0.0)),
            unit=unit.strip() if isinstance(unit, str) else "",
        )
    finally:
        raster.close()


def _nodata(raster: Any) -> float | None:
    value = raster.rio.encoded_nodata
    return None if value is None else float(value)


def _problems_of(header: _Header, unit_m: float | None) -> list[TerrainError]:
    """Return everything that makes one file unusable by itself."""
    where = header.path
    problems: list[TerrainError] = []

    def problem(found: str, expected: str, next_step: str) -> None:
        problems.append(TerrainError(where, found, expected, next_step))

    bands = header.shape[0]
    if bands != 1:
        problem(
            f"{bands} bands", "one band", "Extract the elevations with gdal_translate -b <band>."
        )
    if np.dtype(header.dtype).kind not in "iuf":
        problem(
            f"numbers of type {header.dtype}",
            "integers or floats",
            "Convert it with gdal_translate -ot Float32.",
        )
    dx, skew_x, _, skew_y, dy, _ = header.transform
    if not all(math.isfinite(value) for value in header.transform):
        problem(
            f"the transform {header.transform}", "finite numbers", "Mend it with gdal_edit -a_ullr."
        )
    elif skew_x or skew_y:
        problem(
            "a rotated grid", "rows that run from west to east", "Make it north-up with gdalwarp."
        )
    elif dx <= 0 or dy >= 0:
        problem(
            f"cells of {dx} by {dy} (south-up or mirrored)",
            "columns counted eastwards and rows southwards",
            "Make it north-up with gdalwarp.",
        )
    if header.crs is None:
        problem("no CRS", "the CRS of its coordinates", "Add it with gdal_edit -a_srs <EPSG code>.")
        return problems
    try:
        facts = header.facts()
    except ValueError as error:
        problem(
            f"a CRS that cannot be used ({error})",
            "a projected CRS, or a geographic one in degrees",
            "Reproject it with gdalwarp -t_srs <EPSG code>.",
        )
        return problems
    if not problems:
        problems.extend(_contradictions(header, facts))
    try:
        _unit_of(header, unit_m)
    except ValueError as error:
        problem(
            str(error),
            "one unit, among " + ", ".join(VERTICAL_UNITS),
            "Name the unit of the elevations in dem.vertical_unit.",
        )
    return problems


def _contradictions(header: _Header, facts: CrsFacts) -> list[TerrainError]:
    """Return an error where the coordinates cannot be ones of the CRS."""
    dx, _, left, _, dy, top = header.transform
    _, height, width = header.shape
    right, bottom = left + width * dx, top + height * dy
    # Grids whose cells are centred on the antimeridian or a pole reach half a cell further.
    like_degrees = max(abs(left), abs(right)) <= 360 + dx and max(abs(top), abs(bottom)) <= 90 - dy
    extent = f"x from {left:.10g} to {right:.10g}, y from {bottom:.10g} to {top:.10g}"
    if facts.geographic and not like_degrees:
        return [
            TerrainError(
                header.path,
                f"{extent} in the geographic CRS {_short(facts.crs)}",
                "longitudes and latitudes in degrees",
                "The CRS in the file is wrong: set the right one with gdal_edit -a_srs.",
            )
        ]
    if not facts.geographic and like_degrees and dx < _SMALLEST_PROJECTED_CELL:
        return [
            TerrainError(
                header.path,
                f"{extent}, in cells of {dx:.10g}, in the projected CRS {_short(facts.crs)}",
                "coordinates in the unit of the CRS, not in degrees",
                "The CRS in the file is wrong: set the geographic one with gdal_edit -a_srs.",
            )
        ]
    return []


def _misfits(header: _Header, lattice: Lattice, reference: str) -> list[TerrainError]:
    """Return an error where a file does not lie on the lattice of the others."""

    def misfit(found: str, expected: str, next_step: str) -> list[TerrainError]:
        return [TerrainError(header.path, found, f"{expected}, as in {reference}", next_step)]

    if not _same_crs(header.facts().crs, lattice.crs):
        return misfit(
            f"the CRS {_short(header.facts().crs)}",
            f"the CRS {_short(lattice.crs)}",
            "Bring all tiles to one CRS and grid with gdalwarp.",
        )
    dx, _, left, _, dy, top = header.transform
    _, height, width = header.shape
    drift = max(abs(dx / lattice.dx - 1) * width, abs(dy / lattice.dy + 1) * height)
    if drift > _ALIGNMENT_TOLERANCE:
        return misfit(
            f"cells of {dx:.15g} x {-dy:.15g}",
            f"cells of {lattice.dx:.15g} x {lattice.dy:.15g}",
            "Bring all tiles to one grid with gdalwarp -tr -tap.",
        )
    cols, rows = (left - lattice.x0) / lattice.dx, (lattice.y0 - top) / lattice.dy
    shift = (cols - round(cols), rows - round(rows))
    if max(map(abs, shift)) > _ALIGNMENT_TOLERANCE:
        return misfit(
            f"cells shifted by {shift[0]:.4f} columns and {shift[1]:.4f} rows",
            "cells on one lattice",
            "Bring all tiles to one grid with gdalwarp -tr -tap.",
        )
    return []


def _same_crs(one: str, other: str) -> bool:
    if one == other:
        return True
    from pyproj import CRS

    return CRS.from_user_input(one).equals(CRS.from_user_input(other), ignore_axis_order=True)


def _short(crs: str) -> str:
    """Return a CRS's code, or of a WKT its name."""
    return crs.split('"')[1] if '"' in crs else crs


def _tile(header: _Header, lattice: Lattice, unit_m: float | None) -> Tile:
    _, _, left, _, _, top = header.transform
    _, height, width = header.shape
    return Tile(
        path=header.path,
        row=round((lattice.y0 - top) / lattice.dy),
        col=round((left - lattice.x0) / lattice.dx),
        height=height,
        width=width,
        dtype=header.dtype,
        nodata=header.nodata,
        scale=header.scale,
        offset=header.offset,
        vertical_unit_m=_unit_of(header, unit_m) or 1.0,
    )


def _configured_unit(vertical_unit: str) -> float:
    try:
        return VERTICAL_UNITS[vertical_unit.strip().lower()]
    except KeyError:
        raise ConfigurationError(
            "dem.vertical_unit",
            repr(vertical_unit),
            "one of " + ", ".join(VERTICAL_UNITS),
            "Correct the key, or leave it out to use the DEM's own unit.",
        ) from None


def _unit_of(header: _Header, unit_m: float | None) -> float | None:
    """Return metres per vertical unit, or None where neither key nor file says it.

    Raises
    ------
    ValueError
        The file's unit is unknown, or its CRS and its band name different ones.
    """
    if unit_m is not None:
        return unit_m
    of_crs = header.facts().vertical_unit_m
    of_band = VERTICAL_UNITS.get(header.unit.lower())
    if of_crs is not None:
        if of_band is not None and of_band != of_crs:
            raise ValueError(
                f"a CRS with a vertical unit of {of_crs:.10g} m and a band in {header.unit!r}"
            )
        return of_crs
    if header.unit and of_band is None:
        raise ValueError(f"a band in the unknown unit {header.unit!r}")
    return of_band


def _assumptions(assumed: list[str], n_files: int) -> tuple[str, ...]:
    if not assumed:
        return ()
    named = assumed[0] if len(assumed) == 1 else f"{len(assumed)} of {n_files} files"
    return (
        f"{named}: neither the CRS nor the band names a vertical unit; "
        "elevations are taken to be metres (dem.vertical_unit says otherwise).",
    )


def _target_lattice(
    target_crs: str | None, resolution: float | None, resampling: str
) -> Lattice | None:
    if resampling not in RESAMPLINGS:
        raise ConfigurationError(
            "dem.resampling", repr(resampling), "one of " + ", ".join(RESAMPLINGS), "Correct it."
        )
    if target_crs is None:
        return None
    try:
        facts = crs_facts(target_crs)
    except ValueError as error:
        raise ConfigurationError(
            "dem.target_crs",
            f"{target_crs!r} ({error})",
            "a projected CRS, or a geographic one in degrees, such as EPSG:32611",
            "Correct the key, or leave it out to keep the DEM's own grid.",
        ) from error
    if resolution is None or not math.isfinite(resolution) or resolution <= 0:
        raise ConfigurationError(
            "dem.resolution",
            repr(resolution),
            f"a positive cell size in units of {target_crs}",
            "State the cell size, or leave out dem.target_crs to keep the DEM's own grid.",
        )
    return Lattice.through(facts, 0.0, 0.0, resolution, resolution)


def _source_window(
    index: TerrainIndex, row: int, col: int, height: int, width: int
) -> tuple[int, int, int, int] | None:
    """Return a window of the source lattice that contains all that a target window needs.

    None where the window reaches beyond what the two CRSs can express: then any cell may be
    needed.
    """
    steps = 32
    lattice, source = index.lattice, index.source
    xs = [lattice.x0 + (col + width * i / steps) * lattice.dx for i in range(steps + 1)]
    ys = [lattice.y0 - (row + height * i / steps) * lattice.dy for i in range(steps + 1)]
    x, y = transformer(lattice.crs, source.crs).transform(
        np.tile(xs, steps + 1), np.repeat(ys, steps + 1)
    )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    cols, rows = (x - source.x0) / source.dx, (source.y0 - y) / source.dy
    # Between two of these points a smooth map strays by less than one step of the mesh.
    margin_cols = math.ceil(2 + (cols.max() - cols.min()) / steps)
    margin_rows = math.ceil(2 + (rows.max() - rows.min()) / steps)
    first_col = math.floor(cols.min()) - margin_cols
    first_row = math.floor(rows.min()) - margin_rows
    end_col = math.ceil(cols.max()) + margin_cols
    end_row = math.ceil(rows.max()) + margin_rows
    return first_row, first_col, end_row - first_row, end_col - first_col


@lru_cache(maxsize=64)
def transformer(from_crs: str, to_crs: str) -> Any:
    """Return the pyproj transformer from one CRS to another, x before y in both.

    Points that have no image in the other CRS become infinite.
    """
    from pyproj import Transformer

    return Transformer.from_crs(from_crs, to_crs, always_xy=True)


def _expand(pattern: str) -> list[str]:
    if is_remote(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        return [
            os.path.normpath(os.path.join(pattern, name))
            for name in os.listdir(pattern)
            if name.lower().endswith(RASTER_SUFFIXES)
        ]
    # A file may have brackets in its name, which a glob would take for a class of letters.
    files = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    return [os.path.normpath(file) for file in files if os.path.isfile(file)]


def is_remote(path: str) -> bool:
    """Whether a path is an address that GDAL reads, and no file of this machine."""
    return "://" in path or path.startswith("/vsi")


def _vrt_sources(path: str) -> list[str]:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise TerrainError(
            path,
            f"a file that is no VRT ({error})",
            "the XML that gdalbuildvrt writes",
            "Build it again with gdalbuildvrt.",
        ) from error
    sources = []
    for element in root.iter():
        if element.tag in ("SourceFilename", "SourceDataset") and element.text:
            name = element.text.strip()
            if element.get("relativeToVRT") == "1" and not is_remote(name):
                name = os.path.join(os.path.dirname(path), name)
            sources.append(name if is_remote(name) else os.path.normpath(name))
    return sources


def _raise_all(problems: list[SnakeshedError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise SeveralProblems(problems)
