"""Time and memory that routing takes per cell, beside stock pysheds on the same terrain.

    python benchmarks/kernels.py [--cells 1 16] [--repeats 3] [--json FILE] [--readme]

The chain is depression filling, flats, D8 directions and upslope cells, from an elevation array in
memory to arrays in memory, in one thread. Of pysheds it is `fill_pits`, `fill_depressions`,
`resolve_flats`, `flowdir` and `accumulation`, compiled beforehand. Each of the two runs in a
process of its own, in turn; the best of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from workflow import write_table

ROOT = Path(__file__).parents[1]
SEED = 201
CELL_M = 10.0
TARGETS = {"chain": 60.0, "memory": 40.0}
"""Most that the chain may take: nanoseconds and bytes per cell."""


def kernels() -> Callable[[np.ndarray], dict[str, float]]:
    """The chain on the kernels: takes terrain, tells the seconds of each step."""
    from terrain import pad

    from snakeshed.kernels.accumulation import count_upslope
    from snakeshed.kernels.conditioning import fill

    def chain(z: np.ndarray) -> dict[str, float]:
        padded, border = pad(z)
        cell_m = np.full(len(padded), CELL_M)
        start = time.perf_counter()
        filled, directions = fill(padded, border, cell_m, cell_m)
        conditioned = time.perf_counter()
        counts = count_upslope(directions)
        end = time.perf_counter()
        if counts[directions == 0].sum() != z.size or (filled < padded).any():
            raise AssertionError("cells were lost or lowered")
        return {"condition": conditioned - start, "accumulation": end - conditioned}

    return chain


def pysheds() -> Callable[[np.ndarray], dict[str, float]]:
    """The same of stock pysheds."""
    from affine import Affine

    from snakeshed.pysheds_import import Grid, Raster, ViewFinder

    def chain(z: np.ndarray) -> dict[str, float]:
        affine = Affine(CELL_M, 0, 0, 0, -CELL_M, 0)
        view = ViewFinder(affine=affine, shape=z.shape, nodata=np.nan)
        grid, raster = Grid(viewfinder=view), Raster(z.astype(np.float64), view)
        start = time.perf_counter()
        for step in (grid.fill_pits, grid.fill_depressions, grid.resolve_flats, grid.flowdir):
            raster = step(raster)
        conditioned = time.perf_counter()
        grid.accumulation(raster)
        end = time.perf_counter()
        return {"condition": conditioned - start, "accumulation": end - conditioned}

    return chain


def memory(field: str) -> int:
    """Bytes of memory that this process has (VmRSS), or has had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def run_side(side: str, terrain: Path, repeats: int) -> dict[str, float]:
    """Seconds of each step, the best of some runs, and the memory that the first of them took."""
    chain = SIDES[side]()
    chain(np.random.default_rng(SEED).random((50, 50), dtype=np.float32))  # compiles
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = memory("VmRSS")
    z = np.load(terrain)
    best = chain(z)
    best["peak_bytes"] = memory("VmHWM") - before
    for _ in range(repeats - 1):
        for step, seconds in chain(z).items():
            best[step] = min(best[step], seconds)
    return best


SIDES = {"snakeshed": kernels, "pysheds": pysheds}


def measure(cells: list[float], repeats: int, folder: Path) -> list[dict]:
    """Both sides on terrain of each size, in millions of cells."""
    import terrain

    rows = []
    for millions in cells:
        size = round((millions * 1e6) ** 0.5)
        path = folder / f"eroded_{size}.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.save(path, terrain.eroded(size, SEED))
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side, "--terrain", str(path)]
            found = json.loads(
                subprocess.run(
                    [*command, "--repeats", str(repeats if side == "snakeshed" else 1)],
                    check=True,
                    stdout=subprocess.PIPE,
                    env=os.environ | {"NUMBA_NUM_THREADS": "1"},
                ).stdout
            )
            per_cell = {step: value / size**2 for step, value in found.items()}
            rows.append(
                {
                    "cells": size**2,
                    "side": side,
                    "condition_ns": round(per_cell["condition"] * 1e9, 1),
                    "accumulation_ns": round(per_cell["accumulation"] * 1e9, 1),
                    "chain_ns": round((per_cell["condition"] + per_cell["accumulation"]) * 1e9, 1),
                    "memory_bytes": round(per_cell["peak_bytes"], 1),
                }
            )
    return rows


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    try:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        cpu = platform.machine()
    packages = ("snakeshed", "numpy", "numba", "pysheds")
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, one thread used",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {_version(p)}" for p in packages)]
        ),
        "date": time.strftime("%Y-%m-%d"),
    }


def _version(package: str) -> str:
    if package == "snakeshed":
        import snakeshed

        return snakeshed.__version__
    return version(package)


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    lines = [
        f"Eroded terrain. {result['machine']}; {result['versions']}; {result['date']}.",
        "",
        "| cells | | fill, flats, D8 (ns/cell) | upslope cells (ns/cell) | chain (ns/cell) "
        "| memory (bytes/cell) |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['cells']:,} | {row['side']} | {row['condition_ns']} | {row['accumulation_ns']} "
        f"| **{row['chain_ns']}** | {row['memory_bytes']} |"
        for row in result["rows"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark; the exit status is 1 if the kernels miss a target."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cells", type=float, nargs="+", default=[1, 16], help="millions of cells")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--readme", action="store_true", help="update benchmarks/README.md")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "results" / "benchmarks",
        help="where made terrain is kept",
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--terrain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        found = run_side(options.side, options.terrain, options.repeats)
        sys.stdout.write(json.dumps(found))
        return
    rows = measure(options.cells, options.repeats, options.folder)
    result = {**machine(), "rows": rows}
    table = table_of(result)
    sys.stdout.write(table + "\n")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.readme:
        write_table("kernels", table)
    ours = [row for row in rows if row["side"] == "snakeshed"]
    sys.exit(
        any(
            row["chain_ns"] > TARGETS["chain"] or row["memory_bytes"] > TARGETS["memory"]
            for row in ours
        )
    )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "scripts"))
    main()
