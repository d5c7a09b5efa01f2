"""The stages of the workflow as its rules call them, without Snakemake, each with its CPU time."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from record import ROOT

from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.nesting import with_nesting
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import COLUMNS, split
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.delineation.table import write_catchments
from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.joint import joint_rules
from snakeshed.features.layers import feature_columns, layer_of
from snakeshed.features.table import write_features
from snakeshed.grid.snap import SnapRule
from snakeshed.sites.prepare import prepare_sites
from snakeshed.study.configuration import complete
from snakeshed.tables.gather import concatenate
from snakeshed.tables.geoparquet import read_arrow, write_table
from snakeshed.terrain.dem import dem_files, index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex


def completed(raw: dict) -> dict:
    """A study with the defaults of the schema."""
    return complete(raw, ROOT / "config/schema/study.schema.yaml", "benchmark")


def prepare(study: dict, shards: int, folder: Path) -> dict:
    """From the site table and the DEM's files to the shards, one folder for each that has sites.

    Returns
    -------
    dict
        shards: the folders; seconds: CPU time.
    """
    started = time.process_time()
    sites = prepare_sites(study["sites"]).sites
    index = TerrainIndex.from_json(index_terrain(dem_files(study["dem"]["path"])).to_json())
    pyramid = PatchPyramid(index.lattice, **study["patches"])
    folders = []
    for shard in split(sites, index, pyramid, shards):
        if len(shard.sites):
            own = folder / shard.name
            own.mkdir()
            write_table(shard.sites, own / "sites.parquet", COLUMNS)
            (own / "terrain.json").write_text(shard.terrain.to_json(), encoding="utf-8")
            folders.append(own)
    return {"shards": folders, "seconds": time.process_time() - started}


def run_shard(study: dict, folder: Path, prepared: str | None = None) -> dict:
    """From a shard's sites to its catchments and features, in this process.

    Layers of polygons are read from the folder in which they were prepared.

    Returns
    -------
    dict
        sites: that were delineated; patches, levels: where; areas: km2 by site; delineate,
        features: CPU time in s.
    """
    marks = [time.process_time()]
    index = TerrainIndex.from_json((folder / "terrain.json").read_text(encoding="utf-8"))
    pyramid = PatchPyramid(index.lattice, **study["patches"])
    rule = DelineationRule(
        SnapRule(**study["snap"]),
        study["dem"]["max_void_cells"],
        study["network"]["min_area_km2"],
    )
    sites = sites_of(read_arrow(folder / "sites.parquet"))
    with Backend("serial") as backend:
        catchments = delineate(sites, index, pyramid, rule, backend)
    write_catchments(catchments, folder / "catchments.parquet", index.lattice.crs)
    marks.append(time.process_time())
    relief = ReliefRule(
        tuple(study["features"]["steep_degrees"]), tuple(study["features"]["percentiles"])
    )
    layers = [layer_of(layer, prepared) for layer in study["layers"]]
    joint = joint_rules(study["features"]["joint"], layers)
    catchments_table = read_arrow(folder / "catchments.parquet")
    with Terrain(index, rule.max_void_cells) as terrain:
        rows = extract_features(catchments_table, terrain, relief, layers, joint)
    write_features(rows, feature_columns(relief, layers, joint), folder / "features.parquet")
    marks.append(time.process_time())
    done = [catchment for catchment in catchments if catchment.status == "ok"]
    return {
        "sites": len(done),
        "patches": len({catchment.patch for catchment in done}),
        "levels": dict(sorted(Counter(catchment.patch_level for catchment in done).items())),
        "areas": {catchment.site_id: catchment.area_km2 for catchment in done},
        "delineate": marks[1] - marks[0],
        "features": marks[2] - marks[1],
    }


def gather(shards: list[Path], folder: Path) -> float:
    """One table each of the catchments and the features of all shards; tells the CPU time in s."""
    started = time.process_time()
    for table in ("catchments.parquet", "features.parquet"):
        gathered = concatenate([str(shard / table) for shard in shards])
        if table == "catchments.parquet":
            gathered = with_nesting(gathered)
        write_table(gathered, folder / table)
    return time.process_time() - started
