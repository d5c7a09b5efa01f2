"""A process that a warm worker forks, and the tasks that it runs one after the other.

The worker sends it a task through a pipe, and gets back what the task used. A process that may run
another task is as it was before the first, as far as this can be seen: the same environment,
search path, output, signals, timers, umask, and log handlers, no process and no thread that is
left, and about as much memory as at the start. Where that is not so, and after each failure, it
ends.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import logging
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from snakemake_executor_plugin_kubernetes_pvc.spool import Task

if TYPE_CHECKING:
    from snakemake.benchmark import BenchmarkRecord

# A process whose memory has grown by more than this (MB) runs no other task.
_GROWTH_MB = 100
# A task that runs for longer than this (s) is looked at while it runs, with its child processes.
_LOOK_AFTER_S = 0.5
# For how long a process that is asked to end, or a thread that has nothing to do, may live (s).
_PATIENCE_S = 5
_THREAD_PATIENCE_S = 0.05
# Of prctl(2).
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Took:
    """What a task took, with the processes that it started and waited for.

    Attributes
    ----------
    seconds
        Wall time.
    cpu_s
        User and system time.
    peak_mb
        Largest resident memory, with what earlier tasks have left (MiB); None if that is not
        known.
    virtual_mb
        Virtual memory at the end (MiB).
    read_mb, written_mb
        From and to disks (MiB); None if the system does not count them.
    """

    seconds: float
    cpu_s: float
    peak_mb: float | None
    virtual_mb: float
    read_mb: float | None
    written_mb: float | None


class TaskProcess:
    """A forked process, as the worker sees it.

    Parameters
    ----------
    output
        File for what tasks write to standard output and error. It is emptied before each task.
    most
        How many tasks it runs.
    """

    def __init__(self, output: BinaryIO, most: int) -> None:
        self._output = output
        sys.stdout.flush()
        sys.stderr.flush()
        # That of a benchmark ends a moment after it.
        _wait_for_threads()
        here, there = multiprocessing.Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            here.close()
            _serve(there, output.fileno(), most)
        there.close()
        self._pipe = here

    def run(self, task: Task, folder: str) -> int:
        """Run a task, and return the status that `os.waitpid` gives; -1: too late.

        Parameters
        ----------
        task
            The task. If it ends well, its benchmark is written.
        folder
            For its temporary files.
        """
        self._output.seek(0)
        self._output.truncate()
        began = time.monotonic()
        with suppress(BrokenPipeError):
            self._pipe.send_bytes(pickle.dumps((task, folder)))
        with ExitStack() as looks:
            answer, status, seen = self._answer(task, looks)
        if answer is not None and not answer["again"]:
            self.end()
        if status == 0 and task.benchmark:
            # A script that has ended the process itself has given no answer.
            took = Took(**answer["took"]) if answer else None
            _write_benchmark(task.benchmark, time.monotonic() - began, took, seen)
        return status

    @property
    def lives(self) -> bool:
        """Whether it can be given a task."""
        if self._pid and self._has_ended():
            self.kill()
        return self._pid > 0

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _answer(
        self, task: Task, looks: ExitStack
    ) -> tuple[dict | None, int, BenchmarkRecord | None]:
        """Wait for the end of a task.

        Returns what the process says, if it does, its status, and Snakemake's record of a task that
        was looked at while it ran.
        """
        from snakemake.benchmark import benchmarked

        seen = None
        late = float("inf") if task.runtime_s is None else time.monotonic() + task.runtime_s
        while True:
            with suppress(EOFError, ConnectionResetError):
                if self._pipe.poll(max(0, min(_LOOK_AFTER_S, late - time.monotonic()))):
                    return json.loads(self._pipe.recv_bytes()), 0, seen
                if time.monotonic() >= late:
                    self.kill()
                    return None, -1, seen
                if task.benchmark and seen is None:
                    # As Snakemake does.
                    seen = looks.enter_context(benchmarked(self._pid))
                # What a task has started and left may keep the pipe open. And the process may have
                # answered, and then ended, since that was looked for.
                if not self._has_ended() or self._pipe.poll():
                    continue
            return None, self.kill(), seen

    def end(self) -> None:
        """Let it end in good order."""
        self._pipe.close()
        late = time.monotonic() + _PATIENCE_S
        while time.monotonic() < late and not self._has_ended():
            time.sleep(0.001)
        self.kill()

    def kill(self) -> int:
        """End it with what it has left of processes of its own, and return its status."""
        # It leads a group.
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        # A child that has just begun does not lead it yet.
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        status = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        return status


def _serve(pipe, output: int, most: int) -> None:
    """Run the tasks that come through a pipe; the process ends here."""
    own, code = os.getpid(), 1
    try:
        os.setpgid(0, 0)
        if most > 1:
            _adopt_orphans()
        before = _Before(output)
        for number in range(1, most + 1):
            try:
                task, folder = pickle.loads(pipe.recv_bytes())
            except EOFError:
                break
            with before.restored(), _measured(first=number == 1) as took:
                _run_script(task, folder)
            if os.getpid() != own:  # the script has forked, and this is its child
                code = 0
                break
            again = number < most and before.is_clean()
            # What a task wants done at the end is done before it counts as ended.
            if again:
                _close_script()
            else:
                _finish()
            pipe.send_bytes(json.dumps({"again": again, "took": asdict(took[0])}).encode())
            if not again:
                break
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the process ends with it
        traceback.print_exc()
    finally:
        _finish()
        # As the system takes it.
        os._exit(code & 0xFF)


def _adopt_orphans() -> None:
    """Let processes that lose their parent become children of this one, where they are seen."""
    with suppress(AttributeError, OSError):  # Linux
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_threads() -> None:
    """Give other threads the time to end that one takes that has nothing to do."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_THREAD_PATIENCE_S)


def _finish() -> None:
    """Do what Python does at its end: wait for threads, call exit functions, and write all."""
    for step in (threading._shutdown, atexit._run_exitfuncs, _close_script):
        with suppress(BaseException):
            step()
    with suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()


def _close_script() -> None:
    """Forget the names of a script. Files that it has left open are written then."""
    with suppress(Exception):
        sys.modules["__main__"].__dict__.clear()


class _Before:
    """What a process was before its first task.

    Parameters
    ----------
    output
        File descriptor for standard output and error.
    """

    def __init__(self, output: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._output = output
        self._streams = sys.stdout, sys.stderr
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._handlers = {each: signal.getsignal(each) for each in signal.valid_signals()}
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._at_exit = atexit._ncallbacks()
        self._log_handlers = list(logging.root.handlers)
        self._memory_kb = _status("VmRSS")

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Undo what a task changes, where that is possible."""
        self._restore_streams()
        for name in ("random", "numpy.random"):
            if module := sys.modules.get(name):
                module.seed()
        try:
            # Each task gives a warning once, whatever earlier ones gave.
            with warnings.catch_warnings():
                yield
        finally:
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
            for number, handler in self._handlers.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
            self._restore_streams()
            os.umask(self._umask)
            sys.path[:] = self._path
            if os.environ != self._environment:
                os.environ.clear()
                os.environ.update(self._environment)

    def _restore_streams(self) -> None:
        for stream in {sys.stdout, sys.stderr, *self._streams}:
            with suppress(Exception):  # a script may have closed it
                stream.flush()
        for each in (1, 2):
            os.dup2(self._output, each)
        # As Python opens them, so that what a killed task says is there. Others than before: a
        # script may have closed those.
        self._streams = sys.stdout, sys.stderr = (
            open(1, "w", closefd=False),  # noqa: SIM115
            open(2, "w", buffering=1, errors="backslashreplace", closefd=False),  # noqa: SIM115
        )

    def is_clean(self) -> bool:
        """Tell whether nothing is left of a task."""
        _wait_for_threads()
        with suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return False
        return (
            threading.active_count() == 1
            and atexit._ncallbacks() == self._at_exit
            and logging.root.handlers == self._log_handlers
            and _status("VmRSS") - self._memory_kb < 1024 * _GROWTH_MB
        )


def _run_script(task: Task, folder: str) -> None:
    """Run a script as Snakemake does; `SystemExit` with a number if it fails."""
    from snakemake.logging import logger

    os.environ["TMPDIR"] = tempfile.tempdir = folder
    # It would keep that of the task before.
    multiprocessing.current_process()._config.pop("tempdir", None)
    os.chdir(task.directory)
    sys.path.extend(task.search)
    sys.argv = [task.file]
    main = types.ModuleType("__main__")
    main.__file__ = main.__real_file__ = task.file
    sys.modules["__main__"] = main
    main.logger = logger
    main.snakemake = pickle.loads(task.snakemake)
    try:
        exec(compile(task.source, task.file, "exec"), main.__dict__)
    except SystemExit as end:
        if end.code is None:
            return
        if not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
            raise SystemExit(1) from None
        if end.code:
            raise
    except BaseException:  # noqa: BLE001
        # Where the script has its errors go.
        traceback.print_exc()
        raise SystemExit(1) from None


@contextmanager
def _measured(first: bool) -> Iterator[list[Took]]:
    """Measure what this process does; the list has it afterwards."""
    has_peak = first
    with suppress(OSError):
        # Linux: the largest resident memory counts from here.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        has_peak = True
    took: list[Took] = []
    began, cpu_s, moved = time.monotonic(), _cpu_s(), _moved()
    yield took
    read, written = (
        None if after is None else (after - before) / 2**20
        for before, after in zip(moved, _moved(), strict=True)
    )
    took.append(
        Took(
            time.monotonic() - began,
            _cpu_s() - cpu_s,
            _status("VmHWM") / 1024 if has_peak else None,
            _status("VmSize") / 1024,
            read,
            written,
        )
    )


def _cpu_s() -> float:
    times = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in times)


def _status(key: str) -> int:
    """A value of this process's status (kB); 0 where that is not known."""
    with suppress(FileNotFoundError):  # Linux
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    return 0


def _moved() -> tuple[int | None, int | None]:
    """Bytes that this process has read from and written to disks."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:  # not in each container
        return None, None
    counts = dict(line.split(": ") for line in lines)
    return int(counts["read_bytes"]), int(counts["write_bytes"])


def _write_benchmark(
    path: str, seconds: float, took: Took | None, seen: BenchmarkRecord | None
) -> None:
    """Write what a task took, in Snakemake's format.

    Parameters
    ----------
    path
        The file.
    seconds
        How long it took, as the worker has seen it.
    took
        What the process has measured of itself; None if it has not.
    seen
        Snakemake's record of a task that was looked at while it ran: only this has the memory of
        its child processes.
    """
    from snakemake.benchmark import BenchmarkRecord, write_benchmark_records

    record = seen or BenchmarkRecord()
    record.running_time = seconds
    # Without any data, that is no reason for a warning.
    record.process_gone = True
    if took is not None:
        record.data_collected = True
        record.running_time = took.seconds
        record.cpu_time = took.cpu_s
        record.cpu_usage = 100 * took.cpu_s
        record.max_rss = _larger(took.peak_mb, record.max_rss)
        record.max_vms = _larger(took.virtual_mb, record.max_vms)
        record.io_in = _larger(took.read_mb, record.io_in)
        record.io_out = _larger(took.written_mb, record.io_out)
    write_benchmark_records([record], path, False)


def _larger(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
