"""Statistics of cells that count by the share of them that lies in a catchment."""

from __future__ import annotations

import math

import numpy as np

from snakeshed.kernels.compiled import compiled


def mean_and_deviation(
    values: np.ndarray, weights: np.ndarray, factor: float, shift: float
) -> tuple[float, float]:
    """Weighted mean and standard deviation (population) of ``values * factor + shift``.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n,)
        Finite, n > 0.
    weights : ndarray of float32 or float64, shape (n,)
        Positive.
    factor, shift : float

    Returns
    -------
    mean, deviation : float
        Both from sums in the order of the cells, whatever the CPU.
    """
    return _moments(values, weights, factor, shift)


@compiled
def _moments(values, weights, factor, shift):
    total = summed = 0.0
    for k in range(values.size):
        weight = np.float64(weights[k])
        total += weight
        summed += weight * (np.float64(values[k]) * factor + shift)
    mean = summed / total
    squares = 0.0
    for k in range(values.size):
        off = np.float64(values[k]) * factor + shift - mean
        squares += np.float64(weights[k]) * (off * off)
    return mean, math.sqrt(squares / total)


def percentiles(
    values: np.ndarray, weights: np.ndarray, asked: tuple[float, ...], *, descending: bool = False
) -> list[float]:
    """Weighted percentiles by the inverse of the cumulative distribution.

    A percentile is the smallest value up to which at least this share of the weight lies, so it
    is always one of the values. The same as NumPy's method ``inverted_cdf`` with weights.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n,)
        No NaN, n > 0.
    weights : ndarray of float32 or float64, shape (n,)
        Positive.
    asked : tuple of float
        0 to 100.
    descending : bool
        Count from the largest value down, for values that a negative factor turns around.
    """
    # Equal values come in the order of the cells: sums of their weights are the same everywhere.
    order = np.argsort(-values if descending else values, kind="stable")
    shares = np.cumsum(weights[order], dtype=np.float64)
    shares /= shares[-1]
    places = np.searchsorted(shares, np.array(asked, np.float64) / 100, side="left")
    return [float(value) for value in values[order[places]]]
