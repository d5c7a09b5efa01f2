"""What jobs were expected to need of memory, and what they took at most.

    python benchmarks/memory.py [--sides 500 1000 2000 4000 7500] [--sites 1 100 500]
                                [--json FILE] [--readme]

Made terrain in metres and in degrees is cut into patches of about so many cells a side; each row is
two jobs, without Snakemake: one delineates that many sites of one patch, the other extracts their
features with a raster layer; each says its peak (VmHWM). The estimates are those of
`snakeshed.delineation.memory_request`, from the tables that are there before the jobs run. The
exit status is 1 if one is not within a factor of 1.5.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from record import ROOT, machine, made_folder, parser_of, publish, source_of
from usage import memory

sys.path.append(str(ROOT / "scripts"))

SEED = 201
BASE = 4000
FACTOR = 1.5
CRS = {
    "metres": ("EPSG:32611", Affine(10, 0, 500_000, 0, -10, 4_000_000)),
    "degrees": ("EPSG:4269", Affine(1 / 10_800, 0, -118, 0, -1 / 10_800, 35)),
}


def make_dem(kind: str, folder: Path, side: int) -> Path:
    """Write terrain, mirrored as often as is needed, as a compressed GeoTIFF."""
    import made_terrain

    path = folder / f"memory-{kind}-{side}.tif"
    if path.exists():
        return path
    base = folder / f"eroded-{BASE}.npy"
    if not base.exists():
        np.save(base, made_terrain.eroded(BASE, SEED))
    z = np.load(base)
    place = np.arange(side) % (2 * BASE)
    place = np.where(place < BASE, place, 2 * BASE - 1 - place)
    crs, transform = CRS[kind]
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "float32"}
    profile |= {"crs": crs, "transform": transform, "tiled": True, "compress": "deflate"}
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(z[place[:, None], place], 1)
    return path


def run_job(dem: str, side: int, sites: int, folder: str) -> None:
    """Delineate, and extract features in another process; say what was expected and found."""
    from snakeshed.backends.local import Backend
    from snakeshed.delineation.delineate import delineate
    from snakeshed.delineation.memory_request import CatchmentSizes, ShardMemory
    from snakeshed.delineation.pyramid import Patch, PatchPyramid
    from snakeshed.delineation.site import DelineationRule, Site
    from snakeshed.delineation.table import write_catchments
    from snakeshed.grid.snap import SnapRule
    from snakeshed.terrain.dem import index_terrain

    index = index_terrain([dem])
    lattice, (tile,) = index.lattice, index.tiles
    third = lattice.cell_height_m() * side / 3
    pyramid = PatchPyramid(lattice, third, third, 1, 1.0)
    size = pyramid.core_cells(0)
    patch = Patch(0, (tile.row + tile.height // 2) // size, (tile.column + tile.width // 2) // size)
    row, column, height, width = pyramid.core(patch)
    rng = np.random.default_rng(SEED)
    area_km2 = (third / 1000) ** 2
    made = []
    for number in range(sites):
        x, y = lattice.centre(row + int(rng.integers(height)), column + int(rng.integers(width)))
        # From the largest that a site may have which starts in such a patch, down.
        made.append(Site(f"s{number}", x, y, 0, area_km2 * 4.0 ** -(number % 8)))
    rule = DelineationRule(SnapRule(300.0, 0.05, 0.01), max_void_cells=64, channel_km2=0.1)
    with Backend("serial") as backend:
        done = delineate(made, index, pyramid, rule, backend)
    peak = memory("VmHWM")
    catchments = Path(folder, "catchments.parquet")
    write_catchments(done, catchments, lattice.crs)
    shard = ShardMemory.of_patches([patch], pyramid, index)
    found = {
        "cells": shard.cells,
        "largest": max(one.cells or 0 for one in done),
        "delineation": [shard.delineation_bytes(), peak],
    }
    command = [sys.executable, __file__, "features", dem, str(side), folder]
    peak = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps(found | {"features": [CatchmentSizes.of(catchments).features_bytes(), peak]}))


def run_features(dem: str, folder: str) -> None:
    """Extract the features of what `run_job` has delineated, and say the peak."""
    from snakeshed.features.columns import ReliefRule
    from snakeshed.features.extract import extract_features
    from snakeshed.features.layer_types.numeric import NumericLayer
    from snakeshed.tables.geoparquet import read_table
    from snakeshed.terrain.dem import index_terrain
    from snakeshed.terrain.elevations import Terrain

    table = read_table(Path(folder, "catchments.parquet"))
    with Terrain(index_terrain([dem]), 64) as terrain:
        layers = [NumericLayer("height", dem, (50.0,))]
        extract_features(table, terrain, ReliefRule((23.0, 30.0), (10.0, 50.0, 90.0)), layers)
    print(memory("VmHWM"))


def measure(options: Namespace) -> list[dict]:
    """Run all jobs."""
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind in CRS:
        for side in options.sides:
            dem = make_dem(kind, options.folder, 2 * max(options.sides))
            for sites in options.sites:
                command = [sys.executable, __file__, "delineation", str(dem), str(side)]
                command += [str(sites), str(options.folder)]
                environ = os.environ | {"NUMBA_NUM_THREADS": "1"}
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environ)
                rows.append({"grid": kind, "sites": sites} | json.loads(done.stdout))
                print(rows[-1], file=sys.stderr)
    return rows


def ratios(rows: list[dict]) -> list[float]:
    """Estimate over peak of all jobs."""
    return [row[job][0] / row[job][1] for row in rows for job in ("delineation", "features")]


def table_of(result: dict) -> str:
    """The result as Markdown."""
    all_ratios = ratios(result["rows"])
    lines = [
        source_of(result),
        "",
        f"Estimate over peak: {min(all_ratios):.2f} to {max(all_ratios):.2f}, target within a "
        f"factor {FACTOR}.",
        "",
        "| grid in | cells of the patch | sites | largest catchment (cells) | delineate: expected, "
        "found (MB) | ratio | features: expected, found (MB) | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        line = f"| {row['grid']} | {row['cells']:,} | {row['sites']} | {row['largest']:,} |"
        for job in ("delineation", "features"):
            expected, found = row[job]
            line += f" {expected / 1e6:,.0f}, {found / 1e6:,.0f} | {expected / found:.2f} |"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark, or one job of it."""
    if sys.argv[1:2] == ["delineation"]:
        dem, side, sites, folder = sys.argv[2:]
        return run_job(dem, int(side), int(sites), folder)
    if sys.argv[1:2] == ["features"]:
        dem, _, folder = sys.argv[2:]
        return run_features(dem, folder)
    parser = parser_of(__doc__)
    made_folder(parser)
    parser.add_argument("--sides", type=int, nargs="+", default=[500, 1000, 2000, 4000, 7500])
    parser.add_argument("--sites", type=int, nargs="+", default=[1, 100, 500])
    options = parser.parse_args()
    result = machine("snakeshed", "numpy", "numba") | {"rows": measure(options)}
    publish("memory", result, table_of(result), options)
    return sys.exit(any(not 1 / FACTOR <= ratio <= FACTOR for ratio in ratios(result["rows"])))


if __name__ == "__main__":
    main()
