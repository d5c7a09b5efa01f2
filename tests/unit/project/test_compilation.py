"""Kernels compiled ahead of a run: those that it calls, by several processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType

import numba
import pytest
from numba import types
from numba.core import event

from snakeshed import compilation
from snakeshed.kernels.compiled import compiled

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")

# What a run has called, and how often kept code was found and not.
RUN = """
import gc, sys
from numba.core.dispatcher import Dispatcher
from snakeshed.precompile import precompile

precompile(sys.argv[1], all_ways=sys.argv[2] == "all")
kernels = [
    each
    for each in gc.get_objects()
    if isinstance(each, Dispatcher) and each.py_func.__module__.startswith("snakeshed.")
]
calls = {
    (each.py_func.__module__, each.py_func.__qualname__, tuple(map(str, signature)))
    for each in kernels
    for signature in each.stats.cache_hits | each.stats.cache_misses
}
print(sum(sum(each.stats.cache_misses.values()) for each in kernels))
print(*sorted(map(str, calls)), sep="\\n")
"""


def run(folder, ways: str, **environment: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), ways],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    missed, *calls = done.stdout.splitlines()
    return int(missed), calls


def in_a_new_process(function, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def test_a_run_without_compilation_calls_what_a_run_does(tmp_path):
    recorded = in_a_new_process(compilation.recorded_calls, True)
    missed, called = run(tmp_path, "all")
    if missed:
        # Kernels that were compiled into others have counted as called.
        _, called = run(tmp_path, "all")
    assert sorted(str((*name, tuple(map(str, given)))) for *name, given in recorded) == called


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "ways"), [(1, "default"), (3, "all")])
def test_nothing_is_left_to_compile(tmp_path, processes, ways):
    code = "import sys; from snakeshed.compilation import compile_kernels as compile; "
    code += "__name__ == '__main__' and compile(sys.argv[1] == 'all', int(sys.argv[2]))"
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    done = subprocess.run(
        [sys.executable, "-c", code, ways, str(processes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **kept},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    missed, calls = run(tmp_path, ways, **kept)
    assert missed == 0
    assert len(calls) > 30
    assert not list(tmp_path.rglob("*.tmp.*"))


def power(value, exponent=2):
    return value**exponent


def test_a_kernel_is_compiled_for_what_it_is_called_with(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    module = ModuleType("made")
    monkeypatch.setitem(sys.modules, "made", module)
    for kept in (0, 1):
        module.power = compiled(power)
        compilation.compile_call(("made", "power", (types.float64, types.Omitted(2))))
        assert sum(module.power.stats.cache_hits.values()) == kept
        assert module.power(3.0) == 9.0
        assert len(module.power.overloads) == 1


class Executor:
    """Stands for a pool of processes."""

    def __init__(self, *_: object, **__: object) -> None:
        self.given = []
        EXECUTORS.append(self)

    def submit(self, function, *arguments):
        self.given.append((function, *arguments))
        return self

    def add_done_callback(self, callback):
        self.callback = callback

    def shutdown(self, *, cancel_futures):
        assert cancel_futures
        self.given.append("end")


class Recorded:
    """Stands for what a run without compilation has called, or for its failure."""

    def __init__(self, calls, failure=None):
        self.result = lambda: calls
        self.exception = lambda: failure
        self.cancelled = lambda: False


EXECUTORS: list[Executor] = []


@pytest.fixture
def executors(monkeypatch):
    EXECUTORS.clear()
    monkeypatch.setattr(compilation, "ProcessPoolExecutor", Executor)
    return EXECUTORS


def compiles_something(*_: object) -> None:
    for _ in range(2):
        event.start_event("numba:compile")
        event.end_event("numba:compile")


def test_others_begin_at_the_end_when_the_first_kernel_is_not_on_disk(executors, monkeypatch):
    def precompile(*_: object) -> None:
        recorder, compilers = executors
        assert recorder.given == []
        compiles_something()
        assert recorder.given == [(compilation.recorded_calls, True)]
        recorder.callback(Recorded(["first", "second"]))
        assert compilers.given == [
            (compilation.compile_call, "second"),
            (compilation.compile_call, "first"),
        ]

    monkeypatch.setattr("snakeshed.precompile.precompile", precompile)
    compilation.compile_kernels(True, 2)
    assert [each.given[-1] for each in executors] == ["end", "end"]


def test_where_all_is_on_disk_no_process_is_started(executors, monkeypatch):
    monkeypatch.setattr("snakeshed.precompile.precompile", lambda *_: None)
    compilation.compile_kernels(False, 2)
    assert [each.given for each in executors] == [["end"], ["end"]]


def test_one_process_is_enough(executors, monkeypatch):
    monkeypatch.setattr("snakeshed.precompile.precompile", compiles_something)
    compilation.compile_kernels(False, 1)
    assert executors == []


def test_without_what_processes_need_one_compiles_alone(monkeypatch):
    def no_semaphores(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    made = []
    monkeypatch.setattr(compilation, "ProcessPoolExecutor", no_semaphores)
    monkeypatch.setattr("snakeshed.precompile.precompile", lambda *_: made.append(True))
    compilation.compile_kernels(False, 2)
    assert made == [True]


def test_others_that_fail_cost_nothing_but_time(executors, monkeypatch):
    def precompile(*_: object) -> None:
        compiles_something()
        executors[0].callback(Recorded(None, ValueError("no such kernel")))

    monkeypatch.setattr("snakeshed.precompile.precompile", precompile)
    compilation.compile_kernels(False, 2)
    assert executors[1].given == ["end"]


@pytest.mark.parametrize(("cores", "helpers"), [(1, None), (2, 1), (64, 3)])
@pytest.mark.parametrize("known", [True, False])
def test_there_are_as_many_processes_as_cores_but_not_very_many(cores, helpers, known, monkeypatch):
    if known:
        monkeypatch.setattr(compilation.os, "sched_getaffinity", lambda _: set(range(cores)))
    else:
        monkeypatch.delattr(compilation.os, "sched_getaffinity")
        monkeypatch.setattr(compilation.os, "cpu_count", lambda: cores)
    numbers = []

    class Counted(Executor):
        def __init__(self, number: int, *_: object, **__: object) -> None:
            super().__init__()
            numbers.append(number)

    monkeypatch.setattr(compilation, "ProcessPoolExecutor", Counted)
    monkeypatch.setattr("snakeshed.precompile.precompile", lambda *_: None)
    compilation.compile_kernels()
    assert numbers == ([] if helpers is None else [1, helpers])
