"""A small study on made terrain, run by Snakemake as a user runs it."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import yaml
from affine import Affine

CHECKOUT = Path(__file__).parents[2]
STUDY = "tiny"

CELL_M = 30
TILE_CELLS = 100
TILES_ACROSS, TILES_DOWN = 14, 2
WEST, NORTH = 400_000, 3_800_000

# In the environment of all processes of a study's runs: its folder.
MARK = "SNAKESHED_TEST_STUDY"

STARTED = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$", re.MULTILINE)
SHARD = re.compile(r"^\s+wildcards: shard=(\d+)$", re.MULTILINE)


def content_of(path: Path) -> bytes:
    """Bytes of a result file without what jobs took, which differs from run to run."""
    return re.sub(rb'<table id="times">.*?</table>', b"", path.read_bytes(), flags=re.DOTALL)


def copy_workflow(folder: Path, origin: Path = CHECKOUT) -> Path:
    """Copy what runs from the checkout, or from another copy, and return its place.

    Times of change are kept: neither Snakemake nor the cache of compiled kernels takes a copy for
    something else.
    """
    for name in ("Snakefile", "rules", "scripts", "config", "envs", "profiles"):
        source = origin / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    return folder


def clone_workflow(folder: Path, origin: Path) -> Path:
    """Copy the workflow into a new folder under git, with all of it committed."""
    folder.mkdir()
    copy_workflow(folder, origin)
    for name in (".gitignore", "CITATION.cff"):
        shutil.copy(CHECKOUT / name, folder)
    git = ["git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    return folder


@dataclass
class Run:
    """What one call of Snakemake showed, what it wrote into its own log, and so which jobs ran.

    The log of a dry run is what it showed: its jobs are those that a run would start with.
    """

    code: int
    text: str
    log: str
    seconds: float
    jobs: Counter = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = Counter(STARTED.findall(self.log))
        del self.jobs["all"]

    def shards(self, rule: str) -> set[str]:
        """Shards for which a rule was run."""
        jobs = re.split(r"^(?=(?:local)?(?:rule|checkpoint) \w+:$)", self.log, flags=re.MULTILINE)
        own = [job for job in jobs if re.match(rf"(?:local)?rule {rule}:", job)]
        return {shard for job in own for shard in SHARD.findall(job.split("\n\n")[0])}


class TinyStudy:
    """A folder with a DEM of tiles, a site table, a layer and a configuration."""

    def __init__(self, folder: Path, workflow: Path) -> None:
        self.folder = folder
        self.workflow = workflow
        self.results = folder / "results" / STUDY
        self.rows = [
            # On the flanks of a valley, its axis at y = 3,797,000, that falls westwards.
            ("a", 401_125, 3_799_000, 0.3, "2005-01-07"),
            ("b", 404_125, 3_798_400, 0.5, "2005-01-07"),
            # On the axis, far from the others: any patch cuts its catchment.
            ("c", 435_625, 3_797_010, None, "2005-01-07"),
            ("d", 413_125, 3_798_800, 0.3, "2005-02-20"),
            ("e", 417_625, 3_795_000, 0.4, "2005-02-20"),
            ("f", 422_125, 3_796_000, 0.4, "2005-02-20"),
            ("f", 422_125, 3_796_000, 0.4, "2005-02-21"),
            ("g", 390_000, 3_796_000, 0.4, "2005-02-21"),
        ]
        self.config = {
            "study": STUDY,
            "shards": 4,
            "sites": {
                "path": "sites.csv",
                "crs": "EPSG:32611",
                "columns": {"site_id": "site", "x": "x", "y": "y", "area": "area_km2"},
            },
            "dem": {"path": "dem/*.tif"},
            "patches": {"core_m": 1500, "buffer_m": 1500, "levels": 2},
            "layers": [{"name": "rain", "path": "rain.tif", "type": "numeric"}],
        }
        (folder / "dem").mkdir(parents=True)
        for row in range(TILES_DOWN):
            for column in range(TILES_ACROSS):
                self.write_tile(row, column)
        self.write_layer(1.0)
        self.write()

    def copy(self, folder: Path, workflow: Path | None = None) -> TinyStudy:
        """Return a copy in another folder, with all results and their history."""
        twin = copy.deepcopy(self)
        twin.folder, twin.results = folder, folder / "results" / STUDY
        twin.workflow = workflow or self.workflow
        shutil.copytree(self.folder, folder)
        return twin

    def write(self) -> None:
        """Write the site table and the configuration."""
        lines = ["site,x,y,area_km2,storm"]
        lines += [",".join("" if cell is None else str(cell) for cell in row) for row in self.rows]
        (self.folder / "sites.csv").write_text("\n".join(lines) + "\n")
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config))

    def write_tile(self, row: int, column: int, raised_m: float = 0.0) -> Path:
        """Write one tile of the DEM; `raised_m` lifts one cell in its middle."""
        rows = np.arange(TILE_CELLS)[:, None] + row * TILE_CELLS
        columns = np.arange(TILE_CELLS)[None, :] + column * TILE_CELLS
        across = np.abs(rows - TILES_DOWN * TILE_CELLS / 2 + 0.5) * CELL_M
        along = columns * CELL_M
        ridges = 0.04 * across * np.sin(2 * np.pi * along / 1500)
        z = (100 + 0.02 * along + 0.15 * across + ridges).round(3).astype("float32")
        z[TILE_CELLS // 2, TILE_CELLS // 2] += raised_m
        path = self.folder / f"dem/tile_{row}_{column}.tif"
        x, y = WEST + column * TILE_CELLS * CELL_M, NORTH - row * TILE_CELLS * CELL_M
        self._write_raster(path, z, Affine(CELL_M, 0, x, 0, -CELL_M, y))
        return path

    def damage_tile(self, row: int, column: int) -> None:
        """Write a tile again, compressed, and spoil a block of it that is no corner or middle."""
        path = self.write_tile(row, column)
        with rasterio.open(path) as raster:
            cells, profile = raster.read(), raster.profile
        profile |= {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
        with rasterio.open(path, "w", **profile) as raster:
            raster.write(cells)
        with rasterio.open(path) as raster:
            # In the north, halfway between the corner and the middle.
            at, length = (
                int(raster.get_tag_item(f"BLOCK_{item}_2_0", "TIFF", bidx=1))
                for item in ("OFFSET", "SIZE")
            )
        content = bytearray(path.read_bytes())
        content[at : at + length] = b"\xff" * length
        path.write_bytes(content)

    def write_layer(self, value: float, dtype: str = "float32", name: str = "rain.tif") -> None:
        """Write the layer, or another one, a slope in x."""
        shape = (TILES_DOWN * 10, TILES_ACROSS * 10)
        cells = (np.arange(shape[1]) * value).astype(dtype)[None, :].repeat(shape[0], 0)
        self._write_raster(self.folder / name, cells, Affine(300, 0, WEST, 0, -300, NORTH))

    @staticmethod
    def _write_raster(path: Path, cells: np.ndarray, transform: Affine) -> None:
        profile = {"driver": "GTiff", "dtype": cells.dtype, "count": 1, "crs": "EPSG:32611"}
        height, width = cells.shape
        with rasterio.open(
            path, "w", height=height, width=width, transform=transform, **profile
        ) as raster:
            raster.write(cells, 1)

    def command(self, *arguments: str) -> list[str]:
        """What a user types to run the study, with targets or options of it."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", self.workflow / "Snakefile"]
        command += ["--workflow-profile", self.workflow / "profiles/default"]
        # In this order, since --configfile takes all that follows up to the next option.
        command += ["--configfile", "study.yaml", "--cores", "2", *arguments]
        return list(map(str, command))

    def run(self, *arguments: str, within: Sequence[str] = (), **environment: str) -> Run:
        """Run Snakemake in the study's folder.

        `within` is the start of a command that runs the rest in other surroundings; `environment`
        adds variables.
        """
        logs = self.folder / ".snakemake/log"
        before = set(logs.glob("*"))
        started = time.monotonic()
        done = subprocess.run(
            [*within, *self.command(*arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            # A group of its own, so that a test can end all of a run.
            start_new_session=True,
            env=self._environment(environment),
        )
        seconds = time.monotonic() - started
        text = done.stdout + done.stderr
        new = sorted(set(logs.glob("*")) - before)
        log = text if "--dry-run" in arguments else "".join(path.read_text() for path in new)
        return Run(done.returncode, text, log, seconds)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start Snakemake in the study's folder; what it shows goes to a file, see `shown`."""
        with (self.folder / "shown").open("wb") as file:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(environment),
            )

    def shown(self) -> str:
        """What the last run that was started has shown."""
        return (self.folder / "shown").read_text()

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return os.environ | {"NUMBA_NUM_THREADS": "1", MARK: str(self.folder)} | more

    def processes(self) -> dict[int, str]:
        """Command lines of all processes that the study's runs have started, by process id."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                environment = (folder / "environ").read_bytes().split(b"\0")
                # That of one which is being reaped is empty.
                if f"{MARK}={self.folder}".encode() in environment:
                    command = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode()
        return found

    def plan(self, *arguments: str) -> Counter:
        """Jobs that a run would start with, by rule, as far as a checkpoint among them."""
        done = self.run("--dry-run", *arguments)
        assert done.code == 0, done.text
        return done.jobs

    def split(self) -> Run:
        """Run up to the checkpoint, after which all jobs can be planned."""
        done = self.run("--until", "split_shards")
        assert done.code == 0, done.text
        return done

    def contents(self) -> dict[str, tuple[bytes, int]]:
        """Bytes and time of change of all result files, without logs, records, and job times."""
        return {
            path.relative_to(self.results).as_posix(): (content_of(path), path.stat().st_mtime_ns)
            for path in sorted(self.results.rglob("*"))
            if path.is_file() and path.suffix != ".sha256" and "logs" not in path.parts
        }

    def readers(self, tile: str) -> set[str]:
        """Shards that may read a tile."""
        return {
            path.parent.name
            for path in self.results.glob("shards/*/terrain.json")
            if any(each["path"] == tile for each in json.loads(path.read_text())["tiles"])
        }

    def shard_of(self, site_id: str) -> str:
        """The shard that a site is in."""
        (shard,) = [
            path.parent.name
            for path in self.results.glob("shards/*/sites.parquet")
            if site_id in set(pd.read_parquet(path)["site_id"])
        ]
        return shard
