"""Classifiers: no site on both sides, scores of what was not seen, the same bytes each time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakeshed.errors import ResultError, TableError
from snakeshed.learning.classifiers import (
    KINDS,
    Baseline,
    compare,
    read_comparison,
    unseen_groups,
    write_comparison,
)
from snakeshed.learning.complete_rows import CompleteRows, complete_rows
from snakeshed.learning.declared import declared_refits
from snakeshed.learning.refit import fitted_link, likelihoods
from snakeshed.result_files import result_file

SCRIPTS = Path(__file__).parents[3] / "scripts"
COLUMNS = ("terrain", "fire", "soil", "mm")
SEEDS, SHARE = 3, 0.25
REFIT = {
    "model": "staley2017_m1",
    "duration_min": 15,
    "inputs": {"terrain": "a", "fire": "b", "soil": "c"},
    "training": None,
}
SETTINGS = {
    "layers": [],
    "observations": {
        "rainfall": [{"duration_min": 15, "column": "mm", "unit": "mm"}],
        "response": {"column": "R", "events": [1]},
        "refits": [REFIT],
        "classifiers": None,
    },
}


def made(count: int = 90, per_site: int = 3) -> tuple[list, list, list]:
    """Sites, responses, and values of observations; three sites make a fire."""
    dice = random.Random(5)
    values = [
        [dice.random(), dice.random(), dice.random(), 20 * dice.random()] for _ in range(count)
    ]
    events = [dice.random() < 1 / (1 + np.exp(2 - 0.6 * mm * (a + c))) for a, _, c, mm in values]
    return [f"s{k // per_site:02d}" for k in range(count)], events, values


def rows_of(sites, events, values, groups=None) -> CompleteRows:
    columns = dict(zip(COLUMNS, map(list, zip(*values, strict=True)), strict=True))
    return complete_rows(sites, events, columns, groups=groups)


# The others take seconds for each split, however few observations there are.
QUICK = [kind for kind in KINDS if kind.name != "gradient boosting"]


def compared(rows: CompleteRows, **options):
    options = {"seeds": SEEDS, "test_share": SHARE, "kinds": QUICK} | options
    baseline = Baseline(declared_refits(SETTINGS, [])[0], rows.values)
    return compare(rows, COLUMNS, [baseline], "R", **options)


@pytest.fixture(scope="module")
def rows() -> CompleteRows:
    return rows_of(*made())


@pytest.fixture(scope="module")
def found(rows):
    return compared(rows)


@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=2).filter(lambda each: len(set(each)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 1000),
    st.randoms(),
)
def test_a_split_has_its_share_of_the_sites_in_any_order(sites, share, seed, dice):
    unseen = unseen_groups(sites, share, seed)
    names = set(sites)
    assert unseen < names
    assert len(unseen) >= 1
    assert abs(len(unseen) - share * len(names)) <= max(0.5, 1 - share * len(names)) + 0.5
    assert unseen_groups(dice.sample(sites, len(sites)), share, seed) == unseen


def test_splits_differ():
    sites = [f"s{k}" for k in range(40)]
    assert len({unseen_groups(sites, 0.2, seed) for seed in range(20)}) == 20


def test_both_sides_of_a_split_are_all_rows(rows, found):
    assert [split.seed for split in found.splits] == list(range(SEEDS))
    for split in found.splits:
        sides = split.training, split.test
        assert sum(each.observations for each in sides) == found.complete.observations == 90
        # 22.5 % are rounded to a whole number; no site is counted on both sides.
        assert (split.test.sites, split.training.sites) == (8, 22)
        assert sum(each.events for each in sides) == found.complete.events
        unseen = unseen_groups(rows.sites, SHARE, split.seed)
        own = [site in unseen for site in rows.sites]
        assert split.test.observations == sum(own)
        assert split.test.events == int(rows.events[own].sum())


def test_threat_scores_are_those_of_counting(rows, found):
    """The forest, fitted here as in the library, and both fits of the published model."""
    declared = declared_refits(SETTINGS, [])[0]
    by_name = {(each.name, each.settings): each for each in found.compared}
    assert [each.model for each in found.compared] == [
        *["staley2017_m1"] * 2,
        *[None] * len(QUICK),
    ]
    for split in found.splits:
        unseen = unseen_groups(rows.sites, SHARE, split.seed)
        test = np.array([site in unseen for site in rows.sites])
        (forest,) = [kind for kind in KINDS if kind.name == "random forest"]
        classifier = forest.make(split.seed, int((~test).sum()))
        classifier.fit(rows.values[~test], rows.events[~test])
        link = fitted_link(declared, rows.values[~test], rows.events[~test])
        for key, given_likelihoods in {
            ("random forest", forest.settings): classifier.predict_proba(rows.values[test])[:, 1],
            ("staley2017_m1_15min", "fitted again"): likelihoods(declared, link, rows.values[test]),
            ("staley2017_m1_15min", "as published"): likelihoods(
                declared, declared.published, rows.values[test]
            ),
        }.items():
            said, happened = np.array(given_likelihoods) >= 0.5, rows.events[test]
            expected = (said & happened).sum() / (said | happened).sum()
            (scores,) = [each for each in by_name[key].splits if each.seed == split.seed]
            assert scores.threat_score_half == expected, key


def test_spreads_are_of_all_splits(found):
    for each in found.compared:
        for measure in ("threat_score_half", "roc_area", "brier_score"):
            values = [getattr(split, measure) for split in each.splits]
            spread = getattr(each, measure)
            assert (spread.low, spread.high) == (min(values), max(values))
            assert spread.median == median(values)
            assert len(values) == SEEDS


def test_classifiers_learn_what_there_is_to_learn(found):
    """All rank better than a coin, and none of them knows the test."""
    for each in found.compared:
        assert 0.5 < each.roc_area.median < 1, each.name


def test_the_order_of_rows_changes_nothing(found):
    together = list(zip(*made(), strict=True))
    shuffled = random.Random(4).sample(together, len(together))
    assert compared(rows_of(*zip(*shuffled, strict=True))) == found


def test_threads_change_no_byte(rows, tmp_path):
    """As many as a machine has, or as Snakemake gives to a job; of all kinds."""
    write_comparison(compared(rows, seeds=1, kinds=KINDS), tmp_path / "here.json")
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:];"
        "import test_classifiers as made;"
        "found = made.compared(made.rows_of(*made.made()), seeds=1, kinds=made.KINDS);"
        "made.write_comparison(found, Path(sys.argv[1]))"
    )
    folders = [str(Path(__file__).parent), *filter(None, sys.path)]
    threads = {f"{name}_NUM_THREADS": "4" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "GOTO")}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "there.json", *folders],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)} | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()


def test_groups_of_sites_stay_together():
    sites, events, values = made()
    fires = [f"fire {int(site[1:]) // 3}" for site in sites]
    rows = rows_of(sites, events, values, fires)
    found = compared(rows, split_by="Fire_ID", seeds=1)
    (split,) = found.splits
    unseen = unseen_groups(fires, SHARE, 0)
    assert found.split_by == "Fire_ID"
    # A quarter of ten fires, of three sites each.
    assert split.test.sites == 3 * len(unseen) == 6
    assert split.test.observations == sum(fire in unseen for fire in fires)


def test_a_split_without_both_kinds_is_not_scored():
    """One site has all debris flows: whichever side it is on, the other has none."""
    sites, events, values = made(40)
    events = [site in ("s00", "s01") for site in sites]
    found = compared(rows_of(sites, events, values), seeds=6)
    scored = [split.seed for split in found.splits if split.scored]
    assert 0 < len(scored) < 6
    for split in found.splits:
        both = all(0 < part.events < part.observations for part in (split.training, split.test))
        assert split.scored == both
    for each in found.compared:
        assert [split.seed for split in each.splits] == scored


@pytest.mark.parametrize(
    ("sites", "events", "split_by", "said"),
    [
        (
            ["a"] * 4,
            [True, False] * 2,
            None,
            "observations.classifiers: found complete observations of 1 site (none is left out); "
            "expected at least two, to fit to one and test with the other. Name columns with "
            "fewer gaps, or complete the site table.",
        ),
        (
            ["a"] * 4,
            [True, False] * 2,
            "Fire_ID",
            "observations.classifiers: found complete observations of 1 value of 'Fire_ID' (",
        ),
        (
            [],
            [],
            None,
            "observations.classifiers: found complete observations of 0 sites (",
        ),
        (
            list("abcd"),
            [False] * 4,
            None,
            "observations.classifiers: found 4 complete observations, all without a debris flow; "
            "expected observations with a debris flow and others without. Look at "
            "observations.response.events.",
        ),
        (
            list("aabb"),
            [True, True, False, False],
            None,
            "observations.classifiers: found 2 of 4 complete observations with a debris flow, at 2 "
            "sites, and no split that has both kinds on both sides; expected debris flows, and "
            "observations without, at several sites. Add observations, name columns with fewer "
            "gaps, or set observations.classifiers.test_share closer to 0.5.",
        ),
    ],
)
def test_too_little_to_compare_is_said(sites, events, split_by, said):
    values = [[0.1, 0.2, 0.3, 4.0]] * len(sites)
    columns = {name: [row[k] for row in values] for k, name in enumerate(COLUMNS)}
    rows = complete_rows(sites, events, columns)
    with pytest.raises(TableError) as caught:
        compared(rows, split_by=split_by)
    assert str(caught.value).startswith(said)


def test_what_is_written_is_read(found, tmp_path):
    path = tmp_path / "classifiers.json"
    write_comparison(found, path)
    assert read_comparison(path) == found
    assert json.loads(path.read_text())["columns"] == list(COLUMNS)
    with result_file(path) as part:
        part.write_text("[]")
    with pytest.raises(ResultError, match="a file of another form"):
        read_comparison(path)
