"""What Snakemake takes to plan a study of many shards.

    python benchmarks/planning.py [--shards 100 1000 10000] [--json FILE] [--readme]

The workflow itself splits made sites on a made DEM; then three things are measured, in CPU seconds
of Snakemake's process alone: a dry run, a real run until its first job begins, and a job's process
on another node (a pod, started with the options that the executor gives it) until its script
begins. Nothing is delineated. 10,000 shards take some minutes to be split.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from record import ROOT, machine, parser_of, publish, source_of

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
DRIVER = ["--workflow-profile", str(ROOT / "profiles/default"), "--cores", "1"]
DRIVER += ["--configfile", "study.yaml"]
# What RealExecutor.format_job_exec gives a job, as far as it matters to planning.
POD = ["--cores", "all", "--attempt", "1", "--force-use-threads", "--force"]
POD += ["--target-files-omit-workdir-adjustment", "--max-inventory-time", "0", "--retries", "0"]
POD += ["--nocolor", "--no-hooks", "--nolock", "--ignore-incomplete", "--scheduler", "greedy"]
POD += ["--rerun-triggers", "code", "input", "mtime", "params", "software-env"]
POD += ["--shared-fs-usage", "persistence", "input-output", "sources", "storage-local-copies"]
POD += ["--mode", "remote", "--configfiles", "study.yaml"]
SITES_PER_SHARD = 4
CELL_M, TILE_CELLS = 30, 200
WEST, NORTH = 400_000, 3_800_000
PATIENCE_S = 1800


def write_study(folder: Path, shards: int) -> None:
    """Write a DEM of tiles, random sites and a layer, and a study with so many shards."""
    # Patches of 10 cells: several for each shard.
    side = TILE_CELLS * math.ceil(10 * math.sqrt(4 * shards) / TILE_CELLS)
    rng = np.random.default_rng(1)
    (folder / "dem").mkdir()
    for row in range(0, side, TILE_CELLS):
        for column in range(0, side, TILE_CELLS):
            _write_tile(folder / f"dem/tile_{row}_{column}.tif", row, column)
    _write_tile(folder / "rain.tif", 0, 0)
    places = CELL_M * (5 + rng.random((SITES_PER_SHARD * shards, 2)) * (side - 10))
    lines = [f"s{k},{WEST + x:.1f},{NORTH - y:.1f}" for k, (x, y) in enumerate(places)]
    (folder / "sites.csv").write_text("\n".join(["site,x,y", *lines, ""]), encoding="utf-8")
    study = {
        "study": "plan",
        "shards": shards,
        "sites": {
            "path": "sites.csv",
            "crs": "EPSG:32611",
            "columns": {"site_id": "site", "x": "x", "y": "y"},
        },
        "dem": {"path": "dem/*.tif"},
        "patches": {"core_m": 300, "buffer_m": 300, "levels": 2},
        "layers": [{"name": "rain", "path": "rain.tif", "type": "numeric", "unit": "mm"}],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")


def _write_tile(path: Path, row: int, column: int) -> None:
    rows, columns = np.mgrid[:TILE_CELLS, :TILE_CELLS]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="float32",
        count=1,
        crs="EPSG:32611",
        height=TILE_CELLS,
        width=TILE_CELLS,
        transform=Affine(CELL_M, 0, WEST + column * CELL_M, 0, -CELL_M, NORTH - row * CELL_M),
    ) as raster:
        raster.write((rows + row + 0.7 * (columns + column)).astype("float32"), 1)


def run(command: list[str], folder: Path) -> dict:
    """Run a command to its end: its own CPU seconds, its peak in MB, and what it said.

    Raises
    ------
    SystemExit
        It failed.
    """
    with (folder / "said").open("w+") as said:
        process = _start(command, folder, said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"cpu_s": round(cpu_s, 2), "peak_mb": round(usage.ru_maxrss / 1000), "said": text}


def until_script(command: list[str], folder: Path, script: str) -> dict:
    """Run a command until one of its children runs a script, and end it.

    Returns
    -------
    dict
        CPU seconds of the process itself until then, and its peak in MB.

    Raises
    ------
    SystemExit
        It ended before, or has not come so far after half an hour.
    """
    with (folder / "said").open("w+") as said:
        process = _start(command, folder, said)
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not any(script in line for line in children(process.pid)):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise SystemExit(f"{' '.join(command)} ran no {script}:\n{said.read()}")
                time.sleep(0.005)
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {
        "cpu_s": round(sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"), 2),
        "peak_mb": round(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1.024 / 1000),
    }


def children(pid: int) -> list[str]:
    """Command lines of the processes that a process has started and that still run."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # It has ended.
    return lines


def _start(command: list[str], folder: Path, said) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    )


def measure(shards: int) -> dict:
    """Measure a study of so many shards, once they are split."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_study(folder, shards)
        split = run([*SNAKEMAKE, *DRIVER, "--until", "split_shards"], folder)
        plan = run([*SNAKEMAKE, *DRIVER, "--dry-run"], folder)
        planned = int(re.search(r"^delineate\s+(\d+)$", plan["said"], re.MULTILINE)[1])
        if planned != shards:
            raise SystemExit(f"{planned} of {shards} shards planned:\n{plan['said']}")
        shard = str(1).zfill(max(2, len(str(shards - 1))))
        target = ["--target-jobs", f"delineate:shard={shard}", "--allowed-rules", "delineate"]
        pod = until_script([*SNAKEMAKE, *target, *POD], folder, "delineate.py")
        start = until_script([*SNAKEMAKE, *DRIVER], folder, "delineate.py")
    row = {
        "shards": shards,
        "split_cpu_s": split["cpu_s"],
        "dry_run": {key: plan[key] for key in ("cpu_s", "peak_mb")},
        "start": start,
        "pod": pod,
    }
    print(row, file=sys.stderr, flush=True)
    return row


def slope(first: dict, last: dict, kind: str) -> float:
    """Power of the number of shards that CPU time grows with from one row to another."""
    times = last[kind]["cpu_s"] / first[kind]["cpu_s"]
    return math.log(times) / math.log(last["shards"] / first["shards"])


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    rows = result["rows"]
    lines = [
        source_of(result),
        "",
        "| shards | dry run (CPU s) | its peak (MB) | start of a run (CPU s) | its peak (MB) "
        "| a pod until its script (CPU s) | its peak (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['shards']:,} | "
        + " | ".join(
            f"{row[kind]['cpu_s']:.1f} | {row[kind]['peak_mb']}"
            for kind in ("dry_run", "start", "pod")
        )
        + " |"
        for row in rows
    ]
    if len(rows) > 1:
        first, last = rows[-2:]
        lines += [
            "",
            f"From {first['shards']:,} to {last['shards']:,} shards, the time of a dry run grows "
            f"as their number to the power of {slope(first, last, 'dry_run'):.2f}, that of a "
            f"start {slope(first, last, 'start'):.2f}, that of a pod "
            f"{slope(first, last, 'pod'):.2f} (linear is 1).",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000, 10_000])
    options = parser.parse_args()
    rows = [measure(shards) for shards in options.shards]
    result = machine("snakeshed", "snakemake") | {"rows": rows}
    publish("planning", result, table_of(result), options)


if __name__ == "__main__":
    main()
