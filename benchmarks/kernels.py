"""Time and memory that routing takes per cell, beside other libraries on the same terrain.

    python benchmarks/kernels.py [--cells 1 16] [--terrain eroded fractal integer_flats]
                                 [--peers FOLDER [--python PYTHON ...]] [--sides NAME ...]
                                 [--repeats 3] [--limit 600] [--json FILE] [--readme]

The chain is all from an elevation array in memory to directions and upslope cells in memory. Each
side runs in a process of its own (`side.py`), one after the other, in one thread where the table
does not say otherwise. What is compiled is compiled beforehand, and the elevations are in the form
that the library takes (padded, float64, its own raster). The best of the repeats counts. Memory is
the most that the process takes beyond the elevations in float32.

With --peers, the libraries of `peers.py` run besides pysheds, in environments that are made in
FOLDER when they are not there; --python names interpreters for those that this one does not suit.
A side that is not run, or stopped at the limit of seconds, is a row that says so. The exit status
is 1 if a target is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers import PEERS, Peer, PeerMissingError, environment
from record import ROOT, machine, made_folder, parser_of, publish, save, source_of, version_of
from usage import available

SEED = 201
TERRAINS = ("eroded", "fractal", "integer_flats")
CHAINS = {
    "snakeshed": "`fill` (basin graph, flats by distance), `count_upslope`",
    "snakeshed carve": "`carve` (basin graph), `count_upslope`",
    "pysheds": "Numba; `fill_pits`, `fill_depressions`, `resolve_flats`, `flowdir`, "
    "`accumulation`, in float64; some flats keep pits",
}
"""What the sides that need no environment of their own do."""
ALL_CORES = ("whitebox-workflows",)


@dataclass(frozen=True)
class Contender:
    """A side of the comparison: its name in `side.py`, its threads, and how to run it."""

    name: str
    threads: int
    python: str | None
    version: str
    missing: str = ""

    @property
    def label(self) -> str:
        """Its name in the table."""
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.name}{threads}"


def contenders(options: Namespace) -> list[Contender]:
    """All sides, and the environments of peers."""
    here = sys.executable
    ours = version_of("snakeshed")
    found = [Contender("snakeshed", 1, here, ours), Contender("snakeshed", 2, here, ours)]
    found += [Contender("snakeshed carve", 1, here, ours)]
    found += [Contender("pysheds", 1, here, version_of("pysheds"))]
    wanted = [peer for peer in PEERS if not options.sides or peer.name in options.sides]
    found += [_of_peer(peer, options) for peer in wanted if options.peers]
    return [side for side in found if not options.sides or side.name in options.sides]


def _of_peer(peer: Peer, options: Namespace) -> Contender:
    try:
        python = environment(peer, options.peers, [*options.python, sys.executable])
    except PeerMissingError as error:
        return Contender(peer.name, 1, None, peer.version, str(error))
    return Contender(peer.name, 1, str(python), peer.version)


def made(kind: str, millions: float, folder: Path) -> Path:
    """The file of a terrain, which is made if it is not there."""
    import made_terrain

    size = round((millions * 1e6) ** 0.5)
    path = folder / f"{kind}_{size}_{SEED}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        z = made_terrain.KINDS[kind](size, SEED)
        part = path.with_suffix(".part.npy")
        np.save(part, z)
        part.replace(path)
    return path


def measure(options: Namespace) -> list[dict]:
    """All sides on all terrains; rows are written as they come, if a file is named for them."""
    rows: list[dict] = []
    sides = contenders(options)
    for kind in options.terrain:
        for millions in sorted(options.cells):
            path = made(kind, millions, options.folder)
            cells = int(np.prod(np.load(path, mmap_mode="r").shape))
            for side in sides:
                row = {"terrain": kind, "cells": cells, "side": side.label}
                reason = side.missing or _too_much(side, kind, cells, rows, options.limit)
                row |= {"missing": reason} if reason else _run(side, path, options)
                rows.append(row)
                print(*row.values(), file=sys.stderr)
                save({"rows": rows}, options)
    return rows


def _too_much(side: Contender, kind: str, cells: int, rows: list[dict], limit: float) -> str:
    """Why a side that ran, or failed, on less of the same terrain is not run, if so."""
    before = [row for row in rows if row["terrain"] == kind and row["side"] == side.label]
    if not before:
        return ""
    last = before[-1]
    if "missing" in last:
        return f"not run, as with {last['cells']:,} cells: {last['missing'].split(': ')[-1]}"
    seconds = last["chain_ns"] * cells / 1e9
    if seconds > limit:
        return f"not run: it would take {seconds:.0f} s or more"
    needed = (last["memory_bytes"] + 8) * cells
    free = available()
    return f"not run: it needs {needed / 1e9:.0f} GB" if needed > free else ""


def _run(side: Contender, path: Path, options: Namespace) -> dict:
    command = [side.python, str(ROOT / "benchmarks" / "side.py"), side.name, str(path)]
    command += ["--threads", str(side.threads), "--repeats", str(options.repeats)]
    threads = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environ |= dict.fromkeys(threads, str(side.threads))
    try:
        done = subprocess.run(
            [*command, "--seconds", str(options.limit / 2)],
            capture_output=True,
            check=True,
            env=environ,
            timeout=options.limit,
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"stopped: not done after {options.limit:g} s"}
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return {"missing": f"failed: {said[-1] if said else f'exit status {error.returncode}'}"}
    found = json.loads(done.stdout)
    ns = {step: round(use["s"] / found["cells"] * 1e9, 1) for step, use in found["steps"].items()}
    memory = {step: use["bytes"] / found["cells"] for step, use in found["steps"].items()}
    return {
        "repeats": found["repeats"],
        "steps_ns": ns,
        "steps_bytes": {step: round(most, 1) for step, most in memory.items()},
        "condition_ns": round(sum(ns.values()) - ns["accumulation"], 1),
        "accumulation_ns": ns["accumulation"],
        "chain_ns": round(sum(ns.values()), 1),
        "memory_bytes": round(max(memory.values()), 1),
        "trapped": found["trapped"],
        "largest": found["largest"],
    }


def targets(rows: list[dict]) -> list[dict]:
    """What the kernels must reach: each target with what was found, where it was measured."""
    found = {
        (row["terrain"], round(row["cells"] / 1e6), row["side"]): row
        for row in rows
        if "missing" not in row
    }
    checks = [
        ("upslope cells", "eroded", 16, "snakeshed", "accumulation_ns", 4),
        ("chain", "eroded", 16, "snakeshed", "chain_ns", 25),
        ("chain on 2 threads", "eroded", 16, "snakeshed, 2 threads", "chain_ns", 13),
        ("chain", "fractal", 16, "snakeshed", "chain_ns", 55),
        ("chain", "integer_flats", 16, "snakeshed", "chain_ns", 60),
        ("chain", "eroded", 100, "snakeshed", "chain_ns", 35),
        ("memory", "eroded", 16, "snakeshed", "memory_bytes", 40),
    ]
    result = [
        {"what": what, "on": f"{kind}, {millions} M", "most": most, "found": row[key]}
        for what, kind, millions, side, key, most in checks
        if (row := found.get((kind, millions, side)))
    ]
    for name in ("pysheds", *(peer.name for peer in PEERS)):
        # One that takes all cores whatever it is given, beside two threads.
        ours = "snakeshed, 2 threads" if name in ALL_CORES else "snakeshed"
        sides = found.get(("eroded", 16, ours)), found.get(("eroded", 16, name))
        if all(sides):
            result.append(
                {"what": f"times faster than {name}", "on": "eroded, 16 M"}
                | {"least": 10, "found": sides[1]["chain_ns"] / sides[0]["chain_ns"]}
            )
    for check in result:
        check["met"] = check.get("least", -np.inf) <= check["found"] <= check.get("most", np.inf)
    return result


def table_of(result: dict) -> str:
    """The result as Markdown tables."""
    lines = [source_of(result), ""]
    lines += [
        f"- {check['what']} ({check['on']} cells): {check['found']:.1f}, target "
        + (f"at most {check['most']:g}" if "most" in check else f"at least {check['least']:g}")
        + (", met" if check["met"] else ", **missed**")
        for check in result["targets"]
    ]
    for kind in dict.fromkeys(row["terrain"] for row in result["rows"]):
        lines += [
            "",
            f"Terrain `{kind}`:",
            "",
            "| cells | | conditioning (ns/cell) | upslope cells (ns/cell) | chain (ns/cell) | "
            "chain, times ours | memory (bytes/cell) | water trapped |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row, result["rows"]) for row in result["rows"] if row["terrain"] == kind]
    lines += ["", "What they do:", ""]
    lines += [f"- {side}: {chain}." for side, chain in result["chains"].items()]
    return "\n".join(lines)


def _line(row: dict, rows: list[dict]) -> str:
    start = f"| {row['cells']:,} | {row['side']} |"
    if "missing" in row:
        return f"{start} {row['missing']} | | | | | |"
    ours = [
        other["chain_ns"]
        for other in rows
        if other["side"] == "snakeshed"
        and "missing" not in other
        and (other["terrain"], other["cells"]) == (row["terrain"], row["cells"])
    ]
    ratio = f"{row['chain_ns'] / ours[0]:.1f}" if ours else ""
    return (
        f"{start} {row['condition_ns']} | {row['accumulation_ns']} | **{row['chain_ns']}** | "
        f"{ratio} | {row['memory_bytes']} | {row['trapped']:.2%} |"
    )


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    made_folder(parser)
    parser.add_argument("--cells", type=float, nargs="+", default=[1, 16], help="millions of cells")
    parser.add_argument("--terrain", nargs="+", choices=TERRAINS, default=TERRAINS)
    parser.add_argument("--peers", type=Path, help="folder for the environments of peers")
    parser.add_argument("--python", nargs="+", default=[], help="interpreters to make them with")
    parser.add_argument("--sides", nargs="+", default=[], help="run these only, by their names")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one side at once")
    options = parser.parse_args()
    rows = measure(options)
    checks = targets(rows)
    result = machine("snakeshed", "numpy", "numba", "pysheds") | {
        "chains": CHAINS
        | {f"{peer.name} {peer.version}": peer.chain for peer in PEERS if options.peers},
        "targets": checks,
        "rows": rows,
    }
    publish("kernels", result, table_of(result), options)
    sys.exit(not all(check["met"] for check in checks))


if __name__ == "__main__":
    sys.path.append(str(ROOT / "scripts"))
    main()
