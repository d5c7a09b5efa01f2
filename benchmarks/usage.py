"""Memory, of this process and of the machine. Needs nothing but Python: all peers run it."""

from __future__ import annotations

import re
from pathlib import Path


def memory(field: str) -> int:
    """Bytes of memory that this process has (VmRSS), or has had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def forget_peak() -> None:
    """Let VmHWM begin anew, with what the process has now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def available() -> int:
    """Bytes of memory that programs may still take, what the system keeps of files included."""
    told = Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.search(r"MemAvailable:\s+(\d+) kB", told)[1]) * 1024
