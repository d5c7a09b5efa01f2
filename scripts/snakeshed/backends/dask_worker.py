"""What a Dask worker does with tasks: see that it is fit for them, do them, and answer."""

from __future__ import annotations

import os
import pickle
import platform
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from distributed import get_worker

from snakeshed.backends.local import attempt
from snakeshed.jobs.digest import package_digest

# Neither open rasters nor numba's threads may be shared, should a worker have several threads.
_ONE_AT_A_TIME = threading.Lock()


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Name all that a worker must share with the job for the same results, and to be understood.

    The library is told by its digest, as it was when this was asked first.
    """
    packages = ("dask", "distributed", "numba", "numpy")
    return (
        ("Python", platform.python_version()),
        *((package, version(package)) for package in packages),
        ("snakeshed's code", package_digest()),
    )


def sealed(function: Callable[[Any], Any], tasks: Sequence[object]) -> bytes:
    """Pack calls so that they are made, by :func:`run`, where `pickle.loads` unpacks them.

    A scheduler unpacks what it is sent as far as it has to know it: this way it needs Dask and
    nothing of snakeshed, and a worker of another version can still say so.
    """
    return pickle.dumps(_Calls(versions(), os.getcwd(), pickle.dumps((function, tuple(tasks)))))


class _Calls:
    def __init__(self, *arguments: object) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple[Callable, tuple]:
        return run, self._arguments


def run(
    expected: tuple[tuple[str, str], ...], folder: str, calls: bytes
) -> tuple[str, object, str, float]:
    """Make calls in a folder, one after the other.

    Parameters
    ----------
    expected : tuple
        What :func:`versions` told in the job.
    folder : str
        The job's working directory: paths of tasks start there.
    calls : bytes
        A function and its arguments, pickled.

    Returns
    -------
    kind : {"answers", "versions", "folder"}
    value : object
        For each argument ("done", the result), ("error", a user's error) or ("memory", None) where
        there was not enough; or this worker's versions; or what is wrong with the folder.
    worker : str
        Address of this worker.
    seconds : float
        That the calls took.
    """
    worker = get_worker().address
    if versions() != expected:
        return "versions", versions(), worker, 0.0
    with _ONE_AT_A_TIME:
        try:
            os.chdir(folder)
        except OSError as error:
            return "folder", f"{error.strerror}: {folder}", worker, 0.0
        function, tasks = pickle.loads(calls)
        started = time.perf_counter()
        answers = [_answer(function, task) for task in tasks]
        return "answers", answers, worker, time.perf_counter() - started


def _answer(function: Callable[[Any], Any], task: object) -> tuple[str, object]:
    try:
        result, error = attempt(function, task)
    except MemoryError:
        return "memory", None
    return ("done", result) if error is None else ("error", error)
