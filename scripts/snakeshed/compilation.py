"""Compile the kernels of a run on all cores.

Numba compiles a kernel when it is first called, one at a time in a process. So while one process
makes a small run (`snakeshed.precompile`) and compiles what it comes to, others compile what it
will come to, beginning at the end. A run without compilation, which takes a second, lists that.
They only save time: what they leave out or have not finished, the first process compiles itself.
"""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import wraps

import numba
from numba import types
from numba.core import event

from snakeshed.jobs.endings import end_with_parent

Call = tuple[str, str, tuple[types.Type, ...]]
"""Module and name of a kernel, and the types of its arguments."""

_KERNELS = "snakeshed.kernels."
# Each takes seconds to start and 0.4 GB of memory.
_MOST_PROCESSES = 4


def compile_kernels(all_ways: bool = False, processes: int | None = None) -> None:
    """Compile what a run calls, and keep it on disk.

    Parameters
    ----------
    all_ways : bool
        Also what is called for patches that are routed by tiles.
    processes : int, optional
        One for each core that this process may use, at most 4, if it is not given.
    """
    from snakeshed.precompile import precompile

    if processes is None:
        processes = min(_cores(), _MOST_PROCESSES)
    with (
        tempfile.TemporaryDirectory(prefix="snakeshed-") as folder,
        _helped(all_ways, processes - 1),
    ):
        precompile(folder, all_ways)


def _cores() -> int:
    # Not every system knows which of them a process may use.
    of_process = getattr(os, "sched_getaffinity", None)
    return len(of_process(0)) if of_process else os.cpu_count() or 1


class _Helpers(event.Listener):
    """Other processes that compile, from the first kernel on that is not on disk."""

    def __init__(self, all_ways: bool, processes: int) -> None:
        self._all_ways = all_ways
        spawn = multiprocessing.get_context("spawn")
        # Processes start when they are given something to do.
        self._recorder, self._compilers = (
            ProcessPoolExecutor(number, spawn, initializer=_begin, initargs=(os.getpid(),))
            for number in (1, processes)
        )
        self._started = False

    def on_start(self, _: event.Event) -> None:
        """See that a kernel has to be compiled."""
        if not self._started:
            self._started = True
            calls = self._recorder.submit(recorded_calls, self._all_ways)
            calls.add_done_callback(self._spread)

    def on_end(self, _: event.Event) -> None:
        """See that a kernel has been compiled."""

    def _spread(self, calls: Future) -> None:
        if calls.cancelled() or calls.exception() is not None:
            return
        # After the end of the run, or of a process that was killed, no more are taken.
        with suppress(RuntimeError):
            for call in reversed(calls.result()):
                self._compilers.submit(compile_call, call)

    def end(self) -> None:
        """Let them finish what they have begun."""
        for executor in (self._compilers, self._recorder):
            executor.shutdown(cancel_futures=True)


def _begin(parent: int) -> None:
    # Ctrl-C is for the process that they help.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)


@contextmanager
def _helped(all_ways: bool, processes: int) -> Iterator[None]:
    if processes < 1 or numba.config.DISABLE_JIT:
        yield
        return
    try:
        helpers = _Helpers(all_ways, processes)
    except OSError:  # no semaphores, as where /dev/shm is missing
        yield
        return
    try:
        with event.install_listener("numba:compile", helpers):
            yield
    finally:
        helpers.end()


def recorded_calls(all_ways: bool = False) -> list[Call]:
    """List the kernels that a run calls from Python, in the order of their first calls.

    To be called in a process of its own that has not imported the library: kernels are plain
    functions there.

    Parameters
    ----------
    all_ways : bool
        As for :func:`compile_kernels`.
    """
    calls: dict[Call, None] = {}
    inside = threading.local()

    def recording(**_: object) -> Callable:
        def decorate(function: Callable) -> Callable:
            parameters = inspect.signature(function)

            @wraps(function)
            def recorded(*args: object, **more: object) -> object:
                # What a kernel calls is compiled into it.
                if getattr(inside, "kernel", False):
                    return function(*args, **more)
                given = parameters.bind(*args, **more).arguments
                signature = tuple(
                    _type_of(given[name]) if name in given else types.Omitted(parameter.default)
                    for name, parameter in parameters.parameters.items()
                )
                calls[function.__module__, function.__qualname__, signature] = None
                inside.kernel = True
                try:
                    return function(*args, **more)
                finally:
                    inside.kernel = False

            return recorded

        return decorate

    numba.njit = recording
    # Compiled code wraps around without a word.
    warnings.simplefilter("ignore", RuntimeWarning)
    from snakeshed.precompile import precompile

    with tempfile.TemporaryDirectory(prefix="snakeshed-") as folder:
        precompile(folder, all_ways)
    return [call for call in calls if call[0].startswith(_KERNELS)]


def _type_of(value: object) -> types.Type:
    """Type of an argument; of scalars, the one that compiled kernels return."""
    found = numba.typeof(value)
    if isinstance(found, types.Integer):
        return types.int64
    return types.float64 if isinstance(found, types.Float) else found


def compile_call(call: Call) -> None:
    """Compile a kernel for types of arguments, unless that is on disk already."""
    module, name, signature = call
    getattr(importlib.import_module(module), name).compile(signature)
