"""A Dask cluster as processes of this machine, as one has it on many: ended with the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from listening import marked
from readme_blocks import indented

HERE = Path(__file__).parent / "dask"
SCRIPTS = HERE.parents[1] / "scripts"
MARK = "SNAKESHED_TEST_PROCESSES"
# As in profiles/dask, but with little to wait for.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    "NUMBA_NUM_THREADS": "1",
}


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def later(action: Callable[..., object], *arguments: object) -> threading.Thread:
    """Do something in a thread."""
    thread = threading.Thread(target=action, args=arguments)
    thread.start()
    return thread


def free_port() -> int:
    """A port of the loopback that nobody listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class DaskProcesses:
    """A scheduler, and workers with one thread each.

    Parameters
    ----------
    folder
        For logs, and what workers keep.
    tls
        Settings of Dask, as variables, with which it takes TLS only.
    """

    def __init__(self, folder: Path, tls: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = SETTINGS | dict(tls or {})
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        self.mark = f"{folder}-{self.port}"
        self.workers: list[subprocess.Popen] = []
        self.scheduler: subprocess.Popen | None = None

    def start_scheduler(self) -> None:
        """Start it, always at the same address, and wait until it listens; it has only Dask."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        self.scheduler = self._start("scheduler", *options, path="")

    def start_worker(self, *options: str, path: str | None = None) -> subprocess.Popen:
        """Start a worker, with options of its own or what it can import."""
        given = ["--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
        given += ["--dashboard-address", "127.0.0.1:0"]
        given += ["--local-directory", str(self.folder), *options]
        known = os.pathsep.join([str(SCRIPTS), str(HERE)]) if path is None else path
        self.workers.append(self._start("worker", self.address, *given, path=known))
        return self.workers[-1]

    def pids(self) -> set[int]:
        """All processes that this cluster is made of, children of children too."""
        return marked(MARK, self.mark)

    def end(self) -> None:
        """End all of it."""
        for process in [*self.workers, self.scheduler]:
            if process is not None:
                end_group(process)
        until(lambda: not self.pids())

    def _start(self, kind: str, *options: str, path: str) -> subprocess.Popen:
        log = self.folder / f"{kind}-{len(self.workers)}-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + kind, *options],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.settings, "PYTHONPATH": path, MARK: self.mark},
                start_new_session=True,
                cwd=self.folder,
            )


@contextmanager
def dask_processes(folder: Path, tls: Mapping[str, str] | None = None) -> Iterator[DaskProcesses]:
    """A scheduler without workers, with its files in a new folder; all ends with it."""
    folder.mkdir()
    cluster = DaskProcesses(folder, tls)
    try:
        cluster.start_scheduler()
        yield cluster
    finally:
        cluster.end()


def end_group(process: subprocess.Popen) -> None:
    """Kill a process with its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def certificates(home: Path) -> dict[str, str]:
    """Create certificates in a home folder as the README says, and return Dask's variables."""
    environment = {**os.environ, "HOME": str(home)}
    home.mkdir()
    script = "\n".join(["set -e", *indented("On a Dask cluster", "openssl")])
    subprocess.run(["bash", "-c", script], check=True, capture_output=True, env=environment)
    exports = indented("On a Dask cluster", "export DASK_")
    printed = subprocess.run(
        ["bash", "-c", "\n".join([*exports, "env"])],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    pairs = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    return {name: value for name, value in pairs.items() if name.startswith("DASK_")}
