"""Import pysheds without waiting for it to compile.

pysheds gives nearly every one of its functions an explicit signature, for which Numba compiles (or
at best loads) all of them, about 70, at import: a minute on a fresh machine, five seconds later on.
Without the signatures a function is compiled when it is first called, and kept on disk. And
pysheds works with NumPy 2.4.

>>> from snakeshed.grid.pysheds_import import Grid, Raster, ViewFinder
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import numba
import numpy as np

from snakeshed.kernels.compiled import keep


@contextmanager
def compiled_when_called() -> Iterator[None]:
    """Let ``numba.njit`` ignore signatures for a while, and keep compiled code on disk."""
    eager = numba.njit
    decorated: list[tuple[Callable, Callable]] = []

    def njit(*signature_or_function, **options) -> Callable:
        if signature_or_function and inspect.isfunction(signature_or_function[0]):
            return decorate(signature_or_function[0], **options)
        return lambda function: decorate(function, **options)

    def decorate(function: Callable, **options) -> Callable:
        decorated.append((function, eager(**{**options, "cache": False})(function)))
        return decorated[-1][1]

    numba.njit = njit
    try:
        yield
    finally:
        numba.njit = eager
    _keep_outermost(decorated)


def _keep_outermost(decorated: list[tuple[Callable, Callable]]) -> None:
    """Keep on disk what no other of the functions calls, and what no recursion is part of.

    Numba 0.68 crashes in a function whose kept code had been compiled with parallel functions and
    generators that were loaded from disk, and in one that calls a recursive function.
    """
    calls = {function.__name__: set(function.__code__.co_names) for function, _ in decorated}
    recursive = {name for name, called in calls.items() if name in called}
    called_by_others = set().union(*calls.values())
    for function, compiled_function in decorated:
        name = function.__name__
        if name not in called_by_others and not recursive & calls[name]:
            keep(compiled_function)


@contextmanager
def postponed(*names: str) -> Iterator[None]:
    """Let modules be imported for a while without their cost, which falls due at their first use.

    Parameters
    ----------
    *names : str
        Modules; those that have been imported already stay what they are.
    """
    stand_ins = {name: _stand_in(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            _make_way(name, stand_in)


def _stand_in(name: str) -> ModuleType:
    module = ModuleType(name)

    def of_the_real_one(attribute: str) -> object:
        _make_way(name, module)
        return getattr(importlib.import_module(name), attribute)

    module.__getattr__ = of_the_real_one
    return module


def _make_way(name: str, stand_in: ModuleType) -> None:
    if sys.modules.get(name) is stand_in:
        del sys.modules[name]


def _numpy_with_in1d() -> ModuleType:
    """NumPy for pysheds 0.5 alone, which calls a function that NumPy 2.4 has removed."""
    numpy = ModuleType("numpy")
    vars(numpy).update(vars(np))
    numpy.in1d = np.isin
    return numpy


# pysheds uses pandas nowhere, and of SciPy a tree, in `snap_to_mask`.
with compiled_when_called(), postponed("pandas", "scipy.spatial"):
    from pysheds import sgrid
    from pysheds.grid import Grid
    from pysheds.view import Raster, View, ViewFinder

sgrid.np = _numpy_with_in1d()

__all__ = ["Grid", "Raster", "View", "ViewFinder", "compiled_when_called"]
