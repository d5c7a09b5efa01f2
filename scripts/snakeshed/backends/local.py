"""Backends: where the patches of one shard run. The results are the same on each."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

from snakeshed.errors import SnakeshedError
from snakeshed.jobs.endings import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

BACKENDS = ("auto", "serial", "process", "dask")
_HERE = BACKENDS[:-1]


class Backend:
    """Runs one function over many tasks, in this process or in some of this machine.

    `snakeshed.backends.dask_cluster.DaskBackend` runs them elsewhere; :func:`open_backend`
    makes either.

    Parameters
    ----------
    name : {"auto", "serial", "process"}
        "auto" is "serial" with one worker and "process" with more.
    workers : int
        Processes that "process" starts, at most; a spawned process keeps no thread or lock of
        this one.

    Raises
    ------
    ValueError
        The name is not a backend, or there is no worker.
    """

    def __init__(self, name: str = "auto", workers: int = 1) -> None:
        if name not in _HERE:
            raise ValueError(f"backend {name!r}: expected one of {', '.join(_HERE)}")
        if workers < 1:
            raise ValueError(f"backend {name!r}: {workers} workers; expected at least 1")
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        if choose(name, workers) == "process":
            spawn = multiprocessing.get_context("spawn")
            # Workers of a process that was killed would wait for tasks for ever.
            self._pool = ProcessPoolExecutor(
                workers, spawn, initializer=end_with_parent, initargs=(os.getpid(),)
            )

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def threads_for(self, tasks: int) -> int:
        """Threads that each of some tasks may use, so that none is idle and no core has two."""
        at_once = 1 if self._pool is None else max(1, min(tasks, self._workers))
        return self._workers // at_once

    def worker_bytes(self, given: int) -> int:
        """Bytes of memory that each worker may take, where the job is given so many."""
        return given if self._pool is None else given // self._workers

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        lost: Callable[[Task], Result] | None = None,
        what: str = "tasks",
    ) -> Iterator[Result]:
        """Apply a function to each task, and yield the results in their order as they come.

        The function and the tasks are pickled to reach other processes, so they are small:
        paths and plain values, never arrays.

        Parameters
        ----------
        function : callable
        tasks : iterable
        lost : callable, optional
            Makes a result that stands for a task which ends each process that works on it, for
            want of memory. Only where such a process can be replaced: here it ends the work.
        what : str
            What the tasks are, for the log.

        Raises
        ------
        SnakeshedError
            What the function raises, of the first task that does.
        """
        if self._pool is None:
            yield from map(function, tasks)
            return
        for result, error in self._pool.map(partial(attempt, function), tasks):
            if error is not None:
                raise error
            yield result


def choose(name: str, workers: int, needed: int | None = None, given: int | None = None) -> str:
    """Tell which backend a name means.

    Parameters
    ----------
    name : {"auto", "serial", "process", "dask"}
    workers : int
    needed : int, optional
        Bytes that the job is expected to need at most.
    given : int, optional
        Bytes that it has.

    Returns
    -------
    {"serial", "process", "dask"}
        Of "auto": "dask" where more is needed than is given, else "process" where there are
        several workers.
    """
    if name != "auto":
        return name
    if needed is not None and given is not None and needed > given:
        return "dask"
    return "process" if workers > 1 else "serial"


def attempt(
    function: Callable[[Task], Result], task: Task
) -> tuple[Result | None, SnakeshedError | None]:
    """Run a task; return a user's error instead of raising it.

    What caused it stays behind: errors of GDAL cannot pass from process to process, and break the
    pool when they try.
    """
    try:
        return function(task), None
    except SnakeshedError as error:
        error.__cause__ = error.__context__ = None
        return None, error.with_traceback(None)
