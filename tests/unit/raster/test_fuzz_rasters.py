"""Damaged rasters end in a result or in one sentence that names them: no traceback, no hang.

GDAL may bring a process down on garbage, so all files of a test are read by a child process with
a limit of memory and of time.
"""

from __future__ import annotations

import json
import os
import re
import resource
import selectors
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from examples import examples
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from rasters import write_raster, write_vrt

from snakeshed.errors import SnakeshedError
from snakeshed.features.layer import Catchments
from snakeshed.features.layer_index import index_layers
from snakeshed.features.layer_types.classes import ClassLayer
from snakeshed.features.layer_types.numeric import NumericLayer
from snakeshed.features.zonal import summarise
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.spot_check import check_cells

CRS = "EPSG:32611"
MEMORY = 6 << 30  # of addresses, most of which the libraries reserve and never use
MEMORY_IN_USE = 1 << 30
SECONDS = 60

Z = np.round(np.random.default_rng(0).uniform(0, 900, (40, 48)), 1).astype(np.float32)
LAYOUTS = [
    {},
    {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
    {"compress": "lzw", "predictor": 3, "nodata": -9999},
    {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    {"mask": np.uint8(Z > 100) * 255, "scale": 0.1, "unit": "ft"},
]


# ---- what the child does ---------------------------------------------------------------------


def use(path: str) -> None:
    """Do with a raster all that the workflow does with a DEM and with layers."""
    dem = str(Path(path).parent / "good.tif")
    outline = [shapely.box(500_020, 3_999_700, 500_300, 3_999_900)]
    steps = [
        lambda: use_as_dem(path),
        lambda: index_layers(
            [{"name": "kf", "type": "numeric", "path": path}], index_terrain([dem])
        ),
        lambda: list(summarise(NumericLayer("kf", path, (50.0,)), Catchments(outline, CRS))),
        lambda: list(summarise(ClassLayer("kf", path), Catchments(outline, CRS))),
    ]
    for step in steps:
        try:
            step()
        except SnakeshedError as problem:
            if path not in str(problem):
                raise


def use_as_dem(path: str) -> None:
    index = index_terrain([path])
    check_cells(index)
    (tile,) = index.tiles
    with Terrain(index, 8) as terrain:
        terrain.read(tile.row, tile.column, min(tile.height, 64), min(tile.width, 64))


def child() -> None:
    """Use each of the rasters named on standard input, and answer each with a line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        use(json.loads(line))
        # Not ru_maxrss: that of a child begins with what its parent has.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        used = 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])
        if used > MEMORY_IN_USE:
            raise MemoryError(f"{used:,} bytes in use")
        sys.stdout.write("used\n")
        sys.stdout.flush()


class Reader:
    """A child process that uses rasters; started again after it was brought down."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen | None = None

    def use(self, path: object) -> None:
        """Use a raster; fail with the traceback of what is no error of the library's own."""
        if self.process is None:
            self._start()
        self.process.stdin.write(json.dumps(path, default=str) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            in_time = ready.select(SECONDS)
        if in_time and self.process.stdout.readline():
            return
        self.close()
        told = self.log.read_text(errors="replace")[-3000:]
        pytest.fail(told if in_time else f"no end within {SECONDS} s\n{told}")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> None:
        folders = [str(Path(__file__).parent), *sys.path]
        paths = os.pathsep.join(filter(None, folders))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "import test_fuzz_rasters as me; me.child()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": paths},
            )


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("reader") / "errors.log")
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    write_raster(folder / "good.tif", Z)
    for k, layout in enumerate(LAYOUTS):
        write_raster(folder / f"layout_{k}.tif", Z, **layout)
    write_vrt(folder / "good.vrt", [str(folder / "good.tif")], Z.shape, -9999)
    return folder


fuzzed = examples(
    150,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_the_child_reads_good_rasters_and_tells_of_errors(reader, folder):
    for path in [folder / "good.tif", folder / "good.vrt", *folder.glob("layout_*.tif")]:
        reader.use(path)
    with pytest.raises(pytest.fail.Exception, match="TypeError"):
        reader.use(7)


# ---- bytes -----------------------------------------------------------------------------------

# Most of what goes wrong goes wrong in the directory, which lies at the beginning.
PLACES = st.one_of(st.integers(0, 700), st.integers(0, 20_000))
CHANGES = st.lists(
    st.tuples(PLACES, st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255]))),
    min_size=1,
    max_size=8,
)


@fuzzed
@given(st.integers(0, len(LAYOUTS) - 1), CHANGES, st.one_of(st.none(), st.integers(0, 12_000)))
def test_damaged_bytes(reader, folder, layout, changes, kept):
    content = bytearray((folder / f"layout_{layout}.tif").read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path = folder / "damaged.tif"
    path.write_bytes(content[:kept])
    reader.use(path)


@fuzzed
@given(
    st.integers(0, len(LAYOUTS) - 1),
    st.integers(0, 30),
    st.sampled_from([2, 4, 6, 8]),
    st.sampled_from([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]),
)
def test_absurd_entries_of_the_directory(reader, folder, layout, entry, field, value):
    content = bytearray((folder / f"layout_{layout}.tif").read_bytes())
    if content[2] == 42:
        first = int.from_bytes(content[4:8], "little") + 2 + 12 * entry
        content[first + field : first + field + 4] = value.to_bytes(4, "little")
    else:
        first = int.from_bytes(content[8:16], "big") + 8 + 20 * entry
        content[first + 2 * field : first + 2 * field + 8] = value.to_bytes(8, "big")
    path = folder / "absurd.tif"
    path.write_bytes(content)
    reader.use(path)


@fuzzed
@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0"]))
def test_garbage(reader, folder, garbage, magic):
    path = folder / "garbage.tif"
    path.write_bytes(magic + garbage)
    reader.use(path)


# ---- VRTs ------------------------------------------------------------------------------------

NUMBERS = ["", "0", "-1", "1", "48", "2147483647", "99999999999", "1e-300", "1e300", "nan", "inf"]
NAMES = ["x", "EPSG:4326", "EPSG:0", "Float64", "CInt16", "good.vrt", "damaged.vrt", "none.tif"]
MARKUP = ["&lt;", "&a;", "<a>"]
TRANSFORMS = ["500000, 1e-300, 0, 4000000, 0, -1e-300", "nan, 10, 0, 4000000, 0, -10"]
WORDS = st.sampled_from(NUMBERS + NAMES + MARKUP + TRANSFORMS)


@fuzzed
@given(st.data())
def test_damaged_vrts(reader, folder, data):
    text = (folder / "good.vrt").read_text()
    places = [match.span() for match in re.finditer(r'(?<=")[^"<>]*(?=")|(?<=>)[^<>]+(?=<)', text)]
    for _ in range(data.draw(st.integers(1, 3))):
        first, end = data.draw(st.sampled_from(places))
        text = text[:first] + data.draw(WORDS) + text[end:]
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(text)))
        text = text[:cut] + text[cut + data.draw(st.integers(0, 60)) :]
    path = folder / "damaged.vrt"
    path.write_text(text)
    reader.use(path)


def chain(folder: Path, n: int, last: str) -> Path:
    """Write VRTs that each name the next one, and the last one `last`."""
    folder.mkdir()
    for k in range(n):
        (folder / f"{k}.vrt").write_text(
            '<VRTDataset rasterXSize="48" rasterYSize="40"><SRS>EPSG:32611</SRS>'
            "<GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform>"
            '<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename '
            f'relativeToVRT="1">{last if k == n - 1 else f"{k + 1}.vrt"}</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        )
    write_raster(folder / "good.tif", Z)
    return folder / "0.vrt"


@pytest.mark.parametrize("n", [1, 2, 30, 3000])
@pytest.mark.parametrize("last", ["0.vrt", "good.tif"], ids=["circle", "chain"])
def test_vrts_of_vrts(reader, tmp_path, n, last):
    reader.use(chain(tmp_path / "chain", n, last))


def test_entities_that_multiply(reader, folder):
    entities = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))
    text = (folder / "good.vrt").read_text().replace("<NoDataValue>", "<NoDataValue>&a9;")
    path = folder / "bomb.vrt"
    path.write_text(f'<!DOCTYPE VRTDataset [<!ENTITY a0 "lol">{entities}]>{text}')
    reader.use(path)


def test_one_large_entity_many_times(reader, folder):
    text = (
        (folder / "good.vrt").read_text().replace("<NoDataValue>", "<NoDataValue>" + "&a;" * 50_000)
    )
    path = folder / "large.vrt"
    path.write_text(f'<!DOCTYPE VRTDataset [<!ENTITY a "{"x" * 50_000}">]>{text}')
    reader.use(path)
