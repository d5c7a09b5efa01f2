"""Whether all of a raster's file is there, and what its header says that cannot be."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasters import write_raster, write_vrt

from snakeshed.errors import LayerError, TerrainError
from snakeshed.raster.header import problems_of_header, read_header
from snakeshed.raster.tiff import bytes_needed
from snakeshed.raster.vrt_sources import files_behind

Z = np.random.default_rng(0).random((200, 300)).astype(np.float32)

LAYOUTS = {
    "plain": {},
    "big endian": {"ENDIANNESS": "BIG"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16},
    "compressed": {"tiled": True, "compress": "deflate", "predictor": 3},
    "mask": {"mask": np.full(Z.shape, 255, np.uint8)},
    "one strip": {"blockysize": 200, "compress": "lzw"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_is_complete_until_it_is_cut_anywhere(tmp_path, layout):
    path = Path(write_raster(tmp_path / "a.tif", Z, **LAYOUTS[layout]))
    whole = path.read_bytes()
    assert bytes_needed(str(path)) <= len(whole)
    for kept in (16, 100, len(whole) // 2, len(whole) - 100, len(whole) - 3):
        path.write_bytes(whole[:kept])
        assert bytes_needed(str(path)) > kept


def test_a_cloud_optimised_file_without_its_end(tmp_path):
    path = tmp_path / "a.tif"
    z = np.tile(Z, (6, 6))
    with rasterio.open(
        path, "w", driver="COG", height=1200, width=1800, count=1, dtype="float32"
    ) as file:
        file.write(z, 1)
    whole = path.read_bytes()
    assert bytes_needed(str(path)) <= len(whole)
    path.write_bytes(whole[:-20])
    assert bytes_needed(str(path)) > len(whole) - 20


def test_blocks_that_were_never_written_are_not_missed(tmp_path):
    path = tmp_path / "a.tif"
    options = {"driver": "GTiff", "count": 1, "dtype": "float32", "tiled": True, "SPARSE_OK": True}
    with rasterio.open(path, "w", height=10_812, width=10_812, **options) as file:
        file.write(Z[None, :, :], window=((0, 200), (0, 300)))
    assert os.path.getsize(path) < 10_000_000
    started = time.perf_counter()
    assert bytes_needed(str(path)) == os.path.getsize(path)
    assert time.perf_counter() - started < 0.5


def test_what_is_no_tiff_has_no_length(tmp_path):
    for content in (b"", b"II", b"II*", b"MM\0\x2b", b"HFA" * 20, b"II\x07\0" + bytes(30)):
        (tmp_path / "a").write_bytes(content)
        assert bytes_needed(str(tmp_path / "a")) is None


def test_directories_in_a_circle_come_to_an_end(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + b"\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0")
    assert bytes_needed(str(tmp_path / "a.tif")) <= 16


def test_a_truncated_file_is_named_with_its_lengths(tmp_path):
    path = Path(write_raster(tmp_path / "a.tif", Z))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(TerrainError) as told:
        read_header(str(path))
    assert str(told.value) == (
        f"{path}: found 100,000 bytes of at least {bytes_needed(str(path)):,}; expected a complete "
        "file. It was truncated or partly downloaded: fetch it again."
    )


def test_a_truncated_source_of_a_vrt_is_named_with_the_vrt(tmp_path):
    tile = Path(write_raster(tmp_path / "a.tif", Z))
    vrt = write_vrt(tmp_path / "all.vrt", [str(tile)], Z.shape, -9999)
    tile.write_bytes(tile.read_bytes()[:100_000])
    with pytest.raises(LayerError) as told:
        read_header(vrt, where="layer kf", error=LayerError)
    assert str(told.value).startswith(f"layer kf: found {tile}, which it names, 100,000 bytes of ")


def test_a_missing_source_of_a_vrt_is_named_with_the_vrt(tmp_path):
    tile = write_raster(tmp_path / "a.tif", Z)
    vrt = write_vrt(tmp_path / "all.vrt", [tile], Z.shape, -9999)
    Path(tile).unlink()
    with pytest.raises(TerrainError) as told:
        read_header(vrt)
    assert str(told.value) == (
        f"{vrt}: found the name of {tile}, which does not exist; expected files that exist. Build "
        "the VRT again, or bring the file to its place."
    )


def test_entities_that_multiply_are_refused_at_once(tmp_path):
    lines = ['<!DOCTYPE VRTDataset [<!ENTITY a0 "lol">']
    lines += [f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10)]
    path = tmp_path / "bomb.vrt"
    path.write_text("\n".join([*lines, "]><VRTDataset>&a9;</VRTDataset>"]))
    started = time.perf_counter()
    with pytest.raises(
        TerrainError, match=r"bomb.vrt: found a file that is no VRT .*amplification"
    ):
        files_behind(str(path))
    assert time.perf_counter() - started < 5


def test_thousands_of_nested_vrts_are_followed(tmp_path):
    n = 3000
    for k in range(n):
        (tmp_path / f"{k}.vrt").write_text(
            "<VRTDataset><VRTRasterBand><SimpleSource>"
            f'<SourceFilename relativeToVRT="1">{k + 1}.vrt</SourceFilename>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
    (tmp_path / f"{n}.vrt").write_text("<VRTDataset/>")
    assert len(files_behind(str(tmp_path / "0.vrt"))) == n + 1


# ---- headers ---------------------------------------------------------------------------------


def vrt_header(tmp_path: Path, width: int = 10, height: int = 10, transform: str = "") -> str:
    path = tmp_path / "header.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32611</SRS>'
        f"<GeoTransform>{transform or '500000, 10, 0, 4000000, 0, -10'}</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"/></VRTDataset>'
    )
    return str(path)


def told_of(path: str) -> list[str]:
    return [f"{found}; {expected}" for found, expected, _ in problems_of_header(read_header(path))]


def test_a_header_without_problems(tmp_path):
    assert told_of(vrt_header(tmp_path)) == []
    assert told_of(write_raster(tmp_path / "a.tif", Z)) == []


def test_more_columns_than_the_globe_has(tmp_path):
    assert told_of(vrt_header(tmp_path, width=2**31 - 1)) == [
        "10 rows and 2,147,483,647 columns; at most 33,554,432 of each"
    ]


def test_blocks_that_do_not_fit_in_memory(tmp_path):
    path = tmp_path / "a.tif"
    options = {"driver": "GTiff", "count": 1, "dtype": "float32", "SPARSE_OK": True, "crs": 32611}
    rasterio.open(
        path, "w", height=40_000, width=40_000, blockysize=40_000, compress="deflate",
        transform=Affine(1, 0, 5, 0, -1, 5), **options,
    ).close()  # fmt: skip
    assert told_of(str(path)) == [
        "blocks of 40,000 x 40,000 cells; blocks that fit in memory",
    ]


@pytest.mark.parametrize(
    ("transform", "found"),
    [
        ("500000, 1e-300, 0, 4000000, 0, -1e-300", "cells of 1e-300 by -1e-300 in x from 500000"),
        ("500000, 0, 0, 4000000, 0, -10", "cells of 0 by -10 in x from 500000"),
        ("1e300, 10, 0, 4000000, 0, -10", "cells of 10 by -10 in x from 1e+300"),
        ("nan, 10, 0, 4000000, 0, -10", "the transform (10.0, 0.0, nan,"),
        ("500000, inf, 0, 4000000, 0, -10", "the transform (inf, 0.0, 500000.0,"),
    ],
)
def test_cells_that_cannot_be_counted(tmp_path, transform, found):
    (told,) = told_of(vrt_header(tmp_path, transform=transform))
    assert told.startswith(found)


def test_an_alpha_band_is_named_as_one(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.zeros((2, 3, 4), np.uint8), ALPHA="YES")
    assert told_of(path) == [
        "2 bands, one of them an alpha band; one band, with a nodata value where there are no data"
    ]


@pytest.mark.parametrize(("nodata", "refused"), [("1.5", True), ("nan", False), ("99999", False)])
def test_nodata_of_integers_is_a_whole_number_or_none(tmp_path, nodata, refused):
    """GDAL ignores values that the numbers cannot hold, but takes 1.5 for 1."""
    path = Path(write_raster(tmp_path / "a.tif", np.zeros((3, 4), np.int16), nodata=-12345))
    path.write_bytes(path.read_bytes().replace(b"-12345\0", nodata.encode().ljust(7, b"\0")))
    expected = ["the nodata value 1.5 among numbers of type int16; a whole number"]
    assert told_of(str(path)) == (expected if refused else [])
