"""What a script uses: time, memory, and bytes from and to disks."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakemake.benchmark import BenchmarkRecord


@dataclass(frozen=True)
class Usage:
    """What a script took, with the processes that it started and waited for.

    Attributes
    ----------
    seconds
        Wall time.
    cpu_s
        User and system time.
    peak_mb
        Largest resident memory, with what earlier scripts have left (MiB); None if that is not
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


@contextmanager
def measured(first: bool) -> Iterator[list[Usage]]:
    """Measure what this process does; the list has it afterwards.

    Parameters
    ----------
    first
        Whether this process has done nothing else before.
    """
    has_peak = first
    with suppress(OSError):
        # Linux: the largest resident memory counts from here.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        has_peak = True
    found: list[Usage] = []
    began, cpu_s, moved = time.monotonic(), _cpu_s(), _moved()
    yield found
    read, written = (
        None if after is None else (after - before) / 2**20
        for before, after in zip(moved, _moved(), strict=True)
    )
    found.append(
        Usage(
            time.monotonic() - began,
            _cpu_s() - cpu_s,
            status_kb("VmHWM") / 1024 if has_peak else None,
            status_kb("VmSize") / 1024,
            read,
            written,
        )
    )


def status_kb(key: str) -> int:
    """Return a value of this process's status (kB); 0 where that is not known."""
    with suppress(FileNotFoundError):  # Linux
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    return 0


def fill_record(record: BenchmarkRecord, seconds: float, usage: Usage | None) -> None:
    """Fill in Snakemake's benchmark record of a job.

    Parameters
    ----------
    record
        As Snakemake has filled it for a script that was sampled while it ran, else new. Only a
        sample has the memory of child processes.
    seconds
        How long the script took, as seen from outside.
    usage
        What its process has measured; None if it has not.
    """
    record.running_time = seconds
    # Without any data, that is no reason for a warning.
    record.process_gone = True
    if usage is not None:
        record.data_collected = True
        record.running_time = usage.seconds
        record.cpu_time = usage.cpu_s
        record.cpu_usage = 100 * usage.cpu_s
        record.max_rss = _larger(usage.peak_mb, record.max_rss)
        record.max_vms = _larger(usage.virtual_mb, record.max_vms)
        record.io_in = _larger(usage.read_mb, record.io_in)
        record.io_out = _larger(usage.written_mb, record.io_out)


def _larger(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _cpu_s() -> float:
    times = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in times)


def _moved() -> tuple[int | None, int | None]:
    """Bytes that this process has read from and written to disks."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:  # not in each container
        return None, None
    counts = dict(line.split(": ") for line in lines)
    return int(counts["read_bytes"]), int(counts["write_bytes"])
