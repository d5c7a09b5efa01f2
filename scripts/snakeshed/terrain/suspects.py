"""Cells of a DEM that are numbers, but hardly ground, and what its tiles leave out.

Nothing here stops a run: it is what a person should look at first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from snakeshed.raster.input_files import is_fetched
from snakeshed.raster.vrt_sources import named_behind
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import DemTile, TerrainIndex, overlap

# Numbers that often mean "missing": one cell of them is looked at.
_WELL_KNOWN = (0.0, -1.0, -99.0, -999.0, -10_000.0)

# The lowest number of a tile is looked at if so many cells have it.
_REPEATED = 4

# Cells are far off those beside them by so much, and so many times what is usual between cells.
_FAR_M = 5.0
_FAR_TIMES = 10.0

# A row or column needs so many cells with data to be called constant; more such rows or columns
# side by side are a lake, or whole areas of one number.
_LONG = 16
_MOST_SIDE_BY_SIDE = 16

# Tiles of at most this many cells are read whole; of others bands of rows and a band of columns.
_WHOLE_CELLS = 1 << 22
_BAND_ROWS, _BAND_COLUMNS = 8, 64
_MOST_BANDS, _FEWEST_BANDS, _BANDS_IN_ALL = 8, 2, 64
# A band of columns may take the decoding of a whole file, so only of files of so many cells.
_LARGEST_SEARCHED = 1 << 28
# A few rows of a wider tile would be more than is read of any.
_WIDEST_TILE = _WHOLE_CELLS // (3 * _FEWEST_BANDS)

_WIDEST_GAP = 100

# So many findings of one kind are told.
_MOST_TOLD = 8

# Slopes of coarser cells are too gentle: 1/3 arc-second is 10.3 m.
_COARSE_M = 11.0


def coarse_cells(index: TerrainIndex) -> str | None:
    """Tell that the cells of a DEM are too coarse for slopes; None if they are not."""
    lattices = {index.lattice, index.source}
    size = max(
        max(lattice.cell_height_m(), lattice.cell_height_m() * lattice.dx / lattice.dy)
        for lattice in lattices
    )
    if size <= _COARSE_M:
        return None
    return (
        f"the DEM has cells of {size:.3g} m, and slopes are gentler on coarse cells: at 30 m, the "
        "mean slope is 0.70 of that at 10 m. Compare slope_* and share_steeper_* only with values "
        "from cells of this size, and do not use them in models that were fitted at 10 m."
    )


def gaps_between_tiles(index: TerrainIndex) -> list[str]:
    """Tell of narrow gaps between tiles, which are outside the DEM."""
    told = []
    for one in index.tiles:
        for k in index.touching(
            one.row, one.column, one.height + _WIDEST_GAP + 1, one.width + _WIDEST_GAP + 1
        ):
            other = index.tiles[k]
            for gap, count, what in _gaps(one, other):
                if not _is_covered(gap, index.tiles):
                    x, y = index.source.corner(gap[0], gap[2])
                    told.append(
                        f"{one.path} and {other.path}: a gap of {count} {what}{'s' * (count > 1)} "
                        f"between them, from x {x:.10g}, y {y:.10g} on, where no tile has cells; "
                        "catchments end there. Fetch the tiles again, or the one between them."
                    )
    return few(told, "gaps between tiles")


def suspect_cells(terrain: Terrain, tile: DemTile, n_tiles: int) -> list[str]:
    """Tell of cells of a local tile that are hardly ground.

    Small tiles are read whole, of others bands of rows, and a band of columns.

    Parameters
    ----------
    terrain : Terrain
    tile : DemTile
    n_tiles : int
        Of the whole DEM; the more there are, the less of each is read.
    """
    if any(is_fetched(file) for file in named_behind(tile.path)) or tile.width > _WIDEST_TILE:
        return []
    bands = [terrain.read_stored(tile, *share) for share in _row_bands(tile, n_tiles)]
    # Beside each other, with a row of nothing between them.
    apart = np.full((1, tile.width), np.nan, bands[0].dtype)
    z = np.concatenate([part for band in bands for part in (band, apart)][:-1])
    rows = np.concatenate(
        [
            part
            for share in _row_bands(tile, n_tiles)
            for part in (np.arange(share[0], share[1]), [share[1]])
        ]
    )[:-1]
    to_m = abs(tile.scale) * tile.vertical_unit_m
    far = max(_FAR_M, _FAR_TIMES * _usual_step(z) * to_m) / to_m
    lines = [
        _Line("column", columns, value, step) for columns, value, step in _constant_columns(z, far)
    ]
    for line in lines:
        z[:, line.places] = np.nan
    if len(bands) == 1:
        found = [_Line("row", *line) for line in _constant_columns(z.T, far)]
        for line in found:
            z[line.places] = np.nan
        lines += found
    elif tile.height * tile.width <= _LARGEST_SEARCHED:
        found = _rows_of_large(terrain, tile, far)
        for line in found:
            z[(rows - tile.row >= line.places.start) & (rows - tile.row < line.places.stop)] = (
                np.nan
            )
        lines += found
    told = [_line_in_words(terrain, tile, line, to_m) for line in lines]
    for value in _candidates(z):
        step = _step_up(z, value)
        if step is not None and step >= far:
            cells = z == value
            i, j = map(int, np.argwhere(cells)[0])
            x, y = terrain.index.source.centre(int(rows[i]), tile.column + j)
            count, known = np.count_nonzero(cells), np.count_nonzero(~np.isnan(z))
            told.append(
                f"{tile.path}: {count:,} of {known:,} cells ({count / known:.2g} of them) are "
                f"exactly {value:.10g}, {step * to_m:.3g} m below those beside them, the first at "
                f"x {x:.10g}, y {y:.10g}; if it means missing, set dem.nodata: {value:.10g}"
            )
    return told


class _Line(NamedTuple):
    """Rows or columns of a tile, side by side, that are all of one number."""

    what: str
    places: slice
    value: float
    step: float


def _line_in_words(terrain: Terrain, tile: DemTile, line: _Line, to_m: float) -> str:
    count = line.places.stop - line.places.start
    x, y = terrain.index.source.centre(
        tile.row + line.places.start * (line.what == "row"),
        tile.column + line.places.start * (line.what == "column"),
    )
    place = f"x {x:.10g}" if line.what == "column" else f"y {y:.10g}"
    what = f"a {line.what}" if count == 1 else f"{count} {line.what}s side by side"
    return (
        f"{tile.path}: {what} at {place} of nothing but {line.value:.10g}, "
        f"{line.step * to_m:.3g} m off the {line.what}s beside; if it means missing, set "
        f"dem.nodata: {line.value:.10g}, else fetch the file again"
    )


def few(told: list[str], what: str) -> list[str]:
    """Keep the first of many findings, and count the others."""
    if len(told) <= _MOST_TOLD:
        return told
    return [*told[:_MOST_TOLD], f"{len(told) - _MOST_TOLD} more {what}"]


def _row_bands(tile: DemTile, n_tiles: int) -> list[tuple[int, int, int, int]]:
    """Return the rows of a tile that are looked at, all of it if it is small."""
    if tile.height * tile.width <= _WHOLE_CELLS:
        return [overlap(tile, tile.row, tile.column, tile.height, tile.width)]
    bands = max(_FEWEST_BANDS, min(_MOST_BANDS, _BANDS_IN_ALL // n_tiles))
    height = max(3, min(_BAND_ROWS, _WHOLE_CELLS // (bands * tile.width)))
    step = (tile.height - height) // (bands - 1) if tile.height >= bands * (height + 1) else height
    return [
        share
        for k in range(bands)
        if (share := overlap(tile, tile.row + k * step, tile.column, height, tile.width))
    ]


def _usual_step(z: np.ndarray) -> float:
    """Return the median difference of cells beside each other in a row; 0 without any."""
    steps = np.abs(np.diff(z, axis=1))
    steps = steps[~np.isnan(steps)]
    return float(np.median(steps)) if steps.size else 0.0


def _constant_columns(z: np.ndarray, far: float) -> Iterator[tuple[slice, float, float]]:
    """Find columns of one number, far off the columns beside them: places, number, difference."""
    low, high = np.fmin.reduce(z, axis=0), np.fmax.reduce(z, axis=0)
    constant = (low == high) & (np.count_nonzero(~np.isnan(z), axis=0) >= _LONG)
    first = 0
    for place in np.flatnonzero(constant):
        if place < first:
            continue
        first = int(place)
        while first < z.shape[1] and constant[first] and low[first] == low[place]:
            first += 1
        if first - place > _MOST_SIDE_BY_SIDE:
            continue
        steps = [
            float(np.nanmedian(np.abs(z[:, beside] - low[place])))
            for beside in (int(place) - 1, first)
            if 0 <= beside < z.shape[1] and not np.isnan(z[:, beside]).all()
        ]
        if steps and min(steps) >= far:
            yield slice(int(place), first), float(low[place]), min(steps)


def _rows_of_large(terrain: Terrain, tile: DemTile, far: float) -> list[_Line]:
    """Find constant rows of a large tile in a band of columns, and look at the whole of them."""
    width = min(_BAND_COLUMNS, tile.width)
    middle = tile.column + (tile.width - width) // 2
    band = overlap(tile, tile.row, middle, tile.height, width)
    found = []
    for rows, _, _ in _constant_columns(terrain.read_stored(tile, *band).T, far):
        first, end = max(0, rows.start - 1), min(tile.height, rows.stop + 1)
        around = overlap(tile, tile.row + first, tile.column, end - first, tile.width)
        z = terrain.read_stored(tile, *around)
        found += [
            _Line("row", slice(first + places.start, first + places.stop), value, step)
            for places, value, step in _constant_columns(z.T, far)
        ]
        if len(found) >= _MOST_TOLD:
            break
    return found


def _candidates(z: np.ndarray) -> list[float]:
    """List numbers that may mean "missing", the lowest first."""
    lowest = float(np.fmin.reduce(z, axis=None))
    numbers = {value for value in _WELL_KNOWN if (z == value).any()}
    if np.count_nonzero(z == lowest) >= _REPEATED:
        numbers.add(lowest)
    return sorted(numbers)


def _step_up(z: np.ndarray, value: float) -> float | None:
    """Return by how much cells beside those of one number are higher, the median."""
    steps = []
    for one, other in ((z[:, :-1], z[:, 1:]), (z[:-1], z[1:])):
        for own, beside in ((one, other), (other, one)):
            pairs = (own == value) & (beside != value) & ~np.isnan(beside)
            steps.append(beside[pairs].astype(np.float64) - value)
    together = np.concatenate(steps)
    return float(np.median(together)) if together.size else None


def _gaps(one: DemTile, other: DemTile) -> Iterator[tuple[tuple[int, int, int, int], int, str]]:
    """Return the gap east and south of a tile, up to another one: its cells, width and kind."""
    top, bottom = max(one.row, other.row), min(one.row + one.height, other.row + other.height)
    left = max(one.column, other.column)
    right = min(one.column + one.width, other.column + other.width)
    east, south = other.column - (one.column + one.width), other.row - (one.row + one.height)
    if top < bottom and 0 < east <= min(_WIDEST_GAP, one.width, other.width):
        yield (top, bottom, one.column + one.width, other.column), east, "column"
    if left < right and 0 < south <= min(_WIDEST_GAP, one.height, other.height):
        yield (one.row + one.height, other.row, left, right), south, "row"


def _is_covered(gap: tuple[int, int, int, int], tiles: tuple[DemTile, ...]) -> bool:
    """Whether other tiles have all cells of a gap."""
    first_row, end_row, first_column, end_column = gap
    height, width = end_row - first_row, end_column - first_column
    shares = [
        share for tile in tiles if (share := overlap(tile, first_row, first_column, height, width))
    ]
    rows = sorted({first_row, end_row, *(edge for share in shares for edge in share[:2])})
    columns = sorted({first_column, end_column, *(edge for share in shares for edge in share[2:])})
    return all(
        any(s[0] <= row < s[1] and s[2] <= column < s[3] for s in shares)
        for row in rows[:-1]
        for column in columns[:-1]
    )
