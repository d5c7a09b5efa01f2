"""What is in ``hazard.parquet`` and ``thresholds.parquet``, as the report takes it: by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from snakeshed.models.registry import published_models
from snakeshed.models.storms import Storm

# Values of a model that the report shows.
QUANTITIES = ("likelihood", "volume_m3", "volume_low_m3", "volume_high_m3", "hazard_class")


@dataclass(frozen=True, eq=False)
class HazardTables:
    """The hazards of a study.

    Attributes
    ----------
    hazard : pyarrow.Table
        ``hazard.parquet``.
    thresholds : pyarrow.Table
        ``thresholds.parquet``.
    """

    hazard: pa.Table
    thresholds: pa.Table


@dataclass(frozen=True, eq=False)
class HazardRun:
    """What a model gives for a storm.

    Attributes
    ----------
    model : str
    storm : Storm
    values : mapping of str to numpy.ndarray of float64, shape (sites,)
        By quantity, of those that the model gives; NaN is null.
    reasons : sequence of str or None
        Why a value is null, by site.
    remarks : sequence of str or None
        Which inputs are implausible, by site.
    """

    model: str
    storm: Storm
    values: Mapping[str, np.ndarray]
    reasons: Sequence[str | None]
    remarks: Sequence[str | None]


@dataclass(frozen=True, eq=False)
class ThresholdRun:
    """Where a model reaches a likelihood.

    Attributes
    ----------
    model : str
    duration_min : int
        Minutes.
    likelihood : float
    intensity_mm_per_h : numpy.ndarray of float64, shape (sites,)
        NaN where there is none.
    """

    model: str
    duration_min: int
    likelihood: float
    intensity_mm_per_h: np.ndarray


def hazard_runs(
    hazard: pa.Table, configuration: Mapping, site_ids: Sequence[str]
) -> list[HazardRun]:
    """Return each model with each of its storms, in the order of the configuration.

    Parameters
    ----------
    hazard : pyarrow.Table
        ``hazard.parquet``.
    configuration : mapping
        Of the study, completed.
    site_ids : sequence of str
        Of all sites, in the order of the other tables.
    """
    keys = _keys(hazard, ("model", "storm"), site_ids)
    storms = {storm.name: storm for storm in map(Storm.of, configuration["storms"])}
    numbers = {
        name: _by_site(hazard, name, len(keys))
        for name in QUANTITIES
        if name in hazard.column_names
    }
    reasons, remarks = (hazard[name].to_pylist() for name in ("reason", "remark"))
    published = published_models()
    runs = []
    for place, (model, storm) in enumerate(keys):
        gives = published[model].gives
        if "hazard_class" in gives:
            gives = QUANTITIES
        values = {name: column[:, place] for name, column in numbers.items() if name in gives}
        own = slice(place, None, len(keys))
        runs.append(HazardRun(model, storms[storm], values, reasons[own], remarks[own]))
    return runs


def threshold_runs(thresholds: pa.Table, site_ids: Sequence[str]) -> list[ThresholdRun]:
    """Return each likelihood model with each duration and likelihood; see `hazard_runs`."""
    keys = _keys(thresholds, ("model", "duration_min", "likelihood"), site_ids)
    intensity = _by_site(thresholds, "intensity_mm_per_h", len(keys))
    return [ThresholdRun(*key, intensity[:, place]) for place, key in enumerate(keys)]


def _keys(table: pa.Table, names: Sequence[str], site_ids: Sequence[str]) -> list[tuple]:
    """Return the rows that each site has; those of all sites are in the same order."""
    count = table.num_rows // len(site_ids) if len(site_ids) else 0
    if table["site_id"].to_pylist()[:: count or 1] != list(site_ids if count else ()):
        raise ValueError("hazards and catchments are not of the same sites")
    first = table.slice(0, count)
    return list(zip(*(first[name].to_pylist() for name in names), strict=True))


def _by_site(table: pa.Table, name: str, count: int) -> np.ndarray:
    values = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values.reshape(-1, count) if count else values.reshape(0, 0)
