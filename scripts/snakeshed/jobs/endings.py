"""How runs and jobs end before their time, and leave nothing behind.

The jobs of a killed run would work on beside the next one, take its memory, and could replace its
results with their own: they end with the process that started them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Between two looks at the parent (s).
_LOOK_EVERY_S = 0.5


class Terminated(BaseException):
    """Somebody has asked this process to end (SIGTERM)."""


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
        if in_charge:
            signal.signal(signal.SIGTERM, before)


def end_with_parent(parent: int, done: threading.Event | None = None) -> None:
    """End this process at once when its parent has ended, unless `done` is set before.

    Parameters
    ----------
    parent : int
        Process id of the parent. The parent itself knows it for certain: it may have ended before
        this is called.
    done : threading.Event, optional
    """
    watch = threading.Thread(target=_watch, args=(parent, done or threading.Event()), daemon=True)
    watch.start()


def interrupt_once() -> None:
    """Let the first Ctrl-C alone interrupt this process.

    A second one would interrupt what Snakemake does to stop, and end in a traceback.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _terminate(*_: object) -> None:
    # A second one must not interrupt what the first has begun.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _watch(parent: int, done: threading.Event) -> None:
    # An orphan has another parent, such as init.
    while not done.wait(_LOOK_EVERY_S):
        if os.getppid() != parent:
            os._exit(1)
