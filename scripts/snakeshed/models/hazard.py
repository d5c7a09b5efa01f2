"""The table of hazards: what every model gives at every site for every storm."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from snakeshed.models.configured import StudyModels
from snakeshed.models.declared import DeclaredModel
from snakeshed.models.model import Outcome, intensity_mm_per_h
from snakeshed.models.storms import site_rainfall
from snakeshed.tables.arrays import array_of, null_for_nan
from snakeshed.tables.geoparquet import rows_of
from snakeshed.tables.schema import REAL, TEXT, WHOLE

STATUS = (TEXT, "Status of the site, as in features.parquet.")
REASON = (
    TEXT,
    "Why a value is null: the reason of the site, the input or rainfall that is missing, or where "
    "the formula has no value; null where nothing is missing.",
)
REMARK = (TEXT, "Which inputs are implausible, although they are used; null if none is.")
# What a model can give: type and description. Formulas and sources follow the description.
RESULTS = {
    "likelihood": (REAL, "Likelihood of a debris flow, 0 to 1"),
    "volume_m3": (REAL, "Volume of a debris flow, m3"),
    "volume_low_m3": (REAL, "Lower end of the 95 % prediction interval of the volume, m3"),
    "volume_high_m3": (REAL, "Upper end of the 95 % prediction interval of the volume, m3"),
    "likelihood_class": (WHOLE, "Class of the likelihood, from 1"),
    "volume_class": (WHOLE, "Class of the volume, from 1"),
    "hazard_class": (WHOLE, "Combined hazard class, from 1 (low)"),
}


def hazard_table(
    features: pa.Table, models: StudyModels, observations: pa.Table | None = None
) -> pa.Table:
    """Compute all models of a study at all sites for all storms.

    Parameters
    ----------
    features : pyarrow.Table
        ``site_id``, ``status``, ``reason``, and the columns that the models take, of
        ``features.parquet``; sorted by ``site_id``.
    models : StudyModels
    observations : pyarrow.Table or None
        ``observations.parquet``; needed if a storm has a column.

    Returns
    -------
    pyarrow.Table
        One row for each site, model, and storm of a duration that the model takes: sorted by
        ``site_id``, then in the order of the configuration. Ready for
        `snakeshed.tables.geoparquet.write_table`.
    """
    runs = models.runs()
    reals, reasons, remarks = _evaluated(features, models, observations)
    sites = features.num_rows
    columns = {
        "site_id": (_each(features["site_id"].to_pylist(), len(runs)), TEXT, "Site."),
        "status": (_each(features["status"].to_pylist(), len(runs)), *STATUS),
        "reason": (reasons, *REASON),
        "remark": (remarks, *REMARK),
        "model": ([model for model, _ in runs] * sites, TEXT, "Model."),
        "storm": ([storm.name for _, storm in runs] * sites, TEXT, "Storm."),
        "duration_min": (
            [storm.duration_min for _, storm in runs] * sites,
            WHOLE,
            "Duration of the rainfall, minutes.",
        ),
    }
    described = {
        "rainfall_mm": (REAL, "Rainfall within the duration, mm."),
        "intensity_mm_per_h": (REAL, "Mean intensity of the rainfall within the duration, mm/h."),
        **{key: (REAL, _input_description(models, key)) for key in models.input_keys()},
        **{
            name: (RESULTS[name][0], _result_description(models, name))
            for name in _results_of(models)
        },
    }
    for name, (kind, text) in described.items():
        columns[name] = (reals[name], kind, text)
    return described_table(columns)


def _evaluated(
    features: pa.Table, models: StudyModels, observations: pa.Table | None
) -> tuple[dict[str, np.ndarray], list[str | None], list[str | None]]:
    """Return the numbers of all rows by column, with NaN for null, their reasons, and remarks."""
    runs = models.runs()
    rain = {storm: site_rainfall(storm, observations) for _, storm in runs}
    results = _results_of(models)
    size = features.num_rows * len(runs)
    # Arrays, since millions of numbers in lists would take several times the memory.
    names = ("rainfall_mm", "intensity_mm_per_h", *models.input_keys(), *results)
    reals = {name: np.full(size, np.nan) for name in names}
    reasons: list[str | None] = [None] * size
    remarks: list[str | None] = [None] * size
    place = 0
    for row in rows_of(features):
        site = models.site_inputs(row)
        for model, storm in runs:
            fallen = rain[storm][row["site_id"]]
            outcome = models.outcome(
                model, site, storm.duration_min, fallen.mm, fallen.reason or "no rainfall"
            )
            if fallen.mm is not None:
                intensity = intensity_mm_per_h(fallen.mm, storm.duration_min)
                reals["rainfall_mm"][place] = fallen.mm
                reals["intensity_mm_per_h"][place] = intensity
            _fill(reals, place, outcome, results)
            reasons[place], remarks[place] = outcome.reason, outcome.remark
            place += 1
    return reals, reasons, remarks


def described_table(columns: dict[str, tuple]) -> pa.Table:
    """Make a table of columns, each with its values, its type, and its description.

    Parameters
    ----------
    columns : dict of str to (sequence, pyarrow.DataType, str)
        Numbers may be arrays of float64, in which NaN is null.
    """
    schema = pa.schema(
        [
            pa.field(name, kind, metadata={"description": text})
            for name, (_, kind, text) in columns.items()
        ]
    )
    arrays = [_array(values, kind) for values, kind, _ in columns.values()]
    return pa.table(arrays, schema=schema)


def formulas(declared: Iterable[DeclaredModel]) -> str:
    """Return the formulas of models with their sources, for the description of a column."""
    return "; ".join(f"{each.name}: {each.model.formula} ({each.model.paper})" for each in declared)


def _fill(reals: dict[str, np.ndarray], place: int, outcome: Outcome, results: list[str]) -> None:
    for key, value in (outcome.inputs or {}).items():
        if value is not None:
            reals[key][place] = value
    for name in results:
        value = getattr(outcome, name)
        if value is not None:
            reals[name][place] = value


def _results_of(models: StudyModels) -> list[str]:
    given = {name for each in models.models.values() for name in each.model.gives}
    return [name for name in RESULTS if name in given]


def _each(values: list, times: int) -> list:
    return [value for value in values for _ in range(times)]


def _array(values: list | np.ndarray, kind: pa.DataType) -> pa.Array:
    if not isinstance(values, np.ndarray):
        return array_of(values, kind)
    if kind == WHOLE:
        return array_of([None if value != value else int(value) for value in values.tolist()], kind)
    return null_for_nan(pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)]))


def _input_description(models: StudyModels, key: str) -> str:
    """Return what an input is in each model that takes it."""
    takers: dict[str, list[str]] = {}
    for name, declared in models.models.items():
        for each in declared.inputs:
            if each.input.key != key:
                continue
            text = each.input.description
            if each.input.unit:
                text += f", {each.input.unit}"
            if each.column is not None:
                factor = "" if each.scale == 1 else f"{each.scale:g} x "
                text += f" = {factor}{each.column} of features.parquet"
            takers.setdefault(text, []).append(name)
    listed = "; ".join(f"of {', '.join(names)}: {text}" for text, names in takers.items())
    return f"Input {listed}."


def _result_description(models: StudyModels, name: str) -> str:
    declared = models.models.values()
    text = f"{RESULTS[name][1]}. {formulas(each for each in declared if name in each.model.gives)}"
    combined = [f"{each.name}: of the two models" for each in declared if each.likelihood]
    if combined and not name.endswith("_class"):
        text += f"; {'; '.join(combined)} that it combines"
    return f"{text}."
