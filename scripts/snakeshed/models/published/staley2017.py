"""Likelihood models M1 to M4 of Staley et al. (2017)."""

from __future__ import annotations

from snakeshed.models.logistic import Link, LogisticModel
from snakeshed.models.model import Input, Paper

PAPER = Paper(
    "Staley, D. M., Negri, J. A., Kean, J. W., Laber, J. L., Tillery, A. C., and Youberg, A. M. "
    "(2017). Prediction of spatially explicit rainfall intensity-duration thresholds for "
    "post-fire debris-flow generation in the western United States. Geomorphology 278, 149-162.",
    "Staley et al. (2017)",
    "10.1016/j.geomorph.2016.10.019",
)

# Coefficients of the paper: B, Ct, Cf, and Cs by duration in minutes.
COEFFICIENTS = {
    "staley2017_m1": {
        15: (-3.63, 0.41, 0.67, 0.70),
        30: (-3.61, 0.26, 0.39, 0.50),
        60: (-3.21, 0.17, 0.20, 0.22),
    },
    "staley2017_m2": {
        15: (-3.62, 0.64, 0.65, 0.68),
        30: (-3.61, 0.42, 0.38, 0.49),
        60: (-3.22, 0.27, 0.19, 0.22),
    },
    "staley2017_m3": {
        15: (-3.71, 0.32, 0.33, 0.47),
        30: (-3.79, 0.21, 0.19, 0.36),
        60: (-3.46, 0.14, 0.10, 0.18),
    },
    "staley2017_m4": {
        15: (-3.60, 0.51, 0.82, 0.27),
        30: (-3.64, 0.33, 0.46, 0.26),
        60: (-3.30, 0.20, 0.24, 0.13),
    },
}

_FORMULA = (
    "p = 1 / (1 + exp(-(B + (Ct terrain + Cf fire + Cs soil) R))), R: rainfall within the duration "
    "in mm; B, Ct, Cf, Cs: "
)
_DNBR = Input(
    "fire",
    "",
    "mean dNBR (stored dNBR x 1000, divided by 1000)",
    (-0.5, 1.5),
    column="dnbr_mean",
    scale=0.001,
    tiny=0.002,
)
_KF = Input(
    "soil",
    "US customary units",
    "mean erodibility factor KF of the soil",
    (0.0, 1.0),
    column="kf_mean",
)
_THICKNESS = Input(
    "soil",
    "",
    "mean soil thickness, in the unit of the soil data, divided by 100",
    (0.0, 2.0),
    column="thickness_mean",
    scale=0.01,
)


def _share(column: str, text: str) -> Input:
    return Input("terrain", "", text, (0.0, 1.0), column=column)


_INPUTS = {
    "staley2017_m1": (
        "upslope burn severity at 23 degrees",
        _share(
            "terrain_m1",
            "share of the catchment burned at moderate or high severity with a slope of at least "
            "23 degrees",
        ),
        _DNBR,
        _KF,
    ),
    "staley2017_m2": (
        "sine of slope",
        _share(
            "terrain_m2",
            "mean sine of the slope where burned at moderate or high severity, relative to the "
            "whole catchment",
        ),
        _DNBR,
        _KF,
    ),
    "staley2017_m3": (
        "ruggedness",
        Input(
            "terrain",
            "m/m",
            "relief over the square root of the area",
            (0.0, 3.0),
            column="ruggedness",
        ),
        Input(
            "fire",
            "",
            "share of the catchment burned at moderate or high severity",
            (0.0, 1.0),
            column="{severity}_share_moderate_high",
        ),
        _THICKNESS,
    ),
    "staley2017_m4": (
        "burned steep slopes",
        _share("terrain_m4", "share of the catchment burned with a slope of at least 30 degrees"),
        _DNBR,
        _THICKNESS,
    ),
}


def _model(name: str) -> LogisticModel:
    title, *inputs = _INPUTS[name]
    links = {
        duration: Link(intercept, dict(zip(("terrain", "fire", "soil"), slopes, strict=True)))
        for duration, (intercept, *slopes) in COEFFICIENTS[name].items()
    }
    coefficients = "; ".join(
        f"{', '.join(f'{each:.2f}' for each in of_duration)} for {duration} minutes"
        for duration, of_duration in COEFFICIENTS[name].items()
    )
    return LogisticModel(
        name=name,
        title=f"Likelihood of a debris flow, model {name[-2:].upper()} ({title})",
        paper=PAPER,
        formula=_FORMULA + coefficients,
        inputs=tuple(inputs),
        durations_min=tuple(links),
        links=links,
    )


MODELS = tuple(map(_model, COEFFICIENTS))
