"""A raster's files are those that GDAL reads for it, whatever the format."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasters import write_raster, write_vrt

from snakeshed.raster.input_files import input_files, local_archive, sidecars

CELLS = np.arange(12, dtype="float32").reshape(3, 4)
AUX = (
    '<PAMDataset><PAMRasterBand band="1"><Description>told</Description></PAMRasterBand>'
    "</PAMDataset>"
)


def as_gdal_lists(path) -> list[str]:
    with rasterio.open(path) as raster:
        return sorted(os.path.normpath(file) for file in raster.files)


def made_with(driver: str, path: Path, dtype: str = "float32", **options: object) -> Path:
    transform = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    with rasterio.open(
        path,
        "w",
        driver=driver,
        dtype=dtype,
        height=3,
        width=4,
        count=1,
        crs="EPSG:32611",
        transform=transform,
        **options,
    ) as raster:
        raster.write(CELLS.astype(dtype), 1)
    return path


def geotiff(folder: Path) -> Path:
    path = Path(write_raster(folder / "dem.tif", CELLS, transform=Affine.identity(), crs=None))
    (folder / "dem.TFW").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as raster:
        raster.write_mask(CELLS > 3)
    return path


def geotiff_of_a_tab(folder: Path) -> Path:
    path = Path(write_raster(folder / "dem.tif", CELLS, transform=Affine.identity(), crs=None))
    corners = [(0, 0), (40, 0), (40, -30), (0, -30)]
    points = ",\n".join(
        f'  ({500_000 + x},{4_000_000 + y}) ({x // 10},{-y // 10}) Label "{k}"'
        for k, (x, y) in enumerate(corners)
    )
    (folder / "dem.tab").write_text(
        f'!table\n!version 300\n!charset WindowsLatin1\nDefinition Table\n  File "dem.tif"\n'
        f'  Type "RASTER"\n{points}\n  CoordSys Earth Projection 8, 104, "m", -117, 0, 0.9996, '
        '500000, 0\n  Units "m"\n'
    )
    return path


def tiff_world_file(folder: Path) -> Path:
    path = Path(write_raster(folder / "dem.tiff", CELLS, transform=Affine.identity(), crs=None))
    (folder / "dem.wld").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    return path


def envi(folder: Path) -> Path:
    return made_with("ENVI", folder / "dem.img")


def envi_appended(folder: Path) -> Path:
    return made_with("ENVI", folder / "dem.bin", SUFFIX="ADD")


def ehdr(folder: Path) -> Path:
    path = made_with("EHdr", folder / "dem.bil")
    (folder / "dem.clr").write_text("0 0 0 0\n")
    return path


def ehdr_in_capitals(folder: Path) -> Path:
    path = ehdr(folder)
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.upper())
    return folder / path.name.upper()


def ascii_grid(folder: Path) -> Path:
    return made_with("AAIGrid", folder / "dem.asc")


def erdas(folder: Path) -> Path:
    return made_with("HFA", folder / "dem.img", USE_SPILL="YES")


def saga(folder: Path) -> Path:
    return made_with("SAGA", folder / "dem.sdat")


def idrisi(folder: Path) -> Path:
    return made_with("RST", folder / "dem.rst")


def png(folder: Path) -> Path:
    return made_with("PNG", folder / "dem.png", dtype="uint8", WORLDFILE="YES")


def srtm(folder: Path) -> Path:
    path = folder / "N34W118.hgt"
    np.zeros((1201, 1201), ">i2").tofile(path)
    return path


FORMATS = [
    *(geotiff, geotiff_of_a_tab, tiff_world_file, envi, envi_appended, ehdr, ehdr_in_capitals),
    *(ascii_grid, erdas, saga, idrisi, png, srtm),
]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_all_that_gdal_lists_but_overviews(tmp_path, make):
    path = make(tmp_path)
    if "CAPITALS" not in make.__name__.upper():
        (tmp_path / f"{path.name}.aux.xml").write_text(AUX)
    shutil.copy(geotiff(_folder(tmp_path / "o")), tmp_path / f"{path.name}.ovr")
    (tmp_path / "other.prj").write_text("")
    listed = {file for file in as_gdal_lists(path) if not file.endswith(".ovr")}
    assert len(listed) > 1
    found = input_files([str(path)])
    assert set(found) >= listed
    # GDAL leaves out some that it reads, such as world files.
    beside = {str(file) for file in tmp_path.iterdir() if file.is_file()}
    assert set(found) == beside - {f"{path}.ovr", str(tmp_path / "other.prj")}
    assert sidecars(str(path)) == [file for file in found if file != str(path)]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_vrt_has_the_sidecars_of_its_files(tmp_path):
    tile = ehdr(_folder(tmp_path / "tiles"))
    vrt = write_vrt(tmp_path / "dem.vrt", [str(tile)], (3, 4), 0)
    (tmp_path / "dem.vrt.aux.xml").write_text(AUX)
    found = input_files([vrt])
    assert set(found) == {*as_gdal_lists(vrt), *as_gdal_lists(tile), f"{vrt}.aux.xml"}
    assert {Path(file).suffix for file in found} >= {".vrt", ".xml", ".bil", ".hdr", ".prj", ".clr"}


def test_of_an_esri_grid_its_whole_folder(tmp_path):
    for name in ("hdr.adf", "w001001.adf", "prj.adf", "dblbnd.adf", "w001001.adf.ovr", "x.txt"):
        (tmp_path / name).touch()
    found = [Path(file).name for file in input_files([str(tmp_path / "hdr.adf")])]
    assert found == ["dblbnd.adf", "hdr.adf", "prj.adf", "w001001.adf"]


def test_of_what_is_in_an_archive_the_archive(tmp_path):
    tile = write_raster(tmp_path / "a.tif", CELLS)
    packed = tmp_path / "tiles.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(tile, "within/a.tif")
    inner = f"/vsizip/{packed}/within/a.tif"
    assert local_archive(inner) == str(packed)
    assert input_files([inner]) == [str(packed)]
    vrt = tmp_path / "dem.vrt"
    text = Path(write_vrt(vrt, [tile], (3, 4), 0)).read_text()
    vrt.write_text(text.replace('relativeToVRT="1">a.tif', f">{inner}"))
    assert inner in vrt.read_text()
    assert input_files([str(vrt)]) == [str(vrt), str(packed)]
    for address in (
        "/vsicurl/https://a.example/b.zip",
        "https://a.example/b.tif",
        "/vsizip/n.zip/b",
    ):
        assert local_archive(address) is None
        assert input_files([address]) == []


def test_a_file_that_appears_is_found_at_once_and_after_a_while(tmp_path):
    raster = write_raster(tmp_path / "dem.tif", CELLS)
    assert sidecars(raster) == []
    (tmp_path / "dem.prj").touch()
    assert sidecars(raster) == [str(tmp_path / "dem.prj")]
    long_ago = time.time() - 3600
    os.utime(tmp_path, (long_ago, long_ago))
    assert sidecars(raster) == [str(tmp_path / "dem.prj")]
    (tmp_path / "dem.tfw").touch()
    assert sidecars(raster) == [str(tmp_path / "dem.prj"), str(tmp_path / "dem.tfw")]


def test_names_stay_relative_and_a_folder_that_is_not_there_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "dem.tif", CELLS)
    (tmp_path / "dem.tif.aux.xml").write_text(AUX)
    assert input_files(["dem.tif"]) == ["dem.tif", "dem.tif.aux.xml"]
    assert input_files(["none/dem.tif"]) == ["none/dem.tif"]


def test_thousands_of_tiles_cost_one_look_at_their_folder(tmp_path, monkeypatch):
    for k in range(3000):
        (tmp_path / f"{k}.tif").touch()
        (tmp_path / f"{k}.tfw").touch()
    looked = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: looked.append(folder) or listdir(folder))
    long_ago = time.time() - 3600
    os.utime(tmp_path, (long_ago, long_ago))
    assert len(input_files([str(tmp_path / f"{k}.tif") for k in range(3000)])) == 6000
    assert len(looked) == 1
