"""How far a run is: jobs of shards, sites, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable

# Before so many jobs of shards are done, nothing is said of the time left.
_ENOUGH_JOBS = 3


class Progress:
    """What is known of a run from its events.

    Parameters
    ----------
    clock : callable
        Seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._planned = 0
        self._planned_of_shards = 0
        self._total = 0
        self._done: Counter[str] = Counter()
        self._began: float | None = None
        self._delineating: float | None = None
        self._delineated = 0.0
        self.sites: Counter[str] = Counter()

    def plan(self, stats: dict[str, int]) -> None:
        """Take the numbers of jobs by rule that Snakemake tells before the first job."""
        self._planned = self._total = stats.get("total", 0)
        self._planned_of_shards = sum(
            stats.get(rule, 0) for rule in ("delineate", "extract_features")
        )

    def started(self, rule: str) -> None:
        """A job was submitted."""
        now = self._clock()
        if rule in {"delineate", "extract_features"} and self._began is None:
            self._began = now
        if rule == "delineate" and self._delineating is None:
            self._delineating = now

    def finished(self, rule: str, of_shard: bool, outputs: Iterable[str]) -> None:
        """A job has ended well."""
        if of_shard:
            self._done[rule] += 1
            if rule == "delineate":
                self._delineated = self._clock()
                for path in outputs:
                    self.sites.update(statuses_in(path))

    def steps(self, total: int) -> None:
        """Take the number of all jobs, which grows when the shards are known."""
        self._total = total

    @property
    def shard_jobs(self) -> tuple[int, int]:
        """Jobs of shards that are done, and all of them as far as they are known."""
        done = self._done.total()
        # Snakemake plans the jobs of shards when split_shards is done; all others before.
        return done, max(done, self._planned_of_shards + self._total - self._planned)

    def __str__(self) -> str:
        """Tell how far the run is in one line; nothing before its shards are known."""
        done, total = self.shard_jobs
        if not total:
            return ""
        parts = [f"jobs of shards: {done} of {total}"]
        if self.sites:
            ok = self.sites["ok"]
            failed = [f"{n} {status}" for status, n in sorted(self.sites.items()) if status != "ok"]
            parts.append(", ".join([f"sites: {ok} delineated", *failed]))
        if self._delineating is not None and self.sites and done < total:
            # While features are extracted, the rate stays what it was.
            took = self._delineated - self._delineating
            if took > 0:
                parts.append(f"{self.sites.total() / took:.3g} sites/s")
        if self._began is not None and _ENOUGH_JOBS <= done < total:
            left = (self._clock() - self._began) / done * (total - done)
            parts.append(f"about {_duration(left)} left")
        return "; ".join(parts)


def statuses_in(path: str) -> Counter[str]:
    """Count the sites of a table of catchments by status; none if it cannot be read.

    Also none until another thread has begun to import pyarrow, as the workflow does when a run
    begins: two threads that import it at once both fail.
    """
    if "pyarrow.parquet" not in sys.modules:
        return Counter()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            return Counter(table.read(columns=["status"])["status"].to_pylist())
    except (OSError, KeyError, pa.ArrowException):
        return Counter()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
