"""A study goes without inputs that it describes, as `without` says."""

from __future__ import annotations

import json
import zipfile

import pandas as pd
from tiny_study import TinyStudy

from snakeshed.cli import main

MODELS = [
    {"name": "staley2017_m3", "inputs": {"fire": "share_steeper_23deg", "soil": "rain_mean"}},
    {"name": "gartner2014_emergency", "inputs": {"moderate_high_km2": "area_km2"}},
]
ARCHIVE = "results/tiny/archive/tiny.zip"


def test_a_layer_that_is_not_there_is_left_out_with_what_needs_it(study: TinyStudy, tmp_path):
    catchments = (study.results / "catchments.parquet").read_bytes()
    (study.folder / "rain.tif").unlink()
    study.config["models"] = MODELS
    study.config["layers"][0] |= {"url": "https://rain.example", "licence": "CC0-1.0"}
    study.config["sites"]["redistribute"] = study.config["dem"]["redistribute"] = True
    study.write()
    stopped = study.run()
    assert stopped.code == 1
    assert "Get it from https://rain.example, or correct the path" in stopped.text
    assert "Or add rain to `without`: what needs it is left out, too." in stopped.text

    run = study.run("archive", "--config", "without=[rain]")
    assert run.code == 0, run.text
    words = "Left out, as `without` says: rain; with them: models staley2017_m3."
    assert run.text.count(words) == 2
    assert not run.shards("delineate")
    assert (study.results / "catchments.parquet").read_bytes() == catchments
    features = pd.read_parquet(study.results / "features.parquet")
    assert not [name for name in features if name.startswith("rain")]
    hazard = pd.read_parquet(study.results / "hazard.parquet")
    assert set(hazard["model"]) == {"gartner2014_emergency"}
    assert json.loads((study.results / "summary.json").read_text())["left_out"] == {
        "inputs": ["rain"],
        "tables": [],
        "joint_features": [],
        "models": ["staley2017_m3"],
        "comparisons": [],
        "fits": [],
        "words": words,
    }
    assert words in (study.results / "report.html").read_text()

    with zipfile.ZipFile(study.folder / ARCHIVE) as archive:
        readme = archive.read("tiny/data/README.md").decode()
        assert not [name for name in archive.namelist() if "inputs/layers" in name]
    assert "| rain | https://rain.example | CC0-1.0 |" in readme


def test_without_the_dem_a_run_makes_what_follows_from_the_site_table(fresh: TinyStudy, capsys):
    for tile in (fresh.folder / "dem").iterdir():
        tile.unlink()
    fresh.config["without"] = ["dem"]
    fresh.config["sites"]["redistribute"] = True
    fresh.write()
    run = fresh.run("archive")
    assert run.code == 0, run.text
    assert run.jobs == {"prepare_sites": 1, "archive": 1}
    assert "Left out, as `without` says: dem, rain; with them: the tables" in run.text
    assert sorted(path.name for path in fresh.results.iterdir() if path.suffix != ".sha256") == [
        "archive",
        "logs",
        "observations.parquet",
        "rejected.csv",
        "site_warnings.json",
        "sites.parquet",
    ]
    assert not fresh.run().jobs
    asked = fresh.run("results/tiny/catchments.parquet")
    assert asked.code == 1
    assert "without: found dem, and a target that needs catchments; expected a target" in asked.text
    assert main(["verify", str(fresh.folder / ARCHIVE), "--rerun", "--yes"]) == 0
    assert "The re-run reproduced all values of 2 files" in capsys.readouterr().out


def test_the_dem_comes_later_and_the_rest_is_made(fresh: TinyStudy):
    first = fresh.run("--config", "without=[dem]")
    assert first.code == 0, first.text
    assert first.jobs == {"prepare_sites": 1}
    run = fresh.run()
    assert run.code == 0, run.text
    assert "prepare_sites" not in run.jobs
    assert len(pd.read_parquet(fresh.results / "features.parquet")) == 7
