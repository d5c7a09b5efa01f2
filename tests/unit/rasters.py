"""Tiny GeoTIFFs and VRTs for the tests of whatever reads a DEM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine


def write_raster(
    path: Path,
    z: np.ndarray,
    *,
    left: float = 500_000.0,
    top: float = 4_000_000.0,
    dx: float = 10.0,
    dy: float | None = None,
    crs: str | None = "EPSG:32611",
    nodata: float | None = None,
    transform: Affine | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    unit: str | None = None,
    mask: np.ndarray | None = None,
    **profile: object,
) -> str:
    """Write one band (or, from a 3-D array, several) as GeoTIFF and return its path."""
    bands = z if z.ndim == 3 else z[None]
    transform = transform or Affine(dx, 0, left, 0, -(dy or dx), top)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=bands.shape[0],
            height=bands.shape[1],
            width=bands.shape[2],
            dtype=bands.dtype,
            crs=crs,
            transform=transform,
            nodata=nodata,
            **profile,
        ) as file,
    ):
        file.write(bands)
        if (scale, offset) != (1.0, 0.0):
            file.scales, file.offsets = (scale,), (offset,)
        if unit is not None:
            file.units = (unit,)
        if mask is not None:
            file.write_mask(mask)
    return str(path)


def write_tiles(
    folder: Path,
    z: np.ndarray,
    pieces: list[tuple[slice, slice]],
    *,
    left: float = 500_000.0,
    top: float = 4_000_000.0,
    dx: float = 10.0,
    **options: object,
) -> list[str]:
    """Write pieces of an array as one tile each; their origins are rounded as GDAL rounds them."""
    folder.mkdir(exist_ok=True)
    return [
        write_raster(
            folder / f"tile_{number}.tif",
            z[rows, cols],
            left=left + (cols.start or 0) * dx,
            top=top - (rows.start or 0) * dx,
            dx=dx,
            **options,
        )
        for number, (rows, cols) in enumerate(pieces)
    ]


def write_vrt(path: Path, tiles: list[str], shape: tuple[int, int], nodata: float) -> str:
    """Write a VRT over float32 tiles in its own folder, as gdalbuildvrt does."""
    sources = []
    corners = []
    for tile in tiles:
        with rasterio.open(tile) as file:
            corners.append((file.transform.c, file.transform.f))
    left, top = min(x for x, _ in corners), max(y for _, y in corners)
    for tile, (x, y) in zip(tiles, corners, strict=True):
        with rasterio.open(tile) as file:
            dx, width, height = file.transform.a, file.width, file.height
            crs = file.crs.to_wkt().replace("&", "&amp;")
        name = Path(tile).relative_to(path.parent)
        sources.append(
            f"""<ComplexSource>
              <SourceFilename relativeToVRT="1">{name}</SourceFilename>
              <SourceBand>1</SourceBand>
              <SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>
              <DstRect xOff="{round((x - left) / dx)}" yOff="{round((top - y) / dx)}"
                       xSize="{width}" ySize="{height}"/>
              <NODATA>{nodata}</NODATA>
            </ComplexSource>"""
        )
    path.write_text(
        f"""<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}">
          <SRS>{crs}</SRS>
          <GeoTransform>{left}, {dx}, 0, {top}, 0, {-dx}</GeoTransform>
          <VRTRasterBand dataType="Float32" band="1">
            <NoDataValue>{nodata}</NoDataValue>
            {"".join(sources)}
          </VRTRasterBand>
        </VRTDataset>"""
    )
    return str(path)
