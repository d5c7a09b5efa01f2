"""What a forked process does: it runs the scripts that come through a pipe, one after the other.

It answers with what each script used. Between two scripts, the environment, the search path,
standard output and error, signal handlers, timers, and the umask are restored. A process ends after
a failure, and where a script has left anything else that can be seen: other limits of the process,
files that are open for writing, processes, threads, exit functions, log handlers, or much memory.
What a script changes in imported modules stays.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import io
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
import traceback
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import NoReturn, Protocol

from snakemake_warm_scripts.imports import Script
from snakemake_warm_scripts.usage import measured, status_kb

# A process whose memory has grown by more than this (MB) runs no other script.
_GROWTH_MB = 100
# For how long a thread that has nothing to do may live (s).
_THREAD_PATIENCE_S = 0.05
# Of prctl(2).
_PR_SET_CHILD_SUBREAPER = 36


class ScriptToRun(Script, Protocol):
    """A script with what Snakemake gives it.

    Attributes
    ----------
    snakemake
        The ``snakemake`` object, pickled.
    directory
        Working directory.
    """

    snakemake: bytes
    directory: str


def serve(
    pipe: Connection, most: int, outputs: tuple[int, int], leads_group: bool = True
) -> NoReturn:
    """Run the scripts that come through a pipe; the process ends here.

    Parameters
    ----------
    pipe
        Brings a script and its environment variables, and takes the answer.
    most
        How many scripts it runs.
    outputs
        File descriptors of standard output and error.
    leads_group
        Whether it becomes a process group of its own, with what scripts start. Else Ctrl-C on the
        terminal reaches it.
    """
    own, code = os.getpid(), 1
    try:
        if leads_group:
            os.setpgid(0, 0)
        if most > 1:
            _adopt_orphans()
        before = _Before(outputs)
        for number in range(1, most + 1):
            try:
                script, environment = pickle.loads(pipe.recv_bytes())
            except EOFError:
                break
            with before.restored(), measured(first=number == 1) as usage:
                _run(script, environment)
            if os.getpid() != own:  # the script has forked, and this is its child
                code = 0
                break
            again = number < most and before.is_clean()
            # What a script wants done at the end is done before it counts as ended.
            if again:
                _close_script()
            else:
                _finish()
            answer = json.dumps({"again": again, "usage": asdict(usage[0])}).encode()
            with suppress(OSError):  # nobody waits for it any more
                pipe.send_bytes(answer)
            if not again:
                break
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        # Between two scripts: there is nothing to say.
        code = 128 + signal.SIGINT
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


def wait_for_threads() -> None:
    """Give other threads the time to end that one takes that has nothing to do."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_THREAD_PATIENCE_S)


def _finish() -> None:
    """Do what Python does at its end: wait for threads, call exit functions, and write all."""
    for step in (threading._shutdown, atexit._run_exitfuncs, _close_script, _write_open_files):
        with suppress(BaseException):
            step()
    with suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()


def _close_script() -> None:
    """Forget the names of a script. Files that it has left open are written then."""
    with suppress(Exception):
        sys.modules["__main__"].__dict__.clear()


def _write_open_files() -> None:
    """Write what is still in the buffers of files that something else than the script refers to."""
    for each in gc.get_objects():
        if isinstance(each, io.IOBase) and not each.closed:
            with suppress(Exception):
                each.flush()


def _writable_files() -> set[int]:
    """Descriptors of this process, besides standard output and error, that can be written to."""
    found = set()
    with suppress(OSError):  # Linux
        for number in map(int, os.listdir("/proc/self/fd")):
            # The descriptor of the folder itself is gone.
            with suppress(OSError):
                mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
                if number > 2 and mode != os.O_RDONLY:
                    found.add(number)
    return found


def _settings() -> tuple:
    """What a script may change of its process, and is not restored."""
    limits = {
        name: resource.getrlimit(getattr(resource, name))
        for name in dir(resource)
        if name.startswith("RLIMIT_")
    }
    return (
        limits,
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
        os.sched_getaffinity(0),
        os.getpriority(os.PRIO_PROCESS, 0),
        gc.isenabled(),
        sys.getrecursionlimit(),
        logging.root.manager.disable,
        logging.root.level,
        list(logging.root.handlers),
        atexit._ncallbacks(),
    )


class _Before:
    """What a process was before its first script.

    Parameters
    ----------
    outputs
        File descriptors of standard output and error.
    """

    def __init__(self, outputs: tuple[int, int]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Copies, that no script closes.
        self._outputs = tuple(map(os.dup, outputs))
        self._streams = sys.stdout, sys.stderr
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._handlers = {each: signal.getsignal(each) for each in signal.valid_signals()}
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._settings = _settings()
        self._files = _writable_files()
        self._memory_kb = status_kb("VmRSS")

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Undo what a script changes, where that is possible."""
        self._restore_streams()
        for name in ("random", "numpy.random"):
            if module := sys.modules.get(name):
                module.seed()
        try:
            # Each script gives a warning once, whatever earlier ones gave.
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
        for stream in (sys.stdout, sys.stderr, *self._streams):
            with suppress(Exception):  # a script may have closed it
                stream.flush()
        for number, output in zip((1, 2), self._outputs, strict=True):
            os.dup2(output, number)
        # As Python opens them, so that what a killed script says is there. Others than before: a
        # script may have closed those.
        self._streams = sys.stdout, sys.stderr = (
            open(1, "w", closefd=False),  # noqa: SIM115
            open(2, "w", buffering=1, errors="backslashreplace", closefd=False),  # noqa: SIM115
        )

    def is_clean(self) -> bool:
        """Tell whether nothing is left of a script."""
        wait_for_threads()
        with suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return False
        return (
            threading.active_count() == 1
            and _settings() == self._settings
            and _writable_files() == self._files
            and status_kb("VmRSS") - self._memory_kb < 1024 * _GROWTH_MB
        )


def _run(script: ScriptToRun, environment: dict[str, str]) -> None:
    """Run a script as Snakemake does; `SystemExit` with a number if it fails."""
    from snakemake.iocontainers import Snakemake
    from snakemake.logging import logger

    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    # These would keep the folder of the script before.
    tempfile.tempdir = None
    multiprocessing.current_process()._config.pop("tempdir", None)
    os.chdir(script.directory)
    sys.path.extend(script.search)
    sys.argv = [script.file]
    main = types.ModuleType("__main__")
    main.__file__ = main.__real_file__ = script.file
    sys.modules["__main__"] = main
    # What Snakemake puts before a script.
    main.sys, main.pickle, main.Snakemake, main.logger = sys, pickle, Snakemake, logger
    main.snakemake = pickle.loads(script.snakemake)
    try:
        exec(compile(script.source, script.file, "exec", dont_inherit=True), main.__dict__)
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
