"""Refits of published models: ``refit.json``.

The coefficients of a published model are estimated again, from the observations of a study, by the
logistic regression of scikit-learn: the log-odds are linear in the products of each input with the
rainfall. The default penalty of scikit-learn stays in force, half the sum of the squared
coefficients without the intercept (L2, C = 1). The published notebooks of Roten et al. (2022, IEEE
International Conference on Big Data) have it too, so that their coefficients can be compared.
Newton's method finds the minimum itself: the coefficients do not depend on where an iteration ends.
The bootstrap draws whole sites of the training, and fits anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from snakeshed.errors import TableError
from snakeshed.learning.complete_rows import CompleteRows, Gaps, Part, part_of
from snakeshed.learning.declared import Refit
from snakeshed.models.logistic import Link, LogisticModel
from snakeshed.observations.resampling import LEVEL, interval, resamples
from snakeshed.observations.scores import Ranked
from snakeshed.observations.skill import Estimate
from snakeshed.result_files import read_json, write_json

PENALTY = "L2, C = 1, without the intercept"

# Of coefficients. The last bits of a sum differ between CPUs; scores are of what is written.
_DECIMALS = 6
# Of the gradient; much less than what the decimals show.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of a refit.

    Attributes
    ----------
    name : str
        ``intercept``, or the key of the input.
    column : str or None
        That the input is from; None for the intercept.
    published : float
    refitted : Estimate
        With the interval of a bootstrap of whole sites.
    """

    name: str
    column: str | None
    published: float
    refitted: Estimate


@dataclass(frozen=True)
class FitScores:
    """How good one set of coefficients is for one part of the observations.

    Attributes
    ----------
    coefficients : {"published", "refitted"}
    part : {"training", "test"}
    threat_score_half, roc_area, brier_score : float or None
        See `snakeshed.observations.scores`; None if the part has observations of one kind only.
    """

    coefficients: str
    part: str
    threat_score_half: float | None
    roc_area: float | None
    brier_score: float | None


@dataclass(frozen=True)
class Implausible:
    """Values of an input that no catchment can be expected to have. They are used.

    Attributes
    ----------
    name : str
        Key of the input.
    column : str
    observations : int
        Complete ones with such a value.
    low, high : float
        What can be expected.
    largest, smallest : float
        Of all complete observations.
    """

    name: str
    column: str
    observations: int
    low: float
    high: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class FittedModel:
    """A refit.

    Attributes
    ----------
    model : str
    duration_min : int
        Minutes.
    penalty : str
    complete, training, test : Part
        The test has observations only if the configuration says which are for training.
    in_no_part : int
        Complete observations of which it is not known whether they are for training.
    gaps : Gaps
        What observations lack that are not complete.
    implausible : tuple of Implausible
    coefficients : tuple of Coefficient
    interval_level : float
    resamples : int
        On which the intervals rest: those with observations of both kinds.
    scores : tuple of FitScores
    """

    model: str
    duration_min: int
    penalty: str
    complete: Part
    training: Part
    test: Part
    in_no_part: int
    gaps: Gaps
    implausible: tuple[Implausible, ...]
    coefficients: tuple[Coefficient, ...]
    interval_level: float
    resamples: int
    scores: tuple[FitScores, ...]


def refit(declared: Refit, rows: CompleteRows) -> FittedModel:
    """Fit a published model to observations.

    Parameters
    ----------
    declared : Refit
    rows : CompleteRows
        Its columns are the inputs, as the model takes them, and then the rainfall.

    Returns
    -------
    FittedModel
        Which does not depend on the order of the observations.

    Raises
    ------
    TableError
        There is nothing to fit to.
    """
    from threadpoolctl import threadpool_limits  # which comes with scikit-learn

    training = np.array([part is True for part in rows.training], np.bool_)
    test = np.array([part is False for part in rows.training], np.bool_)
    _check(declared, rows, training)
    taken = rows.values[training]
    # The bits of a sum depend on the number of threads.
    with threadpool_limits(limits=1):
        found = fitted_link(declared, taken, rows.events[training])
        samples = [
            fitted_link(declared, taken, rows.events[training], counts)
            for counts in resamples([rows.sites[place] for place in np.flatnonzero(training)])
            if _both_kinds(rows.events[training][counts > 0])
        ]
    counted = part_of(rows, training)
    if counted.sites < 2:
        samples = []
    fits = {"published": declared.published, "refitted": found}
    return FittedModel(
        model=declared.model.name,
        duration_min=declared.duration_min,
        penalty=PENALTY,
        complete=part_of(rows, np.ones(len(rows.sites), np.bool_)),
        training=counted,
        test=part_of(rows, test),
        in_no_part=sum(part is None for part in rows.training),
        gaps=rows.gaps,
        implausible=_implausible(declared, rows),
        coefficients=_coefficients(declared, found, samples),
        interval_level=LEVEL,
        resamples=len(samples),
        scores=tuple(
            _scores(name, part, likelihoods(declared, link, rows.values[chosen]), rows, chosen)
            for name, link in fits.items()
            for part, chosen in (("training", training), ("test", test))
            if chosen.any()
        ),
    )


def fitted_link(
    declared: Refit, values: np.ndarray, events: np.ndarray, counts: np.ndarray | None = None
) -> Link:
    """Estimate the coefficients of a model.

    Parameters
    ----------
    declared : Refit
    values : numpy.ndarray of float64
        Inputs and then the rainfall (mm), shape (n, inputs + 1).
    events : numpy.ndarray of bool
        Shape (n,), of both kinds.
    counts : numpy.ndarray of int64, optional
        How often each observation counts, shape (n,); once each by default.

    Returns
    -------
    Link
        To six decimals.
    """
    from sklearn.linear_model import LogisticRegression

    method = LogisticRegression(
        C=1.0, solver="newton-cholesky", tol=_TOLERANCE, max_iter=1000, random_state=0
    )
    method.fit(values[:, :-1] * values[:, -1:], events, sample_weight=counts)
    keys = [each.input.key for each in declared.inputs]
    slopes = [round(slope, _DECIMALS) for slope in method.coef_[0].tolist()]
    intercept = round(float(method.intercept_[0]), _DECIMALS)
    return Link(intercept, dict(zip(keys, slopes, strict=True)))


def likelihoods(declared: Refit, link: Link, values: np.ndarray) -> list[float]:
    """Return what a model with these coefficients gives.

    Parameters
    ----------
    declared : Refit
    link : Link
    values : numpy.ndarray of float64
        Inputs and then the rainfall (mm), shape (n, inputs + 1).
    """
    minutes = declared.duration_min
    model: LogisticModel = replace(declared.model, links={minutes: link})
    keys = [each.input.key for each in declared.inputs]
    return [
        model.values(dict(zip(keys, inputs, strict=True)), minutes, rain)["likelihood"]
        for *inputs, rain in values.tolist()
    ]


def _check(declared: Refit, rows: CompleteRows, training: np.ndarray) -> None:
    if not len(rows.sites):
        raise TableError(
            declared.key,
            f"no complete observation ({rows.gaps})",
            "observations with a known response, rainfall, and every input",
            "Name other columns, or complete the site table.",
        )
    if not training.any():
        column, values = declared.training.column, declared.training.events
        raise TableError(
            f"{declared.key}.training",
            f"no complete observation with {', '.join(map(str, values))} in the column {column!r}",
            "values of the observations that the model is fitted to",
            "Correct the values or the column.",
        )
    if not _both_kinds(rows.events[training]):
        kind = "with" if rows.events[training][0] else "without"
        raise TableError(
            declared.key,
            f"{training.sum():,} complete observations for training, all {kind} a debris flow",
            "observations with a debris flow and others without",
            "Look at observations.response.events, or choose other observations for training.",
        )


def _both_kinds(events: np.ndarray) -> bool:
    return bool(events.any() and not events.all())


def _coefficients(declared: Refit, found: Link, samples: Sequence[Link]) -> tuple[Coefficient, ...]:
    published = declared.published
    parts = [
        Coefficient(
            "intercept",
            None,
            published.intercept,
            _estimate(found.intercept, [each.intercept for each in samples]),
        )
    ]
    for each in declared.inputs:
        key = each.input.key
        estimate = _estimate(
            found.coefficients[key], [sample.coefficients[key] for sample in samples]
        )
        parts.append(Coefficient(key, each.column, published.coefficients[key], estimate))
    return tuple(parts)


def _estimate(value: float, samples: Sequence[float]) -> Estimate:
    low, high = interval(samples) if samples else (None, None)
    return Estimate(value, low, high)


def _implausible(declared: Refit, rows: CompleteRows) -> tuple[Implausible, ...]:
    found = []
    for place, each in enumerate(declared.inputs):
        low, high = each.input.plausible
        values = rows.values[:, place]
        outside = int(((values < low) | (values > high)).sum())
        if outside:
            key, column = each.input.key, each.column
            ends = float(values.min()), float(values.max())
            found.append(Implausible(key, column, outside, low, high, *ends))
    return tuple(found)


def _scores(
    name: str, part: str, given: Sequence[float], rows: CompleteRows, chosen: np.ndarray
) -> FitScores:
    measures = Ranked(given, rows.events[chosen]).measures()
    if measures is None:
        return FitScores(name, part, None, None, None)
    return FitScores(name, part, measures.threat_half, measures.roc_area, measures.brier)


def write_refits(found: Sequence[FittedModel], response: str, path: str | Path) -> None:
    """Write ``refit.json``.

    Parameters
    ----------
    found : sequence of FittedModel
    response : str
        The column of the site table that says whether there was a debris flow.
    path : str or Path
        The file; it appears atomically, with a record of its bytes.
    """
    said = {"response": response, "refits": [asdict(each) for each in found]}
    write_json(said, path)


def read_refits(path: str | Path) -> tuple[FittedModel, ...]:
    """Read ``refit.json``.

    Parameters
    ----------
    path : str or Path
        A file that `write_refits` wrote.

    Raises
    ------
    ResultError
        The file, or the record of its bytes, is missing, or it is damaged.
    """
    return read_json(path, lambda said: tuple(map(_fitted, said["refits"])))


def _fitted(said: Mapping) -> FittedModel:
    parts = dict(said)
    for name in ("complete", "training", "test"):
        parts[name] = Part(**said[name])
    parts["gaps"] = Gaps(**said["gaps"])
    parts["implausible"] = tuple(Implausible(**each) for each in said["implausible"])
    parts["coefficients"] = tuple(
        Coefficient(**each | {"refitted": Estimate(**each["refitted"])})
        for each in said["coefficients"]
    )
    parts["scores"] = tuple(FitScores(**each) for each in said["scores"])
    return FittedModel(**parts)
