"""A person with a BARC map follows the README from a burned area to hazard classes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.windows import Window
from readme_blocks import CHECKOUT, indented

from snakeshed.demo import make_demo

TITLE = "From a burned area to hazard classes"
SECTION = (CHECKOUT / "README.md").read_text(encoding="utf-8").split(f"\n## {TITLE}\n")[1]
SECTION = SECTION.split("\n## ")[0]
PROGRAMS = {"snakeshed": "snakeshed.cli", "snakemake": "snakemake"}
FIRE = Window(0, 50, 260, 294)


@dataclass(frozen=True)
class Followed:
    """A folder in which the README's commands have run, and what they printed."""

    folder: Path
    shown: str


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)


def write_data(folder: Path) -> None:
    """The demo's inputs as agencies would have named them; the BARC map ends near the fire."""
    make_demo(folder)
    (folder / "dem").mkdir()
    (folder / "dem.tif").rename(folder / "dem/n36w085.tif")
    (folder / "synthetic_kf.tif").rename(folder / "kffact.tif")
    (folder / "synthetic_dnbr.tif").rename(folder / "dnbr.tif")
    perimeter = geopandas.read_file(folder / "synthetic_perimeter.geojson")
    perimeter.to_file(folder / "burn_bndy.shp")
    with rasterio.open(folder / "dnbr.tif") as dnbr:
        values, profile = dnbr.read(1, window=FIRE), dnbr.profile
        profile |= {"transform": dnbr.window_transform(FIRE), "dtype": "uint8"}
    profile |= {"height": FIRE.height, "width": FIRE.width}
    with rasterio.open(folder / "barc4.tif", "w", **profile) as barc4:
        barc4.write(1 + np.searchsorted([125, 250, 500], values).astype(np.uint8), 1)
    names = {
        "site": "name",
        "synthetic_rain_mm": "rain_mm",
        "synthetic_debris_flow": "debris_flow",
    }
    sites = pd.read_csv(folder / "sites.csv").rename(columns=names)
    sites.to_csv(folder / "outlets.csv", index=False)


@pytest.fixture(scope="module")
def followed(workflow, tmp_path_factory) -> Followed:
    folder = tmp_path_factory.mktemp("burned")
    for name in ("scripts", "rules", "Snakefile", "profiles", "envs"):
        (folder / name).symlink_to(workflow / name)
    (folder / "config").mkdir()
    for path in (workflow / "config").iterdir():
        (folder / "config" / path.name).symlink_to(path)
    write_data(folder / "data")
    (folder / "config/burned.yaml").write_text("".join(blocks("yaml")), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(workflow / "scripts")}
    shown = ""
    for line in [*indented(TITLE, "hazard.csv"), "snakeshed models"]:
        program, *arguments = line.split()
        command = [sys.executable, "-m", PROGRAMS[program], *arguments]
        if program == "snakemake":
            command += ["--cores", "2"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        shown += done.stdout
    return Followed(folder, shown)


@pytest.fixture(scope="module")
def results(followed) -> Path:
    return followed.folder / "results/burned"


def test_check_finds_nothing_and_names_the_models(followed):
    assert "nothing found that would stop a run" in followed.shown
    for name in ("staley2017_m1", "gartner2014_emergency", "cannon2010", "swa", "swb"):
        assert name in followed.shown


def test_the_columns_are_there_and_mean_what_is_said(results):
    hazard = pd.read_parquet(results / "hazard.parquet")
    assert set(re.findall(r"`(i15_\d+)`", SECTION)) <= set(hazard["storm"])
    table = SECTION.split("| column | meaning |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row)]
    assert len(named) == 9
    assert set(named) <= set(hazard.columns)

    whole = hazard[hazard["hazard_class"].notna()]
    assert set(whole["model"]) == {"cannon2010"}
    assert set(whole["hazard_class"]) == {1, 2, 3}
    assert whole["likelihood"].between(0, 1).all()
    volume = whole["volume_m3"]
    for bound in (volume / whole["volume_low_m3"], whole["volume_high_m3"] / volume):
        assert bound.between(7.5, 8.5).all()
    for value, found, breaks in (
        ("likelihood", "likelihood_class", [0.2, 0.4, 0.6, 0.8]),
        ("volume_m3", "volume_class", [1e3, 1e4, 1e5]),
    ):
        assert (whole[found] == 1 + np.searchsorted(breaks, whole[value])).all()


def test_where_nothing_burned_there_is_a_likelihood_but_no_class(results):
    features = pd.read_parquet(results / "features.parquet").set_index("site_id")
    unburned = features.index[features["severity_moderate_high_km2"] == 0]
    assert len(unburned) > 10
    hazard = pd.read_parquet(results / "hazard.parquet")
    combined = hazard[(hazard["model"] == "cannon2010") & hazard["site_id"].isin(unburned)]
    assert combined["hazard_class"].isna().all()
    assert combined["reason"].notna().all()
    likelihoods = hazard[(hazard["model"] == "staley2017_m1") & hazard["site_id"].isin(unburned)]
    assert likelihoods["likelihood"].notna().all()


def test_the_code_prints_a_row_per_site(followed, monkeypatch):
    monkeypatch.chdir(followed.folder)
    [code] = blocks("python")
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    assert names["storm"]["site_id"].is_unique
    assert len(names["storm"]) == 50
    assert "hazard_class" in printed.getvalue()


def test_thresholds_turn_the_likelihood_around(results):
    thresholds = pd.read_parquet(results / "thresholds.parquet")
    assert set(thresholds["duration_min"]) == {15, 30, 60}
    assert set(thresholds["likelihood"]) == {0.5, 0.75}
    hazard = pd.read_parquet(results / "hazard.parquet")
    at_40 = hazard[(hazard["model"] == "staley2017_m1") & (hazard["storm"] == "i15_40")]
    half = thresholds[(thresholds["duration_min"] == 15) & (thresholds["likelihood"] == 0.5)]
    both = at_40.merge(half, on="site_id").dropna(subset="rainfall_mm_y")
    assert ((both["likelihood_x"] > 0.5) == (both["rainfall_mm_y"] < 10)).all()


def test_observations_are_scored(results):
    assert (results / "dataset.parquet").is_file()
    assert (results / "skill.json").is_file()
    assert (results / "hazard.csv").is_file()
