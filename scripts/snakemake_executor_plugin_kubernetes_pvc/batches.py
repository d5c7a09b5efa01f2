"""The queues of a run, and what an earlier driver of the run has left in them."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from snakemake_executor_plugin_kubernetes_pvc.queues import Queue
from snakemake_executor_plugin_kubernetes_pvc.spool import (
    NOT_OURS,
    End,
    Spool,
    Task,
    spools_in,
    state_of,
)
from snakemake_executor_plugin_kubernetes_pvc.status import Succeeded, Verdict

# Ends that were reported, for a later driver that is given the same arguments.
_REPORTED = ".reported.jsonl"


@dataclass
class InBatch:
    """A Snakemake job that is a task.

    Attributes
    ----------
    task
        The task.
    queue
        Where it is; None for one that an earlier driver has seen to its end.
    """

    task: Task
    queue: Queue | None

    @property
    def verdict(self) -> Verdict:
        """What has become of it."""
        return Succeeded() if self.queue is None else self.queue.verdict(self.task.product)


@dataclass(frozen=True)
class _Left:
    """A task of an earlier driver: its content, where it is, and how it went."""

    content: str
    queue: Queue | None
    end: End | None


class Batches:
    """The queues of a run.

    Parameters
    ----------
    folder
        For the spools, on the shared volume.
    max_losses, patience_s
        As in `Queue`.
    keeps_ends
        True if a later driver may be given the same arguments: what was reported to Snakemake is
        kept for it.
    """

    def __init__(
        self,
        folder: Path,
        max_losses: int,
        patience_s: float,
        keeps_ends: bool,
    ) -> None:
        self._folder = folder
        self._max_losses = max_losses
        self._patience_s = patience_s
        self._keeps_ends = keeps_ends
        self.queues: dict[str, Queue] = {}
        self._left: dict[str, _Left] = {}

    def queue(self, kind: str) -> Queue:
        """Return the queue for pods of a kind."""
        if kind not in self.queues:
            spool = Spool(self._folder / kind)
            self.queues[kind] = Queue(spool, self._max_losses, self._patience_s)
        return self.queues[kind]

    def take_up(self, same_arguments: bool) -> int:
        """Find out what an earlier driver has left, and return how many tasks that are.

        Parameters
        ----------
        same_arguments
            True if this driver repeats the earlier one: also what was reported is not done again.
        """
        reported = self._folder / _REPORTED
        if same_arguments:
            self._left.update(_reported_in(reported))
        else:
            reported.unlink(missing_ok=True)
        for spool in spools_in(self._folder):
            queue = self.queue(spool.folder.name)
            stand = spool.look()
            for product in stand.tasks:
                if task := spool.task(product):
                    end = stand.ends.get(product)
                    self._left[product] = _Left(task.content, queue, end)
        return len(self._left)

    @property
    def has_left(self) -> bool:
        """Whether an earlier driver has left anything that is not matched."""
        return bool(self._left)

    def holders(self, kind: str) -> set[str]:
        """Workers of a kind that have a task, as far as that was seen."""
        return set(self.queue(kind).spool.look().claims.values())

    def add(self, task: Task, kind: str, forced: bool = False) -> InBatch:
        """Take a task in, or find it where an earlier driver has left it.

        Parameters
        ----------
        task
            The task.
        kind
            Of its pods.
        forced
            True if it is to be done again where it has ended.
        """
        queue = self.queue(kind)
        left = self._left.pop(task.product, None)
        if left is not None and left.content == task.content:
            if (
                not forced
                and left.end is not None
                and not left.end.reason
                and _as_it_was(left.end, task)
            ):
                if left.queue is not None:
                    left.queue.add(task, sent=True)
                return InBatch(task, left.queue)
            if left.end is None and (
                left.queue is queue or not left.queue.spool.withdraw(task.product)
            ):
                left.queue.add(task, sent=True)
                return InBatch(task, left.queue)
        if left is not None and left.queue is not None:
            left.queue.spool.forget(task.product)
        queue.add(task)
        return InBatch(task, queue)

    def in_the_way(self, product: str, content: str = "") -> str:
        """Worker that an earlier driver's task keeps busy with some files, if there is one.

        It has to be ended before `add`. A task that no worker has is taken back. One with the
        content that is wanted is in nobody's way.
        """
        left = self._left.get(product)
        if left is None or left.queue is None or left.end or left.content == content:
            return ""
        if left.queue.spool.withdraw(product):
            return ""
        name = left.queue.spool.look().claims.get(product, "")
        # Jobs can write claims: only a worker is ended for one.
        return name if name in {worker.name for worker in left.queue.workers} else ""

    def forget_left(self, product: str) -> None:
        """Forget what an earlier driver has left for some files."""
        left = self._left.pop(product, None)
        if left is not None and left.queue is not None:
            left.queue.spool.forget(product)

    def drop_left(self) -> None:
        """Take back tasks of an earlier driver that this one has no use for yet."""
        for product, left in list(self._left.items()):
            if left.queue is not None and left.end is None and left.queue.spool.withdraw(product):
                del self._left[product]

    def changed(self) -> bool:
        """Tell whether workers have taken or ended tasks since the last look."""
        return any(queue.changed() for queue in self.queues.values() if queue.entries)

    def collect(self, job: InBatch) -> None:
        """Forget a task whose end is reported."""
        if job.queue is None:
            return
        end = job.queue.end_of(job.task.product)
        if self._keeps_ends and end is not None and not end.reason:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            line = json.dumps([job.task.product, asdict(end)]) + "\n"
            with open(
                os.open(self._folder / _REPORTED, flags, 0o644), "a", encoding="utf-8"
            ) as file:
                file.write(line)
        job.queue.collect(job.task.product)

    def remove(self) -> None:
        """Remove all files, at the end of a run."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _reported_in(path: Path) -> dict[str, _Left]:
    """Ends that an earlier driver has reported, by product."""
    found = {}
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(*NOT_OURS):  # such as half a line of a driver that was killed
                product, end = json.loads(line)
                found[product] = _Left(end["content"], None, End(**end))
    return found


def _as_it_was(end: End, task: Task) -> bool:
    """Tell whether a task's files are those that it made."""
    try:
        return state_of(task.outputs) == end.files
    except FileNotFoundError:
        return False
