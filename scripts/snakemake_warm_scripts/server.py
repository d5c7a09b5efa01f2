"""The process that imports what scripts need, and forks.

``python -P -m snakemake_warm_scripts.server SOCKET STEP ...`` takes requests on a socket that it
has inherited from Snakemake (`snakemake_warm_scripts.runs`). While there are none, it takes steps
that scripts will need: it imports what a script imports, or calls a function, given as
MODULE:FUNCTION. It starts no thread, as threads do not survive a fork. It ends with Snakemake, and
so do the processes that it has forked.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import selectors
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from snakemake_warm_scripts.child import serve
from snakemake_warm_scripts.imports import Imports, freeze, function_of

# What Snakemake sends with two pipes, and what it gets in place of a process after Ctrl-C.
FORK = b"f"
INTERRUPTED = "interrupted"
# For how long scripts may clean up when Snakemake has ended (s).
_PATIENCE_S = 2.0
# Between two looks at whether it has (s).
_LOOK_EVERY_S = 0.5
_OWN_SIGNALS = (signal.SIGCHLD, signal.SIGALRM)


@dataclass(frozen=True)
class ScriptFile:
    """A script of which only the imports count, see `snakemake_warm_scripts.imports.Script`."""

    source: str
    file: str
    search: tuple[str, ...]

    @classmethod
    def read(cls, file: str) -> ScriptFile:
        """Read a script; modules beside it can be imported."""
        return cls(Path(file).read_text(encoding="utf-8"), file, (str(Path(file).parent),))


class Server:
    """Forks processes that run scripts.

    Parameters
    ----------
    requests
        Where Snakemake asks for a process. Each request brings two pipes: one to the process, whose
        first message is a `ScriptFile`, and one that takes its process id and later its status.
        Both are closed where there will be no process.
    upcoming
        Paths of scripts, and MODULE:FUNCTION, for while there are no requests.
    most
        How many scripts a process runs.
    """

    def __init__(self, requests: socket.socket, upcoming: list[str], most: int) -> None:
        self._requests = requests
        self._upcoming = upcoming
        self._most = most
        self._imports = Imports()
        self._known: list[str] = []
        # Where the status of each living child is awaited.
        self._living: dict[int, Connection] = {}
        self._interrupted = False
        self._in_step = False

    def work(self) -> None:
        """Answer requests until Snakemake has ended."""
        self._watch_signals()
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            while not self._is_alone():
                if selector.select(0 if self._upcoming else None):
                    self._answer()
                elif self._upcoming:
                    self._take_step(self._upcoming.pop(0))
        self._end_all()

    def _watch_signals(self) -> None:
        """Hear of what happens also while something is imported."""
        # Ctrl-C, and what ends a service, reaches scripts and Snakemake by themselves.
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, self._report_ended)
        signal.signal(signal.SIGALRM, self._end_with_snakemake)
        for number in (signal.SIGINT, *_OWN_SIGNALS):
            # What is read or written meanwhile goes on.
            signal.siginterrupt(number, False)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY_S, _LOOK_EVERY_S)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def _interrupt(self, *_: object) -> None:
        # No job begins any more.
        self._interrupted = True
        self._upcoming.clear()
        if self._in_step:
            raise _Interrupted

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Do what may take long; Ctrl-C ends it."""
        with suppress(_Interrupted):
            self._in_step = True
            try:
                yield
            finally:
                self._in_step = False

    def _take_step(self, step: str) -> None:
        # What fails here is left to the script, which can do without it or says why it cannot.
        with suppress(Exception, SystemExit), self._step():
            if step.endswith(".py"):
                self._import(ScriptFile.read(step))
            else:
                function_of(step)()
                freeze()

    def _import(self, script: ScriptFile) -> None:
        self._imports.add(script)
        if script.file not in self._known:
            self._known.append(script.file)

    def _is_alone(self) -> bool:
        """Whether Snakemake has ended."""
        try:
            return not self._requests.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _end_with_snakemake(self, *_: object) -> None:
        if self._is_alone():
            self._end_all()
            os._exit(0)

    def _answer(self) -> None:
        """Fork a process for a request, or close its pipes."""
        descriptors: list[int] = []
        try:
            _, descriptors, _, _ = socket.recv_fds(self._requests, len(FORK), 2)
            for each in descriptors:
                os.set_inheritable(each, False)
            to_child, status = map(Connection, descriptors)
        except (OSError, ValueError):  # too many open files
            for each in descriptors:
                os.close(each)
            return
        with to_child, status, suppress(OSError, EOFError):
            with self._step():
                self._import(pickle.loads(to_child.recv_bytes()))
            if self._interrupted:
                status.send_bytes(json.dumps(INTERRUPTED).encode())
                return
            self._fork(to_child, status)

    def _fork(self, to_child: Connection, status: Connection) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nobody asks how a child has ended before it is known.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, *_OWN_SIGNALS])
        try:
            with warnings.catch_warnings():
                # Libraries that were imported may have threads, which the child does without.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                self._become_child(to_child, status, mask)
            self._living[pid] = Connection(os.dup(status.fileno()))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status.send_bytes(json.dumps([pid, self._known]).encode())

    def _become_child(self, pipe: Connection, status: Connection, mask: set) -> NoReturn:
        try:
            for number in _OWN_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, self._before)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for each in (self._requests, status, *self._living.values()):
                each.close()
            serve(pipe, self._most, (1, 2), leads_group=False)
        finally:
            os._exit(1)

    def _report_ended(self, *_: object) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = found
                if (awaiting := self._living.pop(pid, None)) is not None:
                    with awaiting, suppress(OSError):
                        awaiting.send_bytes(json.dumps(status).encode())

    def _end_all(self) -> None:
        """End what is left: first as asked to, so that nothing is left half-written."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, *_OWN_SIGNALS])
        late = time.monotonic() + _PATIENCE_S
        for pid in self._living:
            os.kill(pid, signal.SIGTERM)
        while self._living and time.monotonic() < late:
            time.sleep(0.005)
            self._report_ended()
        for pid in self._living:
            os.kill(pid, signal.SIGKILL)


class _Interrupted(BaseException):
    """Ctrl-C while something is imported."""


def main(arguments: list[str] | None = None) -> None:
    """Work until Snakemake has ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("socket", type=int, help="number of the socket for requests")
    parser.add_argument("steps", nargs="*", help="scripts to come, and MODULE:FUNCTION")
    parser.add_argument("--per-process", type=int, default=50, help="scripts a process runs")
    given = parser.parse_args(arguments)
    with socket.socket(fileno=given.socket) as requests:
        requests.set_inheritable(False)
        Server(requests, given.steps, given.per_process).work()
    # There is nothing to clean up, and much that is loaded.
    os._exit(0)


if __name__ == "__main__":
    main()
