"""Volume models with a normal error of the logarithm.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from snakeshed.models.model import RainModel, intensity_mm_per_h

# The 97.5th percentile of the standard normal distribution.
_NORMAL_97_5 = 1.959963984540054
# exp() of more is no double.
_LARGEST_LN = 709.0


@dataclass(frozen=True, kw_only=True)
class VolumeModel(RainModel):
    """``V = exp(ln_volume)``, with a 95 % interval of 1.96 residual standard errors.

    Attributes
    ----------
    ln_volume : callable
        Takes the inputs by key and the intensity (mm/h); gives the logarithm of the volume in m3.
    residual_standard_error : float
        Of the logarithm.
    needs_rain : bool
        Whether the formula has no value without rainfall.
    """

    gives: ClassVar = ("volume_m3", "volume_low_m3", "volume_high_m3")

    ln_volume: Callable[[Mapping[str, float], float], float]
    residual_standard_error: float
    needs_rain: bool = False

    def values(
        self, inputs: Mapping[str, float], duration_min: int, rainfall_mm: float
    ) -> dict[str, float | str]:
        """Return the volume and its interval; see `RainModel.values`."""
        if self.needs_rain and rainfall_mm == 0:
            return {"reason": "the formula takes the logarithm of the rainfall, which is 0"}
        ln_volume = self.ln_volume(inputs, intensity_mm_per_h(rainfall_mm, duration_min))
        spread = _NORMAL_97_5 * self.residual_standard_error
        if not ln_volume + spread <= _LARGEST_LN:
            return {"reason": "the formula gives no finite volume"}
        return {
            "volume_m3": math.exp(ln_volume),
            "volume_low_m3": math.exp(ln_volume - spread),
            "volume_high_m3": math.exp(ln_volume + spread),
        }
