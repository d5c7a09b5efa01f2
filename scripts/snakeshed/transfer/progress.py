"""How far a transfer is, logged at times."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Progress:
    """Counts bytes that arrive in several threads.

    Parameters
    ----------
    total : int or None
        Bytes that are expected, if that is known.
    every_s : float
        Between two lines.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self, total: int | None, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._said = clock()
        self._kept = 0
        self.received = 0

    def arrived(self, count: int) -> None:
        """Count bytes, or take them back if they were dropped."""
        with self._lock:
            self.received += count
            now = self._clock()
            if now - self._said < self._every_s:
                return
            self._said = now
            text = self._line(now)
        log.info("%s", text)

    def kept(self, count: int) -> None:
        """Count bytes that an earlier run has received."""
        with self._lock:
            self._kept += count
            self.received += count

    def end(self) -> str:
        """Return what there was in all, in words."""
        seconds = self._clock() - self._began
        return f"{size_text(self.received)} in {seconds:.0f} s{self._rate(seconds)}"

    def _line(self, now: float) -> str:
        seconds = now - self._began
        of_all = f" of {size_text(self._total)}" if self._total else ""
        text = f"fetched {size_text(self.received)}{of_all}{self._rate(seconds)}"
        new = self.received - self._kept
        if not self._total or new <= 0 or self.received >= self._total:
            return text
        return f"{text}, about {_time_text((self._total - self.received) * seconds / new)} left"

    def _rate(self, seconds: float) -> str:
        new = self.received - self._kept
        return f", {size_text(new / seconds)}/s" if seconds >= 1 and new > 0 else ""


def size_text(count: float) -> str:
    """Return a number of bytes in words, in powers of ten."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def _time_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
