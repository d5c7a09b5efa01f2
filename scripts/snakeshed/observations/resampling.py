"""Intervals of measures, from a bootstrap that draws whole sites.

Observations of one site are alike, and would make intervals too narrow if they were drawn one by
one (the cluster bootstrap; Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
"""Of the intervals, from percentiles of the resamples (Efron and Tibshirani 1993, chapter 13)."""

_SEED = 20170117


def resamples(sites: Sequence[str]) -> Iterator[np.ndarray]:
    """Draw as many sites as there are, with replacement, again and again.

    Parameters
    ----------
    sites : sequence of str
        The site of each observation, shape (n,).

    Yields
    ------
    numpy.ndarray of int64
        How often each observation counts, shape (n,); `RESAMPLES` of them. They depend on the
        observations of each site, and neither on the order of observations nor on the CPU.
    """
    names = sorted(set(sites))
    number = {site: k for k, site in enumerate(names)}
    site_of = np.array([number[site] for site in sites], np.int64)
    drawn = np.random.Generator(np.random.PCG64(_SEED))
    for _ in range(RESAMPLES):
        chosen = drawn.integers(0, len(names), len(names))
        yield np.bincount(chosen, minlength=len(names))[site_of]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the values between which the middle of all resamples lies.

    Parameters
    ----------
    values : sequence of float
        Of one measure; at least one.

    Returns
    -------
    (float, float)
        Two of `values`: of 1,000, the 25th smallest and the 25th largest.
    """
    ordered = sorted(values)
    left_out = max(round(len(ordered) * (1 - LEVEL) / 2), 1) - 1
    return ordered[left_out], ordered[-1 - left_out]
