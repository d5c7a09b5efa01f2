"""How good the likelihoods of models are: ``skill.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from snakeshed.observations.resampling import LEVEL, RESAMPLES, interval, resamples
from snakeshed.observations.scores import CalibrationBin, Ranked, RocPoint
from snakeshed.result_files import read_json, write_json


@dataclass(frozen=True)
class Estimate:
    """A measure with its interval.

    Attributes
    ----------
    value : float
    low, high : float or None
        Of the interval; None for observations of a single site.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ModelSkill:
    """How good a model is for one duration of rainfall.

    Attributes
    ----------
    model : str
    duration_min : int
        Minutes.
    column : str
        The likelihood in ``dataset.parquet``.
    observations : int
        That have a likelihood and a known response.
    sites : int
        That these observations are of.
    events : int
        Of these observations, those with a debris flow.
    without_likelihood : int
        Observations whose response is known and that have no likelihood.
    reason : str or None
        Why there are no measures; None if there are.
    threat_score_best, threat_score_half, roc_area, brier_score : Estimate or None
        See `snakeshed.observations.scores`.
    threshold_best : float or None
        Likelihood that gives the best threat score.
    resamples : int
        On which the intervals rest: those of `RESAMPLES` with observations of both kinds.
    roc : tuple of RocPoint
        Empty without measures.
    calibration : tuple of CalibrationBin
        Empty without measures.
    """

    model: str
    duration_min: int
    column: str
    observations: int
    sites: int
    events: int
    without_likelihood: int
    reason: str | None = None
    threat_score_best: Estimate | None = None
    threshold_best: float | None = None
    threat_score_half: Estimate | None = None
    roc_area: Estimate | None = None
    brier_score: Estimate | None = None
    resamples: int = 0
    roc: tuple[RocPoint, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True)
class Skill:
    """How good the models of a study are.

    Attributes
    ----------
    response : str
        The column of the site table that says whether there was a debris flow.
    interval_level : float
        Of all intervals.
    resamples : int
        Bootstrap samples of whole sites.
    models : tuple of ModelSkill
    """

    response: str
    interval_level: float
    resamples: int
    models: tuple[ModelSkill, ...]


@dataclass(frozen=True)
class Scored:
    """What a model gives for observations.

    Attributes
    ----------
    model : str
    duration_min : int
        Minutes.
    column : str
        The likelihood in ``dataset.parquet``.
    likelihoods : sequence of (float or None)
        0 to 1, for each observation.
    """

    model: str
    duration_min: int
    column: str
    likelihoods: Sequence[float | None]


def skill(
    response: str,
    sites: Sequence[str],
    events: Sequence[bool | int | None],
    scored: Sequence[Scored],
) -> Skill:
    """Compare the likelihoods of models with what happened.

    Parameters
    ----------
    response : str
        Name of the column of the response.
    sites : sequence of str
        The site of each observation.
    events : sequence of (bool, int, or None)
        Whether there was a debris flow; None where that is not known.
    scored : sequence of Scored
        Each with a likelihood for each observation.

    Returns
    -------
    Skill
        Which does not depend on the order of the observations.
    """
    models = tuple(_skill_of(each, sites, events) for each in scored)
    return Skill(response, LEVEL, RESAMPLES, models)


def _skill_of(
    scored: Scored, sites: Sequence[str], events: Sequence[bool | int | None]
) -> ModelSkill:
    rows = [
        (site, bool(event), likelihood)
        for site, event, likelihood in zip(sites, events, scored.likelihoods, strict=True)
        if event is not None and likelihood is not None
    ]
    of_site, happened, likelihoods = zip(*rows, strict=True) if rows else ((), (), ())
    known = sum(event is not None for event in events)
    counted = {
        "model": scored.model,
        "duration_min": scored.duration_min,
        "column": scored.column,
        "observations": len(rows),
        "sites": len(set(of_site)),
        "events": sum(happened),
        "without_likelihood": known - len(rows),
    }
    ranked = Ranked(likelihoods, happened)
    found = ranked.measures()
    if found is None:
        return ModelSkill(**counted, reason=_without_measures(known, happened))
    samples = list(filter(None, map(ranked.measures, resamples(of_site))))
    if counted["sites"] < 2:
        samples = []

    def estimate(name: str) -> Estimate:
        values = [getattr(sample, name) for sample in samples]
        low, high = interval(values) if values else (None, None)
        return Estimate(getattr(found, name), low, high)

    return ModelSkill(
        **counted,
        threat_score_best=estimate("threat_best"),
        threshold_best=found.threshold_best,
        threat_score_half=estimate("threat_half"),
        roc_area=estimate("roc_area"),
        brier_score=estimate("brier"),
        resamples=len(samples),
        roc=ranked.roc(),
        calibration=ranked.calibration(),
    )


def _without_measures(known: int, happened: Sequence[bool]) -> str:
    if not known:
        return "no observation has a known response"
    if not happened:
        return "no observation with a known response has a likelihood"
    kind = "without" if happened[0] else "with"
    return f"no observation with a likelihood is one {kind} a debris flow"


def write_skill(found: Skill, path: str | Path) -> None:
    """Write ``skill.json``.

    Parameters
    ----------
    found : Skill
    path : str or Path
        The file; it appears atomically, with a record of its bytes.
    """
    write_json(asdict(found), path)


def read_skill(path: str | Path) -> Skill:
    """Read ``skill.json``.

    Parameters
    ----------
    path : str or Path
        A file that `write_skill` wrote.

    Returns
    -------
    Skill
        What was written.

    Raises
    ------
    ResultError
        The file, or the record of its bytes, is missing, or it is damaged.
    """
    return read_json(path, _skill)


def _skill(said: dict) -> Skill:
    models = tuple(_model_skill(each) for each in said.pop("models"))
    return Skill(**said, models=models)


def _model_skill(said: Mapping) -> ModelSkill:
    parts = dict(said)
    for name in ("threat_score_best", "threat_score_half", "roc_area", "brier_score"):
        parts[name] = None if said[name] is None else Estimate(**said[name])
    parts["roc"] = tuple(RocPoint(**each) for each in said["roc"])
    parts["calibration"] = tuple(CalibrationBin(**each) for each in said["calibration"])
    return ModelSkill(**parts)
