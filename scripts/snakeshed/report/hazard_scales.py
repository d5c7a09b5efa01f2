"""In which steps the report colors hazards: those of the published classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from snakeshed.models.combined import CombinedModel
from snakeshed.models.registry import published_models
from snakeshed.report.hazard_words import CLASS_NAMES, class_text

# The model whose classes they are; its bins of likelihoods are chosen by the study.
_CLASSES_OF = "cannon2010"
_USGS = "usgs"
# Which of the five colors of the style each step has, by the number of steps.
_COLORS = {3: (0, 2, 4), 4: (0, 1, 3, 4), 5: (0, 1, 2, 3, 4)}


def scales(configuration: Mapping) -> dict[str, dict[str, Any]]:
    """Return the steps of each quantity that a map can show.

    Parameters
    ----------
    configuration : mapping
        Of the study, completed.

    Returns
    -------
    dict
        By quantity: its ``name`` and ``unit``; ``breaks`` between the steps, a value at a break
        belongs to the step below; and ``labels`` and ``colors`` of the steps.
    """
    classes: CombinedModel = published_models()[_CLASSES_OF]
    bins = next(
        (entry["bins"] for entry in configuration["models"] if entry["name"] == _CLASSES_OF), _USGS
    )
    likelihoods = classes.likelihood_breaks[bins]
    volumes = classes.volume_breaks_m3
    return {
        "likelihood": _scale("Likelihood", "", likelihoods, (0, 1)),
        "volume_m3": _scale("Volume", "m³", volumes, (None, None)),
        "hazard_class": {
            "name": "Hazard class",
            "unit": "",
            "breaks": [k + 1.5 for k in range(len(CLASS_NAMES) - 1)],
            "labels": [class_text(k + 1) for k in range(len(CLASS_NAMES))],
            "colors": list(_COLORS[len(CLASS_NAMES)]),
        },
    }


def _scale(
    name: str, unit: str, breaks: Sequence[float], ends: tuple[float | None, float | None]
) -> dict[str, Any]:
    edges = [ends[0], *breaks, ends[1]]
    labels = [_step(low, high) + (f" {unit}" if unit else "") for low, high in pairwise(edges)]
    colors = list(_COLORS[len(labels)])
    return {"name": name, "unit": unit, "breaks": list(breaks), "labels": labels, "colors": colors}


def _step(low: float | None, high: float | None) -> str:
    if low is None:
        return f"up to {_number(high)}"
    if high is None:
        return f"more than {_number(low)}"
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
