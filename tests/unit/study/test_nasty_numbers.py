"""Whatever number a key has, `check` answers and a run ends, within 6 GB."""

from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NASTY = [
    float("nan"),
    float("inf"),
    float("-inf"),
    -1,
    -0.0,
    0,
    5e-324,
    1e-9,
    0.5,
    1,
    45.5,
    60,
    1000,
    1e9,
    1e300,
    2**63,
    10**39,
    10**41,
    True,
    False,
    None,
    "1e9",
    [],
    {},
]
SOURCE = {
    "name": "own",
    "address": "http://127.0.0.1:9/{x}_{y}.tif",
    "crs": "EPSG:32611",
    "tile_size": 1000,
    "cells": 60,
}
ANSWERS = "answers.txt"
SCHEMA = Path(__file__).parents[3] / "config" / "schema" / "study.schema.yaml"
LEFT, TOP, CELL_M = 500_000, 4_000_000, 1000 / 60
MOST_BYTES = 6_000_000_000
# Of the processor, for all of them: a single one without end takes it all.
MOST_SECONDS = 1500


def numeric_keys(schema: dict, path: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    """Yield every key that takes a number, or a list of them."""
    for key, of_key in schema.get("properties", {}).items():
        kinds = {"number", "integer"}
        if kinds & {*_kinds(of_key), *_kinds(of_key.get("items", {}))}:
            yield (*path, key), of_key
        yield from numeric_keys(of_key, (*path, key))
        yield from numeric_keys(of_key.get("items", {}), (*path, key, 0))


def _kinds(schema: dict) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def studies(schema: dict, base: dict) -> Iterator[tuple[str, dict]]:
    """Yield the study with each nasty value in each numeric key."""
    for path, of_key in numeric_keys(schema):
        for nasty in NASTY:
            values = [nasty]
            if "array" in _kinds(of_key):
                values += [[nasty], [0, nasty], [-1, 0, nasty], [nasty] * 2000]
            for value in values:
                study = copy.deepcopy(base)
                section = study
                *outer, key = path
                for part in outer:
                    section = section[part] if part == 0 else section.setdefault(part, {})
                if "source" in path:
                    # The files of the DEM are tiles of it.
                    section.update(SOURCE)
                section[key] = value
                if path[-1] == "thresholds":
                    section.update(type="severity", coding="dnbr")
                    study.update(compare=[], features={}, models=[])
                if path[-1] == "value":
                    section.pop("path", None)
                if path[-1] == "resolution":
                    section["target_crs"] = "EPSG:32611"
                name = ".".join(map(str, path))
                shown = f"{len(value)} times {nasty!r}" if isinstance(value, list) else repr(value)
                yield f"{name} = {shown}", study


def main() -> None:
    """Check every study in the working directory, and run those that nothing is wrong with."""
    import yaml

    from snakeshed.errors import SeveralProblems
    from snakeshed.study.check import check_study
    from snakeshed.study.configuration import complete
    from snakeshed.study.yaml_file import load_schema

    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    schema = load_schema(SCHEMA)
    base = yaml.safe_load(Path("base.yaml").read_text())
    ran = set()
    for told, study in studies(schema, base):
        # If the process is killed, this is the last line.
        write(f"{told}: ")
        Path("study.yaml").write_text(yaml.safe_dump(study))
        try:
            check_study("study.yaml")
        except SeveralProblems as several:
            write(f"{several.problems[0]}\n")
            continue
        done = complete(study, schema, "study.yaml")
        same = json.dumps(done, sort_keys=True)
        if same not in ran:
            ran.add(same)
            run(done)
        write("accepted\n")


def write(text: str) -> None:
    """Add to the answers."""
    with Path(ANSWERS).open("a", encoding="utf-8") as file:
        file.write(text)


def run(study: dict) -> None:
    """Do what the rules of a run do."""
    from snakeshed.backends.local import Backend
    from snakeshed.delineation.delineate import delineate
    from snakeshed.delineation.pyramid import PatchPyramid
    from snakeshed.delineation.shards import split
    from snakeshed.delineation.site import DelineationRule, sites_of
    from snakeshed.delineation.table import write_catchments
    from snakeshed.features.columns import ReliefRule, numeric
    from snakeshed.features.extract import extract_features
    from snakeshed.features.joint import joint_rules
    from snakeshed.features.layers import feature_columns, layer_of
    from snakeshed.models.configured import StudyModels, hazard_settings
    from snakeshed.sites.prepare import prepare_sites
    from snakeshed.study.check import _terrain
    from snakeshed.tables.geoparquet import read_table
    from snakeshed.terrain.elevations import Terrain

    prepared = prepare_sites(study["sites"])
    index = _terrain(study["dem"])
    pyramid = PatchPyramid(index.lattice, **study["patches"])
    for shard in split(prepared.sites, index, pyramid, study["shards"]):
        if not len(shard.sites):
            continue
        rule = DelineationRule.of(study)
        done = delineate(sites_of(shard.sites), index, pyramid, rule, Backend("serial"))
        write_catchments(done, "catchments.parquet", index.lattice.crs)
        relief = ReliefRule(
            tuple(study["features"]["steep_degrees"]), tuple(study["features"]["percentiles"])
        )
        layers = [layer_of(layer) for layer in study["layers"]]
        joint = joint_rules(study["features"]["joint"], layers)
        with Terrain(index, study["dem"]["max_void_cells"]) as terrain:
            rows = extract_features(
                read_table("catchments.parquet"), terrain, relief, layers, joint
            )
        columns = feature_columns(relief, layers, joint)
        models = StudyModels.of(hazard_settings(study), numeric(columns))
        rain = {
            each["duration_min"]: each["intensity_mm_per_h"] * each["duration_min"] / 60
            for each in study["storms"]
        }
        for row in rows:
            inputs = models.site_inputs(row)
            for model, storm in models.runs():
                models.outcome(model, inputs, storm.duration_min, rain[storm.duration_min])
            for model, duration_min, likelihood in models.threshold_runs():
                models.threshold(model, inputs[model], duration_min, likelihood)


@pytest.mark.slow
def test_every_numeric_key_with_every_nasty_value_gives_a_message_or_a_run_that_ends(tmp_path):
    import numpy as np
    import yaml
    from rasters import write_raster

    ground = np.add.outer(np.arange(60), np.abs(np.arange(60) - 30)).astype(np.float32)
    ground[40:42, 10:12] = np.nan
    write_raster(tmp_path / "dem.tif", ground, dx=CELL_M)
    write_raster(tmp_path / "rain.tif", ground + 100, dx=CELL_M)
    (tmp_path / "sites.csv").write_text(
        f"name,x,y,area,mm\na,{LEFT + 305},{TOP - 95},0.01,7\nb,{LEFT + 5},{TOP - 595},,8\n"
    )
    columns = {"site_id": "name", "x": "x", "y": "y", "area": "area"}
    base = {
        "study": "mine",
        "sites": {"path": "sites.csv", "crs": "EPSG:32611", "columns": columns},
        "dem": {"path": "dem.tif"},
        "layers": [{"name": "rain", "path": "rain.tif", "type": "numeric"}],
        "compare": [{"column": "mm", "feature": "rain_mean"}],
        "features": {
            "joint": [{"name": "wet", "layer": "rain", "range": [0, 500], "slope_min_deg": 1}]
        },
        "models": [
            {"name": "gartner2014_long_term", "years_since_fire": 1}
            | {"inputs": {"burned_km2": "area_km2"}},
            {"name": "swb", "inputs": {"fire": "rain_mean"}},
        ],
        "storms": [
            {"duration_min": 60, "intensity_mm_per_h": 10},
            {"duration_min": 15, "intensity_mm_per_h": 24},
        ],
        "observations": {
            "rainfall": [{"duration_min": 60, "column": "mm", "unit": "mm"}],
            "response": {"column": "mm"},
            "refits": [
                {
                    "model": "staley2017_m1",
                    "duration_min": 60,
                    "inputs": {"terrain": "mm", "fire": "area", "soil": "mm"},
                    "training": {"column": "mm", "values": [7]},
                }
            ],
            "classifiers": {"columns": ["area"]},
        },
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    done = subprocess.run(
        [sys.executable, __file__],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (tmp_path / ANSWERS).read_text(encoding="utf-8").splitlines()
    assert done.returncode == 0, f"{lines[-1]}\n{done.stderr[-3000:]}"
    # Every key was there, and took at least one value.
    from snakeshed.study.yaml_file import load_schema

    keys = [".".join(map(str, path)) for path, _ in numeric_keys(load_schema(SCHEMA))]
    assert len(keys) >= 25
    for key in keys:
        own = [line for line in lines if line.startswith(f"{key} = ")]
        assert any(line.endswith("accepted") for line in own), key
        assert any(": found " in line for line in own), key


if __name__ == "__main__":
    main()
