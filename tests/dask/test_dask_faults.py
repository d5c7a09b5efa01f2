"""A real scheduler and workers as processes of their own, and what may happen to them."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from dask_processes import (
    HERE,
    SCRIPTS,
    DaskProcesses,
    dask_processes,
    end_group,
    later,
    until,
)
from dask_tasks import hog, hold, no_memory, sign_in, sleep, starts
from distributed import KilledWorker
from small_study import CELL_M, NORTH, WEST, write_raster

from snakeshed.backends import dask_cluster, dask_worker
from snakeshed.backends.dask_cluster import KILLS, DaskBackend, _Work
from snakeshed.backends.local import Backend
from snakeshed.delineation.delineate import delineate
from snakeshed.delineation.pyramid import PatchPyramid
from snakeshed.delineation.site import DelineationRule, Site
from snakeshed.errors import ClusterError, TerrainError
from snakeshed.grid.snap import SnapRule
from snakeshed.terrain.dem import index_terrain

pytestmark = pytest.mark.slow


@pytest.fixture
def processes(tmp_path) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path / "cluster") as cluster:
        yield cluster


def tasks_in(folder: Path, count: int, *more: int) -> list[tuple[str, int]]:
    return [(str(folder), number) for number in [*range(count), *more]]


def numbers_of(tasks) -> list[int]:
    return [number for _, number in tasks]


def stands_for(task) -> str:
    return f"lost {task[1]}"


def connected(processes: DaskProcesses, patience_s: float = 60.0) -> DaskBackend:
    return DaskBackend(address=processes.address, patience_s=patience_s)


# ---- the same results ------------------------------------------------------------------------


@pytest.fixture
def terrain(tmp_path) -> Path:
    rows, columns = np.mgrid[:150, :150]
    random = np.random.default_rng(5)
    z = 400 + columns * 0.8 + np.abs(rows - 75) * 3 + random.uniform(0, 4, (150, 150))
    write_raster(tmp_path / "dem.tif", np.float32(z))
    return tmp_path / "dem.tif"


def catchments(path: Path, backend: Backend):
    index = index_terrain([str(path)])
    random = np.random.default_rng(3)
    places = random.uniform(-100, 150 * CELL_M, (40, 2)).round(2)
    sites = [Site(f"s{k:02}", WEST + x, NORTH - y, 0, 0.05) for k, (x, y) in enumerate(places)]
    rule = DelineationRule(SnapRule(60.0, 0.05, 0.01), 0, 0.01)
    return delineate(sites, index, PatchPyramid(index.lattice, 600.0, 600.0, 3, 2.5), rule, backend)


def test_catchments_are_those_of_one_process(processes, terrain, caplog, monkeypatch):
    for _ in range(2):
        processes.start_worker()
    caplog.set_level("INFO", "snakeshed")
    expected = catchments(terrain, Backend("serial"))
    assert {done.status for done in expected} == {"ok", "outside_dem"}
    assert max(done.patch_level for done in expected) > 0
    # Relative, as in a study: workers were started elsewhere.
    monkeypatch.chdir(terrain.parent)
    with connected(processes) as backend:
        assert catchments(Path("dem.tif"), backend) == expected
        assert re.search(r"dask: dashboard at http://127.0.0.1:\d+/status", caplog.text)
        assert re.search(r"dask: (\d+) of \1 patches done", caplog.text)
        # Workers outlive a run. What they read then is what is there then.
        with terrain.open("r+b") as file:
            file.truncate(300)
        with pytest.raises(TerrainError, match="dem.tif"):
            catchments(Path("dem.tif"), backend)


def test_tasks_are_small(terrain):
    # A window and its sites, and where the tiles are; the raster has 90 kB.
    sizes = []

    class Weighing(Backend):
        def map(self, function, tasks, lost=None, what="tasks"):
            tasks = list(tasks)
            sizes.extend(len(dask_worker.sealed(function, [task])) for task in tasks)
            return super().map(function, tasks, lost, what)

    catchments(terrain, Weighing("serial"))
    assert len(sizes) > 10
    assert max(sizes) < 5000


# ---- workers ---------------------------------------------------------------------------------


def test_a_worker_that_is_killed_in_the_midst_loses_nothing(processes, notes):
    first, _ = processes.start_worker("--no-nanny"), processes.start_worker()
    tasks = tasks_in(notes, 12)

    def kill() -> None:
        until(lambda: any(first.pid in starts(notes, number) for number in range(12)))
        first.kill()
        (notes / "go on").touch()

    with connected(processes) as backend:
        killer = later(kill)
        done = list(backend.map(hold, tasks))
        killer.join()
    assert done == numbers_of(tasks)
    # Only what the killed one had was done twice.
    assert sum(len(starts(notes, number)) for number in range(12)) <= 14


def test_what_takes_too_much_memory_three_times_is_given_up_and_all_else_is_done(
    processes, notes, caplog
):
    caplog.set_level("INFO", "snakeshed")
    for _ in range(2):
        processes.start_worker("--memory-limit", "400MiB")
    tasks = tasks_in(notes, 8, -1, 8, 9)
    with connected(processes) as backend:
        done = list(backend.map(hog, tasks, lost=stands_for))
        assert done == [*range(8), "lost -1", 8, 9]
        assert len(starts(notes, -1)) == KILLS
        assert len(set(starts(notes, -1))) == KILLS
        assert "ended with 1 of the tasks at hand, 3 of 3 times" in caplog.text
        # The cluster is as good as before.
        assert list(backend.map(sign_in, tasks)) == numbers_of(tasks)
        with pytest.raises(ClusterError) as raised:
            list(backend.map(hog, tasks[8:9]))
    assert str(raised.value) == (
        f"the Dask scheduler {processes.address} (DASK_SCHEDULER_ADDRESS): found 3 workers that "
        "ended with the same task, most likely for want of memory; expected workers that come to "
        "the end of it. Give each worker more memory, and run the same command again: what is done "
        "stays done."
    )


def test_a_task_that_finds_no_memory_is_given_up_too(processes, notes):
    processes.start_worker()
    with connected(processes) as backend:
        done = list(backend.map(no_memory, tasks_in(notes, 3, -1), lost=stands_for))
    assert done == [0, 1, 2, "lost -1"]
    assert len(starts(notes, -1)) == KILLS


def test_a_patch_that_no_worker_can_finish_becomes_rows(processes, tmp_path):
    # One site that starts in a window of 4,000 x 4,000 cells, among others in small ones.
    cells = 4000
    z = np.add.outer(np.arange(cells) % 500, np.arange(cells)).astype("float32")
    write_raster(tmp_path / "dem.tif", z)
    index = index_terrain([str(tmp_path / "dem.tif")])
    pyramid = PatchPyramid(index.lattice, 1875.0, 1875.0, 6, 2.5)
    near = [Site(f"s{k}", WEST + 3000.0 * k, NORTH - 60_000.0, 0, 0.01) for k in range(1, 6)]
    far = [Site(name, WEST + 59_000.0, NORTH - 59_000.0, 5) for name in ("big", "large")]
    rule = DelineationRule(SnapRule(60.0, 0.05, 0.01), 0, 0.01)
    processes.start_worker("--memory-limit", "500MiB")
    with connected(processes) as backend:
        done = delineate([*near, *far], index, pyramid, rule, backend)
    assert done[2:] == delineate(near, index, pyramid, rule, Backend("serial"))
    patch = pyramid.patch_of(*index.lattice.cell_of(far[0].x, far[0].y), 5).id
    for site, row in zip(far, done[:2], strict=True):
        assert (row.site_id, row.status, row.patch) == (site.site_id, "worker_killed", patch)
        assert row.geometry is None
        assert row.reason == (
            f"patch {patch} ended each process that worked on it, most likely for want of memory: "
            "delineate its shard again with more memory for each worker"
        )


def test_a_result_that_went_with_its_worker_is_made_again():
    # The result was there, its worker ended, and so did the one that was to make it again.
    work = _Work(SimpleNamespace(), abs, [-1, -2], None, "tasks")
    worker = SimpleNamespace(address="tcp://127.0.0.1:1")
    future = SimpleNamespace(status="finished", result=raises(KilledWorker("key", worker, 0)))
    work._take(future, [0, 1])
    assert list(work._suspects) == [0, 1]


def raises(error: Exception):
    def call(*_, **__):
        raise error

    return call


def test_workers_of_a_job_are_started_again_however_often_they_end(notes):
    with (
        # Dask gives up a worker that is away so long after it ended; a job has its own setting.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 ms"}),
        DaskBackend(1, 10**9, patience_s=20) as backend,
    ):
        # Each worker is killed as soon as it has a task, and no task ends as many as give it up.
        for number in range(2):
            # A result may go with a worker that is killed, and be made again.
            own = notes / str(number)
            own.mkdir()
            results: list[int] = []
            done = later(
                lambda to=results, task=(own, number): to.extend(backend.map(hold, [task]))
            )
            for count in range(KILLS):
                until(lambda k=number, n=count, own=own: len(starts(own, k)) > n)
                if count < KILLS - 1:
                    os.kill(starts(own, number)[-1], signal.SIGKILL)
            (own / "go on").touch()
            done.join()
            assert results == [number]


def test_a_job_starts_no_more_workers_than_have_room_in_it():
    with DaskBackend(4, 2 * 10**9) as backend:
        assert backend.threads_there() == 3
        assert backend.worker_bytes(10**12) == 460_000_000
    with DaskBackend(2, 500 * 10**6) as backend, pytest.raises(ClusterError) as raised:
        backend.worker_bytes(10**12)
    assert str(raised.value) == (
        "the Dask scheduler of this job: found a worker with 450 MB of memory; expected at least "
        "600 MB for each. Give workers (or, without a cluster, the job: mem_mb) more, and run the "
        "same command again: what is done stays done."
    )


def test_without_workers_a_job_does_not_wait_for_ever(processes):
    with connected(processes, patience_s=1) as backend, pytest.raises(ClusterError) as raised:
        list(backend.map(abs, [1]))
    assert raised.value.found == "no worker that takes tasks for 1 s"
    assert raised.value.where == (
        f"the Dask scheduler {processes.address} (DASK_SCHEDULER_ADDRESS)"
    )


def test_workers_may_come_later(processes):
    with connected(processes) as backend:
        worker = later(lambda: (time.sleep(1), processes.start_worker()))
        assert list(backend.map(abs, [-1, -2])) == [1, 2]
        worker.join()


# ---- the scheduler ---------------------------------------------------------------------------


@pytest.fixture
def words_of_dask(caplog, monkeypatch) -> None:
    """What Dask logs on this side is captured, too."""
    monkeypatch.setattr(logging.getLogger("distributed"), "propagate", True)


def test_a_scheduler_that_is_started_again_gets_what_was_left(
    processes, notes, caplog, words_of_dask
):
    caplog.set_level("INFO", "snakeshed")
    for _ in range(2):
        processes.start_worker()
    tasks = tasks_in(notes, 30)

    def restart() -> None:
        until(lambda: starts(notes, 8))
        # A cluster's manager starts all of them again.
        for process in [processes.scheduler, *processes.workers]:
            end_group(process)
        processes.start_scheduler()
        for _ in range(2):
            processes.start_worker()

    with connected(processes) as backend:
        restarter = later(restart)
        assert list(backend.map(sleep, tasks)) == numbers_of(tasks)
        restarter.join()
    assert "is lost; waiting for it" in caplog.text
    assert "Traceback" not in caplog.text
    # What was done stayed done.
    assert len(starts(notes, 0)) == 1


def test_a_scheduler_that_stays_away_is_reported(processes, notes, caplog, words_of_dask):
    caplog.set_level("INFO", "snakeshed")
    processes.start_worker()
    with connected(processes, patience_s=2) as backend:
        ender = later(lambda: (until(lambda: starts(notes, 1)), end_group(processes.scheduler)))
        with pytest.raises(ClusterError) as raised:
            list(backend.map(sleep, tasks_in(notes, 30)))
        ender.join()
    assert raised.value.found == "none since 2 s, after it was lost in the midst of work"
    assert "run the same command again: what is done stays done" in str(raised.value)
    assert "is lost; waiting for it" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_scheduler_that_never_was_is_reported_soon(tmp_path):
    nobody = DaskProcesses(tmp_path)
    started = time.monotonic()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ClusterError) as raised,
    ):
        connected(nobody)
    assert time.monotonic() - started < 15
    where = f"the Dask scheduler {nobody.address} (DASK_SCHEDULER_ADDRESS)"
    assert raised.value.where == where
    assert raised.value.found.startswith("no answer (")
    assert raised.value.expected == "one that can be reached from here"
    assert raised.value.next_step == (
        "Start it (one that takes TLS only has an address that starts with tls://), or unset "
        "DASK_SCHEDULER_ADDRESS to work on this machine alone, and run the same command again: "
        "what is done stays done."
    )


class Line:
    """A line to a scheduler that can be cut, and go dead without an end.

    Parameters
    ----------
    port
        Of the scheduler on the loopback.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.dead = threading.Event()
        self._open: list[socket.socket] = []
        # A first connection that ends at once is not tried again.
        until(self._listens)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def cut(self) -> None:
        """End all connections; new ones can be made."""
        ends, self._open = self._open, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.cut()

    def _call(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def _listens(self) -> bool:
        with suppress(ConnectionRefusedError), self._call():
            return True
        return False

    def _answer(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                ends = [caller, self._call()]
                self._open += ends
                for source, target in (ends, reversed(ends)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if not self.dead.is_set():
                    target.sendall(piece)


@pytest.fixture
def line(processes) -> Iterator[Line]:
    made = Line(processes.port)
    yield made
    made.close()


def test_a_connection_that_is_cut_is_made_again(processes, line, notes, caplog):
    caplog.set_level("INFO", "snakeshed")
    for _ in range(2):
        processes.start_worker()

    def cut() -> None:
        for number in (8, 15, 22):
            until(lambda k=number: starts(notes, k))
            line.cut()

    with DaskBackend(address=line.address, patience_s=60) as backend:
        cutter = later(cut)
        assert list(backend.map(sleep, tasks_in(notes, 30))) == list(range(30))
        cutter.join()
    assert caplog.text.count("is lost; waiting for it") == 3
    # What was done stayed done.
    assert len(starts(notes, 0)) == 1


def test_a_connection_that_goes_dead_is_made_again(processes, line, notes, caplog, monkeypatch):
    caplog.set_level("INFO", "snakeshed")
    monkeypatch.setattr(dask_cluster, "_ANSWER_S", 2.0)
    processes.start_worker()

    def go_dead() -> None:
        until(lambda: starts(notes, 4))
        line.dead.set()
        until(lambda: "is lost; waiting for it" in caplog.text)
        line.cut()
        line.dead.clear()

    with DaskBackend(address=line.address, patience_s=60) as backend:
        other = later(go_dead)
        assert list(backend.map(sleep, tasks_in(notes, 12))) == list(range(12))
        other.join()


# ---- other versions --------------------------------------------------------------------------


def test_a_worker_with_other_code_is_reported(processes, tmp_path):
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    with (tmp_path / "scripts/snakeshed/grid/snap.py").open("a") as file:
        file.write("\nOTHER = 1\n")
    processes.start_worker(path=str(tmp_path / "scripts"))
    with connected(processes) as backend, pytest.raises(ClusterError) as raised:
        list(backend.map(abs, [1]))
    assert re.match(r"the Dask worker tcp://127\.0\.0\.1:\d+: found snakeshed's code \w{16}; "
                    r"expected snakeshed's code \w{16}, as in this job\. Give all of them",
                    str(raised.value))  # fmt: skip


def test_a_worker_without_snakeshed_is_reported(processes, tmp_path):
    # As if it were not there, where it may be installed.
    missing = "raise ModuleNotFoundError('No module named snakeshed', name='snakeshed')"
    (tmp_path / "without").mkdir()
    (tmp_path / "without/snakeshed.py").write_text(missing)
    processes.start_worker(path=str(tmp_path / "without"))
    with connected(processes) as backend, pytest.raises(ClusterError) as raised:
        list(backend.map(abs, [1]))
    assert raised.value.where == "a Dask worker"
    assert "snakeshed's code missing" in raised.value.found


@pytest.mark.parametrize("package", ["python", "dask", "distributed"])
def test_a_scheduler_of_another_version_is_reported(processes, package, monkeypatch):
    from distributed import Client

    whole = Client.get_versions

    def other(self, *arguments, **keywords):
        versions = whole(self, *arguments, **keywords)
        versions["scheduler"]["packages"][package] = "0.1"
        return versions

    monkeypatch.setattr(Client, "get_versions", other)
    with pytest.raises(ClusterError) as raised:
        connected(processes)
    assert raised.value.where.startswith("the Dask scheduler tcp://")
    assert raised.value.found == f"{package} 0.1"


def test_a_worker_without_the_volume_is_reported(processes, monkeypatch):
    processes.start_worker()
    monkeypatch.setattr(dask_worker.os, "getcwd", lambda: "/there/is/no/volume")
    with connected(processes) as backend, pytest.raises(ClusterError) as raised:
        list(backend.map(abs, [1]))
    assert (
        raised.value.found == "No such file or directory: /there/is/no/volume, where this job works"
    )
    assert raised.value.expected == (
        "the volume with the workflow and its files at the same path as here"
    )


# ---- a cluster of the job's own --------------------------------------------------------------

ALONE = """
import sys, time
sys.path[:0] = {path!r}
from dask_tasks import hold, sleep
from snakeshed.backends.dask_cluster import DaskBackend
if __name__ == "__main__":
    with DaskBackend(2, 2 * 10**9) as backend:
        print(backend.client.scheduler_info()["address"], flush=True)
        print(list(backend.map({function}, [({notes!r}, k) for k in range(4)])), flush=True)
"""


@pytest.mark.parametrize("ending", ["well", signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_stays_behind(tmp_path, notes, ending):
    script = tmp_path / "job.py"
    function = "sleep" if ending == "well" else "hold"
    path = [str(SCRIPTS), str(HERE)]
    script.write_text(ALONE.format(path=path, function=function, notes=str(notes)))
    own = DaskProcesses(tmp_path)
    job = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "SNAKESHED_TEST_PROCESSES": own.mark},
    )
    try:
        # Nobody but this machine can reach it.
        assert job.stdout.readline().startswith("tls://127.0.0.1:")
        if ending == "well":
            assert job.stdout.readline() == "[0, 1, 2, 3]\n"
        else:
            until(lambda: starts(notes, 0) and starts(notes, 1))
            assert len(own.pids()) > 2
            job.send_signal(ending)
        job.wait(timeout=60)
        until(lambda: not own.pids(), 30)
    finally:
        job.kill()
        job.communicate()
        for pid in own.pids():
            os.kill(pid, signal.SIGKILL)
