"""Completed configurations of models, and rows of features, for tests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from snakeshed.models.configured import StudyModels, hazard_settings
from snakeshed.study.configuration import complete
from snakeshed.study.yaml_file import load_schema

SCHEMA = load_schema(Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml")
COLUMNS = (
    "terrain_m1",
    "terrain_m2",
    "terrain_m4",
    "ruggedness",
    "relief_m",
    "area_km2",
    "dnbr_mean",
    "kf_mean",
    "thickness_mean",
    "slope_mean_deg",
    "burn_share_low",
    "burn_share_moderate_high",
    "burn_moderate_high_km2",
    "burn_burned_km2",
)
# A catchment with plausible values of all columns.
ROW = {
    "site_id": "a",
    "status": "ok",
    "reason": None,
    "terrain_m1": 0.3,
    "terrain_m2": 0.2,
    "terrain_m4": 0.25,
    "ruggedness": 0.6,
    "relief_m": 400.0,
    "area_km2": 1.5,
    "dnbr_mean": 350.0,
    "kf_mean": 0.25,
    "thickness_mean": 40.0,
    "slope_mean_deg": 27.0,
    "burn_share_low": 0.3,
    "burn_share_moderate_high": 0.5,
    "burn_moderate_high_km2": 0.75,
    "burn_burned_km2": 1.2,
}


def settings(*models: str | dict, layers=("burn",), **sections) -> dict:
    """Return what hazards depend on; a model is its name, or its keys."""
    raw = {
        "study": "mine",
        "sites": {"path": "a.csv", "columns": {"x": "x", "y": "y"}, "crs": "EPSG:4326"},
        "dem": {"path": "dem.tif"},
        "models": [{"name": each} if isinstance(each, str) else each for each in models],
    }
    study = complete(raw | sections, SCHEMA, "mine.yaml")
    study["layers"] = [{"name": name, "type": "severity"} for name in layers]
    return hazard_settings(study)


def study_models(*models: str | dict, columns=COLUMNS, **sections) -> StudyModels:
    return StudyModels.of(settings(*models, **sections), columns)


def features(*rows: dict) -> pa.Table:
    """Return rows of features.parquet: `ROW` with other values, sorted by site."""
    kinds = {"site_id": pa.string(), "status": pa.string(), "reason": pa.string()}
    schema = pa.schema([pa.field(name, kinds.get(name, pa.float64())) for name in ROW])
    full = sorted((ROW | row for row in rows), key=lambda row: row["site_id"])
    return pa.Table.from_pylist(full, schema=schema)
