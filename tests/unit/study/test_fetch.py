"""`snakeshed check` and `snakeshed fetch` of a study that names a source of its DEM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from file_server import FileServer, Reply
from rasters import write_raster

from snakeshed.cli import main
from snakeshed.errors import ConfigurationError
from snakeshed.fetching.look import TerrainLook
from snakeshed.study.check import SCHEMA
from snakeshed.study.fetch import fetch_study

CELLS = 40


@pytest.fixture
def server(tmp_path, monkeypatch, without_proxy):
    """Two tiles of a degree with a valley in them, and sites on both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNAKESHED_CACHE", str(tmp_path / "cache"))
    rows, columns = np.mgrid[:CELLS, :CELLS]
    files = {}
    for lon in (-119, -118):
        z = 500 + 3 * np.abs(rows - CELLS / 2) + columns + CELLS * (lon + 119)
        tile = {"left": lon, "top": 35, "dx": 1 / CELLS, "crs": "EPSG:4269"}
        path = Path(write_raster(tmp_path / "tile.tif", z.astype(np.float32), **tile))
        files[f"/35_{lon}.tif"] = path.read_bytes()
        path.unlink()
    (tmp_path / "sites.csv").write_text("name,lon,lat\na,-118.5,34.5\nb,-117.5,34.5\n")
    with FileServer(files) as made:
        source = {
            "name": "own",
            "address": f"{made.address}/{{y}}_{{x}}.tif",
            "crs": "EPSG:4269",
            "tile_size": 1,
            "cells": CELLS,
        }
        study = {
            "study": "mine",
            "sites": {
                "path": "sites.csv",
                "crs": "EPSG:4326",
                "columns": {"site_id": "name", "x": "lon", "y": "lat"},
            },
            "dem": {"source": source},
            "patches": {"core_m": 6000, "buffer_m": 6000, "levels": 1},
        }
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
        yield made


def said(capsys, *words: str, status: int = 0) -> str:
    assert main(words) == status
    shown = capsys.readouterr()
    return shown.err if status else shown.out


def of_source(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("own", "Run ", "DEM"))]


def test_it_says_what_a_run_would_fetch_and_then_that_all_is_here(server, capsys, tmp_path):
    size = f"{sum(map(len, server.files.values())) / 1000:.1f} kB"
    host = f"127.0.0.1:{server.port}"
    more = "Run snakeshed fetch to have the DEM and the layers checked, too."
    looked = said(capsys, "check", "mine.yaml")
    assert of_source(looked) == [f"own: a run fetches 2 tiles from {host}, size {size}.", more]
    assert server.gets() == []

    assert said(capsys, "fetch", "mine.yaml") == "2 tiles (0.0 MB) in resources/mine/own.\n"
    lock = json.loads((tmp_path / "results/mine/inputs.lock.json").read_text())
    assert [each["file"] for each in lock["files"]] == ["35_-118.tif", "35_-119.tif"]
    looked = said(capsys, "check", "mine.yaml")
    assert of_source(looked)[0] == "own: all of it is here (2 tiles)."
    assert of_source(looked)[1].startswith("DEM: 2 tiles, EPSG:4269, cells of 90 x 90 arc-seconds")

    # In the cache, but not in the folder; and elsewhere with a tile that the source does not have.
    (tmp_path / "resources/mine/own/35_-118.tif").unlink()
    looked = said(capsys, "check", "mine.yaml")
    assert of_source(looked) == [
        f"own: a run fetches 0 tiles from {host}, size 0 bytes; 1 tile in the cache; 1 tile here.",
        more,
    ]
    with (tmp_path / "sites.csv").open("a") as table:
        table.write("c,-119.5,34.5\n")
    looked = said(capsys, "check", "mine.yaml")
    assert of_source(looked)[-1] == (
        "own has no file for 1 tile around the sites, where the DEM ends: 35_-120.tif."
    )


def test_a_server_that_does_not_say_how_large_files_are(server, capsys):
    for path in server.files:
        server.heads[path] = Reply(status=405)
    looked = said(capsys, "check", "mine.yaml")
    host = f"127.0.0.1:{server.port}"
    assert of_source(looked)[0] == f"own: a run fetches 2 tiles from {host}, size unknown."


def test_a_server_that_cannot_be_reached(server, capsys):
    server.close()
    looked = said(capsys, "check", "mine.yaml")
    assert of_source(looked)[0] == (
        f"own: a run fetches 2 tiles from 127.0.0.1:{server.port}, size unknown (connection "
        "refused)."
    )


def test_sites_where_the_source_has_nothing_stop_a_check(server, capsys, tmp_path):
    (tmp_path / "sites.csv").write_text("name,lon,lat\na,10.5,50.5\n")
    shown = said(capsys, "check", "mine.yaml", status=1)
    assert shown.startswith(
        "dem.source: own: found no file for the tile around the sites, such as "
        f"{server.address}/51_10.tif; expected a source that covers the sites. "
    )


def test_what_stops_a_fetch_is_one_message(server, capsys, tmp_path):
    for path in server.files:
        server.always[path] = Reply(status=403, body=b"")
    shown = said(capsys, "fetch", "mine.yaml", status=1)
    assert "status 403 Forbidden; expected a file that everybody can read." in shown
    assert "Traceback" not in shown
    (tmp_path / "sites.csv").unlink()
    shown = said(capsys, "fetch", "mine.yaml", status=1)
    assert shown.startswith("sites.path: found no file sites.csv; expected a table of sites.")


def test_a_full_disk_is_one_message(server, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/cache/part")

    monkeypatch.setattr("snakeshed.study.fetch.fetch_terrain", full)
    shown = said(capsys, "fetch", "mine.yaml", status=1)
    assert shown.startswith("/cache/part: found no space left on its disk; expected room for it.")


def test_a_study_without_a_source_has_nothing_to_fetch(server, tmp_path):
    study = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    study["dem"]["path"] = "tiles"
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(ConfigurationError) as error:
        fetch_study("own.yaml", SCHEMA)
    assert str(error.value) == (
        "own.yaml: dem: found no source that a run fetches from; expected dem.source, without a "
        "path of its own. There is nothing to fetch: the study reads the files that it names."
    )


def test_neither_path_nor_source_is_refused(server, capsys, tmp_path):
    study = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    study["dem"] = {}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    assert said(capsys, "check", "mine.yaml", status=1) == (
        "mine.yaml: dem: found neither path nor source; expected the files of a DEM, or the name "
        "of one that can be fetched. Set dem.path, such as data/dem.tif, or dem.source, such as "
        "3dep-10m.\n"
    )
    study["dem"] = {"source": "3dep10"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    shown = said(capsys, "check", "mine.yaml", status=1)
    assert shown.startswith("mine.yaml: dem.source: found the name '3dep10'; expected one of 3dep-")
    assert "Did you mean 3dep-10m?" in shown


def test_all_is_there_if_nothing_has_to_be_fetched():
    look = TerrainLook("own", "a.example", 3, 0, 0, 0, None, ())
    assert look.is_there
    assert not TerrainLook("own", "a.example", 3, 1, 0, 0, None, ()).is_there
