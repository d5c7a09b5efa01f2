"""Times of whole runs, and where they go.

    python benchmarks/workflow.py STALEY.xlsx DEM.tif [--before CHECKOUT] [--rounds 3] [--cores 2]
                                  [--json FILE] [--readme]

The demo, alone and with --profile dask, and the 716 sites of Staley et al. (2016; the table is USGS
Open-File Report 2016-1106, appendix 1; the DEM any that covers some of its sites). Then the same
command again: with nothing to do, and with one site moved. Kernels are compiled and files are in
memory: a first round does not count. With --before, another checkout (of an older version, say)
does the same, in turns. "Core-seconds" are the CPU time of all processes of a run.
"""

from __future__ import annotations

import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import openpyxl
import yaml
from record import ROOT, machine, parser_of, publish, source_of
from staley import SHEET, SITES

NAMES = {
    "demo": "the demo",
    "dask": "the demo, `--profile dask`",
    "sites": "716 sites",
    "nothing": "716 sites, nothing to do",
    "one": "716 sites, one moved",
}


def published_study(table: Path, dem: Path) -> dict:
    """Return the configuration of a study of the 716 sites."""
    return {
        "study": "benchmark",
        "sites": {**SITES, "path": str(table)},
        "dem": {"path": str(dem)},
    }


def move_a_site(table: Path) -> None:
    """Move the site of the first row to the east by 30 m."""
    book = openpyxl.load_workbook(table)
    sheet = book[SHEET]
    header = [cell.value for cell in sheet[1]]
    sheet.cell(row=2, column=1 + header.index(SITES["columns"]["x"])).value += 30
    book.save(table)


class Runs:
    """Runs of one checkout in folders of its own.

    Parameters
    ----------
    checkout, folder : Path
    cores : int
    """

    def __init__(self, checkout: Path, folder: Path, cores: int) -> None:
        self._checkout = checkout
        self._folder = folder
        self._cores = cores
        self.times: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def round(self, table: Path, dem: Path) -> None:
        """Run all cases once."""
        shutil.rmtree(self._folder, ignore_errors=True)
        demo, dask, sites = (self._folder / name for name in ("demo", "dask", "sites"))
        for folder in (demo, dask, sites):
            folder.mkdir(parents=True)
            (folder / "config").symlink_to(self._checkout / "config")
        own = sites / "sites.xlsx"
        shutil.copy(table, own)
        study = yaml.safe_dump(published_study(own, dem.resolve()))
        (sites / "study.yaml").write_text(study, encoding="utf-8")
        self._run("demo", demo, "config/config.yaml")
        self._run(
            "dask", dask, "config/config.yaml", "--profile", str(self._checkout / "profiles/dask")
        )
        self._run("sites", sites, "study.yaml")
        self._run("nothing", sites, "study.yaml")
        move_a_site(own)
        self._run("one", sites, "study.yaml")

    def jobs_of_all_sites(self) -> tuple[float, dict[str, float]]:
        """CPU seconds of one more run of all sites, and those of its jobs by rule."""
        results = self._folder / "sites/results/benchmark"
        shutil.rmtree(results)
        self._run("all", self._folder / "sites", "study.yaml")
        ((_, total),) = self.times.pop("all")
        return total, spent_by_rule(results)

    def _run(self, case: str, folder: Path, configuration: str, *more: str) -> None:
        command = [sys.executable, "-m", "snakemake", "--cores", str(self._cores)]
        command += ["--snakefile", str(self._checkout / "Snakefile")]
        command += ["--workflow-profile", str(self._checkout / "profiles/default")]
        environment = {**os.environ, "PYTHONPATH": str(self._checkout / "scripts")}
        began, spent = time.perf_counter(), _children_s()
        done = subprocess.run(
            [*command, "--configfile", configuration, *more],
            cwd=folder,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stdout)
        self.times[case].append((time.perf_counter() - began, _children_s() - spent))

    def medians(self) -> dict[str, dict[str, float]]:
        """Median seconds of each case, but for the first round: wall time and CPU time."""
        found = {}
        for case, times in self.times.items():
            wall, cpu = zip(*times[1:], strict=True)
            found[case] = {
                "wall_s": round(statistics.median(wall), 1),
                "cpu_s": round(statistics.median(cpu), 1),
            }
        return found


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spent_by_rule(results: Path) -> dict[str, float]:
    """CPU seconds of the jobs of each rule, as Snakemake's benchmarks of the last run have them."""
    spent: dict[str, float] = defaultdict(float)
    for path in sorted((results / "logs").rglob("*.tsv")):
        name = path.parent.name if path.stem.isdigit() else path.stem
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                spent[name] += float(row["cpu_time"])
    return dict(spent)


def measure(table: Path, dem: Path, checkouts: list[Path], rounds: int, cores: int) -> dict:
    """Run all cases of each checkout in turns, and see where the time of 716 sites goes."""
    with tempfile.TemporaryDirectory() as name:
        runs = [Runs(each, Path(name, str(number)), cores) for number, each in enumerate(checkouts)]
        for _ in range(1 + rounds):
            for each in runs:
                each.round(table, dem)
        total, jobs = runs[0].jobs_of_all_sites()
    jobs |= {"Snakemake, and the process that forks": total - sum(jobs.values())}
    now, *before = [each.medians() for each in runs]
    return machine("snakeshed", "snakemake") | {
        "cores": cores,
        "rounds": rounds,
        "now": now,
        "before": before[0] if before else None,
        "core_seconds": {part: round(seconds, 2) for part, seconds in jobs.items()},
    }


def table_of(result: dict) -> str:
    """The result as Markdown tables."""
    before = result["before"]
    lines = [
        f"{result['cores']} cores; medians of {result['rounds']} rounds. {source_of(result)}",
        "",
    ]
    heads = ["run", "seconds", "core-seconds"]
    heads += ["before: seconds", "core-seconds", "times faster"] if before else []
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for case, found in result["now"].items():
        row = [NAMES[case], f"**{found['wall_s']}**", str(found["cpu_s"])]
        if before:
            then = before[case]
            row += [str(then["wall_s"]), str(then["cpu_s"])]
            row += [f"{then['wall_s'] / found['wall_s']:.1f}"]
        lines.append(f"| {' | '.join(row)} |")
    lines += [
        "",
        "Where the core-seconds of 716 sites go:",
        "",
        "| part | core-seconds |",
        "|---|---|",
    ]
    spent = result["core_seconds"]
    for part in sorted(spent, key=spent.get, reverse=True):
        if spent[part] >= 0.05:
            lines.append(f"| {part} | {spent[part]} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("dem", type=Path)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    checkouts = [ROOT, *([options.before.resolve()] if options.before else [])]
    result = measure(options.table, options.dem, checkouts, options.rounds, options.cores)
    publish("workflow", result, table_of(result), options)


if __name__ == "__main__":
    main()
