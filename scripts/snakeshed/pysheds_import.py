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

    def njit(*signature_or_function, **options) -> Callable:
        if signature_or_function and inspect.isfunction(signature_or_function[0]):
            return compiled(signature_or_function[0], **options)
        return compiled(**options)

    eager = numba.njit
    numba.njit = njit
    try:
        yield
    finally:
        numba.njit = eager


with compiled_when_called():
    from pysheds.grid import Grid
    from pysheds.view import Raster, View, ViewFinder

__all__ = ["Grid", "Raster", "View", "ViewFinder", "compiled_when_called"]
