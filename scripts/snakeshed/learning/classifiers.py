"""Classifiers of scikit-learn beside published models: ``classifiers.json``.

The sites are split at random, again and again, into some that are fitted to and some that are not
seen: observations of a site are alike, so none of them may be on both sides. What differs from
split to split shows how far the scores of a single split can be trusted.

Kinds and settings are those of Roten et al. (2022, IEEE International Conference on Big Data) and
their published notebooks, as they are there for the columns of the table alone. They scored one
split, and before it they multiplied each column of rainfall by uniform noise of up to 10 percent
either way, since sites that share a rain gauge have the very same numbers, by which a forest knows
its neighbors. There is no such noise here: the rainfall is as measured. A split by a column of
groups, such as the fire, keeps such sites on one side.

One thread does all sums, and each split fixes all seeds. Exponentials of NumPy can differ in their
last bit between CPUs, and two nearly equal choices of a tree could then change places: the same
bytes are promised for one kind of machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from snakeshed.errors import TableError
from snakeshed.learning.complete_rows import CompleteRows, Gaps, Part, part_of
from snakeshed.learning.declared import Refit
from snakeshed.learning.refit import fitted_link, likelihoods
from snakeshed.observations.scores import Ranked
from snakeshed.progress import counted
from snakeshed.result_files import read_json, write_json

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

NEIGHBORS = 5
PUBLISHED, REFITTED = "as published", "fitted again"


@dataclass(frozen=True)
class Kind:
    """A kind of classifier.

    Attributes
    ----------
    name : str
    settings : str
        In words.
    make : callable
        Takes the seed and the number of observations to fit to; returns a new classifier.
    """

    name: str
    settings: str
    make: Callable[[int, int], ClassifierMixin]


def _logistic(seed: int, observations: int) -> ClassifierMixin:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=10_000, random_state=seed)


def _tree(seed: int, observations: int) -> ClassifierMixin:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(criterion="entropy", max_depth=9, random_state=seed)


def _forest(seed: int, observations: int) -> ClassifierMixin:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=100, criterion="entropy", max_depth=10, random_state=seed, n_jobs=1
    )


def _boosting(seed: int, observations: int) -> ClassifierMixin:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(
        n_estimators=1000, learning_rate=1.0, max_depth=3, random_state=seed
    )


def _neighbors(seed: int, observations: int) -> ClassifierMixin:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Without random numbers. Scaled by what is fitted to, not by what is tested.
    neighbors = KNeighborsClassifier(min(NEIGHBORS, observations), n_jobs=1)
    return make_pipeline(StandardScaler(), neighbors)


KINDS = (
    Kind("logistic regression", "L2 penalty, C = 1", _logistic),
    Kind("decision tree", "entropy, depth of at most 9", _tree),
    Kind("random forest", "100 trees, entropy, depth of at most 10", _forest),
    Kind("gradient boosting", "1,000 trees, learning rate 1, depth of at most 3", _boosting),
    Kind("nearest neighbors", f"{NEIGHBORS} neighbors, columns scaled by deviation", _neighbors),
)


@dataclass(frozen=True)
class Baseline:
    """A published model, and what it takes of the complete rows.

    Attributes
    ----------
    declared : Refit
    values : numpy.ndarray of float64
        Inputs and then the rainfall (mm), shape (n, inputs + 1).
    """

    declared: Refit
    values: np.ndarray


@dataclass(frozen=True)
class Split:
    """A split of the sites.

    Attributes
    ----------
    seed : int
    training, test : Part
    scored : bool
        False where a part lacks observations with a debris flow, or ones without.
    """

    seed: int
    training: Part
    test: Part
    scored: bool


@dataclass(frozen=True)
class SplitScores:
    """How good a classifier was for the test of one split.

    Attributes
    ----------
    seed : int
    threat_score_half, roc_area, brier_score : float
        See `snakeshed.observations.scores`.
    """

    seed: int
    threat_score_half: float
    roc_area: float
    brier_score: float


@dataclass(frozen=True)
class Spread:
    """A measure over all scored splits: its smallest, middle, and largest value."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Compared:
    """A classifier, or a published model beside the others.

    Attributes
    ----------
    name : str
    settings : str
        In words.
    model : str or None
        The published model that it is, as published or with coefficients that are fitted to the
        same observations as the classifiers; None for a classifier.
    threat_score_half, roc_area, brier_score : Spread
    splits : tuple of SplitScores
    """

    name: str
    settings: str
    model: str | None
    threat_score_half: Spread
    roc_area: Spread
    brier_score: Spread
    splits: tuple[SplitScores, ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison of classifiers.

    Attributes
    ----------
    response : str
        The column of the site table that says whether there was a debris flow.
    columns : tuple of str
        That classifiers take.
    split_by : str or None
        The column of which no value is on both sides of a split; None for sites.
    test_share : float
        Of its values, or of the sites.
    complete : Part
        Observations with a known response, and all that classifiers and published models take.
    gaps : Gaps
        What observations lack that are not complete.
    splits : tuple of Split
    compared : tuple of Compared
    """

    response: str
    columns: tuple[str, ...]
    split_by: str | None
    test_share: float
    complete: Part
    gaps: Gaps
    splits: tuple[Split, ...]
    compared: tuple[Compared, ...]


def unseen_groups(groups: Sequence[str], share: float, seed: int) -> frozenset[str]:
    """Draw the sites, or groups of sites, that a classifier is tested with.

    Parameters
    ----------
    groups : sequence of str
        The site or group of each observation; at least two different ones.
    share : float
        Of them, between 0 and 1. At least one is drawn, and at least one is not.
    seed : int

    Returns
    -------
    frozenset of str
        The same for any order of `groups`.
    """
    names = sorted(set(groups))
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    return frozenset(names[place] for place in drawn[:count])


def compare(
    rows: CompleteRows,
    columns: Sequence[str],
    baselines: Sequence[Baseline],
    response: str,
    seeds: int,
    test_share: float,
    split_by: str | None = None,
    kinds: Sequence[Kind] = KINDS,
) -> Comparison:
    """Fit classifiers to parts of the observations and score them on the others.

    Parameters
    ----------
    rows : CompleteRows
        Its first columns are those that classifiers take.
    columns : sequence of str
        Their names.
    baselines : sequence of Baseline
        Published models to score on the same observations: as published, and fitted as classifiers
        are.
    response : str
    seeds : int
        Number of splits. A split and what is fitted to it have the same seed, from 0.
    test_share : float
        Share of the groups that are not fitted to.
    split_by : str, optional
        The column that the groups of `rows` are from; they are sites by default.
    kinds : sequence of Kind, optional
        Classifiers to fit; all by default.

    Returns
    -------
    Comparison
        Which depends neither on the order of observations nor on the number of threads.

    Raises
    ------
    TableError
        There are too few groups, or too few observations of one kind.
    """
    from threadpoolctl import threadpool_limits  # which comes with scikit-learn

    _check(rows, split_by)
    taken = rows.values[:, : len(columns)]
    scores: dict[tuple[str, str], list[SplitScores]] = {}
    splits = []
    # The bits of a sum depend on the number of threads.
    with threadpool_limits(limits=1):
        for seed in counted(range(seeds), "comparing classifiers", seeds, "splits"):
            unseen = unseen_groups(rows.groups, test_share, seed)
            test = np.array([group in unseen for group in rows.groups], np.bool_)
            parts = part_of(rows, ~test), part_of(rows, test)
            scored = all(0 < part.events < part.observations for part in parts)
            splits.append(Split(seed, *parts, scored))
            if not scored:
                continue
            happened = rows.events[test]
            for each in baselines:
                fitted = fitted_link(each.declared, each.values[~test], rows.events[~test])
                for how, link in ((PUBLISHED, each.declared.published), (REFITTED, fitted)):
                    given = likelihoods(each.declared, link, each.values[test])
                    own = scores.setdefault((each.declared.name, how), [])
                    own.append(_scores(seed, given, happened))
            for kind in kinds:
                classifier = kind.make(seed, parts[0].observations)
                classifier.fit(taken[~test], rows.events[~test])
                given = classifier.predict_proba(taken[test])[:, 1]
                own = scores.setdefault((kind.name, kind.settings), [])
                own.append(_scores(seed, given, happened))
    complete = part_of(rows, np.ones(len(rows.sites), np.bool_))
    if not scores:
        raise TableError(
            "observations.classifiers",
            f"{complete.events:,} of {complete.observations:,} complete observations with a debris "
            f"flow, at {complete.sites:,} sites, and no split that has both kinds on both sides",
            "debris flows, and observations without, at several sites",
            "Add observations, name columns with fewer gaps, or set observations.classifiers."
            "test_share closer to 0.5.",
        )
    models = {each.declared.name: each.declared.model.name for each in baselines}
    return Comparison(
        response=response,
        columns=tuple(columns),
        split_by=split_by,
        test_share=test_share,
        complete=complete,
        gaps=rows.gaps,
        splits=tuple(splits),
        compared=tuple(
            _compared(name, settings, models.get(name), own)
            for (name, settings), own in scores.items()
        ),
    )


def _check(rows: CompleteRows, split_by: str | None) -> None:
    groups = len(set(rows.groups))
    if groups < 2:
        what = "site" if groups == 1 else "sites"
        if split_by is not None:
            what = f"{'value' if groups == 1 else 'values'} of {split_by!r}"
        raise TableError(
            "observations.classifiers",
            f"complete observations of {groups} {what} ({rows.gaps})",
            "at least two, to fit to one and test with the other",
            "Name columns with fewer gaps, or complete the site table.",
        )
    if rows.events.all() or not rows.events.any():
        kind = "with" if rows.events[0] else "without"
        raise TableError(
            "observations.classifiers",
            f"{len(rows.sites):,} complete observations, all {kind} a debris flow",
            "observations with a debris flow and others without",
            "Look at observations.response.events.",
        )


def _scores(seed: int, given: Sequence[float], happened: np.ndarray) -> SplitScores:
    measures = Ranked(given, happened).measures()
    return SplitScores(seed, measures.threat_half, measures.roc_area, measures.brier)


def _compared(
    name: str, settings: str, model: str | None, splits: Sequence[SplitScores]
) -> Compared:
    spreads = {
        measure: _spread([getattr(each, measure) for each in splits])
        for measure in ("threat_score_half", "roc_area", "brier_score")
    }
    return Compared(name, settings, model, splits=tuple(splits), **spreads)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values))


def write_comparison(found: Comparison, path: str | Path) -> None:
    """Write ``classifiers.json``.

    Parameters
    ----------
    found : Comparison
    path : str or Path
        The file; it appears atomically, with a record of its bytes.
    """
    write_json(asdict(found), path)


def read_comparison(path: str | Path) -> Comparison:
    """Read ``classifiers.json``.

    Parameters
    ----------
    path : str or Path
        A file that `write_comparison` wrote.

    Raises
    ------
    ResultError
        The file, or the record of its bytes, is missing, or it is damaged.
    """
    return read_json(path, _comparison)


def _comparison(said: Mapping) -> Comparison:
    return Comparison(
        **said
        | {
            "columns": tuple(said["columns"]),
            "complete": Part(**said["complete"]),
            "gaps": Gaps(**said["gaps"]),
            "splits": tuple(map(_split, said["splits"])),
            "compared": tuple(map(_read, said["compared"])),
        }
    )


def _split(said: Mapping) -> Split:
    return Split(**said | {name: Part(**said[name]) for name in ("training", "test")})


def _read(said: Mapping) -> Compared:
    spreads = {
        name: Spread(**said[name]) for name in ("threat_score_half", "roc_area", "brier_score")
    }
    splits = tuple(SplitScores(**each) for each in said["splits"])
    return Compared(**said | spreads | {"splits": splits})
