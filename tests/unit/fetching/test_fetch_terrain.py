"""Tiles of a source in a study's folder, with the content that its lock names."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, Reply
from rasters import write_raster

from snakeshed.errors import ResultError, SnakeshedError, TerrainError, TransferError
from snakeshed.fetching.input_lock import NAME, LockedFile, read_lock, write_lock
from snakeshed.fetching.terrain import (
    TerrainFiles,
    check_raster,
    fetch_terrain,
    files_unlike_lock,
    mirrored,
    place,
    require_fetched,
)
from snakeshed.terrain.sources import SourceTile, TerrainSource, terrain_source
from snakeshed.transfer.file_cache import FileCache

pytestmark = pytest.mark.usefixtures("without_proxy")

OTHERS = LockedFile("layers[rain]", "http://a.example/rain.tif", "rain.tif", "2026", 1, "b" * 64)


@pytest.fixture
def server(tmp_path):
    files = {}
    for k in range(3):
        path = write_raster(tmp_path / "tile.tif", np.full((4, 4), k, np.float32))
        files[f"/own/n35w{118 + k}.tif"] = Path(path).read_bytes()
        Path(path).unlink()
    with FileServer(files) as made:
        yield made


@pytest.fixture
def source(server) -> TerrainSource:
    return terrain_source(
        {
            "name": "own",
            "address": f"{server.address}/own/{{ns}}{{lat:02d}}{{ew}}{{lon:03d}}.tif",
            "crs": "EPSG:4269",
            "tile_size": 1,
            "cells": 4,
        }
    )


@pytest.fixture
def tiles(source) -> list[SourceTile]:
    """Three that the server has and one that it has not."""
    lattice = source.lattice()
    return [source.tile(lattice, 34, j) for j in (-118, -119, -120, -121)]


class Study:
    """A study's folder, lock, and cache."""

    def __init__(self, root: Path, source: TerrainSource) -> None:
        self.folder, self.lock = root / "resources/own", root / "results" / NAME
        self.cache = FileCache(root / "cache")
        self.source = source

    def fetch(self, tiles: list[SourceTile], **options) -> TerrainFiles:
        return fetch_terrain(
            self.source,
            tiles,
            self.folder,
            study="mine",
            lock=self.lock,
            cache=self.cache,
            **options,
        )

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def study(tmp_path, source) -> Study:
    return Study(tmp_path, source)


def test_tiles_are_there_and_the_lock_says_what_they_are(study, server, tiles, tmp_path):
    files = study.fetch(tiles)
    assert study.names() == ["n35w118.tif", "n35w119.tif", "n35w120.tif"]
    assert files.absent == ("n35w121.tif",)
    for path, sha256 in files.sha256.items():
        content = server.files[f"/own/{Path(path).name}"]
        assert Path(path).read_bytes() == content
        assert hashlib.sha256(content).hexdigest() == sha256
    lock = json.loads(study.lock.read_text())
    assert (lock["format"], lock["study"]) == (1, "mine")
    assert [each["file"] for each in lock["files"]] == [tile.name for tile in tiles]
    first, last = lock["files"][0], lock["files"][-1]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", first.pop("fetched"))
    assert first == {
        "key": "dem",
        "address": f"{server.address}/own/n35w118.tif",
        "file": "n35w118.tif",
        "length": len(server.files["/own/n35w118.tif"]),
        "sha256": files.sha256[f"{study.folder}/n35w118.tif"],
        "etag": server.etag("/own/n35w118.tif"),
        "last_modified": server.modified,
    }
    assert last["fetched"].startswith("20")
    assert (last["sha256"], last["length"], last["etag"]) == (None, None, None)
    assert files.lines() == [
        f"3 tiles (0.0 MB) in {study.folder}.",
        "The source has no file for 1 other tile around the sites: n35w121.tif. The DEM ends "
        "there.",
    ]
    # What it wrote, it reads.
    files.write(tmp_path / "list.json")
    assert TerrainFiles.read(tmp_path / "list.json") == files


def test_a_second_time_nothing_is_asked(study, server, tiles):
    files = study.fetch(tiles)
    lock = study.lock.read_bytes()
    server.requests.clear()
    assert study.fetch(tiles) == files
    assert server.requests == []
    assert study.lock.read_bytes() == lock


def test_the_lock_is_enough_where_the_cache_has_the_files(study, server, tiles):
    files = study.fetch(tiles)
    for path in study.folder.iterdir():
        path.unlink()
    server.close()
    assert study.fetch(tiles) == files


def test_files_of_the_cache_are_shared_and_not_copied(study, tiles):
    files = study.fetch(tiles)
    path, sha256 = next(iter(files.sha256.items()))
    assert os.path.samefile(path, study.cache.place_of(sha256))


def test_a_link_to_the_cache_is_not_read_again(study, tiles, monkeypatch):
    files = study.fetch(tiles)
    monkeypatch.setattr("snakeshed.fetching.terrain.sha256_of", pytest.fail)
    assert study.fetch(tiles) == files


def test_on_another_disk_files_are_copied(study, tiles, monkeypatch):
    def other_disk(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", other_disk)
    files = study.fetch(tiles)
    path, sha256 = next(iter(files.sha256.items()))
    cached = study.cache.place_of(sha256)
    assert not os.path.samefile(path, cached)
    assert Path(path).read_bytes() == cached.read_bytes()
    assert os.stat(path).st_mtime == os.stat(cached).st_mtime


def test_tiles_that_are_not_needed_any_more_go(study, tiles):
    study.fetch(tiles)
    (study.folder / "n35w119.tif.aux.xml").touch()
    (study.folder / "n35w118.tif.aux.xml").touch()
    (study.folder / "other.img").touch()
    (study.folder / "notes.txt").touch()
    files = study.fetch(tiles[:1])
    assert study.names() == ["n35w118.tif", "n35w118.tif.aux.xml", "notes.txt"]
    assert list(files.sha256) == [f"{study.folder}/n35w118.tif"]
    assert [each.file for each in read_lock(study.lock).values()] == ["n35w118.tif"]


def test_a_tile_in_the_folder_that_was_changed_is_fetched_again(study, server, tiles):
    files = study.fetch(tiles)
    path = Path(next(iter(files.sha256)))
    path.unlink()
    path.write_bytes(b"other")
    assert study.fetch(tiles) == files
    assert path.read_bytes() == server.files["/own/n35w118.tif"]


def test_what_the_lock_says_of_other_inputs_stays(study, tiles):
    study.lock.parent.mkdir(parents=True)
    write_lock(study.lock, "mine", [OTHERS])
    study.fetch(tiles)
    assert read_lock(study.lock)[OTHERS.address] == OTHERS


def test_a_tile_that_has_changed_is_refused_and_then_refreshed(study, server, source, tiles):
    files = study.fetch(tiles)
    locked = study.lock.read_bytes()
    old = server.files["/own/n35w118.tif"]
    server.files["/own/n35w118.tif"] = server.files["/own/n35w119.tif"]
    study.cache = FileCache(study.cache.folder.parent / "other")
    for path in study.folder.iterdir():
        path.unlink()
    with pytest.raises(TransferError) as error:
        study.fetch(tiles)
    fetched = read_lock(study.lock)[tiles[0].address].fetched
    new = hashlib.sha256(server.files["/own/n35w118.tif"]).hexdigest()
    assert str(error.value) == (
        f"{server.address}/own/n35w118.tif: found a file that has changed on the server: the "
        f"SHA-256 {new}, of {server.modified}; expected the SHA-256 "
        f"{hashlib.sha256(old).hexdigest()}, as on {fetched}. The results were made with the file "
        "of that date. To work with the new one, run `snakeshed fetch --refresh` with the study's "
        "configuration; the results will change."
    )
    assert study.lock.read_bytes() == locked
    refreshed = study.fetch(tiles, refresh=True)
    assert refreshed.sha256[f"{study.folder}/n35w118.tif"] == new
    assert read_lock(study.lock)[tiles[0].address].sha256 == new
    assert files_unlike_lock(files.sha256, study.lock) == [f"{study.folder}/n35w118.tif"]
    assert files_unlike_lock(refreshed.sha256, study.lock) == []


def test_a_tile_that_is_gone_is_refused_and_one_that_is_new_is_not_taken(study, server, tiles):
    files = study.fetch(tiles)
    server.files["/own/n35w121.tif"] = server.files["/own/n35w118.tif"]
    assert study.fetch(tiles) == files
    locked = read_lock(study.lock)[tiles[0].address]
    del server.files["/own/n35w118.tif"]
    study.cache = FileCache(study.cache.folder.parent / "other")
    (study.folder / "n35w118.tif").unlink()
    with pytest.raises(TransferError) as error:
        study.fetch(tiles)
    assert str(error.value) == (
        f"{server.address}/own/n35w118.tif: found no such file any more; expected the one with the "
        f"SHA-256 {locked.sha256}, as on {locked.fetched}. The results were made with the file of "
        "that date. To work with the new one, run `snakeshed fetch --refresh` with the study's "
        "configuration; the results will change."
    )
    refreshed = study.fetch(tiles, refresh=True)
    assert refreshed.absent == ("n35w118.tif",)
    assert f"{study.folder}/n35w121.tif" in refreshed.sha256


def test_where_older_copies_are_kept_is_said(study, server, source, tiles):
    study.source = TerrainSource(**{**vars(source), "dated": "https://a.example/historical/"})
    study.fetch(tiles)
    del server.files["/own/n35w118.tif"]
    (study.folder / "n35w118.tif").unlink()
    study.cache = FileCache(study.cache.folder.parent / "other")
    with pytest.raises(TransferError, match="Older copies are in https://a.example/historical/."):
        study.fetch(tiles)


def test_a_source_without_any_tile_here_is_refused(study, tiles):
    with pytest.raises(TerrainError) as error:
        study.fetch(tiles[-1:])
    assert str(error.value) == (
        "dem.source: own: found no file for the tile around the sites, such as "
        f"{tiles[-1].address}; expected a source that covers the sites. Check the coordinates of "
        "the sites with `snakeshed check`. If they are right, choose a source that covers them; if "
        "it should, its files may have moved."
    )
    assert not study.lock.exists()


def test_a_failed_transfer_leaves_the_lock_as_it_was(study, server, tiles):
    study.fetch(tiles[:1])
    locked = study.lock.read_bytes()
    server.always["/own/n35w119.tif"] = Reply(status=403, body=b"")
    with pytest.raises(TransferError, match="403"):
        study.fetch(tiles)
    assert study.lock.read_bytes() == locked


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"<!DOCTYPE html><title>Log in</title>",
            r"found a file that begins with b'<!DOCTYPE html><title>Log in</title>'; expected a "
            "GeoTIFF. Open the address in a browser: a network may ask you to log in first, or the "
            "source may have moved.",
        ),
        (
            None,
            r"found a file of 300 bytes; expected at least \d+, as its header says. The file on "
            "the server seems to be incomplete: try again later.",
        ),
    ],
)
def test_what_is_no_whole_tiff_is_refused(study, server, tiles, content, message):
    path = "/own/n35w118.tif"
    server.files[path] = server.files[path][:300] if content is None else content
    with pytest.raises(TransferError, match=f"^{server.address}{path}: {message}$"):
        study.fetch(tiles[:1])
    assert not study.lock.exists()


def test_a_whole_tiff_is_taken(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((3, 3), np.float32))
    check_raster(Path(path), "http://a.example/a.tif")


def test_a_mirror_has_hosts_as_folders(monkeypatch):
    address = "https://a.example/b/c.tif"
    monkeypatch.delenv("SNAKESHED_MIRROR", raising=False)
    assert mirrored(address) == address
    monkeypatch.setenv("SNAKESHED_MIRROR", "http://mirror.example/data/")
    assert mirrored(address) == "http://mirror.example/data/a.example/b/c.tif"


def test_content_that_is_not_what_was_fetched_is_named(study, tiles):
    files = study.fetch(tiles)
    files.check()
    path = Path(list(files.sha256)[1])
    path.unlink()
    path.write_bytes(b"other")
    with pytest.raises(TerrainError) as error:
        files.check()
    assert str(error.value) == (
        f"{path}: found a file with the SHA-256 {hashlib.sha256(b'other').hexdigest()}; expected "
        f"{files.sha256[str(path)]}, as when it was fetched. Remove it and run the same command "
        "again: it is fetched again."
    )


def test_a_file_takes_its_place_as_a_whole(tmp_path):
    (tmp_path / "cached").write_bytes(b"new")
    (tmp_path / "tile.tif").write_bytes(b"old")
    place(tmp_path / "cached", tmp_path / "tile.tif")
    assert (tmp_path / "tile.tif").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 2, "files": []}', '{"format": 1, "files": [{"key": "dem"}]}']
)
def test_a_lock_that_cannot_be_read_is_no_reason_to_take_new_files(study, tiles, text):
    study.lock.parent.mkdir(parents=True)
    study.lock.write_text(text)
    with pytest.raises(ResultError) as error:
        study.fetch(tiles)
    assert str(error.value).startswith(f"{study.lock}: found a file that is no lock of inputs (")
    assert str(error.value).endswith(
        "; expected what snakeshed wrote, in format 1. Restore it from a backup or from an archive "
        "of the study. Without it the files as they are now are taken: remove it if that is what "
        "you want."
    )


def test_a_bucket_needs_the_tiles_beforehand(tmp_path):
    study = {
        "study": "mine",
        "dem": {"source": "3dep-10m", "path": "resources/mine/3dep-10m"},
    }
    with pytest.raises(SnakeshedError) as error:
        require_fetched(study)
    assert str(error.value) == (
        "dem.source: 3dep-10m: found no tiles in resources/mine/3dep-10m; expected tiles that are "
        "there before a run that keeps the study in a bucket. Run `snakeshed fetch` with the "
        "study's configuration first."
    )
    require_fetched(study | {"dem": study["dem"] | {"path": str(tmp_path)}})
