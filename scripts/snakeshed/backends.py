"""Backends: where the patches of one shard run. The results are the same on each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

from snakeshed.errors import SnakeshedError

Task = TypeVar("Task")
Result = TypeVar("Result")

BACKENDS = ("auto", "serial", "process")


class Backend:
    """Runs one function over many tasks and yields the results in the order of the tasks.

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
        if name not in BACKENDS:
            raise ValueError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
        if workers < 1:
            raise ValueError(f"backend {name!r}: {workers} workers; expected at least 1")
        self._pool: ProcessPoolExecutor | None = None
        if name == "process" or (name == "auto" and workers > 1):
            self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Apply a function to each task, and yield the results in their order as they come.

        The function and the tasks are pickled to reach other processes, so they are small:
        paths and plain values, never arrays.

        Raises
        ------
        SnakeshedError
            What the function raises, of the first task that does.
        """
        if self._pool is None:
            yield from map(function, tasks)
            return
        for result, error in self._pool.map(partial(_attempt, function), tasks):
            if error is not None:
                raise error
            yield result


def _attempt(
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
