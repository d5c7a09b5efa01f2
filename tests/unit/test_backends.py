"""Where patches run makes no difference."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from rasters import write_raster

from snakeshed.backends import BACKENDS, Backend
from snakeshed.delineate import DelineationRule, Site, delineate
from snakeshed.dem import index_terrain
from snakeshed.errors import TerrainError
from snakeshed.patches import PatchPyramid
from snakeshed.snap import SnapRule


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
    assert BACKENDS == ("auto", "serial", "process")
