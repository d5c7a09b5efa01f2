"""A forked process that runs scripts, as the process that sends them sees it."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import sys
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, BinaryIO

from snakemake_warm_scripts.child import ScriptToRun, serve, wait_for_threads
from snakemake_warm_scripts.usage import Usage, fill_record

if TYPE_CHECKING:
    from snakemake.benchmark import BenchmarkRecord

# A script that runs for longer than this (s) is sampled while it runs, with its child processes.
_SAMPLE_AFTER_S = 0.5
# For how long a process that is asked to end may live (s).
_PATIENCE_S = 5
# What `ScriptProcess.run` returns for a script that was ended because its time was over.
TOO_LATE = -1


class ScriptProcess(ABC):
    """A process that runs one script after the other.

    Parameters
    ----------
    pipe
        To the process.
    pid
        Of the process.
    """

    def __init__(self, pipe: Connection, pid: int) -> None:
        self._pipe = pipe
        self._pid = pid

    @abstractmethod
    def kill(self) -> int:
        """End it with what it has left of processes of its own, and return its wait status."""

    @abstractmethod
    def _has_ended(self) -> bool:
        """Tell whether it has ended."""

    @property
    def lives(self) -> bool:
        """Whether it can be given a script."""
        if self._pid and self._has_ended():
            self.kill()
        return self._pid > 0

    def run(
        self,
        script: ScriptToRun,
        environment: dict[str, str],
        runtime_s: float | None = None,
        record: BenchmarkRecord | None = None,
    ) -> int:
        """Run a script.

        Parameters
        ----------
        script
            The script.
        environment
            All environment variables that it has.
        runtime_s
            Seconds after which it is ended, if any.
        record
            Filled in with what the script took, if it ends well.

        Returns
        -------
        int
            The status that `os.waitpid` gives, or `TOO_LATE`.
        """
        began = time.monotonic()
        with suppress(BrokenPipeError):
            self._pipe.send_bytes(pickle.dumps((script, environment)))
        with ExitStack() as samples:
            answer, status = self._answer(runtime_s, record, samples)
        if answer is not None and not answer["again"]:
            self.end()
        if status == 0 and record is not None:
            # A script that has ended the process itself has given no answer.
            usage = Usage(**answer["usage"]) if answer else None
            fill_record(record, time.monotonic() - began, usage)
        return status

    def end(self) -> None:
        """Let it end in good order."""
        self._pipe.close()
        late = time.monotonic() + _PATIENCE_S
        while time.monotonic() < late and not self._has_ended():
            time.sleep(0.001)
        self.kill()

    def _answer(
        self, runtime_s: float | None, record: BenchmarkRecord | None, samples: ExitStack
    ) -> tuple[dict | None, int]:
        """Wait for the end of a script.

        Returns what the process says, if it does, and its status.
        """
        late = float("inf") if runtime_s is None else time.monotonic() + runtime_s
        sampled = record is None
        while True:
            try:
                if self._pipe.poll(max(0, min(_SAMPLE_AFTER_S, late - time.monotonic()))):
                    return json.loads(self._pipe.recv_bytes()), 0
            except (EOFError, ConnectionResetError):
                # It has ended, or the script has closed the pipe.
                return None, self._status_at_end(late)
            if time.monotonic() >= late:
                self.kill()
                return None, TOO_LATE
            # What a script has started and left may keep the pipe open. And the process may have
            # answered, and then ended, since that was looked for.
            if self._has_ended() and not self._pipe.poll():
                return None, self.kill()
            if not sampled:
                from snakemake.benchmark import benchmarked

                # As Snakemake does.
                samples.enter_context(benchmarked(self._pid, record))
                sampled = True

    def _status_at_end(self, late: float) -> int:
        while not self._has_ended():
            if time.monotonic() >= late:
                self.kill()
                return TOO_LATE
            time.sleep(0.005)
        return self.kill()


class ForkedProcess(ScriptProcess):
    """A process that this one forks, in a process group of its own.

    Parameters
    ----------
    output
        File for what scripts write to standard output and error. It is emptied before each.
    most
        How many scripts it runs.
    """

    def __init__(self, output: BinaryIO, most: int) -> None:
        self._output = output
        sys.stdout.flush()
        sys.stderr.flush()
        # That of a benchmark ends a moment after it.
        wait_for_threads()
        here, there = multiprocessing.Pipe()
        pid = os.fork()
        if pid == 0:
            here.close()
            number = output.fileno()
            serve(there, most, (number, number))
        there.close()
        super().__init__(here, pid)

    def run(self, *arguments, **more) -> int:
        """Run a script; see `ScriptProcess.run`."""
        self._output.seek(0)
        self._output.truncate()
        return super().run(*arguments, **more)

    def kill(self) -> int:
        """End it with what it has left of processes of its own, and return its wait status."""
        # It leads a group.
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        # A child that has just begun does not lead it yet.
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        status = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        return status

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
