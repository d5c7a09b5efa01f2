"""Runs with ``--profile dask``: on a cluster of each job's own, on one that is there, on none."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest
from dask_processes import DaskProcesses, dask_processes, free_port
from tiny_study import Run, TinyStudy

TABLES = (
    "catchments.parquet",
    "features.parquet",
    "observations.parquet",
    "dataset.parquet",
    "summary.json",
)


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


def catchments_of(shard: str) -> str:
    return f"results/tiny/shards/{shard}/catchments.parquet"


def test_without_a_cluster_each_job_has_its_own_and_those_with_more_to_read_come_first(study):
    before = study.contents()
    shards = ["00", "01", "02"]
    targets = [catchments_of(shard) for shard in shards]
    done = run(study, *targets, "--forcerun", "delineate", "--cores", "1")
    assert done.code == 0, done.text
    assert {name: content for name, (content, _) in study.contents().items()} == {
        name: content for name, (content, _) in before.items()
    }
    # Each with a dashboard of its own, on this machine alone.
    links = set(re.findall(r"dask: dashboard at http://127\.0\.0\.1:(\d+)/status", logs_of(study)))
    assert len(links) == len(shards)
    # No job is done again because of where it was done.
    assert not study.plan()
    assert run(study, "--dry-run").jobs == {}

    order = re.findall(
        r"^(?:local)?rule delineate:\n(?:.+\n)*?    wildcards: shard=(\d+)$", done.log, re.M
    )
    assert sorted(order) == shards

    def size(shard: str) -> int:
        folder = study.results / "shards" / shard
        tiles = study.folder.glob("dem/*.tif")
        tiles = [path for path in tiles if shard in study.readers(f"dem/{path.name}")]
        files = [folder / "sites.parquet", folder / "terrain.json", *tiles]
        return sum(file.stat().st_size for file in files)

    sizes = [size(shard) for shard in order]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1


def test_shards_are_run_without_a_cluster_then_on_one_that_loses_a_worker(fresh, finished, cluster):
    # A cluster that is not there is named, and its work can be done without one.
    shard, named = finished.shard_of("a"), finished.shard_of("d")
    address = f"tcp://127.0.0.1:{free_port()}"
    timeout = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    failed = run(fresh, catchments_of(shard), "--retries", "0", address=address, **timeout)
    assert failed.code == 1
    message = f"the Dask scheduler {address} (DASK_SCHEDULER_ADDRESS): found no answer"
    assert message in failed.text
    assert "Traceback" not in failed.text
    alone = fresh.run(catchments_of(shard))
    assert alone.code == 0, alone.text
    assert alone.jobs == {"delineate": 1}

    for _ in range(2):
        cluster.start_worker(path=str(fresh.workflow / "scripts"))
    one = run(fresh, catchments_of(named), address=cluster.address)
    assert one.code == 0, one.text
    assert one.shards("delineate") == {named}
    cluster.workers[0].send_signal(signal.SIGKILL)
    rest = run(fresh, address=cluster.address)
    assert rest.code == 0, rest.text
    assert "Study tiny: 7 sites, 6 delineated" in rest.text
    assert rest.shards("delineate") == {"00", "01", "02"} - {shard, named}
    assert_same(fresh, finished)
    assert re.search(r"dask: (\d+) of \1 patches done", logs_of(fresh))
