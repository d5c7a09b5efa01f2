"""A study in memory: a valley, sites on and off it with whatever names, and all its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import rasterio
from affine import Affine

from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.shards import split
from snakeshed.delineation.site import DelineationRule, sites_of
from snakeshed.delineation.table import CATCHMENTS, write_catchments
from snakeshed.features.columns import ReliefRule
from snakeshed.features.extract import extract_features
from snakeshed.features.layers import feature_columns, layer_of
from snakeshed.features.table import write_features
from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.models.hazard import hazard_table
from snakeshed.models.thresholds import threshold_table
from snakeshed.report.hazard_runs import HazardTables
from snakeshed.report.study_page import StudyResults
from snakeshed.report.summary import Finished, summarise
from snakeshed.study.configuration import complete
from snakeshed.tables.geoparquet import read_arrow, read_descriptions, read_table
from snakeshed.terrain.dem import index_terrain
from snakeshed.terrain.elevations import Terrain
from snakeshed.terrain.index import TerrainIndex

CHECKOUT = Path(__file__).parents[1]
WEST, NORTH, CELL_M, CELLS = 400_000, 3_800_000, 30, 150
# On the channel of the valley and on its flanks; then one beside the DEM, one without a stream.
PLACES = (
    (401_515, 3_797_755, 13.0),
    (400_615, 3_797_755, 17.5),
    (402_015, 3_798_400, 0.45),
    (403_015, 3_797_255, 0.45),
    (401_000, 3_798_700, None),
    (390_000, 3_796_000, 0.4),
    (404_000, 3_799_600, None),
)


@dataclass(frozen=True)
class SmallStudy:
    """Files and tables of a finished study."""

    folder: Path
    index: TerrainIndex
    results: StudyResults

    def terrain(self) -> Terrain:
        return Terrain(self.index, 64)

    def models(self) -> StudyModels:
        columns = read_descriptions(self.folder / "features.parquet")
        return StudyModels.of(hazard_settings(self.results.configuration), columns)


def small_study(folder: Path, names: Sequence[str], copies: int = 1) -> SmallStudy:
    """Run a study on made terrain in a folder.

    Site k is called ``names[k]`` and lies at ``PLACES[k]``. With more `copies`, all are there
    again with a number behind the name.
    """
    rows, columns = np.mgrid[:CELLS, :CELLS]
    across = np.abs(rows - CELLS / 2)
    z = 300 + columns * 0.8 + across * 3 + 6 * np.sin(columns / 6) * np.minimum(across, 20) / 20
    write_raster(folder / "dem.tif", z.astype("float32"))
    write_raster(folder / "rain.tif", (columns / 10).astype("float32"))
    write_raster(folder / "burn.tif", (1 + (rows > columns)).astype("uint8"))
    configuration = complete(
        {
            "study": "small",
            "sites": {"path": "sites.csv", "crs": "EPSG:32611", "columns": {"x": "x", "y": "y"}},
            "dem": {"path": "dem.tif"},
            "layers": [
                {"name": "rain", "path": str(folder / "rain.tif"), "type": "numeric", "unit": "mm"},
                {
                    "name": "burn",
                    "path": str(folder / "burn.tif"),
                    "type": "classes",
                    "classes": {1: "low", 2: "high"},
                },
            ],
        },
        CHECKOUT / "config/schema/study.schema.yaml",
        "small study",
    )
    sites = pd.DataFrame(
        [
            (name + (f" {copy}" if copy else ""), x, y, "EPSG:32611", area)
            for copy in range(copies)
            for name, (x, y, area) in zip(names, PLACES, strict=False)
        ],
        columns=["site_id", "x", "y", "crs", "reported_area_km2"],
    )
    index = index_terrain([str(folder / "dem.tif")])
    pyramid = PatchPyramid(index.lattice, **configuration["patches"])
    (shard,) = split(sites, index, pyramid, 1)
    rule = DelineationRule.of(configuration)
    done = delineate(sites_of(shard.sites), index, pyramid, rule, Backend("serial"))
    write_catchments(done, folder / "catchments.parquet", index.lattice.crs)
    catchments = read_table(folder / "catchments.parquet")
    relief = ReliefRule((23.0, 30.0), (10.0, 50.0, 90.0))
    layers = [layer_of(layer) for layer in configuration["layers"]]
    with Terrain(index, 64) as terrain:
        rows = extract_features(catchments, terrain, relief, layers)
    write_features(rows, feature_columns(relief, layers), folder / "features.parquet")
    features = read_table(folder / "features.parquet")
    rejected = pd.DataFrame(columns=["row", "site_id", "action", "reason", "found"])
    finished = Finished(catchments[list(CATCHMENTS)], features, rejected)
    results = StudyResults(
        catchments,
        features,
        read_descriptions(folder / "features.parquet")
        | read_descriptions(folder / "catchments.parquet"),
        rejected,
        summarise("small", finished, layers),
        configuration,
    )
    return SmallStudy(folder, index, results)


def with_rejected(study: SmallStudy, rows: Sequence[tuple]) -> SmallStudy:
    """The study with remarks on rows of its site table."""
    rejected = pd.DataFrame(list(rows), columns=study.results.rejected.columns)
    return replace(study, results=replace(study.results, rejected=rejected))


MODELS = [
    {
        "name": "staley2017_m3",
        "inputs": {
            "fire": "burn_share_high",
            "soil": {"column": "rain_mean_mm", "scale": 0.05},
        },
    },
    {"name": "gartner2014_emergency", "inputs": {"moderate_high_km2": "area_km2"}},
    {"name": "cannon2010"},
]
STORMS = [
    {"duration_min": 15, "intensity_mm_per_h": 24},
    {"duration_min": 15, "intensity_mm_per_h": 80},
    {"duration_min": 30, "intensity_mm_per_h": 20},
]


def with_hazards(
    study: SmallStudy,
    models: Sequence[dict] = MODELS,
    storms: Sequence[dict] = STORMS,
    observations: pa.Table | None = None,
) -> SmallStudy:
    """The study with models, and what they give at its sites."""
    raw = {key: study.results.configuration[key] for key in ("study", "sites", "dem", "layers")}
    configuration = complete(
        raw | {"models": list(models), "storms": list(storms)},
        CHECKOUT / "config/schema/study.schema.yaml",
        "small study",
    )
    table = read_arrow(study.folder / "features.parquet")
    with_models = replace(study, results=replace(study.results, configuration=configuration))
    declared = with_models.models()
    tables = HazardTables(
        hazard_table(table, declared, observations), threshold_table(table, declared)
    )
    return replace(with_models, results=replace(with_models.results, hazards=tables))


def write_raster(path: Path, cells: np.ndarray) -> None:
    """Write cells where the small study is."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=cells.dtype,
        count=1,
        crs="EPSG:32611",
        height=cells.shape[0],
        width=cells.shape[1],
        transform=Affine(CELL_M, 0, WEST, 0, -CELL_M, NORTH),
    ) as raster:
        raster.write(cells, 1)
