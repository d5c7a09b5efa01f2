"""Volume models of Gartner et al. (2014).

Both take the logarithm of a burned area. Where none burned, the formula has no value, and neither
have the models here: 0 m3 would be a statement that the data of the paper do not support.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from snakeshed.models.model import Input, Paper
from snakeshed.models.volume import VolumeModel

PAPER = Paper(
    "Gartner, J. E., Cannon, S. H., and Santi, P. M. (2014). Empirical models for predicting "
    "volumes of sediment deposited by debris flows and sediment-laden floods in the transverse "
    "ranges of southern California. Engineering Geology 176, 45-56.",
    "Gartner et al. (2014)",
    "10.1016/j.enggeo.2014.04.008",
)

# Equations 3 (emergency) and 2 (long-term): constant, coefficients, and residual standard error.
EMERGENCY = MappingProxyType(
    {"constant": 4.22, "sqrt_i15": 0.39, "ln_bmh": 0.36, "sqrt_relief": 0.13, "error": 1.04}
)
LONG_TERM = MappingProxyType(
    {
        "constant": 6.07,
        "ln_i60": 0.71,
        "ln_bt": 0.22,
        "ln_years": -0.24,
        "ln_area": 0.49,
        "sqrt_relief": 0.03,
        "error": 1.25,
    }
)

_RELIEF = Input(
    "relief_m",
    "m",
    "highest less lowest elevation",
    (0.0, 4000.0),
    column="relief_m",
    domain="not negative",
)
_MODERATE_HIGH = Input(
    "moderate_high_km2",
    "km2",
    "area burned at moderate or high severity",
    (0.0, 100.0),
    column="{severity}_moderate_high_km2",
    domain="positive",
)
_BURNED = Input(
    "burned_km2",
    "km2",
    "area burned at any severity",
    (0.0, 100.0),
    column="{severity}_burned_km2",
    domain="positive",
)
_AREA = Input(
    "area_km2",
    "km2",
    "area of the catchment",
    (0.0, 100.0),
    column="area_km2",
    domain="positive",
)
_YEARS = Input(
    "years_since_fire",
    "years",
    "time since the most recent fire",
    (0.0, 50.0),
    setting="years_since_fire",
    domain="positive",
)


def _ln_emergency(inputs: Mapping[str, float], i15: float) -> float:
    return math.fsum(
        (
            EMERGENCY["constant"],
            EMERGENCY["sqrt_i15"] * math.sqrt(i15),
            EMERGENCY["ln_bmh"] * math.log(inputs["moderate_high_km2"]),
            EMERGENCY["sqrt_relief"] * math.sqrt(inputs["relief_m"]),
        )
    )


def _ln_long_term(inputs: Mapping[str, float], i60: float) -> float:
    return math.fsum(
        (
            LONG_TERM["constant"],
            LONG_TERM["ln_i60"] * math.log(i60),
            LONG_TERM["ln_bt"] * math.log(inputs["burned_km2"]),
            LONG_TERM["ln_years"] * math.log(inputs["years_since_fire"]),
            LONG_TERM["ln_area"] * math.log(inputs["area_km2"]),
            LONG_TERM["sqrt_relief"] * math.sqrt(inputs["relief_m"]),
        )
    )


MODELS = (
    VolumeModel(
        name="gartner2014_emergency",
        title="Volume of a debris flow, emergency assessment model",
        paper=PAPER,
        formula=(
            "ln V = {constant} + {sqrt_i15} sqrt(i15) + {ln_bmh} ln(moderate_high_km2) + "
            "{sqrt_relief} sqrt(relief_m), i15: intensity in mm/h; residual standard error {error}"
        ).format(**EMERGENCY),
        inputs=(_MODERATE_HIGH, _RELIEF),
        durations_min=(15,),
        ln_volume=_ln_emergency,
        residual_standard_error=EMERGENCY["error"],
    ),
    VolumeModel(
        name="gartner2014_long_term",
        title="Volume of a debris flow, long-term model",
        paper=PAPER,
        formula=(
            "ln V = {constant} + {ln_i60} ln(i60) + {ln_bt} ln(burned_km2) - {fall} "
            "ln(years_since_fire) + {ln_area} ln(area_km2) + {sqrt_relief} sqrt(relief_m), "
            "i60: intensity in mm/h; residual standard error {error}"
        ).format(**LONG_TERM, fall=-LONG_TERM["ln_years"]),
        inputs=(_BURNED, _YEARS, _AREA, _RELIEF),
        durations_min=(60,),
        ln_volume=_ln_long_term,
        residual_standard_error=LONG_TERM["error"],
        needs_rain=True,
    ),
)
