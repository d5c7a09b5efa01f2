"""Numba functions whose machine code is kept between processes wherever that is possible."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numba

_njit = numba.njit


def compiled(function: Callable | None = None, **options) -> Callable:
    """Compile a function with Numba on its first call, and keep the result on disk.

    Numba keeps it in the folder NUMBA_CACHE_DIR, else beside the source file, else in the user's
    cache folder. Where none of them can be written, as in a container with a read-only file system
    and no home, Numba itself would refuse to define the function; here it is compiled anew by each
    process, with a warning that says what to set.

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
    try:
        return _njit(**{**options, "cache": True})(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        warnings.warn(
            "no folder to keep compiled functions in, so each process compiles them again: "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
        return _njit(**{**options, "cache": False})(function)
