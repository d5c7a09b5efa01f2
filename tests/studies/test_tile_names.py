"""Names of tiles are those in the tables of dem-stitcher, which has them from the producers."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import geopandas
import pytest

from snakeshed.terrain.sources import SOURCES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dem-stitcher")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--timeout", "20"]
    command += ["--retries", "1"]
    command += ["--only-binary", ":all:", "--dest", folder, "dem-stitcher==3.2.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"dem-stitcher cannot be fetched: {done.stderr.strip()[-200:]}")
    (path,) = Path(folder).glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(
    ("source", "table", "tiles"),
    [("3dep-10m", "3dep", 1_432), ("glo-30", "glo_30", 26_450), ("glo-90", "glo_90", 26_475)],
)
def test_every_tile_has_its_name(wheel, source, table, tiles):
    (name,) = [each for each in wheel.namelist() if each.endswith(f"/{table}.parquet")]
    known = geopandas.read_parquet(io.BytesIO(wheel.read(name)))
    assert len(known) == tiles
    own = SOURCES[source]
    lattices = {}
    for box, url in zip(known.geometry, known["url"], strict=True):
        x, y = box.centroid.x, box.centroid.y
        widening = own.widening(min(abs(round(y - 0.5)), abs(round(y + 0.5))))
        lattice = lattices.setdefault(widening, own.lattice(widening))
        (tile,) = own.touching(lattice, *lattice.cell_of(x, y), 1, 1)
        # Some names in the table are those of the files beside the tiles.
        assert urlsplit(tile.address).path == urlsplit(url).path.removesuffix(".aux.xml")
        # Its outline, without the overlap, is that of the table, but for the shift.
        west, south, east, north = box.bounds
        overlap = own.overlap
        left, top = lattice.corner(tile.row + overlap, tile.column + overlap)
        right, bottom = lattice.corner(
            tile.row + tile.height - overlap, tile.column + tile.width - overlap
        )
        cells = 2 * overlap + 1
        assert abs(left - west) <= cells * lattice.dx
        assert abs(right - east) <= cells * lattice.dx
        assert abs(top - north) <= cells * lattice.dy
        assert abs(bottom - south) <= cells * lattice.dy
