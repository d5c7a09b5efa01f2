"""The DEM as files: which there are, what their headers say, and where each lies on the lattice."""

from __future__ import annotations

import glob
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from snakeshed.errors import ConfigurationError, SeveralProblems, SnakeshedError, TerrainError
from snakeshed.raster.crs import FOOT_M, US_SURVEY_FOOT_M, crs_facts, same_crs, short_crs
from snakeshed.raster.header import Header, contradiction, problems_of_header, read_header
from snakeshed.raster.lattice import Lattice
from snakeshed.raster.nodata import nodata_numbers
from snakeshed.raster.vrt_sources import is_remote
from snakeshed.terrain.index import DemTile, TerrainIndex
from snakeshed.terrain.sources import TerrainSource

RASTER_SUFFIXES = (".tif", ".tiff", ".vrt", ".img", ".hgt", ".bil", ".flt", ".asc", ".dem")

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

MAX_STEP_M = 5.0
"""Default of `dem.max_step_m`: more than surveys of the same ground differ by."""

# By how much cells may be finer than those of the DEM that they are resampled from.
_FINER = 20

# Tiles of a source are counted from 180 degrees west to 180 degrees east, and within this many
# degrees of that also on the other side. No patch is as large.
_MERIDIAN = 0.0
_NEAR_ANTIMERIDIAN = 20.0

# A tile may lie this far (in cells) off the lattice: rounding in its header, not a shift.
_ALIGNMENT_TOLERANCE = 1e-3


def dem_files(path: str | Iterable[str]) -> list[str]:
    """List the files of a DEM: of a raster, a folder, a glob pattern, or several of these.

    A folder stands for the rasters directly in it (`RASTER_SUFFIXES`), or, if it has none, for
    those in its ZIP files, or for itself if it is an Esri grid. A ZIP file stands for the rasters
    in it, an address (``https://...``, ``/vsi...``) for itself.

    Returns
    -------
    list of str
        Each once, in the order of the list; those of a folder or pattern sorted by path. Where
        two overlap, the first one that has data counts.

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
    found: dict[str, None] = {}
    problems: list[SnakeshedError] = []
    for pattern in patterns:
        try:
            files = sorted(_expand(str(pattern)))
        except TerrainError as problem:
            problems.append(problem)
            continue
        if not files:
            problems.append(
                TerrainError(
                    f"dem.path: {pattern}",
                    "no raster",
                    f"a file, a folder or a ZIP file with {', '.join(RASTER_SUFFIXES)}, "
                    "or a glob pattern",
                    "Check the path; it is relative to the working directory of the workflow.",
                )
            )
        found |= dict.fromkeys(files)
    _raise_all(problems)
    return list(found)


def index_terrain(
    files: Iterable[str],
    vertical_unit: str | None = None,
    *,
    target_crs: str | None = None,
    resolution: float | None = None,
    nodata: float | Sequence[float] | None = None,
    max_step_m: float = MAX_STEP_M,
    source: TerrainSource | None = None,
) -> TerrainIndex:
    """Read the headers of a DEM's files and place them on one lattice.

    Parameters
    ----------
    files : iterable of str
        From :func:`dem_files`, in the order of preference.
    vertical_unit : str, optional
        Unit of the elevations, a key of `VERTICAL_UNITS`. Default: that of the CRS's vertical
        axis, else that of the band, else metres, which is then told in `assumptions`.
    target_crs : str, optional
        Resample the terrain bilinearly to this CRS. Default: keep the DEM's own grid.
    resolution : float, optional
        Cell size in units of `target_crs`; its lattice has a node at the origin of that CRS.
    nodata : float or sequence of float, optional
        Stored numbers that mark cells without data, beside those that the files declare.
    max_step_m : float
        Two tiles that differ by more than this in a cell are refused when it is read.
    source : TerrainSource, optional
        What the files are tiles of. Then nothing in the index but its tiles depends on which of
        them are there.

    Raises
    ------
    ConfigurationError
        `vertical_unit`, `target_crs` or `resolution` cannot be used.
    TerrainError, SeveralProblems
        Files that cannot be read as DEMs or do not lie on one lattice; all of them at once.
    """
    unit_m = None if vertical_unit is None else _configured_unit(vertical_unit)
    also_nodata = nodata_numbers(nodata)
    target = _target_lattice(target_crs, resolution)
    files = list(dict.fromkeys(files))
    if not files:
        raise TerrainError("dem.path", "no file", "at least one raster", "Name the DEM's files.")

    problems: list[SnakeshedError] = []
    headers: list[Header] = []
    for path in files:
        try:
            header = read_header(path)
        except TerrainError as problem:
            problems.append(problem)
            continue
        own = _problems_of(header, unit_m)
        problems.extend(own)
        if not own:
            headers.append(header)
    # One file is as good a reference as any, but the same one whatever their order.
    by_path = sorted(headers, key=lambda header: header.path)
    lattice = _lattice_of(by_path[0]) if headers else None
    for header in by_path[1:]:
        problems.extend(_misfits(header, lattice, by_path[0].path))
    _raise_all(problems)

    tiles = [_tile(header, lattice, unit_m, also_nodata) for header in headers]
    if source is not None:
        _raise_all(list(_not_of_source(tiles, lattice, source)))
        tiles, meridian = _on_both_sides(tiles, lattice), _MERIDIAN
    else:
        tiles = _side_by_side(tiles, lattice)
        meridian = _middle(tiles, lattice)
    assumed = [header.path for header in headers if _unit_of(header, unit_m) is None]
    index = TerrainIndex(
        lattice=target or lattice,
        source=lattice,
        tiles=tuple(tiles),
        max_step_m=float(max_step_m),
        meridian=meridian if lattice.geographic else None,
        assumptions=_assumptions(assumed, len(headers)),
    )
    if target is not None:
        _check_resolution(index)
    return index


def _check_resolution(index: TerrainIndex) -> None:
    """Refuse cells that are far finer than those of the DEM, or larger than all of it."""
    target = index.lattice
    cell_m, own_m = target.cell_height_m(), index.source.cell_height_m()
    length_m = max(index.extent_m)
    if own_m / _FINER <= cell_m <= length_m:
        return
    raise ConfigurationError(
        "dem.resolution",
        f"{target.dy:g}, which is cells of {cell_m:,.5g} m from a DEM with cells of {own_m:,.5g} m",
        f"cells of {own_m / _FINER:,.5g} m to {length_m:,.0f} m, the length of the DEM",
        "Set the cell size of the DEM, in units of dem.target_crs.",
    )


def _lattice_of(header: Header) -> Lattice:
    dx, _, x, _, dy, y = header.transform
    return Lattice.through(header.facts(), x, y, dx, -dy)


def _problems_of(header: Header, unit_m: float | None) -> list[TerrainError]:
    """Return everything that makes one file unusable by itself."""
    problems: list[TerrainError] = []

    def problem(found: str, expected: str, next_step: str) -> None:
        problems.append(TerrainError(header.path, found, expected, next_step))

    for told in problems_of_header(header):
        problem(*told)
    dx, skew_x, _, skew_y, dy, _ = header.transform
    if skew_x or skew_y:
        problem(
            "a rotated grid", "rows that run from west to east", "Make it north-up with gdalwarp."
        )
    elif dx < 0 or dy > 0:
        problem(
            f"cells of {dx} by {dy} (south-up or mirrored)",
            "columns counted eastwards and rows southwards",
            "Make it north-up with gdalwarp.",
        )
    if header.crs is None:
        problem(
            "no CRS",
            "the CRS of its coordinates",
            "Add it with gdal_edit.py -a_srs <EPSG code>.",
        )
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
    if not problems and (told := contradiction(header, facts)):
        problem(*told)
    try:
        _unit_of(header, unit_m)
    except ValueError as error:
        problem(
            str(error),
            "one unit, among " + ", ".join(VERTICAL_UNITS),
            "Name the unit of the elevations in dem.vertical_unit.",
        )
    return problems


def _misfits(header: Header, lattice: Lattice, reference: str) -> list[TerrainError]:
    """Return an error where a file does not lie on the lattice of the others."""

    def misfit(found: str, expected: str, next_step: str) -> list[TerrainError]:
        return [TerrainError(header.path, found, f"{expected}, as in {reference}", next_step)]

    if not same_crs(header.facts().crs, lattice.crs):
        return misfit(
            f"the CRS {short_crs(header.facts().crs)}",
            f"the CRS {short_crs(lattice.crs)}",
            "Bring all tiles to one CRS and grid with gdalwarp.",
        )
    dx, _, left, _, dy, top = header.transform
    drift = max(abs(dx / lattice.dx - 1) * header.width, abs(dy / lattice.dy + 1) * header.height)
    if drift > _ALIGNMENT_TOLERANCE:
        return misfit(
            f"cells of {dx:.15g} x {-dy:.15g}",
            f"cells of {lattice.dx:.15g} x {lattice.dy:.15g}",
            "Bring all tiles to one grid with gdalwarp -tr -tap.",
        )
    columns, rows = (left - lattice.x0) / lattice.dx, (lattice.y0 - top) / lattice.dy
    shift = (columns - round(columns), rows - round(rows))
    if max(map(abs, shift)) > _ALIGNMENT_TOLERANCE:
        return misfit(
            f"cells shifted by {shift[0]:.4f} columns and {shift[1]:.4f} rows",
            "cells on one lattice",
            "Bring all tiles to one grid with gdalwarp -tr -tap.",
        )
    return []


def _tile(
    header: Header, lattice: Lattice, unit_m: float | None, also_nodata: tuple[float, ...]
) -> DemTile:
    _, _, left, _, _, top = header.transform
    return DemTile(
        path=header.path,
        row=round((lattice.y0 - top) / lattice.dy),
        column=round((left - lattice.x0) / lattice.dx),
        height=header.height,
        width=header.width,
        dtype=header.dtype,
        nodata=header.nodata,
        scale=header.scale,
        offset=header.offset,
        vertical_unit_m=_unit_of(header, unit_m) or 1.0,
        also_nodata=also_nodata,
    )


def source_index(
    source: TerrainSource,
    latitudes: Iterable[float],
    *,
    target_crs: str | None = None,
    resolution: float | None = None,
) -> TerrainIndex:
    """Return the index of a source without its tiles, to see which of them are needed.

    Parameters
    ----------
    source : TerrainSource
    latitudes : iterable of float
        Of the sites, in degrees.
    target_crs, resolution
        As for `index_terrain`.

    Raises
    ------
    ConfigurationError
        `target_crs` or `resolution` cannot be used.
    TerrainError
        The source has cells of several widths at these latitudes.
    """
    widths = {}
    for latitude in latitudes:
        widths.setdefault(source.widening(latitude), latitude)
    if len(widths) > 1:
        (one, here), (other, there) = sorted(widths.items())[:2]
        raise TerrainError(
            f"dem.source: {source.name}",
            f"sites at latitude {here:.4f} and {there:.4f}, where its cells are {one:g} and "
            f"{other:g} times as wide, in degrees, as high",
            "sites where all cells are of one width",
            "Make a study of each part of the sites. Or bring the tiles to one grid with gdalwarp "
            "and name them in dem.path.",
        )
    lattice = source.lattice(*widths)
    return TerrainIndex(
        lattice=_target_lattice(target_crs, resolution) or lattice,
        source=lattice,
        tiles=(),
        meridian=_MERIDIAN if lattice.geographic else None,
    )


def _not_of_source(
    tiles: Iterable[DemTile], lattice: Lattice, source: TerrainSource
) -> Iterator[TerrainError]:
    """Yield an error for each file that is none of a source, as far as its place says."""
    if not any(_is_same(lattice, source.lattice(widening)) for widening in source.widenings):
        expected = source.lattice()
        yield TerrainError(
            f"dem.source: {source.name}",
            f"files with cells of {lattice.dx:.10g} x {lattice.dy:.10g} in {short_crs(lattice.crs)}"
            f", one of them at {lattice.x0:.10g}, {lattice.y0:.10g}",
            f"cells of {expected.dx:.10g} x {expected.dy:.10g} in {short_crs(expected.crs)}, one "
            f"of them at {expected.x0:.10g}, {expected.y0:.10g}",
            "Correct crs, tile_size, cells, or shift of dem.source; or remove it, and name the "
            "files in dem.path.",
        )
        return
    for tile in tiles:
        own = source.tile_of(lattice, tile.row, tile.column)
        place = (tile.row, tile.column, tile.height, tile.width)
        if own is None or own.place != place:
            x, y = lattice.corner(tile.row, tile.column)
            yield TerrainError(
                tile.path,
                f"{tile.height:,} rows and {tile.width:,} columns from {x:.10g}, {y:.10g} on",
                f"a tile of {source.name}, "
                + (
                    f"with {own.height:,} rows and {own.width:,} columns"
                    if own
                    else "which begins at another place"
                ),
                "Remove it if it is of another DEM. If the source has other tiles by now, fetch "
                "them yourself and name them in dem.path, without dem.source.",
            )


def _is_same(one: Lattice, other: Lattice) -> bool:
    """Tell whether two lattices have the same cells, but for rounding in the headers of files."""
    if not same_crs(one.crs, other.crs):
        return False
    for size, own in ((one.dx, other.dx), (one.dy, other.dy)):
        if abs(size / own - 1) > 1e-9:
            return False
    shifts = ((one.x0 - other.x0) / other.dx, (one.y0 - other.y0) / other.dy)
    return all(abs(shift - round(shift)) <= _ALIGNMENT_TOLERANCE for shift in shifts)


def _on_both_sides(tiles: list[DemTile], lattice: Lattice) -> list[DemTile]:
    """Return tiles with copies of those near the antimeridian, beyond it.

    Sites on either side have the terrain on both, whatever other tiles there are.
    """
    around = _columns_around(lattice)
    if around is None:
        return tiles
    first = round((-180.0 - lattice.x0) / lattice.dx)
    reach = round(_NEAR_ANTIMERIDIAN / lattice.dx)
    placed = []
    for tile in tiles:
        placed.append(tile)
        if tile.column < first + reach:
            placed.append(replace(tile, column=tile.column + around))
        elif tile.column + tile.width > first + around - reach:
            placed.append(replace(tile, column=tile.column - around))
    return placed


def _side_by_side(tiles: list[DemTile], lattice: Lattice) -> list[DemTile]:
    """Place tiles on both sides of the antimeridian side by side.

    Columns are counted from the antimeridian on, or, if tiles have cells on both sides of it, from
    the end of the widest gap around the globe. Of the places that are whole turns apart, tiles are
    where most of their columns stay where their headers say. All stay there if there is no gap, or
    if a parallel is no whole number of cells.
    """
    around = _columns_around(lattice)
    if around is None or any(tile.width > around for tile in tiles):
        return tiles
    start: int | None = math.ceil((-180.0 - lattice.x0) / lattice.dx - _ALIGNMENT_TOLERANCE)
    placed = _counted_from(start, around, tiles)
    first, end = _range_of(placed)
    if end > start + around or (end == start + around and first == start):
        start = _east_of_widest_gap(tiles, around)
        if start is None:
            return tiles
        placed = _counted_from(start, around, tiles)
    choices = []
    for turns in {
        (tile.column - at.column) // around for tile, at in zip(tiles, placed, strict=True)
    }:
        moved = [replace(tile, column=tile.column + turns * around) for tile in placed]
        kept = sum(at.width for tile, at in zip(tiles, moved, strict=True) if tile == at)
        # Of two that keep as many, the one nearer to Greenwich, or east of it.
        middle = sum(_range_of(moved))
        choices.append(((-kept, abs(middle), -middle), moved))
    return min(choices, key=lambda choice: choice[0])[1]


def _range_of(tiles: Sequence[DemTile]) -> tuple[int, int]:
    """Return the first column of some tiles, and the one after their last."""
    return min(tile.column for tile in tiles), max(tile.column + tile.width for tile in tiles)


def _counted_from(first: int, around: int, tiles: list[DemTile]) -> list[DemTile]:
    """Place tiles where they begin in the columns of one turn from a first one."""
    return [replace(tile, column=first + (tile.column - first) % around) for tile in tiles]


def _east_of_widest_gap(tiles: list[DemTile], around: int) -> int | None:
    """Return the column at which the widest gap around the globe ends; None without any."""
    starts = sorted((tile.column % around, tile.width) for tile in tiles)
    # Up to here the first columns are covered by tiles that begin before them.
    covered = max(start + width for start, width in starts) - around
    widest, found = 0, None
    for start, width in [*starts, (starts[0][0] + around, 0)]:
        if start - covered > widest and start > starts[0][0]:
            widest, found = start - covered, start % around
        covered = max(covered, start + width)
    return found


def _columns_around(lattice: Lattice) -> int | None:
    """Return the number of columns around the globe, if that is whole."""
    if not lattice.geographic:
        return None
    around = 360.0 / lattice.dx
    return round(around) if abs(around - round(around)) < _ALIGNMENT_TOLERANCE else None


def _middle(tiles: Sequence[DemTile], lattice: Lattice) -> float:
    first, end = _range_of(tiles)
    return round(lattice.x0 + (first + end) / 2 * lattice.dx, 6)


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


def _unit_of(header: Header, unit_m: float | None) -> float | None:
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


def _target_lattice(target_crs: str | None, resolution: float | None) -> Lattice | None:
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


def _expand(pattern: str) -> list[str]:
    if is_remote(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        names = os.listdir(pattern)
        grids = [name for name in names if name.lower() == "hdr.adf"]
        rasters = [name for name in names if name.lower().endswith(RASTER_SUFFIXES)]
        chosen = grids or rasters or [name for name in names if name.lower().endswith(".zip")]
        files = [os.path.join(pattern, name) for name in chosen]
    else:
        # A file may have brackets in its name, which a glob would take for a class of letters.
        files = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    found: list[str] = []
    for file in map(os.path.normpath, filter(os.path.isfile, files)):
        found += _in_zip(file) if file.lower().endswith(".zip") else [file]
    return found


def _in_zip(path: str) -> list[str]:
    """Return the rasters in a ZIP file as GDAL names them."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise TerrainError(
            f"dem.path: {path}",
            f"a file that cannot be read as ZIP ({error})",
            "a ZIP file with the DEM",
            "Fetch it again, or unpack it and name the folder.",
        ) from error
    rasters = [
        name
        for name in names
        # What a Mac adds is called like the files, and is none of them.
        if not name.startswith("__MACOSX/")
        and (name.lower().endswith(RASTER_SUFFIXES) or name.lower().split("/")[-1] == "hdr.adf")
    ]
    if not rasters:
        held = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise TerrainError(
            f"dem.path: {path}",
            f"a ZIP file without a raster ({held or 'empty'})",
            f"a file with {', '.join(RASTER_SUFFIXES)} in it",
            "Unpack it and name what is the DEM.",
        )
    return [f"/vsizip/{path}/{name}" for name in rasters]


def _raise_all(problems: list[SnakeshedError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise SeveralProblems(problems)
