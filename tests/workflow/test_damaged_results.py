"""A damaged result is named: it is not gathered, published, or called up to date."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

AGAIN = "Delete it and run the same command again: only what is missing is made."


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file, and keep its time of change."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def refuses(study, name: str, *targets: str) -> None:
    run = study.run(*targets)
    assert run.code == 1
    message = f"results/tiny/{name}: found a damaged or modified file (SHA-256 "
    assert run.text.count(message) == 1, run.text
    assert run.text.count(f"expected the file as its job wrote it. {AGAIN}") == 1
    assert "Traceback" not in run.text


@pytest.mark.parametrize("name", ["features.parquet", "summary.json", "rejected.csv"])
def test_a_damaged_final_result_is_not_called_up_to_date(study, name):
    before = study.contents()
    flip_a_bit(study.results / name)
    refuses(study, name)
    (study.results / name).unlink()
    run = study.run()
    assert run.code == 0, run.text
    assert {name: each[0] for name, each in study.contents().items()} == {
        name: each[0] for name, each in before.items()
    }


def test_the_archive_holds_no_damaged_table(study):
    flip_a_bit(study.results / "sites.parquet")
    assert study.run().code == 0  # It reads only what has to be made.
    refuses(study, "sites.parquet", "archive")
    assert not list(study.results.rglob("*.zip"))


def test_a_damaged_table_of_a_shard_is_not_gathered(study):
    shard = study.shard_of("a")
    flip_a_bit(study.results / f"shards/{shard}/features.parquet")
    (study.results / "features.parquet").unlink()
    refuses(study, f"shards/{shard}/features.parquet")
    assert not (study.results / "features.parquet").exists()


def test_a_damaged_terrain_index_of_a_shard_stops_the_run_while_it_is_planned(study):
    shard = study.shard_of("a")
    flip_a_bit(study.results / f"shards/{shard}/terrain.json")
    (study.results / f"shards/{shard}/catchments.parquet").unlink()
    refuses(study, f"shards/{shard}/terrain.json")


def test_a_damaged_index_of_all_shards_stops_the_run_while_it_is_planned(study):
    before = study.contents()
    flip_a_bit(study.results / "shards/index.json")
    refuses(study, "shards/index.json")
    (study.results / "shards/index.json").unlink()
    run = study.run()
    assert run.code == 0, run.text
    # The shards are split again, into the same.
    assert run.jobs == {"split_shards": 1}
    assert {name: each[0] for name, each in study.contents().items()} == {
        name: each[0] for name, each in before.items()
    }


def test_a_split_that_is_missing_is_made_again_for_a_target_of_another_shard(study):
    lost, other = study.shard_of("a"), study.shard_of("d")
    assert lost != other
    file = study.results / f"shards/{lost}/sites.parquet"
    content = file.read_bytes()
    file.unlink()
    (study.results / f"shards/{other}/features.parquet").unlink()
    run = study.run(f"results/tiny/shards/{other}/features.parquet")
    assert run.code == 0, run.text
    assert run.jobs == {"split_shards": 1, "extract_features": 1}
    assert file.read_bytes() == content
    assert study.plan()["delineate"] == 0


@pytest.mark.parametrize("targets", [(), ("results/tiny/features.csv",)])
@pytest.mark.parametrize("missing", ["terrain.json", "sites.parquet"])
def test_a_split_that_is_missing_hides_no_change_of_the_configuration(study, missing, targets):
    """As after a job that was killed, or a damaged index that was deleted as the message says."""
    before = study.contents()
    shard = study.shard_of("a")
    (study.results / f"shards/{shard}/{missing}").unlink()
    study.config["features"] = {"percentiles": [7]}
    study.write()
    run = study.run(*targets)
    assert run.code == 0, run.text
    columns = set(pq.read_schema(study.results / "features.parquet").names)
    assert "slope_p7_deg" in columns
    assert "slope_p50_deg" not in columns
    assert study.contents()["catchments.parquet"][0] == before["catchments.parquet"][0]


def without_history(study) -> None:
    """As results that were copied from elsewhere."""
    shutil.rmtree(study.folder / ".snakemake")
    for name in ("catchments.parquet", "features.parquet", "summary.json", "report.html"):
        (study.results / name).unlink()


@pytest.mark.parametrize("shards", [2, 6])
def test_a_split_into_another_number_of_shards_loses_no_site(study, shards):
    before = {name: content for name, (content, _) in study.contents().items()}
    without_history(study)
    study.config["shards"] = shards
    study.write()
    # Nothing else is known before the sites are split.
    planned = study.run("--dry-run")
    assert planned.code == 0, planned.text
    assert planned.jobs["split_shards"] == 1
    run = study.run()
    assert run.code == 0, run.text
    assert f"index.json is of 4 shards, not of {shards}: the sites are split again." in run.text
    for name in ("catchments.parquet", "features.parquet"):
        assert (study.results / name).read_bytes() == before[name]
    assert study.plan() == {}


def test_folders_of_a_larger_split_that_were_left_are_not_taken_for_a_part_of_the_index(study):
    before = {name: content for name, (content, _) in study.contents().items()}
    study.config["shards"] = 2
    study.write()
    study.split()
    without_history(study)
    study.config["shards"] = 4
    study.write()
    run = study.run()
    assert run.code == 0, run.text
    assert run.jobs["split_shards"] == 1
    assert (study.results / "features.parquet").read_bytes() == before["features.parquet"]


@pytest.mark.parametrize("name", ["sites.parquet", "terrain.json"])
def test_a_valid_file_of_another_shard_is_not_delineated(study, name):
    before = {name: content for name, (content, _) in study.contents().items()}
    one, other = study.shard_of("a"), study.shard_of("d")
    for file in (name, f".{name}.sha256"):
        shutil.copy2(study.results / f"shards/{other}/{file}", study.results / f"shards/{one}")
    without_history(study)
    run = study.run()
    assert run.code == 0, run.text
    assert f"made with other files than those in results/tiny/shards/{one}: the" in run.text
    for table in ("catchments.parquet", "features.parquet"):
        assert (study.results / table).read_bytes() == before[table]


def test_a_damaged_site_table_of_a_shard_stops_the_run_while_it_is_planned(study):
    shard = study.shard_of("a")
    flip_a_bit(study.results / f"shards/{shard}/sites.parquet")
    refuses(study, f"shards/{shard}/sites.parquet")
