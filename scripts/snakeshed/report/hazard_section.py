"""The report's section of hazards: what storms give, thresholds, and the data of map and table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snakeshed.models.combined import CombinedModel
from snakeshed.models.registry import published_models
from snakeshed.models.storms import storms_from_table
from snakeshed.report.hazard_runs import (
    HazardRun,
    HazardTables,
    hazard_runs,
    threshold_runs,
)
from snakeshed.report.hazard_scales import scales
from snakeshed.report.hazard_words import likelihood_text, storm_in_words
from snakeshed.report.page import number
from snakeshed.report.threshold_charts import ThresholdChart, threshold_charts

# Reasons, and remarks, that the section lists.
_MOST_REASONS = 12
_DIGITS = 4


@dataclass(frozen=True)
class StormResult:
    """What the section says of a model with a storm, at all sites.

    Attributes
    ----------
    model, storm, rainfall : str
    with_value, without_value : int
        Sites.
    likelihood, volume : str
        Median of the sites, and the largest with its site; empty if the model gives none.
    classes : str
        Sites by hazard class; empty if the model gives none.
    """

    model: str
    storm: str
    rainfall: str
    with_value: int
    without_value: int
    likelihood: str
    volume: str
    classes: str


@dataclass(frozen=True, eq=False)
class HazardSection:
    """The section of hazards.

    Attributes
    ----------
    models : sequence of (str, str, str)
        Name, title, and paper of each model.
    results : sequence of StormResult
    reasons : sequence of (str, int)
        Why values are missing, and at how many sites.
    more_reasons : int
        Reasons that are not listed.
    remarks : sequence of (str, int)
        Which inputs are implausible, and at how many sites.
    more_remarks : int
        Remarks that are not listed.
    charts : sequence of ThresholdChart
    left_out : int
        Storms of models whose values of single sites are not on the page.
    from_table : bool
        Whether a storm is a column of the site table.
    values_per_site : int
        Numbers in `data` of each site.
    data : mapping
        What the page's script needs.
    """

    models: Sequence[tuple[str, str, str]]
    results: Sequence[StormResult]
    reasons: Sequence[tuple[str, int]]
    more_reasons: int
    remarks: Sequence[tuple[str, int]]
    more_remarks: int
    charts: Sequence[ThresholdChart]
    left_out: int
    from_table: bool
    values_per_site: int
    data: Mapping[str, Any]


def hazard_section(
    tables: HazardTables,
    configuration: Mapping,
    site_ids: Sequence[str],
    chosen: Sequence[int],
    most_values: int,
) -> HazardSection | None:
    """Make the section of hazards.

    Parameters
    ----------
    tables : HazardTables
    configuration : mapping
        Of the study, completed.
    site_ids : sequence of str
        Of all sites, in the order of the tables.
    chosen : sequence of int
        Which of them the page shows one by one.
    most_values : int
        How many numbers of single sites it may show. One storm is there in any case.

    Returns
    -------
    HazardSection or None
        None if no model takes any of the storms.
    """
    runs = hazard_runs(tables.hazard, configuration, site_ids)
    thresholds = threshold_runs(tables.thresholds, site_ids)
    if not runs and not thresholds:
        return None
    per_site = most_values // max(1, len(chosen))
    shown, used = _that_fit(runs, per_site)
    with_thresholds = used + len(thresholds) <= per_site
    of_sites = np.asarray(chosen, dtype=np.int64)
    charts = threshold_charts(thresholds)
    reasons = _counted([run.reasons for run in runs])
    remarks = _counted([run.remarks for run in runs])
    texts: dict[str, int] = {}
    data = {
        "scales": scales(configuration),
        "first": _first(shown),
        "runs": [_run_data(run, of_sites, texts) for run in shown],
        "reasons": list(texts),
        "thresholds": [
            {
                "model": each.model,
                "duration": each.duration_min,
                "likelihood": each.likelihood,
                "values": _rounded(each.intensity_mm_per_h[of_sites]),
            }
            for each in thresholds
            if with_thresholds
        ],
    }
    published = published_models()
    names = dict.fromkeys(entry["name"] for entry in configuration["models"])
    return HazardSection(
        models=[(name, published[name].title, str(published[name].paper)) for name in names],
        results=[_result(run, site_ids) for run in runs],
        reasons=reasons[:_MOST_REASONS],
        more_reasons=max(0, len(reasons) - _MOST_REASONS),
        remarks=remarks[:_MOST_REASONS],
        more_remarks=max(0, len(remarks) - _MOST_REASONS),
        charts=charts,
        left_out=len(runs) - len(shown),
        from_table=storms_from_table(configuration),
        values_per_site=used + with_thresholds * len(thresholds),
        data=data,
    )


def _that_fit(runs: Sequence[HazardRun], per_site: int) -> tuple[list[HazardRun], int]:
    """Return the runs of which the page has single sites, and their numbers of a site.

    Those with everything come before the others, and one is there in any case.
    """
    taken, used = [], 0
    for k in sorted(range(len(runs)), key=lambda k: (not _has_everything(runs[k]), k)):
        # Its values, and the number of its reason.
        numbers = len(runs[k].values) + 1
        if taken and used + numbers > per_site:
            break
        taken.append(k)
        used += numbers
    return [runs[k] for k in sorted(taken)], used


def _has_everything(run: HazardRun) -> bool:
    return isinstance(published_models()[run.model], CombinedModel)


def _first(runs: Sequence[HazardRun]) -> int:
    """Return which run the page shows first: one with everything, or the first."""
    return next((k for k, run in enumerate(runs) if _has_everything(run)), 0)


def _run_data(run: HazardRun, sites: np.ndarray, texts: dict[str, int]) -> dict[str, Any]:
    own = [run.reasons[k] for k in sites.tolist()]
    return {
        "model": run.model,
        "storm": run.storm.name,
        "in_words": storm_in_words(run.storm),
        "values": {name: _rounded(values[sites]) for name, values in run.values.items()},
        "reasons": [None if text is None else texts.setdefault(text, len(texts)) for text in own],
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    return [_short(value) if math.isfinite(value) else None for value in values.tolist()]


def _short(value: float) -> float:
    rounded = float(f"{value:.{_DIGITS}g}")
    # A likelihood that is nearly 1 is not certain.
    return math.nextafter(1.0, 0.0) if rounded == 1.0 > value else rounded


def _result(run: HazardRun, site_ids: Sequence[str]) -> StormResult:
    missing = sum(reason is not None for reason in run.reasons)
    classes = Counter(_known(run.values.get("hazard_class")))
    return StormResult(
        model=run.model,
        storm=run.storm.name,
        rainfall=storm_in_words(run.storm),
        with_value=len(site_ids) - missing,
        without_value=missing,
        likelihood=_middle_and_most(run, "likelihood", site_ids, likelihood_text),
        volume=_middle_and_most(run, "volume_m3", site_ids, number),
        classes=", ".join(f"{each:.0f}: {classes[each]:,}" for each in sorted(classes)),
    )


def _middle_and_most(run: HazardRun, name: str, site_ids: Sequence[str], write) -> str:
    values = run.values.get(name)
    known = _known(values)
    if not known:
        return ""
    most = int(np.nanargmax(values))
    middle = float(np.median(known))
    return f"{write(middle)}; {write(float(values[most]))} at {site_ids[most]}"


def _known(values: np.ndarray | None) -> list[float]:
    return [] if values is None else values[~np.isnan(values)].tolist()


def _counted(runs: Sequence[Sequence[str | None]]) -> list[tuple[str, int]]:
    """Return each text of a site and the number of its sites, the most frequent first."""
    sites: dict[str, set[int]] = {}
    for texts in runs:
        for k, text in enumerate(texts):
            if text is not None:
                sites.setdefault(text, set()).add(k)
    counts = {text: len(of_text) for text, of_text in sites.items()}
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
