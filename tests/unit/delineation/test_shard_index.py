"""The index of all shards is read back as it was written, and only when it has changed."""

from __future__ import annotations

import hashlib

import pytest

from snakeshed.delineation import shard_index
from snakeshed.delineation.memory_request import ShardMemory
from snakeshed.delineation.pyramid import Patch, PatchPyramid
from snakeshed.delineation.shard_index import (
    FILES,
    ShardFacts,
    ShardIndex,
    read_shard_index,
    recorded_files,
    shard_index_text,
)
from snakeshed.errors import ResultError
from snakeshed.raster.crs import crs_facts
from snakeshed.raster.lattice import Lattice
from snakeshed.result_files import result_file
from snakeshed.terrain.index import DemTile, TerrainIndex

SHARDS = {
    "00": ShardFacts(3, 500, ShardMemory(300, (400, 500)), ("b.tif", "ä.tif"), ("5a", "7e")),
    "01": ShardFacts(0, 0, ShardMemory(0, ()), ()),
    "02": ShardFacts(1, 9, ShardMemory(9, ()), ("a.tif", "b.tif")),
}


def write(path, shards):
    with result_file(path) as part:
        part.write_text(shard_index_text(shards), encoding="utf-8")


def test_shards_are_read_as_they_were_written():
    index = ShardIndex(shard_index_text(SHARDS))
    assert {name: index[name] for name in SHARDS} == SHARDS
    assert "02" in index
    assert "03" not in index
    assert index.tiles == ("a.tif", "b.tif", "ä.tif")
    assert index["02"].tiles == ("a.tif", "b.tif")


def test_the_facts_of_a_shard_count_each_patch_once():
    lattice = Lattice.through(crs_facts("EPSG:32611"), 0.0, 0.0, 10.0, 10.0)
    place = {"row": -9000, "column": -9000, "height": 18000, "width": 18000}
    kind = {"dtype": "float32", "nodata": None, "scale": 1.0, "offset": 0.0}
    tiles = tuple(DemTile(name, **place, **kind, vertical_unit_m=1.0) for name in ("z", "a"))
    terrain = TerrainIndex(lattice, lattice, tiles)
    pyramid = PatchPyramid(lattice, 500.0, 500.0, 3, 1.0)
    facts = ShardFacts.of(7, [Patch(0, 0, 0), Patch(0, 0, 0), Patch(1, 5, 5)], pyramid, terrain)
    # A core of 50 cells (50 from the buffer on each side), and one level up twice that.
    assert facts.patch_cells == 150**2 + 300**2
    assert facts.memory == ShardMemory(300**2, (600**2, 600**2))
    assert (facts.sites, facts.tiles) == (7, ("a", "z"))


def test_the_facts_of_a_shard_with_a_recipe_are_those_of_its_windows():
    lattice = Lattice.through(crs_facts("EPSG:32611"), 0.0, 0.0, 10.0, 10.0)
    terrain = TerrainIndex(lattice, lattice, ())
    facts = ShardFacts.of_windows(4, [30, 500, 7], terrain, ("5a",))
    assert (facts.sites, facts.patch_cells, facts.files) == (4, 537, ("5a",))
    assert facts.memory == ShardMemory(500, ())
    assert ShardFacts.of_windows(0, [], terrain).memory == ShardMemory(0, ())


def test_ten_thousand_questions_read_the_file_once(tmp_path, monkeypatch):
    path = tmp_path / "index.json"
    write(path, SHARDS)
    reads = []
    read = shard_index.read_if_there
    monkeypatch.setattr(shard_index, "read_if_there", lambda file: reads.append(file) or read(file))
    for _ in range(10_000):
        assert read_shard_index(path)["01"].tiles == ()
    assert len(reads) == 1
    write(path, SHARDS | {"01": SHARDS["00"]})
    assert read_shard_index(path)["01"] == SHARDS["00"]
    assert len(reads) == 2


def test_a_damaged_or_missing_index_is_named(tmp_path):
    path = tmp_path / "index.json"
    with pytest.raises(FileNotFoundError) as error:
        read_shard_index(str(path))
    # By this name Snakemake knows that it is still to be made.
    assert error.value.filename == str(path)
    write(path, SHARDS)
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(ResultError, match=r"index\.json: found a damaged or modified file"):
        read_shard_index(path)


def test_a_table_has_exactly_the_sites_of_the_index():
    index = ShardIndex(shard_index_text(SHARDS, ["d", "a", "ä", "b"]))
    assert index.names == ("00", "01", "02")
    index.check_sites(["a", "b", "d", "ä"], "features.parquet")
    with pytest.raises(ResultError) as few:
        index.check_sites(["a", "b", "d"], "features.parquet")
    assert str(few.value) == (
        "features.parquet: found 3 sites in the tables of all shards; expected 4, as in its "
        "index.json. The shards come from different splits: delete the folder shards beside it, "
        "and run the same command again."
    )
    with pytest.raises(ResultError, match=r"found other sites in .*; expected the 4 of its index"):
        index.check_sites(["a", "b", "c", "d"], "features.parquet")


def test_an_index_of_an_earlier_version_knows_no_files():
    shard = '{"sites": 1, "patch_cells": 9, "cells": 9, "larger": [], "tiles": []}'
    assert ShardIndex(f'{{"tiles": [], "shards": {{"00": {shard}}}}}')["00"].files == ()


def test_the_records_of_a_shards_files_are_read(tmp_path):
    for name in FILES:
        with result_file(tmp_path / name) as part:
            part.write_text(name, encoding="utf-8")
    assert recorded_files(tmp_path) == tuple(
        hashlib.sha256(name.encode()).hexdigest() for name in FILES
    )
