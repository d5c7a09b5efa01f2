"""Snakemake's side: Python scripts of local jobs run in processes of a server.

The server is started with the first script, on the same machine. It ends soon after Snakemake,
however that ends.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_warm_scripts.process import ScriptProcess
from snakemake_warm_scripts.server import FORK, INTERRUPTED, ScriptFile

if TYPE_CHECKING:
    from snakemake.benchmark import BenchmarkRecord

# As Snakemake sets them for each job. The libraries read them once, when they are loaded.
_THREADS = (
    "OMP_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_TEMPORARY = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
# For how long a server without children may take to end (s).
_PATIENCE_S = 5


class NoProcessError(Exception):
    """There is no server, or it cannot fork."""


@dataclass(frozen=True)
class Script:
    """A script with what Snakemake gives it, see `snakemake_warm_scripts.child.ScriptToRun`."""

    source: str
    file: str
    snakemake: bytes
    directory: str
    search: tuple[str, ...]


class WarmScripts:
    """Runs scripts in processes that a server forks; any thread may ask for it.

    Parameters
    ----------
    upcoming : iterable of str
        What the server does while it has no requests: paths of scripts that are expected to run, in
        the order in which they are needed, and functions as MODULE:FUNCTION.
    """

    def __init__(self, upcoming: Iterable[str] = ()) -> None:
        self._upcoming = list(upcoming)
        # Of what follows, and of the server.
        self._lock, self._server_lock = threading.Lock(), threading.Lock()
        self._idle: list[_Process] = []
        self._running = 0
        self._closed = False
        self._server: subprocess.Popen | None = None
        self._requests: socket.socket | None = None
        self._search: tuple[str, ...] | None = None

    def run(
        self, script: Script, environment: dict[str, str], record: BenchmarkRecord | None = None
    ) -> int:
        """Run a script, and return the exit status of its process; less than 0: by a signal.

        Raises
        ------
        NoProcessError
            It cannot be run in this way; nothing was run.
        """
        with self._lock:
            # Modules of one name in two folders would be taken for each other.
            if self._search is None:
                self._search = script.search
            if script.search != self._search:
                raise NoProcessError(f"modules are searched in {self._search}")
            self._running += 1
        try:
            process = self._idle_process(script) or self._new_process(script)
            if process is None:
                return -signal.SIGINT
            status = process.run(script, environment, record=record)
        finally:
            with self._lock:
                self._running -= 1
        process.known.add(script.file)
        with self._lock:
            if process.lives:
                self._idle.append(process)
            # Each keeps memory that no job asks for.
            while len(self._idle) > (0 if self._closed else 1 + self._running):
                self._idle.pop(0).end()
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """End the server and its processes."""
        with self._lock:
            self._closed = True
            for process in self._idle:
                process.end()
            self._idle.clear()
        with self._server_lock:
            server, self._server = self._server, None
            if server is not None:
                self._requests.close()
                # It looks at once, also if it is importing something.
                server.send_signal(signal.SIGALRM)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(_PATIENCE_S)

    def _idle_process(self, script: Script) -> _Process | None:
        """A process that has what the script imports, or None.

        If there are only others, one of them ends, as a new one takes its place.
        """
        with self._lock:
            self._idle = [process for process in self._idle if process.lives]
            for process in reversed(self._idle):
                if script.file in process.known:
                    self._idle.remove(process)
                    return process
            if self._idle:
                self._idle.pop(0).end()
        return None

    def _new_process(self, script: Script) -> _Process | None:
        """A process that the server forks; None after Ctrl-C."""
        try:
            with self._server_lock:
                if self._server is None or self._server.poll() is not None:
                    self._start()
                asked = _Process.ask(self._requests, script)
            return _Process.of_answer(*asked, script)
        except (OSError, EOFError) as error:
            raise NoProcessError(str(error)) from error

    def _start(self) -> None:
        if self._requests is not None:
            self._requests.close()
        self._requests, there = socket.socketpair()
        command = [sys.executable, "-P", "-m", "snakemake_warm_scripts.server"]
        # Ctrl-C waits until the server knows what to do then.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            with there:
                self._server = subprocess.Popen(
                    [*command, str(there.fileno()), *self._upcoming],
                    pass_fds=[there.fileno()],
                    env=os.environ | dict.fromkeys(_THREADS, "1"),
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # One of these steps may end a server: another does without them.
        self._upcoming = []


class _Process(ScriptProcess):
    """A process that the server forks.

    Parameters
    ----------
    pipe
        To the process.
    status
        From the server: the wait status of the process, when it has ended.
    pid
        Of the process.
    known
        Scripts whose imports it has.
    """

    def __init__(self, pipe: Connection, status: Connection, pid: int, known: set[str]) -> None:
        super().__init__(pipe, pid)
        self._status = status
        self._code: int | None = None
        self._is_orphan = False
        self.known = known

    @staticmethod
    def ask(requests: socket.socket, script: Script) -> tuple[Connection, Connection]:
        """Ask the server for a process that has what a script imports."""
        here, there = multiprocessing.Pipe()
        status, reports = multiprocessing.Pipe(duplex=False)
        with there, reports:
            socket.send_fds(requests, [FORK], [there.fileno(), reports.fileno()])
        needs = ScriptFile(script.source, script.file, script.search)
        here.send_bytes(pickle.dumps(needs))
        return here, status

    @classmethod
    def of_answer(cls, pipe: Connection, status: Connection, script: Script) -> _Process | None:
        """Take what the server answers; None if that is Ctrl-C."""
        answer = json.loads(status.recv_bytes())
        if answer == INTERRUPTED:
            return None
        pid, known = answer
        return cls(pipe, status, pid, {script.file, *known})

    @property
    def lives(self) -> bool:
        """Whether it can be given a script: one that has ended has closed its pipe."""
        if self._pid and (self._pipe.poll() or self._has_ended()):
            self.kill()
        return self._pid > 0

    def kill(self) -> int:
        """End it, and return its wait status."""
        if not self._has_ended():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            while not self._is_orphan and not self._has_ended():
                self._status.poll(None)
        # Nobody knows how an orphan ended.
        status = signal.SIGKILL if self._code is None else self._code
        self._close()
        return status

    def end(self) -> None:
        """Let it end in good order, at some time."""
        self._close()

    def _close(self) -> None:
        self._pid = 0
        self._pipe.close()
        self._status.close()

    def _has_ended(self) -> bool:
        if self._code is None and not self._is_orphan and self._status.poll():
            try:
                self._code = json.loads(self._status.recv_bytes())
            except EOFError:  # the server was killed
                self._is_orphan = True
        return not _is_alive(self._pid) if self._is_orphan else self._code is not None


def _is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):  # gone, or it ends while it is read
        return False


def run_warm(upcoming: Iterable[str]) -> WarmScripts:
    """Let Snakemake run the Python scripts of this process's jobs in warm processes.

    Scripts that need anything else than this Python (conda, a container, environment modules, a
    shadow folder, what `snakemake.shell` puts before a command, another shell, or to be kept) are
    run as before, and so are all where the system is not Linux.

    Parameters
    ----------
    upcoming : iterable of str
        As for `WarmScripts`.

    Returns
    -------
    WarmScripts
        To be closed at the end.
    """
    from snakemake.script import PythonScript
    from snakemake.shell import shell

    warm = WarmScripts(upcoming)
    if sys.platform != "linux":
        return warm
    evaluate_cold = PythonScript.evaluate

    def evaluate(self: PythonScript, edit: bool = False) -> None:
        needs_more = (
            edit,
            type(self) is not PythonScript,  # Xonsh and Hy
            not self.is_local,
            not self.cleanup_scripts,
            *(self.conda_env, self.container_img, self.env_modules, self.shadow_dir),
            self.resources.get("shell_exec"),
            getattr(shell, "_process_prefix", None) or getattr(shell, "_process_suffix", None),
        )
        if any(needs_more):
            return evaluate_cold(self, edit)
        script = _script_of(self)
        try:
            status = warm.run(script, _environment_of(self), self.bench_record)
        except NoProcessError:
            return evaluate_cold(self, edit)
        if status:
            raise subprocess.CalledProcessError(status, shlex.join([sys.executable, script.file]))
        return None

    PythonScript.evaluate = evaluate
    return warm


def _script_of(script: Any) -> Script:
    from snakemake.common import get_snakemake_searchpaths
    from snakemake.iocontainers import Snakemake

    folder = script.path.get_basedir().get_path_or_uri(secret_free=True)
    given = Snakemake(
        script.input,
        script.output,
        script.params,
        script.wildcards,
        script.threads,
        script.resources,
        script.log,
        script.config,
        script.rulename,
        script.bench_iteration,
        folder,
    )
    beside = [str(Path(script.cache_path).parent)] if script.cache_path else []
    return Script(
        script.source,
        os.path.realpath(script.local_path),
        pickle.dumps(given),
        os.getcwd(),
        tuple(dict.fromkeys([*get_snakemake_searchpaths(), *beside, folder])),
    )


def _environment_of(script: Any) -> dict[str, str]:
    """Variables that Snakemake sets for a job."""
    environment = os.environ | dict.fromkeys(_THREADS, str(script.threads))
    if folder := script.resources.get("tmpdir"):
        environment |= dict.fromkeys(_TEMPORARY, folder)
    return environment
