"""Measures of skill: counted by hand, against ten plain lines, and by what may not matter."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snakeshed.observations.scores import MOST_CORNERS, Ranked

LIKELIHOODS = st.integers(0, 20).map(lambda k: k / 20)
PAIRS = st.lists(st.tuples(LIKELIHOODS, st.booleans()), min_size=1, max_size=40)


def plain(pairs: list[tuple[float, bool]]) -> dict[str, float] | None:
    """Of each measure its definition: all thresholds, all pairs."""
    events = [p for p, event in pairs if event]
    others = [p for p, event in pairs if not event]
    if not events or not others:
        return None

    def threat(threshold: float) -> float:
        hits, alarms = (sum(p >= threshold for p in group) for group in (events, others))
        return hits / (len(events) + alarms)

    best = max(threat(p) for p, _ in pairs)
    wins = sum((p > q) + (p == q) / 2 for p in events for q in others)
    return {
        "threat_best": best,
        "threshold_best": max(p for p, _ in pairs if threat(p) == best),
        "threat_half": threat(0.5),
        "roc_area": wins / len(events) / len(others),
        "brier": math.fsum((p - event) ** 2 for p, event in pairs) / len(pairs),
    }


def found(pairs: list[tuple[float, bool]], counts=None):
    return Ranked(*zip(*pairs, strict=True)).measures(counts)


def test_by_hand():
    # At 0.6: 2 hits, 1 false alarm, 1 miss. At 0.3: 3 hits, 2 false alarms.
    pairs = [(0.9, True), (0.8, False), (0.6, True), (0.4, False), (0.3, True), (0.1, False)]
    measures = found(pairs)
    assert measures.threat_half == 2 / 4
    assert measures.threat_best == 3 / 5
    assert measures.threshold_best == 0.3
    # Of 9 pairs, 0.9 wins 3, 0.6 wins 2, 0.3 wins 1.
    assert measures.roc_area == 6 / 9
    assert measures.brier == pytest.approx((0.01 + 0.64 + 0.16 + 0.16 + 0.49 + 0.01) / 6, abs=1e-11)
    corners = [
        (point.threshold, point.false_positive_rate, point.true_positive_rate)
        for point in Ranked(*zip(*pairs, strict=True)).roc()
    ]
    third = 1 / 3
    assert corners == [
        (None, 0.0, 0.0),
        (0.9, 0.0, third),
        (0.8, third, third),
        (0.6, third, 2 * third),
        (0.4, 2 * third, 2 * third),
        (0.3, 2 * third, 1.0),
        (0.1, 1.0, 1.0),
    ]


def test_a_bin_has_its_lower_bound_and_the_last_one_has_1_too():
    pairs = [(0.0, False), (0.05, True), (0.1, True), (0.3, False), (0.7, True), (1.0, True)]
    bins = Ranked(*zip(*pairs, strict=True)).calibration()
    assert [each.observations for each in bins] == [2, 1, 0, 1, 0, 0, 0, 1, 0, 1]
    assert (bins[0].mean_predicted, bins[0].observed_share) == (0.025, 0.5)
    assert (bins[9].low, bins[9].high, bins[9].observed_share) == (0.9, 1.0, 1.0)
    assert (bins[2].mean_predicted, bins[2].observed_share) == (None, None)


@given(PAIRS)
def test_it_is_what_ten_plain_lines_say(pairs):
    expected, measures = plain(pairs), found(pairs)
    if expected is None:
        assert measures is None
        return
    for name, value in expected.items():
        assert getattr(measures, name) == pytest.approx(value, abs=1e-11), name


def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics")
    dice = random.Random(4)
    p = [round(dice.random(), 2) for _ in range(2000)]
    events = [dice.random() < 0.8 * likelihood for likelihood in p]
    measures = found(list(zip(p, events, strict=True)))
    at_half = [likelihood >= 0.5 for likelihood in p]
    assert measures.roc_area == pytest.approx(metrics.roc_auc_score(events, p), abs=1e-12)
    assert measures.brier == pytest.approx(metrics.brier_score_loss(events, p), abs=1e-11)
    assert measures.threat_half == pytest.approx(metrics.jaccard_score(events, at_half), abs=1e-12)


@given(PAIRS, st.data())
def test_an_observation_that_counts_twice_is_there_twice(pairs, data):
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
    repeated = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
    got, expected = found(pairs, np.array(counts)), found(repeated) if repeated else None
    if expected is None:
        assert got is None
        return
    # A threshold without any observation is that of the next one.
    assert got.threat_best == expected.threat_best
    assert (got.threat_half, got.roc_area) == (expected.threat_half, expected.roc_area)
    assert got.brier == expected.brier


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_observations_changes_no_bit(pairs, dice):
    shuffled = dice.sample(pairs, len(pairs))
    assert found(shuffled) == found(pairs)
    one, other = (Ranked(*zip(*each, strict=True)) for each in (shuffled, pairs))
    assert one.calibration() == other.calibration()
    if found(pairs) is not None:
        assert one.roc() == other.roc()


@given(PAIRS)
def test_only_ranks_matter_to_the_best_threat_score_and_the_area(pairs):
    bent = [(math.sqrt(p) / 3 + 0.6, event) for p, event in pairs]
    one, other = found(pairs), found(bent)
    if one is not None:
        assert (one.threat_best, one.roc_area) == (other.threat_best, other.roc_area)


@given(PAIRS)
def test_the_area_is_that_below_the_curve_and_turned_likelihoods_give_the_rest(pairs):
    measures = found(pairs)
    if measures is None:
        return
    points = Ranked(*zip(*pairs, strict=True)).roc()
    below = math.fsum(
        (two.false_positive_rate - one.false_positive_rate)
        * (two.true_positive_rate + one.true_positive_rate)
        / 2
        for one, two in pairwise(points)
    )
    assert below == pytest.approx(measures.roc_area, abs=1e-12)
    turned = found([(1 - p, event) for p, event in pairs])
    assert turned.roc_area == pytest.approx(1 - measures.roc_area, abs=1e-12)


@given(PAIRS)
@example([(0.7, False)] * 3)
def test_calibration_counts_each_observation_once(pairs):
    bins = Ranked(*zip(*pairs, strict=True)).calibration()
    assert sum(each.observations for each in bins) == len(pairs)
    there = [each for each in bins if each.observations]
    events = sum(each.observed_share * each.observations for each in there)
    assert events == pytest.approx(sum(event for _, event in pairs))
    assert all(each.low <= each.mean_predicted <= each.high for each in there)


def test_a_curve_of_many_corners_is_thinned_out_between_its_ends():
    # A debris flow at every second likelihood: each observation is a corner.
    pairs = [(k / 5000, k % 2 == 0) for k in range(5000)]
    points = Ranked(*zip(*pairs, strict=True)).roc()
    assert len(set(points)) == len(points) == MOST_CORNERS
    assert (points[0].true_positive_rate, points[0].false_positive_rate) == (0.0, 0.0)
    assert (points[-1].true_positive_rate, points[-1].false_positive_rate) == (1.0, 1.0)
    for one, other in pairwise(points):
        assert 0 <= other.true_positive_rate - one.true_positive_rate < 0.002
        assert 0 <= other.false_positive_rate - one.false_positive_rate < 0.002


def test_a_curve_needs_both_kinds():
    with pytest.raises(ValueError, match="both kinds"):
        Ranked([0.5], [True]).roc()
