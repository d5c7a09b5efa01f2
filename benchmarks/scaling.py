"""Cost of the whole pipeline as the table of sites grows, and what all of CONUS would cost.

    python benchmarks/scaling.py [--sites 100 1000 10000] [--processes 2] [--folder FOLDER] [--keep]
                                 [--json FILE] [--readme]

One made terrain of 60 x 60 km in cells of 10 m, cut into four compressed GeoTIFFs, is laid out
again and again, as islands. The sites are within 30 m of cells that drain areas as in the table of
Staley et al. (2016), at the density of its largest fire, but not within 2 km of the shore; more
sites are more islands. From the site table and the tiles to the gathered tables runs what the
workflow's jobs call (`stages.py`), about 500 sites a shard, each shard in a process of its own,
some at a time. The tiles are put out of the system's memory first.

CPU time is counted; that of starting Python is not, as it is that of Snakemake's jobs and in
`workflow.py`. The slope is that of the logarithms: 1 means that a site costs the same however many
there are. The tiles of 100,000 sites take 10 GB of disk; they are removed at the end, unless --keep
says otherwise.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from pipeline import AREA_QUANTILES, MADE_SITES, MADE_SQUARE_KM, write_dem
from record import ROOT, machine, made_folder, parser_of, publish, save, source_of
from usage import forget_peak, memory

CELL_M = 10.0
SEED = 301
CRS = "EPSG:5070"
WEST, NORTH = -2_000_000.0, 2_500_000.0
ISLAND_CELLS = 6000
MARGIN_CELLS = 200
GAP_CELLS = 100
SITES_PER_KM2 = MADE_SITES / MADE_SQUARE_KM**2
AREA_TOLERANCE = 0.03
SITES_PER_SHARD = 500
CONUS_CELLS = 8e10


class Island:
    """The terrain that is laid out, and its cells by the area that they drain.

    Parameters
    ----------
    folder : Path
        Where its four tiles are kept.
    cells : int
        Rows and columns; an even number.

    Attributes
    ----------
    sites : int
        How many it has.
    """

    def __init__(self, folder: Path, cells: int) -> None:
        self.cells = cells
        self.sites = int(SITES_PER_KM2 * ((cells - 2 * MARGIN_CELLS) * CELL_M / 1000) ** 2)
        self._tiles = [folder / f"island_{cells}_{SEED}_{part}.tif" for part in range(4)]
        self._known = folder / f"island_{cells}_{SEED}.npz"
        if not self._known.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._make()
        with np.load(self._known) as known:
            self._places, self._areas = known["places"], known["areas"]

    def _make(self) -> None:
        import made_terrain

        from snakeshed.kernels.accumulation import count_upslope
        from snakeshed.kernels.filling import fill

        z = made_terrain.eroded(self.cells, SEED)
        half = self.cells // 2
        for part, path in enumerate(self._tiles):
            i, j = divmod(part, 2)
            piece = np.ascontiguousarray(z[i * half : (i + 1) * half, j * half : (j + 1) * half])
            write_dem(path, piece, CRS, self._transform((0, 0), part))
        padded, border = made_terrain.pad(z)
        cell_m = np.full(len(padded), CELL_M)
        _, directions = fill(padded, border, cell_m, cell_m, out=padded)
        counts = count_upslope(directions)[1:-1, 1:-1]
        counts[:MARGIN_CELLS] = counts[-MARGIN_CELLS:] = 0
        counts[:, :MARGIN_CELLS] = counts[:, -MARGIN_CELLS:] = 0
        least = AREA_QUANTILES[0][1] * (1 - AREA_TOLERANCE) * 1e6 / CELL_M**2
        places = np.flatnonzero(counts >= least).astype(np.int32)
        areas = counts.ravel()[places]
        order = np.argsort(areas, kind="stable")
        np.savez(self._known, places=places[order], areas=areas[order] * CELL_M**2 / 1e6)

    def _transform(self, where: tuple[int, int], part: int = 0) -> rasterio.Affine:
        i, j = divmod(part, 2)
        row = where[0] * (self.cells + GAP_CELLS) + i * (self.cells // 2)
        column = where[1] * (self.cells + GAP_CELLS) + j * (self.cells // 2)
        west, north = WEST + column * CELL_M, NORTH - row * CELL_M
        return rasterio.Affine(CELL_M, 0, west, 0, -CELL_M, north)

    def write_tiles(self, where: tuple[int, int], folder: Path) -> list[str]:
        """Write the tiles of the island in a row and a column of islands, if they are not there."""
        files = []
        for part, tile in enumerate(self._tiles):
            file = folder / f"island_{where[0]:02}_{where[1]:02}_{part}.tif"
            if not file.exists():
                shutil.copyfile(tile, file)
                with rasterio.open(file, "r+") as raster:
                    raster.transform = self._transform(where, part)
            files.append(str(file))
        return files

    def sites_at(self, where: tuple[int, int]) -> pd.DataFrame:
        """Its sites there, from west to east, so that the first of them lie as densely as all."""
        rng, count = np.random.default_rng((SEED, *where)), self.sites
        probabilities, quantiles = np.array(AREA_QUANTILES).T
        wanted = np.exp(np.interp(rng.random(count), probabilities, np.log(quantiles)))
        first = np.searchsorted(self._areas, wanted * (1 - AREA_TOLERANCE))
        end = np.searchsorted(self._areas, wanted * (1 + AREA_TOLERANCE))
        chosen = first + (rng.random(count) * (end - first)).astype(np.int64)
        place = self._places[np.minimum(chosen, len(self._places) - 1)]
        row, column = np.divmod(place, self.cells)
        nearby = column + 0.5 + rng.uniform(-3, 3, count), row + 0.5 + rng.uniform(-3, 3, count)
        x, y = self._transform(where) * nearby
        sites = pd.DataFrame({"x": x.round(1), "y": y.round(1), "area_km2": wanted.round(3)})
        return sites.sort_values(["x", "y"], ignore_index=True)


def square_by_square(count: int) -> list[tuple[int, int]]:
    """Rows and columns of some islands that lie together."""
    side = range(math.isqrt(count - 1) + 1)
    places = [(i, j) for i in side for j in side]
    return sorted(places, key=lambda place: (max(place), place))[:count]


def lay_out(island: Island, sites: int, folder: Path) -> dict:
    """Write the tiles that are not there yet, and the table of sites; tells the study."""
    from stages import completed

    tiles = folder / "tiles"
    tiles.mkdir(exist_ok=True)
    places = square_by_square(math.ceil(sites / island.sites))
    files = [file for where in places for file in island.write_tiles(where, tiles)]
    table = pd.concat([island.sites_at(where) for where in places], ignore_index=True)[:sites]
    table.insert(0, "site", [f"s{number:06}" for number in range(sites)])
    path = folder / f"sites_{sites}.csv"
    table.to_csv(path, index=False)
    columns = {"site_id": "site", "x": "x", "y": "y", "area": "area_km2"}
    settings = {"path": str(path), "crs": CRS, "columns": columns}
    return completed({"study": "scaling", "sites": settings, "dem": {"path": files}})


def forget(files: list[str]) -> None:
    """Put files out of the memory of the system, so that they are read from the disk."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def warm_up(study: dict, shard: str) -> None:
    """Load what is compiled, by one site of a shard."""
    from stages import run_shard

    from snakeshed.delineation.shards import COLUMNS
    from snakeshed.tables.geoparquet import read_table, write_table

    with tempfile.TemporaryDirectory() as name:
        shutil.copy(Path(shard, "terrain.json"), name)
        write_table(read_table(f"{shard}/sites.parquet")[:1], Path(name, "sites.parquet"), COLUMNS)
        run_shard(study, Path(name))


def job(shard: str, study: dict) -> dict:
    """One shard, and the memory that its process has at most."""
    from stages import run_shard

    forget_peak()
    return run_shard(study, Path(shard)) | {"peak_bytes": memory("VmHWM")}


def measure(study: dict, sites: int, processes: int, folder: Path) -> dict:
    """Run the pipeline once."""
    from stages import gather, prepare

    forget(study["dem"]["path"])
    with tempfile.TemporaryDirectory(dir=folder) as name:
        started = time.perf_counter()
        prepared = prepare(study, max(2, round(sites / SITES_PER_SHARD)), Path(name))
        before = time.perf_counter() - started
        shards = [str(shard) for shard in prepared["shards"]]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            processes,
            spawn,
            initializer=warm_up,
            initargs=(study, shards[0]),
            max_tasks_per_child=1,  # as each shard is a job of its own
        ) as pool:
            started = time.perf_counter()
            done = list(pool.map(partial(job, study=study), shards))
            while_running = time.perf_counter() - started
        started = time.perf_counter()
        gathered = gather(prepared["shards"], Path(name))
        after = time.perf_counter() - started
    reported = pd.read_csv(study["sites"]["path"], index_col="site")["area_km2"]
    found = pd.Series({site: area for shard in done for site, area in shard["areas"].items()})
    ratio = found / reported[found.index]
    within = int(ratio.between(0.9, 1.1).sum())
    levels = sum((Counter(shard["levels"]) for shard in done), Counter())
    parts = {
        "sites, index, shards": prepared["seconds"],
        "delineate": sum(shard["delineate"] for shard in done),
        "features": sum(shard["features"] for shard in done),
        "gather": gathered,
    }
    return {
        "sites": sites,
        "delineated": len(found),
        "within_10_percent": within / sites,
        "tiles": len(study["dem"]["path"]),
        "tile_bytes": sum(Path(file).stat().st_size for file in study["dem"]["path"]),
        "shards": len(shards),
        "patches": sum(shard["patches"] for shard in done),
        "levels": dict(sorted(levels.items())),
        "parts_s": parts,
        "core_s": sum(parts.values()),
        "wall_s": before + while_running + after,
        "peak_mb": round(max(shard["peak_bytes"] for shard in done) / 1e6),
        "median_mb": round(statistics.median(shard["peak_bytes"] for shard in done) / 1e6),
    }


def slope(rows: list[dict], seconds: list[float]) -> float:
    """Slope of a line through the logarithms of the numbers of sites and the seconds."""
    return float(np.polyfit(np.log([row["sites"] for row in rows]), np.log(seconds), 1)[0])


def projected(rows: list[dict], cells_per_tile: float) -> dict:
    """What all of CONUS would take, if all of its ground had sites as the tiles have.

    Parameters
    ----------
    rows : list of dict
        Of `measure`.
    cells_per_tile : float

    Returns
    -------
    dict
        cells, sites, shards, tb_of_tiles; core_hours: at the rate of the last row; grown_hours:
        of each part, if its cost goes on to grow as from the row before to the last.
    """
    last, before = rows[-1], rows[-2] if len(rows) > 1 else None
    growth = CONUS_CELLS / (last["tiles"] * cells_per_tile)
    grown = {}
    for part, seconds in last["parts_s"].items():
        pair = [before["parts_s"][part], seconds] if before else []
        steep = slope([before, last], pair) if before else 1.0
        grown[part] = seconds * growth**steep / 3600
    return {
        "cells": CONUS_CELLS,
        "sites": last["sites"] * growth,
        "core_hours": last["core_s"] * growth / 3600,
        "grown_hours": grown,
        "tb_of_tiles": last["tile_bytes"] * growth / 1e12,
        "shards": last["sites"] * growth / SITES_PER_SHARD,
    }


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    rows, conus = result["rows"], result["conus"]
    lines = [
        source_of(result),
        "",
        f"{result['processes']} processes; {SITES_PER_KM2:.2f} sites a km2.",
        "",
        "| sites | tiles | GB read | shards | patches | sites, index, shards (s) | delineate (s) | "
        "features (s) | gather (s) | sites/s/core | wall (s) | memory of a shard (MB) | "
        "area within 10 % |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        parts = " | ".join(f"{seconds:.2f}" for seconds in row["parts_s"].values())
        lines.append(
            f"| {row['sites']:,} | {row['tiles']} | {row['tile_bytes'] / 1e9:.2f} | "
            f"{row['shards']} | {row['patches']:,} | {parts} | "
            f"**{row['sites'] / row['core_s']:.1f}** | {row['wall_s']:.0f} | "
            f"{row['median_mb']}, at most {row['peak_mb']} | {row['within_10_percent']:.0%} |"
        )
    if "slopes" in result:
        told = ", ".join(f"{part} {value:.2f}" for part, value in result["slopes"].items())
        lines += ["", f"Slope of the cost against the number of sites: {told}."]
    grown = ", ".join(f"{part} {hours:,.1f}" for part, hours in conus["grown_hours"].items())
    lines += [
        "",
        f"All of CONUS at 10 m, {conus['cells'] / 1e9:.0f} billion cells, "
        f"{conus['tb_of_tiles']:.1f} TB of such tiles: {conus['sites'] / 1e6:.1f} million sites in "
        f"{conus['shards']:,.0f} shards, **{conus['core_hours']:,.0f} core-hours** at the rate of "
        f"the last row. If each part grows on as from the row before to the last: {grown} "
        "core-hours. This "
        "assumes sites on all ground as on these islands, shores included, though most of CONUS "
        "never burns; areas as in the table of Staley et al. (2016); ground like the made one; a "
        "volume that is read as fast as this disk; and no layers. The start of two jobs a shard "
        "comes on top: 2 s each.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    made_folder(parser)
    parser.add_argument("--sites", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the tiles for another run")
    parser.add_argument("--cells", type=int, default=ISLAND_CELLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    island = Island(options.folder, options.cells)
    scratch = options.folder / "scaling"
    scratch.mkdir(exist_ok=True)
    result = machine("snakeshed", "numpy", "numba") | {"processes": options.processes, "rows": []}
    try:
        for sites in sorted(options.sites):
            study = lay_out(island, sites, scratch)
            result["rows"].append(measure(study, sites, options.processes, scratch))
            print(result["rows"][-1], file=sys.stderr)
            save(result, options)
    finally:
        if not options.keep:
            shutil.rmtree(scratch)
    rows = result["rows"]
    if len(rows) > 1:
        parts = {"all": [row["core_s"] for row in rows]}
        parts |= {part: [row["parts_s"][part] for row in rows] for part in rows[0]["parts_s"]}
        result["slopes"] = {part: slope(rows, seconds) for part, seconds in parts.items()}
    result["conus"] = projected(rows, options.cells**2 / 4)
    publish("scaling", result, table_of(result), options)


if __name__ == "__main__":
    sys.path.append(str(ROOT / "scripts"))
    main()
