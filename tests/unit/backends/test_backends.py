"""Where patches run makes no difference."""

from __future__ import annotations

import logging
import os
import re
import signal
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from rasters import write_raster

from snakeshed.backends.local import BACKENDS, Backend, choose
from snakeshed.backends.opening import open_backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.errors import TerrainError
from snakeshed.grid.snap import SnapRule
from snakeshed.terrain.dem import index_terrain


@pytest.fixture(scope="module")
def processes():
    with Backend("process", 2) as backend:
        yield backend


def test_results_come_in_the_order_of_the_tasks(processes):
    tasks = list(range(20))
    expected = [str(task) for task in tasks]
    assert list(processes.map(str, tasks)) == expected
    assert list(Backend("serial").map(str, iter(tasks))) == expected
    assert list(processes.map(str, [])) == list(Backend("serial").map(str, [])) == []


def process_of(_: object) -> int:
    return os.getpid()


def test_what_runs_where(processes):
    # A function of os itself: processes that are spawned need not find this file.
    assert set(processes.map(os.path.getsize, [os.devnull])) == {0}
    assert list(Backend("serial", 4).map(process_of, [1])) == [os.getpid()]
    assert list(Backend("auto", 1).map(process_of, [1])) == [os.getpid()]
    assert list(Backend().map(process_of, [1])) == [os.getpid()]


def test_no_core_is_idle_and_none_has_two_threads():
    with Backend("process", 8) as backend:
        assert [backend.threads_for(n) for n in (0, 1, 2, 3, 8, 100)] == [8, 8, 4, 2, 1, 1]
    assert [Backend("serial", 8).threads_for(n) for n in (0, 1, 100)] == [8, 8, 8]
    assert Backend().threads_for(5) == 1


def test_auto_takes_processes_where_there_are_several_workers():
    said = "pickle|attribute|local object"  # by one version of Python or another
    with Backend("auto", 2) as backend, pytest.raises(Exception, match=said):
        list(backend.map(lambda task: task, [1]))


def test_a_worker_that_is_killed_ends_the_work_and_does_not_hang():
    with Backend("process", 2) as backend, pytest.raises(BrokenProcessPool):
        # As the kernel ends a process for want of memory.
        list(backend.map(signal.raise_signal, [signal.SIGKILL] * 4))


def raster(folder) -> str:
    random = np.random.default_rng(9)
    z = 900 - 3.0 * np.arange(60)[:, None] + random.uniform(0, 5, (60, 60))
    return write_raster(folder / "dem.tif", np.float32(z))


def sites() -> list[Site]:
    random = np.random.default_rng(3)
    places = random.uniform(-30, 630, (30, 2)).round(2)
    return [Site(f"s{k:02}", 5e5 + x, 4e6 - y, 0, 0.01) for k, (x, y) in enumerate(places)]


def catchments(path, backend):
    index = index_terrain([path])
    rule = DelineationRule(SnapRule(15.0, 0.05, 0.001), 0, 0.001)
    pyramid = PatchPyramid(index.lattice, 100.0, 100.0, 3, 2.5)
    return delineate(sites(), index, pyramid, rule, backend)


def patches_in(records) -> list[str]:
    """What the log says of each patch, without the seconds."""
    lines = [record.getMessage() for record in records]
    return [re.sub(r"[\d.]+ s\b", "", line) for line in lines if line.startswith("patch ")]


def test_catchments_and_log_are_the_same_on_every_backend(tmp_path, processes, caplog):
    path = raster(tmp_path)
    caplog.set_level("INFO", "snakeshed")
    one, said = catchments(path, Backend("serial")), patches_in(caplog.records)
    caplog.clear()
    other = catchments(path, processes)
    assert len(said) > 1
    assert patches_in(caplog.records) == said
    assert {done.status for done in one} == {"ok", "outside_dem"}
    assert max(done.patch_level for done in one) > 0
    assert one == other


def test_an_error_of_a_user_passes_through_processes_as_it_is(tmp_path, processes):
    path = raster(tmp_path)
    index = index_terrain([path])
    with open(path, "r+b") as file:
        file.truncate(300)
    rule = DelineationRule(SnapRule(15.0, 0.05, 0.001), 0, 0.001)
    pyramid = PatchPyramid(index.lattice, 100.0, 100.0, 1, 2.5)
    messages = []
    for backend in (Backend("serial"), processes):
        with pytest.raises(TerrainError) as told:
            delineate(sites(), index, pyramid, rule, backend)
        messages.append(str(told.value))
    assert messages[0] == messages[1]
    assert path in messages[0]


def test_unknown_backends_and_no_workers_are_refused():
    with pytest.raises(ValueError, match="backend 'cloud': expected one of auto, serial, process"):
        Backend("cloud")
    with pytest.raises(ValueError, match="backend 'process': 0 workers; expected at least 1"):
        Backend("process", 0)
    said = "backend 'cloud': expected one of auto, serial, process, dask"
    with pytest.raises(ValueError, match=said):
        open_backend("cloud", 1)


@pytest.mark.parametrize(
    ("asked", "needed", "given", "chosen"),
    [
        ("auto", None, None, ("serial", "process")),
        ("auto", 2000, None, ("serial", "process")),
        ("auto", 2000, 2000, ("serial", "process")),
        ("auto", 2001, 2000, ("dask", "dask")),
        ("serial", 2001, 2000, ("serial", "serial")),
        ("process", 2001, 2000, ("process", "process")),
        ("dask", 1, 2000, ("dask", "dask")),
    ],
)
def test_what_does_not_fit_into_a_job_goes_to_dask(asked, needed, given, chosen):
    assert tuple(choose(asked, workers, needed, given) for workers in (1, 2)) == chosen
    assert set(chosen) < set(BACKENDS)


def test_a_cluster_of_ones_own_takes_no_more_than_the_job_has(monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with open_backend("auto", 2, needed=3 * 10**9, given=2 * 10**9) as backend:
        assert list(backend.map(os.path.basename, ["/a/b", "/c/d", "e"])) == ["b", "d", "e"]
        assert backend.threads_for(1) == backend.threads_for(100) == 1
        workers = backend.client.scheduler_info(n_workers=-1)["workers"].values()
        assert [worker["nthreads"] for worker in workers] == [1, 1]
        assert [worker["memory_limit"] for worker in workers] == [9 * 10**8, 9 * 10**8]
        # Only this machine reaches it.
        assert {worker["host"] for worker in workers} == {"127.0.0.1"}
        assert backend.client.dashboard_link.startswith("http://127.0.0.1:")


def test_a_patch_that_no_process_finishes_becomes_rows(tmp_path):
    class Losing(Backend):
        """Loses what level 1 has."""

        def map(self, function, tasks, lost=None, what="tasks"):
            for task in tasks:
                yield lost(task) if task[0].level == 1 else function(task)

    path = raster(tmp_path)
    whole, some = catchments(path, Backend("serial")), catchments(path, Losing("serial"))
    assert [done.site_id for done in some] == [done.site_id for done in whole]
    gone = [done for done in some if done.status == "worker_killed"]
    assert 0 < len(gone) < len(some)
    assert all("ended each process that worked on it" in done.reason for done in gone)
    assert {done.patch_level for done in gone} == {1}
    assert {done.site_id for done in whole if done.patch_level > 0} == {
        done.site_id for done in gone
    }
    assert [done for done in some if done not in gone] == [
        done for done in whole if done.patch_level == 0
    ]


@pytest.mark.parametrize("name", ["distributed.batched", "distributed.client"])
def test_a_connection_that_dask_loses_puts_no_traceback_into_a_log(name, caplog):
    from distributed.comm import CommClosedError

    import snakeshed.backends.dask_cluster  # noqa: F401

    logger = logging.getLogger(name)
    logger.addHandler(caplog.handler)
    try:
        for error in (CommClosedError("closed"), ValueError("a fault")):
            logger.error("told", exc_info=error)
    finally:
        logger.removeHandler(caplog.handler)
    shown = {record.exc_info[1].args for record in caplog.records}
    assert shown == {("a fault",)}
