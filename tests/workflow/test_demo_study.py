"""The demo: some catchments burn in part, hazards are low to high, and the model is scored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas
import pandas as pd
import pytest

ROCK = ("igneous", "metamorphic", "sedimentary", "unconsolidated")


@pytest.fixture(scope="module")
def results(workflow, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    # The paths of the demo's fuel table and schema are relative to the checkout.
    for name in ("config", "scripts", "rules", "Snakefile", "profiles", "envs"):
        (folder / name).symlink_to(workflow / name)
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    environment = os.environ | {"PYTHONPATH": str(workflow / "scripts")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "results/demo"


@pytest.fixture(scope="module")
def features(results) -> pd.DataFrame:
    return pd.read_parquet(results / "features.parquet").set_index("site_id")


@pytest.fixture(scope="module")
def hazard(results) -> pd.DataFrame:
    return pd.read_parquet(results / "hazard.parquet")


def test_some_catchments_burned_entirely_some_in_part_some_not_at_all(features):
    burned = features["severity_burned_share"].dropna()
    assert len(burned) == 49
    assert (burned > 0.98).sum() >= 3
    assert burned.between(0.1, 0.9).sum() >= 8
    assert (burned == 0).sum() >= 15


def test_what_burned_lies_inside_the_perimeter(results, features):
    inputs = results.parents[1] / "resources/demo"
    [perimeter] = geopandas.read_file(inputs / "synthetic_perimeter.geojson").geometry
    catchments = geopandas.read_parquet(results / "catchments.parquet").set_index("site_id")
    # Areas in degrees: within a catchment, their ratios are those of areas on the ground.
    outlines = catchments.geometry.dropna().set_crs(None, allow_override=True)
    inside = outlines.intersection(perimeter).area / outlines.area
    burned = features["severity_burned_share"].loc[inside.index]
    assert (burned <= inside + 0.001).all()
    assert (burned[inside > 0.5] > 0.25).all()


def test_rock_of_two_kinds_counts_half_and_half(features):
    names = [f"rock_share_{kind}" for kind in ROCK]
    rock = features[names].dropna()
    assert (rock.max() >= 0.5).all()
    assert (rock.sum(axis=1) - 1).abs().max() < 1e-8
    mixed = features[features["rock_at_site"].str.startswith("Sedimentary and", na=False)]
    assert (mixed["rock_share_metamorphic"] > 0).all()
    assert (mixed["rock_share_sedimentary"] >= mixed["rock_share_metamorphic"] - 1e-9).all()


def test_hazards_are_of_every_class(hazard):
    likelihood = hazard.loc[hazard["model"] == "staley2017_m1", "likelihood"]
    assert likelihood.min() < 0.06
    assert likelihood.max() > 0.8
    assert set(hazard["hazard_class"].dropna()) == {1, 2, 3}


def test_a_site_without_a_hazard_says_why(hazard):
    of_site = hazard.groupby(["site_id", "model"]).size()
    assert set(of_site) == {4}
    assert len(of_site) == 50 * 3
    combined = hazard[hazard["model"] == "cannon2010"]
    assert (combined["hazard_class"].isna() == combined["reason"].notna()).all()
    assert combined["hazard_class"].isna().any()


def test_the_skill_is_neither_that_of_chance_nor_perfect(results):
    [skill] = json.loads((results / "skill.json").read_text(encoding="utf-8"))["models"]
    assert (skill["model"], skill["observations"]) == ("staley2017_m1", 56)
    assert 0.6 < skill["roc_area"]["value"] < 0.95
    assert skill["roc_area"]["low"] > 0.5


def test_the_report_says_first_that_the_fire_is_synthetic(results):
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "synthetic" in text[: text.index("<main>")]
