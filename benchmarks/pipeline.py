"""Sites per second and core of the whole pipeline, beside the recipe that it replaces.

    python benchmarks/pipeline.py [STALEY.xlsx DEM.tif [--cell 10]] [--original 24] [--repeats 3]
                                  [--levels] [--json FILE] [--readme]

With a table and a DEM: USGS Open-File Report 2016-1106, appendix 1 (Staley et al. 2016), and any
DEM that covers some of its sites, in a projected CRS; with --cell it is resampled to cells of that
size first. Without them: made terrain of 40 x 40 km in cells of 10 m, with sites that have the
areas of that table and lie as densely as those of its largest fire.

The pipeline is all that the workflow does, from the site table and the DEM's files to the tables of
catchments and features, in one process and thread and without Snakemake. The recipe of Roten et al.
(2022), on stock pysheds, runs on some of the same sites. Seconds are the CPU time of the process,
after a first round that loads what is compiled; each side has a process of its own.

--levels measures the pipeline with other patch levels instead.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from record import ROOT, machine, made_folder, parser_of, publish, source_of
from usage import forget_peak, memory
from workflow import published_study

CELL_M = 10.0
SEED = 201
PACKAGES = ("snakeshed", "numpy", "numba", "pysheds")
MADE_CELLS, MADE_SITES = 4000, 240
MADE_SQUARE_KM = 25.0
"""Side of the square in the middle of made terrain where the sites are."""
AREA_QUANTILES = ((0.0, 0.0201), (0.25, 0.101), (0.5, 0.409), (0.75, 1.307), (0.9, 2.9), (1, 7.89))
"""Reported areas of the 716 sites of Staley et al. (2016), km2."""
SPARSE = 10
"""Of every so many sites one is in the sparse table."""
GRID = [
    (core_m, buffer_m, levels, factor)
    for core_m, buffer_m, levels in (
        (400, 800, 7),
        (1000, 1000, 7),
        (600, 1200, 6),
        (1500, 1500, 6),
        (2500, 2500, 5),
        (5000, 5000, 4),
    )
    for factor in (1.0, 1.5, 2.5)
]


def study_of(table: Path, dem: Path) -> dict:
    """The study of the published table, with the defaults of the schema."""
    from stages import completed

    return completed(published_study(table, dem))


def made_study(folder: Path) -> dict:
    """Made terrain and sites, kept in a folder."""
    import made_terrain
    from stages import completed

    from snakeshed.kernels.accumulation import count_upslope
    from snakeshed.kernels.filling import fill

    dem, table = (
        folder / f"eroded_{MADE_CELLS}_{SEED}.tif",
        folder / f"sites_{MADE_CELLS}_{SEED}.csv",
    )
    if not (dem.exists() and table.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        z = made_terrain.eroded(MADE_CELLS, SEED)
        write_dem(dem, z, "EPSG:32611", rasterio.Affine(10, 0, 4e5, 0, -10, 4e6))
        padded, border = made_terrain.pad(z)
        cell_m = np.full(len(padded), CELL_M)
        _, directions = fill(padded, border, cell_m, cell_m)
        area_km2 = count_upslope(directions)[1:-1, 1:-1] * CELL_M**2 / 1e6
        made_sites(area_km2).to_csv(table, index=False)
    columns = {"site_id": "site", "x": "x", "y": "y", "area": "area_km2"}
    sites = {"path": str(table), "crs": "EPSG:32611", "columns": columns}
    return completed({"study": "made", "sites": sites, "dem": {"path": str(dem)}})


def made_sites(area_km2: np.ndarray) -> pd.DataFrame:
    """Sites within 30 m of cells that drain the areas of the published table."""
    rng = np.random.default_rng(SEED)
    margin = round((len(area_km2) - MADE_SQUARE_KM * 1000 / CELL_M) / 2)
    middle = area_km2[margin:-margin, margin:-margin]
    probabilities, quantiles = np.array(AREA_QUANTILES).T
    ranks = (np.arange(MADE_SITES) + 0.5) / MADE_SITES
    rows = []
    for wanted in np.exp(np.interp(ranks, probabilities, np.log(quantiles))):
        fitting = np.argwhere(np.abs(middle / wanted - 1) < 0.03)
        row, column = fitting[rng.integers(len(fitting))] + margin + 0.5 + rng.uniform(-3, 3, 2)
        rows.append((f"s{len(rows):03}", 4e5 + column * CELL_M, 4e6 - row * CELL_M, wanted))
    return pd.DataFrame(rows, columns=["site", "x", "y", "area_km2"]).round(3)


def sites_on(study: dict) -> pd.DataFrame:
    """The sites that lie on the DEM and have a reported area, by their identifiers."""
    from snakeshed.raster.crs import transformer
    from snakeshed.sites.prepare import prepare_sites
    from snakeshed.terrain.dem import index_terrain
    from snakeshed.terrain.index import overlap

    index = index_terrain([study["dem"]["path"]])
    sites = prepare_sites(study["sites"]).sites
    x, y = transformer("EPSG:4326", index.lattice.crs).transform(sites["lon"], sites["lat"])
    cells = [index.lattice.cell_of(*place) for place in zip(x, y, strict=True)]
    inside = [any(overlap(tile, *cell, 1, 1) for tile in index.tiles) for cell in cells]
    return sites[np.array(inside) & sites["reported_area_km2"].notna()]


def with_table_of(study: dict, only: list[str], folder: Path) -> dict:
    """The study with a table of some of its sites alone, as the pipeline would be given it."""
    table = folder / "sites.csv"
    sites = sites_on(study)
    sites[sites["site_id"].isin(only)].to_csv(table, index=False)
    columns = {"site_id": "site_id", "x": "lon", "y": "lat", "area": "reported_area_km2"}
    settings = {"path": str(table), "sheet": None, "utm": None, "crs": "EPSG:4326"}
    settings |= {"columns": columns | {"utm_zone": None}, "area_unit": "km2"}
    return study | {"sites": settings}


def run_pipeline(study: dict, folder: Path) -> dict:
    """Run the pipeline once; tell the CPU seconds."""
    from stages import gather, prepare, run_shard

    with tempfile.TemporaryDirectory(dir=folder) as name:
        prepared = prepare(study, 1, Path(name))
        (shard,) = prepared["shards"]
        found = run_shard(study, shard)
        gathered = gather([shard], Path(name))
    parts = {
        "sites, index, shards": prepared["seconds"],
        "delineate": found.pop("delineate"),
        "features": found.pop("features"),
        "gather": gathered,
    }
    return found | {"parts": parts, "seconds": sum(parts.values())}


def side_snakeshed(study: dict, sample: list[str], repeats: int, folder: Path) -> dict:
    """The pipeline on the sample and on all sites; the best of some rounds."""
    rounds = {}
    for name, only in (
        ("same sites", sample),
        ("all sites", sites_on(study)["site_id"].tolist()),
    ):
        own = with_table_of(study, only, folder)
        run_pipeline(own, folder)
        rounds[name] = min(
            (run_pipeline(own, folder) for _ in range(repeats)),
            key=lambda found: found["seconds"],
        )
    return rounds


def side_memory(study: dict, sample: list[str], repeats: int, folder: Path) -> dict:
    """Memory of the pipeline on a few sites in this process: before, and at most."""
    del repeats
    # What is loaded once is not counted with the first sites.
    run_pipeline(with_table_of(study, sample[:1], folder), folder)
    own = with_table_of(study, sample, folder)
    forget_peak()
    before = memory("VmRSS")
    found = run_pipeline(own, folder)
    return {"before": before, "peak": memory("VmHWM"), "patches": found["patches"]} | {
        "levels": found["levels"]
    }


def side_original(study: dict, sample: list[str], repeats: int, folder: Path) -> dict:
    """The recipe on the sample, once, after a site that loads what is compiled."""
    from snakeshed.backends.local import Backend
    from snakeshed.delineation.roten2022.sites import delineate_as_published
    from snakeshed.delineation.roten2022.window import window_cells
    from snakeshed.delineation.site import Site
    from snakeshed.raster.crs import transformer
    from snakeshed.terrain.dem import index_terrain

    del repeats, folder
    index = index_terrain([study["dem"]["path"]])
    sites = sites_on(study).set_index("site_id").loc[sample]
    x, y = transformer("EPSG:4326", index.lattice.crs).transform(sites["lon"], sites["lat"])
    areas_km2 = sites["reported_area_km2"]
    jobs = [Site(*job[:3], 0, job[3]) for job in zip(sample, x, y, areas_km2, strict=True)]
    channel_km2, backend = study["network"]["min_area_km2"], Backend("serial")
    smallest = min(jobs, key=lambda site: site.reported_area_km2)
    delineate_as_published([smallest], index, channel_km2, backend)
    areas, seconds = {}, []
    for site in jobs:
        started = time.process_time()
        (found,) = delineate_as_published([site], index, channel_km2, backend)
        seconds.append(time.process_time() - started)
        areas[site.site_id] = found.area_km2 or 0.0
    cells = window_cells(jobs, index)
    return {
        "sites": len(areas),
        "seconds": sum(seconds),
        "window_cells": statistics.mean(cells),
        "areas": areas,
    }


SIDES = {"snakeshed": side_snakeshed, "original": side_original, "memory": side_memory}


def in_own_process(side: str, study: dict, sample: list[str], repeats: int) -> dict:
    """Run one side in a process of its own, in one thread."""
    command = [sys.executable, __file__, "--side", side, "--study", json.dumps(study)]
    done = subprocess.run(
        [*command, "--repeats", str(repeats), "--sample", *sample],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def sample_of(sites: pd.DataFrame, count: int) -> list[str]:
    """Some sites, evenly spread over the ranks of their reported areas."""
    ranked = sites.sort_values(["reported_area_km2", "site_id"])["site_id"].tolist()
    if count >= len(ranked):
        return ranked
    return [ranked[round((k + 0.5) * len(ranked) / count - 0.5)] for k in range(count)]


def agreement(areas: dict[str, float], reported: pd.Series) -> float:
    """Share of sites whose area is within 10 % of the reported one."""
    within = [0.9 <= area / reported[site] <= 1.1 for site, area in areas.items()]
    return sum(within) / len(within)


def measure(study: dict, originals: int, repeats: int) -> dict:
    """Both sides in turn, and the memory that more and more sites take."""
    sites = sites_on(study)
    reported = sites.set_index("site_id")["reported_area_km2"]
    sample = sample_of(sites, originals)
    ours = in_own_process("snakeshed", study, sample, repeats)
    theirs = in_own_process("original", study, sample, 1)
    sides = [("original recipe", f"{len(sample)} sites", theirs)]
    sides += [
        ("snakeshed", f"the same {len(sample)} sites", ours["same sites"]),
        ("snakeshed", f"all {ours['all sites']['sites']} sites", ours["all sites"]),
    ]
    speed = [
        {
            "side": side,
            "on": on,
            "sites_per_core_second": found["sites"] / found["seconds"],
            "ratio": found["sites"] / found["seconds"] / (theirs["sites"] / theirs["seconds"]),
            "within_10_percent": agreement(found["areas"], reported),
        }
        for side, on, found in sides
    ]
    counts = sorted({8, 32, len(sites)} | {2**k for k in (7,) if 2**k < len(sites)})
    use = []
    for count in counts:
        found = in_own_process("memory", study, sample_of(sites, count), 1)
        taken = (found["peak"] - found["before"]) / 1e6
        use.append(
            {"sites": count, "patches": found["patches"], "levels": found["levels"]}
            | {"before_mb": round(found["before"] / 1e6), "taken_mb": round(taken)}
        )
    return {
        "speed": speed,
        "parts_s": ours["all sites"]["parts"],
        "original_window_cells": theirs["window_cells"],
        "memory": use,
    }


def measure_levels(study: dict, repeats: int) -> list[dict]:
    """Sites per second with other patch levels; and for how many sites the result differs."""
    sites = sites_on(study)["site_id"].tolist()
    usual = (*(study["patches"][key] for key in ("core_m", "buffer_m", "levels")),)
    rows, reference = [], None
    with tempfile.TemporaryDirectory() as folder:
        for core_m, buffer_m, levels, factor in GRID:
            patches = {"core_m": core_m, "buffer_m": buffer_m, "levels": levels}
            changed = study | {"patches": study["patches"] | patches | {"radius_factor": factor}}
            row = patches | {"radius_factor": factor, "default": False}
            row["default"] = (core_m, buffer_m, levels) == usual and factor == study["patches"][
                "radius_factor"
            ]
            for name, only in (("dense", sites), ("sparse", sites[::SPARSE])):
                own = with_table_of(changed, only, Path(folder))
                best = min(
                    (run_pipeline(own, Path(folder)) for _ in range(repeats + 1)),
                    key=lambda found: found["seconds"],
                )
                row[name] = best["sites"] / best["seconds"]
                if name == "dense":
                    reference = reference or best["areas"]
                    row["other_areas"] = sum(
                        best["areas"][site] != reference[site] for site in sites
                    )
            rows.append(row)
    return rows


def table_of(result: dict) -> str:
    """The result as Markdown tables."""
    lines = [
        f"{result['on']}. {source_of(result)}",
        "",
        "| | on | sites/s/core | against the original | area within 10 % of the reported |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['side']} | {row['on']} | {row['sites_per_core_second']:.3g} | "
        f"{row['ratio']:.0f}x | {row['within_10_percent']:.0%} |"
        for row in result["speed"]
    ]
    parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in result["parts_s"].items())
    lines += [
        "",
        f"Of all sites: {parts}. The recipe reads "
        f"{result['original_window_cells'] / 1e6:.1f} million cells on average.",
        "Memory: after the first site, and what all sites took more at most.",
        "",
        "| sites of a shard | patches | sites at level | memory (MB) |",
        "|---|---|---|---|",
    ]
    for row in result["memory"]:
        levels = ", ".join(f"{level}: {count}" for level, count in row["levels"].items())
        lines.append(
            f"| {row['sites']} | {row['patches']} | {levels} | "
            f"{row['before_mb']} + {row['taken_mb']} |"
        )
    return "\n".join(lines)


def table_of_levels(result: dict) -> str:
    """The result of --levels as a Markdown table."""
    lines = [
        f"{result['on']}. {source_of(result)}",
        "",
        f"| core, buffer (m) | levels | c | sites/s/core | of every {SPARSE}th site "
        "| other areas |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["levels"]:
        mark = " (default)" if row["default"] else ""
        lines.append(
            f"| {row['core_m']}, {row['buffer_m']}{mark} | {row['levels']} | "
            f"{row['radius_factor']:g} | {row['dense']:.0f} | {row['sparse']:.0f} | "
            f"{row['other_areas']} |"
        )
    return "\n".join(lines)


def resampled(dem: Path, cell_m: float, folder: Path) -> Path:
    """The DEM in cells of another size, by cubic splines, as 3DEP tiles are stored."""
    from rasterio.warp import Resampling, reproject

    path = folder / "dem.tif"
    with rasterio.open(dem) as raster:
        factor = raster.transform.a / cell_m
        transform = raster.transform * rasterio.Affine.scale(1 / factor)
        shape = (round(raster.height * factor), round(raster.width * factor))
        z = np.empty(shape, np.float32)
        reproject(
            rasterio.band(raster, 1),
            z,
            dst_transform=transform,
            dst_crs=raster.crs,
            dst_nodata=-9999.0,
            resampling=Resampling.cubic_spline,
        )
        crs = raster.crs
    write_dem(path, z, crs, transform)
    return path


def write_dem(path: Path, z: np.ndarray, crs: object, transform: rasterio.Affine) -> None:
    """Write elevations as 3DEP tiles are written."""
    profile = {"driver": "GTiff", "count": 1, "dtype": z.dtype, "nodata": -9999.0, "crs": crs}
    profile |= {"height": z.shape[0], "width": z.shape[1], "transform": transform}
    with rasterio.open(path, "w", tiled=True, compress="lzw", predictor=3, **profile) as raster:
        raster.write(z, 1)


def name_of(study: dict) -> str:
    """What the benchmark ran on."""
    with rasterio.open(study["dem"]["path"]) as raster:
        cell_m = raster.transform.a
    on = "Made terrain" if study["study"] == "made" else "Published sites on a real DEM"
    return f"{on}, cells of {cell_m:g} m"


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("table", type=Path, nargs="?", help="the published table")
    parser.add_argument("dem", type=Path, nargs="?", help="a DEM under some of its sites")
    parser.add_argument("--cell", type=float, help="resample the DEM to cells of this size first")
    parser.add_argument("--original", type=int, default=24, help="sites for the original recipe")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of which the best counts")
    parser.add_argument("--levels", action="store_true", help="compare patch levels instead")
    made_folder(parser)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--study", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--sample", nargs="*", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if options.side:
            side = SIDES[options.side]
            found = side(options.study, options.sample, options.repeats, scratch)
            sys.stdout.write(json.dumps(found))
            return
        if options.table is None:
            study = made_study(options.folder)
        elif options.dem is None:
            parser.error("a table needs a DEM")
        else:
            dem = options.dem.resolve()
            if options.cell:
                dem = resampled(dem, options.cell, scratch)
            study = study_of(options.table.resolve(), dem)
        result = machine(*PACKAGES) | {"on": name_of(study)}
        if options.levels:
            result["levels"] = measure_levels(study, options.repeats)
            named, text = "levels", table_of_levels(result)
        else:
            result |= measure(study, options.original, options.repeats)
            named, text = "pipeline", table_of(result)
        named += "-made" if options.table is None else ""
    publish(named, result, text, options)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "scripts"))
    main()
