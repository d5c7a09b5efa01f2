"""Hazards in words: likelihoods, volumes with their interval, and classes."""

from __future__ import annotations

import math

from snakeshed.models.storms import Storm
from snakeshed.report.page import number

# Of Cannon et al. (2010), in their order from 1.
CLASS_NAMES = ("low", "moderate", "high")


def likelihood_text(value: float | None) -> str:
    """Write a likelihood for people: a small one is not 0, and a large one not 1."""
    if value is None or math.isnan(value):
        return "–"
    if 0 < value < 0.01:
        return "< 0.01"
    if 0.99 < value < 1:
        return "> 0.99"
    return f"{value:.2f}"


def volume_text(value: float | None, low: float | None, high: float | None) -> str:
    """Write a volume with its interval for people, m3."""
    if value is None:
        return "–"
    return f"{number(value)} ({number(low)} to {number(high)})"


def class_text(value: int | None) -> str:
    """Write a hazard class for people: "2 (moderate)"."""
    return "–" if value is None else f"{value} ({CLASS_NAMES[value - 1]})"


def storm_in_words(storm: Storm) -> str:
    """Tell what falls in a storm: "24 mm/h within 15 minutes"."""
    if storm.intensity_mm_per_h is None:
        return f"{storm.column} of the site table, within {storm.duration_min} minutes"
    return f"{storm.intensity_mm_per_h:g} mm/h within {storm.duration_min} minutes"
