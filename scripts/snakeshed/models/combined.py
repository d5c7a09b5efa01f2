"""Models that combine a likelihood and a volume into a class.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from snakeshed.models.model import Model


@dataclass(frozen=True, kw_only=True)
class CombinedModel(Model):
    """The scores of likelihood and volume are summed, and the sum is classified.

    A value that equals a break belongs to the class below it.

    Attributes
    ----------
    likelihood_breaks : Mapping of str to tuple of float
        Between the scores of a likelihood, by the name of the bins.
    volume_breaks_m3 : tuple of float
    sum_breaks : tuple of int
    """

    gives: ClassVar = ("likelihood_class", "volume_class", "hazard_class")

    likelihood_breaks: Mapping[str, tuple[float, ...]]
    volume_breaks_m3: tuple[float, ...]
    sum_breaks: tuple[int, ...]

    def classes(self, bins: str, likelihood: float | None, volume_m3: float | None) -> dict:
        """Return the classes, as values of `Outcome`: those whose value is there.

        Parameters
        ----------
        bins : str
            One of `likelihood_breaks`.
        likelihood : float or None
        volume_m3 : float or None
        """
        scores = {}
        if likelihood is not None:
            scores["likelihood_class"] = _score(likelihood, self.likelihood_breaks[bins])
        if volume_m3 is not None:
            scores["volume_class"] = _score(volume_m3, self.volume_breaks_m3)
        if len(scores) == 2:
            scores["hazard_class"] = _score(sum(scores.values()), self.sum_breaks)
        return scores


def _score(value: float, breaks: tuple[float, ...]) -> int:
    """Return the number of breaks below a value, from 1."""
    return 1 + bisect_left(breaks, value)
