"""Many small shards on Kubernetes, beside one process that does them all.

    python benchmarks/batches.py [--shards 1000] [--json FILE] [--readme]

Runs on the cluster of the current kubeconfig context as the tests in tests/cluster do: its node is
this machine, and has the image that SNAKESHED_TEST_IMAGE names. The study is made terrain of 4096 x
4096 cells of 30 m with four sites a shard. The driver is a pod with one core, as in the README.
"One process" calls what the jobs of the shards call, one shard after the other, with everything
loaded: no Snakemake, no pods, no other jobs.

The run is timed from the start of the driver's Job to its end, with kernels compiled before.
Calls are those of the driver, from its log; its CPU time and memory are sampled on this machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import rasterio
import yaml
from made_terrain import fractal
from rasterio.transform import from_origin
from record import ROOT, machine, parser_of, publish, source_of

sys.path[:0] = [str(ROOT / "tests" / name) for name in ("cluster", "kubernetes", ".")]

from project_copy import Project, commands_for_kubernetes

CELLS = 4096
CELL_M = 30.0
WEST, NORTH = -1_700_000.0, 1_600_000.0
SEED = 18
SITES_PER_SHARD = 4
STUDY = "batches"
PATCHES = {"core_m": 2000, "buffer_m": 2000}


def write_study(folder: Path, shards: int) -> Path:
    """Write terrain, sites and configuration into a checkout, and return the configuration."""
    data = folder / "data"
    data.mkdir()
    profile = {
        "driver": "GTiff",
        "height": CELLS,
        "width": CELLS,
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:5070",
        "transform": from_origin(WEST, NORTH, CELL_M, CELL_M),
        "tiled": True,
        "compress": "deflate",
    }
    with rasterio.open(data / "dem.tif", "w", **profile) as raster:
        raster.write(fractal(CELLS, SEED)[:CELLS, :CELLS].astype(np.float32), 1)
    chance = np.random.default_rng(SEED)
    places = chance.uniform(0.05, 0.95, (shards * SITES_PER_SHARD, 2)) * CELLS * CELL_M
    rows = [f"s{k},{WEST + x:.1f},{NORTH - y:.1f},0.3" for k, (x, y) in enumerate(places)]
    (data / "sites.csv").write_text("\n".join(["name,x,y,area", *rows, ""]), encoding="utf-8")
    columns = {"site_id": "name", "x": "x", "y": "y", "area": "area"}
    study = {
        "study": STUDY,
        "sites": {"path": "data/sites.csv", "crs": "EPSG:5070", "columns": columns},
        "dem": {"path": "data/dem.tif"},
        "patches": PATCHES,
        "shards": shards,
    }
    path = folder / "config" / f"{STUDY}.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


class Driver(threading.Thread):
    """Samples what the driver takes, as long as it lives."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.cpu_s = self.peak_mb = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        """Look once a second."""
        seen: dict[int, float] = {}
        while not self.ended.wait(1):
            total = 0.0
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if words[1:2] and words[1].endswith("/snakemake") and "nautilus" in words:
                    try:
                        times, memory = process.cpu_times(), process.memory_info()
                    except psutil.NoSuchProcess:
                        continue
                    seen[process.pid] = times.user + times.system
                    total += memory.rss / 1e6
            self.peak_mb = max(self.peak_mb, total)
        self.cpu_s = sum(seen.values())


def on_cluster(project: Project, shards: int) -> dict:
    """Run the study on the cluster, and return what that took."""
    options = ("--configfile", f"config/{STUDY}.yaml", "--verbose")
    project.give(*options)
    driver = Driver()
    driver.start()
    project.start("run-2")
    project.finish("run-2", limit_s=3600)
    driver.ended.set()
    driver.join()
    (job,) = [one for one in project.items("jobs") if one["metadata"]["name"] == "run-2"]
    began, ended = (
        datetime.fromisoformat(job["status"][key]) for key in ("startTime", "completionTime")
    )
    log = sorted((project.volume / ".snakemake/log").glob("*.log"))[-1].read_text(encoding="utf-8")
    calls = re.search(r"Calls of the Kubernetes API: (.*?); (\d+) kB received", log)
    tasks = sum(1 for _ in (project.volume / f"results/{STUDY}/logs").rglob("*.tsv"))
    return {
        "shards": shards,
        "jobs": tasks,
        "seconds": (ended - began).total_seconds(),
        "driver_cpu_s": driver.cpu_s,
        "driver_mb": driver.peak_mb,
        "calls": dict(reversed(one.split(" x ")) for one in calls[1].split(", ")) if calls else {},
        "received_kb": int(calls[2]) if calls else None,
    }


def in_one_process(folder: Path, results: Path, shards: int) -> float:
    """Do all shards once more in this process, and return the seconds."""
    from snakeshed.delineation.site import DelineationRule
    from snakeshed.study.configuration import complete

    schema = ROOT / "config/schema/study.schema.yaml"
    config = folder / f"config/{STUDY}.yaml"
    study = complete(yaml.safe_load(config.read_text(encoding="utf-8")), schema, str(config))
    delineate, extract = (_script(name) for name in ("delineate", "extract_features"))
    keys = ("conditioning", "max_void_cells", "max_pit_m")
    rule = {
        "snap": study["snap"],
        "network": study["network"],
        "dem": {key: study["dem"][key] for key in keys},
    }
    names = sorted(path.name for path in (results / "shards").iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory(dir=results) as made, _told_by(Path(made, "log")):
        for number, name in enumerate([names[0], *names]):
            if number == 1:  # the first one has loaded everything
                began = time.perf_counter()
            shard, catchments = results / "shards" / name, f"{made}/{name}.parquet"
            delineate.main(
                sites=str(shard / "sites.parquet"),
                terrain=str(shard / "terrain.json"),
                patches=study["patches"],
                rule=DelineationRule.of(rule),
                backend="auto",
                workers=1,
                mem_mb=2000,
                inputs=[],
                inputs_of_run="none",
                catchments=catchments,
                log=f"{made}/log",
            )
            extract.main(
                catchments=catchments,
                terrain=str(shard / "terrain.json"),
                features=study["features"],
                layers=[],
                max_void_cells=study["dem"]["max_void_cells"],
                inputs=[],
                inputs_of_run="none",
                output=f"{made}/{name}.features.parquet",
                log=f"{made}/log",
            )
    return time.perf_counter() - began


@contextmanager
def _told_by(log: Path) -> Iterator[None]:
    """Show why a script has ended this process."""
    try:
        yield
    except SystemExit as end:
        raise RuntimeError(log.read_text(encoding="utf-8")) from end


def _script(name: str):
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(shards: int) -> dict:
    """Run the study on the cluster and in this process."""
    folder = Path(tempfile.mkdtemp(prefix="batches-"))
    project = Project(folder)
    try:
        write_study(project.folder, shards)
        apply, ready, copy_in, *_ = commands_for_kubernetes()
        for command in (apply, ready, copy_in):
            project.shell(command)
        project.start("run-1")  # the demo: kernels are compiled
        project.finish("run-1", limit_s=1200)
        run = on_cluster(project, shards)
        print(json.dumps(run))
        results = project.volume / f"results/{STUDY}"
        os.chdir(project.volume)
        run["one_process_s"] = in_one_process(project.folder, results, shards)
        os.chdir("/")
    finally:
        project.remove()
        shutil.rmtree(folder)
    return {**machine("snakemake", "numba"), "run": run}


def table(result: dict) -> str:
    """What the readme says."""
    run = result["run"]
    calls = ", ".join(f"{number} x {what}" for what, number in run["calls"].items())
    return "\n".join(
        [
            f"{source_of(result)}",
            "",
            "| | seconds | times one process |",
            "|---|---|---|",
            f"| one process, {run['shards']:,} shards | {run['one_process_s']:.0f} | 1 |",
            f"| the whole run on the cluster, {run['jobs']:,} jobs | {run['seconds']:.0f} "
            f"| {run['seconds'] / run['one_process_s']:.2f} |",
            "",
            f"The driver took {run['driver_cpu_s']:.0f} s of CPU and {run['driver_mb']:.0f} MB. "
            f"Calls of the API: {calls}; {run['received_kb']} kB received.",
        ]
    )


def main() -> None:
    """Measure and publish."""
    parser = parser_of(__doc__)
    parser.add_argument("--shards", type=int, default=1000)
    options = parser.parse_args()
    if options.json:
        options.json = options.json.resolve()
    result = measure(options.shards)
    os.chdir(ROOT)
    publish("batches", result, table(result), options)
    print(json.dumps(result["run"]))


if __name__ == "__main__":
    main()
