"""Import pysheds without waiting for it to compile.

pysheds gives nearly every one of its functions an explicit signature, for which Numba compiles (or
at best loads) all of them, about 70, at import: a minute on a fresh machine, five seconds later on.
Without the signatures a function is compiled when it is first called, and kept on disk.

>>> from snakeshed.pysheds_import import Grid, Raster, ViewFinder
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numba

from snakeshed.compiled import compiled


@contextmanager
def compiled_when_called() -> Iterator[None]:
    """Let ``numba.njit`` ignore signatures for a while, and keep compiled code on disk."""
    eager = numba.njit
    not_kept: set[str] = set()

    def njit(*signature_or_function, **options) -> Callable:
        if signature_or_function and inspect.isfunction(signature_or_function[0]):
            return decorate(signature_or_function[0], **options)
        return lambda function: decorate(function, **options)

    def decorate(function: Callable, **options) -> Callable:
        # Without a signature, what calls itself (or calls such a function) crashes when Numba 0.68
        # loads it from disk; it is compiled anew in each process that calls it.
        names = {function.__name__, *not_kept}
        calls_itself = names.intersection(function.__code__.co_names)
        if calls_itself:
            not_kept.add(function.__name__)
        # A generator that was loaded from disk cannot be compiled into what calls it.
        if calls_itself or inspect.isgeneratorfunction(function):
            return eager(**{**options, "cache": False})(function)
        return compiled(function, **options)

    numba.njit = njit
    try:
        yield
    finally:
        numba.njit = eager


with compiled_when_called():
    from pysheds.grid import Grid
    from pysheds.view import Raster, View, ViewFinder

__all__ = ["Grid", "Raster", "View", "ViewFinder", "compiled_when_called"]
