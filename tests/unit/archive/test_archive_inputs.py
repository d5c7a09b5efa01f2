"""Inputs get places in an archive at which a re-run finds them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasters import write_vrt

from snakeshed.archive.inputs import archive_inputs
from snakeshed.errors import ArchiveError

NOT_TOLD = {"redistribute": False, "url": None, "licence": None}


@pytest.fixture
def study(tmp_path):
    """Two tiles in different folders, one with a sidecar file, and a table elsewhere."""
    for name in ("dem/east/a.tif", "dem/west/a.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "crs": "EPSG:32611"}
        transform = Affine(30, 0, 400_000, 0, -30, 3_800_000)
        with rasterio.open(path, "w", width=4, height=4, transform=transform, **profile) as raster:
            raster.write(np.ones((1, 4, 4), "float32"))
    (tmp_path / "dem/west/a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    (tmp_path / "sites.csv").write_text("site,x,y\n")
    return {
        "sites": {"path": str(tmp_path / "sites.csv"), **NOT_TOLD, "redistribute": True},
        "dem": {"path": str(tmp_path / "dem/*/*.tif"), **NOT_TOLD, "url": "https://d.example"},
        "layers": [],
        "without": [],
    }


def test_absolute_paths_become_those_of_the_archive(study, tmp_path):
    moved, inputs, sources = archive_inputs(study)
    assert moved["sites"]["path"] == "inputs/sites/sites.csv"
    assert moved["dem"]["path"] == ["inputs/dem/east/a.tif", "inputs/dem/west/a.tif"]
    assert sources == {"inputs/sites/sites.csv": tmp_path / "sites.csv"}
    assert study["dem"]["path"] == str(tmp_path / "dem/*/*.tif")
    assert [each.path for each in inputs] == [
        "inputs/sites/sites.csv",
        "inputs/dem/east/a.tif",
        "inputs/dem/west/a.tif",
        "inputs/dem/west/a.tif.aux.xml",
    ]


def test_each_input_is_told_with_size_checksum_and_origin(study, tmp_path):
    _, (table, tile, *_), _ = archive_inputs(study)
    content = (tmp_path / "dem/east/a.tif").read_bytes()
    assert table.included
    assert not tile.included
    assert tile.as_dict() == {
        "key": "dem",
        "path": "inputs/dem/east/a.tif",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": "https://d.example",
        "licence": None,
        "address": None,
        "included": False,
    }


def test_a_vrt_finds_its_tiles_where_they_are_in_an_archive(study, tmp_path):
    tile = tmp_path / "dem/east/a.tif"
    near = write_vrt(tmp_path / "dem/near.vrt", [str(tile)], (4, 4), 0)
    absolute = Path(near).read_text().replace('relativeToVRT="1">east', f">{tmp_path}/dem/east")
    far = tmp_path / "mosaics/far.vrt"
    far.parent.mkdir()
    far.write_text(absolute)
    assert f"<SourceFilename>{tile}<" in absolute.replace(" >", ">")
    study["dem"]["path"] = [near, str(far)]
    moved, inputs, sources = archive_inputs(study)
    assert moved["dem"]["path"] == ["inputs/dem/dem/near.vrt", "inputs/dem/mosaics/far.vrt"]
    told = {each.path: each for each in inputs}
    assert not told["inputs/dem/dem/east/a.tif"].included
    # A VRT has no data of its own: it is there, and as it was where it names nothing absolutely.
    assert sources["inputs/dem/dem/near.vrt"] == Path(near)
    content = sources["inputs/dem/mosaics/far.vrt"]
    assert told["inputs/dem/mosaics/far.vrt"].sha256 == hashlib.sha256(content).hexdigest()
    assert told["inputs/dem/mosaics/far.vrt"].size == len(content)
    assert str(tmp_path).encode() not in content
    for place in ("inputs/dem/mosaics/far.vrt", "inputs/dem/dem/east/a.tif"):
        (tmp_path / "other" / place).parent.mkdir(parents=True)
    (tmp_path / "other/inputs/dem/mosaics/far.vrt").write_bytes(content)
    tile.rename(tmp_path / "other/inputs/dem/dem/east/a.tif")
    with rasterio.open(tmp_path / "other/inputs/dem/mosaics/far.vrt") as raster:
        assert (raster.read(1) == 1).all()


def test_a_name_that_no_archive_can_have_is_told(study, tmp_path):
    (tmp_path / "a:b.csv").write_text("site,x,y\n")
    study["sites"]["path"] = str(tmp_path / "a:b.csv")
    with pytest.raises(ArchiveError, match=r"a:b.csv: found a backslash, colon.*Rename the file"):
        archive_inputs(study)


def test_sidecar_files_stay_beside_their_rasters(study, tmp_path):
    transform = Affine(30, 0, 400_000, 0, -30, 3_800_000)
    layer = tmp_path / "layers/kf.bil"
    layer.parent.mkdir()
    profile = {"driver": "EHdr", "dtype": "float32", "count": 1, "crs": "EPSG:32611"}
    with rasterio.open(layer, "w", width=4, height=4, transform=transform, **profile) as raster:
        raster.write(np.full((1, 4, 4), 2, "float32"))
    vrt = Path(write_vrt(tmp_path / "kf.vrt", [str(layer)], (4, 4), 0))
    told = {"name": "kf", "type": "numeric", **NOT_TOLD, "redistribute": True}
    study["layers"] = [{"path": str(vrt), **told}]
    moved, _, sources = archive_inputs(study)
    for place, content in sources.items():
        (tmp_path / "other" / place).parent.mkdir(parents=True, exist_ok=True)
        is_bytes = isinstance(content, bytes)
        (tmp_path / "other" / place).write_bytes(content if is_bytes else content.read_bytes())
    assert {Path(place).name for place in sources if "layers" in place} == {
        *("kf.vrt", "kf.bil", "kf.hdr", "kf.prj"),
    }
    for file in layer.parent.iterdir():
        file.unlink()
    with rasterio.open(tmp_path / "other" / moved["layers"][0]["path"]) as raster:
        assert raster.crs.to_epsg() == 32611
        assert (raster.read(1) == 2).all()


def test_a_dem_in_a_zip_file_is_read_from_that_of_the_archive(study, tmp_path):
    packed = tmp_path / "tiles/dem.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(tmp_path / "dem/east/a.tif", "within/a.tif")
    study["dem"] |= {"path": str(packed), "redistribute": True}
    moved, inputs, sources = archive_inputs(study)
    assert moved["dem"]["path"] == ["/vsizip/inputs/dem/dem.zip/within/a.tif"]
    assert [each.path for each in inputs if each.key == "dem"] == ["inputs/dem/dem.zip"]
    assert sources["inputs/dem/dem.zip"] == packed


def test_a_shapefile_is_archived_whole(study, tmp_path):
    for name in ("sites.shp", "sites.dbf", "sites.SHX", "sites.prj", "sites.sbn", "other.dbf"):
        (tmp_path / name).write_text(name)
    study["sites"]["path"] = str(tmp_path / "sites.shp")
    moved, _, sources = archive_inputs(study)
    assert moved["sites"]["path"] == "inputs/sites/sites.shp"
    assert sorted(map(str, sources)) == [
        f"inputs/sites/sites.{end}" for end in ("SHX", "dbf", "prj", "shp")
    ]


def test_polygons_in_a_shapefile_are_archived_whole(study, tmp_path):
    for end in ("shp", "dbf", "shx", "prj"):
        (tmp_path / f"rock.{end}").write_text(end)
    rock = {"name": "rock", "type": "polygons", "path": str(tmp_path / "rock.shp"), **NOT_TOLD}
    study["layers"] = [rock | {"redistribute": True}]
    moved, inputs, sources = archive_inputs(study)
    assert moved["layers"][0]["path"] == "inputs/layers/rock/path/rock.shp"
    places = [f"inputs/layers/rock/path/rock.{end}" for end in ("dbf", "prj", "shp", "shx")]
    assert [each.path for each in inputs if each.key == "layers[rock].path"] == places
    assert set(places) <= set(sources)
