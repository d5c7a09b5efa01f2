"""How well likelihoods separate observations with a debris flow from those without.

Only whole numbers are summed, so a measure is the same on every CPU and in every order of the
observations. An observation can count several times, as in a bootstrap sample. A debris flow is
predicted where the likelihood is at least a threshold. TP, FP, FN, and TN are the numbers of true
positives, false positives, false negatives, and true negatives. The measures are the

- threat score TP / (TP + FN + FP), the critical success index (Gilbert 1884; Schaefer 1990,
  doi:10.1175/1520-0434(1990)005<0570:TCSIAA>2.0.CO;2),
- ROC: TP / (TP + FN) against FP / (FP + TN) for all thresholds, and the area below it, which is
  the chance that an observation with a debris flow has a higher likelihood than one without, ties
  counting half (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747),
- Brier score: the mean squared difference of likelihood and outcome (Brier 1950,
  doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

HALF = 0.5
"""The threshold that a likelihood suggests."""

MOST_CORNERS = 1000
"""Of a ROC curve; a plot shows no more."""

BINS = 10
"""Bins of the calibration, of equal width from 0 to 1."""

# Squared differences are summed as whole multiples of this, which is exact: 8 million observations
# fit into 64 bits.
_UNIT = 2.0**-40


@dataclass(frozen=True)
class Measures:
    """What one set of observations gives.

    Attributes
    ----------
    threat_best : float
        The largest threat score of all thresholds, 0 to 1.
    threshold_best : float
        The threshold that gives it, the highest of several such.
    threat_half : float
        The threat score at a threshold of 0.5, 0 to 1.
    roc_area : float
        Area under the ROC curve, 0 to 1.
    brier : float
        Brier score, 0 to 1.
    """

    threat_best: float
    threshold_best: float
    threat_half: float
    roc_area: float
    brier: float


@dataclass(frozen=True)
class RocPoint:
    """A corner of the ROC curve.

    Attributes
    ----------
    threshold : float or None
        Likelihood from which on a debris flow is predicted; None where it never is.
    true_positive_rate, false_positive_rate : float
        0 to 1.
    """

    threshold: float | None
    true_positive_rate: float
    false_positive_rate: float


@dataclass(frozen=True)
class CalibrationBin:
    """Observations whose likelihoods are close to one another.

    Attributes
    ----------
    low, high : float
        Bounds of the likelihood; `high` belongs to the next bin, 1 to the last one.
    observations : int
    mean_predicted : float or None
        Mean likelihood; None without observations.
    observed_share : float or None
        Share with a debris flow.
    """

    low: float
    high: float
    observations: int
    mean_predicted: float | None
    observed_share: float | None


class Ranked:
    """Observations in the order of their likelihoods, the highest first.

    Parameters
    ----------
    likelihoods : sequence of float
        0 to 1, shape (n,).
    events : sequence of bool
        Whether there was a debris flow, shape (n,).
    """

    def __init__(self, likelihoods: Sequence[float], events: Sequence[bool]) -> None:
        given = np.asarray(likelihoods, np.float64)
        self.order = np.argsort(-given, kind="stable")
        self._likelihoods = given[self.order]
        self._events = np.asarray(events, np.bool_)[self.order]
        # Where the next observation has a lower likelihood, or none is left.
        is_last = np.append(self._likelihoods[1:] != self._likelihoods[:-1], True)[: len(given)]
        self._last = np.flatnonzero(is_last)
        self._thresholds = self._likelihoods[self._last]
        differences = self._likelihoods - self._events
        self._squares = np.rint(differences * differences / _UNIT).astype(np.int64)

    def measures(self, counts: np.ndarray | None = None) -> Measures | None:
        """Compute all measures.

        Parameters
        ----------
        counts : numpy.ndarray of int64, optional
            How often each observation counts, shape (n,), in the order in which they were given;
            once each by default.

        Returns
        -------
        Measures or None
            None if there is no observation with a debris flow, or none without.
        """
        weights = self._weights(counts)
        hits, alarms = self._cumulated(weights)
        if not len(hits) or not hits[-1] or not alarms[-1]:
            return None
        events, others = int(hits[-1]), int(alarms[-1])
        threats = hits / (events + alarms)
        best = int(np.argmax(threats))
        at_half = np.flatnonzero(self._thresholds >= HALF)
        above = (hits[at_half[-1]], alarms[at_half[-1]]) if len(at_half) else (0, 0)
        steps = np.diff(alarms, prepend=0)
        below = np.concatenate(([0], hits[:-1]))
        twice_the_area = int(np.sum(steps * (below + hits)))
        squares = int(np.sum(weights * self._squares))
        return Measures(
            threat_best=float(threats[best]),
            threshold_best=float(self._thresholds[best]),
            threat_half=int(above[0]) / (events + int(above[1])),
            roc_area=twice_the_area / (2 * events * others),
            brier=squares * _UNIT / (events + others),
        )

    def roc(self) -> tuple[RocPoint, ...]:
        """Return the corners of the ROC curve, from (0, 0) to (1, 1).

        Points on a straight line between two others are left out: the curve is the same. If
        there are more corners than `MOST_CORNERS`, that number is kept, evenly spread in their
        order. The area in `Measures` is that of the whole curve.

        Raises
        ------
        ValueError
            There is no observation with a debris flow, or none without.
        """
        hits, alarms = (values.tolist() for values in self._cumulated(self._weights(None)))
        if not hits or not hits[-1] or not alarms[-1]:
            raise ValueError("a ROC curve needs observations of both kinds")
        corners: list[tuple[float | None, int, int]] = [(None, 0, 0)]
        for point in zip(self._thresholds.tolist(), hits, alarms, strict=True):
            if len(corners) > 1 and _on_a_line(corners[-2], corners[-1], point):
                corners.pop()
            corners.append(point)
        if len(corners) > MOST_CORNERS:
            last = len(corners) - 1
            corners = [corners[k * last // (MOST_CORNERS - 1)] for k in range(MOST_CORNERS)]
        return tuple(RocPoint(t, hit / hits[-1], alarm / alarms[-1]) for t, hit, alarm in corners)

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """Return the share of debris flows among observations of similar likelihood.

        Returns
        -------
        tuple of CalibrationBin
            `BINS` of them, in ascending order (reliability diagram; Murphy and Winkler 1977,
            doi:10.2307/2346866).
        """
        bounds = [number / BINS for number in range(BINS + 1)]
        # statistics.mean is exact and rounded once, so no mean lies outside its own bin.
        likelihoods, events = self._likelihoods.tolist(), self._events.tolist()
        bins: list[list[int]] = [[] for _ in range(BINS)]
        for place, likelihood in enumerate(likelihoods):
            bins[bisect_right(bounds, likelihood, hi=BINS) - 1].append(place)
        return tuple(
            CalibrationBin(
                low=low,
                high=high,
                observations=len(own),
                mean_predicted=mean(likelihoods[k] for k in own) if own else None,
                observed_share=sum(events[k] for k in own) / len(own) if own else None,
            )
            for low, high, own in zip(bounds[:-1], bounds[1:], bins, strict=True)
        )

    def _weights(self, counts: np.ndarray | None) -> np.ndarray:
        if counts is None:
            return np.ones(len(self.order), np.int64)
        return np.asarray(counts, np.int64)[self.order]

    def _cumulated(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives at each threshold."""
        hits = np.cumsum(np.where(self._events, weights, 0))[self._last]
        alarms = np.cumsum(np.where(self._events, 0, weights))[self._last]
        return hits, alarms


def _on_a_line(one: tuple, middle: tuple, other: tuple) -> bool:
    """Tell whether a point lies between two others; exact, since all are counts."""
    (_, hits0, alarms0), (_, hits1, alarms1), (_, hits2, alarms2) = one, middle, other
    return (hits1 - hits0) * (alarms2 - alarms1) == (hits2 - hits1) * (alarms1 - alarms0)
