"""Tasks for pods of one kind, and these pods: what the driver knows of a spool."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from snakemake_executor_plugin_kubernetes_pvc.manifest import JobFacts
from snakemake_executor_plugin_kubernetes_pvc.spool import End, Spool, Stand, Task
from snakemake_executor_plugin_kubernetes_pvc.status import (
    Failed,
    Running,
    Succeeded,
    Verdict,
    Waiting,
)
from snakemake_executor_plugin_kubernetes_pvc.submission import Submission

# What a pod asks for is rounded up to one of these (MB), so that most jobs can share pods. Above
# that, where nodes begin to be too small, a pod asks for no more than its tasks.
_MEMORY_CLASSES = (2000, 4000)
# The process that forks, beside the task (MB).
_PARENT_MB = 200
# Seconds that a job is expected to take before one of its rule was seen.
_FIRST_GUESS_S = 30.0
_GONE = Failed("its worker is gone", infrastructure=True)
# After so many workers in a row that did no task, the tasks fail with the reason.
_CRASHES = 3


def pod_memory_mb(task_mb: float) -> int:
    """Memory of a pod for tasks of a size (MB)."""
    needed = math.ceil(task_mb)
    return next((size for size in _MEMORY_CLASSES if needed <= size), needed) + _PARENT_MB


class Expected:
    """How long jobs take, by rule: what was seen of those that ended."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))

    def learn(self, rule: str, seconds: float) -> None:
        """Take note of a job that ended well."""
        number, total = self._seen[rule]
        self._seen[rule] = number + 1, total + seconds

    def seconds(self, rule: str) -> float:
        """Seconds that a job of a rule takes in the mean."""
        number, total = self._seen[rule]
        return total / number if number else _FIRST_GUESS_S


@dataclass
class Entry:
    """A task that was not reported yet.

    Attributes
    ----------
    task
        What was left in the spool.
    losses
        How many workers were lost with it.
    verdict
        What has become of it.
    running_since
        When a worker was first seen to have it.
    """

    task: Task
    losses: int = 0
    verdict: Verdict = field(default_factory=lambda: Waiting("no worker yet"))
    running_since: float = 0


class Queue:
    """Tasks for pods of one kind.

    Parameters
    ----------
    spool
        Where the tasks are.
    max_losses
        How often a task may lose its worker.
    patience_s
        For how long the end of a task may not be seen after its worker has ended well.
    clock
        Seconds, from any beginning.

    Attributes
    ----------
    facts
        What its workers are; None as long as this driver has no job for them.
    workers
        Those that have not been seen to end.
    entries
        Tasks that were not reported, by product.
    """

    def __init__(
        self,
        spool: Spool,
        max_losses: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spool = spool
        self.facts: JobFacts | None = None
        self.workers: list[Submission] = []
        self.entries: dict[str, Entry] = {}
        self._stand = Stand(set(), {}, {})
        self._max_losses = max_losses
        self._patience_s = patience_s
        self._clock = clock
        # Workers that have ended, with how and when that was seen.
        self._gone: dict[str, tuple[Succeeded | Failed, float]] = {}
        self._crashes = 0

    def add(self, task: Task, sent: bool = False) -> None:
        """Watch a task, and leave it for the workers unless it is there already."""
        if not sent:
            self.spool.put(task)
        self.entries[task.product] = Entry(task)

    def verdict(self, product: str) -> Verdict:
        """Say what had become of a task at the last look."""
        return self.entries[product].verdict

    def end_of(self, product: str) -> End | None:
        """How a task went, if it has ended."""
        return self._stand.ends.get(product)

    def collect(self, product: str) -> None:
        """Forget a task whose end was reported."""
        del self.entries[product]
        self.spool.forget(product)

    @property
    def works(self) -> bool:
        """Whether a worker has a task."""
        return any(isinstance(entry.verdict, Running) for entry in self.entries.values())

    def worker_ended(self, name: str, how: Succeeded | Failed) -> None:
        """Take note that no pod of a worker is left. Call `look` next."""
        self._gone.setdefault(name, (how, self._clock()))

    def look(self) -> None:
        """Read what has become of the tasks; after the workers' ends, which come later."""
        self._stand = self.spool.look()
        alive = {worker.name for worker in self.workers}
        for product, entry in self.entries.items():
            end = self._stand.ends.get(product)
            worker = self._stand.claims.get(product)
            if end is not None and end.content == entry.task.content:
                self._crashes = 0
                entry.verdict = _verdict_of(end)
            elif worker is None:
                if not isinstance(entry.verdict, Failed):
                    entry.verdict = Waiting("no worker yet")
            elif worker in self._gone:
                self._lost(entry, *self._gone[worker])
            elif worker not in alive:  # it ended before this driver began
                self._lost(entry, _GONE, self._clock())
            elif not isinstance(entry.verdict, Running):
                entry.verdict, entry.running_since = Running(), self._clock()
        self._count_crashes()

    def changed(self) -> bool:
        """Tell whether workers have taken or ended tasks since the last look."""
        return self.spool.changed()

    def _lost(self, entry: Entry, how: Succeeded | Failed, since: float) -> None:
        """Decide about a task whose worker has ended before it."""
        if isinstance(how, Succeeded):
            # On some file systems what another node has written is seen a while later.
            if self._clock() - since < self._patience_s:
                return
            how = Failed("its worker ended without a word about it", infrastructure=True)
        if not how.infrastructure:
            entry.verdict = how
            return
        entry.losses += 1
        if entry.losses > self._max_losses:
            entry.verdict = Failed(f"lost {entry.losses} times: {how.reason}", False, how.pod)
        else:
            entry.verdict = Waiting(f"sent again, its worker was lost: {how.reason}")
            self.spool.give_back(entry.task.product)

    def _count_crashes(self) -> None:
        """Give up on workers that end by themselves before they have done anything."""
        busy = set(self._stand.claims.values())
        for name in [name for name in self._gone if name not in busy]:
            how, _ = self._gone.pop(name)
            if isinstance(how, Failed) and not how.infrastructure:
                self._crashes += 1
                if self._crashes >= _CRASHES:
                    self.give_up(how)

    def give_up(self, how: Failed) -> None:
        """Let all tasks fail that no worker has, for a reason that no worker will be free of."""
        for product, entry in self.entries.items():
            if isinstance(entry.verdict, Waiting) and self.spool.withdraw(product):
                entry.verdict = how

    def workers_wanted(self, batch_s: float) -> int:
        """Return how many workers there should be, if each is to have work for some seconds.

        It is 0 while no task waits. A task that takes longer than it was expected to counts for
        more with time: what waits behind it gets another worker.
        """
        seconds, waiting, running = 0.0, 0, 0
        for entry in self.entries.values():
            if isinstance(entry.verdict, Waiting):
                waiting += 1
                seconds += entry.task.seconds
            elif isinstance(entry.verdict, Running):
                running += 1
                seconds += max(entry.task.seconds, self._clock() - entry.running_since)
        return min(waiting + running, math.ceil(seconds / batch_s)) if waiting else 0


def _verdict_of(end: End) -> Succeeded | Failed:
    if not end.reason:
        return Succeeded()
    if end.out_of_memory:
        return Failed(f"OOMKilled, limit {end.out_of_memory}", False, None, end.out_of_memory)
    return Failed(end.reason, infrastructure=False)
