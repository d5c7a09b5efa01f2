"""What the models of a study give for each observation, by the rain that fell."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from snakeshed.models.configured import StudyModels
from snakeshed.models.hazard import RESULTS, described_table, formulas
from snakeshed.models.model import Outcome
from snakeshed.observations.columns import model_runs, result_column
from snakeshed.observations.rainfall import RainfallColumn
from snakeshed.tables.geoparquet import rows_of
from snakeshed.tables.schema import TEXT


def model_results(
    observations: pa.Table,
    features: pa.Table,
    fallen: pa.Table,
    rainfall: Sequence[RainfallColumn],
    models: StudyModels,
) -> pa.Table:
    """Compute the models of a study for each observation.

    Parameters
    ----------
    observations : pyarrow.Table
        ``observations.parquet``; only ``site_id`` is read.
    features : pyarrow.Table
        ``site_id``, ``status``, ``reason``, and the columns that the models take, of
        ``features.parquet``; every site of `observations`.
    fallen : pyarrow.Table
        The columns of `rainfall` in mm, with a row per observation.
    rainfall : sequence of RainfallColumn
    models : StudyModels

    Returns
    -------
    pyarrow.Table
        A row per observation, in their order. Each model has a column of each of its results, and
        of the reason why one is null, for each rainfall of a duration that it takes.
    """
    inputs = {row["site_id"]: models.site_inputs(row) for row in rows_of(features)}
    sites = [inputs[site] for site in observations["site_id"].to_pylist()]
    columns = {}
    for name, each in model_runs(models, rainfall):
        outcomes = [
            models.outcome(name, site, each.duration_min, mm)
            for site, mm in zip(sites, fallen[each.name].to_pylist(), strict=True)
        ]
        columns |= _columns(name, each, models, outcomes)
    return described_table(columns)


def _columns(
    name: str, rainfall: RainfallColumn, models: StudyModels, outcomes: list[Outcome]
) -> dict[str, tuple]:
    """Return the columns of one model for one rainfall: values, type, and description."""
    declared = models.models[name]
    source = f"By {rainfall.name} and the features of the site. {formulas([declared])}."
    columns = {}
    for result in declared.model.gives:
        kind, text = RESULTS[result]
        values = [getattr(outcome, result) for outcome in outcomes]
        column = result_column(name, result, rainfall.duration_min)
        columns[column] = (values, kind, f"{text}. {source}")
    column = result_column(name, "reason", rainfall.duration_min)
    text = f"Why a result of {name} for {rainfall.name} is null; null where none is."
    columns[column] = ([outcome.reason for outcome in outcomes], TEXT, text)
    return columns
