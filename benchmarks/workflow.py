"""Time of a whole run over the 716 sites of Staley et al. (2016), and where it goes.

    python benchmarks/workflow.py STALEY.xlsx DEM.tif [--cores 2] [--json FILE] [--readme]

The table is USGS Open-File Report 2016-1106, appendix 1; the DEM any that covers some of its
sites. "Work" is what a job does after its imports, as its log says; its start-up is the rest of the
time from start to end that Snakemake notes of it.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from record import ROOT, machine, parser_of, publish, source_of
from staley import SITES

WORK = re.compile(r"done in ([\d.]+) s")
READ = re.compile(r"cells read in ([\d.]+) s")


def published_study(table: Path, dem: Path) -> dict:
    """Return the configuration of a study of the 716 sites."""
    return {
        "study": "benchmark",
        "sites": {**SITES, "path": str(table)},
        "dem": {"path": str(dem)},
    }


def run(folder: Path, cores: int) -> float:
    """Run the workflow in a folder and return its wall time in seconds."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--workflow-profile", ROOT / "profiles/default", "--cores", str(cores)]
    started = time.perf_counter()
    subprocess.run(
        [*map(str, command), "--configfile", "study.yaml"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"NUMBA_NUM_THREADS": "1"},
    )
    return time.perf_counter() - started


def seconds_in(pattern: re.Pattern, logs: list[Path]) -> float:
    """Sum of the seconds that a pattern finds in some logs."""
    return sum(float(found) for log in logs for found in pattern.findall(log.read_text()))


def jobs_of(folder: Path) -> list[tuple[str, float, float]]:
    """Rule, seconds and seconds of work of each job, by Snakemake's notes and the jobs' logs."""
    jobs = {}
    for path in (folder / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            note = json.loads(path.read_text(encoding="utf-8"))
            (log,) = note["log"]
            jobs[log] = (note["rule"], note["endtime"] - note["starttime"])
    return [
        (rule, seconds, seconds_in(WORK, [folder / log])) for log, (rule, seconds) in jobs.items()
    ]


def measure(table: Path, dem: Path, cores: int) -> dict:
    """Time a first run and a run that has nothing to do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = published_study(table.resolve(), dem.resolve())
        (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        first, nothing = run(folder, cores), run(folder, cores)
        logs = folder / "results/benchmark/logs"
        delineations = sorted((logs / "delineate").iterdir())
        work = {
            "sites, terrain, shards": seconds_in(
                WORK, [logs / f"{rule}.log" for rule in ("prepare_sites", "index_terrain")]
            )
            + seconds_in(WORK, [logs / "split_shards.log"]),
            "delineate: reading the DEM": seconds_in(READ, delineations),
            "extract_features": seconds_in(WORK, sorted((logs / "extract_features").iterdir())),
            "gather, summarise": seconds_in(
                WORK, [*logs.glob("gather_*.log"), logs / "summarise.log"]
            ),
        }
        delineate = seconds_in(WORK, delineations)
        work["delineate: routing, snapping, outlines"] = (
            delineate - work["delineate: reading the DEM"]
        )
        summary = json.loads((folder / "results/benchmark/summary.json").read_text())
        jobs = jobs_of(folder)
    return machine("snakeshed", "snakemake") | {
        "cores": cores,
        "sites": summary["sites"],
        "delineated": summary["status"]["ok"],
        "wall_s": round(first, 1),
        "no_op_wall_s": round(nothing, 1),
        "work_s": {part: round(seconds, 1) for part, seconds in work.items()},
        "jobs": len(jobs),
        "start_up_s": round(sum(seconds - done for _, seconds, done in jobs), 1),
        "start_up_of_a_shard_s": round(
            statistics.median(
                seconds - done for rule, seconds, done in jobs if rule == "delineate"
            ),
            2,
        ),
        "waiting_s": round(cores * first - sum(seconds for _, seconds, _ in jobs), 1),
    }


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    lines = [
        f"{result['sites']} sites, {result['delineated']} of them on the DEM, {result['cores']} "
        f"cores: {result['wall_s']} s; again with nothing to do: {result['no_op_wall_s']} s. "
        f"{source_of(result)}",
        "",
        "| part | core-seconds |",
        "|---|---|",
        *(f"| {part} | {seconds} |" for part, seconds in result["work_s"].items()),
        f"| start-up of {result['jobs']} jobs, {result['start_up_of_a_shard_s']} s for one "
        f"of a shard | {result['start_up_s']} |",
        f"| Snakemake, and cores that wait for it or for another job | {result['waiting_s']} |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("dem", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    result = measure(options.table, options.dem, options.cores)
    publish("workflow", result, table_of(result), options)


if __name__ == "__main__":
    main()
