"""How long a transfer waits, and how often it tries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a transfer: each wait has one.

    Attributes
    ----------
    connect_s, read_s : float
        To connect, and for the next byte.
    slow_bytes_per_s, slow_s : float
        A transfer that brings less than this on average over that time is cut and resumed.
    tries : int
        In a row without progress.
    progress_bytes : int
        What counts as progress.
    first_delay_s, longest_delay_s : float
        Before the second try, and at most; it doubles in between.
    longest_wait_s : float
        That a server may ask for (Retry-After).
    redirects : int
    stuck_s : float
        For an answer to begin, or to go on: also a server that sends its headers byte by byte.
    report_s : float
        Between two lines on progress.
    """

    connect_s: float = 30.0
    read_s: float = 60.0
    slow_bytes_per_s: float = 1024.0
    slow_s: float = 120.0
    tries: int = 6
    progress_bytes: int = 65_536
    first_delay_s: float = 1.0
    longest_delay_s: float = 60.0
    longest_wait_s: float = 300.0
    redirects: int = 5
    stuck_s: float = 300.0
    report_s: float = 10.0

    def delay_s(self, failed: int) -> float:
        """Return the delay after a number of failures in a row, in s."""
        return min(self.first_delay_s * 2 ** (failed - 1), self.longest_delay_s)
