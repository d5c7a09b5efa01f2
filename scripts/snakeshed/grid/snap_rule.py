"""How sites are snapped, and the classes of what that gives: without the kernels that do it."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Confidence classes: the least and the largest area / reported area, best class first.
CONFIDENCE = {"high": (0.9, 1.1), "medium": (1 / 1.5, 1.5)}

# A candidate could be the true outlet when its cost is within this of the least: as much as an
# area costs that is at the limit of "medium".
PLAUSIBLE_COST = math.log(1.5)

# Ratios of decimal numbers such as 0.363 / 0.33 miss the limits of classes by a rounding error.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SnapRule:
    """How sites are snapped, and what is refused; the ``snap`` section of the configuration."""

    radius_m: float
    distance_weight: float
    min_area_km2: float
    max_area_mismatch: float | None = None


def agreement(ratio: float) -> str:
    """Class of an area by its ratio to the reported one, limits included: high, medium or low.

    Parameters
    ----------
    ratio : float
        Area / reported area.
    """
    for name, (least, most) in CONFIDENCE.items():
        if least - _ROUNDING <= ratio <= most + _ROUNDING:
            return name
    return "low"
