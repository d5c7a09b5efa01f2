"""A study whose DEM is fetched: the tiles that its sites need, and the same bytes later on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from affine import Affine
from file_server import FileServer, Reply
from rasterio.merge import merge
from readme_blocks import CHECKOUT
from tiny_study import CELL_M, TinyStudy

from snakeshed.terrain.sources import SOURCES

SIZE_M, CELLS = 3000, 100
SOURCE = {
    "crs": "EPSG:32611",
    "tile_size": SIZE_M,
    "cells": CELLS,
    "corner": "southwest",
    # The cells of the study begin 20 m west and north of multiples of 30 m.
    "shift": 2 / 3,
}
TABLES = ("catchments.parquet", "features.parquet", "dataset.parquet", "summary.json")


def cut(dem: Path, folder: Path) -> dict[str, bytes]:
    """Cut the DEM of the small study into the tiles of a source; return them by name."""
    z, transform = merge(sorted(dem.glob("*.tif")), nodata=-9999)
    west, north = transform.c, transform.f
    folder.mkdir()
    for j in range(int(west // SIZE_M), int((west + z.shape[2] * CELL_M) // SIZE_M) + 1):
        for i in range(int(north // SIZE_M) - 2, int(north // SIZE_M) + 1):
            x, y = j * SIZE_M - 20, (i + 1) * SIZE_M + 20
            column, row = round((x - west) / CELL_M), round((north - y) / CELL_M)
            padded = np.pad(z[0], CELLS, constant_values=-9999)
            cells = padded[row + CELLS : row + 2 * CELLS, column + CELLS : column + 2 * CELLS]
            if cells.shape != (CELLS, CELLS) or (cells == -9999).all():
                continue
            with rasterio.open(
                folder / f"dem_{j * SIZE_M}_{i * SIZE_M}.tif",
                "w",
                driver="GTiff",
                dtype="float32",
                count=1,
                height=CELLS,
                width=CELLS,
                crs="EPSG:32611",
                nodata=-9999,
                transform=Affine(CELL_M, 0, x, 0, -CELL_M, y),
            ) as tile:
                tile.write(cells, 1)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def tiles(finished, once) -> dict[str, bytes]:
    return once("source_tiles", lambda folder: cut(finished.folder / "dem", folder / "tiles"))


@pytest.fixture
def server(tiles):
    with FileServer({f"/{name}": content for name, content in tiles.items()}) as made:
        yield made


@pytest.fixture
def fetching(fresh, server, monkeypatch, without_proxy) -> TinyStudy:
    """The small study before its first run, with a source for its DEM."""
    monkeypatch.setenv("SNAKESHED_CACHE", str(fresh.folder.parent / "cache"))
    address = f"{server.address}/dem_{{x}}_{{y}}.tif"
    fresh.config["dem"] = {"source": {"name": "own", "address": address, **SOURCE}}
    fresh.write()
    return fresh


def tables(study: TinyStudy) -> dict[str, bytes]:
    return {name: (study.results / name).read_bytes() for name in TABLES}


def fetched(server: FileServer) -> list[str]:
    """Tiles that were sent, as often as they were."""
    return sorted(each.path[1:] for each in server.gets() if each.path in server.files)


def lock_of(study: TinyStudy) -> dict[str, dict]:
    content = json.loads((study.results / "inputs.lock.json").read_text())
    return {each["file"]: each for each in content["files"]}


def snakeshed(study: TinyStudy, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "snakeshed.cli", *words],
        cwd=study.folder,
        env=os.environ | {"PYTHONPATH": str(study.workflow / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tiles_that_are_fetched_give_what_they_give_as_files(fetching, server, tiles, tmp_path):
    first = fetching.run()
    assert first.code == 0, first.text
    assert first.jobs["fetch_terrain"] == 1
    of_source = tables(fetching)
    # Not all, each once.
    names = fetched(server)
    assert len(names) == len(set(names)) < len(tiles)
    folder = fetching.folder / "resources/tiny/own"
    assert sorted(path.name for path in folder.iterdir()) == names
    locked = lock_of(fetching)
    assert sorted(name for name, each in locked.items() if each["sha256"]) == names
    for name in names:
        assert locked[name]["sha256"] == hashlib.sha256(tiles[name]).hexdigest()
        assert locked[name]["length"] == len(tiles[name])
        assert locked[name]["etag"] == server.etag(f"/{name}")
        assert locked[name]["address"] == f"{server.address}/{name}"
    # Around the DEM there are places without a file, as at sea.
    assert any(each["sha256"] is None for each in locked.values())
    assert "own has no file for" not in first.text
    again = fetching.run()
    assert again.jobs.total() == 0, again.text

    # The same tiles, all of them, as files.
    twin = fetching.copy(tmp_path / "twin")
    for name, content in tiles.items():
        (twin.folder / "tiles").mkdir(exist_ok=True)
        (twin.folder / "tiles" / name).write_bytes(content)
    twin.config["dem"] = {"path": "tiles", "vertical_unit": "m"}
    twin.write()
    assert twin.run("--forceall").code == 0
    of_path = tables(twin)
    for name in TABLES[:3]:
        assert of_source[name] == of_path[name], name
    assert (pd.read_parquet(fetching.results / "catchments.parquet")["status"] == "ok").sum() == 6


def test_a_new_site_fetches_what_is_new_and_runs_its_shard(fetching, server):
    everywhere = fetching.rows
    fetching.rows = [row for row in everywhere if row[0] not in {"c", "f"}]
    fetching.write()
    assert fetching.run().code == 0
    before = fetched(server)
    server.requests.clear()
    fetching.rows = [row for row in everywhere if row[0] != "c"]
    fetching.write()
    done = fetching.run()
    assert done.code == 0, done.text
    assert done.shards("delineate") == {fetching.shard_of("f")}
    assert fetched(server)
    assert not set(fetched(server)) & set(before)
    # Without it, its tiles go.
    fetching.rows = [row for row in everywhere if row[0] not in {"c", "f"}]
    fetching.write()
    assert fetching.run().code == 0
    folder = fetching.folder / "resources/tiny/own"
    assert sorted(path.name for path in folder.iterdir()) == before


def test_faults_of_the_server_change_no_byte(fetching, server):
    assert fetching.run().code == 0
    right = tables(fetching)
    names = fetched(server)
    for kept in (fetching.results, fetching.folder / "resources", fetching.folder.parent / "cache"):
        subprocess.run(["rm", "-rf", kept], check=True)
    faults = [
        Reply(drop_after=10_000),
        Reply(status=503, body=b"", headers={"Retry-After": "0"}),
        Reply(close_after=20_000),
        Reply(body=b"<html>log in</html>"),
    ]
    for name, fault in zip(names, faults, strict=False):
        server.next(f"/{name}", fault)
    done = fetching.run()
    assert done.code == 0, done.text
    assert tables(fetching) == right


def test_a_server_that_forbids_it_ends_the_run_with_one_message(fetching, server):
    for path in server.files:
        server.always[path] = Reply(status=403, body=b"")
    done = fetching.run()
    assert done.code == 1
    (line,) = [line for line in done.text.splitlines() if line.startswith("fetch_terrain failed: ")]
    assert f"{server.address}/dem_" in line
    assert "status 403 Forbidden; expected a file that everybody can read." in line
    assert "Traceback" not in done.text
    assert not (fetching.results / "inputs.lock.json").exists()
    server.always.clear()
    assert fetching.run().code == 0


def test_sites_where_the_source_has_nothing(fetching, server):
    fetching.rows = [("far", 500_000, 4_200_000, 0.3, "2005-01-07")]
    fetching.write()
    done = fetching.run()
    assert done.code == 1
    assert "fetch_terrain failed: dem.source: own: found no file for any of the " in done.text, (
        done.text
    )
    assert "expected a source that covers the sites." in done.text


def changed(server: FileServer, name: str, folder: Path) -> None:
    """Have the server give another version of a tile: 1 m higher in one place."""
    path = folder / name
    path.write_bytes(server.files[f"/{name}"])
    with rasterio.open(path, "r+") as tile:
        z = tile.read(1)
        z[50, 50] += 1
        tile.write(z, 1)
    server.files[f"/{name}"] = path.read_bytes()
    server.modified = "Wed, 04 Mar 2026 10:20:30 GMT"


def test_a_lock_refuses_other_content_until_it_is_refreshed(fetching, server, tmp_path):
    assert fetching.run().code == 0
    before, locked = tables(fetching), lock_of(fetching)
    name = fetched(server)[0]
    changed(server, name, tmp_path)
    folder = fetching.folder / "resources/tiny/own"
    # What is here, or in the cache, is what the lock names.
    (folder / name).unlink()
    done = fetching.run()
    assert done.code == 0, done.text
    assert f"resources/tiny/own/{name} is missing: the terrain is fetched again." in done.text
    assert done.jobs["delineate"] == 0
    assert (tables(fetching), lock_of(fetching)) == (before, locked)
    # Somebody else, with the lock.
    (folder / name).unlink()
    subprocess.run(["rm", "-rf", fetching.folder.parent / "cache"], check=True)
    done = fetching.run()
    assert done.code == 1
    new = hashlib.sha256(server.files[f"/{name}"]).hexdigest()
    assert (
        f"fetch_terrain failed: {server.address}/{name}: found a file that has changed on the "
        f"server: the SHA-256 {new}, of {server.modified}; expected the SHA-256 "
        f"{locked[name]['sha256']}, as on {locked[name]['fetched']}. The results were made with "
        "the file of that date. To work with the new one, run `snakeshed fetch --refresh` with the "
        "study's configuration; the results will change."
    ) in done.text
    assert lock_of(fetching) == locked

    refreshed = snakeshed(fetching, "fetch", "study.yaml", "--refresh")
    assert refreshed.returncode == 0, refreshed.stderr
    assert lock_of(fetching)[name]["sha256"] == new
    readers = fetching.readers(f"resources/tiny/own/{name}")
    done = fetching.run()
    assert done.code == 0, done.text
    assert done.shards("delineate") == readers
    assert len(readers) < 4
    assert fetching.run().jobs.total() == 0


def test_a_tile_that_is_not_what_was_fetched_ends_the_run(fetching, server):
    assert fetching.run().code == 0
    name = fetched(server)[0]
    path = fetching.folder / "resources/tiny/own" / name
    other = server.files[f"/{fetched(server)[1]}"]
    path.unlink()
    path.write_bytes(other)
    done = fetching.run()
    assert done.code == 1
    assert (
        f"index_terrain failed: resources/tiny/own/{name}: found a file with the SHA-256 "
        f"{hashlib.sha256(other).hexdigest()}; expected {lock_of(fetching)[name]['sha256']}, as "
        "when it was fetched. Remove it and run the same command again: it is fetched again."
    ) in done.text
    path.unlink()
    assert fetching.run().code == 0


def test_what_was_fetched_beforehand_needs_no_network(fetching, server):
    looked = snakeshed(fetching, "check", "study.yaml")
    assert looked.returncode == 0, looked.stderr
    (count, size), *_ = re.findall(
        rf"^own: a run fetches (\d+) tiles from 127.0.0.1:{server.port}, size (.* MB)\.$",
        looked.stdout,
        flags=re.MULTILINE,
    )
    assert fetched(server) == []
    done = snakeshed(fetching, "fetch", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert f"{count} files ({size}) to fetch from 127.0.0.1:{server.port}\n" in done.stderr
    assert done.stdout.startswith(f"{count} tiles ({size}) in resources/tiny/own.\n")
    assert len(fetched(server)) == int(count)
    server.close()
    looked = snakeshed(fetching, "check", "study.yaml")
    assert f"own: all of it is here ({count} tiles)." in looked.stdout, looked.stderr
    assert f"DEM: {count} tiles, EPSG:32611, cells of 30 x 30 m." in looked.stdout
    done = fetching.run()
    assert done.code == 0, done.text


def test_an_archive_without_the_terrain_is_run_again_from_where_that_was_fetched(
    fetching, server, tmp_path, monkeypatch
):
    fetching.config["sites"] |= {"redistribute": True}
    fetching.config["layers"][0] |= {"redistribute": True}
    fetching.write()
    done = fetching.run("archive")
    assert done.code == 0, done.text
    archive = fetching.results / "archive/tiny.zip"
    names = fetched(server)
    with zipfile.ZipFile(archive) as file:
        content = {name.removeprefix("tiny/data/"): name for name in file.namelist()}
        lock = json.loads(file.read(content["results/tiny/inputs.lock.json"]))
        inputs = json.loads(file.read(content["inputs.json"]))
        readme = file.read(content["README.md"]).decode()
    assert lock == json.loads((fetching.results / "inputs.lock.json").read_text())
    of_dem = {each["path"]: each for each in inputs if each["key"] == "dem"}
    assert sorted(of_dem) == [f"inputs/dem/{name}" for name in names]
    assert {each["address"] for each in of_dem.values()} == {
        f"{server.address}/{name}" for name in names
    }
    assert not set(of_dem) & set(content)
    assert "## Terrain\n\nown. License: not stated.\n" in readme
    assert "`--fetch` fetches those whose address is known" in readme

    # Somebody else, with the archive alone.
    monkeypatch.setenv("SNAKESHED_CACHE", str(tmp_path / "other cache"))
    monkeypatch.setenv("no_proxy", "*")
    again = ["verify", str(archive), "--rerun", "--yes", "--environment", "this"]
    without = snakeshed(fetching, *again)
    assert without.returncode == 4
    assert "and name that with --inputs. Or let --fetch fetch it." in without.stderr
    server.requests.clear()
    done = snakeshed(fetching, *again, "--fetch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "are fetched from where it says" in done.stdout
    assert re.search(r"The re-run reproduced all values of \d+ files exactly\.", done.stdout)
    assert fetched(server) == names

    changed(server, names[0], tmp_path)
    monkeypatch.setenv("SNAKESHED_CACHE", str(tmp_path / "third cache"))
    done = snakeshed(fetching, *again, "--fetch")
    assert done.returncode == 4
    assert f"{names[0]}: found a file that has changed on the server: " in done.stderr
    assert "name it with --inputs." in done.stderr


def test_there_is_nothing_to_fetch_for_a_study_of_files(finished):
    done = snakeshed(finished, "fetch", "study.yaml")
    assert done.returncode == 1
    assert done.stderr == (
        "study.yaml: dem: found no source that a run fetches from; expected dem.source, without a "
        "path of its own. There is nothing to fetch: the study reads the files that it names.\n"
    )


def write_tile_of_3dep(folder: Path, lon: int, lat: int, places: list[tuple[float, float]]) -> None:
    """Write a tile as 3DEP has it, 10,812 cells wide; only around some places it has data."""
    source = SOURCES["3dep-10m"]
    lattice = source.lattice()
    tile = source.tile(lattice, lat, lon)
    path = folder / tile.address.removeprefix("https://")
    path.parent.mkdir(parents=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="float32",
        count=1,
        height=tile.height,
        width=tile.width,
        crs="EPSG:4269",
        nodata=-999999,
        transform=lattice.affine(tile.row, tile.column),
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="lzw",
        sparse_ok=True,
    ) as raster:
        for lon_, lat_ in places:
            row, column = lattice.cell_of(lon_, lat_)
            first_row, first_column = (
                (at - start) // 512 * 512 - 512
                for at, start in ((row, tile.row), (column, tile.column))
            )
            rows, columns = np.mgrid[: 3 * 512, : 3 * 512]
            across = np.abs(rows + first_row + tile.row - row)
            z = 500 + 0.2 * (columns + first_column + tile.column - column) + across
            raster.write(
                z.astype(np.float32),
                1,
                window=rasterio.windows.Window(first_column, first_row, 3 * 512, 3 * 512),
            )


def test_a_table_of_sites_is_all_that_a_study_needs(workflow, tmp_path, without_proxy):
    """The README's commands, with nothing but sites and the name of a source."""
    served, folder = tmp_path / "served", tmp_path / "study"
    sites = {"wash": (-118.40, 34.30), "creek": (-118.25, 34.40)}
    write_tile_of_3dep(served, -119, 34, list(sites.values()))
    files = {
        f"/{path.relative_to(served)}": path.read_bytes()
        for path in served.rglob("*")
        if path.is_file()
    }
    folder.mkdir()
    for name in ("scripts", "rules", "Snakefile", "profiles", "envs"):
        (folder / name).symlink_to(workflow / name)
    (folder / "config").mkdir()
    for path in (workflow / "config").iterdir():
        (folder / "config" / path.name).symlink_to(path)
    (folder / "data").mkdir()
    rows = [f"{name},{lon},{lat}" for name, (lon, lat) in sites.items()]
    (folder / "data/sites.csv").write_text("\n".join(["name,lon,lat", *rows]))
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## Your own sites in five lines\n")[1].split("\n## ")[0]
    written = yaml.safe_load(section.split("```yaml\n")[1].split("```")[0])
    del written["sites"]["columns"]["area"]
    assert "`dem: {source: 3dep-10m}`" in section
    written["dem"] = {"source": "3dep-10m"}
    (folder / "config/mine.yaml").write_text(yaml.safe_dump(written))
    commands = section.split("```\nsource .venv/bin/activate\n")[1].split("```")[0].splitlines()
    assert len(commands) == 2
    with FileServer(files) as server:
        environment = os.environ | {
            "PYTHONPATH": str(workflow / "scripts"),
            "SNAKESHED_CACHE": str(tmp_path / "cache"),
            "SNAKESHED_MIRROR": server.address,
        }
        shown = ""
        for command in commands:
            program, *arguments = shlex.split(command)
            module = {"snakeshed": "snakeshed.cli", "snakemake": "snakemake"}[program]
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            shown += done.stdout + done.stderr
    assert f"3dep-10m: a run fetches 1 tile from 127.0.0.1:{server.port}, size " in shown
    assert [each.path for each in server.gets() if each.path in files] == list(files)
    results = folder / "results/mine"
    catchments = pd.read_parquet(results / "catchments.parquet")
    assert catchments["status"].tolist() == ["ok", "ok"]
    (locked,) = [
        each
        for each in json.loads((results / "inputs.lock.json").read_text())["files"]
        if each["sha256"]
    ]
    assert locked["address"] == (
        "https://prd-tnm.s3.amazonaws.com/StagedProducts/Elevation/13/TIFF/current/n35w119/"
        "USGS_13_n35w119.tif"
    )
