"""The cells of a layer in each catchment, and the share of each cell that lies in it.

A layer stays in its own CRS and resolution: the outlines are brought to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snakeshed.features.cell_shares import NO_SHARE, Piece, Shares, shares_on_grid
from snakeshed.features.layer import Catchments, place_of
from snakeshed.features.layer_look import as_floats, naming
from snakeshed.features.raster_layer import RasterLayer, scale_of
from snakeshed.kernels.relief import total
from snakeshed.raster.header import Header

if TYPE_CHECKING:
    import rasterio


@dataclass(frozen=True)
class LayerCells:
    """Cells of a layer in one catchment.

    Attributes
    ----------
    stored : ndarray of float32 or float64, shape (n,)
        Stored numbers of the cells with data, row by row; float32 where that is exact.
    shares : ndarray of float32, shape (n,)
        Share of each cell that lies in the catchment, above 0 and at most 1.
    coverage : float
        Share of the catchment that these cells cover, 0 to 1.
    """

    stored: np.ndarray
    shares: np.ndarray
    coverage: float


def cells_of_layer(
    layer: RasterLayer, header: Header, catchments: Catchments
) -> Iterator[LayerCells]:
    """Read the cells of a layer in each of some catchments.

    Parameters
    ----------
    layer : RasterLayer
    header : Header
        Of its raster.
    catchments : Catchments

    Yields
    ------
    LayerCells
        For each in turn. Cells that count as missing (`Missing.drop`) are left out.

    Raises
    ------
    LayerError
        The layer cannot be read, or holds infinite numbers or numbers that stand for missing data
        and are not declared.
    """
    import rasterio

    where = place_of(layer.name, layer.path)
    with naming(where, "opened"):
        raster = rasterio.open(layer.path)
    with raster:
        for shares in shares_on_grid(header, catchments, where):
            yield _cells(layer, header, raster, shares, where)


def _cells(
    layer: RasterLayer,
    header: Header,
    raster: rasterio.DatasetReader,
    shares: Shares,
    where: str,
) -> LayerCells:
    """Read the cells of a layer in one catchment."""
    found, parts = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    factor, shift = scale_of(layer, header)
    for piece in shares.pieces:
        stored, has_data = _stored(raster, piece, where)
        known = has_data & ~layer.missing.drop(stored, factor, shift)
        if problem := layer.missing.undeclared(stored[known], header.dtype, where):
            raise problem
        found.append(stored[known])
        parts.append(piece.share[known])
    values, share = np.concatenate(found), np.concatenate(parts)
    coverage = total(share) / shares.area if share.size else 0.0
    # The shares of cells are of single precision.
    return LayerCells(values, share, 1.0 if coverage > 1 - NO_SHARE else round(coverage, 9))


def _stored(
    raster: rasterio.DatasetReader, piece: Piece, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored numbers of a piece's cells, and which of them are data to the file."""
    rows = piece.row, piece.row + piece.height
    columns = piece.column, piece.column + piece.width
    with naming(where, "read"):
        window = raster.read(1, window=(rows, columns), masked=True)
    stored = as_floats(window.data.ravel()[piece.inside])
    if window.mask is np.ma.nomask:
        return stored, np.ones(stored.shape, bool)
    return stored, ~np.ma.getmaskarray(window).ravel()[piece.inside]
