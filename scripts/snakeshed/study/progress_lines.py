"""Lines on standard error that say how far a look at a large study is."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from snakeshed import progress

# Between two lines, and before the first one (s).
_EVERY_S = 2.0


@contextmanager
def progress_lines(every_s: float = _EVERY_S) -> Iterator[None]:
    """Show what `snakeshed.progress` logs, the last record at a time, while the block runs.

    Parameters
    ----------
    every_s : float
        Between two lines, and before the first one: short work shows nothing.
    """
    latest = _Latest()
    ended = threading.Event()
    showing = threading.Thread(target=_show, args=(latest, ended, every_s), daemon=True)
    level = progress.log.level
    progress.log.addHandler(latest)
    progress.log.setLevel(logging.DEBUG)
    showing.start()
    try:
        yield
    finally:
        progress.log.setLevel(level)
        progress.log.removeHandler(latest)
        ended.set()
        showing.join()


class _Latest(logging.Handler):
    """Keeps the text of the last record."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _show(latest: _Latest, ended: threading.Event, every_s: float) -> None:
    started = time.monotonic()
    while not ended.wait(every_s):
        if latest.text:
            sys.stderr.write(f"{latest.text} ({time.monotonic() - started:.0f} s)\n")
            sys.stderr.flush()
