"""Likelihood models SWA and SWB of Fernandez Sirgo et al. (2025) for Arizona and New Mexico.

The coefficients are those that the authors' script ``SWA_SWB_MODELS.py`` fits to the rainfall of
15 minutes in their data, ``two_feature_rained.xlsx``, both at revision 067cb9e of
https://github.com/AnaIsabelFernandezSirgo/PFDF_likelihood_initiation_model: a logistic regression
(L2 penalty, C = 3) of 1,444 storms, where the 161 with a debris flow weigh sqrt(1283 / 161) times
as much. At a likelihood of 0.5 they give a threat score of 0.41 (SWA) and 0.39 (SWB) on all 1,444.
"""

from __future__ import annotations

from snakeshed.models.logistic import Link, LogisticModel
from snakeshed.models.model import Input, Paper

PAPER = Paper(
    "Fernandez Sirgo, A. I., et al. (2025). Journal of Geophysical Research: Earth Surface. "
    "Coefficients: the fit of the authors' code to their data.",
    "Fernandez Sirgo et al. (2025)",
    "10.1029/2025JF008627",
)

# Intercept, coefficient of the mean slope in degrees, and coefficient of the fire term.
SWA = (-4.64726, 0.00625791, 0.0839502)
SWB = (-4.42988, 0.00735652, 0.201282)
# In the fire term of SWA, the share of moderate and high severity counts twice that of low.
MODERATE_HIGH_WEIGHT = 2.0

_SLOPE = Input(
    "slope_deg", "degrees", "mean slope of the catchment", (0.0, 60.0), column="slope_mean_deg"
)


def _burned(key: str, severity: str, column: str) -> Input:
    text = f"share of the catchment burned at {severity} severity"
    return Input(key, "", text, (0.0, 1.0), column=column)


MODELS = (
    LogisticModel(
        name="swa",
        title="Likelihood of a debris flow in Arizona and New Mexico, model SWA (severity)",
        paper=PAPER,
        formula=(
            "p = 1 / (1 + exp(-({} + ({} slope_deg + {} (low_share + {:g} moderate_high_share)) "
            "R))), R: rainfall within 15 minutes in mm"
        ).format(*SWA, MODERATE_HIGH_WEIGHT),
        inputs=(
            _SLOPE,
            _burned("low_share", "low", "{severity}_share_low"),
            _burned("moderate_high_share", "moderate or high", "{severity}_share_moderate_high"),
        ),
        durations_min=(15,),
        links={
            15: Link(
                SWA[0],
                {
                    "slope_deg": SWA[1],
                    "low_share": SWA[2],
                    "moderate_high_share": MODERATE_HIGH_WEIGHT * SWA[2],
                },
            )
        },
    ),
    LogisticModel(
        name="swb",
        title="Likelihood of a debris flow in Arizona and New Mexico, model SWB (dNBR)",
        paper=PAPER,
        formula=(
            "p = 1 / (1 + exp(-({} + ({} slope_deg + {} fire) R))), R: rainfall within 15 minutes "
            "in mm"
        ).format(*SWB),
        inputs=(
            _SLOPE,
            Input(
                "fire",
                "",
                "mean dNBR (stored dNBR x 1000, divided by 1000)",
                (-0.5, 1.5),
                column="dnbr_mean",
                scale=0.001,
                tiny=0.002,
            ),
        ),
        durations_min=(15,),
        links={15: Link(SWB[0], {"slope_deg": SWB[1], "fire": SWB[2]})},
    ),
)
