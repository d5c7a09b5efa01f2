"""The demo's synthetic storms: the rain at each site, and whether there was a debris flow.

Whether there was one is drawn from model M1 of Staley et al. (2017). Its skill in the demo is
therefore that of a model that is right: it says nothing about real debris flows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snakeshed.demo_noise import uniform
from snakeshed.models.registry import published_models

DURATION_MIN = 15
MODEL = "staley2017_m1"
SEED = 1973


@dataclass(frozen=True)
class Storm:
    """A storm that crossed the whole DEM.

    Attributes
    ----------
    date : str
        In the first winter after the synthetic fire.
    rainfall_mm : float
        What fell within 15 minutes, on average.
    """

    date: str
    rainfall_mm: float


STORMS = (Storm("2019-10-31", 5.0), Storm("2019-12-16", 9.0), Storm("2020-02-06", 14.0))

# What is in the catchment that stock pysheds finds for each outlet of `snakeshed.demo_outlets`
# (tests/unit/demo_stock.py): share burned and steep, mean dNBR / 1000, mean KF factor.
TERMS: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.012, 0.238),
    (0.0, 0.012, 0.328),
    (0.223, 0.362, 0.201),
    (0.09, 0.225, 0.225),
    (0.0, 0.013, 0.331),
    (0.0, 0.011, 0.237),
    (0.243, 0.356, 0.2),
    (0.0, 0.011, 0.271),
    (0.152, 0.198, 0.212),
    (0.122, 0.279, 0.216),
    (0.212, 0.467, 0.208),
    (0.0, 0.013, 0.244),
    (0.168, 0.226, 0.184),
    (0.137, 0.25, 0.231),
    (0.0, 0.013, 0.235),
    (0.195, 0.287, 0.189),
    (0.0, 0.011, 0.361),
    (0.063, 0.3, 0.229),
    (0.17, 0.272, 0.222),
    (0.0, 0.012, 0.315),
    (0.0, 0.014, 0.361),
    (0.0, 0.013, 0.299),
    (0.0, 0.011, 0.235),
    (0.178, 0.288, 0.203),
    (0.207, 0.387, 0.212),
    (0.0, 0.009, 0.245),
    (0.0, 0.017, 0.262),
    (0.115, 0.459, 0.21),
    (0.0, 0.017, 0.298),
    (0.0, 0.011, 0.233),
    (0.168, 0.17, 0.215),
    (0.17, 0.177, 0.219),
    (0.0, 0.014, 0.245),
    (0.0, 0.017, 0.223),
    (0.0, 0.012, 0.308),
    (0.145, 0.534, 0.2),
    (0.0, 0.016, 0.232),
    (0.029, 0.18, 0.234),
    (0.0, 0.014, 0.288),
    (0.0, 0.017, 0.24),
    (0.0, 0.009, 0.331),
    (0.0, 0.013, 0.24),
    (0.015, 0.07, 0.208),
    (0.0, 0.368, 0.237),
    (0.385, 0.375, 0.191),
    (0.0, 0.014, 0.34),
    (0.319, 0.282, 0.218),
    (0.0, 0.018, 0.313),
    (0.0, 0.014, 0.284),
)


def storm_rainfall(site: int, storm: int) -> float:
    """Return the rainfall of a storm at a site, mm within 15 minutes.

    It differs from that of the storm by up to 40 %.

    Parameters
    ----------
    site : int
        Its number, 1 or more.
    storm : int
        Its place in `STORMS`.
    """
    share = 0.6 + 0.8 * _drawn(SEED, site, storm)
    return round(STORMS[storm].rainfall_mm * share, 1)


def likelihood(site: int, rainfall_mm: float) -> float | None:
    """Return the likelihood of a debris flow at a site, from which the demo draws.

    Parameters
    ----------
    site : int
        Its number, 1 or more.
    rainfall_mm : float
        Within 15 minutes.

    Returns
    -------
    float or None
        Model M1 of Staley et al. (2017) with the site's row of `TERMS`; None at a site without.
    """
    if site > len(TERMS):
        return None
    terms = dict(zip(("terrain", "fire", "soil"), TERMS[site - 1], strict=True))
    return published_models()[MODEL].values(terms, DURATION_MIN, rainfall_mm)["likelihood"]


def debris_flow(site: int, storm: int) -> int | None:
    """Return whether there was a debris flow at a site in a storm: 1, 0, or None if not known.

    Parameters
    ----------
    site : int
        Its number, 1 or more.
    storm : int
        Its place in `STORMS`.
    """
    expected = likelihood(site, storm_rainfall(site, storm))
    return None if expected is None else int(_drawn(SEED + 1, site, storm) < expected)


def _drawn(seed: int, site: int, storm: int) -> float:
    return float(uniform(seed, np.array([site]), np.array([storm]))[0])
