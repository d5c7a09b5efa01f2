"""A look at some cells of a layer, so that undeclared nodata is known before any shard starts.

What this does not meet is found when a catchment meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from snakeshed.errors import LayerError
from snakeshed.features.missing import Missing, shortest
from snakeshed.raster.header import Header, gdal_faults
from snakeshed.raster.input_files import is_fetched

Extent = tuple[float, float, float, float]
"""West, south, east and north."""

Window = tuple[int, int, int, int]
"""First row and column, height and width."""

# Class codes beyond this are not exact as floats.
_LARGEST_CODE = 2**53

# Side of the squares of cells that are read, and how many of them in each direction. A layer at a
# web address is read in its middle only.
_SIDE = 256
_SQUARES = 8


def look_at_cells(
    header: Header,
    window: Window,
    missing: Missing,
    factor: float,
    shift: float,
    where: str,
    *,
    codes: bool,
    judge: Callable[[np.ndarray], None] | None = None,
) -> list[str]:
    """Read squares of cells, spread evenly over a window of a layer.

    Parameters
    ----------
    header : Header
        Of a layer's raster.
    window : Window
        What the study needs of it.
    missing : Missing
        Which cells count as missing.
    factor, shift : float
        ``stored * factor + shift`` is a layer's value.
    where : str
        How messages name the layer.
    codes : bool
        The values are codes of classes.
    judge : callable, optional
        Raises a LayerError if these values cannot be those of the layer.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    LayerError
        Cells cannot be read, are infinite, or hold a number that stands for missing data and is
        not declared; or their values are no codes.
    """
    parts: list[np.ndarray] = []
    for values in _read(header, window, where):
        values = values[~missing.drop(values, factor, shift)]
        if problem := missing.undeclared(values, header.dtype, where):
            raise problem
        if codes:
            for value in np.unique(values):
                code_of(float(value) * factor + shift, where)
        parts.append(values)
    values = np.concatenate(parts) if parts else np.empty(0)
    if judge is not None:
        judge(values.astype(np.float64) * factor + shift)
    if codes:
        return []
    lonely = _lonely_negative(values)
    if lonely is None or missing.valid_range is not None:
        return []
    share = np.count_nonzero(values == lonely) / values.size
    written = shortest(lonely)
    return [
        f"{where}: {written} is the only negative value, in {share:.2g} of the cells that were "
        f"looked at. If it stands for missing data, set the layer's nodata: {written}; if not, set "
        "its valid_range."
    ]


def _read(header: Header, window: Window, where: str) -> Iterator[np.ndarray]:
    """Yield the stored numbers of squares that the file does not declare as missing."""
    import rasterio

    with naming(where, "read"), rasterio.open(header.path) as raster:
        for row, column, height, width in _squares(window, is_fetched(header.path)):
            stored = raster.read(
                1, window=((row, row + height), (column, column + width)), masked=True
            )
            yield as_floats(stored.compressed())


def as_floats(stored: np.ndarray) -> np.ndarray:
    """Return stored numbers as floats: of single precision where that is exact."""
    small = stored.dtype.itemsize <= 2 or stored.dtype == np.float32
    return stored.astype(np.float32 if small else np.float64)


@contextmanager
def naming(where: str, done: str) -> Iterator[None]:
    """Turn errors of GDAL into one that names the layer, and what cannot be done with it."""
    try:
        yield
    except MemoryError:
        raise  # nothing is wrong with the layer
    except gdal_faults() as error:
        raise LayerError(
            where,
            f"a file that cannot be {done} ({error.__cause__ or error})",
            "a raster that GDAL reads",
            "It is damaged: fetch it again, or check it with gdalinfo.",
        ) from error


def code_of(value: float, where: str) -> int:
    """Return the code of a class that a cell holds.

    Raises
    ------
    LayerError
        It is no whole number, or one that floats do not hold exactly.
    """
    if not value.is_integer():
        raise LayerError(
            where,
            f"the cell value {value:g}",
            "whole numbers, the codes of classes",
            "Declare the layer as numeric, or round its cells.",
        )
    if abs(value) >= _LARGEST_CODE:
        raise LayerError(
            where,
            f"the code {value:.0f}",
            "codes of less than 2^53, which floats hold exactly",
            "Number the classes anew, with smaller codes.",
        )
    return int(value)


def _squares(window: Window, remote: bool) -> list[Window]:
    """Cut squares out of a window, or all of it if it has no more cells than they."""
    row, column, height, width = window

    def spread(first: int, length: int) -> list[tuple[int, int]]:
        most = 1 if remote else _SQUARES
        if length <= most * _SIDE:
            return [
                (at, min(_SIDE, first + length - at)) for at in range(first, first + length, _SIDE)
            ]
        if most == 1:
            return [(first + (length - _SIDE) // 2, _SIDE)]
        return [(first + (length - _SIDE) * k // (most - 1), _SIDE) for k in range(most)]

    return [
        (first_row, first_column, rows, columns)
        for first_row, rows in spread(row, height)
        for first_column, columns in spread(column, width)
    ]


def _lonely_negative(stored: np.ndarray) -> np.floating | None:
    """Return the only negative number among several others, if it is repeated."""
    negative = stored[stored < 0]
    if negative.size < 2 or negative.size == stored.size or (negative != negative[0]).any():
        return None
    return negative[0]


def around(extents: Sequence[Extent]) -> Extent:
    """Return the extent that holds some others."""
    wests, souths, easts, norths = zip(*extents, strict=True)
    return min(wests), min(souths), max(easts), max(norths)


def window_under(header: Header, extents: Sequence[Extent | None]) -> Window:
    """Return the cells of a raster under some extents; all of them under one that is not known.

    Parameters
    ----------
    header : Header
        Without rotation.
    extents : sequence of Extent, or None
        In the raster's CRS.
    """
    whole = 0, 0, header.height, header.width
    if not extents or any(extent is None for extent in extents):
        return whole
    dx, _, left, _, dy, top = header.transform
    west, south, east, north = around(extents)
    columns = sorted(((west - left) / dx, (east - left) / dx))
    rows = sorted(((south - top) / dy, (north - top) / dy))
    first_row, first_column = max(0, int(rows[0])), max(0, int(columns[0]))
    end_row = min(header.height, int(rows[1]) + 1)
    end_column = min(header.width, int(columns[1]) + 1)
    if first_row >= end_row or first_column >= end_column:
        return whole
    return first_row, first_column, end_row - first_row, end_column - first_column
