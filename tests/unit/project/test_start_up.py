"""What a job imports before it works: a shard's job does not wait for what it does not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from rasters import write_raster
from vectors import declared, write_vector

from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import COLUMNS, split
from snakeshed.features.layer_index import index_layers
from snakeshed.result_files import result_file
from snakeshed.tables.geoparquet import read_table, write_table
from snakeshed.terrain.dem import index_terrain

SCRIPTS = Path(__file__).parents[3] / "scripts"
FRAMES = {"pandas", "geopandas", "pyogrio", "pyarrow.compute", "pyarrow.dataset"}
PYSHEDS = {"pysheds", "geojson", "pyproj"}
PLOTS = {"matplotlib", "PIL"}
# A job that needs one of these imports it when it does.
OF_FEW = {
    "dask",
    "distributed",
    "scipy.sparse",
    "scipy.ndimage",
    "xarray",
    "rioxarray",
    "jsonschema",
}
KERNELS = {"numba", "llvmlite", "snakeshed.kernels.compiled"}
NOT_IMPORTED = {
    "delineate": FRAMES | PYSHEDS | PLOTS | OF_FEW | {"snakeshed.delineation.tiled_window"},
    "extract_features": FRAMES | PYSHEDS | PLOTS | OF_FEW,
    "gather": FRAMES | PYSHEDS | PLOTS | OF_FEW | KERNELS | {"rasterio"},
    "site_card": FRAMES | PYSHEDS | PLOTS | OF_FEW,
    "site_features": FRAMES | PYSHEDS | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely"},
    "export_csv": PYSHEDS | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely"},
    "export_geopackage": FRAMES | PYSHEDS | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely"},
    "index_terrain": FRAMES | PYSHEDS | PLOTS | OF_FEW | KERNELS,
    "index_layers": FRAMES | PYSHEDS | PLOTS | OF_FEW | KERNELS,
    "hazard": FRAMES | PYSHEDS | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely"},
    "prepare_sites": PLOTS | OF_FEW | KERNELS,
    "split_shards": FRAMES | PLOTS | OF_FEW | KERNELS | {"rasterio"},
    "dataset": FRAMES | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely"},
    "skill": FRAMES | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely", "sklearn"},
    "refit": FRAMES | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely", "sklearn"},
    "compare_classifiers": FRAMES | PLOTS | OF_FEW | KERNELS | {"rasterio", "shapely", "sklearn"},
    "summarise": PLOTS | OF_FEW | KERNELS | {"geopandas", "rasterio"},
    "report": PLOTS | OF_FEW | KERNELS | {"sklearn"},
    "archive": {"numba", "matplotlib", "rasterio"},
}


def run_python(code: str, *arguments: object) -> list[str]:
    """Run in a process of its own; return what it says."""
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.parametrize("script", NOT_IMPORTED)
def test_a_script_imports_nothing_that_few_of_its_jobs_need(script):
    loaded = run_python(f"import {script}, sys; print(*sys.modules)")
    assert script in loaded
    assert not NOT_IMPORTED[script].intersection(loaded)


SHARD_JOBS = """
import json, sys
import delineate, extract_features
from snakeshed.delineation.site import DelineationRule
from snakeshed.grid.snap import SnapRule

shard, patches, layers = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
delineate.main(
    sites=f"{shard}/sites.parquet",
    terrain=f"{shard}/terrain.json",
    patches=patches,
    rule=DelineationRule(SnapRule(50.0, 0.05, 0.001), max_void_cells=9, channel_km2=0.01),
    backend="auto",
    workers=1,
    mem_mb=1000,
    inputs=[f"{shard}/dem.tif"],
    inputs_of_run="none.json",
    catchments=f"{shard}/catchments.parquet",
    log=f"{shard}/delineate.log",
)
extract_features.main(
    catchments=f"{shard}/catchments.parquet",
    terrain=f"{shard}/terrain.json",
    features={"steep_degrees": [23.0], "percentiles": [50.0], "joint": []},
    layers=layers,
    prepared=f"{shard}/layers",
    max_void_cells=9,
    inputs=[f"{shard}/dem.tif"],
    inputs_of_run="none.json",
    output=f"{shard}/features.parquet",
    log=f"{shard}/features.log",
)
print(*sys.modules)
"""

OF_ALL_SHARDS = """
import sys
from snakeshed.delineation.nesting import with_nesting
from snakeshed.tables.gather import concatenate, one_site
from snakeshed.tables.geoparquet import write_table

shard = sys.argv[1]
write_table(with_nesting(concatenate([f"{shard}/catchments.parquet"])), f"{shard}/all.parquet")
write_table(one_site(f"{shard}/features.parquet", "a"), f"{shard}/one.parquet")
print(*sys.modules)
"""


def test_the_jobs_of_a_shard_never_load_pandas(tmp_path):
    """Nor do they by way of pyarrow, which imports it to look at values."""
    row, column = np.indices((60, 60))
    dem = write_raster(tmp_path / "dem.tif", np.float32(500 - row + 2 * abs(column - 30)))
    index = index_terrain([dem])
    patches = {"core_m": 300.0, "buffer_m": 300.0, "levels": 2, "radius_factor": 1.0}
    (tile,) = index.tiles
    x, y = index.lattice.centre(tile.row + 50, tile.column + 30)
    sites = pd.DataFrame(
        {
            "site_id": ["a", "far", "lost"],
            "x": [x, x + 90_000.0, -27.0],
            "y": [y, y, 0.0],
            "crs": ["EPSG:32611", "EPSG:32611", "EPSG:4326"],
            "reported_area_km2": [None, 0.1, None],
        }
    )
    (shard,) = split(sites, index, PatchPyramid(index.lattice, **patches), 1)
    write_table(shard.sites, tmp_path / "sites.parquet", COLUMNS)
    with result_file(tmp_path / "terrain.json") as part:
        part.write_text(shard.terrain.to_json(), encoding="utf-8")
    here = shapely.box(x - 900, y - 900, x + 900, y + 900)
    rock = write_vector(tmp_path / "rock.gpkg", [here], kind=["Igneous, volcanic"])
    layers = [declared(rock, attribute="kind", text_up_to=",", at_site=True)]
    point = write_vector(tmp_path / "basins.gpkg", [shapely.Point(x, y)])
    layers.append(declared(point, "points", "basins"))
    index_layers(layers, index, str(tmp_path / "layers"))
    loaded = run_python(SHARD_JOBS, tmp_path, json.dumps(patches), json.dumps(layers))
    assert not (FRAMES | {"pysheds", "geojson"} | PLOTS).intersection(loaded)
    features = read_table(tmp_path / "features.parquet").set_index("site_id")
    assert features["status"].to_dict() == {"a": "ok", "far": "outside_dem", "lost": "outside_dem"}
    assert features.loc["a", "relief_m"] > 0
    assert features.loc["a", "rock_codes"] == "Igneous=1"
    assert features.loc["a", "rock_at_site"] == "Igneous, volcanic"
    assert features.loc["a", "basins_count"] == 1
    loaded = run_python(OF_ALL_SHARDS, tmp_path)
    assert not {"pandas", "geopandas", "numba", "rasterio"}.intersection(loaded)
    assert read_table(tmp_path / "all.parquet")["site_id"].to_list() == ["a", "far", "lost"]
    assert read_table(tmp_path / "one.parquet")["site_id"].to_list() == ["a"]
