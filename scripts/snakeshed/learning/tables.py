"""From a table of observations to the complete rows that models are fitted to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from snakeshed.learning.classifiers import Baseline
from snakeshed.learning.complete_rows import (
    CompleteRows,
    answers_in,
    complete_rows,
    groups_in,
    numbers_in,
    rainfall_in,
)
from snakeshed.learning.declared import Refit
from snakeshed.observations.response import Response


def refit_rows(
    table: pa.Table, declared: Refit, response: Response, features: Collection[str]
) -> CompleteRows:
    """Read what a model is fitted to.

    Parameters
    ----------
    table : pyarrow.Table
        ``observations.parquet``, or ``dataset.parquet`` if `features` has names.
    declared : Refit
    response : Response
    features : collection of str
        Names that are those of features.

    Returns
    -------
    CompleteRows
        Its columns are the inputs, as the model takes them, and then the rainfall, mm.

    Raises
    ------
    TableError
        A column has cells that are no numbers.
    """
    chosen = None if declared.training is None else answers_in(table, declared.training)
    columns = _model_columns(table, declared, features)
    return complete_rows(_sites(table), answers_in(table, response), columns, chosen)


def classifier_rows(
    table: pa.Table,
    columns: Sequence[str],
    refits: Sequence[Refit],
    response: Response,
    features: Collection[str],
    split_by: str | None = None,
) -> tuple[CompleteRows, list[Baseline]]:
    """Read what classifiers are fitted to, and what published models take of the same rows.

    Parameters
    ----------
    table : pyarrow.Table
        ``observations.parquet``, or ``dataset.parquet`` if `features` has names.
    columns : sequence of str
        That classifiers take.
    refits : sequence of Refit
        Of the models to compare with.
    response : Response
    features : collection of str
        Names that are those of features.
    split_by : str, optional
        The column of the site table with groups; sites by default.

    Returns
    -------
    CompleteRows
        Its first columns are `columns`; also complete in what the models take.
    list of Baseline
        One for each of `refits`.

    Raises
    ------
    TableError
        A column has cells that are no numbers, or a site is in several groups.
    """
    values = {
        name: numbers_in(table, name, features, f"observations.classifiers.columns[{place}]")
        for place, name in enumerate(columns, start=1)
    }
    ends = [len(values)]
    for each in refits:
        own = _model_columns(table, each, features)
        values |= {f"{name} ({each.name})": cells for name, cells in own.items()}
        ends.append(len(values))
    groups = None
    if split_by is not None:
        groups = groups_in(table, split_by, "observations.classifiers.split_by")
    rows = complete_rows(_sites(table), answers_in(table, response), values, groups=groups)
    baselines = [
        Baseline(each, rows.values[:, begin:end])
        for each, begin, end in zip(refits, ends[:-1], ends[1:], strict=True)
    ]
    return rows, baselines


def _sites(table: pa.Table) -> list[str]:
    return table["site_id"].to_pylist()


def _model_columns(
    table: pa.Table, declared: Refit, features: Collection[str]
) -> Mapping[str, list[float | None]]:
    """Return the inputs by their keys, as the model takes them, and the rainfall in mm."""
    columns = {}
    for each in declared.inputs:
        key = f"{declared.key}.inputs.{each.input.key}"
        cells = numbers_in(table, each.column, features, key)
        columns[each.input.key] = [None if cell is None else cell * each.scale for cell in cells]
    columns[declared.rainfall.name] = rainfall_in(table, declared.rainfall)
    return columns
