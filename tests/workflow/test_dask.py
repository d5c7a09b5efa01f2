"""Runs with ``--profile dask``: on a cluster of each job's own, on one that is there, on none."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest
from dask_processes import DaskProcesses, dask_processes, free_port
from tiny_study import Run, TinyStudy

TABLES = ("catchments.parquet", "features.parquet", "observations.parquet", "summary.json")


@pytest.fixture
def fresh(finished, tmp_path) -> TinyStudy:
    """The study before its first run."""
    return TinyStudy(tmp_path / "study", finished.workflow)


@pytest.fixture
def cluster(tmp_path) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path / "cluster") as made:
        yield made


def run(study: TinyStudy, *arguments: str, address: str = "", **environment: str) -> Run:
    profile = str(study.workflow / "profiles/dask")
    return study.run(
        "--profile", profile, *arguments, DASK_SCHEDULER_ADDRESS=address, **environment
    )


def assert_same(study: TinyStudy, finished: TinyStudy) -> None:
    for table in TABLES:
        assert (study.results / table).read_bytes() == (finished.results / table).read_bytes(), (
            table
        )


def logs_of(study: TinyStudy) -> str:
    logs = sorted((study.results / "logs/delineate").glob("*.log"))
    return "".join(log.read_text() for log in logs)


def test_without_a_cluster_it_works_as_it_is(fresh, finished):
    done = run(fresh)
    assert done.code == 0, done.text
    assert "Study tiny: 7 sites, 6 delineated" in done.text
    assert_same(fresh, finished)
    # Each with a dashboard of its own, on this machine alone.
    links = set(re.findall(r"dask: dashboard at http://127\.0\.0\.1:(\d+)/status", logs_of(fresh)))
    shards = {path.parent.name for path in fresh.results.glob("shards/*/catchments.parquet")}
    assert len(links) == len(shards) == 4
    # No job is done again because of where it was done.
    assert fresh.run().jobs == {}
    assert run(fresh).jobs == {}


def test_a_named_target_and_then_the_rest_on_a_cluster_that_loses_a_worker(
    fresh, finished, cluster
):
    study = fresh
    for _ in range(2):
        cluster.start_worker(path=str(study.workflow / "scripts"))
    shard = finished.shard_of("c")
    named = run(study, f"results/tiny/shards/{shard}/catchments.parquet", address=cluster.address)
    assert named.code == 0, named.text
    assert named.shards("delineate") == {shard}
    cluster.workers[0].send_signal(signal.SIGKILL)
    rest = run(study, address=cluster.address)
    assert rest.code == 0, rest.text
    assert len(rest.shards("delineate")) == 3
    assert shard not in rest.shards("delineate")
    assert_same(study, finished)
    assert re.search(r"dask: (\d+) of \1 patches done", logs_of(study))


def test_a_cluster_that_is_not_there_is_told_and_its_work_can_be_done_later(fresh, finished):
    address = f"tcp://127.0.0.1:{free_port()}"
    timeout = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    failed = run(fresh, "--retries", "0", address=address, **timeout)
    assert failed.code == 1
    said = f"the Dask scheduler {address} (DASK_SCHEDULER_ADDRESS): found no answer"
    assert said in failed.text
    assert "Traceback" not in failed.text
    assert run(fresh).code == 0
    assert_same(fresh, finished)


def test_shards_with_more_to_read_come_first(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    targets = [f"results/tiny/shards/{shard:02}/catchments.parquet" for shard in range(4)]
    done = run(study, *targets, "--forcerun", "delineate", "--cores", "1")
    assert done.code == 0, done.text
    order = re.findall(
        r"^(?:local)?rule delineate:\n(?:.+\n)*?    wildcards: shard=(\d+)$", done.log, re.M
    )
    assert sorted(order) == ["00", "01", "02", "03"]

    def size(shard: str) -> int:
        folder = study.results / "shards" / shard
        tiles = study.folder.glob("dem/*.tif")
        tiles = [path for path in tiles if shard in study.readers(f"dem/{path.name}")]
        files = [folder / "sites.parquet", folder / "terrain.json", *tiles]
        return sum(file.stat().st_size for file in files)

    sizes = [size(shard) for shard in order]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1
