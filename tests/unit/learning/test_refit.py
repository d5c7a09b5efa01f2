"""Refits: the coefficients behind made data are found, those of the published notebook too."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from staley import SHEET, SITES, TABLE

import refit as refit_rule
from snakeshed.errors import ResultError, TableError
from snakeshed.learning.complete_rows import Gaps, complete_rows
from snakeshed.learning.declared import declared_refits
from snakeshed.learning.refit import fitted_link, likelihoods, read_refits, refit, write_refits
from snakeshed.result_files import result_file
from snakeshed.sites.prepare import prepare_sites

INPUTS = {"terrain": "PropHM23", "fire": "dNBR/1000", "soil": "KF"}
SETTINGS = {
    "layers": [],
    "observations": {
        "rainfall": [{"duration_min": 15, "column": "Acc015_mm", "unit": "mm"}],
        "response": {"column": "Response", "events": [1]},
        "refits": [
            {
                "model": "staley2017_m1",
                "duration_min": 15,
                "inputs": INPUTS,
                "training": {"column": "Database", "values": ["Training"]},
            }
        ],
        "classifiers": None,
    },
}
TRUE = (-2.0, 0.5, 0.1, 0.4)


def declared():
    return declared_refits(SETTINGS, [])[0]


def made(count: int, seed: int = 1, per_site: int = 2):
    """Observations whose response is drawn from a model of known coefficients."""
    dice = np.random.Generator(np.random.PCG64(seed))
    inputs, rain = dice.uniform(0, 1, (count, 3)), dice.uniform(0, 20, count)
    odds = TRUE[0] + rain * (inputs @ TRUE[1:])
    events = dice.uniform(0, 1, count) < 1 / (1 + np.exp(-odds))
    columns = dict(zip(("terrain", "fire", "soil", "mm"), [*inputs.T, rain], strict=True))
    sites = [f"s{k // per_site}" for k in range(count)]
    return sites, events.tolist(), {name: cells.tolist() for name, cells in columns.items()}


def test_the_coefficients_behind_made_data_are_found():
    sites, events, columns = made(20_000)
    rows = complete_rows(sites, events, columns)
    link = fitted_link(declared(), rows.values, rows.events)
    assert (link.intercept, *link.coefficients.values()) == pytest.approx(TRUE, abs=0.03)
    assert list(link.coefficients) == list(INPUTS)


def test_the_penalized_likelihood_is_at_its_largest():
    """Where the gradient is 0: ten lines that share nothing with scikit-learn."""
    sites, events, columns = made(300)
    rows = complete_rows(sites, events, columns)
    link = fitted_link(declared(), rows.values, rows.events)
    slopes = np.array(list(link.coefficients.values()))
    taken = rows.values[:, :3] * rows.values[:, 3:]
    p = 1 / (1 + np.exp(-(link.intercept + taken @ slopes)))
    wrong = p - rows.events
    assert wrong.sum() == pytest.approx(0, abs=1e-3)
    assert taken.T @ wrong + slopes == pytest.approx([0, 0, 0], abs=2e-2)


def test_a_count_stands_for_as_many_rows():
    sites, events, columns = made(120)
    rows = complete_rows(sites, events, columns)
    counts = np.random.Generator(np.random.PCG64(3)).integers(0, 3, 120)
    weighted = fitted_link(declared(), rows.values, rows.events, counts)
    places = np.repeat(np.arange(120), counts)
    repeated = fitted_link(declared(), rows.values[places], rows.events[places])
    assert weighted.intercept == pytest.approx(repeated.intercept, abs=2e-6)
    assert weighted.coefficients == pytest.approx(repeated.coefficients, abs=2e-6)


@pytest.fixture(scope="module")
def made_fit():
    """A fit to made data, of which every third site is not for training, and some are unknown."""
    sites, events, columns = made(200)
    training = [{0: False, 1: None}.get(k // 2 % 9, True) for k in range(200)]
    columns["soil"][4] = 11.36
    columns["mm"][5] = columns["fire"][6] = None
    events[7] = None
    return sites, events, columns, training


@pytest.fixture(scope="module")
def fitted(made_fit):
    return refit(declared(), complete_rows(*made_fit))


def test_parts_and_gaps_are_counted(made_fit, fitted):
    sites, events, columns, training = made_fit
    complete = [k for k in range(200) if k not in (5, 6, 7)]
    for part, chosen in ((fitted.training, True), (fitted.test, False)):
        own = [k for k in complete if training[k] is chosen]
        assert part.observations == len(own)
        assert part.sites == len({sites[k] for k in own})
        assert part.events == sum(events[k] for k in own)
    assert fitted.complete.observations == 197
    assert fitted.in_no_part == sum(training[k] is None for k in complete)
    assert fitted.gaps == Gaps(1, 0, {"terrain": 0, "fire": 1, "soil": 0, "mm": 1})
    (odd,) = fitted.implausible
    assert (odd.name, odd.column, odd.observations) == ("soil", "KF", 1)
    assert (odd.low, odd.high, odd.largest) == (0, 1, 11.36)
    assert columns["soil"][4] == 11.36


def test_scores_are_those_of_counting(made_fit, fitted):
    rows = complete_rows(*made_fit)
    link = fitted_link(
        declared(),
        rows.values[[part is True for part in rows.training]],
        rows.events[[part is True for part in rows.training]],
    )
    for name, (b, *slopes) in {
        "refitted": (link.intercept, *link.coefficients.values()),
        "published": (-3.63, 0.41, 0.67, 0.70),
    }.items():
        hits = misses_and_alarms = 0
        for values, event, part in zip(rows.values, rows.events, rows.training, strict=True):
            if part is not False:
                continue
            odds = b + values[3] * sum(slope * x for slope, x in zip(slopes, values, strict=False))
            said = 1 / (1 + math.exp(-odds)) >= 0.5
            hits += said and event
            misses_and_alarms += said != event
        (scores,) = [
            each for each in fitted.scores if (each.coefficients, each.part) == (name, "test")
        ]
        assert scores.threat_score_half == pytest.approx(hits / (hits + misses_and_alarms))
    assert [(each.coefficients, each.part) for each in fitted.scores] == [
        (name, part) for name in ("published", "refitted") for part in ("training", "test")
    ]


def test_intervals_hold_the_estimate(fitted):
    assert (fitted.resamples, fitted.interval_level) == (1000, 0.95)
    assert [each.name for each in fitted.coefficients] == ["intercept", *INPUTS]
    assert [each.published for each in fitted.coefficients] == [-3.63, 0.41, 0.67, 0.70]
    for each in fitted.coefficients:
        assert each.refitted.low < each.refitted.value < each.refitted.high, each.name


def test_the_order_of_rows_changes_nothing(made_fit, fitted):
    sites, events, columns, training = made_fit
    order = random.Random(2).sample(range(200), 200)
    shuffled = complete_rows(
        [sites[k] for k in order],
        [events[k] for k in order],
        {name: [cells[k] for k in order] for name, cells in columns.items()},
        [training[k] for k in order],
    )
    assert refit(declared(), shuffled) == fitted


def test_without_training_all_are_fitted_to():
    sites, events, columns = made(60)
    fitted = refit(replace(declared(), training=None), complete_rows(sites, events, columns))
    assert fitted.training == fitted.complete
    assert fitted.test.observations == 0
    assert {each.part for each in fitted.scores} == {"training"}


def test_one_site_has_no_intervals():
    _, events, columns = made(60)
    fitted = refit(declared(), complete_rows(["a"] * 60, events, columns))
    assert fitted.resamples == 0
    assert {each.refitted.low for each in fitted.coefficients} == {None}


def test_a_test_of_one_kind_has_no_scores():
    sites, events, columns = made(60)
    training = [not event or k % 2 == 0 for k, event in enumerate(events)]
    fitted = refit(declared(), complete_rows(sites, events, columns, training))
    assert fitted.test.observations == fitted.test.events > 0
    assert {each.roc_area for each in fitted.scores if each.part == "test"} == {None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"columns": {"mm": [None] * 20}},
            "observations.refits[1]: found no complete observation (20 without mm); expected "
            "observations with a known response, rainfall, and every input. Name other "
            "columns, or complete the site table.",
        ),
        (
            {"training": [False] * 20},
            "observations.refits[1].training: found no complete observation with Training in the "
            "column 'Database'; expected values of the observations that the model is fitted to. "
            "Correct the values or the column.",
        ),
        (
            {"events": [True] * 20},
            "observations.refits[1]: found 20 complete observations for training, all with a "
            "debris flow; expected observations with a debris flow and others without. Look at "
            "observations.response.events, or choose other observations for training.",
        ),
    ],
)
def test_nothing_to_fit_to_is_said(change, said):
    sites, events, columns = made(20)
    rows = complete_rows(
        sites,
        change.get("events", events),
        columns | change.get("columns", {}),
        change.get("training"),
    )
    with pytest.raises(TableError) as caught:
        refit(declared(), rows)
    assert str(caught.value) == said


def test_what_is_written_is_read(fitted, tmp_path):
    path = tmp_path / "refit.json"
    write_refits([fitted], "Response", path)
    assert read_refits(path) == (fitted,)
    assert json.loads(path.read_text())["response"] == "Response"
    with result_file(path) as part:
        part.write_text("{}")
    with pytest.raises(ResultError, match="a file of another form"):
        read_refits(path)


@pytest.fixture(scope="module")
def published(shared_data, tmp_path_factory):
    """Rule refit for the table of Staley et al. (2016, USGS OFR 2016-1106)."""
    folder = tmp_path_factory.mktemp("staley")
    settings = SITES | {"path": str(shared_data("staley2016") / TABLE), "sheet": SHEET}
    prepared = prepare_sites({"area_unit": "km2", "crs": None} | settings)
    names = ("sites.parquet", "observations.parquet", "rejected.csv", "warnings.json")
    prepared.write(*(folder / name for name in names))
    refit_rule.main(
        settings=SETTINGS,
        features=[],
        observations=str(folder / "observations.parquet"),
        output=str(folder / "refit.json"),
        log=str(folder / "refit.log"),
    )
    return read_refits(folder / "refit.json")[0], (folder / "refit.log").read_text()


def test_the_published_table_gives_the_coefficients_of_the_published_notebook(published):
    """Of Roten et al. (2022), which ended its iteration in the fifth digit."""
    found, log = published
    assert found.complete.observations == 1243
    assert (found.training.observations, found.test.observations) == (815, 428)
    values = [each.refitted.value for each in found.coefficients]
    assert values == pytest.approx([-3.60633884, 0.41588397, 0.65929292, 0.67975971], abs=5e-5)
    scores = {(each.coefficients, each.part): each for each in found.scores}
    assert scores["refitted", "test"].threat_score_half == pytest.approx(0.386179, abs=1e-6)
    assert scores["refitted", "training"].threat_score_half == pytest.approx(0.411255, abs=1e-6)
    for each in found.coefficients:
        assert each.refitted.low < each.published < each.refitted.high
    # Published KF of up to 11.36 are used, and counted.
    assert [(each.name, each.observations) for each in found.implausible] == [("soil", 4)]
    assert "4 values of soil (KF) are outside 0 to 1" in log


def test_published_coefficients_give_the_published_likelihoods():
    values = np.array([[0.0, 0.2125, 0.2, 4.0], [0.0, 0.2125, 0.2, 5.0], [0.0, 0.2125, 0.2, 6.0]])
    found = likelihoods(declared(), declared().published, values)
    assert found == pytest.approx([0.075823, 0.098135, 0.126116], abs=1e-6)
