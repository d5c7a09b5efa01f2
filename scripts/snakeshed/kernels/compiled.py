"""Numba functions whose machine code is kept between processes wherever that is possible."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile
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

    Numba takes kept code for current as long as the file of the function itself does not change.
    But functions and constants that a kernel imports are compiled into it, so here kept code is
    current only as long as none of the files that they come from changes.

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
    # Numba has no public way to say what kept code depends on.
    numbas = function._cache._cache_file
    function._cache._cache_file = _KeptCode(
        numbas._cache_path,
        numbas._index_name.removesuffix(".nbi"),
        _digest(Path(function.py_func.__code__.co_filename)),
    )
    return function


# A file system may show an old index for a while.
_SAVES = 5


class _KeptCode(IndexDataCacheFile):
    """Files of kept code that are named after what they hold.

    Numba numbers them. Two processes that compile a function for other types at the same time
    write to the same number, and one of them, or a third, then runs code for other types.
    """

    def save(self, key: tuple, data: object) -> None:
        holds = hashlib.sha256(f"{key!r} {self._source_stamp}".encode()).hexdigest()[:16]
        name = f"{self._index_name.removesuffix('.nbi')}.{holds}.nbc"
        self._save_data(name, data)
        # Another process that saves at the same time may put its index in the place of this one.
        for _ in range(_SAVES):
            overloads = self._load_index()
            if overloads.get(key) == name:
                break
            self._save_index({**overloads, key: name})


# How one kernel file imports from another; a test sees to it that there is no other way.
_IMPORT = re.compile(rb"^from snakeshed\.kernels\.([\w.]+) import ", re.MULTILINE)
_KERNELS = Path(__file__).parent


@cache
def _digest(path: Path) -> str:
    """Digest of a file and of all kernel files that it imports, at any depth."""
    digest = hashlib.sha256()
    for file in sorted(_with_imports(path)):
        # Without the place of the library: a copy of it may use what was compiled for the original.
        digest.update(file.name.encode() + b"\0" + _text(file) + b"\0")
    return digest.hexdigest()


def _with_imports(path: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            names = _IMPORT.findall(_text(file))
            waiting += [_file_of(name.decode()) for name in names]
    return found


def _file_of(name: str) -> Path:
    return _KERNELS.joinpath(*name.split(".")).with_suffix(".py")


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
