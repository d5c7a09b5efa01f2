"""A study of the Station fire on a real cluster gives the bytes that it gives on this machine."""

from __future__ import annotations

import re
import shutil
import time

import pandas as pd
import pytest
import staley
import yaml
from project_copy import TABLES, Project, commands_for_kubernetes, run_here
from small_workflow import until

# What NumPy chooses other code by where a CPU has it.
NEWER_FEATURES = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"
COLUMNS = staley.SITES["columns"]
STUDY = {
    "study": "station",
    "sites": {key: value for key, value in staley.SITES.items() if key != "sheet"}
    | {"path": "data/sites.csv"},
    "dem": {"path": "data/dem.tif"},
    "shards": 2,
}


@pytest.fixture
def station(project, shared_data) -> Project:
    """A project with the sites of the Station fire and their DEM."""
    table = pd.read_excel(shared_data("staley2016") / staley.TABLE, sheet_name=staley.SHEET)
    data = project.folder / "data"
    data.mkdir()
    sites = table[table[COLUMNS["site_id"]].str.startswith("stn")]
    sites[list(COLUMNS.values())].to_csv(data / "sites.csv", index=False)
    shutil.copy(shared_data("station-fire") / "dem.tif", data)
    (project.folder / "config/station.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    apply, ready, copy_in, *_ = commands_for_kubernetes()
    project.shell(apply)
    project.shell(ready)
    project.shell(copy_in)
    return project


def test_the_station_fire_is_the_same_as_here_whatever_happens(station, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(station.folder, here, symlinks=True)
    options = ("--configfile", "config/station.yaml")
    expected = run_here(here, *options) / "station"

    # A second run of the study is turned away, and told by which.
    station.give(*options)
    station.start("run-2")
    until((station.volume / ".snakemake/snakeshed/station.lock").exists, 60)
    station.start("second")
    said = station.finish("second", end="Failed")
    assert re.search(r"another run of it at work \(process \d+ of \w+ on run-2-", said), said

    station.finish("run-2")
    for table in TABLES:
        assert station.table("station", table) == (expected / f"{table}.parquet").read_bytes(), (
            table
        )

    # One row is changed in place: its shard alone is done again, here on a CPU that can do less.
    done = pd.read_parquet(expected / "catchments.parquet", columns=["site_id", "status"])
    chosen = done.site_id[done.status == "ok"].iloc[0]
    for folder in (station.volume, here):
        path = folder / "data/sites.csv"
        sites = pd.read_csv(path, dtype=str)  # all else is to stay as it is written
        row = sites[COLUMNS["site_id"]] == chosen
        areas = sites.loc[row, COLUMNS["area"]].astype(float)
        sites.loc[row, COLUMNS["area"]] = (1.01 * areas).map(str)
        sites.to_csv(path, index=False)
    station.give(
        *options, "--kubernetes-pvc-environment", f"NPY_DISABLE_CPU_FEATURES={NEWER_FEATURES}"
    )
    station.start("run-3")
    station.finish("run-3")
    assert station.jobs_of_last_run() == {
        "prepare_sites": 1,
        "split_shards": 1,
        "delineate": 1,
        "extract_features": 1,
        "gather": 2,
        "dataset": 1,
        "summarise": 1,
        "report": 1,
    }
    run_here(here, *options)
    for table in TABLES:
        assert station.table("station", table) == (expected / f"{table}.parquet").read_bytes(), (
            table
        )

    # The driver's pod is deleted in the midst of it: another one takes the run up, and though it
    # has the same arguments, it does nothing again that was done.
    logs = station.volume / "results/station/logs/delineate"
    station.give(*options, "--forcerun", "delineate")
    before = time.time()
    station.start("run-4")
    until(lambda: any(log.stat().st_mtime > before for log in logs.glob("*.log")), 300, every_s=0.2)
    begun = {
        log: log.read_text().splitlines()[0]
        for log in logs.glob("*.log")
        if log.stat().st_mtime > before
    }
    (driver,) = station.items("pods", "job-name=run-4")
    station.kubectl("delete", "pod", driver["metadata"]["name"])
    said = station.finish("run-4")
    assert "what they have done is not done again" in said
    assert {log: log.read_text().splitlines()[0] for log in begun} == begun
    assert (
        station.items("pods", "job-name=run-4")[0]["metadata"]["uid"] != driver["metadata"]["uid"]
    )
    for table in TABLES:
        assert station.table("station", table) == (expected / f"{table}.parquet").read_bytes(), (
            table
        )
