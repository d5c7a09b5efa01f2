"""Routing by tiles: its cost beside one array and beside a peer on Dask, and a patch of any size.

    python benchmarks/tiled.py [--cells 16] [--edge 1000] [--peers FOLDER [--python PYTHON ...]]
                               [--large 32000] [--large-edge 3200] [--memory 2] [--workers 2]
                               [--scratch FOLDER] [--json FILE] [--readme]

The first part drains the eroded terrain of `made_terrain.py` as one array and by tiles of at most
EDGE cells a side, by filling and by carving, and with --peers by xarray-spatial on Dask in chunks
of the same size: fill, directions and accumulation, all three from arrays in memory to arrays or
files. What is compiled is compiled beforehand. The second part is a window of --large cells a side,
the same terrain mirrored again and again (so that its water ponds across many tiles), in worker
processes that can have no more than --memory GiB of data each, with all of it on disk. --large 0
leaves it out. It runs twice, and the second run counts. All water has to leave the window; the exit
status is 1 if it does not, or if a target is missed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from peers import PEERS, PeerMissingError, environment
from record import ROOT, machine, made_folder, parser_of, publish, source_of
from usage import memory

sys.path.append(str(ROOT / "scripts"))

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.carving import carve
from snakeshed.kernels.d8 import OUTSIDE
from snakeshed.raster.lattice import RowGeometry
from snakeshed.tiled.carving import carve_all
from snakeshed.tiled.routing import TiledDrainage, fill_all
from snakeshed.tiled.store import TileStore
from snakeshed.tiled.tiling import Tiling

SEED = 201
CELL_M = 10.0
ONE_ARRAY = 10_000


@dataclass(frozen=True)
class Mosaic:
    """Terrain that is mirrored at its sides as often as is needed; water may leave at the rim."""

    path: str
    size: int

    def read(self, row: int, column: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return elevations and border, as a `snakeshed.tiled.store.Source`."""
        base = _terrain(self.path)
        z = np.empty((height, width), base.dtype)
        for rows, theirs in _mirrored(row, height, base.shape[0]):
            for columns, across in _mirrored(column, width, base.shape[1]):
                z[rows, columns] = base[theirs, across]
        border = np.zeros((height, width), np.uint8)
        last = self.size - 1
        border[:, np.isin(np.arange(column, column + width), (0, last))] = 1
        border[np.isin(np.arange(row, row + height), (0, last))] = 1
        return z, border

    def rows(self, first: int, count: int) -> RowGeometry:
        """Return square cells."""
        side = np.full(count, CELL_M)
        return RowGeometry(side, side, side**2)


@lru_cache
def _terrain(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def _mirrored(first: int, count: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield stretches of some places, and where the mirrored terrain has each of them."""
    place = first
    while place < first + count:
        number, begin = divmod(place, size)
        end = min(size, begin + first + count - place)
        here = slice(place - first, place - first + end - begin)
        if number % 2:
            yield here, slice(size - 1 - begin, size - 1 - end if end < size else None, -1)
        else:
            yield here, slice(begin, end)
        place += end - begin


class Workers:
    """Processes that run tasks; counts their time, and the memory that they take at most.

    Parameters
    ----------
    count : int
    limit_bytes : int, optional
        Of data that each can have.
    """

    def __init__(self, count: int, limit_bytes: int | None = None) -> None:
        self.cpu_s: Counter[str] = Counter()
        self.system_s = 0.0
        self.tasks: Counter[str] = Counter()
        self.peaks: dict[int, int] = {}
        self.begun: dict[int, int] = {}
        self._pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), _limit, (limit_bytes,)
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, function: partial, tasks: Iterable) -> Iterator:
        """Run tasks in any of the processes."""
        for result, used, pid, peak in self._pool.map(partial(_measured, function), tasks):
            name = function.func.__name__.strip("_")
            self.cpu_s[name] += sum(used)
            self.system_s += used[1]
            self.tasks[name] += 1
            self.peaks[pid] = max(self.peaks.get(pid, 0), peak)
            yield result


def _limit(limit_bytes: int | None) -> None:
    os.environ["NUMBA_NUM_THREADS"] = "1"
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _measured(function: partial, task: object) -> tuple[object, tuple[float, float], int, int]:
    begin = resource.getrusage(resource.RUSAGE_SELF)
    result = function(task)
    end = resource.getrusage(resource.RUSAGE_SELF)
    used = end.ru_utime - begin.ru_utime, end.ru_stime - begin.ru_stime
    return result, used, os.getpid(), memory("VmHWM")


def by_tiles(
    source: Mosaic,
    edge: int,
    workers: Workers,
    scratch: Path | None,
    condition: Callable = fill_all,
) -> dict:
    """Drain a window by tiles and check that all its water leaves it."""
    cells = source.size**2
    tiling = Tiling.of_size(source.size, source.size, edge)
    workers.cpu_s.clear()
    workers.tasks.clear()
    workers.system_s = 0.0
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        begin = time.perf_counter()
        store = TileStore(source, tiling, folder, "float32", areas=False)
        condition(store, workers.map)
        drainage = TiledDrainage.of(store, workers.map)
        wall_s = time.perf_counter() - begin
        on_disk = sum(path.stat().st_blocks * 512 for path in Path(folder).iterdir())
        steps = {name: round(used / cells * 1e9, 1) for name, used in workers.cpu_s.items()}
        left = sum(_leaving(drainage, tile) for tile in tiling.tiles)
    return {
        "cells": cells,
        "tiles": len(tiling.tiles),
        "wall_s": round(wall_s, 1),
        "chain_ns": round(sum(workers.cpu_s[name] for name in steps) / cells * 1e9, 1),
        "system_ns": round(workers.system_s / cells * 1e9, 1),
        "wall_ns": round(wall_s / cells * 1e9, 1),
        "steps_ns": steps,
        "flat_tasks": workers.tasks["drain"],
        "disk_bytes": round(on_disk / cells, 1),
        "peaks_mb": sorted(round(peak / 2**20) for peak in workers.peaks.values()),
        "left": left,
    }


def _leaving(drainage: TiledDrainage, tile) -> int:
    place = tile.row, tile.column, tile.height, tile.width
    out = drainage.read("directions", *place) == OUTSIDE
    return int(drainage.read("counts", *place)[out].sum(dtype=np.int64))


def as_array(path: Path) -> dict:
    """Drain the terrain as one array, in a process of its own (`side.py`)."""
    environ = os.environ | {"NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "side.py"), "snakeshed", str(path)]
    command += ["--threads", "1", "--repeats", "3"]
    done = subprocess.run(command, capture_output=True, check=True, env=environ)
    found = json.loads(done.stdout)
    used = sum(step["s"] for step in found["steps"].values())
    return {"cells": found["cells"], "chain_ns": round(used / found["cells"] * 1e9, 1)}


def carved_as_array(source: Mosaic) -> dict:
    """Drain a window as one array by carving, twice; the second time counts."""
    z, border = source.read(0, 0, source.size, source.size)
    padded, border = np.pad(z, 1, constant_values=np.nan), np.pad(border, 1)
    geometry = source.rows(-1, len(padded))
    for _ in range(2):
        begin = time.process_time()
        count_upslope(carve(padded, border, geometry.width_m, geometry.height_m))
        used_s = time.process_time() - begin
    return {"cells": z.size, "chain_ns": round(used_s / z.size * 1e9, 1)}


def as_peer(path: Path, options: Namespace) -> dict:
    """Let xarray-spatial drain the terrain on Dask, in chunks of the same size."""
    (peer,) = [one for one in PEERS if one.name == "xarray-spatial"]
    try:
        python = environment(peer, options.peers, options.python)
    except PeerMissingError as error:
        return {"missing": str(error)}
    script = ROOT / "benchmarks" / "tiled_peer.py"
    command = [str(python), str(script), str(path), str(options.edge), str(options.workers)]
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environ |= {"NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, check=False, env=environ)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return {"missing": f"failed: {said[-1] if said else done.returncode}"}
    return json.loads(done.stdout)


def measure(options: Namespace) -> dict:
    """Run all parts."""
    import made_terrain

    size = round((options.cells * 1e6) ** 0.5)
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"eroded-{size}.npy"
    if not path.exists():
        np.save(path, made_terrain.eroded(size, SEED))
    small = Mosaic(str(path), size)
    rows = [{"side": "one array"} | as_array(path)]
    for count in sorted({1, options.workers}):
        with Workers(count) as workers:
            by_tiles(small, options.edge, workers, options.scratch)
            found = by_tiles(small, options.edge, workers, options.scratch)
        rows.append({"side": f"tiles, {count} process{'es' if count > 1 else ''}"} | found)
        print(rows[-1], file=sys.stderr)
    with Workers(1) as workers:
        (found,) = workers.map(partial(carved_as_array), [small])
        rows.append({"side": "one array, carved"} | found)
        for _ in range(2):
            found = by_tiles(small, options.edge, workers, options.scratch, carve_all)
        rows.append({"side": "tiles, carved, 1 process"} | found)
        print(rows[-1], file=sys.stderr)
    if options.peers:
        rows.append({"side": "xarray-spatial on Dask"} | as_peer(path, options))
        print(rows[-1], file=sys.stderr)
    large = None
    if options.large:
        # As much of the same ground as one array has room for.
        sample = options.folder / f"mosaic-{ONE_ARRAY}.npy"
        if not sample.exists():
            np.save(sample, Mosaic(str(path), ONE_ARRAY).read(0, 0, ONE_ARRAY, ONE_ARRAY)[0])
        array_ns = as_array(sample)["chain_ns"]
        with Workers(options.workers, int(options.memory * 2**30)) as workers:
            window = Mosaic(str(path), options.large)
            # Twice, as above: memory that a virtual machine has not used yet costs far more.
            for _ in range(2):
                large = by_tiles(window, options.large_edge, workers, options.scratch)
        large["array_ns"] = array_ns
    return {"edge": options.edge, "workers": options.workers, "rows": rows} | {
        "large": large,
        "large_edge": options.large_edge,
        "memory_gib": options.memory,
    }


def targets(result: dict) -> list[str]:
    """Say what was reached of what must be."""
    rows = {row["side"]: row for row in result["rows"] if "missing" not in row}
    array, tiles = rows["one array"], rows["tiles, 1 process"]
    ratios = [("times the cost of one array", tiles["chain_ns"] / array["chain_ns"], "<=", 3.0)]
    array, tiles = rows["one array, carved"], rows["tiles, carved, 1 process"]
    ratios.append(
        ("times the cost of one array, carved", tiles["chain_ns"] / array["chain_ns"], "<=", 3.0)
    )
    peer = rows.get("xarray-spatial on Dask")
    if peer:
        theirs = rows[f"tiles, {result['workers']} processes"]["wall_ns"]
        ratios.append(("times faster than the peer", peer["wall_ns"] / theirs, ">=", 10.0))
    large = result["large"]
    if large:
        ratios.append(
            (
                f"times the cost of one array, {large['cells'] / 1e9:.2f} billion cells of mosaic",
                large["chain_ns"] / large["array_ns"],
                "<=",
                1.8,
            )
        )
    lines = []
    for what, found, sign, bound in ratios:
        met = found <= bound if sign == "<=" else found >= bound
        word = "at most" if sign == "<=" else "at least"
        lines.append(
            f"- {what}: {found:.2f}, target {word} {bound:g}, {'met' if met else '**missed**'}"
        )
    return lines + [
        f"- {row['cells'] - row['left']:,} cells do not drain: **missed**"
        for row in [*rows.values(), large or {}]
        if row.get("left", row.get("cells")) != row.get("cells")
    ]


def table_of(result: dict) -> str:
    """The result as Markdown."""
    lines = [source_of(result), "", *targets(result), ""]
    lines += [
        f"{result['rows'][0]['cells']:,} cells of `eroded`, tiles of {result['edge']:,} cells a "
        "side:",
        "",
        "| | CPU (ns/cell) | wall (ns/cell) | most memory of a process (MB) |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        if "missing" in row:
            lines.append(f"| {row['side']} | {row['missing']} | | |")
            continue
        peaks = ", ".join(f"{peak:,}" for peak in row.get("peaks_mb", []))
        wall = row.get("wall_ns", row["chain_ns"])
        lines.append(f"| {row['side']} | {row['chain_ns']} | **{wall}** | {peaks} |")
    large = result["large"]
    if large:
        steps = ", ".join(f"{name} {ns}" for name, ns in large["steps_ns"].items())
        peaks = " and ".join(f"{peak:,} MB" for peak in large["peaks_mb"])
        lines += [
            "",
            f"A window of {large['cells']:,} cells in {large['tiles']} tiles of "
            f"{result['large_edge']:,} a side, on {result['workers']} processes of at most "
            f"{result['memory_gib']:g} GiB of data: **{large['wall_s']:.0f} s**, "
            f"{large['chain_ns']} ns of CPU time a cell, {large['system_ns']} of them in the "
            f"operating system ({steps}; as one array, {ONE_ARRAY:,} cells a side of the same "
            f"ground take {large['array_ns']}); resident at most {peaks}, mapped files included; "
            f"{large['disk_bytes']} bytes a cell on disk at the end; {large['flat_tasks']} tasks "
            "for flats over the sides of tiles.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    made_folder(parser)
    parser.add_argument("--cells", type=float, default=16, help="millions of cells")
    parser.add_argument("--edge", type=int, default=1000, help="cells along a side of a tile")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--large", type=int, default=32_000, help="cells along a side; 0: none")
    parser.add_argument("--large-edge", type=int, default=3200, help="those of its tiles")
    parser.add_argument("--memory", type=float, default=2.0, help="GiB of data of each worker")
    parser.add_argument("--scratch", type=Path, help="folder for the files of tiles")
    parser.add_argument("--peers", type=Path, help="folder for the environments of peers")
    parser.add_argument("--python", nargs="+", default=[], help="interpreters to make them with")
    options = parser.parse_args()
    result = machine("snakeshed", "numpy", "numba") | measure(options)
    publish("tiled", result, table_of(result), options)
    sys.exit(any("missed" in line for line in targets(result)))


if __name__ == "__main__":
    main()
