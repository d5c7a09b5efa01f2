"""How runs and jobs end before their time, and leave nothing behind.

The jobs of a killed run would work on beside the next one, take its memory, and could replace its
results with their own: they end with the process that started them.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Between two looks at the parent (s).
_LOOK_EVERY_S = 0.5
# A second Ctrl-C within this time (s) is part of the first.
_TOGETHER_S = 2.0
_SHELLS = {"bash", "sh", "dash", "ash", "zsh", "ksh"}


class Terminated(BaseException):
    """A process received SIGTERM."""


@contextmanager
def in_good_order() -> Iterator[None]:
    """End in good order if this process is asked to end, and at once if its parent ends.

    Raises
    ------
    Terminated
        On SIGTERM, so that what is half-written is removed.
    """
    before = signal.getsignal(signal.SIGTERM)
    in_charge = threading.current_thread() is threading.main_thread()
    if in_charge:
        signal.signal(signal.SIGTERM, _terminate)
    done = threading.Event()
    end_with_parent(os.getppid(), done)
    try:
        yield
    finally:
        done.set()
        # One that was asked to end still writes why: another request must not stop it.
        if in_charge and signal.getsignal(signal.SIGTERM) is _terminate:
            signal.signal(signal.SIGTERM, before)


def end_with_parent(parent: int, done: threading.Event | None = None) -> None:
    """End this process at once when its parent has ended, unless `done` is set before.

    Parameters
    ----------
    parent : int
        Process id of the parent. The parent itself knows it for certain: it may have ended before
        this is called. If it is a shell that waits, as an old bash does, what started that is
        watched, too.
    done : threading.Event, optional
    """
    arguments = (parent, _beyond_shells(parent), done or threading.Event())
    # Without memory for a thread, the job ends soon, and says so. (A threading.Thread that has no
    # memory to begin with is waited for without end.)
    with suppress(RuntimeError, MemoryError):
        _thread.start_new_thread(_watch, arguments)


def interrupt_once() -> None:
    """Let the first Ctrl-C interrupt this process in good order, and a later one end it at once.

    A second one would interrupt what Snakemake does to stop, and end in a traceback. A process that
    ignores Ctrl-C, as one in the background of a script, goes on ignoring it.
    """
    in_charge = threading.current_thread() is threading.main_thread()
    # Python drops its handlers before its very end, when a signal would change its exit status.
    for number in (signal.SIGINT, signal.SIGTERM) if in_charge else ():
        atexit.register(signal.signal, number, signal.SIG_IGN)
    if in_charge and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def share_locks_with_handlers(scheduler: Any) -> None:
    """Let SIGTERM stop a run also while the scheduler holds its own locks.

    Snakemake's handler of that signal takes these locks, in the thread that may hold them already,
    as it does while it looks at the files of a job that has failed. It would wait forever.

    Parameters
    ----------
    scheduler : snakemake.scheduling.job_scheduler.JobScheduler
        Has not begun yet.
    """
    scheduler._lock = threading.RLock()
    scheduler._open_jobs._cond = threading.Condition(threading.RLock())


def _interrupt(*_: object) -> None:
    began = time.monotonic()

    def end_at_once(*_: object) -> None:
        if time.monotonic() - began > _TOGETHER_S:
            os.write(2, b"Stopped at once. Run the same command again for the rest.\n")
            os._exit(130)

    signal.signal(signal.SIGINT, end_at_once)
    raise KeyboardInterrupt


def _terminate(*_: object) -> None:
    # A second one must not interrupt what the first has begun.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _watch(parent: int, beyond: list, done: threading.Event) -> None:
    # An orphan has another parent, such as init.
    while not done.wait(_LOOK_EVERY_S):
        if os.getppid() != parent or not all(map(_lives, beyond)):
            os._exit(1)


def _beyond_shells(parent: int) -> list:
    """Return the ancestors of a shell, up to the first that is none."""
    with suppress(OSError):
        # Linux: in most jobs there is no shell, and nothing to import.
        if Path(f"/proc/{parent}/comm").read_text(encoding="utf-8").strip() not in _SHELLS:
            return []
    try:
        import psutil
    except ImportError:  # It comes with Snakemake.
        return []
    found = []
    with suppress(psutil.Error):
        process = psutil.Process(parent)
        while process.name() in _SHELLS and (above := process.parent()) is not None:
            found.append(above)
            process = above
    return found


def _lives(process) -> bool:
    import psutil

    try:
        # A process that nobody has waited for yet is a zombie.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
