"""Jobs that run on a Dask cluster, by the lines that `snakeshed.backends.dask_cluster` logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_DASHBOARD = re.compile(r"^\S+ dask: dashboard at (\S+)$", re.MULTILINE)
_DONE = re.compile(r"^\S+ dask: (\d+) of (\d+) (\w+)[^,\n]* done,", re.MULTILINE)
# The first line is near the head of a log, the last word on how far it is near its end.
_HEAD = _TAIL = 4096


class DaskJobs:
    """How far the jobs are that are at work, whatever process or machine they are on."""

    def __init__(self) -> None:
        self._logs: dict[int, list[str]] = {}
        self._told: set[str] = set()

    def started(self, job: int, logs: Iterable[str]) -> None:
        """A job was submitted."""
        self._logs[job] = list(logs)

    def ended(self, job: int) -> None:
        """A job has ended, well or not."""
        self._logs.pop(job, None)

    def new_dashboards(self) -> Iterator[str]:
        """Addresses of dashboards that were not told before."""
        for path in self._paths():
            for address in _DASHBOARD.findall(_part(path, 0, _HEAD)):
                if address not in self._told:
                    self._told.add(address)
                    yield address

    def __str__(self) -> str:
        """Tell how much of these jobs' work is done; nothing if none of them has a cluster."""
        done: dict[str, list[int]] = {}
        for path in self._paths():
            if found := _DONE.findall(_part(path, -_TAIL, _TAIL)):
                number, total, what = found[-1]
                sums = done.setdefault(what, [0, 0])
                sums[0] += int(number)
                sums[1] += int(total)
        return ", ".join(f"{what} at work: {n} of {all_} done" for what, (n, all_) in done.items())

    def _paths(self) -> Iterator[Path]:
        for logs in self._logs.values():
            yield from map(Path, logs)


def _part(path: Path, start: int, size: int) -> str:
    """Read a part of a file; a negative start counts from its end. Nothing if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(start if start >= 0 else max(0, file.tell() + start))
            return file.read(size).decode(errors="replace")
    except OSError:
        return ""
