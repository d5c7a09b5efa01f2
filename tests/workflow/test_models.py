"""Models of a study: their tables follow from the gathered features, and from nothing slower."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import rasterio
from tiny_study import TinyStudy

from snakeshed.cli import main

MODELS = [
    {
        "name": "staley2017_m3",
        "inputs": {
            "fire": "share_steeper_23deg",
            "soil": {"column": "rain_mean", "scale": 0.001},
        },
    },
    {"name": "gartner2014_emergency", "inputs": {"moderate_high_km2": "area_km2"}},
    {"name": "cannon2010"},
]
STORMS = [
    {"duration_min": 15, "intensity_mm_per_h": 24},
    {"name": "own", "duration_min": 15, "column": "area_km2", "unit": "in"},
]
OF_SHARDS = {"delineate", "extract_features"}


@pytest.fixture
def modeled(study) -> TinyStudy:
    """The finished study, whose configuration has got models since."""
    study.config |= {"models": MODELS, "storms": STORMS, "likelihoods": [0.5]}
    study.write()
    return study


def test_models_add_their_tables_without_another_look_at_the_terrain(modeled):
    before = (modeled.results / "features.parquet").read_bytes()
    run = modeled.run("results/tiny/hazard.csv", "all")
    assert run.code == 0, run.text
    assert run.jobs["hazard"] == run.jobs["export_csv"] == 1
    assert not OF_SHARDS.intersection(run.jobs)
    assert (modeled.results / "features.parquet").read_bytes() == before

    features = pd.read_parquet(modeled.results / "features.parquet").set_index("site_id")
    hazard = pd.read_parquet(modeled.results / "hazard.parquet")
    keys = [
        (site, model["name"], storm)
        for site in "abcdefg"
        for model in MODELS
        for storm in ("i15_24", "own")
    ]
    assert list(zip(hazard["site_id"], hazard["model"], hazard["storm"], strict=True)) == keys
    done = hazard.set_index(["site_id", "model", "storm"])
    of_a = done.loc["a", "staley2017_m3", "i15_24"]
    assert of_a["rainfall_mm"] == 6
    assert of_a["terrain"] == features.loc["a", "ruggedness"]
    assert of_a["soil"] == features.loc["a", "rain_mean"] * 0.001
    assert 0 < of_a["likelihood"] < 1
    # The site table says 0.3 for a, 0.4 twice for f, and nothing for c.
    rain = done.xs(("staley2017_m3", "own"), level=("model", "storm"))["rainfall_mm"]
    assert rain["a"] == pytest.approx(0.3 * 25.4)
    assert rain["f"] == pytest.approx(0.4 * 25.4)
    nothing = done.loc["c", "cannon2010", "own"]
    assert nothing["reason"] == "no area_km2 in the site table"
    assert pd.isna(nothing["hazard_class"])
    assert set(done.loc["g"]["status"]) == {"outside_dem"}
    assert done.loc["g"]["likelihood"].isna().all()
    assert done.loc["g"]["reason"].notna().all()
    assert done.loc["a", "cannon2010", "i15_24"]["hazard_class"] in (1, 2, 3)

    thresholds = pd.read_parquet(modeled.results / "thresholds.parquet")
    assert list(thresholds["site_id"]) == [site for site in "abcdefg" for _ in (15, 30, 60)]
    exported = pd.read_csv(modeled.results / "hazard.csv")
    assert list(exported.columns) == list(hazard.columns)
    assert exported["likelihood"].equals(hazard["likelihood"])

    again = modeled.run()
    assert again.code == 0
    assert not again.jobs


def test_from_a_map_of_severity_to_a_class_without_naming_a_column(study):
    """The columns of burn severity, and the terrain term, are those that the models take."""
    study.write_layer(2.0, "float32", "dnbr.tif")
    study.write_layer(1.0, "uint8", "severity.tif")
    with rasterio.open(study.folder / "severity.tif", "r+") as raster:
        raster.write(raster.read() % 4 + 1)
    study.config["layers"] = [
        {"name": "burn", "path": "severity.tif", "type": "severity"},
        {"name": "dnbr", "path": "dnbr.tif", "type": "numeric"},
        {"name": "kf", "value": 0.25, "type": "numeric"},
    ]
    study.config["models"] = [
        {"name": "staley2017_m1"},
        {"name": "gartner2014_emergency"},
        {"name": "cannon2010"},
    ]
    study.write()
    run = study.run("results/tiny/hazard.parquet")
    assert run.code == 0, run.text
    features = pd.read_parquet(study.results / "features.parquet").set_index("site_id")
    hazard = pd.read_parquet(study.results / "hazard.parquet")
    hazard = hazard[hazard["storm"] == "i15_24"].set_index(["site_id", "model"])
    for site in "abdef":
        of_site = features.loc[site]
        row = hazard.loc[site, "cannon2010"]
        fire = of_site["dnbr_mean"] / 1000
        slope = 0.41 * of_site["terrain_m1"] + 0.67 * fire + 0.70 * 0.25
        likelihood = 1 / (1 + math.exp(3.63 - slope * 6))
        ln_volume = 4.22 + 0.39 * math.sqrt(24) + 0.13 * math.sqrt(of_site["relief_m"])
        ln_volume += 0.36 * math.log(of_site["burn_moderate_high_km2"])
        assert row["likelihood"] == pytest.approx(likelihood, rel=1e-12)
        assert row["volume_m3"] == pytest.approx(math.exp(ln_volume), rel=1e-12)
        # Breaks of likelihood and volume, and of the sum of their scores.
        score = 1 + sum(likelihood > each for each in (0.2, 0.4, 0.6, 0.8))
        score += 1 + sum(row["volume_m3"] > each for each in (1e3, 1e4, 1e5))
        assert row["hazard_class"] == 1 + (score > 3) + (score > 6)


def test_another_storm_runs_no_shard(modeled):
    assert modeled.run().code == 0
    modeled.config["storms"] = STORMS[:1]
    modeled.write()
    run = modeled.run("results/tiny/hazard.parquet")
    assert run.code == 0, run.text
    # The table of sites is checked for the columns that the study names.
    assert run.jobs["hazard"] == 1
    assert not OF_SHARDS.intersection(run.jobs)
    hazard = pd.read_parquet(modeled.results / "hazard.parquet")
    assert set(hazard["storm"]) == {"i15_24"}


def test_the_report_and_the_summary_tell_of_hazards(modeled):
    run = modeled.run()
    assert run.code == 0, run.text
    hazard = pd.read_parquet(modeled.results / "hazard.parquet")
    design = hazard[hazard["storm"] == "i15_24"]
    highest = json.loads((modeled.results / "summary.json").read_text())["hazards"][
        "highest_likelihood"
    ]
    assert highest["value"] == design["likelihood"].max()
    assert "Hazards: 3 models; highest likelihood" in run.text
    assert "results/tiny/thresholds.parquet" in run.text
    report = (modeled.results / "report.html").read_text()
    assert 'id="hazard-data"' in report
    assert '<td class="name">hazard</td>' in report.partition('id="times"')[2]


def test_a_card_with_hazards_waits_for_its_own_shard_alone(fresh):
    fresh.config |= {"models": MODELS, "storms": STORMS}
    fresh.write()
    run = fresh.run("results/tiny/cards/a.html")
    assert run.code == 0, run.text
    assert not {"hazard", "gather"}.intersection(run.jobs)
    assert run.jobs["extract_features"] == run.jobs["site_card"] == 1
    text = (fresh.results / "cards/a.html").read_text()
    # The site table says 0.3 inches for a.
    assert f"<td>{0.3 * 25.4 * 4:.1f} mm/h within 15 minutes</td>" in text


def test_an_archive_without_the_site_table_has_a_report_without_its_storms(modeled):
    for section in (modeled.config["dem"], *modeled.config["layers"]):
        section["redistribute"] = True
    modeled.config["sites"]["redistribute"] = False
    modeled.write()
    run = modeled.run("archive")
    assert run.code == 0, run.text
    with zipfile.ZipFile(modeled.folder / "results/tiny/archive/tiny.zip") as file:
        names = {Path(name).name for name in file.namelist()}
        (path,) = (name for name in file.namelist() if name.endswith("tiny/report.html"))
        report = file.read(path).decode()
    assert "hazard.parquet" not in names
    assert "thresholds.parquet" in names
    assert 'id="hazard-data"' not in report
    assert 'id="hazards"' not in report
    assert "Rows of the site table are not in this archive." in report.partition("hazards-title")[2]
    own = (modeled.results / "report.html").read_text()
    assert 'id="hazard-data"' in own
    assert 'id="hazards"' in own


def test_an_archive_holds_the_hazards_and_a_re_run_reproduces_them(modeled, capsys):
    for section in (modeled.config["sites"], modeled.config["dem"], *modeled.config["layers"]):
        section["redistribute"] = True
    modeled.write()
    run = modeled.run("archive")
    assert run.code == 0, run.text
    archive = modeled.folder / "results/tiny/archive/tiny.zip"
    with zipfile.ZipFile(archive) as file:
        names = {Path(name).name for name in file.namelist()}
    assert {"hazard.parquet", "thresholds.parquet", "hazard.log"} <= names
    targets = [f"results/tiny/{name}.parquet" for name in ("hazard", "thresholds")]
    asked = ["verify", str(archive), "--rerun", "--yes", "--cores", "2", "--targets", *targets]
    assert main(asked) == 0, capsys.readouterr().err
    assert "The re-run reproduced all values of 2 files exactly." in capsys.readouterr().out


def test_what_models_lack_is_found_before_anything_runs(fresh):
    fresh.config |= {
        "models": [{"name": "staley2017_m1", "inputs": {"terrain": "share_steeper_25deg"}}],
        "storms": [{"duration_min": 20, "intensity_mm_per_h": 24}],
    }
    fresh.write()
    run = fresh.run()
    assert run.code == 1
    assert not run.jobs
    assert "Traceback" not in run.text
    for message in (
        "models[staley2017_m1].inputs.terrain: found no numeric column share_steeper_25deg; "
        "expected a column of features.parquet of this study",
        "Did you mean share_steeper_23deg? Compute it, or name the column that has it",
        "models[staley2017_m1].inputs.soil: found no numeric column kf_mean",
        "storms: found no storm for staley2017_m1 among those of 20 minutes",
    ):
        assert message in run.text


def test_a_column_of_a_storm_that_the_site_table_lacks_is_named(modeled):
    modeled.config["storms"] = [STORMS[0], STORMS[1] | {"column": "area"}]
    modeled.write()
    run = modeled.run()
    assert run.code == 1
    assert "storms[own].column" in run.text
    assert "area_km2" in run.text


def test_a_study_without_models_has_no_such_tables(finished):
    assert not (finished.results / "hazard.parquet").exists()
    run = finished.run("results/tiny/hazard.parquet", "--dry-run")
    assert run.code == 1
    assert "MissingRuleException" in run.text
