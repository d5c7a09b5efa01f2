"""Memory that a job and each of its workers have."""

from __future__ import annotations

import os
from pathlib import Path

LEAST_WORKER_BYTES = 600_000_000
"""Of a Dask worker: the libraries, and a tile that is worth the way."""

_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def given_bytes(asked_mb: int | None = None) -> int:
    """Bytes that this job has: what it asked for, unless its container or the machine has less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP_LIMITS:
        try:
            told = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if told.isdigit():
            limits.append(int(told))
    if asked_mb is not None:
        limits.append(asked_mb * 1_000_000)
    return min(limits)
