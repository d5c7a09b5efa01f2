"""Bands of rows, each worked on by a thread of its own.

Threads are Python's, around kernels that release its lock: they start and end with the call, take
no more cores than they are given, and live in forked and spawned processes alike. What a kernel
makes of a DEM does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

Result = TypeVar("Result")


def split(first: int, end: int, threads: int) -> list[tuple[int, int]]:
    """Cut a range of rows (or of anything else) into bands of about the same size.

    Parameters
    ----------
    first, end : int
        The range, `end` not in it.
    threads : int
        Bands at most; fewer where the range is shorter.

    Returns
    -------
    list of (int, int)
        First row of each band, and the row after its last; one empty band of an empty range.

    Raises
    ------
    ValueError
        If there is no thread.
    """
    if threads < 1:
        raise ValueError(f"{threads} threads: at least 1 is needed")
    count = max(1, min(threads, end - first))
    edges = [first + (end - first) * band // count for band in range(count + 1)]
    return list(pairwise(edges))


def in_bands(work: Callable[[int, int], Result], bands: list[tuple[int, int]]) -> list[Result]:
    """Call a function once for each band, all at once, and gather the results in their order.

    Parameters
    ----------
    work : callable
        Takes the first row of a band and the row after its last.
    bands : list of (int, int)
        From `split`.

    Returns
    -------
    list
    """
    if len(bands) == 1:
        return [work(*bands[0])]
    with ThreadPoolExecutor(len(bands)) as threads:
        return list(threads.map(lambda band: work(*band), bands))
