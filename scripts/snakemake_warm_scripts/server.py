"""The process that imports what scripts need, and forks.

``python -P -m snakemake_warm_scripts.server SOCKET STEP ...`` takes requests on a socket that it
has inherited from Snakemake (`snakemake_warm_scripts.runs`). While there are none, it takes steps
that scripts will need: it imports what a script imports, or calls a function, given as
MODULE:FUNCTION. Everything here runs in one thread: threads do not survive a fork. It ends with
Snakemake, and so do the processes that it has forked.
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
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from snakemake_warm_scripts.child import serve
from snakemake_warm_scripts.imports import Imports, freeze, function_of

FORK = b"f"
# For how long scripts may clean up when Snakemake has ended (s).
_PATIENCE_S = 2.0


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
        self._interrupt = signal.getsignal(signal.SIGINT)
        self._woken, self._waker = socket.socketpair()

    def work(self) -> None:
        """Answer requests until Snakemake has ended."""
        self._watch_signals()
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                events = selector.select(0 if self._upcoming else None)
                ready = {key.fileobj for key, _ in events}
                if self._woken in ready:
                    self._woken.recv(4096)
                    self._report_ended()
                if self._requests in ready and not self._fork():
                    break
                if not ready:
                    self._take_step(self._upcoming.pop(0))
        self._end_all()

    def _watch_signals(self) -> None:
        # Ctrl-C, and what ends a service, reaches scripts and Snakemake by themselves.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _take_step(self, step: str) -> None:
        # What fails here is left to the script, which can do without it or says why it cannot.
        with suppress(Exception, SystemExit):
            if step.endswith(".py"):
                self._import(ScriptFile.read(step))
            else:
                function_of(step)()
                freeze()

    def _import(self, script: ScriptFile) -> None:
        self._imports.add(script)
        if script.file not in self._known:
            self._known.append(script.file)

    def _fork(self) -> bool:
        """Fork a process for a request; False if there will be none any more."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._requests, len(FORK), 2)
        except ConnectionResetError:
            return False
        if message != FORK:
            return False
        for each in descriptors:
            os.set_inheritable(each, False)
        to_child, status = map(Connection, descriptors)
        self._import(pickle.loads(to_child.recv_bytes()))
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become_child(to_child, status)
        to_child.close()
        self._living[pid] = status
        with suppress(BrokenPipeError):
            status.send_bytes(json.dumps([pid, self._known]).encode())
        return True

    def _become_child(self, pipe: Connection, status: Connection) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, self._interrupt)
            for each in (self._requests, self._woken, self._waker, status, *self._living.values()):
                each.close()
            serve(pipe, self._most, (1, 2), leads_group=False)
        finally:
            os._exit(1)

    def _report_ended(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = found
                if (awaiting := self._living.pop(pid, None)) is not None:
                    with suppress(BrokenPipeError):
                        awaiting.send_bytes(json.dumps(status).encode())
                    awaiting.close()

    def _end_all(self) -> None:
        """End what is left: first as asked to, so that nothing is left half-written."""
        late = time.monotonic() + _PATIENCE_S
        for pid in self._living:
            os.kill(pid, signal.SIGTERM)
        while self._living and time.monotonic() < late:
            time.sleep(0.005)
            self._report_ended()
        for pid in self._living:
            os.kill(pid, signal.SIGKILL)


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
