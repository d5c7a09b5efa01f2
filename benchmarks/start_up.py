"""What the script of each rule imports before it works.

    python benchmarks/start_up.py [--before CHECKOUT] [--rounds 5] [--json FILE] [--readme]

CPU seconds of a new Python that imports what a script imports at its top, as a job does that is not
run in a warm process (with --sdm conda, or in a pod of its own), split by what is imported
(`python -X importtime`). With --before, the same of another checkout, in turns.
"""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from record import ROOT, machine, parser_of, publish, source_of

LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| +([\w.]+)$", re.MULTILINE)
# Columns of the table: packages that take long, with what belongs to them.
GROUPS = {
    "numba": ("numba", "llvmlite"),
    "numpy": ("numpy",),
    "pandas": ("pandas", "geopandas", "pyogrio", "dateutil", "pytz"),
    "pyarrow": ("pyarrow",),
    "rasterio": ("rasterio", "affine", "attr", "click"),
    "pyproj, shapely": ("pyproj", "shapely"),
    "scipy": ("scipy",),
    "matplotlib": ("matplotlib", "PIL", "mpl_toolkits", "cycler", "kiwisolver", "pyparsing"),
    "snakeshed": ("snakeshed",),
}


def cpu_of_import(checkout: Path, script: str) -> float:
    """CPU seconds of a Python that imports a script and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {script}"], env=_with(checkout), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def split_of_import(checkout: Path, script: str) -> dict[str, float]:
    """Share of each group in the time that the imports of a script take."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {script}"],
        env=_with(checkout),
        check=True,
        capture_output=True,
        text=True,
    )
    spent: dict[str, float] = defaultdict(float)
    for microseconds, module in LINE.findall(done.stderr):
        spent[_group_of(module)] += int(microseconds)
    total = sum(spent.values())
    return {group: part / total for group, part in spent.items()}


def _with(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout / "scripts")}


def _group_of(module: str) -> str:
    package = module.partition(".")[0]
    return next((group for group, names in GROUPS.items() if package in names), "other")


def measure(checkouts: list[Path], rounds: int) -> dict:
    """Measure the scripts that all checkouts have."""
    scripts = [path.stem for path in sorted((ROOT / "scripts").glob("*.py"))]
    scripts = [
        each for each in scripts if all((c / f"scripts/{each}.py").exists() for c in checkouts)
    ]
    rows = []
    for script in scripts:
        times: list[list[float]] = [[] for _ in checkouts]
        for _ in range(1 + rounds):
            for found, checkout in zip(times, checkouts, strict=True):
                found.append(cpu_of_import(checkout, script))
        now, *before = [statistics.median(found[1:]) for found in times]
        shares = split_of_import(ROOT, script)
        rows.append(
            {
                "script": script,
                "cpu_s": round(now, 2),
                "before_s": round(before[0], 2) if before else None,
                "split_s": {group: round(share * now, 3) for group, share in shares.items()},
            }
        )
    return machine("snakeshed", "numba", "pyarrow", "rasterio", "pandas") | {
        "rounds": rounds,
        "scripts": rows,
    }


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    before = result["scripts"][0]["before_s"] is not None
    groups = [*GROUPS, "other"]
    heads = ["script", *(["before"] if before else []), "CPU (s)", *groups]
    lines = [source_of(result), "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in result["scripts"]:
        parts = [row["split_s"].get(group, 0) for group in groups]
        cells = [row["script"], *([str(row["before_s"])] if before else []), f"**{row['cpu_s']}**"]
        cells += [f"{part:.2f}" if part >= 0.005 else "" for part in parts]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkouts = [ROOT, *([options.before.resolve()] if options.before else [])]
    result = measure(checkouts, options.rounds)
    publish("start-up", result, table_of(result), options)


if __name__ == "__main__":
    main()
