"""The studies of config/ run as far as the inputs allow, and prove themselves elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from staley import TABLE
from tiny_study import clone_workflow

from snakeshed.cli import main

LAYERS = "severity, dnbr, kf, thickness, fuel, rock"


@pytest.fixture
def checkout(workflow, tmp_path, shared_data) -> Path:
    """A clone with the site table of Staley et al. (2016), as a user has it."""
    table = shared_data("staley2016") / TABLE
    folder = clone_workflow(tmp_path / "checkout", workflow)
    (folder / "data/staley2016/dem").mkdir(parents=True)
    shutil.copy(table, folder / "data/staley2016")
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def with_dem(checkout, shared_data) -> Path:
    """The same with the DEM of one of the fires."""
    shutil.copy(shared_data("station-fire") / "dem.tif", checkout / "data/staley2016/dem")
    return checkout


def test_what_is_missing_is_named_with_its_place_and_nothing_runs(checkout):
    run = snakemake(checkout, "--configfile", "config/staley2016.yaml")
    assert run.returncode == 1
    problems = [line for line in run.stderr.splitlines() if line.startswith("- ")]
    assert [line.split(":")[0][2:] for line in problems] == [
        "dem.path",
        "layers[severity].path",
        "layers[severity].perimeter",
        *(f"layers[{name}].path" for name in ("dnbr", "kf", "thickness", "fuel", "rock")),
    ]
    assert all(" Get it from https://" in line for line in problems)
    assert not (checkout / "results").exists()


def test_the_corrected_study_is_archived_and_run_again_elsewhere(with_dem, tmp_path, capsys):
    run = snakemake(
        with_dem,
        *("archive", "--configfile", "config/staley2016.yaml"),
        # Fewer splits than the twenty of the study, which take half a minute.
        *("--config", f"without=[{LAYERS}]", "observations={classifiers: {seeds: 3}}"),
    )
    assert run.returncode == 0, run.stderr
    results = with_dem / "results/staley2016"
    summary = json.loads((results / "summary.json").read_text())
    assert summary["status"] == {"ok": 230, "outside_dem": 486}
    assert summary["left_out"]["inputs"] == LAYERS.split(", ")
    assert summary["area_within_10_percent"] > 0.7
    refits = json.loads((results / "refit.json").read_text())["refits"]
    coefficients = [each["refitted"]["value"] for each in refits[0]["coefficients"]]
    assert coefficients == pytest.approx([-3.606, 0.416, 0.659, 0.680], abs=5e-4)
    classifiers = json.loads((results / "classifiers.json").read_text())
    assert len(classifiers["splits"]) == 3
    assert classifiers["complete"]["observations"] == 1243
    dataset = pd.read_parquet(results / "dataset.parquet")
    assert len(dataset) == 1550
    assert dataset["debris_flow"].sum() == 334

    archive = shutil.move(results / "archive/staley2016.zip", tmp_path)
    shutil.rmtree(with_dem)
    assert main(["verify", archive, "--rerun", "--yes", "--cores", "2"]) == 0
    assert "The re-run reproduced all values of 7 files exactly." in capsys.readouterr().out


def test_the_original_runs_as_far_as_the_table_allows(checkout):
    """Its catchments are those of `test_recipe_study.py`."""
    run = snakemake(
        checkout, *("--configfile", "config/roten2022.yaml"), *("--config", "without=[dem]")
    )
    assert run.returncode == 0, run.stderr
    assert "; with them: the tables catchments, features; " in run.stderr
    assert run.stderr.endswith(" s in all.\n")
    assert "refit.json" in run.stderr.split("Open:")[1]
    assert (checkout / "results/roten2022/refit.json").exists()
    assert not (checkout / "results/roten2022/classifiers.json").exists()
