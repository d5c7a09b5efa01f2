"""Processes that end with the one that started them, also when that was killed.

The jobs of a killed run would work on beside the next one, take its memory, and could replace its
results with their own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Between two looks at the parent (s).
_LOOK_EVERY_S = 0.5


@contextmanager
def ends_with_parent() -> Iterator[None]:
    """End this process at once if its parent ends during the block."""
    done = threading.Event()
    end_with_parent(os.getppid(), done)
    try:
        yield
    finally:
        done.set()


def end_with_parent(parent: int, done: threading.Event | None = None) -> None:
    """End this process at once when its parent has ended, unless `done` is set before.

    Parameters
    ----------
    parent : int
        Process id of the parent. It knows it better than this process, whose parent may have
        ended before this is called.
    done : threading.Event, optional
    """
    watch = threading.Thread(target=_watch, args=(parent, done or threading.Event()), daemon=True)
    watch.start()


def _watch(parent: int, done: threading.Event) -> None:
    # An orphan has another parent, such as init.
    while not done.wait(_LOOK_EVERY_S):
        if os.getppid() != parent:
            os._exit(1)
