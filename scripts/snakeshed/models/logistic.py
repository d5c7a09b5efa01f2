"""Likelihood models whose log-odds are linear in the rainfall.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from snakeshed.models.model import RainModel


@dataclass(frozen=True)
class Link:
    """Coefficients of ``x = intercept + R * sum(coefficient * input)``, with R in mm.

    Attributes
    ----------
    intercept : float
    coefficients : Mapping of str to float
        By the key of the input, 1/mm.
    """

    intercept: float
    coefficients: Mapping[str, float]

    def per_mm(self, inputs: Mapping[str, float]) -> float:
        """Return by how much the log-odds rise with each mm of rainfall."""
        return math.fsum(factor * inputs[key] for key, factor in self.coefficients.items())


@dataclass(frozen=True)
class Threshold:
    """The rainfall at which a likelihood is reached.

    Attributes
    ----------
    rainfall_mm : float or None
        mm within the duration.
    reason : str or None
        Why there is none.
    """

    rainfall_mm: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class LogisticModel(RainModel):
    """``p = 1 / (1 + exp(-x))``, where x is a `Link` for each duration.

    Attributes
    ----------
    links : Mapping of int to Link
        By duration, minutes.
    """

    gives: ClassVar = ("likelihood",)

    links: Mapping[int, Link]

    def values(
        self, inputs: Mapping[str, float], duration_min: int, rainfall_mm: float
    ) -> dict[str, float | str]:
        """Return the likelihood; see `RainModel.values`."""
        link = self.links[duration_min]
        return {"likelihood": logistic(link.intercept + rainfall_mm * link.per_mm(inputs))}

    def threshold(
        self, inputs: Mapping[str, float], duration_min: int, likelihood: float
    ) -> Threshold:
        """Return the rainfall at which a likelihood is reached, the inverse of `values`.

        Parameters
        ----------
        inputs : mapping of str to float
        duration_min : int
            One of `durations_min`.
        likelihood : float
            Between 0 and 1, both excluded.
        """
        link = self.links[duration_min]
        per_mm = link.per_mm(inputs)
        missing = math.log(likelihood / (1.0 - likelihood)) - link.intercept
        if missing < 0:
            dry = logistic(link.intercept)
            return Threshold(reason=f"the likelihood is {dry:.3g} without any rainfall")
        if per_mm <= 0:
            return Threshold(reason="the likelihood does not rise with rainfall")
        rainfall_mm = missing / per_mm
        if not math.isfinite(rainfall_mm):
            return Threshold(reason="the likelihood does not rise with rainfall")
        return Threshold(rainfall_mm)


def logistic(log_odds: float) -> float:
    """Return ``1 / (1 + exp(-x))`` without overflow.

    Parameters
    ----------
    log_odds : float
        Any number.

    Returns
    -------
    float
        0 to 1.
    """
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)
