"""What layers cost: features of the same catchments without any, with rasters, and with polygons.

    python benchmarks/layers.py [--folder FOLDER] [--rounds 3] [--json FILE] [--readme]

Made terrain of 40 x 40 km in cells of 10 m, and sites with the areas of Staley et al. (2016), as in
pipeline.py. The layers are made as well, in cells of 30 m in another CRS than the terrain's, as
LANDFIRE and MTBS publish theirs: burn severity, dNBR, KF, soil thickness, and fuel models; and as
polygons in longitude and latitude, a map of rock and one of soil, tilings of the plane (Voronoi).
Seconds are the CPU time of one process, in turns; a first round does not count.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from pipeline import made_study
from pyproj import Transformer
from record import ROOT, machine, made_folder, parser_of, publish, source_of
from stages import completed, prepare, run_shard

SEED = 7
CELL_M = 30.0
ALBERS, DEGREES = "EPSG:5070", "EPSG:4326"
ROCK, SOIL = 2_000, 20_000
"""Polygons of the two maps."""
ROCKS = ("Igneous, volcanic", "Metamorphic, gneiss", "Sedimentary, clastic", "Unconsolidated")


def box_in(crs: str, dem: Path, margin: float) -> tuple[float, float, float, float]:
    """West, south, east, and north of a DEM in another CRS."""
    with rasterio.open(dem) as raster:
        way = Transformer.from_crs(raster.crs, crs, always_xy=True)
        west, south, east, north = way.transform_bounds(*raster.bounds, densify_pts=51)
    return west - margin, south - margin, east + margin, north + margin


def write_raster(path: Path, cells: np.ndarray, box: tuple[float, ...], nodata: float) -> None:
    """Write cells from the northwestern corner of a box."""
    transform = rasterio.Affine(CELL_M, 0, box[0], 0, -CELL_M, box[3])
    options = {"driver": "GTiff", "count": 1, "crs": ALBERS, "compress": "deflate", "tiled": True}
    height, width = cells.shape
    options |= {"height": height, "width": width, "dtype": cells.dtype, "nodata": nodata}
    with rasterio.open(path, "w", transform=transform, **options) as raster:
        raster.write(cells, 1)


def write_tiling(path: Path, box: tuple[float, ...], count: int, rng: np.random.Generator) -> None:
    """Write polygons that cover a box, each with a rock and a number."""
    points = rng.uniform(box[:2], box[2:], (count, 2))
    cells = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(points), extend_to=shapely.box(*box))
    )
    cells = shapely.intersection(cells, shapely.box(*box))
    rock = np.array(ROCKS)[rng.integers(0, len(ROCKS), len(cells))]
    values = rng.uniform(0.02, 0.6, len(cells)).round(2)
    table = geopandas.GeoDataFrame({"ROCK": rock, "KF": values}, geometry=cells, crs=DEGREES)
    table.to_file(path, driver="GPKG")


def made_layers(dem: Path, folder: Path) -> tuple[list[dict], list[dict]]:
    """Write the layers: declarations of rasters, and of polygons."""
    rng = np.random.default_rng(SEED)
    box = box_in(ALBERS, dem, 3 * CELL_M)
    shape = round((box[3] - box[1]) / CELL_M), round((box[2] - box[0]) / CELL_M)
    # Patches of 20 x 20 cells, with noise on them.
    coarse = rng.uniform(-100, 900, (shape[0] // 20 + 1, shape[1] // 20 + 1))
    dnbr = np.kron(coarse, np.ones((20, 20)))[: shape[0], : shape[1]]
    dnbr = (dnbr + rng.normal(0, 80, shape)).astype(np.int16)
    cells = {
        "severity": (1 + np.searchsorted([125, 250, 500], dnbr)).astype(np.uint8),
        "dnbr": dnbr,
        "kf": rng.uniform(0.02, 0.6, shape).astype(np.float32),
        "thickness": rng.uniform(20, 150, shape).astype(np.float32),
        "fuel": rng.choice(np.int16([91, 99, 101, 102, 122, 145, 165, 188, 202]), shape),
    }
    types = {"severity": "severity", "fuel": "fbfm40"}
    rasters = []
    for name, values in cells.items():
        path = folder / f"{name}.tif"
        write_raster(path, values, box, 0 if name == "severity" else -9999)
        rasters.append({"name": name, "path": str(path), "type": types.get(name, "numeric")})
    rasters[-1]["table"] = str(ROOT / "config/fbfm40.csv")
    box = box_in(DEGREES, dem, 0.01)
    rock, soil = folder / "rock.gpkg", folder / "soil.gpkg"
    write_tiling(rock, box, ROCK, rng)
    write_tiling(soil, box, SOIL, rng)
    labels = {label.partition(",")[0]: label.partition(",")[0].lower() for label in ROCKS}
    polygons = [
        {"name": "rock", "path": str(rock), "attribute": "ROCK", "text_up_to": ","}
        | {"classes": labels},
        {"name": "soil", "path": str(soil), "attribute": "KF", "summary": "number"},
    ]
    return rasters, [{"type": "polygons"} | each for each in polygons]


def measure(study: dict, rounds: int, folder: Path) -> dict:
    """Extract the features of all catchments in each way, in turns."""
    from snakeshed.features.layer_index import index_layers
    from snakeshed.terrain.dem import dem_files, index_terrain

    rasters, polygons = made_layers(Path(study["dem"]["path"]), folder)
    joint = {"features": {"joint": ["terrain_m1"]}}
    raw = {key: study[key] for key in ("study", "sites", "dem")}
    cases = {
        "no layers": study,
        "5 rasters": completed(raw | {"layers": rasters}),
        "5 rasters and a joint feature": completed(raw | joint | {"layers": rasters}),
        "5 rasters, a joint feature, and 2 layers of polygons": completed(
            raw | joint | {"layers": rasters + polygons}
        ),
    }
    ready = prepare(study, 16, folder)
    prepared = folder / "prepared"
    prepared.mkdir()
    whole = list(cases.values())[-1]
    terrain = index_terrain(dem_files(study["dem"]["path"]))
    began = time.process_time()
    index_layers(whole["layers"], terrain, str(prepared))
    indexed = time.process_time() - began
    times, sites = defaultdict(list), 0
    for _ in range(1 + rounds):
        for name, each in cases.items():
            found = [run_shard(each, shard, str(prepared)) for shard in ready["shards"]]
            times[name].append(sum(shard["features"] for shard in found))
            sites = sum(shard["sites"] for shard in found)
    return {
        "sites": sites,
        "rounds": rounds,
        "index_layers_s": round(indexed, 2),
        "ms_per_site": {
            name: round(1000 * statistics.median(each[1:]) / sites, 2)
            for name, each in times.items()
        },
    }


def table_of(result: dict) -> str:
    """The result as a Markdown table."""
    found = result["ms_per_site"]
    without = found["no layers"]
    lines = [
        f"{result['sites']} sites; medians of {result['rounds']} rounds; {ROCK:,} and {SOIL:,} "
        f"polygons. {source_of(result)}",
        "",
        "| features with | ms per site | times no layers |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {ms} | {ms / without:.2f} |" for name, ms in found.items()]
    lines += ["", f"`index_layers` takes {result['index_layers_s']} s, once for all shards."]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    made_folder(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        study = made_study(options.folder)
        result = machine("snakeshed", "exactextract", "shapely")
        result |= measure(study, options.rounds, Path(name))
    publish("layers", result, table_of(result), options)


if __name__ == "__main__":
    main()
