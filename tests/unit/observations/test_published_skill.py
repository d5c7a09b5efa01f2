"""The published model on the published table, beside ten lines that share nothing with the library.

Staley et al. (2016, USGS OFR 2016-1106) publish 1,550 observations. 1,243 of them have every input
and the rainfall of 15 minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from staley import SHEET, TABLE

from snakeshed.models.registry import published_models
from snakeshed.observations.skill import ModelSkill, Scored, skill

INPUTS = {"terrain": "PropHM23", "fire": "dNBR/1000", "soil": "KF"}
RAIN = "Acc015_mm"


@pytest.fixture(scope="module")
def table(shared_data) -> pd.DataFrame:
    return pd.read_excel(shared_data("staley2016") / TABLE, sheet_name=SHEET)


def skill_of_m1(table: pd.DataFrame, sites: Sequence[str]) -> ModelSkill:
    model = published_models()["staley2017_m1"]
    columns = table[[*INPUTS.values(), RAIN]].to_numpy().tolist()
    likelihoods = [
        None
        if any(map(math.isnan, (*inputs, rain)))
        else model.values(dict(zip(INPUTS, inputs, strict=True)), 15, rain)["likelihood"]
        for *inputs, rain in columns
    ]
    scored = Scored("staley2017_m1", 15, "staley2017_m1_likelihood_15min", likelihoods)
    (found,) = skill("Response", sites, table["Response"].tolist(), [scored]).models
    return found


@pytest.fixture(scope="module")
def found(table) -> ModelSkill:
    return skill_of_m1(table, table["Fire_SegID"].tolist())


def test_1243_rows_are_complete(found):
    assert found.observations == 1243
    assert found.without_likelihood == 1550 - 1243


def test_measures_are_those_of_ten_independent_lines(table, found):
    rows = table.dropna(subset=[*INPUTS.values(), RAIN])
    terrain, fire, soil, rain = (rows[name] for name in (*INPUTS.values(), RAIN))
    p = 1 / (1 + np.exp(3.63 - (0.41 * terrain + 0.67 * fire + 0.70 * soil) * rain))
    happened = rows["Response"] == 1
    threat = {t: (happened & (p >= t)).sum() / (happened | (p >= t)).sum() for t in [0.5, *set(p)]}
    ranks = p.rank()[happened]
    wins = ranks.sum() - len(ranks) * (len(ranks) + 1) / 2
    assert found.events == happened.sum()
    assert found.threat_score_half.value == pytest.approx(threat[0.5], rel=1e-12)
    assert found.threat_score_best.value == pytest.approx(max(threat.values()), rel=1e-12)
    assert found.roc_area.value == pytest.approx(wins / len(ranks) / (~happened).sum(), rel=1e-12)
    assert found.brier_score.value == pytest.approx(((p - happened) ** 2).mean(), abs=1e-11)


def test_the_published_model_is_as_good_as_roten_et_al_2022_found(found):
    """They give a threat score (Jaccard index) of .400 for it."""
    assert found.threat_score_half.value == pytest.approx(0.400, abs=0.001)
    assert found.threat_score_half.low < 0.386 < found.threat_score_half.high
    assert found.resamples == 1000


def test_whole_sites_make_wider_intervals_than_single_rows(table, found):
    """Rows of a site are alike: drawn one by one, they would promise more than there is."""
    by_row = skill_of_m1(table, [str(row) for row in range(len(table))])
    assert by_row.roc_area.value == found.roc_area.value
    assert _width(by_row.roc_area) < _width(found.roc_area)


def _width(estimate) -> float:
    return estimate.high - estimate.low
