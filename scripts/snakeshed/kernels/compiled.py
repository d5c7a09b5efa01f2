"""Numba functions whose machine code is kept between processes wherever that is possible."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

if numba.config.CACHE_DIR:
    # A folder that several environments may share, as the pods of two images do. Numba tells code
    # for other CPUs, Pythons and sources apart by itself, but not what another NumPy went into.
    numba.config.CACHE_DIR = str(
        Path(numba.config.CACHE_DIR, f"numba-{numba.__version__}-numpy-{np.__version__}")
    )


def compiled(function: Callable | None = None, **options) -> Callable:
    """Compile a function with Numba on its first call, and keep the result on disk.

    Parameters
    ----------
    function : callable, optional
        The function to compile; without it, a decorator is returned.
    **options
        Passed on to `numba.njit`.

    Returns
    -------
    callable
        The compiled function, or the function itself under NUMBA_DISABLE_JIT=1.
    """
    if function is None:
        return lambda function: compiled(function, **options)
    return keep(numba.njit(**options)(function))


def keep(function: Callable) -> Callable:
    """Let Numba keep on disk what it compiles of a function.

    Numba keeps it in the folder NUMBA_CACHE_DIR, else beside the source file, else in the user's
    cache folder. Where none of them can be written, as in a container with a read-only file system
    and no home, Numba itself would refuse; here each process compiles the function anew, after a
    warning that says what to set.

    Parameters
    ----------
    function : callable
        A function that `numba.njit` has returned.

    Returns
    -------
    callable
        The same function.
    """
    if not isinstance(function, Dispatcher):  # NUMBA_DISABLE_JIT=1
        return function
    try:
        function.enable_caching()
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        warnings.warn(
            "no folder to keep compiled functions in, so each process compiles them again: "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
    return function
